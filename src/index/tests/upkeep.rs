//! Memory: overflow buckets, the end of the reservation, the release after a shrink.

use super::*;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// X8, at the allocator: a bucket that left its chain is not handed out while a guard from before is pinned.
#[test]
fn freed_overflow_bucket_waits_for_the_epoch() {
    let hash = |key: u64| key << 60;
    let index = small(0);
    let reader = pin();
    for key in 0..8 {
        index.upsert(hash(key), addr_of(key, 1), &reader, |addr| key_of(addr) == key);
    }
    index.remove(hash(7), &reader, |addr| key_of(addr) == 7);
    let (first, _) = index.table.take_overflow(0);
    assert_ne!(first, 1, "the bucket that a reader may stand in");
    drop(reader);
    // Each round advances the epoch once other tests' guards let it.
    loop {
        pin().flush();
        let (link, _) = index.table.take_overflow(0);
        if link == 1 {
            break;
        }
        index.table.pool.give_back(&index.table.space, link);
        std::thread::yield_now();
    }
}

/// A table at the end of its reservation lets chains grow instead of failing.
#[test]
fn full_reservation_lengthens_chains() {
    let index = Index::new(&IndexOptions { stripe_bits: 0, max_entries: 10 }).unwrap();
    (0..5_000).for_each(|key| _ = put(&index, key, 1));
    assert!(index.stats().overflow > 500);
    (0..5_000).for_each(|key| assert_eq!(look(&index, key), Some(addr_of(key, 1))));
    (0..5_000).for_each(|key| _ = take(&index, key));
    check(&index, &HashMap::new());
}

/// After a shrink both ranges go back to the size that is needed, and what stays is found.
#[test]
fn memory_is_released_after_a_shrink() {
    const KEYS: u64 = 100_000;
    // All keys in 1024 buckets, so that chains are long and overflow buckets many.
    let crowded = |key: u64| (mix(key) & 0x3ff) | (mix(key) << 40);
    // Whether most of the memory went back to the system.
    let gives_back = |hash: fn(u64) -> u64| {
        let index = Index::new(&IndexOptions { stripe_bits: 8, max_entries: 1 << 20 }).unwrap();
        let put = |key, version| index.upsert(hash(key), addr_of(key, version), &pin(), |addr| key_of(addr) == key);
        let mut held = 0;
        let mut with_stripe = |_: usize, work: &mut dyn FnMut()| {
            held += 1;
            work();
        };
        (0..KEYS).for_each(|key| _ = put(key, 1));
        index.maintain(&pin(), &mut with_stripe);
        let (grown, resident) = (index.bytes(), resident_bytes(&index));
        // Every tenth stays, spread over all chains.
        for key in (0..KEYS).filter(|key| key % 10 != 0) {
            index.remove(hash(key), &pin(), |addr| key_of(addr) == key);
        }
        // Ends once other tests' guards let the epoch advance.
        while index.bytes() > grown / 3 {
            index.maintain(&pin(), &mut with_stripe);
            std::thread::yield_now();
        }
        assert!(held >= 1 << 8, "every stripe was locked once");
        let left = resident_bytes(&index);
        check_hashed(&index, &(0..KEYS).step_by(10).map(|key| (key, addr_of(key, 1))).collect(), hash);
        // And it grows again.
        (0..KEYS).for_each(|key| _ = put(key, 2));
        check_hashed(&index, &(0..KEYS).map(|key| (key, addr_of(key, 2))).collect(), hash);
        left < resident / 2
    };
    for hash in [mix, crowded] {
        // A kernel that makes huge pages of its own accord (khugepaged, DAMON) may fill what was given back, or all of it before.
        assert!((0..5).any(|_| gives_back(hash)), "the memory stays resident");
    }
}

/// A table that grows again while its memory is being released loses nothing: the limit holds until the pages are gone.
#[test]
fn growth_during_a_release_loses_nothing() {
    const KEYS: u64 = 60_000;
    let limit = |index: &Index| index.table.row_limit.load(Ordering::Relaxed);
    let model: HashMap<_, _> = (0..KEYS).map(|key| (key, addr_of(key, 2))).collect();
    // The pass through the stripes takes two rounds; the keys come back before, in between, or after it.
    for rounds in 1..4 {
        let index = Index::new(&IndexOptions { stripe_bits: 8, max_entries: 1 << 18 }).unwrap();
        let whole = limit(&index);
        (0..KEYS).for_each(|key| _ = put(&index, key, 1));
        (2_000..KEYS).for_each(|key| _ = take(&index, key));
        (0..rounds).for_each(|_| index.maintain(&pin(), &mut |_, work| work()));
        assert!(limit(&index) < whole, "a release is under way");
        (0..KEYS).for_each(|key| _ = put(&index, key, 2));
        check(&index, &model);
        while limit(&index) < whole {
            index.maintain(&pin(), &mut |_, work| work());
            std::thread::yield_now();
        }
        check(&index, &model);
    }
}

/// Bytes of the two bucket ranges that are in memory, as the kernel's page map says.
fn resident_bytes(index: &Index) -> u64 {
    const PAGE_BYTES: u64 = 4096;
    const PRESENT: u8 = 1 << 7;
    let space = &index.table.space;
    let mut pages = File::open("/proc/self/pagemap").unwrap();
    let mut resident = 0;
    let ranges = [(space.main(0), space.mains()), (space.linked(1), space.full_words() * 64 * 64)];
    for (first, buckets) in ranges {
        let from = std::ptr::from_ref(first).addr() as u64 / PAGE_BYTES;
        let mut entries = vec![0; (buckets as u64 * 64 / PAGE_BYTES * 8) as usize];
        pages.seek(SeekFrom::Start(from * 8)).unwrap();
        pages.read_exact(&mut entries).unwrap();
        resident += entries.chunks(8).filter(|entry| entry[7] & PRESENT != 0).count() as u64 * PAGE_BYTES;
    }
    resident
}

#[test]
fn dropping_an_index_with_work_deferred_is_harmless() {
    let index = small(0);
    (0..500).for_each(|key| _ = put(&index, key, 1));
    (0..500).for_each(|key| _ = take(&index, key));
    let table = Arc::downgrade(&index.table);
    drop(index);
    assert!(table.upgrade().is_none(), "deferred work does not keep the table");
    (0..200).for_each(|_| pin().flush());
}
