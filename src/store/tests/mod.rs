//! Tests of the store: over files, so that "crash" means dropping everything but the file.

use super::*;
use crate::persist::RegionOptions;
use crate::pool::PoolOptions;
use crate::recovery::Progress;
use crossbeam_epoch::{Guard, pin};
use std::path::Path;
use std::time::Duration;

mod atoms;
mod cleaning;
mod collections;
mod fields;
mod syncing;
mod transactions;

const NOW: u64 = 1_000_000;

fn options(path: &Path) -> StoreOptions {
    let pool = PoolOptions {
        path: Some(path.to_path_buf()),
        bytes: 8 << 20,
        max_bytes: 0,
        segment_bytes: Some(256 << 10),
        stripes: 16,
        now_ms: NOW,
        region: RegionOptions::default(),
    };
    StoreOptions { pool, databases: 4, recovery_threads: 2, salvage: false }
}

fn open(path: &Path) -> Store {
    open_at(path, NOW)
}

fn open_at(path: &Path, now_ms: u64) -> Store {
    Store::open(&options(path), Clock::manual(now_ms), &Progress::default()).expect("opens")
}

fn key(name: &[u8]) -> Key<'_> {
    Key { db: 0, name }
}

fn set(store: &Store, worker: &mut Worker, name: &[u8], value: &[u8], expire_at: Option<u64>) {
    let guard = pin();
    let value = store.prepare(worker, value, &guard).expect("room");
    let mut txn = store.write(worker, &[key(name)], store.clock().now_ms(), &guard);
    txn.set(key(name), value, expire_at).expect("staged");
    txn.commit().expect("committed");
}

fn get(store: &Store, name: &[u8]) -> Option<Vec<u8>> {
    let guard = pin();
    let entry = store.read(key(name), store.clock().now_ms(), &guard)?;
    let bytes = entry.string().expect("a string").bytes().into_owned();
    Some(bytes)
}

fn in_txn<R>(store: &Store, worker: &mut Worker, names: &[&[u8]], work: impl FnOnce(&mut Txn<'_>) -> R) -> R {
    let guard = pin();
    let keys: Vec<Key<'_>> = names.iter().map(|name| key(name)).collect();
    let mut txn = store.write(worker, &keys, store.clock().now_ms(), &guard);
    let result = work(&mut txn);
    txn.commit().expect("committed");
    result
}

/// Sum of live bytes per segment: what accounting believes, to be compared with a rebuild.
fn live(store: &Store) -> Vec<u64> {
    store.pool.segment_ids().map(|id| store.pool.segment_use(id).live_bytes).collect()
}

fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8) ^ salt).collect()
}

#[test]
fn what_was_committed_is_there_after_the_process_is_gone() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let mut worker = store.worker();
    set(&store, &mut worker, b"a", b"1", None);
    set(&store, &mut worker, b"b", b"2", None);
    set(&store, &mut worker, b"a", b"3", None);
    set(&store, &mut worker, b"", b"", None);
    assert!(in_txn(&store, &mut worker, &[b"b"], |txn| txn.delete(key(b"b")).expect("ok")));
    assert_eq!(get(&store, b"a").as_deref(), Some(&b"3"[..]));
    let before = live(&store);
    drop(store);
    let store = open(&path);
    assert_eq!(get(&store, b"a").as_deref(), Some(&b"3"[..]));
    assert_eq!(get(&store, b"b"), None);
    assert_eq!(get(&store, b"").as_deref(), Some(&b""[..]));
    assert_eq!(store.len(0), 2);
    assert_eq!(live(&store), before);
}

#[test]
fn an_abandoned_transaction_leaves_no_trace() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open(&dir.path().join("pool"));
    let mut worker = store.worker();
    set(&store, &mut worker, b"a", b"1", None);
    let guard = pin();
    let mut txn = store.write(&mut worker, &[key(b"a")], NOW, &guard);
    txn.set_inline(key(b"a"), b"2", None).expect("staged");
    drop(txn);
    assert_eq!(get(&store, b"a").as_deref(), Some(&b"1"[..]));
    set(&store, &mut worker, b"c", b"3", None);
    assert_eq!(get(&store, b"a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn long_strings_survive_with_every_kind_of_change() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let mut worker = store.worker();
    let mut expected = pattern(300_000, 1);
    set(&store, &mut worker, b"long", &expected, None);
    assert_eq!(get(&store, b"long"), Some(expected.clone()));

    let end = expected.len();
    in_txn(&store, &mut worker, &[b"long"], |txn| {
        txn.patch(key(b"long"), &[(70_000, b"patched"), (end, b"appended")]).expect("patched");
    });
    expected[70_000..70_007].copy_from_slice(b"patched");
    expected.extend_from_slice(b"appended");
    assert_eq!(get(&store, b"long"), Some(expected.clone()));

    in_txn(&store, &mut worker, &[b"long"], |txn| txn.patch(key(b"long"), &[(500_000, b"far")]).expect("patched"));
    expected.resize(500_000, 0);
    expected.extend_from_slice(b"far");
    assert_eq!(get(&store, b"long"), Some(expected.clone()));

    in_txn(&store, &mut worker, &[b"long", b"copy"], |txn| txn.copy(key(b"long"), key(b"copy"), None).expect("copied"));
    in_txn(&store, &mut worker, &[b"long", b"moved"], |txn| txn.rename(key(b"long"), key(b"moved")).expect("moved"));
    in_txn(&store, &mut worker, &[b"copy"], |txn| txn.patch(key(b"copy"), &[(0, b"other")]).expect("patched"));
    in_txn(&store, &mut worker, &[b"moved"], |txn| txn.set_expiry(key(b"moved"), Some(NOW + 5)).expect("expiry"));
    // A change of most of a long value: written anew under another object id.
    let big = pattern(400_000, 9);
    in_txn(&store, &mut worker, &[b"copy"], |txn| txn.patch(key(b"copy"), &[(50_000, &big)]).expect("patched"));
    let mut copy = expected.clone();
    copy[..5].copy_from_slice(b"other");
    copy[50_000..450_000].copy_from_slice(&big);

    // From short to long by growing, with a hole.
    set(&store, &mut worker, b"grown", b"short", None);
    in_txn(&store, &mut worker, &[b"grown"], |txn| txn.patch(key(b"grown"), &[(200_000, b"x")]).expect("patched"));
    let mut grown = b"short".to_vec();
    grown.resize(200_000, 0);
    grown.push(b'x');

    let check = |store: &Store| {
        assert_eq!(get(store, b"long"), None);
        assert_eq!(get(store, b"moved"), Some(expected.clone()));
        assert_eq!(get(store, b"copy"), Some(copy.clone()));
        assert_eq!(get(store, b"grown"), Some(grown.clone()));
        let guard = pin();
        let value = store.read(key(b"copy"), NOW, &guard).expect("there").string().expect("a string");
        assert_eq!(value.pieces().collect::<Vec<_>>().concat(), copy);
        assert_eq!(&*value.range(65_530, 131_080), &copy[65_530..131_080]);
    };
    check(&store);
    let before = live(&store);
    drop(store);
    let store = open(&path);
    check(&store);
    assert_eq!(live(&store), before);
    store.reload().expect("reloads");
    check(&store);
    assert_eq!(live(&store), before);
    store.clock().advance(5);
    assert_eq!(get(&store, b"moved"), None);

    assert!(live(&store).iter().sum::<u64>() < before.iter().sum::<u64>() - 300_000, "its chunks are garbage now");
}

#[test]
fn expired_keys_go_and_stay_away_even_when_the_clock_is_set_back() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let mut worker = store.worker();
    set(&store, &mut worker, b"soon", b"1", Some(NOW + 10));
    set(&store, &mut worker, b"later", b"2", Some(NOW + 10_000));
    set(&store, &mut worker, b"never", b"3", None);
    assert_eq!(store.db_stats(0).expires, 2);
    assert_eq!(store.expire_cycle(NOW + 9, Duration::from_secs(1)), 0);
    store.clock().advance(10);
    assert_eq!(store.expire_cycle(NOW + 10, Duration::from_secs(1)), 1);
    assert_eq!(get(&store, b"soon"), None);
    assert_eq!((store.len(0), store.db_stats(0).expires, store.expired_keys()), (2, 1, 1));
    drop(store);
    let store = open_at(&path, NOW - 500_000);
    assert_eq!(get(&store, b"soon"), None);
    assert_eq!(get(&store, b"later").as_deref(), Some(&b"2"[..]));
    let mut worker = store.worker();
    in_txn(&store, &mut worker, &[b"later"], |txn| txn.set_expiry(key(b"later"), None).expect("ok"));
    assert_eq!(store.db_stats(0).expires, 0);
}

/// DEBUG RELOAD removed what had expired by the clock without making that time durable: a key that was not there afterwards came back.
#[test]
fn a_key_that_a_reload_has_removed_stays_away() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    set(&store, &mut store.worker(), b"k", b"1", Some(NOW + 10));
    store.clock().advance(20);
    store.reload().expect("no damage");
    assert_eq!(get(&store, b"k"), None);
    drop(store);
    assert_eq!(get(&open_at(&path, NOW), b"k"), None);
}

/// A read of an expired key removed all keys of its stripe that were due, though the mark that it relied on could be older than they.
#[test]
fn a_read_removes_no_more_than_its_clock_mark_covers() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let mut worker = store.worker();
    let first: &[u8] = b"first";
    let stripe = |name: &[u8]| store.stripes.number(store.hash(name));
    let names = (0..).map(|i| format!("k{i}").into_bytes());
    let other = names.into_iter().find(|name| stripe(name) == stripe(first)).expect("there are 16 stripes");
    set(&store, &mut worker, first, b"1", Some(NOW + 10));
    set(&store, &mut worker, &other, b"2", Some(NOW + 20));
    store.clock().advance(12);
    // Seen to have expired, but not removed: its stripe is held.
    assert!(in_txn(&store, &mut worker, &[first], |txn| txn.get(key(first)).is_none()));
    store.clock().advance(18);
    assert_eq!((get(&store, first), get(&store, &other)), (None, None));
    drop(store);
    assert_eq!(get(&open_at(&path, NOW), &other), None);
}

/// In a pool without room for a clock mark expired keys were gone without a trace, and came back.
#[test]
fn keys_expire_for_good_in_a_pool_without_room_for_a_clock_mark() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let mut small = options(&path);
    (small.pool.bytes, small.pool.segment_bytes) = (8192 + 8 * 4096, Some(4096));
    let store = Store::open(&small, Clock::manual(NOW), &Progress::default()).expect("opens");
    let mut worker = store.worker();
    set(&store, &mut worker, b"k", &pattern(900, 1), Some(NOW + 10));
    // Changes of expiry may take the reserve, too.
    let full = (0..1000).find(|_| {
        let guard = pin();
        let mut txn = store.write(&mut worker, &[key(b"k")], NOW, &guard);
        txn.set_expiry(key(b"k"), Some(NOW + 10)).expect("staged");
        txn.commit().is_err()
    });
    assert!(full.is_some() && !store.pool.has_room(crate::pool::Urgency::Frees));
    store.clock().advance(20);
    assert_eq!(get(&store, b"k"), None);
    drop((worker, store));
    let store = Store::open(&small, Clock::manual(NOW), &Progress::default()).expect("opens");
    assert_eq!(get(&store, b"k"), None);
}

/// A chunk of a long string that has grown since was counted with the size that it would have today.
#[test]
fn the_memory_of_a_long_string_is_that_of_its_records() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open(&dir.path().join("pool"));
    let mut worker = store.worker();
    set(&store, &mut worker, b"l", &pattern(70_000, 1), None);
    in_txn(&store, &mut worker, &[b"l"], |txn| txn.patch(key(b"l"), &[(140_000, b"far")]).expect("room"));
    let guard = pin();
    let entry = store.read(key(b"l"), NOW, &guard).expect("it is there");
    let in_dram = 16 + 8 * entry.string().expect("a string").len().div_ceil(store.inline_max()) as u64;
    assert_eq!(entry.memory_bytes(), live(&store).iter().sum::<u64>() + in_dram);
}

#[test]
fn a_key_that_was_seen_expired_stays_away_even_without_a_cycle() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    for look in ["read", "transaction", "scan"] {
        let store = open(&path);
        let mut worker = store.worker();
        let name = look.as_bytes();
        let expire_at = store.clock().now_ms() + 10;
        set(&store, &mut worker, name, b"1", Some(expire_at));
        store.clock().advance(10);
        let guard = pin();
        match look {
            "read" => assert_eq!(get(&store, name), None),
            "transaction" => assert!(!in_txn(&store, &mut worker, &[name], |txn| txn.delete(key(name)).expect("ok"))),
            _ => {
                let mut cursor = 0;
                loop {
                    cursor = store.scan(0, cursor, store.clock().now_ms(), &guard, &mut |entry| {
                        assert_ne!(entry.key(), name);
                    });
                    if cursor == 0 {
                        break;
                    }
                }
            }
        }
        drop(store);
        // The wall clock was set back over the restart.
        let store = open_at(&path, NOW - 1000);
        assert_eq!(get(&store, name), None, "seen by a {look}");
    }
}

#[test]
fn databases_that_are_not_served_are_kept() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let mut worker = store.worker();
    let guard = pin();
    let key = Key { db: 3, name: b"a" };
    let mut txn = store.write(&mut worker, &[key], NOW, &guard);
    txn.set_inline(key, b"kept", None).expect("staged");
    txn.commit().expect("room");
    drop(guard);
    let before = live(&store);
    drop(store);
    let fewer = StoreOptions { databases: 1, ..options(&path) };
    let store = Store::open(&fewer, Clock::manual(NOW), &Progress::default()).expect("opens");
    assert_eq!((store.databases(), live(&store)), (1, before));
    drop(store);
    assert_eq!(open(&path).len(3), 1);
}

/// Writers of two keys at once beside readers: with MGET's reads and with single reads in either order, nobody sees one key newer than the other
/// where that would show half of a write.
#[test]
fn nobody_sees_half_of_a_write_of_several_keys() {
    use std::sync::atomic::{AtomicBool, Ordering};
    const WRITES: u32 = 3000;
    let store = Store::in_memory(64 << 20, Clock::manual(NOW)).expect("memory");
    let (a, b) = (key(b"a"), key(b"b"));
    let done = AtomicBool::new(false);
    let write = |worker: &mut Worker, number: u32| {
        let guard = pin();
        let mut txn = store.write(worker, &[a, b], NOW, &guard);
        txn.set_inline(a, &number.to_le_bytes(), None).expect("staged");
        txn.set_inline(b, &number.to_le_bytes(), None).expect("staged");
        txn.commit().expect("room");
    };
    write(&mut store.worker(), 0);
    let number = |entry: Option<Entry<'_>>| {
        let bytes = entry.expect("there").string().expect("a string").bytes().into_owned();
        u32::from_le_bytes(bytes.try_into().expect("four bytes"))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut worker = store.worker();
            (1..=WRITES).for_each(|number| write(&mut worker, number));
            done.store(true, Ordering::Release);
        });
        for reader in 0..2 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Acquire) {
                    let guard = pin();
                    if reader == 0 {
                        let entries = store.read_many(&[a, b], NOW, &guard);
                        let (first, second) = (number(entries[0]), number(entries[1]));
                        assert_eq!(first, second, "one moment");
                        last = first;
                    } else {
                        let mut out = [None; 2];
                        let first = number(store.read(a, NOW, &guard));
                        let second = number(store.read(b, NOW, &guard));
                        assert!(second >= first && first >= last, "{first} then {second} after {last}");
                        store.read_batch(&[a, b], NOW, &guard, &mut out);
                        let (first, second) = (number(out[0]), number(out[1]));
                        assert!(second >= first, "{first} then {second} in one pipeline");
                        last = second;
                    }
                }
                last
            });
        }
    });
}

/// A long value that is replaced all the time is a key that is there throughout: a scan may not lose it between its head and its chunks.
#[test]
fn scan_finds_a_long_string_that_is_being_replaced() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let store = Store::in_memory(256 << 20, Clock::manual(NOW)).expect("memory");
    let value = pattern(INLINE_MAX_BYTES + 1, 1);
    set(&store, &mut store.worker(), b"long", &value, None);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut worker = store.worker();
            (0..3000).for_each(|_| set(&store, &mut worker, b"long", &value, None));
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let guard = pin();
            let (mut cursor, mut found) = (0, 0);
            loop {
                cursor = store.scan(0, cursor, NOW, &guard, &mut |_| found += 1);
                if cursor == 0 {
                    break;
                }
            }
            assert!(found >= 1, "the key was there all the time");
        }
    });
}

/// A flushed database was once taken apart while a reader of several keys was still in it, who then saw half of the flush.
#[test]
fn a_flushed_database_stays_whole_for_who_is_still_in_it() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open(&dir.path().join("pool"));
    let mut worker = store.worker();
    set(&store, &mut worker, b"a", b"1", None);
    set(&store, &mut worker, b"b", b"1", None);
    let reader = pin();
    let before = store.table.load(&reader);
    store.flush_db(0, None).expect("flushed");
    assert!(store.reap(Duration::from_secs(1)), "there is more to do, later");
    assert_eq!((before.get(0).len(), store.len(0)), (2, 0));
    drop(reader);
    // Ends when the table has gone with its epoch.
    while store.reap(Duration::from_millis(10)) {
        pin().flush();
    }
}

#[test]
fn flushed_and_swapped_databases_stay_so() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let mut worker = store.worker();
    for i in 0..100 {
        set(&store, &mut worker, format!("k{i}").as_bytes(), b"v", Some(NOW + 1000));
    }
    set(&store, &mut worker, b"long", &pattern(200_000, 0), None);
    store.swap_db(0, 2, None).expect("swapped");
    assert_eq!((store.len(0), store.len(2)), (0, 101));
    set(&store, &mut worker, b"new", b"v", None);
    drop(store);
    let store = open(&path);
    assert_eq!((store.len(0), store.len(2)), (1, 101));
    store.flush_db(2, None).expect("flushed");
    assert_eq!((store.len(0), store.len(2)), (1, 0));
    // Ends when nothing is left to take apart; the table that the readers' epoch still holds goes with a few more turns.
    while store.reap(Duration::from_millis(10)) {
        pin().flush();
    }
    let left = live(&store).iter().sum::<u64>();
    assert_eq!(left, 32, "one record of a 3-byte key and a 1-byte value");
    drop(store);
    let store = open(&path);
    assert_eq!((store.len(0), store.len(2)), (1, 0));
    assert_eq!(live(&store).iter().sum::<u64>(), left);
    store.flush_all(None).expect("flushed");
    assert_eq!(store.len(0), 0);
}

#[test]
fn a_full_pool_refuses_writes_and_takes_deletes() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let mut worker = store.worker();
    let value = pattern(60_000, 3);
    let mut written = 0u32;
    let refused = loop {
        let name = written.to_le_bytes();
        let guard = pin();
        let prepared = store.prepare(&mut worker, &value, &guard).expect("inline");
        let mut txn = store.write(&mut worker, &[key(&name)], NOW, &guard);
        txn.set(key(&name), prepared, None).expect("staged");
        match txn.commit() {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::OutOfSpace));
    assert!(written > 50);
    assert_eq!(store.len(0), u64::from(written));
    assert!(store.prepare(&mut worker, &pattern(100_000, 0), &pin()).is_err());
    for i in 0..written {
        assert_eq!(get(&store, &i.to_le_bytes()).as_ref(), Some(&value));
        assert!(in_txn(&store, &mut worker, &[&i.to_le_bytes()], |txn| txn.delete(key(&i.to_le_bytes())).expect("ok")));
    }
    assert_eq!(store.len(0), 0);
    drop(store);
    assert_eq!(open(&path).len(0), 0);
}

/// Random operations on few keys against a map, with the store dropped and opened again now and then.
#[test]
fn random_operations_agree_with_a_map_through_crashes() {
    use std::collections::HashMap;
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut options = options(&path);
    options.pool.bytes = 64 << 20;
    let open = || Store::open(&options, Clock::manual(NOW), &Progress::default()).expect("opens");
    let mut store = open();
    let mut worker = store.worker();
    let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for step in 0..3000u32 {
        let name = vec![next(12) as u8];
        let other = vec![next(12) as u8];
        match next(9) {
            0..=2 => {
                let len = if next(20) == 0 { 70_000 + next(100_000) } else { next(200) };
                let value = pattern(len as usize, step as u8);
                set(&store, &mut worker, &name, &value, None);
                model.insert(name, value);
            }
            3 => {
                let there = in_txn(&store, &mut worker, &[&name], |txn| txn.delete(key(&name)).expect("ok"));
                assert_eq!(there, model.remove(&name).is_some());
            }
            4 => {
                in_txn(&store, &mut worker, &[&name, &other], |txn| txn.rename(key(&name), key(&other)).expect("ok"));
                if let Some(value) = model.remove(&name) {
                    model.insert(other, value);
                }
            }
            5 => {
                in_txn(&store, &mut worker, &[&name, &other], |txn| {
                    if name != other {
                        txn.copy(key(&name), key(&other), None).expect("ok");
                    }
                });
                if let Some(value) = model.get(&name).cloned() {
                    model.insert(other, value);
                }
            }
            6 => {
                let value = model.entry(name.clone()).or_default();
                let offset = next(value.len() as u64 + 100) as usize;
                let bytes = pattern(1 + next(300) as usize, step as u8);
                in_txn(&store, &mut worker, &[&name], |txn| txn.patch(key(&name), &[(offset, &bytes)]).expect("ok"));
                if value.len() < offset + bytes.len() {
                    value.resize(offset + bytes.len(), 0);
                }
                value[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
            7 if next(20) == 0 => {
                drop(store);
                store = open();
                worker = store.worker();
            }
            _ => {
                let guard = pin();
                let keys: Vec<Vec<u8>> = (0..12u8).map(|i| vec![i]).collect();
                let keys: Vec<Key<'_>> = keys.iter().map(|name| key(name)).collect();
                let entries = store.read_many(&keys, NOW, &guard);
                for (key, entry) in keys.iter().zip(entries) {
                    let value = entry.map(|entry| entry.string().expect("a string").bytes().into_owned());
                    assert_eq!(value.as_ref(), model.get(key.name), "step {step}");
                }
            }
        }
        assert_eq!(store.len(0), model.len() as u64, "step {step}");
    }
}
