//! Stripes: who may write a key, in which order, and what readers of several keys may rely on.
//!
//! A stripe is one cache line: a lock with what it protects, a sequence counter and the next deadlines. Versions come from the
//! stripe's own counter, so no global one is needed; a key never changes its stripe within a pool's life.
//!
//! Readers rely on the sequence counter:
//! - A writer makes the counter odd, publishes, and makes it even again. A reader that finds the counters of several stripes even and unchanged
//!   around its reads has seen them all as of one moment. (One step, before or after, is not enough: two writers that have both taken theirs
//!   and then publish during the reads would go unnoticed.)
//! - A writer of several keys does so with all its stripes at once, and [`Stripes::exclusive`] tells meanwhile, at the cost of one shared load,
//!   that there is such a writer. Then readers of one key wait for an even counter, too, so nobody sees half of such a write.
//! - A transaction of several commands *takes* its stripes ([`Stripes::take`]): they are its own until it gives them back, and all that time it counts
//!   as a writer of several keys that publishes. What it publishes meanwhile may never come to count. So readers look, after they have read, whether a
//!   transaction was open while they did ([`Stripes::without_transaction`]).

use crate::base::mutant::{self, Mutant};
use crate::base::sync::atomic::{AtomicU64, Ordering, fence};
use crate::base::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError, pause, yield_now};
use std::cell::Cell;
use std::collections::BTreeSet;

/// When a key expires, or the first of its fields, in Unix milliseconds, and which key: keyspace id and hash.
pub type Deadline = (u64, u32, u64);

/// What happens at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The key expires.
    Key,
    /// The first field of the hash at the key expires.
    Field,
}

impl Due {
    /// Both.
    const ALL: [Self; 2] = [Self::Key, Self::Field];
}

/// Deadlines of each kind in their order. One word as long as there was none.
#[derive(Debug, Default)]
pub struct Deadlines(Option<Box<[BTreeSet<Deadline>; 2]>>);

impl Deadlines {
    /// Those of one kind.
    pub fn of(&self, due: Due) -> &BTreeSet<Deadline> {
        static NONE: BTreeSet<Deadline> = BTreeSet::new();
        self.0.as_ref().map_or(&NONE, |sets| &sets[due as usize])
    }

    fn of_mut(&mut self, due: Due) -> &mut BTreeSet<Deadline> {
        &mut self.0.get_or_insert_default()[due as usize]
    }
}

/// What the lock of a stripe protects.
#[derive(Debug, Default)]
pub struct StripeData {
    /// The highest version given out.
    pub version: u64,
    /// The keys with an expiry, and those with fields that have one.
    pub deadlines: Deadlines,
    /// The transaction that has taken the stripe; 0 for none.
    owner: u64,
}

thread_local! {
    /// The transaction that this thread is in; 0 for none.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// Whether this thread is in a transaction that has taken its stripes.
#[inline]
pub fn in_transaction() -> bool {
    CURRENT.get() != 0
}

/// A deadline later than all.
const NEVER: u64 = u64::MAX;

/// One stripe.
#[repr(align(64))]
#[derive(Debug)]
pub struct Stripe {
    data: Mutex<StripeData>,
    sequence: AtomicU64,
    next_deadline_ms: [AtomicU64; 2],
}

impl Default for Stripe {
    fn default() -> Self {
        let next_deadline_ms = Due::ALL.map(|_| AtomicU64::new(NEVER));
        Self { data: Mutex::default(), sequence: AtomicU64::new(0), next_deadline_ms }
    }
}

/// A held stripe.
pub type Held<'a> = MutexGuard<'a, StripeData>;

impl Stripe {
    /// Locks the stripe: spins a little, then parks. Waits while a transaction of another thread has taken it.
    ///
    /// A panic while it was held is no reason to refuse it later: whatever can panic does so before anything is published.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> Held<'_> {
        let held = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        if held.owner == 0 { held } else { self.lock_taken(held) }
    }

    #[cold]
    #[track_caller]
    fn lock_taken<'a>(&'a self, mut held: Held<'a>) -> Held<'a> {
        let mut turn = 0;
        // Ends: a transaction waits for nobody once it has its stripes, and gives them back.
        while held.owner != 0 && held.owner != CURRENT.get() {
            drop(held);
            wait_a_little(turn);
            turn += 1;
            held = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        }
        held
    }

    /// Locks the stripe if it is free.
    #[track_caller]
    pub fn try_lock(&self) -> Option<Held<'_>> {
        let held = match self.data.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        (held.owner == 0 || held.owner == CURRENT.get()).then_some(held)
    }

    /// The sequence counter.
    #[inline]
    pub fn sequence(&self) -> u64 {
        // Acquire: what a reader loads after it is not older than the counter.
        self.sequence.load(Ordering::Acquire)
    }

    /// From even to odd, or back. The stripe is held, so nobody else changes the counter.
    #[inline]
    fn step(&self) {
        let next = self.sequence.load(Ordering::Relaxed) + 1;
        // Release, for the second step: who sees it sees what was published before.
        self.sequence.store(next, Ordering::Release);
    }

    /// Whether the counter is odd already, as the stripe was taken by the transaction that this thread is in. The stripe is held.
    #[inline]
    fn is_taken(&self) -> bool {
        self.sequence.load(Ordering::Relaxed) % 2 == 1
    }

    /// Runs `publish`, which changes one key of this stripe. The stripe is held.
    #[inline]
    pub fn publishing_one<R>(&self, publish: impl FnOnce() -> R) -> R {
        if self.is_taken() {
            return publish();
        }
        self.step();
        // A reader that sees the word published now sees the odd counter too: the index stores its words with Release.
        let result = publish();
        self.step();
        result
    }

    /// Waits until nobody is publishing here.
    #[inline]
    pub fn wait_for_publisher(&self) {
        let mut turn = 0;
        // Ends: a publisher works without waiting for anyone.
        while self.sequence() % 2 == 1 {
            wait_a_little(turn);
            turn += 1;
        }
    }

    /// The first deadline of this stripe, Unix milliseconds.
    #[inline]
    pub fn next_deadline_ms(&self, due: Due) -> u64 {
        self.next_deadline_ms[due as usize].load(Ordering::Relaxed)
    }

    /// Whether anything of this stripe is due at `now_ms`.
    #[inline]
    pub fn is_due(&self, now_ms: u64) -> bool {
        Due::ALL.into_iter().any(|due| self.next_deadline_ms(due) <= now_ms)
    }

    /// Whether any key of this stripe has an expiry.
    #[inline]
    pub fn has_deadlines(&self) -> bool {
        self.next_deadline_ms(Due::Key) != NEVER
    }

    /// Adds a deadline. The caller holds the stripe.
    pub fn add_deadline(&self, held: &mut Held<'_>, due: Due, deadline: Deadline) {
        held.deadlines.of_mut(due).insert(deadline);
        self.update_next(held, due);
    }

    /// Takes a deadline out. The caller holds the stripe.
    pub fn remove_deadline(&self, held: &mut Held<'_>, due: Due, deadline: Deadline) {
        held.deadlines.of_mut(due).remove(&deadline);
        self.update_next(held, due);
    }

    /// Takes the first deadline out if it is not after `now_ms`. The caller holds the stripe.
    pub fn pop_due(&self, held: &mut Held<'_>, due: Due, now_ms: u64) -> Option<Deadline> {
        let first = *held.deadlines.of(due).first()?;
        if first.0 > now_ms {
            return None;
        }
        self.remove_deadline(held, due, first);
        Some(first)
    }

    /// Puts other data in the place of the held one, but never a lower version: one may have been given out and not been used.
    pub fn replace_data(&self, held: &mut Held<'_>, data: StripeData) {
        let version = held.version.max(data.version);
        **held = StripeData { version, ..data };
        Due::ALL.into_iter().for_each(|due| self.update_next(held, due));
    }

    fn update_next(&self, held: &Held<'_>, due: Due) {
        let next = held.deadlines.of(due).first().map_or(NEVER, |deadline| deadline.0);
        self.next_deadline_ms[due as usize].store(next, Ordering::Relaxed);
    }
}

/// All stripes of a store.
#[derive(Debug)]
pub struct Stripes {
    stripes: Box<[Stripe]>,
    /// Low 32 bits: writers of several keys that are publishing now; high 32 bits: how many ever began.
    exclusive: AtomicU64,
    /// The same of transactions that have taken stripes.
    transactions: AtomicU64,
    /// Held shared by transactions, exclusively by readers of whole databases that transactions have disturbed too often.
    gate: RwLock<()>,
}

/// Waits a little, longer the more turns there were.
#[track_caller]
pub fn wait_a_little(turn: u32) {
    /// Turns after which it is a transaction of many commands that is waited for.
    const LONG: u32 = 100;
    if turn < LONG || !pause() {
        yield_now();
    }
}

/// In a word of [`Stripes`]: one more has begun, and is at work.
const BEGUN: u64 = (1 << 32) | 1;

/// Tries to read while no transaction is open before new ones are held off.
const TRIES: usize = 16;

impl Stripes {
    /// `count` stripes, a power of two.
    pub fn new(count: u32) -> Self {
        Self {
            stripes: (0..count).map(|_| Stripe::default()).collect(),
            exclusive: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            gate: RwLock::new(()),
        }
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

    /// Before a key of stripe `number` is looked up by itself: waits while a write of several keys is being published there. One shared load when
    /// there is none.
    #[inline]
    pub fn before_reading(&self, number: u32) {
        if self.exclusive().1 && !in_transaction() {
            self.at(number).wait_for_publisher();
        }
    }

    /// What `read` finds, unless a write of several keys was being published meanwhile, of which it may have seen half.
    #[inline]
    pub fn undisturbed<R>(&self, read: impl FnOnce() -> R) -> Option<R> {
        let before = self.exclusive();
        if before.1 {
            return in_transaction().then(read);
        }
        let found = read();
        (self.exclusive() == before).then_some(found)
    }

    /// What `read` finds, unless a transaction was open meanwhile, of which it may have seen what will never come to count. Two shared loads. Within a
    /// transaction it is what that one has made.
    #[inline]
    pub fn without_transaction<R>(&self, read: impl FnOnce() -> R) -> Option<R> {
        // Acquire, both: pairs with `take`. Whoever saw something that a transaction has published sees its mark.
        let before = self.transactions.load(Ordering::Acquire);
        if mutant::active(Mutant::TransactionNotNoticed) {
            return Some(read());
        }
        if before as u32 != 0 {
            return in_transaction().then(read);
        }
        let found = read();
        (self.transactions.load(Ordering::Acquire) == before).then_some(found)
    }

    /// As [`Stripes::without_transaction`], as often as it takes: for readers of more than a few keys. `read` may take stripes.
    pub fn beside_transactions<R>(&self, mut read: impl FnMut() -> R) -> R {
        for turn in 0..TRIES {
            if let Some(found) = self.without_transaction(&mut read) {
                return found;
            }
            wait_a_little(turn as u32);
        }
        let _held_off = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        read()
    }

    /// Takes the stripes `numbers`, of which there may be none, for a transaction of this thread: until what is returned is dropped nobody else locks
    /// them, whoever reads their keys waits, and whatever locks them on this thread does not. A thread is in one transaction at a time, and holds no
    /// stripe when it begins one.
    #[track_caller]
    pub fn take(&self, mut numbers: Vec<u32>) -> Taken<'_> {
        static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        assert!(!in_transaction(), "a thread is in one transaction at a time");
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let owner = 1 + LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        numbers.sort_unstable();
        numbers.dedup();
        for &number in &numbers {
            self.at(number).lock().owner = owner;
        }
        self.exclusive.fetch_add(BEGUN, Ordering::AcqRel);
        self.transactions.fetch_add(BEGUN, Ordering::AcqRel);
        numbers.iter().for_each(|&number| self.at(number).step());
        // The marks are there before any word changes, for every observer.
        fence(Ordering::SeqCst);
        CURRENT.set(owner);
        Taken { stripes: self, numbers, _gate: gate }
    }

    /// What `read` finds, if all that it looks at on the stripes `numbers` was so at one moment: if nobody published there meanwhile. `sequences` is
    /// scratch.
    pub fn at_one_moment<R>(&self, numbers: &[u32], sequences: &mut Vec<u64>, read: impl FnOnce() -> R) -> Option<R> {
        if in_transaction() {
            return Some(read());
        }
        sequences.clear();
        sequences.extend(numbers.iter().map(|&number| self.at(number).sequence()));
        if sequences.iter().any(|sequence| sequence % 2 == 1) {
            yield_now();
            return None;
        }
        let found = read();
        // The index's loads are Acquire, so the counters read now are not older than the words: whoever published one of them has made its
        // counter odd before.
        let unchanged = numbers.iter().zip(sequences).all(|(&number, seen)| self.at(number).sequence() == *seen);
        unchanged.then_some(found)
    }

    /// Waits until every write of several keys that is being published now is published: for a reader that does not know which stripes it will look
    /// at. One shared load when there is none.
    #[inline]
    pub fn wait_for_publishers(&self) {
        if self.exclusive().1 && !in_transaction() {
            self.stripes.iter().for_each(Stripe::wait_for_publisher);
        }
    }

    /// Runs `publish` while readers wait on all of `numbers`, which the caller holds.
    pub fn publishing_many(&self, numbers: impl Iterator<Item = u32> + Clone, publish: impl FnOnce()) {
        if in_transaction() {
            return publish();
        }
        self.exclusive.fetch_add(BEGUN, Ordering::AcqRel);
        for number in numbers.clone() {
            self.at(number).step();
        }
        // The counters are odd before any word changes, for every observer.
        fence(Ordering::SeqCst);
        publish();
        for number in numbers {
            self.at(number).step();
        }
        self.exclusive.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Stripes that a transaction has taken. Dropping it gives them back: everything that it has published must be durable by then.
pub struct Taken<'a> {
    stripes: &'a Stripes,
    numbers: Vec<u32>,
    _gate: RwLockReadGuard<'a, ()>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let Stripes { exclusive, transactions, .. } = self.stripes;
        for &number in &self.numbers {
            let stripe = self.stripes.at(number);
            let mut held = stripe.lock();
            stripe.step();
            held.owner = 0;
        }
        CURRENT.set(0);
        transactions.fetch_sub(1, Ordering::AcqRel);
        exclusive.fetch_sub(1, Ordering::AcqRel);
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
        stripe.add_deadline(&mut held, Due::Key, (20, 1, 7));
        stripe.add_deadline(&mut held, Due::Key, (10, 1, 8));
        stripe.add_deadline(&mut held, Due::Field, (5, 1, 9));
        assert_eq!((stripe.next_deadline_ms(Due::Key), stripe.next_deadline_ms(Due::Field)), (10, 5));
        assert_eq!((stripe.is_due(4), stripe.is_due(5)), (false, true));
        assert_eq!(stripe.pop_due(&mut held, Due::Key, 9), None);
        assert_eq!(stripe.pop_due(&mut held, Due::Key, 10), Some((10, 1, 8)));
        assert_eq!(stripe.next_deadline_ms(Due::Key), 20);
        stripe.remove_deadline(&mut held, Due::Key, (20, 1, 7));
        assert_eq!(stripe.next_deadline_ms(Due::Key), NEVER);
        assert_eq!(stripe.pop_due(&mut held, Due::Field, 5), Some((5, 1, 9)));
        assert!(!stripe.is_due(u64::MAX - 1));
    }

    /// Two writers of single keys that had both stepped their counters and not yet published once went unnoticed by a reader of both keys.
    #[test]
    fn no_moment_lies_within_the_publishing_of_a_key() {
        let (stripes, mut scratch) = (Stripes::new(4), Vec::new());
        assert!(stripes.at_one_moment(&[0, 1], &mut scratch, || ()).is_some());
        stripes.at(1).publishing_one(|| {
            assert!(stripes.at_one_moment(&[0, 1], &mut scratch, || ()).is_none());
            assert!(stripes.at_one_moment(&[0, 2], &mut scratch, || ()).is_some(), "another stripe");
        });
        let across = stripes.at_one_moment(&[0, 1], &mut scratch, || stripes.at(1).publishing_one(|| ()));
        assert!(across.is_none(), "it was published during the look");
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
