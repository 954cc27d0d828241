//! Random commands over few keys, so that they meet: the string, bitmap, list, hash, set, sorted set, geo, generic and database commands with their
//! options.
//!
//! Values crowd where servers have edges: empty, integers at the ends of their range, lengths about 64 KiB (where
//! long strings begin), offsets past the end. Deadlines are minutes apart or long over, so that the test's own speed
//! decides nothing.

pub mod fields;
mod sorted_sets;

pub use sorted_sets::BY_NAME;

use crate::{Command, Rng, command};

/// The keys: plain ones, the empty one, one with a glob's special characters and one of binary bytes.
const KEYS: &[&[u8]] =
    &[b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"key:1", b"key:2", b"key:3", b"", b"k[*]", b"\x00\xff\r\n\x80"];

/// Keys that are mostly lists.
const LISTS: &[&[u8]] = &[b"e", b"f", b"g", b"key:2", b"k[*]"];

/// Keys that are mostly hashes, and mostly sets.
const HASHES: &[&[u8]] = &[b"c", b"d", b"key:3", b"g"];
const SETS: &[&[u8]] = &[b"b", b"key:1", b"", b"f"];

/// Lengths of long values: at and around one and two chunks of 64 KiB.
const LONG_LENGTHS: &[usize] = &[4096, 65_535, 65_536, 65_537, 131_072, 131_073, 200_000];

/// Unix seconds long over, in 2100 and in 2200.
const INSTANTS: &[&str] = &["1000000000", "4102444800", "7258118400"];

/// Relative seconds, far apart.
const SPANS: &[&str] = &["1000", "5000", "90000"];

/// A source of random commands.
pub struct Workload {
    rng: Rng,
    with_databases: bool,
    /// How many commands are still to come that a server may run together; `None` where there are to be no stretches of them.
    alike: Option<u64>,
    with_field_expiry: bool,
}

impl Workload {
    /// Commands drawn from `rng`.
    pub fn new(rng: Rng) -> Self {
        Self { rng, with_databases: true, alike: None, with_field_expiry: false }
    }

    /// Leaves out the commands that reach beyond the selected database.
    #[must_use]
    pub fn without_databases(mut self) -> Self {
        self.with_databases = false;
        self
    }

    /// Has stretches of small changes of collections among the commands, which a server may run together.
    pub fn with_stretches(&mut self) {
        self.alike = Some(0);
    }

    /// With commands for fields that expire, which Redis has from 7.4 on.
    #[must_use]
    pub fn with_field_expiry(mut self) -> Self {
        self.with_field_expiry = true;
        self
    }

    /// The generator, for draws that belong to the same run.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// One of the keys.
    pub fn key(&mut self) -> Vec<u8> {
        self.rng.pick(KEYS).to_vec()
    }

    /// A well-formed command; its words may still be refused for their values.
    pub fn command(&mut self) -> Command {
        if self.alike == Some(0) && self.rng.one_in(60) {
            self.alike = Some(self.rng.between(2, 12) as u64);
        }
        if let Some(left) = &mut self.alike
            && *left > 0
        {
            *left -= 1;
            return self.change();
        }
        let mut words = match self.rng.below(100) {
            0..30 => self.string(),
            30..39 => self.bits(),
            39..50 => self.list(),
            50..56 => self.hash(),
            56..62 => self.set_type(),
            62..74 => self.sorted_set(),
            74..77 => self.geo(),
            77..82 => self.expiry(),
            82..96 => self.generic(),
            _ => self.database(),
        };
        if self.rng.one_in(8) {
            words[0] = words[0].to_ascii_lowercase();
        }
        words
    }

    /// A command on lists, hashes, sets or sorted sets. Among few others these get old and large.
    pub fn collection_command(&mut self) -> Command {
        match self.rng.below(20) {
            0 => self.bulk(),
            1..8 => self.list(),
            8..12 => self.hash(),
            12..16 => self.set_type(),
            _ => self.sorted_set(),
        }
    }

    /// A small change of one collection. Several of them in a row may share a batch.
    fn change(&mut self) -> Command {
        let (name, key) = match self.rng.below(12) {
            0..3 => ("HSET", self.key_among(HASHES)),
            3 => ("HDEL", self.key_among(HASHES)),
            4 => ("LPUSH", self.list_key()),
            5 => ("RPUSH", self.list_key()),
            6..8 => ("SADD", self.key_among(SETS)),
            8 => ("SREM", self.key_among(SETS)),
            9..11 => ("ZADD", self.sorted_key()),
            _ => ("ZREM", self.sorted_key()),
        };
        let mut words = command(&[name.as_bytes(), &key]);
        for _ in 0..self.rng.between(1, 3) {
            let member = self.rng.between(-9, 9).to_string();
            match name {
                "HSET" => words.extend(command(&[member.as_bytes(), &self.value()])),
                "ZADD" => words.extend(command(&[self.quarter().as_bytes(), member.as_bytes()])),
                _ => words.push(member.into()),
            }
        }
        words
    }

    /// Many elements at once.
    fn bulk(&mut self) -> Command {
        let (name, key) = match self.rng.below(5) {
            0 => ("RPUSH", self.list_key()),
            1 => ("LPUSH", self.list_key()),
            2 => ("HSET", self.key_among(HASHES)),
            3 => ("SADD", self.key_among(SETS)),
            _ => ("ZADD", self.sorted_key()),
        };
        let mut words = command(&[name.as_bytes(), &key]);
        for _ in 0..self.rng.between(50, 300) {
            if matches!(name, "HSET" | "ZADD") {
                words.push(self.rng.between(-50, 50).to_string().into());
            }
            words.push(self.rng.between(0, 400).to_string().into());
        }
        words
    }

    /// A command with something wrong: an argument dropped, doubled, or replaced; a word the server cannot know.
    pub fn broken_command(&mut self) -> Command {
        const JUNK: &[&[u8]] = &[
            b"",
            b"x",
            b"-1",
            b"99999999999999999999",
            b"NX",
            b"EX",
            b"DB",
            b"1.5",
            b"\xff\x00",
            b" 1",
            b"0x1",
            b"+1",
            b"nan",
        ];
        let mut words = self.command();
        let at = self.rng.below(words.len() as u64) as usize;
        match self.rng.below(4) {
            0 if words.len() > 1 => drop(words.remove(at.max(1))),
            1 => words.insert(at + 1, words[at].clone()),
            2 => words.push(self.rng.pick(JUNK).to_vec()),
            _ if at > 0 => words[at] = self.rng.pick(JUNK).to_vec(),
            _ => words[0] = b"NOSUCHCOMMAND".to_vec(),
        }
        words
    }

    /// A value of any kind.
    pub fn value(&mut self) -> Vec<u8> {
        match self.rng.below(24) {
            0..8 => self.integer().into_bytes(),
            8..10 => self.quarter().into_bytes(),
            10 => Vec::new(),
            11..16 => {
                self.rng.pick(&[&b"foobar"[..], b"barfoo", b"ohmytext", b"mynewtext", b"0", b"00", b"3.0e3"]).to_vec()
            }
            16..19 => self.bytes_up_to(40),
            19..21 => self.bytes_up_to(300),
            21 => {
                let len = self.rng.between(40, 48) as usize;
                vec![b'e'; len]
            }
            _ => self.long(),
        }
    }

    fn long(&mut self) -> Vec<u8> {
        if !self.rng.one_in(3) {
            return self.bytes_up_to(3000);
        }
        let len = *self.rng.pick(LONG_LENGTHS);
        self.rng.bytes(len)
    }

    fn bytes_up_to(&mut self, len_max: u64) -> Vec<u8> {
        let len = self.rng.below(len_max + 1) as usize;
        self.rng.bytes(len)
    }

    fn integer(&mut self) -> String {
        match self.rng.below(10) {
            0 => i64::MAX.to_string(),
            1 => i64::MIN.to_string(),
            2 => (i64::MAX - self.rng.between(0, 20)).to_string(),
            3..5 => self.rng.between(-1_000_000, 1_000_000).to_string(),
            _ => self.rng.between(-20, 20).to_string(),
        }
    }

    /// A number of quarters: its arithmetic is exact in every floating-point type.
    fn quarter(&mut self) -> String {
        (self.rng.between(-4000, 4000) as f64 / 4.0).to_string()
    }

    /// An offset in bytes, mostly small.
    fn offset(&mut self) -> String {
        match self.rng.below(12) {
            0 => self.rng.between(65_530, 65_545).to_string(),
            1 => self.rng.between(131_060, 131_080).to_string(),
            2 => self.rng.between(0, 300_000).to_string(),
            _ => self.rng.between(0, 60).to_string(),
        }
    }

    /// An index from either end.
    fn index(&mut self) -> String {
        match self.rng.below(8) {
            0 => self.rng.pick(&["-1", "0", "9223372036854775807", "-9223372036854775808"]).to_string(),
            1..3 => format!("-{}", self.rng.between(1, 70)),
            3 => format!("-1{}", self.offset()),
            _ => self.offset(),
        }
    }

    fn deadline(&mut self) -> [Vec<u8>; 2] {
        let (word, time) = match self.rng.below(4) {
            0 => ("EX", self.rng.pick(SPANS).to_string()),
            1 => ("PX", format!("{}000", self.rng.pick(SPANS))),
            2 => ("EXAT", self.rng.pick(INSTANTS).to_string()),
            _ => ("PXAT", format!("{}123", self.rng.pick(INSTANTS))),
        };
        [word.into(), time.into()]
    }

    fn string(&mut self) -> Command {
        let (key, other) = (self.key(), self.key());
        match self.rng.below(24) {
            0..5 => self.set(),
            5 => command(&[&b"SETNX"[..], &key, &self.value()]),
            6 => command(&[&b"SETEX"[..], &key, self.rng.pick(SPANS).as_bytes(), &self.value()]),
            7 => command(&[&b"PSETEX"[..], &key, b"1000000", &self.value()]),
            8..10 => command(&[&b"GET"[..], &key]),
            10 => command(&[&b"GETSET"[..], &key, &self.value()]),
            11 => command(&[&b"GETDEL"[..], &key]),
            12 => self.getex(),
            13 => command(&[&b"MGET"[..], &key, &other, &self.key(), &key]),
            14 => self.mset("MSET"),
            15 => self.mset("MSETNX"),
            16 => command(&[&b"APPEND"[..], &key, &self.value()]),
            17 => command(&[&b"STRLEN"[..], &key]),
            18 => {
                let name = *self.rng.pick(&["GETRANGE", "SUBSTR"]);
                command(&[name.as_bytes(), &key, self.index().as_bytes(), self.index().as_bytes()])
            }
            19 => command(&[&b"SETRANGE"[..], &key, self.offset().as_bytes(), &self.value()]),
            20 => command(&[self.rng.pick(&["INCR", "DECR"]).as_bytes(), &key]),
            21 => command(&[self.rng.pick(&["INCRBY", "DECRBY"]).as_bytes(), &key, self.integer().as_bytes()]),
            22 => command(&[&b"INCRBYFLOAT"[..], &key, self.quarter().as_bytes()]),
            _ => {
                let mut words = command(&[&b"LCS"[..], &key, &other]);
                if self.rng.one_in(2) {
                    words.push(b"LEN".to_vec());
                }
                words
            }
        }
    }

    fn set(&mut self) -> Command {
        let mut words = command(&[&b"SET"[..], &self.key(), &self.value()]);
        if self.rng.one_in(3) {
            words.push(self.rng.pick(&["NX", "XX", "nx", "xX"]).as_bytes().to_vec());
        }
        if self.rng.one_in(4) {
            words.push(b"GET".to_vec());
        }
        match self.rng.below(6) {
            0 => words.push(b"KEEPTTL".to_vec()),
            1 => words.extend(self.deadline()),
            _ => {}
        }
        words
    }

    fn getex(&mut self) -> Command {
        let mut words = command(&[&b"GETEX"[..], &self.key()]);
        match self.rng.below(3) {
            0 => words.push(b"PERSIST".to_vec()),
            1 => words.extend(self.deadline()),
            _ => {}
        }
        words
    }

    fn mset(&mut self, name: &str) -> Command {
        let mut words = command(&[name]);
        for _ in 0..self.rng.between(1, 5) {
            words.push(self.key());
            words.push(self.value());
        }
        words
    }

    fn bits(&mut self) -> Command {
        let key = self.key();
        let offset = self.offset();
        match self.rng.below(12) {
            0..3 => command(&[&b"SETBIT"[..], &key, offset.as_bytes(), self.rng.pick(&["0", "1"]).as_bytes()]),
            3 => command(&[&b"GETBIT"[..], &key, offset.as_bytes()]),
            4..6 => {
                let mut words = command(&[&b"BITCOUNT"[..], &key]);
                if self.rng.one_in(2) {
                    words.extend(command(&[self.index(), self.index()]));
                    self.push_unit(&mut words);
                }
                words
            }
            6..8 => {
                let mut words = command(&[&b"BITPOS"[..], &key, self.rng.pick(&["0", "1"]).as_bytes()]);
                if self.rng.one_in(2) {
                    words.push(self.index().into());
                    if self.rng.one_in(2) {
                        words.push(self.index().into());
                        self.push_unit(&mut words);
                    }
                }
                words
            }
            8..10 => {
                let name = *self.rng.pick(&["AND", "OR", "XOR", "NOT"]);
                let mut words = command(&[&b"BITOP"[..], name.as_bytes(), &key]);
                let sources = if name == "NOT" { 1 } else { self.rng.between(1, 3) };
                words.extend((0..sources).map(|_| self.key()).collect::<Vec<_>>());
                words
            }
            10 => self.bitfield(key, false),
            _ => self.bitfield(key, true),
        }
    }

    fn push_unit(&mut self, words: &mut Command) {
        if self.rng.one_in(2) {
            words.push(self.rng.pick(&["BYTE", "BIT", "bit"]).as_bytes().to_vec());
        }
    }

    fn bitfield(&mut self, key: Vec<u8>, read_only: bool) -> Command {
        let mut words = vec![if read_only { b"BITFIELD_RO".to_vec() } else { b"BITFIELD".to_vec() }, key];
        for _ in 0..self.rng.between(1, 4) {
            let field = match self.rng.one_in(2) {
                true => format!("i{}", self.rng.between(1, 64)),
                false => format!("u{}", self.rng.between(1, 63)),
            };
            let hash = if self.rng.one_in(3) { "#" } else { "" };
            let offset = format!("{hash}{}", self.rng.between(0, 200));
            if !read_only && self.rng.one_in(4) {
                words.extend(command(&["OVERFLOW", *self.rng.pick(&["WRAP", "SAT", "FAIL"])]));
            }
            match if read_only { 0 } else { self.rng.below(3) } {
                0 => words.extend(command(&["GET", &field, &offset])),
                // Redis saturates a SET near the ends of the 64-bit range to the wrong end; nobody should copy that.
                1 => {
                    words.extend(command(&["SET", &field, &offset, &self.rng.between(-(1 << 40), 1 << 40).to_string()]))
                }
                _ => words.extend(command(&["INCRBY", &field, &offset, &self.integer()])),
            }
        }
        words
    }

    /// A key that is likely to hold a list.
    fn list_key(&mut self) -> Vec<u8> {
        if self.rng.one_in(12) { self.key() } else { self.rng.pick(LISTS).to_vec() }
    }

    /// An element: of few, so that they meet, or any value.
    fn element(&mut self) -> Vec<u8> {
        if self.rng.one_in(6) {
            self.value()
        } else {
            self.rng.pick(&[&b"1"[..], b"2", b"3", b"10", b"-7", b"x"]).to_vec()
        }
    }

    fn list_index(&mut self) -> String {
        if self.rng.one_in(10) { self.index() } else { self.rng.between(-9, 9).to_string() }
    }

    fn list(&mut self) -> Command {
        let (key, other) = (self.list_key(), self.list_key());
        match self.rng.below(30) {
            0..8 => {
                let name = *self.rng.pick(&["LPUSH", "RPUSH", "RPUSH", "LPUSHX", "RPUSHX"]);
                let mut words = command(&[name.as_bytes(), &key]);
                words.extend((0..self.rng.between(1, 6)).map(|_| self.element()).collect::<Vec<_>>());
                words
            }
            8..11 => {
                let mut words = command(&[self.rng.pick(&["LPOP", "RPOP"]).as_bytes(), &key]);
                if self.rng.one_in(2) {
                    words.push(self.rng.between(0, 4).to_string().into());
                }
                words
            }
            11 => command(&[&b"LLEN"[..], &key]),
            12..15 => command(&[&b"LRANGE"[..], &key, self.list_index().as_bytes(), self.list_index().as_bytes()]),
            15 => command(&[&b"LINDEX"[..], &key, self.list_index().as_bytes()]),
            16 => command(&[&b"LSET"[..], &key, self.list_index().as_bytes(), &self.element()]),
            17..20 => {
                let place = *self.rng.pick(&["BEFORE", "AFTER", "after"]);
                command(&[&b"LINSERT"[..], &key, place.as_bytes(), &self.element(), &self.element()])
            }
            20 => command(&[&b"LREM"[..], &key, self.rng.between(-3, 3).to_string().as_bytes(), &self.element()]),
            21 => command(&[&b"LTRIM"[..], &key, self.list_index().as_bytes(), self.list_index().as_bytes()]),
            22 => self.lpos(&key),
            23..25 => {
                let mut side = || self.rng.pick(&["LEFT", "RIGHT", "left"]).as_bytes();
                command(&[&b"LMOVE"[..], &key, &other, side(), side()])
            }
            25 => command(&[&b"RPOPLPUSH"[..], &key, &other]),
            26 => {
                let mut words =
                    command(&[&b"LMPOP"[..], b"2", &key, &other, self.rng.pick(&["LEFT", "RIGHT"]).as_bytes()]);
                if self.rng.one_in(2) {
                    words.extend(command(&["COUNT", &self.rng.between(0, 4).to_string()]));
                }
                words
            }
            _ => self.sort(&key, &other),
        }
    }

    /// A key that is likely to hold a value of one type.
    fn key_among(&mut self, keys: &[&[u8]]) -> Vec<u8> {
        if self.rng.one_in(12) { self.key() } else { self.rng.pick(keys).to_vec() }
    }

    /// `least` to `most` elements.
    fn elements(&mut self, least: i64, most: i64) -> Vec<Vec<u8>> {
        (0..self.rng.between(least, most)).map(|_| self.element()).collect()
    }

    fn hash(&mut self) -> Command {
        if self.with_field_expiry && self.rng.one_in(3) {
            return self.field_expiry();
        }
        let key = self.key_among(HASHES);
        let field = self.element();
        match self.rng.below(20) {
            0..5 => {
                let mut words = command(&[self.rng.pick(&["HSET", "HMSET"]).as_bytes(), &key]);
                let pairs = self.rng.between(1, 5);
                words.extend(self.elements(2 * pairs, 2 * pairs));
                words
            }
            5 => command(&[&b"HSETNX"[..], &key, &field, &self.value()]),
            6..8 => command(&[&b"HGET"[..], &key, &field]),
            8 => {
                let mut words = command(&[&b"HMGET"[..], &key, &field]);
                words.extend(self.elements(0, 3));
                words
            }
            9..11 => {
                let mut words = command(&[&b"HDEL"[..], &key, &field]);
                words.extend(self.elements(0, 3));
                words
            }
            11 => command(&[&b"HINCRBY"[..], &key, &field, self.integer().as_bytes()]),
            12 => command(&[&b"HINCRBYFLOAT"[..], &key, &field, self.quarter().as_bytes()]),
            13 => command(&[&b"HEXISTS"[..], &key, &field]),
            14 => command(&[&b"HSTRLEN"[..], &key, &field]),
            _ => command(&[self.rng.pick(&["HLEN", "HKEYS", "HVALS", "HGETALL"]).as_bytes(), &key]),
        }
    }

    fn set_type(&mut self) -> Command {
        let (key, other, third) = (self.key_among(SETS), self.key_among(SETS), self.key_among(SETS));
        let member = self.element();
        match self.rng.below(20) {
            0..5 => {
                let mut words = command(&[&b"SADD"[..], &key, &member]);
                words.extend(self.elements(0, 5));
                words
            }
            5..7 => {
                let mut words = command(&[&b"SREM"[..], &key, &member]);
                words.extend(self.elements(0, 3));
                words
            }
            7..9 => command(&[&b"SMOVE"[..], &key, &other, &member]),
            9 => command(&[&b"SISMEMBER"[..], &key, &member]),
            10 => {
                let mut words = command(&[&b"SMISMEMBER"[..], &key, &member]);
                words.extend(self.elements(0, 3));
                words
            }
            11..13 => command(&[self.rng.pick(&["SCARD", "SMEMBERS"]).as_bytes(), &key]),
            13..15 => command(&[self.rng.pick(&["SINTER", "SUNION", "SDIFF"]).as_bytes(), &key, &other]),
            15..18 => {
                let name = *self.rng.pick(&["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]);
                command(&[name.as_bytes(), &key, &other, &third])
            }
            18 => command(&[&b"SINTERCARD"[..], b"2", &key, &other, b"LIMIT", b"2"]),
            _ => command(&[&b"SPOP"[..], &key, b"1000"]),
        }
    }

    fn lpos(&mut self, key: &[u8]) -> Command {
        let mut words = command(&[&b"LPOS"[..], key, &self.element()]);
        for (option, low, high) in [("RANK", -4, 4), ("COUNT", 0, 3), ("MAXLEN", 0, 9)] {
            if self.rng.one_in(2) {
                words.extend(command(&[option, &self.rng.between(low, high).to_string()]));
            }
        }
        words
    }

    fn sort(&mut self, key: &[u8], other: &[u8]) -> Command {
        let mut words = command(&[self.rng.pick(&["SORT", "SORT", "SORT_RO"]).as_bytes(), key]);
        if self.rng.one_in(3) {
            let pattern = *self.rng.pick(&["nosort", "key:*", "*", "#", "*->field"]);
            words.extend(command(&["BY", pattern]));
        }
        if self.rng.one_in(3) {
            words.extend(command(&[
                "LIMIT",
                &self.rng.between(-1, 4).to_string(),
                &self.rng.between(-1, 4).to_string(),
            ]));
        }
        for pattern in ["key:*", "#", "constant"] {
            if self.rng.one_in(5) {
                words.extend(command(&["GET", pattern]));
            }
        }
        words.extend(self.rng.pick(&[None, Some("ASC"), Some("DESC")]).map(|word| word.as_bytes().to_vec()));
        // Where several texts to sort by are equal, or missing, a set's members come in any order.
        if !words.iter().any(|word| word == b"BY") && self.rng.one_in(2) {
            words.push(b"ALPHA".to_vec());
        }
        if self.rng.one_in(4) {
            words.extend(command(&[&b"STORE"[..], other]));
        }
        words
    }

    fn expiry(&mut self) -> Command {
        let key = self.key();
        let name = match self.rng.below(10) {
            0 => return command(&[&b"PERSIST"[..], &key]),
            1..5 => {
                let name = *self.rng.pick(&["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"]);
                return command(&[name.as_bytes(), &key]);
            }
            _ => *self.rng.pick(&["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"]),
        };
        let time = match (name.ends_with("AT"), name.starts_with('P')) {
            (true, false) => self.rng.pick(INSTANTS).to_string(),
            (true, true) => format!("{}001", self.rng.pick(INSTANTS)),
            (false, false) => self.rng.pick(SPANS).to_string(),
            (false, true) => format!("{}000", self.rng.pick(SPANS)),
        };
        let time = if self.rng.one_in(30) { self.rng.pick(&["-1", "0", "-100000"]).to_string() } else { time };
        let mut words = command(&[name.as_bytes(), &key, time.as_bytes()]);
        if self.rng.one_in(3) {
            words.push(self.rng.pick(&["NX", "XX", "GT", "LT", "gt"]).as_bytes().to_vec());
        }
        words
    }

    fn generic(&mut self) -> Command {
        let (key, other) = (self.key(), self.key());
        match self.rng.below(16) {
            0..2 => command(&[self.rng.pick(&["DEL", "UNLINK"]).as_bytes(), &key]),
            2 => command(&[self.rng.pick(&["DEL", "UNLINK"]).as_bytes(), &key, &other, &key]),
            3 => command(&[self.rng.pick(&["EXISTS", "TOUCH"]).as_bytes(), &key, &other, &key]),
            4 => command(&[&b"TYPE"[..], &key]),
            5..8 => command(&[&b"RENAME"[..], &key, &other]),
            8 => command(&[&b"RENAMENX"[..], &key, &other]),
            9..12 => {
                let mut words = command(&[&b"COPY"[..], &key, &other]);
                if self.with_databases && self.rng.one_in(3) {
                    words.extend(command(&["DB", *self.rng.pick(&["0", "1", "2"])]));
                }
                if self.rng.one_in(2) {
                    words.push(b"REPLACE".to_vec());
                }
                words
            }
            12 => {
                let pattern = *self.rng.pick(&["*", "key:*", "?", "[a-c]", "k\\[*", "[^a-z]*", "nothing"]);
                command(&["KEYS", pattern])
            }
            13 => command(&["RANDOMKEY"]),
            _ => command(&["DBSIZE"]),
        }
    }

    fn database(&mut self) -> Command {
        let key = self.key();
        let number = *self.rng.pick(&["0", "1", "2"]);
        match self.rng.below(16) {
            0 => {
                let mut words = command(&["FLUSHDB"]);
                words.extend(self.rng.pick(&[None, Some("ASYNC"), Some("sync")]).map(|word| word.as_bytes().to_vec()));
                words
            }
            1 if self.with_databases && self.rng.one_in(3) => command(&["FLUSHALL"]),
            2..5 if self.with_databases => command(&["SWAPDB", number, *self.rng.pick(&["0", "1", "2", "16"])]),
            5..10 if self.with_databases => command(&[&b"MOVE"[..], &key, number.as_bytes()]),
            10..15 if self.with_databases => {
                command(&["SELECT", *self.rng.pick(&["0", "0", "1", "2", "16", "-1", "x"])])
            }
            _ => command(&["DBSIZE"]),
        }
    }
}
