//! Pools of every released format, as files: each must be read with all that is in it, or refused clearly.
//!
//! A fixture is made once, by the release that introduces its format, with
//! `FENCEPOST_WRITE_FIXTURES=1 cargo test --test format_fixture`, and never changed.

use crossbeam_epoch::pin;
use fencepost::base::Clock;
use fencepost::persist::{Region, RegionOptions};
use fencepost::pool::{Pool, PoolError, PoolOptions};
use fencepost::recovery::Progress;
use fencepost::recovery::tools::check_pool;
use fencepost::store::{Key, Store, StoreOptions};
use std::path::{Path, PathBuf};

const NOW_MS: u64 = 1_700_000_000_000;
/// Far enough for every release to come: a fixture's expiry must not pass.
const FAR_MS: u64 = 10_000_000_000_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn options() -> StoreOptions {
    let pool = PoolOptions {
        path: None,
        bytes: 8192 + 6 * 4096,
        max_bytes: 0,
        segment_bytes: Some(4096),
        stripes: 4,
        now_ms: NOW_MS,
        region: RegionOptions::default(),
    };
    StoreOptions { pool, databases: 3, recovery_threads: 1, salvage: false }
}

fn long_value() -> Vec<u8> {
    (0..5000u32).map(|i| (i * 7 + i / 256) as u8).collect()
}

/// Every kind of record: strings with and without expiry, raw strings, tombstones, object heads with chunks and a hole, clock marks; flushed and
/// swapped databases; a segment that is sealed and one that its server left open.
fn write_format_1() -> Vec<u8> {
    let store = Store::open(&options(), Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
    let mut worker = store.worker();
    let mut set = |db, name: &[u8], value: &[u8], expire_at| {
        let guard = pin();
        let key = Key { db, name };
        let value = store.prepare(&mut worker, value, &guard).expect("room");
        let mut txn = store.write(&mut worker, &[key], store.clock().now_ms(), &guard);
        txn.set(key, value, expire_at).expect("staged");
        txn.commit().expect("room");
    };
    set(0, b"flushed", b"x", None);
    store.flush_db(0, None).expect("flushed");
    set(0, b"plain", b"value", None);
    set(0, b"plain", b"newer value", None);
    set(0, b"", b"", None);
    set(0, b"expires", b"far in the future", Some(FAR_MS));
    set(0, b"expired", b"gone", Some(NOW_MS + 1));
    set(0, b"deleted", b"gone", None);
    set(0, b"long", &long_value(), None);
    set(1, b"plain", b"of database 1", None);
    set(2, b"plain", b"of database 2", None);
    store.swap_db(1, 2, None).expect("swapped");
    let guard = pin();
    let edit = |worker: &mut _, name: &'static [u8], work: &dyn Fn(&mut fencepost::store::Txn<'_>, Key<'_>)| {
        let key = Key { db: 0, name };
        let mut txn = store.write(worker, &[key], NOW_MS, &guard);
        work(&mut txn, key);
        txn.commit().expect("room");
    };
    edit(&mut worker, b"deleted", &|txn, key| assert!(txn.delete(key).expect("staged")));
    edit(&mut worker, b"raw", &|txn, key| txn.patch(key, &[(3, b"patched")]).expect("staged"));
    edit(&mut worker, b"sparse", &|txn, key| txn.patch(key, &[(4000, b"end")]).expect("staged"));
    store.clock().advance(1);
    assert_eq!(store.expire_cycle(NOW_MS + 1, std::time::Duration::from_secs(1)), 1);
    let region = store.pool().region();
    region.read(0, region.len()).expect("readable").to_vec()
}

#[test]
fn a_pool_of_format_1_is_read_with_all_that_is_in_it() {
    let path = fixture("format-1.pool");
    if std::env::var_os("FENCEPOST_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, write_format_1()).expect("written");
    }
    let image = std::fs::read(&path).expect("the fixture is in the repository");
    let region = Region::from_image(&image, &RegionOptions::default()).expect("memory");
    let pool = Pool::from_region(region, &path).expect("format 1 is read");
    let check = check_pool(&pool);
    assert!(check.damage.is_empty() && check.remarks.is_empty(), "{check:?}");
    // A clock that was set back before the clock mark.
    let store = Store::recover(pool, &options(), Clock::manual(NOW_MS - 5), &Progress::default()).expect("recovers");
    let guard = pin();
    let get = |db, name: &[u8]| {
        let entry = store.read(Key { db, name }, store.clock().now_ms(), &guard)?;
        Some((entry.string().expect("a string").bytes().into_owned(), entry.expire_at(), entry.is_raw()))
    };
    let plain = |value: &[u8]| Some((value.to_vec(), None, false));
    assert_eq!(get(0, b"plain"), plain(b"newer value"));
    assert_eq!(get(0, b""), plain(b""));
    assert_eq!(get(0, b"expires"), Some((b"far in the future".to_vec(), Some(FAR_MS), false)));
    assert_eq!(get(0, b"long"), Some((long_value(), None, true)));
    assert_eq!(get(0, b"raw"), Some((b"\0\0\0patched".to_vec(), None, true)));
    assert_eq!(get(0, b"sparse"), Some(([vec![0; 4000], b"end".to_vec()].concat(), None, true)));
    assert_eq!(get(1, b"plain"), plain(b"of database 2"));
    assert_eq!(get(2, b"plain"), plain(b"of database 1"));
    for gone in [&b"flushed"[..], b"expired", b"deleted"] {
        assert_eq!(get(0, gone), None);
    }
    assert_eq!((store.len(0), store.len(1), store.len(2)), (6, 1, 1));
}

#[test]
fn pools_of_other_formats_are_refused_by_name() {
    let mut image = std::fs::read(fixture("format-1.pool")).expect("the fixture is in the repository");
    for copy in [0, 4096] {
        image[copy + 8..copy + 12].copy_from_slice(&2u32.to_le_bytes());
        let crc = crc32c::crc32c(&image[copy..copy + 4092]);
        image[copy + 4092..copy + 4096].copy_from_slice(&crc.to_le_bytes());
    }
    let region = Region::from_image(&image, &RegionOptions::default()).expect("memory");
    let refused = Pool::from_region(region, Path::new("newer.pool")).err().expect("refused");
    assert!(matches!(refused, PoolError::Version { version: 2, .. }));
    let text = refused.to_string();
    assert!(text.contains("newer.pool has pool format 2") && text.contains("this release reads format 1"), "{text}");
}
