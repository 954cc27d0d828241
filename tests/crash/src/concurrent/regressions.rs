//! What concurrent histories have found in the engine: each as the smallest workload that shows it, under some hundreds of schedules.

use super::engine;
use super::judge::Judge;
use super::run::run;
use super::workload::{Step, Theme, Workload};
use fencepost_harness::{Command, command};

fn words(line: &str) -> Command {
    // Keys are written as `a`, `b`, `c`; their names are those on different stripes.
    let name = |word: &str| match word {
        "a" => engine::keys()[0].clone(),
        "b" => engine::keys()[1].clone(),
        "c" => engine::keys()[2].clone(),
        word => word.to_owned(),
    };
    command(&line.split(' ').map(name).collect::<Vec<_>>())
}

/// Requests on database 0, one after the other.
fn one_by_one(lines: &[&str]) -> Vec<Step> {
    lines.iter().map(|line| Step::Requests(0, vec![words(line)])).collect()
}

/// Requests on database 0 that arrive together.
fn together(lines: &[&str]) -> Vec<Step> {
    vec![Step::Requests(0, lines.iter().map(|line| words(line)).collect())]
}

/// Runs the workload under so many schedules, and cuts each a few times. The number of the first that is wrong, and what is.
fn first_wrong(theme: Theme, schedules: u64, before: &[&str], workers: &[Vec<Step>]) -> Option<(u64, String)> {
    let shared = engine::shared();
    (0..schedules).find_map(|seed| {
        let before = before.iter().map(|line| (0, words(line))).collect();
        let workload = Workload { theme, before, workers: workers.to_vec() };
        let run = run(workload, seed, &format!("schedule {seed}"), &shared);
        let mut judge = Judge::new(&run, seed, &shared);
        let fault = judge.without_crash().or_else(|| judge.explore(2))?;
        Some((seed, format!("{}{}", fault.1, run.schedule)))
    })
}

fn holds(schedules: u64, before: &[&str], workers: &[Vec<Step>]) {
    holds_with(Theme::Registers, schedules, before, workers);
}

fn holds_with(theme: Theme, schedules: u64, before: &[&str], workers: &[Vec<Step>]) {
    if let Some((seed, text)) = first_wrong(theme, schedules, before, workers) {
        panic!("schedule {seed}:\n{text}");
    }
}

/// A reader was told that a key had expired while a writer, who had begun before, gave it an endless life.
#[test]
fn a_key_that_was_missed_as_expired_is_not_persisted_afterwards() {
    let workers = [one_by_one(&["PERSIST a"]), vec![Step::Tick(20)], one_by_one(&["GET a", "GET a"])];
    holds(300, &["SET a 1 PX 10"], &workers);
}

/// The background had removed a key as expired; a command that had begun before found another one, with an earlier deadline, alive.
#[test]
fn two_keys_expire_in_their_order_for_a_command_that_began_before() {
    let workers = [one_by_one(&["MGET a b"]), vec![Step::Tick(20), Step::Expire]];
    holds(300, &["SET a 1 PX 10", "SET b 1 PX 5"], &workers);
}

/// SCAN did not wait for a write of several keys that was being published.
#[test]
fn scans_never_show_half_of_a_write_of_several_keys() {
    let workers = [one_by_one(&["MSET a 1 b 1"]), vec![Step::Scan(0), Step::Scan(0)]];
    holds(300, &[], &workers);
    holds(300, &["SET a 1", "SET b 1"], &[one_by_one(&["DEL a b"]), vec![Step::Scan(0), Step::Scan(0)]]);
}

/// GETs that run together were not read in their order when one of them had to look twice.
#[test]
fn reads_that_run_together_go_forward() {
    let reader = together(&["GET a", "GET b", "GET c", "GET a"]);
    let workers = [reader, one_by_one(&["SET c 2", "SET b 2", "SET a 2"]), one_by_one(&["DEL a", "DEL c"])];
    holds(600, &["SET b 1"], &workers);
    holds(600, &["SET a 1", "SET b 1", "SET c 1"], &workers);
}

/// A flushed database was taken apart while a reader of several keys was in it. Few schedules show it (it took 8,354): a test of the store does so
/// surely, `a_flushed_database_stays_whole_for_who_is_still_in_it`.
#[test]
fn a_flushed_database_is_seen_whole_or_not_at_all() {
    let workers = [one_by_one(&["FLUSHDB"]), vec![Step::Reap, Step::Reap], one_by_one(&["MGET a b"])];
    holds(600, &["SET a 1", "SET b 1"], &workers);
}

/// A reader that had looked up which keyspace its database is read from it after a swap, and found what had been written to the other database.
#[test]
fn a_swapped_database_is_not_read_for_the_other_one() {
    let write = vec![Step::Requests(1, vec![words("SET a later")])];
    let workers = [one_by_one(&["GET a"]), [one_by_one(&["SWAPDB 0 1"]), write].concat()];
    holds(600, &["SET a 1"], &workers);
}

/// The cleaner moved an element of a collection whose elements were counted as garbage already, and counted the copy as live for ever.
#[test]
fn a_collection_is_dropped_beside_the_cleaner() {
    let workers = [one_by_one(&["DEL a"]), vec![Step::Clean; 3]];
    holds_with(Theme::CleanedElements, 300, &["RPUSH a 1 2", "RPUSH b 1", "DEL b"], &workers);
}

/// Readers of collections take no stripe: they have to see that elements of another collection are still to be published.
#[test]
fn elements_of_several_collections_change_at_one_moment() {
    let readers = [one_by_one(&["SMEMBERS a", "SMEMBERS b"]), one_by_one(&["SCARD b", "SISMEMBER a f"])];
    for reader in readers {
        let workers = [one_by_one(&["SMOVE a b f"]), reader.clone(), reader];
        holds_with(Theme::Elements, 600, &["SADD a f g", "SADD b h"], &workers);
    }
    let lists = [one_by_one(&["LMOVE a b LEFT RIGHT"]), one_by_one(&["LLEN a", "LRANGE b 0 -1", "LLEN a"])];
    holds_with(Theme::Elements, 600, &["RPUSH a 1 2", "RPUSH b 3"], &lists);
    // One key's element and another one's making.
    let made = [one_by_one(&["SMOVE a b f"]), one_by_one(&["SMEMBERS b", "SMEMBERS a", "SMEMBERS b"])];
    holds_with(Theme::Elements, 600, &["SADD a f g"], &made);
}

/// A later command of a pipeline is not seen without an earlier one of another key.
#[test]
fn changes_that_run_together_are_seen_in_their_order() {
    let writer = together(&["HSET a f 1", "HSET b f 1", "HSET a g 1"]);
    let before = ["HSET a x 0", "HSET b x 0"];
    let reader = one_by_one(&["HMGET a f g", "HGET b f"]);
    holds_with(Theme::Elements, 600, &before, &[writer.clone(), reader.clone(), reader]);
    holds_with(Theme::Elements, 600, &before, &[writer, together(&["HLEN b", "HLEN a", "HLEN b"])]);
}

/// Looks that run together share what they see of a key only where nothing is between them.
#[test]
fn looks_that_run_together_go_forward() {
    let reader = together(&["HGET a f", "HGET b f", "HGET a g", "HLEN b"]);
    let writers = [one_by_one(&["HSET a g 1", "HSET b f 1"]), one_by_one(&["HSET b h 1"])];
    for before in [&["HSET a f 0", "HSET b x 0"][..], &["HSET b x 0"], &[]] {
        holds_with(Theme::Elements, 600, before, &[std::slice::from_ref(&reader), &writers[..]].concat());
    }
}

/// A reader had found a collection, and was given its lock when the collection was another key's.
#[test]
fn a_collection_is_not_read_for_another_key() {
    let renamed = [one_by_one(&["RENAME a b", "HSET b f 2"]), one_by_one(&["HGET a f", "HGET a f"])];
    holds_with(Theme::Elements, 600, &["HSET a f 1"], &renamed);
    let write = vec![Step::Requests(1, vec![words("HSET a f later")])];
    let swapped = [one_by_one(&["HGET a f"]), [one_by_one(&["SWAPDB 0 1"]), write].concat()];
    holds_with(Theme::Elements, 600, &["HSET a f 1"], &swapped);
    let flushed = [one_by_one(&["FLUSHDB"]), vec![Step::Reap, Step::Reap], one_by_one(&["HGETALL a", "HGETALL b"])];
    holds_with(Theme::Elements, 600, &["HSET a f 1 g 2", "HSET b f 1"], &flushed);
}
