//! What the store tells about itself, for INFO and the log.

use super::{Db, Store};
use crate::persist::{Medium, MemoryHealth};
use crate::pool::{FlowTotals, Phase, SegmentUse};
use crate::recovery::RecoveryReport;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Counts of one database.
#[derive(Debug, Clone, Default)]
pub struct DbStats {
    /// Keys, expired ones that are not yet removed included.
    pub keys: u64,
    /// Keys with an expiry.
    pub expires: u64,
    /// Mean remaining life of the keys with an expiry, in milliseconds.
    pub avg_ttl_ms: u64,
    /// Hashes with fields that have an expiry.
    pub field_expires: u64,
}

/// What recovery did, as INFO reports it.
#[derive(Debug, Clone, Default)]
pub struct RecoveryFacts {
    elapsed_ms: u64,
    records: u64,
    bytes: u64,
    threads: u64,
    unfinished: u64,
    damaged: u64,
}

impl RecoveryFacts {
    pub(super) fn new(report: &RecoveryReport) -> Self {
        Self {
            elapsed_ms: report.elapsed.as_millis() as u64,
            records: report.records,
            bytes: report.bytes,
            threads: report.threads as u64,
            unfinished: report.unfinished.len() as u64,
            damaged: report.damage.len() as u64,
        }
    }
}

/// State of the pool and of the index.
#[derive(Debug, Clone, Default)]
pub struct StoreInfo {
    /// `dax`, `file`, `tmpfs` or `dram`.
    pub medium: &'static str,
    /// Whether an acknowledged write survives power loss on it.
    pub power_loss_safe: bool,
    /// Whether an acknowledged write survives the end of the process.
    pub process_kill_safe: bool,
    /// What the unit of durability is.
    pub granularity: &'static str,
    /// `clwb`, `clflushopt`, `clflush` or `none`.
    pub flush_instruction: &'static str,
    /// The pool file; empty for anonymous memory.
    pub path: String,
    /// Size of the pool in bytes.
    pub pool_bytes: u64,
    /// The size that the pool may get, in bytes: its own where it does not grow.
    pub pool_max_bytes: u64,
    /// How often the pool has grown since the start.
    pub growths: u64,
    /// How often it could not.
    pub growth_failures: u64,
    /// Size of a segment in bytes.
    pub segment_bytes: u64,
    /// Segments in all.
    pub segments: u64,
    /// Segments that hold nothing.
    pub segments_free: u64,
    /// Of those, how many only deletes and the cleaner may take.
    pub segments_reserved: u64,
    /// Damaged segments, which are neither cleaned nor written to.
    pub segments_kept: u64,
    /// Bytes of log in all segments.
    pub log_bytes: u64,
    /// Bytes of records that keys refer to.
    pub live_bytes: u64,
    /// Bytes of log that are not live.
    pub garbage_bytes: u64,
    /// Of those, bytes of tombstones that the cleaner has carried on since the start, as older records of their keys were left.
    pub held_bytes: u64,
    /// Segments that the cleaner has freed since the start.
    pub cleaner_segments: u64,
    /// Segments that it is emptying, or has emptied and cannot free yet.
    pub cleaner_backlog: u64,
    /// What was written since the start, by users and by the cleaner.
    pub flow: FlowTotals,
    /// DRAM of the indexes in bytes.
    pub index_bytes: u64,
    /// DRAM of the filter by which the cleaner knows which tombstones are needed, in bytes.
    pub stale_filter_bytes: u64,
    /// DRAM of the access clocks in bytes: 0 unless the eviction policy goes by the uses of keys.
    pub access_clock_bytes: u64,
    /// How long recovery took, in milliseconds.
    pub recovery_ms: u64,
    /// Records that recovery read.
    pub recovery_records: u64,
    /// Bytes of log that recovery read.
    pub recovery_bytes: u64,
    /// Threads that recovery used.
    pub recovery_threads: u64,
    /// Writes in flight when the last server ended.
    pub recovery_unfinished: u64,
    /// Damaged places that were passed over.
    pub recovery_damaged: u64,
    /// How often a command met a record whose bytes make no sense any more.
    pub damaged_records_seen: u64,
    /// How many times the pool was opened.
    pub openings: u64,
    /// When a pool on a disk was last synced, in Unix milliseconds; `None` on other media, where acknowledged writes are as safe as
    /// they will get.
    pub last_sync_ms: Option<u64>,
    /// When a pool on a disk is synced: a word of `appendfsync`; `none` on other media, where that is not needed.
    pub fsync: &'static str,
    /// Whether a sync has failed: no more writes are taken then.
    pub sync_failed: bool,
    /// Syncs since the pool was made, about.
    pub sync_epoch: u64,
}

impl Store {
    /// Number of keys, expired ones that are not yet removed included: DBSIZE.
    pub fn len(&self, db: Db) -> u64 {
        self.stripes.beside_transactions(|| self.table.load(&crossbeam_epoch::pin()).get(db).len())
    }

    /// Whether a database has no key.
    pub fn is_empty(&self, db: Db) -> bool {
        self.len(db) == 0
    }

    /// Counts for INFO keyspace.
    pub fn db_stats(&self, db: Db) -> DbStats {
        let guard = crossbeam_epoch::pin();
        let keyspace = self.table.load(&guard).get(db);
        let (expires, avg_ttl_ms) = keyspace.expires(self.clock.now_ms());
        DbStats { keys: keyspace.len(), expires, avg_ttl_ms, field_expires: keyspace.field_expires() }
    }

    /// What the kernel says of the memory under the pool. Reads some files in sysfs.
    pub fn memory_health(&self) -> MemoryHealth {
        self.pool.region().memory_health()
    }

    /// State of pool and index. Reads a counter for each segment.
    pub fn info(&self) -> StoreInfo {
        let guard = crossbeam_epoch::pin();
        let region = self.pool.region();
        let medium = region.medium();
        let (mut log_bytes, mut live_bytes, mut held_bytes, mut segments_kept) = (0, 0, 0, 0);
        for usage in self.pool.segment_ids().map(|id| self.pool.segment_use(id)).filter(SegmentUse::in_use) {
            log_bytes += usage.used_bytes;
            live_bytes += usage.live_bytes;
            held_bytes += usage.held_bytes;
            segments_kept += u64::from(usage.phase == Phase::Kept);
        }
        let facts = self.recovery.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (growths, growth_failures) = self.growth.counts();
        let indexes = self.table.load(&guard).iter().filter_map(|keyspace| keyspace.index());
        StoreInfo {
            medium: medium.name(),
            power_loss_safe: medium.survives_power_loss() || self.is_synced_before_replies(),
            process_kill_safe: medium.survives_process_kill(),
            granularity: region.granularity().name(),
            flush_instruction: region.flush_instruction(),
            path: region.path().map(|path| path.display().to_string()).unwrap_or_default(),
            pool_bytes: self.pool.bytes(),
            pool_max_bytes: self.pool_max_bytes(),
            growths,
            growth_failures,
            segment_bytes: self.pool.segment_bytes(),
            segments: u64::from(self.pool.segment_count()),
            segments_free: u64::from(self.pool.free_segments()),
            segments_reserved: u64::from(self.pool.reserved_segments()),
            segments_kept,
            log_bytes,
            live_bytes,
            garbage_bytes: log_bytes.saturating_sub(live_bytes),
            held_bytes,
            cleaner_segments: self.pool.segments_freed(),
            cleaner_backlog: self.cleaning.backlog(),
            flow: self.pool.flow_totals(),
            index_bytes: indexes.map(|index| index.bytes()).sum(),
            stale_filter_bytes: self.stale.bytes(),
            access_clock_bytes: self.access_clock_bytes(),
            recovery_ms: facts.elapsed_ms,
            recovery_records: facts.records,
            recovery_bytes: facts.bytes,
            recovery_threads: facts.threads,
            recovery_unfinished: facts.unfinished,
            recovery_damaged: facts.damaged,
            damaged_records_seen: self.damaged_records_seen.load(Ordering::Relaxed),
            openings: self.pool.superblock().openings,
            fsync: if self.pool.needs_sync() { self.fsync().name() } else { "none" },
            sync_failed: self.pool.sync_failure().is_some(),
            sync_epoch: self.pool.synced_epoch(),
            last_sync_ms: (medium == Medium::File).then(|| self.last_sync_ms.load(Ordering::Relaxed)),
        }
    }
}
