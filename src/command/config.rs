//! CONFIG: reading and turning the knobs of [`super::settings`].

use super::settings::{SETTINGS, SettingSpec, file};
use super::{Arity, CommandError, CommandSpec, Ctx, Flags, Group, KeySpec, container, glob, help};
use crate::protocol::Args;

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

const SUB: CommandSpec = CommandSpec {
    name: "",
    summary: "",
    since: "2.0.0",
    group: Group::Server,
    arity: Arity::Exact(2),
    flags: FLAGS,
    keys: KeySpec::None,
    complexity: "O(N) in the number of settings",
    subcommands: &[],
    run: container,
    together: None,
    look: None,
};

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "config",
    summary: "A container for commands about the configuration.",
    arity: Arity::AtLeast(2),
    flags: Flags::empty(),
    complexity: "Depends on the subcommand",
    subcommands: SUBCOMMANDS,
    ..SUB
}];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "get",
        summary: "Returns the settings whose names match any of the patterns.",
        arity: Arity::AtLeast(3),
        run: get,
        ..SUB
    },
    CommandSpec {
        name: "help",
        summary: "Lists the subcommands.",
        since: "5.0.0",
        flags: Flags::LOADING.union(Flags::STALE),
        complexity: "O(1)",
        run: show_help,
        ..SUB
    },
    CommandSpec {
        name: "resetstat",
        summary: "Sets the counters that INFO shows back to zero.",
        complexity: "O(N) in the number of commands",
        run: reset_stat,
        ..SUB
    },
    CommandSpec {
        name: "rewrite",
        summary: "Writes the present settings to the configuration file.",
        since: "2.8.0",
        run: rewrite,
        ..SUB
    },
    CommandSpec {
        name: "set",
        summary: "Changes settings: all that are given, or none.",
        arity: Arity::AtLeast(4),
        run: set,
        ..SUB
    },
];

const HELP: &[&str] = &[
    "GET <pattern> [<pattern> ...]",
    "    Return the settings whose names match a glob-like <pattern>.",
    "RESETSTAT",
    "    Set the counters that INFO shows back to zero.",
    "REWRITE",
    "    Write the present settings to the configuration file.",
    "SET <setting> <value> [<setting> <value> ...]",
    "    Change settings: all of them, or none.",
];

fn show_help(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(ctx, args, HELP);
    Ok(())
}

fn get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let patterns = args.from(2);
    let found = ctx
        .shared
        .settings
        .matching(|name| patterns.iter().any(|pattern| glob::matches_ignoring_case(pattern, name.as_bytes())));
    ctx.reply.map_header(found.len());
    for (name, value) in found {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.bulk(&value);
    }
    Ok(())
}

fn set(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::arity("config|set"));
    }
    let pairs: Vec<(&[u8], &[u8])> = (2..args.len()).step_by(2).map(|at| (args.at(at), args.at(at + 1))).collect();
    let set = ctx.shared.settings.set_if(&pairs, |spec, value| check_pool_max(ctx, spec, value));
    set.map_err(|error| CommandError::new(format!("ERR {error}")))?;
    if pairs.iter().any(|(name, _)| name.eq_ignore_ascii_case(POOL_MAX_SIZE.as_bytes())) {
        ctx.store.set_pool_max_bytes(ctx.shared.settings.pool_max_bytes());
    }
    ctx.shared.follow_settings(ctx.store);
    if pairs.iter().any(|(name, _)| name.to_ascii_lowercase().starts_with(b"maxmemory")) {
        ctx.follow_limit();
    }
    ctx.reply.ok();
    Ok(())
}

/// The setting that only the pool can judge.
const POOL_MAX_SIZE: &str = "pool-max-size";

/// Whether the pool could grow so far. Not known before it is open; it then grows as far as it can.
fn check_pool_max(ctx: &Ctx<'_>, spec: &SettingSpec, value: &[u8]) -> Result<(), String> {
    let limit = ctx.store.pool().growth_limit();
    let wanted = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    if spec.name == POOL_MAX_SIZE && !ctx.loading && wanted.is_some_and(|wanted| wanted > limit) {
        return Err(format!(
            "this server has set address space aside for a pool of {limit} bytes; to go beyond restart it with --pool-max-size"
        ));
    }
    Ok(())
}

fn reset_stat(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.shared.stats.reset();
    ctx.shared.over_limit.reset();
    ctx.reply.ok();
    Ok(())
}

fn rewrite(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let path = ctx.shared.identity.config_file.as_ref();
    let path = path.ok_or(CommandError::fixed("ERR The server is running without a config file"))?;
    file::rewrite(path, &ctx.shared.settings).map_err(|error| {
        tracing::warn!(path = %path.display(), %error, settings = SETTINGS.len(), "CONFIG REWRITE failed");
        CommandError::new(format!("ERR Rewriting config file: {error}"))
    })?;
    ctx.reply.ok();
    Ok(())
}
