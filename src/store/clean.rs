//! Cleaning from the store's side: what is in use, what leads to it, and who waits for room.

use super::Store;
use super::databases::is_seen;
use crate::base::mutant::{self, Mutant};
use crate::base::sync::{Mutex, MutexGuard, PoisonError, yield_now};
use crate::base::{LogAddr, SegmentId};
use crate::cleaner::{CleanStep, Cleaner, Demand, Fate, Move, Owner, Pace};
use crate::index::Relocation;
use crate::log::{Kind, Record, record_at, scan_segment, try_record_at};
use crate::pool::Urgency;
use crossbeam_epoch::Guard;
use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Time for flushed databases in each step, where nobody needs their room and where somebody does.
const REAP_SLICES: [Duration; 2] = [Duration::from_millis(1), Duration::from_micros(100)];

/// Who cleans and who waits for it.
#[derive(Default)]
pub(super) struct Cleaning {
    /// The background thread, once there is one.
    thread: OnceLock<Thread>,
    /// Writes that wait for room, and those of them that make room themselves.
    waiters: AtomicU32,
    deleters: AtomicU32,
    /// How often the cleaner has found nothing to do while somebody waited.
    fruitless: AtomicU64,
    /// Segments that are being emptied, or are empty and wait, as the last step has left them.
    backlog: AtomicU64,
    /// Told whenever there may be room for a waiter, or the cleaner has worked in vain.
    progress: Notify,
    /// Tombstones that recovery has found not to be needed, as far as the cleaner could not find out in time.
    outdone: Mutex<HashSet<LogAddr>>,
}

impl Cleaning {
    pub(super) fn new(outdone: HashSet<LogAddr>) -> Self {
        Self { outdone: Mutex::new(outdone), ..Self::default() }
    }

    /// Segments that are being emptied, or are empty and wait.
    pub(super) fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }
}

/// What a write that found no room was for.
fn urgency(frees: bool) -> Urgency {
    if frees { Urgency::Frees } else { Urgency::Normal }
}

/// What it asks of the cleaner.
fn demand(frees: bool) -> Demand {
    if frees { Demand::ToDelete } else { Demand::Now }
}

impl Owner for Store {
    fn expect(&self, record: &Record<'_>, guard: &Guard) {
        if !record.kind.is_of_object()
            && let Some((_, keyspace)) = self.table.load(guard).find(record.keyspace)
            && let Some(index) = keyspace.index()
        {
            index.prefetch(self.hash(record.key));
        }
    }

    fn fate(&self, addr: LogAddr, record: &Record<'_>, guard: &Guard) -> Fate {
        match record.kind {
            Kind::String | Kind::ObjectHead | Kind::Packed => self.fate_of_value(addr, record, guard),
            Kind::Tombstone => self.fate_of_tombstone(addr, record, guard),
            Kind::Chunk => {
                let Ok((id, number)) = record.chunk_key() else { return Fate::Dead { counted: None } };
                let place = self.objects.strings.get(id, guard).and_then(|table| *table.chunks.get(number as usize)?);
                if place == Some(addr) { Fate::Live { token: id } } else { Fate::Dead { counted: None } }
            }
            Kind::Element | Kind::Bounds | Kind::Cuts => self.fate_of_element(addr, record, guard),
            Kind::ElementTombstone => self.fate_of_element_tombstone(record, guard),
            // The time is durable in the last mark or in the superblock.
            Kind::ClockMark if record.expiry_ms >= self.clock_floor_ms.load(Ordering::Acquire) => Fate::Needed,
            // A map that counts was put in force before anyone could clean it away.
            Kind::ClockMark | Kind::Part | Kind::DatabaseMap => Fate::Dead { counted: None },
            Kind::Commit => self.fate_of_commit(record),
        }
    }

    fn repoint(&self, moves: &[Move], guard: &Guard, counted: &mut Vec<u64>) {
        // The old places are in the cache, the new ones are not.
        let is_chunk = |moved: &Move| record_at(&self.pool, moved.from).kind == Kind::Chunk;
        for run in moves.chunk_by(|a, b| a.token == b.token && is_chunk(a) && is_chunk(b)) {
            if is_chunk(&run[0]) {
                self.repoint_chunks(run[0].token, run, guard);
            } else if record_at(&self.pool, run[0].from).kind.is_of_object() {
                self.repoint_element(&run[0], guard, counted);
            } else {
                self.repoint_key(&run[0], guard, counted);
            }
        }
    }

    fn released(&self, ids: &[SegmentId]) {
        let is_there = |addr: &LogAddr| self.pool.segment_of(addr.offset()).is_some_and(|id| !ids.contains(&id));
        self.lock_outdone().retain(is_there);
    }
}

impl Store {
    /// Of a record with a value: it is in use if the index leads to it.
    fn fate_of_value(&self, addr: LogAddr, record: &Record<'_>, guard: &Guard) -> Fate {
        let hash = self.hash(record.key);
        let superseded = Fate::Dead { counted: Some(hash) };
        let Some((_, keyspace)) = self.table.load(guard).find(record.keyspace) else {
            // Flushed, or of a former life.
            let retired = self.lock_retired().iter().find(|keyspace| keyspace.id == record.keyspace).cloned();
            return match retired {
                Some(keyspace) if is_seen(&keyspace) => Fate::Undecided,
                Some(keyspace) => {
                    self.take_out(&keyspace, addr, guard);
                    superseded
                }
                None => superseded,
            };
        };
        let Some(index) = keyspace.index() else { return superseded };
        if index.get(hash, guard, |other| other == addr).is_some() {
            return Fate::Live { token: hash };
        }
        if !record.expired(self.clock_floor_ms.load(Ordering::Acquire)) || mutant::active(Mutant::ExpiredDropped) {
            return superseded;
        }
        // Its key may have been removed because it had expired: then it is what says that the older ones are gone. With the stripe held the index
        // and the count belong together.
        let _held = self.stripes.of(hash).lock();
        let is_key = |other| try_record_at(&self.pool, other).is_ok_and(|other| other.key == record.key);
        if index.get(hash, guard, is_key).is_some() || self.stale.count(hash) <= 1 {
            return superseded;
        }
        Fate::Buried { hash }
    }

    /// A tombstone is needed as long as its key has no newer record, and older ones with a value may be in the pool (I8). No stripe is held: it
    /// was published long ago, so everything older than it has been counted.
    fn fate_of_tombstone(&self, addr: LogAddr, record: &Record<'_>, guard: &Guard) -> Fate {
        let dead = Fate::Dead { counted: None };
        if self.lock_outdone().contains(&addr) {
            return dead;
        }
        let Some((_, keyspace)) = self.table.load(guard).find(record.keyspace) else { return dead };
        let hash = self.hash(record.key);
        if self.stale.count(hash) == 0 || mutant::active(Mutant::TombstoneDropped) {
            return dead;
        }
        let is_key = |other| try_record_at(&self.pool, other).is_ok_and(|other| other.key == record.key);
        let newer = keyspace.index().and_then(|index| index.get(hash, guard, is_key));
        if newer.is_some() { dead } else { Fate::Needed }
    }

    /// Of an element, a list's bounds or a sorted set's cuts: it is in use if its collection leads to it.
    fn fate_of_element(&self, addr: LogAddr, record: &Record<'_>, guard: &Guard) -> Fate {
        let hash = self.hash(record.key);
        let superseded = Fate::Dead { counted: (record.kind == Kind::Element).then_some(hash) };
        let Ok((id, _)) = record.object_key() else { return superseded };
        let shared = self.objects.collections.get(id, guard);
        let fate = shared.map_or(superseded, |shared| {
            let collection = shared.read();
            if collection.leads_to(self.tools(), addr, record) {
                return Fate::Live { token: hash };
            }
            if record.kind != Kind::Element
                || !record.expired(self.clock_floor_ms.load(Ordering::Acquire))
                || mutant::active(Mutant::ExpiredFieldDropped)
            {
                return superseded;
            }
            // It may have been removed because it had expired: then it is what says that the older ones are gone. With the collection held its place and
            // the count belong together.
            match collection.find(self.tools(), hash, record.key) {
                None if self.stale.count(hash) > 1 => Fate::Buried { hash },
                _ => superseded,
            }
        });
        // What was cut off, or gone with its collection, may not have been counted yet.
        self.objects.dropping.settle(self.tools(), id);
        fate
    }

    /// As that of a key: it is needed as long as its element is not there again, and older records of it may be in the pool. Without its
    /// collection nothing is there again.
    fn fate_of_element_tombstone(&self, record: &Record<'_>, guard: &Guard) -> Fate {
        let dead = Fate::Dead { counted: None };
        let Ok((id, _)) = record.object_key() else { return dead };
        let hash = self.hash(record.key);
        let Some(shared) = self.objects.collections.get(id, guard) else { return dead };
        if self.stale.count(hash) == 0 || mutant::active(Mutant::TombstoneDropped) {
            return dead;
        }
        let newer = shared.read().find(self.tools(), hash, record.key);
        if newer.is_some() { dead } else { Fate::Needed }
    }

    fn repoint_element(&self, moved: &Move, guard: &Guard, counted: &mut Vec<u64>) {
        let Move { from, to, token: hash } = *moved;
        let (books, record) = (self.books(), record_at(&self.pool, from));
        let copied_bytes = record.copy().bytes();
        books.count_live(to, copied_bytes);
        let find = || record.object_key().ok().and_then(|(id, _)| self.objects.collections.get(id, guard));
        // Not waiting in line, which would hold up readers that have it already and look at it once more. Ends: readers come and go.
        let found = find().is_some_and(|shared| {
            loop {
                match shared.try_write() {
                    // Once more: it may have been dropped before there was the lock, and then all of it is counted.
                    Some(mut collection) => break find().is_some() && collection.relocate(self.tools(), from, to),
                    None => yield_now(),
                }
            }
        });
        if found {
            books.count_garbage(from, record.bytes());
            return;
        }
        // Superseded while it was copied, or gone with its collection: both are in the pool, and nothing leads to either. The old one is counted as
        // such before the victim is freed, which takes that back.
        if let Ok((id, _)) = record.object_key() {
            self.objects.dropping.settle(self.tools(), id);
        }
        books.count_garbage(to, copied_bytes);
        if record.kind == Kind::Element {
            counted.push(hash);
            if !mutant::active(Mutant::LateCopyNotCounted) {
                self.stale.add(hash);
            }
        }
    }

    fn repoint_key(&self, moved: &Move, guard: &Guard, counted: &mut Vec<u64>) {
        let Move { from, to, token: hash } = *moved;
        let (books, record) = (self.books(), record_at(&self.pool, from));
        let copied_bytes = record.copy().bytes();
        // Before anything leads there: whoever supersedes it takes this back.
        books.count_live(to, copied_bytes);
        let retired;
        let keyspace = match self.table.load(guard).find(record.keyspace) {
            Some((_, keyspace)) => Some(keyspace),
            None => {
                // Flushed meanwhile, but not taken apart: that needs the cleaner.
                retired = self.lock_retired().iter().find(|keyspace| keyspace.id == record.keyspace).cloned();
                retired.as_ref()
            }
        };
        let index = keyspace.and_then(|keyspace| keyspace.index());
        // Ends: a split or merge of the bucket is soon over.
        let outcome = loop {
            match index.map_or(Relocation::Gone, |index| index.relocate(hash, from, to, guard)) {
                Relocation::Busy => yield_now(),
                outcome => break outcome,
            }
        };
        if outcome == Relocation::Moved {
            books.count_garbage(from, record.bytes());
            return;
        }
        // Superseded while it was copied: both are in the pool, and nothing leads to either.
        books.count_garbage(to, copied_bytes);
        counted.push(hash);
        if !mutant::active(Mutant::LateCopyNotCounted) {
            self.stale.add(hash);
        }
    }

    fn repoint_chunks(&self, object: u64, moves: &[Move], guard: &Guard) {
        let books = self.books();
        self.objects.strings.update(object, guard, |current| {
            let mut table = current.clone();
            for moved in moves {
                let record = record_at(&self.pool, moved.from);
                let number = record.chunk_key().map_or(usize::MAX, |(_, number)| number as usize);
                // Others were replaced meanwhile, or are gone with the end of the string.
                if let Some(place) = table.chunks.get_mut(number)
                    && *place == Some(moved.from)
                {
                    *place = Some(moved.to);
                    books.count_live(moved.to, record.copy().bytes());
                    books.count_garbage(moved.from, record.bytes());
                }
            }
            Some(table)
        });
    }

    /// Whether nothing in segment `id` is needed.
    pub(super) fn is_disposable(&self, id: SegmentId) -> bool {
        let guard = crossbeam_epoch::pin();
        let mut needed = self.pool.segment_use(id).live_bytes > 0;
        if !needed {
            let _end = scan_segment(&self.pool, id, |addr, record, _| {
                needed |= !matches!(self.fate(addr, &record, &guard), Fate::Dead { .. });
            });
        }
        !needed
    }

    pub(super) fn lock_outdone(&self) -> MutexGuard<'_, HashSet<LogAddr>> {
        self.cleaning.outdone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_cleaner(&self) -> MutexGuard<'_, Cleaner> {
        self.cleaner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a step of cleaning, and of taking flushed databases apart. The caller must hold no guard and no stripe.
    ///
    /// Cost: see [`Cleaner::step`].
    pub fn clean_step(&self, demand: Demand) -> CleanStep {
        self.clean_at(demand, Pace::OneByOne)
    }

    fn clean_at(&self, demand: Demand, pace: Pace) -> CleanStep {
        let mut cleaner = self.lock_cleaner();
        let reaping = self.reap_until(Instant::now() + REAP_SLICES[usize::from(demand != Demand::None)]);
        let step = cleaner.step(&self.pool, self, &self.stale, demand, pace);
        // A figure for INFO, which does not wait for the cleaner.
        self.cleaning.backlog.store(cleaner.backlog() as u64, Ordering::Relaxed);
        match step {
            CleanStep::Idle if reaping => CleanStep::Waiting,
            step => step,
        }
    }

    /// Cleans until there is room for a write that found none, or nothing more is to be gained; says whether there is room. `frees`: it was one
    /// that makes room itself. The caller must hold no guard and no stripe.
    pub fn make_room(&self, frees: bool) -> bool {
        let freed_before = self.pool.segments_freed();
        // Ends: it gives up at last.
        while !self.pool.has_room(urgency(frees)) {
            if self.in_vain_since(freed_before) {
                return false;
            }
            match self.clean_step(demand(frees)) {
                CleanStep::Worked => {}
                CleanStep::Waiting => yield_now(),
                CleanStep::Idle => return self.pool.has_room(urgency(frees)),
            }
        }
        true
    }

    /// As [`Store::make_room`], leaving the work to the background thread.
    pub async fn wait_for_room(&self, frees: bool) -> bool {
        let cleaning = &self.cleaning;
        let _waiter = Waiter::new(&cleaning.waiters);
        let _deleter = frees.then(|| Waiter::new(&cleaning.deleters));
        let seen = cleaning.fruitless.load(Ordering::Acquire);
        // Ends: the cleaner makes room, or finds nothing to do.
        loop {
            let progress = cleaning.progress.notified();
            if self.pool.has_room(urgency(frees)) {
                return true;
            }
            if cleaning.fruitless.load(Ordering::Acquire) != seen {
                return false;
            }
            let Some(thread) = cleaning.thread.get() else { return self.make_room(frees) };
            thread.unpark();
            self.pool.ask_for_growth();
            progress.await;
        }
    }

    /// Whether so much has been cleaned since `freed` segments had been freed that more of it will not help: each segment may be packed once without
    /// anything gained, and some tombstones are carried on until all that is older is gone.
    fn in_vain_since(&self, freed: u64) -> bool {
        self.pool.segments_freed() - freed > 3 * u64::from(self.pool.segment_count())
    }

    /// What is asked of the cleaner now.
    fn demand(&self) -> Demand {
        let waiting = |count: &AtomicU32| count.load(Ordering::Acquire) > 0;
        match waiting(&self.cleaning.waiters) {
            true => demand(waiting(&self.cleaning.deleters)),
            false if self.pool.is_low() => Demand::Soon,
            false => Demand::None,
        }
    }

    /// `thread` is in [`Store::clean_until`], or will be at once: who needs room leaves the work to it, even if it has not been scheduled yet. Others
    /// would not wait for the pool to grow.
    pub(super) fn begin_cleaning(&self, thread: Thread) {
        let _only_one_cleans = self.cleaning.thread.set(thread.clone());
        self.pool.wake_when_low(thread);
    }

    /// Cleans, on a thread of its own, until `stopped` says so.
    pub(super) fn clean_until(&self, stopped: impl Fn() -> bool) {
        /// Between two looks when there was nothing to do.
        const IDLE: Duration = Duration::from_millis(100);
        /// Between two looks at whether readers are done.
        const WAIT: Duration = Duration::from_micros(100);
        /// The same when nobody needs the room.
        const LONG_WAIT: Duration = Duration::from_millis(5);
        let mut had_room_at = self.pool.segments_freed();
        while !stopped() {
            let demand = self.demand();
            let step = self.clean_at(demand, Pace::Overlapping);
            let freed = self.pool.segments_freed();
            if matches!(demand, Demand::Now | Demand::ToDelete) {
                let fruitless = step == CleanStep::Idle || self.in_vain_since(had_room_at);
                // Where the pool is to grow it is for that to say.
                if fruitless && !self.pool.is_growth_expected() {
                    self.cleaning.fruitless.fetch_add(1, Ordering::Release);
                    had_room_at = freed;
                }
                self.cleaning.progress.notify_waiters();
            }
            if self.pool.has_room(Urgency::Normal) {
                had_room_at = freed;
            }
            match step {
                CleanStep::Worked => {}
                CleanStep::Waiting if demand == Demand::None => std::thread::park_timeout(LONG_WAIT),
                CleanStep::Waiting => std::thread::park_timeout(WAIT),
                CleanStep::Idle => std::thread::park_timeout(IDLE),
            }
        }
    }

    /// The pool has grown, or could not: who waits for room looks again, and so does the cleaner whether there is any other.
    pub(super) fn room_has_changed(&self) {
        self.cleaning.progress.notify_waiters();
        self.wake_cleaner();
    }

    /// Has the thread in [`Store::clean_until`] look up.
    pub(super) fn wake_cleaner(&self) {
        if let Some(thread) = self.cleaning.thread.get() {
            thread.unpark();
        }
    }
}

/// Counts a write that waits, as long as it does.
struct Waiter<'a>(&'a AtomicU32);

impl<'a> Waiter<'a> {
    fn new(waiters: &'a AtomicU32) -> Self {
        waiters.fetch_add(1, Ordering::AcqRel);
        Self(waiters)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
