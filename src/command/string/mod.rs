//! The string commands: SET and GET with all their kin, counters, ranges and LCS.
//!
//! Every write has one shape: make the new value ready before any lock, lock the keys, look, stage, commit, reply.
//! What is wrong with a command is found before anything is staged, and no reply leaves before the commit. A plain
//! `SET key value` is told from one with options by its three arguments alone and neither it nor `GET` allocates.

mod counter;
mod edit;
mod expiry;
mod get;
mod lcs;
pub(super) mod long_double;
mod many;
mod set;
#[cfg(test)]
mod tests;
pub(super) mod value;

use super::{Arity, CommandSpec, Flags, Group, KeySpec};

/// What the specs that read one key have in common.
const READ: CommandSpec = CommandSpec {
    name: "get",
    summary: "Returns the string at a key.",
    since: "1.0.0",
    group: Group::String,
    arity: Arity::Exact(2),
    flags: Flags::READONLY.union(Flags::FAST),
    keys: KeySpec::one(1),
    complexity: "O(N) in the value's length; writes nothing.",
    subcommands: &[],
    run: get::get,
    together: None,
    look: None,
};

/// What the specs that write one key have in common.
const WRITE: CommandSpec = CommandSpec {
    name: "set",
    summary: "Sets a key to a string, whatever it held before.",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.union(Flags::DENYOOM),
    complexity: "O(N) in the value's length; writes one record with key and value.",
    run: set::set,
    ..READ
};

const FAST_WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST);

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    READ,
    WRITE,
    CommandSpec {
        name: "append",
        summary: "Appends bytes to the string at a key, which is made if it is absent.",
        since: "2.0.0",
        arity: Arity::Exact(3),
        flags: FAST_WRITE,
        complexity: "O(N) in the bytes appended; writes the record of a short value or the last chunk of a long one.",
        run: edit::append,
        ..WRITE
    },
    CommandSpec {
        name: "decr",
        summary: "Takes one from the integer at a key, 0 when absent.",
        arity: Arity::Exact(2),
        flags: FAST_WRITE,
        complexity: "O(1); writes one record.",
        run: counter::decr,
        ..WRITE
    },
    CommandSpec {
        name: "decrby",
        summary: "Takes a number from the integer at a key, 0 when absent.",
        arity: Arity::Exact(3),
        flags: FAST_WRITE,
        complexity: "O(1); writes one record.",
        run: counter::decrby,
        ..WRITE
    },
    CommandSpec {
        name: "getdel",
        summary: "Returns the string at a key and deletes the key.",
        since: "6.2.0",
        arity: Arity::Exact(2),
        flags: Flags::WRITE.union(Flags::FAST),
        complexity: "O(N) in the value's length; writes one tombstone.",
        run: get::getdel,
        ..WRITE
    },
    CommandSpec {
        name: "getex",
        summary: "Returns the string at a key and changes when the key expires.",
        since: "6.2.0",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.union(Flags::FAST),
        complexity: "O(N) in the value's length; writes one record when the expiry changes.",
        run: get::getex,
        ..WRITE
    },
    CommandSpec {
        name: "getrange",
        summary: "Returns a part of the string at a key.",
        since: "2.4.0",
        arity: Arity::Exact(4),
        flags: Flags::READONLY,
        complexity: "O(N) in the bytes returned; writes nothing.",
        run: get::getrange,
        ..READ
    },
    CommandSpec {
        name: "getset",
        summary: "Sets a key to a string and returns what it held before.",
        arity: Arity::Exact(3),
        flags: FAST_WRITE,
        run: set::getset,
        ..WRITE
    },
    CommandSpec {
        name: "incr",
        summary: "Adds one to the integer at a key, 0 when absent.",
        arity: Arity::Exact(2),
        flags: FAST_WRITE,
        complexity: "O(1); writes one record.",
        run: counter::incr,
        ..WRITE
    },
    CommandSpec {
        name: "incrby",
        summary: "Adds a number to the integer at a key, 0 when absent.",
        arity: Arity::Exact(3),
        flags: FAST_WRITE,
        complexity: "O(1); writes one record.",
        run: counter::incrby,
        ..WRITE
    },
    CommandSpec {
        name: "incrbyfloat",
        summary: "Adds a floating-point number to the number at a key, 0 when absent.",
        since: "2.6.0",
        arity: Arity::Exact(3),
        flags: FAST_WRITE,
        complexity: "O(1); writes one record.",
        run: counter::incrbyfloat,
        ..WRITE
    },
    CommandSpec {
        name: "lcs",
        summary: "Finds the longest common subsequence of two strings.",
        since: "7.0.0",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: KeySpec::two(1),
        complexity: "O(N*M) in the lengths of both strings; writes nothing.",
        run: lcs::lcs,
        ..READ
    },
    CommandSpec {
        name: "mget",
        summary: "Returns the strings at several keys, all of one moment.",
        arity: Arity::AtLeast(2),
        keys: KeySpec::all_from(1),
        complexity: "O(N) in the number of keys and the bytes returned; writes nothing.",
        run: many::mget,
        ..READ
    },
    CommandSpec {
        name: "mset",
        summary: "Sets several keys to strings, all or none of them.",
        since: "1.0.1",
        arity: Arity::AtLeast(3),
        keys: KeySpec::pairs_from(1),
        complexity: "O(N) in the number of keys and the bytes given; writes one record a key in one batch or atom.",
        run: many::mset,
        ..WRITE
    },
    CommandSpec {
        name: "msetnx",
        summary: "Sets several keys to strings if none of them exists.",
        since: "1.0.1",
        arity: Arity::AtLeast(3),
        keys: KeySpec::pairs_from(1),
        complexity: "O(N) in the number of keys and the bytes given; writes one record a key in one batch or atom, or nothing.",
        run: many::msetnx,
        ..WRITE
    },
    CommandSpec {
        name: "psetex",
        summary: "Sets a key to a string that expires in so many milliseconds.",
        since: "2.6.0",
        arity: Arity::Exact(4),
        run: set::psetex,
        ..WRITE
    },
    CommandSpec {
        name: "setex",
        summary: "Sets a key to a string that expires in so many seconds.",
        since: "2.0.0",
        arity: Arity::Exact(4),
        run: set::setex,
        ..WRITE
    },
    CommandSpec {
        name: "setnx",
        summary: "Sets a key to a string if the key does not exist.",
        arity: Arity::Exact(3),
        flags: FAST_WRITE,
        complexity: "O(N) in the value's length; writes one record, or nothing when the key exists.",
        run: set::setnx,
        ..WRITE
    },
    CommandSpec {
        name: "setrange",
        summary: "Overwrites a part of the string at a key, filling up with zero bytes.",
        since: "2.2.0",
        arity: Arity::Exact(4),
        complexity: "O(N) in the bytes given; writes the record of a short value or the touched chunks of a long one.",
        run: edit::setrange,
        ..WRITE
    },
    CommandSpec {
        name: "strlen",
        summary: "Returns the length of the string at a key in bytes.",
        since: "2.2.0",
        complexity: "O(1); writes nothing.",
        run: get::strlen,
        ..READ
    },
    CommandSpec {
        name: "substr",
        summary: "Returns a part of the string at a key; the old name of GETRANGE.",
        arity: Arity::Exact(4),
        flags: Flags::READONLY,
        complexity: "O(N) in the bytes returned; writes nothing.",
        run: get::getrange,
        ..READ
    },
];
