//! SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE, WAIT, WAITAOF, SHUTDOWN.
//!
//! Every acknowledged write is in the pool already, so saving means at most to sync a pool on a disk; nothing is rewritten.

use super::ADMIN;
use crate::command::parse::{integer_arg, is_word};
use crate::command::{After, Arity, CommandError, CommandSpec, Ctx, Flags, Group, ShutdownRequest};
use crate::protocol::Args;

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Syncs the pool to its disk; on other media everything acknowledged is safe already.",
        complexity: "The time of one fdatasync for a pool on a disk, O(1) otherwise",
        flags: SAVING.union(Flags::NO_MULTI),
        ..CommandSpec::new("save", "1.0.0", Group::Server, Arity::Exact(1), save)
    },
    CommandSpec {
        summary: "Has a pool on a disk synced soon, by another thread; LASTSAVE tells when that is done.",
        flags: SAVING,
        ..CommandSpec::new("bgsave", "1.0.0", Group::Server, Arity::AtLeast(1), bgsave)
    },
    CommandSpec {
        summary: "Does nothing: there is no append-only file to rewrite.",
        flags: SAVING,
        ..CommandSpec::new("bgrewriteaof", "1.0.0", Group::Server, Arity::Exact(1), bgrewriteaof)
    },
    CommandSpec {
        summary: "Gives the Unix time up to which all acknowledged writes are on the medium.",
        flags: Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
        ..CommandSpec::new("lastsave", "1.0.0", Group::Server, Arity::Exact(1), lastsave)
    },
    CommandSpec {
        summary: "Says how many replicas have the writes: none, as there are no replicas.",
        flags: Flags::NOSCRIPT,
        ..CommandSpec::new("wait", "3.0.0", Group::Generic, Arity::Exact(3), wait)
    },
    CommandSpec {
        summary: "Says whether the connection's writes are on the local medium, and that no replica has them.",
        complexity: "The time of one fdatasync for a pool on a disk, O(1) otherwise",
        flags: Flags::NOSCRIPT,
        ..CommandSpec::new("waitaof", "7.2.0", Group::Generic, Arity::Exact(4), waitaof)
    },
    CommandSpec {
        summary: "Stops the server once replies are sent.",
        flags: ADMIN.union(Flags::NO_MULTI).union(Flags::ALLOW_BUSY),
        ..CommandSpec::new("shutdown", "1.0.0", Group::Server, Arity::AtLeast(1), shutdown)
    },
];

const SAVING: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING);

fn save(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    sync(ctx)?;
    ctx.reply.ok();
    Ok(())
}

fn sync(ctx: &Ctx<'_>) -> Result<(), CommandError> {
    ctx.store.sync().map_err(|error| CommandError::new(format!("ERR {error}")))
}

fn bgsave(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match args.get(1) {
        None => {}
        Some(word) if args.len() == 2 && is_word(word, "SCHEDULE") => {}
        Some(_) => return Err(CommandError::SYNTAX),
    }
    ctx.store.want_sync();
    ctx.reply.simple("Background saving started");
    Ok(())
}

fn bgrewriteaof(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.simple("Background append only file rewriting started");
    Ok(())
}

fn lastsave(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.integer(last_save_ms(ctx) as i64 / 1000);
    Ok(())
}

/// Unix milliseconds up to which everything acknowledged is on the medium.
pub(super) fn last_save_ms(ctx: &Ctx<'_>) -> u64 {
    ctx.store.info().last_sync_ms.unwrap_or(ctx.now_ms)
}

fn wait(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    check_timeout(args.at(2))?;
    integer_arg(args.at(1))?;
    ctx.reply.integer(0);
    Ok(())
}

fn waitaof(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let local = integer_arg(args.at(1))?;
    if !(0..=1).contains(&local) {
        return Err(CommandError::fixed("ERR value is out of range, value must between 0 and 1"));
    }
    if integer_arg(args.at(2))? < 0 {
        return Err(CommandError::fixed("ERR value is out of range, must be positive"));
    }
    check_timeout(args.at(3))?;
    let kept = ctx.store.info().medium != "dram";
    if kept && local == 1 {
        sync(ctx)?;
    }
    ctx.reply.array_header(2);
    ctx.reply.integer(i64::from(kept));
    ctx.reply.integer(0);
    Ok(())
}

/// A time to wait in milliseconds. It is never needed: there is nothing to wait for.
fn check_timeout(bytes: &[u8]) -> Result<(), CommandError> {
    let timeout_ms =
        integer_arg(bytes).map_err(|_| CommandError::fixed("ERR timeout is not an integer or out of range"))?;
    if timeout_ms < 0 {
        return Err(CommandError::fixed("ERR timeout is negative"));
    }
    Ok(())
}

fn shutdown(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut request, mut abort) = (ShutdownRequest::default(), false);
    let (mut save, mut nosave) = (false, false);
    for word in args.from(1).iter() {
        let option = match word {
            _ if is_word(word, "SAVE") => &mut save,
            _ if is_word(word, "NOSAVE") => &mut nosave,
            _ if is_word(word, "NOW") => &mut request.now,
            _ if is_word(word, "FORCE") => &mut request.force,
            _ if is_word(word, "ABORT") => &mut abort,
            _ => return Err(CommandError::SYNTAX),
        };
        *option = true;
    }
    if save && nosave || abort && args.len() > 2 {
        return Err(CommandError::SYNTAX);
    }
    if abort {
        // One in progress runs no commands any more, so there is never one to abort.
        return Err(CommandError::fixed("ERR No shutdown in progress."));
    }
    ctx.after = After::Shutdown(request);
    Ok(())
}
