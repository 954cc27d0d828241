//! When fields of a hash expire: the HEXPIRE family, the HTTL family and HPERSIST.

use crate::command::generic::Conditions;
use crate::command::parse::{integer, integer_arg, is_word};
use crate::command::rdb::MAX_EXPIRY_MS;
use crate::command::{CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::{Args, ReplyWriter};

/// What is said of a field.
const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const NOT_ALLOWED: i64 = 0;
const DONE: i64 = 1;
const REMOVED: i64 = 2;

const MS_PER_S: u64 = 1000;

/// What HEXPIRE and its kind say of a number of fields that is none.
const NO_NUMBER: CommandError = CommandError::fixed("ERR Parameter `numFields` should be greater than 0");
/// What all others say of it.
pub(super) const NOT_POSITIVE: CommandError = CommandError::fixed("ERR Number of fields must be a positive integer");

/// The fields of `FIELDS numfields field [field ...]`, which begins at `at` and ends the command.
///
/// # Errors
/// The word is missing, the number is none (`no_number`), or another number of fields follows.
pub(super) fn fields<'r>(args: Args<'r>, at: usize, no_number: CommandError) -> Result<Args<'r>, CommandError> {
    if !args.get(at).is_some_and(|word| is_word(word, "FIELDS")) {
        let text = "ERR Mandatory argument FIELDS is missing or not at the right position";
        return Err(CommandError::fixed(text));
    }
    let count = args.get(at + 1).and_then(integer).filter(|&count| count > 0).ok_or(no_number)?;
    if count as usize != args.len().saturating_sub(at + 2) {
        return Err(CommandError::fixed("ERR The `numfields` parameter must match the number of arguments"));
    }
    Ok(args.from(at + 2))
}

/// The time that is so many units after `base_ms`, in Unix milliseconds.
///
/// # Errors
/// It is no integer, negative, or later than fields may expire.
pub(super) fn time(text: &[u8], unit_ms: u64, base_ms: u64, command: &str) -> Result<u64, CommandError> {
    let count =
        u64::try_from(integer_arg(text)?).map_err(|_| CommandError::fixed("ERR invalid expire time, must be >= 0"))?;
    let at_ms = count.checked_mul(unit_ms).and_then(|ms| ms.checked_add(base_ms));
    at_ms
        .filter(|&at_ms| at_ms <= MAX_EXPIRY_MS)
        .ok_or_else(|| CommandError::new(format!("ERR invalid expire time in '{command}' command")))
}

/// `HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub fn hexpire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = ctx.now_ms;
    set_expiry(ctx, args, "hexpire", MS_PER_S, now_ms)
}

/// `HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub fn hpexpire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = ctx.now_ms;
    set_expiry(ctx, args, "hpexpire", 1, now_ms)
}

/// `HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub fn hexpireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(ctx, args, "hexpireat", MS_PER_S, 0)
}

/// `HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
pub fn hpexpireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiry(ctx, args, "hpexpireat", 1, 0)
}

/// Sets the expiry of fields to the time argument in units of `unit_ms` after `base_ms`. A time that is not in the future removes them.
fn set_expiry(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    command: &str,
    unit_ms: u64,
    base_ms: u64,
) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    // First, as by Redis: a key of another type counts for more than arguments that make no sense.
    let mut hash = txn.edit(key, ObjectType::Hash)?;
    let at_ms = time(args.at(2), unit_ms, base_ms, command)?;
    let mut conditions = Conditions::default();
    let fields_at = if conditions.add(args.at(3)) { 4 } else { 3 };
    let names = fields(args, fields_at, NO_NUMBER)?;

    let is_past = at_ms <= hash.now_ms();
    let mut replies = Vec::with_capacity(names.len());
    for name in names.iter() {
        let reply = match hash.get(name).map(|field| field.expire_at()) {
            None => NO_FIELD,
            Some(old_ms) if !conditions.allow(old_ms.map(|ms| ms as i64), at_ms as i64) => NOT_ALLOWED,
            Some(_) if is_past => {
                hash.remove(name);
                REMOVED
            }
            Some(_) => {
                hash.set_expiry(name, Some(at_ms))?;
                DONE
            }
        };
        replies.push(reply);
    }
    if replies.iter().any(|&reply| reply > NOT_ALLOWED) {
        let is_gone = hash.is_empty();
        hash.finish()?;
        txn.commit()?;
        ctx.notify_removal(is_gone, Events::HASH, if is_past { "hdel" } else { "hexpire" }, key);
    }
    reply_with(&mut ctx.reply, replies.into_iter());
    Ok(())
}

fn reply_with(reply: &mut ReplyWriter<'_>, replies: impl ExactSizeIterator<Item = i64>) {
    reply.array_header(replies.len());
    replies.for_each(|number| reply.integer(number));
}

/// `HTTL key FIELDS numfields field [field ...]`
pub fn httl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with_expiry(ctx, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms).div_ceil(MS_PER_S))
}

/// `HPTTL key FIELDS numfields field [field ...]`
pub fn hpttl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with_expiry(ctx, args, u64::saturating_sub)
}

/// `HEXPIRETIME key FIELDS numfields field [field ...]`
pub fn hexpiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with_expiry(ctx, args, |at_ms, _| at_ms.div_ceil(MS_PER_S))
}

/// `HPEXPIRETIME key FIELDS numfields field [field ...]`
pub fn hpexpiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with_expiry(ctx, args, |at_ms, _| at_ms)
}

fn reply_with_expiry(ctx: &mut Ctx<'_>, args: Args<'_>, shown: impl Fn(u64, u64) -> u64) -> Result<(), CommandError> {
    let view = ctx.view(args.at(1), ObjectType::Hash)?;
    let names = fields(args, 2, NOT_POSITIVE)?;
    let now_ms = ctx.now_ms;
    let replies = (0..names.len()).map(|at| match view.as_ref().and_then(|view| view.get(names.at(at))) {
        None => NO_FIELD,
        Some(field) => field.expire_at().map_or(NO_EXPIRY, |at_ms| shown(at_ms, now_ms) as i64),
    });
    reply_with(&mut ctx.reply, replies);
    Ok(())
}

/// `HPERSIST key FIELDS numfields field [field ...]`
pub fn hpersist(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut hash = txn.edit(key, ObjectType::Hash)?;
    let names = fields(args, 2, NOT_POSITIVE)?;
    let mut replies = Vec::with_capacity(names.len());
    for name in names.iter() {
        let reply = match hash.get(name).map(|field| field.expire_at()) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(_)) => {
                hash.set_expiry(name, None)?;
                DONE
            }
        };
        replies.push(reply);
    }
    if replies.contains(&DONE) {
        hash.finish()?;
        txn.commit()?;
        ctx.notify(Events::HASH, "hpersist", key.name);
    }
    reply_with(&mut ctx.reply, replies.into_iter());
    Ok(())
}

#[cfg(test)]
mod tests;
