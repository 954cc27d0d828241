//! Waiting for keys, several sessions over one store and no connections: a command that waits leaves its waiter with the session.

use super::*;
use crate::command::testing::{Reply, TestClient, split};
use crate::store::Worker;

/// Sessions of their own, on threads' workers of their own.
struct Scene {
    client: TestClient,
    sessions: Vec<(Session, Worker)>,
}

impl Scene {
    fn new(sessions: u64) -> Self {
        let client = TestClient::new();
        let shared = &client.direct.shared;
        let make = |_| {
            let session = Session::new(shared.clients.connect(String::new(), String::new(), -1, 0), true);
            (session, client.store.worker())
        };
        let sessions = (0..sessions).map(make).collect();
        Self { client, sessions }
    }

    /// Runs a request as one of the sessions. What it answers, or the waiter that it has become.
    fn run(&mut self, number: usize, line: &str) -> Result<String, Arc<Waiter>> {
        let (session, worker) = &mut self.sessions[number];
        std::mem::swap(&mut self.client.direct.session, session);
        let mut out = BytesMut::new();
        self.client.direct.run(&self.client.store, worker, &[split(line)], &mut out);
        std::mem::swap(&mut self.client.direct.session, session);
        match std::mem::take(&mut self.client.direct.after) {
            After::Block(waiter) => {
                assert!(out.is_empty(), "{line} has answered");
                Err(waiter)
            }
            _ => Ok(text(&out)),
        }
    }

    /// The reply of a request that does not wait.
    fn ask(&mut self, number: usize, line: &str) -> String {
        self.run(number, line).unwrap_or_else(|_| panic!("{line} waits"))
    }

    /// A request that waits.
    fn wait(&mut self, number: usize, line: &str) -> Arc<Waiter> {
        match self.run(number, line) {
            Ok(reply) => panic!("{line} has answered {reply}"),
            Err(waiter) => waiter,
        }
    }

    fn blocking(&self) -> &Blocking {
        &self.client.direct.shared.blocking
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        assert!(self.blocking().turn().is_empty() || std::thread::panicking(), "somebody waits still");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", " ").trim_end().to_owned()
}

/// The reply that was left for a waiter.
fn answer(waiter: &Waiter) -> Option<String> {
    waiter.take_answer().map(|answer| match answer {
        Answer::Reply(bytes) => text(&bytes),
        Answer::RunAgain => "again".to_owned(),
    })
}

fn got(key: &str, value: &str) -> Option<String> {
    Some(format!("*2 ${} {key} ${} {value}", key.len(), value.len()))
}

#[test]
fn what_is_there_is_taken_at_once() {
    let mut scene = Scene::new(1);
    scene.ask(0, "RPUSH l a b c d e");
    assert_eq!(Some(scene.ask(0, "BLPOP none l 0")), got("l", "a"));
    assert_eq!(Some(scene.ask(0, "BRPOP l 0")), got("l", "e"));
    assert_eq!(scene.ask(0, "BLMOVE l m LEFT RIGHT 0"), "$1 b");
    assert_eq!(scene.ask(0, "BRPOPLPUSH l m 0"), "$1 d");
    assert_eq!(scene.ask(0, "BLMPOP 0 2 none l LEFT COUNT 9"), "*2 $1 l *1 $1 c");
    assert_eq!(scene.ask(0, "LRANGE m 0 -1"), "*2 $1 d $1 b");
}

#[test]
fn a_command_that_waits_is_entered_in_the_slow_log_once_it_is_served() {
    let mut scene = Scene::new(2);
    scene.ask(1, "CONFIG SET slowlog-log-slower-than 0");
    let waiter = scene.wait(0, "BLPOP l 0");
    assert_eq!(scene.ask(1, "SLOWLOG GET -1").matches("BLPOP").count(), 0);
    scene.ask(1, "RPUSH l a");
    assert_eq!(answer(&waiter), got("l", "a"));
    assert_eq!(scene.ask(1, "SLOWLOG GET -1").matches("BLPOP").count(), 1);
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let mut scene = Scene::new(4);
    let first = scene.wait(0, "BLPOP l 0");
    let second = scene.wait(1, "BRPOP other l 0");
    let third = scene.wait(2, "BLPOP l 0");
    assert_eq!(scene.blocking().clients(), 3);
    assert_eq!(scene.blocking().keys(), 2);
    assert_eq!(scene.ask(3, "RPUSH l a b"), ":2");
    assert_eq!(answer(&first), got("l", "a"));
    assert_eq!(answer(&second), got("l", "b"));
    assert_eq!(answer(&third), None);
    assert_eq!(scene.ask(3, "EXISTS l"), ":0");
    scene.ask(3, "RPUSH l c d");
    assert_eq!(answer(&third), got("l", "c"));
    assert_eq!(scene.ask(3, "LRANGE l 0 -1"), "*1 $1 d");
    assert_eq!(scene.blocking().clients(), 0);
    assert!(!scene.client.store.changes().is_watched());
}

/// One that comes later does not get in before one that waits, even if nobody has been served yet of what has just been pushed.
#[test]
fn a_newcomer_queues_behind_those_who_wait() {
    let mut scene = Scene::new(3);
    let first = scene.wait(0, "BLPOP l 0");
    // As another thread leaves it between its commit and its serving.
    scene.client.with_ctx(|ctx| {
        let key = Key { db: 0, name: b"l" };
        let mut txn = ctx.txn(&[b"l"]);
        let mut edit = txn.list(key).expect("absent");
        edit.push(crate::store::End::Right, b"a").expect("room");
        edit.finish().expect("staged");
        txn.commit().expect("room");
    });
    let second = scene.wait(1, "BLPOP l 0");
    assert_eq!(answer(&first), got("l", "a"));
    assert_eq!(answer(&second), None);
    scene.ask(2, "RPUSH l b");
    assert_eq!(answer(&second), got("l", "b"));
}

#[test]
fn a_chain_of_moves_is_followed_to_its_end() {
    let mut scene = Scene::new(4);
    let last = scene.wait(2, "BLPOP c 0");
    let second = scene.wait(1, "BRPOPLPUSH b c 0");
    let first = scene.wait(0, "BLMOVE a b LEFT LEFT 0");
    assert_eq!(scene.ask(3, "RPUSH a x y"), ":2");
    assert_eq!(answer(&first).as_deref(), Some("$1 x"));
    assert_eq!(answer(&second).as_deref(), Some("$1 x"));
    assert_eq!(answer(&last), got("c", "x"));
    assert_eq!(scene.ask(3, "EXISTS a b c"), ":1");
}

#[test]
fn every_way_in_which_a_list_may_come_serves_those_who_wait() {
    for line in [
        "LPUSH l x",
        "RENAME from l",
        "RENAMENX from l",
        "COPY from l",
        "SORT from ALPHA STORE l",
        "LMOVE from l LEFT LEFT",
        "RPOPLPUSH from l",
        "SWAPDB 0 1",
        "MOVE l 0",
    ] {
        let mut scene = Scene::new(2);
        let waiter = scene.wait(0, "BLPOP l 0");
        if line.starts_with("SWAPDB") || line.starts_with("MOVE") {
            scene.ask(1, "SELECT 1");
            scene.ask(1, "RPUSH l x");
        }
        scene.ask(1, "RPUSH from x");
        assert_eq!(answer(&waiter), None, "{line}");
        let reply = scene.ask(1, line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        assert_eq!(answer(&waiter), got("l", "x"), "{line}");
    }
}

#[test]
fn other_types_serve_nobody_and_are_told_only_to_newcomers() {
    let mut scene = Scene::new(3);
    let waiter = scene.wait(0, "BLPOP s l 0");
    scene.ask(1, "SET s text");
    assert_eq!(answer(&waiter), None);
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(scene.ask(1, "BLPOP s 0"), wrong);
    assert_eq!(scene.ask(1, "BLMOVE s l LEFT LEFT 0"), wrong);
    // The whole command runs, as in Redis 7.2.
    scene.ask(1, "RPUSH l a");
    assert_eq!(answer(&waiter).as_deref(), Some(wrong));
    scene.ask(1, "DEL l");
    let waiter = scene.wait(0, "BLMOVE l s LEFT LEFT 0");
    assert_eq!(scene.ask(1, "RPUSH l a"), ":1");
    assert_eq!(answer(&waiter).as_deref(), Some(wrong));
    assert_eq!(scene.ask(1, "LRANGE l 0 -1"), "*1 $1 a");
}

#[test]
fn one_that_has_given_up_takes_nothing() {
    let mut scene = Scene::new(2);
    for error in [false, true] {
        let waiter = scene.wait(0, "BLPOP l 0");
        let id = scene.sessions[0].0.id;
        let request = format!("CLIENT UNBLOCK {id} {}", if error { "error" } else { "TIMEOUT" });
        assert_eq!(scene.ask(1, &request), ":1");
        assert_eq!(scene.ask(1, &request), ":0");
        let expected = if error { "-UNBLOCKED client unblocked via CLIENT UNBLOCK" } else { "*-1" };
        assert_eq!(answer(&waiter).as_deref(), Some(expected));
        scene.ask(1, "RPUSH l a");
        assert_eq!(answer(&waiter), None);
        assert_eq!(scene.ask(1, "LPOP l"), "$1 a");
    }
    let waiter = scene.wait(0, "BLPOP l 0");
    scene.blocking().leave(&waiter);
    assert!(!waiter.end(|reply| reply.null()));
    assert_eq!((scene.blocking().clients(), scene.blocking().keys()), (0, 0));
    scene.ask(1, "RPUSH l a");
    assert_eq!(scene.ask(1, "LLEN l"), ":1");
}

#[test]
fn replies_are_in_the_waiters_protocol_and_from_its_database() {
    let mut scene = Scene::new(2);
    scene.sessions[0].0.protocol = Protocol::Resp3;
    scene.ask(0, "SELECT 3");
    let waiter = scene.wait(0, "BLPOP l l 0.5");
    assert_eq!(waiter.timeout, Some(Duration::from_millis(500)));
    scene.ask(1, "RPUSH l a");
    assert_eq!(answer(&waiter), None);
    assert!(waiter.end(|reply| reply.null_array()));
    assert_eq!(answer(&waiter).as_deref(), Some("_"));
    scene.blocking().leave(&waiter);
}

#[test]
fn where_it_may_not_wait_a_command_says_that_there_is_nothing() {
    let mut scene = Scene::new(2);
    scene.ask(0, "MULTI");
    for line in [
        "BLPOP l 0",
        "BLMPOP 0 1 l LEFT",
        "BLMOVE l m LEFT LEFT 0",
        "BRPOPLPUSH l m 0",
        "BZPOPMIN z 0",
        "BZMPOP 0 1 z MIN",
    ] {
        assert_eq!(scene.ask(0, line), "+QUEUED");
    }
    assert_eq!(scene.ask(0, "EXEC"), "*6 *-1 *-1 $-1 $-1 *-1 *-1");
    // Those who wait are served when all of it is over.
    let waiter = scene.wait(1, "BLPOP l 0");
    for line in ["MULTI", "RPUSH l a b", "LPOP l", "RPUSH l c"] {
        scene.ask(0, line);
    }
    assert_eq!(answer(&waiter), None);
    assert_eq!(scene.ask(0, "EXEC"), "*3 :2 $1 a :2");
    assert_eq!(answer(&waiter), got("l", "b"));
    let waiter = scene.wait(1, "BLPOP m 0");
    for line in ["MULTI", "RPUSH m a", "LPOP m", "INFO clients", "CLIENT UNBLOCK 12345"] {
        scene.ask(0, line);
    }
    scene.ask(0, "EXEC");
    assert_eq!(answer(&waiter), None);
    scene.blocking().leave(&waiter);
}

#[test]
fn sorted_sets_are_waited_for_as_lists_are() {
    let mut scene = Scene::new(4);
    scene.sessions[1].0.protocol = Protocol::Resp3;
    let first = scene.wait(0, "BZPOPMIN none z 0");
    let second = scene.wait(1, "BZPOPMAX z 0");
    let third = scene.wait(2, "BZMPOP 0 1 z MIN COUNT 5");
    let list = scene.wait(3, "BLPOP z 0");
    scene.client.run("ZADD z 1 a 2 b 3 c 4.5 d");
    assert_eq!(answer(&first).as_deref(), Some("*3 $1 z $1 a $1 1"));
    assert_eq!(answer(&second).as_deref(), Some("*3 $1 z $1 d ,4.5"));
    assert_eq!(answer(&third).as_deref(), Some("*2 $1 z *2 *2 $1 b $1 2 *2 $1 c $1 3"));
    assert_eq!(answer(&list), None);
    scene.client.run("RPUSH z e");
    assert_eq!(answer(&list), got("z", "e"));
    scene.client.run("ZADD z 1 a 2 b");
    assert_eq!(scene.ask(0, "BZPOPMAX z 0"), "*3 $1 z $1 b $1 2");
    assert_eq!(scene.ask(0, "BZMPOP 0 2 none z MAX"), "*2 $1 z *1 *2 $1 a $1 1");
}

/// A transaction that takes long may leave behind what has expired by the time that others are served.
#[test]
fn what_has_expired_within_a_transaction_is_for_nobody() {
    let mut scene = Scene::new(1);
    let waiter = scene.wait(0, "BLPOP l 1");
    let clock = scene.client.clock.clone();
    scene.client.with_ctx(|ctx| {
        // All of it happens at the time of the context.
        clock.advance(200);
        for line in ["MULTI", "RPUSH l a", "PEXPIRE l 100", "EXEC"] {
            let words = split(line);
            let (mut bytes, mut spans) = (Vec::new(), ArgSpans::new());
            for word in &words {
                spans.push(bytes.len() as u32, word.len() as u32);
                bytes.extend_from_slice(word);
            }
            super::super::execute(ctx, spans.args(&bytes)).expect("runs");
        }
    });
    assert_eq!(answer(&waiter), None);
    scene.client.run("RPUSH l b");
    assert_eq!(answer(&waiter), got("l", "b"));
}

#[test]
fn timeouts_are_seconds_with_fractions() {
    let of = |text: &str| timeout_arg(text.as_bytes()).map_err(|error| error.0.into_owned());
    let ms = |ms| Ok(Some(Duration::from_millis(ms)));
    assert_eq!(of("0"), Ok(None));
    assert_eq!(of("-0.0"), Ok(None));
    assert_eq!(of("1.5"), ms(1500));
    assert_eq!(of("0.0001"), ms(1));
    assert_eq!(of("1e2"), ms(100_000));
    for text in ["", "x", "1s", " 1", "nan"] {
        assert_eq!(of(text), Err("ERR timeout is not a float or out of range".to_owned()), "{text}");
    }
    assert_eq!(of("-1"), Err("ERR timeout is negative".to_owned()));
    assert_eq!(of("-0x1"), Err("ERR timeout is negative".to_owned()));
    assert_eq!(of("0x10"), ms(16_000));
    for text in ["1e17", "inf", "0x7FFFFFFFFFFFFF"] {
        assert_eq!(of(text), Err("ERR timeout is out of range".to_owned()), "{text}");
    }
}

/// One whose time is over while its command is being run has what that finds, or else its time is over.
#[test]
fn what_is_found_in_the_last_moment_counts() {
    let mut scene = Scene::new(1);
    for found in [None, Some(Answer::Reply(b"+found\r\n".to_vec()))] {
        let waiter = scene.wait(0, "BLPOP l 1");
        assert!(waiter.begin());
        assert!(!waiter.begin());
        assert!(waiter.end(|reply| reply.null_array()));
        assert_eq!(answer(&waiter), None);
        let expected = if found.is_some() { "+found" } else { "*-1" };
        waiter.finish(found);
        assert_eq!(answer(&waiter).as_deref(), Some(expected));
        assert!(!waiter.begin());
        scene.blocking().leave(&waiter);
    }
}

/// Of what is done on a waiter's behalf one hears, and behind what it was waiting for.
#[test]
fn events_of_those_who_are_served_are_published() {
    let mut scene = Scene::new(2);
    scene.client.run("HELLO 3");
    scene.client.run("CONFIG SET notify-keyspace-events El");
    scene.client.run("PSUBSCRIBE __keyevent*");
    let (first, second) = (scene.wait(0, "BLMOVE a b LEFT RIGHT 0"), scene.wait(1, "BRPOP b 0"));
    scene.client.run("RPUSH a x");
    assert_eq!((answer(&first).as_deref(), answer(&second)), (Some("$1 x"), got("b", "x")));
    let events = scene.client.take_pushes();
    let shown = |event: &Reply| format!("{} {}", event.items()[2].text(), event.items()[3].text());
    let events: Vec<String> = events.iter().map(shown).collect();
    let expected = ["rpush a", "rpush b", "lpop a", "rpop b"].map(|event| format!("__keyevent@0__:{event}"));
    assert_eq!(events, expected);
}
