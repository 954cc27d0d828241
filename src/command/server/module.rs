//! MODULE: none are loaded and none can be.

use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Group, help};
use crate::protocol::Args;

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::container("module", "4.0.0", Group::Server, "Looks at loaded modules.", SUBCOMMANDS)];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Lists the loaded modules: none.",
        flags: Flags::ADMIN.union(Flags::NOSCRIPT),
        ..CommandSpec::new("list", "4.0.0", Group::Server, Arity::Exact(2), list)
    },
    CommandSpec::help("5.0.0", Group::Server, help_text),
];

fn list(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.array_header(0);
    Ok(())
}

fn help_text(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(ctx, args, &["LIST", "    The loaded modules: none, as modules are not supported."]);
    Ok(())
}
