//! ZREM and the ZREMRANGE commands.

use super::interval::Interval;
use crate::command::{CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::{Element, Key, StoreError, Txn, View};
use std::ops::Range;

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
        remove_ranks(&mut txn, key, view, ranks)?;
    }
    txn.commit()?;
    if removed > 0 {
        ctx.notify_removal(is_gone, Events::ZSET, event, key);
    }
    ctx.reply.integer(removed as i64);
    Ok(())
}

/// Stages the removal of the members at these ranks.
///
/// That is a tombstone for each; or what is left as a new set, when that is less; or, when nothing is left, the key's own tombstone.
///
/// # Errors
/// [`StoreError::OutOfSpace`], [`StoreError::DamagedRecord`].
pub fn remove_ranks<'a>(
    txn: &mut Txn<'a>,
    key: Key<'_>,
    view: View<'a>,
    ranks: Range<usize>,
) -> Result<(), StoreError> {
    let (len, expire_at) = (view.len(), view.entry().expire_at());
    if ranks.len() == len {
        drop(view);
        return txn.delete(key).map(drop);
    }
    if ranks.len() <= len - ranks.len() {
        let removed: Vec<Element<'a>> = view.iter_from(ranks.start).take(ranks.len()).collect();
        drop(view);
        let mut set = txn.edit(key, ObjectType::SortedSet)?;
        for element in &removed {
            set.remove(element.name());
        }
        return set.finish();
    }
    let (Some(first), Some(last)) = (view.nth(ranks.start), view.nth(ranks.end - 1)) else { return Ok(()) };
    let place = |element: &Element<'a>| (element.score(), element.name());
    let is_kept = |element: &Element<'a>| place(element) < place(&first) || place(element) > place(&last);
    // In the order of the places that a scan counts down: so none that stays moves to where a scan has been.
    let kept: Vec<Element<'a>> = view.members_in(0..len).filter(is_kept).collect();
    drop(view);
    let mut set = txn.edit_new(key, ObjectType::SortedSet, expire_at);
    for element in kept.into_iter().rev() {
        set.add(element.name(), element.value())?;
    }
    set.finish()
}
