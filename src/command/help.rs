//! The HELP subcommand of every container.

use super::Ctx;
use crate::protocol::Args;

/// Writes the help of the container that `args` names: a title, the container's own `lines`, and HELP itself.
pub fn write(ctx: &mut Ctx<'_>, args: Args<'_>, lines: &[&str]) {
    let container = String::from_utf8_lossy(args.at(0)).to_ascii_uppercase();
    ctx.reply.array_header(lines.len() + 3);
    ctx.reply.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        ctx.reply.simple(line);
    }
    ctx.reply.simple("HELP");
    ctx.reply.simple("    Print this help.");
}
