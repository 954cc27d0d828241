//! Channels and who is subscribed to them. Nothing here is durable: a message goes to those who are subscribed when it is published.
//!
//! Channels are spread over parts by hash, each with a lock of its own, so that publishing to different channels rarely meets. A message is delivered
//! with its channel's part locked, the pattern subscribers included; delivering copies bytes and waits for nobody. Hence:
//!
//! 1. All subscribers of a channel get its messages in one order, and each gets those of one publisher in the order they were published.
//! 2. Once [`Hub::unsubscribe`] has returned no message of that channel is delivered any more; once [`Hub::subscribe`] has, none is missed.
//!
//! Publishing costs one load while nobody is subscribed to anything.
#![forbid(unsafe_code)]

mod message;

pub use message::Message;

use crate::base::glob;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Somebody who can be subscribed.
pub trait Subscriber: Send + Sync {
    /// Never that of two subscribers at the same time.
    fn id(&self) -> u64;

    /// Takes a message. Called with locks of the [`Hub`] held: it must neither wait nor call the hub.
    fn deliver(&self, message: &Message<'_>);
}

/// What one can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A channel: PUBLISH.
    Channel,
    /// All channels whose names match a pattern.
    Pattern,
    /// A channel of the other namespace: SPUBLISH.
    ShardChannel,
}

/// Parts that channels are spread over.
const PARTS: usize = 64;

/// Those who are subscribed to one thing, in the order of their ids.
type Subscribers<S> = BTreeMap<u64, Arc<S>>;

/// Channels of one namespace that somebody is subscribed to.
struct Namespace<S> {
    parts: Vec<Mutex<HashMap<Vec<u8>, Subscribers<S>>>>,
    hasher: RandomState,
}

impl<S> Default for Namespace<S> {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl<S> Namespace<S> {
    fn part_of(&self, channel: &[u8]) -> MutexGuard<'_, HashMap<Vec<u8>, Subscribers<S>>> {
        lock(&self.parts[self.hasher.hash_one(channel) as usize % PARTS])
    }

    fn channels(&self, mut wanted: impl FnMut(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        for part in &self.parts {
            names.extend(lock(part).keys().filter(|name| wanted(name)).cloned());
        }
        names
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| lock(part).len()).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is subscribed to what.
pub struct Hub<S> {
    channels: Namespace<S>,
    shard_channels: Namespace<S>,
    patterns: RwLock<BTreeMap<Vec<u8>, Subscribers<S>>>,
    /// Subscriptions of all kinds. Release when it grows, acquire when it is looked at: who has seen a SUBSCRIBE answered publishes to it.
    subscriptions: AtomicU64,
}

impl<S> Default for Hub<S> {
    fn default() -> Self {
        Self {
            channels: Namespace::default(),
            shard_channels: Namespace::default(),
            patterns: RwLock::default(),
            subscriptions: AtomicU64::new(0),
        }
    }
}

impl<S> std::fmt::Debug for Hub<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hub({} subscriptions)", self.subscriptions.load(Ordering::Relaxed))
    }
}

impl<S: Subscriber> Hub<S> {
    /// Subscribes; does nothing when it is subscribed already.
    pub fn subscribe(&self, topic: Topic, name: &[u8], subscriber: &Arc<S>) {
        let add =
            |subscribers: &mut Subscribers<S>| subscribers.insert(subscriber.id(), Arc::clone(subscriber)).is_none();
        let added = match topic {
            Topic::Channel => add(self.channels.part_of(name).entry(name.to_vec()).or_default()),
            Topic::ShardChannel => add(self.shard_channels.part_of(name).entry(name.to_vec()).or_default()),
            Topic::Pattern => {
                let mut patterns = self.patterns.write().unwrap_or_else(PoisonError::into_inner);
                add(patterns.entry(name.to_vec()).or_default())
            }
        };
        if added {
            self.subscriptions.fetch_add(1, Ordering::Release);
        }
    }

    /// Ends a subscription, if there is one.
    pub fn unsubscribe(&self, topic: Topic, name: &[u8], id: u64) {
        let removed = match topic {
            Topic::Channel => remove_from(&mut *self.channels.part_of(name), name, id),
            Topic::ShardChannel => remove_from(&mut *self.shard_channels.part_of(name), name, id),
            Topic::Pattern => {
                let mut patterns = self.patterns.write().unwrap_or_else(PoisonError::into_inner);
                let Some(subscribers) = patterns.get_mut(name) else { return };
                let removed = subscribers.remove(&id).is_some();
                if subscribers.is_empty() {
                    patterns.remove(name);
                }
                removed
            }
        };
        if removed {
            self.subscriptions.fetch_sub(1, Ordering::Release);
        }
    }

    /// Delivers a message to those who are subscribed to the channel, then, unless it is a shard channel, to those whose patterns match. Says how many
    /// deliveries there were.
    pub fn publish(&self, topic: Topic, channel: &[u8], payload: &[u8]) -> usize {
        if self.is_idle() {
            return 0;
        }
        let namespace = if topic == Topic::ShardChannel { &self.shard_channels } else { &self.channels };
        let part = namespace.part_of(channel);
        let direct = part
            .get(channel)
            .map_or(0, |subscribers| deliver(subscribers, &Message::new(topic, None, channel, payload)));
        if topic == Topic::ShardChannel {
            return direct;
        }
        let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
        let matching = patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel));
        let by_pattern = matching.map(|(pattern, subscribers)| {
            deliver(subscribers, &Message::new(Topic::Pattern, Some(pattern), channel, payload))
        });
        direct + by_pattern.sum::<usize>()
    }

    /// How many deliveries a message would make now.
    pub fn receivers(&self, topic: Topic, channel: &[u8]) -> usize {
        let direct = self.subscribers(topic, channel);
        if topic == Topic::ShardChannel {
            return direct;
        }
        let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
        let matching = patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel));
        direct + matching.map(|(_, subscribers)| subscribers.len()).sum::<usize>()
    }

    /// Names that somebody is subscribed to and that are `wanted`, in no order.
    pub fn names(&self, topic: Topic, mut wanted: impl FnMut(&[u8]) -> bool) -> Vec<Vec<u8>> {
        match topic {
            Topic::Channel => self.channels.channels(wanted),
            Topic::ShardChannel => self.shard_channels.channels(wanted),
            Topic::Pattern => {
                let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
                patterns.keys().filter(|name| wanted(name)).cloned().collect()
            }
        }
    }

    /// How many names somebody is subscribed to.
    pub fn count(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel => self.channels.len(),
            Topic::ShardChannel => self.shard_channels.len(),
            Topic::Pattern => self.patterns.read().unwrap_or_else(PoisonError::into_inner).len(),
        }
    }

    /// How many are subscribed to this name itself.
    pub fn subscribers(&self, topic: Topic, name: &[u8]) -> usize {
        match topic {
            Topic::Channel => self.channels.part_of(name).get(name).map_or(0, BTreeMap::len),
            Topic::ShardChannel => self.shard_channels.part_of(name).get(name).map_or(0, BTreeMap::len),
            Topic::Pattern => {
                self.patterns.read().unwrap_or_else(PoisonError::into_inner).get(name).map_or(0, BTreeMap::len)
            }
        }
    }

    /// Whether nobody is subscribed to anything.
    #[inline]
    pub fn is_idle(&self) -> bool {
        // Acquire: pairs with the additions in `subscribe`.
        self.subscriptions.load(Ordering::Acquire) == 0
    }
}

fn remove_from<S>(channels: &mut HashMap<Vec<u8>, Subscribers<S>>, name: &[u8], id: u64) -> bool {
    let Some(subscribers) = channels.get_mut(name) else { return false };
    let removed = subscribers.remove(&id).is_some();
    if subscribers.is_empty() {
        channels.remove(name);
    }
    removed
}

fn deliver<S: Subscriber>(subscribers: &Subscribers<S>, message: &Message<'_>) -> usize {
    subscribers.values().for_each(|subscriber| subscriber.deliver(message));
    subscribers.len()
}

#[cfg(test)]
mod tests;
