//! What a write costs on the medium, by the recorder's counters: lines flushed, fences, bytes.

use bytes::BytesMut;
use crossbeam_epoch::pin;
use fencepost::base::Clock;
use fencepost::command::Direct;
use fencepost::persist::RegionOptions;
use fencepost::pool::PoolOptions;
use fencepost::recovery::Progress;
use fencepost::store::{Key, Store, StoreOptions, Worker};
use pmem_emulation::{Hook, Recorder, RecorderOptions};
use std::sync::Arc;

const NOW_MS: u64 = 1_700_000_000_000;

fn recorded_store() -> (Store, Arc<Recorder>) {
    let recorder = Recorder::new(RecorderOptions::default());
    let hook = Some(Arc::clone(&recorder) as Arc<dyn Hook>);
    let pool = PoolOptions {
        path: None,
        bytes: 8192 + 24 * 4096,
        max_bytes: 0,
        segment_bytes: Some(4096),
        stripes: 4,
        now_ms: NOW_MS,
        region: RegionOptions { hook, ..RegionOptions::default() },
    };
    let options = StoreOptions { pool, databases: 2, recovery_threads: 1, salvage: false };
    let store = Store::open(&options, Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
    (store, recorder)
}

#[test]
fn a_small_set_flushes_two_lines_and_fences_once() {
    let (store, recorder) = recorded_store();
    let mut worker = store.worker();
    let set = |worker: &mut Worker, value: &[u8]| {
        let guard = pin();
        let key = Key { db: 0, name: b"a key of 16 byte" };
        let mut txn = store.write(worker, &[key], NOW_MS, &guard);
        txn.set_inline(key, value, None).expect("staged");
        txn.commit().expect("room");
    };
    // The first write also opens a segment.
    set(&mut worker, b"first");
    for value in [&[7u8; 64][..], &[8; 64]] {
        let before = recorder.counters();
        set(&mut worker, value);
        let cost = recorder.counters().since(before);
        // 16 bytes of batch header, 20 of record header, key, value, padding: 128 bytes.
        assert_eq!((cost.lines_flushed + cost.nt_lines, cost.fences, cost.stores), (2, 1, 0), "{cost:?}");
        assert_eq!((cost.clean_flushes, cost.empty_fences), (0, 0), "{cost:?}");
    }
    let before = recorder.counters();
    let guard = pin();
    assert!(store.read(Key { db: 0, name: b"a key of 16 byte" }, NOW_MS, &guard).is_some());
    let cost = recorder.counters().since(before);
    assert_eq!((cost.bytes_written, cost.lines_flushed, cost.fences), (0, 0, 0), "a read writes nothing");
}

/// A change of a small collection: its one record again, and a fence.
#[test]
fn a_change_of_a_small_collection_flushes_its_record() {
    let (store, recorder) = recorded_store();
    let mut worker = store.worker();
    let mut direct = Direct::new(Clock::manual(NOW_MS));
    let mut run = |line: &str| {
        let request: Vec<&str> = line.split(' ').collect();
        let mut replies = BytesMut::new();
        let before = recorder.counters();
        assert_eq!(direct.run(&store, &mut worker, &[request], &mut replies), 1);
        assert!(!replies.contains(&b'-'), "{replies:?}");
        let cost = recorder.counters().since(before);
        (cost.lines_flushed + cost.nt_lines, cost.fences)
    };
    // The first write also opens a segment.
    run("SET k v");
    // 16 bytes of batch header, 20 of record header, the key, 12 of the collection's header, and its elements: names and values with their lengths, and scores.
    let lines_of =
        |key: usize, elements: usize| (16 + (20 + key + 12 + elements).next_multiple_of(16) as u64).div_ceil(64);
    let changes = [
        ("HSET h1 field a", 2, 8),
        ("HSET h1 field b", 2, 8),
        ("RPUSH l a", 1, 2),
        ("SADD s 1", 1, 2),
        ("ZADD z 1 m", 1, 10),
        ("LPUSH l b", 1, 4),
        ("ZINCRBY z 1 m", 1, 10),
        ("HSET h1 a 1234567890 b 1234567890 c 1234567890 d 1234567890", 2, 8 + 4 * 13),
        ("HDEL h1 a", 2, 8 + 3 * 13),
        ("LREM l 0 a", 1, 2),
    ];
    for (line, key, elements) in changes {
        assert_eq!(run(line), (lines_of(key, elements), 1), "{line}");
    }
    // What changes nothing writes nothing.
    for line in ["SREM s 2", "LTRIM l 0 -1", "HDEL h1 a", "ZADD z NX 7 m"] {
        assert_eq!(run(line), (0, 0), "{line}");
    }
    store.close_worker(&mut worker);
}

/// HSETs, SADDs and LPUSHes that arrive together: one batch, whether they make their collections or change them.
#[test]
fn changes_of_one_pipeline_fence_once() {
    let (store, recorder) = recorded_store();
    let mut worker = store.worker();
    let mut direct = Direct::new(Clock::manual(NOW_MS));
    let mut run = |lines: &[&str]| {
        let requests: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
        let mut replies = BytesMut::new();
        assert_eq!(direct.run(&store, &mut worker, &requests, &mut replies), lines.len());
        assert!(!replies.contains(&b'-'), "{replies:?}");
    };
    // The first write also opens a segment.
    run(&["SET k v"]);
    for number in 0..2 {
        let before = recorder.counters();
        run(&["HSET h a 1", "SADD s m", "HSET h b 2 a 3", "LPUSH l x", "LPUSH l y", "HDEL h b"]);
        let cost = recorder.counters().since(before);
        assert_eq!((cost.fences, cost.clean_flushes, cost.empty_fences), (1, 0, 0), "{number}: {cost:?}");
    }
    store.close_worker(&mut worker);
}
