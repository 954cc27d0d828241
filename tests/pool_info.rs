//! `fencepost pool info` on real files: beside a server that overwrites and cleans, after it, and on a damaged pool.

use fencepost_harness::client::Client;
use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

const FENCEPOST: &str = env!("CARGO_BIN_EXE_fencepost");

/// Bytes of a value.
const VALUE_BYTES: usize = 4000;

fn pool_info(path: &Path, flags: &[&str]) -> Output {
    Command::new(FENCEPOST).args(["pool", "info"]).args(flags).arg(path).output().expect("it runs")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The characters of the map.
fn map(text: &str) -> String {
    text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')).collect()
}

/// What stands behind `name`, up to the next space.
fn value<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.split_whitespace().next().unwrap_or_default()
}

/// How many segments the histogram counts.
fn in_use(text: &str) -> usize {
    ["    0 %", " < 25 %", " < 50 %", " < 75 %", "< 100 %"]
        .iter()
        .map(|name| value(text, name).parse::<usize>().expect("a count"))
        .sum()
}

fn info_field(client: &mut Client, field: &str) -> u64 {
    let Frame::Bulk(text) = client.must(&["INFO", "persistence"]) else { panic!("INFO gives text") };
    let text = String::from_utf8(text).expect("INFO is text");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).parse().expect("a number")
}

fn set(client: &mut Client, number: usize) {
    let request = [b"SET".to_vec(), format!("key:{number}").into_bytes(), vec![b'v'; VALUE_BYTES]];
    assert_eq!(client.must(&request), Frame::ok());
}

#[test]
fn the_map_shows_a_pool_in_use_at_rest_and_damaged() {
    let options = ["--pool-size", "16mb"];
    let mut server = Server::new(Program::Fencepost(FENCEPOST.into()), &Storage::Memory, &options);
    server.run();
    let path = server.pool_path();
    let mut client = server.client();

    // Segments are emptied, freed and filled again while they are looked at.
    let over = AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client();
            let freed = |client: &mut Client| info_field(client, "pool_cleaner_segments");
            let mut number = 0;
            // Ends: the cleaner frees segments of a pool that is full of garbage.
            while freed(&mut client) < 150 {
                (0..100).for_each(|i| set(&mut client, (number + i) % 300));
                number += 100;
            }
            over.store(true, Ordering::Release);
        });
        let mut looks = 0;
        while !over.load(Ordering::Acquire) || looks < 3 {
            let text = text(&pool_info(&path, &[]));
            assert!(!map(&text).is_empty(), "{text}");
            looks += 1;
        }
        looks
    });
    assert!(looks >= 3);

    // What the server counts is what is found in its pool.
    let live = info_field(&mut client, "pool_live");
    assert!(live > 300 * VALUE_BYTES as u64);
    assert!(client.call(&["SHUTDOWN"]).is_err());
    assert!(server.wait_stopped().success());
    let whole = text(&pool_info(&path, &[]));
    assert_eq!(value(&whole, "live bytes").parse(), Ok(live), "{whole}");
    let cells = map(&whole);
    assert_eq!(cells.len(), value(&whole, "segments").parse().expect("a count"), "{whole}");
    let free = cells.matches('.').count();
    assert_eq!(value(&whole, "segment states"), free.to_string(), "{whole}");
    assert_eq!(in_use(&whole), cells.len() - free, "{whole}");
    assert!(whole.is_ascii() && !cells.contains(['o', '!']), "no terminal, no open segment, no damage: {whole}");

    let without = text(&pool_info(&path, &["--no-map"]));
    assert_eq!(map(&without), "");
    assert!(!without.contains("live bytes"));

    // A bit in the middle of a full segment: the first of them starts where it is as large, 256 KiB into the pool.
    let mut image = std::fs::read(&path).expect("there");
    let full = cells.find('#').unwrap_or_else(|| panic!("no segment is nearly full: {whole}"));
    image[(full + 1) * (256 << 10) + (128 << 10)] ^= 1;
    let damaged = path.with_extension("damaged");
    std::fs::write(&damaged, image).expect("room");
    let hit = text(&pool_info(&damaged, &[]));
    assert_eq!((map(&hit).find('!'), map(&hit).matches('!').count()), (Some(full), 1), "{hit}");
    assert_eq!(value(&hit, "damaged places"), "1", "{hit}");
    assert_eq!(in_use(&hit), in_use(&whole));
}

#[test]
fn records_are_counted_by_what_they_say() {
    let mut server = Server::new(Program::Fencepost(FENCEPOST.into()), &Storage::Memory, &["--pool-size", "16mb"]);
    server.run();
    let path = server.pool_path();
    let mut client = server.client();
    let mut run = |line: &str| drop(client.must(&line.split(' ').collect::<Vec<_>>()));
    run("SET a 1");
    run("DEL a");
    run("HSET packed f v");
    run("CONFIG SET packed-collection-max-bytes 0");
    run("RPUSH list a b c");
    run("LPOP list");
    run("SADD set a b");
    run("SREM set a");
    assert!(client.call(&["SHUTDOWN"]).is_err());
    assert!(server.wait_stopped().success());
    let text = text(&pool_info(&path, &["--no-map"]));
    let expected = "12 (1 strings, 1 tombstones, 1 packed collections, 2 object heads, 0 chunks, 5 elements, 1 element tombstones, 1 bounds, 0 cuts, ";
    let records = text.lines().find_map(|line| line.strip_prefix("records")).expect("a line of them").trim_start();
    assert!(records.starts_with(expected), "{text}");
}
