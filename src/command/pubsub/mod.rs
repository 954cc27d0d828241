//! SUBSCRIBE, PUBLISH and their kin.
//!
//! A message that is published goes into the outboxes of its subscribers (`outbox.rs`). What a command here answers is a push itself: it stands among the
//! messages where it belongs, and CLIENT REPLY OFF does not hold it back.

mod inspect;

use super::clients::{Client, ClientFlags};
use super::{Arity, CommandError, CommandSpec, Ctx, Flags, Group, Handler, KeySpec, Modes, Session, Shared};
use crate::protocol::{Args, Protocol};
use crate::pubsub::{Hub, Message, Subscriber, Topic};
use std::collections::BTreeSet;

/// What all commands here are.
const PUBSUB: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);

const fn subscription(name: &'static str, since: &'static str, least: usize, run: Handler) -> CommandSpec {
    CommandSpec {
        flags: PUBSUB.union(Flags::NOSCRIPT),
        complexity: "O(N log M) for N names with M subscribers each",
        ..CommandSpec::new(name, since, Group::PubSub, Arity::AtLeast(least), run)
    }
}

const fn publication(name: &'static str, since: &'static str, run: Handler) -> CommandSpec {
    CommandSpec {
        flags: PUBSUB.union(Flags::FAST),
        ..CommandSpec::new(name, since, Group::PubSub, Arity::Exact(3), run)
    }
}

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Subscribes to channels.",
        ..subscription("subscribe", "2.0.0", 2, |ctx, args| subscribe(ctx, args, Topic::Channel))
    },
    CommandSpec {
        summary: "Subscribes to channels by patterns.",
        ..subscription("psubscribe", "2.0.0", 2, |ctx, args| subscribe(ctx, args, Topic::Pattern))
    },
    CommandSpec {
        summary: "Subscribes to shard channels.",
        keys: KeySpec::all_from(1),
        ..subscription("ssubscribe", "7.0.0", 2, |ctx, args| subscribe(ctx, args, Topic::ShardChannel))
    },
    CommandSpec {
        summary: "Ends subscriptions to channels: to the given ones, or to all.",
        ..subscription("unsubscribe", "2.0.0", 1, |ctx, args| unsubscribe(ctx, args, Topic::Channel))
    },
    CommandSpec {
        summary: "Ends subscriptions by patterns: by the given ones, or by all.",
        ..subscription("punsubscribe", "2.0.0", 1, |ctx, args| unsubscribe(ctx, args, Topic::Pattern))
    },
    CommandSpec {
        summary: "Ends subscriptions to shard channels: to the given ones, or to all.",
        keys: KeySpec::all_from(1),
        ..subscription("sunsubscribe", "7.0.0", 1, |ctx, args| unsubscribe(ctx, args, Topic::ShardChannel))
    },
    CommandSpec {
        summary: "Sends a message to those who are subscribed to a channel.",
        complexity: "O(N+M) for N subscribers of the channel and M patterns that anyone is subscribed by; nothing is written",
        ..publication("publish", "2.0.0", publish)
    },
    CommandSpec {
        summary: "Sends a message to those who are subscribed to a shard channel.",
        keys: KeySpec::one(1),
        complexity: "O(N) for N subscribers of the channel; nothing is written",
        ..publication("spublish", "7.0.0", publish_shard)
    },
    inspect::SPEC,
];

impl Subscriber for Client {
    fn id(&self) -> u64 {
        Client::id(self)
    }

    fn deliver(&self, message: &Message<'_>) {
        // One that has gone, or was cut off, is taken off the lists by its own connection.
        let _ = self.post(|reply| message.write(reply));
    }
}

/// What a session is subscribed to.
#[derive(Debug, Default)]
pub struct Subscriptions {
    channels: BTreeSet<Vec<u8>>,
    patterns: BTreeSet<Vec<u8>>,
    shard_channels: BTreeSet<Vec<u8>>,
}

impl Subscriptions {
    fn of(&mut self, topic: Topic) -> &mut BTreeSet<Vec<u8>> {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::ShardChannel => &mut self.shard_channels,
        }
    }

    /// What a command about `topic` answers: how many subscriptions of its kind are left. Channels and patterns count together.
    fn count(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel | Topic::Pattern => self.channels.len() + self.patterns.len(),
            Topic::ShardChannel => self.shard_channels.len(),
        }
    }

    fn counts(&self) -> [usize; 3] {
        [self.channels.len(), self.patterns.len(), self.shard_channels.len()]
    }
}

/// Whether a client that is subscribed and speaks RESP2, so that replies and messages look alike, may run the command.
pub(super) fn may_run_subscribed(spec: &CommandSpec) -> bool {
    spec.flags.contains(Flags::PUBSUB | Flags::NOSCRIPT) || matches!(spec.name, "ping" | "quit" | "reset")
}

/// What a client that is subscribed and speaks RESP2 is told of any other command.
#[cold]
pub(super) fn refusal(full_name: &str) -> CommandError {
    CommandError::new(format!(
        "ERR Can't execute '{full_name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    ))
}

/// Ends all subscriptions of a session that ends, or begins anew.
pub(super) fn leave(shared: &Shared, session: &mut Session) {
    for topic in [Topic::Channel, Topic::Pattern, Topic::ShardChannel] {
        for name in std::mem::take(session.subscriptions.of(topic)) {
            shared.hub.unsubscribe(topic, &name, session.client.id());
        }
    }
    follow(session);
}

/// Has flags, counts and restrictions follow what the session is subscribed to and what it speaks.
pub(super) fn follow(session: &mut Session) {
    let counts = session.subscriptions.counts();
    let subscribed = counts != [0; 3];
    session.client.set_flag(ClientFlags::PUBSUB, subscribed);
    session.client.set_subscriptions(counts);
    session.modes.set(Modes::SUBSCRIBED, subscribed && session.protocol == Protocol::Resp2);
    session.modes.set(Modes::LISTENING, subscribed || session.modes.intersects(Modes::TRACKING | Modes::MONITOR));
}

fn confirm(ctx: &mut Ctx<'_>, word: &str, name: Option<&[u8]>, count: usize) {
    let reply = &mut ctx.reply;
    reply.push_header(3);
    reply.bulk(word.as_bytes());
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(count as i64);
}

fn subscribe(ctx: &mut Ctx<'_>, args: Args<'_>, topic: Topic) -> Result<(), CommandError> {
    let word = match topic {
        Topic::Channel => "subscribe",
        Topic::Pattern => "psubscribe",
        Topic::ShardChannel => "ssubscribe",
    };
    ctx.begin_pushes();
    for name in args.from(1).iter() {
        if ctx.session.subscriptions.of(topic).insert(name.to_vec()) {
            // The class decides how much may wait, so it is known before the first message comes.
            follow(ctx.session);
            ctx.shared.hub.subscribe(topic, name, &ctx.session.client);
        }
        let count = ctx.session.subscriptions.count(topic);
        confirm(ctx, word, Some(name), count);
    }
    Ok(())
}

fn unsubscribe(ctx: &mut Ctx<'_>, args: Args<'_>, topic: Topic) -> Result<(), CommandError> {
    let word = match topic {
        Topic::Channel => "unsubscribe",
        Topic::Pattern => "punsubscribe",
        Topic::ShardChannel => "sunsubscribe",
    };
    ctx.begin_pushes();
    let names: Vec<Vec<u8>> = match args.len() {
        1 => ctx.session.subscriptions.of(topic).iter().cloned().collect(),
        _ => args.from(1).iter().map(<[u8]>::to_vec).collect(),
    };
    for name in &names {
        if ctx.session.subscriptions.of(topic).remove(name) {
            ctx.shared.hub.unsubscribe(topic, name, ctx.session.client.id());
            // What came before stands before.
            ctx.take_posted();
        }
        let count = ctx.session.subscriptions.count(topic);
        confirm(ctx, word, Some(name), count);
    }
    if names.is_empty() {
        let count = ctx.session.subscriptions.count(topic);
        confirm(ctx, word, None, count);
    }
    follow(ctx.session);
    Ok(())
}

fn publish(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    publish_to(ctx, Topic::Channel, args)
}

fn publish_shard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    publish_to(ctx, Topic::ShardChannel, args)
}

fn publish_to(ctx: &mut Ctx<'_>, topic: Topic, args: Args<'_>) -> Result<(), CommandError> {
    let (channel, payload) = (args.at(1), args.at(2));
    let receivers = if ctx.session.in_exec {
        ctx.publish_later(topic, channel, payload);
        ctx.shared.hub.receivers(topic, channel)
    } else {
        ctx.shared.hub.publish(topic, channel, payload)
    };
    ctx.reply.integer(receivers as i64);
    Ok(())
}

/// PING of a client that is subscribed and speaks RESP2: it has the form of a message.
pub(super) fn ping(ctx: &mut Ctx<'_>, payload: &[u8]) {
    ctx.reply.array_header(2);
    ctx.reply.bulk(b"pong");
    ctx.reply.bulk(payload);
}

/// Where clients are subscribed.
pub type Channels = Hub<Client>;

#[cfg(test)]
mod tests;
