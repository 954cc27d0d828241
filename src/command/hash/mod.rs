//! Commands on hashes.

mod change;
mod expire;
mod look;
#[cfg(test)]
mod tests;
mod with_expiry;

use super::collection::is_packed;
use super::{Arity, CommandSpec, Flags, Group, Handler, KeySpec, Look, Settings, Together};
use crate::log::ObjectType;
use crate::store::View;

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Sets fields of a hash and says how many are new.",
        complexity: "O(N) for N fields; one record each, all in one batch: 2 or 3 lines and one fence for a short field",
        together: Some(Together::members(ObjectType::Hash, (2, 2), change::stage_hset)),
        ..write("hset", "2.0.0", Arity::AtLeast(4), change::hset)
    },
    CommandSpec {
        summary: "Sets fields of a hash.",
        complexity: "O(N) for N fields; one record each, all in one batch",
        together: Some(Together::members(ObjectType::Hash, (2, 2), change::stage_hmset)),
        ..write("hmset", "2.0.0", Arity::AtLeast(4), change::hmset)
    },
    CommandSpec {
        summary: "Sets a field of a hash unless it is there.",
        complexity: "O(1); one record",
        ..write("hsetnx", "2.0.0", Arity::Exact(4), change::hsetnx)
    },
    CommandSpec {
        summary: "Adds to the integer in a field of a hash.",
        complexity: "O(1); one record",
        ..write("hincrby", "2.0.0", Arity::Exact(4), change::hincrby)
    },
    CommandSpec {
        summary: "Adds to the number in a field of a hash.",
        complexity: "O(1); one record",
        ..write("hincrbyfloat", "2.6.0", Arity::Exact(4), change::hincrbyfloat)
    },
    CommandSpec {
        summary: "Removes fields of a hash and says how many were there; without fields the key goes, too.",
        complexity: "O(N) for N fields; one tombstone each, all in one batch",
        flags: Flags::WRITE.union(Flags::FAST),
        together: Some(Together::removing(ObjectType::Hash)),
        ..write("hdel", "2.0.0", Arity::AtLeast(3), change::hdel)
    },
    CommandSpec {
        summary: "Gives the value of a field of a hash.",
        ..look("hget", "2.0.0", Arity::Exact(3), &look::HGET, |ctx, args| look::HGET.alone(ctx, args))
    },
    CommandSpec {
        summary: "Gives the values of fields of a hash.",
        complexity: "O(N) for N fields",
        ..look("hmget", "2.0.0", Arity::AtLeast(3), &look::HMGET, |ctx, args| look::HMGET.alone(ctx, args))
    },
    CommandSpec {
        summary: "Gives all fields of a hash with their values.",
        ..slow_read("hgetall", "2.0.0", Arity::Exact(2), look::hgetall)
    },
    CommandSpec { summary: "Lists the fields of a hash.", ..slow_read("hkeys", "2.0.0", Arity::Exact(2), look::hkeys) },
    CommandSpec {
        summary: "Lists the values of a hash's fields.",
        ..slow_read("hvals", "2.0.0", Arity::Exact(2), look::hvals)
    },
    CommandSpec {
        summary: "Counts the fields of a hash.",
        ..look("hlen", "2.0.0", Arity::Exact(2), &look::HLEN, |ctx, args| look::HLEN.alone(ctx, args))
    },
    CommandSpec {
        summary: "Says whether a hash has a field.",
        ..look("hexists", "2.0.0", Arity::Exact(3), &look::HEXISTS, |ctx, args| look::HEXISTS.alone(ctx, args))
    },
    CommandSpec {
        summary: "Gives the length of a field's value, in bytes.",
        ..look("hstrlen", "3.2.0", Arity::Exact(3), &look::HSTRLEN, |ctx, args| look::HSTRLEN.alone(ctx, args))
    },
    CommandSpec {
        summary: "Names fields of a hash at random.",
        complexity: "O(N) for N fields returned",
        ..slow_read("hrandfield", "6.2.0", Arity::AtLeast(2), look::hrandfield)
    },
    CommandSpec {
        summary: "Walks over the fields of a hash in steps.",
        complexity: "O(1) for each call, O(N) for a whole walk over N fields",
        ..slow_read("hscan", "2.8.0", Arity::AtLeast(3), look::hscan)
    },
    set_expiry("hexpire", "Lets fields of a hash expire in so many seconds.", expire::hexpire),
    set_expiry("hpexpire", "Lets fields of a hash expire in so many milliseconds.", expire::hpexpire),
    set_expiry("hexpireat", "Lets fields of a hash expire at a Unix time in seconds.", expire::hexpireat),
    set_expiry("hpexpireat", "Lets fields of a hash expire at a Unix time in milliseconds.", expire::hpexpireat),
    expiry_of("httl", "Gives the time that fields of a hash have left, in seconds.", expire::httl),
    expiry_of("hpttl", "Gives the time that fields of a hash have left, in milliseconds.", expire::hpttl),
    expiry_of("hexpiretime", "Gives the Unix time that fields of a hash expire at, in seconds.", expire::hexpiretime),
    expiry_of(
        "hpexpiretime",
        "Gives the Unix time that fields of a hash expire at, in milliseconds.",
        expire::hpexpiretime,
    ),
    CommandSpec {
        summary: "Takes the expiry of fields of a hash away.",
        complexity: "O(N) for N fields; one record each with the same value, all in one batch",
        flags: Flags::WRITE.union(Flags::FAST),
        ..write("hpersist", "7.4.0", Arity::AtLeast(5), expire::hpersist)
    },
    CommandSpec {
        summary: "Gives the values of fields of a hash and changes when they expire.",
        complexity: "O(N) for N fields; one record each with the same value, or a tombstone when the time is past",
        flags: Flags::WRITE.union(Flags::FAST),
        ..write("hgetex", "8.0.0", Arity::AtLeast(5), with_expiry::hgetex)
    },
    CommandSpec {
        summary: "Sets fields of a hash, perhaps with an expiry, perhaps only if all or none of them are there.",
        complexity: "O(N) for N fields; one record each, all in one batch",
        ..write("hsetex", "8.0.0", Arity::AtLeast(6), with_expiry::hsetex)
    },
    CommandSpec {
        summary: "Gives the values of fields of a hash and removes them; without fields the key goes, too.",
        complexity: "O(N) for N fields; one tombstone each, all in one batch",
        flags: Flags::WRITE.union(Flags::FAST),
        ..write("hgetdel", "8.0.0", Arity::AtLeast(5), with_expiry::hgetdel)
    },
];

const fn command(name: &'static str, since: &'static str, arity: Arity, run: Handler) -> CommandSpec {
    CommandSpec { keys: KeySpec::one(1), ..CommandSpec::new(name, since, Group::Hash, arity, run) }
}

const fn read(name: &'static str, since: &'static str, arity: Arity, run: Handler) -> CommandSpec {
    CommandSpec { flags: Flags::READONLY.union(Flags::FAST), ..command(name, since, arity, run) }
}

const fn look(name: &'static str, since: &'static str, arity: Arity, look: &'static Look, run: Handler) -> CommandSpec {
    CommandSpec { look: Some(look), ..read(name, since, arity, run) }
}

const fn slow_read(name: &'static str, since: &'static str, arity: Arity, run: Handler) -> CommandSpec {
    CommandSpec {
        flags: Flags::READONLY,
        complexity: "O(N) for N fields in the hash",
        ..command(name, since, arity, run)
    }
}

const fn write(name: &'static str, since: &'static str, arity: Arity, run: Handler) -> CommandSpec {
    CommandSpec { flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST), ..command(name, since, arity, run) }
}

const fn set_expiry(name: &'static str, summary: &'static str, run: Handler) -> CommandSpec {
    CommandSpec {
        summary,
        complexity: "O(N) for N fields; one record each with the same value, or a tombstone when the time is past, all in one batch",
        flags: Flags::WRITE.union(Flags::FAST),
        ..write(name, "7.4.0", Arity::AtLeast(6), run)
    }
}

const fn expiry_of(name: &'static str, summary: &'static str, run: Handler) -> CommandSpec {
    CommandSpec { summary, complexity: "O(N) for N fields", ..read(name, "7.4.0", Arity::AtLeast(5), run) }
}

/// What Redis would keep it in.
pub(super) fn encoding(view: &View<'_>, settings: &Settings) -> &'static str {
    match is_packed(view, settings, "hash") {
        true if view.extent().has_expiry => "listpackex",
        true => "listpack",
        false => "hashtable",
    }
}
