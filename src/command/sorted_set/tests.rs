//! Commands on sorted sets over a store in memory. Replies and error texts are those of redis-server 7.0.15, and of 7.2 where it has more.

use crate::command::testing::{Reply, TestClient};

const NIL: Reply = Reply::Null;

fn int(value: i64) -> Reply {
    Reply::Integer(value)
}

fn error(text: &str) -> Reply {
    Reply::error(&format!("ERR {text}"))
}

/// Bytes that have been appended to the log.
fn written(client: &TestClient) -> u64 {
    let info = client.store.info();
    info.live_bytes + info.garbage_bytes
}

/// A set of `len` members, each with its number as score.
fn fill(client: &mut TestClient, key: &str, len: usize) {
    let mut request = vec!["ZADD".to_owned(), key.to_owned()];
    for number in 0..len {
        request.extend([number.to_string(), format!("member:{number:05}")]);
    }
    assert_eq!(client.run_args(&request), int(len as i64));
}

#[test]
fn zadd_follows_its_options() {
    let mut client = TestClient::new();
    assert_eq!(client.run("ZADD z XX 1 a"), int(0));
    assert_eq!(client.run("EXISTS z"), int(0));
    assert_eq!(client.run("ZADD z 1 a 2 b"), int(2));
    assert_eq!(client.run("ZADD z 3 a 4 c"), int(1));
    assert_eq!(client.run("ZADD z NX CH 9 a 5 d"), int(1));
    assert_eq!(client.run("ZADD z XX CH 9 a 9 new 2 b"), int(1));
    assert_eq!(client.run("ZADD z GT CH 8 a 3 b 1 e"), int(2));
    assert_eq!(client.run("ZADD z lt ch 8 a 4 b"), int(1));
    assert_eq!(
        client.run("ZRANGE z 0 -1 WITHSCORES"),
        Reply::bulks(["e", "1", "b", "3", "c", "4", "d", "5", "a", "8"])
    );
    assert_eq!(client.run("ZADD z INCR 0.5 a"), Reply::bulk("8.5"));
    assert_eq!(client.run("ZADD z INCR NX 1 a"), NIL);
    assert_eq!(client.run("ZADD z INCR GT -1 a"), NIL);
    assert_eq!(client.run("ZADD z INCR XX 1 absent"), NIL);
    assert_eq!(client.run("ZADD z 1 x 2 x 3 x"), int(1));
    assert_eq!(client.run("ZSCORE z x"), Reply::bulk("3"));
    assert_eq!(client.run("ZINCRBY z NX f"), Reply::error("ERR syntax error"));
    assert_eq!(client.run("ZINCRBY z -inf x"), Reply::bulk("-inf"));
    assert_eq!(client.run("ZINCRBY z inf x"), error("resulting score is not a number (NaN)"));
    assert_eq!(client.run("ZINCRBY other 1.5 x"), Reply::bulk("1.5"));
}

#[test]
fn what_is_wrong_is_said_in_the_words_of_redis() {
    let mut client = TestClient::new();
    client.run("ZADD z 1 a");
    client.run("SET s x");
    for (line, text) in [
        ("ZADD z 1 a 2", "syntax error"),
        ("ZADD z NX CH", "syntax error"),
        ("ZADD z 1 a x b", "value is not a valid float"),
        ("ZADD s nan a", "value is not a valid float"),
        ("ZADD z NX XX 1 a", "XX and NX options at the same time are not compatible"),
        ("ZADD z GT NX 1 a", "GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z GT LT 1 a", "GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z INCR 1 a 2 b", "INCR option supports a single increment-element pair"),
        ("ZRANGE z a 1", "value is not an integer or out of range"),
        ("ZRANGE z 0 1 LIMIT 0 1", "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"),
        ("ZRANGE z - + BYLEX WITHSCORES", "syntax error, WITHSCORES not supported in combination with BYLEX"),
        ("ZRANGE z x 1 BYSCORE", "min or max is not a float"),
        ("ZRANGE z a + BYLEX", "min or max not valid string range item"),
        ("ZRANGESTORE d z 0 -1 WITHSCORES", "syntax error"),
        ("ZREVRANGE z 0 -1 REV", "syntax error"),
        ("ZRANGEBYSCORE s nan 1", "min or max is not a float"),
        ("ZCOUNT z 1 (nan", "min or max is not a float"),
        ("ZPOPMIN z -1", "value is out of range, must be positive"),
        ("ZPOPMIN z 1 2", "syntax error"),
        ("ZMPOP 0 z MIN", "numkeys should be greater than 0"),
        ("ZMPOP 1 z MIN COUNT 0", "count should be greater than 0"),
        ("ZMPOP 2 z MIN", "syntax error"),
        ("ZMPOP 1 z MID", "syntax error"),
        ("ZUNION 0 z", "at least 1 input key is needed for 'zunion' command"),
        ("ZUNION 2 z", "syntax error"),
        ("ZUNION 1 z WEIGHTS x", "weight value is not a float"),
        ("ZDIFF 1 z WEIGHTS 1", "syntax error"),
        ("ZINTERSTORE d 1 z WITHSCORES", "syntax error"),
        ("ZINTERCARD 1 z LIMIT -1", "LIMIT can't be negative"),
        ("ZRANK z a WITHSCORES", "syntax error"),
        ("ZRANK z a WITHSCORE x", "wrong number of arguments for 'zrank' command"),
    ] {
        assert_eq!(client.run(line), error(text), "{line}");
    }
    for line in ["ZADD s 1 a", "ZCARD s", "ZPOPMIN s", "ZMPOP 2 none s MIN", "ZUNION 2 z s FOO", "ZRANGESTORE d s 0 -1"]
    {
        assert!(client.run(line).text().starts_with("WRONGTYPE"), "{line}");
    }
}

/// What RESP2 flattens is nested in RESP3, and scores are numbers.
#[test]
fn pairs_are_nested_in_resp3_only() {
    let pair = |name: &str, score| Reply::Array(vec![Reply::bulk(name), Reply::Double(score)]);
    let mut client = TestClient::resp3();
    client.run("ZADD z 1 a 2.5 b 3 c 4 d");
    assert_eq!(client.run("ZRANGE z 0 1 WITHSCORES"), Reply::Array(vec![pair("a", 1.0), pair("b", 2.5)]));
    assert_eq!(client.run("ZUNION 1 z WITHSCORES").items()[3], pair("d", 4.0));
    assert_eq!(client.run("ZRANDMEMBER z 9 WITHSCORES").items().len(), 4);
    assert_eq!(client.run("ZPOPMIN z"), Reply::Array(vec![Reply::bulk("a"), Reply::Double(1.0)]));
    assert_eq!(client.run("ZPOPMAX z 1"), Reply::Array(vec![pair("d", 4.0)]));
    assert_eq!(client.run("ZRANK z c WITHSCORE"), Reply::Array(vec![int(1), Reply::Double(3.0)]));
    assert_eq!(client.run("ZSCORE z none"), NIL);
    let scanned = client.run("ZSCAN z 0 MATCH b");
    assert_eq!(scanned.items()[1], Reply::bulks(["b", "2.5"]));
    assert_eq!(client.run("ZSCAN z 0 NOVALUES").items()[1].sorted_texts(), ["b", "c"]);

    let mut client = TestClient::new();
    client.run("ZADD z 1 a 2.5 b");
    assert_eq!(client.run("ZRANK z b WITHSCORE"), Reply::Array(vec![int(1), Reply::bulk("2.5")]));
    assert_eq!(client.run("ZREVRANK z b"), int(0));
    assert_eq!(client.run("ZREVRANK z none WITHSCORE"), NIL);
    assert_eq!(
        client.run("ZMPOP 2 none z MIN COUNT 5"),
        Reply::Array(vec![Reply::bulk("z"), Reply::Array(vec![Reply::bulks(["a", "1"]), Reply::bulks(["b", "2.5"])])])
    );
    assert_eq!(client.run("ZMPOP 2 none z MIN"), NIL);
}

#[test]
fn ranges_go_by_rank_score_and_name() {
    let mut client = TestClient::new();
    fill(&mut client, "z", 1000);
    assert_eq!(client.run("ZRANK z member:00777"), int(777));
    assert_eq!(client.run("ZCOUNT z (10 20"), int(10));
    assert_eq!(client.run("ZCOUNT z 5 4"), int(0));
    assert_eq!(client.run("ZRANGE z (500 -inf BYSCORE REV LIMIT 1 2"), Reply::bulks(["member:00498", "member:00497"]));
    assert_eq!(client.run("ZRANGEBYSCORE z 10 12 LIMIT 1 -1"), Reply::bulks(["member:00011", "member:00012"]));
    assert_eq!(client.run("ZRANGEBYSCORE z 10 12 LIMIT -1 5"), Reply::Array(vec![]));
    assert_eq!(client.run("ZREVRANGE z 0 1"), Reply::bulks(["member:00999", "member:00998"]));
    assert_eq!(client.run("ZRANGESTORE d z 2 4 REV"), int(3));
    assert_eq!(client.run("ZRANGE d 0 -1"), Reply::bulks(["member:00995", "member:00996", "member:00997"]));
    assert_eq!(client.run("ZRANGESTORE d z 5 4"), int(0));
    assert_eq!(client.run("EXISTS d"), int(0));
    client.run("ZADD lex 0 a 0 b 0 c 0 d");
    assert_eq!(client.run("ZRANGEBYLEX lex (a [c"), Reply::bulks(["b", "c"]));
    assert_eq!(client.run("ZREVRANGEBYLEX lex + (b LIMIT 1 1"), Reply::bulks(["c"]));
    assert_eq!(client.run("ZLEXCOUNT lex - (d"), int(3));
    assert_eq!(client.run("ZLEXCOUNT lex + -"), int(0));
    assert_eq!(client.run("ZREMRANGEBYLEX lex [b +"), int(3));
    assert_eq!(client.run("ZREMRANGEBYLEX lex - +"), int(1));
    assert_eq!(client.run("EXISTS lex"), int(0));
}

#[test]
fn sets_are_combined() {
    let mut client = TestClient::new();
    client.run("ZADD x 1 a 2 b 3 c");
    client.run("ZADD y 10 b 20 c 30 d");
    client.run("SADD s c");
    assert_eq!(client.run("ZUNION 2 x y WITHSCORES"), Reply::bulks(["a", "1", "b", "12", "c", "23", "d", "30"]));
    assert_eq!(client.run("ZINTER 2 x y WEIGHTS 2 1 AGGREGATE MAX WITHSCORES"), Reply::bulks(["b", "10", "c", "20"]));
    assert_eq!(client.run("ZINTER 3 x s y AGGREGATE MIN WITHSCORES"), Reply::bulks(["c", "1"]));
    assert_eq!(client.run("ZDIFF 2 x y"), Reply::bulks(["a"]));
    assert_eq!(client.run("ZDIFF 2 x x"), Reply::Array(vec![]));
    assert_eq!(client.run("ZUNION 2 x x WITHSCORES"), Reply::bulks(["a", "2", "b", "4", "c", "6"]));
    assert_eq!(client.run("ZINTERCARD 2 x y LIMIT 1"), int(1));
    assert_eq!(client.run("ZINTERCARD 2 x y LIMIT 0"), int(2));
    assert_eq!(client.run("ZINTERCARD 2 x none"), int(0));
    assert_eq!(client.run("ZUNIONSTORE x 2 x y"), int(4));
    assert_eq!(client.run("ZSCORE x c"), Reply::bulk("23"));
    assert_eq!(client.run("SET d text"), Reply::ok());
    assert_eq!(client.run("ZDIFFSTORE d 1 x"), int(4));
    assert_eq!(client.run("ZINTERSTORE d 2 x none"), int(0));
    assert_eq!(client.run("EXISTS d"), int(0));
    client.run("ZADD up inf a");
    client.run("ZADD down -inf a");
    assert_eq!(client.run("ZUNION 2 up down WITHSCORES"), Reply::bulks(["a", "0"]));
    assert_eq!(client.run("ZUNION 1 up WEIGHTS 0 WITHSCORES"), Reply::bulks(["a", "0"]));
    assert_eq!(client.run("COMMAND GETKEYS ZUNIONSTORE d 2 x y WEIGHTS 1 2"), Reply::bulks(["d", "x", "y"]));
    assert_eq!(client.run("COMMAND GETKEYS ZMPOP 2 x y MIN"), Reply::bulks(["x", "y"]));
}

/// Goal: who removes most of a set pays for what is left, and the key keeps its expiry. Method: the log's length, and the set's members.
#[test]
fn removing_most_of_a_set_writes_what_is_left() {
    let mut client = TestClient::new();
    fill(&mut client, "z", 2000);
    client.run("EXPIRE z 100");
    let before = written(&client);
    assert_eq!(client.run("ZREMRANGEBYRANK z 5 1994"), int(1990));
    assert!(written(&client) - before < 2000, "ten members are written, not 1990 tombstones");
    assert_eq!(client.run("ZCARD z"), int(10));
    assert_eq!(client.run("ZRANGE z 4 5"), Reply::bulks(["member:00004", "member:01995"]));
    assert_eq!(client.run("TTL z"), int(100));
    let before = written(&client);
    assert_eq!(client.run("ZREMRANGEBYSCORE z -inf +inf"), int(10));
    assert!(written(&client) - before < 200, "the key's tombstone alone");
    assert_eq!(client.run("EXISTS z"), int(0));
    assert_eq!(client.store.check_books(), Ok(()));
}

/// A third of the set, all of it changed before, so that each member needs a tombstone: more than a batch has room for.
#[test]
fn more_may_be_removed_than_a_batch_has_room_for() {
    let mut client = TestClient::new();
    fill(&mut client, "z", 6000);
    for number in 1000..3000 {
        client.run(&format!("ZADD z {number}.5 member:{number:05}"));
    }
    assert_eq!(client.run("ZREMRANGEBYRANK z 1000 2999"), int(2000));
    assert_eq!(client.run("ZRANGE z 999 1000"), Reply::bulks(["member:00999", "member:03000"]));
    assert_eq!(client.run("ZPOPMIN z 1500").items().len(), 3000);
    assert_eq!(client.run("ZCARD z"), int(2500));
    assert_eq!(client.store.check_books(), Ok(()));
}

/// Goal: what a range costs does not depend on how much is in it, and what was cut out stays out. Method: the log's length; a set that differs
/// would differ after recovery.
#[test]
fn removing_a_range_writes_one_record() {
    let mut client = TestClient::new();
    fill(&mut client, "z", 6000);
    for (command, removed) in [
        ("ZREMRANGEBYRANK z 1000 2999", 2000),
        ("ZREMRANGEBYSCORE z 3500 (4500", 1000),
        ("ZREMRANGEBYSCORE z -inf 500", 501),
        ("ZREMRANGEBYRANK z 0 299", 300),
    ] {
        let before = written(&client);
        assert_eq!(client.run(command), int(removed), "{command}");
        assert!(written(&client) - before <= 512, "{command}");
    }
    // Cut out, and there again.
    client.run("ZADD z 250 member:00250 1500 another 3600 member:00100");
    let expected = client.run("ZRANGE z 0 -1 WITHSCORES");
    assert_eq!(client.run("ZCARD z"), int(6000 - 2000 - 1000 - 501 - 300 + 3));
    assert_eq!(client.run("DEBUG RELOAD"), Reply::ok());
    assert_eq!(client.run("ZRANGE z 0 -1 WITHSCORES"), expected);
    assert_eq!(client.store.check_books(), Ok(()));
}

/// A member's older score may lie outside of the range that it is removed with.
#[test]
fn a_member_with_a_past_does_not_come_back_when_a_range_is_removed() {
    let mut client = TestClient::new();
    fill(&mut client, "z", 100);
    for number in 0..10 {
        client.run(&format!("ZADD z 1000 member:{number:05}"));
    }
    fill(&mut client, "other", 500);
    assert_eq!(client.run("ZREMRANGEBYSCORE z 50 1000"), int(60));
    let expected = client.run("ZRANGE z 0 -1 WITHSCORES");
    assert_eq!(client.run("DEBUG RELOAD"), Reply::ok());
    assert_eq!(client.run("ZRANGE z 0 -1 WITHSCORES"), expected);
    assert_eq!(client.store.check_books(), Ok(()));
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let mut client = TestClient::new();
    client.run("ZADD z 1 a 2 b");
    client.run("ZADD y 1 b");
    let before = written(&client);
    for line in [
        "ZADD z 1 a 2 b",
        "ZADD z NX 5 a",
        "ZADD z XX 5 c",
        "ZADD z GT 0 a",
        "ZADD none XX 1 a",
        "ZINCRBY z 0 a",
        "ZREM z c",
        "ZREM none c",
        "ZREMRANGEBYSCORE z 5 6",
        "ZREMRANGEBYRANK none 0 -1",
        "ZPOPMIN z 0",
        "ZMPOP 1 none MIN",
        "ZUNION 2 z y",
        "ZINTERCARD 2 z y",
        "ZDIFFSTORE none 1 none",
        "ZRANGESTORE none z 5 6",
    ] {
        assert!(!matches!(client.run(line), Reply::Error(_)), "{line}");
        assert_eq!(written(&client), before, "{line}");
    }
    client.run("ZREM z a");
    assert!(written(&client) > before, "the log's length tells when something is written");
}

#[test]
fn encodings_go_by_the_settings() {
    let mut client = TestClient::new();
    fill(&mut client, "z", 128);
    assert_eq!(client.run("OBJECT ENCODING z"), Reply::bulk("listpack"));
    client.run("ZADD z 1 more");
    assert_eq!(client.run("OBJECT ENCODING z"), Reply::bulk("skiplist"));
    client.run("ZREM z more");
    assert_eq!(client.run("OBJECT ENCODING z"), Reply::bulk("skiplist"));
    client.run("COPY z copied");
    assert_eq!(client.run("OBJECT ENCODING copied"), Reply::bulk("skiplist"));
    client.run("ZPOPMIN copied 120");
    assert_eq!(client.run("OBJECT ENCODING copied"), Reply::bulk("skiplist"));
    client.run_args(&["ZADD", "y", "1", &"m".repeat(65)]);
    assert_eq!(client.run("OBJECT ENCODING y"), Reply::bulk("skiplist"));
    client.run("ZRANGESTORE x z 0 5");
    assert_eq!(client.run("OBJECT ENCODING x"), Reply::bulk("listpack"));
    client.run("CONFIG SET zset-max-listpack-entries 5");
    assert_eq!(client.run("OBJECT ENCODING x"), Reply::bulk("skiplist"));
}

#[test]
fn a_scan_meets_every_member_of_a_large_set() {
    let mut client = TestClient::new();
    fill(&mut client, "z", 1000);
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let reply = client.run(&format!("ZSCAN z {cursor} COUNT 100"));
        let [next, page] = reply.items() else { panic!("{reply:?}") };
        found.extend(page.items().chunks(2).map(|pair| (pair[0].text(), pair[1].text())));
        cursor = next.text();
        if cursor == "0" {
            break;
        }
    }
    found.sort();
    assert_eq!(found.len(), 1000);
    assert_eq!(found[7], ("member:00007".to_owned(), "7".to_owned()));
    assert_eq!(client.run("ZRANDMEMBER z 5").items().len(), 5);
    assert_eq!(client.run("ZRANDMEMBER z -1500").items().len(), 1500);
    assert_eq!(client.run("ZRANDMEMBER z 1500").items().len(), 1000);
    assert_eq!(client.run("ZRANDMEMBER none 5"), Reply::Array(vec![]));
    assert_eq!(client.run("ZRANDMEMBER none"), NIL);
}

/// Removing most members writes the others as a new set; a scan under way must still meet each that stays.
#[test]
fn a_scan_goes_on_while_most_members_are_removed() {
    let mut client = TestClient::new();
    for number in 0..400 {
        // Places and ranks are in opposite orders.
        client.run(&format!("ZADD z {} m{number}", 400 - number));
    }
    let (mut cursor, mut seen) = ("0".to_owned(), std::collections::HashSet::new());
    loop {
        let Reply::Array(parts) = client.run(&format!("ZSCAN z {cursor} COUNT 30 NOVALUES")) else {
            panic!("an array")
        };
        let [Reply::Bulk(next), Reply::Array(found)] = &parts[..] else { panic!("two parts: {parts:?}") };
        seen.extend(found.iter().map(|member| format!("{member:?}")));
        cursor = String::from_utf8(next.clone()).expect("a number");
        if cursor == "100" {
            assert_eq!(client.run("ZREMRANGEBYRANK z 0 209"), Reply::Integer(210));
        }
        if cursor == "0" {
            break;
        }
    }
    let Reply::Array(left) = client.run("ZRANGE z 0 -1") else { panic!("an array") };
    assert_eq!(left.len(), 190);
    assert!(left.iter().all(|member| seen.contains(&format!("{member:?}"))));
}

#[test]
fn the_options_of_a_scan_of_nothing_are_not_looked_at() {
    let mut client = TestClient::new();
    let nothing = Reply::Array(vec![Reply::bulk("0"), Reply::Array(Vec::new())]);
    for verb in ["HSCAN", "SSCAN", "ZSCAN"] {
        assert_eq!(client.run(&format!("{verb} none 0 WHATEVER")), nothing);
        assert_eq!(client.run(&format!("{verb} none x")), Reply::error("ERR invalid cursor"));
    }
    client.run("SET text x");
    assert_eq!(
        client.run("ZSCAN text 0 WHATEVER"),
        Reply::error("WRONGTYPE Operation against a key holding the wrong kind of value")
    );
}
