//! ZREM and the ZREMRANGE commands.

use super::interval::Interval;
use crate::command::{CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::Args;

/// `ZREM key member [member ...]`
pub fn zrem(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut set = txn.edit(key, ObjectType::SortedSet)?;
    let removed = set.remove_all(args.from(2).iter());
    if removed > 0 {
        let is_gone = set.is_empty();
        set.finish()?;
        txn.commit()?;
        ctx.notify_removal(is_gone, Events::ZSET, "zrem", key);
    }
    ctx.reply.integer(removed as i64);
    Ok(())
}

/// `ZREMRANGEBYRANK key start stop`
pub fn zremrangebyrank(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove_interval(ctx, args.at(1), Interval::by_rank(args.at(2), args.at(3))?, "zremrangebyrank")
}

/// `ZREMRANGEBYSCORE key min max`
pub fn zremrangebyscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove_interval(ctx, args.at(1), Interval::by_score(args.at(2), args.at(3))?, "zremrangebyscore")
}

/// `ZREMRANGEBYLEX key min max`
pub fn zremrangebylex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove_interval(ctx, args.at(1), Interval::by_name(args.at(2), args.at(3))?, "zremrangebylex")
}

fn remove_interval(
    ctx: &mut Ctx<'_>,
    name: &[u8],
    interval: Interval<'_>,
    event: &'static str,
) -> Result<(), CommandError> {
    let key = ctx.key(name);
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let (mut removed, mut is_gone) = (0, false);
    if let Some(view) = txn.view(key, ObjectType::SortedSet)? {
        let ranks = interval.ranks(&view, false);
        (removed, is_gone) = (ranks.len(), ranks.len() == view.len());
        txn.remove_ranks(key, view, ranks)?;
    }
    txn.commit()?;
    if removed > 0 {
        ctx.notify_removal(is_gone, Events::ZSET, event, key);
    }
    ctx.reply.integer(removed as i64);
    Ok(())
}
