//! Fields that expire: replies and errors as Redis 8.0.2 gives them, and that nobody is shown what has expired.

use crate::command::testing::{Reply, START_MS, TestClient};
use crate::store::Key;
use std::collections::BTreeMap;
use std::time::Duration;

fn ints<const N: usize>(numbers: [i64; N]) -> Reply {
    Reply::Array(numbers.into_iter().map(Reply::Integer).collect())
}

/// A client whose key `h` has the fields a, b and c, of which a expires in 10 seconds.
fn client() -> TestClient {
    let mut client = TestClient::new();
    client.run("HSET h a 1 b 2 c 3");
    assert_eq!(client.run("HPEXPIRE h 10000 FIELDS 1 a"), ints([1]));
    client
}

#[test]
fn expiries_are_set_told_and_taken_away() {
    let mut client = client();
    client.clock.advance(1);
    assert_eq!(client.run("HTTL h FIELDS 3 a b none"), ints([10, -1, -2]));
    assert_eq!(client.run("HPTTL h FIELDS 1 a"), ints([9999]));
    assert_eq!(client.run("HPEXPIRETIME h FIELDS 1 a"), ints([START_MS as i64 + 10_000]));
    assert_eq!(client.run("HEXPIRETIME h FIELDS 1 a"), ints([START_MS as i64 / 1000 + 10]));
    assert_eq!(client.run("HEXPIRE h 100 FIELDS 2 b none"), ints([1, -2]));
    assert_eq!(client.run("HEXPIREAT h 1700000200 FIELDS 1 b"), ints([1]));
    assert_eq!(client.run("HPEXPIREAT h 1700000300000 FIELDS 1 c"), ints([1]));
    assert_eq!(client.run("HPEXPIRETIME h FIELDS 2 b c"), ints([1_700_000_200_000, 1_700_000_300_000]));
    assert_eq!(client.run("HPERSIST h FIELDS 4 a b b none"), ints([1, 1, -1, -2]));
    assert_eq!(client.run("HTTL h FIELDS 2 a b"), ints([-1, -1]));
    assert_eq!(client.run("HVALS h"), Reply::bulks(["1", "2", "3"]));
    for line in ["HTTL none FIELDS 2 a b", "HPERSIST none FIELDS 2 a b", "HEXPIRE none 10 FIELDS 2 a b"] {
        assert_eq!(client.run(line), ints([-2, -2]), "{line}");
    }
    assert_eq!(client.run("EXISTS none"), Reply::Integer(0));
}

#[test]
fn a_time_that_is_past_removes_fields_at_once() {
    let mut client = client();
    assert_eq!(client.run("HEXPIRE h 0 FIELDS 2 a none"), ints([2, -2]));
    assert_eq!(client.run("HPEXPIREAT h 1 XX FIELDS 1 b"), ints([0]));
    assert_eq!(client.run("HPEXPIREAT h 1 NX FIELDS 2 b b"), ints([2, -2]));
    assert_eq!(client.run("HKEYS h"), Reply::bulks(["c"]));
    assert_eq!(client.run("HEXPIREAT h 0 FIELDS 1 c"), ints([2]));
    assert_eq!(client.run("EXISTS h"), Reply::Integer(0));
}

#[test]
fn conditions_keep_an_expiry_as_it_is() {
    let mut client = client();
    for (line, reply) in [
        ("HPEXPIRE h 5 NX FIELDS 1 a", 0),
        ("HPEXPIRE h 5000 XX FIELDS 1 b", 0),
        ("HPEXPIRE h 5000 GT FIELDS 1 b", 0),
        ("HPEXPIRE h 5000 GT FIELDS 1 a", 0),
        ("HPEXPIRE h 10000 GT FIELDS 1 a", 0),
        ("HPEXPIRE h 10000 LT FIELDS 1 a", 0),
        ("HPEXPIRE h 20000 GT FIELDS 1 a", 1),
        ("HPEXPIRE h 15000 LT FIELDS 1 a", 1),
        ("HPEXPIRE h 5000 LT FIELDS 1 b", 1),
        ("HPEXPIRE h 7000 XX FIELDS 1 b", 1),
        ("HPEXPIRE h 9000 nx FIELDS 1 c", 1),
    ] {
        assert_eq!(client.run(line), ints([reply]), "{line}");
    }
    assert_eq!(client.run("HPTTL h FIELDS 3 a b c"), ints([15_000, 7000, 9000]));
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let mut client = client();
    let fields = "ERR Mandatory argument FIELDS is missing or not at the right position";
    let count = "ERR The `numfields` parameter must match the number of arguments";
    for (line, error) in [
        ("HEXPIRE h 10 FIELDS 1", "ERR wrong number of arguments for 'hexpire' command"),
        ("HEXPIRE h ten FIELDS 1 a", "ERR value is not an integer or out of range"),
        ("HEXPIRE h -1 FIELDS 1 a", "ERR invalid expire time, must be >= 0"),
        ("HEXPIRE h 9223372036854775807 FIELDS 1 a", "ERR invalid expire time in 'hexpire' command"),
        ("HPEXPIREAT h 70368744177664 FIELDS 1 a", "ERR invalid expire time in 'hpexpireat' command"),
        ("HEXPIRE h 10 FIELD 1 a", fields),
        ("HEXPIRE h 10 NX XX FIELDS 1 a", fields),
        ("HEXPIRE h 10 FIELDS 0 a", "ERR Parameter `numFields` should be greater than 0"),
        ("HEXPIRE h 10 FIELDS x a", "ERR Parameter `numFields` should be greater than 0"),
        ("HEXPIRE h 10 FIELDS 2 a", count),
        ("HEXPIRE h 10 FIELDS 1 a b", count),
        ("HTTL h FIELDS 1", "ERR wrong number of arguments for 'httl' command"),
        ("HTTL h FIELD 1 a", fields),
        ("HTTL h FIELDS -1 a", "ERR Number of fields must be a positive integer"),
        ("HPERSIST h FIELDS 2 a", count),
        ("HGETDEL h FIELDS 0 a", "ERR Number of fields must be a positive integer"),
        ("HGETDEL h FIELDS 9 a", count),
        ("HGETEX h EX FIELDS 1 a", "ERR value is not an integer or out of range"),
        ("HGETEX h EX -1 FIELDS 1 a", "ERR invalid expire time, must be >= 0"),
        ("HGETEX h EX 10 FIELDS", "ERR wrong number of arguments for 'hgetex' command"),
        ("HGETEX h PX 10 a", "ERR wrong number of arguments for 'hgetex' command"),
        ("HGETEX h EX -1 FIELDS", "ERR invalid expire time, must be >= 0"),
        ("HGETEX h KEEPTTL 10 FIELDS", fields),
        ("HGETEX h KEEPTTL FIELDS 1 a", fields),
        ("HGETEX h PERSIST FIELDS 1", count),
        ("HSETEX h FIELDS 1 a", "ERR wrong number of arguments for 'hsetex' command"),
        ("HSETEX h FIELDS 2 a 1 b", "ERR wrong number of arguments for 'hsetex' command"),
        ("HSETEX h EX 10 FNX a 1", "ERR unknown argument: a"),
        ("HSETEX h FIELDS x a 1", "ERR invalid number of fields"),
        ("HSETEX h FNX FXX FIELDS 1 a 1", "ERR Only one of FXX or FNX arguments can be specified"),
        (
            "HSETEX h EX 1 KEEPTTL FIELDS 1 a 1",
            "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
        ),
        ("HSETEX h FNX EX 10 PX 10 FIELDS", "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"),
        ("HSETEX h FNX FIELDS 1 a", "ERR wrong number of arguments for 'hsetex' command"),
        ("HSETEX h PX 70368744177664 FIELDS 1 a 1", "ERR invalid expire time in 'hsetex' command"),
    ] {
        assert_eq!(client.run(line), Reply::error(error), "{line}");
    }
    client.run("SET s text");
    for line in ["HEXPIRE s x y z 1 a", "HTTL s x 1 a", "HPERSIST s FIELDS 1 a", "HGETEX s EX x 1 a", "HGETDEL s x 1 a"]
    {
        assert_eq!(
            client.run(line),
            Reply::error("WRONGTYPE Operation against a key holding the wrong kind of value"),
            "{line}"
        );
    }
    assert_eq!(client.run("HPTTL h FIELDS 3 a b c"), ints([10_000, -1, -1]));
}

/// A client as [`client`] makes it, with more fields that expire when `a` does than a read removes on its way, and 10 seconds later.
fn client_with_due() -> TestClient {
    let mut client = client();
    for number in 0..40 {
        client.run(&format!("HSETEX h PX 10000 FIELDS 1 due:{number} x"));
    }
    client.run("RPUSH keys h");
    client.clock.advance(10_000);
    client
}

#[test]
fn nobody_is_shown_an_expired_field() {
    for (line, reply) in [
        ("HGET h due:39", Reply::Null),
        ("HEXISTS h due:39", Reply::Integer(0)),
        ("HLEN h", Reply::Integer(2)),
        ("HKEYS h", Reply::bulks(["b", "c"])),
        ("HVALS h", Reply::bulks(["2", "3"])),
        ("HGETALL h", Reply::bulks(["b", "2", "c", "3"])),
        ("HMGET h due:39 b", Reply::Array(vec![Reply::Null, Reply::bulk("2")])),
        ("HSTRLEN h due:39", Reply::Integer(0)),
        ("HTTL h FIELDS 1 due:39", ints([-2])),
        ("HPERSIST h FIELDS 1 due:39", ints([-2])),
        ("HEXPIRE h 100 FIELDS 1 due:39", ints([-2])),
        ("HGETDEL h FIELDS 1 due:39", Reply::Array(vec![Reply::Null])),
        ("HGETEX h PERSIST FIELDS 1 due:39", Reply::Array(vec![Reply::Null])),
        ("HSETEX h FXX FIELDS 1 due:39 x", Reply::Integer(0)),
        ("HSETEX h FNX KEEPTTL FIELDS 1 due:39 x", Reply::Integer(1)),
        ("HDEL h due:38 due:39", Reply::Integer(0)),
        ("HDEL h a b c", Reply::Integer(2)),
        ("HSET h due:39 new d 4", Reply::Integer(2)),
        ("HSETNX h due:39 new", Reply::Integer(1)),
        ("HINCRBY h due:39 5", Reply::Integer(5)),
        ("COPY h g", Reply::Integer(1)),
        ("SORT keys BY nosort GET *->due:39 GET *->b", Reply::Array(vec![Reply::Null, Reply::bulk("2")])),
    ] {
        let mut client = client_with_due();
        assert_eq!(client.run(line), reply, "{line}");
        let mut fields = || {
            let reply = client.run("HGETALL h");
            reply.items().chunks(2).map(|pair| (pair[0].text(), pair[1].text())).collect::<BTreeMap<_, _>>()
        };
        let left = fields();
        assert_eq!(fields(), left, "{line}");
        assert!(!left.contains_key("due:38"), "{line}");
        assert_eq!(client.run("HLEN h"), Reply::Integer(left.len() as i64), "{line}");
        assert_eq!(client.run("HLEN g"), Reply::Integer(if line == "COPY h g" { 2 } else { 0 }), "{line}");
        client.store.expire_cycle(client.clock.now_ms(), Duration::from_secs(9));
        assert_eq!(client.run("HLEN h"), Reply::Integer(left.len() as i64), "{line}");
        assert_eq!(client.store.check_books(), Ok(()), "{line}");
    }
}

/// What is hidden is neither drawn at random nor met by a scan, and what is there is.
#[test]
fn random_fields_and_scans_leave_out_what_has_expired() {
    let mut client = TestClient::new();
    for number in 0..400 {
        client.run(&format!("HSET h {number} x"));
        if number % 2 == 0 {
            client.run(&format!("HPEXPIRE h 100 FIELDS 1 {number}"));
        }
    }
    client.clock.advance(100);
    assert_eq!(client.run("HLEN h"), Reply::Integer(200));
    let is_odd = |reply: &Reply| reply.text().parse::<u32>().expect("a number") % 2 == 1;
    assert!(is_odd(&client.run("HRANDFIELD h")));
    let drawn = client.run("HRANDFIELD h -300");
    assert!(drawn.items().len() == 300 && drawn.items().iter().all(is_odd));
    let drawn = client.run("HRANDFIELD h 300");
    assert!(drawn.items().len() == 200 && drawn.items().iter().all(is_odd));
    let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
    loop {
        let reply = client.run(&format!("HSCAN h {cursor} COUNT 7 NOVALUES"));
        seen.extend(reply.items()[1].items().iter().map(Reply::text));
        cursor = reply.items()[0].text();
        if cursor == "0" {
            break;
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 200);
}

#[test]
fn a_hash_is_gone_with_its_last_field() {
    let mut client = client();
    client.run("HEXPIRE h 20 FIELDS 2 b c");
    client.clock.advance(20_000);
    for (line, reply) in [
        ("EXISTS h", Reply::Integer(0)),
        ("TYPE h", Reply::Simple("none".into())),
        ("HLEN h", Reply::Integer(0)),
        ("KEYS *", Reply::bulks([])),
        ("SCAN 0", Reply::Array(vec![Reply::bulk("0"), Reply::bulks([])])),
        ("RANDOMKEY", Reply::Null),
        ("TTL h", Reply::Integer(-2)),
        ("OBJECT ENCODING h", Reply::Null),
        ("RENAME h g", Reply::error("ERR no such key")),
        ("COPY h g", Reply::Integer(0)),
        ("DUMP h", Reply::Null),
        ("GET h", Reply::Null),
        ("MGET h", Reply::Array(vec![Reply::Null])),
        ("DEL h", Reply::Integer(0)),
    ] {
        assert_eq!(client.run(line), reply, "{line}");
    }
    assert_eq!(client.run("DBSIZE"), Reply::Integer(1), "it was not removed yet");
    assert_eq!(client.store.expire_cycle(client.clock.now_ms(), Duration::from_secs(9)), 3);
    assert_eq!(client.run("DBSIZE"), Reply::Integer(0));
    assert_eq!(client.store.db_stats(0).field_expires, 0);
    client.run("HSET h a 1");
    assert_eq!(client.run("HTTL h FIELDS 1 a"), ints([-1]));
    // Over a hash that has ended and was not removed anything can be written.
    client.run("HPEXPIRE h 1 FIELDS 1 a");
    client.clock.advance(1);
    assert_eq!(client.run("SETNX h text"), Reply::Integer(1));
    assert_eq!(client.store.expire_cycle(client.clock.now_ms(), Duration::from_secs(9)), 0);
    assert_eq!(client.run("GET h"), Reply::bulk("text"));
    assert_eq!(client.store.check_books(), Ok(()));
}

#[test]
fn writes_drop_or_keep_the_expiry_of_a_field() {
    let mut client = client();
    client.run("HINCRBY h a 5");
    client.run("HINCRBYFLOAT h a 0.5");
    assert_eq!(client.run("HPTTL h FIELDS 1 a"), ints([10_000]));
    client.run("HSETNX h a 9");
    assert_eq!(client.run("HPTTL h FIELDS 1 a"), ints([10_000]));
    assert_eq!(client.run("RENAME h g"), Reply::ok());
    assert_eq!(client.run("COPY g h"), Reply::Integer(1));
    for key in ["g", "h"] {
        assert_eq!(client.run(&format!("HPTTL {key} FIELDS 2 a b")), ints([10_000, -1]), "{key}");
    }
    client.run("HSET h a 1");
    assert_eq!(client.run("HTTL h FIELDS 1 a"), ints([-1]));
    client.run("MOVE g 1");
    client.run("SWAPDB 0 1");
    assert_eq!(client.run("HPTTL g FIELDS 1 a"), ints([10_000]));
    client.clock.advance(10_000);
    assert_eq!(client.store.expire_cycle(client.clock.now_ms(), Duration::from_secs(9)), 1);
    assert_eq!(client.run("HLEN g"), Reply::Integer(2));
    assert_eq!(client.store.db_stats(0).field_expires, 0);
}

#[test]
fn hgetex_reads_and_changes_the_expiry() {
    let mut client = client();
    let got = || Reply::Array(vec![Reply::bulk("1"), Reply::Null, Reply::bulk("2")]);
    assert_eq!(client.run("HGETEX h FIELDS 3 a none b"), got());
    assert_eq!(client.run("HPTTL h FIELDS 2 a b"), ints([10_000, -1]));
    for (option, left) in [("EX 5", 5000), ("PX 7", 7), ("EXAT 1700000006", 6000), ("PXAT 1700000000009", 9)] {
        assert_eq!(client.run(&format!("HGETEX h {option} FIELDS 3 a none b")), got(), "{option}");
        assert_eq!(client.run("HPTTL h FIELDS 2 a b"), ints([left, left]), "{option}");
    }
    assert_eq!(client.run("HGETEX h PERSIST FIELDS 3 a none b"), got());
    assert_eq!(client.run("HTTL h FIELDS 2 a b"), ints([-1, -1]));
    assert_eq!(client.run("HGETEX none PX 5 FIELDS 1 a"), Reply::Array(vec![Reply::Null]));
    assert_eq!(client.run("HGETEX h PXAT 1 FIELDS 3 a none b"), got());
    assert_eq!(client.run("HGETEX h PX 0 FIELDS 1 c"), Reply::bulks(["3"]));
    assert_eq!(client.run("EXISTS h"), Reply::Integer(0));
}

#[test]
fn hsetex_sets_with_conditions_and_expiry() {
    let mut client = TestClient::resp3();
    for (line, reply) in [
        ("HSETEX h FXX EX 10 FIELDS 1 a 1", 0),
        ("HSETEX h EX 10 FNX FIELDS 2 a 1 b 2", 1),
        ("HSETEX h FNX FIELDS 2 c 3 a 9", 0),
        ("HSETEX h FXX FIELDS 2 a 9 c 3", 0),
        ("HSETEX h KEEPTTL FXX FIELDS 2 a 3 b 4", 1),
    ] {
        assert_eq!(client.run(line), Reply::Integer(reply), "{line}");
    }
    assert_eq!(client.run("HMGET h a b c"), Reply::Array(vec![Reply::bulk("3"), Reply::bulk("4"), Reply::Null]));
    assert_eq!(client.run("HPTTL h FIELDS 2 a b"), ints([10_000, 10_000]));
    assert_eq!(client.run("HSETEX h FIELDS 1 a 5"), Reply::Integer(1));
    assert_eq!(client.run("HPTTL h FIELDS 2 a b"), ints([-1, 10_000]));
    for option in ["PX 70", "EXAT 1700000007", "PXAT 1700000000007"] {
        assert_eq!(client.run(&format!("HSETEX h {option} FIELDS 1 a 5")), Reply::Integer(1));
    }
    assert_eq!(client.run("HPTTL h FIELDS 1 a"), ints([7]));
    assert_eq!(client.run("HSETEX h PXAT 5 FIELDS 2 a 6 b 7"), Reply::Integer(1));
    assert_eq!(client.run("EXISTS h"), Reply::Integer(0));
    assert_eq!(client.run("HSETEX h EX 0 FIELDS 1 a 6"), Reply::Integer(1));
    assert_eq!(client.run("EXISTS h"), Reply::Integer(0));
}

#[test]
fn hgetdel_reads_and_removes() {
    let mut client = client();
    assert_eq!(
        client.run("HGETDEL h FIELDS 3 a none a"),
        Reply::Array(vec![Reply::bulk("1"), Reply::Null, Reply::Null])
    );
    assert_eq!(client.run("HGETDEL none FIELDS 1 a"), Reply::Array(vec![Reply::Null]));
    assert_eq!(client.run("HGETDEL h FIELDS 2 b c"), Reply::bulks(["2", "3"]));
    assert_eq!(client.run("EXISTS h"), Reply::Integer(0));
}

#[test]
fn fields_are_dumped_and_restored_with_their_expiry() {
    let mut client = client();
    let digest = client.run("DEBUG DIGEST-VALUE h");
    let Reply::Bulk(payload) = client.run("DUMP h") else { panic!("a payload") };
    assert_eq!(client.run_args(&[&b"RESTORE"[..], b"h", b"0", &payload, b"REPLACE"]), Reply::ok());
    assert_eq!(client.run("DEBUG DIGEST-VALUE h"), digest);
    assert_eq!(client.run("HPTTL h FIELDS 3 a b c"), ints([10_000, -1, -1]));
    client.run("HDEL h b c");
    let Reply::Bulk(only_a) = client.run("DUMP h") else { panic!("a payload") };
    client.clock.advance(10_000);
    assert_eq!(client.run_args(&[&b"RESTORE"[..], b"g", b"0", &payload]), Reply::ok());
    assert_eq!(client.run("HGETALL g"), Reply::bulks(["b", "2", "c", "3"]));
    assert_eq!(client.run_args(&[&b"RESTORE"[..], b"g", b"0", &only_a, b"REPLACE"]), Reply::ok());
    assert_eq!(client.run("EXISTS g"), Reply::Integer(0), "all that was in it has expired");
}

#[test]
fn the_encoding_says_that_fields_have_expired() {
    let mut client = client();
    assert_eq!(client.run("OBJECT ENCODING h"), Reply::bulk("listpackex"));
    client.run("HPERSIST h FIELDS 1 a");
    assert_eq!(client.run("OBJECT ENCODING h"), Reply::bulk("listpackex"), "as in Redis it does not go back");
    client.run(&format!("HSET h a {}", "x".repeat(65)));
    assert_eq!(client.run("OBJECT ENCODING h"), Reply::bulk("hashtable"));
}

#[test]
fn info_counts_fields_that_expire() {
    let mut client = client();
    let line = |client: &mut TestClient, start: &str| {
        let info = client.run("INFO everything").text();
        info.lines().find(|line| line.starts_with(start)).map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(line(&mut client, "db0:"), "db0:keys=1,expires=0,avg_ttl=0,subexpiry=1");
    assert_eq!(line(&mut client, "expired_subkeys:"), "expired_subkeys:0");
    client.clock.advance(10_000);
    client.store.expire_cycle(client.clock.now_ms(), Duration::from_secs(9));
    assert_eq!(line(&mut client, "db0:"), "db0:keys=1,expires=0,avg_ttl=0,subexpiry=0");
    assert_eq!(line(&mut client, "expired_subkeys:"), "expired_subkeys:1");
    client.run("HPEXPIRE h 10000 FIELDS 1 b");
    client.run("DEL h");
    assert_eq!(client.store.db_stats(0).field_expires, 0);
    client.run("HSETEX h PX 5 FIELDS 1 a 1");
    client.run("FLUSHALL");
    while client.store.reap(Duration::from_millis(10)) {}
    assert_eq!(client.store.expire_cycle(client.clock.now_ms() + 10, Duration::from_secs(9)), 0);
}

#[test]
fn a_watched_hash_whose_fields_expire_has_changed() {
    let mut client = client();
    for (field, expected) in [("none", Reply::Array(vec![Reply::ok()])), ("a", Reply::Null)] {
        client.run("WATCH h");
        client.run(&format!("HPEXPIRE h 10000 FIELDS 1 {field}"));
        client.run("UNWATCH");
        client.run("WATCH h");
        if field == "a" {
            client.clock.advance(10_000);
            client.store.expire_cycle(client.clock.now_ms(), Duration::from_secs(9));
        }
        client.run("MULTI");
        client.run("SET other x");
        assert_eq!(client.run("EXEC"), expected, "{field}");
    }
}

/// A small hash takes more room with such a field. HPEXPIRE is let in above `maxmemory`, as what makes room is, but the pool has less for that.
#[test]
fn a_small_hash_waits_for_the_room_that_an_expiring_field_takes() {
    let mut client = TestClient::new();
    client.run("HSET h a 1 b 2");
    for value in [&[b'v'; 4000][..], b""] {
        let fills = |client: &mut TestClient| {
            let (key, guard) = (Key { db: 0, name: b"overwritten" }, crossbeam_epoch::pin());
            let mut txn = client.store.write(&mut client.worker, &[key], 1, &guard);
            txn.set_inline(key, value, None).expect("staged");
            txn.commit().is_ok()
        };
        // Ends: nothing is cleaned meanwhile.
        while fills(&mut client) {}
    }
    assert_eq!(client.run("HPEXPIRE h 1000000 FIELDS 1 a"), Reply::Array(vec![Reply::Integer(1)]));
    assert_eq!(client.run("HMGET h a b"), Reply::bulks(["1", "2"]));
}
