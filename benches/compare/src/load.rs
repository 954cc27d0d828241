//! The load generator: one thread, epoll, a closed loop on each connection.
//!
//! Each connection has one pipeline of commands under way and sends the next when all replies are there. Requests are
//! copied from templates and replies are only measured, not built, so that the generator costs a fraction of the
//! server and saturates it from one core. Replies are checked as far as that is cheap: an error reply ends the run, a
//! missing key is counted.

use crate::histogram::Histogram;
use fencepost_harness::{Rng, Seed};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Bytes of a key: `key:` and twelve digits.
const KEY_BYTES: usize = 16;

/// What the connections send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Only SET, of random keys.
    Set,
    /// Only GET, of random keys, all of them stored.
    Get,
    /// One SET to ten GETs.
    Mix,
    /// INCR of one and the same key.
    Incr,
    /// HSET of a random field of one large hash.
    Hset,
    /// HSET of a random field of one of many small hashes.
    HsetSmall,
    /// HGET of a random field of one of many small hashes.
    HgetSmall,
    /// SADD of a random member, mostly a new one, to one large set.
    Sadd,
    /// ZADD of a random member with a random score to one large sorted set.
    Zadd,
    /// LPUSH to one long list.
    Lpush,
    /// LRANGE of the first 100 elements of a long list.
    Lrange,
    /// ZRANGE of the first 100 members of a large sorted set.
    Zrange,
}

const NAMES: [(Workload, &str); 12] = [
    (Workload::Set, "SET"),
    (Workload::Get, "GET"),
    (Workload::Mix, "1:10"),
    (Workload::Incr, "INCR"),
    (Workload::Hset, "HSET"),
    (Workload::HsetSmall, "HSET-small"),
    (Workload::HgetSmall, "HGET-small"),
    (Workload::Sadd, "SADD"),
    (Workload::Zadd, "ZADD"),
    (Workload::Lpush, "LPUSH"),
    (Workload::Lrange, "LRANGE"),
    (Workload::Zrange, "ZRANGE"),
];

impl Workload {
    /// Those on strings.
    pub const STRINGS: [Workload; 3] = [Workload::Set, Workload::Get, Workload::Mix];

    /// What is stored before it is measured.
    pub fn filled_by(self) -> Workload {
        match self {
            Workload::Set | Workload::Get | Workload::Mix | Workload::Incr => Workload::Set,
            Workload::Zrange => Workload::Zadd,
            Workload::Lrange => Workload::Lpush,
            Workload::HgetSmall => Workload::HsetSmall,
            other => other,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(NAMES.iter().find(|(workload, _)| workload == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        found.map(|(workload, _)| *workload).ok_or_else(|| format!("one of {}", NAMES.map(|(_, name)| name).join(", ")))
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Load {
    /// What is sent.
    pub workload: Workload,
    /// Size of the values.
    pub value_bytes: usize,
    /// Commands under way on each connection.
    pub pipeline: usize,
    /// Connections.
    pub connections: usize,
    /// Keys are drawn from this many.
    pub keys: u64,
    /// The run ends after this time ...
    pub time_max: Duration,
    /// ... or this many operations, whichever comes first.
    pub operations_max: u64,
    /// Decides the keys.
    pub seed: u64,
}

/// What a run gave.
#[derive(Clone)]
pub struct Outcome {
    /// Replies read.
    pub operations: u64,
    /// From the first byte sent to the last read.
    pub elapsed: Duration,
    /// From sending a pipeline to reading each reply.
    pub latency: Histogram,
    /// GETs that found nothing.
    pub misses: u64,
    /// Set by the caller.
    pub server_cpu_us: u64,
}

/// Where the next key comes from.
enum Keys {
    Random(Rng, u64),
    /// Each key once, for filling.
    Each(u64),
}

impl Keys {
    fn next(&mut self) -> u64 {
        match self {
            Keys::Random(rng, count) => rng.below(*count),
            Keys::Each(next) => {
                *next += 1;
                *next - 1
            }
        }
    }
}

/// Makes requests by copying templates and writing digits over.
struct Requests {
    write: Template,
    read: Template,
    workload: Workload,
    keys: Keys,
    sent: u64,
}

/// A request in which digits are to be filled in.
struct Template {
    bytes: Vec<u8>,
    /// Where twelve digits of the key or element go.
    element_at: Option<usize>,
    /// Where twelve digits of a score go.
    score_at: Option<usize>,
    /// Where the digit of a field goes; then the other digits are those of the hash.
    field_at: Option<usize>,
}

/// Stands for the digits of an element, of a small hash and its field, and of a score.
const ELEMENT: &str = "key:eeeeeeeeeeee";
const SMALL: &str = "obj:eeeeeeeeeeee";
const FIELD: &str = "field:f";
const SCORE: &str = "ssssssssssss";

/// Fields of a small hash.
const FIELDS: u64 = 8;

impl Template {
    fn new(words: &[&str]) -> Self {
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let element_at = text.find(ELEMENT).or_else(|| text.find(SMALL)).map(|at| at + KEY_BYTES - DIGITS);
        let field_at = text.find(FIELD).map(|at| at + FIELD.len() - 1);
        Self { element_at, score_at: text.find(SCORE), field_at, bytes: text.into_bytes() }
    }
}

/// Digits of a key or a score.
const DIGITS: usize = 12;

fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl Requests {
    fn new(workload: Workload, value_bytes: usize, keys: Keys) -> Self {
        let value = "v".repeat(value_bytes);
        let write: &[&str] = match workload.filled_by() {
            _ if workload == Workload::Incr => &["INCR", "counter"],
            Workload::Hset => &["HSET", "hash", ELEMENT, &value],
            Workload::HsetSmall => &["HSET", SMALL, FIELD, &value],
            Workload::Sadd => &["SADD", "set", ELEMENT],
            Workload::Zadd => &["ZADD", "zset", SCORE, ELEMENT],
            Workload::Lpush => &["LPUSH", "list", &value],
            _ => &["SET", ELEMENT, &value],
        };
        let read: &[&str] = match workload {
            Workload::Lrange => &["LRANGE", "list", "0", "99"],
            Workload::Zrange => &["ZRANGE", "zset", "0", "99"],
            Workload::HgetSmall => &["HGET", SMALL, FIELD],
            _ => &["GET", ELEMENT],
        };
        Self { write: Template::new(write), read: Template::new(read), workload, keys, sent: 0 }
    }

    fn append(&mut self, output: &mut Vec<u8>) {
        let writes = match self.workload {
            Workload::Get | Workload::HgetSmall | Workload::Lrange | Workload::Zrange => false,
            Workload::Mix => self.sent.is_multiple_of(11),
            _ => true,
        };
        self.sent += 1;
        let start = output.len();
        let template = if writes { &self.write } else { &self.read };
        output.extend_from_slice(&template.bytes);
        let mut number = self.keys.next();
        if self.workload == Workload::Sadd && matches!(self.keys, Keys::Random(..)) {
            // Of so many that most are new.
            number = number * 1000 + self.sent % 1000;
        }
        if let Some(at) = template.field_at {
            output[start + at] = b'0' + (number % FIELDS) as u8;
            number /= FIELDS;
        }
        if let Some(at) = template.element_at {
            write_digits(&mut output[start + at..][..DIGITS], number);
        }
        if let Some(at) = template.score_at {
            write_digits(&mut output[start + at..][..DIGITS], (number + self.sent).wrapping_mul(0x9e37_79b9) >> 4);
        }
    }
}

/// One connection with its pipeline.
struct Connection {
    stream: TcpStream,
    output: Vec<u8>,
    written: usize,
    replies: Replies,
    outstanding: usize,
    sent_at: Instant,
}

/// Counts replies in a stream of bytes without keeping them.
#[derive(Default)]
struct Replies {
    /// The line that has begun, up to its first bytes.
    line: Vec<u8>,
    /// Bytes of a bulk string, its CRLF included, still to come.
    skip: usize,
    /// Elements of an array still to come.
    elements: u64,
}

/// What the bytes held.
#[derive(Default, Debug, PartialEq, Eq)]
struct Counted {
    replies: u64,
    nulls: u64,
}

impl Replies {
    fn count(&mut self, mut bytes: &[u8]) -> io::Result<Counted> {
        let mut counted = Counted::default();
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                bytes = &bytes[step..];
                if self.skip == 0 {
                    self.one_more(&mut counted);
                }
                continue;
            }
            let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                break;
            };
            let (head, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.line.is_empty() {
                self.take_line(head, &mut counted)?;
            } else {
                self.line.extend_from_slice(head);
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, &mut counted)?;
            }
        }
        Ok(counted)
    }

    /// A whole reply, or an element of one.
    fn one_more(&mut self, counted: &mut Counted) {
        self.elements = self.elements.saturating_sub(1);
        counted.replies += u64::from(self.elements == 0);
    }

    fn take_line(&mut self, line: &[u8], counted: &mut Counted) -> io::Result<()> {
        let wrong = || io::Error::other(format!("the server answered {}", line.escape_ascii()));
        match line.first() {
            Some(b'+' | b':') => self.one_more(counted),
            Some(b'$') if line.starts_with(b"$-1") => {
                self.one_more(counted);
                counted.nulls += 1;
            }
            Some(b'$') => self.skip = number_of(line).ok_or_else(wrong)? + 2,
            Some(b'*') => match number_of(line).ok_or_else(wrong)? {
                0 => counted.replies += 1,
                len => self.elements = len as u64,
            },
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

/// The length that a line tells.
fn number_of(line: &[u8]) -> Option<usize> {
    let add = |sum: usize, digit: &u8| digit.is_ascii_digit().then(|| sum * 10 + usize::from(digit - b'0'));
    line[1..].trim_ascii_end().iter().try_fold(0, add)
}

/// Stores each of `keys` keys or elements once, without being measured.
pub fn fill(address: SocketAddr, workload: Workload, keys: u64, value_bytes: usize) -> io::Result<()> {
    let load = Load {
        workload,
        value_bytes,
        pipeline: 64,
        connections: 8,
        keys,
        time_max: Duration::from_secs(600),
        operations_max: keys,
        seed: 0,
    };
    let outcome = drive(address, &load, Keys::Each(0))?;
    if outcome.operations < keys {
        return Err(io::Error::other(format!("only {} of {keys} keys were stored in time", outcome.operations)));
    }
    Ok(())
}

/// Runs a load.
pub fn run(address: SocketAddr, load: &Load) -> io::Result<Outcome> {
    drive(address, load, Keys::Random(Seed(load.seed).rng(0), load.keys))
}

fn drive(address: SocketAddr, load: &Load, keys: Keys) -> io::Result<Outcome> {
    let mut requests = Requests::new(load.workload, load.value_bytes, keys);
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(load.connections);
    for token in 0..load.connections {
        connections.push(connect(address, &poll, Token(token))?);
    }

    let start = Instant::now();
    let mut outcome =
        Outcome { operations: 0, elapsed: Duration::ZERO, latency: Histogram::default(), misses: 0, server_cpu_us: 0 };
    let mut asked = 0;
    let mut busy = 0;
    for connection in &mut connections {
        let depth = (load.pipeline as u64).min(load.operations_max - asked);
        if depth > 0 {
            connection.begin(depth as usize, &mut requests, Instant::now())?;
            asked += depth;
            busy += 1;
        }
    }
    let mut events = Events::with_capacity(256);
    let mut buffer = vec![0; 256 * 1024];
    while busy > 0 {
        poll.poll(&mut events, Some(Duration::from_secs(30)))?;
        if events.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server has not answered for 30 seconds"));
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            if event.is_writable() {
                connection.write()?;
            }
            if !event.is_readable() {
                continue;
            }
            if !connection.read(&mut buffer, &mut outcome)? {
                continue;
            }
            // Its pipeline is answered: the next one, or the end.
            let now = Instant::now();
            let depth = (load.pipeline as u64).min(load.operations_max - asked);
            if depth == 0 || now - start >= load.time_max {
                busy -= 1;
            } else {
                connection.begin(depth as usize, &mut requests, now)?;
                asked += depth;
            }
        }
    }
    outcome.elapsed = start.elapsed();
    Ok(outcome)
}

fn connect(address: SocketAddr, poll: &Poll, token: Token) -> io::Result<Connection> {
    let stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    let replies = Replies::default();
    Ok(Connection { stream, output: Vec::new(), written: 0, replies, outstanding: 0, sent_at: Instant::now() })
}

impl Connection {
    fn begin(&mut self, depth: usize, requests: &mut Requests, now: Instant) -> io::Result<()> {
        self.output.clear();
        self.written = 0;
        for _ in 0..depth {
            requests.append(&mut self.output);
        }
        self.outstanding = depth;
        self.sent_at = now;
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there; whether the whole pipeline is answered now.
    fn read(&mut self, buffer: &mut [u8], outcome: &mut Outcome) -> io::Result<bool> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed a connection")),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            let counted = self.replies.count(&buffer[..count])?;
            let nanos = self.sent_at.elapsed().as_nanos() as u64;
            for _ in 0..counted.replies {
                outcome.latency.record(nanos);
            }
            outcome.operations += counted.replies;
            outcome.misses += counted.nulls;
            self.outstanding -= counted.replies as usize;
            if self.outstanding == 0 {
                return Ok(true);
            }
            if count < buffer.len() {
                // Edge-triggered, and the socket was read empty: the next bytes bring an event.
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_whatever_the_cuts() {
        let bytes = b"+OK\r\n$5\r\nab\ncd\r\n$-1\r\n$0\r\n\r\n:12\r\n";
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let mut replies = Replies::default();
                let mut sum = Counted::default();
                for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    let counted = replies.count(part).expect("no errors in it");
                    sum.replies += counted.replies;
                    sum.nulls += counted.nulls;
                }
                assert_eq!(sum, Counted { replies: 5, nulls: 1 }, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn an_error_reply_ends_the_run() {
        let error = Replies::default().count(b"-OOM the pool is full\r\n").expect_err("an error");
        assert!(error.to_string().contains("OOM"));
    }

    #[test]
    fn requests_of_small_hashes_name_hash_and_field() {
        let mut requests = Requests::new(Workload::HsetSmall, 3, Keys::Each(41));
        let mut output = Vec::new();
        requests.append(&mut output);
        assert_eq!(output, b"*4\r\n$4\r\nHSET\r\n$16\r\nobj:000000000005\r\n$7\r\nfield:1\r\n$3\r\nvvv\r\n");
    }

    #[test]
    fn requests_name_their_key() {
        let mut requests = Requests::new(Workload::Mix, 3, Keys::Each(41));
        let mut output = Vec::new();
        requests.append(&mut output);
        requests.append(&mut output);
        let expected =
            "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000041\r\n$3\r\nvvv\r\n*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000042\r\n";
        assert_eq!(output, expected.as_bytes());
    }
}
