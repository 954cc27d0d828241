//! LPUSH, RPUSH, LPUSHX, RPUSHX.

use super::EndEvents;
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;
use crate::store::End;

pub(super) fn lpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Left, false)
}

pub(super) fn rpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Right, false)
}

pub(super) fn lpushx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Left, true)
}

pub(super) fn rpushx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Right, true)
}

/// Pushes all values, one after the other, at an end; with `only_existing` onto a list that is there.
fn push(ctx: &mut Ctx<'_>, args: Args<'_>, end: End, only_existing: bool) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut edit = txn.list(key)?;
    if only_existing && edit.base().is_none() {
        ctx.reply.integer(0);
        return Ok(());
    }
    for value in args.from(2).iter() {
        edit.push(end, value)?;
    }
    let (len, is_new) = (edit.len(), edit.base().is_none());
    edit.finish()?;
    txn.commit()?;
    ctx.notify_write(is_new, Events::LIST, end.push_event(), key);
    ctx.reply.integer(len as i64);
    Ok(())
}
