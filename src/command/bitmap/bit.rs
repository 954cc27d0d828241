//! SETBIT and GETBIT.

use super::{bit_offset, value};
use crate::command::parse::integer;
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;
use crate::store::StrValue;

/// `GETBIT key offset`
pub fn getbit(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let offset = bit_offset(ctx.shared, args.at(2), None)?;
    let byte = value::read(ctx, args.at(1))?.map_or(0, |found| byte_at(found, offset >> 3));
    ctx.reply.integer(i64::from(byte & mask(offset) != 0));
    Ok(())
}

/// `SETBIT key offset value`
pub fn setbit(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let offset = bit_offset(ctx.shared, args.at(2), None)?;
    let on = match integer(args.at(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(CommandError::fixed("ERR bit is not an integer or out of range")),
    };
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let found = value::locked(&txn, key)?;
    let old = found.map_or(0, |found| byte_at(found, offset >> 3));
    let new = if on { old | mask(offset) } else { old & !mask(offset) };
    let is_new = found.is_none();
    let grows = found.is_none_or(|found| found.len() <= offset >> 3);
    if grows || new != old {
        txn.patch(key, &[(offset >> 3, &[new])])?;
        txn.commit()?;
        ctx.notify_write(is_new, Events::STRING, "setbit", key);
    }
    ctx.reply.integer(i64::from(old & mask(offset) != 0));
    Ok(())
}

/// Where a bit is in its byte.
fn mask(offset: usize) -> u8 {
    0x80 >> (offset & 7)
}

/// A byte of the value, 0 beyond its end.
fn byte_at(value: StrValue<'_>, at: usize) -> u8 {
    if at < value.len() { value.range(at, at + 1)[0] } else { 0 }
}
