//! A server whose pool grows while it is used: what it acknowledges stays, wherever it is killed; how far it grows can be set.

use fencepost_harness::client::Client;
use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use std::path::PathBuf;
use std::process::Command;

const FENCEPOST: &str = env!("CARGO_BIN_EXE_fencepost");
const MIB: u64 = 1 << 20;

/// Bytes of a value: some sixty of them to a MiB.
const VALUE_BYTES: usize = 16 * 1024;

fn server(storage: &Storage, options: &[&str]) -> Server {
    Server::new(Program::Fencepost(FENCEPOST.into()), storage, options)
}

fn key(number: usize) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

fn value(number: usize) -> Vec<u8> {
    (0..VALUE_BYTES).map(|at| (at as u8) ^ (number as u8) ^ ((number >> 8) as u8)).collect()
}

fn set(client: &mut Client, number: usize) -> Frame {
    client.must(&[b"SET".to_vec(), key(number), value(number)])
}

fn info(client: &mut Client, field: &str) -> String {
    let Frame::Bulk(text) = client.must(&["INFO", "persistence"]) else { panic!("INFO gives text") };
    let text = String::from_utf8(text).expect("INFO is text");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {field} in {text}"))
}

fn file_bytes(server: &Server) -> u64 {
    std::fs::metadata(server.pool_path()).expect("the pool is there").len()
}

/// `pool check` finds nothing.
fn assert_whole(server: &Server) {
    let output = Command::new(FENCEPOST).args(["pool", "check"]).arg(server.pool_path()).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

/// Fills a pool of 4 MB until it has grown to 64, and kills the server each time that the file gets longer: at that moment it is about to write the headers of
/// the new segments, or the superblock.
fn filled_and_killed_at_each_growth(storage: &Storage) {
    const MOST: u64 = 64 * MIB;
    let mut server = server(storage, &["--pool-size", "4mb", "--pool-max-size", "64mb"]);
    server.run();
    let mut client = server.client();
    let (mut acknowledged, mut length, mut kills) = (0, file_bytes(&server), 0);
    // Ends: each turn fills the pool further or finds it full at its largest.
    loop {
        match set(&mut client, acknowledged) {
            Frame::Simple(_) => acknowledged += 1,
            Frame::Error(text) if text.starts_with(b"OOM") => {
                assert_eq!(info(&mut client, "pool_size"), MOST.to_string(), "full, and could grow");
                break;
            }
            other => panic!("SET is answered {other:?}"),
        }
        let now = file_bytes(&server);
        assert!(now >= length, "a pool never shrinks");
        if now > length {
            server.kill();
            kills += 1;
            assert_whole(&server);
            server.run();
            client = server.client();
            length = file_bytes(&server);
            assert_eq!(client.must(&["DBSIZE"]), Frame::Integer(acknowledged as i64));
        }
    }
    assert!(kills >= 5, "it grew only {kills} times");
    assert!(acknowledged as u64 * VALUE_BYTES as u64 > MOST * 7 / 10, "{acknowledged} values fit");
    assert!(file_bytes(&server) <= MOST);
    server.kill();
    assert_whole(&server);
    server.run();
    let mut client = server.client();
    for number in 0..acknowledged {
        assert_eq!(client.must(&[b"GET".to_vec(), key(number)]), Frame::Bulk(value(number)), "key {number}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_a_server_is_killed_while_its_pool_grows_in_memory() {
    filled_and_killed_at_each_growth(&Storage::Memory);
}

#[test]
fn nothing_acknowledged_is_lost_when_a_server_is_killed_while_its_pool_grows_on_a_disk() {
    filled_and_killed_at_each_growth(&Storage::Disk(PathBuf::from(env!("CARGO_TARGET_TMPDIR"))));
}

#[test]
fn the_largest_size_can_be_set_while_the_server_runs() {
    for options in [&["--pool-size", "4mb"][..], &["--pool-size", "4mb", "--medium", "dram"]] {
        let mut server = server(&Storage::Memory, options);
        server.run();
        let mut client = server.client();
        let get = |client: &mut Client| client.must(&["CONFIG", "GET", "pool-max-size"]);
        assert_eq!(get(&mut client), Frame::Array(vec![Frame::bulk("pool-max-size"), Frame::bulk("0")]));
        let mut written = 0;
        while set(&mut client, written) == Frame::ok() {
            written += 1;
        }
        assert_eq!(info(&mut client, "pool_size"), info(&mut client, "pool_max_size"));
        assert_eq!(info(&mut client, "pool_growths"), "0");

        let Frame::Error(refusal) = client.must(&["CONFIG", "SET", "pool-max-size", "15000gb"]) else {
            panic!("refused")
        };
        let refusal = String::from_utf8(refusal).unwrap();
        assert!(refusal.contains("1099511627776 bytes; to go beyond restart it with --pool-max-size"), "{refusal}");
        assert_eq!(get(&mut client), Frame::Array(vec![Frame::bulk("pool-max-size"), Frame::bulk("0")]));

        assert_eq!(client.must(&["CONFIG", "SET", "pool-max-size", "12mb"]), Frame::ok());
        assert_eq!(info(&mut client, "pool_max_size"), (12 * MIB).to_string());
        assert_eq!(set(&mut client, written), Frame::ok(), "it waits for the pool to grow");
        assert!(info(&mut client, "pool_size").parse::<u64>().expect("a number") > 4 * MIB);
        assert_eq!(client.must(&["CONFIG", "SET", "pool-max-size", "1mb"]), Frame::ok());
        assert_eq!(info(&mut client, "pool_size"), info(&mut client, "pool_max_size"), "no further");
        assert_eq!(client.must(&["GET", "key:0"]), Frame::Bulk(value(0)));
    }
}

/// A pool that has grown is opened with whatever maximum, and stays as large.
#[test]
fn a_pool_that_has_grown_opens_without_a_maximum() {
    let mut growing = server(&Storage::Memory, &["--pool-size", "4mb", "--pool-max-size", "32mb"]);
    growing.run();
    let mut client = growing.client();
    let mut written = 0;
    while file_bytes(&growing) < 16 * MIB {
        assert_eq!(set(&mut client, written), Frame::ok());
        written += 1;
    }
    assert!(growing.terminate().success());
    let length = file_bytes(&growing);
    let mut server = server(&Storage::Memory, &[]);
    std::fs::copy(growing.pool_path(), server.pool_path()).expect("room");
    server.run();
    let mut client = server.client();
    assert_eq!(client.must(&["DBSIZE"]), Frame::Integer(written as i64));
    assert_eq!(info(&mut client, "pool_size"), length.to_string());
    assert_eq!(info(&mut client, "pool_max_size"), length.to_string());
}

/// Address space that the system refuses costs room to grow, and nothing else.
#[test]
fn a_server_with_little_address_space_starts_and_grows_as_far_as_that_goes() {
    let options = ["--pool-size", "4mb", "--pool-max-size", "16gb"];
    let mut server = server(&Storage::Memory, &options).under(&["prlimit", "--as=4000000000"]);
    server.run();
    let mut client = server.client();
    for number in 0..1000 {
        assert_eq!(set(&mut client, number), Frame::ok());
    }
    let most: u64 = info(&mut client, "pool_max_size").parse().expect("a number");
    assert!((64 * MIB..4096 * MIB).contains(&most), "{most}");
    assert!(server.log().contains("the pool grows no further"), "it says so");
    assert!(file_bytes(&server) > 16 * MIB);
}
