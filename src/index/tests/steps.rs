//! Writers stopped at each step, and lookups that writers overtake.

use super::*;
use std::sync::mpsc::channel;
use std::thread;

/// X1, X2, X3 and the progress of readers: at each step of each insert and remove (splits, merges, compactions within) a
/// preempted writer leaves every other key findable, every absent key absent, copies locked, and relocations right.
#[test]
fn every_key_is_found_at_every_step() {
    const KEYS: u64 = if cfg!(miri) { 100 } else { 260 };
    let index = Rc::new(small(0));
    let model = Rc::new(RefCell::new(HashMap::new()));
    let steps = Rc::new(Cell::new(0_u64));
    let busy = Rc::new(Cell::new(0_u64));
    let hook = {
        let (index, model, steps, busy) = (index.clone(), model.clone(), steps.clone(), busy.clone());
        move || {
            steps.set(steps.get() + 1);
            look_around(&index, &mut model.borrow_mut(), steps.get(), &busy);
        }
    };
    at_each_step(hook, || {
        let mut rng = Rng(1);
        for tide in 0..4 {
            for i in 0..KEYS {
                let key = if tide % 2 == 0 { i } else { rng.below(KEYS) };
                // The key of the operation itself may be seen either way: it is not in the model meanwhile.
                let before = model.borrow_mut().remove(&key);
                if tide % 2 == 0 {
                    assert_eq!(put(&index, key, tide + 1), before);
                    model.borrow_mut().insert(key, addr_of(key, tide + 1));
                } else {
                    assert_eq!(take(&index, key), before);
                }
            }
        }
    });
    check(&index, &model.borrow());
    assert!(busy.get() > 20, "the cleaner met locked entries");
}

/// What a reader and the cleaner see of the table at one step of a writer.
fn look_around(index: &Index, model: &mut HashMap<u64, LogAddr>, step: u64, busy: &Cell<u64>) {
    let mut copies: HashMap<LogAddr, Vec<Word>> = HashMap::new();
    for word in all_words(index) {
        copies.entry(word.addr().unwrap()).or_default().push(word);
    }
    for words in copies.values().filter(|words| words.len() > 1) {
        assert!(words.iter().all(|word| word.is_locked() && *word == words[0]), "X1 at step {step}");
    }
    for (&key, &addr) in model.iter() {
        assert_eq!(look(index, key), Some(addr), "key {key} at step {step}");
        let mut out = [None];
        index.get_batch(&[mix(key)], &pin(), |_| {}, |_, addr| key_of(addr) == key, &mut out);
        assert_eq!(out, [Some(addr)], "key {key} in a batch at step {step}");
    }
    assert_eq!(look(index, 1 << 19), None);
    // A scan at one moment returns each key of the model once.
    let mut scanned: Vec<_> = scan_all(index).into_iter().filter(|key| model.contains_key(key)).collect();
    scanned.sort_unstable();
    let mut keys: Vec<_> = model.keys().copied().collect();
    keys.sort_unstable();
    assert_eq!(scanned, keys, "scan at step {step}");
    // Every copy of a locked entry stays as it is; an unlocked one moves, and nothing leads to the old place then.
    for (&key, addr) in model.iter_mut().filter(|(key, _)| *key % 7 == step % 7) {
        let new = addr_of(key, (addr.units() >> 20) + (1 << 10));
        match index.relocate(mix(key), *addr, new, &pin()) {
            Relocation::Moved => {
                assert!(all_words(index).iter().all(|word| word.addr() != Some(*addr)), "X3 at step {step}");
                *addr = new;
            }
            Relocation::Busy => {
                assert!(copies[addr].iter().all(|word| word.is_locked()));
                busy.set(busy.get() + 1);
            }
            Relocation::Gone => panic!("key {key} is there at step {step}"),
        }
    }
}

/// Two hashes of the same tag in bucket 0 of a table without stripes to choose from.
const DECOY: u64 = 1 << 63;

/// A lookup that is stopped at a decoy of the same tag, while everything it is yet to look at is moved away, still hits.
#[test]
fn lookup_that_a_split_overtakes_starts_over() {
    // Bit 4 decides the first split; the pair sits behind the decoy, in the half that moves.
    let hash = |key: u64| if key < 2 { (key * DECOY) | (1 << 4) } else { (mix(key) & !0xf) | (1 + key % 15) };
    let index = small(0);
    let guard = pin();
    let put = |key: u64| index.upsert(hash(key), addr_of(key, 1), &guard, |addr| key_of(addr) == key);
    put(0);
    put(1);
    let mut overtaken = false;
    let found = index.get(hash(1), &guard, |addr| {
        if key_of(addr) == 0 && !overtaken {
            overtaken = true;
            (2..90).for_each(|key| _ = put(key));
            assert!(index.stats().buckets > 16, "bucket 0 was split");
        }
        key_of(addr) == 1
    });
    assert!(overtaken);
    assert_eq!(found, Some(addr_of(1, 1)));
}

/// The same with a compaction, which moves the wanted entry to a slot that the lookup has already passed.
#[test]
fn lookup_that_a_compaction_overtakes_starts_over() {
    let hash = |key: u64| key << 60;
    let index = small(0);
    let guard = pin();
    // Eight keys of one tag: the last in an overflow bucket.
    for key in 0..8 {
        index.upsert(hash(key), addr_of(key, 1), &guard, |addr| key_of(addr) == key);
    }
    assert_eq!(index.stats().overflow, 1);
    let mut overtaken = false;
    let found = index.get(hash(7), &guard, |addr| {
        if key_of(addr) == 3 && !overtaken {
            overtaken = true;
            index.remove(hash(0), &guard, |addr| key_of(addr) == 0);
            assert_eq!(index.stats().overflow, 0);
        }
        key_of(addr) == 7
    });
    assert!(overtaken);
    assert_eq!(found, Some(addr_of(7, 1)));
}

/// Overflow buckets that move down leave every key findable at every step, those at the end of a long chain too.
#[test]
fn lowered_chain_is_whole_at_every_step() {
    let index = Rc::new(small(0));
    let table = &index.table;
    let low: Vec<u32> = (0..10).map(|_| table.take_overflow(0).0).collect();
    let keys = (0..1 << 20).filter(|&key| mix(key) & 0xfff == 5).take(40);
    let model: HashMap<_, _> = keys.map(|key| (key, addr_of(key, 1))).collect();
    model.keys().for_each(|&key| _ = put(&index, key, 1));
    low.iter().for_each(|&link| table.pool.give_back(&table.space, link));
    table.space.stripe(0).overflow.fetch_sub(10, Ordering::Relaxed);
    let main = table.space.main(5);
    let model = Rc::new(RefCell::new(model));
    let steps = Rc::new(Cell::new(0));
    let hook = {
        let (index, model, steps, busy) = (index.clone(), model.clone(), steps.clone(), Cell::new(0));
        move || {
            steps.set(steps.get() + 1);
            look_around(&index, &mut model.borrow_mut(), steps.get(), &busy);
        }
    };
    at_each_step(hook, || table.lower(0, main, 5, &pin()));
    let links = table.chain(main).map(|bucket| Header(bucket.header.load(Ordering::Relaxed)).link());
    assert_eq!(links.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 0]);
    assert!(steps.get() > 100);
    check(&index, &model.borrow());
}

/// Runs `act` once for each pair of its steps. At the first of the two a lookup of key `target` starts in another thread and stops
/// where it compares key `decoy`, of the same hash; at the second (or when `act` is over) it goes on, and must hit all the same.
fn overtake_at_each_step(setup: impl Fn(&Index), act: impl Fn(&Index), hash: u64, target: u64, decoy: u64) {
    let mut first = 0;
    let mut most = 0;
    while first <= most {
        for second in (first + 1..=most + 1).rev() {
            let index = Arc::new(small(0));
            setup(&index);
            most = most.max(overtake(&index, &act, (first, second), hash, target, decoy));
        }
        first += 1;
    }
    assert!(most > 5, "the act has steps");
}

/// One run of it; returns how many steps `act` took.
fn overtake(
    index: &Arc<Index>,
    act: impl Fn(&Index),
    (first, second): (usize, usize),
    hash: u64,
    target: u64,
    decoy: u64,
) -> usize {
    let (start, started) = channel::<()>();
    let (stop, stopped) = channel();
    let (resume, resumed) = channel::<()>();
    let (done, finished) = channel::<()>();
    let reader = thread::spawn({
        let index = Arc::clone(index);
        move || {
            let _done = done;
            // Errors of the channels mean that the other side has gone past that point.
            let _ = started.recv();
            let mut met = false;
            index.get(hash, &pin(), |addr| {
                if key_of(addr) == decoy && !met {
                    met = true;
                    let _ = stop.send(());
                    let _ = resumed.recv();
                }
                key_of(addr) == target
            })
        }
    });
    let steps = Rc::new(Cell::new(0));
    let mut resume = Some(resume);
    let hook = {
        let steps = steps.clone();
        move || {
            if steps.get() == first {
                let _ = start.send(());
                let _ = stopped.recv();
            } else if steps.get() == second {
                drop(resume.take());
                let _ = finished.recv();
            }
            steps.set(steps.get() + 1);
        }
    };
    at_each_step(hook, || act(index));
    assert_eq!(reader.join().unwrap(), Some(addr_of(target, 1)), "steps {first} and {second}");
    steps.get()
}

/// Puts key `key` under `hash`.
fn put_at(index: &Index, hash: u64, key: u64) {
    index.upsert(hash, addr_of(key, 1), &pin(), |addr| key_of(addr) == key);
}

fn take_at(index: &Index, hash: u64, key: u64) {
    index.remove(hash, &pin(), |addr| key_of(addr) == key);
}

#[test]
fn lookups_that_a_compaction_overtakes_hit() {
    let setup = |index: &Index| (0..15).for_each(|key| put_at(index, 0, key));
    overtake_at_each_step(setup, |index| take_at(index, 0, 0), 0, 14, 3);
}

#[test]
fn lookups_that_a_lowering_overtakes_hit() {
    let setup = |index: &Index| {
        let low: Vec<u32> = (0..4).map(|_| index.table.take_overflow(0).0).collect();
        (0..21).for_each(|key| put_at(index, 0, key));
        low.iter().for_each(|&link| index.table.pool.give_back(&index.table.space, link));
    };
    let lower = |index: &Index| index.table.lower(0, index.table.space.main(0), 2, &pin());
    // Main bucket and overflow buckets hold seven keys each.
    for (target, decoy) in [(15, 1), (15, 14), (8, 7)] {
        overtake_at_each_step(setup, lower, 0, target, decoy);
    }
}

/// Ten keys of one hash in bucket 0, in the half that a split moves, and 66 in the others: one more makes a split due.
fn due_for_a_split(index: &Index) {
    (0..10).for_each(|key| put_at(index, 1 << 4, key));
    (10..76).for_each(|key| put_at(index, 1 + key % 15, key));
    assert_eq!(index.stats().buckets, 16);
}

#[test]
fn lookups_that_a_split_overtakes_hit() {
    let split = |index: &Index| {
        put_at(index, 1, 76);
        assert_eq!(index.stats().buckets, 17);
    };
    for (target, decoy) in [(2, 1), (9, 1), (9, 8)] {
        overtake_at_each_step(due_for_a_split, split, 1 << 4, target, decoy);
    }
}

#[test]
fn lookups_that_a_merge_overtakes_hit() {
    let setup = |index: &Index| {
        due_for_a_split(index);
        put_at(index, 1, 76);
        (10..25).for_each(|key| take_at(index, 1 + key % 15, key));
        assert_eq!((index.stats().buckets, index.len()), (17, 62));
    };
    let merge = |index: &Index| {
        take_at(index, 1 + 25 % 15, 25);
        assert_eq!(index.stats().buckets, 16);
    };
    for (target, decoy) in [(2, 1), (9, 1), (9, 8)] {
        overtake_at_each_step(setup, merge, 1 << 4, target, decoy);
    }
}
