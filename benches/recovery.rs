//! How fast a pool of a million strings (keys of 16 bytes, values of 64) is recovered: records per second, one thread,
//! anonymous memory.
//!
//! `scan` only reads and checks the log; `recover` is that and all else between an open pool and a store that serves:
//! index, stripes, accounting. Each string is a commit batch of its own, two lines, and the pool was closed cleanly.
//! A recovery gets a copy of the pool, made beforehand, whose pages are present.

use crossbeam_epoch::pin;
use divan::{Bencher, counter::ItemsCount};
use fencepost::base::{Clock, LogAddr};
use fencepost::log::Record;
use fencepost::persist::{Region, RegionOptions};
use fencepost::pool::Pool;
use fencepost::recovery::{Progress, Visitor, scan_pool};
use fencepost::store::{Key, Store, StoreOptions};
use std::path::Path;
use std::sync::LazyLock;

const STRINGS: u64 = 1_000_000;
const POOL_BYTES: u64 = 192 << 20;
const NOW_MS: u64 = 1_700_000_000_000;

/// The store whose pool is recovered from.
static FILLED: LazyLock<Store> = LazyLock::new(|| {
    let store = Store::in_memory(POOL_BYTES, Clock::manual(NOW_MS)).expect("memory");
    let mut worker = store.worker();
    for number in 0..STRINGS {
        let guard = pin();
        let name = format!("key:{number:012}");
        let key = Key { db: 0, name: name.as_bytes() };
        let value = store.prepare(&mut worker, &[b'v'; 64], &guard).expect("a short value takes no room yet");
        let mut txn = store.write(&mut worker, &[key], NOW_MS, &guard);
        txn.set(key, value, None).expect("a name of 16 bytes");
        txn.commit().expect("the pool has room for all");
    }
    store.close_worker(&mut worker);
    store.close().expect("nothing to sync");
    store
});

fn copy_of_the_pool() -> Pool {
    let image = FILLED.pool().region().read(0, POOL_BYTES).expect("no hook, no media error");
    let region = Region::from_image(image, &RegionOptions::default()).expect("memory");
    Pool::from_region(region, Path::new("copy")).expect("a whole pool")
}

struct Count(u64);

impl Visitor<'_> for Count {
    fn record(&mut self, _: LogAddr, _: Record<'_>) {
        self.0 += 1;
    }
}

#[divan::bench(sample_size = 1, sample_count = 20)]
fn scan(bencher: Bencher) {
    let pool = FILLED.pool();
    bencher.counter(ItemsCount::new(STRINGS)).bench_local(|| {
        let mut visitors = [Count(0)];
        let report = scan_pool(pool, &mut visitors, &Progress::default());
        assert!(report.damage.is_empty() && visitors[0].0 == STRINGS);
    });
}

#[divan::bench(sample_size = 1, sample_count = 10)]
fn recover(bencher: Bencher) {
    let options = StoreOptions { recovery_threads: 1, ..StoreOptions::dram(POOL_BYTES) };
    bencher.counter(ItemsCount::new(STRINGS)).with_inputs(copy_of_the_pool).bench_local_values(|pool| {
        Store::recover(pool, &options, Clock::manual(NOW_MS), &Progress::default()).expect("nothing is damaged")
    });
}

fn main() {
    divan::main();
}
