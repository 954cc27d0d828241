//! Power cuts: the store runs under the recorder, and at every event of its trace recovery is tried on what a cut could have left: the
//! prefix in program order (L0), only what is surely durable, and random choices among what was not fenced.
//!
//! Oracle: the recovered contents are those after all acknowledged operations, or after these and the one in flight; nothing else. After
//! recovery the run goes on with a write and a second recovery. The recorder's own rules hold on every trace, and each commit has just one fence.

use crossbeam_epoch::pin;
use fencepost::base::Clock;
use fencepost::persist::{Region, RegionOptions};
use fencepost::pool::{Pool, PoolOptions};
use fencepost::recovery::Progress;
use fencepost::store::{Key, Store, StoreError, StoreOptions, Worker};
use pmem_emulation::{Crash, Domain, Note, Recorder, RecorderOptions};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const NOW_MS: u64 = 1_700_000_000_000;
const DATABASES: u32 = 2;

/// Value and expiry of each key, by database and name.
type State = BTreeMap<(u32, Vec<u8>), (Vec<u8>, Option<u64>)>;

fn options(hook: Option<Arc<Recorder>>) -> StoreOptions {
    let hook = hook.map(|hook| hook as Arc<dyn pmem_emulation::Hook>);
    let pool = PoolOptions {
        path: None,
        bytes: 8192 + 24 * 4096,
        segment_bytes: Some(4096),
        stripes: 4,
        now_ms: NOW_MS,
        region: RegionOptions { hook, ..RegionOptions::default() },
    };
    StoreOptions { pool, databases: DATABASES, recovery_threads: 1, salvage: false }
}

fn state_of(store: &Store, now_ms: u64) -> State {
    let mut state = State::new();
    let guard = pin();
    for db in 0..DATABASES {
        let mut cursor = 0;
        loop {
            cursor = store.scan(db, cursor, now_ms, &guard, &mut |entry| {
                let value = entry.string().expect("a string").bytes().into_owned();
                state.insert((db, entry.key().to_vec()), (value, entry.expire_at()));
            });
            if cursor == 0 {
                break;
            }
        }
    }
    state
}

#[derive(Debug, Clone)]
enum Op {
    Set(u32, u8, Vec<u8>, Option<u64>),
    SetMany(Vec<(u8, Vec<u8>)>),
    /// Plain SETs of one pipeline, which share a batch.
    SetRun(Vec<(u8, Vec<u8>)>),
    Delete(Vec<u8>),
    Rename(u8, u8),
    Move(u8),
    Copy(u8, u8),
    Patch(u8, usize, Vec<u8>),
    Expire(u8, Option<u64>),
    Tick(u64),
    Flush(u32),
    Swap,
}

/// xorshift64*: small, seeded, good enough to choose operations.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.below(8) {
            0 => 0,
            1..=4 => self.below(60),
            5 | 6 => self.below(400),
            _ => 1100 + self.below(2500),
        };
        let salt = self.below(256) as u8;
        (0..len).map(|i| (i as u8).wrapping_mul(7) ^ salt).collect()
    }

    fn op(&mut self, now_ms: u64) -> Op {
        let (key, other) = (self.below(6) as u8, self.below(6) as u8);
        let expiry = (self.below(4) == 0).then(|| now_ms + 1 + self.below(30));
        match self.below(16) {
            0..=3 => Op::Set(self.below(2) as u32, key, self.value(), expiry),
            4 => Op::SetMany((0..3).map(|i| ((key + i) % 6, self.value())).collect()),
            5 => Op::SetRun((0..4).map(|i| ((key + i % 3) % 6, pattern(self.below(300), i))).collect()),
            6 => Op::Delete(vec![key, (key + 1) % 6]),
            7 => Op::Rename(key, other),
            8 => Op::Move(key),
            9 => Op::Copy(key, other),
            10..=11 => {
                let offset = self.below(1500) as usize;
                let bytes = [vec![1], self.value()].concat();
                Op::Patch(key, offset, bytes)
            }
            12 => Op::Expire(key, expiry),
            13 => Op::Tick(self.below(20)),
            14 => Op::Flush(self.below(2) as u32),
            _ => Op::Swap,
        }
    }
}

/// The plain model.
fn apply_to_model(op: &Op, state: &mut State, now_ms: u64) {
    state.retain(|_, (_, expiry)| expiry.is_none_or(|at| at > now_ms));
    let name = |key: &u8| vec![*key];
    match op {
        Op::Set(db, key, value, expiry) => drop(state.insert((*db, name(key)), (value.clone(), *expiry))),
        Op::SetMany(pairs) | Op::SetRun(pairs) => {
            for (key, value) in pairs {
                state.insert((0, name(key)), (value.clone(), None));
            }
        }
        Op::Delete(keys) => keys.iter().for_each(|key| drop(state.remove(&(0, name(key))))),
        Op::Rename(from, to) => {
            if let Some(value) = state.remove(&(0, name(from))) {
                state.insert((0, name(to)), value);
            }
        }
        Op::Move(key) => {
            if let Some(value) = state.remove(&(0, name(key))) {
                state.insert((1, name(key)), value);
            }
        }
        Op::Copy(from, to) => {
            if let Some((value, _)) = state.get(&(0, name(from))).filter(|_| from != to).cloned() {
                state.insert((0, name(to)), (value, None));
            }
        }
        Op::Patch(key, offset, bytes) => {
            let (value, _) = state.entry((0, name(key))).or_default();
            value.resize(value.len().max(offset + bytes.len()), 0);
            value[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        Op::Expire(key, expiry) => {
            if let Some(found) = state.get_mut(&(0, name(key))) {
                found.1 = *expiry;
            }
        }
        Op::Tick(_) => {}
        Op::Flush(db) => state.retain(|(other, _), _| other != db),
        Op::Swap => {
            *state = std::mem::take(state).into_iter().map(|((db, name), value)| ((1 - db, name), value)).collect();
        }
    }
}

fn apply_to_store(op: &Op, store: &Store, worker: &mut Worker) -> Result<(), StoreError> {
    let guard = pin();
    let now_ms = store.clock().now_ms();
    let key = |db: u32, name: &'static [u8]| Key { db, name };
    match op {
        Op::Set(db, name, value, expiry) => {
            let key = key(*db, one(*name));
            let value = store.prepare(worker, value)?;
            let mut txn = store.write(worker, &[key], now_ms, &guard);
            txn.set(key, value, *expiry)?;
            txn.commit()
        }
        Op::SetMany(pairs) => {
            let keys: Vec<Key<'_>> = pairs.iter().map(|(name, _)| key(0, one(*name))).collect();
            let values: Result<Vec<_>, _> = pairs.iter().map(|(_, value)| store.prepare(worker, value)).collect();
            let values = values?;
            let mut txn = store.write(worker, &keys, now_ms, &guard);
            for (key, value) in keys.iter().zip(values) {
                txn.set(*key, value, None)?;
            }
            txn.commit()
        }
        Op::SetRun(pairs) => {
            let pairs: Vec<(Key<'_>, &[u8])> =
                pairs.iter().map(|(name, value)| (key(0, one(*name)), &value[..])).collect();
            store.set_independent(worker, &pairs, now_ms, &guard)
        }
        Op::Delete(names) => {
            let keys: Vec<Key<'_>> = names.iter().map(|name| key(0, one(*name))).collect();
            let mut txn = store.write(worker, &keys, now_ms, &guard);
            for key in keys {
                txn.delete(key)?;
            }
            txn.commit()
        }
        Op::Rename(from, to) => {
            let (from, to) = (key(0, one(*from)), key(0, one(*to)));
            let mut txn = store.write(worker, &[from, to], now_ms, &guard);
            txn.rename(from, to)?;
            txn.commit()
        }
        Op::Move(name) => {
            let (from, to) = (key(0, one(*name)), key(1, one(*name)));
            let mut txn = store.write(worker, &[from, to], now_ms, &guard);
            txn.rename(from, to)?;
            txn.commit()
        }
        Op::Copy(from, to) if from == to => Ok(()),
        Op::Copy(from, to) => {
            let (from, to) = (key(0, one(*from)), key(0, one(*to)));
            let mut txn = store.write(worker, &[from, to], now_ms, &guard);
            txn.copy(from, to, None)?;
            txn.commit()
        }
        Op::Patch(name, offset, bytes) => {
            let key = key(0, one(*name));
            let mut txn = store.write(worker, &[key], now_ms, &guard);
            txn.patch(key, &[(*offset, bytes)])?;
            txn.commit()
        }
        Op::Expire(name, expiry) => {
            let key = key(0, one(*name));
            let mut txn = store.write(worker, &[key], now_ms, &guard);
            txn.set_expiry(key, *expiry)?;
            txn.commit()
        }
        Op::Tick(by_ms) => {
            store.clock().advance(*by_ms);
            store.expire_cycle(now_ms + by_ms, Duration::from_secs(1));
            Ok(())
        }
        Op::Flush(db) => store.flush_db(*db),
        Op::Swap => store.swap_db(0, 1),
    }
}

fn pattern(len: u64, salt: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(5) ^ salt).collect()
}

/// The one-byte name of a key.
fn one(byte: u8) -> &'static [u8] {
    const NAMES: [[u8; 1]; 6] = [[0], [1], [2], [3], [4], [5]];
    &NAMES[byte as usize]
}

fn pool_of(image: &[u8]) -> Option<Pool> {
    let region = Region::from_image(image, &RegionOptions::default()).expect("memory");
    Pool::from_region(region, Path::new("image")).ok()
}

/// Recovers from `image` at a clock set far back, so that only what is durable says what has expired.
fn recover(image: &[u8], now_ms: u64) -> Option<Store> {
    let pool = pool_of(image)?;
    let store = Store::recover(pool, &options(None), Clock::manual(now_ms), &Progress::default());
    Some(store.expect("a power cut is no damage"))
}

fn bytes_of(store: &Store) -> Vec<u8> {
    let region = store.pool().region();
    region.read(0, region.len()).expect("readable").to_vec()
}

/// Runs a seeded workload under the recorder and tries every cut. Returns how many images were recovered.
fn explore(seed: u64, operations: usize, random_per_cut: u64) -> u64 {
    let recorder = Recorder::new(RecorderOptions::default());
    let store = Store::open(&options(Some(Arc::clone(&recorder))), Clock::manual(NOW_MS), &Progress::default())
        .expect("a new pool");
    let mut worker = store.worker();
    let mut random = Random(seed);
    // States after 0, 1, 2, ... operations, and the time each is read at.
    let mut states: Vec<(State, u64)> = vec![(State::new(), NOW_MS)];
    let region = store.pool().region();
    while states.len() <= operations {
        let op = random.op(store.clock().now_ms());
        let number = states.len() as u64 - 1;
        region.note(Note::Begin(number));
        match apply_to_store(&op, &store, &mut worker) {
            Ok(()) => {}
            Err(StoreError::OutOfSpace) => {
                region.note(Note::Abandon(number));
                break;
            }
            Err(error) => panic!("{op:?}: {error}"),
        }
        region.note(Note::Ack(number));
        let now_ms = store.clock().now_ms();
        let mut state = states.last().expect("one at least").0.clone();
        apply_to_model(&op, &mut state, now_ms);
        state.retain(|_, (_, expiry)| expiry.is_none_or(|at| at > now_ms));
        assert_eq!(state_of(&store, now_ms), state, "seed {seed:#x}: {op:?} without any crash");
        states.push((state, now_ms));
    }
    assert!(recorder.errors().is_empty(), "seed {seed:#x}: {:?}", recorder.errors());
    let trace = recorder.trace();
    assert!(!trace.is_truncated());
    let mut images = 0;
    for domain in [Domain::Adr, Domain::Eadr] {
        images += trace.for_each_crash(domain, random_per_cut, seed, &mut |crash| judge(crash, &states, seed));
    }
    images
}

fn judge(crash: &Crash<'_>, states: &[(State, u64)], seed: u64) {
    let done = crash.acknowledged.len();
    let (state, now_ms) = &states[done];
    let place = || format!("seed {seed:#x}, cut {}, {done} operations acknowledged", crash.token);
    let Some(store) = recover(crash.image, *now_ms) else {
        // Before both superblocks were written there is no pool yet, and nothing was acknowledged.
        assert!(done == 0 && crash.unanswered.is_empty(), "{}: the pool does not open", place());
        return;
    };
    let found = state_of(&store, *now_ms);
    let fits = |(state, at_ms): &(State, u64)| {
        let mut state = state.clone();
        state.retain(|_, (_, expiry)| expiry.is_none_or(|expiry| expiry > *at_ms.max(now_ms)));
        state_of(&store, *at_ms.max(now_ms)) == state
    };
    let in_flight = !crash.unanswered.is_empty() && states.get(done + 1).is_some_and(fits);
    assert!(found == *state || in_flight, "{}: found {found:?}, expected {state:?}", place());
    // Life goes on: what is written now is there after the next start, and nothing else has changed.
    let mut worker = store.worker();
    apply_to_store(&Op::Set(1, 5, b"after".to_vec(), None), &store, &mut worker).expect("the reserve is not used up");
    let again = recover(&bytes_of(&store), *now_ms).expect("opens again");
    let mut expected = state_of(&store, *now_ms);
    expected.insert((1, one(5).to_vec()), (b"after".to_vec(), None));
    assert_eq!(state_of(&again, *now_ms), expected, "{}: after going on", place());
}

#[test]
fn every_cut_leaves_whole_operations_and_every_acknowledged_one() {
    let mut images = 0;
    for seed in 1..=6u64 {
        images += explore(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), 40, 2);
    }
    println!("crash states: {images}, violations: 0");
    assert!(images > 5_000, "only {images} images were tried");
}

#[test]
fn a_small_set_flushes_two_lines_and_fences_once() {
    let recorder = Recorder::new(RecorderOptions::default());
    let store = Store::open(&options(Some(Arc::clone(&recorder))), Clock::manual(NOW_MS), &Progress::default())
        .expect("a new pool");
    let mut worker = store.worker();
    let set = |worker: &mut Worker, value: &[u8]| {
        let guard = pin();
        let key = Key { db: 0, name: b"a key of 16 byte" };
        let mut txn = store.write(worker, &[key], NOW_MS, &guard);
        txn.set_inline(key, value, None).expect("staged");
        txn.commit().expect("room");
    };
    // The first write also opens a segment.
    set(&mut worker, b"first");
    for value in [&[7u8; 64][..], &[8; 64]] {
        let before = recorder.counters();
        set(&mut worker, value);
        let cost = recorder.counters().since(before);
        // 16 bytes of batch header, 32 of record header, key, value: 128 bytes.
        assert_eq!((cost.lines_flushed + cost.nt_lines, cost.fences, cost.stores), (2, 1, 0), "{cost:?}");
        assert_eq!((cost.clean_flushes, cost.empty_fences), (0, 0), "{cost:?}");
    }
    let before = recorder.counters();
    let guard = pin();
    assert!(store.read(Key { db: 0, name: b"a key of 16 byte" }, NOW_MS, &guard).is_some());
    let cost = recorder.counters().since(before);
    assert_eq!((cost.bytes_written, cost.lines_flushed, cost.fences), (0, 0, 0), "a read writes nothing");
}
