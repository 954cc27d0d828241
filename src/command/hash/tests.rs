//! Hash commands against their documented behaviour.

use crate::command::testing::{Reply, TestClient};

#[test]
fn fields_are_set_counted_and_removed() {
    let mut client = TestClient::new();
    assert_eq!(client.run("HSET h a 1 b 2 a 3"), Reply::Integer(2));
    assert_eq!(client.run("HSET h a 4 c 5"), Reply::Integer(1));
    assert_eq!(client.run("HGET h a"), Reply::bulk("4"));
    assert_eq!(client.run("HGET h none"), Reply::Null);
    assert_eq!(client.run("HGET none a"), Reply::Null);
    assert_eq!(client.run("HLEN h"), Reply::Integer(3));
    assert_eq!(client.run("HSETNX h a 9"), Reply::Integer(0));
    assert_eq!(client.run("HSETNX h d 9"), Reply::Integer(1));
    assert_eq!(client.run("HEXISTS h d"), Reply::Integer(1));
    assert_eq!(client.run("HSTRLEN h d"), Reply::Integer(1));
    assert_eq!(client.run("HMGET h a none d"), Reply::Array(vec![Reply::bulk("4"), Reply::Null, Reply::bulk("9")]));
    assert_eq!(client.run("TYPE h"), Reply::Simple("hash".to_owned()));
    assert_eq!(client.run("HDEL h a a b none"), Reply::Integer(2));
    assert_eq!(client.run("HDEL h c d"), Reply::Integer(2));
    assert_eq!(client.run("EXISTS h"), Reply::Integer(0));
    assert_eq!(client.run("HMSET h a 1"), Reply::ok());
    assert_eq!(client.run("HSET h a"), Reply::error("ERR wrong number of arguments for 'hset' command"));
    assert_eq!(client.run("HMSET h a 1 b"), Reply::error("ERR wrong number of arguments for 'hmset' command"));
}

#[test]
fn numbers_in_fields_are_added_to() {
    let mut client = TestClient::new();
    assert_eq!(client.run("HINCRBY h n 5"), Reply::Integer(5));
    assert_eq!(client.run("HINCRBY h n -7"), Reply::Integer(-2));
    assert_eq!(client.run("HINCRBYFLOAT h n 0.5"), Reply::bulk("-1.5"));
    assert_eq!(client.run("HINCRBY h n 1"), Reply::error("ERR hash value is not an integer"));
    assert_eq!(client.run("HSET h text abc big 9223372036854775807"), Reply::Integer(2));
    assert_eq!(client.run("HINCRBY h big 1"), Reply::error("ERR increment or decrement would overflow"));
    assert_eq!(client.run("HINCRBYFLOAT h text 1"), Reply::error("ERR hash value is not a float"));
    assert_eq!(client.run("HINCRBYFLOAT h n inf"), Reply::error("ERR value is NaN or Infinity"));
}

#[test]
fn another_type_is_refused_by_every_command() {
    let mut client = TestClient::new();
    client.run("SET s text");
    let wrong = Reply::error("WRONGTYPE Operation against a key holding the wrong kind of value");
    for line in [
        "HSET s a 1",
        "HSETNX s a 1",
        "HGET s a",
        "HMGET s a",
        "HDEL s a",
        "HLEN s",
        "HGETALL s",
        "HKEYS s",
        "HVALS s",
        "HINCRBY s a 1",
        "HINCRBYFLOAT s a 1",
        "HEXISTS s a",
        "HSTRLEN s a",
        "HRANDFIELD s",
        "HSCAN s 0",
    ] {
        assert_eq!(client.run(line), wrong, "{line}");
    }
    client.run("HSET h a 1");
    for line in ["GET h", "APPEND h x", "INCR h", "STRLEN h", "SETRANGE h 0 x", "GETBIT h 0", "PFADD h a"] {
        assert_eq!(client.run(line), wrong, "{line}");
    }
    assert_eq!(client.run("SET h text"), Reply::ok());
    assert_eq!(client.run("GET h"), Reply::bulk("text"));
}

#[test]
fn a_scan_meets_every_field_while_others_come_and_go() {
    let mut client = TestClient::new();
    for number in 0..500 {
        client.run(&format!("HSET h field:{number} {number}"));
    }
    let (mut cursor, mut seen, mut turns) = ("0".to_owned(), std::collections::HashSet::new(), 0);
    loop {
        let Reply::Array(parts) = client.run(&format!("HSCAN h {cursor} COUNT 20")) else { panic!("an array") };
        let [Reply::Bulk(next), Reply::Array(found)] = &parts[..] else { panic!("two parts: {parts:?}") };
        assert!(found.len() <= 40);
        seen.extend(found.chunks(2).map(|pair| format!("{:?}", pair[0])));
        turns += 1;
        client.run(&format!("HSET h new:{turns} x"));
        client.run(&format!("HDEL h field:{turns}"));
        cursor = String::from_utf8(next.clone()).expect("a number");
        if cursor == "0" {
            break;
        }
    }
    assert!((100..500).all(|number| seen.contains(&format!("{:?}", Reply::bulk(format!("field:{number}"))))));
    assert_eq!(client.run("HSCAN h x"), Reply::error("ERR invalid cursor"));
    assert_eq!(client.run("HSCAN h 0 COUNT 0"), Reply::error("ERR syntax error"));
}

#[test]
fn random_fields_are_as_many_as_asked_for() {
    let mut client = TestClient::resp3();
    client.run("HSET h a 1 b 2 c 3");
    for (count, len) in [("2", 2), ("10", 3), ("-10", 10), ("0", 0)] {
        let Reply::Array(fields) = client.run(&format!("HRANDFIELD h {count} WITHVALUES")) else { panic!("an array") };
        assert_eq!(fields.len(), len);
        assert!(fields.iter().all(|pair| matches!(pair, Reply::Array(pair) if pair.len() == 2)));
    }
    assert_eq!(
        client.run("HRANDFIELD h -9223372036854775808"),
        Reply::error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
    );
    assert_eq!(client.run("HRANDFIELD h -9223372036854775807 WITHVALUES"), Reply::error("ERR value is out of range"));
    assert_eq!(client.run("HRANDFIELD h 1 WITH"), Reply::error("ERR syntax error"));
    assert_eq!(client.run("HRANDFIELD none 3"), Reply::Array(Vec::new()));
}

#[test]
fn encodings_are_those_of_redis() {
    let mut client = TestClient::new();
    client.run("HSET h a 1");
    assert_eq!(client.run("OBJECT ENCODING h"), Reply::bulk("listpack"));
    client.run(&format!("HSET h a {}", "x".repeat(65)));
    client.run("HSET h a 1");
    assert_eq!(client.run("OBJECT ENCODING h"), Reply::bulk("hashtable"));
    client.run("COPY h copied");
    assert_eq!(client.run("OBJECT ENCODING copied"), Reply::bulk("hashtable"));
    for number in 0..513 {
        client.run(&format!("SADD ints {number}"));
    }
    assert_eq!(client.run("OBJECT ENCODING ints"), Reply::bulk("hashtable"));
    client.run("SADD few 1 2 3");
    assert_eq!(client.run("OBJECT ENCODING few"), Reply::bulk("intset"));
    client.run("SADD few a");
    assert_eq!(client.run("OBJECT ENCODING few"), Reply::bulk("listpack"));
}
