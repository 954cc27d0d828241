//! The string commands over a store in memory. Replies and error texts are those of redis-server 7.0.15.

use crate::command::testing::{Reply, START_MS, TestClient};

const NIL: Reply = Reply::Null;

fn int(value: i64) -> Reply {
    Reply::Integer(value)
}

/// Bytes that have been appended to the log.
fn written(client: &TestClient) -> u64 {
    let info = client.store.info();
    info.live_bytes + info.garbage_bytes
}

/// A value of several chunks that differ from each other.
fn long_value(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

#[test]
fn set_answers_by_its_condition() {
    let mut client = TestClient::new();
    assert_eq!(client.run("SET k a XX"), NIL);
    assert_eq!(client.run("SET k a nx"), Reply::ok());
    assert_eq!(client.run("SET k b NX"), NIL);
    assert_eq!(client.run("SET k b XX"), Reply::ok());
    assert_eq!(client.run("GET k"), Reply::bulk("b"));
    assert_eq!(client.run("SETNX k c"), int(0));
    assert_eq!(client.run("SETNX l c"), int(1));
}

#[test]
fn set_with_get_returns_the_old_value_whether_it_sets_or_not() {
    let mut client = TestClient::new();
    assert_eq!(client.run("SET k a GET"), NIL);
    assert_eq!(client.run("SET k b GET"), Reply::bulk("a"));
    assert_eq!(client.run("SET k c NX GET"), Reply::bulk("b"));
    assert_eq!(client.run("SET new c NX GET"), NIL);
    assert_eq!(client.run("SET none c GET XX"), NIL);
    assert_eq!(client.run("MGET k new none"), Reply::Array(vec![Reply::bulk("b"), Reply::bulk("c"), NIL]));
    assert_eq!(client.run("GETSET k d"), Reply::bulk("b"));
    assert_eq!(client.run("GETDEL k"), Reply::bulk("d"));
    assert_eq!(client.run("GETDEL k"), NIL);
}

/// Goal: a condition that fails costs nothing durable, long values included. Method: the log's length stands still.
#[test]
fn a_failed_condition_writes_nothing() {
    let mut client = TestClient::new();
    client.run("SET k a");
    let before = written(&client);
    let long = long_value(200_000);
    assert_eq!(client.run_args(&[&b"SET"[..], b"k", &long, b"NX"]), NIL);
    assert_eq!(client.run_args(&[&b"SET"[..], b"other", &long, b"XX"]), NIL);
    assert_eq!(client.run_args(&[&b"SETNX"[..], b"k", &long]), int(0));
    assert_eq!(client.run_args(&[&b"MSETNX"[..], b"new", &long, b"k", &long]), int(0));
    assert_eq!(client.run("SETBIT k 1 1"), int(1));
    assert_eq!(client.run("APPEND k ''"), int(1));
    assert_eq!(client.run("SETRANGE k 5 ''"), int(1));
    assert_eq!(client.run("GETEX k PERSIST"), Reply::bulk("a"));
    assert_eq!(written(&client), before);
    client.run("SET k b");
    assert!(written(&client) > before, "the log's length tells when something is written");
}

#[test]
fn times_to_live_are_set_kept_and_removed() {
    let mut client = TestClient::new();
    client.run("SET k a EX 10");
    assert_eq!(client.run("PTTL k"), int(10_000));
    client.run("SET k b KEEPTTL");
    assert_eq!(client.run("PTTL k"), int(10_000));
    client.run("INCRBY n 5");
    client.run("GETEX n PX 500");
    client.run("INCR n");
    client.run("APPEND n 1");
    client.run("SETRANGE n 0 7");
    client.run("INCRBYFLOAT n 0.5");
    assert_eq!(client.run("PTTL n"), int(500));
    client.run("SET k c");
    assert_eq!(client.run("PTTL k"), int(-1));
    client.run(&format!("SET k d PXAT {}", START_MS + 20));
    assert_eq!(client.run("PTTL k"), int(20));
    client.run(&format!("GETEX k EXAT {}", START_MS / 1000 + 3));
    assert_eq!(client.run("PTTL k"), int(3_000));
    assert_eq!(client.run("GETEX k"), Reply::bulk("d"));
    assert_eq!(client.run("PTTL k"), int(3_000));
    assert_eq!(client.run("GETEX k PERSIST"), Reply::bulk("d"));
    assert_eq!(client.run("PTTL k"), int(-1));
    assert_eq!(client.run("GETEX k PXAT 1"), Reply::bulk("d"));
    assert_eq!(client.run("EXISTS k"), int(0));
    client.run("SETEX k 2 v");
    client.run("PSETEX l 1999 v");
    client.clock.advance(1_999);
    assert_eq!(client.run("GET k"), Reply::bulk("v"));
    client.clock.advance(2);
    assert_eq!(client.run("MGET k l"), Reply::Array(vec![NIL, NIL]));
    assert_eq!(client.run("SET k w XX"), NIL);
}

#[test]
fn bad_options_are_refused_in_the_words_of_redis() {
    let mut client = TestClient::new();
    let syntax = Reply::error("ERR syntax error");
    for options in [
        "NX XX",
        "XX NX",
        "EX",
        "EX 1 PX 1",
        "KEEPTTL EX 1",
        "EX 1 KEEPTTL",
        "PERSIST",
        "EXAT 1 PXAT 1",
        "5",
        "EX 1 FOO",
    ] {
        assert_eq!(client.run(&format!("SET k v {options}")), syntax, "{options}");
    }
    for options in ["KEEPTTL", "NX", "EX", "PERSIST EX 1", "EX 1 PERSIST", "EX 1 PX 1"] {
        assert_eq!(client.run(&format!("GETEX k {options}")), syntax, "{options}");
    }
    // The same option again replaces the first one.
    assert_eq!(client.run("SET k v EX 1 EX 2 NX NX GET GET"), NIL);
    assert_eq!(client.run("PTTL k"), int(2_000));
    for (command, name) in [
        ("SET k v EX 0", "set"),
        ("SET k v PX -1", "set"),
        ("SET k v EX 9223372036854775807", "set"),
        ("SET k v PX 9223372036854775807", "set"),
        ("SETEX k 0 v", "setex"),
        ("PSETEX k -5 v", "psetex"),
        ("GETEX k EX 0", "getex"),
    ] {
        assert_eq!(
            client.run(command),
            Reply::Error(format!("ERR invalid expire time in '{name}' command")),
            "{command}"
        );
    }
    assert_eq!(client.run("GETEX none EX 0"), NIL);
    assert_eq!(client.run("SET k v EX x"), Reply::error("ERR value is not an integer or out of range"));
    for command in ["MSET a b c", "MSETNX a b c"] {
        let name = command[..command.len() - 6].to_lowercase();
        assert_eq!(client.run(command), Reply::Error(format!("ERR wrong number of arguments for '{name}' command")));
    }
}

#[test]
fn several_keys_are_set_all_or_none() {
    let mut client = TestClient::new();
    assert_eq!(client.run("MSET a 1 b 2 a 3"), Reply::ok());
    assert_eq!(client.run("MGET a b c"), Reply::Array(vec![Reply::bulk("3"), Reply::bulk("2"), NIL]));
    assert_eq!(client.run("MSETNX c 1 a 9"), int(0));
    assert_eq!(client.run("MSETNX c 1 d 2 c 5"), int(1));
    assert_eq!(client.run("MGET a c d"), Reply::bulks(["3", "5", "2"]));
}

#[test]
fn counters_count_within_64_bits() {
    let mut client = TestClient::new();
    assert_eq!(client.run("INCR n"), int(1));
    assert_eq!(client.run("DECRBY n 11"), int(-10));
    assert_eq!(client.run("DECR n"), int(-11));
    client.run("SET n 9223372036854775807");
    let overflow = Reply::error("ERR increment or decrement would overflow");
    assert_eq!(client.run("INCR n"), overflow);
    assert_eq!(client.run("GET n"), Reply::bulk("9223372036854775807"));
    assert_eq!(client.run("INCRBY n -9223372036854775807"), int(0));
    assert_eq!(client.run("DECRBY n -9223372036854775808"), Reply::error("ERR decrement would overflow"));
    assert_eq!(client.run("INCRBY n -9223372036854775808"), int(i64::MIN));
    assert_eq!(client.run("DECR n"), overflow);
    for text in ["abc", "1.5", "' 1'", "01", "''", "99999999999999999999999"] {
        client.run(&format!("SET s {text}"));
        assert_eq!(client.run("INCR s"), Reply::error("ERR value is not an integer or out of range"), "{text}");
    }
}

#[test]
fn floats_are_added_and_stored_as_text() {
    let mut client = TestClient::new();
    assert_eq!(client.run("INCRBYFLOAT f 10.50"), Reply::bulk("10.5"));
    assert_eq!(client.run("INCRBYFLOAT f 0.1"), Reply::bulk("10.6"));
    assert_eq!(client.run("INCRBYFLOAT f -5e3"), Reply::bulk("-4989.39999999999999991"));
    assert_eq!(client.run("GET f"), Reply::bulk("-4989.39999999999999991"));
    assert_eq!(client.run("INCRBYFLOAT f x"), Reply::error("ERR value is not a valid float"));
    assert_eq!(client.run("INCRBYFLOAT f inf"), Reply::error("ERR increment would produce NaN or Infinity"));
    client.run("SET f abc");
    assert_eq!(client.run("INCRBYFLOAT f 1"), Reply::error("ERR value is not a valid float"));
    assert_eq!(client.run("GET f"), Reply::bulk("abc"));
}

#[test]
fn ranges_are_read_and_written() {
    let mut client = TestClient::new();
    assert_eq!(client.run("SETRANGE k 3 lo"), int(5));
    assert_eq!(client.run("GET k"), Reply::bulk("\0\0\0lo"));
    assert_eq!(client.run("SETRANGE k 0 hel"), int(5));
    assert_eq!(client.run("APPEND k '!'"), int(6));
    assert_eq!(client.run("STRLEN k"), int(6));
    assert_eq!(client.run("GETRANGE k -3 -2"), Reply::bulk("lo"));
    assert_eq!(client.run("SUBSTR k 1 100"), Reply::bulk("ello!"));
    assert_eq!(client.run("GETRANGE k 4 2"), Reply::bulk(""));
    assert_eq!(client.run("GETRANGE none 0 -1"), Reply::bulk(""));
    assert_eq!(client.run("SETRANGE none 5 ''"), int(0));
    assert_eq!(client.run("EXISTS none"), int(0));
    assert_eq!(client.run("SETRANGE k -1 x"), Reply::error("ERR offset is out of range"));
    let too_long = Reply::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_eq!(client.run("SETRANGE k 536870912 x"), too_long);
    assert_eq!(client.run("SETRANGE none 9223372036854775807 x"), too_long);
}

/// Goal: long values, which lie in chunks, behave as short ones. Method: the same edits on a plain vector.
#[test]
fn long_values_are_edited_across_chunks() {
    let mut client = TestClient::new();
    let mut model = long_value(200_000);
    assert_eq!(client.run_args(&[&b"SET"[..], b"k", &model]), Reply::ok());
    for (offset, len) in [(65_530, 12), (0, 1), (199_990, 30), (131_072, 65_536), (250_000, 5)] {
        let patch: Vec<u8> = (0..len).map(|i| 255 - (i % 7) as u8).collect();
        if model.len() < offset + len {
            model.resize(offset + len, 0);
        }
        model[offset..offset + len].copy_from_slice(&patch);
        let request = [&b"SETRANGE"[..], b"k", offset.to_string().as_bytes(), &patch].map(<[u8]>::to_vec);
        assert_eq!(client.run_args(&request), int(model.len() as i64));
    }
    let more = long_value(70_000);
    model.extend_from_slice(&more);
    assert_eq!(client.run_args(&[&b"APPEND"[..], b"k", &more]), int(model.len() as i64));
    assert_eq!(client.run("GET k"), Reply::Bulk(model.clone()));
    for (start, end) in [(0, 9), (65_535, 65_536), (60_000, 250_003), (131_071, 131_072), (320_000, 320_004)] {
        assert_eq!(
            client.run(&format!("GETRANGE k {start} {end}")),
            Reply::bulk(&model[start..=end.min(model.len() - 1)]),
            "{start}..={end}"
        );
    }
    assert_eq!(client.run_args(&[&b"APPEND"[..], b"new", &model]), int(model.len() as i64));
    assert_eq!(client.run("SET new short GET"), Reply::Bulk(model.clone()));
    assert_eq!(client.run("INCR k"), Reply::error("ERR value is not an integer or out of range"));
    assert_eq!(client.run("INCRBYFLOAT k 1"), Reply::error("ERR value is not a valid float"));
}

#[test]
fn a_lowered_limit_bounds_what_grows() {
    let mut client = TestClient::new();
    client.run("CONFIG SET proto-max-bulk-len 1mb");
    let too_long = Reply::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_eq!(client.run("SETRANGE k 1048576 x"), too_long);
    assert_eq!(client.run("SETRANGE k 1048575 x"), int(1_048_576));
    assert_eq!(client.run("APPEND k x"), too_long);
    assert_eq!(client.run("SETBIT k 8388608 1"), Reply::error("ERR bit offset is not an integer or out of range"));
    client.run_args(&[&b"SET"[..], b"t", &long_value(600)]);
    assert_eq!(
        client.run("LCS t t LEN"),
        Reply::error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
    );
}

#[test]
fn lcs_answers_in_text_length_and_indexes() {
    let mut client = TestClient::resp3();
    client.run("MSET a ohmytext b mynewtext");
    assert_eq!(client.run("LCS a b"), Reply::bulk("mytext"));
    assert_eq!(client.run("LCS a b LEN"), int(6));
    assert_eq!(client.run("LCS a none"), Reply::bulk(""));
    let run = |a: (i64, i64), b: (i64, i64)| {
        Reply::Array(vec![Reply::Array(vec![int(a.0), int(a.1)]), Reply::Array(vec![int(b.0), int(b.1)])])
    };
    let found = client.run("LCS a b IDX");
    assert_eq!(found.field("matches"), &Reply::Array(vec![run((4, 7), (5, 8)), run((2, 3), (0, 1))]));
    assert_eq!(found.field("len"), &int(6));
    let found = client.run("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN");
    assert_eq!(found.field("matches").items().len(), 1);
    assert_eq!(found.field("matches").items()[0].items()[2], int(4));
    assert_eq!(found.field("len"), &int(6));
    assert_eq!(
        client.run("LCS a b IDX LEN"),
        Reply::error("ERR If you want both the length and indexes, please just use IDX.")
    );
    assert_eq!(client.run("LCS a b MINMATCHLEN"), Reply::error("ERR syntax error"));
}
