//! CLIENT: about this connection and the others.

use super::{ANY_TIME, PLAIN, kill, tracking};
use crate::command::clients::{Client, ClientClass, ClientFlags, ClientLabels};
use crate::command::context::ReplyMode;
use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, PauseScope, PauseWindow, container, help, parse};
use crate::protocol::Args;
use std::sync::Arc;

pub(super) const BAD_NAME: CommandError =
    CommandError::fixed("ERR Client names cannot contain spaces, newlines or special characters.");

const ADMIN: Flags = ANY_TIME.union(Flags::ADMIN);

const SUB: CommandSpec = CommandSpec { arity: Arity::Exact(2), flags: ANY_TIME, ..PLAIN };

pub(super) const SPEC: CommandSpec = CommandSpec {
    name: "client",
    summary: "A container for commands about client connections.",
    since: "2.4.0",
    arity: Arity::AtLeast(2),
    flags: ANY_TIME,
    complexity: "Depends on the subcommand",
    subcommands: SUBCOMMANDS,
    run: container,
    ..PLAIN
};

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "caching",
        summary: "Chooses whether the keys of the next command are tracked, in the modes OPTIN and OPTOUT.",
        since: "6.0.0",
        arity: Arity::Exact(3),
        run: tracking::caching,
        ..SUB
    },
    CommandSpec { name: "getname", summary: "Returns the connection's name.", since: "2.6.9", run: get_name, ..SUB },
    CommandSpec {
        name: "getredir",
        summary: "Returns the client that tracking messages are redirected to: 0 for none, -1 without tracking.",
        since: "6.0.0",
        run: tracking::redirection,
        ..SUB
    },
    CommandSpec { name: "help", summary: "Lists the subcommands.", since: "5.0.0", run: show_help, ..SUB },
    CommandSpec { name: "id", summary: "Returns the connection's id.", since: "5.0.0", run: id, ..SUB },
    CommandSpec { name: "info", summary: "Describes this connection.", since: "6.2.0", run: info, ..SUB },
    CommandSpec {
        name: "kill",
        summary: "Closes connections.",
        since: "2.4.0",
        arity: Arity::AtLeast(3),
        flags: ADMIN,
        complexity: "O(N) in the number of connections",
        run: kill::kill,
        ..SUB
    },
    CommandSpec {
        name: "list",
        summary: "Describes the open connections.",
        since: "2.4.0",
        arity: Arity::AtLeast(2),
        flags: ADMIN,
        complexity: "O(N) in the number of connections",
        run: list,
        ..SUB
    },
    CommandSpec {
        name: "no-evict",
        summary: "Sets whether the connection is spared when memory for clients runs short.",
        since: "7.0.0",
        arity: Arity::Exact(3),
        flags: ADMIN,
        run: no_evict,
        ..SUB
    },
    CommandSpec {
        name: "no-touch",
        summary: "Sets whether the connection's commands leave the idle times of keys alone.",
        since: "7.2.0",
        arity: Arity::Exact(3),
        run: no_touch,
        ..SUB
    },
    CommandSpec {
        name: "pause",
        summary: "Holds back the commands of all clients for a while.",
        since: "3.0.0",
        arity: Arity::AtLeast(3),
        flags: ADMIN,
        run: pause,
        ..SUB
    },
    CommandSpec {
        name: "reply",
        summary: "Chooses whether the connection is sent replies.",
        since: "3.2.0",
        arity: Arity::Exact(3),
        run: reply,
        ..SUB
    },
    CommandSpec {
        name: "setinfo",
        summary: "Sets what the connection says of its client library.",
        since: "7.2.0",
        arity: Arity::Exact(4),
        run: set_info,
        ..SUB
    },
    CommandSpec {
        name: "setname",
        summary: "Sets the connection's name.",
        since: "2.6.9",
        arity: Arity::Exact(3),
        run: set_name,
        ..SUB
    },
    CommandSpec {
        name: "tracking",
        summary: "Has the server tell the client of keys that have changed since it read them.",
        complexity: "O(1); some options may add O(N) for N prefixes",
        since: "6.0.0",
        arity: Arity::AtLeast(3),
        run: tracking::tracking,
        ..SUB
    },
    CommandSpec {
        name: "trackinginfo",
        summary: "Describes the connection's tracking.",
        since: "6.2.0",
        run: tracking::info,
        ..SUB
    },
    CommandSpec {
        name: "unblock",
        summary: "Ends another connection's blocking command; says whether there was one.",
        since: "5.0.0",
        arity: Arity::AtLeast(3),
        flags: ADMIN,
        run: unblock,
        ..SUB
    },
    CommandSpec {
        name: "unpause",
        summary: "Lets paused clients go on.",
        since: "6.2.0",
        flags: ADMIN,
        run: unpause,
        ..SUB
    },
];

const HELP: &[&str] = &[
    "CACHING (YES|NO)",
    "    Choose whether the keys of the next command are tracked, in OPTIN and OPTOUT mode.",
    "GETNAME",
    "    Return this connection's name.",
    "GETREDIR",
    "    Return the id of the client that tracking messages are redirected to.",
    "ID",
    "    Return this connection's id.",
    "INFO",
    "    Describe this connection.",
    "KILL <ip:port>",
    "    Close the connection from that address.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Close the connections that all options hold for:",
    "    * ID <client-id>",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "    * USER <username>",
    "    * SKIPME (YES|NO): whether to spare this connection (default: yes)",
    "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <client-id> [...]]",
    "    Describe the open connections.",
    "NO-EVICT (ON|OFF)",
    "    Spare this connection when memory for clients runs short.",
    "NO-TOUCH (ON|OFF)",
    "    Leave the idle times of keys alone.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Hold back all commands, or those that write, for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Choose whether this connection is sent replies.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Say which client library this connection uses.",
    "SETNAME <name>",
    "    Name this connection.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Be told, or another client, of keys that have changed since this one read them.",
    "TRACKINGINFO",
    "    Describe this connection's tracking.",
    "UNBLOCK <client-id> [TIMEOUT|ERROR]",
    "    End a connection's blocking command.",
    "UNPAUSE",
    "    Let paused clients go on.",
];

/// RESET: the connection is as if it had just come in.
pub(super) fn forget(client: &Client) {
    client.update_labels(|labels| *labels = ClientLabels { name: Vec::new(), ..labels.clone() });
    client.set_flag(ClientFlags::NO_EVICT, false);
    client.set_flag(ClientFlags::NO_TOUCH, false);
}

/// Whether a name may be shown in CLIENT LIST: printable ASCII without blanks.
pub(super) fn check_label(label: &[u8]) -> Result<(), ()> {
    if label.iter().all(|byte| (b'!'..=b'~').contains(byte)) { Ok(()) } else { Err(()) }
}

/// The class that a client type names. `None`: one that no client here is of.
pub(super) fn class_arg(bytes: &[u8]) -> Result<Option<ClientClass>, CommandError> {
    match bytes.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(Some(ClientClass::Normal)),
        b"pubsub" => Ok(Some(ClientClass::PubSub)),
        b"master" | b"replica" | b"slave" => Ok(None),
        _ => {
            let given = String::from_utf8_lossy(bytes);
            Err(CommandError::new(format!("ERR Unknown client type '{given}'")))
        }
    }
}

/// `ON` or `OFF`.
pub(super) fn on_off(bytes: &[u8]) -> Result<bool, CommandError> {
    if parse::is_word(bytes, "ON") {
        Ok(true)
    } else if parse::is_word(bytes, "OFF") {
        Ok(false)
    } else {
        Err(CommandError::SYNTAX)
    }
}

fn show_help(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(ctx, args, HELP);
    Ok(())
}

fn id(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.integer(ctx.session.id as i64);
    Ok(())
}

fn info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.session.client.note_running(args);
    let mut line = ctx.session.client.describe(ctx.now_ms);
    line.push(b'\n');
    ctx.reply.verbatim("txt", &line);
    Ok(())
}

fn list(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.session.client.note_running(args);
    let clients: Vec<Arc<Client>> = match args.get(2) {
        None => ctx.shared.clients.all(),
        Some(option) if parse::is_word(option, "TYPE") && args.len() == 4 => {
            let class = class_arg(args.at(3))?;
            ctx.shared.clients.all().into_iter().filter(|client| Some(client.class()) == class).collect()
        }
        Some(option) if parse::is_word(option, "ID") && args.len() > 3 => {
            let bad_id = || CommandError::fixed("ERR Invalid client ID");
            let ids: Option<Vec<i64>> = args.from(3).iter().map(parse::integer).collect();
            ids.ok_or_else(bad_id)?.into_iter().filter_map(|id| ctx.shared.clients.get(id as u64)).collect()
        }
        Some(_) => return Err(CommandError::SYNTAX),
    };
    let mut text = Vec::new();
    for client in clients {
        text.extend_from_slice(&client.describe(ctx.now_ms));
        text.push(b'\n');
    }
    ctx.reply.verbatim("txt", &text);
    Ok(())
}

fn get_name(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let name = ctx.session.client.labels().name;
    if name.is_empty() {
        ctx.reply.null()
    } else {
        ctx.reply.bulk(&name)
    }
    Ok(())
}

fn set_name(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let name = args.at(2);
    check_label(name).map_err(|()| BAD_NAME)?;
    ctx.session.client.update_labels(|labels| labels.name = name.to_vec());
    ctx.reply.ok();
    Ok(())
}

fn set_info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (option, value) = (args.at(2), args.at(3));
    let lib_name = parse::is_word(option, "LIB-NAME");
    let shown = || String::from_utf8_lossy(option);
    if !lib_name && !parse::is_word(option, "LIB-VER") {
        return Err(CommandError::new(format!("ERR Unrecognized option '{}'", shown())));
    }
    check_label(value).map_err(|()| {
        CommandError::new(format!("ERR {} cannot contain spaces, newlines or special characters.", shown()))
    })?;
    ctx.session.client.update_labels(|labels| {
        let label = if lib_name { &mut labels.lib_name } else { &mut labels.lib_ver };
        *label = value.to_vec();
    });
    ctx.reply.ok();
    Ok(())
}

fn no_evict(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.session.client.set_flag(ClientFlags::NO_EVICT, on_off(args.at(2))?);
    ctx.reply.ok();
    Ok(())
}

fn no_touch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.session.client.set_flag(ClientFlags::NO_TOUCH, on_off(args.at(2))?);
    ctx.follow_client();
    ctx.reply.ok();
    Ok(())
}

fn reply(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mode = args.at(2);
    if parse::is_word(mode, "ON") {
        ctx.session.reply_mode = ReplyMode::On;
        ctx.reply.ok();
    } else if parse::is_word(mode, "OFF") {
        ctx.session.reply_mode = ReplyMode::Off;
    } else if !parse::is_word(mode, "SKIP") {
        return Err(CommandError::SYNTAX);
    } else if ctx.session.reply_mode != ReplyMode::Off {
        ctx.session.reply_mode = ReplyMode::SkipNext;
    }
    Ok(())
}

fn pause(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let scope = match args.get(3) {
        None => PauseScope::All,
        Some(_) if args.len() > 4 => return Err(CommandError::SYNTAX),
        Some(mode) if parse::is_word(mode, "ALL") => PauseScope::All,
        Some(mode) if parse::is_word(mode, "WRITE") => PauseScope::Write,
        Some(_) => return Err(CommandError::fixed("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout_ms = parse::integer(args.at(2));
    let timeout_ms = timeout_ms.ok_or(CommandError::fixed("ERR timeout is not an integer or out of range"))?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| CommandError::fixed("ERR timeout is negative"))?;
    let until_ms = ctx.now_ms.checked_add(timeout_ms).filter(|until_ms| *until_ms <= i64::MAX as u64);
    let until_ms = until_ms.ok_or(CommandError::fixed("ERR timeout is out of range"))?;
    ctx.shared.pause.begin(PauseWindow { scope, until_ms }, ctx.now_ms);
    ctx.reply.ok();
    Ok(())
}

fn unpause(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.shared.pause.end();
    ctx.reply.ok();
    Ok(())
}

fn unblock(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let reason_is_known =
        args.get(3).is_none_or(|reason| parse::is_word(reason, "TIMEOUT") || parse::is_word(reason, "ERROR"));
    if args.len() > 4 {
        return Err(CommandError::SYNTAX);
    }
    if !reason_is_known {
        return Err(CommandError::fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
    }
    let with_error = args.get(3).is_some_and(|reason| parse::is_word(reason, "ERROR"));
    let id = parse::integer_arg(args.at(2))?;
    let unblocked = ctx.shared.blocking.unblock(id as u64, with_error);
    ctx.reply.integer(i64::from(unblocked));
    Ok(())
}
