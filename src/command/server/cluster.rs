//! CLUSTER and the commands of clients of a cluster: this server is not part of one, and says so as Redis does.

use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Group};
use crate::protocol::Args;

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Refused: this server is not part of a cluster.",
        flags: Flags::STALE,
        ..CommandSpec::new("cluster", "3.0.0", Group::Server, Arity::AtLeast(2), refuse)
    },
    of_cluster_clients("readonly", Flags::LOADING.union(Flags::STALE).union(Flags::FAST)),
    of_cluster_clients("readwrite", Flags::LOADING.union(Flags::STALE).union(Flags::FAST)),
    of_cluster_clients("asking", Flags::FAST),
];

const fn of_cluster_clients(name: &'static str, flags: Flags) -> CommandSpec {
    CommandSpec {
        summary: "Refused: this server is not part of a cluster.",
        flags,
        ..CommandSpec::new(name, "3.0.0", Group::Connection, Arity::Exact(1), refuse)
    }
}

fn refuse(_ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::fixed("ERR This instance has cluster support disabled"))
}
