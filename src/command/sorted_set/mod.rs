//! Commands on sorted sets: members in the order of their scores, and of their names where scores are equal.
//!
//! A member's record has the name as its sub-key and the score as its value. Ranks and ranges are found in the counting tree that DRAM has beside the
//! records, in O(log n).

mod add;
mod algebra;
mod block;
mod interval;
mod look;
mod pairs;
pub(super) mod pop;
mod remove;
pub(super) mod score;
mod select;
mod store;
#[cfg(test)]
mod tests;

use super::collection::is_packed;
use super::{Arity, CommandSpec, Flags, Group, Handler, KeySpec, Look, Settings, Together};
use crate::log::ObjectType;
use crate::store::View;

pub(super) use add::{Rules, add};
pub(super) use store::members as store_members;

const FAST_READ: Flags = Flags::READONLY.union(Flags::FAST);
const READ: Flags = Flags::READONLY;
/// Of several sets, whose keys follow a count.
const READ_MANY: Flags = Flags::READONLY.union(Flags::MOVABLEKEYS);
const FAST_GROW: Flags = Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST);
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);
const GROW_FROM_MANY: Flags = GROW.union(Flags::MOVABLEKEYS);
const FAST_SHRINK: Flags = Flags::WRITE.union(Flags::FAST);
const SHRINK: Flags = Flags::WRITE;
const WAIT: Flags = Flags::WRITE.union(Flags::BLOCKING);

const LISTS: &str = "O(log(N)+M) for M members returned of N; writes nothing";
const REMOVES_RANGE: &str = "O(log(N)+M) for M members removed of N, or O(N-M) if 16 times fewer are left; in one batch the least of: one record of \
    the range and a tombstone for each member whose score has changed lately, a tombstone for each, a record for each that is left; one tombstone \
    when none is left";
const POPS: &str = "O(log(N)*M) for M members popped of N; one tombstone each, all in one batch: 2 lines and one fence for a short one";
const STORES: &str =
    "O(N+M*log(M)) for M members stored of inputs with N; a head and one record for each member stored";

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Pops members as ZMPOP does, waiting for some if there are none.",
        complexity: POPS,
        keys: KeySpec::Counted { at: 2 },
        ..command("bzmpop", "7.0.0", Arity::AtLeast(5), WAIT.union(Flags::MOVABLEKEYS), block::bzmpop)
    },
    CommandSpec {
        summary: "Pops the member of the highest score of the first of several sorted sets that is there, waiting for one if none is.",
        complexity: POPS,
        keys: KeySpec::Range { first: 1, last: -2, step: 1 },
        ..command("bzpopmax", "5.0.0", Arity::AtLeast(3), WAIT.union(Flags::FAST), block::bzpopmax)
    },
    CommandSpec {
        summary: "Pops the member of the lowest score of the first of several sorted sets that is there, waiting for one if none is.",
        complexity: POPS,
        keys: KeySpec::Range { first: 1, last: -2, step: 1 },
        ..command("bzpopmin", "5.0.0", Arity::AtLeast(3), WAIT.union(Flags::FAST), block::bzpopmin)
    },
    CommandSpec {
        summary: "Adds members to a sorted set, or changes their scores.",
        complexity: "O(log(N)) for each member; one record each, all in one batch: 2 or 3 lines and one fence for a short one",
        together: Some(Together::members(ObjectType::SortedSet, (3, 2), add::stage_zadd)),
        ..command("zadd", "1.2.0", Arity::AtLeast(4), FAST_GROW, add::zadd)
    },
    CommandSpec {
        summary: "Counts the members of a sorted set.",
        complexity: "O(1); writes nothing",
        ..look("zcard", "1.2.0", Arity::Exact(2), &look::ZCARD, |ctx, args| look::ZCARD.alone(ctx, args))
    },
    CommandSpec {
        summary: "Counts the members of a sorted set with scores in a range.",
        complexity: "O(log(N)); writes nothing",
        ..command("zcount", "2.0.0", Arity::Exact(4), FAST_READ, look::zcount)
    },
    CommandSpec {
        summary: "Lists what is in the first of several sorted sets only.",
        complexity: "O(L+M*log(M)) for M members returned of inputs with L; writes nothing",
        keys: KeySpec::Counted { at: 1 },
        ..command("zdiff", "6.2.0", Arity::AtLeast(3), READ_MANY, algebra::zdiff)
    },
    CommandSpec {
        summary: "Stores what is in the first of several sorted sets only.",
        complexity: STORES,
        keys: KeySpec::TargetAndCounted { target: 1, at: 2 },
        ..command("zdiffstore", "6.2.0", Arity::AtLeast(4), GROW_FROM_MANY, algebra::zdiffstore)
    },
    CommandSpec {
        summary: "Adds to the score of a member of a sorted set.",
        complexity: "O(log(N)); one record: 2 or 3 lines and one fence for a short one",
        ..command("zincrby", "1.2.0", Arity::Exact(4), FAST_GROW, add::zincrby)
    },
    CommandSpec {
        summary: "Lists what is in all of several sorted sets.",
        complexity: "O(N*K+M*log(M)) for K inputs, the smallest with N members, and M returned; writes nothing",
        keys: KeySpec::Counted { at: 1 },
        ..command("zinter", "6.2.0", Arity::AtLeast(3), READ_MANY, algebra::zinter)
    },
    CommandSpec {
        summary: "Counts what is in all of several sorted sets.",
        complexity: "O(N*K) for K inputs, the smallest with N members; writes nothing",
        keys: KeySpec::Counted { at: 1 },
        ..command("zintercard", "7.0.0", Arity::AtLeast(3), READ_MANY, algebra::zintercard)
    },
    CommandSpec {
        summary: "Stores what is in all of several sorted sets.",
        complexity: "O(N*K+M*log(M)) for K inputs, the smallest with N members, and M stored; a head and one record for each member stored",
        keys: KeySpec::TargetAndCounted { target: 1, at: 2 },
        ..command("zinterstore", "2.0.0", Arity::AtLeast(4), GROW_FROM_MANY, algebra::zinterstore)
    },
    CommandSpec {
        summary: "Counts the members of a sorted set of one score with names in a range.",
        complexity: "O(log(N)); writes nothing",
        ..command("zlexcount", "2.8.9", Arity::Exact(4), FAST_READ, look::zlexcount)
    },
    CommandSpec {
        summary: "Removes and returns members of the lowest or highest scores of the first sorted set that is there.",
        complexity: POPS,
        keys: KeySpec::Counted { at: 1 },
        ..command("zmpop", "7.0.0", Arity::AtLeast(4), SHRINK.union(Flags::MOVABLEKEYS), pop::zmpop)
    },
    CommandSpec {
        summary: "Gives the scores of members of a sorted set.",
        complexity: "O(N) for N members; writes nothing",
        ..look("zmscore", "6.2.0", Arity::AtLeast(3), &look::ZMSCORE, |ctx, args| look::ZMSCORE.alone(ctx, args))
    },
    CommandSpec {
        summary: "Removes and returns members of the highest scores of a sorted set.",
        complexity: POPS,
        ..command("zpopmax", "5.0.0", Arity::AtLeast(2), FAST_SHRINK, pop::zpopmax)
    },
    CommandSpec {
        summary: "Removes and returns members of the lowest scores of a sorted set.",
        complexity: POPS,
        ..command("zpopmin", "5.0.0", Arity::AtLeast(2), FAST_SHRINK, pop::zpopmin)
    },
    CommandSpec {
        summary: "Names members of a sorted set at random.",
        complexity: "O(N) for N members returned; writes nothing",
        ..command("zrandmember", "6.2.0", Arity::AtLeast(2), READ, look::zrandmember)
    },
    CommandSpec {
        summary: "Lists members of a sorted set by rank, score or name.",
        complexity: LISTS,
        ..command("zrange", "1.2.0", Arity::AtLeast(4), READ, select::zrange)
    },
    CommandSpec {
        summary: "Lists members of a sorted set of one score with names in a range.",
        complexity: LISTS,
        ..command("zrangebylex", "2.8.9", Arity::AtLeast(4), READ, select::zrangebylex)
    },
    CommandSpec {
        summary: "Lists members of a sorted set with scores in a range.",
        complexity: LISTS,
        ..command("zrangebyscore", "1.0.5", Arity::AtLeast(4), READ, select::zrangebyscore)
    },
    CommandSpec {
        summary: "Stores a part of a sorted set as another one.",
        complexity: "O(log(N)+M*log(M)) for M members stored of N; a head and one record for each member stored",
        keys: KeySpec::two(1),
        ..command("zrangestore", "6.2.0", Arity::AtLeast(5), GROW, select::zrangestore)
    },
    CommandSpec {
        summary: "Gives the rank of a member of a sorted set, counted from the lowest score.",
        complexity: "O(log(N)); writes nothing",
        ..command("zrank", "2.0.0", Arity::AtLeast(3), FAST_READ, look::zrank)
    },
    CommandSpec {
        summary: "Removes members of a sorted set.",
        complexity: "O(log(N)) for each member; one tombstone each, all in one batch: 2 lines and one fence for a short one",
        together: Some(Together::removing(ObjectType::SortedSet)),
        ..command("zrem", "1.2.0", Arity::AtLeast(3), FAST_SHRINK, remove::zrem)
    },
    CommandSpec {
        summary: "Removes the members of a sorted set of one score with names in a range.",
        complexity: REMOVES_RANGE,
        ..command("zremrangebylex", "2.8.9", Arity::Exact(4), SHRINK, remove::zremrangebylex)
    },
    CommandSpec {
        summary: "Removes the members of a sorted set with ranks in a range.",
        complexity: REMOVES_RANGE,
        ..command("zremrangebyrank", "2.0.0", Arity::Exact(4), SHRINK, remove::zremrangebyrank)
    },
    CommandSpec {
        summary: "Removes the members of a sorted set with scores in a range.",
        complexity: REMOVES_RANGE,
        ..command("zremrangebyscore", "1.2.0", Arity::Exact(4), SHRINK, remove::zremrangebyscore)
    },
    CommandSpec {
        summary: "Lists members of a sorted set by rank, from the highest score down.",
        complexity: LISTS,
        ..command("zrevrange", "1.2.0", Arity::AtLeast(4), READ, select::zrevrange)
    },
    CommandSpec {
        summary: "Lists members of a sorted set of one score with names in a range, from the last down.",
        complexity: LISTS,
        ..command("zrevrangebylex", "2.8.9", Arity::AtLeast(4), READ, select::zrevrangebylex)
    },
    CommandSpec {
        summary: "Lists members of a sorted set with scores in a range, from the highest down.",
        complexity: LISTS,
        ..command("zrevrangebyscore", "2.2.0", Arity::AtLeast(4), READ, select::zrevrangebyscore)
    },
    CommandSpec {
        summary: "Gives the rank of a member of a sorted set, counted from the highest score.",
        complexity: "O(log(N)); writes nothing",
        ..command("zrevrank", "2.0.0", Arity::AtLeast(3), FAST_READ, look::zrevrank)
    },
    CommandSpec {
        summary: "Walks over the members of a sorted set in steps.",
        complexity: "O(1) for each call, O(N) for a whole walk over N members; writes nothing",
        ..command("zscan", "2.8.0", Arity::AtLeast(3), READ, look::zscan)
    },
    CommandSpec {
        summary: "Gives the score of a member of a sorted set.",
        complexity: "O(1); writes nothing",
        ..look("zscore", "1.2.0", Arity::Exact(3), &look::ZSCORE, |ctx, args| look::ZSCORE.alone(ctx, args))
    },
    CommandSpec {
        summary: "Lists what is in any of several sorted sets.",
        complexity: "O(N+M*log(M)) for M members returned of inputs with N; writes nothing",
        keys: KeySpec::Counted { at: 1 },
        ..command("zunion", "6.2.0", Arity::AtLeast(3), READ_MANY, algebra::zunion)
    },
    CommandSpec {
        summary: "Stores what is in any of several sorted sets.",
        complexity: STORES,
        keys: KeySpec::TargetAndCounted { target: 1, at: 2 },
        ..command("zunionstore", "2.0.0", Arity::AtLeast(4), GROW_FROM_MANY, algebra::zunionstore)
    },
];

/// A command on the sorted set that its first argument names.
const fn command(name: &'static str, since: &'static str, arity: Arity, flags: Flags, run: Handler) -> CommandSpec {
    CommandSpec { flags, keys: KeySpec::one(1), ..CommandSpec::new(name, since, Group::SortedSet, arity, run) }
}

/// One that runs together with its neighbours.
const fn look(name: &'static str, since: &'static str, arity: Arity, look: &'static Look, run: Handler) -> CommandSpec {
    CommandSpec { look: Some(look), ..command(name, since, arity, FAST_READ, run) }
}

/// What Redis would keep it in.
pub(super) fn encoding(view: &View<'_>, settings: &Settings) -> &'static str {
    if is_packed(view, settings, "zset") { "listpack" } else { "skiplist" }
}
