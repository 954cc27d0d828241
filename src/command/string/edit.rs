//! APPEND and SETRANGE: writes into a value, which touch only the chunks that change.

use super::value::{self, check_length};
use crate::command::parse::integer_arg;
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;

/// `APPEND key value`
pub fn append(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, bytes) = (ctx.key(args.at(1)), args.at(2));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let old = value::locked(&txn, key)?;
    let is_new = old.is_none();
    let len = match old {
        // A new key holds the value just as SET would have stored it.
        None => {
            value::set(&mut txn, key, bytes, None)?;
            0
        }
        Some(old) => {
            check_length(ctx.shared, old.len(), bytes.len())?;
            if !bytes.is_empty() {
                txn.patch(key, &[(old.len(), bytes)])?;
            }
            old.len()
        }
    };
    txn.commit()?;
    ctx.notify_write(is_new, Events::STRING, "append", key);
    ctx.reply.integer((len + bytes.len()) as i64);
    Ok(())
}

/// `SETRANGE key offset value`
pub fn setrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let offset =
        usize::try_from(integer_arg(args.at(2))?).map_err(|_| CommandError::fixed("ERR offset is out of range"))?;
    let (key, bytes) = (ctx.key(args.at(1)), args.at(3));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let old = value::locked(&txn, key)?;
    let is_new = old.is_none();
    let old_len = old.map_or(0, |old| old.len());
    let mut len = old_len;
    if !bytes.is_empty() {
        check_length(ctx.shared, offset, bytes.len())?;
        txn.patch(key, &[(offset, bytes)])?;
        txn.commit()?;
        ctx.notify_write(is_new, Events::STRING, "setrange", key);
        len = old_len.max(offset + bytes.len());
    }
    ctx.reply.integer(len as i64);
    Ok(())
}
