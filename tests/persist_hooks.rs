//! The region under hooks: what it reports is what it does, and where it was asked to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fencepost::persist::{FlushChoice, Hook, MediaError, NT_THRESHOLD_BYTES, Note, Region, RegionOptions};
use pmem_emulation::{EventKind, Faults, FindingKind, Recorder, RecorderOptions};

const LEN: u64 = 1 << 16;

fn hooked(hook: Arc<dyn Hook>) -> RegionOptions {
    RegionOptions { hook: Some(hook), ..RegionOptions::default() }
}

fn recorded() -> (Region, Arc<Recorder>) {
    let recorder = Recorder::new(RecorderOptions::default());
    let region = Region::anonymous(LEN, &hooked(Arc::clone(&recorder) as Arc<dyn Hook>)).unwrap();
    (region, recorder)
}

/// For every alignment and many lengths a write, plain or round the cache, flushes each of its lines once and nothing
/// else.
#[test]
fn a_write_makes_each_of_its_lines_durable_once() {
    let (region, recorder) = recorded();
    for at in [0, 1, 56, 63, 64, 100] {
        for len in [1, 8, 63, 64, 65, 128, NT_THRESHOLD_BYTES - 1, NT_THRESHOLD_BYTES, NT_THRESHOLD_BYTES + 1, 5000] {
            let before = recorder.counters();
            region.note(Note::Begin(1));
            region.write(at, &vec![len as u8; len as usize]);
            region.fence();
            region.note(Note::Ack(1));
            let counted = recorder.counters().since(before);
            let lines = (at + len).div_ceil(64) - at / 64;
            assert_eq!(counted.lines_flushed + counted.nt_lines, lines, "{at} {len}");
            assert_eq!(counted.bytes_written, len);
            assert_eq!(counted.fences, 1);
            assert_eq!(counted.nt_lines > 0, len >= NT_THRESHOLD_BYTES, "{at} {len}");
        }
    }
    assert_eq!(recorder.findings(), []);
    assert_eq!(recorder.first_bypass(region.read(0, LEN).unwrap()), None);
    assert_eq!(recorder.durable_image(), region.read(0, LEN).unwrap());
}

#[test]
fn copy_alone_is_not_durable() {
    let (region, recorder) = recorded();
    region.note(Note::Begin(1));
    region.copy(0, b"lost");
    region.fence();
    region.note(Note::Ack(1));
    assert!(matches!(recorder.errors()[0].kind, FindingKind::AckNotDurable { op: 1, line: 0, .. }));
    region.persist(0, 4);
    assert_eq!(recorder.durable_image()[..4], *b"lost");
}

#[test]
fn every_operation_is_reported_with_its_caller() {
    let (region, recorder) = recorded();
    let first = line!() + 1;
    region.store_u64(0, 0x0807_0605_0403_0201);
    region.copy(64, b"abc");
    region.flush(64, 3);
    region.write(128, b"defg");
    region.write(256, &[7; 1000]);
    region.copy_nt(2048, &[7; 64]);
    region.persist(64, 3);
    region.note(Note::RecoveryDone);
    let last = line!() - 1;
    let trace = recorder.trace();
    assert!(trace.events().iter().all(|event| event.site.file() == file!()), "{:?}", trace.events());
    assert!(trace.events().iter().all(|event| (first..=last).contains(&event.site.line())));
    let kinds: Vec<EventKind> = trace.events().iter().map(|event| event.kind).collect();
    assert_eq!(kinds[0], EventKind::Store { at: 0, bytes: [1, 2, 3, 4, 5, 6, 7, 8] });
    assert!(matches!(kinds[1], EventKind::Copy { at: 64, bytes } if trace.bytes(bytes) == b"abc"));
    assert_eq!(kinds[2], EventKind::Flush { at: 64, len: 3 });
    assert!(matches!(kinds[3], EventKind::Copy { at: 128, .. }));
    assert_eq!(kinds[4], EventKind::Flush { at: 128, len: 4 });
    assert!(matches!(kinds[5], EventKind::CopyNt { at: 256, bytes } if trace.bytes(bytes).len() == 960));
    assert!(matches!(kinds[6], EventKind::Copy { at: 1216, bytes } if trace.bytes(bytes).len() == 40));
    assert_eq!(kinds[7], EventKind::Flush { at: 1216, len: 40 });
    assert!(matches!(kinds[8], EventKind::CopyNt { at: 2048, .. }));
    assert_eq!(
        kinds[9..],
        [EventKind::Flush { at: 64, len: 3 }, EventKind::Fence, EventKind::Note(Note::RecoveryDone),]
    );
}

#[test]
fn a_hook_sees_what_a_file_already_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let region = Region::create(&path, LEN, &RegionOptions::default()).unwrap();
    region.write(100, b"from before");
    region.publish_file().unwrap();
    drop(region);
    let recorder = Recorder::new(RecorderOptions::default());
    let region = Region::open(&path, &hooked(Arc::clone(&recorder) as Arc<dyn Hook>)).unwrap();
    assert_eq!(recorder.trace().base()[100..111], *b"from before");
    assert_eq!(recorder.first_bypass(region.read(0, LEN).unwrap()), None);
    region.store_u64(0, 1);
    region.persist(0, 8);
    assert_eq!(recorder.findings(), []);
}

#[test]
fn a_write_round_the_region_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let recorder = Recorder::new(RecorderOptions::default());
    let region = Region::create(&path, LEN, &hooked(Arc::clone(&recorder) as Arc<dyn Hook>)).unwrap();
    region.publish_file().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 777).unwrap();
    region.write(0, b"y");
    region.fence();
    assert_eq!(recorder.errors()[0].kind, FindingKind::Bypass { at: 777 });
}

#[test]
fn poison_is_a_value_and_not_a_signal() {
    let faults = Faults::new();
    let region = Region::anonymous(LEN, &hooked(Arc::clone(&faults) as Arc<dyn Hook>)).unwrap();
    region.store_u64(640, 5);
    faults.poison(640, 1);
    assert_eq!(region.read(600, 100), Err(MediaError { at: 640, len: 64 }));
    assert_eq!(region.load_u64(640), Err(MediaError { at: 640, len: 64 }));
    assert_eq!(region.read(704, 8), Ok(&[0; 8][..]));
    assert_eq!(region.read(640, 0), Ok(&[][..]));
    faults.heal(640, 1);
    assert_eq!(region.load_u64(640), Ok(5));
}

#[test]
fn a_hook_changes_no_check() {
    let (region, recorder) = recorded();
    let outside: [&dyn Fn(); 4] =
        [&|| region.write(LEN - 1, b"ab"), &|| region.store_u64(LEN, 1), &|| region.flush(u64::MAX, 2), &|| {
            assert!(region.read(LEN, 1).is_ok())
        }];
    for run in outside {
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    }
    assert_eq!(recorder.trace().events().len(), 0, "nothing is reported that did not happen");
}

/// Threads that use the region at once are recorded in the order in which memory changed.
#[test]
fn concurrent_writers_are_recorded_faithfully() {
    let (region, recorder) = recorded();
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let region = &region;
            scope.spawn(move || {
                for round in 0..200 {
                    region.note(Note::Begin(writer << 32 | round));
                    // All of them write the same unit, so that the order matters.
                    region.store_u64(0, writer << 32 | round);
                    region.write((writer + 1) * 8192, &[round as u8; 600]);
                    region.flush(0, 8);
                    region.fence();
                    region.note(Note::Ack(writer << 32 | round));
                }
            });
        }
    });
    assert_eq!(recorder.first_bypass(region.read(0, LEN).unwrap()), None);
    assert_eq!(recorder.errors(), []);
}

#[test]
fn a_chosen_flush_instruction_is_used_or_refused() {
    for (flush, name) in
        [(FlushChoice::Clwb, "clwb"), (FlushChoice::Clflushopt, "clflushopt"), (FlushChoice::Clflush, "clflush")]
    {
        match Region::anonymous(LEN, &RegionOptions { flush, ..RegionOptions::default() }) {
            Ok(region) => {
                assert_eq!(region.flush_instruction(), name);
                region.write(60, &[1; 100]);
                region.fence();
            }
            Err(error) => assert!(error.to_string().contains(name), "{error}"),
        }
    }
    let none = RegionOptions { flush: FlushChoice::None, ..RegionOptions::default() };
    assert_eq!(Region::anonymous(LEN, &none).unwrap().flush_instruction(), "none");
}
