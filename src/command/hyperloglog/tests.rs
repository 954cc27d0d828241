//! The HyperLogLog commands over a store in memory. Values and counts are those of redis-server 7.0.15.

use super::*;
use crate::command::testing::{Reply, TestClient};

fn int(value: i64) -> Reply {
    Reply::Integer(value)
}

fn add(client: &mut TestClient, key: &str, elements: std::ops::Range<u32>) -> Reply {
    let mut args = vec!["PFADD".to_string(), key.to_string()];
    args.extend(elements.map(|element| element.to_string()));
    client.run_args(&args)
}

#[test]
fn the_self_test_passes() {
    assert_eq!(self_test(), Ok(()));
}

#[test]
fn values_are_those_of_redis() {
    const RUNS: &[u8] = b"Fm\x80V\x0c\x80D<\x848\x80P\xb1\x84I\x8c\x80Bm\x80BZ";
    let mut client = TestClient::new();
    assert_eq!(client.run("PFADD h a b c d e f g"), int(1));
    let stale = [&b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80"[..], RUNS].concat();
    assert_eq!(client.run("GET h"), Reply::Bulk(stale));
    assert_eq!(client.run("PFCOUNT h"), int(7));
    let counted = [&b"HYLL\x01\0\0\0\x07\0\0\0\0\0\0\0"[..], RUNS].concat();
    assert_eq!(client.run("GET h"), Reply::Bulk(counted.clone()));
    assert_eq!(client.run("PFADD h a b c"), int(0));
    assert_eq!(client.run("PFADD h"), int(0));
    assert_eq!(client.run("GET h"), Reply::Bulk(counted));
    assert_eq!(
        client.run("PFDEBUG DECODE h"),
        Reply::bulk("Z:1646 v:1,1 Z:5645 v:1,1 Z:1085 v:2,1 z:57 v:1,1 Z:4274 v:2,1 Z:2445 v:1,1 Z:622 v:1,1 Z:603")
    );
}

#[test]
fn counts_are_those_of_redis_from_sparse_to_dense() {
    let mut client = TestClient::new();
    for element in 0..100 {
        add(&mut client, "s", element..element + 1);
    }
    assert_eq!(client.run("PFCOUNT s"), int(100));
    assert_eq!(client.run("STRLEN s"), int(287));
    for element in 100..1000 {
        add(&mut client, "s", element..element + 1);
    }
    assert_eq!(client.run("PFCOUNT s"), int(1001));
    assert_eq!(client.run("STRLEN s"), int(1923));
    assert_eq!(client.run("PFDEBUG ENCODING s"), Reply::Simple("sparse".into()));
    let wanted = [(0, 1001), (9, 9987), (99, 99565)];
    for thousand in 0..100 {
        add(&mut client, "n", thousand * 1000..(thousand + 1) * 1000);
        if let Some((_, count)) = wanted.iter().find(|(at, _)| *at == thousand) {
            assert_eq!(client.run("PFCOUNT n"), int(*count));
        }
    }
    assert_eq!(client.run("PFDEBUG ENCODING n"), Reply::Simple("dense".into()));
    assert_eq!(client.run("STRLEN n"), int(12304));
    assert_eq!(client.run("PFCOUNT n s none"), int(99565));
}

#[test]
fn the_limit_of_sparse_values_is_live() {
    let mut client = TestClient::new();
    client.run("CONFIG SET hll-sparse-max-bytes 100");
    add(&mut client, "h", 0..100);
    assert_eq!(client.run("PFDEBUG ENCODING h"), Reply::Simple("dense".into()));
    assert_eq!(client.run("PFCOUNT h"), int(100));
}

#[test]
fn sketches_are_merged_and_keep_their_expiry() {
    let mut client = TestClient::new();
    add(&mut client, "a", 0..100);
    add(&mut client, "b", 50..150);
    client.run("PEXPIRE a 5000");
    assert_eq!(client.run("PFMERGE a b none"), Reply::ok());
    assert_eq!(client.run("PTTL a"), int(5000));
    assert_eq!(client.run("PFDEBUG ENCODING a"), Reply::Simple("sparse".into()));
    add(&mut client, "union", 0..150);
    let (merged, union) = (client.run("PFDEBUG GETREG a"), client.run("PFDEBUG GETREG union"));
    assert_eq!(merged.items().len(), REGISTERS);
    assert_eq!(merged, union);
    assert_eq!(client.run("PFCOUNT a"), client.run("PFCOUNT union"));
    assert_eq!(client.run("PFDEBUG TODENSE b"), int(1));
    assert_eq!(client.run("PFDEBUG TODENSE b"), int(0));
    client.run("PFMERGE new b");
    assert_eq!(client.run("PFDEBUG ENCODING new"), Reply::Simple("dense".into()));
    assert_eq!(client.run("PFMERGE empty"), Reply::ok());
    assert_eq!(client.run("PFCOUNT empty"), int(0));
}

#[test]
fn what_is_no_sketch_is_refused() {
    let mut client = TestClient::new();
    let no_sketch = Reply::error("WRONGTYPE Key is not a valid HyperLogLog string value.");
    let corrupt = Reply::error("INVALIDOBJ Corrupted HLL object detected");
    client.run("SET s hello");
    for command in ["PFADD s a", "PFCOUNT s", "PFCOUNT s none", "PFMERGE d s", "PFMERGE s", "PFDEBUG ENCODING s"] {
        assert_eq!(client.run(command), no_sketch, "{command}");
    }
    for (offset, byte) in [(0, "X"), (4, "\u{2}"), (4, "\0")] {
        client.run("DEL h");
        client.run("PFADD h a b c");
        client.run_args(&["SETRANGE", "h", &offset.to_string(), byte]);
        assert_eq!(client.run("PFCOUNT h"), no_sketch, "byte {offset}");
    }
    client.run("DEL h");
    client.run("PFADD h a b c");
    client.run("APPEND h hello");
    for command in ["PFCOUNT h", "PFCOUNT h h", "PFADD h x", "PFMERGE d h", "PFDEBUG DECODE h"] {
        assert_eq!(client.run(command), corrupt, "{command}");
    }
    assert_eq!(client.run("EXISTS d"), int(0));
    client.run("SETRANGE h 40000 x");
    assert_eq!(client.run("PFCOUNT h"), corrupt);
    assert_eq!(client.run("PFDEBUG GETREG none"), Reply::error("ERR The specified key does not exist"));
    assert_eq!(client.run("PFDEBUG FOO d"), Reply::error("ERR The specified key does not exist"));
    client.run("PFADD d");
    assert_eq!(client.run("PFDEBUG FOO d"), Reply::error("ERR Unknown PFDEBUG subcommand 'FOO'"));
}
