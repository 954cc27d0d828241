//! Histories written by hand: some that must be accepted, and for each rule one that must not.

use super::*;
use fencepost_harness::model::Held;
use fencepost_harness::{Frame, command};

const NOW: u64 = 1_000;
/// Long after every event.
const END: usize = 1_000;

/// A call of its own client on database 0, asked for at `times.0` and answered at `times.1`.
fn call(times: (usize, usize), line: &str, reply: impl Into<Frame>) -> Call {
    call_at(NOW, times, line, reply)
}

fn call_at(now_ms: u64, (invoked, returned): (usize, usize), line: &str, reply: impl Into<Frame>) -> Call {
    let words: Vec<&str> = line.split(' ').collect();
    let command = command(&words);
    let touches = Touches::of(0, &command);
    let reply = Some(reply.into());
    Call {
        op: 0,
        client: 0,
        db: 0,
        now_ms,
        until_ms: now_ms,
        command,
        more: Vec::new(),
        touches,
        invoked,
        returned,
        reply,
        after: None,
    }
}

/// A call that was never answered.
fn pending(invoked: usize, line: &str) -> Call {
    Call { reply: None, ..call((invoked, usize::MAX), line, Frame::ok()) }
}

fn ok() -> Frame {
    Frame::ok()
}

fn nil() -> Frame {
    Frame::NullBulk
}

fn bulk(text: &str) -> Frame {
    Frame::bulk(text)
}

fn int(n: i64) -> Frame {
    Frame::Integer(n)
}

fn text(value: &str, until: Option<u64>) -> Held {
    Held { deadline: until.map(|at| at as i64), ..Held::new(Value::Text(value.into())) }
}

fn contents(pairs: &[(&str, &str)]) -> Contents {
    pairs.iter().map(|(key, value)| ((0, key.as_bytes().to_vec()), text(value, None))).collect()
}

fn contents_until(keys: &[(&str, &str, u64)]) -> Contents {
    let entry = |&(key, value, until): &(&str, &str, u64)| ((0, key.as_bytes().to_vec()), text(value, Some(until)));
    keys.iter().map(entry).collect()
}

fn read_out(pairs: &[(&str, &str)]) -> ReadOut {
    ReadOut { contents: contents(pairs), now_ms: NOW }
}

/// Whether the calls, from an empty store, may end in `end`.
fn fits(calls: &[Call], end: &[(&str, &str)]) -> bool {
    check(&Contents::new(), calls, END, &read_out(end)).is_ok()
}

#[test]
fn an_empty_history_leaves_what_was_there() {
    let start = contents(&[("a", "1")]);
    assert!(check(&start, &[], END, &read_out(&[("a", "1")])).is_ok());
    assert!(check(&start, &[], END, &read_out(&[])).is_err(), "lost");
    assert!(check(&Contents::new(), &[], END, &read_out(&[("a", "1")])).is_err(), "made up");
}

#[test]
fn an_acknowledged_write_is_there() {
    let set = [call((0, 1), "SET a 1", ok())];
    assert!(fits(&set, &[("a", "1")]));
    assert!(!fits(&set, &[]), "lost");
    assert!(!fits(&set, &[("a", "2")]), "a value that was never written");
}

#[test]
fn a_pending_write_is_there_or_not_and_nothing_between() {
    let start = contents(&[("a", "old")]);
    let calls = [pending(0, "SET a new")];
    assert!(check(&start, &calls, END, &read_out(&[("a", "old")])).is_ok());
    assert!(check(&start, &calls, END, &read_out(&[("a", "new")])).is_ok());
    assert!(check(&start, &calls, END, &read_out(&[("a", "nld")])).is_err());
    assert!(check(&start, &calls, END, &read_out(&[])).is_err());
}

#[test]
fn a_pending_write_happens_at_most_once() {
    let calls = [call((0, 1), "SET a 1", ok()), pending(2, "INCR a")];
    assert!(fits(&calls, &[("a", "1")]));
    assert!(fits(&calls, &[("a", "2")]));
    assert!(!fits(&calls, &[("a", "3")]));
}

#[test]
fn a_value_that_was_shown_is_durable() {
    let calls = [pending(0, "SET a 1"), call((1, 2), "GET a", bulk("1"))];
    assert!(fits(&calls, &[("a", "1")]));
    assert!(!fits(&calls, &[]), "a dirty read");
    let unseen = [pending(0, "SET a 1"), call((1, 2), "GET a", nil())];
    assert!(fits(&unseen, &[]));
    assert!(fits(&unseen, &[("a", "1")]));
}

#[test]
fn what_was_read_and_then_overwritten_needs_not_be_there() {
    let calls = [pending(0, "SET a 1"), call((1, 2), "GET a", bulk("1")), pending(3, "SET a 2")];
    assert!(fits(&calls, &[("a", "2")]));
    assert!(fits(&calls, &[("a", "1")]));
    assert!(!fits(&calls, &[]));
}

#[test]
fn a_read_is_not_stale() {
    let calls = [call((0, 1), "SET a 1", ok()), call((2, 3), "SET a 2", ok()), call((4, 5), "GET a", bulk("1"))];
    assert!(!fits(&calls, &[("a", "2")]));
    let at_once = [call((0, 1), "SET a 1", ok()), call((2, 5), "SET a 2", ok()), call((3, 4), "GET a", bulk("1"))];
    assert!(fits(&at_once, &[("a", "2")]));
}

#[test]
fn two_reads_in_a_row_do_not_go_back() {
    let reads = |first: &str, second: &str| {
        let calls = [
            call((0, 1), "SET a 1", ok()),
            call((2, 9), "SET a 2", ok()),
            call((3, 4), "GET a", bulk(first)),
            call((5, 6), "GET a", bulk(second)),
        ];
        fits(&calls, &[("a", "2")])
    };
    assert!(reads("1", "1") && reads("1", "2") && reads("2", "2"));
    assert!(!reads("2", "1"));
}

#[test]
fn who_was_answered_first_comes_first() {
    let calls = [call((0, 1), "SET a 1", ok()), call((2, 3), "SET a 2", ok())];
    assert!(fits(&calls, &[("a", "2")]));
    assert!(!fits(&calls, &[("a", "1")]));
    let at_once = [call((0, 3), "SET a 1", ok()), call((1, 2), "SET a 2", ok())];
    assert!(fits(&at_once, &[("a", "2")]) && fits(&at_once, &[("a", "1")]));
}

#[test]
fn no_update_is_lost() {
    let calls = |replies: [i64; 2]| [call((0, 3), "INCR a", int(replies[0])), call((1, 2), "INCR a", int(replies[1]))];
    assert!(fits(&calls([1, 2]), &[("a", "2")]) && fits(&calls([2, 1]), &[("a", "2")]));
    assert!(!fits(&calls([1, 1]), &[("a", "1")]));
    assert!(!fits(&calls([1, 2]), &[("a", "1")]));
}

#[test]
fn only_one_of_two_creates() {
    let calls =
        |replies: [i64; 2]| [call((0, 3), "SETNX a 1", int(replies[0])), call((1, 2), "SETNX a 2", int(replies[1]))];
    assert!(fits(&calls([1, 0]), &[("a", "1")]) && fits(&calls([0, 1]), &[("a", "2")]));
    assert!(!fits(&calls([1, 1]), &[("a", "1")]) && !fits(&calls([1, 0]), &[("a", "2")]));
}

#[test]
fn a_write_of_two_keys_is_whole() {
    let answered = [call((0, 1), "MSET a 1 b 1", ok())];
    assert!(fits(&answered, &[("a", "1"), ("b", "1")]));
    assert!(!fits(&answered, &[("a", "1")]));
    let open = [pending(0, "MSET a 1 b 1")];
    assert!(fits(&open, &[]) && fits(&open, &[("a", "1"), ("b", "1")]));
    assert!(!fits(&open, &[("a", "1")]) && !fits(&open, &[("b", "1")]));
}

#[test]
fn half_of_a_write_of_two_keys_is_never_seen() {
    let end = [("a", "1"), ("b", "1")];
    let seen = |a: Frame, b: Frame| {
        let calls = [call((0, 9), "MSET a 1 b 1", ok()), call((1, 2), "MGET a b", Frame::Array(vec![a, b]))];
        fits(&calls, &end)
    };
    assert!(seen(nil(), nil()) && seen(bulk("1"), bulk("1")));
    assert!(!seen(bulk("1"), nil()) && !seen(nil(), bulk("1")));
    let by_two_reads =
        [call((0, 9), "MSET a 1 b 1", ok()), call((1, 2), "GET a", bulk("1")), call((3, 4), "GET b", nil())];
    assert!(!fits(&by_two_reads, &end));
}

#[test]
fn keys_written_together_are_durable_together_when_one_was_shown() {
    let calls = [pending(0, "MSET a 1 b 1"), call((1, 2), "GET b", bulk("1"))];
    assert!(fits(&calls, &[("a", "1"), ("b", "1")]));
    assert!(!fits(&calls, &[]) && !fits(&calls, &[("b", "1")]));
}

#[test]
fn a_snapshot_of_two_keys_is_of_one_moment() {
    // Two writers, each of one key; somebody saw a before b.
    let mget = |a: Frame, b: Frame| {
        let calls = [
            call((0, 9), "SET a 1", ok()),
            call((0, 9), "SET b 1", ok()),
            call((1, 2), "GET a", bulk("1")),
            call((3, 4), "GET b", nil()),
            call((0, 9), "MGET a b", Frame::Array(vec![a, b])),
        ];
        fits(&calls, &[("a", "1"), ("b", "1")])
    };
    assert!(mget(bulk("1"), nil()));
    assert!(!mget(nil(), bulk("1")));
}

#[test]
fn deletion_is_for_good() {
    let start = contents(&[("a", "1")]);
    let calls = [call((0, 1), "DEL a", int(1))];
    assert!(check(&start, &calls, END, &read_out(&[])).is_ok());
    assert!(check(&start, &calls, END, &read_out(&[("a", "1")])).is_err());
    let shown = [pending(0, "DEL a"), call((1, 2), "GET a", nil())];
    assert!(check(&start, &shown, END, &read_out(&[])).is_ok());
    assert!(check(&start, &shown, END, &read_out(&[("a", "1")])).is_err(), "a deletion that was shown");
}

#[test]
fn what_did_not_happen_by_the_first_crash_never_does() {
    // Before the first crash: pending, and not in the read-out. So after it the store starts empty.
    let first = [pending(0, "SET a 1")];
    assert!(fits(&first, &[]));
    assert!(check(&Contents::new(), &[], END, &read_out(&[("a", "1")])).is_err(), "late");
    // An old value comes back at the second crash, though overwritten before it.
    let between = contents(&[("a", "1")]);
    let second = [call((0, 1), "SET a 2", ok())];
    assert!(check(&between, &second, END, &read_out(&[("a", "1")])).is_err());
    assert!(check(&between, &second, END, &read_out(&[("a", "2")])).is_ok());
}

#[test]
fn a_renamed_key_is_at_one_of_two_places() {
    let start = contents(&[("a", "1")]);
    for calls in [[pending(0, "RENAME a b")], [call((0, 1), "RENAME a b", ok())]] {
        let fits = |end: &[(&str, &str)]| check(&start, &calls, END, &read_out(end)).is_ok();
        assert!(fits(&[("b", "1")]));
        assert_eq!(fits(&[("a", "1")]), calls[0].reply.is_none());
        assert!(!fits(&[]) && !fits(&[("a", "1"), ("b", "1")]));
    }
}

#[test]
fn a_flush_leaves_only_what_came_after() {
    let start = contents(&[("a", "1"), ("b", "1")]);
    let calls = [call((0, 3), "FLUSHDB", ok()), call((1, 2), "SET a 2", ok())];
    let fits = |end: &[(&str, &str)]| check(&start, &calls, END, &read_out(end)).is_ok();
    assert!(fits(&[]) && fits(&[("a", "2")]));
    assert!(!fits(&[("a", "2"), ("b", "1")]) && !fits(&[("b", "1")]));
}

#[test]
fn calls_after_the_cut_count_for_nothing_and_their_replies_neither() {
    let calls = [call((0, 5), "SET a 1", ok()), call((6, 7), "SET a 2", ok())];
    let at = |position: usize, end: &[(&str, &str)]| check(&Contents::new(), &calls, position, &read_out(end)).is_ok();
    assert!(at(0, &[]) && !at(0, &[("a", "1")]));
    assert!(at(5, &[]) && at(5, &[("a", "1")]), "pending");
    assert!(!at(6, &[]) && at(6, &[("a", "1")]), "acknowledged");
    assert!(at(7, &[("a", "2")]) && at(7, &[("a", "1")]) && !at(8, &[("a", "1")]));
}

#[test]
fn pipelined_calls_keep_their_order() {
    let piped = |second: &str, reply: Frame| {
        let mut calls = vec![call((0, 9), "SET a 1", ok()), call((0, 9), second, reply)];
        calls[1].after = Some(0);
        calls
    };
    assert!(fits(&piped("SET a 2", ok()), &[("a", "2")]));
    assert!(!fits(&piped("SET a 2", ok()), &[("a", "1")]));
    assert!(!fits(&piped("GET a", nil()), &[("a", "1")]));
    assert!(fits(&piped("SET b 2", ok()), &[("a", "1"), ("b", "2")]));
}

#[test]
fn an_expired_key_that_was_missed_stays_away() {
    let dead = |at: u64| contents_until(&[("a", "1", at)]);
    let end = |contents: &Contents, now_ms| ReadOut { contents: contents.clone(), now_ms };
    let missed = [call_at(1_500, (0, 1), "GET a", nil())];
    // It had a deadline of 1,200 and was read at 1,500; the clock was set back to 1,100 for the recovery.
    assert!(check(&dead(1_200), &missed, END, &end(&Contents::new(), 1_100)).is_ok());
    assert!(check(&dead(1_200), &missed, END, &end(&dead(1_200), 1_100)).is_err(), "came back");
    assert!(check(&dead(1_600), &missed, END, &end(&dead(1_600), 1_100)).is_err(), "was not due");
    // Nobody noticed: then it may be there, until its time.
    assert!(check(&dead(1_200), &[], END, &end(&dead(1_200), 1_100)).is_ok());
    assert!(check(&dead(1_200), &[], END, &end(&Contents::new(), 1_100)).is_err(), "too early");
    assert!(check(&dead(1_200), &[], END, &end(&Contents::new(), 1_200)).is_ok());
    // A call at whose beginning the key was not due may have found it gone when it was answered, or alive.
    let slow = |reply: Frame| [Call { until_ms: 1_300, ..call_at(1_000, (0, 1), "GET a", reply) }];
    assert!(check(&dead(1_200), &slow(nil()), END, &end(&Contents::new(), 1_300)).is_ok());
    assert!(check(&dead(1_200), &slow(bulk("1")), END, &end(&Contents::new(), 1_300)).is_ok());
    assert!(check(&dead(1_301), &slow(nil()), END, &end(&Contents::new(), 1_301)).is_err());
    // One who came later with an older time does not find it either.
    let later = [missed[0].clone(), call_at(1_100, (2, 3), "PERSIST a", int(1))];
    assert!(check(&dead(1_200), &later, END, &end(&contents(&[("a", "1")]), 1_500)).is_err());
}

#[test]
fn a_key_that_a_call_did_not_look_at_may_stay() {
    let dead = contents_until(&[("b", "1", 1_200)]);
    let end = |contents: &Contents| ReadOut { contents: contents.clone(), now_ms: 1_100 };
    // There is no `a`, so nothing was said of `b`, which was due by then.
    let copy = [call_at(1_300, (0, 1), "COPY a b REPLACE", int(0))];
    assert!(check(&dead, &copy, END, &end(&dead)).is_ok());
    let shown = [call_at(1_300, (0, 1), "EXISTS a b", int(0))];
    assert!(check(&dead, &shown, END, &end(&dead)).is_err());
    let overwritten = [call_at(1_300, (0, 1), "SET b 2", ok())];
    assert!(check(&dead, &overwritten, END, &end(&dead)).is_err());
}

#[test]
fn keys_without_common_calls_are_checked_apart() {
    let mut calls: Vec<Call> = Vec::new();
    for key in ["a", "b", "c", "d"] {
        for i in 0..8 {
            calls.push(call((i, END - 1), &format!("SET {key} {i}"), ok()));
        }
    }
    // Together they would be 32 calls at once, in any order; apart each key is quick, and whichever was last is right.
    assert!(fits(&calls, &[("a", "3"), ("b", "6"), ("c", "0"), ("d", "7")]));
    assert!(!fits(&calls, &[("a", "3"), ("b", "8"), ("c", "0"), ("d", "7")]));
}

#[test]
fn a_refusal_names_the_keys_and_the_longest_order() {
    let calls = [call((0, 1), "SET a 1", ok()), call((2, 3), "GET a", nil()), call((0, 1), "SET b 1", ok())];
    let end = read_out(&[("a", "1"), ("b", "1")]);
    let refusal = check(&Contents::new(), &calls, END, &end).expect_err("a stale read");
    assert_eq!((refusal.keys.as_slice(), refusal.longest.as_slice()), (&[(0, b"a".to_vec())][..], &[0][..]));
    let text = refusal.describe(&Contents::new(), &calls, END, &end);
    assert!(text.contains("GET") && text.contains("$-1") && text.contains("db 0 b"), "{text}");
}

/// A hash of these fields, each with its deadline, at `a`.
fn hash(fields: &[(&str, &str, Option<u64>)]) -> Contents {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let values = fields.iter().map(|(field, value, _)| (bytes(field), bytes(value))).collect();
    let deadlines = fields.iter().filter_map(|(field, _, at)| Some((bytes(field), (*at)? as i64))).collect();
    let held = Held { fields: deadlines, ..Held::new(Value::Hash(values)) };
    [((0, bytes("a")), held)].into_iter().filter(|(_, held)| !held.is_gone()).collect()
}

#[test]
fn elements_written_at_once_are_all_there() {
    let calls = [call((0, 3), "HSET a f 1", int(1)), call((1, 2), "HSET a g 2", int(1)), pending(4, "HSET a f 3 h 3")];
    let fits = |fields: &[(&str, &str, Option<u64>)]| {
        check(&Contents::new(), &calls, END, &ReadOut { contents: hash(fields), now_ms: NOW }).is_ok()
    };
    assert!(fits(&[("f", "1", None), ("g", "2", None)]));
    assert!(fits(&[("f", "3", None), ("g", "2", None), ("h", "3", None)]));
    assert!(!fits(&[("f", "3", None), ("g", "2", None)]), "half of a command");
    assert!(!fits(&[("f", "1", None)]) && !fits(&[]), "lost");
    let pushed = [call((0, 3), "RPUSH a x", int(1)), call((1, 2), "RPUSH a y", int(2))];
    let list = |elements: &[&str]| -> Contents {
        let elements = elements.iter().map(|element| element.as_bytes().to_vec()).collect();
        [((0, b"a".to_vec()), Held::new(Value::List(elements)))].into()
    };
    let fits = |end: Contents| check(&Contents::new(), &pushed, END, &ReadOut { contents: end, now_ms: NOW }).is_ok();
    assert!(fits(list(&["x", "y"])) && !fits(list(&["y", "x"])) && !fits(list(&["x"])), "the replies tell the order");
}

#[test]
fn an_expired_field_that_was_missed_stays_away() {
    let dead = hash(&[("f", "1", Some(1_200)), ("g", "1", None)]);
    let left = hash(&[("g", "1", None)]);
    // The clock was set back for the recovery.
    let fits = |calls: &[Call], end: &Contents| {
        check(&dead, calls, END, &ReadOut { contents: end.clone(), now_ms: 1_100 }).is_ok()
    };
    let missed = [call_at(1_500, (0, 1), "HGET a f", nil())];
    assert!(fits(&missed, &left) && !fits(&missed, &dead));
    let counted = [call_at(1_500, (0, 1), "HLEN a", int(1))];
    assert!(fits(&counted, &left) && !fits(&counted, &dead));
    // Nobody looked at that field.
    let other = [call_at(1_500, (0, 1), "HGET a g", bulk("1"))];
    assert!(fits(&other, &left) && fits(&other, &dead));
    let early = [call_at(1_100, (0, 1), "HGET a f", nil())];
    assert!(!fits(&early, &left), "was not due");
}

#[test]
fn a_hash_goes_with_its_last_field() {
    let dead = hash(&[("f", "1", Some(1_200))]);
    let end = |contents: Contents, now_ms| ReadOut { contents, now_ms };
    let missed = [call_at(1_500, (0, 1), "EXISTS a", int(0))];
    assert!(check(&dead, &missed, END, &end(Contents::new(), 1_100)).is_ok());
    assert!(check(&dead, &missed, END, &end(dead.clone(), 1_100)).is_err());
    assert!(check(&dead, &[], END, &end(Contents::new(), 1_200)).is_ok());
    let renamed = [call_at(1_100, (0, 1), "RENAME a b", ok())];
    let moved: Contents = dead.values().map(|held| ((0, b"b".to_vec()), held.clone())).collect();
    assert!(check(&dead, &renamed, END, &end(moved, 1_100)).is_ok());
    assert!(check(&dead, &renamed, END, &end(Contents::new(), 1_100)).is_err());
}
