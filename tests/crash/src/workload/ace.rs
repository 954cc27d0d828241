//! All short sequences of a few operations (after ACE, of CrashMonkey): most bugs need no more than that.

use super::{Step, Workload, steps};

/// What there is before.
const PRELUDE: &[&str] = &["SET a @25i", "SET b @70j PX 40"];

/// The operations. `a`, `b` are short strings, `l` is a long one.
const OPERATIONS: &[&str] = &[
    "SET a @20k",
    "SET a @150y",
    "SET b @40z PX 50",
    "SET c @10c | SET d @90d | SET c @11e",
    "DEL a b",
    "MSET a @30m b @90n",
    "PEXPIRE a 10",
    "PERSIST b",
    "!tick 45",
    "!expire",
    "GET b",
    "RENAME a b",
    "COPY b a REPLACE",
    "MOVE a 1",
    "FLUSHDB",
    "FLUSHALL",
    "SWAPDB 0 1",
    "SET l @2500q",
    "SETRANGE l 900 @300r",
    "APPEND l @600s",
    "DEL l",
    "DEBUG RELOAD",
];

/// Every sequence of `length` operations. Only the cuts in the last one are explored: the others are those of shorter sequences.
pub fn sequences(length: usize) -> impl Iterator<Item = Workload> {
    let count = OPERATIONS.len().pow(length as u32);
    (0..count).map(move |number| {
        let mut rest = number;
        let mut chosen: Vec<usize> = Vec::new();
        for _ in 0..length {
            chosen.push(rest % OPERATIONS.len());
            rest /= OPERATIONS.len();
        }
        sequence(&chosen)
    })
}

/// How many sequences of `length` there are.
pub fn count(length: usize) -> usize {
    OPERATIONS.len().pow(length as u32)
}

/// Sequence `number` of those of `length`.
pub fn nth(length: usize, number: usize) -> Option<Workload> {
    sequences(length).nth(number)
}

fn sequence(chosen: &[usize]) -> Workload {
    let name: Vec<String> = chosen.iter().map(usize::to_string).collect();
    let sequence: Vec<Step> = chosen.iter().map(|&operation| Step::new(OPERATIONS[operation])).collect();
    let explore_from = sequence.len().saturating_sub(1);
    let mut workload = Workload::new(format!("ace/{}", name.join(".")), steps(PRELUDE.iter().copied()), sequence);
    workload.explore_from = explore_from;
    workload
}

/// The sequence that `3.7` names.
pub fn by_name(rest: &str) -> Option<Workload> {
    let chosen: Result<Vec<usize>, _> = rest.split('.').map(str::parse).collect();
    chosen
        .ok()
        .filter(|chosen| chosen.iter().all(|&operation| operation < OPERATIONS.len()))
        .map(|chosen| sequence(&chosen))
}
