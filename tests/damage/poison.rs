//! Places that the medium cannot read, with the real signal: pages poisoned through userfaultfd, and files that are cut short while they are mapped.
//!
//! UFFDIO_POISON (Linux 6.6) makes an access to a page raise SIGBUS, as poisoned memory does. Where the kernel does not have it these tests fail, and
//! say so. Cases that end the process run in a child: this test binary again, with the case in the environment.
//!
//! Invariants of the unsafe code: the structures are laid out as linux/userfaultfd.h has them, and the range given to the kernel is inside a mapping of the test's own
//! region.
#![expect(unsafe_code, reason = "userfaultfd, and a mapping beyond the end of its file")]

use crate::image::{DATA_AT, NOW_MS, busy_image, contents, nobody_starts, options, output, starting};
use fencepost::base::{Clock, SegmentId};
use fencepost::persist::{Region, RegionOptions};
use fencepost::pool::{Pool, PoolOptions};
use fencepost::recovery::Progress;
use fencepost::recovery::tools::check_pool;
use fencepost::store::{Key, OpenError, Store, StoreOptions, salvage, salvage_pool};
use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PAGE: u64 = 4096;

/// What keeps the poison in place.
struct Poison(#[expect(dead_code, reason = "held open")] OwnedFd);

#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdioRegister {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdioPoison {
    start: u64,
    len: u64,
    mode: u64,
    updated: i64,
}

/// Poisons the page at `at` of a region that maps a file in tmpfs, for this process. The kernel does that only where the file could be written.
fn poison(region: &Region, at: u64) -> Poison {
    const USER_MODE_ONLY: i32 = 1;
    const API: u64 = 0xAA;
    const FEATURE_POISON: u64 = 1 << 14;
    const MODE_MISSING: u64 = 1;
    const UFFDIO_API: u64 = 0xc018_aa3f;
    const UFFDIO_REGISTER: u64 = 0xc020_aa00;
    const UFFDIO_POISON: u64 = 0xc020_aa08;
    let start = region.read(at, PAGE).expect("inside").as_ptr() as u64;
    // SAFETY: makes a descriptor; the checked result is owned by nobody else.
    let uffd = unsafe {
        let uffd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | USER_MODE_ONLY);
        assert!(uffd >= 0, "this kernel refuses userfaultfd: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(uffd as i32)
    };
    let control = |request: u64, argument: *mut libc::c_void, what: &str| {
        // SAFETY: the argument is the structure that the request takes.
        let result = unsafe { libc::ioctl(uffd.as_raw_fd(), request as _, argument) };
        assert_eq!(result, 0, "this kernel refuses {what}: {}", std::io::Error::last_os_error());
    };
    let mut api = UffdioApi { api: API, features: FEATURE_POISON, ioctls: 0 };
    control(UFFDIO_API, (&raw mut api).cast(), "UFFDIO_POISON (it came with Linux 6.6)");
    let mut register = UffdioRegister { start, len: PAGE, mode: MODE_MISSING, ioctls: 0 };
    control(UFFDIO_REGISTER, (&raw mut register).cast(), "to register a page");
    // SAFETY: forgets that the page was touched; its bytes stay in the file.
    unsafe { libc::madvise(start as *mut libc::c_void, PAGE as usize, libc::MADV_DONTNEED) };
    let mut poison = UffdioPoison { start, len: PAGE, mode: 0, updated: 0 };
    control(UFFDIO_POISON, (&raw mut poison).cast(), "to poison a page");
    Poison(uffd)
}

/// A directory in memory, as userfaultfd works on tmpfs.
fn memory_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a directory in tmpfs")
}

fn pool_file(directory: &Path) -> PathBuf {
    let path = directory.join("pool");
    std::fs::write(&path, busy_image(true).0).expect("room");
    path
}

fn segment_start(number: u64) -> u64 {
    DATA_AT + number * PAGE
}

#[test]
fn poison_in_the_log_is_named_and_everything_else_is_salvaged() {
    let _quiet = nobody_starts();
    let directory = memory_directory();
    let path = pool_file(directory.path());
    let (_, expected, past) = busy_image(true);
    for number in [0, 3, 9] {
        let at = segment_start(number);
        let region = Region::open(&path, &RegionOptions::default()).expect("opens");
        let _poison = poison(&region, at);
        let source = Pool::from_damaged_region(region, &path).expect("the superblock is whole");
        let named = |lines: &[String]| lines.iter().any(|line| line.contains(&format!("{at:#x}..{:#x}", at + PAGE)));
        let check = check_pool(&source);
        assert!(named(&check.damage), "{check:?}");
        let (pool, report) = salvage_pool(&source, None, NOW_MS).expect("salvaged");
        assert!(named(&report.damage) && report.lost_something(), "{report:?}");
        let store = Store::recover(pool, &options(), Clock::manual(NOW_MS), &Progress::default()).expect("clean");
        let found = contents(&store);
        assert!(found.iter().all(|(key, value)| past[key].contains(&Some(value.clone()))), "a value that never was");
        let missing = expected.keys().filter(|key| !found.contains_key(*key)).count();
        assert!(missing < expected.len() / 2, "one page cost {missing} keys");
    }
}

#[test]
fn a_server_does_not_start_on_poison_even_to_salvage_and_writes_nothing() {
    let _quiet = nobody_starts();
    let directory = memory_directory();
    let path = pool_file(directory.path());
    let before = std::fs::read(&path).expect("there");
    // A superblock copy, a segment in use, a free one's header.
    for at in [0, PAGE, segment_start(2), segment_start(39)] {
        for salvage in [false, true] {
            let region = Region::open(&path, &RegionOptions::default()).expect("opens");
            let _poison = poison(&region, at);
            let pool = Pool::from_region(region, &path).expect("one copy of the superblock is enough");
            let options = StoreOptions { salvage, ..options() };
            let refused = Store::recover(pool, &options, Clock::manual(NOW_MS), &Progress::default()).err();
            let refused = refused.unwrap_or_else(|| panic!("started with poison at {at:#x}"));
            assert!(matches!(refused, OpenError::Unreadable { .. }), "{refused}");
            assert!(refused.to_string().contains("pool salvage"), "{refused}");
        }
    }
    assert!(std::fs::read(&path).expect("there") == before, "the pool was written to");
}

#[test]
fn check_reads_pages_that_nothing_uses_too() {
    let _quiet = nobody_starts();
    let directory = memory_directory();
    let path = pool_file(directory.path());
    for at in [PAGE, segment_start(39)] {
        let region = Region::open(&path, &RegionOptions::default()).expect("opens");
        let _poison = poison(&region, at);
        let check = check_pool(&Pool::from_region(region, &path).expect("opens"));
        assert!(check.damage.iter().any(|line| line.contains(&format!("{at:#x}"))), "{check:?}");
    }
}

#[test]
fn what_is_left_of_a_file_that_was_cut_short_is_salvaged() {
    let _quiet = nobody_starts();
    let directory = memory_directory();
    let path = pool_file(directory.path());
    let (image, expected, past) = busy_image(true);
    let mut most = 0;
    for (i, len) in (DATA_AT..image.len() as u64).step_by(7 * 1024 + 64).enumerate() {
        File::options().write(true).open(&path).expect("opens").set_len(len).expect("cut");
        let to = directory.path().join(format!("new{i}"));
        let report = salvage(&path, &to, NOW_MS).expect("salvaged");
        assert!(report.lost_something());
        let pool = Pool::open(&to, &RegionOptions::default()).expect("opens");
        let store = Store::recover(pool, &options(), Clock::manual(NOW_MS), &Progress::default()).expect("clean");
        let found = contents(&store);
        assert!(found.iter().all(|(key, value)| past[key].contains(&Some(value.clone()))), "cut to {len}");
        most = most.max(found.len());
        std::fs::write(&path, &image).expect("room");
    }
    assert!(most > expected.len() / 2, "the longest piece had {most} keys");
    File::options().write(true).open(&path).expect("opens").set_len(4000).expect("cut");
    assert!(salvage(&path, &directory.path().join("none"), NOW_MS).is_err(), "there is no whole superblock");
}

/// Runs `test` of this binary again as the child of `case`.
fn child(test: &str, case: &str) -> Output {
    let program = std::env::current_exe().expect("this binary");
    let arguments = ["--exact", test, "--nocapture", "--test-threads", "1"];
    output(Command::new(program).args(arguments).env("FENCEPOST_POISON_CASE", case))
}

fn case() -> Option<String> {
    std::env::var("FENCEPOST_POISON_CASE").ok()
}

fn store_in(directory: &Path) -> Store {
    let pool = PoolOptions { path: Some(directory.join("pool")), ..options().pool };
    let options = StoreOptions { pool, ..options() };
    Store::open(&options, Clock::manual(NOW_MS), &Progress::default()).expect("opens")
}

#[test]
fn poison_met_while_serving_stops_the_process_with_the_place() {
    if let Some(case) = case() {
        let directory = memory_directory();
        let mut at = 0;
        for reopened in [false, true] {
            let store = store_in(directory.path());
            let guard = crossbeam_epoch::pin();
            let key = Key { db: 0, name: b"key" };
            if !reopened {
                let mut worker = store.worker();
                let mut txn = store.write(&mut worker, &[key], NOW_MS, &guard);
                txn.set_inline(key, b"value", None).expect("staged");
                txn.commit().expect("room");
                at = store.pool().segment_offset(SegmentId(0));
            }
            if (case == "reopened") == reopened {
                let _poison = poison(store.pool().region(), at);
                println!("poisoned {at:#x}");
                let found = store.read(key, NOW_MS, &guard).map(|entry| entry.string().expect("a string").len());
                println!("survived with {found:?}");
                return;
            }
        }
        return;
    }
    for case in ["created", "reopened"] {
        let output = child("poison::poison_met_while_serving_stops_the_process_with_the_place", case);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(stdout.contains("poisoned 0x4000") && !stdout.contains("survived"), "{stdout}{stderr}");
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{stderr}");
        assert!(stderr.contains("cannot read the pool at byte 0x40"), "{stderr}");
    }
}

#[test]
fn a_sigbus_elsewhere_is_none_of_ours() {
    if case().is_some() {
        let directory = memory_directory();
        let _store = store_in(directory.path());
        let file = File::options().read(true).write(true).create_new(true).open(directory.path().join("other"));
        let file = file.expect("room");
        // SAFETY: maps a page of an empty file and reads it: that raises the signal this is about.
        unsafe {
            let shared = libc::MAP_SHARED;
            let page = libc::mmap(std::ptr::null_mut(), PAGE as usize, libc::PROT_READ, shared, file.as_raw_fd(), 0);
            assert_ne!(page, libc::MAP_FAILED);
            std::ptr::read_volatile(page.cast::<u8>());
        }
        println!("survived");
        return;
    }
    let output = child("poison::a_sigbus_elsewhere_is_none_of_ours", "fault");
    assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("cannot read the pool"), "{output:?}");
}

#[test]
fn a_server_whose_pool_file_is_cut_short_stops_and_says_why() {
    let program = Program::Fencepost(env!("CARGO_BIN_EXE_fencepost").into());
    let mut server = Server::new(program, &Storage::Memory, &["--pool-size", "8mb"]);
    {
        let _one_at_a_time = starting();
        server.run();
    }
    let mut client = server.client();
    assert_eq!(client.must(&["SET", "key", "value"]), Frame::ok());
    File::options().write(true).open(server.pool_path()).expect("opens").set_len(8192).expect("cut");
    assert!(client.call(&["GET", "key"]).is_err(), "no answer is right");
    let status = server.wait_stopped();
    assert_eq!(status.signal(), Some(libc::SIGABRT));
    assert!(server.log().contains("cannot read the pool at byte 0x"), "{}", server.log());
    assert!(server.log().contains("pool salvage"), "{}", server.log());
    // Started again it refuses, with what to do.
    {
        let _one_at_a_time = starting();
        server.spawn();
    }
    assert_eq!(server.wait_stopped().code(), Some(1));
    assert!(server.log().contains("was cut short"), "{}", server.log());
}
