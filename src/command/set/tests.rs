//! Set commands against their documented behaviour.

use crate::command::testing::{Reply, TestClient};
use std::collections::BTreeSet;

fn sorted(reply: Reply) -> BTreeSet<String> {
    let (Reply::Array(members) | Reply::Set(members)) = reply else { panic!("{reply:?} lists nothing") };
    let text =
        |member| if let Reply::Bulk(bytes) = member { String::from_utf8(bytes).expect("text") } else { panic!() };
    members.into_iter().map(text).collect()
}

fn of(members: &[&str]) -> BTreeSet<String> {
    members.iter().map(|member| (*member).to_owned()).collect()
}

#[test]
fn members_are_added_asked_for_moved_and_removed() {
    let mut client = TestClient::new();
    assert_eq!(client.run("SADD s a b a c"), Reply::Integer(3));
    assert_eq!(client.run("SADD s a d"), Reply::Integer(1));
    assert_eq!(client.run("SCARD s"), Reply::Integer(4));
    assert_eq!(client.run("SISMEMBER s a"), Reply::Integer(1));
    assert_eq!(client.run("SMISMEMBER s a x"), Reply::Array(vec![Reply::Integer(1), Reply::Integer(0)]));
    assert_eq!(client.run("SMOVE s t a"), Reply::Integer(1));
    assert_eq!(client.run("SMOVE s t a"), Reply::Integer(0));
    assert_eq!(client.run("SMOVE s s b"), Reply::Integer(1));
    assert_eq!(client.run("SMOVE none t a"), Reply::Integer(0));
    assert_eq!(sorted(client.run("SMEMBERS s")), of(&["b", "c", "d"]));
    assert_eq!(client.run("SREM s b b c x"), Reply::Integer(2));
    assert_eq!(client.run("SMOVE s t d"), Reply::Integer(1));
    assert_eq!(client.run("EXISTS s"), Reply::Integer(0));
    assert_eq!(sorted(client.run("SMEMBERS t")), of(&["a", "d"]));
    client.run("SET text x");
    let wrong = Reply::error("WRONGTYPE Operation against a key holding the wrong kind of value");
    assert_eq!(client.run("SMOVE t text a"), wrong);
    assert_eq!(client.run("SADD text a"), wrong);
    assert_eq!(client.run("SUNION t text"), wrong);
}

#[test]
fn sets_are_intersected_united_and_subtracted() {
    let mut client = TestClient::new();
    client.run("SADD a 1 2 3 4");
    client.run("SADD b 3 4 5");
    client.run("SADD c 4 6");
    assert_eq!(sorted(client.run("SINTER a b")), of(&["3", "4"]));
    assert_eq!(sorted(client.run("SINTER a b none")), of(&[]));
    assert_eq!(sorted(client.run("SUNION a b c none")), of(&["1", "2", "3", "4", "5", "6"]));
    assert_eq!(sorted(client.run("SDIFF a b c")), of(&["1", "2"]));
    assert_eq!(sorted(client.run("SDIFF none a")), of(&[]));
    assert_eq!(client.run("SINTERSTORE a a b"), Reply::Integer(2));
    assert_eq!(sorted(client.run("SMEMBERS a")), of(&["3", "4"]));
    assert_eq!(client.run("SUNIONSTORE d a b c"), Reply::Integer(4));
    assert_eq!(client.run("SDIFFSTORE d a b"), Reply::Integer(0));
    assert_eq!(client.run("EXISTS d"), Reply::Integer(0));
    client.run("SET text x");
    assert_eq!(client.run("SUNIONSTORE text a"), Reply::Integer(2));
    assert_eq!(client.run("TYPE text"), Reply::Simple("set".to_owned()));
    assert_eq!(client.run("SINTERCARD 2 a b"), Reply::Integer(2));
    assert_eq!(client.run("SINTERCARD 2 a b LIMIT 1"), Reply::Integer(1));
    assert_eq!(client.run("SINTERCARD 0 a"), Reply::error("ERR numkeys should be greater than 0"));
    assert_eq!(client.run("SINTERCARD 3 a b"), Reply::error("ERR Number of keys can't be greater than number of args"));
    assert_eq!(client.run("SINTERCARD 1 a LIMIT -1"), Reply::error("ERR LIMIT can't be negative"));
}

#[test]
fn random_members_are_popped_until_none_is_left() {
    let mut client = TestClient::new();
    client.run("SADD s a b c d e f g h i j k l");
    let mut seen = sorted(client.run("SPOP s 5"));
    assert_eq!(seen.len(), 5);
    while let Reply::Bulk(member) = client.run("SPOP s") {
        assert!(seen.insert(String::from_utf8(member).expect("text")));
    }
    assert_eq!(seen.len(), 12);
    assert_eq!(client.run("EXISTS s"), Reply::Integer(0));
    assert_eq!(client.run("SPOP s 0"), Reply::Array(Vec::new()));
    assert_eq!(client.run("SPOP s -1"), Reply::error("ERR value is out of range, must be positive"));
    client.run("SADD s a b");
    assert_eq!(sorted(client.run("SRANDMEMBER s 5")), of(&["a", "b"]));
    assert_eq!(sorted(client.run("SPOP s 5")), of(&["a", "b"]));
}

/// Whether Redis keeps a set as integers depends on how it came to be.
#[test]
fn a_set_that_was_made_of_another_keeps_its_encoding() {
    let mut client = TestClient::new();
    let encoding = |client: &mut TestClient, key: &str| client.run(&format!("OBJECT ENCODING {key}")).text();
    client.run("SADD s 1 a");
    client.run("SREM s a");
    client.run("COPY s copied");
    assert_eq!(encoding(&mut client, "copied"), "listpack");
    client.run("SUNIONSTORE united s");
    assert_eq!(encoding(&mut client, "united"), "intset");
    client.run("SADD two a");

    // Looking each member of the first up in the others is less than going through all of them.
    client.run("SADD s 2 a");
    client.run("SADD four a b c d");
    client.run("SDIFFSTORE few s four four");
    assert_eq!(encoding(&mut client, "few"), "intset");
    // It is more: all of the first are put into the result, and those of the others taken out.
    client.run("SADD s 3 4 5 6 7");
    client.run("SDIFFSTORE many s two two none");
    assert_eq!(encoding(&mut client, "many"), "listpack");
    client.run("SREM s a");
    client.run("SDIFFSTORE many s two two none");
    assert_eq!(encoding(&mut client, "many"), "intset");
}

#[test]
fn few_members_left_by_spop_are_a_set_of_their_own() {
    let mut client = TestClient::new();
    let numbers: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    for (count, encoding) in [(160, "hashtable"), (190, "intset")] {
        client.run("CONFIG SET set-max-intset-entries 100");
        client.run("DEL s");
        client.run(&format!("SADD s {}", numbers.join(" ")));
        assert_eq!(client.run(&format!("SPOP s {count}")).items().len(), count);
        assert_eq!(client.run("OBJECT ENCODING s"), Reply::bulk(encoding), "{count} popped");
    }
}
