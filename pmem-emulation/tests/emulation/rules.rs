//! The recorder's rules: each is broken on purpose and must be noticed, and correct use must pass.

use std::sync::Arc;
use std::thread;

use super::memory::Memory;
use pmem_emulation::{Domain, FindingKind, Hook, NotDurable, Note, Recorder, RecorderOptions};

fn recorded(domain: Domain) -> (Memory, Arc<Recorder>) {
    let recorder = Recorder::new(RecorderOptions { domain, ..RecorderOptions::default() });
    (Memory::new(4096, Arc::clone(&recorder) as Arc<dyn Hook>), recorder)
}

/// Runs one operation on the ADR domain and gives what the rules say.
fn findings(operation: impl FnOnce(&Memory)) -> Vec<FindingKind> {
    let (memory, recorder) = recorded(Domain::Adr);
    memory.note(Note::Begin(1));
    operation(&memory);
    memory.note(Note::Ack(1));
    recorder.findings().into_iter().map(|finding| finding.kind).collect()
}

/// The line of each acknowledgement that came too early.
fn lost_lines(operation: impl FnOnce(&Memory)) -> Vec<(u64, NotDurable)> {
    let lost = |kind| match kind {
        FindingKind::AckNotDurable { op: 1, line, why, .. } => (line, why),
        other => panic!("{other:?}"),
    };
    findings(operation).into_iter().map(lost).collect()
}

fn in_another_thread(f: impl FnOnce() + Send) {
    thread::scope(|scope| scope.spawn(f).join().unwrap());
}

#[test]
fn a_correct_write_has_no_findings_and_exact_counts() {
    let (memory, recorder) = recorded(Domain::Adr);
    memory.note(Note::Begin(7));
    memory.copy(60, &[1; 100]);
    memory.flush(60, 100);
    memory.copy_nt(256, &[2; 128]);
    memory.store(512, 3);
    memory.flush(512, 8);
    memory.fence();
    memory.note(Note::Ack(7));
    assert_eq!(recorder.findings(), []);
    let counters = recorder.counters();
    assert_eq!((counters.copies, counters.stores, counters.nt_lines), (1, 1, 2));
    assert_eq!((counters.lines_flushed, counters.fences), (4, 1));
    assert_eq!(counters.bytes_written, 100 + 128 + 8);
    assert_eq!(recorder.durable_image(), memory.bytes());
}

#[test]
fn a_missing_flush_is_noticed() {
    let lost = lost_lines(|memory| {
        memory.copy(0, &[1; 64]);
        memory.copy(128, &[1; 64]);
        memory.flush(128, 64);
        memory.fence();
    });
    assert_eq!(lost, [(0, NotDurable::NotFlushed)]);
}

#[test]
fn a_missing_fence_is_noticed() {
    let lost = lost_lines(|memory| {
        memory.copy(0, &[1; 64]);
        memory.flush(0, 64);
    });
    assert_eq!(lost, [(0, NotDurable::NotFenced)]);
}

#[test]
fn a_flush_one_line_short_is_noticed() {
    let lost = lost_lines(|memory| {
        memory.copy(60, &[1; 70]);
        // Rounds the length up instead of the end: 70 bytes are two lines, but these touch three.
        memory.flush(64 - 4, 68);
        memory.fence();
    });
    assert_eq!(lost, [(128, NotDurable::NotFlushed)]);
}

#[test]
fn a_store_after_the_flush_needs_another() {
    let lost = lost_lines(|memory| {
        memory.store(0, 1);
        memory.flush(0, 8);
        memory.store(8, 1);
        memory.fence();
    });
    assert_eq!(lost, [(0, NotDurable::NotFlushed)]);
}

#[test]
fn a_flush_after_the_fence_is_too_late() {
    let lost = findings(|memory| {
        memory.store(0, 1);
        memory.fence();
        memory.flush(0, 8);
    });
    assert!(matches!(lost[..], [FindingKind::EmptyFence, FindingKind::AckNotDurable { .. }]), "{lost:?}");
}

#[test]
fn a_non_temporal_copy_needs_only_the_fence() {
    assert_eq!(lost_lines(|memory| memory.copy_nt(64, &[1; 64])), [(64, NotDurable::NotFenced)]);
    let clean = findings(|memory| {
        memory.copy_nt(64, &[1; 64]);
        memory.fence();
    });
    assert_eq!(clean, []);
}

#[test]
fn another_threads_flush_and_fence_do_not_reach_a_non_temporal_copy() {
    let found = findings(|memory| {
        memory.copy_nt(64, &[1; 64]);
        memory.note(Note::HandOver(5));
        in_another_thread(|| {
            memory.note(Note::TakeOver(5));
            memory.flush(64, 64);
            memory.fence();
        });
    });
    let lost = |kind: &FindingKind| matches!(kind, FindingKind::AckNotDurable { why: NotDurable::NotFenced, .. });
    assert!(found.iter().any(lost), "{found:?}");
}

#[test]
fn plain_and_non_temporal_stores_do_not_mix_on_a_line() {
    let mixed = |fence_between: bool| {
        findings(|memory| {
            memory.copy_nt(0, &[1; 64]);
            if fence_between {
                memory.fence();
            }
            memory.store(0, 1);
            memory.flush(0, 8);
            memory.fence();
        })
    };
    assert_eq!(mixed(false), [FindingKind::MixedStores { line: 0 }]);
    assert_eq!(mixed(true), []);
}

#[test]
fn another_threads_fence_does_not_count() {
    let lost = findings(|memory| {
        memory.store(0, 1);
        memory.flush(0, 8);
        in_another_thread(|| memory.fence());
    });
    let [FindingKind::EmptyFence, FindingKind::AckNotDurable { why, .. }] = lost[..] else { panic!("{lost:?}") };
    assert_eq!(why, NotDurable::NotFenced);
}

/// Even where both threads have written to one line.
#[test]
fn another_threads_fence_completes_only_its_own_stores() {
    let found = findings(|memory| {
        memory.copy_nt(0, &[1; 8]);
        in_another_thread(|| {
            memory.copy_nt(8, &[1; 8]);
            memory.fence();
        });
    });
    assert!(matches!(found[..], [FindingKind::AckNotDurable { why: NotDurable::NotFenced, .. }]), "{found:?}");
}

#[test]
fn another_threads_flush_counts_only_after_a_hand_over() {
    let flush_by_another = |hand_over: bool, take_over: bool| {
        findings(|memory| {
            memory.store(0, 1);
            if hand_over {
                memory.note(Note::HandOver(5));
            }
            in_another_thread(|| {
                if take_over {
                    memory.note(Note::TakeOver(5));
                }
                memory.flush(0, 8);
                memory.fence();
            });
        })
    };
    assert_eq!(flush_by_another(true, true), []);
    for (hand_over, take_over) in [(false, true), (true, false), (false, false)] {
        let found = flush_by_another(hand_over, take_over);
        let lost = found.iter().find_map(|kind| match kind {
            FindingKind::AckNotDurable { line: 0, why, .. } => Some(*why),
            _ => None,
        });
        assert_eq!(lost, Some(NotDurable::NotHandedOver), "{found:?}");
    }
}

#[test]
fn a_hand_over_covers_only_what_came_before_it() {
    let found = findings(|memory| {
        memory.store(0, 1);
        memory.note(Note::HandOver(5));
        memory.store(64, 1);
        in_another_thread(|| {
            memory.note(Note::TakeOver(5));
            memory.flush(0, 128);
            memory.fence();
        });
    });
    let [FindingKind::CleanFlush { line: 64 }, FindingKind::AckNotDurable { line: 64, why, .. }] = found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(why, NotDurable::NotHandedOver);
}

/// Of two stores to one line the later one's flush takes the earlier one along, whoever made it.
#[test]
fn a_later_store_to_the_line_takes_the_earlier_along() {
    let found = findings(|memory| {
        memory.store(0, 1);
        in_another_thread(|| {
            memory.store(8, 1);
            memory.flush(0, 16);
            memory.fence();
            memory.store(16, 1);
        });
        // Nothing of ours is left to flush, and that is no error.
        memory.flush(0, 8);
    });
    assert_eq!(found, [FindingKind::CleanFlush { line: 0 }]);
}

#[test]
fn an_ack_asks_only_for_its_own_threads_writes() {
    let found = findings(|memory| {
        in_another_thread(|| memory.store(64, 1));
        memory.store(0, 1);
        memory.flush(0, 8);
        memory.fence();
    });
    assert_eq!(found, []);
}

#[test]
fn an_abandoned_operation_promises_nothing_and_an_unknown_ack_is_an_error() {
    let (memory, recorder) = recorded(Domain::Adr);
    memory.note(Note::Begin(1));
    memory.store(0, 1);
    memory.note(Note::Abandon(1));
    assert_eq!(recorder.findings(), []);
    memory.note(Note::Ack(1));
    assert_eq!(recorder.errors().len(), 1);
    assert_eq!(recorder.errors()[0].kind, FindingKind::AckUnknown { op: 1 });
}

#[test]
fn wasted_work_is_counted_and_is_no_error() {
    let (memory, recorder) = recorded(Domain::Adr);
    memory.store(0, 1);
    memory.flush(0, 8);
    let before = recorder.counters();
    memory.flush(0, 8);
    memory.flush(640, 65);
    memory.fence();
    memory.fence();
    let counted = recorder.counters().since(before);
    assert_eq!((counted.lines_flushed, counted.clean_flushes), (3, 3));
    assert_eq!((counted.fences, counted.empty_fences), (2, 1));
    assert_eq!(counted.errors, 0);
    assert_eq!(recorder.errors(), []);
    assert_eq!(recorder.findings().len(), 4);
}

#[test]
fn persistent_caches_need_the_fence_but_no_flush() {
    let (memory, recorder) = recorded(Domain::Eadr);
    memory.note(Note::Begin(1));
    memory.copy(0, &[1; 300]);
    memory.fence();
    memory.note(Note::Ack(1));
    assert_eq!(recorder.findings(), []);
    memory.note(Note::Begin(2));
    memory.store(0, 1);
    memory.note(Note::Ack(2));
    assert_eq!(recorder.errors().len(), 1);
}

#[test]
fn a_write_round_the_region_is_found_at_the_next_fence() {
    let (memory, recorder) = recorded(Domain::Adr);
    memory.store(0, 1);
    memory.poke(1234, &[9]);
    assert_eq!(recorder.first_bypass(&memory.bytes()), Some(1234));
    memory.flush(0, 8);
    memory.fence();
    memory.fence();
    let errors = recorder.errors();
    assert_eq!(errors.len(), 1, "reported once");
    assert_eq!(errors[0].kind, FindingKind::Bypass { at: 1234 });
}

#[test]
fn findings_name_the_place_in_the_source() {
    let (memory, recorder) = recorded(Domain::Adr);
    memory.note(Note::Begin(1));
    let written_at = line!() + 1;
    memory.store(0, 1);
    let acknowledged_at = line!() + 1;
    memory.note(Note::Ack(1));
    let finding = recorder.errors()[0];
    assert_eq!(finding.site.line(), acknowledged_at);
    let text = finding.to_string();
    assert!(text.contains(&format!("rules.rs:{written_at}:")) && text.contains("was not flushed"), "{text}");
}

#[test]
fn a_full_trace_stops_growing_and_the_rules_go_on() {
    let recorder = Recorder::new(RecorderOptions { max_events: 10, ..RecorderOptions::default() });
    let memory = Memory::new(4096, Arc::clone(&recorder) as Arc<dyn Hook>);
    for _ in 0..9 {
        memory.store(0, 1);
    }
    assert!(!recorder.trace().is_truncated());
    for _ in 0..9 {
        memory.store(0, 1);
    }
    assert!(recorder.trace().is_truncated());
    assert_eq!(recorder.trace().events().len(), 10);
    assert_eq!(recorder.counters().stores, 18);
    memory.note(Note::Begin(1));
    memory.store(64, 1);
    memory.note(Note::Ack(1));
    assert_eq!(recorder.errors().len(), 1);
    recorder.restart();
    assert!(!recorder.trace().is_truncated());
    assert_eq!(recorder.trace().base(), memory.bytes());
}

#[test]
fn a_trace_with_too_much_data_stops_growing() {
    let recorder = Recorder::new(RecorderOptions { max_data_bytes: 150, ..RecorderOptions::default() });
    let memory = Memory::new(4096, Arc::clone(&recorder) as Arc<dyn Hook>);
    memory.copy(0, &[1; 100]);
    memory.copy(0, &[1; 100]);
    memory.copy(0, &[1; 10]);
    assert!(recorder.trace().is_truncated());
    assert_eq!(recorder.trace().events().len(), 1, "no hole: what would still fit is left out too");
}
