//! Keyspace events: messages that tell what has happened to keys, for those who ask with `notify-keyspace-events`.
//!
//! A handler raises an event with [`Ctx::notify`] once its change is committed. Events are kept in the session until the command, or the whole
//! transaction, is over, so that nobody hears of what has not happened; [`Ctx::publish_events`] then sends them off. While none is asked for,
//! raising one costs a load.
//!
//! Keys and fields that expire are told of by the store, whoever finds them due: [`ExpiryEvents`].

use super::pubsub::Channels;
use super::{Ctx, Settings};
use crate::pubsub::Topic;
use crate::store::{Change, Db, Key, Store, Watcher};
use std::sync::Arc;

bitflags::bitflags! {
    /// Classes of events, and which of the two channels each goes to, by the letters of `notify-keyspace-events`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Events: u32 {
        /// `K`: to `__keyspace@<db>__:<key>`, the event being the message.
        const KEYSPACE = 1;
        /// `E`: to `__keyevent@<db>__:<event>`, the key being the message.
        const KEYEVENT = 1 << 1;
        /// `g`: commands for keys of any type.
        const GENERIC = 1 << 2;
        /// `$`: commands for strings.
        const STRING = 1 << 3;
        /// `l`: commands for lists.
        const LIST = 1 << 4;
        /// `s`: commands for sets.
        const SET = 1 << 5;
        /// `h`: commands for hashes.
        const HASH = 1 << 6;
        /// `z`: commands for sorted sets.
        const ZSET = 1 << 7;
        /// `x`: keys that have expired.
        const EXPIRED = 1 << 8;
        /// `e`: keys evicted for want of room.
        const EVICTED = 1 << 9;
        /// `t`: commands for streams.
        const STREAM = 1 << 10;
        /// `m`: keys looked for and not found.
        const KEY_MISS = 1 << 11;
        /// `d`: commands of modules, of which there are none.
        const MODULE = 1 << 12;
        /// `n`: keys that were not there before.
        const NEW = 1 << 13;
    }
}

impl Events {
    const LETTERS: [(char, Events); 14] = [
        ('K', Events::KEYSPACE),
        ('E', Events::KEYEVENT),
        ('g', Events::GENERIC),
        ('$', Events::STRING),
        ('l', Events::LIST),
        ('s', Events::SET),
        ('h', Events::HASH),
        ('z', Events::ZSET),
        ('x', Events::EXPIRED),
        ('e', Events::EVICTED),
        ('t', Events::STREAM),
        ('m', Events::KEY_MISS),
        ('d', Events::MODULE),
        ('n', Events::NEW),
    ];

    /// What `A` stands for: every class but `m` and `n`.
    const ALL_CLASSES: Events =
        Events::all().difference(Events::CHANNELS).difference(Events::KEY_MISS).difference(Events::NEW);

    const CHANNELS: Events = Events::KEYSPACE.union(Events::KEYEVENT);

    /// What the letters ask for. Nothing when they name no channel, or no class.
    pub(super) fn asked_for(letters: &str) -> Self {
        let of = |letter| match letter {
            'A' => Self::ALL_CLASSES,
            _ => Self::LETTERS.iter().find(|(other, _)| *other == letter).map_or(Self::empty(), |(_, events)| *events),
        };
        let asked: Self = letters.chars().map(of).collect();
        if asked.intersects(Self::CHANNELS) && !asked.difference(Self::CHANNELS).is_empty() {
            asked
        } else {
            Self::empty()
        }
    }
}

/// A message on its way to a channel.
#[derive(Debug)]
struct Event {
    topic: Topic,
    channel: Vec<u8>,
    payload: Vec<u8>,
}

/// Messages that wait for the end of the command or the transaction.
#[derive(Debug, Default)]
pub struct Pending(std::cell::RefCell<Vec<Event>>);

impl Pending {
    /// How many there are: a mark for [`Pending::take_back`].
    #[inline]
    pub fn mark(&mut self) -> usize {
        self.0.get_mut().len()
    }

    /// Takes back those that were raised since `mark`.
    pub fn take_back(&mut self, mark: usize) {
        self.0.get_mut().truncate(mark);
    }

    /// Keeps the messages of an event.
    #[cold]
    pub(super) fn raise(&self, asked: Events, event: &'static str, key: Key<'_>) {
        self.0.borrow_mut().extend(messages(asked, key.db, event, key.name));
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// The messages of one event, in the order they are sent.
fn messages(asked: Events, db: Db, event: &str, key: &[u8]) -> impl Iterator<Item = Event> {
    let keyspace = asked.contains(Events::KEYSPACE).then(|| Event {
        topic: Topic::Channel,
        channel: [format!("__keyspace@{db}__:").as_bytes(), key].concat(),
        payload: event.as_bytes().to_vec(),
    });
    let keyevent = asked.contains(Events::KEYEVENT).then(|| Event {
        topic: Topic::Channel,
        channel: format!("__keyevent@{db}__:{event}").into_bytes(),
        payload: key.to_vec(),
    });
    keyspace.into_iter().chain(keyevent)
}

impl Ctx<'_> {
    /// Raises an event about a key of the session's database. Call it when the change is committed; it is published when the command, or the transaction
    /// that it is in, is over.
    #[inline]
    pub fn notify(&self, class: Events, event: &'static str, key: &[u8]) {
        self.notify_of(class, event, Key { db: self.session.db, name: key });
    }

    /// [`Ctx::notify`] for a key of any database.
    #[inline]
    pub fn notify_of(&self, class: Events, event: &'static str, key: Key<'_>) {
        let asked = self.shared.settings.events();
        if asked.contains(class) {
            self.session.pending.raise(asked, event, key);
        }
    }

    /// Raises the event of a write, and before it `new` if the key was not there.
    #[inline]
    pub fn notify_write(&self, is_new: bool, class: Events, event: &'static str, key: Key<'_>) {
        if !self.shared.settings.events().is_empty() {
            if is_new {
                self.notify_of(Events::NEW, "new", key);
            }
            self.notify_of(class, event, key);
        }
    }

    /// Raises the event of a removal from a collection, and behind it `del` if the collection is gone with its last element.
    #[inline]
    pub fn notify_removal(&self, is_gone: bool, class: Events, event: &'static str, key: Key<'_>) {
        if !self.shared.settings.events().is_empty() {
            self.notify_of(class, event, key);
            if is_gone {
                self.notify_of(Events::GENERIC, "del", key);
            }
        }
    }

    /// Raises the event of a command that has stored its result under `key`, or `del` if the result is empty and the key was there (`was_there`).
    pub fn notify_store(&self, is_stored: bool, was_there: bool, class: Events, event: &'static str, key: Key<'_>) {
        if is_stored {
            self.notify_write(!was_there, class, event, key);
        } else if was_there {
            self.notify_of(Events::GENERIC, "del", key);
        }
    }

    /// Raises the two events of a key that has got another name or database.
    pub fn notify_moved(&self, [left, came]: [&'static str; 2], from: Key<'_>, to: Key<'_>) {
        self.notify_of(Events::NEW, "new", to);
        self.notify_of(Events::GENERIC, left, from);
        self.notify_of(Events::GENERIC, came, to);
    }

    /// Whether events of that class are asked for: for what it takes work to find out.
    #[inline]
    pub fn wants(&self, class: Events) -> bool {
        self.shared.settings.events().contains(class)
    }

    /// Publishes a message together with the events, in the order they were raised.
    pub(super) fn publish_later(&self, topic: Topic, channel: &[u8], payload: &[u8]) {
        let event = Event { topic, channel: channel.to_vec(), payload: payload.to_vec() };
        self.session.pending.0.borrow_mut().push(event);
    }

    /// Sends off the events that were raised. To be called when what they tell of is there for everyone to see: by the table after each command, and
    /// after EXEC for all that ran in it.
    #[inline]
    pub fn publish_events(&mut self) {
        if self.session.in_exec {
            return;
        }
        if !self.session.pending.is_empty() {
            self.publish_pending();
        }
        self.shared.tracking.broadcast();
    }

    #[cold]
    fn publish_pending(&mut self) {
        for event in std::mem::take(self.session.pending.0.get_mut()) {
            self.shared.hub.publish(event.topic, &event.channel, &event.payload);
        }
    }

    /// Takes back the events that were raised: what they tell of is not going to happen.
    pub fn drop_events(&mut self) {
        self.session.pending.0.get_mut().clear();
    }
}

/// Publishes `expired`, and `hexpired` with the `del` that may follow, as the store tells of them.
#[derive(Debug)]
pub(super) struct ExpiryEvents {
    hub: Arc<Channels>,
    settings: Arc<Settings>,
}

impl ExpiryEvents {
    /// For the channels of `hub`, as `settings` ask for.
    pub fn new(hub: &Arc<Channels>, settings: &Arc<Settings>) -> Arc<Self> {
        Arc::new(Self { hub: Arc::clone(hub), settings: Arc::clone(settings) })
    }

    /// The classes of these events.
    const CLASSES: Events = Events::EXPIRED.union(Events::HASH).union(Events::GENERIC);

    /// Has `store` tell of keys and fields that expire if the settings ask for that. To be called when they have changed, and for a store that has just been opened.
    pub fn follow_settings(self: &Arc<Self>, store: &Store) {
        let watcher: Arc<dyn Watcher> = Arc::clone(self) as _;
        if self.settings.events().intersects(Self::CLASSES) {
            store.changes().watch_expiry(&watcher);
        } else {
            store.changes().unwatch_expiry(&watcher);
        }
    }
}

impl Watcher for ExpiryEvents {
    fn changed(&self, db: Db, name: &[u8], change: Change) -> bool {
        let asked = self.settings.events();
        let events: &[_] = match change {
            Change::Expired => &[(Events::EXPIRED, "expired")],
            Change::FieldsExpired => &[(Events::HASH, "hexpired")],
            Change::Ended => &[(Events::HASH, "hexpired"), (Events::GENERIC, "del")],
            Change::Written | Change::Database | Change::CameExpired => &[],
        };
        for (_, event) in events.iter().filter(|(class, _)| asked.contains(*class)) {
            for message in messages(asked, db, event, name) {
                self.hub.publish(message.topic, &message.channel, &message.payload);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
