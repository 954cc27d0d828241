//! Opening a store: pool, recovery, and back again at the end.

use super::access::Access;
use super::accounting::Books;
use super::clean::Cleaning;
use super::growth::Growth;
use super::info::RecoveryFacts;
use super::rebuild::{Rebuilt, rebuild};
use super::syncing::Syncing;
use super::{INLINE_MAX_BYTES, OpenError, PACKED_BYTES, Store, StoreError, Worker};
use crate::base::mutant::{self, Mutant};
use crate::base::sync::atomic::AtomicU32;
use crate::base::sync::{Mutex, PoisonError, RwLock};
use crate::base::{Clock, EpochCell, SegmentId};
use crate::cleaner::StaleFilter;
use crate::index::IndexOptions;
use crate::pool::format::{LINE_BYTES, MAX_DATABASES};
use crate::pool::{Pool, PoolOptions, SyncFailed};
use crate::recovery::{Damage, Progress, RecoveryReport};
use siphasher::sip::SipHasher13;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How to open a store.
#[derive(Clone)]
pub struct StoreOptions {
    /// The pool, and what a new one is like.
    pub pool: PoolOptions,
    /// Logical databases to serve.
    pub databases: u32,
    /// Threads that recovery uses.
    pub recovery_threads: usize,
    /// Go on with what is intact when there is damage, instead of refusing.
    pub salvage: bool,
}

impl StoreOptions {
    /// A store in anonymous memory, for tests and for the DRAM-only mode.
    pub fn dram(bytes: u64) -> Self {
        let pool = PoolOptions {
            path: None,
            bytes,
            max_bytes: 0,
            segment_bytes: None,
            stripes: 1 << 12,
            now_ms: 0,
            region: crate::persist::RegionOptions::default(),
        };
        Self { pool, databases: 16, recovery_threads: 1, salvage: false }
    }
}

/// Smallest record that a key can have, in bytes: bounds how many an index may get.
const MIN_RECORD_BYTES: u64 = 32;

/// DRAM that a key takes in an index at least, in bytes.
const MIN_ENTRY_BYTES: u64 = 8;

/// What the indexes of a pool's keyspaces are like: each has address space for all keys that the pool can get, as far as this machine's memory could
/// ever hold them.
pub(super) fn index_options(pool: &Pool) -> IndexOptions {
    let grown = (pool.growth_limit() / MIN_RECORD_BYTES).min(memory_bytes() / MIN_ENTRY_BYTES);
    IndexOptions {
        stripe_bits: pool.stripe_count().trailing_zeros(),
        max_entries: grown.max(pool.region().len() / MIN_RECORD_BYTES),
    }
}

/// Bytes of memory and swap that the machine has; 0 where it does not tell. Read once.
fn memory_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok())
        };
        1024 * ["MemTotal:", "SwapTotal:"].into_iter().filter_map(kib).sum::<u64>()
    })
}

impl Store {
    /// Opens the pool, or makes it, and rebuilds everything from it. Recovery itself writes nothing; when it has succeeded the opening is
    /// recorded in the superblock, and segments that the last user left open are sealed.
    ///
    /// # Errors
    /// [`OpenError`]: the pool is as it was.
    pub fn open(options: &StoreOptions, clock: Clock, progress: &Progress) -> Result<Store, OpenError> {
        let limit = MAX_DATABASES as u32;
        if options.databases > limit {
            return Err(OpenError::TooManyDatabases { wanted: options.databases, limit });
        }
        let (pool, _created) = Pool::open_or_create(&options.pool)?;
        Self::recover(pool, options, clock, progress)
    }

    /// A store over `bytes` of anonymous memory: for tests.
    ///
    /// # Errors
    /// [`OpenError`] when the system has not so much memory.
    pub fn in_memory(bytes: u64, clock: Clock) -> Result<Store, OpenError> {
        Self::open(&StoreOptions::dram(bytes), clock, &Progress::default())
    }

    /// As [`Store::open`], with a pool that is open already (such as the image of a crash).
    ///
    /// # Errors
    /// [`OpenError::Damaged`].
    pub fn recover(pool: Pool, options: &StoreOptions, clock: Clock, progress: &Progress) -> Result<Store, OpenError> {
        let index_options = index_options(&pool);
        let stale = StaleFilter::new(pool.region().len());
        let superblock = pool.superblock();
        // All databases, served or not: what is in the others is kept for the day they are served again.
        let ids = &superblock.keyspaces;
        let books = Books { pool: &pool, stale: &stale };
        let rebuilt = rebuild(books, &index_options, ids, options.recovery_threads.max(1), clock.now_ms(), progress);
        let Rebuilt { table, stripes, objects, next_object, clock_floor_ms, outdone, map, report } = rebuilt;
        Self::judge(&pool, &report, options.salvage)?;
        // From here on there is nobody left who could do without a place that cannot be read.
        pool.region().serve();
        clock.raise_floor(clock_floor_ms);
        Self::tell_of_cut(&pool, report.sync_unknown);
        let early = mutant::active(Mutant::OpeningBeforeTrim);
        if early {
            pool.record_opening(clock_floor_ms, map.as_ref());
        }
        pool.begin_epochs(&clock)?;
        if !early {
            pool.record_opening(clock_floor_ms, map.as_ref());
        }
        let opened_ms = clock.now_ms();
        // A chunk must leave room for others in its segment.
        let chunk_bytes = (INLINE_MAX_BYTES as u64).min(pool.segment_bytes() / 4);
        let store = Store {
            hasher: SipHasher13::new_with_key(pool.hash_key()),
            stripes,
            table: EpochCell::new(table),
            objects,
            access: Access::default(),
            room_level: AtomicU32::new(0),
            index_options,
            clock,
            databases: options.databases,
            next_object: AtomicU64::new(next_object),
            marks: Mutex::default(),
            appending: RwLock::default(),
            clock_floor_ms: AtomicU64::new(clock_floor_ms),
            chunk_shift: chunk_bytes.ilog2() as u8,
            active_expire: AtomicBool::new(true),
            packed_bytes: AtomicUsize::new(0),
            expired_keys: AtomicU64::new(0),
            expired_fields: AtomicU64::new(0),
            damaged_records_seen: AtomicU64::new(0),
            last_sync_ms: AtomicU64::new(opened_ms),
            retired: Mutex::default(),
            stale,
            cleaner: Mutex::default(),
            cleaning: Cleaning::new(outdone),
            recovery: Mutex::new(RecoveryFacts::new(&report)),
            growth: Growth::new(options.pool.max_bytes),
            changes: Arc::default(),
            syncing: Syncing::new(&pool),
            pool,
        };
        store.set_packed_bytes(PACKED_BYTES);
        store.seal_recovered(&report.unsealed);
        store.pool.settle_recovered(|id| report.damage.iter().any(|damage| damage.segment == id));
        store.pool.sync()?;
        Ok(store)
    }

    /// Seals segments that the last user left open, but for those that nothing needs: these keep looking like what the cleaner was filling when it was
    /// cut short, should that happen again before they are free.
    fn seal_recovered(&self, unsealed: &[(SegmentId, u64)]) {
        let mut sealed_one = false;
        for &(id, end) in unsealed.iter().filter(|(id, _)| !self.is_disposable(*id)) {
            let too_short = u64::from(mutant::active(Mutant::SealTooShort)) * LINE_BYTES;
            self.pool.seal_segment(id, end - too_short.min(end));
            sealed_one = true;
        }
        if sealed_one {
            self.pool.region().fence();
        }
    }

    /// Tells what recovery has gone by after a power cut.
    fn tell_of_cut(pool: &Pool, sync_unknown: bool) {
        if let Some(cut) = pool.cut_in_force() {
            let synced_ms = cut.time_ms();
            tracing::warn!(
                synced_ms,
                "the system was restarted: the pool is as it was at its last sync (Unix milliseconds); what was written later is gone"
            );
        }
        if sync_unknown {
            tracing::warn!(
                "the system was restarted, and when the pool was synced is not known: writes may be missing, and later ones be there"
            );
        }
    }

    /// Refuses damage, or tells of it when it is to be salvaged.
    fn judge(pool: &Pool, report: &RecoveryReport, salvage: bool) -> Result<(), OpenError> {
        for damage in &report.damage {
            tracing::error!(%damage, "damage in the pool");
        }
        let path = || pool.region().path().map(|path| path.display().to_string()).unwrap_or_default();
        let unreadable = pool.region().unreadable(0, pool.region().len());
        let unreadable = unreadable.first().copied().or_else(|| report.damage.iter().find_map(Damage::of_medium));
        if let Some(fault) = unreadable {
            return Err(OpenError::Unreadable { path: path(), fault });
        }
        match report.damage.first() {
            Some(first) if !salvage => {
                Err(OpenError::Damaged { path: path(), count: report.damage.len(), first: first.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Throws the index away and rebuilds it from the pool through recovery (DEBUG RELOAD), as a restart would. Writers wait meanwhile;
    /// readers see the former state until the new one is complete.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]: everything stays as it was.
    pub fn reload(&self) -> Result<(), StoreError> {
        // Nobody may append while the segments are read: neither the cleaner, nor values being prepared, nor transactions, nor clock marks.
        let mut cleaner = self.lock_cleaner();
        let _appending = self.appending.write().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.stripes.lock_all();
        let _marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = crossbeam_epoch::pin();
        let ids = &self.pool.superblock().keyspaces;
        // Nothing is removed but what has durably expired: nobody may find a key gone that a crash could bring back. The rest expires as ever.
        let expired_ms = self.clock_floor_ms.load(Ordering::Acquire);
        let stale = self.stale.empty_twin();
        let books = Books { pool: &self.pool, stale: &stale };
        let rebuilt = rebuild(books, &self.index_options, ids, 1, expired_ms, &Progress::default());
        if let Some(damage) = rebuilt.report.damage.first() {
            return Err(StoreError::Damaged(damage.clone()));
        }
        for (number, mine) in held.iter_mut().enumerate() {
            let theirs = std::mem::take(&mut *rebuilt.stripes.at(number as u32).lock());
            self.stripes.at(number as u32).replace_data(mine, theirs);
        }
        self.objects.replace_all(rebuilt.objects, &guard);
        self.next_object.fetch_max(rebuilt.next_object, Ordering::Relaxed);
        let facts = RecoveryFacts::new(&rebuilt.report);
        *self.recovery.lock().unwrap_or_else(PoisonError::into_inner) = facts;
        // Keyspaces in `retired` are not in the new table, and what they held is not counted as live any more.
        self.lock_retired().clear();
        // What was copied may be found in either place now.
        cleaner.abandon(&self.pool);
        self.stale.replace_with(&stale);
        *self.lock_outdone() = rebuilt.outdone;
        self.table.replace(rebuilt.table, &guard);
        Ok(())
    }

    /// Counts everything in the pool again and compares: live bytes of each segment, and superseded records of each key. For tests: everybody waits
    /// meanwhile, and the cleaner must be idle, as copies and what they were made of would be counted both.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn check_books(&self) -> Result<(), String> {
        let _cleaner = self.lock_cleaner();
        let _appending = self.appending.write().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.stripes.lock_all();
        self.settle_fields(&mut held, &crossbeam_epoch::pin());
        let _marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let live = || -> Vec<u64> { self.pool.segment_ids().map(|id| self.pool.segment_use(id).live_bytes).collect() };
        self.objects.dropping.settle_all(self.tools());
        let counted = live();
        let stale = self.stale.empty_twin();
        let books = Books { pool: &self.pool, stale: &stale };
        let ids = &self.pool.superblock().keyspaces;
        let expired_ms = self.clock_floor_ms.load(Ordering::Acquire);
        drop(rebuild(books, &self.index_options, ids, 1, expired_ms, &Progress::default()));
        if counted != live() {
            return Err(format!("live bytes are counted as {counted:?}, but are {:?}", live()));
        }
        match self.stale.falls_short_of(&stale) {
            true => Err("superseded records are in the pool that are not counted".to_owned()),
            false => Ok(()),
        }
    }

    /// Seals the worker's open segment: it will not write any more.
    pub fn close_worker(&self, worker: &mut Worker) {
        if worker.writer.close(&self.pool) {
            self.pool.region().fence();
        }
    }

    /// Records a clean shutdown and, on a file, hands everything to the disk. After all workers were closed.
    ///
    /// # Errors
    /// The file could not be synced.
    pub fn close(&self) -> Result<(), SyncFailed> {
        self.close_worker(&mut self.marks.lock().unwrap_or_else(PoisonError::into_inner));
        if self.lock_cleaner().close(&self.pool) {
            self.pool.region().fence();
        }
        self.pool.record_close(self.clock.now_ms());
        self.pool.sync()
    }
}
