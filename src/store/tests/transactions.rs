//! Transactions of several commands: nothing of one counts or is seen before all of it does.

use super::atoms::recovered;
use super::*;
use crate::cleaner::Demand;
use crate::store::{KeyState, Touches};

fn set_within(store: &Store, worker: &mut Worker, name: &[u8], value: &[u8], guard: &Guard) {
    let value = store.prepare(worker, value, guard).expect("room");
    let mut txn = store.write(worker, &[key(name)], NOW, guard);
    txn.set(key(name), value, None).expect("staged");
    txn.commit().expect("room");
}

#[test]
fn nothing_counts_before_the_commit() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open(&dir.path().join("pool"));
    let mut worker = store.worker();
    set(&store, &mut worker, b"a", b"1", None);
    set(&store, &mut worker, b"gone", b"1", None);
    let long = pattern(200_000, 5);
    let guard = pin();
    let keys = [key(b"a"), key(b"b"), key(b"gone"), key(b"long")];
    let transaction = store.begin_transaction(&mut worker, Touches::Keys(&keys), true, NOW, &guard);
    assert!(transaction.is_unwritten(&worker));
    set_within(&store, &mut worker, b"a", b"2", &guard);
    set_within(&store, &mut worker, b"b", b"2", &guard);
    set_within(&store, &mut worker, b"a", b"3", &guard);
    set_within(&store, &mut worker, b"long", &long, &guard);
    let mut txn = store.write(&mut worker, &[key(b"long")], NOW, &guard);
    txn.patch(key(b"long"), &[(70_000, b"patched")]).expect("staged");
    txn.commit().expect("room");
    let mut txn = store.write(&mut worker, &[key(b"gone")], NOW, &guard);
    assert!(txn.delete(key(b"gone")).expect("staged"));
    txn.commit().expect("room");
    // It sees what it has done.
    assert_eq!(get(&store, b"a").as_deref(), Some(&b"3"[..]));
    assert_eq!((get(&store, b"gone"), store.len(0)), (None, 3));
    assert_eq!(store.read_many(&keys, NOW, &guard).iter().flatten().count(), 3);
    assert_eq!(transaction.key_state(key(b"gone"), &guard), KeyState::Absent);
    let cut = recovered(&store);
    assert_eq!(get(&cut, b"a").as_deref(), Some(&b"1"[..]));
    assert_eq!(get(&cut, b"gone").as_deref(), Some(&b"1"[..]));
    assert_eq!(cut.len(0), 2);
    cut.check_books().expect("counted");
    transaction.commit(&mut worker);
    let whole = recovered(&store);
    for store in [&store, &whole] {
        assert_eq!(get(store, b"a").as_deref(), Some(&b"3"[..]));
        assert_eq!(get(store, b"long").map(|value| value[70_000..70_007].to_vec()).as_deref(), Some(&b"patched"[..]));
        assert_eq!((get(store, b"gone"), store.len(0)), (None, 3));
        store.check_books().expect("counted");
    }
    store.reload().expect("reloads");
    assert_eq!(get(&store, b"a").as_deref(), Some(&b"3"[..]));
}

/// Threads write two keys and take what they have written back, all within one transaction; readers never see the state between, nor one key without the other.
#[test]
fn readers_see_all_of_a_transaction_or_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = open(&dir.path().join("pool"));
    // Passes of the readers while there are writers.
    let passes = AtomicU32::new(0);
    let stop = AtomicBool::new(false);
    let keys = [key(b"left"), key(b"right"), key(b"never")];
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2u8)
            .map(|thread| {
                let (store, keys, passes) = (&store, &keys, &passes);
                scope.spawn(move || {
                    let mut worker = store.worker();
                    for turn in 0.. {
                        if passes.load(Ordering::Relaxed) > 100 {
                            break;
                        }
                        let guard = pin();
                        let touches = if turn % 50 == 0 { Touches::Everything } else { Touches::Keys(keys) };
                        let transaction = store.begin_transaction(&mut worker, touches, true, NOW, &guard);
                        let value = format!("{thread}:{turn}");
                        set_within(store, &mut worker, b"never", b"x", &guard);
                        set_within(store, &mut worker, b"left", b"torn", &guard);
                        set_within(store, &mut worker, b"right", value.as_bytes(), &guard);
                        set_within(store, &mut worker, b"left", value.as_bytes(), &guard);
                        let mut txn = store.write(&mut worker, &[key(b"never")], NOW, &guard);
                        assert!(txn.delete(key(b"never")).expect("staged"));
                        txn.commit().expect("room");
                        transaction.commit(&mut worker);
                        drop(guard);
                        // Long before there is none: the other writer takes some meanwhile. Ends: most of the pool is garbage.
                        while store.pool.free_segments() < 8 {
                            let _step = store.clean_step(Demand::Now);
                        }
                    }
                    store.close_worker(&mut worker);
                })
            })
            .collect();
        let read = || {
            while !stop.load(Ordering::Relaxed) {
                let guard = pin();
                let bytes = |entry: &Entry<'_>| entry.string().expect("a string").bytes().into_owned();
                assert_ne!(get(&store, b"left").as_deref(), Some(&b"torn"[..]));
                assert_eq!(get(&store, b"never"), None);
                let both = store.read_many(&keys, NOW, &guard);
                assert_eq!(both[0].as_ref().map(bytes), both[1].as_ref().map(bytes));
                assert!(store.len(0) <= 2);
                let mut names = Vec::new();
                store.scan(0, 0, NOW, &guard, &mut |entry| names.push((entry.key().to_vec(), bytes(&entry))));
                assert!(names.iter().all(|(name, value)| name != b"never" && value != b"torn"));
                passes.fetch_add(1, Ordering::Relaxed);
            }
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        writers.into_iter().for_each(|writer| writer.join().expect("writes"));
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().expect("reads"));
    });
    store.check_books().expect("counted");
    let again = recovered(&store);
    assert_eq!(get(&again, b"left"), get(&store, b"left"));
    assert_eq!(get(&again, b"right"), get(&store, b"left"));
}

/// Whoever locks all stripes, or one, waits for a transaction, and neither waits for the other for ever.
#[test]
fn databases_and_reloads_wait_for_transactions() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut options = options(&dir.path().join("pool"));
    options.pool.bytes = 64 << 20;
    let store = Store::open(&options, Clock::manual(NOW), &Progress::default()).expect("opens");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..100 {
                if turn % 2 == 0 { store.reload().expect("reloads") } else { store.flush_db(0, None).expect("flushed") }
            }
        });
        for thread in 0..2u8 {
            let store = &store;
            scope.spawn(move || {
                let mut worker = store.worker();
                for turn in 0..100u32 {
                    let guard = pin();
                    let names = [[thread, 1], [thread, 2], [9, 9]];
                    let keys = names.each_ref().map(|name| key(name));
                    let transaction = store.begin_transaction(&mut worker, Touches::Keys(&keys), true, NOW, &guard);
                    names.iter().for_each(|name| set_within(store, &mut worker, name, &turn.to_le_bytes(), &guard));
                    // Long values are appended under a lock of their own.
                    set_within(store, &mut worker, &names[0], &pattern(70_000, 1), &guard);
                    assert_eq!(get(store, &names[1]).as_deref(), Some(&turn.to_le_bytes()[..]));
                    transaction.commit(&mut worker);
                }
                store.close_worker(&mut worker);
            });
        }
    });
    store.check_books().expect("counted");
}
