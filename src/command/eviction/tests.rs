//! Claims about `maxmemory`: what is evicted, what is refused, and what OBJECT tells of the uses of keys.

use crate::command::testing::{Reply, TestClient};
use crate::store::EvictionPolicy;
use bytes::BytesMut;

const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// Above what a record with its key and a value of 100 bytes takes.
const RECORD_MAX_BYTES: u64 = 176;

/// A client of a server with that limit and policy, whose commands evict for as long as it takes.
fn limited(limit_bytes: u64, policy: &str) -> TestClient {
    let mut client = TestClient::new();
    assert_eq!(client.run("CONFIG SET maxmemory-eviction-tenacity 100"), Reply::ok());
    let set = format!("CONFIG SET maxmemory {limit_bytes} maxmemory-policy {policy}");
    assert_eq!(client.run(&set), Reply::ok());
    client
}

fn value() -> String {
    "v".repeat(100)
}

fn set(client: &mut TestClient, name: &str) -> Reply {
    client.run(&format!("SET {name} {}", value()))
}

fn count(client: &mut TestClient, prefix: &str) -> usize {
    client.run(&format!("KEYS {prefix}*")).items().len()
}

fn info(client: &mut TestClient, field: &str) -> u64 {
    let text = client.run("INFO everything").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no field {field}")).parse().expect("a number")
}

/// Fills up to the limit, and says how many keys that took.
fn fill_until_refused(client: &mut TestClient) -> usize {
    (0..10_000).find(|i| set(client, &format!("k{i}")) != Reply::ok()).expect("there is a limit")
}

#[test]
fn without_eviction_what_needs_room_is_refused_before_any_effect() {
    let mut client = limited(32 << 10, "noeviction");
    client.run("HSET h a 1");
    let there = fill_until_refused(&mut client);
    assert!((32 << 10) / RECORD_MAX_BYTES <= there as u64 && there <= 400, "{there} keys of 100 bytes in 32 KiB");
    let live = client.store.live_bytes();
    assert!(live <= (32 << 10) + RECORD_MAX_BYTES, "{live}");
    for line in [
        "SET k0 changed",
        "MSET k0 changed new 1",
        "APPEND k0 more",
        "SETRANGE new 10 x",
        "INCR new",
        "SETBIT new 1 1",
        "PFADD new a",
        "COPY k0 new",
        "GETSET k0 changed",
        "SETEX new 100 1",
        "HSETEX h EX 100 FIELDS 1 a 1",
    ] {
        assert_eq!(client.run(line), Reply::error(OOM), "{line}");
    }
    assert_eq!(client.run("EXISTS new"), Reply::Integer(0));
    assert_eq!(client.run("GET k0"), Reply::bulk(value()));
    assert_eq!(client.store.live_bytes(), live, "nothing was written");
    assert_eq!(client.run("EXPIRE k1 100"), Reply::Integer(1));
    assert_eq!(client.run("HEXPIRE h 100 FIELDS 1 a"), Reply::Array(vec![Reply::Integer(1)]));
    assert_eq!(client.run("RENAME k2 k3"), Reply::ok());
    assert_eq!(client.run("DEL k0 k1 k3"), Reply::Integer(3));
    assert_eq!(client.run("SET k0 small"), Reply::ok(), "there is room again");
    assert_eq!(client.run("FLUSHALL"), Reply::ok());
    let stats = client.run("INFO commandstats").text();
    assert!(stats.lines().any(|line| line.starts_with("cmdstat_mset:calls=0") && line.contains("rejected_calls=1")));
    assert_eq!(info(&mut client, "evicted_keys"), 0);
    assert_eq!(info(&mut client, "maxmemory"), 32 << 10);
}

#[test]
fn the_time_above_the_limit_is_told() {
    let mut client = limited(8 << 10, "noeviction");
    let times = |client: &mut TestClient| {
        ["total_eviction_exceeded_time", "current_eviction_exceeded_time"].map(|field| info(client, field))
    };
    fill_until_refused(&mut client);
    client.clock.advance(300);
    assert_eq!(times(&mut client), [300, 300]);
    client.run("DEL k1 k2 k3");
    assert_eq!(set(&mut client, "k1"), Reply::ok());
    client.clock.advance(300);
    assert_eq!(times(&mut client), [300, 0]);
    client.run("CONFIG RESETSTAT");
    assert_eq!(times(&mut client), [0, 0]);
}

fn pipeline(client: &mut TestClient, requests: &[Vec<String>]) -> Vec<Reply> {
    let mut out = BytesMut::new();
    client.direct.run(&client.store, &mut client.worker, requests, &mut out);
    let (mut replies, mut rest) = (Vec::new(), &out[..]);
    while !rest.is_empty() {
        let (reply, after) = Reply::decode(rest);
        replies.push(reply);
        rest = after;
    }
    replies
}

fn sets(names: impl Iterator<Item = usize>) -> Vec<Vec<String>> {
    names.map(|i| vec!["SET".into(), format!("p{i}"), value()]).collect()
}

/// SETs that would run together obey one by one: those that there is room for are done, the others refused.
#[test]
fn sets_in_a_pipeline_obey_the_limit() {
    let mut client = limited(8 << 10, "noeviction");
    let replies = pipeline(&mut client, &sets(0..200));
    let done = replies.iter().filter(|reply| **reply == Reply::ok()).count();
    assert!(replies[..done].iter().all(|reply| *reply == Reply::ok()), "none is done behind one that is refused");
    assert!(replies[done..].iter().all(|reply| *reply == Reply::error(OOM)));
    assert!((40..70).contains(&done), "{done}");
    assert_eq!(client.run("DBSIZE"), Reply::Integer(done as i64));
    assert!(client.store.live_bytes() <= (8 << 10) + RECORD_MAX_BYTES);
}

#[test]
fn sets_in_a_pipeline_evict_ahead() {
    evict_in_pipelines(100);
}

/// Without time to evict for all of them together, they go one by one, and each evicts for itself.
#[test]
fn sets_in_a_pipeline_stay_below_the_limit_in_no_time() {
    evict_in_pipelines(0);
}

fn evict_in_pipelines(tenacity: u64) {
    let mut client = limited(64 << 10, "allkeys-lru");
    assert_eq!(client.run(&format!("CONFIG SET maxmemory-eviction-tenacity {tenacity}")), Reply::ok());
    for round in 0..20 {
        let replies = pipeline(&mut client, &sets(100 * round..100 * (round + 1)));
        assert!(replies.iter().all(|reply| *reply == Reply::ok()));
        assert!(client.store.live_bytes() <= (64 << 10) + RECORD_MAX_BYTES);
    }
    let left = client.run("DBSIZE").int() as u64;
    assert!(left > 300, "{left}");
    assert_eq!(info(&mut client, "evicted_keys"), 2000 - left);
}

/// Under every policy that may take any of these keys all writes succeed, the limit holds, and what is gone was counted and stays away.
#[test]
fn every_policy_holds_the_limit() {
    for policy in EvictionPolicy::ALL.map(EvictionPolicy::name).into_iter().filter(|name| *name != "noeviction") {
        let mut client = limited(48 << 10, policy);
        for i in 0..1000 {
            client.clock.advance(10);
            let set = client.run(&format!("SET k{i} {} PX {}", value(), 10_000_000 + (i * 7919) % 1000));
            assert_eq!(set, Reply::ok(), "{policy}");
            let live = client.store.live_bytes();
            assert!(live <= (48 << 10) + RECORD_MAX_BYTES, "{policy}: {live}");
        }
        let keys = client.run("KEYS *").sorted_texts();
        assert!(keys.len() > 150, "{policy}: {}", keys.len());
        assert_eq!(info(&mut client, "evicted_keys"), 1000 - keys.len() as u64, "{policy}");
        assert_eq!(client.run("DEBUG RELOAD"), Reply::ok());
        assert_eq!(client.run("KEYS *").sorted_texts(), keys, "{policy}: after a recovery");
        assert_eq!(client.run("CONFIG RESETSTAT"), Reply::ok());
        assert_eq!(info(&mut client, "evicted_keys"), 0);
    }
}

/// Persistent keys stay whatever happens; when no other is left, writes are refused.
#[test]
fn volatile_policies_take_no_persistent_key() {
    for policy in ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
        let mut client = limited(0, policy);
        (0..100).for_each(|i| assert_eq!(set(&mut client, &format!("keep{i}")), Reply::ok()));
        for i in 0..100 {
            assert_eq!(client.run(&format!("SETEX go{i} {} {}", 1000 + i, value())), Reply::ok());
        }
        let live = client.store.live_bytes();
        assert_eq!(client.run(&format!("CONFIG SET maxmemory {live}")), Reply::ok());
        let refused = (0..1000).find(|i| set(&mut client, &format!("keep1{i:03}")) != Reply::ok());
        assert!(refused.is_some_and(|done| (90..=115).contains(&done)), "{policy}: {refused:?}");
        assert_eq!(set(&mut client, "x"), Reply::error(OOM), "{policy}");
        assert_eq!((count(&mut client, "go"), info(&mut client, "evicted_keys")), (0, 100), "{policy}");
        assert_eq!(count(&mut client, "keep"), 100 + refused.unwrap_or_default(), "{policy}");
    }
}

/// Keys that were candidates while they had an expiry are none any more without.
#[test]
fn a_key_that_lost_its_expiry_stays() {
    for policy in ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
        let mut client = limited(0, policy);
        for i in 0..40 {
            client.run(&format!("SETEX k{i} {} {}", 1000 + i, value()));
        }
        let live = client.store.live_bytes();
        client.run(&format!("CONFIG SET maxmemory {}", live - 1));
        assert_eq!(set(&mut client, "k40"), Reply::ok());
        let names = client.run("KEYS *").sorted_texts();
        assert!((39..=40).contains(&names.len()), "{policy}: {names:?}");
        names.iter().for_each(|name| drop(client.run(&format!("PERSIST {name}"))));
        client.run(&format!("CONFIG SET maxmemory {}", live / 2));
        assert_eq!(set(&mut client, "k41"), Reply::error(OOM), "{policy}");
        assert_eq!(client.run("KEYS *").sorted_texts(), names, "{policy}");
    }
}

#[test]
fn volatile_ttl_takes_exactly_what_expires_next() {
    let mut client = limited(0, "volatile-ttl");
    for i in 0..300 {
        assert_eq!(client.run(&format!("SETEX k{i} {} {}", 1000 + (i * 7919) % 300, value())), Reply::ok());
    }
    let live = client.store.live_bytes();
    assert_eq!(client.run(&format!("CONFIG SET maxmemory {}", live * 2 / 3)), Reply::ok());
    assert_eq!(set(&mut client, "x"), Reply::ok());
    let gone = 301 - client.run("DBSIZE").int();
    assert!((95..105).contains(&gone), "{gone}");
    for i in 0..300 {
        let there = i64::from((i * 7919) % 300 >= gone);
        assert_eq!(client.run(&format!("EXISTS k{i}")), Reply::Integer(there), "of {gone} the one that expires at {i}");
    }
}

/// Of 600 keys 300 are used once more, later (or often). When 200 have to go, hardly any of these does: 100 would by chance.
fn hot_keys_survive(policy: &str, uses: usize) {
    let mut client = limited(0, policy);
    let expiry = if policy.starts_with("volatile") { "EX 100000" } else { "" };
    for i in 0..600 {
        client.run(&format!("SET k{i} {} {expiry}", value()));
    }
    client.clock.advance(20_000);
    for i in (0..600).step_by(2) {
        (0..uses).for_each(|_| assert_eq!(client.run(&format!("STRLEN k{i}")), Reply::Integer(100)));
    }
    client.clock.advance(1000);
    let live = client.store.live_bytes();
    assert_eq!(client.run(&format!("CONFIG SET maxmemory {}", live * 2 / 3)), Reply::ok());
    assert_eq!(set(&mut client, "x"), Reply::ok());
    let gone = 601 - client.run("DBSIZE").int();
    assert!((190..=210).contains(&gone), "{gone}");
    let cold: i64 = (1..600).step_by(2).map(|i| client.run(&format!("EXISTS k{i}")).int()).sum();
    let hot: i64 = (0..600).step_by(2).map(|i| client.run(&format!("EXISTS k{i}")).int()).sum();
    assert!(hot >= 285, "{policy}: {hot} of 300 hot keys left, and {cold} cold ones");
}

#[test]
fn what_was_used_lately_survives() {
    hot_keys_survive("allkeys-lru", 1);
    hot_keys_survive("volatile-lru", 1);
}

#[test]
fn what_is_used_often_survives() {
    hot_keys_survive("allkeys-lfu", 4);
    hot_keys_survive("volatile-lfu", 4);
}

#[test]
fn all_databases_give_keys() {
    for policy in ["allkeys-random", "allkeys-lru"] {
        let mut client = limited(0, policy);
        for db in 0..3 {
            client.run(&format!("SELECT {db}"));
            (0..200).for_each(|i| drop(set(&mut client, &format!("k{i}"))));
            client.clock.advance(5000);
        }
        let live = client.store.live_bytes();
        assert_eq!(client.run(&format!("CONFIG SET maxmemory {}", live / 2)), Reply::ok());
        assert_eq!(set(&mut client, "x"), Reply::ok());
        let left: Vec<i64> = (0..3)
            .map(|db| {
                client.run(&format!("SELECT {db}"));
                client.run("DBSIZE").int()
            })
            .collect();
        match policy {
            "allkeys-random" => assert!(left.iter().all(|left| (50..160).contains(left)), "{left:?}"),
            _ => assert!(left[0] < 10 && left[2] > 190, "the oldest go first, wherever they are: {left:?}"),
        }
    }
}

#[test]
fn idle_times_are_told_under_lru() {
    let mut client = limited(0, "allkeys-lru");
    assert_eq!(client.run("OBJECT IDLETIME nothing"), Reply::Null);
    client.run("SET a 1");
    client.clock.advance(7_000);
    for line in
        ["EXISTS a", "EXISTS a a", "TYPE a", "TTL a", "PTTL a", "EXPIRETIME a", "OBJECT ENCODING a", "MEMORY USAGE a"]
    {
        client.run(line);
        assert_eq!(client.run("OBJECT IDLETIME a"), Reply::Integer(7), "{line}");
    }
    let used_at_s = (client.clock.now_ms() / 1000 - 7) & 0xff_ffff;
    let shown = client.run("DEBUG OBJECT a").text();
    assert!(shown.ends_with(&format!(" lru:{used_at_s} lru_seconds_idle:7")), "{shown}");
    for line in [
        "GET a",
        "TOUCH a",
        "MGET a b",
        "STRLEN a",
        "SET a 1",
        "SET a 1 NX",
        "APPEND a 1",
        "GETEX a PERSIST",
        "EXPIRE a 1000",
        "DUMP a",
    ] {
        client.clock.advance(5_000);
        client.run(line);
        assert_eq!(client.run("OBJECT IDLETIME a"), Reply::Integer(0), "{line}");
    }
    let frequency = client.run("OBJECT FREQ a").text();
    assert!(frequency.starts_with("ERR An LFU maxmemory policy is not selected, access frequency not tracked."));
    client.clock.advance(9_000);
    client.run("CLIENT NO-TOUCH ON");
    for line in ["GET a", "MGET a", "INCR a", "SET a 2"] {
        client.run(line);
        assert_eq!(client.run("OBJECT IDLETIME a"), Reply::Integer(9), "{line} of a client that does not touch");
    }
    client.run("TOUCH a");
    assert_eq!(client.run("OBJECT IDLETIME a"), Reply::Integer(0), "that is what TOUCH is for");
    client.run("CLIENT NO-TOUCH OFF");
    client.clock.advance(3_000);
    client.run("RENAME a b");
    assert_eq!(client.run("OBJECT IDLETIME b"), Reply::Integer(0));
    client.clock.advance(3_000);
    client.run("SELECT 1");
    client.run("SET b 1");
    client.run("SELECT 0");
    assert_eq!(client.run("OBJECT IDLETIME b"), Reply::Integer(3), "its namesake in another database is another key");
}

/// As Redis 7.0.15 answers to the same commands: each counts once.
#[test]
fn frequencies_are_told_under_lfu() {
    let mut client = limited(0, "allkeys-lfu");
    assert_eq!(client.run("CONFIG SET lfu-log-factor 0 lfu-decay-time 1"), Reply::ok());
    assert_eq!(client.run("OBJECT FREQ nothing"), Reply::Null);
    client.run("SET a 1");
    let mut expected = 5;
    assert_eq!(client.run("OBJECT FREQ a"), Reply::Integer(expected));
    for line in [
        "GET a",
        "INCR a",
        "SET a 5",
        "TOUCH a",
        "SET a 1 NX",
        "SET a 1 XX",
        "MSET a 1",
        "EXPIRE a 1000",
        "MSETNX a 1",
        "SETRANGE a 1 1",
        "PERSIST a",
    ] {
        client.run(line);
        expected += 1;
        assert_eq!(client.run("OBJECT FREQ a"), Reply::Integer(expected), "{line}");
    }
    let gets: Vec<Vec<String>> = (0..3).map(|_| vec!["GET".to_owned(), "a".to_owned()]).collect();
    pipeline(&mut client, &gets);
    client.run("RENAME a b");
    expected += 4;
    assert_eq!(client.run("OBJECT FREQ b"), Reply::Integer(expected), "a key takes its counter along");
    client.clock.advance(4 * 60_000);
    assert_eq!(client.run("OBJECT FREQ b"), Reply::Integer(expected - 4));
    let idle = client.run("OBJECT IDLETIME b").text();
    assert!(idle.starts_with("ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when"));
    client.run("DEL b");
    client.run("SET b 1");
    assert_eq!(client.run("OBJECT FREQ b"), Reply::Integer(5), "another key of the same name");
}

#[test]
fn restore_takes_times_and_counters() {
    let mut client = limited(0, "allkeys-lru");
    client.run("SET a 1");
    let Reply::Bulk(payload) = client.run("DUMP a") else { panic!("a payload") };
    let restore = |client: &mut TestClient, option: &str, value: &str| {
        client.run_args(&[b"RESTORE".as_slice(), b"b", b"0", &payload, b"REPLACE", option.as_bytes(), value.as_bytes()])
    };
    assert_eq!(restore(&mut client, "IDLETIME", "1000"), Reply::ok());
    assert_eq!(client.run("OBJECT IDLETIME b"), Reply::Integer(1000));
    assert_eq!(restore(&mut client, "IDLETIME", "-1"), Reply::error("ERR Invalid IDLETIME value, must be >= 0"));
    assert_eq!(client.run("CONFIG SET maxmemory-policy volatile-lfu"), Reply::ok());
    assert_eq!(restore(&mut client, "FREQ", "200"), Reply::ok());
    assert_eq!(client.run("OBJECT FREQ b"), Reply::Integer(200));
    assert_eq!(restore(&mut client, "FREQ", "256"), Reply::error("ERR Invalid FREQ value, must be >= 0 and <= 255"));
}

#[test]
fn clocks_take_memory_only_while_a_policy_needs_them() {
    let mut client = limited(0, "noeviction");
    client.run("SET a 1");
    for (policy, kept) in [
        ("allkeys-random", false),
        ("allkeys-lru", true),
        ("volatile-lfu", true),
        ("volatile-ttl", false),
        ("volatile-lru", true),
        ("noeviction", false),
    ] {
        assert_eq!(client.run(&format!("CONFIG SET maxmemory-policy {policy}")), Reply::ok());
        assert_eq!(info(&mut client, "used_memory_access_clocks") > 0, kept, "{policy}");
    }
    assert_eq!(client.run("OBJECT IDLETIME a"), Reply::Integer(0));
    let refused = client.run("CONFIG SET maxmemory 5 maxmemory-policy sometimes").text();
    assert!(refused.contains("argument(s) must be one of the following: volatile-lru, volatile-lfu"), "{refused}");
    assert_eq!(client.run("CONFIG GET maxmemory").field("maxmemory"), &Reply::bulk("0"));
}

/// A limit that is lowered, or taken away, and another policy hold at once.
#[test]
fn limit_and_policy_change_at_run_time() {
    let mut client = limited(16 << 10, "noeviction");
    let there = fill_until_refused(&mut client);
    assert_eq!(client.run("CONFIG SET maxmemory-policy allkeys-random"), Reply::ok());
    assert_eq!(set(&mut client, "x"), Reply::ok());
    assert_eq!(client.run("CONFIG SET maxmemory 8kb"), Reply::ok());
    assert!(client.run("DBSIZE").int() as usize <= there * 2 / 3);
    assert_eq!(client.run("CONFIG SET maxmemory-policy volatile-ttl"), Reply::ok());
    (0..2).for_each(|i| drop(set(&mut client, &format!("y{i}"))));
    assert_eq!(set(&mut client, "z"), Reply::error(OOM), "no key has an expiry");
    assert_eq!(client.run("CONFIG SET maxmemory 0"), Reply::ok());
    assert_eq!(set(&mut client, "z"), Reply::ok());
}

/// A pool of 16 MiB takes more than that, without a limit, where keys may be evicted; and refuses where none may.
#[test]
fn keys_are_evicted_when_the_pool_itself_is_full() {
    let mut client = limited(0, "allkeys-lru");
    let value = "v".repeat(4000);
    let set = |client: &mut TestClient, i: usize| client.run_args(&["SET", &format!("k{i}"), &value]);
    for i in 0..6000 {
        assert_eq!(set(&mut client, i), Reply::ok(), "write {i}");
    }
    let left = client.run("DBSIZE").int() as u64;
    assert!(left > 1000 && info(&mut client, "evicted_keys") == 6000 - left, "{left}");
    client.run("CONFIG SET maxmemory-policy noeviction");
    assert!((6000..12_000).any(|i| set(&mut client, i) == Reply::error(OOM)));
    assert!(client.run("DBSIZE").int() as u64 >= left, "none went for that");
}

/// Keys that had expired give their room without being counted as evicted.
#[test]
fn expired_keys_are_no_evicted_ones() {
    let mut client = limited(0, "allkeys-lru");
    (0..50).for_each(|i| drop(client.run(&format!("SET k{i} {} PX 100", value()))));
    let live = client.store.live_bytes();
    client.clock.advance(1000);
    assert_eq!(client.run(&format!("CONFIG SET maxmemory {}", live / 2)), Reply::ok());
    assert_eq!(set(&mut client, "x"), Reply::ok());
    assert_eq!(info(&mut client, "evicted_keys"), 0);
    assert!(info(&mut client, "expired_keys") >= 25);
}
