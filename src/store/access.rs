//! When keys were last used, or how often: what the LRU and LFU policies of eviction choose by.
//!
//! The clocks lie in DRAM, four bytes a key, and only while such a policy is in force. A table is lines of sixteen words; the high bits of a key's
//! hash choose its line, eight of the low ones tell it from the others there. A key that has no word in a full line counts as the coldest
//! of the line, because a line that is full gives up its coldest word for a key that is used: so what is lost is the order among keys that nobody
//! uses. Two keys of a line with the same eight bits share a word, and count as used when either is.
//!
//! A word's clock is what Redis keeps with each value: 24 bits of seconds for LRU; 16 bits of minutes and a logarithmic counter for LFU.
//! Nothing here is durable: after a start, and after a change between the two kinds, all keys count as used just then.
//!
//! Words are read and written without a lock and without a locked instruction. Two threads that use two keys of a line at one moment can
//! undo each other's; that costs the choice a little quality and nothing else.

use super::keyspaces::Keyspace;
use super::{Entry, Key, Store};
use crate::base::EpochCell;
use crate::base::sync::{Mutex, PoisonError};
use crate::log::try_record_at;
use crossbeam_epoch::Guard;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What is remembered of the uses of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// When each key was last used.
    Recency,
    /// How often each key is used.
    Frequency {
        /// The greater, the more uses it takes to raise a high counter: Redis's `lfu-log-factor`.
        log_factor: u32,
        /// Minutes without use after which a counter goes down by one; 0 for never: Redis's `lfu-decay-time`.
        decay_minutes: u32,
    },
}

/// Words in a line, which is one cache line.
const WAYS: usize = 16;
/// Lines of the smallest table: 4 KiB.
const LINES_MIN: usize = 64;
/// Bits of a word that are the clock; those above are the tag. A word of zeros is free.
const CLOCK_BITS: u32 = 24;
const CLOCK_MASK: u32 = (1 << CLOCK_BITS) - 1;
/// Bits of an LFU clock that are the counter; those above are minutes.
const COUNTER_BITS: u32 = 8;
const COUNTER_MAX: u32 = 255;
const MINUTES_MASK: u32 = CLOCK_MASK >> COUNTER_BITS;

/// The counter of a key that has just come to be: enough to live until it is used.
pub(super) const COUNTER_START: u32 = 5;

/// A small fast generator (xorshift64*), for what needs no more than fairness.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Default for Random {
    /// Seeded by the system.
    fn default() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self::new(RandomState::new().hash_one(0))
    }
}

thread_local! {
    /// Decides about the steps of LFU counters.
    static STEPS: Cell<u64> = Cell::new(Random::default().0);
}

fn random_step() -> u64 {
    STEPS.with(|state| {
        let mut random = Random(state.get());
        let drawn = random.next();
        state.set(random.0);
        drawn
    })
}

/// The moment of a use, and by what rules it counts.
#[derive(Clone, Copy, Debug)]
struct Moment {
    now_ms: u64,
    tracking: Tracking,
}

impl Moment {
    fn seconds(self) -> u32 {
        (self.now_ms / 1000) as u32 & CLOCK_MASK
    }

    fn minutes(self) -> u32 {
        (self.now_ms / 60_000) as u32 & MINUTES_MASK
    }

    /// Time from `then` to `now` on a clock of `mask + 1` steps; 0 when `then` is ahead, which a worker whose time is a little behind finds.
    fn elapsed(now: u32, then: u32, mask: u32) -> u32 {
        let steps = now.wrapping_sub(then) & mask;
        if steps > mask / 2 { 0 } else { steps }
    }

    /// The counter of an LFU clock as it has gone down since.
    fn counter(self, clock: u32, decay_minutes: u32) -> u32 {
        let elapsed = Self::elapsed(self.minutes(), clock >> COUNTER_BITS, MINUTES_MASK);
        (clock & COUNTER_MAX).saturating_sub(elapsed.checked_div(decay_minutes).unwrap_or(0))
    }

    /// The clock of a key that has just come to be.
    fn fresh(self) -> u32 {
        match self.tracking {
            Tracking::Recency => self.seconds(),
            Tracking::Frequency { .. } => self.minutes() << COUNTER_BITS | COUNTER_START,
        }
    }

    /// The clock after one more use.
    fn used(self, clock: u32) -> u32 {
        match self.tracking {
            Tracking::Recency => self.seconds(),
            Tracking::Frequency { log_factor, decay_minutes } => {
                let counter = self.counter(clock, decay_minutes);
                self.minutes() << COUNTER_BITS | raised(counter, log_factor, random_step())
            }
        }
    }

    /// How cold a key is: seconds without use, or how far its counter is from the top.
    fn coldness(self, clock: u32) -> u32 {
        match self.tracking {
            Tracking::Recency => Self::elapsed(self.seconds(), clock, CLOCK_MASK),
            Tracking::Frequency { decay_minutes, .. } => COUNTER_MAX - self.counter(clock, decay_minutes),
        }
    }
}

/// A counter after a use: one more, with a probability of 1 in (the counter above its start x the factor + 1). `draw` is uniform.
fn raised(counter: u32, log_factor: u32, draw: u64) -> u32 {
    let one_in = u64::from(counter.saturating_sub(COUNTER_START)) * u64::from(log_factor) + 1;
    let hit = (u128::from(draw) * u128::from(one_in)) >> 64 == 0;
    if hit { (counter + 1).min(COUNTER_MAX) } else { counter }
}

#[derive(Default)]
#[repr(align(64))]
struct Line([AtomicU32; WAYS]);

/// Clocks of one kind.
struct Table {
    lines: Box<[Line]>,
    /// What keys say that were not used since the table was made.
    baseline: u32,
}

impl Table {
    fn new(keys: u64, moment: Moment) -> Self {
        let lines = (keys / WAYS as u64).clamp(LINES_MIN as u64, u64::from(u32::MAX)) as usize;
        Self { lines: (0..lines).map(|_| Line::default()).collect(), baseline: moment.fresh() }
    }

    fn words(&self) -> u64 {
        (self.lines.len() * WAYS) as u64
    }

    /// Whether the table is about right for so many keys: up to a quarter of them may be without a word, and then it grows; up to half of the
    /// words may be without a key.
    fn fits(&self, keys: u64) -> bool {
        let least = self.lines.len() == LINES_MIN;
        keys <= self.words() + self.words() / 4 && (least || keys >= self.words() / 2)
    }

    /// The word of a key and its clock; or the word that the key would get, and the clock that it counts as having.
    fn find(&self, hash: u64, moment: Moment) -> (&AtomicU32, u32, bool) {
        let line = &self.lines[(((hash >> 32) * self.lines.len() as u64) >> 32) as usize];
        let (tag, start) = (Self::tag(hash), (hash >> 8) as usize);
        for way in 0..WAYS {
            let place = &line.0[(start + way) % WAYS];
            let word = place.load(Relaxed);
            if word >> CLOCK_BITS == tag {
                return (place, word & CLOCK_MASK, true);
            }
            if word == 0 {
                return (place, self.baseline, false);
            }
        }
        let clock_at = |place: &AtomicU32| place.load(Relaxed) & CLOCK_MASK;
        let coldest = line.0.iter().max_by_key(|place| moment.coldness(clock_at(place))).expect("a line has words");
        (coldest, clock_at(coldest), false)
    }

    /// From 1 to 255: a word in use is never 0.
    fn tag(hash: u64) -> u32 {
        u32::from(hash as u8).max(1)
    }

    fn put(place: &AtomicU32, hash: u64, clock: u32) {
        let word = Self::tag(hash) << CLOCK_BITS | clock;
        // A key that is used all the time changes its word once a second: its line stays shared among the readers.
        if place.load(Relaxed) != word {
            place.store(word, Relaxed);
        }
    }

    fn touch(&self, hash: u64, moment: Moment) {
        let (place, clock, _) = self.find(hash, moment);
        Self::put(place, hash, moment.used(clock));
    }

    fn set(&self, hash: u64, clock: u32, moment: Moment) {
        Self::put(self.find(hash, moment).0, hash, clock);
    }

    fn clock(&self, hash: u64, moment: Moment) -> u32 {
        self.find(hash, moment).1
    }
}

/// The table in force, and the one that takes its place once all keys are in it. Uses go to both.
#[derive(Default, Clone)]
struct Tables {
    current: Option<Arc<Table>>,
    next: Option<Arc<Table>>,
}

impl Tables {
    fn each(&self) -> impl Iterator<Item = &Table> {
        [&self.current, &self.next].into_iter().flatten().map(Arc::as_ref)
    }
}

/// A walk over the keys, to copy their clocks into the next table.
struct Copying {
    left: Vec<Arc<Keyspace>>,
    cursor: u64,
}

/// The clocks of a store.
pub(super) struct Access {
    /// [`OFF`], [`RECENCY`] or [`FREQUENCY`].
    kind: AtomicU8,
    log_factor: AtomicU32,
    decay_minutes: AtomicU32,
    tables: EpochCell<Tables>,
    /// Held by who replaces tables.
    copying: Mutex<Option<Copying>>,
}

const OFF: u8 = 0;
const RECENCY: u8 = 1;
const FREQUENCY: u8 = 2;

impl Default for Access {
    fn default() -> Self {
        Self {
            kind: AtomicU8::new(OFF),
            log_factor: AtomicU32::new(0),
            decay_minutes: AtomicU32::new(0),
            tables: EpochCell::new(Tables::default()),
            copying: Mutex::default(),
        }
    }
}

impl Access {
    /// Whether uses are to be noted.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        // Relaxed: uses that overlap a change of policy may be noted or not.
        self.kind.load(Relaxed) != OFF
    }

    fn moment(&self, now_ms: u64) -> Option<Moment> {
        let tracking = match self.kind.load(Relaxed) {
            OFF => return None,
            RECENCY => Tracking::Recency,
            _ => Tracking::Frequency {
                log_factor: self.log_factor.load(Relaxed),
                decay_minutes: self.decay_minutes.load(Relaxed),
            },
        };
        Some(Moment { now_ms, tracking })
    }

    fn on_each(&self, now_ms: u64, guard: &Guard, act: impl Fn(&Table, Moment)) {
        if let Some(moment) = self.moment(now_ms) {
            self.tables.load(guard).each().for_each(|table| act(table, moment));
        }
    }

    /// The key was used.
    pub(super) fn touch(&self, hash: u64, now_ms: u64, guard: &Guard) {
        self.on_each(now_ms, guard, |table, moment| table.touch(hash, moment));
    }

    /// The key has come to be.
    pub(super) fn start(&self, hash: u64, now_ms: u64, guard: &Guard) {
        self.on_each(now_ms, guard, |table, moment| table.set(hash, moment.fresh(), moment));
    }

    /// How cold the key is, the greater the colder; 0 when that is not tracked.
    pub(super) fn coldness(&self, hash: u64, now_ms: u64, guard: &Guard) -> u32 {
        self.current(now_ms, guard).map_or(0, |(table, moment)| moment.coldness(table.clock(hash, moment)))
    }

    fn current<'g>(&'g self, now_ms: u64, guard: &'g Guard) -> Option<(&'g Table, Moment)> {
        Some((self.tables.load(guard).current.as_deref()?, self.moment(now_ms)?))
    }

    /// DRAM of the clocks in bytes.
    pub(super) fn bytes(&self, guard: &Guard) -> u64 {
        self.tables.load(guard).each().map(|table| table.words() * 4).sum()
    }
}

/// What a use is noted under: the same name in two databases is two keys.
#[inline]
pub(super) fn access_hash(keyspace: u32, hash: u64) -> u64 {
    hash ^ u64::from(keyspace).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Store {
    /// Tracks uses of keys as `wanted` says when it is called, from now on: allocates the clocks, or gives them back. What was known is kept when
    /// only the factors of [`Tracking::Frequency`] change.
    ///
    /// Whoever changes what `wanted` says calls this afterwards; then the last call sees the last change.
    pub fn track_access(&self, wanted: impl FnOnce() -> Option<Tracking>) {
        let access = &self.access;
        let mut copying = access.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let tracking = wanted();
        if let Some(Tracking::Frequency { log_factor, decay_minutes }) = tracking {
            access.log_factor.store(log_factor, Relaxed);
            access.decay_minutes.store(decay_minutes, Relaxed);
        }
        let kind = match tracking {
            None => OFF,
            Some(Tracking::Recency) => RECENCY,
            Some(Tracking::Frequency { .. }) => FREQUENCY,
        };
        if access.kind.load(Relaxed) == kind {
            return;
        }
        *copying = None;
        let guard = crossbeam_epoch::pin();
        let moment = tracking.map(|tracking| Moment { now_ms: self.clock.now_ms(), tracking });
        let current = moment.map(|moment| Arc::new(Table::new(self.keys(&guard), moment)));
        // Who sees the former kind with the new table notes a use or two in the wrong terms, as Redis does for all keys.
        access.kind.store(kind, Relaxed);
        access.tables.replace(Tables { current, next: None }, &guard);
    }

    fn keys(&self, guard: &Guard) -> u64 {
        self.table.load(guard).iter().map(|keyspace| keyspace.len()).sum()
    }

    /// Keeps the number of clocks in step with the number of keys, for at most about `budget`; says whether there is more to do. Counts the keys,
    /// a cache line for each stripe, only when it is to `look` whether the table still fits. For the background thread.
    pub(super) fn fit_access_clocks(&self, look: bool, budget: Duration) -> bool {
        if !look || !self.access.is_on() {
            return false;
        }
        let started = Instant::now();
        let mut copying = self.access.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = crossbeam_epoch::pin();
        let tables = self.access.tables.load(&guard);
        let (Some(moment), Some(current)) = (self.access.moment(self.clock.now_ms()), &tables.current) else {
            return false;
        };
        let Some(walk) = &mut *copying else {
            let keys = self.keys(&guard);
            let fits = current.fits(keys);
            if !fits {
                let next = Table { baseline: current.baseline, ..Table::new(keys, moment) };
                self.access.tables.replace(Tables { next: Some(Arc::new(next)), ..tables.clone() }, &guard);
                let left = self.table.load(&guard).iter().filter(|keyspace| keyspace.index().is_some());
                *copying = Some(Copying { left: left.cloned().collect(), cursor: 0 });
            }
            return !fits;
        };
        let Some(next) = &tables.next else { return false };
        // Ends: each turn takes the walk a step on, or a keyspace off.
        while let Some(index) = walk.left.last().map(|keyspace| keyspace.index()) {
            walk.cursor = index.map_or(0, |index| {
                index.scan(walk.cursor, &guard, |addr| {
                    let Ok(record) = try_record_at(&self.pool, addr) else { return };
                    let hash = access_hash(record.keyspace, self.hash(record.key));
                    let (place, _, known) = next.find(hash, moment);
                    let (_, clock, worth_it) = current.find(hash, moment);
                    // Not over what a use has just written there.
                    if worth_it && !known {
                        Table::put(place, hash, clock);
                    }
                })
            });
            if walk.cursor == 0 {
                walk.left.pop();
            }
            if started.elapsed() >= budget {
                return true;
            }
        }
        self.access.tables.replace(Tables { current: Some(Arc::clone(next)), next: None }, &guard);
        *copying = None;
        false
    }

    /// The key was used.
    pub fn touch(&self, entry: &Entry<'_>, now_ms: u64, guard: &Guard) {
        if self.access.is_on() {
            self.access.touch(access_hash(entry.record.keyspace, self.hash(entry.record.key)), now_ms, guard);
        }
    }

    /// Seconds since the key was used, if that is tracked.
    pub fn idle_seconds(&self, entry: &Entry<'_>, now_ms: u64, guard: &Guard) -> Option<u64> {
        let (clock, moment) = self.clock_of(entry, now_ms, guard)?;
        (moment.tracking == Tracking::Recency).then(|| u64::from(moment.coldness(clock)))
    }

    /// The key's counter of uses, if that is tracked.
    pub fn use_counter(&self, entry: &Entry<'_>, now_ms: u64, guard: &Guard) -> Option<u8> {
        let (clock, moment) = self.clock_of(entry, now_ms, guard)?;
        (moment.tracking != Tracking::Recency).then(|| (COUNTER_MAX - moment.coldness(clock)) as u8)
    }

    fn clock_of(&self, entry: &Entry<'_>, now_ms: u64, guard: &Guard) -> Option<(u32, Moment)> {
        let (table, moment) = self.access.current(now_ms, guard)?;
        let hash = access_hash(entry.record.keyspace, self.hash(entry.record.key));
        Some((table.clock(hash, moment), moment))
    }

    /// Has the key of `entry` count as last used `seconds` ago, if that is tracked.
    pub fn set_idle_seconds(&self, entry: &Entry<'_>, seconds: u64, now_ms: u64, guard: &Guard) {
        self.set_clock_of(entry, now_ms, guard, |moment| {
            let then = Moment { now_ms: moment.now_ms.saturating_sub(seconds.saturating_mul(1000)), ..moment };
            (moment.tracking == Tracking::Recency).then(|| then.seconds())
        });
    }

    /// Gives the key of `entry` a counter of uses, if these are tracked.
    pub fn set_use_counter(&self, entry: &Entry<'_>, counter: u8, now_ms: u64, guard: &Guard) {
        self.set_clock_of(entry, now_ms, guard, |moment| {
            (moment.tracking != Tracking::Recency).then(|| moment.minutes() << COUNTER_BITS | u32::from(counter))
        });
    }

    /// Has the key of `to` count as used just when the key of `from` was: it has been renamed.
    pub fn carry_access(&self, from: Key<'_>, to: Key<'_>, now_ms: u64, guard: &Guard) {
        let Some((table, moment)) = self.access.current(now_ms, guard) else { return };
        let databases = self.table.load(guard);
        let [from, to] = [from, to].map(|key| access_hash(databases.get(key.db).id, self.hash(key.name)));
        let clock = table.clock(from, moment);
        self.access.on_each(now_ms, guard, |table, moment| table.set(to, clock, moment));
    }

    fn set_clock_of(&self, entry: &Entry<'_>, now_ms: u64, guard: &Guard, clock: impl Fn(Moment) -> Option<u32>) {
        let hash = access_hash(entry.record.keyspace, self.hash(entry.record.key));
        self.access.on_each(now_ms, guard, |table, moment| {
            if let Some(clock) = clock(moment) {
                table.set(hash, clock, moment);
            }
        });
    }

    /// DRAM that the clocks take, in bytes: 0 unless uses are tracked.
    pub fn access_clock_bytes(&self) -> u64 {
        self.access.bytes(&crossbeam_epoch::pin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;

    const LFU: Tracking = Tracking::Frequency { log_factor: 10, decay_minutes: 1 };

    fn at(seconds: u64, tracking: Tracking) -> Moment {
        Moment { now_ms: seconds * 1000, tracking }
    }

    /// The share of uses that raise a counter, over many draws of a fixed generator, is 1 in (10 x what it is above 5) + 1.
    #[test]
    fn a_counter_rises_the_more_seldom_the_higher_it_is() {
        let mut random = Random::new(7);
        for counter in [0, 5, 6, 15, 100, 254] {
            let draws = 200_000;
            let raises = (0..draws).filter(|_| raised(counter, 10, random.next()) > counter).count() as f64;
            let expected = f64::from(draws) / f64::from((counter.max(5) - 5) * 10 + 1);
            assert!((raises - expected).abs() <= 5.0 * expected.sqrt(), "{counter}: {raises} of {expected}");
        }
        assert_eq!(raised(255, 0, 0), 255);
        assert_eq!(raised(200, 0, u64::MAX), 201, "with a factor of 0 each use counts");
    }

    /// Redis's own table: with a factor of 10, some 10 after 100 uses, 18 after 1,000, 142 after 100,000.
    #[test]
    fn counters_grow_as_in_redis() {
        let mut random = Random::new(1);
        let mut after = |uses: u32| {
            let one = |random: &mut Random| (0..uses).fold(COUNTER_START, |c, _| raised(c, 10, random.next()));
            (0..20).map(|_| one(&mut random)).sum::<u32>() / 20
        };
        assert!((9..=12).contains(&after(100)), "{}", after(100));
        assert!((17..=21).contains(&after(1000)), "{}", after(1000));
        assert!((135..=150).contains(&after(100_000)), "{}", after(100_000));
    }

    #[test]
    fn a_counter_goes_down_with_every_period_and_not_below_zero() {
        let clock = at(60, LFU).minutes() << COUNTER_BITS | 7;
        for (minutes, left) in [(1, 7), (2, 6), (5, 3), (8, 0), (1000, 0)] {
            assert_eq!(at(60 * minutes, LFU).counter(clock, 1), left);
        }
        assert_eq!(at(600, LFU).counter(clock, 3), 4);
        assert_eq!(at(60_000, LFU).counter(clock, 0), 7, "0 is never");
        assert_eq!(at(0, LFU).counter(clock, 1), 7, "a clock that is behind takes nothing off");
    }

    #[test]
    fn seconds_are_told_over_the_clocks_turn() {
        let last = at(u64::from(CLOCK_MASK), Tracking::Recency);
        let clock = last.fresh();
        assert_eq!(at(u64::from(CLOCK_MASK) + 10, Tracking::Recency).coldness(clock), 10);
        assert_eq!(at(u64::from(CLOCK_MASK) - 10, Tracking::Recency).coldness(clock), 0, "a time ahead is no time ago");
    }

    /// A thousand keys in a table of a thousand words: those used last are known as such, all but the few that share a word.
    #[test]
    fn a_full_table_knows_what_was_used_last() {
        let mut random = Random::new(3);
        let keys: Vec<u64> = (0..4096).map(|_| random.next()).collect();
        let table = Table::new(4096, at(0, Tracking::Recency));
        assert_eq!(table.words(), 4096);
        keys.iter().enumerate().for_each(|(i, &key)| table.touch(key, at(1 + i as u64, Tracking::Recency)));
        let end = at(5000, Tracking::Recency);
        let idle = |i: usize| 5000 - i as u32 - 1;
        let exact = (0..4096).filter(|&i| end.coldness(table.clock(keys[i], end)) == idle(i)).count();
        assert!(exact > 4096 * 3 / 4, "{exact}");
        for (i, &key) in keys.iter().enumerate().skip(2048) {
            assert!(end.coldness(table.clock(key, end)) <= idle(i).max(2800), "key {i} counts as colder than it is");
        }
    }

    /// The table grows with the keys, by a walk over them beside their uses, and keeps what it knew; and it shrinks again.
    #[test]
    fn clocks_keep_in_step_with_the_keys() {
        let clock = Clock::manual(1_000_000);
        let store = Store::in_memory(32 << 20, clock.clone()).expect("memory");
        store.track_access(|| Some(Tracking::Recency));
        let (mut worker, guard) = (store.worker(), crossbeam_epoch::pin());
        let names: Vec<String> = (0..5000).map(|i| format!("key{i}")).collect();
        let key = |i: usize| Key { db: 0, name: names[i].as_bytes() };
        for i in 0..names.len() {
            clock.advance(if i % 100 == 0 { 1000 } else { 0 });
            let mut txn = store.write(&mut worker, &[key(i)], clock.now_ms(), &guard);
            txn.set_inline(key(i), b"1", None).expect("staged");
            txn.commit().expect("room");
        }
        let idle = |i: usize, guard: &Guard| {
            let entry = store.peek(key(i), clock.now_ms(), guard).expect("there");
            store.idle_seconds(&entry, clock.now_ms(), guard).expect("tracked")
        };
        assert_eq!(store.access_clock_bytes(), 4 * 1024, "the smallest table, too small");
        let lately: Vec<u64> = (4800..5000).map(|i| idle(i, &guard)).collect();
        assert!(store.fit_access_clocks(true, Duration::MAX), "there is a walk to do");
        assert!(store.read(key(0), clock.now_ms(), &guard).is_some(), "a use while both tables are kept");
        assert!(!store.fit_access_clocks(true, Duration::MAX));
        let bytes = store.access_clock_bytes();
        assert!((3 * 5000..=4 * 5000).contains(&bytes), "{bytes}");
        assert_eq!(idle(0, &guard), 0);
        let kept = (4800..5000).filter(|&i| idle(i, &guard) == lately[i - 4800]).count();
        assert!(kept > 180, "{kept}");
        assert!(!store.fit_access_clocks(true, Duration::MAX), "it fits");
        store.flush_all(None).expect("flushed");
        assert!(store.fit_access_clocks(true, Duration::MAX));
        assert!(!store.fit_access_clocks(true, Duration::MAX));
        assert_eq!(store.access_clock_bytes(), 4 * 1024);
    }
}
