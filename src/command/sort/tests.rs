//! SORT and SORT_RO over a store in memory. Replies and error texts are those of redis-server 7.0.15.

use crate::command::testing::{Reply, TestClient};
use crate::log::ObjectType;
use crate::store::Key;

fn texts(reply: &Reply) -> String {
    let text = |item: &Reply| if *item == Reply::Null { "nil".to_owned() } else { item.text() };
    match reply {
        Reply::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        Reply::Integer(value) => value.to_string(),
        other => other.text(),
    }
}

/// Runs lines of `command => elements`.
fn check(client: &mut TestClient, lines: &str) {
    for line in lines.trim().lines() {
        let (command, expected) = line.trim().split_once(" =>").expect("an answer");
        assert_eq!(texts(&client.run(command)), expected.trim_start(), "{command}");
    }
}

/// Makes a hash, set or sorted set of names and values.
fn make(client: &mut TestClient, kind: ObjectType, name: &str, elements: &[(&str, &[u8])]) {
    client.with_ctx(|ctx| {
        let mut txn = ctx.txn(&[name.as_bytes()]);
        let mut edit = txn.edit(Key { db: 0, name: name.as_bytes() }, kind).expect("absent");
        for (name, value) in elements {
            edit.put(name.as_bytes(), value).expect("room");
        }
        edit.finish().expect("staged");
        txn.commit().expect("room");
    });
}

#[test]
fn elements_are_sorted_as_numbers_or_texts() {
    check(
        &mut TestClient::new(),
        "RPUSH l 3 10 2 1 30 => 5
         SORT l => 1 2 3 10 30
         SORT l DESC => 30 10 3 2 1
         SORT l DESC ASC => 1 2 3 10 30
         SORT l ALPHA => 1 10 2 3 30
         SORT_RO l alpha desc => 30 3 2 10 1
         SORT l LIMIT 1 2 => 2 3
         SORT l LIMIT -1 2 => 1 2
         SORT l LIMIT 3 -1 => 10 30
         SORT l LIMIT 5 1 =>
         SORT l LIMIT 0 0 =>
         SORT none =>
         SORT l LIMIT x 1 => ERR value is not an integer or out of range
         SORT l LIMIT 1 => ERR syntax error
         SORT l FOO => ERR syntax error
         SORT_RO l STORE d => ERR syntax error
         SET s text => OK
         SORT s => WRONGTYPE Operation against a key holding the wrong kind of value",
    );
}

#[test]
fn numbers_are_those_of_strtod() {
    check(
        &mut TestClient::new(),
        r#"RPUSH l 1.5 -2 '  3' inf -inf 1e3 '' => 7
         SORT l => -inf -2  1.5   3 1e3 inf
         RPUSH l nan => 8
         SORT l => ERR One or more scores can't be converted into double
         LSET l -1 1e400 => OK
         SORT l => ERR One or more scores can't be converted into double
         LSET l -1 ' ' => OK
         SORT l => ERR One or more scores can't be converted into double
         LSET l -1 "7\x00x" => OK
         LSET l -1 '1 ' => OK
         SORT l STORE d => ERR One or more scores can't be converted into double
         SORT l BY nosort LIMIT 1 1 => -2
         RPUSH hex 0x1F -0x.8p3 3 => 3
         SORT hex => -0x.8p3 3 0x1F
         RPUSH hex 0x => 4
         SORT hex => ERR One or more scores can't be converted into double"#,
    );
}

#[test]
fn patterns_name_what_to_sort_by_and_what_to_return() {
    let mut client = TestClient::new();
    make(&mut client, ObjectType::Hash, "h_1", &[("weight", b"9"), ("name", b"one")]);
    make(&mut client, ObjectType::Hash, "h_2", &[("weight", b"8"), ("name", b"two")]);
    check(
        &mut client,
        "RPUSH l 1 2 3 => 3
         MSET w_1 30 w_2 20 w_3 10 o_1 a o_3 c => OK
         SORT l BY w_* => 3 2 1
         SORT l BY w_* DESC LIMIT 0 2 => 1 2
         SORT l BY w_* GET o_* => c nil a
         SORT l BY w_* GET # GET o_* => 3 c 2 nil 1 a
         SORT l GET constant => nil nil nil
         SORT l BY none_* DESC => 3 2 1
         SORT l BY o_* ALPHA => 2 1 3
         SORT l BY o_* => ERR One or more scores can't be converted into double
         SORT l BY h_*->weight => 3 2 1
         SORT l BY h_*->weight GET h_*->name => nil two one
         SORT l GET h_*->none => nil nil nil
         SORT l GET w_*->field => nil nil nil
         SORT l GET h_* => nil nil nil
         SORT l GET w_*-> => nil nil nil
         SORT l GET l => nil nil nil",
    );
}

#[test]
fn without_sorting_elements_keep_their_order() {
    let mut client = TestClient::new();
    let score = |score: f64| score.to_le_bytes();
    let members = [("c", &score(1.0)[..]), ("a", &score(2.0)), ("b", &score(3.0))];
    make(&mut client, ObjectType::SortedSet, "z", &members);
    make(&mut client, ObjectType::Set, "s", &[("3", b""), ("1", b""), ("2", b"")]);
    check(
        &mut client,
        "RPUSH l 3 1 2 => 3
         SORT l BY nosort => 3 1 2
         SORT l BY nosort DESC => 2 1 3
         SORT l BY nosort DESC LIMIT 1 1 => 1
         SORT l BY # => 3 1 2
         SORT z BY nosort => c a b
         SORT z BY nosort DESC LIMIT 0 2 => b a
         SORT z ALPHA => a b c
         SORT s => 1 2 3
         SORT s BY nosort STORE d => 3
         LRANGE d 0 -1 => 1 2 3",
    );
    assert_eq!(client.run("SORT s BY nosort").sorted_texts(), ["1", "2", "3"]);
}

#[test]
fn what_is_sorted_may_be_stored_as_a_list() {
    check(
        &mut TestClient::new(),
        "RPUSH l 2 3 1 => 3
         MSET o_1 a o_3 c => OK
         SET d text EX 100 => OK
         SORT l GET o_* GET # STORE d => 6
         LRANGE d 0 -1 => a 1  2 c 3
         TTL d => -1
         SORT l STORE l => 3
         LRANGE l 0 -1 => 1 2 3
         SORT none STORE d => 0
         EXISTS d => 0
         SET d text => OK
         SORT l LIMIT 5 1 STORE d => 0
         EXISTS d => 0",
    );
}
