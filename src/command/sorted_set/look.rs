//! Commands that read one sorted set, but for those that list a part of it.

use super::interval::Interval;
use super::pairs;
use crate::command::collection::{Random, random_count, scan};
use crate::command::parse::{integer_arg, is_word};
use crate::command::{CommandError, Ctx, Look};
use crate::log::ObjectType;
use crate::protocol::{Args, ReplyWriter};
use crate::store::View;

fn view<'a>(ctx: &Ctx<'a>, args: Args<'_>) -> Result<Option<View<'a>>, CommandError> {
    ctx.view(args.at(1), ObjectType::SortedSet)
}

fn score(reply: &mut ReplyWriter<'_>, view: Option<&View<'_>>, name: &[u8]) {
    match view.and_then(|view| view.get(name)) {
        Some(element) => reply.double(element.score()),
        None => reply.null(),
    }
}

/// `ZCARD key`
pub const ZCARD: Look = Look::len(ObjectType::SortedSet);

/// `ZSCORE key member`
pub const ZSCORE: Look =
    Look { kind: ObjectType::SortedSet, by_name: true, reply: |reply, view, args| score(reply, view, args.at(2)) };

/// `ZMSCORE key member [member ...]`
pub const ZMSCORE: Look = Look {
    kind: ObjectType::SortedSet,
    by_name: true,
    reply: |reply, view, args| {
        reply.array_header(args.len() - 2);
        args.from(2).iter().for_each(|member| score(reply, view, member));
    },
};

/// `ZRANK key member [WITHSCORE]`
pub fn zrank(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    rank(ctx, args, "zrank", |rank, _| rank)
}

/// `ZREVRANK key member [WITHSCORE]`
pub fn zrevrank(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    rank(ctx, args, "zrevrank", |rank, len| len - 1 - rank)
}

fn rank(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    command: &str,
    counted: fn(usize, usize) -> usize,
) -> Result<(), CommandError> {
    let with_score = match args.get(3) {
        _ if args.len() > 4 => return Err(CommandError::arity(command)),
        None => false,
        Some(word) if is_word(word, "WITHSCORE") => true,
        Some(_) => return Err(CommandError::SYNTAX),
    };
    let view = view(ctx, args)?;
    let found = view.as_ref().and_then(|view| {
        let element = view.get(args.at(2))?;
        let rank = view.rank_of(element.score(), element.name());
        Some((counted(rank, view.len()) as i64, element.score()))
    });
    match found {
        Some((rank, score)) if with_score => {
            ctx.reply.array_header(2);
            ctx.reply.integer(rank);
            ctx.reply.double(score);
        }
        Some((rank, _)) => ctx.reply.integer(rank),
        None if with_score => ctx.reply.null_array(),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// `ZCOUNT key min max`
pub fn zcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let interval = Interval::by_score(args.at(2), args.at(3))?;
    count(ctx, args, interval)
}

/// `ZLEXCOUNT key min max`
pub fn zlexcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let interval = Interval::by_name(args.at(2), args.at(3))?;
    count(ctx, args, interval)
}

fn count(ctx: &mut Ctx<'_>, args: Args<'_>, interval: Interval<'_>) -> Result<(), CommandError> {
    let count = view(ctx, args)?.map_or(0, |view| interval.ranks(&view, false).len());
    ctx.reply.integer(count as i64);
    Ok(())
}

/// `ZRANDMEMBER key [count [WITHSCORES]]`
pub fn zrandmember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(count) = args.get(2) else {
        match view(ctx, args)? {
            Some(view) => ctx.reply.bulk(view.member_at(Random::new().below(view.len())).name()),
            None => ctx.reply.null(),
        }
        return Ok(());
    };
    let with_scores = args.len() > 3;
    integer_arg(count)?;
    if with_scores && !(args.len() == 4 && is_word(args.at(3), "WITHSCORES")) {
        return Err(CommandError::SYNTAX);
    }
    let count = random_count(count, with_scores)?;
    let Some(view) = view(ctx, args)? else {
        ctx.reply.array_header(0);
        return Ok(());
    };
    let (all, places) = ctx.random_places(count, view.len(), with_scores)?;
    pairs::header(&mut ctx.reply, all, with_scores);
    for place in places {
        let element = view.member_at(place);
        pairs::write(&mut ctx.reply, element.name(), element.score(), with_scores);
    }
    Ok(())
}

/// `ZSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]`
pub fn zscan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    scan(ctx, args, ObjectType::SortedSet, Some(|reply, member| reply.bulk_double(member.score())))
}
