//! Sparse registers: runs of equal ranks, for sketches that have seen little.
//!
//! | bits | run |
//! |------|-----|
//! | `00llllll` | 1 to 64 registers at 0 |
//! | `01llllll llllllll` | 1 to 16384 registers at 0 |
//! | `1rrrrrll` | 1 to 4 registers at rank 1 to 32 |
//!
//! Lengths and ranks are stored less one. The runs cover all registers in order. Where runs are split and joined as
//! they change is part of what clients can see with GET, so the steps are those of Redis: split the run that covers the
//! register, then join equal neighbours from the run before it on, looking at five runs at most.

use super::sketch::{HEADER_BYTES, REGISTERS};
use std::fmt::Write;

/// The longest that runs can be: all of them cover one register and take two bytes.
pub const MAX_BYTES: usize = 2 * REGISTERS;

const ZERO_MAX_LEN: usize = 64;
const RANK_MAX_LEN: usize = 4;
const MAX_RANK: u8 = 32;
/// How many runs are looked at for neighbours to join.
const JOIN_RUNS: usize = 5;

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Registers covered.
    len: usize,
    /// Their rank.
    rank: u8,
    /// Bytes it takes.
    size: usize,
}

impl Run {
    /// The run at the front of `bytes`.
    fn read(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        Some(match first >> 6 {
            0 => Run { len: usize::from(first) + 1, rank: 0, size: 1 },
            1 => {
                let len = (usize::from(first & 0x3f) << 8 | usize::from(*bytes.get(1)?)) + 1;
                Run { len, rank: 0, size: 2 }
            }
            _ => Run { len: usize::from(first & 3) + 1, rank: (first >> 2 & 0x1f) + 1, size: 1 },
        })
    }
}

/// The run of `len` registers at `rank` as bytes; nothing for no registers.
fn push(bytes: &mut Vec<u8>, len: usize, rank: u8) {
    match (len, rank) {
        (0, _) => {}
        (1..=ZERO_MAX_LEN, 0) => bytes.push(len as u8 - 1),
        (_, 0) => bytes.extend_from_slice(&[0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
        _ => bytes.push(ranked(len, rank)),
    }
}

fn ranked(len: usize, rank: u8) -> u8 {
    0x80 | (rank - 1) << 2 | (len - 1) as u8
}

/// Appends the runs of a sketch that has seen nothing.
pub fn push_empty(bytes: &mut Vec<u8>) {
    push(bytes, REGISTERS, 0);
}

/// Calls `visit` with start, length and rank of each run; `None` when the runs do not cover the registers exactly. They
/// have been visited up to the fault then, never beyond the registers.
pub fn for_each_run(runs: &[u8], mut visit: impl FnMut(usize, usize, u8)) -> Option<()> {
    let (mut at, mut start) = (0, 0);
    // Ends: each run takes a byte or two.
    while at < runs.len() {
        let run = Run::read(&runs[at..])?;
        if start + run.len > REGISTERS {
            return None;
        }
        visit(start, run.len, run.rank);
        at += run.size;
        start += run.len;
    }
    (start == REGISTERS).then_some(())
}

/// The rank in register `index`; `None` when no run covers it.
pub fn get(runs: &[u8], index: usize) -> Option<u8> {
    find(runs, index).map(|found| found.run.rank)
}

/// The run that covers a register.
struct Found {
    /// Where it is.
    at: usize,
    /// Where the run before it is; its own place when it is the first.
    before: usize,
    /// Its first register.
    start: usize,
    run: Run,
}

fn find(runs: &[u8], index: usize) -> Option<Found> {
    let (mut at, mut before, mut start) = (0, 0, 0);
    // Ends: each run takes a byte or two, and an empty rest has none.
    loop {
        let run = Run::read(runs.get(at..)?)?;
        if index < start + run.len {
            return Some(Found { at, before, start, run });
        }
        before = at;
        at += run.size;
        start += run.len;
    }
}

/// Raises register `index`, which is below `rank`, in a whole value; false when that takes a dense one, as the rank has
/// no run or the value would grow beyond `max_bytes`. Nothing has changed then.
/// `None` when no run covers the register.
pub fn raise(value: &mut Vec<u8>, index: usize, rank: u8, max_bytes: usize) -> Option<bool> {
    if rank > MAX_RANK {
        return Some(false);
    }
    let Found { at, before, start, run } = find(&value[HEADER_BYTES..], index)?;
    let at = at + HEADER_BYTES;
    // At most three runs instead of one.
    let mut split = Vec::with_capacity(5);
    push(&mut split, index - start, run.rank);
    push(&mut split, 1, rank);
    push(&mut split, start + run.len - 1 - index, run.rank);
    if split.len() > run.size && value.len() + split.len() - run.size > max_bytes {
        return Some(false);
    }
    value.splice(at..at + run.size, split);
    join(value, before + HEADER_BYTES);
    Some(true)
}

/// Joins neighbours of one rank from the run at `at` on.
fn join(value: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_RUNS {
        let Some(run) = Run::read(&value[at.min(value.len())..]) else { return };
        if run.rank != 0
            && let Some(next) = Run::read(&value[at + 1..])
            && next.rank == run.rank
            && next.len + run.len <= RANK_MAX_LEN
        {
            value[at] = ranked(run.len + next.len, run.rank);
            value.remove(at + 1);
        } else {
            at += run.size;
        }
    }
}

/// The runs as text: `Z:` and `z:` for zeros in two bytes and one, `v:rank,length` for the others.
pub fn decode(runs: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut at = 0;
    for_each_run(runs, |_, len, rank| {
        let wide = runs[at] >> 6 == 1;
        at += if wide { 2 } else { 1 };
        let space = if text.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = match (rank, wide) {
            (0, true) => write!(text, "{space}Z:{len}"),
            (0, false) => write!(text, "{space}z:{len}"),
            _ => write!(text, "{space}v:{rank},{len}"),
        };
    })?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranks(value: &[u8]) -> Option<Vec<u8>> {
        let mut ranks = Vec::new();
        for_each_run(&value[HEADER_BYTES..], |start, len, rank| {
            assert_eq!(start, ranks.len());
            ranks.resize(start + len, rank);
        })?;
        Some(ranks)
    }

    proptest! {
        #[test]
        fn runs_hold_what_was_put_in(raises in prop::collection::vec((0usize..REGISTERS, 1u8..=32, 1usize..6), 0..200)) {
            let mut value = vec![0; HEADER_BYTES];
            push_empty(&mut value);
            let mut known = vec![0; REGISTERS];
            for (first, rank, len) in raises {
                for (index, now) in known.iter_mut().enumerate().skip(first).take(len) {
                    if *now < rank && raise(&mut value, index, rank, 300) == Some(true) {
                        *now = rank;
                    }
                    prop_assert_eq!(get(&value[HEADER_BYTES..], index), Some(*now));
                }
            }
            prop_assert!(value.len() <= 300);
            prop_assert_eq!(ranks(&value), Some(known));
        }

        /// Whatever a client stores: found out or understood, never a panic, never beyond the registers.
        #[test]
        fn arbitrary_runs_are_safe(runs in prop::collection::vec(any::<u8>(), 0..600), index in 0usize..REGISTERS, rank in 1u8..=64) {
            let mut covered = 0;
            let sound = for_each_run(&runs, |start, len, _| covered = start + len).is_some();
            prop_assert!(covered <= REGISTERS);
            prop_assert_eq!(decode(&runs).is_some(), sound);
            let mut value = [vec![0; HEADER_BYTES], runs].concat();
            if get(&value[HEADER_BYTES..], index).is_some_and(|now| now < rank) {
                prop_assert!(raise(&mut value, index, rank, 700).is_some());
                prop_assert_eq!(for_each_run(&value[HEADER_BYTES..], |_, _, _| {}).is_some(), sound);
            }
        }
    }

    #[test]
    fn equal_neighbours_are_joined() {
        let mut value = vec![0; HEADER_BYTES];
        push_empty(&mut value);
        for index in [10, 12, 11, 13, 14] {
            assert_eq!(raise(&mut value, index, 3, 3000), Some(true));
        }
        assert_eq!(decode(&value[HEADER_BYTES..]).as_deref(), Some("z:10 v:3,4 v:3,1 Z:16369"));
    }
}
