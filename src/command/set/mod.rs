//! Commands on sets.

mod algebra;
mod change;
mod look;
#[cfg(test)]
mod tests;

use super::collection::is_packed;
use super::{Arity, CommandSpec, Flags, Group, Handler, KeySpec, Look, Settings, Together};
use crate::log::ObjectType;
use crate::store::View;

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Adds members to a set and says how many are new.",
        complexity: "O(N) for N members; one record each that is new, all in one batch: 2 lines and one fence for a short one",
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        together: Some(Together::members(ObjectType::Set, (2, 1), change::stage_sadd)),
        ..command("sadd", "1.0.0", Arity::AtLeast(3), change::sadd)
    },
    CommandSpec {
        summary: "Removes members of a set and says how many were there; without members the key goes, too.",
        complexity: "O(N) for N members; one tombstone each, all in one batch",
        flags: Flags::WRITE.union(Flags::FAST),
        together: Some(Together::removing(ObjectType::Set)),
        ..command("srem", "1.0.0", Arity::AtLeast(3), change::srem)
    },
    CommandSpec {
        summary: "Moves a member from one set to another.",
        complexity: "O(1); a tombstone and a record in one batch",
        flags: Flags::WRITE.union(Flags::FAST),
        keys: KeySpec::two(1),
        ..command("smove", "1.0.0", Arity::Exact(4), change::smove)
    },
    CommandSpec {
        summary: "Removes random members of a set and returns them.",
        complexity: "O(N) for N members returned; one tombstone each, or one for the key when all are",
        flags: Flags::WRITE.union(Flags::FAST),
        ..command("spop", "1.0.0", Arity::AtLeast(2), change::spop)
    },
    CommandSpec {
        summary: "Counts the members of a set.",
        ..look("scard", "1.0.0", Arity::Exact(2), &look::SCARD, |ctx, args| look::SCARD.alone(ctx, args))
    },
    CommandSpec {
        summary: "Says whether a set has a member.",
        ..look("sismember", "1.0.0", Arity::Exact(3), &look::SISMEMBER, |ctx, args| look::SISMEMBER.alone(ctx, args))
    },
    CommandSpec {
        summary: "Says of several members whether a set has them.",
        complexity: "O(N) for N members asked for",
        ..look("smismember", "6.2.0", Arity::AtLeast(3), &look::SMISMEMBER, |ctx, args| {
            look::SMISMEMBER.alone(ctx, args)
        })
    },
    CommandSpec {
        summary: "Lists the members of a set.",
        complexity: "O(N) for N members in the set",
        ..slow_read("smembers", "1.0.0", Arity::Exact(2), look::smembers)
    },
    CommandSpec {
        summary: "Names members of a set at random.",
        complexity: "O(N) for N members returned",
        ..slow_read("srandmember", "1.0.0", Arity::AtLeast(2), look::srandmember)
    },
    CommandSpec {
        summary: "Walks over the members of a set in steps.",
        complexity: "O(1) for each call, O(N) for a whole walk over N members",
        ..slow_read("sscan", "2.8.0", Arity::AtLeast(3), look::sscan)
    },
    CommandSpec {
        summary: "Lists the members that all of the sets have.",
        complexity: "O(N*M) for M sets, the smallest of N members",
        ..of_many("sinter", "1.0.0", algebra::sinter)
    },
    CommandSpec {
        summary: "Lists the members of all of the sets.",
        complexity: "O(N) for N members in all sets",
        ..of_many("sunion", "1.0.0", algebra::sunion)
    },
    CommandSpec {
        summary: "Lists the members of the first set that the others have not.",
        complexity: "O(N) for N members in all sets",
        ..of_many("sdiff", "1.0.0", algebra::sdiff)
    },
    CommandSpec {
        summary: "Counts the members that all of the sets have.",
        complexity: "O(N*M) for M sets, the smallest of N members",
        keys: KeySpec::Counted { at: 1 },
        flags: Flags::READONLY.union(Flags::MOVABLEKEYS),
        ..slow_read("sintercard", "7.0.0", Arity::AtLeast(3), algebra::sintercard)
    },
    store("sinterstore", "Keeps the members that all of the sets have as another set.", algebra::sinterstore),
    store("sunionstore", "Keeps the members of all of the sets as another set.", algebra::sunionstore),
    store(
        "sdiffstore",
        "Keeps the members of the first set that the others have not as another set.",
        algebra::sdiffstore,
    ),
];

const fn command(name: &'static str, since: &'static str, arity: Arity, run: Handler) -> CommandSpec {
    CommandSpec { keys: KeySpec::one(1), ..CommandSpec::new(name, since, Group::Set, arity, run) }
}

const fn look(name: &'static str, since: &'static str, arity: Arity, look: &'static Look, run: Handler) -> CommandSpec {
    let flags = Flags::READONLY.union(Flags::FAST);
    CommandSpec { flags, look: Some(look), ..command(name, since, arity, run) }
}

const fn slow_read(name: &'static str, since: &'static str, arity: Arity, run: Handler) -> CommandSpec {
    CommandSpec { flags: Flags::READONLY, ..command(name, since, arity, run) }
}

const fn of_many(name: &'static str, since: &'static str, run: Handler) -> CommandSpec {
    CommandSpec { keys: KeySpec::all_from(1), ..slow_read(name, since, Arity::AtLeast(2), run) }
}

const fn store(name: &'static str, summary: &'static str, run: Handler) -> CommandSpec {
    CommandSpec {
        summary,
        complexity: "As without STORE, and one record for each member of the result",
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: KeySpec::all_from(1),
        ..command(name, "1.0.0", Arity::AtLeast(3), run)
    }
}

/// What Redis would keep it in.
pub(super) fn encoding(view: &View<'_>, settings: &Settings) -> &'static str {
    let limit = settings.get("set-max-intset-entries").unwrap_or_default();
    let limit = std::str::from_utf8(&limit).ok().and_then(|text| text.parse().ok()).unwrap_or(512);
    if view.extent().only_integers && view.extent().most <= limit {
        "intset"
    } else if is_packed(view, settings, "set") {
        "listpack"
    } else {
        "hashtable"
    }
}
