//! Counters: the INCR family over 64-bit integers and INCRBYFLOAT.

use super::long_double::{self, LongDouble};
use super::value;
use crate::command::parse::{integer, integer_arg};
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;
use crate::store::StrValue;

/// Digits of the longest 64-bit integer, its sign included.
const MAX_INTEGER_CHARS: usize = 20;

/// `INCR key`
pub fn incr(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    add(ctx, args.at(1), 1)
}

/// `DECR key`
pub fn decr(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    add(ctx, args.at(1), -1)
}

/// `INCRBY key increment`
pub fn incrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = integer_arg(args.at(2))?;
    add(ctx, args.at(1), by)
}

/// `DECRBY key decrement`
pub fn decrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = integer_arg(args.at(2))?;
    let by = by.checked_neg().ok_or(CommandError::fixed("ERR decrement would overflow"))?;
    add(ctx, args.at(1), by)
}

/// `INCRBYFLOAT key increment`
pub fn incrbyfloat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let entry = txn.get(key);
    let is_new = entry.is_none();
    let old = match value::string_of(entry)? {
        Some(value) => float_of(value).ok_or(CommandError::NOT_FLOAT)?,
        None => LongDouble::ZERO,
    };
    let by = long_double::parse(args.at(2)).ok_or(CommandError::NOT_FLOAT)?;
    let sum = old.add(by).ok_or(CommandError::fixed("ERR increment would produce NaN or Infinity"))?;
    let text = sum.to_text();
    value::set(&mut txn, key, text.as_bytes(), entry.and_then(|entry| entry.expire_at()))?;
    txn.commit()?;
    ctx.notify_write(is_new, Events::STRING, "incrbyfloat", key);
    ctx.reply.bulk(text.as_bytes());
    Ok(())
}

fn add(ctx: &mut Ctx<'_>, name: &[u8], by: i64) -> Result<(), CommandError> {
    let key = ctx.key(name);
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let entry = txn.get(key);
    let is_new = entry.is_none();
    let old = match value::string_of(entry)? {
        Some(value) => integer_of(value).ok_or(CommandError::NOT_INTEGER)?,
        None => 0,
    };
    let sum = old.checked_add(by).ok_or(CommandError::fixed("ERR increment or decrement would overflow"))?;
    let mut digits = [0; MAX_INTEGER_CHARS];
    txn.set_inline(key, decimal(sum, &mut digits), entry.and_then(|entry| entry.expire_at()))?;
    txn.commit()?;
    ctx.notify_write(is_new, Events::STRING, "incrby", key);
    ctx.reply.integer(sum);
    Ok(())
}

fn integer_of(value: StrValue<'_>) -> Option<i64> {
    // Longer texts are no integers; this also keeps long values from being joined.
    (value.len() <= MAX_INTEGER_CHARS).then(|| integer(&value.bytes()))?
}

fn float_of(value: StrValue<'_>) -> Option<LongDouble> {
    (value.len() <= long_double::MAX_TEXT_BYTES).then(|| long_double::parse(&value.bytes()))?
}

/// The decimal text of `value`, written into `buf` without allocating.
fn decimal(value: i64, buf: &mut [u8; MAX_INTEGER_CHARS]) -> &[u8] {
    let mut at = buf.len();
    let mut rest = value.unsigned_abs();
    // Ends: each turn divides by ten. 19 digits and a sign fit.
    loop {
        at -= 1;
        buf[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        buf[at] = b'-';
    }
    &buf[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_texts_are_those_of_the_standard_library() {
        for value in [0, 1, -1, 9, 10, -10, 1234567890, i64::MAX, i64::MIN, i64::MIN + 1] {
            assert_eq!(decimal(value, &mut [0; MAX_INTEGER_CHARS]), value.to_string().as_bytes());
        }
    }
}
