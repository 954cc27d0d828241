//! Fields of hashes that expire.

use super::{HASHES, INSTANTS, SPANS, Workload};
use crate::{Command, command};

/// Numbers at the edges: times that are over already, the last that a field can have, what no longer fits at some step.
const EDGES: &[&str] = &[
    "0",
    "-1",
    "2147483648",
    "4294967297",
    "70368744177",
    "70368744178",
    "70368744177663",
    "70368744177664",
    "9223372036854775",
    "9223372036854776",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
];

/// What such commands are made of, and what they are not.
const WORDS: &[&[u8]] = &[
    b"FIELDS", b"fields", b"FIELD", b"NX", b"XX", b"GT", b"LT", b"FNX", b"FXX", b"KEEPTTL", b"PERSIST", b"EX", b"PX",
    b"EXAT", b"PXAT", b"0", b"2", b"01", b"", b"x", b"\xff",
];

impl Workload {
    /// Fields that expire among all that is done to hashes and their keys; about one command in four is broken, or has a time at the edges. Times are as
    /// far apart as those of other commands, unless [`is_about_a_moment`] says so.
    pub fn field_expiry_command(&mut self) -> Command {
        let key = self.key_among(HASHES);
        match self.rng.below(40) {
            0..13 => self.field_expiry(),
            13..17 => {
                let mut words = self.field_expiry();
                if let Some((at, _)) = time(&words) {
                    words[at] = self.rng.pick(EDGES).as_bytes().to_vec();
                }
                words
            }
            17..22 => {
                let mut words = self.field_expiry();
                for _ in 0..self.rng.between(1, 2) {
                    self.break_at_random(&mut words);
                }
                words
            }
            22..29 => self.hash(),
            29..33 => {
                let pairs = 2 * self.rng.between(1, 5);
                [command(&[&b"HSET"[..], &key]), self.elements(pairs, pairs)].concat()
            }
            33 => {
                let options = ["", "2", "-5", "1000", "1000 WITHVALUES"];
                let mut words = command(&[&b"HRANDFIELD"[..], &key]);
                words.extend(self.rng.pick(&options).split_whitespace().map(|word| word.as_bytes().to_vec()));
                words
            }
            34 => command(&[&b"HSCAN"[..], &key, b"0", b"COUNT", b"1000"]),
            35 if self.rng.one_in(3) => command(&[self.rng.pick(&["SET", "SADD", "RPUSH"]).as_bytes(), &key, b"x"]),
            35..37 => command(&[&b"DEL"[..], &self.key()]),
            37 => self.database(),
            _ => self.generic(),
        }
    }

    /// Drops, doubles, moves, adds or replaces a word.
    fn break_at_random(&mut self, words: &mut Command) {
        let mut any = || self.rng.between(1, words.len() as i64 - 1) as usize;
        let (at, other) = (any(), any());
        let word = match self.rng.one_in(4) {
            true => self.rng.pick(EDGES).as_bytes().to_vec(),
            false => self.rng.pick(WORDS).to_vec(),
        };
        match self.rng.below(5) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[at].clone()),
            2 => words.swap(at, other),
            3 => words.insert(at + 1, word),
            _ => words[at] = word,
        }
    }

    pub(super) fn field_expiry(&mut self) -> Command {
        const TELL: [&str; 5] = ["HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME", "HPERSIST"];
        let key = self.key_among(HASHES);
        let (mut words, mut with_values) = (Vec::new(), false);
        match self.rng.below(12) {
            0..5 => {
                let (name, time) = match self.rng.below(4) {
                    0 => ("HEXPIRE", self.rng.pick(SPANS).to_string()),
                    1 => ("HPEXPIRE", format!("{}000", self.rng.pick(SPANS))),
                    2 => ("HEXPIREAT", self.rng.pick(INSTANTS).to_string()),
                    _ => ("HPEXPIREAT", format!("{}123", self.rng.pick(INSTANTS))),
                };
                words.extend(command(&[name.as_bytes(), &key, time.as_bytes()]));
                if self.rng.one_in(2) {
                    words.push(self.rng.pick(&["NX", "XX", "GT", "LT", "lt"]).as_bytes().to_vec());
                }
            }
            5..7 => words.extend(command(&[self.rng.pick(&TELL).as_bytes(), &key])),
            7 => words.extend(command(&[&b"HGETDEL"[..], &key])),
            8..10 => {
                words.extend(command(&[&b"HGETEX"[..], &key]));
                match self.rng.below(3) {
                    0 => words.push(b"PERSIST".to_vec()),
                    1 => words.extend(self.deadline()),
                    _ => {}
                }
            }
            _ => {
                with_values = true;
                words.extend(command(&[&b"HSETEX"[..], &key]));
                if self.rng.one_in(3) {
                    words.push(self.rng.pick(&["FNX", "FXX", "fxx"]).as_bytes().to_vec());
                }
                match self.rng.below(4) {
                    0 => words.push(b"KEEPTTL".to_vec()),
                    1 | 2 => words.extend(self.deadline()),
                    _ => {}
                }
            }
        }
        let count = self.rng.between(1, 4);
        words.extend(command(&["FIELDS", &count.to_string()]));
        words.extend((0..if with_values { 2 * count } else { count }).map(|_| self.element()));
        words
    }
}

/// Where the time is of a command that sets when fields expire, and in what it is told.
fn time(words: &[Vec<u8>]) -> Option<(usize, Vec<u8>)> {
    let upper = |word: &Vec<u8>| word.to_ascii_uppercase();
    let name = upper(&words[0]);
    if name.starts_with(b"H") && (name.ends_with(b"EXPIRE") || name.ends_with(b"EXPIREAT")) {
        return (words.len() > 2).then_some((2, name[1..].to_vec()));
    }
    let is_unit = |word: &Vec<u8>| [&b"EX"[..], b"PX", b"EXAT", b"PXAT"].contains(&upper(word).as_slice());
    let at = 1 + words.iter().position(is_unit)?;
    (at < words.len()).then(|| (at, upper(&words[at - 1])))
}

/// Whether it depends on the moment what such a command does: a time passes soon, or is held against one that was set a moment before.
pub fn is_about_a_moment(words: &[Vec<u8>]) -> bool {
    let Some((at, unit)) = time(words) else { return false };
    let Some(time) = std::str::from_utf8(&words[at]).ok().and_then(|text| text.parse::<i64>().ok()) else {
        return false;
    };
    let soon = if unit.starts_with(b"P") { 1_000_000 } else { 1000 };
    let compares = words.iter().any(|word| matches!(word.to_ascii_uppercase().as_slice(), b"GT" | b"LT"));
    !unit.ends_with(b"AT") && time > 0 && (time < soon || compares)
}
