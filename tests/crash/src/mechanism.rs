//! What the levels above rest on: a commit batch validates if and only if all of it is there and it is of this life of its segment.
//!
//! Shown for batches of one to three lines with **every** subset of their units, over zeros and over the bytes of a batch that a former life
//! left at the same place, and for whole batches in a wrong place, life, segment or pool. Larger batches go through the same check of the same bytes,
//! so that for them it is enough to try each unit wrong, alone (see [`pmem_emulation::Values`]). The last part is about the file that all lies in.

use crate::engine::{Driver, Engine, Machine, SEGMENT_BYTES, SEGMENTS};
use crate::file_layer;
use crate::recycle::recycle;
use crate::workload::Step;
use fencepost::base::SegmentId;
use fencepost::log::scan_batches;
use fencepost::pool::format::{SEGMENT_HEADER_BYTES, segment_seed};

/// The pieces that the work is cut into.
pub const PARTS: usize = 8;

/// Bytes of values whose batches take one, two and three lines.
const VALUE_BYTES: [usize; 3] = [8, 70, 130];

/// Shows one part.
///
/// # Errors
/// A batch that validates and must not, or does not and must.
pub fn part(number: usize) -> Result<(), String> {
    match number {
        0..6 => every_subset(1 + number / 2, number % 2 == 1),
        6 => every_place(),
        _ => file_layer::a_new_pool_is_there_or_not(),
    }
}

/// A segment with a batch, and what is needed to check it.
struct Sample {
    /// The segment's bytes before the batch was written, up to the batch's end.
    before: Vec<u8>,
    /// The same after.
    after: Vec<u8>,
    uuid: [u8; 16],
    incarnation: u32,
}

const SEGMENT: SegmentId = SegmentId(0);

impl Sample {
    /// A batch of so many lines, over zeros or over one of a former life.
    fn new(lines: usize, stale: bool) -> Self {
        let mut driver = Driver::new();
        let mut engine = Engine::create(SEGMENTS, Machine::PMEM, None);
        let set = |salt: char| Step::new(&format!("SET a @{}{salt}", VALUE_BYTES[lines - 1]));
        if stale {
            set('o').run(&mut engine, &mut driver);
            engine = Engine::recover(&recycle(&engine), Machine::PMEM, None).expect("an empty pool opens");
        }
        let start = engine.store.pool().segment_offset(SEGMENT) as usize;
        let len = SEGMENT_HEADER_BYTES as usize + lines * 64;
        let bytes = |engine: &Engine| engine.image()[start..][..len].to_vec();
        let before = bytes(&engine);
        set('n').run(&mut engine, &mut driver);
        let usage = engine.store.pool().segment_use(SEGMENT);
        assert_eq!(usage.used_bytes as usize, len, "the batch has {lines} lines");
        let uuid = *engine.store.pool().uuid();
        Self { before, after: bytes(&engine), uuid, incarnation: if stale { 3 } else { 1 } }
    }

    fn seed(&self) -> u32 {
        segment_seed(&self.uuid, SEGMENT, self.incarnation)
    }
}

fn every_subset(lines: usize, stale: bool) -> Result<(), String> {
    let sample = Sample::new(lines, stale);
    let (seed, first) = (sample.seed(), SEGMENT_HEADER_BYTES as usize);
    let units: Vec<usize> = (first..sample.after.len())
        .step_by(8)
        .filter(|&at| sample.before[at..at + 8] != sample.after[at..at + 8])
        .collect();
    let mut segment = sample.before.clone();
    // In the order of a Gray code, each subset differs from the one before in one unit.
    for number in 1..1u64 << units.len() {
        let changed = number.trailing_zeros() as usize;
        let at = units[changed];
        let there = (number ^ number >> 1) >> changed & 1 == 1;
        let source = if there { &sample.after } else { &sample.before };
        segment[at..at + 8].copy_from_slice(&source[at..at + 8]);
        let scan = scan_batches(&segment, seed, false, |_, _, _| ());
        let whole = segment[first..] == sample.after[first..];
        if (scan.batches == 1) != whole || !scan.faults.is_empty() {
            let bits = number ^ number >> 1;
            return Err(format!(
                "of a batch of {lines} lines units {bits:#b} are there, and {scan:?} is found (stale: {stale})"
            ));
        }
    }
    Ok(())
}

/// Whole batches where they do not belong.
fn every_place() -> Result<(), String> {
    let sample = Sample::new(2, false);
    let first = SEGMENT_HEADER_BYTES as usize;
    let valid = |segment: &[u8], seed: u32| scan_batches(segment, seed, false, |_, _, _| ()).batches > 0;
    if !valid(&sample.after, sample.seed()) {
        return Err("a whole batch does not validate in its place".to_owned());
    }
    for lines in 1..=8 {
        let mut moved = vec![0; SEGMENT_BYTES as usize];
        let at = first + 64 * lines;
        moved[at..at + 128].copy_from_slice(&sample.after[first..]);
        if valid(&moved, sample.seed()) {
            return Err(format!("a batch validates {lines} lines behind its place"));
        }
    }
    let mut other_pool = sample.uuid;
    other_pool[5] ^= 1;
    let seeds = [
        ("another life", segment_seed(&sample.uuid, SEGMENT, sample.incarnation + 2)),
        ("another segment", segment_seed(&sample.uuid, SegmentId(1), sample.incarnation)),
        ("another pool", segment_seed(&other_pool, SEGMENT, sample.incarnation)),
    ];
    match seeds.into_iter().find(|&(_, seed)| valid(&sample.after, seed)) {
        Some((where_, _)) => Err(format!("a batch validates in {where_}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_validates_if_and_only_if_it_is_whole_and_in_its_place() {
        // The 2^24 subsets of three lines are left to the explorer, which is built with optimisation.
        for number in [0, 1, 2, 3, 6, 7] {
            part(number).unwrap();
        }
    }
}
