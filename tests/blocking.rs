//! Commands that wait for a key, over real sockets: what they answer beside redis-server, who gets what, and that nothing is lost or given out twice.

use fencepost_harness::model::flattened;
use fencepost_harness::server::redis_is_installed;
use fencepost_harness::{Client, Frame, Program, Rng, Seed, Server, Storage};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn start() -> Server {
    let program = Program::Fencepost(env!("CARGO_BIN_EXE_fencepost").into());
    Server::start(program, &Storage::Memory, &["--pool-size", "64mb", "--workers", "4"])
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn ask(client: &mut Client, line: &str) -> Frame {
    client.must(&words(line))
}

/// Sends a request whose reply is read later.
fn send(client: &mut Client, line: &str) {
    client.send(&words(line));
    client.flush().expect("the server is there");
}

/// Waits until so many clients wait.
fn until_blocked(client: &mut Client, count: usize) {
    let wanted = format!("blocked_clients:{count}\r\n");
    let start = Instant::now();
    loop {
        let info = ask(client, "INFO clients");
        if String::from_utf8_lossy(info.bytes().expect("a text")).contains(&wanted) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "never {wanted}");
        std::thread::yield_now();
    }
}

fn bulks<const N: usize>(items: [&str; N]) -> Frame {
    Frame::Array(items.map(Frame::bulk).to_vec())
}

/// Each line is `client: request`, `client? what it then reads` or `blocked: count`; the replies in order.
fn play(server: &Server, resp3: bool, script: &str) -> Vec<(String, Frame)> {
    let mut clients: Vec<Client> = (0..5).map(|_| server.client()).collect();
    let mut replies = Vec::new();
    if resp3 {
        clients.iter_mut().for_each(|client| drop(client.hello(3).expect("HELLO is answered")));
    }
    ask(&mut clients[4], "FLUSHALL");
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(count) = line.strip_prefix("blocked: ") {
            until_blocked(&mut clients[4], count.parse().expect("a count"));
            continue;
        }
        let (number, rest) = line.split_at(1);
        let client = &mut clients[number.parse::<usize>().expect("a client's number")];
        let reply = match rest.split_once(' ') {
            // Sent, and read later.
            Some(("!", request)) => {
                send(client, request);
                continue;
            }
            Some((":", request)) => ask(client, request),
            _ => client.receive().expect("a reply"),
        };
        replies.push((line.to_owned(), reply));
    }
    replies
}

/// `n: request` is answered at once, `n! request` waits, `n?` is where its reply comes.
const SCRIPTS: &[&str] = &[
    "0! BLPOP a b 0
     blocked: 1
     1! BRPOP b a 0
     blocked: 2
     2: RPUSH a 1 2 3
     0?
     1?
     2: LRANGE a 0 -1
     0: BLPOP a 0
     0: EXISTS a",
    "0! BLMOVE a b LEFT RIGHT 0
     blocked: 1
     1! BRPOPLPUSH b c 0
     blocked: 2
     2! BLMPOP 0 2 d c LEFT COUNT 5
     blocked: 3
     3: RPUSH a x y
     0?
     1?
     2?
     3: LRANGE a 0 -1
     3: EXISTS b c d",
    "0: BLPOP a 0.01
     0: BRPOP a b 0.01
     0: BLMPOP 0.01 1 a LEFT
     0: BLMOVE a b LEFT LEFT 0.01
     0: BRPOPLPUSH a b 0.01
     0: BLPOP a x
     0: BLPOP a -1
     0: BLPOP a -inf
     0: BLPOP a nan
     0: BLMOVE a b UP LEFT x
     0: BLMOVE a b LEFT LEFT x
     0: BLMPOP x 0 a LEFT
     0: BLMPOP x 1 a LEFT
     0: BLMPOP 0 1 a LEFT COUNT 0
     0: BLPOP
     0: BLPOP a
     0: BLMPOP 0 1 a",
    "0: SET s text
     0: BLPOP s 0
     0: BLPOP none s 0
     0: BLMOVE s a LEFT LEFT 0
     1! BLMOVE a s LEFT LEFT 0
     blocked: 1
     0: RPUSH a x
     1?
     0: LRANGE a 0 -1
     0: DEL a
     1! BLPOP a 0
     blocked: 1
     0: SET a text
     0: DEL a
     0: RPUSH b z
     0: RENAME b a
     1?",
    "0! BZPOPMIN none z 0
     blocked: 1
     1! BZPOPMAX z z 0
     blocked: 2
     2! BZMPOP 0 2 none z MIN COUNT 5
     blocked: 3
     3! BLPOP z 0
     blocked: 4
     4: ZADD z 1 a 2.5 b 3 c 4 d
     0?
     1?
     2?
     4: RPUSH z x
     3?
     4: ZADD z 1 a 2 b 3 c
     4: BZPOPMIN z 0
     4: BZPOPMAX none z 0
     4: BZMPOP 0 1 z MAX
     4: BZPOPMIN z 0.01
     4: BZMPOP 0.01 1 z MIN
     4: BZPOPMIN z x
     4: BZMPOP x 0 z MIN
     4: BZMPOP x 1 z MIN
     4: BZMPOP 0 1 z LEFT",
    "0! BLPOP a 0
     blocked: 1
     4: MULTI
     4: RPUSH a x y
     4: LPOP a
     4: BLPOP none 0
     4: BLMOVE none a LEFT LEFT 0
     4: EXEC
     0?
     4: EXISTS a",
    "0! BLPOP a 0
     blocked: 1
     1: RPUSH b 2 1
     1: SORT b STORE a
     0?
     0! BLPOP c 0
     blocked: 1
     1: COPY a c
     0?
     0! BLPOP d 0
     blocked: 1
     1: SELECT 1
     1: RPUSH d other
     1: SWAPDB 0 1
     0?
     0: RPUSH e x
     0: MOVE e 1
     0! BLPOP e 0
     blocked: 1
     1: SELECT 1
     1: MOVE e 0
     0?",
];

#[test]
fn replies_are_those_of_redis() {
    if !redis_is_installed() {
        return;
    }
    let (ours, redis) = (start(), Server::start(Program::Redis, &Storage::Memory, &[]));
    for resp3 in [false, true] {
        for script in SCRIPTS {
            let (found, expected) = (play(&ours, resp3, script), play(&redis, resp3, script));
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected);
            }
        }
    }
}

#[test]
fn a_client_that_goes_takes_nothing_along() {
    let server = start();
    let mut asking = server.client();
    for kill in [false, true] {
        let mut waiting = server.client();
        let id = ask(&mut waiting, "CLIENT ID").integer().expect("a number");
        send(&mut waiting, "BLPOP list 0");
        until_blocked(&mut asking, 1);
        let line = ask(&mut asking, &format!("CLIENT LIST ID {id}"));
        let line = String::from_utf8_lossy(line.bytes().expect("a text")).into_owned();
        assert!(line.contains(" flags=b ") && line.contains(" cmd=blpop "), "{line}");
        if kill {
            assert_eq!(ask(&mut asking, &format!("CLIENT KILL ID {id}")), Frame::Integer(1));
        } else {
            drop(waiting);
        }
        until_blocked(&mut asking, 0);
        assert_eq!(ask(&mut asking, "RPUSH list a"), Frame::Integer(1));
        assert_eq!(ask(&mut asking, "LPOP list"), Frame::bulk("a"));
    }
}

/// What a client sends behind a command that waits is run when that has been answered, wherever the answer comes from.
#[test]
fn requests_behind_one_that_waits_are_answered_in_order() {
    let server = start();
    let (mut waiting, mut other) = (server.client(), server.client());
    let id = ask(&mut waiting, "CLIENT ID").integer().expect("a number");
    waiting.send(&words("BLPOP list 0"));
    waiting.send(&words("ECHO one"));
    waiting.send(&words("BLPOP list 0"));
    send(&mut waiting, "ECHO two");
    until_blocked(&mut other, 1);
    ask(&mut other, "RPUSH list a");
    assert_eq!(waiting.receive().expect("a reply"), bulks(["list", "a"]));
    assert_eq!(waiting.receive().expect("a reply"), Frame::bulk("one"));
    until_blocked(&mut other, 1);
    send(&mut waiting, "ECHO three");
    assert_eq!(ask(&mut other, &format!("CLIENT UNBLOCK {id} ERROR")), Frame::Integer(1));
    let error = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
    assert_eq!(waiting.receive().expect("a reply"), Frame::error(error));
    assert_eq!(waiting.receive().expect("a reply"), Frame::bulk("two"));
    assert_eq!(waiting.receive().expect("a reply"), Frame::bulk("three"));
    // One that wants no replies is served, and gets none.
    waiting.send(&words("CLIENT REPLY SKIP"));
    waiting.send(&words("BLPOP list 0"));
    send(&mut waiting, "ECHO four");
    until_blocked(&mut other, 1);
    ask(&mut other, "RPUSH list b");
    assert_eq!(waiting.receive().expect("a reply"), Frame::bulk("four"));
    assert_eq!(ask(&mut other, "EXISTS list"), Frame::Integer(0));
}

/// Many clients on several workers wait for one key, one after the other; what is then pushed goes to them in that order.
#[test]
fn first_come_first_served_across_workers() {
    const CLIENTS: usize = 24;
    let server = start();
    let mut pushing = server.client();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    for round in 0..5 {
        for (number, client) in clients.iter_mut().enumerate() {
            send(client, if number % 2 == 0 { "BLPOP list 0" } else { "BRPOP none list 0" });
            until_blocked(&mut pushing, number + 1);
        }
        // A few at a time, by turns from several connections.
        let mut next = 0;
        while next < CLIENTS {
            let count = 1 + (next + round) % 3;
            let count = count.min(CLIENTS - next);
            for number in next..next + count {
                assert_eq!(ask(&mut pushing, &format!("RPUSH list {number}")), Frame::Integer(1));
            }
            next += count;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.receive().expect("a reply"), bulks(["list", &number.to_string()]));
        }
    }
}

/// Goal: an element goes to one client or stays where it is, whatever the clients do. Method: some pop with timeouts that run out all the time, or are
/// unblocked, and read every reply; some move elements on and are cut off in the middle. At the end each element is in one place.
#[test]
fn no_element_is_lost_or_given_out_twice() {
    const PRODUCERS: usize = 3;
    const ELEMENTS: usize = 1500;
    let seed = Seed::from_env("blocking");
    let server = start();
    let done = AtomicBool::new(false);
    let mut popped: Vec<String> = std::thread::scope(|scope| {
        let poppers: Vec<_> = (0..4)
            .map(|number| {
                let (server, done, rng) = (&server, &done, seed.rng(number));
                scope.spawn(move || pop_all(server, done, rng))
            })
            .collect();
        for number in 4..7 {
            let (server, done, rng) = (&server, &done, seed.rng(number));
            scope.spawn(move || move_on(server, done, rng));
        }
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|number| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.client();
                    for element in 0..ELEMENTS {
                        let list = ["one", "two"][element % 2];
                        ask(&mut client, &format!("RPUSH {list} {number}:{element}"));
                    }
                })
            })
            .collect();
        producers.into_iter().for_each(|thread| thread.join().expect("no panic"));
        done.store(true, Ordering::Relaxed);
        poppers.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let mut client = server.client();
    for list in ["one", "two", "moved"] {
        let rest = ask(&mut client, &format!("LRANGE {list} 0 -1"));
        popped.extend(rest.items().expect("an array").iter().map(text));
    }
    let all: BTreeSet<String> = (0..PRODUCERS).flat_map(|n| (0..ELEMENTS).map(move |e| format!("{n}:{e}"))).collect();
    let distinct: BTreeSet<String> = popped.iter().cloned().collect();
    assert_eq!(popped.len(), distinct.len(), "something was given out twice");
    assert_eq!(distinct, all);
    until_blocked(&mut client, 0);
}

fn text(frame: &Frame) -> String {
    String::from_utf8_lossy(frame.bytes().expect("a string")).into_owned()
}

/// Pops until nothing more comes, with timeouts of a few milliseconds.
fn pop_all(server: &Server, done: &AtomicBool, mut rng: Rng) -> Vec<String> {
    let (mut client, mut other, mut popped) = (server.client(), server.client(), Vec::new());
    let id = ask(&mut client, "CLIENT ID").integer().expect("a number");
    loop {
        let over = done.load(Ordering::Relaxed);
        let timeout = ["0.001", "0.002", "0.005"][rng.below(3) as usize];
        match rng.below(3) {
            0 => send(&mut client, &format!("BLPOP one two {timeout}")),
            1 => send(&mut client, &format!("BRPOP two one {timeout}")),
            _ => send(&mut client, &format!("BLMPOP {timeout} 2 two one LEFT COUNT 1")),
        }
        if rng.one_in(4) {
            ask(&mut other, &format!("CLIENT UNBLOCK {id}"));
        }
        let reply = client.receive().expect("a reply");
        match reply.items() {
            Some([_, Frame::Array(many)]) => popped.extend(many.iter().map(text)),
            Some([_, one]) => popped.push(text(one)),
            _ if over => return popped,
            _ => assert!(reply.is_null(), "{reply:?}"),
        }
    }
}

/// Moves elements, and is cut off while it may be about to.
fn move_on(server: &Server, done: &AtomicBool, mut rng: Rng) {
    while !done.load(Ordering::Relaxed) {
        let mut client = server.client();
        for _ in 0..rng.below(20) {
            ask(&mut client, "BLMOVE one moved LEFT RIGHT 0.005");
        }
        send(&mut client, "BRPOPLPUSH two moved 0");
        if rng.one_in(2) {
            ask(&mut server.client(), "PING");
        }
    }
}

/// An expiry, and the way back from one list to another through those who wait, are the same after a crash.
#[test]
fn what_was_handed_over_stays_handed_over() {
    let mut server = start();
    let (mut waiting, mut other) = (server.client(), server.client());
    send(&mut waiting, "BLMOVE from to LEFT RIGHT 0");
    until_blocked(&mut other, 1);
    ask(&mut other, "RPUSH from a b");
    assert_eq!(waiting.receive().expect("a reply"), Frame::bulk("a"));
    server.crash();
    let mut client = server.client();
    let list = |client: &mut Client, name: &str| {
        let reply = ask(client, &format!("LRANGE {name} 0 -1"));
        flattened("list", reply.items().expect("an array").iter().map(|item| item.bytes().expect("a string")))
    };
    assert_eq!(list(&mut client, "from"), b"list 1:b");
    assert_eq!(list(&mut client, "to"), b"list 1:a");
}
