//! FUNCTION and SCRIPT over an empty library: what clients and test suites call before anything else.

use crate::command::generic::check_flush_mode;
use crate::command::parse::is_word;
use crate::command::rdb;
use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Group, help};
use crate::protocol::Args;

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("function", "7.0.0", Group::Scripting, "Manages the library of functions.", FUNCTION),
    CommandSpec::container("script", "2.6.0", Group::Scripting, "Manages cached scripts.", SCRIPT),
];

const fn sub(name: &'static str, since: &'static str, arity: Arity, run: crate::command::Handler) -> CommandSpec {
    CommandSpec { flags: Flags::NOSCRIPT, ..CommandSpec::new(name, since, Group::Scripting, arity, run) }
}

const FUNCTION: &[CommandSpec] = &[
    CommandSpec {
        summary: "Empties the library.",
        flags: Flags::WRITE.union(Flags::NOSCRIPT),
        ..sub("flush", "7.0.0", Arity::AtLeast(2), function_flush)
    },
    CommandSpec {
        summary: "Removes a library: there is none.",
        flags: Flags::WRITE.union(Flags::NOSCRIPT),
        ..sub("delete", "7.0.0", Arity::Exact(3), function_delete)
    },
    CommandSpec { summary: "Lists the libraries: none.", ..sub("list", "7.0.0", Arity::AtLeast(2), function_list) },
    CommandSpec {
        summary: "Says that no function runs and how many there are.",
        flags: Flags::NOSCRIPT.union(Flags::ALLOW_BUSY),
        ..sub("stats", "7.0.0", Arity::Exact(2), function_stats)
    },
    CommandSpec { summary: "Serializes the empty library.", ..sub("dump", "7.0.0", Arity::Exact(2), function_dump) },
    CommandSpec {
        summary: "Stops the function that runs: none does.",
        flags: Flags::NOSCRIPT.union(Flags::ALLOW_BUSY),
        ..sub("kill", "7.0.0", Arity::Exact(2), kill)
    },
    CommandSpec::help("7.0.0", Group::Scripting, function_help),
];

const SCRIPT: &[CommandSpec] = &[
    CommandSpec { summary: "Forgets all cached scripts.", ..sub("flush", "2.6.0", Arity::AtLeast(2), script_flush) },
    CommandSpec {
        summary: "Says which scripts are cached: none.",
        complexity: "O(N) for N digests",
        ..sub("exists", "2.6.0", Arity::AtLeast(3), script_exists)
    },
    CommandSpec {
        summary: "Stops the script that runs: none does.",
        flags: Flags::NOSCRIPT.union(Flags::ALLOW_BUSY),
        ..sub("kill", "2.6.0", Arity::Exact(2), kill)
    },
    CommandSpec::help("5.0.0", Group::Scripting, script_help),
];

fn function_flush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::subcommand_syntax(args));
    }
    if args.len() > 3 {
        return Err(CommandError::subcommand_syntax(args));
    }
    check_flush_mode(args, 2).map_err(|_| CommandError::fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"))?;
    ctx.reply.ok();
    Ok(())
}

fn function_delete(_ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::fixed("ERR Library not found"))
}

fn function_list(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut with_code, mut named) = (false, false);
    let mut i = 2;
    while let Some(word) = args.get(i) {
        if is_word(word, "WITHCODE") && !with_code {
            with_code = true;
        } else if is_word(word, "LIBRARYNAME") && !named {
            named = true;
            i += 1;
            if i == args.len() {
                return Err(CommandError::fixed("ERR library name argument was not given"));
            }
        } else {
            return Err(CommandError::new(format!("ERR Unknown argument {}", String::from_utf8_lossy(word))));
        }
        i += 1;
    }
    ctx.reply.array_header(0);
    Ok(())
}

fn function_stats(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.map_header(2);
    ctx.reply.bulk(b"running_script");
    ctx.reply.null();
    ctx.reply.bulk(b"engines");
    ctx.reply.map_header(1);
    ctx.reply.bulk(b"LUA");
    ctx.reply.map_header(2);
    for count in ["libraries_count", "functions_count"] {
        ctx.reply.bulk(count.as_bytes());
        ctx.reply.integer(0);
    }
    Ok(())
}

fn function_dump(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let mut payload = Vec::new();
    rdb::seal(&mut payload);
    ctx.reply.bulk(&payload);
    Ok(())
}

fn kill(_ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::fixed("NOTBUSY No scripts in execution right now."))
}

fn script_flush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    check_flush_mode(args, 2).map_err(|_| CommandError::fixed("ERR SCRIPT FLUSH only support SYNC|ASYNC option"))?;
    ctx.reply.ok();
    Ok(())
}

fn script_exists(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let digests = args.from(2);
    ctx.reply.array_header(digests.len());
    for _ in digests.iter() {
        ctx.reply.integer(0);
    }
    Ok(())
}

fn function_help(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(
        ctx,
        args,
        &[
            "DELETE <library-name>",
            "    An error: there are no libraries.",
            "DUMP",
            "    The empty library, serialized.",
            "FLUSH [ASYNC|SYNC]",
            "    Empties the library.",
            "KILL",
            "    An error: no function runs.",
            "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
            "    The libraries: none.",
            "STATS",
            "    What runs and how many functions there are.",
        ],
    );
    Ok(())
}

fn script_help(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(
        ctx,
        args,
        &[
            "EXISTS <sha1> [<sha1> ...]",
            "    Which scripts are cached: none.",
            "FLUSH [ASYNC|SYNC]",
            "    Forgets all cached scripts.",
            "KILL",
            "    An error: no script runs.",
        ],
    );
    Ok(())
}
