//! ROLE, REPLICAOF, SLAVEOF: this server is a master without replicas.

use crate::command::parse::is_word;
use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Group};
use crate::protocol::Args;

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Says that this server is a master and has no replicas.",
        flags: Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST),
        ..CommandSpec::new("role", "2.8.12", Group::Server, Arity::Exact(1), role)
    },
    replicaof("replicaof", "5.0.0"),
    replicaof("slaveof", "1.0.0"),
];

const fn replicaof(name: &'static str, since: &'static str) -> CommandSpec {
    CommandSpec {
        summary: "Accepts NO ONE, which is so already; refuses anything else.",
        flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE).union(Flags::NO_ASYNC_LOADING),
        ..CommandSpec::new(name, since, Group::Server, Arity::Exact(3), follow)
    }
}

fn role(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.array_header(3);
    ctx.reply.bulk(b"master");
    ctx.reply.integer(0);
    ctx.reply.array_header(0);
    Ok(())
}

fn follow(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !is_word(args.at(1), "NO") || !is_word(args.at(2), "ONE") {
        return Err(CommandError::fixed("ERR Replication is not supported; only NO ONE is accepted"));
    }
    ctx.reply.ok();
    Ok(())
}
