//! What collections take, and how long deleting a large one takes.
//!
//! Memory is what each server says with MEMORY USAGE, nothing sampled, of a collection with members of 10 bytes (hashes with values of 10 bytes): for
//! Redis all of it is DRAM; for Fencepost the part in the pool is told apart by DEBUG OBJECT. Deleting is measured from sending DEL to its reply, over a
//! socket, with the collection's memory still being freed behind the last one.

use crate::Options;
use crate::contestant::{Contestant, Kind};
use fencepost_harness::{Client, Command, Frame, command};
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

/// The types, and the command that adds an element to one.
const TYPES: [(&str, &str); 4] = [("hash", "HSET"), ("list", "RPUSH"), ("set", "SADD"), ("sorted set", "ZADD")];

/// Sizes of the collections whose memory is measured.
const SIZES: [usize; 5] = [1, 8, 64, 1000, 100_000];

/// Elements added by one command.
const BATCH: usize = 200;

/// Adds the elements `from..to` to the collection at `key`.
fn add(client: &mut Client, verb: &str, key: &str, from: usize, to: usize) -> io::Result<()> {
    let mut requests: Vec<Command> = Vec::new();
    for start in (from..to).step_by(BATCH) {
        let mut words = command(&[verb, key]);
        for number in start..to.min(start + BATCH) {
            let member = format!("m{number:09}").into_bytes();
            match verb {
                "HSET" => words.extend([member.clone(), member]),
                "ZADD" => words.extend([number.to_string().into_bytes(), member]),
                _ => words.push(member),
            }
        }
        requests.push(words);
        if requests.len() == 50 {
            client.pipeline(&requests)?;
            requests.clear();
        }
    }
    client.pipeline(&requests)?;
    Ok(())
}

/// Bytes of DRAM and of the pool.
fn usage(client: &mut Client, kind: Kind, key: &str) -> (f64, f64) {
    let all = client.must(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).integer().unwrap_or(0) as f64;
    if !kind.has_pool() {
        return (all, 0.0);
    }
    let text = client.must(&["DEBUG", "OBJECT", key]);
    let text = String::from_utf8_lossy(text.bytes().unwrap_or_default()).into_owned();
    let pool = text.split_once("serializedlength:").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let pool = pool.unwrap_or(0.0);
    (all - pool, pool)
}

/// Both tables, of redis-server and Fencepost.
pub fn measure(options: &Options) -> io::Result<String> {
    let kinds: Vec<Kind> =
        options.servers.iter().copied().filter(|kind| matches!(kind, Kind::Redis | Kind::Fencepost)).collect();
    let mut text = String::from("\nBytes per element: DRAM, and pool\n\n| type | elements |");
    kinds.iter().for_each(|kind| text.push_str(&format!(" {kind} DRAM | {kind} pool |")));
    text.push_str("\n|---|--:|");
    kinds.iter().for_each(|_| text.push_str("--:|--:|"));
    let mut clients = Vec::new();
    let records = (options.drop_elements * TYPES.len()).max(1_000_000) as u64;
    for &kind in &kinds {
        let contestant = Contestant::start(kind, options, 24, records);
        let client = Client::connect(contestant.address())?;
        clients.push((contestant, client));
    }
    for (name, verb) in TYPES {
        for size in SIZES {
            let _infallible = write!(text, "\n| {name} | {size} |");
            for (contestant, client) in &mut clients {
                add(client, verb, "small", 0, size)?;
                let (dram, pool) = usage(client, contestant.kind(), "small");
                let each = |bytes: f64| bytes / size as f64;
                let _infallible = write!(text, " {:.1} | {:.1} |", each(dram), each(pool));
                client.must(&["DEL", "small"]);
            }
        }
    }
    text.push_str("\n\nLongest DEL and UNLINK of a collection, in milliseconds\n\n| type | elements | trials |");
    kinds.iter().for_each(|kind| text.push_str(&format!(" {kind} DEL | {kind} UNLINK |")));
    text.push_str("\n|---|--:|--:|");
    kinds.iter().for_each(|_| text.push_str("--:|--:|"));
    for (name, verb) in TYPES {
        let _infallible = write!(text, "\n| {name} | {} | {} |", options.drop_elements, options.drop_trials);
        for (_, client) in &mut clients {
            for removal in ["DEL", "UNLINK"] {
                let mut longest = Duration::ZERO;
                for _ in 0..options.drop_trials {
                    add(client, verb, "large", 0, options.drop_elements)?;
                    let begun = Instant::now();
                    let reply = client.must(&[removal, "large"]);
                    longest = longest.max(begun.elapsed());
                    assert_eq!(reply, Frame::Integer(1));
                }
                let _infallible = write!(text, " {:.3} |", longest.as_secs_f64() * 1000.0);
            }
        }
    }
    text.push('\n');
    Ok(text)
}
