//! Fields that expire, through restarts, reloads, cleaning and clocks set back.

use super::*;
use crate::cleaner::{CleanStep, Demand};
use crate::log::ObjectType;
use std::time::Duration;

type Field<'f> = (&'f str, &'f str, Option<u64>);

fn hset(store: &Store, worker: &mut Worker, name: &[u8], fields: &[Field<'_>]) {
    in_txn(store, worker, &[name], |txn| {
        let mut hash = txn.edit(key(name), ObjectType::Hash).expect("a hash");
        for (field, value, expire_at) in fields {
            hash.put_until(field.as_bytes(), value.as_bytes(), *expire_at).expect("room");
        }
        hash.finish().expect("staged");
    });
}

/// The fields in the order of their names, and when each expires.
fn hgetall(store: &Store, name: &[u8]) -> Vec<(String, String, Option<u64>)> {
    let guard = pin();
    let now_ms = store.clock().now_ms();
    let view = store.collection(key(name), Some(ObjectType::Hash), 0, now_ms, &guard).expect("a hash");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let field = |field: Element<'_>| (text(field.name()), text(field.value()), field.expire_at());
    let mut all: Vec<_> = view.iter().flat_map(|view| view.iter().map(field)).collect();
    assert_eq!(all.len(), view.map_or(0, |view| view.len()));
    all.sort();
    all
}

fn names(store: &Store, name: &[u8]) -> String {
    hgetall(store, name).into_iter().map(|(name, ..)| name).collect()
}

fn clean(store: &Store) {
    while store.clean_step(Demand::ToDelete) != CleanStep::Idle {}
}

fn expire(store: &Store) -> usize {
    store.expire_cycle(store.clock().now_ms(), Duration::from_secs(60))
}

#[test]
fn expiries_survive_restart_reload_and_cleaning() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let mut worker = store.worker();
    hset(&store, &mut worker, b"h", &[("a", "1", None), ("b", "2", Some(NOW + 500)), ("c", "3", Some(NOW + 900))]);
    in_txn(&store, &mut worker, &[b"h"], |txn| {
        let mut hash = txn.edit(key(b"h"), ObjectType::Hash).expect("a hash");
        hash.set_expiry(b"a", Some(NOW + 700)).expect("room");
        hash.set_expiry(b"c", None).expect("room");
        hash.finish().expect("staged");
    });
    let expected = hgetall(&store, b"h");
    assert_eq!(expected.iter().map(|field| field.2).collect::<Vec<_>>(), [Some(NOW + 700), Some(NOW + 500), None]);
    store.reload().expect("reloaded");
    assert_eq!(hgetall(&store, b"h"), expected);
    store.close_worker(&mut worker);
    clean(&store);
    assert_eq!(hgetall(&store, b"h"), expected);
    assert_eq!(store.check_books(), Ok(()));
    drop(store);
    let store = open(&path);
    assert_eq!(hgetall(&store, b"h"), expected);
    assert_eq!(store.db_stats(0).field_expires, 1);
    store.clock().advance(500);
    assert_eq!((names(&store, b"h").as_str(), expire(&store)), ("ac", 0), "the look has removed it");
    store.clock().advance(200);
    assert_eq!((expire(&store), names(&store, b"h").as_str()), (1, "c"));
    assert_eq!((store.expired_fields(), store.db_stats(0).field_expires), (2, 0));
    assert_eq!(store.check_books(), Ok(()));
}

/// An older record of a field must not count again: whoever saw that it had expired sees it so after a crash, with any clock, and after cleaning.
#[test]
fn expired_fields_stay_away_even_when_the_clock_is_set_back() {
    for cycle in [false, true] {
        for cleans in [false, true] {
            let dir = tempfile::tempdir().expect("tempdir");
            let path = dir.path().join("pool");
            let store = open(&path);
            let mut worker = store.worker();
            hset(&store, &mut worker, b"h", &[("a", "old", None), ("b", "2", None)]);
            store.close_worker(&mut worker);
            hset(&store, &mut worker, b"h", &[("a", "new", Some(NOW + 100))]);
            store.close_worker(&mut worker);
            store.clock().advance(100);
            match cycle {
                true => assert_eq!(expire(&store), 1),
                false => assert_eq!(names(&store, b"h"), "b"),
            }
            if cleans {
                // The newest record of `a` is cleaned away before the older one is.
                for round in 0..3 {
                    for number in 0..400 {
                        set(&store, &mut worker, format!("filler:{number}").as_bytes(), &[round; 2000], None);
                    }
                    store.close_worker(&mut worker);
                    clean(&store);
                }
            }
            assert_eq!(store.check_books(), Ok(()));
            drop(store);
            let store = open_at(&path, NOW - 1000);
            assert_eq!(names(&store, b"h"), "b", "cycle {cycle}, cleans {cleans}");
            store.reload().expect("reloaded");
            assert_eq!(names(&store, b"h"), "b");
        }
    }
}

/// The key of a hash whose last field has expired is as if deleted, and so is what it was before.
#[test]
fn a_hash_without_fields_is_gone_for_good() {
    for cycle in [false, true] {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("pool");
        let store = open(&path);
        let mut worker = store.worker();
        set(&store, &mut worker, b"h", b"what it was before", None);
        in_txn(&store, &mut worker, &[b"h"], |txn| {
            let mut hash = txn.edit_new(key(b"h"), ObjectType::Hash, None);
            hash.add_until(b"a", b"1", Some(NOW + 100)).expect("room");
            hash.add_until(b"b", b"2", Some(NOW + 200)).expect("room");
            hash.finish().expect("staged");
        });
        store.clock().advance(200);
        let exists = |store: &Store| store.peek(key(b"h"), store.clock().now_ms(), &pin()).is_some();
        assert!(!exists(&store));
        assert_eq!(store.len(0), 1, "a look only hides it");
        if cycle {
            assert_eq!(expire(&store), 2);
            assert_eq!(store.len(0), 0);
            store.close_worker(&mut worker);
            clean(&store);
        }
        assert_eq!(store.check_books(), Ok(()));
        drop(store);
        let store = open_at(&path, NOW - 1000);
        assert!(!exists(&store), "cycle {cycle}");
        expire(&store);
        assert_eq!(store.len(0), 0);
        assert_eq!(store.check_books(), Ok(()));
        drop(store);
        let store = open_at(&path, NOW - 1000);
        assert_eq!(store.len(0), 0);
    }
}

#[test]
fn recovery_drops_fields_whose_time_has_come() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let mut worker = store.worker();
    hset(&store, &mut worker, b"h", &[("a", "1", Some(NOW + 100)), ("b", "2", Some(NOW + 200)), ("c", "3", None)]);
    hset(&store, &mut worker, b"g", &[("a", "1", Some(NOW + 100)), ("b", "2", Some(NOW + 100))]);
    drop(store);
    let store = open_at(&path, NOW + 150);
    assert_eq!((names(&store, b"h").as_str(), names(&store, b"g").as_str()), ("bc", ""));
    assert_eq!(expire(&store), 1, "the last field of the hash that has no other");
    assert_eq!(store.len(0), 1);
    // What was seen to have expired stays so, though only recovery has seen it.
    drop(store);
    let store = open(&path);
    assert_eq!((names(&store, b"h").as_str(), store.len(0)), ("bc", 1));
    assert_eq!(store.check_books(), Ok(()));
}

/// Thousands of fields expire at once: a look has nothing to do with how many there are, and the cycle takes them away piece by piece.
#[test]
fn many_fields_go_in_pieces() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open(&dir.path().join("pool"));
    let mut worker = store.worker();
    for number in 0..3000 {
        let field = format!("{number:04}");
        hset(&store, &mut worker, b"h", &[(&field, "x", (number != 7).then_some(NOW + 100 + number % 5))]);
    }
    store.clock().advance(102);
    let guard = pin();
    let len = || {
        let view = store.collection(key(b"h"), None, 0, store.clock().now_ms(), &guard).expect("a hash");
        view.map_or(0, |view| view.len())
    };
    assert_eq!(len(), 1200 + 1);
    assert!(store.expired_fields() < 100, "a look removes a few");
    store.clock().advance(2);
    assert_eq!(len(), 1);
    let mut removed = 0;
    while store.db_stats(0).field_expires > 0 {
        removed += store.expire_cycle(store.clock().now_ms(), Duration::ZERO);
    }
    assert!(removed > 2800);
    assert_eq!((len(), store.expired_fields()), (1, 2999));
    assert_eq!(store.check_books(), Ok(()));
}

/// Writers, readers, the expiry cycle and the cleaner at once, while time goes by: nobody sees a field after its time, and what is left at the end is
/// what recovery finds.
#[test]
fn fields_expire_under_writers_readers_and_the_cleaner() {
    use std::sync::atomic::{AtomicU64, Ordering};
    const WRITES: u64 = 4000;
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let names = [b"x", b"y", b"z"];
    let writers_left = AtomicU64::new(2);
    let is_over = || writers_left.load(Ordering::Acquire) == 0;
    std::thread::scope(|scope| {
        for seed in [1, 2] {
            let (store, writers_left) = (&store, &writers_left);
            scope.spawn(move || {
                let mut worker = store.worker();
                let mut random = collections::Random(seed);
                // Ends: time goes by, and what expires is removed by somebody.
                for number in (0u64..).take_while(|number| *number < WRITES || store.expired_fields() <= 100) {
                    let (name, field) = (names[random.below(3)], [b'a' + random.below(20) as u8]);
                    in_txn(store, &mut worker, &[name], |txn| {
                        let mut hash = txn.edit(key(name), ObjectType::Hash).expect("a hash");
                        let soon = Some(hash.now_ms() + 1 + random.below(8) as u64);
                        match random.below(8) {
                            0 => _ = hash.put(&field, &number.to_le_bytes()).expect("room"),
                            1 => _ = hash.remove(&field),
                            2 => hash.set_expiry(&field, soon).expect("room"),
                            _ => _ = hash.put_until(&field, &number.to_le_bytes(), soon).expect("room"),
                        }
                        hash.finish().expect("staged");
                    });
                    if number % 8 == 0 {
                        store.clock().advance(1);
                    }
                }
                store.close_worker(&mut worker);
                writers_left.fetch_sub(1, Ordering::AcqRel);
            });
        }
        scope.spawn(|| {
            while !is_over() {
                expire(&store);
            }
        });
        scope.spawn(|| {
            while !is_over() {
                let _step = store.clean_step(Demand::ToDelete);
            }
        });
        scope.spawn(|| {
            while !is_over() {
                for name in names {
                    let guard = pin();
                    let now_ms = store.clock().now_ms();
                    let view = store.collection(key(name), None, 0, now_ms, &guard).expect("a hash");
                    let Some(view) = view else { continue };
                    assert!(!view.is_empty());
                    assert_eq!(view.iter().count(), view.len());
                    assert!(view.iter().all(|field| field.expire_at().is_none_or(|at_ms| at_ms > now_ms)));
                }
            }
        });
    });
    expire(&store);
    clean(&store);
    assert_eq!(store.check_books(), Ok(()));
    let (left, now_ms) = (names.map(|name| hgetall(&store, name)), store.clock().now_ms());
    drop(store);
    let store = open_at(&path, now_ms);
    assert_eq!(names.map(|name| hgetall(&store, name)), left);
    assert_eq!(store.check_books(), Ok(()));
}
