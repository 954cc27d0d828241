//! The index under real threads: writers with stripe locks, lock-free readers, a cleaner that relocates at full speed and the
//! upkeep. Histories are checked, not only crashes: each hit must return a record that was the published one at some
//! moment of the lookup, and a record whose space was reclaimed must never be looked at.

use crossbeam_epoch::{Guard, pin};
use fencepost::base::LogAddr;
use fencepost::index::{Index, IndexOptions, Relocation};
use std::array;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const STRIPE_BITS: u32 = 2;
const KEYS: usize = 3_000;
const RECORDS: usize = 1 << 15;

/// A record that was reclaimed.
const POISON: u64 = u64::MAX;

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % n
    }
}

/// Records in memory: key << 32 | state. The state of a key counts up with each change; odd = present, even = absent.
struct Log {
    records: Vec<AtomicU64>,
    free: Mutex<Vec<usize>>,
}

impl Log {
    fn new() -> Self {
        Self {
            records: (0..=RECORDS).map(|_| AtomicU64::new(POISON)).collect(),
            free: Mutex::new((1..=RECORDS).collect()),
        }
    }

    /// Waits for room, unpinned, so that reclaiming goes on.
    fn append(&self, record: u64) -> LogAddr {
        loop {
            let free = self.free.lock().unwrap().pop();
            if let Some(place) = free {
                self.records[place].store(record, Ordering::Relaxed);
                return LogAddr::from_units(place as u64).unwrap();
            }
            pin().flush();
            thread::yield_now();
        }
    }

    fn read(&self, addr: LogAddr) -> u64 {
        let record = self.records[addr.units() as usize].load(Ordering::Relaxed);
        assert_ne!(record, POISON, "a record was reclaimed under a pin");
        record
    }

    /// Reclaims a record once nobody pinned now can look at it.
    fn retire(self: &Arc<Self>, addr: LogAddr, guard: &Guard) {
        let log = Arc::clone(self);
        guard.defer(move || log.reclaim(addr));
    }

    fn reclaim(&self, addr: LogAddr) {
        let place = addr.units() as usize;
        let before = self.records[place].swap(POISON, Ordering::Relaxed);
        assert_ne!(before, POISON, "a record was retired twice");
        self.free.lock().unwrap().push(place);
    }
}

struct World {
    index: Index,
    log: Arc<Log>,
    stripes: [Mutex<()>; 1 << STRIPE_BITS],
    /// The state that the last change of a key was about to publish, and the one that it has published.
    begun: Vec<AtomicU64>,
    done: Vec<AtomicU64>,
    stop: AtomicBool,
}

impl World {
    fn new() -> Self {
        Self {
            index: Index::new(&IndexOptions { stripe_bits: STRIPE_BITS, max_entries: 1 << 16 }).unwrap(),
            log: Arc::new(Log::new()),
            stripes: array::from_fn(|_| Mutex::new(())),
            begun: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            done: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            stop: AtomicBool::new(false),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn is_key(&self, addr: LogAddr, key: usize) -> bool {
        self.log.read(addr) >> 32 == key as u64
    }

    fn change(&self, key: usize, present: bool) {
        let hash = mix(key as u64);
        let _held = self.stripes[self.index.stripe_of(hash)].lock().unwrap();
        let before = self.done[key].load(Ordering::Relaxed);
        let now = before + 1 + u64::from((before + 1) % 2 != u64::from(present));
        let record = present.then(|| self.log.append((key as u64) << 32 | now));
        let guard = pin();
        self.begun[key].store(now, Ordering::SeqCst);
        let old = match record {
            Some(new) => self.index.upsert(hash, new, &guard, |addr| self.is_key(addr, key)),
            None => self.index.remove(hash, &guard, |addr| self.is_key(addr, key)),
        };
        self.done[key].store(now, Ordering::SeqCst);
        assert_eq!(old.is_some(), before % 2 == 1, "the writer of a key sees its own history");
        if let Some(old) = old {
            assert_eq!(self.log.read(old), (key as u64) << 32 | before);
            self.log.retire(old, &guard);
        }
    }

    /// Looks up with `find` and checks what it says against the states that the key had meanwhile.
    fn check(&self, key: usize, find: impl FnOnce(&Guard) -> Option<LogAddr>) {
        let guard = pin();
        let first = self.done[key].load(Ordering::SeqCst);
        let found = find(&guard).map(|addr| self.log.read(addr) & u64::from(u32::MAX));
        let last = self.begun[key].load(Ordering::SeqCst);
        match found {
            Some(state) => assert!((first..=last).contains(&state), "key {key}: {state} not in {first}..={last}"),
            None => assert!((first..=last).any(|state| state % 2 == 0), "key {key} missed in {first}..={last}"),
        }
    }

    fn write(&self, seed: u64, changes: u64) {
        let mut rng = Rng(seed);
        for i in 0..changes {
            // Tides, so that the table grows and shrinks.
            let flood = i / 10_000 % 2 == 0;
            let key = rng.below(KEYS as u64) as usize;
            // A tenth of the keys stays once it is there.
            self.change(key, rng.below(10) < if flood { 8 } else { 2 } || key.is_multiple_of(10));
        }
    }

    fn read(&self, seed: u64) {
        let mut rng = Rng(seed);
        while !self.stopped() {
            let key = rng.below(KEYS as u64) as usize;
            self.check(key, |guard| self.index.get(mix(key as u64), guard, |addr| self.is_key(addr, key)));
            let keys: [usize; 5] = array::from_fn(|_| rng.below(KEYS as u64) as usize);
            self.check(keys[3], |guard| {
                let mut out = [None; 5];
                let is_match = |i: usize, addr| self.is_key(addr, keys[i]);
                self.index.get_batch(&keys.map(|key| mix(key as u64)), guard, |_| {}, is_match, &mut out);
                out[3]
            });
            let guard = pin();
            if let Some(addr) = self.index.random(&mut || mix(rng.below(u64::MAX)), &guard) {
                self.log.read(addr);
            }
        }
    }

    /// Walks the index and gives each record a new place. Returns how many it moved.
    fn clean(&self) -> u64 {
        let mut moved = 0;
        let mut cursor = 0;
        while !self.stopped() {
            let guard = pin();
            let mut victims = Vec::new();
            cursor = self.index.scan(cursor, &guard, |addr| victims.push(addr));
            for old in victims {
                let Some(place) = self.log.free.lock().unwrap().pop() else { break };
                let new = LogAddr::from_units(place as u64).unwrap();
                let record = self.log.read(old);
                self.log.records[place].store(record, Ordering::Relaxed);
                match self.index.relocate(mix(record >> 32), old, new, &guard) {
                    Relocation::Moved => {
                        moved += 1;
                        self.log.retire(old, &guard);
                    }
                    Relocation::Busy | Relocation::Gone => self.log.reclaim(new),
                }
            }
        }
        moved
    }

    /// Full walks: every key that was there from the first step to the last was returned.
    fn scan(&self) -> u64 {
        let mut walks = 0;
        while !self.stopped() {
            let before: Vec<u64> = self.done.iter().map(|state| state.load(Ordering::SeqCst)).collect();
            let mut seen = [false; KEYS];
            let mut cursor = 0;
            loop {
                let guard = pin();
                cursor = self.index.scan(cursor, &guard, |addr| seen[(self.log.read(addr) >> 32) as usize] = true);
                if cursor == 0 {
                    break;
                }
            }
            for key in 0..KEYS {
                let after = self.begun[key].load(Ordering::SeqCst);
                let stayed = !(before[key]..=after).any(|state| state % 2 == 0);
                assert!(seen[key] || !stayed, "key {key} stayed in {}..={after} and was left out", before[key]);
            }
            walks += 1;
        }
        walks
    }

    fn keep_up(&self) {
        while !self.stopped() {
            self.index.maintain(&pin(), &mut |stripe, work| {
                let _held = self.stripes[stripe].lock().unwrap();
                work();
            });
            thread::yield_now();
        }
    }
}

/// Stops the other threads when the writers are done, or when one of them fails.
struct StopAtEnd<'a>(&'a World);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// All roles at once on a table small enough that it splits, merges and compacts all the time.
#[test]
fn histories_are_linearizable_while_everything_moves() {
    let world = World::new();
    let changes = if cfg!(debug_assertions) { 120_000 } else { 400_000 };
    let (moved, walks) = thread::scope(|scope| {
        scope.spawn(|| world.read(1));
        scope.spawn(|| world.keep_up());
        let cleaner = scope.spawn(|| world.clean());
        let scanner = scope.spawn(|| world.scan());
        {
            let _stop = StopAtEnd(&world);
            thread::scope(|writers| {
                let world = &world;
                for seed in 10..12 {
                    writers.spawn(move || world.write(seed, changes));
                }
            });
        }
        (cleaner.join().unwrap(), scanner.join().unwrap())
    });
    println!("{moved} records relocated, {walks} walks, {:?}", world.index.stats());
    assert!(moved > 0 && walks > 0, "all roles had their turn");
    for key in 0..KEYS {
        world.check(key, |guard| world.index.get(mix(key as u64), guard, |addr| world.is_key(addr, key)));
    }
    let present = world.done.iter().filter(|state| state.load(Ordering::Relaxed) % 2 == 1).count();
    assert_eq!(world.index.len(), present as u64);
}

/// Threads that own disjoint stripes rebuild an index together, the higher version winning, as recovery does.
#[test]
fn parallel_rebuild_keeps_the_highest_versions() {
    const THREADS: u64 = 4;
    const COUNT: u64 = 20_000;
    let index = Index::new(&IndexOptions { stripe_bits: 4, max_entries: COUNT }).unwrap();
    // Address = version * COUNT + key + 1: three versions of each key in an order of their own.
    let place = |key: u64, version: u64| LogAddr::from_units(version * COUNT + key + 1).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let index = &index;
            scope.spawn(move || {
                for record in 0..3 * COUNT {
                    let (key, version) = (record % COUNT, 1 + (record / COUNT + record) % 3);
                    if index.stripe_of(mix(key)) as u64 % THREADS != thread {
                        continue;
                    }
                    let is_match = |addr: LogAddr| (addr.units() - 1) % COUNT == key;
                    let newer = |old: LogAddr| place(key, version) > old;
                    let _ = index.upsert_if(mix(key), place(key, version), &pin(), is_match, newer);
                }
            });
        }
    });
    assert_eq!(index.len(), COUNT);
    for key in 0..COUNT {
        let versions = (0..3).map(|pass| 1 + (pass + pass * COUNT + key) % 3);
        let found = index.get(mix(key), &pin(), |addr| (addr.units() - 1) % COUNT == key);
        assert_eq!(found, versions.max().map(|version| place(key, version)));
    }
}

/// A walk passes over stripes without keys. It passed over one whose first key a lookup had found, but the writer had not counted yet.
#[test]
fn what_a_lookup_has_found_a_walk_finds_too() {
    const ROUNDS: u64 = 30_000;
    let index = Index::new(&IndexOptions { stripe_bits: STRIPE_BITS, max_entries: 1 << 10 }).expect("address space");
    let round = AtomicU64::new(0);
    let addr = LogAddr::from_units(1).expect("not 0");
    let mut missed = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=ROUNDS {
                // Ends: the other thread goes on with each round.
                while round.load(Ordering::Acquire) != number {
                    std::hint::spin_loop();
                }
                let guard = pin();
                index.upsert(mix(number), addr, &guard, |_| true);
            }
        });
        for number in 1..=ROUNDS {
            round.store(number, Ordering::Release);
            let guard = pin();
            while index.get(mix(number), &guard, |_| true).is_none() {
                std::hint::spin_loop();
            }
            let (mut found, mut cursor) = (0, 0);
            loop {
                cursor = index.scan(cursor, &guard, |_| found += 1);
                if cursor == 0 {
                    break;
                }
            }
            missed += usize::from(found != 1);
            index.remove(mix(number), &guard, |_| true);
        }
    });
    assert_eq!(missed, 0);
}
