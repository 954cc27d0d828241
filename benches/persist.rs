//! What it costs to make bytes durable: time per append of 64 B to 64 KiB, by each way of writing, on tmpfs and on anonymous
//! memory.
//!
//! An append copies a buffer that is in the cache to the next free line of a region whose pages are present, and fences. Each
//! way has a region of its own that is larger than the caches and is gone through from end to end, so the destination is cold,
//! as the end of a log is. `append_and_read` adds one read of what was appended 16 appends ago, which is what a hot key costs
//! its readers: a non-temporal copy leaves nothing in the cache. The ways stand together size by size, so that what else the
//! machine does meanwhile hits them alike; pin the bench to a core for steady figures.
//! A processor that lacks an instruction has no row for it. `cargo bench --bench persist -- tmpfs` runs half of it.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use fencepost::persist::{CACHE_LINE_BYTES, FlushChoice, Region, RegionOptions};
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const REGION_BYTES: u64 = 64 << 20;
const READ_BACK_APPENDS: u64 = 16;
const SIZES: [u64; 12] = [64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 16 << 10, 64 << 10];
const MEDIA: [&str; 2] = ["tmpfs", "anonymous"];

/// One way of writing: its name, the flush it needs, and what it does at an offset.
struct Way {
    name: &'static str,
    flush: FlushChoice,
    run: fn(&Region, u64, &[u8]),
}

static WAYS: [Way; 6] = [
    Way { name: "copy only", flush: FlushChoice::None, run: |region, at, bytes| region.copy(at, bytes) },
    Way { name: "clwb", flush: FlushChoice::Clwb, run: copy_flush_fence },
    Way { name: "clflushopt", flush: FlushChoice::Clflushopt, run: copy_flush_fence },
    Way { name: "clflush", flush: FlushChoice::Clflush, run: copy_flush_fence },
    Way {
        name: "nt",
        flush: FlushChoice::Clwb,
        run: |region, at, bytes| {
            region.copy_nt(at, bytes);
            region.fence();
        },
    },
    Way {
        name: "write",
        flush: FlushChoice::Clwb,
        run: |region, at, bytes| {
            region.write(at, bytes);
            region.fence();
        },
    },
];

fn copy_flush_fence(region: &Region, at: u64, bytes: &[u8]) {
    region.copy(at, bytes);
    region.persist(at, bytes.len() as u64);
}

/// `None` where the medium or the instruction is missing, or there is no room.
fn open(medium: &str, way: &Way, len: u64) -> Option<Region> {
    let options = RegionOptions { flush: way.flush, ..RegionOptions::default() };
    if medium == "anonymous" {
        return Region::anonymous(len, &options).ok();
    }
    // The mapping outlives the file's name, so nothing stays behind, however the bench ends.
    let dir = tempfile::tempdir_in("/dev/shm").ok()?;
    Region::create(&dir.path().join("region"), len, &options).ok()
}

/// A region, and where its next append goes: each case goes on where the one before it ended.
struct End {
    region: Region,
    at: AtomicU64,
}

fn end_of(case: &Case) -> Option<&'static End> {
    static ENDS: [[OnceLock<Option<End>>; WAYS.len()]; MEDIA.len()] =
        [const { [const { OnceLock::new() }; WAYS.len()] }; MEDIA.len()];
    let opened = ENDS[case.medium][case.way].get_or_init(|| {
        let region = open(MEDIA[case.medium], &WAYS[case.way], REGION_BYTES)?;
        region.populate(0, REGION_BYTES);
        Some(End { region, at: AtomicU64::new(0) })
    });
    opened.as_ref()
}

/// Medium and way are indices.
struct Case {
    medium: usize,
    size: u64,
    way: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} B, {}", MEDIA[self.medium], self.size, WAYS[self.way].name)
    }
}

/// All that this machine can do.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (medium, name) in MEDIA.iter().enumerate() {
        for way in (0..WAYS.len()).filter(|&way| open(name, &WAYS[way], 4096).is_some()) {
            cases.extend(SIZES.map(|size| Case { medium, size, way }));
        }
    }
    cases
}

#[divan::bench(args = cases(), sample_size = 64, sample_count = 100)]
fn append(bencher: Bencher, case: &Case) {
    run(bencher, case, false);
}

#[divan::bench(args = cases(), sample_size = 64, sample_count = 100)]
fn append_and_read(bencher: Bencher, case: &Case) {
    run(bencher, case, true);
}

fn run(bencher: Bencher, case: &Case, read_back: bool) {
    let Some(End { region, at: end }) = end_of(case) else {
        println!("no room for a region of {REGION_BYTES} bytes");
        return;
    };
    let write = WAYS[case.way].run;
    let bytes = vec![0xa5u8; case.size as usize];
    let step = case.size.next_multiple_of(CACHE_LINE_BYTES);
    let mut at = end.load(Ordering::Relaxed);
    let mut appends = 0;
    bencher.counter(BytesCount::new(case.size)).bench_local(|| {
        if at + step > REGION_BYTES {
            (at, appends) = (0, 0);
        }
        write(region, at, black_box(&bytes));
        if read_back && appends >= READ_BACK_APPENDS {
            let found = region.read(at - READ_BACK_APPENDS * step, case.size).expect("no hook, no media error");
            assert!(black_box(found) == bytes);
        }
        at += step;
        appends += 1;
    });
    end.store(at, Ordering::Relaxed);
}

fn main() {
    divan::main();
}
