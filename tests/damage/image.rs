//! A small pool's bytes, and what recovery and the tools make of them when they are damaged.

use crossbeam_epoch::pin;
use fencepost::base::{Clock, SegmentId};
use fencepost::persist::{Region, RegionOptions};
use fencepost::pool::{Pool, PoolError, PoolOptions};
use fencepost::recovery::Progress;
use fencepost::recovery::tools::{Check, check_pool};
use fencepost::store::{Key, OpenError, Store, StoreOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Where segment 0 of these pools starts: superblock copies and sync marks lie before.
pub const DATA_AT: u64 = 16384;

pub const NOW_MS: u64 = 1_700_000_000_000;

pub type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

pub fn options() -> StoreOptions {
    let pool = PoolOptions {
        path: None,
        bytes: DATA_AT + 6 * 4096,
        max_bytes: 0,
        segment_bytes: Some(4096),
        stripes: 4,
        now_ms: NOW_MS,
        region: RegionOptions::default(),
    };
    StoreOptions { pool, databases: 2, recovery_threads: 1, salvage: false }
}

/// A process that is being started has this one's open files, and with them the locks on pools, until it has become its own program. Who opens a pool again that
/// was dropped a moment ago must not meet that.
static STARTING: RwLock<()> = RwLock::new(());

/// Until this is dropped no test of this process starts another one.
pub fn nobody_starts() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}

/// To be held while a process is started, and no longer.
pub fn starting() -> RwLockWriteGuard<'static, ()> {
    STARTING.write().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a program to its end.
pub fn output(command: &mut Command) -> Output {
    let one_at_a_time = starting();
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    drop(one_at_a_time);
    started.and_then(|child| child.wait_with_output()).expect("it runs")
}

/// Everything in database 0.
pub fn contents(store: &Store) -> Contents {
    let mut found = Contents::new();
    let guard = pin();
    let mut cursor = 0;
    loop {
        cursor = store.scan(0, cursor, NOW_MS, &guard, &mut |entry| {
            let value = entry.string().expect("a string").bytes().into_owned();
            found.insert(entry.key().to_vec(), value);
        });
        if cursor == 0 {
            return found;
        }
    }
}

/// A pool with short and long strings, overwritten and deleted keys, over several segments. Its bytes, and what is in it.
pub fn image(close: bool) -> (Vec<u8>, Contents) {
    let (mut images, contents) = images(close);
    (images.pop().expect("the last one"), contents)
}

/// As [`image`], with what the bytes were after every write before.
pub fn images(close: bool) -> (Vec<Vec<u8>>, Contents) {
    let mut images = Vec::new();
    let store = Store::open(&options(), Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
    let mut worker = store.worker();
    for i in 0..24u32 {
        let name = format!("key:{}", i % 10);
        let value = vec![b'a' + (i % 26) as u8; if i % 7 == 0 { 1500 } else { 20 + i as usize }];
        let guard = pin();
        let key = Key { db: 0, name: name.as_bytes() };
        let prepared = store.prepare(&mut worker, &value, &guard).expect("room");
        let mut txn = store.write(&mut worker, &[key], NOW_MS, &guard);
        if i % 9 == 8 {
            txn.delete(key).expect("staged");
        } else {
            let expire_at = (i % 5 == 0).then_some(NOW_MS + 1_000_000);
            txn.set(key, prepared, expire_at).expect("staged");
        }
        images.push(store.pool().region().read(0, options().pool.bytes).expect("readable").to_vec());
        txn.commit().expect("room");
    }
    if close {
        store.close_worker(&mut worker);
        store.close().expect("nothing to sync");
    }
    images.push(store.pool().region().read(0, options().pool.bytes).expect("readable").to_vec());
    (images, contents(&store))
}

pub fn pool_of(image: &[u8]) -> Result<Pool, PoolError> {
    let region = Region::anonymous(image.len() as u64, &RegionOptions::default()).expect("memory");
    region.copy(0, image);
    Pool::from_region(region, Path::new("image"))
}

pub enum Outcome {
    Refused,
    Recovered(Contents, u64),
}

pub fn recover(image: &[u8]) -> Outcome {
    let pool = match pool_of(image) {
        Ok(pool) => pool,
        Err(_) => return Outcome::Refused,
    };
    match Store::recover(pool, &options(), Clock::manual(NOW_MS), &Progress::default()) {
        Ok(store) => Outcome::Recovered(contents(&store), store.info().recovery_unfinished),
        Err(OpenError::Damaged { .. }) => Outcome::Refused,
        Err(other) => panic!("an unexpected refusal: {other}"),
    }
}

pub fn check(image: &[u8]) -> Option<Check> {
    pool_of(image).ok().map(|pool| check_pool(&pool))
}

/// The parts of the image that mean something: superblocks, headers, logs. Of a closed pool.
pub fn used_bytes(image: &[u8]) -> Vec<bool> {
    let pool = pool_of(image).expect("whole");
    let mut used = vec![false; image.len()];
    used[..pool.segment_offset(SegmentId(0)) as usize].fill(true);
    let mut visitors = [Nothing];
    fencepost::recovery::scan_pool(&pool, &mut visitors, &Progress::default());
    for id in pool.segment_ids() {
        let start = pool.segment_offset(id) as usize;
        used[start..start + 64].fill(true);
        used[start..start + pool.segment_use(id).used_bytes as usize].fill(true);
    }
    used
}

struct Nothing;

impl fencepost::recovery::Visitor<'_> for Nothing {
    fn record(&mut self, _: fencepost::base::LogAddr, _: fencepost::log::Record<'_>) {}
}

/// What each key has ever been; `None` for absent.
pub type Past = BTreeMap<Vec<u8>, BTreeSet<Option<Vec<u8>>>>;

/// A pool with more of everything: two databases, long strings that are patched, renamed and copied, keys that are deleted, expired and set again. Its
/// bytes and what every key of database 0 has ever been.
pub fn busy_image(close: bool) -> (Vec<u8>, Contents, Past) {
    let mut options = options();
    options.pool.bytes = DATA_AT + 40 * 4096;
    let store = Store::open(&options, Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
    let mut worker = store.worker();
    let mut past = Past::new();
    for i in 0..60u32 {
        let guard = pin();
        let name = format!("key:{}", i * 7 % 12).into_bytes();
        let other = format!("key:{}", i * 5 % 12).into_bytes();
        let (key, other) = (Key { db: 0, name: &name }, Key { db: 0, name: &other });
        let value = vec![b'a' + (i % 26) as u8; [10, 60, 1500, 300, 2100][i as usize % 5]];
        let prepared = store.prepare(&mut worker, &value, &guard).expect("room");
        let mut txn = store.write(&mut worker, &[key, other], NOW_MS, &guard);
        match i % 9 {
            2 => drop(txn.delete(key).expect("staged")),
            4 => txn.patch(key, &[(i as usize * 20, b"patched")]).expect("staged"),
            6 => txn.rename(other, key).expect("staged"),
            7 => txn.copy(other, key, None).expect("staged"),
            8 => txn.set(key, prepared, Some(NOW_MS + 5)).expect("staged"),
            _ => txn.set(key, prepared, None).expect("staged"),
        }
        txn.commit().expect("room");
        let now = contents(&store);
        for number in 0..12 {
            let name = format!("key:{number}").into_bytes();
            past.entry(name.clone()).or_default().insert(now.get(&name).cloned());
        }
    }
    let guard = pin();
    let key = Key { db: 1, name: b"elsewhere" };
    let mut txn = store.write(&mut worker, &[key], NOW_MS, &guard);
    txn.set_inline(key, b"another database", None).expect("staged");
    txn.commit().expect("room");
    if close {
        store.close_worker(&mut worker);
        store.close().expect("nothing to sync");
    }
    let image = store.pool().region().read(0, options.pool.bytes).expect("readable").to_vec();
    let contents = contents(&store);
    assert!(contents.len() > 6 && contents.values().any(|value| value.len() > 2048));
    (image, contents, past)
}
