//! The TTL family, the EXPIRE family and PERSIST.

use crate::command::parse::{integer_arg, is_word};
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;

/// Replies that are no time.
const NO_KEY: i64 = -2;
const NO_EXPIRY: i64 = -1;

const MS_PER_S: i64 = 1000;

pub(super) fn ttl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with_expiry(ctx, args, |at, now| round_to_s(at - now))
}

pub(super) fn pttl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with_expiry(ctx, args, |at, now| at - now)
}

pub(super) fn expiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with_expiry(ctx, args, |at, _| round_to_s(at))
}

pub(super) fn pexpiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with_expiry(ctx, args, |at, _| at)
}

fn reply_with_expiry(ctx: &mut Ctx<'_>, args: Args<'_>, shown: impl Fn(i64, i64) -> i64) -> Result<(), CommandError> {
    let reply = match ctx.lookup_unused(args.at(1)) {
        None => NO_KEY,
        Some(entry) => {
            entry.check()?;
            entry.expire_at().map_or(NO_EXPIRY, |at| shown(at as i64, ctx.now_ms as i64))
        }
    };
    ctx.reply.integer(reply);
    Ok(())
}

/// To the nearest second. `ms` is not negative: what has expired is not there.
fn round_to_s(ms: i64) -> i64 {
    ((ms as u64 + MS_PER_S as u64 / 2) / MS_PER_S as u64) as i64
}

pub(super) fn expire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = ctx.now_ms as i64;
    set_expiry(ctx, args, "expire", MS_PER_S, now_ms)
}

pub(super) fn pexpire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = ctx.now_ms as i64;
    set_expiry(ctx, args, "pexpire", 1, now_ms)
}

pub(super) fn expireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(ctx, args, "expireat", MS_PER_S, 0)
}

pub(super) fn pexpireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(ctx, args, "pexpireat", 1, 0)
}

/// Under which condition a new expiry replaces the old.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::command) struct Conditions {
    /// NX: only if there is none.
    if_none: bool,
    /// XX: only if there is one.
    if_some: bool,
    /// GT: only if it is later; no expiry counts as never.
    if_later: bool,
    /// LT: only if it is earlier.
    if_earlier: bool,
}

impl Conditions {
    fn parse(options: Args<'_>) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        for option in options.iter() {
            if !conditions.add(option) {
                let option = String::from_utf8_lossy(option);
                return Err(CommandError::new(format!("ERR Unsupported option {option}")));
            }
        }
        if conditions.if_none && (conditions.if_some || conditions.if_later || conditions.if_earlier) {
            return Err(CommandError::fixed("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.if_later && conditions.if_earlier {
            return Err(CommandError::fixed("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Adds the condition of that word; says whether there is one.
    pub(in crate::command) fn add(&mut self, word: &[u8]) -> bool {
        let condition = match word {
            _ if is_word(word, "NX") => &mut self.if_none,
            _ if is_word(word, "XX") => &mut self.if_some,
            _ if is_word(word, "GT") => &mut self.if_later,
            _ if is_word(word, "LT") => &mut self.if_earlier,
            _ => return false,
        };
        *condition = true;
        true
    }

    /// Whether an expiry of `new_ms` may take the place of this one.
    pub(in crate::command) fn allow(self, old_ms: Option<i64>, new_ms: i64) -> bool {
        !(self.if_none && old_ms.is_some()
            || self.if_some && old_ms.is_none()
            || self.if_later && old_ms.is_none_or(|old_ms| new_ms <= old_ms)
            || self.if_earlier && old_ms.is_some_and(|old_ms| new_ms >= old_ms))
    }
}

/// Sets the expiry to the time argument in units of `unit_ms` after `base_ms`. A time that is not in the future removes the key.
fn set_expiry(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    command: &str,
    unit_ms: i64,
    base_ms: i64,
) -> Result<(), CommandError> {
    let conditions = Conditions::parse(args.from(3))?;
    let at_ms = integer_arg(args.at(2))?
        .checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base_ms))
        .ok_or_else(|| CommandError::new(format!("ERR invalid expire time in '{command}' command")))?;

    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, std::slice::from_ref(&key), ctx.now_ms, ctx.guard);
    let changed = match txn.get(key) {
        Some(entry) if conditions.allow(entry.expire_at().map(|at| at as i64), at_ms) => {
            let is_past = at_ms <= ctx.now_ms as i64;
            if is_past {
                txn.delete(key)?;
            } else {
                txn.set_expiry(key, Some(at_ms as u64))?;
            }
            txn.commit()?;
            ctx.notify(Events::GENERIC, if is_past { "del" } else { "expire" }, key.name);
            true
        }
        _ => false,
    };
    ctx.reply.integer(i64::from(changed));
    Ok(())
}

pub(super) fn persist(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, std::slice::from_ref(&key), ctx.now_ms, ctx.guard);
    let entry = txn.get(key);
    entry.as_ref().map_or(Ok(()), |entry| entry.check())?;
    let had_expiry = entry.is_some_and(|entry| entry.expire_at().is_some());
    if had_expiry {
        txn.set_expiry(key, None)?;
        txn.commit()?;
        ctx.notify(Events::GENERIC, "persist", key.name);
    }
    ctx.reply.integer(i64::from(had_expiry));
    Ok(())
}
