//! COMMAND: what the server can do, told to clients. Everything comes from the specs; [`facts`] adds what only COMMAND tells.

pub(in crate::command) mod categories;
mod facts;
mod keys;
mod reply;

use crate::command::parse::is_word;
use crate::command::{
    Arity, CommandError, CommandSpec, Ctx, Flags, Found, Group, Handler, all, by_full_name, glob, help, resolve,
};
use crate::protocol::Args;

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[CommandSpec {
    summary: "Describes all commands.",
    complexity: "O(N) for N commands",
    arity: Arity::AtLeast(1),
    flags: ANYTIME,
    run: describe_all,
    ..CommandSpec::container("command", "2.8.13", Group::Server, "", SUBCOMMANDS)
}];

const ANYTIME: Flags = Flags::LOADING.union(Flags::STALE);

const fn sub(
    name: &'static str,
    since: &'static str,
    arity: Arity,
    complexity: &'static str,
    summary: &'static str,
    run: Handler,
) -> CommandSpec {
    CommandSpec { summary, complexity, flags: ANYTIME, ..CommandSpec::new(name, since, Group::Server, arity, run) }
}

const SUBCOMMANDS: &[CommandSpec] = &[
    sub("count", "2.8.13", Arity::Exact(2), "O(1)", "Counts the commands.", count),
    sub("docs", "7.0.0", Arity::AtLeast(2), "O(N) for N commands", "Documents commands.", docs),
    sub("getkeys", "2.8.13", Arity::AtLeast(3), "O(N) for N arguments", "Finds the keys in a request.", getkeys),
    sub(
        "getkeysandflags",
        "7.0.0",
        Arity::AtLeast(3),
        "O(N) for N arguments",
        "Finds the keys in a request, and what is done to them.",
        getkeysandflags,
    ),
    sub("info", "2.8.13", Arity::AtLeast(2), "O(N) for N commands", "Describes commands.", info),
    sub("list", "7.0.0", Arity::AtLeast(2), "O(N) for N commands", "Names commands.", list),
    CommandSpec::help("5.0.0", Group::Server, help_text),
];

/// The commands that are no subcommands.
fn top_level() -> impl Iterator<Item = Found> {
    all().filter(|found| found.container.is_none())
}

fn describe_all(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.array_header(top_level().count());
    for found in top_level() {
        reply::info(&mut ctx.reply, &found);
    }
    Ok(())
}

fn count(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.integer(top_level().count() as i64);
    Ok(())
}

fn info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() == 2 {
        return describe_all(ctx, args);
    }
    ctx.reply.array_header(args.len() - 2);
    for name in args.from(2).iter() {
        match by_full_name(name) {
            Some(found) => reply::info(&mut ctx.reply, &found),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

fn docs(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let asked: Vec<Found> =
        if args.len() == 2 { top_level().collect() } else { args.from(2).iter().filter_map(by_full_name).collect() };
    ctx.reply.map_header(asked.len());
    for found in asked {
        reply::docs(&mut ctx.reply, &found);
    }
    Ok(())
}

fn list(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut names: Vec<String> = Vec::new();
    let mut admit = |wanted: &dyn Fn(&Found, &str) -> bool| {
        names.extend(
            all()
                .map(|found| (found.full_name(), found))
                .filter(|(name, found)| wanted(found, name))
                .map(|(name, _)| name),
        );
    };
    match (args.get(2), args.get(3), args.get(4)) {
        (None, ..) => admit(&|_, _| true),
        (Some(filter), Some(by), Some(value)) if args.len() == 5 && is_word(filter, "FILTERBY") => match by {
            _ if is_word(by, "MODULE") => {}
            _ if is_word(by, "PATTERN") => {
                admit(&|_, name| glob::matches_ignoring_case(value, name.as_bytes()));
            }
            _ if is_word(by, "ACLCAT") => {
                let category = String::from_utf8_lossy(value).to_ascii_lowercase();
                admit(&|found, _| categories::of(found).contains(&category.as_str()));
            }
            _ => return Err(CommandError::SYNTAX),
        },
        _ => return Err(CommandError::SYNTAX),
    }
    ctx.reply.array_header(names.len());
    for name in names {
        ctx.reply.bulk(name.as_bytes());
    }
    Ok(())
}

fn getkeys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let found = keys_in(args.from(2))?;
    ctx.reply.array_header(found.len());
    for (key, _) in found {
        ctx.reply.bulk(key);
    }
    Ok(())
}

fn getkeysandflags(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let found = keys_in(args.from(2))?;
    ctx.reply.array_header(found.len());
    for (key, flags) in found {
        ctx.reply.array_header(2);
        ctx.reply.bulk(key);
        reply::status_set(&mut ctx.reply, flags);
    }
    Ok(())
}

/// A key, and what is done to it.
type UsedKey<'a> = (&'a [u8], &'static [&'static str]);

/// What is said of channels that a cluster would find by their slot, as it does keys.
const NOT_KEY: &[&str] = &["not_key"];

/// The keys of a request.
fn keys_in(request: Args<'_>) -> Result<Vec<UsedKey<'_>>, CommandError> {
    let found = resolve(request).map_err(|_| CommandError::fixed("ERR Invalid command specified"))?;
    let mut specs = keys::specs_of(&found);
    specs.retain(|spec| spec.flags != NOT_KEY);
    if specs.is_empty() {
        return Err(CommandError::fixed("ERR The command has no key arguments"));
    }
    if !found.spec.arity.accepts(request.len()) {
        return Err(CommandError::fixed("ERR Invalid number of arguments specified for command"));
    }
    let mut keys = Vec::new();
    for spec in &specs {
        let positions = spec
            .positions(request)
            .ok_or(const { CommandError::fixed("ERR Invalid arguments specified for command") })?;
        let flags = keys::flags_in(spec.flags, request);
        keys.extend(positions.map(|at| (request.at(at), flags)));
    }
    if found.spec.name == "sort"
        && let Some(at) = keys::stored_by_sort(request)
    {
        keys.push((request.at(at), &["OW", "update"]));
    }
    Ok(keys)
}

fn help_text(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(
        ctx,
        args,
        &[
            "(no subcommand)",
            "    Describes all commands.",
            "COUNT",
            "    How many commands there are.",
            "DOCS [<command-name> ...]",
            "    Documents these commands, or all.",
            "GETKEYS <full-command>",
            "    The keys in a request.",
            "GETKEYSANDFLAGS <full-command>",
            "    The keys in a request, and what is done to them.",
            "INFO [<command-name> ...]",
            "    Describes these commands, or all.",
            "LIST [FILTERBY <MODULE|ACLCAT|PATTERN> <value>]",
            "    The names of the commands.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests;
