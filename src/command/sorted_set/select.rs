//! ZRANGE and its kin: parts of a sorted set, listed or stored.

use super::interval::Interval;
use super::{pairs, store};
use crate::command::lookups::Lookups;
use crate::command::parse::{integer_arg, is_word};
use crate::command::{CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::{Element, View};
use std::ops::Range;

/// What the ends of the range are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Name,
}

/// `ZRANGE key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`
pub fn zrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, &Query::parse(args.from(1), None, None, false)?)
}

/// `ZREVRANGE key start stop [WITHSCORES]`
pub fn zrevrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, &Query::parse(args.from(1), Some(By::Rank), Some(true), false)?)
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
pub fn zrangebyscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, &Query::parse(args.from(1), Some(By::Score), Some(false), false)?)
}

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`
pub fn zrevrangebyscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, &Query::parse(args.from(1), Some(By::Score), Some(true), false)?)
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`
pub fn zrangebylex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, &Query::parse(args.from(1), Some(By::Name), Some(false), false)?)
}

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`
pub fn zrevrangebylex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, &Query::parse(args.from(1), Some(By::Name), Some(true), false)?)
}

/// `ZRANGESTORE dst src start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count]`
pub fn zrangestore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let query = Query::parse(args.from(2), None, None, true)?;
    let (target, source) = (ctx.key(args.at(1)), ctx.key(args.at(2)));
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let mut txn = ctx.store.write(ctx.worker, &[target, source], ctx.now_ms, ctx.guard);
    let view = lookups.view(&txn, source, ObjectType::SortedSet)?;
    let mut found = Vec::new();
    if let Some(view) = &view {
        let ranks = query.ranks(view);
        found.extend(view.iter_from(ranks.start).take(ranks.len()));
    }
    drop(view);
    let members = found.iter().map(|element| (element.name(), element.score()));
    let (stored, was_there) = (found.len(), store::members(&mut txn, target, members)?);
    txn.commit()?;
    ctx.notify_store(stored > 0, was_there, Events::ZSET, "zrangestore", target);
    ctx.reply.integer(stored as i64);
    Ok(())
}

fn list(ctx: &mut Ctx<'_>, args: Args<'_>, query: &Query<'_>) -> Result<(), CommandError> {
    let Some(view) = ctx.view(args.at(1), ObjectType::SortedSet)? else {
        ctx.reply.array_header(0);
        return Ok(());
    };
    let ranks = query.ranks(&view);
    pairs::header(&mut ctx.reply, ranks.len(), query.with_scores);
    visit(&view, ranks, query.reversed, |element| {
        pairs::write(&mut ctx.reply, element.name(), element.score(), query.with_scores);
    });
    Ok(())
}

/// Calls `act` for the members at these ranks, from the first or from the last on.
fn visit<'g>(view: &View<'g>, ranks: Range<usize>, reversed: bool, act: impl FnMut(Element<'g>)) {
    let forward = view.iter_from(ranks.start).take(ranks.len());
    if reversed {
        let all: Vec<_> = forward.collect();
        all.into_iter().rev().for_each(act);
    } else {
        forward.for_each(act);
    }
}

struct Query<'r> {
    interval: Interval<'r>,
    reversed: bool,
    /// Of the members in the interval these many are passed over, and then so many taken: all if negative.
    limit: (i64, i64),
    with_scores: bool,
}

impl<'r> Query<'r> {
    /// Reads `key min max` and the options behind. What the command's name says already is no option.
    fn parse(args: Args<'r>, by: Option<By>, reversed: Option<bool>, stores: bool) -> Result<Self, CommandError> {
        let (mut limit, mut with_scores, mut chosen, mut turned) = ((0, -1), false, None, false);
        let mut at = 3;
        // Ends: `at` grows each turn.
        while let Some(word) = args.get(at) {
            match word {
                _ if !stores && is_word(word, "WITHSCORES") => with_scores = true,
                _ if args.len() - at > 2 && is_word(word, "LIMIT") => {
                    limit = (integer_arg(args.at(at + 1))?, integer_arg(args.at(at + 2))?);
                    at += 2;
                }
                _ if reversed.is_none() && !turned && is_word(word, "REV") => turned = true,
                _ if by.or(chosen).is_none() && is_word(word, "BYLEX") => chosen = Some(By::Name),
                _ if by.or(chosen).is_none() && is_word(word, "BYSCORE") => chosen = Some(By::Score),
                _ => return Err(CommandError::SYNTAX),
            }
            at += 1;
        }
        let (by, reversed) = (by.or(chosen).unwrap_or(By::Rank), reversed.unwrap_or(turned));
        if by == By::Rank && limit.1 != -1 {
            return Err(CommandError::fixed(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if by == By::Name && with_scores {
            return Err(CommandError::fixed("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let (first, second) = (args.at(1), args.at(2));
        let (min, max) = if reversed { (second, first) } else { (first, second) };
        let interval = match by {
            By::Rank => Interval::by_rank(first, second)?,
            By::Score => Interval::by_score(min, max)?,
            By::Name => Interval::by_name(min, max)?,
        };
        let limit = if by == By::Rank { (0, -1) } else { limit };
        Ok(Self { interval, reversed, limit, with_scores })
    }

    /// The ranks of the members asked for, the limit taken into account. O(log n).
    fn ranks(&self, view: &View<'_>) -> Range<usize> {
        let Range { start, end } = self.interval.ranks(view, self.reversed);
        let Ok(offset) = usize::try_from(self.limit.0) else { return start..start };
        let left = (end - start).saturating_sub(offset);
        let taken = usize::try_from(self.limit.1).map_or(left, |count| left.min(count));
        match (taken, self.reversed) {
            (0, _) => start..start,
            (_, false) => start + offset..start + offset + taken,
            (_, true) => end - offset - taken..end - offset,
        }
    }
}
