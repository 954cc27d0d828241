//! One row: a pool filled to a level and written over.

use crate::histogram::Histogram;
use crate::load::{Draw, Keys, Values, name};
use crossbeam_epoch::pin;
use fencepost::base::Clock;
use fencepost::persist::RegionOptions;
use fencepost::pool::{PoolOptions, Urgency};
use fencepost::recovery::Progress;
use fencepost::store::{Key, Maintenance, Store, StoreError, StoreOptions, Worker};
use nix::sys::resource::{UsageWho, getrusage};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NOW_MS: u64 = 1_700_000_000_000;

/// A pool on tmpfs, gone with this, and all that runs on it.
pub struct Bed {
    pub store: Arc<Store>,
    pub worker: Worker,
    maintenance: Option<Maintenance>,
    waiting: tokio::runtime::Runtime,
    path: PathBuf,
    /// Writes that waited for room, how long, and how many of them had no reason to.
    pub waits: u64,
    pub waited: Duration,
    pub waits_beside_room: u64,
    /// Writes that found none after all.
    pub refused: u64,
}

impl Bed {
    pub fn new(pool_mib: u64) -> Self {
        let path = PathBuf::from(format!("/dev/shm/fencepost-endurance-{}.pool", std::process::id()));
        let pool = PoolOptions {
            path: Some(path.clone()),
            bytes: pool_mib << 20,
            max_bytes: 0,
            segment_bytes: None,
            stripes: 1 << 14,
            now_ms: NOW_MS,
            region: RegionOptions::default(),
        };
        let options = StoreOptions { pool, ..StoreOptions::dram(0) };
        let store = Store::open(&options, Clock::manual(NOW_MS), &Progress::default()).expect("a pool on tmpfs");
        let store = Arc::new(store);
        Self {
            worker: store.worker(),
            maintenance: Some(Maintenance::start(Arc::clone(&store)).expect("threads")),
            waiting: tokio::runtime::Builder::new_current_thread().build().expect("a runtime"),
            store,
            path,
            waits: 0,
            waited: Duration::ZERO,
            waits_beside_room: 0,
            refused: 0,
        }
    }

    /// Sets the key; `None` deletes it. Waits for room as the server does.
    pub fn write(&mut self, number: u64, value: Option<&[u8]>) {
        let name = name(number);
        let key = Key { db: 0, name: &name };
        let freed = self.store.pool().segments_freed();
        // Ends: there is room, or there will be none.
        while let Err(error) = self.try_write(key, value) {
            assert!(matches!(error, StoreError::OutOfSpace), "{error}");
            // A segment that was freed since the write began may have come too late for it.
            let pool = self.store.pool();
            self.waits_beside_room += u64::from(pool.has_room(Urgency::Normal) && pool.segments_freed() == freed);
            self.waits += 1;
            let began = Instant::now();
            let room = self.waiting.block_on(self.store.wait_for_room(value.is_none()));
            self.waited += began.elapsed();
            if !room {
                self.refused += 1;
                return;
            }
        }
    }

    fn try_write(&mut self, key: Key<'_>, value: Option<&[u8]>) -> Result<(), StoreError> {
        let guard = pin();
        let mut txn = self.store.write(&mut self.worker, &[key], NOW_MS, &guard);
        match value {
            Some(value) => txn.set_inline(key, value, None)?,
            None => assert!(txn.delete(key)?, "there was such a key"),
        }
        txn.commit()
    }

    /// Sets keys from 0 on until so many percent of the pool are live; says how many.
    fn fill(&mut self, live_percent: u32, values: &mut Values) -> u64 {
        let wanted = self.store.pool().bytes() / 100 * u64::from(live_percent);
        let mut keys = 0;
        // Ends: each key makes it fuller.
        while keys % 256 != 0 || self.store.info().live_bytes < wanted {
            self.write(keys, Some(values.next(keys)));
            assert_eq!(self.refused, 0, "the pool is full before {live_percent} % of it are live");
            keys += 1;
        }
        keys
    }

    /// Ends the background threads and has the store count everything anew: that must be what it has counted.
    pub fn check_books(&mut self) {
        drop(self.maintenance.take());
        self.store.check_books().expect("the books are right");
    }

    /// Every key below `keys` has a value of its own, and the store counts right.
    fn check(&mut self, keys: u64) {
        for number in 0..keys {
            let (name, guard) = (name(number), pin());
            let entry = self.store.read(Key { db: 0, name: &name }, NOW_MS, &guard).expect("it was set");
            let value = entry.string().expect("a string").bytes();
            assert_eq!(value[..8], number.to_le_bytes(), "the value of another key");
        }
        self.check_books();
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.store.close_worker(&mut self.worker);
        drop(self.maintenance.take());
        let _gone = std::fs::remove_file(&self.path);
    }
}

/// What was measured.
pub struct Row {
    pub pool_mib: u64,
    pub live_percent: u32,
    pub draw: Draw,
    pub elapsed: Duration,
    /// Processor time of the writer and of the store's own threads.
    pub writing: Duration,
    pub cleaning: Duration,
    pub ops: u64,
    pub user_bytes: u64,
    /// Bytes of medium written for each byte of keys and values, and bytes copied by the cleaner.
    pub amplification: f64,
    pub copied: f64,
    pub latencies: Histogram,
    pub waits: u64,
    pub waited: Duration,
    pub waits_beside_room: u64,
    pub refused: u64,
}

impl Row {
    pub fn ops_per_second(&self) -> f64 {
        self.ops as f64 / self.elapsed.as_secs_f64()
    }
}

/// Processor time so far: of this thread, and of all.
fn processor_time() -> (Duration, Duration) {
    let time = |who| {
        let usage = getrusage(who).expect("it is always to be had");
        let times = [usage.user_time(), usage.system_time()];
        times.iter().map(|time| Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()) as u64)).sum()
    };
    (time(UsageWho::RUSAGE_THREAD), time(UsageWho::RUSAGE_SELF))
}

/// Fills a pool and writes over what is in it, `turnovers` times its size after one that is not measured.
pub fn run(pool_mib: u64, live_percent: u32, draw: Draw, turnovers: f64) -> Row {
    let (mut bed, mut values) = (Bed::new(pool_mib), Values::new(1));
    let count = bed.fill(live_percent, &mut values);
    let mut keys = Keys::new(draw, count, 2);
    let pool_bytes = pool_mib << 20;
    overwrite(&mut bed, &mut keys, &mut values, pool_bytes, |_| {});
    (bed.waits, bed.waited, bed.waits_beside_room) = (0, Duration::ZERO, 0);
    let before = bed.store.pool().flow_totals();
    let mut latencies = Histogram::default();
    let (began, (writer_before, all_before)) = (Instant::now(), processor_time());
    let wanted = (pool_bytes as f64 * turnovers) as u64;
    let (ops, user_bytes) = overwrite(&mut bed, &mut keys, &mut values, wanted, |nanos| latencies.record(nanos));
    let (elapsed, (writer_after, all_after)) = (began.elapsed(), processor_time());
    let after = bed.store.pool().flow_totals();
    bed.check(count);
    let user = (after.user_bytes - before.user_bytes) as f64;
    Row {
        pool_mib,
        live_percent,
        draw,
        elapsed,
        writing: writer_after - writer_before,
        cleaning: (all_after - all_before).saturating_sub(writer_after - writer_before),
        ops,
        user_bytes,
        amplification: (after.block_bytes - before.block_bytes) as f64 / user,
        copied: (after.copied_bytes - before.copied_bytes) as f64 / user,
        latencies,
        waits: bed.waits,
        waited: bed.waited,
        waits_beside_room: bed.waits_beside_room,
        refused: bed.refused,
    }
}

/// Writes keys and values of `wanted` bytes, each write timed; how many writes and bytes it were.
fn overwrite(
    bed: &mut Bed,
    keys: &mut Keys,
    values: &mut Values,
    wanted: u64,
    mut record: impl FnMut(u64),
) -> (u64, u64) {
    let (mut ops, mut bytes) = (0, 0);
    while bytes < wanted {
        let key = keys.next();
        let value = values.next(key);
        let began = Instant::now();
        bed.write(key, Some(value));
        record(began.elapsed().as_nanos() as u64);
        ops += 1;
        bytes += 16 + value.len() as u64;
    }
    (ops, bytes)
}
