//! SET and the older commands that are special cases of it.

use super::expiry::{Clocking, Condition, Expiry, SetOptions, expire_at};
use super::value;
use crate::command::lookups::Lookups;
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::{Args, ReplyWriter};
use crate::store::StrValue;

/// `SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]`
pub fn set(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() == 3 {
        return set_plain(ctx, args.at(1), args.at(2));
    }
    let options = SetOptions::parse(args.from(3))?;
    set_with(ctx, args.at(1), args.at(2), options, "set", |reply, outcome| match outcome {
        Outcome { old, .. } if options.get => value::reply_or_null(reply, old),
        Outcome { stored: true, .. } => reply.ok(),
        Outcome { stored: false, .. } => reply.null(),
    })
}

/// `SETNX key value`
pub fn setnx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = SetOptions { condition: Condition::Absent, ..SetOptions::NONE };
    set_with(ctx, args.at(1), args.at(2), options, "setnx", |reply, outcome| {
        reply.integer(i64::from(outcome.stored));
    })
}

/// `SETEX key seconds value`
pub fn setex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiring(ctx, args, Clocking::Seconds, "setex")
}

/// `PSETEX key milliseconds value`
pub fn psetex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiring(ctx, args, Clocking::Millis, "psetex")
}

/// `GETSET key value`
pub fn getset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = SetOptions { get: true, ..SetOptions::NONE };
    set_with(ctx, args.at(1), args.at(2), options, "getset", |reply, outcome| {
        value::reply_or_null(reply, outcome.old);
    })
}

/// `SET key value` and nothing more: what most writes are.
#[inline]
fn set_plain(ctx: &mut Ctx<'_>, name: &[u8], bytes: &[u8]) -> Result<(), CommandError> {
    let key = ctx.key(name);
    let value = ctx.store.prepare(ctx.worker, bytes, ctx.guard)?;
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let is_new = ctx.shared.settings.events().contains(Events::NEW) && txn.peek(key).is_none();
    txn.set(key, value, None)?;
    txn.commit()?;
    ctx.notify_write(is_new, Events::STRING, "set", key);
    ctx.reply.ok();
    Ok(())
}

fn set_expiring(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    clocking: Clocking,
    command: &'static str,
) -> Result<(), CommandError> {
    let options = SetOptions { expiry: Expiry::Time(clocking, args.at(2)), ..SetOptions::NONE };
    set_with(ctx, args.at(1), args.at(3), options, command, |reply, _| reply.ok())
}

/// What came of a SET.
struct Outcome<'g> {
    /// Whether the key has the new value.
    stored: bool,
    /// What it held before, when GET asked for that.
    old: Option<StrValue<'g>>,
}

/// SET with options. `command` is for the error about the expiry.
fn set_with(
    ctx: &mut Ctx<'_>,
    name: &[u8],
    bytes: &[u8],
    options: SetOptions<'_>,
    command: &str,
    reply: impl FnOnce(&mut ReplyWriter<'_>, Outcome<'_>),
) -> Result<(), CommandError> {
    let new_expiry = match options.expiry {
        Expiry::Time(clocking, text) => Some(expire_at(clocking, text, ctx.now_ms, command)?),
        _ => None,
    };
    let key = ctx.key(name);
    if options.condition != Condition::Always {
        // A first look without the lock, so that a long value is not written to the pool only to be dropped.
        let entry = ctx.store.peek(key, ctx.now_ms, ctx.guard);
        if !options.condition.holds(entry.is_some()) {
            entry.iter().for_each(|entry| ctx.used(entry));
            let mut old = None;
            if options.get {
                ctx.lookups().saw(key, entry.is_some());
                old = value::string_of(entry)?;
            }
            reply(&mut ctx.reply, Outcome { stored: false, old });
            return Ok(());
        }
    }
    let new = ctx.store.prepare(ctx.worker, bytes, ctx.guard)?;
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let entry = if options.get { lookups.get(&txn, key) } else { txn.get(key) };
    let old = if options.get { value::string_of(entry)? } else { None };
    let is_new = entry.is_none();
    if !options.condition.holds(!is_new) {
        reply(&mut ctx.reply, Outcome { stored: false, old });
        return Ok(());
    }
    let expiry = match options.expiry {
        Expiry::Keep => {
            entry.as_ref().map_or(Ok(()), |entry| entry.check())?;
            entry.and_then(|entry| entry.expire_at())
        }
        _ => new_expiry,
    };
    txn.set(key, new, expiry)?;
    txn.commit()?;
    reply(&mut ctx.reply, Outcome { stored: true, old });
    ctx.notify_write(is_new, Events::STRING, "set", key);
    if new_expiry.is_some() {
        ctx.notify(Events::GENERIC, "expire", name);
    }
    Ok(())
}
