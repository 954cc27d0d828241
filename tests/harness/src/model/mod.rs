//! What the commands should do: an obvious, slow model over ordered maps, with every reply.
//!
//! The model knows the string, bitmap, list, hash, set, sorted set, generic and database commands. It is itself checked against `redis-server` by
//! `tests/model.rs`, so that an agreement of server and model means something. Where a reply cannot be known (which
//! of two deadlines a few milliseconds apart is later, how a long double prints) it says so, and the caller leaves
//! that command out.
//!
//! Invariant: a command that is refused or not predicted changes nothing.

mod bits;
mod expiry;
mod fields;
mod keys;
mod lists;
mod members;
mod sorted_sets;
mod strings;

pub use sorted_sets::Score;

use crate::Command;
use crate::contents::Content;
use crate::resp::Frame;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many databases there are, as in the servers' defaults.
pub const DATABASES: usize = 16;

/// Two servers' clocks, and the test's, may differ by this much when a reply tells the time, in milliseconds.
pub const CLOCK_SLACK_MS: i64 = 5_000;

/// What a reply has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This frame.
    Exactly(Frame),
    /// An integer within `slack` of `value`: times.
    Near {
        /// The middle.
        value: i64,
        /// The greatest difference.
        slack: i64,
    },
    /// An array or a set of these in any order.
    AnyOrder(Vec<Frame>),
    /// A map of these pairs in any order; in RESP2 an array.
    Pairs(Vec<(Frame, Frame)>),
    /// One of these.
    OneOf(Vec<Frame>),
    /// An array of these.
    Each(Vec<Expected>),
}

impl Expected {
    /// Whether `reply` is what was expected.
    pub fn accepts(&self, reply: &Frame) -> bool {
        match self {
            Expected::Exactly(frame) => frame == reply,
            Expected::Near { value, slack } => {
                reply.integer().is_some_and(|n| n.abs_diff(*value) <= slack.unsigned_abs())
            }
            Expected::AnyOrder(frames) => match reply {
                Frame::Array(items) | Frame::Set(items) => sorted(items) == sorted(frames),
                _ => false,
            },
            Expected::Pairs(pairs) => {
                let joined = |(name, value): &(Frame, Frame)| Frame::Array(vec![name.clone(), value.clone()]);
                let expected: Vec<Frame> = pairs.iter().map(joined).collect();
                match reply {
                    Frame::Map(found) => sorted(&found.iter().map(joined).collect::<Vec<_>>()) == sorted(&expected),
                    Frame::Array(found) => {
                        let found: Vec<Frame> = found.chunks(2).map(|pair| Frame::Array(pair.to_vec())).collect();
                        sorted(&found) == sorted(&expected)
                    }
                    _ => false,
                }
            }
            Expected::OneOf(frames) => frames.contains(reply),
            Expected::Each(expected) => reply.items().is_some_and(|items| {
                items.len() == expected.len() && expected.iter().zip(items).all(|(one, item)| one.accepts(item))
            }),
        }
    }
}

fn sorted(frames: &[Frame]) -> Vec<String> {
    let mut texts: Vec<String> = frames.iter().map(|frame| format!("{frame:?}")).collect();
    texts.sort();
    texts
}

impl From<Frame> for Expected {
    fn from(frame: Frame) -> Self {
        Expected::Exactly(frame)
    }
}

impl From<i64> for Expected {
    fn from(n: i64) -> Self {
        Expected::Exactly(Frame::Integer(n))
    }
}

/// Why a command has no ordinary reply.
enum Stop {
    /// It is refused with this text.
    Error(String),
    /// The model cannot tell what happens.
    Unpredictable,
}

type Outcome = Result<Expected, Stop>;

fn refuse<T>(text: &str) -> Result<T, Stop> {
    Err(Stop::Error(text.to_owned()))
}

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";
const NO_SUCH_DB: &str = "ERR DB index is out of range";

/// When a key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Deadline {
    at_ms: i64,
    /// Whether the client gave this very time; otherwise it was reckoned from the server's clock.
    exact: bool,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A string.
    Text(Vec<u8>),
    /// A list, never empty.
    List(VecDeque<Vec<u8>>),
    /// A hash, never empty.
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// A set, never empty.
    Set(BTreeSet<Vec<u8>>),
    /// A sorted set, never empty.
    SortedSet(BTreeMap<Vec<u8>, Score>),
}

impl Value {
    /// As TYPE names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "string",
            Value::List(_) => "list",
            Value::Hash(_) => "hash",
            Value::Set(_) => "set",
            Value::SortedSet(_) => "zset",
        }
    }

    /// The string, if it is one.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// All of it in one piece: a string as it is, the elements of others as [`flattened`] has them.
    pub fn flat(&self) -> Vec<u8> {
        match self {
            Value::Text(text) => text.clone(),
            Value::List(elements) => flattened(self.kind(), elements.iter().map(Vec::as_slice)),
            Value::Hash(fields) => {
                let parts = fields.iter().flat_map(|(field, value)| [field.as_slice(), value.as_slice()]);
                flattened(self.kind(), parts)
            }
            Value::Set(members) => flattened(self.kind(), members.iter().map(Vec::as_slice)),
            Value::SortedSet(scores) => {
                let members = sorted_sets::ordered(scores).into_iter();
                let parts: Vec<_> = members.flat_map(|(member, score)| [member, score.text().into_bytes()]).collect();
                flattened(self.kind(), parts.iter().map(Vec::as_slice))
            }
        }
    }
}

/// The elements of a value of type `kind` in one piece, so that different ones differ.
pub fn flattened<'e>(kind: &str, elements: impl Iterator<Item = &'e [u8]>) -> Vec<u8> {
    let mut flat = kind.as_bytes().to_vec();
    for element in elements {
        flat.extend(format!(" {}:", element.len()).into_bytes());
        flat.extend_from_slice(element);
    }
    flat
}

/// What a key holds, with its deadlines in Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// The value.
    pub value: Value,
    /// When the key expires.
    pub deadline: Option<i64>,
    /// When those of a hash's fields expire that do.
    pub fields: BTreeMap<Vec<u8>, i64>,
}

impl Held {
    /// Without deadlines.
    pub fn new(value: Value) -> Self {
        Self { value, deadline: None, fields: BTreeMap::new() }
    }

    /// Removes the fields whose name and deadline `are_due`.
    pub fn expire_fields(&mut self, are_due: impl Fn(&[u8], i64) -> bool) {
        let Value::Hash(values) = &mut self.value else { return };
        self.fields.retain(|field, at_ms| {
            let is_due = are_due(field, *at_ms);
            if is_due {
                values.remove(field);
            }
            !is_due
        });
    }

    /// Whether nothing is left of a hash.
    pub fn is_gone(&self) -> bool {
        matches!(&self.value, Value::Hash(values) if values.is_empty())
    }
}

/// A value and its deadline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    value: Value,
    deadline: Option<Deadline>,
    /// Of a hash's fields, none but those that are there.
    fields: fields::Deadlines,
}

impl Entry {
    fn new(value: Value, deadline: Option<Deadline>) -> Self {
        Self { value, deadline, fields: fields::Deadlines::new() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Database {
    keys: BTreeMap<Vec<u8>, Entry>,
    /// A key was stored with a deadline in the past: until it is removed in the background DBSIZE may count it.
    unsettled: bool,
}

/// All databases as one connection sees them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    databases: Vec<Database>,
    selected: usize,
    resp3: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// An empty store; the connection speaks RESP2 and is at database 0.
    pub fn new() -> Self {
        Self { databases: vec![Database::default(); DATABASES], selected: 0, resp3: false }
    }

    /// The connection was made anew: back to database 0, in this version of the protocol.
    pub fn reconnect(&mut self, resp3: bool) {
        self.selected = 0;
        self.resp3 = resp3;
    }

    /// The live keys of the selected database, in order.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.db().keys.keys().cloned().collect()
    }

    /// The value (see [`Value::flat`]) and the deadline (Unix milliseconds) of each key of a database, in order, and those of its fields that have one.
    /// The deadline is `None` for keys without one.
    pub fn contents(&self, database: usize) -> Vec<Content> {
        let entries = self.databases[database].keys.iter();
        let content = |(key, entry): (&Vec<u8>, &Entry)| {
            let fields = entry.fields.iter().map(|(field, deadline)| (field.clone(), deadline.at_ms)).collect();
            (key.clone(), entry.value.flat(), entry.deadline.map(|d| d.at_ms), fields)
        };
        entries.map(content).collect()
    }

    /// A key whose short life is over.
    pub fn expire(&mut self, key: &[u8]) {
        self.db_mut().keys.remove(key);
    }

    /// What a key of a database holds.
    pub fn held(&self, database: usize, key: &[u8]) -> Option<Held> {
        let entry = self.databases[database].keys.get(key)?;
        let fields = entry.fields.iter().map(|(field, deadline)| (field.clone(), deadline.at_ms)).collect();
        Some(Held { value: entry.value.clone(), deadline: entry.deadline.map(|deadline| deadline.at_ms), fields })
    }

    /// Gives a key of a database what it holds from now on.
    pub fn hold(&mut self, database: usize, key: &[u8], held: Held) {
        let exactly = |at_ms| Deadline { at_ms, exact: true };
        let fields = held.fields.into_iter().map(|(field, at_ms)| (field, exactly(at_ms))).collect();
        let entry = Entry { value: held.value, deadline: held.deadline.map(exactly), fields };
        self.databases[database].keys.insert(key.to_vec(), entry);
    }

    /// Chooses a database, as SELECT does.
    ///
    /// # Panics
    /// If there is none of that number.
    pub fn select_database(&mut self, database: usize) {
        assert!(database < DATABASES, "there are {DATABASES} databases");
        self.selected = database;
    }

    /// Removes the key of a database if its deadline is not after `now_ms`.
    pub fn expire_if_due(&mut self, database: usize, key: &[u8], now_ms: i64) {
        let keys = &mut self.databases[database].keys;
        if keys.get(key).and_then(|entry| entry.deadline).is_some_and(|deadline| deadline.at_ms <= now_ms) {
            keys.remove(key);
        }
    }

    /// Removes a field of a hash if its deadline is not after `now_ms`, and with the last one the key.
    pub fn expire_field_if_due(&mut self, database: usize, key: &[u8], field: &[u8], now_ms: i64) {
        let Some(mut held) = self.held(database, key) else { return };
        held.expire_fields(|name, at_ms| name == field && at_ms <= now_ms);
        match held.is_gone() {
            true => drop(self.databases[database].keys.remove(key)),
            false => self.hold(database, key, held),
        }
    }

    /// Runs a command at `now_ms` (Unix milliseconds): what its reply has to be, or `None` when the model cannot tell
    /// and has done nothing.
    pub fn apply(&mut self, command: &Command, now_ms: i64) -> Option<Expected> {
        match self.run(command, now_ms) {
            Ok(expected) => Some(expected),
            Err(Stop::Error(text)) => Some(Frame::error(text).into()),
            Err(Stop::Unpredictable) => None,
        }
    }

    fn run(&mut self, command: &Command, now: i64) -> Outcome {
        let name = command.first().map(|name| name.to_ascii_uppercase()).ok_or(Stop::Unpredictable)?;
        let args: Vec<&[u8]> = command[1..].iter().map(Vec::as_slice).collect();
        let args = args.as_slice();
        self.check_strings(&name, args)?;
        match (name.as_slice(), args) {
            (b"SET", [key, value, options @ ..]) => self.set(key, value, options, now),
            (b"SETNX", [key, value]) => self.setnx(key, value),
            (b"SETEX", [key, time, value]) => self.setex("setex", key, time, 1000, value, now),
            (b"PSETEX", [key, time, value]) => self.setex("psetex", key, time, 1, value, now),
            (b"GET", [key]) => self.get(key),
            (b"GETSET", [key, value]) => self.getset(key, value),
            (b"GETDEL", [key]) => self.getdel(key),
            (b"GETEX", [key, options @ ..]) => self.getex(key, options, now),
            (b"MGET", keys @ [_, ..]) => self.mget(keys),
            (b"MSET", pairs @ [_, _, ..]) => self.mset(pairs),
            (b"MSETNX", pairs @ [_, _, ..]) => self.msetnx(pairs),
            (b"APPEND", [key, value]) => self.append(key, value),
            (b"STRLEN", [key]) => self.strlen(key),
            (b"GETRANGE" | b"SUBSTR", [key, start, end]) => self.getrange(key, start, end),
            (b"SETRANGE", [key, offset, value]) => self.setrange(key, offset, value),
            (b"INCR", [key]) => self.increment(key, 1),
            (b"DECR", [key]) => self.increment(key, -1),
            (b"INCRBY", [key, by]) => self.increment(key, integer(by)?),
            (b"DECRBY", [key, by]) => self.decrby(key, by),
            (b"INCRBYFLOAT", [key, by]) => self.incrbyfloat(key, by),
            (b"LCS", [a, b, options @ ..]) => self.lcs(a, b, options),

            (b"LPUSH" | b"RPUSH", [key, values @ ..]) if !values.is_empty() => self.push(name[0], key, values),
            (b"LPUSHX" | b"RPUSHX", [key, values @ ..]) if !values.is_empty() => {
                self.push_existing(name[0], key, values)
            }
            (b"LPOP" | b"RPOP", [key, count @ ..]) => self.pop(name[0], key, count),
            (b"LLEN", [key]) => self.llen(key),
            (b"LRANGE", [key, start, end]) => self.lrange(key, start, end),
            (b"LINDEX", [key, index]) => self.lindex(key, index),
            (b"LSET", [key, index, value]) => self.lset(key, index, value),
            (b"LINSERT", [key, place, pivot, value]) => self.linsert(key, place, pivot, value),
            (b"LREM", [key, count, value]) => self.lrem(key, count, value),
            (b"LTRIM", [key, start, end]) => self.ltrim(key, start, end),
            (b"LPOS", [key, value, options @ ..]) => self.lpos(key, value, options),
            (b"LMOVE", [from, to, pop, push]) => self.lmove(from, to, pop, push),
            (b"RPOPLPUSH", [from, to]) => self.lmove(from, to, b"RIGHT", b"LEFT"),
            (b"LMPOP", [count, rest @ ..]) => self.lmpop(count, rest),
            (b"SORT" | b"SORT_RO", [key, options @ ..]) => self.sort(key, options, name.len() == 4),

            (b"HSET" | b"HMSET", [key, pairs @ ..]) if pairs.len() > 1 => self.hset(key, pairs, name.len() == 4),
            (b"HSETNX", [key, field, value]) => self.hsetnx(key, field, value),
            (b"HGET", [key, field]) => self.hget(key, field),
            (b"HMGET", [key, fields @ ..]) if !fields.is_empty() => self.hmget(key, fields),
            (b"HDEL", [key, fields @ ..]) if !fields.is_empty() => self.hdel(key, fields),
            (b"HLEN", [key]) => self.hlen(key),
            (b"HEXISTS", [key, field]) => self.hexists(key, field),
            (b"HSTRLEN", [key, field]) => self.hstrlen(key, field),
            (b"HKEYS", [key]) => self.hparts(key, |(field, _)| Frame::bulk(field)),
            (b"HVALS", [key]) => self.hparts(key, |(_, value)| Frame::bulk(value)),
            (b"HGETALL", [key]) => self.hgetall(key),
            (b"HINCRBY", [key, field, by]) => self.hincrby(key, field, by),
            (b"HINCRBYFLOAT", [key, field, by]) => self.hincrbyfloat(key, field, by),

            (b"SADD", [key, members @ ..]) if !members.is_empty() => self.sadd(key, members),
            (b"SREM", [key, members @ ..]) if !members.is_empty() => self.srem(key, members),
            (b"SMOVE", [from, to, member]) => self.smove(from, to, member),
            (b"SCARD", [key]) => self.scard(key),
            (b"SISMEMBER", [key, member]) => self.smismember(key, &[member], true),
            (b"SMISMEMBER", [key, members @ ..]) if !members.is_empty() => self.smismember(key, members, false),
            (b"SMEMBERS", [key]) => self.set_operation(b'U', &[key]),
            (b"SINTER" | b"SUNION" | b"SDIFF", keys @ [_, ..]) => self.set_operation(name[1], keys),
            (b"SINTERSTORE" | b"SUNIONSTORE" | b"SDIFFSTORE", [target, keys @ ..]) if !keys.is_empty() => {
                self.set_operation_store(name[1], target, keys)
            }
            (b"SINTERCARD", [count, rest @ ..]) if !rest.is_empty() => self.sintercard(count, rest),
            (b"SPOP", [key, count @ ..]) => self.spop(key, count),

            (b"ZADD", [key, rest @ ..]) if rest.len() > 1 => self.zadd(key, rest),
            (b"ZINCRBY", [key, by, member]) => self.zadd(key, &[b"INCR", by, member]),
            (b"ZREM", [key, members @ ..]) if !members.is_empty() => self.zrem(key, members),
            (b"ZCARD", [key]) => self.zcard(key),
            (b"ZSCORE", [key, member]) => self.zscore(key, &[member], false),
            (b"ZMSCORE", [key, members @ ..]) if !members.is_empty() => self.zscore(key, members, true),
            (b"ZRANK" | b"ZREVRANK", [key, member]) => self.zrank(key, member, name == b"ZREVRANK"),
            (b"ZCOUNT" | b"ZLEXCOUNT", [key, min, max]) => self.zcount(&name, key, min, max),
            (b"ZREMRANGEBYRANK" | b"ZREMRANGEBYSCORE" | b"ZREMRANGEBYLEX", [key, min, max]) => {
                self.zremrange(&name, key, min, max)
            }
            (b"ZPOPMIN" | b"ZPOPMAX", [key, count @ ..]) => self.zpop(&name, key, count),
            (b"ZMPOP", [count, rest @ ..]) if rest.len() > 1 => self.zmpop(count, rest),
            (
                b"ZRANGE" | b"ZREVRANGE" | b"ZRANGEBYSCORE" | b"ZREVRANGEBYSCORE" | b"ZRANGEBYLEX" | b"ZREVRANGEBYLEX"
                | b"ZRANGESTORE",
                args @ [_, _, _, ..],
            ) => self.zrange(&name, args),
            (
                b"ZUNION" | b"ZINTER" | b"ZDIFF" | b"ZUNIONSTORE" | b"ZINTERSTORE" | b"ZDIFFSTORE" | b"ZINTERCARD",
                args @ [_, _, ..],
            ) => self.zcombine(&name, args),

            (b"SETBIT", [key, offset, bit]) => self.setbit(key, offset, bit),
            (b"GETBIT", [key, offset]) => self.getbit(key, offset),
            (b"BITCOUNT", [key, range @ ..]) => self.bitcount(key, range),
            (b"BITPOS", [key, bit, range @ ..]) => self.bitpos(key, bit, range),
            (b"BITOP", [operation, target, sources @ ..]) if !sources.is_empty() => {
                self.bitop(operation, target, sources)
            }
            (b"BITFIELD", [key, steps @ ..]) => self.bitfield(key, steps, false),
            (b"BITFIELD_RO", [key, steps @ ..]) => self.bitfield(key, steps, true),

            (b"EXPIRE", [key, time, options @ ..]) => self.set_expiry("expire", key, time, 1000, now, options, now),
            (b"PEXPIRE", [key, time, options @ ..]) => self.set_expiry("pexpire", key, time, 1, now, options, now),
            (b"EXPIREAT", [key, time, options @ ..]) => self.set_expiry("expireat", key, time, 1000, 0, options, now),
            (b"PEXPIREAT", [key, time, options @ ..]) => self.set_expiry("pexpireat", key, time, 1, 0, options, now),
            (b"PERSIST", [key]) => self.persist(key),
            (b"TTL", [key]) => self.time_left(key, 1000, now),
            (b"PTTL", [key]) => self.time_left(key, 1, now),
            (b"EXPIRETIME", [key]) => self.expire_time(key, 1000),
            (b"PEXPIRETIME", [key]) => self.expire_time(key, 1),

            (b"DEL" | b"UNLINK", keys @ [_, ..]) => self.del(keys),
            (b"EXISTS" | b"TOUCH", keys @ [_, ..]) => self.exists(keys),
            (b"TYPE", [key]) => self.type_of(key),
            (b"RENAME", [from, to]) => self.rename(from, to),
            (b"RENAMENX", [from, to]) => self.renamenx(from, to),
            (b"COPY", [from, to, options @ ..]) => self.copy(from, to, options),
            (b"MOVE", [key, database]) => self.move_key(key, database),
            (b"KEYS", [pattern]) => self.keys_like(pattern),
            (b"RANDOMKEY", []) => self.randomkey(),
            (b"DBSIZE", []) => self.dbsize(),
            (b"SELECT", [database]) => self.select(database),
            (b"SWAPDB", [a, b]) => self.swapdb(a, b),
            (b"FLUSHDB", options) => self.flushdb(options),
            (b"FLUSHALL", options) => self.flushall(options),
            _ => self.field_expiry(&name, args, now),
        }
    }

    fn db(&self) -> &Database {
        &self.databases[self.selected]
    }

    fn db_mut(&mut self) -> &mut Database {
        &mut self.databases[self.selected]
    }

    fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.db().keys.get(key)
    }

    /// The string at a key; `None` if it is missing or holds something else.
    fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.entry(key).and_then(|entry| entry.value.text())
    }

    /// Whether the keys that a command takes for strings are none, or hold some. What else is wrong with it may be told before the type, so only
    /// commands with nothing to get wrong are predicted.
    fn check_strings(&self, name: &[u8], args: &[&[u8]]) -> Result<(), Stop> {
        let keys = match name {
            b"SET" if !args.iter().skip(2).any(|word| word.eq_ignore_ascii_case(b"GET")) => &[],
            b"SETNX" | b"SETEX" | b"PSETEX" => &[],
            b"SET" | b"GET" | b"GETSET" | b"GETDEL" | b"GETEX" | b"APPEND" | b"STRLEN" | b"GETRANGE" | b"SUBSTR"
            | b"SETRANGE" | b"INCR" | b"DECR" | b"INCRBY" | b"DECRBY" | b"INCRBYFLOAT" | b"SETBIT" | b"GETBIT"
            | b"BITCOUNT" | b"BITPOS" | b"BITFIELD" | b"BITFIELD_RO" => args.get(..1).unwrap_or_default(),
            b"LCS" => args.get(..2).unwrap_or_default(),
            b"BITOP" => args.get(2..).unwrap_or_default(),
            _ => &[],
        };
        if keys.iter().all(|key| self.entry(key).is_none_or(|entry| entry.value.text().is_some())) {
            return Ok(());
        }
        match (name, args) {
            (b"GET" | b"GETDEL" | b"STRLEN" | b"INCR" | b"DECR", [_]) | (b"APPEND" | b"GETSET", [_, _]) => {
                refuse(WRONG_TYPE)
            }
            _ => Err(Stop::Unpredictable),
        }
    }

    /// The value, or nothing at all for a missing key.
    fn value_or_empty(&self, key: &[u8]) -> &[u8] {
        self.value(key).unwrap_or_default()
    }

    /// Stores a string without a deadline.
    fn put(&mut self, key: &[u8], value: Vec<u8>) {
        self.db_mut().keys.insert(key.to_vec(), Entry::new(Value::Text(value), None));
    }

    /// Stores a string; the key keeps its deadline.
    fn update(&mut self, key: &[u8], value: Vec<u8>) {
        let deadline = self.entry(key).and_then(|entry| entry.deadline);
        self.db_mut().keys.insert(key.to_vec(), Entry::new(Value::Text(value), deadline));
    }

    fn null(&self) -> Frame {
        if self.resp3 { Frame::Null } else { Frame::NullBulk }
    }

    fn bulk_or_null(&self, value: Option<&[u8]>) -> Frame {
        value.map_or(self.null(), Frame::bulk)
    }
}

/// An integer as the commands take it: no spaces, no plus sign, no leading zeros.
fn plain_integer(text: &[u8]) -> Option<i64> {
    let n: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (n.to_string().as_bytes() == text).then_some(n)
}

fn integer(text: &[u8]) -> Result<i64, Stop> {
    plain_integer(text).ok_or(Stop::Error(NOT_AN_INTEGER.to_owned()))
}

/// Clips `start..=end`, negative numbers counting from the end, to `0..len`; `None` when nothing is left. Numbers
/// before the beginning mean the beginning, both of them.
fn clip(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    let len = len as i64;
    let from_end = |n: i64| if n < 0 { (n + len).max(0) } else { n };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    (start <= end && len > 0).then_some((start as usize, end as usize))
}

/// [`clip`], but a range from the end that is the wrong way round is empty wherever it lies.
fn clip_ordered(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    if start < 0 && end < 0 && start > end { None } else { clip(start, end, len) }
}
