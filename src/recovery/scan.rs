//! The parallel scan.
//!
//! Whether a part of an atom counts is known only when the whole pool was read: where the commit lies nobody says. So records of parts are set aside,
//! by their addresses (16 bytes of DRAM each), and handed on in a second round.

use super::{Damage, RecoveryReport};
use crate::base::mutant::{self, Mutant};
use crate::base::{LogAddr, SegmentId};
use crate::log::{AtomId, Kind, Record, go_by_last_sync, scan_segment, try_record_at};
use crate::pool::Pool;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

/// Takes the records that one scanning thread finds.
pub trait Visitor<'p>: Send {
    /// A record that counts: of a valid batch, at `addr`. Records of one key come in any order.
    fn record(&mut self, addr: LogAddr, record: Record<'p>);

    /// A record of a part whose atom was never committed: nothing that it says has happened. It stays in the pool until its segment is cleaned.
    fn uncommitted(&mut self, addr: LogAddr, record: Record<'p>) {
        let _ = (addr, record);
    }

    /// The thread will not call again.
    fn done(&mut self) {}
}

/// How far a scan is, for whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU32,
    scanned: AtomicU32,
}

impl Progress {
    /// Segments scanned and segments in all; (0, 0) before the scan.
    pub fn segments(&self) -> (u32, u32) {
        (self.scanned.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

/// What one thread has found.
#[derive(Default)]
struct Found {
    report: RecoveryReport,
    /// Records of parts, and what they are parts of.
    parts: Vec<(AtomId, LogAddr)>,
    commits: HashSet<AtomId>,
}

/// Scans all segments with one thread per visitor; after a power cut of a pool on a file, as far as the last sync goes. Writes nothing but, in DRAM, how full each segment is.
///
/// Returns what was found, damage included; the visitors have all records that are intact.
pub fn scan_pool<'p, V: Visitor<'p>>(pool: &'p Pool, visitors: &mut [V], progress: &Progress) -> RecoveryReport {
    let started = Instant::now();
    let sync_known = go_by_last_sync(pool);
    let next = AtomicU32::new(0);
    progress.scanned.store(0, Ordering::Relaxed);
    progress.total.store(pool.segment_count(), Ordering::Relaxed);
    let mut all = Found::default();
    for found in in_parallel(visitors, &|visitor| scan_some(pool, visitor, &next, progress)) {
        all.report.threads += 1;
        all.report.merge(found.report);
        all.parts.extend(found.parts);
        all.commits.extend(found.commits);
    }
    hand_on_parts(pool, visitors, &mut all);
    visitors.iter_mut().for_each(V::done);
    all.report.elapsed = started.elapsed();
    all.report.sync_unknown = !sync_known;
    all.report
}

/// Does `work` with each visitor, on a thread of its own; the first one's is the caller's. Where the system has no more threads the others' part of
/// the work is left to those that there are.
fn in_parallel<V: Send, R: Send>(visitors: &mut [V], work: &(impl Fn(&mut V) -> R + Sync)) -> Vec<R> {
    let Some((own, others)) = visitors.split_first_mut() else { return Vec::new() };
    std::thread::scope(|scope| {
        let started = others.iter_mut().map_while(|visitor| {
            let started =
                std::thread::Builder::new().name("recovery".to_owned()).spawn_scoped(scope, move || work(visitor));
            started.inspect_err(|error| tracing::warn!("recovery goes on with fewer threads: {error}")).ok()
        });
        let started: Vec<_> = started.collect();
        let mut results = vec![work(own)];
        for thread in started {
            match thread.join() {
                Ok(result) => results.push(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}

/// Scans segments until none is left to take.
fn scan_some<'p, V: Visitor<'p>>(pool: &'p Pool, visitor: &mut V, next: &AtomicU32, progress: &Progress) -> Found {
    let mut found = Found::default();
    // Ends: the counter grows each turn.
    loop {
        let id = SegmentId(next.fetch_add(1, Ordering::Relaxed));
        if id.0 >= pool.segment_count() {
            break;
        }
        let scan = scan_segment(pool, id, |addr, record, atom| match atom {
            Some(atom) if !mutant::active(Mutant::PartsNotDeferred) => found.parts.push((atom, addr)),
            _ => {
                if record.kind == Kind::Commit {
                    found.commits.extend(record.atom());
                }
                visitor.record(addr, record);
            }
        });
        pool.set_used(id, scan.end);
        progress.scanned.fetch_add(1, Ordering::Relaxed);
        if scan.end == 0 && scan.faults.is_empty() {
            continue;
        }
        let report = &mut found.report;
        report.segments += 1;
        report.bytes += scan.end;
        report.batches += scan.batches;
        report.records += scan.records;
        report.unfinished.extend(scan.unfinished);
        report.damage.extend(scan.faults.into_iter().map(|(range, fault)| Damage { segment: id, range, fault }));
        if !scan.sealed && scan.end != 0 {
            report.unsealed.push((id, scan.end));
        }
    }
    found
}

/// The second round: every commit is known.
fn hand_on_parts<'p, V: Visitor<'p>>(pool: &'p Pool, visitors: &mut [V], all: &mut Found) {
    /// Records that a thread takes at a time.
    const TAKEN: usize = 1024;
    let Found { report, parts, commits } = all;
    if parts.is_empty() {
        return;
    }
    if mutant::active(Mutant::CommitsForgotten) {
        commits.clear();
    }
    let next = AtomicUsize::new(0);
    let hand_on = |visitor: &mut V| {
        // Ends: the counter grows each turn.
        while let Some(taken) = parts.chunks(TAKEN).nth(next.fetch_add(1, Ordering::Relaxed)) {
            for &(atom, addr) in taken {
                match try_record_at(pool, addr) {
                    Ok(record) if commits.contains(&atom) => visitor.record(addr, record),
                    Ok(record) => visitor.uncommitted(addr, record),
                    // Who only looks at a pool that a server is changing may find something else there by now.
                    Err(_) => {}
                }
            }
        }
    };
    in_parallel(visitors, &hand_on);
    let uncommitted: HashSet<AtomId> =
        parts.iter().map(|(atom, _)| *atom).filter(|atom| !commits.contains(atom)).collect();
    report.uncommitted = uncommitted.len() as u64;
}

impl RecoveryReport {
    fn merge(&mut self, other: RecoveryReport) {
        self.segments += other.segments;
        self.bytes += other.bytes;
        self.batches += other.batches;
        self.records += other.records;
        self.unfinished.extend(other.unfinished);
        self.damage.extend(other.damage);
        self.unsealed.extend(other.unsealed);
    }
}
