//! The list commands over a store in memory. Replies and error texts are those of redis-server 7.0.15; encodings those of 7.2.

use crate::command::testing::{Reply, TestClient};

const NIL: Reply = Reply::Null;

fn int(value: i64) -> Reply {
    Reply::Integer(value)
}

fn ints<const N: usize>(values: [i64; N]) -> Reply {
    Reply::Array(values.map(int).to_vec())
}

/// Runs lines of `command => what it answers`, where the answer is written as [`shown`] writes it.
fn check(client: &mut TestClient, lines: &str) {
    for line in lines.trim().lines() {
        let (command, expected) = line.trim().split_once(" => ").expect("an answer");
        assert_eq!(shown(&client.run(command)), expected, "{command}");
    }
}

/// A reply in short: `nil`, `7`, `word`, `(word nil)`, `!ERR ...`.
fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Null => "nil".to_owned(),
        Reply::Integer(value) => value.to_string(),
        Reply::Error(text) => format!("!{text}"),
        Reply::Array(items) => format!("({})", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        other => other.text(),
    }
}

#[test]
fn elements_are_pushed_and_popped_at_both_ends() {
    check(
        &mut TestClient::new(),
        "LPUSH l a b c => 3
         RPUSH l 1 2 => 5
         LRANGE l 0 -1 => (c b a 1 2)
         LPUSHX none a => 0
         RPUSHX l 3 4 => 7
         LPUSHX l d => 8
         LLEN l => 8
         LPOP l => d
         RPOP l => 4
         LPOP l 2 => (c b)
         RPOP l 2 => (3 2)
         LPOP l 0 => ()
         LPOP none => nil
         LPOP none 0 => nil
         RPOP l 10 => (1 a)
         EXISTS l => 0
         LLEN l => 0
         LPOP l -1 => !ERR value is out of range, must be positive
         LPOP l x => !ERR value is out of range, must be positive
         LPOP l 1 2 => !ERR wrong number of arguments for 'lpop' command",
    );
}

/// A missing list is no array when there is a count, and no string when there is none.
#[test]
fn nothing_to_pop_has_the_shape_of_what_was_asked_for() {
    let mut client = TestClient::new();
    assert_eq!(client.run_raw(&["LPOP", "l"]), b"$-1\r\n");
    assert_eq!(client.run_raw(&["LPOP", "l", "2"]), b"*-1\r\n");
    assert_eq!(client.run_raw(&["LMPOP", "1", "l", "LEFT"]), b"*-1\r\n");
    assert_eq!(client.run_raw(&["LMOVE", "l", "m", "LEFT", "LEFT"]), b"$-1\r\n");
    assert_eq!(client.run_raw(&["LPOS", "l", "a"]), b"$-1\r\n");
    assert_eq!(client.run_raw(&["LPOS", "l", "a", "COUNT", "1"]), b"*0\r\n");
    assert_eq!(TestClient::resp3().run_raw(&["LPOP", "l", "2"]), b"_\r\n");
}

#[test]
fn parts_of_a_list_are_read_by_index() {
    check(
        &mut TestClient::new(),
        "RPUSH l a b c d => 4
         LRANGE l 1 2 => (b c)
         LRANGE l -2 100 => (c d)
         LRANGE l -100 0 => (a)
         LRANGE l 3 1 => ()
         LRANGE l 9223372036854775807 -1 => ()
         LRANGE none 0 -1 => ()
         LRANGE none x 1 => !ERR value is not an integer or out of range
         LINDEX l 0 => a
         LINDEX l -1 => d
         LINDEX l 4 => nil
         LINDEX l -5 => nil
         LINDEX none x => nil
         LINDEX l x => !ERR value is not an integer or out of range",
    );
}

#[test]
fn elements_are_changed_where_they_are() {
    check(
        &mut TestClient::new(),
        "RPUSH l a b c => 3
         LSET l 1 B => OK
         LSET l -1 C => OK
         LSET l 3 x => !ERR index out of range
         LSET l -4 x => !ERR index out of range
         LSET l x x => !ERR value is not an integer or out of range
         LSET none x x => !ERR no such key
         LINSERT l BEFORE a 0 => 4
         LINSERT l after a 1 => 5
         LINSERT l BEFORE B 2 => 6
         LINSERT l AFTER C z => 7
         LINSERT l BEFORE nope x => -1
         LINSERT none BEFORE a x => 0
         LINSERT l BESIDE a x => !ERR syntax error
         LRANGE l 0 -1 => (0 a 1 2 B C z)
         LTRIM l 1 -2 => OK
         LRANGE l 0 -1 => (a 1 2 B C)
         LTRIM none 0 1 => OK
         LTRIM l x 1 => !ERR value is not an integer or out of range
         LTRIM l 5 9 => OK
         EXISTS l => 0",
    );
}

#[test]
fn equal_elements_are_removed_from_either_end() {
    check(
        &mut TestClient::new(),
        "RPUSH l a b a c a d a => 7
         LREM l 2 a => 2
         LRANGE l 0 -1 => (b c a d a)
         LREM l -1 a => 1
         LRANGE l 0 -1 => (b c a d)
         LREM l 0 nope => 0
         LREM l 0 a => 1
         LREM none 0 a => 0
         LREM none x a => !ERR value is not an integer or out of range
         LREM l 0 b => 1
         LREM l 0 c => 1
         LREM l 0 d => 1
         EXISTS l => 0",
    );
}

#[test]
fn positions_are_found_from_either_end() {
    check(
        &mut TestClient::new(),
        "RPUSH l a b c d a b c 1 c c => 10
         LPOS l c => 2
         LPOS l c RANK 2 => 6
         LPOS l c RANK -1 => 9
         LPOS l c RANK -2 COUNT 2 => (8 6)
         LPOS l c COUNT 0 => (2 6 8 9)
         LPOS l c COUNT 2 RANK 2 => (6 8)
         LPOS l c MAXLEN 2 => nil
         LPOS l c MAXLEN 3 => 2
         LPOS l c MAXLEN 3 RANK -1 COUNT 0 => (9 8)
         LPOS l nope => nil
         LPOS none c COUNT 0 => ()
         LPOS l c RANK 0 => !ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list
         LPOS l c RANK -9223372036854775808 => !ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
         LPOS l c COUNT -1 => !ERR COUNT can't be negative
         LPOS l c COUNT x => !ERR COUNT can't be negative
         LPOS l c MAXLEN -1 => !ERR MAXLEN can't be negative
         LPOS l c RANK => !ERR syntax error
         LPOS l c FIRST 1 => !ERR syntax error",
    );
}

#[test]
fn elements_move_between_lists_and_within_one() {
    check(
        &mut TestClient::new(),
        "RPUSH a 1 2 3 => 3
         LMOVE a b LEFT RIGHT => 1
         LMOVE a b RIGHT LEFT => 3
         LRANGE b 0 -1 => (3 1)
         LMOVE b b LEFT RIGHT => 3
         LRANGE b 0 -1 => (1 3)
         RPOPLPUSH b b => 3
         LRANGE b 0 -1 => (3 1)
         RPOPLPUSH a b => 2
         EXISTS a => 0
         LRANGE b 0 -1 => (2 3 1)
         RPUSH one x => 1
         LMOVE one one LEFT LEFT => x
         LRANGE one 0 -1 => (x)
         LMOVE none a LEFT LEFT => nil
         LMOVE b a UP LEFT => !ERR syntax error
         SET s text => OK
         LMOVE none s LEFT LEFT => nil
         RPOPLPUSH b s => !WRONGTYPE Operation against a key holding the wrong kind of value
         LRANGE b 0 -1 => (2 3 1)",
    );
}

#[test]
fn the_first_list_of_several_is_popped_from() {
    check(
        &mut TestClient::new(),
        "RPUSH a 1 2 3 => 3
         RPUSH b x => 1
         LMPOP 2 none a LEFT => (a (1))
         LMPOP 3 none a b RIGHT COUNT 5 => (a (3 2))
         LMPOP 3 none a b RIGHT COUNT 5 => (b (x))
         LMPOP 2 none b LEFT => nil
         SET s text => OK
         RPUSH a 1 => 1
         LMPOP 2 s a LEFT => !WRONGTYPE Operation against a key holding the wrong kind of value
         LMPOP 2 a s LEFT => (a (1))
         LMPOP 0 a LEFT => !ERR numkeys should be greater than 0
         LMPOP x a LEFT => !ERR numkeys should be greater than 0
         LMPOP 2 a LEFT => !ERR syntax error
         LMPOP 9223372036854775807 a LEFT => !ERR syntax error
         LMPOP 1 a UP => !ERR syntax error
         LMPOP 1 a LEFT COUNT 0 => !ERR count should be greater than 0
         LMPOP 1 a LEFT COUNT 1 COUNT 1 => !ERR syntax error",
    );
}

#[test]
fn other_types_are_refused_and_left_as_they_are() {
    let mut client = TestClient::new();
    client.run("SET s text");
    for command in [
        "LPUSH s a",
        "LPUSHX s a",
        "RPUSH s a",
        "RPUSHX s a",
        "LPOP s",
        "RPOP s 0",
        "LLEN s",
        "LRANGE s 0 1",
        "LINDEX s x",
        "LSET s x y",
        "LINSERT s BEFORE a b",
        "LREM s 0 a",
        "LTRIM s 0 1",
        "LPOS s a",
        "LMOVE s l LEFT LEFT",
        "RPOPLPUSH s s",
    ] {
        let reply = client.run(command);
        assert!(matches!(&reply, Reply::Error(text) if text.starts_with("WRONGTYPE ")), "{command}: {reply:?}");
    }
    client.run("RPUSH l a");
    assert!(matches!(client.run("GET l"), Reply::Error(text) if text.starts_with("WRONGTYPE ")));
    assert_eq!(client.run("TYPE l"), Reply::Simple("list".into()));
    assert_eq!(client.run("SET l text"), Reply::ok());
    assert_eq!(client.run("GET l"), Reply::bulk("text"));
}

#[test]
fn a_list_keeps_its_expiry_until_it_is_gone() {
    let mut client = TestClient::new();
    client.run("RPUSH l a b");
    client.run("PEXPIRE l 100");
    client.run("RPUSH l c");
    client.run("LPOP l");
    assert_eq!(client.run("PTTL l"), int(100));
    client.run("LPOP l 2");
    client.run("RPUSH l a");
    assert_eq!(client.run("PTTL l"), int(-1));
    client.run("PEXPIRE l 100");
    client.clock.advance(100);
    assert_eq!(client.run("LPUSHX l b"), int(0));
    assert_eq!(client.run("RPUSH l b"), int(1));
}

/// What a change of a long list costs in the pool does not depend on how long it is.
#[test]
fn a_change_of_a_long_list_writes_little() {
    let mut client = TestClient::new();
    let values: Vec<String> = (0..2000).map(|i| format!("value:{i}")).collect();
    let mut request = vec!["RPUSH".to_owned(), "l".to_owned()];
    request.extend(values);
    assert_eq!(client.run_args(&request), int(2000));
    for command in
        ["RPUSH l x", "LPOP l 500", "LTRIM l 100 1000", "LSET l 3 y", "LINSERT l BEFORE y z", "LMOVE l l LEFT RIGHT"]
    {
        let info = client.store.info();
        let before = info.live_bytes + info.garbage_bytes;
        client.run(command);
        let info = client.store.info();
        let written = info.live_bytes + info.garbage_bytes - before;
        assert!(written <= 256, "{command} wrote {written} bytes");
    }
    assert_eq!(client.run("LPOS l z"), int(2));
    assert_eq!(client.run("LPOS l x COUNT 0"), ints([]));
}

#[test]
fn short_lists_are_called_packed() {
    let mut client = TestClient::new();
    let encoding = |client: &mut TestClient| client.run("OBJECT ENCODING l").text();
    client.run("RPUSH l a 1 -5000");
    assert_eq!(encoding(&mut client), "listpack");
    client.run_args(&["RPUSH", "l", &"x".repeat(8100)]);
    assert_eq!(encoding(&mut client), "listpack");
    client.run_args(&["RPUSH", "l", &"x".repeat(80)]);
    assert_eq!(encoding(&mut client), "quicklist");
    client.run("CONFIG SET list-max-listpack-size -3");
    assert_eq!(encoding(&mut client), "listpack");
    client.run("CONFIG SET list-max-ziplist-size 4");
    client.run("DEL l");
    client.run("RPUSH l 1 2 3 4");
    assert_eq!(encoding(&mut client), "listpack");
    client.run("RPUSH l 5");
    assert_eq!(encoding(&mut client), "quicklist");
    client.run("RPOP l 2");
    assert_eq!(encoding(&mut client), "quicklist");
    client.run("RPOP l");
    assert_eq!(encoding(&mut client), "listpack");
    assert_eq!(client.run("OBJECT REFCOUNT l"), int(1));
    assert_eq!(client.run("OBJECT ENCODING none"), NIL);
}
