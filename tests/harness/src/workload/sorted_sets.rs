//! Random commands on sorted sets, and on places, which are members of some.

use super::Workload;
use crate::{Command, command};

/// Keys that are mostly sorted sets.
const SORTED: &[&[u8]] = &[b"a", b"d", b"key:1", b"\x00\xff\r\n\x80"];

/// A sorted set whose members all have the score 0: what commands that go by names are for. No other commands use it.
pub const BY_NAME: &[u8] = b"by name";

/// Keys that are sorted sets of places.
const PLACES: &[&[u8]] = &[b"places", b"more places"];

impl Workload {
    pub(super) fn sorted_key(&mut self) -> Vec<u8> {
        if self.rng.one_in(12) { self.key() } else { self.rng.pick(SORTED).to_vec() }
    }

    fn member(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => self.element(),
            1 => vec![b'm'; self.rng.between(62, 67) as usize],
            _ => vec![b'a' + self.rng.below(10) as u8],
        }
    }

    fn members(&mut self, least: i64, most: i64) -> Vec<Vec<u8>> {
        (0..self.rng.between(least, most)).map(|_| self.member()).collect()
    }

    fn score(&mut self) -> String {
        match self.rng.below(16) {
            0 => self.rng.pick(&["inf", "-inf", "+inf"]).to_string(),
            1..4 => self.quarter(),
            _ => self.rng.between(-6, 6).to_string(),
        }
    }

    fn score_end(&mut self) -> String {
        let excluding = if self.rng.one_in(4) { "(" } else { "" };
        let score = if self.rng.one_in(4) { self.rng.pick(&["-inf", "+inf"]).to_string() } else { self.score() };
        format!("{excluding}{score}")
    }

    fn name_end(&mut self) -> Vec<u8> {
        let mut end = self.rng.pick(&[&b"-"[..], b"+", b"[", b"(", b"[", b"("]).to_vec();
        if matches!(end[0], b'[' | b'(') {
            end.extend(self.member());
        }
        end
    }

    fn maybe(&mut self, words: &mut Command, one_in: u64, word: &str) {
        if self.rng.one_in(one_in) {
            words.push(word.into());
        }
    }

    fn maybe_limit(&mut self, words: &mut Command, one_in: u64) {
        if self.rng.one_in(one_in) {
            words.push(b"LIMIT".to_vec());
            words.extend([self.rng.between(-1, 4), self.rng.between(-1, 5)].map(|number| number.to_string().into()));
        }
    }

    /// A command on sorted sets.
    pub(super) fn sorted_set(&mut self) -> Command {
        let (key, other) = (self.sorted_key(), self.sorted_key());
        match self.rng.below(40) {
            0..9 => self.zadd(&key),
            9 => command(&[&b"ZINCRBY"[..], &key, self.score().as_bytes(), &self.member()]),
            10..12 => {
                let mut words = command(&[&b"ZREM"[..], &key]);
                words.extend(self.members(1, 4));
                words
            }
            12 => command(&[&b"ZCARD"[..], &key]),
            13 => command(&[&b"ZSCORE"[..], &key, &self.member()]),
            14 => {
                let mut words = command(&[&b"ZMSCORE"[..], &key]);
                words.extend(self.members(1, 3));
                words
            }
            15 => command(&[self.rng.pick(&["ZRANK", "ZREVRANK"]).as_bytes(), &key, &self.member()]),
            16 => command(&[&b"ZCOUNT"[..], &key, self.score_end().as_bytes(), self.score_end().as_bytes()]),
            17..24 => self.zrange(&key, &other),
            24..26 => self.by_name(),
            26..28 => {
                let mut words = command(&[self.rng.pick(&["ZPOPMIN", "ZPOPMAX"]).as_bytes(), &key]);
                if self.rng.one_in(2) {
                    words.push(self.rng.between(0, 4).to_string().into());
                }
                words
            }
            28 => {
                let end = *self.rng.pick(&["MIN", "MAX", "max"]);
                let mut words = command(&[&b"ZMPOP"[..], b"2", &key, &other, end.as_bytes()]);
                if self.rng.one_in(2) {
                    words.extend(command(&["COUNT", &self.rng.between(0, 4).to_string()]));
                }
                words
            }
            29 => command(&[&b"ZREMRANGEBYRANK"[..], &key, self.list_index().as_bytes(), self.list_index().as_bytes()]),
            30 => command(&[&b"ZREMRANGEBYSCORE"[..], &key, self.score_end().as_bytes(), self.score_end().as_bytes()]),
            31 => {
                let mut words = command(&[&b"ZRANDMEMBER"[..], &key, b"1000"]);
                self.maybe(&mut words, 2, "WITHSCORES");
                words
            }
            32 => command(&[&b"ZSCAN"[..], &key, b"0", b"COUNT", b"1000"]),
            _ => self.zcombine(),
        }
    }

    fn zadd(&mut self, key: &[u8]) -> Command {
        let mut words = command(&[&b"ZADD"[..], key]);
        for option in ["NX", "XX", "GT", "LT", "CH", "INCR", "ch"] {
            self.maybe(&mut words, 9, option);
        }
        let single = words.iter().any(|word| word == b"INCR");
        for _ in 0..if single { 1 } else { self.rng.between(1, 6) } {
            words.push(self.score().into());
            words.push(self.member());
        }
        words
    }

    fn zrange(&mut self, key: &[u8], other: &[u8]) -> Command {
        let name = *self.rng.pick(&["ZRANGE", "ZRANGE", "ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE"]);
        let name = if self.rng.one_in(4) { "ZRANGESTORE" } else { name };
        let (mut words, stores) = (command(&[name]), name == "ZRANGESTORE");
        if stores {
            words.push(other.to_vec());
        }
        words.push(key.to_vec());
        let by_score = name.ends_with("BYSCORE") || !name.starts_with("ZREV") && self.rng.one_in(2);
        let end = |workload: &mut Self| if by_score { workload.score_end() } else { workload.list_index() };
        words.extend([end(self), end(self)].map(String::into_bytes));
        if by_score && !name.ends_with("BYSCORE") {
            words.push(b"BYSCORE".to_vec());
        }
        if matches!(name, "ZRANGE" | "ZRANGESTORE") {
            self.maybe(&mut words, 3, "REV");
        }
        self.maybe_limit(&mut words, if by_score { 3 } else { 20 });
        if !stores {
            self.maybe(&mut words, 2, "WITHSCORES");
        }
        words
    }

    fn by_name(&mut self) -> Command {
        let (min, max) = (self.name_end(), self.name_end());
        match self.rng.below(7) {
            0..2 => {
                let mut words = command(&[&b"ZADD"[..], BY_NAME]);
                for _ in 0..self.rng.between(1, 6) {
                    words.extend([b"0".to_vec(), vec![b'a' + self.rng.below(10) as u8]]);
                }
                words
            }
            2 => command(&[&b"ZLEXCOUNT"[..], BY_NAME, &min, &max]),
            3 => command(&[&b"ZREMRANGEBYLEX"[..], BY_NAME, &min, &max]),
            4 => {
                let mut words = command(&[&b"ZRANGE"[..], BY_NAME, &min, &max, b"BYLEX"]);
                self.maybe(&mut words, 2, "REV");
                self.maybe_limit(&mut words, 2);
                words
            }
            _ => {
                let name = *self.rng.pick(&["ZRANGEBYLEX", "ZREVRANGEBYLEX"]);
                let mut words = command(&[name.as_bytes(), BY_NAME, &min, &max]);
                self.maybe_limit(&mut words, 2);
                words
            }
        }
    }

    fn zcombine(&mut self) -> Command {
        const NAMES: &[&str] = &["ZUNION", "ZINTER", "ZDIFF", "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE", "ZINTERCARD"];
        let name = *self.rng.pick(NAMES);
        let mut words = command(&[name]);
        if name.ends_with("STORE") {
            words.push(self.sorted_key());
        }
        let count = self.rng.between(1, 3);
        words.push(count.to_string().into());
        words.extend((0..count).map(|_| self.sorted_key()).collect::<Vec<_>>());
        if name == "ZINTERCARD" {
            if self.rng.one_in(2) {
                words.extend(command(&["LIMIT", &self.rng.between(0, 3).to_string()]));
            }
            return words;
        }
        if !name.starts_with("ZDIFF") {
            if self.rng.one_in(3) {
                words.push(b"WEIGHTS".to_vec());
                words.extend((0..count).map(|_| self.rng.between(-3, 4).to_string().into_bytes()).collect::<Vec<_>>());
            }
            if self.rng.one_in(2) {
                words.extend(command(&["AGGREGATE", *self.rng.pick(&["SUM", "MIN", "max"])]));
            }
        }
        if !name.ends_with("STORE") {
            self.maybe(&mut words, 2, "WITHSCORES");
        }
        words
    }

    fn degrees(&mut self, most: i64) -> String {
        match self.rng.below(3) {
            0 => self.rng.between(-most, most).to_string(),
            _ => format!("{}.{}", self.rng.between(10, 20), self.rng.between(0, 999_999)),
        }
    }

    fn place(&mut self) -> [Vec<u8>; 2] {
        [self.degrees(180).into(), self.degrees(85).into()]
    }

    fn distance(&mut self) -> [Vec<u8>; 2] {
        let unit = *self.rng.pick(&["m", "km", "ft", "mi", "KM"]);
        let distance = match self.rng.below(4) {
            0 => self.rng.between(0, 20_000_000),
            _ => self.rng.between(0, 2_000),
        };
        [distance.to_string().into(), unit.into()]
    }

    /// A command on places.
    pub(super) fn geo(&mut self) -> Command {
        let key = self.rng.pick(PLACES).to_vec();
        match self.rng.below(12) {
            0..4 => {
                let mut words = command(&[&b"GEOADD"[..], &key]);
                for option in ["NX", "XX", "CH"] {
                    self.maybe(&mut words, 9, option);
                }
                for _ in 0..self.rng.between(1, 5) {
                    words.extend(self.place());
                    words.push(self.member());
                }
                words
            }
            4 => {
                let mut words = command(&[self.rng.pick(&["GEOPOS", "GEOHASH"]).as_bytes(), &key]);
                words.extend(self.members(0, 4));
                words
            }
            5 => {
                let mut words = command(&[&b"GEODIST"[..], &key, &self.member(), &self.member()]);
                words.extend(self.distance().into_iter().skip(1));
                words
            }
            6 => {
                let mut words = command(&[self.rng.pick(&["GEORADIUS", "GEORADIUS_RO"]).as_bytes(), &key]);
                words.extend(self.place());
                words.extend(self.distance());
                self.geo_options(&mut words);
                words
            }
            7 => {
                let name = *self.rng.pick(&["GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER_RO"]);
                let mut words = command(&[name.as_bytes(), &key, &self.member()]);
                words.extend(self.distance());
                self.geo_options(&mut words);
                words
            }
            _ => {
                let stores = self.rng.one_in(4);
                let mut words = command(&[if stores { "GEOSEARCHSTORE" } else { "GEOSEARCH" }]);
                if stores {
                    words.push(self.sorted_key());
                }
                words.push(key);
                if self.rng.one_in(2) {
                    words.extend([b"FROMMEMBER".to_vec(), self.member()]);
                } else {
                    words.push(b"FROMLONLAT".to_vec());
                    words.extend(self.place());
                }
                if self.rng.one_in(2) {
                    words.push(b"BYRADIUS".to_vec());
                } else {
                    words.extend([b"BYBOX".to_vec(), self.rng.between(0, 3000).to_string().into()]);
                }
                words.extend(self.distance());
                if stores {
                    self.maybe(&mut words, 2, "STOREDIST");
                } else {
                    self.geo_options(&mut words);
                }
                words
            }
        }
    }

    fn geo_options(&mut self, words: &mut Command) {
        for option in ["WITHDIST", "WITHCOORD", "WITHHASH", "ASC", "DESC"] {
            self.maybe(words, 3, option);
        }
    }
}
