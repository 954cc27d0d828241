//! LPUSH, RPUSH, LPUSHX, RPUSHX.

use super::EndEvents;
use crate::command::{Answer, CommandError, Ctx, Events};
use crate::protocol::Args;
use crate::store::{End, ListEdit};

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
    let mut list = txn.list(key)?;
    if only_existing && list.base().is_none() {
        ctx.reply.integer(0);
        return Ok(());
    }
    let answer = stage(&mut list, args, end)?;
    let is_new = list.base().is_none();
    list.finish()?;
    txn.commit()?;
    ctx.notify_write(is_new, Events::LIST, end.push_event(), key);
    answer.write(&mut ctx.reply);
    Ok(())
}

/// LPUSH in a run.
pub(super) fn stage_lpush(list: &mut ListEdit<'_, '_>, args: Args<'_>) -> Result<Answer, CommandError> {
    stage(list, args, End::Left)
}

/// RPUSH in a run.
pub(super) fn stage_rpush(list: &mut ListEdit<'_, '_>, args: Args<'_>) -> Result<Answer, CommandError> {
    stage(list, args, End::Right)
}

fn stage(list: &mut ListEdit<'_, '_>, args: Args<'_>, end: End) -> Result<Answer, CommandError> {
    for value in args.from(2).iter() {
        list.push(end, value)?;
    }
    Ok(Answer::count(list.len()))
}
