//! `maxmemory` in a running server: it is in force from the first write on, and what was evicted stays away over `kill -9`.

use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use fencepost_harness::{Client, Command, command};

const LIMIT_BYTES: u64 = 1 << 20;

fn field(client: &mut Client, name: &str) -> u64 {
    let Frame::Bulk(text) = client.must(&["INFO", "everything"]) else { panic!("a text") };
    let text = String::from_utf8_lossy(&text).into_owned();
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(str::to_owned));
    value.unwrap_or_else(|| panic!("no field {name}")).parse().expect("a number")
}

fn keys(client: &mut Client) -> Vec<String> {
    let Frame::Array(frames) = client.must(&["KEYS", "*"]) else { panic!("a list") };
    let mut keys: Vec<String> =
        frames.iter().filter_map(|frame| frame.bytes()).map(|key| String::from_utf8_lossy(key).into_owned()).collect();
    keys.sort();
    keys
}

#[test]
fn what_was_evicted_does_not_come_back() {
    let limit = LIMIT_BYTES.to_string();
    let options = ["--pool-size", "64mb", "--maxmemory", &limit, "--maxmemory-policy", "allkeys-lru"];
    let mut server =
        Server::new(Program::Fencepost(env!("CARGO_BIN_EXE_fencepost").into()), &Storage::Memory, &options);
    server.run();
    let mut client = server.client();
    assert!(field(&mut client, "used_memory_access_clocks") > 0, "the policy was in force from the start");
    // However slow this machine is.
    client.must(&["CONFIG", "SET", "maxmemory-eviction-tenacity", "100"]);
    let value = vec![b'v'; 1000];
    for first in (0..6000).step_by(60) {
        let sets: Vec<Command> =
            (first..first + 60).map(|i| command(&[&b"SET"[..], format!("key{i}").as_bytes(), &value])).collect();
        let replies = client.pipeline(&sets).expect("answered");
        assert!(replies.iter().all(|reply| *reply == Frame::Simple(b"OK".to_vec())));
    }
    assert!(field(&mut client, "pool_live") <= LIMIT_BYTES + 64 * 1024);
    let left = keys(&mut client);
    assert!((800..=1100).contains(&left.len()), "{}", left.len());
    assert_eq!(field(&mut client, "evicted_keys"), 6000 - left.len() as u64);
    assert!(left.iter().any(|key| key == "key5999"), "the last one written is there");
    server.crash();
    assert_eq!(keys(&mut server.client()), left);
}
