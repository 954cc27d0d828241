//! ACL: one user, `default`, who may do everything.

use super::ADMIN;
use super::commands::categories;
use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Group, Handler, all, help};
use crate::protocol::Args;

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::container("acl", "6.0.0", Group::Server, "Looks at users and at what they may do.", SUBCOMMANDS)];

const OPEN: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);

const fn sub(name: &'static str, arity: Arity, flags: Flags, summary: &'static str, run: Handler) -> CommandSpec {
    CommandSpec { summary, flags, ..CommandSpec::new(name, "6.0.0", Group::Server, arity, run) }
}

const SUBCOMMANDS: &[CommandSpec] = &[
    sub("cat", Arity::AtLeast(2), OPEN, "Lists the categories of commands, or the commands of one.", cat),
    sub("getuser", Arity::Exact(3), ADMIN, "Says what a user may do.", getuser),
    sub("list", Arity::Exact(2), ADMIN, "Lists the users and what they may do.", list),
    sub("users", Arity::Exact(2), ADMIN, "Names the users.", users),
    sub("whoami", Arity::Exact(2), OPEN, "Names the connection's user.", whoami),
    CommandSpec::help("6.0.0", Group::Server, help_text),
];

const DEFAULT_USER: &str = "default";

/// What is shown in place of a password.
const HIDDEN: &str = "(hidden)";

fn cat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(category) = args.get(2) else {
        ctx.reply.array_header(categories::NAMES.len());
        for name in categories::NAMES {
            ctx.reply.bulk(name.as_bytes());
        }
        return Ok(());
    };
    if args.len() > 3 {
        return Err(CommandError::subcommand_syntax(args));
    }
    let Some(category) = categories::NAMES.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(category)) else {
        let category = String::from_utf8_lossy(category);
        return Err(CommandError::new(format!("ERR Unknown category '{category}'")));
    };
    let names: Vec<_> =
        all().filter(|found| categories::of(found).contains(category)).map(|found| found.full_name()).collect();
    ctx.reply.array_header(names.len());
    for name in names {
        ctx.reply.bulk(name.as_bytes());
    }
    Ok(())
}

fn getuser(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.at(2) != DEFAULT_USER.as_bytes() {
        ctx.reply.null();
        return Ok(());
    }
    let password = ctx.shared.settings.password_required();
    ctx.reply.map_header(6);
    ctx.reply.bulk(b"flags");
    let flags: &[&str] = if password { &["on"] } else { &["on", "nopass"] };
    ctx.reply.set_header(flags.len());
    for flag in flags {
        ctx.reply.bulk(flag.as_bytes());
    }
    ctx.reply.bulk(b"passwords");
    ctx.reply.array_header(usize::from(password));
    if password {
        ctx.reply.bulk(HIDDEN.as_bytes());
    }
    for (field, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        ctx.reply.bulk(field.as_bytes());
        ctx.reply.bulk(value.as_bytes());
    }
    ctx.reply.bulk(b"selectors");
    ctx.reply.array_header(0);
    Ok(())
}

fn list(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let password = if ctx.shared.settings.password_required() { HIDDEN } else { "nopass" };
    ctx.reply.array_header(1);
    ctx.reply.bulk(format!("user {DEFAULT_USER} on {password} ~* &* +@all").as_bytes());
    Ok(())
}

fn users(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.array_header(1);
    ctx.reply.bulk(DEFAULT_USER.as_bytes());
    Ok(())
}

fn whoami(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.bulk(DEFAULT_USER.as_bytes());
    Ok(())
}

fn help_text(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(
        ctx,
        args,
        &[
            "CAT [<category>]",
            "    The categories, or the commands of one.",
            "GETUSER <username>",
            "    What a user may do. The only one is 'default'.",
            "LIST",
            "    The users and what they may do.",
            "USERS",
            "    The users' names.",
            "WHOAMI",
            "    The connection's user.",
        ],
    );
    Ok(())
}
