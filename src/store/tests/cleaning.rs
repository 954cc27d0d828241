//! Cleaning: what it must keep, what it must drop, and that a full pool never stays full.

use super::*;
use crate::cleaner::{CleanStep, Demand};
use crate::log::Kind;
use crate::pool::{Phase, Urgency};
use crate::recovery::{Visitor, scan_pool, tools};
use std::collections::BTreeMap;

const SEGMENT: u64 = 4096;

/// A pool of `segments` segments of 4 KiB, long strings in chunks of 1 KiB.
pub(super) fn small(path: &Path, segments: u64) -> StoreOptions {
    let mut options = options(path);
    (options.pool.bytes, options.pool.segment_bytes) = (2 * SEGMENT + segments * SEGMENT, Some(SEGMENT));
    options
}

fn open_small(path: &Path, segments: u64) -> Store {
    Store::open(&small(path, segments), Clock::manual(NOW), &Progress::default()).expect("opens")
}

/// Cleans until there is nothing left to do; says how many segments were freed.
pub(super) fn clean(store: &Store) -> u64 {
    let before = store.pool.segments_freed();
    // Ends: other tests are not pinned for ever.
    loop {
        match store.clean_step(Demand::Now) {
            CleanStep::Worked => {}
            CleanStep::Waiting => std::thread::yield_now(),
            CleanStep::Idle => return store.pool.segments_freed() - before,
        }
    }
}

pub(super) fn delete(store: &Store, worker: &mut Worker, name: &[u8]) {
    in_txn(store, worker, &[name], |txn| txn.delete(key(name)).expect("staged"));
}

/// Writes until the worker's open segment is another one.
pub(super) fn next_segment(store: &Store, worker: &mut Worker) {
    let opened = store.pool.segments_opened();
    while store.pool.segments_opened() == opened {
        set(store, worker, b"filler", &[b'f'; 900], None);
    }
}

/// Has what was written so far lie in segments of survivors, in which little is to be gained.
pub(super) fn settle_cold(store: &Store, worker: &mut Worker) {
    next_segment(store, worker);
    next_segment(store, worker);
    assert!(clean(store) > 0);
}

/// How many records of a kind there are for a key, in the whole log.
fn records(store: &Store, kind: Kind, name: &[u8]) -> usize {
    struct Count<'a>(Kind, &'a [u8], usize);
    impl<'p> Visitor<'p> for Count<'_> {
        fn record(&mut self, _addr: crate::base::LogAddr, record: crate::log::Record<'p>) {
            self.2 += usize::from(record.kind == self.0 && record.key == self.1);
        }
    }
    let mut count = [Count(kind, name, 0)];
    let report = scan_pool(&store.pool, &mut count, &Progress::default());
    assert_eq!(report.damage, []);
    count[0].2
}

#[test]
fn what_is_live_stays_and_the_rest_makes_room() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open_small(&path, 32);
    let mut worker = store.worker();
    let name = |i: usize| format!("key:{i}").into_bytes();
    for round in 0..4 {
        for i in 0..40 {
            set(&store, &mut worker, &name(i), &pattern(100 + i, round), (i % 5 == 0).then_some(NOW + 1000));
        }
    }
    set(&store, &mut worker, b"long", &pattern(9000, 3), None);
    in_txn(&store, &mut worker, &[b"long"], |txn| txn.patch(key(b"long"), &[(5000, b"patched")]).expect("staged"));
    let free = store.pool.free_segments();
    assert!(clean(&store) > 0);
    assert!(store.pool.free_segments() > free);
    let mut long = pattern(9000, 3);
    long[5000..5007].copy_from_slice(b"patched");
    let check = |store: &Store| {
        for i in 0..40 {
            assert_eq!(get(store, &name(i)), Some(pattern(100 + i, 3)), "key {i}");
        }
        assert_eq!(get(store, b"long").as_ref(), Some(&long));
        assert_eq!(store.db_stats(0).expires, 8);
    };
    check(&store);
    clean(&store);
    assert_eq!(store.check_books(), Ok(()));
    check(&store);
    drop((worker, store));
    check(&open_small(&path, 32));
}

/// I8: a tombstone stays as long as an older record of its key is in the pool, wherever either of them moves.
#[test]
fn a_deleted_key_does_not_come_back_when_its_tombstone_is_cleaned() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open_small(&path, 32);
    let mut worker = store.worker();
    // Old records of it lie where nearly everything is live.
    set(&store, &mut worker, b"k", b"old", None);
    for i in 0..30 {
        set(&store, &mut worker, format!("cold:{i}").as_bytes(), &[b'c'; 60], None);
    }
    settle_cold(&store, &mut worker);
    delete(&store, &mut worker, b"k");
    next_segment(&store, &mut worker);
    next_segment(&store, &mut worker);
    assert!(clean(&store) > 0);
    assert_eq!((records(&store, Kind::String, b"k"), records(&store, Kind::Tombstone, b"k")), (1, 1));
    assert_eq!(store.info().held_bytes, 32, "the tombstone");
    drop((worker, store));
    let store = open_small(&path, 32);
    assert_eq!(get(&store, b"k"), None);
    // Once the old record is gone, so is the tombstone.
    let mut worker = store.worker();
    for i in 0..30 {
        delete(&store, &mut worker, format!("cold:{i}").as_bytes());
    }
    for _ in 0..40 {
        next_segment(&store, &mut worker);
        clean(&store);
    }
    // It may lie in the segment that the cleaner is filling.
    assert!(store.lock_cleaner().close(&store.pool));
    clean(&store);
    assert_eq!((records(&store, Kind::String, b"k"), records(&store, Kind::Tombstone, b"k")), (0, 0));
}

/// An expired record is its own tombstone, and leaves one where older records of its key stay.
#[test]
fn an_expired_key_does_not_come_back_when_its_last_record_is_cleaned() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open_small(&path, 32);
    let mut worker = store.worker();
    set(&store, &mut worker, b"k", b"old", None);
    for i in 0..30 {
        set(&store, &mut worker, format!("cold:{i}").as_bytes(), &[b'c'; 60], None);
    }
    settle_cold(&store, &mut worker);
    set(&store, &mut worker, b"k", b"new", Some(NOW + 10));
    set(&store, &mut worker, b"alone", b"new", Some(NOW + 10));
    next_segment(&store, &mut worker);
    next_segment(&store, &mut worker);
    store.clock().advance(20);
    assert_eq!((get(&store, b"k"), get(&store, b"alone")), (None, None));
    assert!(clean(&store) > 0);
    assert_eq!((records(&store, Kind::String, b"k"), records(&store, Kind::Tombstone, b"k")), (1, 1));
    let alone = (records(&store, Kind::String, b"alone"), records(&store, Kind::Tombstone, b"alone"));
    assert_eq!(alone, (0, 0), "nothing older was left");
    drop((worker, store));
    assert_eq!(get(&open_small(&path, 32), b"k"), None);
}

/// The chunks of a long string that has expired were cleaned away before its head; recovery took that for damage.
#[test]
fn a_head_that_has_expired_may_have_lost_its_chunks() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open_small(&path, 32);
    let mut worker = store.worker();
    // Head and last chunk lie where nearly everything is live, the other chunks where nothing else is.
    set(&store, &mut worker, b"long", &pattern(12_000, 1), Some(NOW + 10));
    for i in 0..20 {
        set(&store, &mut worker, format!("cold:{i}").as_bytes(), &[b'c'; 120], None);
    }
    next_segment(&store, &mut worker);
    store.clock().advance(20);
    assert_eq!(get(&store, b"long"), None);
    while store.clean_step(Demand::None) != CleanStep::Idle {}
    assert!(store.pool.segments_freed() > 0);
    assert_eq!(records(&store, Kind::ObjectHead, b"long"), 1, "the head is still there");
    drop((worker, store));
    let store = open_small(&path, 32);
    assert_eq!((get(&store, b"long"), get(&store, b"cold:7")), (None, Some(vec![b'c'; 120])));
}

/// "Time has come so far" is durable in one clock mark only, which must not be cleaned away.
#[test]
fn the_last_clock_mark_outlives_its_segment() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open_small(&path, 32);
    let mut worker = store.worker();
    for i in 0..30 {
        set(&store, &mut worker, format!("cold:{i}").as_bytes(), &[b'c'; 60], None);
    }
    set(&store, &mut worker, b"k", b"v", Some(NOW + 10));
    store.clock().advance(20);
    assert_eq!(get(&store, b"k"), None);
    // The marks' segment is as good as empty: its turn comes first.
    assert!(store.marks.lock().expect("not poisoned").writer.close(&store.pool));
    assert!(clean(&store) > 0);
    drop((worker, store));
    assert_eq!(get(&open_small(&path, 32), b"k"), None);
}

/// I6: as long as a reader is pinned what it may read stays where it is.
#[test]
fn a_segment_is_not_freed_under_a_reader() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open_small(&dir.path().join("pool"), 16);
    let mut worker = store.worker();
    set(&store, &mut worker, b"k", b"value", None);
    next_segment(&store, &mut worker);
    next_segment(&store, &mut worker);
    clean(&store);
    let (read, done) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    std::thread::scope(|scope| {
        let store = &store;
        scope.spawn(move || {
            let guard = pin();
            let entry = store.read(key(b"k"), NOW, &guard).expect("there");
            read.0.send(()).expect("the test waits");
            let _told = done.1.recv();
            assert_eq!(entry.string().expect("a string").bytes().as_ref(), b"value");
        });
        read.1.recv().expect("read");
        delete(store, &mut worker, b"k");
        next_segment(store, &mut worker);
        let freed = store.pool.segments_freed();
        for _ in 0..1000 {
            let _step = store.clean_step(Demand::Now);
        }
        assert_eq!(store.pool.segments_freed(), freed, "somebody may still be reading there");
        drop(done.0);
    });
    assert!(clean(&store) > 0);
}

/// The chunks of a value that is being prepared look like garbage.
#[test]
fn what_is_being_written_is_not_taken_for_garbage() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open_small(&path, 16);
    let mut worker = store.worker();
    let value = pattern(12_000, 1);
    let guard = pin();
    let prepared = store.prepare(&mut worker, &value, &guard).expect("room");
    assert!(store.pool.segments_opened() > 2, "its chunks fill segments");
    std::thread::scope(|scope| {
        let cleaned = scope.spawn(|| {
            let _step = store.clean_step(Demand::Now);
            store.reload().expect("no damage");
            for _ in 0..1000 {
                let _step = store.clean_step(Demand::Now);
            }
            store.pool.segments_freed()
        });
        assert_eq!(cleaned.join().expect("cleaned"), 0);
    });
    let mut txn = store.write(&mut worker, &[key(b"k")], NOW, &guard);
    txn.set(key(b"k"), prepared, None).expect("staged");
    txn.commit().expect("committed");
    drop(guard);
    clean(&store);
    drop((worker, store));
    assert_eq!(get(&open_small(&path, 16), b"k"), Some(value));
}

#[test]
fn a_flushed_database_makes_room() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open_small(&dir.path().join("pool"), 16);
    let mut worker = store.worker();
    for i in 0..300 {
        set(&store, &mut worker, format!("key:{i}").as_bytes(), &[b'v'; 20], None);
    }
    store.flush_all(None).expect("flushed");
    set(&store, &mut worker, b"k", b"v", None);
    clean(&store);
    let in_use = store.pool.segment_ids().filter(|&id| store.pool.segment_use(id).in_use()).count();
    assert_eq!(in_use, 1, "the worker's");
    assert!(!store.stale.is_empty() || store.len(0) == 1);
    store.close_worker(&mut worker);
    assert_eq!(get(&store, b"k"), Some(b"v".to_vec()));
}

/// Fill, delete, fill again: what a full pool takes does not shrink from round to round, deletes always work, and reads are right throughout.
#[test]
fn a_full_pool_can_be_emptied_and_filled_again_and_again() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open_small(&dir.path().join("pool"), 32);
    let mut worker = store.worker();
    let name = |i: usize| format!("key:{i}").into_bytes();
    let mut first = None;
    for round in 0..50u8 {
        let mut count = 0;
        // Ends when the pool is full.
        while try_set(&store, &mut worker, &name(count), &pattern(150, round)) {
            count += 1;
        }
        let first = *first.get_or_insert(count);
        assert!(count > 300 && count + 40 > first, "round {round}: {count} keys, {first} in the first");
        assert!((0..count).all(|i| get(&store, &name(i)) == Some(pattern(150, round))));
        for i in 0..count {
            // With the help of the cleaner where the reserve is used up.
            while !try_delete(&store, &mut worker, &name(i)) {
                assert!(store.make_room(true), "round {round}: key {i} cannot be deleted");
            }
        }
        assert_eq!(store.len(0), 0);
    }
    clean(&store);
    assert!(store.pool.free_segments() >= 28, "{} segments are free", store.pool.free_segments());
    assert!(store.stale.bytes() > 0);
}

/// What a delete has taken from the reserve was used up by writes behind it.
#[test]
fn the_reserve_is_not_for_writes_that_follow_a_delete() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open_small(&dir.path().join("pool"), 16);
    let mut worker = store.worker();
    let name = |i: usize| format!("key:{i}").into_bytes();
    let count = (0..).take_while(|&i| try_set(&store, &mut worker, &name(i), b"x")).count();
    let opened = store.pool.segments_opened();
    assert!(try_delete(&store, &mut worker, &name(0)));
    assert_eq!(store.pool.segments_opened(), opened + 1, "a segment of the reserve");
    let guard = pin();
    let mut txn = store.write(&mut worker, &[key(b"more")], NOW, &guard);
    txn.set_inline(key(b"more"), b"x", None).expect("staged");
    assert!(matches!(txn.commit(), Err(StoreError::OutOfSpace)));
    drop(guard);
    assert!((1..count).all(|i| try_delete(&store, &mut worker, &name(i)) || store.make_room(true)));
}

/// Sets a key if room is to be had; says whether.
fn try_set(store: &Store, worker: &mut Worker, name: &[u8], value: &[u8]) -> bool {
    loop {
        let guard = pin();
        let done = store.prepare(worker, value, &guard).and_then(|value| {
            let mut txn = store.write(worker, &[key(name)], store.clock().now_ms(), &guard);
            txn.set(key(name), value, None)?;
            txn.commit()
        });
        drop(guard);
        if done.is_ok() || !store.make_room(false) {
            return done.is_ok();
        }
    }
}

fn try_delete(store: &Store, worker: &mut Worker, name: &[u8]) -> bool {
    let guard = pin();
    let mut txn = store.write(worker, &[key(name)], store.clock().now_ms(), &guard);
    txn.delete(key(name)).expect("staged");
    txn.commit().is_ok()
}

/// How each segment is used, a line each.
fn uses(store: &Store) -> String {
    let line = |id| format!("{id}: {:?}\n", store.pool.segment_use(id));
    store.pool.segment_ids().map(line).collect()
}

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A small pool that is always nearly full, cut short at every step of the cleaner: what is there is what was written, and room can be made.
#[test]
fn a_full_pool_is_right_and_can_be_cleaned_whenever_it_is_cut_short() {
    (1..6).for_each(|seed| cut_short(seed * 0x9e37_79b9));
}

fn cut_short(seed: u64) {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let mut random = Random(seed);
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut store = open_small(&path, 12);
    let mut worker = store.worker();
    let (mut cuts, mut refused) = (0, 0);
    for step in 0..2000u64 {
        let name = format!("key:{}", random.below(60)).into_bytes();
        match random.below(12) {
            0..=6 => {
                let value = pattern([30, 200, 700, 2500][random.below(4) as usize], step as u8);
                if try_set(&store, &mut worker, &name, &value) {
                    model.insert(name, value);
                } else {
                    refused += 1;
                }
            }
            7..=9 => {
                while !try_delete(&store, &mut worker, &name) {
                    assert!(store.make_room(true), "step {step}: a delete must always be possible\n{}", uses(&store));
                }
                model.remove(&name);
            }
            10 => {
                let _step = store.clean_step(Demand::Now);
            }
            _ => {
                for _ in 0..random.below(6) {
                    let _step = store.clean_step(Demand::Now);
                }
                // As a crash would.
                drop((worker, store));
                (store, cuts) = (open_small(&path, 12), cuts + 1);
                worker = store.worker();
            }
        }
        if step % 50 == 0 {
            assert_eq!(store.len(0), model.len() as u64, "step {step}");
            for (name, value) in &model {
                assert_eq!(get(&store, name).as_ref(), Some(value), "step {step}, {}", name.escape_ascii());
            }
        }
    }
    assert!(cuts > 50 && refused > 50, "{cuts} cuts, {refused} writes refused");
    clean(&store);
    assert_eq!(store.check_books(), Ok(()));
}

/// DEBUG RELOAD finds copies and what they were made of; neither may be freed as if the other counted.
#[test]
fn a_reload_in_the_middle_of_cleaning_loses_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open_small(&dir.path().join("pool"), 24);
    let mut worker = store.worker();
    let name = |i: usize| format!("key:{i}").into_bytes();
    for round in 0..30 {
        for i in 0..50 {
            assert!(try_set(&store, &mut worker, &name(i), &pattern(200, round)));
        }
        for _ in 0..round % 7 {
            let _step = store.clean_step(Demand::Now);
        }
        store.reload().expect("no damage");
        clean(&store);
        assert!((0..50).all(|i| get(&store, &name(i)) == Some(pattern(200, round))), "round {round}");
    }
    clean(&store);
    assert_eq!(store.check_books(), Ok(()));
}

/// What `pool info` counts from the records alone, beside a store that has the pool open, is what the store counts through its index.
#[test]
fn live_bytes_are_the_same_without_an_index() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open_small(&path, 40);
    let mut worker = store.worker();
    let agree = |when: &str| {
        let pool = Pool::open_read_only(&path).expect("beside the store");
        let counted: Vec<u64> = store.pool.segment_ids().map(|id| store.pool.segment_use(id).live_bytes).collect();
        assert_eq!(tools::live_bytes(&pool), counted, "{when}");
    };
    agree("nothing yet");
    let other = Key { db: 3, name: b"key:1" };
    for round in 0..5u8 {
        for i in 0..40 {
            let expires = (i % 6 == 0).then_some(NOW + 10);
            set(&store, &mut worker, format!("key:{i}").as_bytes(), &pattern(60 + i, round), expires);
        }
        in_txn(&store, &mut worker, &[b"key:1"], |txn| txn.delete(key(b"key:1")).expect("staged"));
    }
    let guard = pin();
    let mut txn = store.write(&mut worker, &[other], NOW, &guard);
    txn.set_inline(other, b"of a name that is deleted elsewhere", None).expect("staged");
    txn.commit().expect("committed");
    drop(guard);
    set(&store, &mut worker, b"long", &pattern(9000, 3), None);
    in_txn(&store, &mut worker, &[b"long"], |txn| txn.patch(key(b"long"), &[(5000, b"patched")]).expect("staged"));
    set(&store, &mut worker, b"was long", &pattern(5000, 3), None);
    set(&store, &mut worker, b"was long", b"short", None);
    agree("written");
    store.clock().advance(20);
    assert_eq!(store.expire_cycle(store.clock().now_ms(), std::time::Duration::from_secs(60)), 7);
    agree("expired");
    assert!(clean(&store) > 0);
    agree("cleaned");
    store.flush_db(3, None).expect("flushed");
    clean(&store);
    agree("flushed");
    assert_eq!(get(&store, b"was long").as_deref(), Some(&b"short"[..]));
}

/// The filter is of the size that the pool had at its opening. A reload made one for the present size, whose counts belonged to other keys in the old one.
#[test]
fn a_reload_in_a_pool_that_has_grown_still_counts_what_is_superseded() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut options = small(&dir.path().join("pool"), 30);
    (options.pool.max_bytes, options.pool.region.reserve_bytes) = (1 << 20, 1 << 20);
    let store = Store::open(&options, Clock::manual(NOW), &Progress::default()).expect("opens");
    let mut worker = store.worker();
    let name = |i: usize| format!("key:{i}").into_bytes();
    for i in 0..100 {
        set(&store, &mut worker, &name(i), b"old", None);
        delete(&store, &mut worker, &name(i));
    }
    // The filter has a size of its own at least, which is enough for 128 KiB.
    store.pool.grow(1 << 20).expect("grown");
    store.reload().expect("no damage");
    let counted = |i: usize| store.stale.count(store.hash(&name(i))) > 0;
    assert_eq!((0..100).filter(|&i| counted(i)).count(), 100);
}

/// A segment in which something does not validate is left as it is: copying would make damage look whole.
#[test]
fn a_damaged_segment_is_not_cleaned() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open_small(&path, 16);
    let mut worker = store.worker();
    set(&store, &mut worker, b"k", &[b'v'; 100], None);
    let (damaged, at) = {
        let guard = pin();
        let index = store.table.load(&guard).get(0).index().expect("made");
        let addr = index.get(store.hash(b"k"), &guard, |_| true).expect("there");
        (store.pool.segment_of(addr.offset()).expect("in a segment"), addr.offset() + 60)
    };
    next_segment(&store, &mut worker);
    next_segment(&store, &mut worker);
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opens");
    std::os::unix::fs::FileExt::write_all_at(&file, b"!", at).expect("written");
    clean(&store);
    assert_eq!(store.pool.segment_use(damaged).phase, Phase::Kept);
    assert_eq!(store.info().segments_kept, 1);
    assert!(store.pool.has_room(Urgency::Normal));
}
