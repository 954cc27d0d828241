//! Transactions of many connections on a running server: money is moved between accounts, readers add it up, the server is killed, and nothing is ever
//! created or lost; and counters that are read, watched and written back lose no increment.

use fencepost_harness::client::Client;
use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use fencepost_harness::{Seed, command};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const FENCEPOST: &str = env!("CARGO_BIN_EXE_fencepost");

/// Connections that move money.
const MOVERS: usize = 4;
const ACCOUNTS: u64 = 8;

fn server() -> Server {
    let mut server = Server::new(Program::Fencepost(FENCEPOST.into()), &Storage::Memory, &["--pool-size", "16mb"]);
    server.run();
    server
}

fn account(number: u64) -> String {
    format!("account:{number}")
}

/// What all accounts hold together, read in one step.
fn total(client: &mut Client) -> i64 {
    let names: Vec<String> = (0..ACCOUNTS).map(account).collect();
    let mget: Vec<&str> = std::iter::once("MGET").chain(names.iter().map(String::as_str)).collect();
    let Frame::Array(items) = client.must(&mget) else { panic!("MGET gives an array") };
    let balance = |item: &Frame| {
        item.bytes().map_or(0, |bytes| std::str::from_utf8(bytes).expect("text").parse().expect("a number"))
    };
    items.iter().map(balance).sum()
}

/// One mover: in each transaction an amount leaves an account and comes into another, in two steps each, and the transaction is counted. Returns
/// how many were acknowledged; ends when the server does, or when it is told to.
fn move_money(mut client: Client, number: usize, seed: Seed, stop: &AtomicBool, done: &AtomicU64) -> u64 {
    let mut rng = seed.rng(number as u64);
    let mut acknowledged = 0;
    while !stop.load(Ordering::Relaxed) {
        let (from, to) = (account(rng.below(ACCOUNTS)), account(rng.below(ACCOUNTS)));
        let amount = rng.between(1, 100).to_string();
        let commands = [
            command(&["MULTI"]),
            command(&["DECRBY", &from, &amount]),
            command(&["SET", "seen:never", "x"]),
            command(&["INCRBY", &to, &amount]),
            command(&["INCR", &format!("count:{number}")]),
            command(&["DEL", "seen:never"]),
            command(&["EXEC"]),
        ];
        match client.pipeline(&commands) {
            Ok(replies) => assert!(matches!(&replies[6], Frame::Array(items) if items.len() == 5), "{replies:?}"),
            Err(_) => break,
        }
        acknowledged += 1;
        done.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

#[test]
fn money_is_neither_made_nor_lost_by_readers_or_kills() {
    let seed = Seed::from_env("transactions");
    let mut server = server();
    let mut counted = [0; MOVERS];
    for round in 0..6u64 {
        let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let acknowledged: Vec<u64> = std::thread::scope(|scope| {
            let movers: Vec<_> = (0..MOVERS)
                .map(|number| {
                    let (client, stop, done) = (server.client(), &stop, &done);
                    let seed = Seed(seed.rng(round).next());
                    scope.spawn(move || move_money(client, number, seed, stop, done))
                })
                .collect();
            let mut reader = server.client();
            let goal = 200 + 100 * round;
            // Ends: movers go on.
            while done.load(Ordering::Relaxed) < goal {
                assert_eq!(total(&mut reader), 0);
                assert_eq!(reader.must(&["EXISTS", "seen:never"]), Frame::Integer(0));
                let scanned = reader.must(&["SCAN", "0", "COUNT", "1000", "MATCH", "seen:*"]);
                assert!(matches!(&scanned.items(), Some([_, Frame::Array(names)]) if names.is_empty()), "{scanned:?}");
            }
            server.kill();
            stop.store(true, Ordering::Relaxed);
            movers.into_iter().map(|mover| mover.join().expect("no mover is answered wrongly")).collect()
        });
        server.run();
        let mut client = server.client();
        assert_eq!(total(&mut client), 0, "round {round}");
        assert_eq!(client.must(&["EXISTS", "seen:never"]), Frame::Integer(0));
        for (number, (counted, acknowledged)) in counted.iter_mut().zip(acknowledged).enumerate() {
            let Frame::Bulk(text) = client.must(&["GET", &format!("count:{number}")]) else { panic!("a count") };
            let found: u64 = String::from_utf8(text).expect("text").parse().expect("a number");
            let least = *counted + acknowledged;
            assert!((least..=least + 1).contains(&found), "mover {number}: {found} transactions, {least} acknowledged");
            *counted = found;
        }
    }
}

#[test]
fn watched_counters_lose_no_increment() {
    const CONNECTIONS: usize = 6;
    const INCREMENTS: usize = 60;
    let server = server();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let mut client = server.client();
            scope.spawn(move || {
                let mut left = INCREMENTS;
                // Ends: of those that meet one goes through.
                while left > 0 {
                    client.must(&["WATCH", "counter", "other"]);
                    let read = |client: &mut Client, key| match client.must(&["GET", key]) {
                        Frame::Bulk(text) => String::from_utf8(text).expect("text").parse().expect("a number"),
                        _ => 0u64,
                    };
                    let (counter, other) = (read(&mut client, "counter"), read(&mut client, "other"));
                    let commands = [
                        command(&["MULTI"]),
                        command(&["SET", "counter", &(counter + 1).to_string()]),
                        command(&["SET", "other", &(other + 2).to_string()]),
                        command(&["EXEC"]),
                    ];
                    let replies = client.pipeline(&commands).expect("answered");
                    left -= usize::from(matches!(&replies[3], Frame::Array(_)));
                }
            });
        }
    });
    let mut client = server.client();
    let expected = CONNECTIONS * INCREMENTS;
    assert_eq!(client.must(&["GET", "counter"]), Frame::bulk(expected.to_string().as_bytes()));
    assert_eq!(client.must(&["GET", "other"]), Frame::bulk((2 * expected).to_string().as_bytes()));
}
