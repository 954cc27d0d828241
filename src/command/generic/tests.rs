//! Claims about the generic commands. Replies and error texts are those that redis-server 7.0.15 gave.

use crate::command::Direct;
use crate::command::testing::{Reply, START_MS, TestClient};
use crate::store::Store;
use bytes::BytesMut;
use std::collections::HashSet;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

fn int(value: i64) -> Reply {
    Reply::Integer(value)
}

/// Runs `lines` of `request => reply as redis-cli shows it, roughly`: integers, `nil`, `OK`, errors, or a bulk string.
fn check(client: &mut TestClient, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (request, expected) = line.split_once(" => ").expect("request => reply");
        let shown = match client.run(request) {
            Reply::Integer(value) => value.to_string(),
            Reply::Null => "nil".to_owned(),
            other => other.text(),
        };
        assert_eq!(shown, expected, "{request}");
    }
}

#[test]
fn keys_are_removed_and_counted() {
    let mut client = TestClient::new();
    check(
        &mut client,
        "MSET a 1 b 2 c 3 => OK
         EXISTS a b nosuch a => 3
         TOUCH a b nosuch => 2
         DEL a b nosuch a => 2
         UNLINK c c => 1
         EXISTS a b c => 0
         TYPE a => none
         SET a x => OK
         TYPE a => string",
    );
}

#[test]
fn expiry_is_set_under_conditions_and_shown_in_four_ways() {
    let mut client = TestClient::new();
    check(
        &mut client,
        "TTL a => -2
         SET a 1 => OK
         TTL a => -1
         PEXPIRETIME a => -1
         EXPIRE a 10 XX => 0
         EXPIRE a 10 GT => 0
         EXPIRE a 10 LT => 1
         EXPIRE a 20 NX => 0
         EXPIRE a 20 XX GT => 1
         EXPIRE a 30 LT => 0
         TTL a => 20
         PTTL a => 20000
         PEXPIRE a 1499 => 1
         TTL a => 1
         PEXPIRE a 1500 => 1
         TTL a => 2
         PERSIST a => 1
         PERSIST a => 0
         PERSIST nosuch => 0
         PEXPIREAT a 33177117420500 => 1
         EXPIRETIME a => 33177117421
         EXPIRE nosuch 10 => 0",
    );
    assert_eq!(client.run("EXPIREAT a 1700000100"), int(1));
    assert_eq!(client.run("PEXPIRETIME a"), int(1_700_000_100_000));
    client.clock.advance(99_999);
    assert_eq!(client.run("EXISTS a"), int(1));
    client.clock.advance(1);
    assert_eq!(client.run("EXISTS a"), int(0));
}

#[test]
fn a_time_that_is_past_removes_the_key() {
    let mut client = TestClient::new();
    for request in ["EXPIRE a -1", "EXPIRE a 0", "EXPIREAT a 1", "PEXPIREAT a -5", "EXPIRE a -9223372036854775"] {
        client.run("SET a 1");
        assert_eq!(client.run(request), int(1), "{request}");
        assert_eq!(client.run("EXISTS a"), int(0), "{request}");
    }
    client.run("SET a 1");
    assert_eq!(client.run(&format!("PEXPIREAT a {START_MS}")), int(1));
    assert_eq!(client.run("DBSIZE"), int(0), "now is not in the future");
}

#[test]
fn impossible_times_and_options_are_refused() {
    let mut client = TestClient::new();
    check(
        &mut client,
        "SET a 1 => OK
         EXPIRE a 9223372036854775807 => ERR invalid expire time in 'expire' command
         EXPIRE a -9223372036854775808 => ERR invalid expire time in 'expire' command
         PEXPIRE a 9223372036854775807 => ERR invalid expire time in 'pexpire' command
         EXPIREAT a 9223372036854775807 => ERR invalid expire time in 'expireat' command
         EXPIRE a x => ERR value is not an integer or out of range
         EXPIRE a 10 FOO => ERR Unsupported option FOO
         EXPIRE a x FOO => ERR Unsupported option FOO
         EXPIRE a 10 NX XX => ERR NX and XX, GT or LT options at the same time are not compatible
         EXPIRE a 10 GT LT => ERR GT and LT options at the same time are not compatible
         TTL a => -1",
    );
}

#[test]
fn renaming_keeps_the_expiry_and_replaces() {
    let mut client = TestClient::new();
    check(
        &mut client,
        "SET a 1 EX 100 => OK
         SET b 2 => OK
         RENAME nosuch c => ERR no such key
         RENAMENX nosuch c => ERR no such key
         RENAMENX a b => 0
         RENAMENX a a => 0
         RENAME a a => OK
         RENAME a b => OK
         GET b => 1
         TTL b => 100
         EXISTS a => 0
         RENAMENX b c => 1
         TTL c => 100",
    );
}

#[test]
fn copies_and_moves_cross_databases() {
    let mut client = TestClient::new();
    check(
        &mut client,
        "SET a 1 EX 100 => OK
         COPY a b => 1
         TTL b => 100
         SET b other => OK
         COPY a b => 0
         COPY a b REPLACE => 1
         GET b => 1
         COPY a a => ERR source and destination objects are the same
         COPY a a DB 1 => 1
         COPY nosuch b => 0
         COPY a b DB 99 => ERR DB index is out of range
         COPY a b DB x => ERR value is not an integer or out of range
         COPY a b DB => ERR syntax error
         COPY a b FOO => ERR syntax error
         MOVE a 1 => 0
         MOVE b 1 => 1
         MOVE b 1 => 0
         MOVE a 0 => ERR source and destination objects are the same
         MOVE a -1 => ERR DB index is out of range
         EXISTS b => 0
         SELECT 1 => OK
         TTL b => 100
         DBSIZE => 2",
    );
}

#[test]
fn databases_are_flushed_and_swapped() {
    let mut client = TestClient::new();
    check(
        &mut client,
        "SET a 0 => OK
         SELECT 1 => OK
         SET a 1 => OK
         SWAPDB 0 1 => OK
         GET a => 0
         SWAPDB a 1 => ERR invalid first DB index
         SWAPDB 0 b => ERR invalid second DB index
         SWAPDB 0 99 => ERR DB index is out of range
         FLUSHDB FOO => ERR syntax error
         FLUSHDB ASYNC => OK
         DBSIZE => 0
         RANDOMKEY => nil
         SELECT 0 => OK
         RANDOMKEY => a
         FLUSHALL SYNC SYNC => ERR syntax error
         FLUSHALL SYNC => OK
         DBSIZE => 0",
    );
}

fn scan_all(client: &mut TestClient, options: &str) -> Vec<String> {
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let reply = client.run(&format!("SCAN {cursor} {options}"));
        cursor = reply.items()[0].text();
        found.extend(reply.items()[1].items().iter().map(Reply::text));
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn a_walk_returns_every_key_that_matches() {
    let mut client = TestClient::new();
    let names: HashSet<String> = (0..1000).map(|i| format!("key:{i}")).collect();
    for name in &names {
        client.run(&format!("SET {name} v"));
    }
    for count in ["", "COUNT 1", "COUNT 10000"] {
        assert_eq!(scan_all(&mut client, count).into_iter().collect::<HashSet<_>>(), names, "{count}");
    }
    let nineties: HashSet<String> = names.iter().filter(|name| name.starts_with("key:9")).cloned().collect();
    assert_eq!(scan_all(&mut client, "MATCH key:9* COUNT 50").into_iter().collect::<HashSet<_>>(), nineties);
    assert_eq!(client.run("KEYS key:9*").items().len(), nineties.len());
    assert_eq!(client.run("KEYS *").items().len(), names.len());
    assert_eq!(scan_all(&mut client, "TYPE String").len(), names.len());
    assert!(scan_all(&mut client, "TYPE list").is_empty());
    check(&mut client, &format!("DEL {} => 1000", names.iter().cloned().collect::<Vec<_>>().join(" ")));
}

/// Test suites and people look at small databases with one SCAN.
#[test]
fn a_walk_over_a_handful_of_keys_takes_one_call() {
    let mut client = TestClient::new();
    assert_eq!(client.run("SCAN 0"), Reply::Array(vec![Reply::bulk("0"), Reply::Array(vec![])]));
    client.run("MSET a 1 b 2 c 3");
    let reply = client.run("SCAN 0");
    assert_eq!(reply.items()[0], Reply::bulk("0"));
    assert_eq!(reply.items()[1].sorted_texts(), ["a", "b", "c"]);
}

#[test]
fn a_walk_refuses_what_it_does_not_know() {
    let mut client = TestClient::new();
    check(
        &mut client,
        "SCAN x => ERR invalid cursor
         SCAN 18446744073709551616 => ERR invalid cursor
         SCAN 0 COUNT 0 => ERR syntax error
         SCAN 0 COUNT x => ERR value is not an integer or out of range
         SCAN 0 COUNT => ERR syntax error
         SCAN 0 FOO bar => ERR syntax error",
    );
}

#[test]
fn expired_keys_are_not_listed() {
    let mut client = TestClient::new();
    client.run("SET a 1 PX 10");
    client.run("SET b 1");
    client.clock.advance(10);
    assert_eq!(client.run("KEYS *"), Reply::bulks(["b"]));
    assert_eq!(scan_all(&mut client, ""), ["b"]);
    assert_eq!(client.run("RANDOMKEY"), Reply::bulk("b"));
}

#[test]
fn encodings_are_those_that_redis_would_use() {
    let mut client = TestClient::new();
    let embstr = "a".repeat(44);
    check(
        &mut client,
        &format!(
            "MSET i 123 neg -5 big 99999999999999999999 s abc max 9223372036854775807 zero 01 => OK
             SET e {embstr} => OK
             SET r {embstr}a => OK
             APPEND ap 1 => 1
             OBJECT ENCODING ap => int
             APPEND ap 0 => 2
             OBJECT ENCODING i => int
             OBJECT ENCODING neg => int
             OBJECT ENCODING big => embstr
             OBJECT ENCODING max => int
             OBJECT ENCODING zero => embstr
             OBJECT ENCODING e => embstr
             OBJECT ENCODING r => raw
             OBJECT ENCODING ap => raw
             OBJECT ENCODING nosuch => nil
             OBJECT REFCOUNT s => 1
             OBJECT REFCOUNT i => 2147483647
             OBJECT REFCOUNT max => 1
             OBJECT IDLETIME s => 0
             OBJECT FREQ nosuch => nil
             OBJECT FOO => ERR unknown subcommand 'FOO'. Try OBJECT HELP.
             OBJECT => ERR wrong number of arguments for 'object' command
             OBJECT ENCODING => ERR wrong number of arguments for 'object|encoding' command"
        ),
    );
    assert!(client.run("OBJECT FREQ s").text().starts_with("ERR An LFU maxmemory policy is not selected"));
    assert!(client.run("OBJECT HELP").items()[0].text().starts_with("OBJECT <subcommand>"));
}

#[test]
fn what_is_dumped_can_be_restored_under_another_name() {
    let mut client = TestClient::new();
    client.run("SET a hello EX 100");
    let Reply::Bulk(payload) = client.run("DUMP a") else { panic!("a payload") };
    let mut restore = |args: &[&str]| {
        let mut request: Vec<&[u8]> = vec![b"RESTORE", args[0].as_bytes(), args[1].as_bytes(), &payload];
        request.extend(args[2..].iter().map(|arg| arg.as_bytes()));
        client.run_args(&request)
    };
    assert_eq!(restore(&["b", "0"]), Reply::ok());
    assert_eq!(restore(&["b", "0"]), Reply::error("BUSYKEY Target key name already exists."));
    assert_eq!(restore(&["b", "5000", "REPLACE", "IDLETIME", "7"]), Reply::ok());
    assert_eq!(restore(&["c", &(START_MS + 9000).to_string(), "ABSTTL", "FREQ", "255"]), Reply::ok());
    assert_eq!(restore(&["past", "1", "ABSTTL"]), Reply::ok());
    assert_eq!(restore(&["b", "1", "ABSTTL", "REPLACE"]), Reply::ok(), "restored and expired at once");
    assert_eq!(restore(&["d", "-1"]), Reply::error("ERR Invalid TTL value, must be >= 0"));
    assert_eq!(restore(&["d", "x"]), Reply::error("ERR value is not an integer or out of range"));
    assert_eq!(restore(&["d", "0", "FREQ", "256"]), Reply::error("ERR Invalid FREQ value, must be >= 0 and <= 255"));
    assert_eq!(restore(&["d", "0", "IDLETIME", "-1"]), Reply::error("ERR Invalid IDLETIME value, must be >= 0"));
    assert_eq!(restore(&["d", "0", "IDLETIME", "1", "FREQ", "1"]), Reply::error("ERR syntax error"));
    check(
        &mut client,
        "GET c => hello
         PTTL c => 9000
         EXISTS past b => 0
         DUMP nosuch => nil
         RESTORE d 0 x => ERR DUMP payload version or checksum are wrong
         EXISTS d => 0",
    );
}

#[test]
fn a_long_string_is_dumped_whole() {
    let mut client = TestClient::new();
    let value: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect();
    client.run_args(&[&b"SET"[..], b"a", &value]);
    let Reply::Bulk(payload) = client.run("DUMP a") else { panic!("a payload") };
    assert_eq!(client.run_args(&[&b"RESTORE"[..], b"b", b"0", &payload]), Reply::ok());
    assert_eq!(client.run("GET b"), Reply::Bulk(value));
}

fn members(count: usize) -> String {
    (0..count).map(|number| format!(" m{number}")).collect()
}

/// A large collection that somebody may still read does not keep others from being counted as garbage.
#[test]
fn what_is_still_read_keeps_nothing_else_from_being_taken_apart() {
    let mut client = TestClient::new();
    for key in ["a", "b", "c"] {
        client.run(&format!("SADD {key}{}", members(200)));
    }
    let reader = crossbeam_epoch::pin();
    assert_eq!(client.run("DEL a b c"), Reply::Integer(3));
    assert!(client.store.reap(Duration::from_secs(60)), "the reader may see them");
    assert_eq!(client.store.live_bytes(), 0);
    drop(reader);
    reap_all(&client.store);
}

/// Who has deleted it may do nothing afterwards, for as long as it likes.
#[test]
fn a_thread_that_idles_keeps_nothing_that_it_has_deleted() {
    let mut client = TestClient::new();
    client.run(&format!("SADD s{}", members(200)));
    let store = &client.store;
    let (deleted, is_deleted) = mpsc::channel();
    let (over, is_over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut direct, mut worker) = (Direct::new(store.clock().clone()), store.worker());
            direct.run(store, &mut worker, &[vec!["DEL", "s"]], &mut BytesMut::new());
            deleted.send(()).expect("awaited");
            // An error says that it is over.
            let _ = is_over.recv();
        });
        is_deleted.recv().expect("it was deleted");
        reap_all(store);
        drop(over);
    });
}

/// Takes apart what is gone, all of it.
fn reap_all(store: &Store) {
    let begun = Instant::now();
    while store.reap(Duration::from_secs(60)) {
        assert!(begun.elapsed() < Duration::from_secs(60), "there is something left for ever");
        thread::yield_now();
    }
}
