//! Atoms of several batches: all of one or nothing, whatever happens to the segments that have parts of it.

use super::cleaning::{clean, delete, next_segment, settle_cold, small};
use super::*;
use crate::cleaner::{Fate, Owner};
use crate::log::Kind;

/// Keys whose values do not fit into a segment together, all set at once.
const NAMES: usize = 40;

fn names() -> Vec<Vec<u8>> {
    (0..NAMES).map(|i| format!("key:{i}").into_bytes()).collect()
}

fn value(i: usize, salt: u8) -> Vec<u8> {
    pattern(9_000 + i, salt)
}

/// Sets all keys in one transaction.
fn set_all(store: &Store, worker: &mut Worker, salt: u8) -> Result<(), StoreError> {
    let names = names();
    let guard = pin();
    let keys: Vec<Key<'_>> = names.iter().map(|name| key(name)).collect();
    let mut txn = store.write(worker, &keys, NOW, &guard);
    for (i, key) in keys.iter().enumerate() {
        txn.set_inline(*key, &value(i, salt), None).expect("staged");
    }
    txn.commit()
}

fn delete_all(store: &Store, worker: &mut Worker) -> Result<(), StoreError> {
    let names = names();
    let guard = pin();
    let keys: Vec<Key<'_>> = names.iter().map(|name| key(name)).collect();
    let mut txn = store.write(worker, &keys, NOW, &guard);
    for key in &keys {
        assert!(txn.delete(*key).expect("staged"));
    }
    txn.commit()
}

/// All keys are there with the values of `salt`.
fn has_all(store: &Store, salt: u8) -> bool {
    let found = names().iter().enumerate().filter(|(i, name)| get(store, name) == Some(value(*i, salt))).count();
    assert!(found == 0 || found == NAMES, "{found} of {NAMES} keys");
    found == NAMES
}

/// The store as it would be recovered from what is in the pool up to now.
pub(super) fn recovered(store: &Store) -> Store {
    let region = store.pool.region();
    let image = region.read(0, region.len()).expect("readable").to_vec();
    let region = crate::persist::Region::from_image(&image, &RegionOptions::default()).expect("memory");
    let pool = crate::pool::Pool::from_region(region, Path::new("image")).expect("a pool");
    Store::recover(pool, &options(Path::new("")), Clock::manual(NOW), &Progress::default()).expect("recovers")
}

/// How many records of a kind there are, whether they count or not.
fn count(store: &Store, kind: Kind) -> usize {
    let mut count = 0;
    for id in store.pool.segment_ids() {
        let scan = crate::log::scan_segment(&store.pool, id, |_, record, _| count += usize::from(record.kind == kind));
        assert_eq!(scan.faults, []);
    }
    count
}

/// How many atoms have no commit.
fn uncommitted(store: &Store) -> u64 {
    struct Nothing;
    impl crate::recovery::Visitor<'_> for Nothing {
        fn record(&mut self, _: crate::base::LogAddr, _: crate::log::Record<'_>) {}
    }
    crate::recovery::scan_pool(&store.pool, &mut [Nothing], &Progress::default()).uncommitted
}

#[test]
fn a_write_beyond_a_segment_is_committed_in_parts() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let mut worker = store.worker();
    set(&store, &mut worker, b"key:3", b"before", None);
    set_all(&store, &mut worker, 1).expect("room");
    assert!(has_all(&store, 1));
    store.check_books().expect("counted");
    let before = live(&store);
    drop(store);
    let store = open(&path);
    assert!(has_all(&store, 1));
    assert_eq!((store.len(0), live(&store)), (NAMES as u64, before));
    let mut worker = store.worker();
    set_all(&store, &mut worker, 2).expect("room");
    store.reload().expect("reloads");
    assert!(has_all(&store, 2));
    store.check_books().expect("counted");
}

/// Deleting takes little room in each key's record; a segment full of tombstones takes many keys.
#[test]
fn a_delete_of_very_many_keys_is_committed_in_parts() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = Store::open(&small(&path, 40), Clock::manual(NOW), &Progress::default()).expect("opens");
    let mut worker = store.worker();
    let names: Vec<Vec<u8>> = (0..300).map(|i| format!("{i:0>60}").into_bytes()).collect();
    names.iter().for_each(|name| set(&store, &mut worker, name, b"", None));
    let guard = pin();
    let keys: Vec<Key<'_>> = names.iter().map(|name| key(name)).collect();
    let mut txn = store.write(&mut worker, &keys, NOW, &guard);
    keys.iter().for_each(|key| assert!(txn.delete(*key).expect("staged")));
    txn.commit().expect("room");
    assert_eq!(store.len(0), 0);
    store.check_books().expect("counted");
    drop(guard);
    drop(store);
    let store = Store::open(&small(&path, 40), Clock::manual(NOW), &Progress::default()).expect("opens");
    assert_eq!(store.len(0), 0);
}

#[test]
fn a_record_beyond_a_segment_is_refused_before_any_effect() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open(&dir.path().join("pool"));
    let mut worker = store.worker();
    let name = pattern(300_000, 3);
    let guard = pin();
    let keys = [key(b"a"), key(&name)];
    let mut txn = store.write(&mut worker, &keys, NOW, &guard);
    keys.iter().for_each(|&key| txn.set_inline(key, b"x", None).expect("staged"));
    let appended = worker_appended(&txn);
    let refused = txn.commit();
    assert!(matches!(refused, Err(StoreError::RecordTooLarge { bytes: 300_048, .. })), "{refused:?}");
    assert_eq!(store.len(0), 0);
    assert_eq!(worker.writer.appended(), appended);
}

fn worker_appended(txn: &Txn<'_>) -> u64 {
    txn.worker.writer.appended()
}

/// Room runs out between two parts: nothing has happened, and what was written is counted, so that it can be cleaned.
#[test]
fn a_write_that_runs_out_of_room_leaves_nothing_but_garbage() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let mut options = options(&path);
    options.pool.bytes = 8192 + 9 * (256 << 10);
    let store = Store::open(&options, Clock::manual(NOW), &Progress::default()).expect("opens");
    let mut worker = store.worker();
    set_all(&store, &mut worker, 1).expect("room for one");
    let mut refused = 0;
    for salt in 2..40 {
        let written = worker.writer.appended();
        match set_all(&store, &mut worker, salt) {
            Ok(()) => assert!(has_all(&store, salt)),
            Err(StoreError::OutOfSpace) => {
                refused += u32::from(worker.writer.appended() > written);
                assert!(!has_all(&store, salt));
                store.check_books().expect("counted");
                assert!(!has_all(&recovered(&store), salt));
                assert!(store.make_room(false), "garbage makes room");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0, "room never ran out between two parts");
    delete_all(&store, &mut worker).expect("room");
    assert_eq!((store.len(0), recovered(&store).len(0)), (0, 0));
    store.check_books().expect("counted");
}

/// Parts without a commit: the process ended in between.
#[test]
fn an_atom_without_its_commit_has_not_happened() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open(&dir.path().join("pool"));
    let mut worker = store.worker();
    set(&store, &mut worker, b"kept", b"1", None);
    set(&store, &mut worker, b"deleted", b"1", None);
    let mut atom = crate::log::Atom::new(store.new_object());
    let id = store.next_object.load(Ordering::Relaxed) - 1;
    let mut part = |version, kind, name: &[u8], value: &[u8]| {
        worker.batch.clear();
        let keyspace = store.pool.superblock().keyspaces[0];
        let record = crate::log::NewRecord { kind, flags: 0, keyspace, version, expiry_ms: 0, key: [name, &[]], value };
        worker.batch.push(&record);
        worker
            .writer
            .commit_part(&store.pool, &mut worker.batch, crate::pool::Urgency::Normal, &mut atom)
            .expect("room");
    };
    part(100, Kind::String, b"kept", b"2");
    part(101, Kind::String, b"new", b"2");
    part(102, Kind::Tombstone, b"deleted", b"");
    let without = recovered(&store);
    assert_eq!(get(&without, b"kept").as_deref(), Some(&b"1"[..]));
    assert_eq!(get(&without, b"deleted").as_deref(), Some(&b"1"[..]));
    assert_eq!((get(&without, b"new"), without.len(0)), (None, 2));
    assert_eq!(uncommitted(&without), 1);
    assert!(without.new_object() > id, "the atom's id is in the pool");
    // What is written now is newer than anything in the pool.
    let mut other = without.worker();
    set(&without, &mut other, b"kept", b"3", None);
    delete(&without, &mut other, b"deleted");
    without.check_books().expect("counted");
    let again = recovered(&without);
    assert_eq!(get(&again, b"kept").as_deref(), Some(&b"3"[..]));
    assert_eq!((get(&again, b"deleted"), get(&again, b"new")), (None, None));
    // Nothing needs them.
    settle_cold(&again, &mut again.worker());
    clean(&again);
    assert_eq!(count(&again, Kind::Part), 0);
    assert_eq!(get(&again, b"kept").as_deref(), Some(&b"3"[..]));

    worker.writer.commit_atom(&store.pool, atom);
    let with = recovered(&store);
    assert_eq!(get(&with, b"kept").as_deref(), Some(&b"2"[..]));
    assert_eq!(get(&with, b"new").as_deref(), Some(&b"2"[..]));
    assert_eq!((get(&with, b"deleted"), uncommitted(&with)), (None, 0));
}

/// The commit goes only when the last part has gone.
#[test]
fn a_commit_outlives_the_parts_of_its_atom() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    // A part fills a segment but for the room for the commit, so that none is cleaned while it is live.
    const SEGMENT: u64 = 16 << 10;
    const VALUE: usize = 16_020;
    let mut options = small(&path, 0);
    (options.pool.bytes, options.pool.segment_bytes) = (32 * SEGMENT, Some(SEGMENT));
    let store = Store::open(&options, Clock::manual(NOW), &Progress::default()).expect("opens");
    let mut worker = store.worker();
    // Each in a segment of its own, the commit in the last one.
    let names: Vec<Vec<u8>> = (0..4).map(|i| format!("key:{i}").into_bytes()).collect();
    let many = |store: &Store, worker: &mut Worker, salt| {
        let guard = pin();
        let keys: Vec<Key<'_>> = names.iter().map(|name| key(name)).collect();
        let mut txn = store.write(worker, &keys, NOW, &guard);
        keys.iter().for_each(|key| txn.set_inline(*key, &pattern(VALUE, salt), None).expect("staged"));
        txn.commit().expect("room");
    };
    many(&store, &mut worker, 1);
    let is_whole = |store: &Store| names.iter().all(|name| get(store, name) == Some(pattern(VALUE, 1)));
    // Superseding the rest of the commit's segment has it cleaned.
    for round in 0..6 {
        next_segment(&store, &mut worker);
        settle_cold(&store, &mut worker);
        for i in 0..8 {
            set(&store, &mut worker, format!("filler:{i}").as_bytes(), &pattern(900, round), None);
        }
        let _freed = clean(&store);
        assert!(is_whole(&store));
        assert!(is_whole(&recovered(&store)), "round {round}");
    }
    assert_eq!(count(&store, Kind::Commit), 1);
    names.iter().for_each(|name| delete(&store, &mut worker, name));
    for _ in 0..6 {
        next_segment(&store, &mut worker);
        settle_cold(&store, &mut worker);
        let _freed = clean(&store);
    }
    assert_eq!(count(&store, Kind::Part), 0);
    let guard = pin();
    for id in store.pool.segment_ids() {
        let _end = crate::log::scan_segment(&store.pool, id, |addr, record, _| {
            assert!(record.kind != Kind::Commit || matches!(store.fate(addr, &record, &guard), Fate::Dead { .. }));
        });
    }
    assert_eq!(recovered(&store).len(0), store.len(0));
}
