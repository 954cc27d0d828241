//! Runs commands in unit tests: a store over anonymous memory, requests given as text, replies decoded.
//!
//! ```ignore
//! let mut client = TestClient::new();
//! assert_eq!(client.run("SET greeting 'good day'"), Reply::ok());
//! assert_eq!(client.run("GET greeting"), Reply::bulk("good day"));
//! client.clock.advance(1_000);
//! ```

use super::{Ctx, Direct};
use crate::base::Clock;
use crate::protocol::Protocol;
use crate::store::{Store, Worker};
use bytes::BytesMut;

/// When the tests' clock starts, in Unix milliseconds.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// One session over a store of its own, whose clock stands until it is moved.
pub(crate) struct TestClient {
    pub store: Store,
    pub worker: Worker,
    pub clock: Clock,
    pub direct: Direct,
    /// Pushes that came before or behind replies.
    pub pushes: Vec<Reply>,
}

impl TestClient {
    /// A client that speaks RESP2, authenticated, in database 0.
    pub fn new() -> Self {
        let clock = Clock::manual(START_MS);
        let store = memory_store(clock.clone());
        let worker = store.worker();
        Self { store, worker, direct: Direct::new(clock.clone()), clock, pushes: Vec::new() }
    }

    /// The same in RESP3.
    pub fn resp3() -> Self {
        let mut client = Self::new();
        client.direct.session.protocol = Protocol::Resp3;
        client
    }

    /// Runs a request written as in `redis-cli`: words, `"..."` with escapes, `'...'`.
    pub fn run(&mut self, line: &str) -> Reply {
        self.run_args(&split(line))
    }

    /// Runs a request whose arguments may hold any bytes.
    pub fn run_args<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        let out = self.run_raw(args);
        let (mut frames, mut rest) = (Vec::new(), &out[..]);
        while !rest.is_empty() {
            let (frame, behind) = Reply::decode(rest);
            frames.push(frame);
            rest = behind;
        }
        // What SUBSCRIBE and its like answer is a push itself.
        let at = frames.iter().position(|frame| !matches!(frame, Reply::Push(_))).unwrap_or(0);
        let reply = frames.remove(at);
        let is_push = |frame: &Reply| matches!(frame, Reply::Push(_));
        assert!(frames.iter().all(is_push), "more than a reply: {:?}", String::from_utf8_lossy(&out));
        self.pushes.extend(frames);
        reply
    }

    /// The pushes that came since they were last taken, with what was posted and not sent yet.
    pub fn take_pushes(&mut self) -> Vec<Reply> {
        let mut posted = BytesMut::new();
        self.direct.session.client.take_posted(&mut posted);
        let mut rest = &posted[..];
        while !rest.is_empty() {
            let (push, behind) = Reply::decode(rest);
            self.pushes.push(push);
            rest = behind;
        }
        std::mem::take(&mut self.pushes)
    }

    /// The reply's bytes: what a connection would send.
    pub fn run_raw<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Vec<u8> {
        let mut out = BytesMut::new();
        let request = args.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        self.direct.run(&self.store, &mut self.worker, &[request], &mut out);
        out.to_vec()
    }

    /// Runs `body` in a command's place and returns the bytes that it wrote.
    pub fn with_ctx(&mut self, body: impl FnOnce(&mut Ctx<'_>)) -> Vec<u8> {
        let mut out = BytesMut::new();
        self.direct.with_ctx(&self.store, &mut self.worker, &mut out, body);
        out.to_vec()
    }
}

/// A store over anonymous memory.
fn memory_store(clock: Clock) -> Store {
    Store::in_memory(16 << 20, clock).expect("a small pool in memory")
}

/// A reply as a client library would see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`.
    Null,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
    Double(f64),
    Boolean(bool),
    BigNumber(String),
    Verbatim(String, Vec<u8>),
    /// An attribute and the reply that it is about.
    Attribute(Vec<(Reply, Reply)>, Box<Reply>),
}

impl Reply {
    pub fn ok() -> Self {
        Self::Simple("OK".into())
    }

    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    pub fn error(text: &str) -> Self {
        Self::Error(text.into())
    }

    /// An array of bulk strings.
    pub fn bulks<const N: usize>(items: [&str; N]) -> Self {
        Self::Array(items.iter().map(Self::bulk).collect())
    }

    /// The bytes of a bulk, simple or verbatim string, as text.
    pub fn text(&self) -> String {
        match self {
            Self::Bulk(bytes) | Self::Verbatim(_, bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Simple(text) | Self::Error(text) | Self::BigNumber(text) => text.clone(),
            other => panic!("not a text: {other:?}"),
        }
    }

    pub fn int(&self) -> i64 {
        match self {
            Self::Integer(value) => *value,
            other => panic!("not an integer: {other:?}"),
        }
    }

    /// The elements of an array, set or push.
    pub fn items(&self) -> &[Reply] {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => items,
            other => panic!("not an array: {other:?}"),
        }
    }

    /// The texts of an array's elements, sorted: for replies whose order is free.
    pub fn sorted_texts(&self) -> Vec<String> {
        let mut texts: Vec<_> = self.items().iter().map(Reply::text).collect();
        texts.sort();
        texts
    }

    /// The value of a field of a map, or of a flat array of names and values.
    pub fn field(&self, name: &str) -> &Reply {
        let found = match self {
            Self::Map(pairs) => pairs.iter().find(|(field, _)| field.text() == name).map(|(_, value)| value),
            _ => self.items().chunks(2).find(|pair| pair[0].text() == name).map(|pair| &pair[1]),
        };
        found.unwrap_or_else(|| panic!("no field {name} in {self:?}"))
    }

    /// One reply off the front of `bytes`, and what follows it.
    pub fn decode(bytes: &[u8]) -> (Reply, &[u8]) {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a reply has a line end");
        let (line, rest) = (&bytes[1..end], &bytes[end + 2..]);
        let text = String::from_utf8_lossy(line).into_owned();
        let count = || text.parse::<i64>().expect("a length");
        match bytes[0] {
            b'+' => (Self::Simple(text), rest),
            b'-' => (Self::Error(text), rest),
            b':' => (Self::Integer(count()), rest),
            b',' => (Self::Double(text.parse().expect("a double")), rest),
            b'#' => (Self::Boolean(text == "t"), rest),
            b'(' => (Self::BigNumber(text), rest),
            b'_' => (Self::Null, rest),
            b'$' | b'*' if text == "-1" => (Self::Null, rest),
            kind @ (b'$' | b'=') => {
                let (body, rest) = rest.split_at(count() as usize);
                let rest = rest.strip_prefix(b"\r\n").expect("a bulk string ends its line");
                match kind {
                    b'$' => (Self::bulk(body), rest),
                    _ => (Self::Verbatim(String::from_utf8_lossy(&body[..3]).into(), body[4..].to_vec()), rest),
                }
            }
            b'*' => decode_list(rest, count(), Self::Array),
            b'~' => decode_list(rest, count(), Self::Set),
            b'>' => decode_list(rest, count(), Self::Push),
            b'%' => {
                let (pairs, rest) = decode_pairs(rest, count());
                (Self::Map(pairs), rest)
            }
            b'|' => {
                let (pairs, rest) = decode_pairs(rest, count());
                let (reply, rest) = Self::decode(rest);
                (Self::Attribute(pairs, Box::new(reply)), rest)
            }
            other => panic!("no reply starts with {:?}", other as char),
        }
    }
}

fn decode_list(mut rest: &[u8], count: i64, wrap: fn(Vec<Reply>) -> Reply) -> (Reply, &[u8]) {
    let mut items = Vec::new();
    for _ in 0..count {
        let (item, after) = Reply::decode(rest);
        items.push(item);
        rest = after;
    }
    (wrap(items), rest)
}

fn decode_pairs(mut rest: &[u8], count: i64) -> (Vec<(Reply, Reply)>, &[u8]) {
    let mut pairs = Vec::new();
    for _ in 0..count {
        let (field, after) = Reply::decode(rest);
        let (value, after) = Reply::decode(after);
        pairs.push((field, value));
        rest = after;
    }
    (pairs, rest)
}

/// Words of a line, with `"..."` (escapes `\n \r \t \\ \" \xHH`) and `'...'`.
pub(crate) fn split(line: &str) -> Vec<Vec<u8>> {
    let (mut words, mut word, mut in_word) = (Vec::new(), Vec::new(), false);
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' if in_word => {
                words.push(std::mem::take(&mut word));
                in_word = false;
            }
            b' ' => {}
            quote @ (b'"' | b'\'') => {
                in_word = true;
                quoted(&mut bytes, quote, &mut word);
            }
            other => {
                in_word = true;
                word.push(other);
            }
        }
    }
    if in_word {
        words.push(word);
    }
    words
}

fn quoted(bytes: &mut std::str::Bytes<'_>, quote: u8, word: &mut Vec<u8>) {
    loop {
        match bytes.next().expect("a quote is closed") {
            byte if byte == quote => return,
            b'\\' if quote == b'"' => word.push(match bytes.next().expect("an escape") {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let mut digit =
                        || bytes.next().and_then(|digit| (digit as char).to_digit(16)).expect("a hex digit") as u8;
                    digit() << 4 | digit()
                }
                other => other,
            }),
            byte => word.push(byte),
        }
    }
}

#[test]
fn a_line_splits_as_in_the_command_line_client() {
    assert_eq!(split(r#"set "a b" 'c"d' "\x00\n" """#), [&b"set"[..], b"a b", b"c\"d", b"\0\n", b""]);
}

#[test]
fn replies_of_both_protocols_are_decoded() {
    let (reply, rest) = Reply::decode(b"*3\r\n$1\r\na\r\n:-3\r\n*-1\r\n%1\r\n+k\r\n,1.5\r\n");
    assert_eq!(reply, Reply::Array(vec![Reply::bulk("a"), Reply::Integer(-3), Reply::Null]));
    assert_eq!(*Reply::decode(rest).0.field("k"), Reply::Double(1.5));
}
