//! `fencepost pool info` and `fencepost pool check`: look at a pool file, change nothing.

use super::liveness::Liveness;
use super::map::{Charset, SegmentState, SegmentView, draw};
use super::readable::readable_in;
use super::{Progress, RecoveryReport, Visitor, scan_pool};
use crate::base::{LogAddr, SegmentId};
use crate::log::{Kind, Record, SegmentFault};
use crate::pool::format::{FORMAT_VERSION, SEGMENT_HEADER_BYTES, SUPERBLOCK_BYTES, Superblock};
use crate::pool::{Pool, PoolError, SegmentHeader};
use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

/// Counts records by kind.
#[derive(Default)]
struct Tally {
    strings: u64,
    tombstones: u64,
    heads: u64,
    packed: u64,
    chunks: u64,
    elements: u64,
    element_tombstones: u64,
    bounds: u64,
    cuts: u64,
    marks: u64,
    parts: u64,
    commits: u64,
    uncommitted: u64,
    bytes: u64,
}

impl Visitor<'_> for Tally {
    fn record(&mut self, _addr: LogAddr, record: Record<'_>) {
        match record.kind {
            Kind::String => self.strings += 1,
            Kind::Tombstone => self.tombstones += 1,
            Kind::ObjectHead => self.heads += 1,
            Kind::Packed => self.packed += 1,
            Kind::Chunk => self.chunks += 1,
            Kind::Element => self.elements += 1,
            Kind::ElementTombstone => self.element_tombstones += 1,
            Kind::Bounds => self.bounds += 1,
            Kind::Cuts => self.cuts += 1,
            Kind::ClockMark => self.marks += 1,
            Kind::Part | Kind::DatabaseMap => self.parts += 1,
            Kind::Commit => self.commits += 1,
        }
        self.bytes += record.bytes() as u64;
    }

    fn uncommitted(&mut self, _addr: LogAddr, record: Record<'_>) {
        self.uncommitted += 1;
        self.bytes += record.bytes() as u64;
    }
}

/// What one walk through a pool finds out for [`info`].
struct Look<'p> {
    tally: Tally,
    /// If there is to be a map.
    liveness: Option<Liveness<'p>>,
}

impl<'p> Visitor<'p> for Look<'p> {
    fn record(&mut self, addr: LogAddr, record: Record<'p>) {
        self.tally.record(addr, record);
        if let Some(liveness) = &mut self.liveness {
            liveness.record(addr, record);
        }
    }

    fn uncommitted(&mut self, addr: LogAddr, record: Record<'p>) {
        self.tally.uncommitted(addr, record);
    }
}

/// How much of each segment of `pool` is in use: bytes of records that a server would count as live.
///
/// The pool may be damaged, and a server may change it meanwhile; what is found then may be neither what was nor what is, but it is no worse than that.
///
/// Cost: a walk through the whole pool; DRAM of 50 to 100 bytes a key.
pub fn live_bytes(pool: &Pool) -> Vec<u64> {
    let mut liveness = [Liveness::new(pool)];
    let _damage_is_for_others = scan_pool(pool, &mut liveness, &Progress::default());
    let [liveness] = liveness;
    liveness.live_bytes()
}

/// What the map shows of each segment.
fn views(pool: &Pool, live_bytes: &[u64], report: &RecoveryReport) -> Vec<SegmentView> {
    let damaged: HashSet<SegmentId> = report.damage.iter().map(|damage| damage.segment).collect();
    let view = |(id, &live_bytes): (SegmentId, &u64)| {
        let state = match pool.segment_header(id) {
            _ if damaged.contains(&id) => SegmentState::Damaged,
            Ok(SegmentHeader::Free { .. } | SegmentHeader::BehindCut { .. }) => SegmentState::Free,
            Ok(SegmentHeader::Open { .. }) => SegmentState::Open,
            Ok(SegmentHeader::Sealed { .. }) => SegmentState::Full,
            Ok(SegmentHeader::SealDamaged { .. } | SegmentHeader::Damaged) | Err(_) => SegmentState::Damaged,
        };
        SegmentView { state, live_bytes }
    };
    pool.segment_ids().zip(live_bytes).map(view).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn push_line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name:<22} {value}");
}

/// Describes the pool at `path`: superblock, segments, utilisation; with a map of the segments in these characters, if there is to be one.
///
/// Cost: a walk through the whole pool; for the map DRAM of 50 to 100 bytes a key.
///
/// # Errors
/// [`PoolError`] when it is no pool that this release reads.
pub fn info(path: &Path, map: Option<Charset>) -> Result<String, PoolError> {
    let pool = Pool::open_read_only(path)?;
    let superblock = pool.superblock();
    let mut look = [Look { tally: Tally::default(), liveness: map.map(|_| Liveness::new(&pool)) }];
    let report = scan_pool(&pool, &mut look, &Progress::default());
    let [Look { tally, liveness }] = look;
    let mut text = String::new();

    push_line(&mut text, "pool", path.display());
    push_line(&mut text, "medium", pool.region().medium().name());
    push_line(&mut text, "uuid", hex(&superblock.uuid));
    push_line(&mut text, "format version", FORMAT_VERSION);
    push_line(&mut text, "superblock generation", superblock.generation);
    push_line(&mut text, "openings", superblock.openings);
    push_line(
        &mut text,
        "closed cleanly",
        if superblock.clean { "yes" } else { "no (in use, or its server was killed)" },
    );
    push_line(&mut text, "pool size", format!("{} bytes", superblock.pool_bytes));
    push_line(
        &mut text,
        "segments",
        format!(
            "{} of {} bytes from byte {}",
            superblock.segment_count, superblock.segment_bytes, superblock.data_offset
        ),
    );
    push_line(&mut text, "stripes", superblock.stripe_count);
    let (mut free, mut open, mut sealed, mut damaged) = (0u32, 0u32, 0u32, 0u32);
    for id in pool.segment_ids() {
        match pool.segment_header(id) {
            Ok(SegmentHeader::Free { .. } | SegmentHeader::BehindCut { .. }) => free += 1,
            Ok(SegmentHeader::Open { .. }) => open += 1,
            Ok(SegmentHeader::Sealed { .. }) => sealed += 1,
            Ok(SegmentHeader::SealDamaged { .. } | SegmentHeader::Damaged) | Err(_) => damaged += 1,
        }
    }
    push_line(&mut text, "segment states", format!("{free} free, {open} open, {sealed} sealed, {damaged} damaged"));
    let data_bytes = u64::from(superblock.segment_count) * superblock.segment_bytes;
    push_line(
        &mut text,
        "log bytes",
        format!("{} ({:.1} % of the segments)", report.bytes, 100.0 * report.bytes as f64 / data_bytes as f64),
    );
    push_line(&mut text, "commit batches", report.batches);
    push_line(
        &mut text,
        "records",
        format!(
            "{} ({} strings, {} tombstones, {} packed collections, {} object heads, {} chunks, {} elements, {} element tombstones, {} bounds, {} cuts, {} clock marks, {} parts, {} commits, {} uncommitted; {} bytes)",
            report.records,
            tally.strings,
            tally.tombstones,
            tally.packed,
            tally.heads,
            tally.chunks,
            tally.elements,
            tally.element_tombstones,
            tally.bounds,
            tally.cuts,
            tally.marks,
            tally.parts,
            tally.commits,
            tally.uncommitted,
            tally.bytes
        ),
    );
    let live_bytes = liveness.map(Liveness::live_bytes);
    if let Some(live_bytes) = &live_bytes {
        let live: u64 = live_bytes.iter().sum();
        let share = 100.0 * live as f64 / data_bytes as f64;
        push_line(&mut text, "live bytes", format!("{live} ({share:.1} % of the segments)"));
    }
    push_line(&mut text, "damaged places", report.damage.len());
    let health = pool.region().memory_health();
    if let Some(sectors) = health.bad_sectors {
        push_line(&mut text, "bad sectors", format!("{sectors} on the device, in the pool or elsewhere"));
    }
    if let Some(shutdowns) = health.dirty_shutdowns {
        push_line(&mut text, "dirty shutdowns", format!("{shutdowns}, counted by the memory modules"));
    }
    if let (Some(charset), Some(live_bytes)) = (map, live_bytes) {
        text += &draw(&views(&pool, &live_bytes, &report), pool.segment_bytes(), charset);
    }
    Ok(text)
}

/// What a check found, line by line.
#[derive(Debug, Default)]
pub struct Check {
    /// One line for each damaged place, the keys in it where they can be read.
    pub damage: Vec<String>,
    /// What is worth knowing and no damage.
    pub remarks: Vec<String>,
    /// The closing line.
    pub summary: String,
}

/// Verifies every checksum of the pool at `path`.
///
/// # Errors
/// [`PoolError`] when it is no pool that this release reads: that is damage too, and its message says which.
pub fn check(path: &Path) -> Result<Check, PoolError> {
    Ok(check_pool(&Pool::open_read_only(path)?))
}

/// Verifies every checksum of an open pool.
pub fn check_pool(pool: &Pool) -> Check {
    let mut check = Check::default();
    check_media(pool, &mut check);
    let superblocks = superblock_faults(pool).into_iter();
    check.damage.extend(superblocks.map(|fault| format!("{fault}; the other copy is whole and will be used")));
    check_unused_bytes(pool, &mut check);
    let mut tally = [Tally::default()];
    let report = scan_pool(pool, &mut tally, &Progress::default());
    let mut damage = report.damage;
    damage.sort_by_key(|damage| damage.range.start);
    for damage in &damage {
        let keys = match damage.fault {
            SegmentFault::Batch | SegmentFault::Record(_) => readable_keys(pool, damage.range.clone()),
            _ => Vec::new(),
        };
        let keys =
            if keys.is_empty() { String::new() } else { format!("; keys that can be read there: {}", keys.join(" ")) };
        check.damage.push(format!("{damage}{keys}"));
    }
    for at in &report.unfinished {
        let keys = readable_keys(pool, *at..at + pool.segment_bytes());
        let keys =
            if keys.is_empty() { String::new() } else { format!(" (keys that can be read there: {})", keys.join(" ")) };
        let what = format!("byte {at:#x}: a commit batch at the end of an open segment is not whole{keys}");
        // A closed pool has no open segment.
        check.remarks.push(format!("{what}: a write in flight when the server ended, or damage since"));
    }
    if report.uncommitted > 0 {
        check.remarks.push(format!(
            "{} writes of several batches were not completed: in flight when the server ended{}",
            report.uncommitted,
            if damage.is_empty() { "" } else { ", or their commits are lost where the damage is" }
        ));
    }
    check.summary = format!(
        "{} segments, {} commit batches, {} records checked; {} damaged places",
        report.segments,
        report.batches,
        report.records,
        check.damage.len()
    );
    check
}

/// The copies of the superblock that are damaged, each with what is wrong.
pub fn superblock_faults(pool: &Pool) -> Vec<String> {
    const LEN: u64 = SUPERBLOCK_BYTES as u64;
    let fault = |copy: u64| {
        let at = copy * LEN;
        let found = pool.region().read(at, LEN).map(Superblock::decode);
        let why = match (pool.region().unreadable(at, LEN).first(), found) {
            (Some(&error), _) | (None, Err(error)) => error.to_string(),
            (None, Ok(Err(fault))) => format!("{fault:?}"),
            (None, Ok(Ok(_))) => return None,
        };
        Some(format!("superblock copy {copy}, bytes {at:#x}..{:#x}: {why}", at + LEN))
    };
    [0, 1].into_iter().filter_map(fault).collect()
}

/// Has every page of the pool read, used or not, so that the medium tells which it cannot give back. The scan names those in segments.
fn check_media(pool: &Pool, check: &mut Check) {
    const PAGE_BYTES: u64 = 4096;
    let region = pool.region();
    let sum = (0..region.len())
        .step_by(PAGE_BYTES as usize)
        .filter_map(|at| region.read(at, 1).ok())
        .fold(0, |sum, byte| sum ^ byte[0]);
    // The bytes are of no interest, but they must have been read.
    std::hint::black_box(sum);
    let gap = 2 * SUPERBLOCK_BYTES as u64..pool.segment_offset(SegmentId(0));
    for error in region.unreadable(gap.start, gap.end - gap.start) {
        check.damage.push(format!(
            "bytes {:#x}..{:#x}, in front of the segments: {error}",
            error.at,
            error.at + error.len
        ));
    }
}

/// Bytes that are never written must be zero: between superblocks and segments, and in segment headers. And words that nothing depends on
/// must be what was written.
fn check_unused_bytes(pool: &Pool, check: &mut Check) {
    let mut ranges = pool.unmarked_bytes();
    ranges.extend(pool.segment_ids().map(|id| {
        let start = pool.segment_offset(id);
        let unused = if pool.has_opened_epoch(id) { 32 } else { 16 };
        (start + unused, start + SEGMENT_HEADER_BYTES)
    }));
    for (start, end) in ranges {
        match pool.region().read(start, end - start) {
            Ok(bytes) => {
                if let Some(at) = bytes.iter().position(|&byte| byte != 0) {
                    check.damage.push(format!("byte {:#x}: an unused byte is not zero (harmless)", start + at as u64));
                }
            }
            Err(error) => check.damage.push(format!("bytes {start:#x}..{end:#x}: {error}")),
        }
    }
    for id in pool.segment_ids() {
        if let Ok(SegmentHeader::Free { incarnation }) = pool.segment_header(id)
            && pool.free_seal_is_whole(id, incarnation) == Ok(false)
        {
            check.damage.push(format!("segment {id}: the seal word of a free segment fails its check (harmless)"));
        }
    }
}

/// Keys of the records that still make sense in a damaged range, quoted; at most a handful.
fn readable_keys(pool: &Pool, range: std::ops::Range<u64>) -> Vec<String> {
    const MOST_KEYS: usize = 16;
    let mut keys = Vec::new();
    let Some(segment) = pool.segment_of(range.start) else { return keys };
    readable_in(pool, segment, range, |record| {
        if !record.key.is_empty() && record.kind.is_of_key() {
            keys.push(format!("\"{}\"", record.key.escape_ascii()));
        }
        keys.len() < MOST_KEYS
    });
    keys
}
