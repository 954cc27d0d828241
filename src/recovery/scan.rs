//! The parallel scan.

use super::{Damage, RecoveryReport};
use crate::base::{LogAddr, SegmentId};
use crate::log::{Record, scan_segment};
use crate::pool::Pool;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Takes the records that one scanning thread finds.
pub trait Visitor<'p>: Send {
    /// A record of a valid batch, at `addr`. Records of one key come in any order.
    fn record(&mut self, addr: LogAddr, record: Record<'p>);

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

/// Scans all segments with one thread per visitor. Writes nothing but, in DRAM, how full each segment is.
///
/// Returns what was found, damage included; the visitors have all records that are intact.
pub fn scan_pool<'p, V: Visitor<'p>>(pool: &'p Pool, visitors: &mut [V], progress: &Progress) -> RecoveryReport {
    let started = Instant::now();
    let next = AtomicU32::new(0);
    progress.scanned.store(0, Ordering::Relaxed);
    progress.total.store(pool.segment_count(), Ordering::Relaxed);
    let mut report = scan_in_parallel(pool, visitors, &next, progress);
    report.elapsed = started.elapsed();
    report
}

/// The first visitor is the caller's own thread's. Where the system has no more threads the others do its work as well.
fn scan_in_parallel<'p, V: Visitor<'p>>(
    pool: &'p Pool,
    visitors: &mut [V],
    next: &AtomicU32,
    progress: &Progress,
) -> RecoveryReport {
    let Some((own, others)) = visitors.split_first_mut() else { return RecoveryReport::default() };
    std::thread::scope(|scope| {
        let started = others.iter_mut().map_while(|visitor| {
            let scan = move || scan_some(pool, visitor, next, progress);
            let started = std::thread::Builder::new().name("recovery".to_owned()).spawn_scoped(scope, scan);
            started.inspect_err(|error| tracing::warn!("recovery goes on with fewer threads: {error}")).ok()
        });
        let scans: Vec<_> = started.collect();
        let mut report = scan_some(pool, own, next, progress);
        report.threads = 1 + scans.len();
        for scan in scans {
            match scan.join() {
                Ok(part) => report.merge(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        report
    })
}

/// Scans segments until none is left to take.
fn scan_some<'p, V: Visitor<'p>>(
    pool: &'p Pool,
    visitor: &mut V,
    next: &AtomicU32,
    progress: &Progress,
) -> RecoveryReport {
    let mut report = RecoveryReport::default();
    // Ends: the counter grows each turn.
    loop {
        let id = SegmentId(next.fetch_add(1, Ordering::Relaxed));
        if id.0 >= pool.segment_count() {
            break;
        }
        let scan = scan_segment(pool, id, |addr, record| visitor.record(addr, record));
        pool.set_used(id, scan.end);
        progress.scanned.fetch_add(1, Ordering::Relaxed);
        if scan.end == 0 && scan.faults.is_empty() {
            continue;
        }
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
    visitor.done();
    report
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
