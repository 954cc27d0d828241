//! LATENCY. Latencies of events are not monitored, which is what Redis's default `latency-monitor-threshold` of 0 means too: there are
//! no events to show. SLOWLOG shows slow commands, INFO commandstats the mean times.

use super::ADMIN;
use crate::command::{Arity, CommandError, CommandSpec, Ctx, Group, Handler, help};
use crate::protocol::Args;

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::container("latency", "2.8.13", Group::Server, "Looks at latencies of events.", SUBCOMMANDS)];

const fn sub(name: &'static str, arity: Arity, summary: &'static str, run: Handler) -> CommandSpec {
    CommandSpec { summary, flags: ADMIN, ..CommandSpec::new(name, "2.8.13", Group::Server, arity, run) }
}

const SUBCOMMANDS: &[CommandSpec] = &[
    sub("doctor", Arity::Exact(2), "Says that latencies are not monitored.", doctor),
    sub("graph", Arity::Exact(3), "An error, as there are no events.", graph),
    sub("history", Arity::Exact(3), "Lists the latencies of an event: none.", no_events),
    CommandSpec {
        since: "7.0.0",
        ..sub("histogram", Arity::AtLeast(2), "Histograms of commands: none.", no_histograms)
    },
    sub("latest", Arity::Exact(2), "Lists the latest latencies of events: none.", no_events),
    sub("reset", Arity::AtLeast(2), "Says how many events were forgotten: none.", reset),
    CommandSpec::help("2.8.13", Group::Server, help_text),
];

fn doctor(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.verbatim(
        "txt",
        b"Latencies of events are not monitored. SLOWLOG GET shows slow commands, INFO commandstats the mean time of each.\n",
    );
    Ok(())
}

fn graph(_ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let event = String::from_utf8_lossy(args.at(2));
    Err(CommandError::new(format!("ERR No samples available for event '{event}'")))
}

fn no_events(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.array_header(0);
    Ok(())
}

fn no_histograms(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.map_header(0);
    Ok(())
}

fn reset(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.integer(0);
    Ok(())
}

fn help_text(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(
        ctx,
        args,
        &[
            "DOCTOR",
            "    Says that latencies are not monitored.",
            "GRAPH <event>",
            "    An error: there are no events.",
            "HISTOGRAM [<command> ...]",
            "    Histograms of commands: none are kept.",
            "HISTORY <event>",
            "    Latencies of an event: none.",
            "LATEST",
            "    Latest latencies of events: none.",
            "RESET [<event> ...]",
            "    Forgets events: there are none.",
        ],
    );
    Ok(())
}
