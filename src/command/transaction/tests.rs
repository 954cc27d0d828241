//! Transactions over one store: what is queued, what is refused, what WATCH notices.

use crate::command::Direct;
use crate::command::testing::{Reply, TestClient, split};
use crate::store::Worker;
use bytes::BytesMut;

/// Another connection to a client's store.
struct Other {
    direct: Direct,
    worker: Worker,
}

impl Other {
    fn new(client: &TestClient) -> Self {
        Self { direct: Direct::new(client.clock.clone()), worker: client.store.worker() }
    }

    fn run(&mut self, client: &TestClient, line: &str) -> Reply {
        let mut out = BytesMut::new();
        self.direct.run(&client.store, &mut self.worker, &[split(line)], &mut out);
        Reply::decode(&out).0
    }
}

fn queued() -> Reply {
    Reply::Simple("QUEUED".into())
}

/// Queues requests and runs them.
fn transaction(client: &mut TestClient, lines: &[&str]) -> Reply {
    assert_eq!(client.run("MULTI"), Reply::ok());
    for line in lines {
        assert_eq!(client.run(line), queued(), "{line}");
    }
    client.run("EXEC")
}

#[test]
fn queued_commands_run_when_exec_comes_and_each_sees_those_before() {
    let mut client = TestClient::new();
    let other = &mut Other::new(&client);
    client.run("SET n 1");
    client.run("MULTI");
    assert_eq!(client.run("INCR n"), queued());
    assert_eq!(client.run("GET n"), queued());
    assert_eq!(other.run(&client, "GET n"), Reply::bulk("1"));
    assert_eq!(client.run("EXEC"), Reply::Array(vec![Reply::Integer(2), Reply::bulk("2")]));
    let replies =
        transaction(&mut client, &["SET a 1", "APPEND a 2", "RENAME a b", "GET b", "EXISTS a", "DBSIZE", "KEYS *"]);
    let Reply::Array(replies) = replies else { panic!("{replies:?}") };
    assert_eq!(replies[3..6], [Reply::bulk("12"), Reply::Integer(0), Reply::Integer(2)]);
    assert_eq!(transaction(&mut client, &[]), Reply::Array(vec![]));
    assert_eq!(other.run(&client, "MGET n b"), Reply::bulks(["2", "12"]));
    client.store.check_books().expect("counted");
}

#[test]
fn a_transaction_in_another_database_leaves_the_session_there() {
    let mut client = TestClient::new();
    let replies = transaction(&mut client, &["SET a 0", "SELECT 3", "SET a 3", "MOVE a 4", "SELECT 4", "GET a"]);
    let Reply::Array(replies) = replies else { panic!("{replies:?}") };
    assert_eq!(replies[5], Reply::bulk("3"));
    assert_eq!(
        (client.run("GET a"), client.run("SELECT 0"), client.run("GET a")),
        (Reply::bulk("3"), Reply::ok(), Reply::bulk("0"))
    );
}

/// A type of value each, changed more than once and looked at in between; and what the pool holds of it.
#[test]
fn collections_change_within_a_transaction() {
    let mut client = TestClient::new();
    client.run("HSET h a 1");
    client.run("RPUSH l x");
    let lines = [
        "HSET h b 2",
        "HDEL h a",
        "HGETALL h",
        "LPUSH l w",
        "RPOP l",
        "LRANGE l 0 -1",
        "SADD s 1 2",
        "DEL s",
        "ZADD z 1 m",
    ];
    let Reply::Array(replies) = transaction(&mut client, &lines) else { panic!() };
    assert_eq!(replies[2], Reply::bulks(["b", "2"]));
    assert_eq!(replies[5], Reply::bulks(["w"]));
    client.store.reload().expect("reloads");
    client.store.check_books().expect("counted");
    assert_eq!(client.run("HGETALL h"), Reply::bulks(["b", "2"]));
    assert_eq!((client.run("EXISTS s"), client.run("ZSCORE z m")), (Reply::Integer(0), Reply::bulk("1")));
}

#[test]
fn whole_databases_are_part_of_a_transaction() {
    let mut client = TestClient::new();
    client.run("SET a 0");
    let lines = ["SET b 1", "FLUSHDB", "SET c 2", "DBSIZE", "SWAPDB 0 1", "SET d 3", "FLUSHALL", "SET e 4"];
    let Reply::Array(replies) = transaction(&mut client, &lines) else { panic!() };
    assert_eq!(replies[3], Reply::Integer(1));
    client.store.reload().expect("reloads");
    client.store.check_books().expect("counted");
    assert_eq!(
        (client.run("KEYS *"), client.run("SELECT 1"), client.run("DBSIZE")),
        (Reply::bulks(["e"]), Reply::ok(), Reply::Integer(0))
    );
    assert_eq!(client.store.pool().superblock().map_generation, 3);
}

#[test]
fn what_cannot_be_part_of_a_transaction_is_not_queued() {
    let mut client = TestClient::new();
    client.run("SET a 1");
    for line in ["SAVE", "DEBUG RELOAD", "debug reload nosave", "DEBUG LOADAOF"] {
        client.run("MULTI");
        assert_eq!(client.run(line), Reply::error("ERR Command not allowed inside a transaction"), "{line}");
        assert!(client.run("EXEC").text().starts_with("EXECABORT "));
    }
    let lines = ["DEBUG SET-ACTIVE-EXPIRE 1", "DEBUG STRINGMATCH-LEN 3 a*"];
    assert_eq!(transaction(&mut client, &lines), Reply::Array(vec![Reply::ok(), Reply::Integer(1)]));
    assert_eq!(client.run("DEBUG RELOAD"), Reply::ok());
}

#[test]
fn what_is_refused_when_queued_keeps_all_from_running() {
    let mut client = TestClient::new();
    for line in ["NOSUCH x", "GET", "CLIENT NOSUCH"] {
        client.run("MULTI");
        assert_eq!(client.run("SET a 1"), queued());
        assert!(matches!(client.run(line), Reply::Error(_)));
        assert_eq!(client.run("SET b 1"), queued());
        let text = "EXECABORT Transaction discarded because of previous errors.";
        assert_eq!(client.run("EXEC"), Reply::error(text));
        assert_eq!(client.run("DBSIZE"), Reply::Integer(0));
    }
    client.run(&format!("SET filler {}", "x".repeat(3000)));
    client.run("CONFIG SET maxmemory 1");
    client.run("MULTI");
    assert!(matches!(client.run("SET a 1"), Reply::Error(text) if text.starts_with("OOM ")));
    assert!(matches!(client.run("EXEC"), Reply::Error(text) if text.starts_with("EXECABORT ")));
    client.run("CONFIG SET maxmemory 0");
    client.run("MULTI");
    client.run("SET a 1");
    client.run("SET b 1");
    client.direct.shared.settings.set(&[(&b"maxmemory"[..], &b"1"[..])]).expect("set");
    let text = "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(client.run("EXEC"), Reply::error(text));
    assert_eq!(client.run("EXEC"), Reply::error("ERR EXEC without MULTI"));
}

#[test]
fn what_fails_while_running_stops_nothing() {
    let mut client = TestClient::new();
    client.run("SET text x");
    let Reply::Array(replies) = transaction(&mut client, &["SET a 1", "INCR text", "SET b 2", "SETRANGE a -1 x"])
    else {
        panic!()
    };
    assert_eq!(replies[0], Reply::ok());
    assert_eq!(replies[1], Reply::error("ERR value is not an integer or out of range"));
    assert_eq!(replies[2], Reply::ok());
    assert!(matches!(replies[3], Reply::Error(_)));
    assert_eq!(client.run("MGET a b text"), Reply::bulks(["1", "2", "x"]));
}

#[test]
fn multi_does_not_nest_and_watch_is_not_for_inside() {
    let mut client = TestClient::new();
    assert_eq!(client.run("EXEC"), Reply::error("ERR EXEC without MULTI"));
    assert_eq!(client.run("DISCARD"), Reply::error("ERR DISCARD without MULTI"));
    client.run("MULTI");
    assert_eq!(client.run("MULTI"), Reply::error("ERR MULTI calls can not be nested"));
    assert_eq!(client.run("WATCH a"), Reply::error("ERR WATCH inside MULTI is not allowed"));
    assert_eq!(client.run("UNWATCH"), queued());
    assert_eq!(client.run("SET a 1"), queued());
    assert_eq!(client.run("EXEC"), Reply::Array(vec![Reply::ok(), Reply::ok()]));
    client.run("MULTI");
    client.run("SET a 2");
    assert_eq!(client.run("DISCARD"), Reply::ok());
    assert_eq!(client.run("GET a"), Reply::bulk("1"));
    client.run("MULTI");
    client.run("SET a 2");
    assert_eq!(client.run("RESET"), Reply::Simple("RESET".into()));
    assert_eq!(client.run("GET a"), Reply::bulk("1"));
}

#[test]
fn client_list_shows_what_is_queued() {
    let mut client = TestClient::new();
    let shows = |client: &mut TestClient, text: &str| {
        let line = String::from_utf8(client.direct.session.client.describe(0)).expect("text");
        assert!(line.contains(text), "{text} in {line}");
    };
    shows(&mut client, " multi=-1 ");
    client.run("MULTI");
    shows(&mut client, " flags=x ");
    shows(&mut client, " multi=0 ");
    client.run("PING");
    shows(&mut client, " multi=1 ");
    client.run("DISCARD");
    shows(&mut client, " multi=-1 ");
    shows(&mut client, " multi-mem=0 ");
    client.run("WATCH a");
    client.run("SET a 1");
    shows(&mut client, " flags=d ");
    client.run("UNWATCH");
    shows(&mut client, " flags=N ");
}

/// After WATCH of `k`, `change` runs on another connection; whether EXEC runs then.
fn runs_after(client: &mut TestClient, watch: &str, change: &[&str]) -> bool {
    let mut other = Other::new(client);
    assert_eq!(client.run(watch), Reply::ok());
    for line in change {
        match line.strip_prefix("TICK ") {
            Some(by_ms) => client.clock.advance(by_ms.parse().expect("milliseconds")),
            None => drop(other.run(client, line)),
        }
    }
    transaction(client, &["PING"]) != Reply::Null
}

#[test]
fn exec_does_not_run_when_a_watched_key_has_changed() {
    let mut client = TestClient::new();
    for change in [
        "SET k 1",
        "APPEND k x",
        "EXPIRE k 100",
        "RENAME k other",
        "RENAME other k",
        "DEL k",
        "MSET a 1 k 2",
        "FLUSHALL",
    ] {
        assert!(!runs_after(&mut client, "WATCH a2 k", &[change]), "{change}");
        // WATCH is for one EXEC.
        assert_eq!(transaction(&mut client, &["PING"]), Reply::Array(vec![Reply::Simple("PONG".into())]));
    }
    for no_change in ["SET other 1", "DEL k", "GET k", "EXPIRE k 100", "SELECT 1", "FLUSHDB", "SET k2 1"] {
        assert!(runs_after(&mut client, "WATCH k", &[no_change]), "{no_change}");
    }
    // The same name elsewhere is another key.
    assert!(runs_after(&mut client, "WATCH k", &["SELECT 1", "SET k 1"]));
    // One's own change counts.
    client.run("WATCH k");
    client.run("SET k 1");
    assert_eq!(transaction(&mut client, &["PING"]), Reply::Null);
    for forget in ["UNWATCH", "DISCARD", "RESET"] {
        client.run("WATCH k");
        client.run("SET k 1");
        client.run("MULTI");
        client.run("DISCARD");
        if forget != "DISCARD" {
            client.run("WATCH k");
            client.run("SET k 1");
            client.run(forget);
        }
        assert_ne!(transaction(&mut client, &["PING"]), Reply::Null, "{forget}");
    }
}

#[test]
fn a_watched_key_that_expires_has_changed_unless_it_had_before() {
    let mut client = TestClient::new();
    client.run("SET k 1 PX 10");
    assert!(!runs_after(&mut client, "WATCH k", &["TICK 20"]), "expired, but not removed");
    client.run("SET k 1 PX 10");
    assert!(!runs_after(&mut client, "WATCH k", &["TICK 20", "GET k"]), "expired and removed");
    client.run("SET k 1 PX 10");
    client.clock.advance(20);
    assert!(runs_after(&mut client, "WATCH k", &[]), "it had expired before");
    assert!(runs_after(&mut client, "WATCH k", &["GET k"]), "it is removed now");
    client.run("SET k 1 PX 10");
    client.clock.advance(20);
    assert!(!runs_after(&mut client, "WATCH k", &["SET k 2"]), "it is there again");
}

#[test]
fn whole_databases_touch_only_the_watched_keys_that_they_have() {
    let mut client = TestClient::new();
    client.run("SET there 1");
    assert!(runs_after(&mut client, "WATCH absent", &["FLUSHDB"]));
    client.run("SET there 1");
    assert!(!runs_after(&mut client, "WATCH there", &["FLUSHDB"]));
    client.run("SET there 1");
    assert!(!runs_after(&mut client, "WATCH there", &["SWAPDB 0 1"]), "it is gone");
    assert!(!runs_after(&mut client, "WATCH there", &["SWAPDB 0 1"]), "it has come");
    assert!(runs_after(&mut client, "WATCH absent", &["SWAPDB 0 1"]));
    client.run("FLUSHALL");
    client.run("SET k 1 PX 10");
    client.clock.advance(20);
    assert!(runs_after(&mut client, "WATCH k", &["FLUSHDB"]), "it had expired before");
    client.run("SET k 1 PX 10");
    client.clock.advance(20);
    client.run("SWAPDB 0 1");
    assert!(runs_after(&mut client, "WATCH k", &["SWAPDB 0 1"]), "what has come had expired");
    client.run("SWAPDB 0 1");
    assert!(runs_after(&mut client, "WATCH k", &["SWAPDB 0 1", "EXISTS k"]), "it is removed now");
    assert!(!runs_after(&mut client, "WATCH k", &["SWAPDB 0 1", "SET k 1"]));
}

#[test]
fn time_stands_still_within_a_transaction() {
    let mut client = TestClient::new();
    client.run("SET k 1 PX 1");
    let Reply::Array(replies) = transaction(&mut client, &["TIME", "PTTL k", "GET k", "PERSIST k"]) else { panic!() };
    assert_eq!(replies[1..], [Reply::Integer(1), Reply::bulk("1"), Reply::Integer(1)]);
}

#[test]
fn replies_are_in_the_protocol_of_the_moment() {
    let mut client = TestClient::resp3();
    assert_eq!(client.run_raw(&["MULTI"]), b"+OK\r\n");
    client.run("GET absent");
    client.run("CONFIG GET maxmemory");
    assert_eq!(client.run_raw(&["EXEC"]), b"*2\r\n_\r\n%1\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n");
    client.run("WATCH k");
    client.run("SET k 1");
    client.run("MULTI");
    assert_eq!(client.run_raw(&["EXEC"]), b"_\r\n");
}

/// A full pool: nothing is written, or all that finds room.
#[test]
fn a_transaction_in_a_full_pool_waits_for_room_before_it_writes_anything() {
    let mut client = TestClient::new();
    let value = "x".repeat(60_000);
    let mut filled = 0;
    while client.run(&format!("SET filler:{filled} {value}")) == Reply::ok() {
        filled += 1;
    }
    let Reply::Array(replies) =
        transaction(&mut client, &[&format!("SET a {value}"), &format!("SET b {value}"), "DEL filler:0"])
    else {
        panic!()
    };
    assert!(matches!(&replies[0], Reply::Error(text) if text.starts_with("OOM ")), "{replies:?}");
    assert_eq!(replies[2], Reply::Integer(1));
    for i in 1..filled {
        client.run(&format!("DEL filler:{i}"));
    }
    assert_eq!(
        transaction(&mut client, &[&format!("SET a {value}"), "SET b 1"]),
        Reply::Array(vec![Reply::ok(), Reply::ok()])
    );
    client.store.check_books().expect("counted");
}
