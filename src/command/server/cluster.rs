//! CLUSTER and the commands of clients of a cluster: this server is not part of one, and says so as Redis does.

use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Group};
use crate::protocol::Args;

const REFUSED: &str = "Refused: this server is not part of a cluster.";

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        complexity: "O(1)",
        ..CommandSpec::container("cluster", "3.0.0", Group::Server, REFUSED, SUBCOMMANDS)
    },
    of_cluster_clients("readonly", Flags::LOADING.union(Flags::STALE).union(Flags::FAST)),
    of_cluster_clients("readwrite", Flags::LOADING.union(Flags::STALE).union(Flags::FAST)),
    of_cluster_clients("asking", Flags::FAST),
];

const fn of_cluster_clients(name: &'static str, flags: Flags) -> CommandSpec {
    CommandSpec {
        summary: REFUSED,
        flags,
        ..CommandSpec::new(name, "3.0.0", Group::Connection, Arity::Exact(1), refuse)
    }
}

/// They are named, each with its number of arguments, so that COMMAND tells of them what Redis tells.
const SUBCOMMANDS: &[CommandSpec] = &[
    changes("addslots", "3.0.0", Arity::AtLeast(3)),
    changes("addslotsrange", "7.0.0", Arity::AtLeast(4)),
    changes("bumpepoch", "3.0.0", Arity::Exact(2)),
    administers("count-failure-reports", "3.0.0", Arity::Exact(3)),
    looks("countkeysinslot", "3.0.0", Arity::Exact(3)),
    changes("delslots", "3.0.0", Arity::AtLeast(3)),
    changes("delslotsrange", "7.0.0", Arity::AtLeast(4)),
    changes("failover", "3.0.0", Arity::AtLeast(2)),
    changes("flushslots", "3.0.0", Arity::Exact(2)),
    changes("forget", "3.0.0", Arity::Exact(3)),
    looks("getkeysinslot", "3.0.0", Arity::Exact(4)),
    CommandSpec { summary: REFUSED, ..CommandSpec::help("5.0.0", Group::Server, refuse) },
    looks("info", "3.0.0", Arity::Exact(2)),
    looks("keyslot", "3.0.0", Arity::Exact(3)),
    looks("links", "7.0.0", Arity::Exact(2)),
    changes("meet", "3.0.0", Arity::AtLeast(4)),
    looks("myid", "3.0.0", Arity::Exact(2)),
    looks("myshardid", "7.2.0", Arity::Exact(2)),
    looks("nodes", "3.0.0", Arity::Exact(2)),
    administers("replicas", "5.0.0", Arity::Exact(3)),
    changes("replicate", "3.0.0", Arity::Exact(3)),
    CommandSpec {
        flags: Flags::ADMIN.union(Flags::STALE).union(Flags::NOSCRIPT),
        ..looks("reset", "3.0.0", Arity::AtLeast(2))
    },
    changes("saveconfig", "3.0.0", Arity::Exact(2)),
    changes("set-config-epoch", "3.0.0", Arity::Exact(3)),
    changes("setslot", "3.0.0", Arity::AtLeast(4)),
    looks("shards", "7.0.0", Arity::Exact(2)),
    administers("slaves", "3.0.0", Arity::Exact(3)),
    looks("slots", "3.0.0", Arity::Exact(2)),
];

const fn looks(name: &'static str, since: &'static str, arity: Arity) -> CommandSpec {
    CommandSpec { summary: REFUSED, flags: Flags::STALE, ..CommandSpec::new(name, since, Group::Server, arity, refuse) }
}

const fn administers(name: &'static str, since: &'static str, arity: Arity) -> CommandSpec {
    CommandSpec { flags: Flags::ADMIN.union(Flags::STALE), ..looks(name, since, arity) }
}

const fn changes(name: &'static str, since: &'static str, arity: Arity) -> CommandSpec {
    CommandSpec { flags: Flags::ADMIN.union(Flags::STALE).union(Flags::NO_ASYNC_LOADING), ..looks(name, since, arity) }
}

fn refuse(_ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::fixed("ERR This instance has cluster support disabled"))
}
