//! The images that a crash can leave: those that the processor allows are met, and no other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use super::memory::Memory;
use pmem_emulation::{Choice, Crash, CrashToken, Domain, Hook, Note, Recorder, RecorderOptions, Replay, Trace};

const LEN: usize = 1024;
const SEEDS: u64 = 2000;

fn trace(domain: Domain, run: impl FnOnce(&Memory)) -> (Trace, Vec<u8>) {
    let recorder = Recorder::new(RecorderOptions { domain, ..RecorderOptions::default() });
    let memory = Memory::new(LEN, Arc::clone(&recorder) as Arc<dyn Hook>);
    run(&memory);
    (recorder.trace(), memory.bytes())
}

/// What the bytes at these places can be after a crash at the end of the trace.
fn outcomes(domain: Domain, places: &[usize], run: impl FnOnce(&Memory)) -> BTreeSet<Vec<u8>> {
    let (trace, _) = trace(domain, run);
    let mut replay = Replay::new(&trace, domain);
    while replay.step() {}
    let mut image = |seed| replay.image(&Choice::Random(seed)).into_owned();
    (0..SEEDS).map(|seed| places.iter().map(|&at| image(seed)[at]).collect()).collect()
}

fn set<const N: usize, const M: usize>(of: [[u8; N]; M]) -> BTreeSet<Vec<u8>> {
    of.iter().map(|bytes| bytes.to_vec()).collect()
}

#[test]
fn stores_to_one_line_are_lost_from_the_end() {
    let met = outcomes(Domain::Adr, &[0, 8, 16], |memory| {
        memory.store(0, 1);
        memory.store(16, 3);
        memory.store(8, 2);
    });
    assert_eq!(met, set([[0, 0, 0], [1, 0, 0], [1, 0, 3], [1, 2, 3]]));
}

#[test]
fn stores_to_different_lines_are_lost_independently() {
    let met = outcomes(Domain::Adr, &[0, 64], |memory| {
        memory.store(0, 1);
        memory.store(64, 2);
    });
    assert_eq!(met, set([[0, 0], [1, 0], [0, 2], [1, 2]]));
}

#[test]
fn a_copy_is_torn_between_units_and_never_inside_one() {
    let met = outcomes(Domain::Adr, &[0, 7, 8, 15], |memory| memory.copy(0, &[1; 16]));
    assert_eq!(met, set([[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]]));
    let met = outcomes(Domain::Adr, &[4, 7, 8, 11, 12], |memory| memory.copy(5, &[1; 6]));
    assert_eq!(met, set([[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 1, 0, 0]]));
}

#[test]
fn non_temporal_copies_have_no_order() {
    let met = outcomes(Domain::Adr, &[0, 8], |memory| {
        memory.copy_nt(0, &[1; 8]);
        memory.copy_nt(8, &[2; 8]);
    });
    assert_eq!(met, set([[0, 0], [1, 0], [0, 2], [1, 2]]));
}

#[test]
fn what_was_flushed_and_fenced_stays() {
    let met = outcomes(Domain::Adr, &[0, 8, 64, 128], |memory| {
        memory.store(0, 1);
        memory.store(64, 1);
        memory.copy_nt(128, &[1; 64]);
        memory.flush(0, 8);
        memory.store(8, 1);
        memory.fence();
    });
    assert_eq!(met, set([[1, 0, 0, 1], [1, 1, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1]]));
}

#[test]
fn an_older_non_temporal_copy_does_not_come_back_over_a_newer_durable_one() {
    let met = outcomes(Domain::Adr, &[0], |memory| {
        memory.copy_nt(0, &[1; 64]);
        thread::scope(|scope| {
            scope.spawn(|| {
                memory.copy_nt(0, &[2; 64]);
                memory.fence();
            });
        });
    });
    assert_eq!(met, set([[2]]));
}

#[test]
fn persistent_caches_keep_a_prefix_of_each_thread() {
    let met = outcomes(Domain::Eadr, &[0, 64, 128], |memory| {
        memory.store(64, 2);
        memory.store(0, 1);
        thread::scope(|scope| {
            scope.spawn(|| memory.store(128, 3));
        });
    });
    assert_eq!(met, set([[0, 0, 0], [0, 2, 0], [1, 2, 0], [0, 0, 3], [0, 2, 3], [1, 2, 3]]));
}

/// A log of three records with a counter, as a real user would write it.
fn three_operations(memory: &Memory) {
    for op in 1..=3 {
        memory.note(Note::Begin(op));
        memory.copy(op * 100, &[op as u8; 90]);
        memory.flush(op * 100, 90);
        memory.fence();
        memory.store(0, op);
        memory.flush(0, 8);
        memory.fence();
        memory.note(Note::Ack(op));
    }
}

/// The oracle of that log: acknowledged records are there, and the counter never runs ahead of them.
fn check(crash: &Crash<'_>) -> Result<(), String> {
    let count = u64::from(crash.image[0]);
    let acknowledged = crash.acknowledged.last().copied().unwrap_or(0);
    if count < acknowledged {
        return Err(format!("{}: operation {acknowledged} is lost", crash.token));
    }
    let whole = |op: u64| crash.image[(op * 100) as usize..][..90].iter().all(|&byte| u64::from(byte) == op);
    match (1..=count).find(|&op| !whole(op)) {
        Some(op) => Err(format!("{}: operation {op} is torn", crash.token)),
        None => Ok(()),
    }
}

fn failures(domain: Domain, run: impl FnOnce(&Memory)) -> Vec<String> {
    let (trace, _) = trace(domain, run);
    let mut failures = Vec::new();
    trace.for_each_crash(domain, 20, 42, &mut |crash| failures.extend(check(crash).err()));
    failures
}

#[test]
fn a_correct_log_survives_every_crash() {
    assert_eq!(failures(Domain::Adr, three_operations), [""; 0]);
    assert_eq!(failures(Domain::Eadr, three_operations), [""; 0]);
}

#[test]
fn a_log_that_counts_first_is_caught() {
    let count_first = |memory: &Memory| {
        memory.store(0, 1);
        memory.flush(0, 8);
        memory.fence();
        memory.copy(100, &[1; 90]);
        memory.flush(100, 90);
        memory.fence();
    };
    assert!(!failures(Domain::Adr, count_first).is_empty());
    assert!(!failures(Domain::Eadr, count_first).is_empty());
}

#[test]
fn a_log_without_the_fence_between_is_caught() {
    let one_fence = |memory: &Memory| {
        memory.copy(100, &[1; 90]);
        memory.flush(100, 90);
        memory.store(0, 1);
        memory.flush(0, 8);
        memory.fence();
    };
    assert!(!failures(Domain::Adr, one_fence).is_empty());
    assert!(failures(Domain::Eadr, one_fence).is_empty(), "stores are ordered there");
}

#[test]
fn a_log_that_acknowledges_too_early_is_caught() {
    let early = |memory: &Memory| {
        memory.note(Note::Begin(1));
        memory.copy(100, &[1; 90]);
        memory.flush(100, 90);
        memory.fence();
        memory.store(0, 1);
        memory.note(Note::Ack(1));
    };
    assert!(failures(Domain::Adr, early).iter().any(|failure| failure.contains("is lost")));
}

#[test]
fn prefix_images_are_memory_after_each_event() {
    let (trace, end) = trace(Domain::Adr, three_operations);
    let mut prefixes = Vec::new();
    let images = trace.for_each_crash(Domain::Adr, 0, 0, &mut |crash| {
        if crash.token.choice == Choice::Prefix {
            prefixes.push((crash.image.to_vec(), crash.acknowledged.len(), crash.unanswered.to_vec()));
        }
    });
    // One before the start, and one after each of the 24 events that is no flush.
    assert_eq!(prefixes.len(), 1 + 24 - 6);
    assert!(images > prefixes.len() as u64, "where something is pending the durable image is another");
    assert_eq!(prefixes[0], (vec![0; LEN], 0, vec![]));
    assert_eq!(prefixes[2].0[100..190], [1; 90]);
    assert_eq!(prefixes[2].2, [1]);
    assert_eq!(prefixes.last().unwrap(), &(end, 3, vec![]));
}

#[test]
fn a_token_brings_the_same_image_back() {
    let (trace, _) = trace(Domain::Adr, three_operations);
    let mut all = Vec::new();
    trace.for_each_crash(Domain::Adr, 3, 7, &mut |crash| all.push((crash.token.to_string(), crash.image.to_vec())));
    for (token, image) in all {
        let token: CrashToken = token.parse().unwrap();
        let mut seen = 0;
        assert!(trace.crash_at(Domain::Adr, &token, &mut |crash| {
            assert_eq!(crash.image, image, "{token}");
            seen += 1;
        }));
        assert_eq!(seen, 1);
    }
    let past_the_end = CrashToken { position: 1000, choice: Choice::Durable };
    assert!(!trace.crash_at(Domain::Adr, &past_the_end, &mut |_| panic!("there is no such cut")));
    for wrong in ["", "5", "x:prefix", "5:some", "5:0xg"] {
        assert!(wrong.parse::<CrashToken>().is_err(), "{wrong}");
    }
}
