//! PUBSUB: who is subscribed to what.

use crate::base::glob;
use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Group, Handler, help};
use crate::protocol::Args;
use crate::pubsub::Topic;

const fn sub(name: &'static str, since: &'static str, arity: Arity, run: Handler) -> CommandSpec {
    CommandSpec { flags: super::PUBSUB, ..CommandSpec::new(name, since, Group::PubSub, arity, run) }
}

pub(super) const SPEC: CommandSpec = CommandSpec {
    flags: Flags::empty(),
    ..CommandSpec::container("pubsub", "2.8.0", Group::PubSub, "Tells who is subscribed to what.", SUBCOMMANDS)
};

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Lists the channels that somebody is subscribed to.",
        complexity: "O(N) for N channels",
        ..sub("channels", "2.8.0", Arity::AtLeast(2), |ctx, args| channels(ctx, args, Topic::Channel))
    },
    CommandSpec::help("6.2.0", Group::PubSub, show_help),
    CommandSpec {
        summary: "Counts the patterns that somebody is subscribed by.",
        ..sub("numpat", "2.8.0", Arity::Exact(2), patterns)
    },
    CommandSpec {
        summary: "Counts the subscribers of channels, those by patterns left out.",
        complexity: "O(N) for N channels asked for",
        ..sub("numsub", "2.8.0", Arity::AtLeast(2), |ctx, args| subscribers(ctx, args, Topic::Channel))
    },
    CommandSpec {
        summary: "Lists the shard channels that somebody is subscribed to.",
        complexity: "O(N) for N channels",
        ..sub("shardchannels", "7.0.0", Arity::AtLeast(2), |ctx, args| channels(ctx, args, Topic::ShardChannel))
    },
    CommandSpec {
        summary: "Counts the subscribers of shard channels.",
        complexity: "O(N) for N channels asked for",
        ..sub("shardnumsub", "7.0.0", Arity::AtLeast(2), |ctx, args| subscribers(ctx, args, Topic::ShardChannel))
    },
];

const HELP: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    List the channels that somebody is subscribed to and that match <pattern> (default: all).",
    "NUMPAT",
    "    Count the patterns that somebody is subscribed by.",
    "NUMSUB [<channel> ...]",
    "    Count the subscribers of each channel, those by patterns left out.",
    "SHARDCHANNELS [<pattern>]",
    "    List the shard channels that somebody is subscribed to and that match <pattern> (default: all).",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Count the subscribers of each shard channel.",
];

fn show_help(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(ctx, args, HELP);
    Ok(())
}

fn channels(ctx: &mut Ctx<'_>, args: Args<'_>, topic: Topic) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::subcommand_syntax(args));
    }
    let pattern = args.get(2);
    let names = ctx.shared.hub.names(topic, |name| pattern.is_none_or(|pattern| glob::matches(pattern, name)));
    ctx.reply.array_header(names.len());
    names.iter().for_each(|name| ctx.reply.bulk(name));
    Ok(())
}

fn subscribers(ctx: &mut Ctx<'_>, args: Args<'_>, topic: Topic) -> Result<(), CommandError> {
    let names = args.from(2);
    // Not a map, in either protocol.
    ctx.reply.array_header(2 * names.len());
    for name in names.iter() {
        ctx.reply.bulk(name);
        ctx.reply.integer(ctx.shared.hub.subscribers(topic, name) as i64);
    }
    Ok(())
}

fn patterns(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.integer(ctx.shared.hub.count(Topic::Pattern) as i64);
    Ok(())
}
