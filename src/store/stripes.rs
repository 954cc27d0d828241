//! Stripes: who may write a key, in which order, and what readers of several keys may rely on.
//!
//! A stripe is one cache line: a lock with what it protects, a sequence counter and the next expiry. Versions come from the
//! stripe's own counter, so no global one is needed; a key never changes its stripe within a pool's life.
//!
//! Readers rely on the sequence counter:
//! - A writer of one key adds 2 just before it publishes. A reader that finds a counter even and unchanged around its reads has
//!   seen nothing that was published in between.
//! - A writer of several keys makes the counters of all its stripes odd, publishes everything, and makes them even again. A reader
//!   waits for an odd counter, so it never sees half of such a write. [`Stripes::exclusive`] tells at the cost of one shared load
//!   whether there is such a writer at all.

use crate::base::sync::atomic::{AtomicU64, Ordering, fence};
use crate::base::sync::{Mutex, MutexGuard, PoisonError, TryLockError, yield_now};
use std::collections::BTreeSet;

/// When a key expires, in Unix milliseconds, and which: keyspace id and hash.
pub type Deadline = (u64, u32, u64);

/// What the lock of a stripe protects.
#[derive(Debug, Default)]
pub struct StripeData {
    /// The highest version given out.
    pub version: u64,
    /// The keys with an expiry.
    pub deadlines: BTreeSet<Deadline>,
}

/// A deadline later than all.
const NEVER: u64 = u64::MAX;

/// One stripe.
#[repr(align(64))]
#[derive(Debug)]
pub struct Stripe {
    data: Mutex<StripeData>,
    sequence: AtomicU64,
    next_deadline_ms: AtomicU64,
}

impl Default for Stripe {
    fn default() -> Self {
        Self { data: Mutex::default(), sequence: AtomicU64::new(0), next_deadline_ms: AtomicU64::new(NEVER) }
    }
}

/// A held stripe.
pub type Held<'a> = MutexGuard<'a, StripeData>;

impl Stripe {
    /// Locks the stripe: spins a little, then parks.
    ///
    /// A panic while it was held is no reason to refuse it later: whatever can panic does so before anything is published.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> Held<'_> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the stripe if it is free.
    #[track_caller]
    pub fn try_lock(&self) -> Option<Held<'_>> {
        match self.data.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The sequence counter.
    #[inline]
    pub fn sequence(&self) -> u64 {
        // Acquire: what a reader loads after it is not older than the counter.
        self.sequence.load(Ordering::Acquire)
    }

    /// Says that one word of this stripe is about to be published. The stripe is held, so nobody else changes the counter.
    #[inline]
    fn step(&self, by: u64) {
        let next = self.sequence.load(Ordering::Relaxed) + by;
        self.sequence.store(next, Ordering::Release);
    }

    /// Before one key is published.
    #[inline]
    pub fn publishing_one(&self) {
        self.step(2);
        // A reader that sees the word published after this sees the counter too: the index stores its words with Release.
    }

    /// Waits until no writer of several keys is publishing here.
    #[inline]
    pub fn wait_for_publisher(&self) {
        // Ends: a publisher works without waiting for anyone.
        while self.sequence() % 2 == 1 {
            yield_now();
        }
    }

    /// When the first key of this stripe expires, Unix milliseconds.
    #[inline]
    pub fn next_deadline_ms(&self) -> u64 {
        self.next_deadline_ms.load(Ordering::Relaxed)
    }

    /// Adds a deadline. The caller holds the stripe.
    pub fn add_deadline(&self, held: &mut Held<'_>, deadline: Deadline) {
        held.deadlines.insert(deadline);
        self.update_next(held);
    }

    /// Takes a deadline out. The caller holds the stripe.
    pub fn remove_deadline(&self, held: &mut Held<'_>, deadline: Deadline) {
        held.deadlines.remove(&deadline);
        self.update_next(held);
    }

    /// Takes the first deadline out if it is not after `now_ms`. The caller holds the stripe.
    pub fn pop_due(&self, held: &mut Held<'_>, now_ms: u64) -> Option<Deadline> {
        let first = *held.deadlines.first()?;
        if first.0 > now_ms {
            return None;
        }
        self.remove_deadline(held, first);
        Some(first)
    }

    /// Puts other data in the place of the held one, but never a lower version: one may have been given out and not been used.
    pub fn replace_data(&self, held: &mut Held<'_>, data: StripeData) {
        let version = held.version.max(data.version);
        **held = StripeData { version, ..data };
        self.update_next(held);
    }

    fn update_next(&self, held: &Held<'_>) {
        let next = held.deadlines.first().map_or(NEVER, |deadline| deadline.0);
        self.next_deadline_ms.store(next, Ordering::Relaxed);
    }
}

/// All stripes of a store.
#[derive(Debug)]
pub struct Stripes {
    stripes: Box<[Stripe]>,
    /// Low 32 bits: writers of several keys that are publishing now; high 32 bits: how many ever began.
    exclusive: AtomicU64,
}

impl Stripes {
    /// `count` stripes, a power of two.
    pub fn new(count: u32) -> Self {
        Self { stripes: (0..count).map(|_| Stripe::default()).collect(), exclusive: AtomicU64::new(0) }
    }

    /// The number of the stripe that keys of this hash belong to.
    #[inline]
    pub fn number(&self, hash: u64) -> u32 {
        hash as u32 & (self.stripes.len() as u32 - 1)
    }

    /// The stripe that keys of this hash belong to.
    #[inline]
    pub fn of(&self, hash: u64) -> &Stripe {
        self.at(self.number(hash))
    }

    /// Stripe `number`.
    #[inline]
    pub fn at(&self, number: u32) -> &Stripe {
        &self.stripes[number as usize]
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.stripes.len() as u32
    }

    /// Holds all of them, in ascending order.
    pub fn lock_all(&self) -> Vec<Held<'_>> {
        self.stripes.iter().map(Stripe::lock).collect()
    }

    /// A mark that changes when a writer of several keys begins to publish, and whether one is publishing now.
    #[inline]
    pub fn exclusive(&self) -> (u64, bool) {
        // Acquire: pairs with `publishing_many`; whoever saw one of its words sees the mark.
        let word = self.exclusive.load(Ordering::Acquire);
        (word, word as u32 != 0)
    }

    /// Runs `publish` while readers wait on all of `numbers`, which the caller holds.
    pub fn publishing_many(&self, numbers: impl Iterator<Item = u32> + Clone, publish: impl FnOnce()) {
        self.exclusive.fetch_add((1 << 32) | 1, Ordering::AcqRel);
        for number in numbers.clone() {
            self.at(number).step(1);
        }
        // The counters are odd before any word changes, for every observer.
        fence(Ordering::SeqCst);
        publish();
        for number in numbers {
            self.at(number).step(1);
        }
        self.exclusive.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stripe_is_one_cache_line() {
        assert_eq!(std::mem::size_of::<Stripe>(), 64);
    }

    #[test]
    fn deadlines_come_in_order_and_only_when_due() {
        let stripe = Stripe::default();
        let mut held = stripe.lock();
        stripe.add_deadline(&mut held, (20, 1, 7));
        stripe.add_deadline(&mut held, (10, 1, 8));
        assert_eq!(stripe.next_deadline_ms(), 10);
        assert_eq!(stripe.pop_due(&mut held, 9), None);
        assert_eq!(stripe.pop_due(&mut held, 10), Some((10, 1, 8)));
        assert_eq!(stripe.next_deadline_ms(), 20);
        stripe.remove_deadline(&mut held, (20, 1, 7));
        assert_eq!(stripe.next_deadline_ms(), NEVER);
    }

    #[test]
    fn readers_see_a_publisher_of_many() {
        let stripes = Stripes::new(4);
        let before = stripes.exclusive();
        assert!(!before.1);
        stripes.publishing_many([1u32, 3].into_iter(), || {
            assert!(stripes.exclusive().1);
            assert_eq!(stripes.at(1).sequence() % 2, 1);
            assert_eq!(stripes.at(0).sequence() % 2, 0);
        });
        assert!(!stripes.exclusive().1);
        assert_ne!(stripes.exclusive().0, before.0);
        assert_eq!(stripes.at(3).sequence(), 2);
    }
}
