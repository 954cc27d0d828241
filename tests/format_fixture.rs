//! Pools of every released format, as files: each must be read with all that is in it, or refused clearly.
//!
//! A fixture is made once, by the release that introduces its format, with
//! `FENCEPOST_WRITE_FIXTURES=NAME cargo test --test format_fixture`, and never changed.

use bytes::BytesMut;
use crossbeam_epoch::pin;
use fencepost::base::Clock;
use fencepost::cleaner::{CleanStep, Demand};
use fencepost::command::Direct;
use fencepost::persist::{Region, RegionOptions};
use fencepost::pool::{Pool, PoolError, PoolOptions};
use fencepost::recovery::Progress;
use fencepost::recovery::tools::check_pool;
use fencepost::store::{Key, Store, StoreOptions, Worker};
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

/// The store in a fixture, opened by this release; its bytes are made anew first, by `write`, if the environment asks for it.
fn open_fixture(name: &str, write: fn() -> Vec<u8>, clock: Clock) -> Store {
    let path = fixture(&format!("{name}.pool"));
    if std::env::var_os("FENCEPOST_WRITE_FIXTURES").is_some_and(|which| which == name) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, write()).expect("written");
    }
    let image = std::fs::read(&path).expect("the fixture is in the repository");
    let region = Region::from_image(&image, &RegionOptions::default()).expect("memory");
    let pool = Pool::from_region(region, &path).expect("all its features are known");
    let check = check_pool(&pool);
    assert!(check.damage.is_empty() && check.remarks.is_empty(), "{check:?}");
    Store::recover(pool, &options(), clock, &Progress::default()).expect("recovers")
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
    // A clock that was set back before the clock mark.
    let store = open_fixture("format-1", write_format_1, Clock::manual(NOW_MS - 5));
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
    drop(guard);
    // What the cleaner copies takes less room than it did.
    let before = store.info().live_bytes;
    while store.clean_step(Demand::Now) != CleanStep::Idle {
        std::thread::yield_now();
    }
    assert_eq!(store.check_books(), Ok(()));
    assert!(store.info().live_bytes < before, "{} of {before}", store.info().live_bytes);
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

/// What each of these answers is the same before the fixture was written and after it is read.
const QUESTIONS: &[&str] = &[
    "HGETALL hash",
    "LRANGE list 0 -1",
    "SMEMBERS one",
    "SCARD set",
    "ZRANGE zset 0 -1 WITHSCORES",
    "PEXPIRETIME hash",
    "EXISTS gone",
    "GET a",
    "GET b",
    "DBSIZE",
];

fn run(direct: &mut Direct, store: &Store, worker: &mut Worker, line: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    let request: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    direct.run(store, worker, &[request], &mut out);
    assert!(!out.starts_with(b"-"), "{line}: {}", out.escape_ascii());
    out.to_vec()
}

/// Collections of every type, changed in every way that writes a record of its own kind (feature 0), and a transaction (feature 1): committed, over two
/// keys, with another database's keyspace map in it.
fn write_features_0_and_1() -> Vec<u8> {
    let store = Store::open(&options(), Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
    let (mut direct, mut worker) = (Direct::new(Clock::manual(NOW_MS)), store.worker());
    let expiry = format!("PEXPIREAT hash {FAR_MS}");
    for line in [
        "HSET hash a 1 b 2 c 3",
        "HSET hash b 22",
        "HDEL hash c",
        expiry.as_str(),
        "RPUSH list a b c d e f",
        "LINSERT list AFTER c between",
        "LPOP list",
        "RPOP list",
        "LREM list 1 d",
        "LPUSH list front",
        "LTRIM list 0 3",
        "SADD one member other",
        "SREM one other",
        "SADD set 1 2 3 4 5",
        "ZADD zset 1.5 a -inf b 3 c",
        "ZINCRBY zset 2 a",
        "ZREM zset c",
        "SADD gone x",
        "DEL gone",
        "SELECT 1",
        "SET other value",
        "SELECT 0",
        "MULTI",
        "SET a 1",
        "SET b 2",
        "RENAME set moved",
        "RENAME moved set",
        "SWAPDB 1 2",
        "EXEC",
    ] {
        run(&mut direct, &store, &mut worker, line);
    }
    let region = store.pool().region();
    region.read(0, region.len()).expect("readable").to_vec()
}

#[test]
fn a_pool_with_collections_and_transactions_is_read_with_all_that_is_in_it() {
    let store = open_fixture("features-0-1", write_features_0_and_1, Clock::manual(NOW_MS));
    let (mut direct, mut worker) = (Direct::new(Clock::manual(NOW_MS)), store.worker());
    let mut answers = String::new();
    for question in QUESTIONS {
        let answer = run(&mut direct, &store, &mut worker, question);
        answers
            .push_str(&format!("{question}: {}\n", String::from_utf8_lossy(&answer).replace("\r\n", " ").trim_end()));
    }
    run(&mut direct, &store, &mut worker, "SELECT 2");
    answers.push_str(&String::from_utf8_lossy(&run(&mut direct, &store, &mut worker, "GET other")));
    let expected = "HGETALL hash: *4 $1 a $1 1 $1 b $2 22\n\
                    LRANGE list 0 -1: *4 $5 front $1 b $1 c $7 between\n\
                    SMEMBERS one: *1 $6 member\n\
                    SCARD set: :5\n\
                    ZRANGE zset 0 -1 WITHSCORES: *4 $1 b $4 -inf $1 a $3 3.5\n\
                    PEXPIRETIME hash: :10000000000000\n\
                    EXISTS gone: :0\n\
                    GET a: $1 1\n\
                    GET b: $1 2\n\
                    DBSIZE: :7\n\
                    $5\r\nvalue\r\n";
    assert_eq!(answers, expected);
}

/// Fields that expire (feature 2): one that does not, one that does later, one that has by then; and a hash with no other than such ones.
fn write_feature_2() -> Vec<u8> {
    let store = Store::open(&options(), Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
    let (mut direct, mut worker) = (Direct::new(Clock::manual(NOW_MS)), store.worker());
    let (far, soon) = (format!("PXAT {FAR_MS}"), format!("PXAT {}", NOW_MS + 10));
    for line in [
        "HSET hash a 1 b 2",
        &format!("HSETEX hash {far} FIELDS 1 b 22"),
        &format!("HSETEX hash {soon} FIELDS 1 c 3"),
        &format!("HSETEX ended {soon} FIELDS 2 a 1 b 2"),
        &format!("HSETEX other {soon} FIELDS 1 a 1"),
        "HPERSIST other FIELDS 1 a",
    ] {
        run(&mut direct, &store, &mut worker, line);
    }
    let region = store.pool().region();
    region.read(0, region.len()).expect("readable").to_vec()
}

#[test]
fn a_pool_with_fields_that_expire_is_read_with_all_that_is_in_it() {
    let clock = Clock::manual(NOW_MS + 10);
    let store = open_fixture("feature-2", write_feature_2, clock.clone());
    let (mut direct, mut worker) = (Direct::new(clock), store.worker());
    for (question, answer) in [
        ("HGETALL hash", "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$2\r\n22\r\n"),
        ("HPEXPIRETIME hash FIELDS 3 a b c", "*3\r\n:-1\r\n:10000000000000\r\n:-2\r\n"),
        ("EXISTS ended", ":0\r\n"),
        ("HTTL other FIELDS 1 a", "*1\r\n:-1\r\n"),
    ] {
        assert_eq!(String::from_utf8_lossy(&run(&mut direct, &store, &mut worker, question)), answer, "{question}");
    }
}

/// Small collections in one record each (feature 5), one that has outgrown it, and short headers with and without an expiry (feature 6).
fn write_features_5_and_6() -> Vec<u8> {
    let store = Store::open(&options(), Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
    let (mut direct, mut worker) = (Direct::new(Clock::manual(NOW_MS)), store.worker());
    let long = "x".repeat(200);
    for line in [
        "SET plain value",
        &format!("SET expires value PXAT {FAR_MS}"),
        "HSET hash a 1 b 2",
        "HDEL hash a",
        &format!("HSET hash c {long}"),
        &format!("PEXPIREAT hash {FAR_MS}"),
        "RPUSH list b c",
        "LPUSH list a",
        "SADD set 1 2 3",
        "SADD gone 1",
        "DEL gone",
        "ZADD zset 2 b 1 a -inf c",
        &format!("RPUSH outgrown a {long} {long} {long}"),
        "LPOP outgrown",
        &format!("HSETEX fields PXAT {FAR_MS} FIELDS 1 a 1"),
    ] {
        run(&mut direct, &store, &mut worker, line);
    }
    let region = store.pool().region();
    region.read(0, region.len()).expect("readable").to_vec()
}

#[test]
fn a_pool_with_packed_collections_is_read_with_all_that_is_in_it() {
    let store = open_fixture("features-5-6", write_features_5_and_6, Clock::manual(NOW_MS));
    let (mut direct, mut worker) = (Direct::new(Clock::manual(NOW_MS)), store.worker());
    for (question, answer) in [
        ("GET plain", "$5 value"),
        ("PEXPIRETIME expires", ":10000000000000"),
        ("HGET hash b", "$1 2"),
        ("HSTRLEN hash c", ":200"),
        ("HLEN hash", ":2"),
        ("OBJECT ENCODING hash", "$9 hashtable"),
        ("PEXPIRETIME hash", ":10000000000000"),
        ("LRANGE list 0 -1", "*3 $1 a $1 b $1 c"),
        ("SMISMEMBER set 1 2 3 4", "*4 :1 :1 :1 :0"),
        ("OBJECT ENCODING set", "$6 intset"),
        ("ZRANGE zset 0 -1 WITHSCORES", "*6 $1 c $4 -inf $1 a $1 1 $1 b $1 2"),
        ("LLEN outgrown", ":3"),
        ("HPEXPIRETIME fields FIELDS 1 a", "*1 :10000000000000"),
        ("EXISTS gone", ":0"),
        ("DBSIZE", ":8"),
    ] {
        let answered = run(&mut direct, &store, &mut worker, question);
        assert_eq!(String::from_utf8_lossy(&answered).replace("\r\n", " ").trim_end(), answer, "{question}");
    }
}
