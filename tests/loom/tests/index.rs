//! The index under readers who take no lock, one writer who holds the stripe, and the cleaner: every outcome must be one of some order of the
//! operations, and a record must be complete for whoever finds its address.
//!
//! The writer is always the first thread. For each location loom remembers the last access only, so a thread that loads what it then stores hides
//! what others loaded before; the first thread's steps come first, and then nothing is hidden.

use fencepost_loom::base::LogAddr;
use fencepost_loom::index::{Index, IndexOptions, Relocation};
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread::{JoinHandle, spawn};

/// Two keys of row 0, of which the second moves to row 2 when the table grows, and one of row 1.
const STAYS: u64 = 0b1000;
const MOVES: u64 = 0b10010;
const OTHER: u64 = 0b100001;

/// An index of one stripe, and records: whatever is stored in one before its address is published must be there for whoever finds it.
struct Table {
    index: Index,
    records: [AtomicU64; 8],
}

fn addr(n: u64) -> LogAddr {
    LogAddr::from_offset(16 * n).unwrap()
}

impl Table {
    /// A table in which each of `keys` leads to the record of its place in the list, counted from 1.
    fn with(keys: &[u64]) -> Arc<Self> {
        let index = Index::new(&IndexOptions { stripe_bits: 0, max_entries: 8 }).unwrap();
        let table = Self { index, records: Default::default() };
        for (n, &key) in (1..).zip(keys) {
            table.put(key, n);
        }
        Arc::new(table)
    }

    fn put(&self, key: u64, n: u64) -> Option<LogAddr> {
        self.records[n as usize].store(key, Relaxed);
        self.index.upsert(key, addr(n), &crossbeam_epoch::pin(), |found| self.is(key, found))
    }

    fn remove(&self, key: u64) -> Option<LogAddr> {
        self.index.remove(key, &crossbeam_epoch::pin(), |found| self.is(key, found))
    }

    fn get(&self, key: u64) -> Option<LogAddr> {
        self.index.get(key, &crossbeam_epoch::pin(), |found| self.is(key, found))
    }

    /// The key in the record at `found`, which must have one.
    fn is(&self, key: u64, found: LogAddr) -> bool {
        let held = self.records[(found.offset() / 16) as usize].load(Relaxed);
        assert_ne!(held, 0, "the record at {found:?} is not complete");
        held == key
    }
}

fn with<R: 'static>(table: &Arc<Table>, work: impl FnOnce(&Table) -> R + 'static) -> JoinHandle<R> {
    let table = Arc::clone(table);
    spawn(move || work(&table))
}

fn check(bound: Option<usize>, test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = bound;
    model.check(test);
}

#[test]
fn a_new_key_is_found_complete_or_not_at_all() {
    check(None, || {
        let table = Table::with(&[]);
        let reader = with(&table, |table| table.get(STAYS));
        assert_eq!(table.put(STAYS, 1), None);
        let found = reader.join().unwrap();
        assert!(found.is_none() || found == Some(addr(1)));
        assert_eq!(table.get(STAYS), Some(addr(1)));
    });
}

#[test]
fn a_key_that_is_updated_is_always_there_and_goes_forward() {
    check(None, || {
        let table = Table::with(&[STAYS]);
        let reader = with(&table, |table| [table.get(STAYS), table.get(STAYS)]);
        assert_eq!(table.put(STAYS, 2), Some(addr(1)));
        let seen = reader.join().unwrap();
        assert!([[1, 1], [1, 2], [2, 2]].iter().any(|order| seen == order.map(|n| Some(addr(n)))), "{seen:?}");
    });
}

#[test]
fn a_key_that_is_removed_does_not_come_back() {
    check(None, || {
        let table = Table::with(&[STAYS, OTHER]);
        let reader = with(&table, |table| [table.get(STAYS), table.get(STAYS)]);
        assert_eq!(table.remove(STAYS), Some(addr(1)));
        let seen = reader.join().unwrap();
        assert!(!(seen[0].is_none() && seen[1].is_some()), "{seen:?}");
        assert_eq!((table.get(STAYS), table.get(OTHER)), (None, Some(addr(2))));
    });
}

#[test]
fn no_key_is_missed_while_a_bucket_splits() {
    // The third key makes the table grow from two rows to three.
    for (n, key) in [(1, STAYS), (2, MOVES)] {
        check(Some(3), move || {
            let table = Table::with(&[STAYS, MOVES]);
            let reader = with(&table, move |table| table.get(key));
            table.put(OTHER, 3);
            assert_eq!(reader.join().unwrap(), Some(addr(n)), "missed");
            assert_eq!(table.get(key), Some(addr(n)));
            assert_eq!(table.index.stats().buckets, 3);
        });
    }
}

#[test]
fn no_key_is_missed_while_buckets_merge() {
    for (n, key) in [(1, STAYS), (2, MOVES)] {
        check(Some(3), move || {
            let table = Table::with(&[STAYS, MOVES, OTHER]);
            let reader = with(&table, move |table| table.get(key));
            table.remove(OTHER);
            assert_eq!(reader.join().unwrap(), Some(addr(n)), "missed");
            assert_eq!(table.get(key), Some(addr(n)));
            assert_eq!(table.index.stats().buckets, 2);
        });
    }
}

#[test]
fn a_record_that_is_relocated_leaves_the_index_once() {
    check(None, || {
        let table = Table::with(&[STAYS]);
        let cleaner = with(&table, |table| {
            table.records[2].store(STAYS, Relaxed);
            table.index.relocate(STAYS, addr(1), addr(2), &crossbeam_epoch::pin())
        });
        let displaced = table.put(STAYS, 3);
        match (cleaner.join().unwrap(), displaced) {
            (Relocation::Moved, Some(old)) => assert_eq!(old, addr(2), "the copy was there, and was displaced"),
            (Relocation::Gone, Some(old)) => assert_eq!(old, addr(1)),
            other => panic!("{other:?}"),
        }
        assert_eq!(table.get(STAYS), Some(addr(3)));
    });
}

#[test]
fn a_record_that_is_relocated_is_complete_at_both_places() {
    check(None, || {
        let table = Table::with(&[STAYS]);
        let reader = with(&table, |table| table.get(STAYS));
        table.records[2].store(STAYS, Relaxed);
        assert_eq!(table.index.relocate(STAYS, addr(1), addr(2), &crossbeam_epoch::pin()), Relocation::Moved);
        let found = reader.join().unwrap();
        assert!(found == Some(addr(1)) || found == Some(addr(2)), "{found:?}");
    });
}

#[test]
fn a_record_that_is_relocated_while_its_bucket_splits_keeps_one_address() {
    check(Some(3), || {
        let table = Table::with(&[STAYS, MOVES]);
        let cleaner = with(&table, |table| {
            table.records[4].store(MOVES, Relaxed);
            table.index.relocate(MOVES, addr(2), addr(4), &crossbeam_epoch::pin())
        });
        table.put(OTHER, 3);
        let expected = match cleaner.join().unwrap() {
            Relocation::Moved => addr(4),
            Relocation::Busy => addr(2),
            Relocation::Gone => panic!("it is there all the time"),
        };
        assert_eq!(table.get(MOVES), Some(expected));
        assert_eq!(table.index.len(), 3);
    });
}

#[test]
fn reads_of_a_batch_go_forward() {
    // Two keys written one after the other: whoever finds the second finds the first, asked for behind it. And the same of two keys removed.
    for removed in [false, true] {
        check(Some(3), move || {
            let table = Table::with(if removed { &[OTHER, STAYS] } else { &[] });
            let reader = with(&table, move |table| {
                let (mut found, hashes) = ([None; 2], [STAYS, OTHER]);
                let guard = crossbeam_epoch::pin();
                table.index.get_batch(&hashes, &guard, |_| (), |i, at| table.is(hashes[i], at), &mut found);
                found.map(|found| found.is_some() != removed)
            });
            match removed {
                false => drop((table.put(OTHER, 1), table.put(STAYS, 2))),
                true => drop((table.remove(OTHER), table.remove(STAYS))),
            }
            let done = reader.join().unwrap();
            assert!(!done[0] || done[1], "{done:?}");
        });
    }
}

#[test]
fn a_read_behind_one_that_looked_twice_is_not_older() {
    check(Some(3), || {
        let table = Table::with(&[OTHER, STAYS]);
        let reader = with(&table, |table| {
            let (mut found, hashes) = ([None; 2], [MOVES, OTHER]);
            let guard = crossbeam_epoch::pin();
            table.index.get_batch(&hashes, &guard, |_| (), |i, at| table.is(hashes[i], at), &mut found);
            found
        });
        // The second write makes the table grow, so a reader that has missed its key looks again.
        table.put(OTHER, 4);
        table.put(MOVES, 3);
        let found = reader.join().unwrap();
        assert!(found[0].is_none() || found[1] == Some(addr(4)), "{found:?}");
    });
}
