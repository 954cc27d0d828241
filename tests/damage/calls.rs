//! System calls that fail, each in its turn: making a pool, opening one, syncing one, salvaging one. Nothing panics, nothing that exists is changed, nothing is left
//! behind, and with the failure gone everything is as if it had never been.

use crate::image::{NOW_MS, contents, nobody_starts, options, output};
use crossbeam_epoch::pin;
use fencepost::base::{Clock, LogAddr};
use fencepost::log::Record;
use fencepost::persist::{Region, RegionError, RegionOptions};
use fencepost::pool::{Pool, PoolError, PoolOptions};
use fencepost::recovery::tools::check_pool;
use fencepost::recovery::{Progress, Visitor, scan_pool};
use fencepost::store::{Key, OpenError, Store, StoreError, StoreOptions};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use pmem_emulation::FailingCalls;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// ENOSPC, ENOMEM, EIO, EMFILE, EACCES.
const CODES: [i32; 5] = [28, 12, 5, 24, 13];

fn options_in(directory: &Path, calls: Option<&Arc<FailingCalls>>) -> StoreOptions {
    let region = RegionOptions { hook: calls.map(|calls| Arc::clone(calls) as _), ..RegionOptions::default() };
    let pool = PoolOptions { path: Some(directory.join("pool")), region, ..options().pool };
    StoreOptions { pool, ..options() }
}

/// Runs `attempt` with the first, second, ... system call failing, once and for good, with each error, until none fails. Returns the names of
/// the calls that failed.
fn fail_each(mut attempt: impl FnMut(&Arc<FailingCalls>, &str)) -> BTreeSet<&'static str> {
    let mut failed = BTreeSet::new();
    for (code, stays) in CODES.into_iter().flat_map(|code| [(code, false), (code, true)]) {
        for number in 1.. {
            let calls = FailingCalls::new(number, stays, code);
            attempt(&calls, &format!("call {number} fails with {code}, stays: {stays}"));
            match calls.failed() {
                Some(name) => drop(failed.insert(name)),
                None => break,
            }
        }
    }
    failed
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("there");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("read").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// On a disk, where all calls are made, and in memory.
fn directories() -> [tempfile::TempDir; 2] {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    [tempfile::tempdir_in(target), tempfile::tempdir_in("/dev/shm")].map(|directory| directory.expect("a directory"))
}

#[test]
fn a_pool_whose_making_fails_anywhere_is_not_there_or_whole() {
    let _quiet = nobody_starts();
    let mut failed = BTreeSet::new();
    for directory in directories() {
        let at = directory.path();
        failed.extend(fail_each(|calls, what| {
            let made = Store::open(&options_in(at, Some(calls)), Clock::manual(NOW_MS), &Progress::default());
            let is_made = made.is_ok();
            match made.map(drop) {
                Ok(()) => assert!(calls.failed().is_none(), "{what}: it went unnoticed"),
                Err(error) => {
                    assert!(is_of_the_system(&error, calls), "{what}: {error}");
                    assert!(calls.failed().is_some(), "{what}: {error}");
                }
            }
            // Only what comes after the rename leaves the pool, which is whole.
            let left = names(at);
            // A file that could not be locked may be somebody else's: the next one to make the pool sees.
            let left = if calls.failed() == Some("flock") { Vec::new() } else { left };
            assert!(left.is_empty() || left == ["pool"], "{what}: {left:?}");
            assert!(!is_made || left == ["pool"], "{what}");
            let again = Store::open(&options_in(at, None), Clock::manual(NOW_MS), &Progress::default());
            let again = again.unwrap_or_else(|error| panic!("{what}: afterwards: {error}"));
            assert!(contents(&again).is_empty(), "{what}: afterwards");
            std::fs::remove_file(at.join("pool")).expect("it was made");
        }));
    }
    let expected =
        ["create", "flock", "ftruncate", "fallocate", "fstatfs", "mmap", "fsync", "rename", "open directory"];
    assert!(expected.iter().all(|name| failed.contains(name)), "{failed:?}");
}

/// Whether that is what the failure of this call has to lead to.
fn is_of_the_system(error: &OpenError, calls: &FailingCalls) -> bool {
    match error {
        OpenError::NotSynced(_) => calls.failed() == Some("sync"),
        error => matches!(error, OpenError::Pool(PoolError::Region(_))),
    }
}

#[test]
fn a_pool_whose_opening_fails_anywhere_is_as_it_was() {
    let _quiet = nobody_starts();
    let mut failed = BTreeSet::new();
    for directory in directories() {
        let at = directory.path();
        let store = Store::open(&options_in(at, None), Clock::manual(NOW_MS), &Progress::default()).expect("made");
        write(&store, "key", b"value").expect("room");
        let expected = contents(&store);
        drop(store);
        let before = std::fs::read(at.join("pool")).expect("there");
        failed.extend(fail_each(|calls, what| {
            match Store::open(&options_in(at, Some(calls)), Clock::manual(NOW_MS), &Progress::default()) {
                Ok(store) => {
                    assert!(calls.failed().is_none(), "{what}: it went unnoticed");
                    assert_eq!(contents(&store), expected, "{what}");
                    drop(store);
                    std::fs::write(at.join("pool"), &before).expect("room");
                }
                // By then recovery is over, and the opening is being recorded.
                Err(error) if calls.failed() == Some("sync") => {
                    assert!(is_of_the_system(&error, calls), "{what}: {error}");
                    let again = Store::open(&options_in(at, None), Clock::manual(NOW_MS), &Progress::default());
                    let again = again.unwrap_or_else(|error| panic!("{what}: afterwards: {error}"));
                    assert_eq!(contents(&again), expected, "{what}");
                    drop(again);
                    std::fs::write(at.join("pool"), &before).expect("room");
                }
                Err(error) => {
                    assert!(is_of_the_system(&error, calls), "{what}: {error}");
                    assert!(std::fs::read(at.join("pool")).expect("there") == before, "{what}: it was written to");
                }
            }
            assert_eq!(names(at), ["pool"], "{what}");
        }));
    }
    let expected = ["stat", "open", "flock", "fstatfs", "mmap", "sync"];
    assert_eq!(failed.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(expected));
}

fn write(store: &Store, name: &str, value: &[u8]) -> Result<(), StoreError> {
    let mut worker = store.worker();
    let guard = pin();
    let key = Key { db: 0, name: name.as_bytes() };
    let prepared = store.prepare(&mut worker, value, &guard)?;
    let mut txn = store.write(&mut worker, &[key], NOW_MS, &guard);
    txn.set(key, prepared, None)?;
    let done = txn.commit();
    store.close_worker(&mut worker);
    done
}

/// The pool goes on as it was, and grows when it can again. What was written before and after is there.
#[test]
fn a_growth_that_fails_anywhere_changes_nothing() {
    let _quiet = nobody_starts();
    let mut failed = BTreeSet::new();
    for directory in directories() {
        let at = directory.path();
        let store = Store::open(&options_in(at, None), Clock::manual(NOW_MS), &Progress::default()).expect("made");
        write(&store, "before", b"value").expect("room");
        drop(store);
        let image = std::fs::read(at.join("pool")).expect("there");
        failed.extend(fail_each(|calls, what| {
            std::fs::write(at.join("pool"), &image).expect("room");
            let mut options = options_in(at, Some(calls));
            options.pool.region.reserve_bytes = 2 * image.len() as u64;
            let opened = Store::open(&options, Clock::manual(NOW_MS), &Progress::default());
            if calls.failed().is_some() {
                return;
            }
            let store = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
            let pool = store.pool();
            let facts = || (pool.bytes(), pool.segment_count(), pool.superblock().segment_count);
            let former = facts();
            let grown = pool.grow(2 * former.0);
            match &grown {
                // Where the superblock's own sync fails the pool is larger, and takes no more writes from clients.
                Ok(_) if pool.sync_failure().is_some() => assert_eq!(calls.failed(), Some("sync"), "{what}"),
                Ok(_) => assert!(calls.failed().is_none(), "{what}: it went unnoticed"),
                Err(_) => assert_eq!(facts(), former, "{what}"),
            }
            // From then on the file is long enough, whatever else fails.
            if matches!(calls.failed(), Some("fallocate" | "mmap")) {
                let length = std::fs::metadata(at.join("pool")).expect("there").len();
                assert_eq!(length, image.len() as u64, "{what}: what was taken is given back");
            }
            let larger = grown.is_ok();
            write(&store, "after", b"value").unwrap_or_else(|error| panic!("{what}: {error}"));
            // It goes on failing, or not.
            let again = pool.grow(2 * former.0);
            let larger = larger || again.is_ok();
            assert_eq!(larger, facts().0 > former.0, "{what}: {again:?}");
            drop(store);
            let pool = Pool::open_read_only(&at.join("pool")).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(larger, pool.bytes() > former.0, "{what}");
            assert!(check_pool(&pool).damage.is_empty(), "{what}");
            drop(pool);
            let again = Store::open(&options_in(at, None), Clock::manual(NOW_MS), &Progress::default());
            assert_eq!(contents(&again.unwrap_or_else(|error| panic!("{what}: {error}"))).len(), 2, "{what}");
        }));
    }
    assert!(["fallocate", "mmap", "msync"].iter().all(|name| failed.contains(name)), "{failed:?}");
}

#[test]
fn a_sync_that_fails_is_said() {
    let _quiet = nobody_starts();
    let directory = &directories()[0];
    let calls = FailingCalls::new(u64::MAX, false, 5);
    let made = Store::open(&options_in(directory.path(), Some(&calls)), Clock::manual(NOW_MS), &Progress::default());
    made.expect("made").sync().expect("synced");
    let mut failing = 1;
    // Ends: opening takes a handful of calls, and the sync is the one behind them.
    loop {
        let calls = FailingCalls::new(failing, false, 5);
        match Store::open(&options_in(directory.path(), Some(&calls)), Clock::manual(NOW_MS), &Progress::default()) {
            Err(_) => failing += 1,
            Ok(store) => {
                write(&store, "key", b"value").expect("room");
                let error = store.sync().expect_err("the disk failed").to_string();
                assert!(error.contains("Input/output error") && error.contains("restart"), "{error}");
                assert_eq!(calls.failed(), Some("sync"));
                // The disk is sound again. What the kernel has dropped meanwhile it does not tell twice.
                assert!(store.sync().is_err() && store.pool().sync_failure().is_some());
                return;
            }
        }
    }
}

#[test]
fn memory_that_is_not_to_be_had_is_an_error() {
    let calls = FailingCalls::new(1, true, 12);
    let region = RegionOptions { hook: Some(calls as _), ..RegionOptions::default() };
    let pool = PoolOptions { region, ..options().pool };
    let made = Store::open(&StoreOptions { pool, ..options() }, Clock::manual(NOW_MS), &Progress::default());
    assert!(matches!(made.err(), Some(OpenError::Pool(PoolError::Region(RegionError::NoMemory { .. })))));
}

#[test]
fn a_segment_that_is_not_to_be_had_fails_the_write_and_nothing_else() {
    let store = Store::open(&options(), Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
    let mut written = 0;
    let error = loop {
        match write(&store, &format!("key:{written}"), &[b'v'; 700]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::OutOfSpace), "{error}");
    assert!(written > 3, "each write takes a segment, and two are kept for deletes and the cleaner");
    let before = contents(&store);
    // A value in chunks, of which some fit.
    assert!(matches!(write(&store, "key:0", &[b'w'; 20_000]), Err(StoreError::OutOfSpace)));
    assert_eq!(contents(&store), before, "nothing has changed");
}

#[test]
fn files_that_are_no_pool_of_ours_are_refused_and_left_alone() {
    let _quiet = nobody_starts();
    let directory = &directories()[0];
    let path = directory.path().join("pool");
    let (image, _, _) = crate::image::busy_image(true);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = image.clone();
        change(&mut bytes);
        bytes
    };
    let version = |bytes: &mut Vec<u8>| {
        for copy in [0, 4096] {
            bytes[copy + 8] = 9;
            let crc = crc32c::crc32c(&bytes[copy..copy + 4092]);
            bytes[copy + 4092..copy + 4096].copy_from_slice(&crc.to_le_bytes());
        }
    };
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("foreign", b"#!/bin/sh\n".repeat(2000), "not a Fencepost pool"),
        ("short and foreign", b"hello".to_vec(), "not a Fencepost pool"),
        ("zeros", vec![0; 65536], "not a Fencepost pool"),
        ("another version", with(&version), "format 9"),
        ("cut short", with(&|bytes| bytes.truncate(30_000)), "cut short"),
    ];
    for (what, bytes, says) in cases {
        std::fs::write(&path, &bytes).expect("room");
        let error = Pool::open(&path, &RegionOptions::default()).err().expect(what).to_string();
        assert!(error.contains(says), "{what}: {error}");
        assert!(std::fs::read(&path).expect("there") == bytes, "{what}: it was written to");
    }
    // Longer than it says: what is behind its end is nobody's.
    std::fs::write(&path, with(&|bytes| bytes.extend([7; 10_000]))).expect("room");
    assert!(Pool::open(&path, &RegionOptions::default()).is_ok());
}

#[test]
fn a_file_put_in_the_pools_place_while_it_is_open_does_not_get_its_writes() {
    let _quiet = nobody_starts();
    let directory = &directories()[0];
    let at = directory.path();
    let store = Store::open(&options_in(at, None), Clock::manual(NOW_MS), &Progress::default()).expect("made");
    std::fs::rename(at.join("pool"), at.join("moved")).expect("renamed");
    std::fs::write(at.join("pool"), "another file").expect("room");
    write(&store, "key", b"value").expect("room");
    drop(store);
    assert_eq!(std::fs::read(at.join("pool")).expect("there"), b"another file");
    let moved = Region::open(&at.join("moved"), &RegionOptions::default()).expect("opens");
    let pool = Pool::from_region(moved, &at.join("moved")).expect("a pool");
    let store = Store::recover(pool, &options(), Clock::manual(NOW_MS), &Progress::default()).expect("whole");
    assert_eq!(contents(&store).len(), 1);
}

/// Set in the child that has no room for threads.
const FEW_THREADS: &str = "FENCEPOST_FEW_THREADS";

/// Counts records.
struct Count(u64);

impl Visitor<'_> for Count {
    fn record(&mut self, _: LogAddr, _: Record<'_>) {
        self.0 += 1;
    }
}

#[test]
fn recovery_does_with_the_threads_that_it_gets() {
    if std::env::var_os(FEW_THREADS).is_some() {
        let (image, _, _) = crate::image::busy_image(true);
        let pool = crate::image::pool_of(&image).expect("whole");
        let scan = |threads| {
            let mut counts: Vec<Count> = (0..threads).map(|_| Count(0)).collect();
            let report = scan_pool(&pool, &mut counts, &Progress::default());
            (counts.iter().map(|count| count.0).sum::<u64>(), report.threads)
        };
        let whole = scan(1);
        // Address space for not one more stack of a thread; some are left over from threads that have ended.
        let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
        let pages: u64 = text.split(' ').next().and_then(|size| size.parse().ok()).expect("a number");
        setrlimit(Resource::RLIMIT_AS, pages * 4096 + 100_000, RLIM_INFINITY).expect("lowered");
        let few = scan(16);
        assert_eq!(few.0, whole.0, "records");
        assert!(few.1 < 16, "{} threads started: nothing was tried", few.1);
        println!("scanned with {} threads", few.1);
        return;
    }
    let program = std::env::current_exe().expect("this binary");
    let arguments = ["--exact", "calls::recovery_does_with_the_threads_that_it_gets", "--nocapture"];
    let output = output(Command::new(program).args(arguments).env(FEW_THREADS, "1"));
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("scanned with"), "{output:?}");
}
