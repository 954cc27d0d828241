//! Which commands that write are sent, and why the others are not.

use fencepost::command::{Flags, all};
use fencepost_harness::Seed;
use fencepost_harness::load::any_type;
use fencepost_harness::model::{Expected, Model};
use std::collections::BTreeSet;

/// Commands that write and are not sent, with the reason.
const LEFT_OUT: &[(&[&str], &str)] = &[
    (
        &["blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin"],
        "they write as those that do not block; waiting for another client is no state of one database",
    ),
    (&["flushall", "move", "swapdb"], "they reach into the databases of others"),
    (
        &["geoadd", "georadius", "georadiusbymember", "geosearchstore"],
        "they write as ZADD and ZRANGESTORE; the model knows no places",
    ),
    (&["pfadd", "pfdebug", "pfmerge"], "they write strings as SET does; the model cannot estimate"),
    (&["restore"], "it writes as the commands of its types; the model knows no dumps"),
    (&["function|delete", "function|flush"], "there are no functions to delete"),
];

/// Draws to see each command succeed; the rarest comes about once in a thousand.
const DRAWS: usize = 20_000;

/// Looks for commands of the table that write and are neither sent nor left out with a reason.
///
/// # Errors
/// Names them, and those that are in the list for no reason.
pub fn check() -> Result<(), String> {
    let mut workload = any_type::workload(Seed(1).rng(0), true);
    let mut model = Model::new();
    let mut sent = BTreeSet::new();
    for _ in 0..DRAWS {
        let command = any_type::command(&mut workload);
        match model.apply(&command, 0) {
            None => {}
            Some(Expected::Exactly(frame)) if frame.is_error() => {}
            Some(_) => {
                sent.insert(String::from_utf8_lossy(&command[0]).to_lowercase());
            }
        }
    }
    let writes = |found: &fencepost::command::Found| found.spec.flags.contains(Flags::WRITE);
    let left_out: BTreeSet<String> =
        LEFT_OUT.iter().flat_map(|(names, _)| *names).map(|name| (*name).to_owned()).collect();
    let writing: BTreeSet<String> = all().filter(writes).map(|found| found.full_name()).collect();
    let missing: Vec<_> = writing.iter().filter(|name| !sent.contains(*name) && !left_out.contains(*name)).collect();
    let needless: Vec<_> = left_out.iter().filter(|name| sent.contains(*name) || !writing.contains(*name)).collect();
    if missing.is_empty() && needless.is_empty() {
        return Ok(());
    }
    Err(format!("sent by no client and not left out: {missing:?}; left out for no reason: {needless:?}"))
}
