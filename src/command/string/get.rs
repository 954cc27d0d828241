//! GET and the commands that return one value or a part of it.

use super::expiry::{Expiry, expire_at, parse_getex};
use super::value;
use crate::command::lookups::Lookups;
use crate::command::parse::integer_arg;
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;
use bytes::BufMut;
use std::ops::Range;

/// `GET key`
pub fn get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let found = value::read(ctx, args.at(1))?;
    value::reply_or_null(&mut ctx.reply, found);
    Ok(())
}

/// `STRLEN key`
pub fn strlen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let len = value::read(ctx, args.at(1))?.map_or(0, |value| value.len());
    ctx.reply.integer(len as i64);
    Ok(())
}

/// `GETDEL key`
pub fn getdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let found = value::string_of(lookups.get(&txn, key))?;
    if found.is_none() {
        ctx.reply.null();
        return Ok(());
    }
    txn.delete(key)?;
    txn.commit()?;
    value::reply_or_null(&mut ctx.reply, found);
    ctx.notify(Events::GENERIC, "del", key.name);
    Ok(())
}

/// `GETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST]`
pub fn getex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let option = parse_getex(args.from(2))?;
    if option == Expiry::Unsaid {
        return get(ctx, args);
    }
    let key = ctx.key(args.at(1));
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let entry = lookups.get(&txn, key);
    let found = value::string_of(entry)?;
    let Some(entry) = entry else {
        ctx.reply.null();
        return Ok(());
    };
    let expiry = match option {
        // Read this late, so that an absent key is answered with null whatever the number.
        Expiry::Time(clocking, text) => Some(expire_at(clocking, text, ctx.now_ms, "getex")?),
        _ => None,
    };
    let is_past = expiry.is_some_and(|at| at <= ctx.now_ms);
    let event = match expiry {
        Some(_) => Some(if is_past { "del" } else { "expire" }),
        None => entry.expire_at().map(|_| "persist"),
    };
    if is_past {
        txn.delete(key)?;
    } else if expiry != entry.expire_at() {
        txn.set_expiry(key, expiry)?;
    }
    txn.commit()?;
    value::reply_or_null(&mut ctx.reply, found);
    event.into_iter().for_each(|event| ctx.notify(Events::GENERIC, event, key.name));
    Ok(())
}

/// `GETRANGE key start end`, with both ends counted in and negative ones counted from the end.
pub fn getrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (start, end) = (integer_arg(args.at(2))?, integer_arg(args.at(3))?);
    let Some(found) = value::read(ctx, args.at(1))? else {
        ctx.reply.bulk(b"");
        return Ok(());
    };
    let range = byte_range(start, end, found.len());
    ctx.reply.bulk_header(range.len());
    let out = ctx.reply.raw();
    out.reserve(range.len() + 2);
    if !range.is_empty() {
        value::visit(found, range, |bytes| {
            out.put_slice(bytes);
            true
        });
    }
    ctx.reply.bulk_end();
    Ok(())
}

/// The bytes of a value of `len` bytes that `start` and `end` of GETRANGE mean.
fn byte_range(start: i64, end: i64, len: usize) -> Range<usize> {
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let len = len as i64;
    let from_end = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

#[cfg(test)]
mod tests {
    use super::byte_range;

    /// Against the definition: the bytes whose place lies between both ends after negative ones are counted from the
    /// end.
    #[test]
    fn ranges_follow_their_definition() {
        for len in 0..6i64 {
            for start in -8..8i64 {
                for end in -8..8i64 {
                    let place = |at: i64| if at < 0 { (at + len).max(0) } else { at };
                    let both_negative_and_crossed = start < 0 && end < 0 && start > end;
                    let want: Vec<i64> = (0..len)
                        .filter(|&i| !both_negative_and_crossed && place(start) <= i && i <= place(end))
                        .collect();
                    let got: Vec<i64> = byte_range(start, end, len as usize).map(|i| i as i64).collect();
                    assert_eq!(got, want, "len {len}, start {start}, end {end}");
                }
            }
        }
        assert_eq!(byte_range(i64::MIN, i64::MAX, 3), 0..3);
    }
}
