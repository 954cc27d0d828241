//! Tests of the index from within. Concurrency is made deterministic in two ways: a hook at each step of a writer looks at
//! the table as readers and the cleaner would ([`at_each_step`]), and a lookup's equality closure runs writers in its middle.
//!
//! What was broken by hand, once each, and which test saw it:
//!
//! | broken | seen by |
//! |---|---|
//! | split clears before it bumps the version | `every_key_is_found_at_every_step` |
//! | split revives the low bucket's header before the high one's | a lookup at a step that does not end: `every_key_is_found_at_every_step` |
//! | merge kills the high bucket before the low one takes over | `every_key_is_found_at_every_step` |
//! | compaction does not bump the version | `lookup_that_a_compaction_overtakes_starts_over` |
//! | LOCKED dropped before the old copy is cleared | `every_key_is_found_at_every_step` (copies not all locked) |
//! | cleaner ignores LOCKED | `every_key_is_found_at_every_step` (a relocated key's old address is still there) |
//! | hint trusted instead of the header | `wrong_hints_cost_time_only` |
//! | depth 0 taken as a miss | `wrong_hints_cost_time_only` |
//! | header not read again after a miss | `lookup_that_a_split_overtakes_starts_over` |
//! | merge leaves the high bucket's entries | `table_agrees_with_a_plain_map` (dead bucket not empty) |
//! | scan steps by the table's depth instead of the bucket's | `scan_returns_what_stays` |
//! | an overflow bucket moves down with the bump before the link, after the clear, or not at all | `lookups_that_a_lowering_overtakes_hit` |
//! | or unlocked too early | `lowered_chain_is_whole_at_every_step` |
//! | splits go beyond the limit of a release | `growth_during_a_release_loses_nothing` |
//! | freed overflow buckets given back at once | `freed_overflow_bucket_waits_for_the_epoch` |
//! | update moves to another slot | `update_stays_in_its_slot` |
//! | random takes any bucket that is not empty | `random_is_uniform` |
//! | scan emits what was split off and not yet cleared | `every_key_is_found_at_every_step` |
//! | update loads and stores instead of a CAS | `update_meets_a_relocation` |

mod steps;
mod upkeep;

use super::raw::SLOTS;
use super::sync::{Ordering, at_each_step};
use super::word::Word;
use super::*;
use crossbeam_epoch::pin;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The address of a record of `key`: the key is in its low 20 bits, so closures can compare keys without a log.
fn addr_of(key: u64, version: u64) -> LogAddr {
    LogAddr::from_units(version << 20 | (key + 1)).unwrap()
}

fn key_of(addr: LogAddr) -> u64 {
    (addr.units() & 0xf_ffff) - 1
}

fn small(stripe_bits: u32) -> Index {
    Index::new(&IndexOptions { stripe_bits, max_entries: 1 << 20 }).unwrap()
}

fn put(index: &Index, key: u64, version: u64) -> Option<LogAddr> {
    index.upsert(mix(key), addr_of(key, version), &pin(), |addr| key_of(addr) == key)
}

fn look(index: &Index, key: u64) -> Option<LogAddr> {
    index.get(mix(key), &pin(), |addr| key_of(addr) == key)
}

fn take(index: &Index, key: u64) -> Option<LogAddr> {
    index.remove(mix(key), &pin(), |addr| key_of(addr) == key)
}

/// All words of the table, those in dead and in unlinked buckets included: readers may still stand there.
fn all_words(index: &Index) -> Vec<Word> {
    let table = &index.table;
    // A row more, for a split under way.
    let mains = 0..(table.frontier.load(Ordering::Relaxed) as usize + 1) * table.space.stripes();
    let overflow = 1..=table.pool.extent() as u32;
    let buckets = mains.map(|number| table.space.main(number)).chain(overflow.map(|link| table.space.linked(link)));
    buckets.flat_map(chain::slots_of).map(Slot::load).filter(|word| !word.is_free()).collect()
}

/// Checks the structure at rest against the keys that should be there.
fn check(index: &Index, model: &HashMap<u64, LogAddr>) {
    check_hashed(index, model, mix);
}

fn check_hashed(index: &Index, model: &HashMap<u64, LogAddr>, hash: fn(u64) -> u64) {
    let table = &index.table;
    let mut seen = HashMap::new();
    for stripe in 0..table.space.stripes() {
        let cell = table.space.stripe(stripe);
        let rows = table.rows(cell);
        let (mut entries, mut overflow) = (0, 0);
        for row in 0..table.frontier.load(Ordering::Relaxed) {
            let number = table.number(stripe, row);
            let main = table.space.main(number);
            let depth = Header(main.header.load(Ordering::Relaxed)).depth();
            let words: Vec<_> = table.slots(main).map(Slot::load).filter(|word| !word.is_free()).collect();
            if row >= rows {
                assert!(depth == 0 && words.is_empty(), "row {row} beyond {rows} is dead and empty");
                continue;
            }
            let level = rows.ilog2();
            let split = row >= 1 << level || row < rows - (1 << level);
            let expected = table.stripe_bits + level + u32::from(split);
            assert!(depth == expected || (depth == 0 && words.is_empty()), "depth {depth} of row {row} of {rows}");
            for word in &words {
                let addr = word.addr().unwrap();
                assert!(!word.is_locked());
                assert_eq!(word::low_bits(hash(key_of(addr)), expected), number as u64, "at home");
                assert_eq!(seen.insert(key_of(addr), addr), None, "in one slot");
            }
            let chained = table.chain(main).count() - 1;
            assert_eq!(chained, words.len().div_ceil(SLOTS).max(1) - 1, "no longer than needed");
            entries += words.len() as u64;
            overflow += chained as u32;
        }
        assert_eq!(cell.entries.load(Ordering::Relaxed), entries);
        assert_eq!(cell.overflow.load(Ordering::Relaxed), overflow);
    }
    assert_eq!(&seen, model);
}

fn scan_all(index: &Index) -> Vec<u64> {
    let mut keys = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = index.scan(cursor, &pin(), |addr| keys.push(key_of(addr)));
        if cursor == 0 {
            return keys;
        }
    }
}

/// Random inserts, updates and removes in tides, so that tables of few stripes split and merge all the time.
#[test]
fn table_agrees_with_a_plain_map() {
    for seed in 0..8 {
        let index = small(seed as u32 % 4);
        let mut rng = Rng(seed);
        let mut model = HashMap::new();
        for version in 1..if cfg!(miri) { 1_000 } else { 20_000 } {
            let key = rng.below(3_000);
            // Tides: mostly inserts, then mostly removes.
            if rng.below(100) < if version / 2_500 % 2 == 0 { 80 } else { 15 } {
                let addr = addr_of(key, version);
                assert_eq!(put(&index, key, version), model.insert(key, addr), "seed {seed}");
            } else {
                assert_eq!(take(&index, key), model.remove(&key), "seed {seed}");
            }
            let other = rng.below(3_000);
            assert_eq!(look(&index, other), model.get(&other).copied(), "seed {seed}");
            if version % 997 == 0 {
                check(&index, &model);
                assert_eq!(index.len(), model.len() as u64);
                let mut scanned = scan_all(&index);
                scanned.sort_unstable();
                let mut keys: Vec<_> = model.keys().copied().collect();
                keys.sort_unstable();
                assert_eq!(scanned, keys, "at rest a scan returns each key once");
            }
        }
    }
}

/// Batches of every length give what single lookups give, in order, with stale hints too.
#[test]
fn batch_agrees_with_single_lookups() {
    let index = small(2);
    for key in 0..2_000 {
        put(&index, key, 1);
    }
    for (round, hint) in [None, Some(0), Some(100)].into_iter().enumerate() {
        let keys: Vec<u64> = (0..70).map(|i| mix(i + round as u64) % 4_000).collect();
        if let Some(hint) = hint {
            (0..4).for_each(|stripe| index.table.space.hint(stripe).store(hint, Ordering::Relaxed));
        }
        for n in 0..keys.len() {
            let keys = &keys[..n];
            let hashes: Vec<u64> = keys.iter().map(|&key| mix(key)).collect();
            let mut out = vec![Some(addr_of(0, 9)); n];
            index.get_batch(&hashes, &pin(), |_| {}, |i, addr| key_of(addr) == keys[i], &mut out);
            let single: Vec<_> = keys.iter().map(|&key| look(&index, key)).collect();
            assert_eq!(out, single);
        }
    }
}

/// Keys whose hashes share stripe, bucket and tag are told apart by the closure alone, whatever the length of the chain.
#[test]
fn equal_tags_are_told_apart() {
    let index = small(0);
    let hash = |key: u64| key << 60 | 0xabcdef;
    let guard = pin();
    for key in 0..16 {
        for _ in 0..2 {
            index.upsert(hash(key), addr_of(key, 1), &guard, |addr| key_of(addr) == key);
        }
    }
    assert_eq!(index.len(), 16);
    for key in 0..16 {
        assert_eq!(index.get(hash(key), &guard, |addr| key_of(addr) == key), Some(addr_of(key, 1)));
        assert_eq!(index.remove(hash(key), &guard, |addr| key_of(addr) == key), Some(addr_of(key, 1)));
        assert_eq!(index.get(hash(key), &guard, |addr| key_of(addr) == key), None);
    }
    assert!(index.is_empty());
}

/// Tag 0 is the tag of a free slot too.
#[test]
fn tag_zero_is_no_free_slot() {
    let index = small(0);
    let guard = pin();
    assert_eq!(index.get(0, &guard, |_| panic!("nothing is there")), None);
    assert_eq!(index.upsert(0, addr_of(7, 1), &guard, |_| panic!("nothing is there")), None);
    assert_eq!(index.get(0, &guard, |addr| key_of(addr) == 7), Some(addr_of(7, 1)));
    // The same behind a slot that has become free.
    let hash = 1 << 40;
    index.upsert(hash, addr_of(8, 1), &guard, |addr| key_of(addr) == 8);
    assert_eq!(index.remove(0, &guard, |addr| key_of(addr) == 7), Some(addr_of(7, 1)));
    let mut found = [None];
    index.get_batch(&[hash], &guard, |_| {}, |_, addr| key_of(addr) == 8, &mut found);
    assert_eq!(found, [Some(addr_of(8, 1))]);
    assert_eq!(index.remove(hash, &guard, |addr| key_of(addr) == 8), Some(addr_of(8, 1)));
    index.upsert(0, addr_of(7, 1), &guard, |addr| key_of(addr) == 7);
    assert_eq!(index.remove(0, &guard, |addr| key_of(addr) == 7), Some(addr_of(7, 1)));
    assert_eq!(index.scan(0, &guard, |_| panic!("nothing is there")), 0);
}

#[test]
fn upsert_if_keeps_what_is_preferred() {
    let index = small(1);
    let guard = pin();
    let merge = |version| {
        let newer = |old: LogAddr| version > old.units() >> 20;
        index.upsert_if(mix(3), addr_of(3, version), &guard, |addr| key_of(addr) == 3, newer)
    };
    assert_eq!(merge(5), Upsert::Inserted);
    assert_eq!(merge(4), Upsert::Kept(addr_of(3, 5)));
    assert_eq!(merge(6), Upsert::Replaced(addr_of(3, 5)));
    assert_eq!((look(&index, 3), index.len()), (Some(addr_of(3, 6)), 1));
}

#[test]
fn relocate_moves_what_is_there_and_nothing_else() {
    let index = small(1);
    put(&index, 3, 1);
    let relocate = |old, new| index.relocate(mix(3), addr_of(3, old), addr_of(3, new), &pin());
    assert_eq!(relocate(1, 2), Relocation::Moved);
    assert_eq!(relocate(1, 3), Relocation::Gone);
    assert_eq!(look(&index, 3), Some(addr_of(3, 2)));
    take(&index, 3);
    assert_eq!(relocate(2, 3), Relocation::Gone);
}

/// X5.
#[test]
fn update_stays_in_its_slot() {
    let index = small(0);
    (0..60).for_each(|key| _ = put(&index, key, 1));
    // Leave free slots ahead of most keys.
    (0..60).step_by(3).for_each(|key| _ = take(&index, key));
    let keys = |index: &Index| all_words(index).iter().map(|word| key_of(word.addr().unwrap())).collect::<Vec<_>>();
    let before = keys(&index);
    for &key in &before {
        assert_eq!(put(&index, key, 2), Some(addr_of(key, 1)));
    }
    assert_eq!(keys(&index), before);
}

/// X5: when the cleaner moves a record just before it is updated, the update displaces the new place, not the old one.
#[test]
fn update_meets_a_relocation() {
    let index = Rc::new(small(0));
    put(&index, 3, 1);
    let guard = pin();
    let (is_match, moved) = (|addr| key_of(addr) == 3, addr_of(3, 2));
    let decide = |old| {
        assert_eq!(index.relocate(mix(3), old, moved, &guard), Relocation::Moved);
        true
    };
    assert_eq!(index.upsert_if(mix(3), addr_of(3, 9), &guard, is_match, decide), Upsert::Replaced(moved));
    // The same for a removal, at its last step.
    let found =
        index.remove(mix(3), &guard, |addr| index.relocate(mix(3), addr, addr_of(3, 10), &guard) == Relocation::Moved);
    assert_eq!(found, Some(addr_of(3, 10)));
    assert!(index.is_empty());
}

/// The hint is only where a search starts: every hint that a table of this size ever had leads to every key.
#[test]
fn wrong_hints_cost_time_only() {
    let index = small(1);
    (0..2_000).for_each(|key| _ = put(&index, key, 1));
    let highest = (index.table.space.mains() / 2) as u32 - BASE_ROWS;
    for hint in (0..300).chain([highest / 3, highest - 1, highest]) {
        for key in 0..2_500 {
            index.table.space.hint(0).store(hint, Ordering::Relaxed);
            index.table.space.hint(1).store(hint, Ordering::Relaxed);
            assert_eq!(look(&index, key), (key < 2_000).then(|| addr_of(key, 1)), "hint {hint}");
        }
    }
}

/// The guarantee of SCAN: keys that stay are returned, whatever grows and shrinks between the steps.
#[test]
fn scan_returns_what_stays() {
    for seed in 0..40 {
        let mut rng = Rng(seed);
        let index = small(seed as u32 % 3);
        (0..500).for_each(|key| _ = put(&index, key, 1));
        let mut returned = vec![false; 500];
        let mut others = 500;
        let mut cursor = 0;
        let mut steps = 0;
        loop {
            cursor = index.scan(cursor, &pin(), |addr| {
                if let Some(seen) = returned.get_mut(key_of(addr) as usize) {
                    *seen = true;
                }
            });
            if cursor == 0 {
                break;
            }
            steps += 1;
            assert!(steps < 20_000, "the walk ends");
            // Now and then a tide of other keys, sized so that the table doubles or halves a few times during a walk.
            if rng.below(8) == 0 {
                let target = if rng.below(2) == 0 { 500 + rng.below(5_000) } else { 500 + rng.below(100) };
                while others < target {
                    put(&index, others, 1);
                    others += 1;
                }
                while others > target {
                    others -= 1;
                    take(&index, others);
                }
            }
        }
        assert!(returned.iter().all(|&seen| seen), "seed {seed}");
    }
}

/// Chi-squared over 200 keys in a well-filled table, in a sparse one, and in one with buckets at two depths.
#[test]
fn random_is_uniform() {
    for (stripe_bits, keys) in [(0, 200), (8, 40), (1, 230), (3, 700)] {
        let index = small(stripe_bits);
        assert_eq!(index.random(&mut || 7, &pin()), None);
        (0..keys).for_each(|key| _ = put(&index, key, 1));
        let mut rng = Rng(5);
        let draws = keys * 100;
        let mut counts = vec![0_u64; keys as usize];
        for _ in 0..draws {
            let addr = index.random(&mut || rng.next(), &pin()).expect("there are keys");
            counts[key_of(addr) as usize] += 1;
        }
        let chi: f64 = counts.iter().map(|&count| (count as f64 - 100.0).powi(2) / 100.0).sum();
        let degrees = keys as f64 - 1.0;
        assert!(chi < degrees + 5.0 * (2.0 * degrees).sqrt(), "chi squared {chi} of {degrees} degrees, {keys} keys");
    }
}

#[test]
fn options_out_of_range_are_refused() {
    for (stripe_bits, max_entries) in [(17, 1), (4, u64::MAX), (4, (1 << 40) + 1)] {
        let error = Index::new(&IndexOptions { stripe_bits, max_entries }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
