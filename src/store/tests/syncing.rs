//! A pool on a file: what a sync covers, and what recovery makes of it.

use super::*;
use crate::log::{Kind, scan_batches};
use crate::persist::{Hook, Medium, Region};
use crate::pool::SyncMark;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn options(boot: u8, bytes: u64, segment_bytes: u64) -> StoreOptions {
    let region = RegionOptions { acts_as: Some(Medium::File), boot_id: Some([boot; 16]), ..RegionOptions::default() };
    let store = StoreOptions::dram(bytes);
    StoreOptions { pool: PoolOptions { region, segment_bytes: Some(segment_bytes), ..store.pool }, ..store }
}

fn open(options: &StoreOptions) -> Store {
    Store::open(options, Clock::manual(NOW), &Progress::default()).expect("memory")
}

fn number(store: &Store, name: &[u8]) -> u64 {
    get(store, name).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

fn image(store: &Store) -> Vec<u8> {
    let region = store.pool.region();
    region.read(0, region.len()).expect("memory").to_vec()
}

/// What a server finds that opens an image under a boot of the system.
fn reopened(image: &[u8], boot: u8) -> Store {
    reopened_under(image, boot, 4096, None)
}

fn reopened_under(image: &[u8], boot: u8, segment_bytes: u64, hook: Option<Arc<dyn Hook>>) -> Store {
    let mut options = options(boot, 1 << 20, segment_bytes);
    options.pool.region.hook = hook;
    let region = Region::from_image(image, &options.pool.region).expect("memory");
    let pool = Pool::from_region(region, Path::new("image")).expect("a pool");
    Store::recover(pool, &options, Clock::manual(NOW), &Progress::default()).expect("it opens")
}

/// The last value of each key in what a mark covers.
fn covered(pool: &Pool, mark: &SyncMark) -> [u64; 2] {
    let mut last = [0; 2];
    for log in &mark.logs {
        let segment = pool.read(pool.segment_offset(log.id), pool.segment_bytes());
        let seed = pool.segment_seed(log.id);
        scan_batches(&segment[..log.end as usize], seed, true, |_, record, _| {
            if record.kind == Kind::String {
                let value = u64::from_le_bytes(record.value.try_into().expect("eight bytes"));
                let which = usize::from(record.key == b"effect");
                last[which] = last[which].max(value);
            }
        });
    }
    last
}

/// One thread writes, another writes what it has read of that: whatever moment a cut falls on, it never has the effect without the cause.
#[test]
fn a_cut_has_no_effect_without_its_cause() {
    // All that is written fits the first segments, so that each mark speaks of all of it.
    let store = open(&options(1, 256 << 20, 32 << 20));
    let (over, cuts) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut worker = store.worker();
            for i in 1..=60_000u64 {
                // Ends: cuts are made until this is over.
                while i > 500 * (1 + cuts.load(Ordering::Acquire)) {
                    std::thread::yield_now();
                }
                set(&store, &mut worker, b"cause", &i.to_le_bytes(), None);
            }
            over.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            let (mut worker, mut seen) = (store.worker(), 0);
            while !over.load(Ordering::Acquire) {
                let cause = number(&store, b"cause");
                if cause > seen {
                    seen = cause;
                    set(&store, &mut worker, b"effect", &seen.to_le_bytes(), None);
                }
            }
        });
        // Ends: with the first thread.
        while !over.load(Ordering::Acquire) {
            store.sync().expect("memory can be synced");
            let cuts = 1 + cuts.fetch_add(1, Ordering::AcqRel);
            let pool = store.pool();
            let mark = pool.sync_marks().swap_remove(0);
            // Reading all of the logs each time would take too long.
            if cuts % 16 == 0 {
                let [cause, effect] = covered(pool, &mark);
                assert!(effect <= cause, "a cut has effect {effect}, but the cause only up to {cause}");
            }
        }
    });
}

/// After a power cut everything counts up to the last sync, and nothing behind it, wherever it lies; after the end of the process all does.
#[test]
fn a_power_cut_takes_back_what_was_not_synced_and_the_end_of_a_process_nothing() {
    let store = open(&options(1, 1 << 20, 4096));
    let mut worker = store.worker();
    // Enough that segments are opened, filled and sealed on both sides of the sync.
    let names: Vec<String> = (0..60).map(|i| format!("key:{i}")).collect();
    for (i, name) in names.iter().enumerate() {
        if i == 35 {
            store.sync().expect("memory can be synced");
        }
        set(&store, &mut worker, name.as_bytes(), &[i as u8; 700], None);
    }
    set(&store, &mut worker, b"key:3", &[255; 700], None);
    let left = image(&store);
    drop((worker, store));
    let killed = reopened(&left, 1);
    assert_eq!(killed.len(0), 60);
    let cut = reopened(&left, 2);
    assert_eq!(cut.len(0), 35);
    let first_byte = |store: &Store| get(store, b"key:3").map(|value| value[0]);
    assert_eq!((first_byte(&killed), first_byte(&cut)), (Some(255), Some(3)));
    // What was taken back is gone for good, and its segments can be used.
    let mut worker = cut.worker();
    for name in &names[35..] {
        set(&cut, &mut worker, name.as_bytes(), &[77; 700], None);
    }
    let left = image(&cut);
    drop((worker, cut));
    assert_eq!(reopened(&left, 2).len(0), 60);
    assert_eq!(reopened(&left, 3).len(0), 35);
}

/// Keeps what the region holds whenever it is synced.
#[derive(Default)]
struct Images(std::sync::Mutex<Vec<Vec<u8>>>);

impl Hook for Images {
    fn sync(
        &self,
        call: pmem_emulation::Call<'_>,
        apply: &mut dyn FnMut() -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.0.lock().expect("no panic").push(call.mapping.bytes().to_vec());
        apply()
    }
}

/// A mark that was not complete stays so, whatever an opening that is cut short in turn has tidied up: the segment that lacked a batch is freed by it,
/// which must not look as though the mark's sync had been over.
#[test]
fn a_mark_that_recovery_could_not_go_by_never_counts_later() {
    let store = open(&options(1, 1 << 20, 4096));
    let (mut first, mut second) = (store.worker(), store.worker());
    set(&store, &mut first, b"a", b"synced", None);
    store.sync().expect("memory can be synced");
    set(&store, &mut first, b"a", b"later", None);
    // A segment of its own, opened behind the first sync.
    set(&store, &mut second, b"b", b"later", None);
    store.sync().expect("memory can be synced");
    let mark = store.pool.sync_marks().swap_remove(0);
    let newest = mark.logs.iter().map(|log| log.id).max().expect("two are open");
    let at = store.pool.segment_offset(newest) as usize;
    let mut left = image(&store);
    drop((first, second, store));
    // The power went before that batch reached the disk.
    left[at + 64..at + 4096].fill(0);
    let images = Arc::new(Images::default());
    let found = reopened_under(&left, 2, 4096, Some(Arc::clone(&images) as Arc<dyn Hook>));
    let contents = |store: &Store| (get(store, b"a"), get(store, b"b"));
    let expected = (Some(b"synced".to_vec()), None);
    assert_eq!(contents(&found), expected);
    drop(found);
    let images = std::mem::take(&mut *images.0.lock().expect("no panic"));
    assert!(images.len() >= 3, "marks forgotten, tidied up, the opening recorded");
    for (number, image) in images.iter().enumerate() {
        assert_eq!(contents(&reopened(image, 3)), expected, "cut before sync {number} of the opening");
    }
}

/// A segment was opened and written to, and of that the power cut has left a batch, but not the header: in its next life the batch must not count.
#[test]
fn what_a_lost_life_has_left_in_a_segment_never_comes_back() {
    const SEGMENT: u64 = 16384;
    let store = open(&options(1, 1 << 20, SEGMENT));
    store.sync().expect("memory can be synced");
    let before = image(&store);
    let mut worker = store.worker();
    for (name, value) in [(b"a", 3900), (b"b", 3900), (b"c", 200)] {
        set(&store, &mut worker, name, &vec![7; value], None);
    }
    let after = image(&store);
    let written = (0..after.len()).step_by(4096).filter(|&at| before[at..at + 4096] != after[at..at + 4096]);
    let segment = store
        .pool
        .segment_offset(written.map(|at| at as u64).find_map(|at| store.pool.segment_of(at)).expect("a segment"))
        as usize;
    drop((worker, store));
    let mut left = after;
    left[segment..segment + 4096].copy_from_slice(&before[segment..segment + 4096]);
    let found = reopened_under(&left, 2, SEGMENT, None);
    assert_eq!(found.len(0), 0);
    // The same length in the same place, so that what follows would be the lost life's own next batch.
    let mut worker = found.worker();
    set(&found, &mut worker, b"x", &[8; 3900], None);
    let left = image(&found);
    drop((worker, found));
    let again = reopened_under(&left, 2, SEGMENT, None);
    assert_eq!((again.len(0), get(&again, b"b")), (1, None));
}

/// More segments are wanted than a mark has room for: they are not to be had, and nothing panics.
#[test]
fn no_more_segments_are_open_than_a_mark_can_speak_of() {
    let store = open(&options(1, 4 << 20, 4096));
    let most = (4096 - 32) / 12;
    assert!(store.pool.segment_count() > 2 * most);
    let opened = (0..).take_while(|_| store.pool.open_segment(crate::pool::Urgency::Cleans).is_ok()).count() as u32;
    assert!(opened > most / 2 && opened < most, "{opened}");
    store.sync().expect("memory can be synced");
    assert_eq!(store.pool.sync_marks()[0].logs.len() as u32, opened);
}
