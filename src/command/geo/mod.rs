//! Commands on places on the globe, which are members of sorted sets: the score is the number of a cell of a fine grid.
//!
//! Scores, and with them all that is made of them, are Redis's to the last digit.

mod area;
mod cell;
mod place;
mod query;
mod search;
#[cfg(test)]
mod tests;
mod unit;

use super::{Arity, CommandSpec, Flags, Group, Handler, KeySpec};

const SEARCHES: &str = "O(N+M*log(M)) for N members in the cells that cover the area, M of them within; what is stored: a head and one record for each, in one batch";
const READS: &str = "O(N+M*log(M)) for N members in the cells that cover the area, M of them within; writes nothing";

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM);
const MAY_STORE: Flags = WRITE.union(Flags::MOVABLEKEYS);

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Adds members with their places.",
        complexity: "O(log(N)) for each member; one record each, all in one batch: 2 or 3 lines and one fence for a short one",
        ..command("geoadd", "3.2.0", Arity::AtLeast(5), WRITE, place::geoadd)
    },
    CommandSpec {
        summary: "Gives the distance of two members.",
        complexity: "O(1); writes nothing",
        ..command("geodist", "3.2.0", Arity::AtLeast(4), READ, place::geodist)
    },
    CommandSpec {
        summary: "Gives the places of members as geohashes.",
        complexity: "O(N) for N members; writes nothing",
        ..command("geohash", "3.2.0", Arity::AtLeast(2), READ, place::geohash)
    },
    CommandSpec {
        summary: "Gives longitudes and latitudes of members.",
        complexity: "O(N) for N members; writes nothing",
        ..command("geopos", "3.2.0", Arity::AtLeast(2), READ, place::geopos)
    },
    CommandSpec {
        summary: "Lists or stores the members around a place.",
        complexity: SEARCHES,
        keys: KeySpec::OneAndStored { first: 1, from: 6 },
        ..command("georadius", "3.2.0", Arity::AtLeast(6), MAY_STORE, search::georadius)
    },
    CommandSpec {
        summary: "Lists the members around a place.",
        complexity: READS,
        ..command("georadius_ro", "3.2.10", Arity::AtLeast(6), READ, search::georadius_ro)
    },
    CommandSpec {
        summary: "Lists or stores the members around one of them.",
        complexity: SEARCHES,
        keys: KeySpec::OneAndStored { first: 1, from: 5 },
        ..command("georadiusbymember", "3.2.0", Arity::AtLeast(5), MAY_STORE, search::georadiusbymember)
    },
    CommandSpec {
        summary: "Lists the members around one of them.",
        complexity: READS,
        ..command("georadiusbymember_ro", "3.2.10", Arity::AtLeast(5), READ, search::georadiusbymember_ro)
    },
    CommandSpec {
        summary: "Lists the members in a circle or a box.",
        complexity: READS,
        ..command("geosearch", "6.2.0", Arity::AtLeast(7), READ, search::geosearch)
    },
    CommandSpec {
        summary: "Stores the members in a circle or a box.",
        complexity: SEARCHES,
        keys: KeySpec::two(1),
        ..command("geosearchstore", "6.2.0", Arity::AtLeast(8), WRITE, search::geosearchstore)
    },
];

/// A command on the sorted set that its first argument names.
const fn command(name: &'static str, since: &'static str, arity: Arity, flags: Flags, run: Handler) -> CommandSpec {
    CommandSpec { flags, keys: KeySpec::one(1), ..CommandSpec::new(name, since, Group::Geo, arity, run) }
}
