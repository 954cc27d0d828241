//! Making room: which keys go when there is a limit, and their going.
//!
//! As in Redis: a few keys are sampled, the best to evict among them are kept in a small pool from one round to the next, and the best of all is
//! evicted. Keys are sampled from a random place of each index, or, for policies that only take keys with an expiry, from the deadlines of the
//! stripes; for `volatile-ttl` these give exactly the nearest.
//!
//! An eviction is an ordinary delete: one tombstone, durable before the key is gone. It holds only the stripe of its key.
//!
//! The bytes in use are the live bytes of all segments, which is too dear a sum for each write. So a worker that has taken it may write
//! its share of what is left below the limit before it takes it again: often near the limit, seldom far from it. A share is a quarter of an
//! equal one, and is void when others find that less than a quarter is left of what it was a share of: so all shares together
//! are never more than what is left.

use super::access::{Random, Tracking, access_hash};
use super::keyspaces::DbTable;
use super::stripes::{Deadline, Due};
use super::{Db, Key, Store, StoreError, Worker};
use crate::base::sync::atomic::Ordering::Relaxed;
use crate::log::{Record, try_record_at};
use crossbeam_epoch::Guard;
use std::time::{Duration, Instant};

/// Which keys are evicted, by Redis's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// None: writes are refused.
    #[default]
    NoEviction,
    /// Keys that were not used for the longest time.
    AllKeysLru,
    /// Keys that are used least often.
    AllKeysLfu,
    /// Any.
    AllKeysRandom,
    /// Of the keys with an expiry, those that were not used for the longest time.
    VolatileLru,
    /// Of the keys with an expiry, those that are used least often.
    VolatileLfu,
    /// Any key with an expiry.
    VolatileRandom,
    /// The keys that expire next.
    VolatileTtl,
}

use EvictionPolicy::{
    AllKeysLfu, AllKeysLru, AllKeysRandom, NoEviction, VolatileLfu, VolatileLru, VolatileRandom, VolatileTtl,
};

impl EvictionPolicy {
    /// All of them, in Redis's order.
    pub const ALL: [Self; 8] =
        [VolatileLru, VolatileLfu, VolatileRandom, VolatileTtl, AllKeysLru, AllKeysLfu, AllKeysRandom, NoEviction];

    /// The value of `maxmemory-policy` that names it.
    pub const fn name(self) -> &'static str {
        match self {
            NoEviction => "noeviction",
            AllKeysLru => "allkeys-lru",
            AllKeysLfu => "allkeys-lfu",
            AllKeysRandom => "allkeys-random",
            VolatileLru => "volatile-lru",
            VolatileLfu => "volatile-lfu",
            VolatileRandom => "volatile-random",
            VolatileTtl => "volatile-ttl",
        }
    }

    /// Whether it goes by how often keys are used.
    pub fn is_lfu(self) -> bool {
        matches!(self, AllKeysLfu | VolatileLfu)
    }

    /// What must be known of the uses of keys.
    pub fn tracking(self, log_factor: u32, decay_minutes: u32) -> Option<Tracking> {
        match self {
            AllKeysLru | VolatileLru => Some(Tracking::Recency),
            AllKeysLfu | VolatileLfu => Some(Tracking::Frequency { log_factor, decay_minutes }),
            _ => None,
        }
    }

    fn only_volatile(self) -> bool {
        matches!(self, VolatileLru | VolatileLfu | VolatileRandom | VolatileTtl)
    }

    fn is_random(self) -> bool {
        matches!(self, AllKeysRandom | VolatileRandom)
    }
}

/// How room is made.
#[derive(Clone, Copy, Debug)]
pub struct EvictionRules {
    /// Bytes of live records that there may be.
    pub limit_bytes: u64,
    /// Which keys go.
    pub policy: EvictionPolicy,
    /// Keys looked at in each round, for each database.
    pub samples: usize,
    /// Threads that write: each gets its share of what is left below the limit.
    pub writers: u64,
    /// How long one call may go on evicting; `None` for as long as it takes.
    pub time: Option<Duration>,
    /// Whether the names of evicted keys are left in [`Worker::evicted`].
    pub names: bool,
}

/// What a call made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Keys evicted.
    pub keys: u64,
    /// Bytes of records that are garbage now, those of keys found expired included.
    pub bytes: u64,
    /// Whether time was up before there was room.
    pub out_of_time: bool,
}

/// Candidates kept from one round to the next.
const POOL_KEYS: usize = 16;
/// Rounds without an eviction until it is given up: candidates may have gone, or been used, since they were sampled.
const FRUITLESS_ROUNDS: usize = 16;
/// Steps through an index for each key that is sampled. A well-filled one has nearly five keys at each; in a sparse one there may be sixteen
/// empty steps before a key.
const STEPS_PER_SAMPLE: usize = 32;
/// Most keys sampled in a round.
const SAMPLES_MAX: usize = 64;
/// Deadlines looked at in one stripe.
const DEADLINES_PER_STRIPE: usize = 4;
/// An equal share is cut into so many, as much as may be gone before it is void.
const SHARES_PER_WRITER: u64 = 4;
/// A worker at the limit may write at least one in so many bytes of the limit before it measures again.
const LIMIT_PER_FLOOR: u64 = 4096;
/// But no more than this.
const FLOOR_MAX_BYTES: u64 = 16 * 1024;

/// A key that may be evicted: what it is found by again, and how good a choice it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    score: u64,
    keyspace: u32,
    hash: u64,
}

/// What a worker keeps for evicting.
#[derive(Debug, Default)]
pub(super) struct Evictor {
    /// In ascending order of their scores.
    pool: Vec<Candidate>,
    policy: EvictionPolicy,
    random: Random,
    /// The limit that `measure_at` was worked out for; 0 before the first time.
    limit_bytes: u64,
    /// How far the worker may get, in bytes appended, before the bytes in use are summed up again.
    measure_at: u64,
    /// [`level_of`] what was left then.
    level: u32,
}

/// Bytes below the limit, by powers of two.
fn level_of(left: u64) -> u32 {
    left.checked_ilog2().unwrap_or(0)
}

impl Evictor {
    /// Keeps a candidate if it is better than one of those kept.
    fn offer(&mut self, candidate: Candidate) {
        self.pool.retain(|known| (known.keyspace, known.hash) != (candidate.keyspace, candidate.hash));
        let at = self.pool.partition_point(|known| known.score <= candidate.score);
        self.pool.insert(at, candidate);
        if self.pool.len() > POOL_KEYS {
            self.pool.remove(0);
        }
    }
}

impl Store {
    /// Bytes of records in the pool that keys refer to: what a limit is about. Reads a counter for each segment.
    pub fn live_bytes(&self) -> u64 {
        self.pool.segment_ids().map(|id| self.pool.segment_use(id).live_bytes).sum()
    }

    /// Whether the worker may append `bytes` more without a look at what is in use. A few loads.
    #[inline]
    pub fn is_within_share(&self, worker: &Worker, limit_bytes: u64, bytes: u64) -> bool {
        let evictor = &worker.evictor;
        evictor.limit_bytes == limit_bytes
            && worker.writer.appended() + bytes < evictor.measure_at
            // Relaxed: a worker that does not see it yet counts as one that has written just before.
            && evictor.level <= self.room_level.load(Relaxed) + 1
    }

    /// Brings the bytes in use `ahead` bytes below the limit, by evicting keys if need be, and says what that took and whether it worked. Then the
    /// worker has its share of the rest.
    ///
    /// Cost: a counter for each segment; for each key evicted its samples, a batch of one tombstone and a fence.
    pub fn make_room_below(
        &self,
        worker: &mut Worker,
        rules: &EvictionRules,
        ahead: u64,
        now_ms: u64,
        guard: &Guard,
    ) -> (Evicted, bool) {
        let target = rules.limit_bytes.saturating_sub(ahead);
        let mut used = self.live_bytes();
        let (mut evicted, mut enough) = (Evicted::default(), false);
        if used > target {
            evicted = self.evict(worker, rules, used - target, now_ms, guard);
            // Others may have written meanwhile: they see to what they have written.
            enough = evicted.bytes >= used - target;
            used = self.live_bytes();
        }
        let left = rules.limit_bytes.saturating_sub(used);
        let left = left.max((rules.limit_bytes / LIMIT_PER_FLOOR).min(FLOOR_MAX_BYTES));
        let share = if used <= rules.limit_bytes { left / SHARES_PER_WRITER / rules.writers.max(1) } else { 0 };
        worker.evictor.limit_bytes = rules.limit_bytes;
        worker.evictor.measure_at = worker.writer.appended() + share;
        worker.evictor.level = level_of(left);
        if self.room_level.load(Relaxed) != worker.evictor.level {
            self.room_level.store(worker.evictor.level, Relaxed);
        }
        (evicted, enough || used <= target)
    }

    /// Evicts keys whose records take at least `bytes`, as far as there are any. With [`EvictionPolicy::NoEviction`] there are none.
    ///
    /// It is for whoever needs room: below a limit, or in a pool that has none left and whose cleaner can make use of the garbage.
    pub fn evict(&self, worker: &mut Worker, rules: &EvictionRules, bytes: u64, now_ms: u64, guard: &Guard) -> Evicted {
        let mut evicted = Evicted::default();
        if rules.policy == NoEviction {
            return evicted;
        }
        if worker.evictor.policy != rules.policy {
            worker.evictor.policy = rules.policy;
            worker.evictor.pool.clear();
        }
        let started = rules.time.map(|time| (Instant::now(), time));
        // Ends: each turn takes a key out, or leaves. An error means that there is no room even for a tombstone.
        while evicted.bytes < bytes
            && let Ok(Some((keys, freed))) = self.evict_best(worker, rules, now_ms, guard)
        {
            evicted.keys += keys;
            evicted.bytes += freed;
            if started.is_some_and(|(started, time)| started.elapsed() >= time) {
                evicted.out_of_time = evicted.bytes < bytes;
                break;
            }
        }
        evicted
    }

    /// Evicts the best of some sampled keys: how many keys went (0 for one that had expired), and their bytes. `None` when none was found.
    fn evict_best(
        &self,
        worker: &mut Worker,
        rules: &EvictionRules,
        now_ms: u64,
        guard: &Guard,
    ) -> Result<Option<(u64, u64)>, StoreError> {
        for _ in 0..FRUITLESS_ROUNDS {
            self.sample(&mut worker.evictor, rules, now_ms, guard);
            // Ends: each turn takes a candidate out.
            while let Some(candidate) = worker.evictor.pool.pop() {
                if let Some(gone) = self.evict_candidate(worker, candidate, rules, now_ms, guard)? {
                    return Ok(Some(gone));
                }
            }
        }
        Ok(None)
    }

    /// Evicts one key, if it is still there and still as good a choice.
    fn evict_candidate(
        &self,
        worker: &mut Worker,
        candidate: Candidate,
        rules: &EvictionRules,
        now_ms: u64,
        guard: &Guard,
    ) -> Result<Option<(u64, u64)>, StoreError> {
        let EvictionRules { policy, names, .. } = *rules;
        let table = self.table.load(guard);
        let Some(db) = self.served(table).find(|&db| table.get(db).id == candidate.keyspace) else { return Ok(None) };
        let Some(record) = self.record_of(table, db, candidate.hash, guard) else { return Ok(None) };
        let key = Key { db, name: record.key };
        let Some(entry) = self.peek(key, now_ms, guard) else {
            // It had expired, and the look has removed it.
            return Ok(record.expired(now_ms).then_some((0, record.bytes() as u64)));
        };
        if self.score(policy, candidate.keyspace, candidate.hash, entry.record.expiry_ms, now_ms, guard)
            < candidate.score
        {
            return Ok(None);
        }
        let mut txn = self.write(worker, &[key], now_ms, guard);
        let still = txn.peek(key).filter(|entry| entry.record.keyspace == candidate.keyspace);
        let Some(entry) = still.filter(|entry| !policy.only_volatile() || entry.expire_at().is_some()) else {
            return Ok(None);
        };
        let bytes = entry.pool_bytes();
        if txn.delete(key).is_err() {
            // Its record is damaged: it cannot be taken out, and others can.
            return Ok(None);
        }
        txn.commit()?;
        if names {
            worker.evicted.push((db, key.name.to_vec()));
        }
        Ok(Some((1, bytes)))
    }

    /// The databases that are served.
    fn served<'t>(&self, table: &'t DbTable) -> impl Iterator<Item = Db> + use<'t> {
        (0..self.databases).filter(|&db| table.get(db).index().is_some())
    }

    /// The record of the key of that hash.
    fn record_of<'g>(&'g self, table: &DbTable, db: Db, hash: u64, guard: &'g Guard) -> Option<Record<'g>> {
        let mut found = None;
        table.get(db).index()?.get(hash, guard, |addr| {
            found = try_record_at(&self.pool, addr).ok().filter(|record| self.hash(record.key) == hash);
            found.is_some()
        });
        found
    }

    /// How good a choice a key is, the greater the better.
    fn score(
        &self,
        policy: EvictionPolicy,
        keyspace: u32,
        hash: u64,
        expiry_ms: u64,
        now_ms: u64,
        guard: &Guard,
    ) -> u64 {
        match policy {
            VolatileTtl => u64::MAX - expiry_ms,
            NoEviction | AllKeysRandom | VolatileRandom => 0,
            AllKeysLru | AllKeysLfu | VolatileLru | VolatileLfu => {
                u64::from(self.access.coldness(access_hash(keyspace, hash), now_ms, guard))
            }
        }
    }

    /// One round: adds sampled keys to the candidates.
    fn sample(&self, evictor: &mut Evictor, rules: &EvictionRules, now_ms: u64, guard: &Guard) {
        let samples = if rules.policy.is_random() { 1 } else { rules.samples.clamp(1, SAMPLES_MAX) };
        match rules.policy {
            NoEviction => {}
            VolatileTtl => self.sample_nearest(evictor, guard),
            VolatileLru | VolatileLfu | VolatileRandom => {
                self.sample_deadlines(evictor, samples, rules.policy, now_ms, guard);
            }
            AllKeysRandom => self.sample_one(evictor, guard),
            AllKeysLru | AllKeysLfu => self.sample_keys(evictor, samples, rules.policy, now_ms, guard),
        }
    }

    /// Some keys of each database, from a random place on.
    fn sample_keys(&self, evictor: &mut Evictor, samples: usize, policy: EvictionPolicy, now_ms: u64, guard: &Guard) {
        let table = self.table.load(guard);
        for keyspace in self.served(table).map(|db| table.get(db)) {
            let Some(index) = keyspace.index() else { continue };
            let mut cursor = evictor.random.next();
            let mut found = 0;
            for _ in 0..samples * STEPS_PER_SAMPLE {
                // At the end it goes on at the beginning: a cursor of 0 is one.
                cursor = index.scan(cursor, guard, |addr| {
                    if let Ok(record) = try_record_at(&self.pool, addr) {
                        let hash = self.hash(record.key);
                        let score = self.score(policy, keyspace.id, hash, record.expiry_ms, now_ms, guard);
                        evictor.offer(Candidate { score, keyspace: keyspace.id, hash });
                        found += 1;
                    }
                });
                if found >= samples {
                    break;
                }
            }
        }
    }

    /// One key, any.
    fn sample_one(&self, evictor: &mut Evictor, guard: &Guard) {
        let table = self.table.load(guard);
        let sizes: Vec<(Db, u64)> = self.served(table).map(|db| (db, table.get(db).len())).collect();
        let all: u64 = sizes.iter().map(|(_, len)| len).sum();
        let mut place = evictor.random.next() % all.max(1);
        for (db, len) in sizes {
            if place >= len {
                place -= len;
                continue;
            }
            let index = table.get(db).index();
            let addr = index.and_then(|index| index.random(&mut || evictor.random.next(), guard));
            if let Some(Ok(record)) = addr.map(|addr| try_record_at(&self.pool, addr)) {
                let (keyspace, hash) = (record.keyspace, self.hash(record.key));
                evictor.offer(Candidate { score: 0, keyspace, hash });
            }
            return;
        }
    }

    /// Some keys with an expiry, from a random stripe on.
    fn sample_deadlines(
        &self,
        evictor: &mut Evictor,
        samples: usize,
        policy: EvictionPolicy,
        now_ms: u64,
        guard: &Guard,
    ) {
        let ids = self.served_ids(guard);
        let (count, first) = (self.stripes.count(), evictor.random.next() as u32);
        let mut found = 0;
        for number in (0..count).map(|i| first.wrapping_add(i) % count) {
            let stripe = self.stripes.at(number);
            // Who holds it is writing: others will do.
            if !stripe.has_deadlines() {
                continue;
            }
            let Some(held) = stripe.try_lock() else { continue };
            let deadlines = held.deadlines.of(Due::Key);
            let (Some(nearest), Some(farthest)) = (deadlines.first(), deadlines.last()) else { continue };
            let at_ms = nearest.0 + evictor.random.next() % (farthest.0 - nearest.0 + 1);
            let from: Deadline = (at_ms, nearest.1, evictor.random.next());
            let some = deadlines.range(from..).chain(deadlines.range(..from)).take(DEADLINES_PER_STRIPE);
            for &(expiry_ms, keyspace, hash) in some.filter(|deadline| ids.contains(&deadline.1)) {
                let score = self.score(policy, keyspace, hash, expiry_ms, now_ms, guard);
                evictor.offer(Candidate { score, keyspace, hash });
                found += 1;
                if found >= samples {
                    return;
                }
            }
        }
    }

    /// The keys that expire next: the first of the stripes whose first is nearest. Those kept are used up before the next look.
    fn sample_nearest(&self, evictor: &mut Evictor, guard: &Guard) {
        if !evictor.pool.is_empty() {
            return;
        }
        let ids = self.served_ids(guard);
        let with = (0..self.stripes.count()).filter(|&number| self.stripes.at(number).has_deadlines());
        let mut stripes: Vec<(u64, u32)> =
            with.map(|number| (self.stripes.at(number).next_deadline_ms(Due::Key), number)).collect();
        if stripes.len() > POOL_KEYS {
            stripes.select_nth_unstable(POOL_KEYS);
            stripes.truncate(POOL_KEYS + 1);
        }
        for (_, number) in stripes {
            let held = self.stripes.at(number).lock();
            let next = held.deadlines.of(Due::Key).iter().filter(|deadline| ids.contains(&deadline.1)).take(POOL_KEYS);
            for &(at_ms, keyspace, hash) in next {
                evictor.offer(Candidate { score: u64::MAX - at_ms, keyspace, hash });
            }
        }
    }

    fn served_ids(&self, guard: &Guard) -> Vec<u32> {
        let table = self.table.load(guard);
        self.served(table).map(|db| table.get(db).id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;

    fn rules(policy: EvictionPolicy, limit_bytes: u64, writers: u64) -> EvictionRules {
        EvictionRules { limit_bytes, policy, samples: 5, writers, time: None, names: false }
    }

    #[test]
    fn the_best_candidates_are_kept_in_order_and_once() {
        let mut evictor = Evictor::default();
        for i in 0..40 {
            evictor.offer(Candidate { score: (i * 7) % 40, keyspace: 1, hash: (i * 7) % 40 });
        }
        evictor.offer(Candidate { score: 100, keyspace: 1, hash: 30 });
        let scores: Vec<u64> = evictor.pool.iter().map(|candidate| candidate.score).collect();
        let expected: Vec<u64> = (24..40).filter(|score| *score != 30).chain([100]).collect();
        assert_eq!(scores, expected);
    }

    /// Several threads write beside each other, each asking for room as commands do: none is refused while there are keys to evict, and the limit
    /// holds. It is looked at when all have ended: a sum that is taken while others write counts a record twice that is replaced at that moment.
    #[test]
    fn threads_share_what_is_left_below_the_limit() {
        const LIMIT: u64 = 256 << 10;
        const THREADS: u64 = 4;
        for policy in [AllKeysLru, AllKeysRandom, NoEviction] {
            let store = Store::in_memory(64 << 20, Clock::manual(1_000_000)).expect("memory");
            store.track_access(|| policy.tracking(10, 1));
            let write = |thread: u64| {
                let mut worker = store.worker();
                let rules = rules(policy, LIMIT, THREADS);
                let (mut refused, mut evicted) = (0, 0);
                for i in 0..2000 {
                    let guard = crossbeam_epoch::pin();
                    let name = format!("{thread}:{i}");
                    if !store.is_within_share(&worker, LIMIT, 0) {
                        let (gone, enough) = store.make_room_below(&mut worker, &rules, 0, 1_000_000, &guard);
                        evicted += gone.keys;
                        if !enough {
                            refused += 1;
                            continue;
                        }
                    }
                    let key = Key { db: 0, name: name.as_bytes() };
                    let mut txn = store.write(&mut worker, &[key], 1_000_000, &guard);
                    txn.set_inline(key, &[7; 200], None).expect("staged");
                    txn.commit().expect("room");
                }
                (refused, evicted)
            };
            let sums = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || write(thread))).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("no panic"))
                    .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
            });
            assert!(store.live_bytes() <= LIMIT + LIMIT / 8, "{policy:?}: {}", store.live_bytes());
            assert_eq!(store.len(0), 2000 * THREADS - sums.0 - sums.1, "{policy:?}: {sums:?}");
            assert_eq!(sums.0 == 0, policy != NoEviction, "{policy:?}: {sums:?}");
        }
    }

    /// A worker that has got a share when there was plenty left may not use it when others have used up the rest.
    #[test]
    fn a_share_is_void_when_others_have_used_up_the_rest() {
        const LIMIT: u64 = 64 << 10;
        let store = Store::in_memory(16 << 20, Clock::manual(1)).expect("memory");
        let (mut idle, mut busy, guard) = (store.worker(), store.worker(), crossbeam_epoch::pin());
        let rules = rules(NoEviction, LIMIT, 2);
        assert!(store.make_room_below(&mut idle, &rules, 0, 1, &guard).1);
        assert!(store.is_within_share(&idle, LIMIT, LIMIT / 9) && !store.is_within_share(&idle, LIMIT, LIMIT / 7));
        assert!(!store.is_within_share(&idle, LIMIT + 1, 0), "another limit");
        let mut looks = 0;
        for i in 0.. {
            if !store.is_within_share(&busy, LIMIT, 0) {
                looks += 1;
                if !store.make_room_below(&mut busy, &rules, 0, 1, &guard).1 {
                    break;
                }
            }
            let name = format!("key{i}");
            let key = Key { db: 0, name: name.as_bytes() };
            let mut txn = store.write(&mut busy, &[key], 1, &guard);
            txn.set_inline(key, &[7; 40], None).expect("staged");
            txn.commit().expect("room");
        }
        assert!(store.live_bytes() <= LIMIT + 128 && looks < 80, "{looks} looks for some 700 writes");
        assert!(!store.is_within_share(&idle, LIMIT, 0));
    }

    /// A key that was used after it had been sampled is not the best choice any more.
    #[test]
    fn a_candidate_that_was_used_since_is_passed_over() {
        let store = Store::in_memory(16 << 20, Clock::manual(1_000_000)).expect("memory");
        store.track_access(|| AllKeysLru.tracking(0, 0));
        let (mut worker, guard) = (store.worker(), crossbeam_epoch::pin());
        let keys = ["a", "b"].map(|name| Key { db: 0, name: name.as_bytes() });
        for (seconds, key) in (0..).zip(keys) {
            let mut txn = store.write(&mut worker, &[key], 1_000_000 + seconds * 1000, &guard);
            txn.set_inline(key, b"1", None).expect("staged");
            txn.commit().expect("room");
        }
        let (rules, now_ms) = (rules(AllKeysLru, 0, 1), 1_100_000);
        store.sample(&mut worker.evictor, &rules, now_ms, &guard);
        let best = worker.evictor.pool.pop().expect("two candidates");
        assert!(store.read(keys[0], now_ms, &guard).is_some(), "a use of the older one, which is the best");
        let mut evict = |candidate| store.evict_candidate(&mut worker, candidate, &rules, now_ms, &guard);
        assert_eq!(evict(best).expect("room"), None);
        assert!(evict(Candidate { score: 0, ..best }).expect("room").is_some(), "nothing else speaks against it");
        assert!(store.peek(keys[0], now_ms, &guard).is_none() && store.peek(keys[1], now_ms, &guard).is_some());
    }
}
