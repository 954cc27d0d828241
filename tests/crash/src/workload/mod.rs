//! Workloads: what is run under the recorder, as text that a person can read and run again.
//!
//! A line is a step. Requests that are sent together are separated by ` | `; a step is acknowledged as a whole. In a request `@20x` stands
//! for 20 bytes of a pattern chosen by the letter, `%dump(text)` for what DUMP gives of a string. Steps that are no request:
//!
//! | line | what happens |
//! |---|---|
//! | `!tick 20` | the clock goes on by 20 milliseconds |
//! | `!expire` | the background removes what has expired |
//! | `!clean` | the cleaner works until there is nothing to be gained |
//! | `!clean 3` | the cleaner takes three steps |
//! | `!seal` | the worker's segment is sealed: its next write begins another |
//! | `!grow 18` | the pool grows to 18 segments |
//! | `!sync` | the file is synced |
//! | `!close` | the store is closed as by a shutdown; must be the last |
//!
//! To add a workload is to add its lines to one of the lists ([`ace`], [`commands`], [`special`]).

pub mod ace;
pub mod commands;
pub mod random;
pub mod special;

use crate::engine::{Driver, Engine, Machine, Request, SEGMENTS};
use fencepost::store::{Fsync, PACKED_BYTES};
use std::fmt;

/// One step of a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Requests of one pipeline.
    Requests(Vec<Request>),
    /// Time passes, in milliseconds.
    Tick(u64),
    /// The background removes expired keys.
    Expire,
    /// The cleaner takes so many steps at most.
    Clean(usize),
    /// The worker seals its segment.
    Seal,
    /// The pool grows to so many segments.
    Grow(u32),
    /// The file is synced.
    Sync,
    /// The store is closed.
    Close,
}

/// A step and the line that it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub line: String,
    pub action: Action,
}

impl Step {
    /// Reads a line.
    ///
    /// # Panics
    /// If it is none: workloads are part of the program.
    pub fn new(line: &str) -> Self {
        let action = match line.strip_prefix('!').map(|rest| rest.split(' ').collect::<Vec<_>>()) {
            None => Action::Requests(line.split(" | ").map(request).collect()),
            Some(words) => match words[..] {
                ["tick", by_ms] => Action::Tick(by_ms.parse().expect("milliseconds")),
                ["expire"] => Action::Expire,
                ["clean"] => Action::Clean(usize::MAX),
                ["clean", steps] => Action::Clean(steps.parse().expect("a number of steps")),
                ["seal"] => Action::Seal,
                ["grow", segments] => Action::Grow(segments.parse().expect("a number of segments")),
                ["sync"] => Action::Sync,
                ["close"] => Action::Close,
                _ => panic!("no such step: {line}"),
            },
        };
        Self { line: line.to_owned(), action }
    }

    /// The requests of the step, none for other steps.
    pub fn requests(&self) -> &[Request] {
        if let Action::Requests(requests) = &self.action { requests } else { &[] }
    }

    /// Carries the step out; the replies' bytes.
    pub fn run(&self, engine: &mut Engine, driver: &mut Driver) -> Vec<u8> {
        match &self.action {
            Action::Requests(requests) => return engine.run(driver, requests),
            Action::Tick(by_ms) => engine.advance(*by_ms),
            Action::Expire => engine.expire(),
            Action::Clean(steps) => engine.clean(*steps),
            Action::Seal => engine.seal(),
            Action::Grow(segments) => engine.grow(*segments),
            Action::Sync => engine.sync(),
            Action::Close => engine.close(),
        }
        Vec::new()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// Many lines as steps.
pub fn steps<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Step> {
    lines.into_iter().map(Step::new).collect()
}

fn request(words: &str) -> Request {
    words.split(' ').filter(|word| !word.is_empty()).map(argument).collect()
}

fn argument(word: &str) -> Vec<u8> {
    if let Some(rest) = word.strip_prefix('@')
        && let Some(salt) = rest.bytes().last().filter(u8::is_ascii_alphabetic)
        && let Ok(len) = rest[..rest.len() - 1].parse()
    {
        return pattern(len, salt);
    }
    match word.strip_prefix("%dump(").and_then(|rest| rest.strip_suffix(')')) {
        Some(text) => dump_of(text.as_bytes()),
        None if word == "\"\"" => Vec::new(),
        None => word.as_bytes().to_vec(),
    }
}

/// Bytes of which each tells its place and the salt.
pub fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(7) ^ ((i >> 8) as u8).wrapping_mul(29) ^ salt).collect()
}

/// What DUMP gives of a string.
fn dump_of(text: &[u8]) -> Vec<u8> {
    let (mut engine, mut driver) = (Engine::create(SEGMENTS, Machine::PMEM, None), Driver::new());
    let set = vec![b"SET".to_vec(), b"k".to_vec(), text.to_vec()];
    let replies = engine.run(&mut driver, &[set, vec![b"DUMP".to_vec(), b"k".to_vec()]]);
    let bulk = replies.strip_prefix(b"+OK\r\n$").expect("SET succeeds");
    let line = bulk.iter().position(|&byte| byte == b'\r').expect("a length");
    bulk[line + 2..bulk.len() - 2].to_vec()
}

/// How a workload's recorded part begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// With a store that is open already.
    Open,
    /// With the opening of what a killed server has left.
    Killed,
    /// With the opening of what a clean shutdown has left.
    Closed,
    /// With the opening of what a killed server has left, all of whose segments were freed since: it is empty, and what is written goes over the
    /// bytes of former lives.
    Recycled,
    /// With nothing: the pool is made first. There can be no prelude then.
    Nothing,
}

/// Something to run.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What tells it from all others and makes it again: see [`by_name`].
    pub name: String,
    pub segments: u32,
    pub start: Start,
    /// Where the pool is a file on a disk, when that is synced.
    pub disk: Option<Fsync>,
    /// Up to how many bytes of elements a collection lies in one record.
    pub packed_bytes: usize,
    /// Run before the recording begins.
    pub prelude: Vec<Step>,
    pub steps: Vec<Step>,
    /// The steps' numbers in the workload of that name, where some were left out.
    kept: Option<Vec<usize>>,
    /// Cuts in the steps before this one are explored elsewhere.
    pub explore_from: usize,
    /// Whether every subset of units is tried, batches included.
    pub exhaustive: bool,
}

impl Workload {
    pub fn new(name: impl Into<String>, prelude: Vec<Step>, steps: Vec<Step>) -> Self {
        Self {
            name: name.into(),
            segments: SEGMENTS,
            start: Start::Open,
            disk: None,
            packed_bytes: PACKED_BYTES,
            prelude,
            steps,
            kept: None,
            explore_from: 0,
            exhaustive: false,
        }
    }

    /// Only those of a whole workload's steps.
    pub fn with_steps(&self, kept: &[usize]) -> Self {
        let kept: Vec<usize> = kept.iter().copied().filter(|&index| index < self.steps.len()).collect();
        let steps = kept.iter().map(|&index| self.steps[index].clone()).collect();
        // What comes before the interesting step may be what is dropped, so all of it is explored.
        Self { steps, kept: Some(kept), explore_from: 0, ..self.clone() }
    }

    /// The same, with the pool on a disk.
    pub fn on_disk(self, fsync: Fsync) -> Self {
        Self { name: format!("{DISK}{}/{}", fsync.name(), self.name), disk: Some(fsync), ..self }
    }

    /// The same, with a record for each element of a collection, however small it is.
    pub fn of_records(self) -> Self {
        Self { name: format!("{RECORDS}{}", self.name), packed_bytes: 0, ..self }
    }

    /// Whether it makes collections, so that it differs from [`Workload::of_records`].
    pub fn makes_collections(&self) -> bool {
        const MAKE: [&str; 8] = ["HSET", "HINCRBY", "PUSH", "SADD", "ZADD", "GEOADD", "ZINCRBY", "STORE"];
        let all = self.prelude.iter().chain(&self.steps);
        all.into_iter().any(|step| MAKE.iter().any(|word| step.line.contains(word)))
    }

    /// The numbers of its steps in the whole workload.
    pub fn numbers(&self) -> Vec<usize> {
        self.kept.clone().unwrap_or_else(|| (0..self.steps.len()).collect())
    }
}

/// What the names of workloads begin with that have their pool on a disk.
const DISK: &str = "disk/";

/// What the names of workloads begin with whose collections are never packed.
const RECORDS: &str = "records/";

/// Each of these, and, where that is something else, the same without packed collections.
fn in_both_forms(workloads: impl Iterator<Item = Workload>) -> Vec<Workload> {
    let both = |workload: Workload| {
        let of_records = workload.makes_collections().then(|| workload.clone().of_records());
        std::iter::once(workload).chain(of_records)
    };
    workloads.flat_map(both).collect()
}

/// The workload of a name: `ace/3.7`, `command/12`, `special/creation`, `random/2a/40`, `records/command/12`, `disk/everysec/ace/3.7`.
pub fn by_name(name: &str) -> Option<Workload> {
    if let Some((word, rest)) = name.strip_prefix(DISK).and_then(|rest| rest.split_once('/')) {
        let fsync = Fsync::ALL.into_iter().find(|fsync| fsync.name() == word)?;
        return by_name(rest).map(|workload| workload.on_disk(fsync));
    }
    if let Some(rest) = name.strip_prefix(RECORDS) {
        return by_name(rest).map(Workload::of_records);
    }
    let (family, rest) = name.split_once('/')?;
    match family {
        "ace" => ace::by_name(rest),
        "command" => commands::all().into_iter().find(|workload| workload.name == name),
        "special" => special::all().into_iter().find(|workload| workload.name == name),
        "random" => random::by_name(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_they_stand_for() {
        let step = Step::new("SET a @3b | GET \"\"");
        assert_eq!(step.requests().len(), 2);
        assert_eq!(step.requests()[0][2], pattern(3, b'b'));
        assert_eq!(step.requests()[1], [b"GET".to_vec(), vec![]]);
        assert_eq!(Step::new("!tick 7").action, Action::Tick(7));
    }

    #[test]
    fn every_workload_is_found_by_its_name() {
        let all = commands::all()
            .into_iter()
            .chain(special::all())
            .chain(ace::sequences(1))
            .chain([random::workload(42, 10), random::workload(43, 10).on_disk(Fsync::Always)]);
        for workload in all {
            let found = by_name(&workload.name).unwrap_or_else(|| panic!("{} is not found", workload.name));
            assert_eq!((found.prelude, found.steps), (workload.prelude, workload.steps), "{}", workload.name);
        }
    }
}
