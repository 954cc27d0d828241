//! What the operations of the index cost: time per operation, one thread, a million keys whose records (80 bytes in
//! ordinary memory) are compared on a hit.
//!
//! Access is in random order; a sample is a slice of 1024 operations, whose hashes are drawn beforehand, so hashing is not in
//! the figures; a pin per operation is. A row of `hit_batch_of_16` is one batch of 16 keys, a row of `insert_a_million` the
//! filling of an empty index, its growth and first page faults included. `benches/index-rivals` compares with other tables.

use crossbeam_epoch::pin;
use divan::{Bencher, black_box, counter::ItemsCount};
use fencepost::base::LogAddr;
use fencepost::index::{Index, IndexOptions};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const KEYS: u64 = 1_000_000;
const RECORD_BYTES: u64 = 80;

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The records: each holds its key's hash in its first word.
struct Records(Vec<u64>);

impl Records {
    fn new() -> Self {
        let words_per_record = (RECORD_BYTES / 8) as usize;
        let mut words = vec![1; (KEYS as usize + 1) * words_per_record];
        for key in 0..KEYS {
            words[(key as usize + 1) * words_per_record] = mix(key);
        }
        Self(words)
    }

    fn addr(key: u64) -> LogAddr {
        LogAddr::from_offset((key + 1) * RECORD_BYTES).expect("records start on 16-byte boundaries past 0")
    }

    fn is(&self, addr: LogAddr, hash: u64) -> bool {
        self.0[(addr.offset() / 8) as usize] == hash
    }
}

/// An index of all keys, and its records. All benches but the filling share one.
struct Filled {
    records: Records,
    index: Index,
}

static FILLED: OnceLock<Filled> = OnceLock::new();

fn filled() -> &'static Filled {
    FILLED.get_or_init(|| {
        let records = Records::new();
        let index = empty();
        fill(&index, &records);
        Filled { records, index }
    })
}

fn empty() -> Index {
    Index::new(&IndexOptions { stripe_bits: 12, max_entries: KEYS }).expect("address space is to be had")
}

fn fill(index: &Index, records: &Records) {
    for key in 0..KEYS {
        let hash = mix(key);
        index.upsert(hash, Records::addr(key), &pin(), |addr| records.is(addr, hash));
    }
}

/// The hash of a random key of the `KEYS` from `first` on. No two benches see the same sequence.
fn draw(first: u64) -> u64 {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed) + 1;
    mix(first + mix(drawn << 20) % KEYS)
}

#[divan::bench(sample_size = 1024, sample_count = 300)]
fn hit(bencher: Bencher) {
    let Filled { records, index } = filled();
    bencher
        .counter(ItemsCount::new(1u32))
        .with_inputs(|| draw(0))
        .bench_local_values(|hash| index.get(hash, &pin(), |addr| records.is(addr, hash)));
}

#[divan::bench(sample_size = 1024, sample_count = 300)]
fn miss(bencher: Bencher) {
    let Filled { records, index } = filled();
    bencher
        .counter(ItemsCount::new(1u32))
        .with_inputs(|| draw(KEYS))
        .bench_local_values(|hash| index.get(hash, &pin(), |addr| records.is(addr, hash)));
}

#[divan::bench(sample_size = 64, sample_count = 300)]
fn hit_batch_of_16(bencher: Bencher) {
    let Filled { records, index } = filled();
    let mut found = [None; 16];
    bencher.counter(ItemsCount::new(16u32)).with_inputs(|| [0; 16].map(draw)).bench_local_values(|run| {
        // The closure that would prefetch the record only lets the CPU see the address here: no unsafe in a bench.
        index.get_batch(&run, &pin(), |addr| _ = black_box(addr), |i, addr| records.is(addr, run[i]), &mut found);
        black_box(&found);
    });
}

#[divan::bench(sample_size = 1024, sample_count = 300)]
fn find_for_update(bencher: Bencher) {
    let Filled { records, index } = filled();
    bencher.counter(ItemsCount::new(1u32)).with_inputs(|| draw(0)).bench_local_values(|hash| {
        index.upsert_if(hash, Records::addr(0), &pin(), |addr| records.is(addr, hash), |_| false)
    });
}

#[divan::bench(sample_size = 1024, sample_count = 300)]
fn remove_and_insert(bencher: Bencher) {
    let Filled { records, index } = filled();
    bencher.counter(ItemsCount::new(1u32)).with_inputs(|| draw(0)).bench_local_values(|hash| {
        let guard = pin();
        if let Some(addr) = index.remove(hash, &guard, |addr| records.is(addr, hash)) {
            index.upsert(hash, addr, &guard, |addr| records.is(addr, hash));
        }
    });
}

#[divan::bench(sample_size = 1, sample_count = 5)]
fn insert_a_million(bencher: Bencher) {
    let records = &filled().records;
    bencher.counter(ItemsCount::new(KEYS)).with_inputs(empty).bench_local_refs(|index| fill(index, records));
}

fn main() {
    divan::main();
    if let Some(Filled { index, .. }) = FILLED.get() {
        println!("{:.1} bytes a key, {:?}", index.bytes() as f64 / KEYS as f64, index.stats());
    }
}
