//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! After MULTI the requests of a connection are kept, by their bytes, until EXEC runs them all as one: see `exec.rs` for how, and `store/transaction.rs` for
//! why nobody sees half of it. What is wrong with a request is said when it is queued, and EXEC refuses then; what goes wrong while it runs stops nothing.

mod exec;
mod queue;
mod watch;

pub use queue::Queue;
pub use watch::Watches;

use super::clients::ClientFlags;
use super::server::debug;
use super::{Arity, CommandError, CommandSpec, Ctx, Flags, Found, Group, KeySpec};
use crate::protocol::Args;

const SPEC: CommandSpec = CommandSpec {
    flags: Flags::LOADING.union(Flags::STALE).union(Flags::NOSCRIPT).union(Flags::FAST).union(Flags::ALLOW_BUSY),
    ..CommandSpec::new("", "2.0.0", Group::Transactions, Arity::Exact(1), multi)
};

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "discard",
        summary: "Forgets the commands that were queued since MULTI, and the watched keys.",
        complexity: "O(N) in the number of queued commands and watched keys",
        run: discard,
        ..SPEC
    },
    CommandSpec {
        name: "exec",
        summary: "Runs the commands that were queued since MULTI, all or none of them, unless a watched key has changed.",
        since: "1.2.0",
        flags: Flags::LOADING.union(Flags::STALE).union(Flags::NOSCRIPT).union(Flags::SKIP_SLOWLOG),
        complexity: "That of the queued commands; if several of them write, one line and one fence more than these alone.",
        run: exec::exec,
        ..SPEC
    },
    CommandSpec {
        name: "multi",
        summary: "Begins a transaction: the commands that follow are queued until EXEC.",
        since: "1.2.0",
        run: multi,
        ..SPEC
    },
    CommandSpec {
        name: "unwatch",
        summary: "Forgets the watched keys.",
        since: "2.2.0",
        complexity: "O(N) in the number of watched keys",
        run: unwatch,
        ..SPEC
    },
    CommandSpec {
        name: "watch",
        summary: "Has the next EXEC run only if none of these keys is changed before it.",
        since: "2.2.0",
        arity: Arity::AtLeast(2),
        keys: KeySpec::all_from(1),
        complexity: "O(N) in the number of keys",
        run: watch::watch,
        ..SPEC
    },
];

/// What runs at once although a transaction has begun.
const AT_ONCE: [&str; 6] = ["discard", "exec", "multi", "quit", "reset", "watch"];

/// Whether the command is to be queued: a transaction has begun.
#[inline]
pub(super) fn is_queued(ctx: &Ctx<'_>, found: &Found) -> bool {
    ctx.session.multi.is_some() && !AT_ONCE.contains(&found.spec.name)
}

/// Whether a transaction has begun that the request cannot be a part of.
#[inline]
pub(super) fn forbids(ctx: &Ctx<'_>, found: &Found, args: Args<'_>) -> bool {
    is_queued(ctx, found) && (found.spec.flags.contains(Flags::NO_MULTI) || debug::reopens_pool(found.spec, args))
}

/// The flags by which a request is let in: of EXEC those of what it is about to run.
#[inline]
pub(super) fn flags_of(ctx: &Ctx<'_>, found: &Found) -> Flags {
    match &ctx.session.multi {
        Some(queue) if found.spec.name == "exec" => queue.flags_of_exec(found.spec.flags),
        _ => found.spec.flags,
    }
}

/// Keeps a request for EXEC.
#[cold]
pub(super) fn queue(ctx: &mut Ctx<'_>, found: &Found, args: Args<'_>) {
    ctx.session.client.set_last_command(found.id);
    if let Some(queue) = &mut ctx.session.multi {
        queue.push(found, args);
        ctx.session.client.note_transaction(Some(queue.len()), queue.bytes());
    }
    ctx.reply.simple("QUEUED");
}

/// A request was refused: of a transaction that has begun nothing will run. The error for the client, where it is another then.
#[cold]
pub(super) fn refuse(ctx: &mut Ctx<'_>, args: Args<'_>, error: CommandError) -> CommandError {
    let Some(queue) = &mut ctx.session.multi else { return error };
    if args.get(0).is_some_and(|name| name.eq_ignore_ascii_case(b"exec")) {
        leave(ctx);
        return CommandError::new(format!("EXECABORT Transaction discarded because of: {}", error.0));
    }
    queue.refuse();
    error
}

/// The transaction is over, one way or the other.
pub(super) fn leave(ctx: &mut Ctx<'_>) {
    ctx.session.multi = None;
    ctx.session.watches.clear();
    let client = &ctx.session.client;
    client.set_flag(ClientFlags::MULTI, false);
    client.note_transaction(None, 0);
}

fn multi(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    if ctx.session.multi.is_some() {
        return Err(CommandError::fixed("ERR MULTI calls can not be nested"));
    }
    ctx.session.multi = Some(Queue::default());
    ctx.session.client.set_flag(ClientFlags::MULTI, true);
    ctx.session.client.note_transaction(Some(0), 0);
    ctx.reply.ok();
    Ok(())
}

fn discard(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    if ctx.session.multi.is_none() {
        return Err(CommandError::fixed("ERR DISCARD without MULTI"));
    }
    leave(ctx);
    ctx.reply.ok();
    Ok(())
}

fn unwatch(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.session.watches.clear();
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests;
