//! The hooks that damage and delay.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::memory::Memory;
use pmem_emulation::{Both, Faults, Hook, Latency, LatencyModel, MediaError, Recorder, RecorderOptions};

#[test]
fn a_read_that_touches_a_poisoned_line_fails() {
    let faults = Faults::new();
    let memory = Memory::new(4096, Arc::clone(&faults) as Arc<dyn Hook>);
    memory.read(0, 4096).unwrap();
    faults.poison(130, 70);
    let damage = MediaError { at: 128, len: 128 };
    assert_eq!(memory.read(0, 4096), Err(damage));
    assert_eq!(memory.read(191, 1), Err(damage), "the whole line, whichever byte was named");
    assert_eq!(memory.read(200, 8), Err(MediaError { at: 192, len: 64 }));
    memory.read(0, 128).unwrap();
    memory.read(256, 64).unwrap();
    memory.read(130, 0).unwrap();
    memory.store(128, 1);
    assert!(memory.read(128, 8).is_err(), "a write does not heal");
    faults.heal(128, 1);
    memory.read(128, 64).unwrap();
    assert!(memory.read(192, 1).is_err());
    assert_eq!(faults.hits(), 5);
}

#[test]
fn two_hooks_see_everything_once_and_apply_once() {
    let (recorder, faults) = (Recorder::new(RecorderOptions::default()), Faults::new());
    let both = Both(Arc::clone(&recorder) as Arc<dyn Hook>, Arc::clone(&faults) as Arc<dyn Hook>);
    let memory = Memory::new(4096, Arc::new(both));
    memory.store(0, 5);
    memory.copy(64, &[1; 10]);
    memory.copy_nt(128, &[1; 64]);
    memory.flush(0, 128);
    memory.fence();
    faults.poison(0, 1);
    assert!(memory.read(0, 1).is_err());
    assert_eq!(recorder.findings(), []);
    assert_eq!(recorder.counters().reads, 1);
    assert_eq!(recorder.first_bypass(&memory.bytes()), None);
}

#[test]
fn latency_models_are_read_and_printed() {
    let parse = |text: &str| text.parse::<LatencyModel>();
    let given = parse("flush=62ns, fence=30ns,read=1.5us,write-bandwidth=2.3GB/s,block=256").unwrap();
    let expected = LatencyModel {
        flush_ns: 62,
        fence_ns: 30,
        read_ns: 1500,
        write_bytes_per_second: 2_300_000_000,
        read_bytes_per_second: 0,
        block_bytes: 256,
    };
    assert_eq!(given, expected);
    assert_eq!(parse("none").unwrap(), LatencyModel::default());
    assert_eq!(parse("cxl,fence=1us").unwrap(), LatencyModel { fence_ns: 1000, ..LatencyModel::CXL });
    for model in [given, LatencyModel::OPTANE, LatencyModel::CXL, LatencyModel::default()] {
        assert_eq!(parse(&model.to_string()).unwrap(), model);
    }
    for wrong in
        ["", "flush", "flush=62", "flush=-1ns", "flush=nanns", "flush=infns", "read=2000000us", "fence=1ns,cxl"]
    {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    assert!(parse("disk").unwrap_err().to_string().contains("optane"), "the message says what is possible");
}

/// Delays are lower bounds, so a busy machine cannot make this fail.
#[test]
fn operations_take_at_least_what_the_model_says() {
    let took = |model: &str, run: &dyn Fn(&Memory)| {
        let memory = Memory::new(1 << 20, Latency::new(model.parse().unwrap()));
        let started = Instant::now();
        run(&memory);
        started.elapsed()
    };
    assert!(took("flush=100us", &|memory| memory.flush(60, 70)) >= Duration::from_micros(300), "three lines");
    assert!(took("flush=100us", &|memory| memory.copy_nt(0, &[0; 128])) >= Duration::from_micros(200));
    assert!(took("fence=500us", &|memory| memory.fence()) >= Duration::from_micros(500));
    assert!(took("read=500us", &|memory| memory.read(0, 1).unwrap()) >= Duration::from_micros(500));
    // 8 lines at 1 MB/s, and 8 blocks of 256 bytes where each line is on its own.
    assert!(took("write-bandwidth=1mb/s", &|memory| memory.flush(0, 512)) >= Duration::from_micros(512));
    let scattered = |memory: &Memory| (0..8).for_each(|line| memory.flush(line * 1000, 1));
    assert!(took("write-bandwidth=1mb/s,block=256", &scattered) >= Duration::from_micros(8 * 256));
    assert!(took("read-bandwidth=1mb/s", &|memory| memory.read(0, 1024).unwrap()) >= Duration::from_micros(1024));
}
