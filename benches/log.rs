//! What it costs to append one commit batch to the log, durably: time per batch of 1 or 16 records with keys of 16 bytes, one
//! thread.
//!
//! An append is all that the log does for a commit: the records copied into a batch, its checksum, the copy to the pool with
//! the flush that the medium needs, one fence, and a new segment now and then. The pool is larger than the caches, its
//! pages are present, and it only fills, so the destination is cold; a full one is replaced between samples.

use divan::{Bencher, black_box, counter::BytesCount, counter::ItemsCount};
use fencepost::log::{BatchBuilder, Kind, NewRecord, Writer};
use fencepost::persist::{Region, RegionOptions};
use fencepost::pool::{Pool, PoolOptions, Urgency};
use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const POOL_BYTES: u64 = 256 << 20;
const SEGMENT_BYTES: u64 = 2 << 20;
const KEY_BYTES: usize = 16;
const VALUE_BYTES: [usize; 3] = [64, 1 << 10, 16 << 10];
const RECORDS: [usize; 2] = [1, 16];
const SAMPLE_APPENDS: u32 = 32;

/// What a batch is made of.
struct Case {
    records: usize,
    value_bytes: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} B", self.records, self.value_bytes)
    }
}

fn cases() -> impl Iterator<Item = Case> {
    RECORDS.into_iter().flat_map(|records| VALUE_BYTES.map(|value_bytes| Case { records, value_bytes }))
}

/// A log with nothing in it.
struct Log {
    pool: Pool,
    writer: Writer,
    batch: BatchBuilder,
}

impl Log {
    /// In a file in this folder, or in anonymous memory.
    fn new(folder: Option<&Path>) -> Self {
        // The mapping outlives the file's name, so nothing stays behind, however the bench ends.
        let dir = folder.map(|folder| tempfile::tempdir_in(folder).expect("a folder that can be written to"));
        let options = PoolOptions {
            path: dir.as_ref().map(|dir| dir.path().join("pool")),
            bytes: POOL_BYTES,
            max_bytes: 0,
            segment_bytes: Some(SEGMENT_BYTES),
            stripes: 1 << 12,
            now_ms: 0,
            region: RegionOptions::default(),
        };
        let (pool, _) = Pool::open_or_create(&options).expect("room for the pool");
        pool.region().populate(0, POOL_BYTES);
        Self { pool, writer: Writer::default(), batch: BatchBuilder::default() }
    }

    /// Whether a sample of the largest batches fits.
    fn has_room(&self) -> bool {
        let largest: usize = 16 * (VALUE_BYTES[2] + 64);
        let segments = (u64::from(SAMPLE_APPENDS) * largest as u64).div_ceil(SEGMENT_BYTES) as u32 + 2;
        self.pool.free_segments() >= self.pool.reserved_segments() + segments
    }

    fn append(&mut self, records: usize, value: &[u8]) -> u64 {
        self.batch.clear();
        for version in 0..records as u64 {
            self.batch.push(&NewRecord {
                kind: Kind::String,
                flags: 0,
                keyspace: 1,
                version,
                expiry_ms: 0,
                key: [&[b'k'; KEY_BYTES], &[]],
                value,
            });
        }
        self.writer.commit(&self.pool, &mut self.batch, Urgency::Normal).expect("room was made")
    }
}

fn append(bencher: Bencher, case: &Case, folder: Option<&Path>) {
    let value = vec![b'v'; case.value_bytes];
    let log = RefCell::new(Log::new(folder));
    bencher
        .counter(ItemsCount::new(case.records))
        .counter(BytesCount::new(case.records * (KEY_BYTES + case.value_bytes)))
        .with_inputs(|| {
            // Before a sample, once for each of its appends.
            let mut log = log.borrow_mut();
            if !log.has_room() {
                *log = Log::new(folder);
            }
        })
        .bench_local_values(|()| log.borrow_mut().append(case.records, black_box(&value)));
}

#[divan::bench(args = cases(), sample_size = SAMPLE_APPENDS, sample_count = 300)]
fn anonymous_memory(bencher: Bencher, case: &Case) {
    append(bencher, case, None);
}

#[divan::bench(args = cases(), sample_size = SAMPLE_APPENDS, sample_count = 300)]
fn tmpfs(bencher: Bencher, case: &Case) {
    append(bencher, case, Some(&TMPFS));
}

/// `/dev/shm`, or what there is instead where it has no room.
static TMPFS: LazyLock<PathBuf> = LazyLock::new(|| {
    let has_room = tempfile::tempdir_in("/dev/shm").is_ok_and(|dir| {
        // A pool is dropped only when the next one is there.
        Region::create(&dir.path().join("room"), 2 * POOL_BYTES, &RegionOptions::default()).is_ok()
    });
    if has_room { "/dev/shm".into() } else { std::env::temp_dir() }
});

fn main() {
    if *TMPFS != Path::new("/dev/shm") {
        println!("/dev/shm has no room: the rows of `tmpfs` are of a file in {} instead", TMPFS.display());
    }
    divan::main();
}
