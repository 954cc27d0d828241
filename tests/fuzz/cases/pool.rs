//! One case of the pool fuzzer: arbitrary changes to a small whole pool, its checksums made right again so that what lies behind them is reached,
//! and then everything that reads pools. Shared by the fuzz target `pool` and by an ordinary test.
//!
//! Whatever the bytes: nothing panics, nothing outside the mapping is touched, DRAM is bounded, and what `pool salvage` saves is what a server that was told to
//! salvage in place would show.

use crossbeam_epoch::pin;
use fencepost::base::{Clock, SegmentId};
use fencepost::log::format::{BATCH_HEADER_BYTES, batch_seed};
use fencepost::persist::{Region, RegionOptions};
use fencepost::pool::format::{LINE_BYTES, SUPERBLOCK_BYTES, seal_word, segment_seed, state_word};
use fencepost::pool::{Pool, PoolOptions};
use fencepost::recovery::Progress;
use fencepost::recovery::tools::check_pool;
use fencepost::store::{Key, Store, StoreOptions, salvage_pool};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

const NOW_MS: u64 = 1_700_000_000_000;
const SEGMENT_BYTES: usize = 4096;
const SEGMENTS: usize = 12;
const DATA_AT: usize = 2 * SUPERBLOCK_BYTES;
const LINE: usize = LINE_BYTES as usize;
const UUID: [u8; 16] = *b"fuzz-pool-uuid-1";

fn options() -> StoreOptions {
    let pool = PoolOptions {
        path: None,
        bytes: (DATA_AT + SEGMENTS * SEGMENT_BYTES) as u64,
        max_bytes: 0,
        segment_bytes: Some(SEGMENT_BYTES as u64),
        stripes: 4,
        now_ms: NOW_MS,
        region: RegionOptions::default(),
    };
    StoreOptions { pool, databases: 2, recovery_threads: 1, salvage: true }
}

/// The whole pool that every case starts from, the same in every process.
fn base() -> &'static [u8] {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| {
        let store = Store::open(&options(), Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
        let mut worker = store.worker();
        for i in 0..22u32 {
            let guard = pin();
            let (name, other) = (format!("k{}", i * 7 % 9), format!("k{}", i * 5 % 9));
            let key = Key { db: u32::from(i % 11 == 10), name: name.as_bytes() };
            let other = Key { db: 0, name: other.as_bytes() };
            let value = vec![b'a' + i as u8; [5, 70, 1500, 200][i as usize % 4]];
            let prepared = store.prepare(&mut worker, &value, &guard).expect("room");
            let mut txn = store.write(&mut worker, &[key, other], NOW_MS, &guard);
            match i % 7 {
                2 => drop(txn.delete(key).expect("staged")),
                3 => txn.patch(key, &[(40, b"patched")]).expect("staged"),
                4 => txn.rename(other, key).expect("staged"),
                5 => txn.set(key, prepared, Some(NOW_MS + 1000)).expect("staged"),
                _ => txn.set(key, prepared, None).expect("staged"),
            }
            txn.commit().expect("room");
        }
        let len = store.pool().region().len();
        let mut image = store.pool().region().read(0, len).expect("readable").to_vec();
        let state = |image: &[u8], number: usize| {
            u32::from_le_bytes(image[segment(number)..segment(number) + 4].try_into().expect("four bytes"))
        };
        let seals: Vec<(u32, u32)> = (0..SEGMENTS)
            .map(|number| {
                let at = segment(number) + 8;
                (state(&image, number), u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes")))
            })
            .collect();
        // Identity and hash key are random in every pool, but not here.
        for copy in 0..2 {
            image[copy * SUPERBLOCK_BYTES + 32..copy * SUPERBLOCK_BYTES + 48].copy_from_slice(&UUID);
            image[copy * SUPERBLOCK_BYTES + 48..copy * SUPERBLOCK_BYTES + 64].copy_from_slice(&UUID);
            image[copy * SUPERBLOCK_BYTES + 96..copy * SUPERBLOCK_BYTES + 112].copy_from_slice(&UUID);
        }
        for (number, (incarnation, end)) in seals.into_iter().enumerate() {
            set_header(&mut image, number, incarnation, end);
        }
        mend(&mut image, u32::MAX);
        image
    })
}

fn segment(number: usize) -> usize {
    DATA_AT + number * SEGMENT_BYTES
}

fn set_header(image: &mut [u8], number: usize, incarnation: u32, end_lines: u32) {
    let (at, id) = (segment(number), SegmentId(number as u32));
    image[at..at + 8].copy_from_slice(&state_word(&UUID, id, incarnation).to_le_bytes());
    image[at + 8..at + 16].copy_from_slice(&seal_word(&UUID, id, incarnation, end_lines).to_le_bytes());
}

/// Makes checksums right: of the superblocks, and of the batches of the segments that `which` has a bit for.
fn mend(image: &mut [u8], which: u32) {
    for copy in 0..2 {
        let bytes = &mut image[copy * SUPERBLOCK_BYTES..(copy + 1) * SUPERBLOCK_BYTES];
        let crc = crc32c::crc32c(&bytes[..SUPERBLOCK_BYTES - 4]);
        bytes[SUPERBLOCK_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    }
    for number in (0..SEGMENTS).filter(|number| which >> number & 1 == 1) {
        let at = segment(number);
        let incarnation = u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes"));
        mend_batches(&mut image[at..at + SEGMENT_BYTES], segment_seed(&UUID, SegmentId(number as u32), incarnation));
    }
}

fn mend_batches(segment: &mut [u8], seed: u32) {
    let mut at = LINE;
    while at < segment.len() {
        let word = |from: usize| u32::from_le_bytes(segment[from..from + 4].try_into().expect("four bytes")) as usize;
        let len = word(at + 8).saturating_mul(LINE);
        // Bytes that were never written are left alone.
        if word(at) == 0 || len == 0 || at + len > segment.len() {
            at += LINE;
            continue;
        }
        let seed = batch_seed(seed, at as u64);
        let head = crc32c::crc32c_append(seed, &segment[at + 8..at + BATCH_HEADER_BYTES]);
        segment[at + 4..at + 8].copy_from_slice(&head.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &segment[at + 4..at + len]);
        segment[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        at += len;
    }
}

/// Takes an input apart.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn short(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) | usize::from(self.byte()?) << 8)
    }

    fn word(&mut self) -> Option<u32> {
        Some(self.short()? as u32 | (self.short()? as u32) << 16)
    }
}

/// Changes the image as the input says. Each change is a byte that says which, and what it needs; some come before the checksums are made right
/// and some after.
fn change(image: &mut Vec<u8>, input: &[u8]) -> Option<()> {
    let mut input = Bytes(input);
    let which = input.word()?;
    let mut late: Vec<(usize, u8)> = Vec::new();
    let mut len = image.len();
    let mut changes = || {
        // Ends with the input.
        loop {
            match input.byte()? % 8 {
                // A byte of a log.
                0 | 1 => {
                    let at = DATA_AT + input.short()? % (SEGMENTS * SEGMENT_BYTES);
                    image[at] = input.byte()?;
                }
                // A number of a log, at a boundary that it could have.
                2 => {
                    let at = DATA_AT + input.short()? % (SEGMENTS * SEGMENT_BYTES) / 4 * 4;
                    image[at..at + 4].copy_from_slice(&input.word()?.to_le_bytes());
                }
                // A byte of the superblock, in one copy or both.
                3 => {
                    let (at, value, copies) = (input.short()?, input.byte()?, input.byte()?);
                    for copy in (0..2).filter(|copy| copies >> copy & 1 == 1) {
                        image[copy * SUPERBLOCK_BYTES + at % SUPERBLOCK_BYTES] = value;
                    }
                }
                // A segment's header.
                4 => {
                    let (number, incarnation, end) =
                        (usize::from(input.byte()?) % SEGMENTS, input.word()?, input.word()?);
                    set_header(image, number, incarnation, end);
                }
                // Lines put in the place of others.
                5 => {
                    let (from, to, lines) = (input.short()?, input.short()?, usize::from(input.byte()?) % 64 + 1);
                    let all = SEGMENTS * SEGMENT_BYTES / LINE;
                    let (from, to) = (from % all, to % all);
                    let lines = lines.min(all - from).min(all - to);
                    let start = DATA_AT + from * LINE;
                    image.copy_within(start..start + lines * LINE, DATA_AT + to * LINE);
                }
                // A byte whose checksum is not made right.
                6 => late.push((input.short()? % image.len(), input.byte()?)),
                // Another length.
                _ => len = (input.short()? * 2).max(1),
            }
        }
    };
    let _end: Option<()> = changes();
    mend(image, which);
    for (at, value) in late {
        image[at] = value;
    }
    image.resize(len, 0);
    Some(())
}

type Contents = BTreeMap<(u32, Vec<u8>), (Option<u64>, Vec<u8>)>;

fn contents(store: &Store) -> Contents {
    let mut found = Contents::new();
    let guard = pin();
    for db in 0..2 {
        let mut cursor = 0;
        loop {
            cursor = store.scan(db, cursor, 1, &guard, &mut |entry| {
                let value = entry.string().expect("a string");
                // A string may be sparse, and long: what counts are its length and its stored pieces.
                let bytes =
                    if value.len() > 1 << 20 { value.len().to_le_bytes().to_vec() } else { value.bytes().into_owned() };
                assert!(store.read(Key { db, name: entry.key() }, 1, &guard).is_some(), "scanned but not there");
                found.insert((db, entry.key().to_vec()), (entry.expire_at(), bytes));
            });
            if cursor == 0 {
                break;
            }
        }
    }
    found
}

fn pool_of(image: &[u8]) -> Option<Pool> {
    let region = Region::from_image(image, &RegionOptions::default()).expect("memory");
    Pool::from_damaged_region(region, Path::new("image")).ok()
}

/// Runs one case.
pub fn run(input: &[u8]) {
    let mut image = base().to_vec();
    if change(&mut image, input).is_none() {
        return;
    }
    let Some(source) = pool_of(&image) else { return };
    let _ = check_pool(&source);
    let saved = salvage_pool(&source, None, NOW_MS);
    assert!(source.region().read(0, image.len() as u64).expect("readable") == image, "the old pool was written to");
    let in_place = pool_of(&image).expect("it opened before");
    // Time is as early as can be: only what the pool itself says has expired is gone.
    let options = options();
    let in_place = Store::recover(in_place, &options, Clock::manual(1), &Progress::default()).expect("told to salvage");
    let shown = contents(&in_place);
    if let Ok((pool, report)) = saved {
        assert!(report.keys >= shown.len() as u64, "{} keys of {}", report.keys, shown.len());
        let check = check_pool(&pool);
        assert!(check.damage.is_empty() && check.remarks.is_empty(), "{check:?}");
        let strict = StoreOptions { salvage: false, ..options };
        let copy = Store::recover(pool, &strict, Clock::manual(1), &Progress::default()).expect("a clean pool");
        assert!(contents(&copy) == shown, "the copy shows {:?}, the damaged pool {shown:?}", contents(&copy));
    }
    write_and_read(&in_place);
    in_place.reload().ok();
    write_and_read(&in_place);
}

/// A store that was salvaged takes writes as long as it has room.
fn write_and_read(store: &Store) {
    let mut worker = store.worker();
    let guard = pin();
    for (i, len) in [3usize, 2000, 30].into_iter().enumerate() {
        let name = format!("k{i}");
        let key = Key { db: 0, name: name.as_bytes() };
        let value = vec![b'!'; len];
        let Ok(prepared) = store.prepare(&mut worker, &value, &guard) else { continue };
        let mut txn = store.write(&mut worker, &[key], 1, &guard);
        txn.set(key, prepared, None).expect("staged");
        if txn.commit().is_ok() {
            let found = store.read(key, 1, &guard).map(|entry| entry.string().expect("a string").bytes().into_owned());
            assert!(found.as_deref() == Some(&value[..]), "{name} is not what was written");
        }
    }
    store.close_worker(&mut worker);
}
