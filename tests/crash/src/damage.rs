//! Damage at rest: bytes of a pool that lies still are changed, and recovery must refuse the pool or find what was there.
//!
//! Power cuts never leave what this makes (flipped bits, lines that are lost, old, moved or another's), so here the checks are tried that a
//! power cut does not need: each must be there, and be of this life and this place.
//!
//! Two pools are damaged. In one that was closed no byte may change unnoticed. In one whose server was killed the last batch of an open
//! segment cannot be told from a write that was in flight, so damage is done further in.

use crate::engine::{Driver, Engine, Machine, SEGMENT_BYTES, SEGMENTS};
use crate::state::State;
use crate::workload::steps;
use fencepost::base::SegmentId;
use fencepost_harness::{Rng, Seed};
use pmem_emulation::{Faults, Hook};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What is run before the damage is done: enough that every kind of record, and several segments, are there.
const LINES: &[&str] = &[
    "SET a @20a",
    "SET b @70b",
    "MSET c @5c d @300d",
    "SET l @5000l",
    "SETRANGE l 2000 @700x",
    "SET b @71y",
    "DEL c",
    "SET e @40e PX 100000",
    "SET f @9f PX 5",
    "!tick 10",
    "GET f",
    "RENAME d g",
    "SELECT 1 | SET h @90h | FLUSHDB | SET i @33i",
    "SELECT 0 | SET j @64j | SET k @64k | SET j @64z | SET k @64w",
    "SET m @1000m",
    "SET n @1000n",
    "SET o @1000o",
    "SETRANGE l 10 @20q",
    "SET m @1000p",
    "SET a @20b",
    "SET a @20c",
];

const LINE_BYTES: usize = 64;
const SUPERBLOCK_BYTES: usize = 4096;

/// Random draws of each kind of damage.
const DRAWS: usize = 3000;

/// How many lines on lines are put over those that follow.
const NEAR_LINES: usize = 8;

/// The largest batch that [`LINES`] write, and some.
const LAST_BATCH_BYTES: u64 = 1600;

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Damaged pools that were opened.
    pub states: u64,
    /// What was wrong first.
    pub violation: Option<String>,
}

/// A pool at rest.
struct Rest {
    name: &'static str,
    image: Vec<u8>,
    /// What it holds.
    state: State,
    /// An earlier image of the same pool.
    earlier: Vec<u8>,
    /// Where it may be damaged.
    ranges: Vec<Range<usize>>,
}

impl Rest {
    fn new(closed: bool) -> Self {
        let (mut engine, mut driver) = (Engine::create(SEGMENTS, Machine::PMEM, None), Driver::new());
        let steps = steps(LINES.iter().copied());
        let (early, late) = steps.split_at(steps.len() / 2);
        early.iter().for_each(|step| drop(step.run(&mut engine, &mut driver)));
        let earlier = engine.image();
        late.iter().for_each(|step| drop(step.run(&mut engine, &mut driver)));
        if closed {
            engine.close();
        }
        let state = State::of(&engine.store);
        let pool = engine.store.pool();
        let mut ranges = Vec::from([0..SUPERBLOCK_BYTES, SUPERBLOCK_BYTES..2 * SUPERBLOCK_BYTES]);
        for id in (0..pool.segment_count()).map(SegmentId) {
            let (start, used) = (pool.segment_offset(id) as usize, pool.segment_use(id).used_bytes);
            let kept_whole = if closed { 0 } else { LAST_BATCH_BYTES };
            let end = used.saturating_sub(kept_whole).max(LINE_BYTES as u64);
            ranges.push(start..start + end as usize);
        }
        let name = if closed { "closed" } else { "killed" };
        Self { name, image: engine.image(), state, earlier, ranges }
    }

    /// The lines that may be damaged.
    fn lines(&self) -> Vec<usize> {
        self.ranges.iter().flat_map(|range| range.clone().step_by(LINE_BYTES)).collect()
    }
}

/// Tries damages until one is taken for the truth, or all are tried.
pub fn explore(seed: u64) -> Outcome {
    let mut outcome = Outcome::default();
    for closed in [true, false] {
        let rest = Rest::new(closed);
        let mut rng = Seed(seed).rng(u64::from(closed));
        flips(&rest, &mut rng, &mut outcome);
        lines(&rest, &mut rng, &mut outcome);
        moves(&rest, &mut rng, &mut outcome);
        poison(&rest, &mut outcome);
    }
    outcome
}

/// One bit of each byte of headers and superblock fields, and of a sample of all others.
fn flips(rest: &Rest, rng: &mut Rng, outcome: &mut Outcome) {
    for range in &rest.ranges {
        for at in range.clone() {
            let in_header = (at - range.start) % SEGMENT_BYTES as usize % SUPERBLOCK_BYTES < 256;
            if in_header || rng.one_in(4) {
                let bit = 1 << rng.below(8);
                attempt(rest, &format!("byte {at:#x} ^ {bit:#x}"), outcome, |image| image[at] ^= bit);
            }
        }
    }
}

/// Lines that are lost, all ones, as they were before, or another's; superblock copies that are lost or as they were.
fn lines(rest: &Rest, rng: &mut Rng, outcome: &mut Outcome) {
    let lines = rest.lines();
    for &at in &lines {
        let line = at..at + LINE_BYTES;
        attempt(rest, &format!("line {at:#x} zero"), outcome, |image| image[line.clone()].fill(0));
        attempt(rest, &format!("line {at:#x} ones"), outcome, |image| image[line.clone()].fill(0xff));
        attempt(rest, &format!("line {at:#x} as before"), outcome, |image| {
            image[line.clone()].copy_from_slice(&rest.earlier[line.clone()]);
        });
    }
    for copy in 0..2 {
        let copy = copy * SUPERBLOCK_BYTES..(copy + 1) * SUPERBLOCK_BYTES;
        attempt(rest, &format!("superblock {copy:x?} zero"), outcome, |image| image[copy.clone()].fill(0));
        attempt(rest, &format!("superblock {copy:x?} as before"), outcome, |image| {
            image[copy.clone()].copy_from_slice(&rest.earlier[copy.clone()]);
        });
    }
    for _ in 0..DRAWS {
        let (a, b) = (draw(&lines, rng), draw(&lines, rng));
        attempt(rest, &format!("line {a:#x} over {b:#x}"), outcome, |image| image.copy_within(a..a + LINE_BYTES, b));
        attempt(rest, &format!("lines {a:#x} and {b:#x} exchanged"), outcome, |image| {
            let first: [u8; LINE_BYTES] = image[a..a + LINE_BYTES].try_into().expect("a line");
            image.copy_within(b..b + LINE_BYTES, a);
            image[b..b + LINE_BYTES].copy_from_slice(&first);
        });
    }
}

/// Some lines together put elsewhere: over those that follow, as far as small batches are long; anywhere; at their place in another segment.
fn moves(rest: &Rest, rng: &mut Rng, outcome: &mut Outcome) {
    let lines = rest.lines();
    for range in &rest.ranges {
        for from in range.clone().step_by(LINE_BYTES) {
            for (bytes, on) in (1..=NEAR_LINES).flat_map(|on| [(LINE_BYTES, on), (2 * LINE_BYTES, on)]) {
                let to = from + on * LINE_BYTES;
                if to + bytes <= range.end {
                    attempt(rest, &format!("{bytes} bytes from {from:#x} to {to:#x}"), outcome, |image| {
                        image.copy_within(from..from + bytes, to);
                    });
                }
            }
        }
    }
    for _ in 0..DRAWS {
        let bytes = LINE_BYTES * (1 + rng.below(6) as usize);
        let (from, anywhere) = (draw(&lines, rng), draw(&lines, rng));
        let other = anywhere - anywhere % SEGMENT_BYTES as usize + from % SEGMENT_BYTES as usize;
        for to in [anywhere, other] {
            let inside = |at: usize| rest.ranges.iter().any(|range| range.contains(&at) && at + bytes <= range.end);
            if inside(from) && inside(to) {
                attempt(rest, &format!("{bytes} bytes from {from:#x} to {to:#x}"), outcome, |image| {
                    image.copy_within(from..from + bytes, to);
                });
            }
        }
    }
}

/// Each line unreadable, and zeros behind it. The medium says so, so this is never taken for the end of a log.
fn poison(rest: &Rest, outcome: &mut Outcome) {
    for at in (0..rest.image.len()).step_by(LINE_BYTES) {
        let faults = Faults::new();
        faults.poison(at as u64, LINE_BYTES as u64);
        try_image(rest, &format!("line {at:#x} unreadable"), outcome, Some(faults), |image| {
            image[at..at + LINE_BYTES].fill(0);
        });
    }
}

fn draw(lines: &[usize], rng: &mut Rng) -> usize {
    lines[rng.below(lines.len() as u64) as usize]
}

/// Damages the pool and opens it.
fn attempt(rest: &Rest, what: &str, outcome: &mut Outcome, damage: impl FnOnce(&mut Vec<u8>)) {
    try_image(rest, what, outcome, None, damage);
}

fn try_image(
    rest: &Rest,
    what: &str,
    outcome: &mut Outcome,
    faults: Option<Arc<Faults>>,
    damage: impl FnOnce(&mut Vec<u8>),
) {
    if outcome.violation.is_some() {
        return;
    }
    let mut image = rest.image.clone();
    damage(&mut image);
    if image == rest.image && faults.is_none() {
        return;
    }
    outcome.states += 1;
    let hook = faults.map(|faults| faults as Arc<dyn Hook>);
    let found = catch_unwind(AssertUnwindSafe(|| {
        Engine::recover(&image, Machine::PMEM, hook).map(|engine| State::of(&engine.store))
    }));
    let wrong = match found {
        Ok(Err(_refused)) => None,
        Ok(Ok(found)) if found == rest.state => None,
        Ok(Ok(found)) => Some(format!("recovery finds {found:?} instead of {:?}", rest.state)),
        Err(_panic) => Some("recovery panics".to_owned()),
    };
    outcome.violation = wrong.map(|wrong| format!("a {} pool, {what}: {wrong}", rest.name));
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_damage_is_taken_for_the_truth() {
        let outcome = super::explore(1);
        assert_eq!(outcome.violation, None);
        assert!(outcome.states > 10_000, "{}", outcome.states);
    }
}
