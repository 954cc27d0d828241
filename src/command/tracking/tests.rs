//! What is remembered and who is told. That no change is missed is tested over sockets, in `tests/tracking.rs`.

use super::*;
use crate::command::testing::{Reply, TestClient};

/// A client of RESP3 that tracks.
fn tracking(options: &str) -> TestClient {
    let mut client = TestClient::resp3();
    client.run("HELLO 3");
    assert_eq!(client.run(&format!("CLIENT TRACKING ON {options}")), Reply::ok());
    client
}

/// Runs it, and gives what the client was told behind the reply: keys, or `*` for all.
fn told(client: &mut TestClient, line: &str) -> Vec<String> {
    client.run(line);
    pushes(client)
}

fn pushes(client: &mut TestClient) -> Vec<String> {
    let key = |push: &Reply| {
        let items = push.items();
        assert_eq!(items[0].text(), "invalidate");
        if items[1] == Reply::Null { "*".to_owned() } else { items[1].items()[0].text() }
    };
    client.take_pushes().iter().map(key).collect()
}

/// What another client's write of `key` has posted.
fn after_other_wrote(client: &mut TestClient, key: &[u8]) -> Vec<String> {
    let mut worker = client.store.worker();
    worker.client = 99;
    let (guard, now_ms) = (crossbeam_epoch::pin(), client.clock.now_ms());
    let key = crate::store::Key { db: 0, name: key };
    let mut txn = client.store.write(&mut worker, &[key], now_ms, &guard);
    txn.set_inline(key, b"other", None).expect("staged");
    txn.commit().expect("room");
    client.store.close_worker(&mut worker);
    pushes(client)
}

fn total_keys(client: &TestClient) -> usize {
    client.direct.shared.tracking.figures().keys
}

#[test]
fn a_key_that_was_read_is_told_of_once_when_it_changes() {
    let mut client = tracking("");
    for line in ["GET k", "MGET k l", "EXISTS m", "STRLEN n"] {
        client.run(line);
    }
    assert_eq!(total_keys(&client), 4);
    assert_eq!(after_other_wrote(&mut client, b"k"), ["k"]);
    assert_eq!(after_other_wrote(&mut client, b"k"), [""; 0]);
    assert_eq!(told(&mut client, "MSET l 1 unread 1 m 2"), ["l", "m"]);
    assert_eq!(told(&mut client, "SET k 1"), [""; 0], "a write is no read");
    client.run("GET k");
    assert_eq!(told(&mut client, "PEXPIRE k 10"), ["k"]);
    client.run("GET k");
    client.clock.advance(20);
    client.store.expire_cycle(client.clock.now_ms(), std::time::Duration::from_secs(1));
    assert_eq!(pushes(&mut client), ["k"]);
    client.run("GET k");
    assert_eq!(told(&mut client, "FLUSHDB"), ["*"]);
    assert_eq!(total_keys(&client), 0);
}

#[test]
fn what_was_read_before_prefixes_were_followed_is_told_of_once() {
    let mut client = tracking("");
    client.run("GET k");
    // Another one tracks on, so that what is remembered stays.
    let connect = || client.direct.shared.clients.connect(String::new(), String::new(), -1, 0);
    let [_of_this_client, other] = [connect(), connect()];
    let tracking = Arc::clone(&client.direct.shared.tracking);
    tracking.start(&client.store, &other, None, Options::default(), &BTreeSet::new(), false);
    client.run("CLIENT TRACKING OFF");
    client.run("CLIENT TRACKING ON BCAST");
    assert_eq!(total_keys(&client), 1);
    assert_eq!(told(&mut client, "SET k 1"), ["k"]);
    tracking.stop(&other, &BTreeSet::new());
}

#[test]
fn modes_say_which_keys_are_remembered() {
    let mut client = tracking("OPTIN");
    client.run("GET k");
    assert_eq!(total_keys(&client), 0);
    client.run("CLIENT CACHING YES");
    client.run("GET k");
    client.run("GET l");
    assert_eq!(total_keys(&client), 1);
    let mut client = tracking("OPTOUT");
    client.run("CLIENT CACHING NO");
    client.run("GET k");
    client.run("GET l");
    assert_eq!(after_other_wrote(&mut client, b"k"), [""; 0]);
    assert_eq!(after_other_wrote(&mut client, b"l"), ["l"]);
    let mut client = tracking("NOLOOP");
    client.run("GET k");
    assert_eq!(told(&mut client, "SET k 1"), [""; 0]);
    client.run("GET k");
    assert_eq!(after_other_wrote(&mut client, b"k"), ["k"]);
    let mut client = tracking("BCAST PREFIX a PREFIX b");
    assert_eq!(told(&mut client, "MSET a1 1 b2 1 c3 1"), ["a1", "b2"]);
    assert_eq!(total_keys(&client), 0);
}

/// An eviction is nobody's doing, whoever's command has brought it about.
#[test]
fn a_client_with_noloop_is_told_of_keys_that_its_command_has_evicted() {
    let mut client = tracking("NOLOOP");
    client.run("CONFIG SET maxmemory-policy allkeys-random maxmemory 100kb");
    let mut told_of = 0;
    for i in 0..400 {
        client.run(&format!("GET key:{i}"));
        told_of += told(&mut client, &format!("SET key:{i} {}", "x".repeat(1000))).len();
        client.run(&format!("GET key:{i}"));
    }
    let evicted = client.direct.shared.stats.worker(0).evicted_keys.get();
    assert!(evicted > 100 && told_of as u64 == evicted, "{told_of} of {evicted}");
    let value = "x".repeat(1000);
    let replies: Vec<_> = (0..20).map(|i| client.run_raw(&["SET", &format!("more:{i}"), &value])).collect();
    assert!(replies.iter().all(|reply| reply.ends_with(b"+OK\r\n")), "before the reply of the command");
    assert!(replies.iter().any(|reply| reply.starts_with(b">")));
}

#[test]
fn no_more_keys_are_remembered_than_may_be() {
    let mut client = tracking("");
    client.run("CONFIG SET tracking-table-max-keys 10");
    let mut told_of = 0;
    for i in 0..100 {
        told_of += told(&mut client, &format!("GET key:{i}")).len();
        assert!(total_keys(&client) <= 10);
    }
    assert_eq!(told_of, 90);
    client.run("CONFIG SET tracking-table-max-keys 3");
    assert_eq!(client.direct.shared.tracking.figures().items, 3);
}

#[test]
fn a_client_that_tracks_no_more_costs_nothing() {
    for end in ["CLIENT TRACKING OFF", "RESET"] {
        let mut client = tracking("");
        client.run("GET k");
        assert!(client.store.changes().is_watched());
        client.run(end);
        assert!(!client.store.changes().is_watched());
        let nothing = TrackingFigures { clients: 0, keys: 0, items: 0, prefixes: 0 };
        assert_eq!(client.direct.shared.tracking.figures(), nothing);
    }
}

/// A command's keys as the table tells them, whatever the client sends.
#[test]
fn keys_are_found_in_any_request() {
    let at = |keys, words: &[&str]| {
        let (mut buf, mut spans) = (Vec::new(), crate::protocol::ArgSpans::new());
        for word in words {
            spans.push(buf.len() as u32, word.len() as u32);
            buf.extend_from_slice(word.as_bytes());
        }
        positions(keys, spans.args(&buf)).collect::<Vec<_>>()
    };
    assert_eq!(at(KeySpec::one(1), &["get", "a"]), [1]);
    assert_eq!(at(KeySpec::all_from(1), &["mget", "a", "b", "c"]), [1, 2, 3]);
    assert_eq!(at(KeySpec::pairs_from(1), &["mset", "a", "1", "b", "2"]), [1, 3]);
    assert_eq!(at(KeySpec::Counted { at: 1 }, &["zinter", "2", "a", "b", "withscores"]), [2, 3]);
    for count in ["9", "-1", "18446744073709551615", "x"] {
        assert!(at(KeySpec::Counted { at: 1 }, &["zinter", count, "a"]).iter().all(|at| *at < 3));
    }
    assert!(at(KeySpec::None, &["ping"]).is_empty());
}
