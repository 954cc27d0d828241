//! Commands about the connection itself: who it is, what it speaks, which database it works on.
//!
//! None of them needs the store, so all but PING run while the pool is being recovered.

mod client;
mod hello;
mod kill;
mod tracking;

use super::context::ReplyMode;
use super::{
    After, CommandError, CommandSpec, Ctx, Group, Modes, Session, Shared, monitor, parse, pubsub, transaction,
};
use super::{Arity, Flags, KeySpec};
use crate::protocol::{Args, Protocol};

/// What nearly every command here is: allowed at any time, kept out of scripts.
const ANY_TIME: Flags = Flags::LOADING.union(Flags::STALE).union(Flags::NOSCRIPT);

const PLAIN: CommandSpec = CommandSpec {
    name: "",
    summary: "",
    since: "1.0.0",
    group: Group::Connection,
    arity: Arity::Exact(1),
    flags: ANY_TIME.union(Flags::FAST),
    keys: KeySpec::None,
    complexity: "O(1)",
    subcommands: &[],
    run: ping,
    together: None,
    look: None,
};

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "auth",
        summary: "Authenticates the connection.",
        arity: Arity::AtLeast(2),
        flags: ANY_TIME.union(Flags::FAST).union(Flags::NO_AUTH),
        complexity: "O(N) in the length of the password",
        run: hello::auth,
        ..PLAIN
    },
    client::SPEC,
    CommandSpec {
        name: "echo",
        summary: "Answers with what it is given.",
        arity: Arity::Exact(2),
        flags: Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
        complexity: "O(N) in the length of the message",
        run: echo,
        ..PLAIN
    },
    CommandSpec {
        name: "hello",
        summary: "Chooses the protocol, authenticates and names the connection, and tells about the server.",
        since: "6.0.0",
        arity: Arity::AtLeast(1),
        flags: ANY_TIME.union(Flags::FAST).union(Flags::NO_AUTH),
        run: hello::hello,
        ..PLAIN
    },
    CommandSpec {
        name: "ping",
        summary: "Answers PONG, or with what it is given.",
        arity: Arity::AtLeast(1),
        flags: Flags::FAST,
        run: ping,
        ..PLAIN
    },
    CommandSpec {
        name: "quit",
        summary: "Closes the connection once all replies are sent.",
        arity: Arity::AtLeast(1),
        flags: ANY_TIME.union(Flags::FAST).union(Flags::NO_AUTH),
        run: quit,
        ..PLAIN
    },
    CommandSpec {
        name: "reset",
        summary: "Brings the connection back to the state it began in.",
        since: "6.2.0",
        flags: ANY_TIME.union(Flags::FAST).union(Flags::NO_AUTH),
        run: reset,
        ..PLAIN
    },
    CommandSpec {
        name: "select",
        summary: "Chooses the logical database that the connection works on.",
        arity: Arity::Exact(2),
        flags: Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
        run: select,
        ..PLAIN
    },
];

fn ping(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match args.len() {
        1 | 2 if ctx.session.modes.contains(Modes::SUBSCRIBED) => pubsub::ping(ctx, args.get(1).unwrap_or_default()),
        1 => ctx.reply.simple("PONG"),
        2 => ctx.reply.bulk(args.at(1)),
        _ => return Err(CommandError::arity("ping")),
    }
    Ok(())
}

fn echo(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.bulk(args.at(1));
    Ok(())
}

fn quit(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.ok();
    ctx.after = After::Close;
    Ok(())
}

fn select(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let db = parse::db_arg(args.at(1), ctx.shared.settings.databases())?;
    ctx.session.select(db);
    ctx.reply.ok();
    Ok(())
}

fn reset(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    transaction::leave(ctx);
    ctx.session.select(0);
    leave(ctx.shared, ctx.session);
    ctx.speak(Protocol::Resp2);
    ctx.session.reply_mode = ReplyMode::On;
    ctx.session.authenticated = !ctx.shared.settings.password_required();
    client::forget(&ctx.session.client);
    ctx.follow_client();
    ctx.reply.simple("RESET");
    Ok(())
}

/// Ends what a session is subscribed to, tracks and monitors: it ends, or begins anew.
pub fn leave(shared: &Shared, session: &mut Session) {
    monitor::leave(shared, session);
    pubsub::leave(shared, session);
    tracking::stop(shared, session);
}

#[cfg(test)]
mod tests;
