//! Commands on collections: elements written, moved and removed under each other, with the keys.

use super::{Draw, START_MS, Step, words};
use fencepost_harness::{Command, Seed};

/// What the keys of a schedule hold, unless one is overwritten by a string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Hash,
    List,
    Set,
    SortedSet,
}

impl Kind {
    /// That of the schedule of a seed.
    pub fn of(seed: u64) -> Self {
        *Seed(seed).rng(0xe1e).pick(&[Kind::Hash, Kind::List, Kind::Set, Kind::SortedSet])
    }
}

/// Names of elements.
const NAMES: [&str; 3] = ["f", "g", "h"];

impl Draw<'_> {
    /// One command, some that arrive together, or a transaction.
    pub(super) fn elements_step(&mut self) -> Step {
        let count = 2 + self.rng.below(2);
        match self.rng.below(6) {
            0 | 1 => Step::Transaction(0, (0..count).map(|_| self.elements()).collect()),
            2 => Step::Requests(0, (0..count).map(|_| self.element_write()).collect()),
            3 if self.rng.one_in(2) => Step::Requests(0, (0..=count).map(|_| self.element_read()).collect()),
            _ => Step::Requests(0, vec![self.elements()]),
        }
    }

    /// One worker who changes several collections at a time, others who look at one after the other.
    pub(super) fn moving(&mut self, number: u64) -> Vec<Step> {
        let step = |draw: &mut Self| {
            if number > 0 {
                let count = if draw.rng.one_in(3) { 3 } else { 1 };
                return Step::Requests(0, (0..count).map(|_| draw.element_read()).collect());
            }
            let ((a, b), (f, _)) = (draw.two_keys(), draw.names());
            Step::Requests(
                0,
                match draw.kind {
                    _ if draw.rng.one_in(6) => vec![words(format!("RENAME {a} {b}"))],
                    Kind::List => vec![words(format!("LMOVE {a} {b} LEFT RIGHT"))],
                    Kind::Set => vec![words(format!("SMOVE {a} {b} {f}"))],
                    Kind::Hash | Kind::SortedSet => (0..3).map(|_| draw.element_write()).collect(),
                },
            )
        };
        (0..if number > 0 { 5 } else { 3 }).map(|_| step(self)).collect()
    }

    /// Two different names.
    fn names(&mut self) -> (&'static str, &'static str) {
        let first = self.rng.below(3) as usize;
        (NAMES[first], NAMES[(first + 1 + self.rng.below(2) as usize) % 3])
    }

    /// A value, of which some make a batch of several lines.
    fn element_value(&mut self) -> String {
        let value = self.value();
        let times = if self.rng.one_in(6) { 20 + self.rng.below(40) } else { 1 };
        vec![value; times as usize].join(".")
    }

    /// A command that adds to a collection.
    pub(super) fn element_write(&mut self) -> Command {
        let (key, (f, g), v, score) = (self.key(), self.names(), self.element_value(), self.rng.below(4));
        words(match self.kind {
            Kind::Hash => format!("HSET {key} {f} {v}"),
            Kind::List => format!("{} {key} {v}", self.rng.pick(&["LPUSH", "RPUSH"])),
            Kind::Set => format!("SADD {key} {f} {g}"),
            Kind::SortedSet => format!("ZADD {key} {score} {f}"),
        })
    }

    /// A command that reads a collection.
    fn element_read(&mut self) -> Command {
        let (key, (f, g)) = (self.key(), self.names());
        words(match (self.kind, self.rng.below(3)) {
            (Kind::Hash, 0) => format!("HGET {key} {f}"),
            (Kind::Hash, 1) => format!("HLEN {key}"),
            (Kind::Hash, _) => format!("HMGET {key} {f} {g}"),
            (Kind::List, 0) => format!("LLEN {key}"),
            (Kind::List, _) => format!("LRANGE {key} 0 -1"),
            (Kind::Set, 0) => format!("SCARD {key}"),
            (Kind::Set, 1) => format!("SISMEMBER {key} {f}"),
            (Kind::Set, _) => format!("SMEMBERS {key}"),
            (Kind::SortedSet, 0) => format!("ZCARD {key}"),
            (Kind::SortedSet, 1) => format!("ZSCORE {key} {f}"),
            (Kind::SortedSet, _) => format!("ZRANGE {key} 0 -1 WITHSCORES"),
        })
    }

    pub(super) fn elements(&mut self) -> Command {
        match self.rng.below(5) {
            0 => return self.keys_of_collections(),
            1 | 2 => return self.element_write(),
            _ => {}
        }
        let ((a, b), (f, g), v, w) = (self.two_keys(), self.names(), self.element_value(), self.value());
        let (n, from_end) = (self.rng.below(4), self.rng.pick(&["0", "-1"]));
        words(match (self.kind, self.rng.below(13)) {
            (Kind::Hash, 0 | 1) => format!("HSET {a} {f} {v} {g} {w}"),
            (Kind::Hash, 2) => format!("HSETNX {a} {f} {v}"),
            (Kind::Hash, 3) => format!("HINCRBY {a} n {n}"),
            (Kind::Hash, 4) => format!("HDEL {a} {f} {g}"),
            (Kind::Hash, 5 | 6) => format!("HDEL {a} {f}"),
            (Kind::Hash, 7) => format!("HGET {a} {f}"),
            (Kind::Hash, 8) => format!("HLEN {a}"),
            (Kind::Hash, 9) => format!("HMGET {a} {f} {g}"),
            (Kind::Hash, _) => format!("HGETALL {a}"),

            (Kind::List, 0) => format!("RPUSH {a} {v} {w}"),
            (Kind::List, 1) => format!("LPOP {a}"),
            (Kind::List, 2) => format!("RPOP {a} 2"),
            (Kind::List, 3) => format!("LSET {a} {from_end} {v}"),
            (Kind::List, 4) => format!("LTRIM {a} {} -1", n.min(2)),
            (Kind::List, 5) => format!("LREM {a} 0 {}", self.earlier_value()),
            (Kind::List, 6) => format!("LINSERT {a} BEFORE {} {w}", self.earlier_value()),
            (Kind::List, 7) => format!("LMOVE {a} {b} LEFT RIGHT"),
            (Kind::List, 8) => format!("LMOVE {a} {a} RIGHT LEFT"),
            (Kind::List, 9) => format!("LLEN {a}"),
            (Kind::List, _) => format!("LRANGE {a} 0 -1"),

            (Kind::Set, 0) => format!("SREM {a} {f}"),
            (Kind::Set, 1) => format!("SREM {a} {f} {g}"),
            (Kind::Set, 2 | 3) => format!("SMOVE {a} {b} {f}"),
            (Kind::Set, 4) => format!("SUNIONSTORE {a} {a} {b}"),
            (Kind::Set, 5) => format!("SINTERSTORE {a} {a} {b}"),
            (Kind::Set, 6) => format!("SDIFFSTORE {a} {b} {a}"),
            (Kind::Set, 7) => format!("SISMEMBER {a} {f}"),
            (Kind::Set, 8) => format!("SCARD {a}"),
            (Kind::Set, _) => format!("SMEMBERS {a}"),

            (Kind::SortedSet, 0) => format!("ZADD {a} {n} {f} 2 {g}"),
            (Kind::SortedSet, 1) => format!("ZADD {a} GT {n} {f}"),
            (Kind::SortedSet, 2) => format!("ZINCRBY {a} {n} {f}"),
            (Kind::SortedSet, 3) => format!("ZREM {a} {f}"),
            (Kind::SortedSet, 4) => format!("ZREM {a} {f} {g}"),
            (Kind::SortedSet, 5) => format!("ZPOPMIN {a}"),
            (Kind::SortedSet, 6) => format!("ZPOPMAX {a} 2"),
            (Kind::SortedSet, 7) => format!("ZUNIONSTORE {a} 2 {a} {b}"),
            (Kind::SortedSet, 8) => format!("ZRANGESTORE {a} {b} 0 1"),
            (Kind::SortedSet, 9) => format!("ZSCORE {a} {f}"),
            (Kind::SortedSet, 10) => format!("ZREMRANGEBYRANK {a} {} {from_end}", n.min(1)),
            (Kind::SortedSet, 11) => format!("ZREMRANGEBYSCORE {a} {n} 2"),
            (Kind::SortedSet, _) => format!("ZRANGE {a} 0 -1 WITHSCORES"),
        })
    }

    /// A value that was drawn before.
    fn earlier_value(&mut self) -> String {
        let number = 1 + self.rng.below(u64::from(self.values));
        if self.numbers { format!("{number}00") } else { format!("v{number}") }
    }

    /// Commands on the keys of collections, whatever they hold.
    fn keys_of_collections(&mut self) -> Command {
        let ((a, b), v) = (self.two_keys(), self.value());
        words(match self.rng.below(9) {
            0 | 1 => format!("DEL {a}"),
            2 => format!("DEL {a} {b}"),
            3 | 4 => format!("RENAME {a} {b}"),
            5 => format!("COPY {a} {b} REPLACE"),
            6 => format!("EXISTS {a} {b}"),
            7 => format!("TYPE {a}"),
            _ => format!("SET {a} {v}"),
        })
    }

    /// Hashes whose fields, and which themselves, expire. Without HPEXPIRE, whose reply tells whether its time had come by the moment at which it happened:
    /// the checker reckons times from when a call began.
    pub(super) fn fields(&mut self) -> Command {
        let ((a, b), (f, g), v) = (self.two_keys(), self.names(), self.value());
        let (px, at) = (1 + self.rng.below(15), START_MS + self.rng.below(30));
        words(match self.rng.below(22) {
            0..=2 => format!("HSET {a} {f} {v}"),
            3 | 4 => format!("HGETEX {a} PX {px} FIELDS 1 {f}"),
            5 => format!("HGETEX {a} PX {px} FIELDS 2 {f} {g}"),
            6 => format!("HGETEX {a} PXAT {at} FIELDS 1 {f}"),
            7 => format!("HPERSIST {a} FIELDS 1 {f}"),
            8 => format!("HGETEX {a} PX {px} FIELDS 1 {f}"),
            9 | 10 => format!("HSETEX {a} PX {px} FIELDS 1 {f} {v}"),
            11 => format!("HSETEX {a} KEEPTTL FIELDS 1 {f} {v}"),
            12 => format!("HGETDEL {a} FIELDS 1 {f}"),
            13 => format!("HDEL {a} {f}"),
            14 => format!("HGET {a} {f}"),
            15 => format!("HLEN {a}"),
            16 => format!("PEXPIRE {a} {px}"),
            17 => format!("EXISTS {a} {b}"),
            18 => return self.keys_of_collections(),
            _ => format!("HGETALL {a}"),
        })
    }
}
