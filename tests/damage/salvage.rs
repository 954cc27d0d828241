//! `pool salvage`: what is intact is in the new pool, nothing else is, and what is lost is said.

use crate::image::{Contents, DATA_AT, NOW_MS, Past, busy_image, contents, nobody_starts, options, output, pool_of};
use fencepost::base::{Clock, LogAddr};
use fencepost::log::Record;
use fencepost::persist::{Region, RegionOptions};
use fencepost::pool::{Pool, PoolError};
use fencepost::recovery::tools::check_pool;
use fencepost::recovery::{Progress, Visitor, scan_pool};
use fencepost::store::{SalvageError, SalvageReport, Store, salvage, salvage_pool};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

/// Salvages an image into memory: what is in the new pool, and the report.
fn salvaged(image: &[u8]) -> Result<(Contents, SalvageReport), SalvageError> {
    let region = Region::from_image(image, &RegionOptions::default()).expect("memory");
    let source = Pool::from_damaged_region(region, Path::new("image"))?;
    let (pool, report) = salvage_pool(&source, None, NOW_MS)?;
    assert_eq!(source.region().read(0, image.len() as u64).expect("readable"), image, "the old pool was changed");
    let check = check_pool(&pool);
    assert!(check.damage.is_empty() && check.remarks.is_empty(), "{check:?}");
    let store = Store::recover(pool, &options(), Clock::manual(NOW_MS), &Progress::default()).expect("a clean pool");
    assert_eq!(store.info().recovery_unfinished, 0);
    Ok((contents(&store), report))
}

fn all_lines(report: &SalvageReport) -> String {
    [report.damage.join("\n"), report.hit.join("\n")].join("\n")
}

/// What is salvaged holds only values that were there once; whatever is not as it was at the end is said to be hit.
fn holds(expected: &Contents, past: &Past, found: &Contents, report: &SalvageReport, what: &str, names: bool) {
    for (key, once) in past {
        let value = found.get(key).cloned();
        assert!(once.contains(&value) || value.is_none(), "{what}: a value that never was, of {}", key.escape_ascii());
        if value.as_ref() != expected.get(key) {
            assert!(report.lost_something(), "{what}: {} was lost without a word", key.escape_ascii());
            let named = all_lines(report).contains(&format!("\"{}\"", key.escape_ascii()));
            assert!(named || !names, "{what}: {} is not named\n{}", key.escape_ascii(), all_lines(report));
        }
    }
    assert!(found.keys().all(|key| past.contains_key(key)), "{what}: a key that never was");
}

/// Where headers and keys of records are: damage there can take the name away.
struct Names<'a>(&'a mut Vec<Range<usize>>);

impl Visitor<'_> for Names<'_> {
    fn record(&mut self, addr: LogAddr, record: Record<'_>) {
        let at = addr.offset() as usize;
        self.0.push(at..at + record.header_bytes() + record.key.len());
    }
}

#[test]
fn a_whole_pool_is_copied_whole() {
    for close in [true, false] {
        let (image, expected, _) = busy_image(close);
        let (found, report) = salvaged(&image).expect("salvaged");
        assert_eq!(found, expected);
        assert!(!report.lost_something(), "{report:?}");
        assert_eq!(report.keys, expected.len() as u64 + 1, "and the key of the other database");
    }
}

#[test]
fn every_flipped_byte_costs_only_what_it_hits_and_that_is_said() {
    let (image, expected, past) = busy_image(true);
    let mut names = Vec::new();
    scan_pool(&pool_of(&image).expect("whole"), &mut [Names(&mut names)], &Progress::default());
    let mut lossy = 0;
    for at in (0..image.len()).step_by(37) {
        let mut damaged = image.clone();
        damaged[at] ^= 1 << (at / 37 % 8);
        let (found, report) = salvaged(&damaged).unwrap_or_else(|error| panic!("byte {at:#x}: {error}"));
        let header_of_segment = at >= DATA_AT as usize && (at - DATA_AT as usize) % 4096 < 8;
        let readable = !header_of_segment && !names.iter().any(|range| range.contains(&at));
        holds(&expected, &past, &found, &report, &format!("byte {at:#x}"), readable);
        if !header_of_segment {
            let missing = expected.keys().filter(|key| !found.contains_key(*key)).count();
            assert!(missing <= 2, "byte {at:#x} of one batch cost {missing} keys");
        }
        lossy += usize::from(found != expected);
    }
    assert!(lossy > 50, "the damage did hit something: {lossy}");
}

#[test]
fn every_zeroed_line_of_a_killed_pool_costs_only_what_it_hits() {
    let (image, expected, past) = busy_image(false);
    for at in (DATA_AT as usize..image.len()).step_by(64) {
        let mut damaged = image.clone();
        damaged[at..at + 64].fill(0);
        let (found, report) = salvaged(&damaged).unwrap_or_else(|error| panic!("line {at:#x}: {error}"));
        // The last batch of the open segment looks like a write in flight.
        if report.lost_something() || report.remarks.is_empty() {
            holds(&expected, &past, &found, &report, &format!("line {at:#x}"), false);
        }
    }
}

#[test]
fn a_superblock_is_put_together_from_two_damaged_copies() {
    let (image, expected, _) = busy_image(true);
    for (first, second) in [(100, 4096 + 200), (30, 4096 + 300), (24, 4096 + 4093), (4092, 4096 + 64), (5, 4096 + 2000)]
    {
        let mut damaged = image.clone();
        damaged[first] ^= 0x10;
        damaged[second] ^= 0x81;
        assert!(pool_of(&damaged).is_err(), "a server must not open it");
        let (found, report) = salvaged(&damaged).unwrap_or_else(|error| panic!("{first} and {second}: {error}"));
        assert_eq!(found, expected, "{first} and {second}");
        assert!(!report.lost_something() && report.remarks.len() == 2, "{report:?}");
    }
    let mut damaged = image;
    damaged[100] ^= 1;
    damaged[4096 + 101] ^= 1;
    let error = salvaged(&damaged).expect_err("the same line of both is lost");
    assert!(matches!(error, SalvageError::Pool(PoolError::SuperblocksDamaged { .. })), "{error}");
}

#[test]
fn files_are_never_overwritten_nor_left_behind() {
    let _quiet = nobody_starts();
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let (image, expected, _) = busy_image(true);
    std::fs::write(path("old"), &image).expect("room");
    std::fs::write(path("taken"), "mine").expect("room");
    let error = salvage(&path("old"), &path("taken"), NOW_MS).expect_err("refused");
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(std::fs::read(path("taken")).expect("there"), b"mine");
    assert!(salvage(&path("missing"), &path("new"), NOW_MS).is_err());
    assert!(salvage(&path("taken"), &path("new"), NOW_MS).is_err(), "not a pool");
    let mut damaged = image.clone();
    damaged[100] ^= 1;
    damaged[4096 + 100] ^= 1;
    std::fs::write(path("hopeless"), &damaged).expect("room");
    assert!(salvage(&path("hopeless"), &path("new"), NOW_MS).is_err());
    let mut names: Vec<_> =
        std::fs::read_dir(directory.path()).expect("there").map(|entry| entry.expect("read").file_name()).collect();
    names.sort();
    assert_eq!(names, ["hopeless", "old", "taken"], "a failure leaves nothing behind");

    let server = Pool::open(&path("old"), &RegionOptions::default()).expect("opens");
    let error = salvage(&path("old"), &path("new"), NOW_MS).expect_err("refused");
    assert!(matches!(error, SalvageError::InUse { .. }), "{error}");
    drop(server);
    let report = salvage(&path("old"), &path("new"), NOW_MS).expect("salvaged");
    assert!(!report.lost_something());
    assert_eq!(std::fs::read(path("old")).expect("there"), image, "the old pool is as it was");
    let pool = Pool::open(&path("new"), &RegionOptions::default()).expect("opens");
    assert_ne!(pool.uuid(), pool_of(&image).expect("whole").uuid());
    let store = Store::recover(pool, &options(), Clock::manual(NOW_MS), &Progress::default()).expect("clean");
    assert_eq!(contents(&store), expected);
}

#[test]
fn the_command_line_says_what_is_lost_by_text_and_status() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let run = |from: &str, to: &str| {
        let program = env!("CARGO_BIN_EXE_fencepost");
        let run = output(Command::new(program).args(["pool", "salvage", from, to]).current_dir(directory.path()));
        (run.status.code(), String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr))
    };
    let (image, expected, _) = busy_image(true);
    std::fs::write(path("whole"), &image).expect("room");
    let (status, text) = run("whole", "copy");
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains(&format!("{} keys saved to copy; nothing is lost", expected.len() + 1)), "{text}");

    // The value of the record that a key's name lies in front of.
    let name = b"elsewhere";
    let at = image.windows(name.len()).position(|window| window == name).expect("it is there") + name.len() + 2;
    let mut damaged = image;
    damaged[at] ^= 1;
    std::fs::write(path("damaged"), &damaged).expect("room");
    let (status, text) = run("damaged", "rest");
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("a commit batch fails its checksum"), "{text}");
    assert!(text.contains("key: \"elsewhere\" (database 1): lost"), "{text}");
    assert!(text.contains(&format!("{} keys saved to rest", expected.len())), "{text}");
    assert!(path("rest").exists());

    let (status, text) = run("damaged", "rest");
    assert!(status == Some(2) && text.contains("exists already"), "{text}");
    let (status, text) = run("missing", "new");
    assert!(status == Some(2) && text.contains("no such pool"), "{text}");
    assert!(!path("new").exists());
}
