//! `fencepost pool salvage`: everything that is intact in a damaged pool, into a new one, and a list of what is not.
//!
//! What counts as intact is what [`rebuild`] finds, the same as when a server recovers: records of batches whose checksums hold; of each key the
//! newest such record; long strings only if all of their chunks are there, each in the version that their head speaks of. The old pool is
//! only read. The new one gets its name when it is complete, and never takes the place of a file.
//!
//! It has the geometry, database map, record versions and expiries of the old pool, but an identity of its own: checksums are seeded with the
//! identity, and segments of two pools that shared one could be taken for each other's.
//!
//! What cannot be known is whether a key's newest record was among what was lost, where the lost bytes cannot be read any more. Keys that can
//! be read there are named, with what is left of them.
//!
//! DRAM: as much as a server needs for the pool (the index), and a copy of the readable keys in damaged places.

use super::accounting::Books;
use super::keyspaces::DbTable;
use super::objects::Objects;
use super::open::index_options;
use super::rebuild::{Rebuilt, rebuild};
use crate::base::LogAddr;
use crate::cleaner::StaleFilter;
use crate::log::{AppendError, BatchBuilder, Kind, NewRecord, Record, Writer, record_at};
use crate::persist::{Region, RegionError, RegionOptions};
use crate::pool::{Pool, PoolError, PoolOptions, Urgency};
use crate::recovery::tools::superblock_faults;
use crate::recovery::{Damage, Progress, Visitor, readable_records, scan_pool};
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Why nothing was salvaged. There is no new pool then, and the old one is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SalvageError {
    /// The old pool cannot be read at all, or the new one cannot be made.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A server has the old pool open.
    #[error("{path} is in use by another process; stop it first: what is salvaged must not change meanwhile")]
    InUse {
        /// The old pool.
        path: PathBuf,
    },
    /// More damage was found when the pool was read for the second time.
    #[error("the medium has lost more of the pool while it was being read; run this again")]
    GettingWorse,
    /// What is intact does not fit into the new pool.
    #[error(
        "the new pool is too small for what is intact: {0}; please report this with the output of `fencepost pool info`"
    )]
    Append(#[from] AppendError),
}

impl From<RegionError> for SalvageError {
    fn from(error: RegionError) -> Self {
        Self::Pool(error.into())
    }
}

/// What was saved and what was not.
#[derive(Debug, Default)]
pub struct SalvageReport {
    /// Keys in the new pool.
    pub keys: u64,
    /// One line for each damaged place.
    pub damage: Vec<String>,
    /// One line for each key that is known to be hit, and what is left of it.
    pub hit: Vec<String>,
    /// What is worth knowing and no loss.
    pub remarks: Vec<String>,
}

impl SalvageReport {
    /// Whether anything that was durable is, or may be, lost.
    pub fn lost_something(&self) -> bool {
        !self.damage.is_empty()
    }

    /// The closing words.
    pub fn verdict(&self) -> String {
        match self.damage.len() {
            0 => "nothing is lost".to_string(),
            places => format!(
                "{places} damaged places: keys that are not named may have lost their newest write there, too, where the bytes cannot be read"
            ),
        }
    }
}

/// Saves what is intact in the pool `from` into a new pool `to`, made at `now_ms`.
///
/// # Errors
/// [`SalvageError`]; `to` does not exist then, unless it did before.
pub fn salvage(from: &Path, to: &Path, now_ms: u64) -> Result<SalvageReport, SalvageError> {
    if std::fs::symlink_metadata(to).is_ok() {
        return Err(RegionError::AlreadyExists { path: to.to_path_buf() }.into());
    }
    let region = Region::open_read_only(from)?;
    if region.in_use() {
        return Err(SalvageError::InUse { path: from.to_path_buf() });
    }
    let source = match Pool::from_damaged_region(region, from) {
        Err(PoolError::Short { expected, .. }) => {
            Pool::from_damaged_region(Region::open_cut_short(from, expected)?, from)?
        }
        found => found?,
    };
    let (pool, report) = salvage_pool(&source, Some(to), now_ms)?;
    pool.region().publish_file()?;
    Ok(report)
}

/// As [`salvage`], from a pool that is open, into a pool that has not got its name yet; into memory if `to` is `None`.
///
/// # Errors
/// [`SalvageError`].
pub fn salvage_pool(source: &Pool, to: Option<&Path>, now_ms: u64) -> Result<(Pool, SalvageReport), SalvageError> {
    let index_options = index_options(source);
    let superblock = source.superblock();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Expiry goes by what is durable, not by the clock of this machine.
    let stale = StaleFilter::new(source.region().len());
    let books = Books { pool: source, stale: &stale };
    let rebuilt = rebuild(books, &index_options, &superblock.keyspaces, threads, 0, &Progress::default());
    let target = Pool::create(&plan(source, to, now_ms))?;
    let mut report = SalvageReport::default();
    let mut lost = name_readable_keys(source, &rebuilt.report.damage);
    let mut copier = Copier {
        source,
        target: &target,
        hasher: SipHasher13::new_with_key(source.hash_key()),
        table: &rebuilt.table,
        objects: &rebuilt.objects,
        writer: Writer::default(),
        batch: BatchBuilder::default(),
        lost: &mut lost,
        keys: 0,
        result: Ok(()),
    };
    let again = scan_pool(source, std::slice::from_mut(&mut copier), &Progress::default());
    let keys = copier.finish()?;
    let first = rebuilt.report.damage.iter().filter(|damage| !damage.is_of_long_string()).count();
    if again.damage.len() > first {
        return Err(SalvageError::GettingWorse);
    }
    target.update_superblock(|new| {
        // That of the log has the old pool's generation no more: the new pool's log has no map.
        new.set_map(rebuilt.map.as_ref().unwrap_or(&superblock.map()));
        new.clock_floor_ms = rebuilt.clock_floor_ms;
    });
    report.keys = keys;
    describe(&mut report, source, &rebuilt, &lost);
    Ok((target, report))
}

/// A pool like `source`, with more segments only where what is live might not fit otherwise.
fn plan(source: &Pool, to: Option<&Path>, now_ms: u64) -> PoolOptions {
    let superblock = source.superblock();
    let live: u64 = source.segment_ids().map(|id| source.segment_use(id).live_bytes).sum();
    let room = source.max_batch_bytes();
    // Each batch adds its header and at most a line; a segment's end may stay empty for want of room for the next batch.
    let with_headers = live + live / 4;
    let segments = (with_headers / (room - room / 4) + 4).max(u64::from(superblock.segment_count));
    let data_offset = superblock.segment_bytes.clamp(2 * 4096, 2 << 20);
    let bytes = data_offset + segments * superblock.segment_bytes;
    PoolOptions {
        path: to.map(Path::to_path_buf),
        bytes: bytes.max(superblock.pool_bytes),
        max_bytes: 0,
        segment_bytes: Some(superblock.segment_bytes),
        stripes: superblock.stripe_count,
        now_ms,
        region: RegionOptions::default(),
    }
}

/// A key that can be read in a damaged place.
struct LostKey {
    /// The highest version of it that can be read there.
    version: u64,
    /// What that record is.
    kind: Kind,
    /// The newest intact record of the key: its version, and whether it is a value.
    survivor: Option<(u64, bool)>,
}

/// Keyspace and name to what is known.
type LostKeys = BTreeMap<(u32, Vec<u8>), LostKey>;

fn name_readable_keys(source: &Pool, damage: &[Damage]) -> LostKeys {
    let mut lost = LostKeys::new();
    for damage in damage {
        readable_records(source, damage, |record| {
            if !record.kind.is_of_key() {
                return true;
            }
            let here = LostKey { version: record.version, kind: record.kind, survivor: None };
            let known = lost.entry((record.keyspace, record.key.to_vec())).or_insert(here);
            if record.version > known.version {
                (known.version, known.kind) = (record.version, record.kind);
            }
            true
        });
    }
    lost
}

/// Writes every record that counts to the new pool, in the order of the old log.
struct Copier<'s, 'p> {
    source: &'p Pool,
    target: &'s Pool,
    hasher: SipHasher13,
    table: &'s DbTable,
    objects: &'s Objects,
    writer: Writer,
    batch: BatchBuilder,
    lost: &'s mut LostKeys,
    keys: u64,
    result: Result<(), AppendError>,
}

/// What a batch of the new pool is filled up to, in bytes.
const BATCH_FILL_BYTES: usize = 4096;

impl Copier<'_, '_> {
    fn is_current(&self, addr: LogAddr, record: &Record<'_>) -> bool {
        let index = self.table.find(record.keyspace).and_then(|(_, keyspace)| keyspace.index());
        let hash = self.hasher.hash(record.key);
        index.is_some_and(|index| index.get(hash, &crossbeam_epoch::pin(), |other| other == addr).is_some())
    }

    fn note_survivor(&mut self, record: &Record<'_>, is_value: bool) {
        if self.lost.is_empty() {
            return;
        }
        if let Some(known) = self.lost.get_mut(&(record.keyspace, record.key.to_vec())) {
            // Of two copies with one version the index refers to one.
            known.survivor = known.survivor.max(Some((record.version, is_value)));
        }
    }

    fn copy(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        let new = NewRecord {
            kind: record.kind,
            flags: record.flags,
            keyspace: record.keyspace,
            version: record.version,
            expiry_ms: record.expiry_ms,
            key: [record.key, &[]],
            value: record.value,
        };
        let fill = (BATCH_FILL_BYTES as u64).min(self.target.max_batch_bytes());
        if !self.batch.is_empty() && (self.batch.bytes() + new.bytes()) as u64 > fill {
            self.flush()?;
        }
        self.batch.push(&new);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), AppendError> {
        if !self.batch.is_empty() {
            self.writer.commit(self.target, &mut self.batch, Urgency::Cleans)?;
            self.batch.clear();
        }
        Ok(())
    }

    fn copy_key(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        if let Ok(object) = record.object()
            && record.kind == Kind::ObjectHead
        {
            let guard = crossbeam_epoch::pin();
            let table = self.objects.strings.get(object.id, &guard);
            for &addr in table.iter().flat_map(|table| table.chunks.iter().flatten()) {
                self.copy(&record_at(self.source, addr))?;
            }
            if let Some(shared) = self.objects.collections.get(object.id, &guard) {
                let collection = shared.read();
                for addr in collection.addrs() {
                    self.copy(&record_at(self.source, addr))?;
                }
            }
        }
        self.keys += 1;
        self.copy(record)
    }

    fn finish(mut self) -> Result<u64, AppendError> {
        self.result?;
        self.flush()?;
        self.writer.close(self.target);
        self.target.region().fence();
        Ok(self.keys)
    }
}

impl<'p> Visitor<'p> for Copier<'_, 'p> {
    fn record(&mut self, addr: LogAddr, record: Record<'p>) {
        if self.result.is_err() || !record.kind.is_of_key() {
            return;
        }
        let current = self.is_current(addr, &record);
        self.note_survivor(&record, current);
        if current {
            self.result = self.copy_key(&record);
        }
    }
}

/// Puts what happened into words.
fn describe(report: &mut SalvageReport, source: &Pool, rebuilt: &Rebuilt, lost: &LostKeys) {
    let mut damage: Vec<&Damage> = rebuilt.report.damage.iter().collect();
    damage.sort_by_key(|damage| damage.range.start);
    for damage in damage {
        let mut line = damage.to_string();
        if damage.is_of_long_string() {
            let addr = LogAddr::from_offset(damage.range.start).expect("it was made from an address");
            let record = record_at(source, addr);
            let _ = write!(line, "; lost: {}", name(rebuilt, record.keyspace, record.key));
        }
        report.damage.push(line);
    }
    for ((keyspace, key), lost) in lost {
        let left = match (lost.kind, lost.survivor) {
            (_, Some((version, true))) if version < lost.version && lost.kind == Kind::Tombstone => {
                "it was deleted, and an older value is back"
            }
            (_, Some((version, true))) if version < lost.version => {
                "an older value is saved, which may be older than the last acknowledged write"
            }
            (_, Some((version, false))) if version < lost.version => {
                "lost: only an older deletion or expired value is left"
            }
            (_, Some((_, true))) => "a newer value is saved",
            (_, Some((_, false))) => "it was deleted or expired later",
            (Kind::Tombstone, None) => "it was deleted, and nothing is left of it",
            (_, None) => "lost",
        };
        report.hit.push(format!("{}: {left}", name(rebuilt, *keyspace, key)));
    }
    report
        .remarks
        .extend(superblock_faults(source).into_iter().map(|fault| format!("{fault}; the other copy was used")));
    if rebuilt.report.uncommitted > 0 {
        report.remarks.push(format!(
            "{} writes of several batches have no commit: they were in flight when the server ended (never acknowledged), or their commits are lost where there is damage",
            rebuilt.report.uncommitted
        ));
    }
    for at in &rebuilt.report.unfinished {
        report.remarks.push(format!(
            "byte {at:#x}: a commit batch at the end of a log is not whole: a write in flight when the server ended (never acknowledged), or damage to the last one"
        ));
    }
}

/// A key for people: its name, and the databases that it is in.
fn name(rebuilt: &Rebuilt, keyspace: u32, key: &[u8]) -> String {
    let databases = rebuilt.table.iter().enumerate().filter(|(_, found)| found.id == keyspace);
    let databases: Vec<String> = databases.map(|(number, _)| number.to_string()).collect();
    match databases.as_slice() {
        [] => format!("\"{}\" (in a flushed database)", key.escape_ascii()),
        numbers => format!("\"{}\" (database {})", key.escape_ascii(), numbers.join(", ")),
    }
}
