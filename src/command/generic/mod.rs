//! Commands on keys of any type, and on whole databases.
//!
//! Those that read take no lock; those that write lock the stripes of the keys they name, decide, stage and commit once, so that
//! each of them happens whole or not at all.

mod database;
mod dump;
mod expire;
mod keys;
mod object;
mod scan;
#[cfg(test)]
mod tests;

pub(super) use database::check_flush_mode;
pub(super) use expire::Conditions;
pub(super) use object::encoding_of;
pub(super) use scan::cursor_arg;

use super::{Arity, CommandSpec, Flags, Group, Handler, KeySpec};

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Removes keys and says how many were there.",
        complexity: "O(N) for N keys, whatever they hold; one tombstone each, in one batch or atom",
        ..write("del", "1.0.0", Arity::AtLeast(2), KeySpec::all_from(1), keys::del)
    },
    CommandSpec {
        summary: "Removes keys and says how many were there; the same as DEL, which never frees memory in the foreground.",
        complexity: "O(N) for N keys, whatever they hold; one tombstone each, in one batch or atom",
        ..fast_write("unlink", "4.0.0", Arity::AtLeast(2), KeySpec::all_from(1), keys::del)
    },
    CommandSpec {
        summary: "Says how many of the keys exist; one that is named twice counts twice.",
        complexity: "O(N) for N keys",
        ..fast_read("exists", "1.0.0", Arity::AtLeast(2), KeySpec::all_from(1), keys::exists)
    },
    CommandSpec {
        summary: "Counts as a use of the keys, and says how many of them exist.",
        complexity: "O(N) for N keys",
        ..fast_read("touch", "3.2.1", Arity::AtLeast(2), KeySpec::all_from(1), keys::touch)
    },
    CommandSpec {
        summary: "Names the type of what a key holds.",
        ..fast_read("type", "1.0.0", Arity::Exact(2), KeySpec::one(1), keys::type_of)
    },
    CommandSpec {
        summary: "Gives a key another name, replacing what was there.",
        complexity: "O(1); the record is written anew under the new name and the old name gets a tombstone",
        ..write("rename", "1.0.0", Arity::Exact(3), KeySpec::two(1), keys::rename)
    },
    CommandSpec {
        summary: "Gives a key another name unless that is taken.",
        complexity: "O(1); the record is written anew under the new name and the old name gets a tombstone",
        ..fast_write("renamenx", "1.0.0", Arity::Exact(3), KeySpec::two(1), keys::renamenx)
    },
    CommandSpec {
        summary: "Copies what a key holds, with its expiry, to another key or database.",
        complexity: "O(N) for a value of N bytes, all of them written to the pool",
        flags: Flags::WRITE.union(Flags::DENYOOM),
        ..write("copy", "6.2.0", Arity::AtLeast(3), KeySpec::two(1), keys::copy)
    },
    CommandSpec {
        summary: "Moves a key to another database unless it is taken there.",
        complexity: "O(1); the record is written anew in the other database and this one gets a tombstone",
        ..fast_write("move", "1.0.0", Arity::Exact(3), KeySpec::one(1), keys::move_to)
    },
    CommandSpec {
        summary: "Names a key at random.",
        ..read("randomkey", "1.0.0", Arity::Exact(1), KeySpec::None, keys::random)
    },
    CommandSpec {
        summary: "Lists all keys that match a glob pattern.",
        complexity: "O(N) for N keys in the database",
        ..read("keys", "1.0.0", Arity::Exact(2), KeySpec::None, scan::keys)
    },
    CommandSpec {
        summary: "Walks over the keys in steps; a key that is there all along is returned at least once.",
        complexity: "O(1) for each call, O(N) for a whole walk over N keys",
        ..read("scan", "2.8.0", Arity::AtLeast(2), KeySpec::None, scan::scan)
    },
    expiry_of("ttl", "1.0.0", "Gives the time that a key has left, in seconds.", expire::ttl),
    expiry_of("pttl", "2.6.0", "Gives the time that a key has left, in milliseconds.", expire::pttl),
    expiry_of("expiretime", "7.0.0", "Gives the Unix time that a key expires at, in seconds.", expire::expiretime),
    expiry_of(
        "pexpiretime",
        "7.0.0",
        "Gives the Unix time that a key expires at, in milliseconds.",
        expire::pexpiretime,
    ),
    set_expiry("expire", "1.0.0", "Lets a key expire in so many seconds.", expire::expire),
    set_expiry("pexpire", "2.6.0", "Lets a key expire in so many milliseconds.", expire::pexpire),
    set_expiry("expireat", "1.2.0", "Lets a key expire at a Unix time in seconds.", expire::expireat),
    set_expiry("pexpireat", "2.6.0", "Lets a key expire at a Unix time in milliseconds.", expire::pexpireat),
    CommandSpec {
        summary: "Takes a key's expiry away.",
        complexity: "O(1); one record with the same value",
        ..fast_write("persist", "2.2.0", Arity::Exact(2), KeySpec::one(1), expire::persist)
    },
    CommandSpec {
        summary: "Serializes what a key holds in Redis's own format.",
        complexity: "O(N) for a value of N bytes",
        ..read("dump", "2.6.0", Arity::Exact(2), KeySpec::one(1), dump::dump)
    },
    CommandSpec {
        summary: "Creates a key from what DUMP gave.",
        complexity: "O(N) for a value of N bytes, all of them written to the pool",
        flags: Flags::WRITE.union(Flags::DENYOOM),
        ..write("restore", "2.6.0", Arity::AtLeast(4), KeySpec::one(1), dump::restore)
    },
    CommandSpec::container(
        "object",
        "2.2.3",
        Group::Generic,
        "Looks at how a key's value is kept.",
        object::SUBCOMMANDS,
    ),
    CommandSpec {
        summary: "Says how many keys the database has.",
        group: Group::Server,
        ..fast_read("dbsize", "1.0.0", Arity::Exact(1), KeySpec::None, database::dbsize)
    },
    CommandSpec {
        summary: "Empties the database.",
        complexity: "O(1); the database gets a fresh keyspace id, durably, and the old keys' memory is freed in the background",
        group: Group::Server,
        ..write("flushdb", "1.0.0", Arity::AtLeast(1), KeySpec::None, database::flushdb)
    },
    CommandSpec {
        summary: "Empties all databases.",
        complexity: "O(1); every database gets a fresh keyspace id, durably, and the old keys' memory is freed in the background",
        group: Group::Server,
        ..write("flushall", "1.0.0", Arity::AtLeast(1), KeySpec::None, database::flushall)
    },
    CommandSpec {
        summary: "Swaps two databases, at once for all clients.",
        complexity: "O(1); one update of the superblock",
        group: Group::Server,
        ..fast_write("swapdb", "4.0.0", Arity::Exact(3), KeySpec::None, database::swapdb)
    },
];

const fn command(name: &'static str, since: &'static str, arity: Arity, keys: KeySpec, run: Handler) -> CommandSpec {
    CommandSpec { keys, ..CommandSpec::new(name, since, Group::Generic, arity, run) }
}

const fn read(name: &'static str, since: &'static str, arity: Arity, keys: KeySpec, run: Handler) -> CommandSpec {
    CommandSpec { flags: Flags::READONLY, ..command(name, since, arity, keys, run) }
}

const fn fast_read(name: &'static str, since: &'static str, arity: Arity, keys: KeySpec, run: Handler) -> CommandSpec {
    CommandSpec { flags: Flags::READONLY.union(Flags::FAST), ..command(name, since, arity, keys, run) }
}

const fn write(name: &'static str, since: &'static str, arity: Arity, keys: KeySpec, run: Handler) -> CommandSpec {
    CommandSpec { flags: Flags::WRITE, ..command(name, since, arity, keys, run) }
}

const fn fast_write(name: &'static str, since: &'static str, arity: Arity, keys: KeySpec, run: Handler) -> CommandSpec {
    CommandSpec { flags: Flags::WRITE.union(Flags::FAST), ..command(name, since, arity, keys, run) }
}

const fn expiry_of(name: &'static str, since: &'static str, summary: &'static str, run: Handler) -> CommandSpec {
    CommandSpec { summary, ..fast_read(name, since, Arity::Exact(2), KeySpec::one(1), run) }
}

const fn set_expiry(name: &'static str, since: &'static str, summary: &'static str, run: Handler) -> CommandSpec {
    CommandSpec {
        summary,
        complexity: "O(1); one record with the same value, or a tombstone when the time is past",
        ..fast_write(name, since, Arity::AtLeast(3), KeySpec::one(1), run)
    }
}
