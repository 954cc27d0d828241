//! Random commands against a plain model, and against Redis itself, reply by reply.
//!
//! Three sides are compared in pairs, so that an agreement means something: the model with `redis-server` (is the
//! model right?), the server with the model, `kill -9` and recovery in between (is anything lost or answered
//! wrongly?), and the server with `redis-server` on commands that are also malformed (are errors worded as clients
//! know them?). Each in RESP2 and RESP3.
//!
//! A failure prints its seed; `FENCEPOST_SEED=N` runs it again. `FENCEPOST_MODEL_COMMANDS` sets how many commands
//! each test sends.

use fencepost_harness::compare::agree;
use fencepost_harness::model::{CLOCK_SLACK_MS, Model, flattened};
use fencepost_harness::server::redis_is_installed;
use fencepost_harness::workload::{BY_NAME, Workload};
use fencepost_harness::{Client, Command, Frame, Program, Seed, Server, Storage, command, show};
use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// How long an expired key may be seen, or counted, after its time. The promise is "about a second".
const EXPIRY_SEEN_MAX: Duration = Duration::from_secs(20);

/// How many of the last commands a failure shows.
const SHOWN: usize = 40;

#[test]
fn the_model_agrees_with_redis() {
    if redis_is_installed() {
        for resp3 in [false, true] {
            let redis = Server::start(Program::Redis, &Storage::Memory, &[]);
            Run::new("the model and redis", redis, resp3).against_model(false);
        }
    }
}

#[test]
fn the_server_agrees_with_the_model_over_crashes_in_resp2() {
    Run::new("the server and the model", fencepost(), false).against_model(true);
}

#[test]
fn the_server_agrees_with_the_model_over_crashes_in_resp3() {
    Run::new("the server and the model", fencepost(), true).against_model(true);
}

#[test]
fn the_server_agrees_with_redis_reply_by_reply() {
    if redis_is_installed() {
        for resp3 in [false, true] {
            let redis = Server::start(Program::Redis, &Storage::Memory, &[]);
            Run::new("the server and redis", fencepost(), resp3).against_server(&redis);
        }
    }
}

fn fencepost() -> Server {
    let fencepost = env!("CARGO_BIN_EXE_fencepost");
    let mut server = Server::under_test(fencepost, &Storage::Memory, &["--pool-size", "1gb"]);
    server.run();
    server
}

fn command_count() -> usize {
    let text = std::env::var("FENCEPOST_MODEL_COMMANDS").unwrap_or_else(|_| "8000".to_owned());
    text.parse().expect("FENCEPOST_MODEL_COMMANDS is a number")
}

fn now_ms() -> i64 {
    UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_millis() as i64
}

/// One server under test and what was done to it.
struct Run {
    server: Server,
    client: Client,
    workload: Workload,
    resp3: bool,
    recent: VecDeque<String>,
}

impl Run {
    fn new(name: &str, server: Server, resp3: bool) -> Self {
        let seed = Seed::from_env(name);
        let client = connect(&server, resp3);
        let workload = Workload::new(seed.rng(u64::from(resp3)));
        Self { server, client, workload, resp3, recent: VecDeque::new() }
    }

    /// Sends commands in pipelines of random depth and compares each reply with the model's; now and then lets a key
    /// expire, walks the keys with SCAN, or (with `crashes`) kills the server and compares all it holds afterwards.
    fn against_model(mut self, crashes: bool) {
        let mut model = Model::new();
        model.reconnect(self.resp3);
        let mut left = command_count();
        while left > 0 {
            let (mut batch, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..self.workload.rng().between(1, 24) {
                let command = self.workload.command();
                if let Some(reply) = model.apply(&command, now_ms()) {
                    batch.push(command);
                    expected.push(reply);
                }
            }
            let within = self.transaction(batch.len());
            let framed = framed(&batch, within.as_ref());
            let replies =
                self.client.pipeline(&framed).unwrap_or_else(|error| self.fail(&format!("no replies: {error}")));
            let replies = unframed(replies, within).unwrap_or_else(|reply| self.fail(&format!("EXEC gave {reply:?}")));
            for ((command, expected), reply) in batch.iter().zip(&expected).zip(&replies) {
                self.note(command);
                if !expected.accepts(reply) {
                    self.fail(&format!("{} answered {reply:?}, expected {expected:?}", show(command)));
                }
            }
            left = left.saturating_sub(batch.len());
            match self.workload.rng().below(100) {
                0..4 => self.let_a_key_expire(&mut model),
                4..8 => self.scan(&model),
                8 if crashes => self.crash(&mut model),
                _ => {}
            }
        }
        if crashes {
            self.crash(&mut model);
        }
    }

    /// A short life: the key must go, be counted no more, and stay away.
    fn let_a_key_expire(&mut self, model: &mut Model) {
        let Some(key) = model.keys().into_iter().next() else { return };
        let expire = command(&[&b"PEXPIRE"[..], &key, b"1"]);
        self.note(&expire);
        assert_eq!(self.client.must(&expire), Frame::Integer(1));
        model.expire(&key);
        self.until(&command(&[&b"EXISTS"[..], &key]), &Frame::Integer(0));
        let count = command(&["DBSIZE"]);
        if let Some(fencepost_harness::model::Expected::Exactly(frame)) = model.apply(&count, now_ms()) {
            self.until(&count, &frame);
        }
    }

    fn until(&mut self, command: &Command, wanted: &Frame) {
        let start = Instant::now();
        loop {
            let reply = self.client.must(command);
            if reply == *wanted {
                return;
            }
            if start.elapsed() > EXPIRY_SEEN_MAX {
                self.fail(&format!("{} still answers {reply:?}, not {wanted:?}", show(command)));
            }
        }
    }

    fn scan(&mut self, model: &Model) {
        let count = self.workload.rng().between(1, 20).to_string();
        let mut found = scan(&mut self.client, &count);
        found.sort();
        found.dedup();
        if found != model.keys() {
            self.fail(&format!("SCAN found {found:?}, expected {:?}", model.keys()));
        }
    }

    /// `kill -9`, recovery, and a comparison of everything.
    fn crash(&mut self, model: &mut Model) {
        self.server.crash();
        self.client = connect(&self.server, self.resp3);
        model.reconnect(self.resp3);
        for database in 0..3 {
            let found = contents(&mut self.client, database);
            let expected = model.contents(database);
            let alike = |(a, b): (&Content, &Content)| a.0 == b.0 && a.1 == b.1 && close(a.2, b.2);
            if found.len() != expected.len() || !found.iter().zip(&expected).all(alike) {
                let tell = |contents: &[Content]| -> Vec<String> {
                    let one = |(key, value, at): &Content| {
                        format!("{} = {:?} at {at:?}", key.escape_ascii(), Frame::bulk(value))
                    };
                    contents.iter().map(one).collect()
                };
                self.fail(&format!(
                    "after a crash database {database} holds {:#?}\nexpected {:#?}",
                    tell(&found),
                    tell(&expected)
                ));
            }
        }
        self.client.must(&["SELECT", "0"]);
        self.recent.push_back("(kill -9)".to_owned());
    }

    /// Sends the same commands, one in three of them broken, to both servers.
    fn against_server(mut self, reference: &Server) {
        let mut other = connect(reference, self.resp3);
        let mut left = command_count();
        while left > 0 {
            let mut batch: Vec<Command> = Vec::new();
            for _ in 0..self.workload.rng().between(1, 12) {
                batch.push(self.command_for_both());
            }
            let within = self.transaction(batch.len());
            let framed = framed(&batch, within.as_ref());
            let ours = self.client.pipeline(&framed).unwrap_or_else(|error| self.fail(&format!("no replies: {error}")));
            let theirs = other.pipeline(&framed).expect("redis-server answers");
            let (ours, theirs) = match (unframed(ours, within.clone()), unframed(theirs, within)) {
                (Ok(ours), Ok(theirs)) => (ours, theirs),
                // A command was refused when it was queued, so nothing was done.
                (Err(ours), Err(theirs)) if ours == theirs => {
                    left = left.saturating_sub(batch.len());
                    continue;
                }
                (ours, theirs) => self.fail(&format!("EXEC gave {ours:?}, redis-server {theirs:?}")),
            };
            for ((command, ours), theirs) in batch.iter().zip(&ours).zip(&theirs) {
                self.note(command);
                if !agree(command, ours, theirs) {
                    self.fail(&format!("{} answered {ours:?}, redis-server {theirs:?}", show(command)));
                }
            }
            left = left.saturating_sub(batch.len());
        }
        for database in 0..3 {
            let (ours, theirs) = (contents(&mut self.client, database), contents(&mut other, database));
            let alike = |(a, b): (&Content, &Content)| a.0 == b.0 && a.1 == b.1 && close(a.2, b.2);
            assert!(
                ours.len() == theirs.len() && ours.iter().zip(&theirs).all(alike),
                "the servers hold different things"
            );
        }
    }

    /// Which commands of a batch run as a transaction, if any do.
    fn transaction(&mut self, len: usize) -> Option<Range<usize>> {
        let rng = self.workload.rng();
        let start = rng.below(len as u64 + 1) as usize;
        let end = start + rng.below((len - start) as u64 + 1) as usize;
        rng.one_in(3).then_some(start..end)
    }

    fn command_for_both(&mut self) -> Command {
        loop {
            let command = match self.workload.rng().below(9) {
                0..5 => self.workload.command(),
                5 => {
                    let key = self.workload.key();
                    command(&[&b"OBJECT"[..], b"ENCODING", &key])
                }
                6 => self.lcs_with_options(),
                _ => self.workload.broken_command(),
            };
            if is_comparable(&command) {
                return command;
            }
        }
    }

    fn lcs_with_options(&mut self) -> Command {
        let mut words = command(&[&b"LCS"[..], &self.workload.key(), &self.workload.key()]);
        for option in ["IDX", "WITHMATCHLEN", "LEN"] {
            if self.workload.rng().one_in(2) {
                words.push(option.into());
            }
        }
        if self.workload.rng().one_in(3) {
            words.extend(command(&["MINMATCHLEN", "3"]));
        }
        words
    }

    fn note(&mut self, command: &Command) {
        self.recent.push_back(show(command));
        if self.recent.len() > SHOWN {
            self.recent.pop_front();
        }
    }

    fn fail(&self, what: &str) -> ! {
        let recent: Vec<&str> = self.recent.iter().map(String::as_str).collect();
        panic!("RESP{}: the last commands:\n{}\n{what}", if self.resp3 { 3 } else { 2 }, recent.join("\n"));
    }
}

/// The batch with MULTI and EXEC around some of its commands.
fn framed(batch: &[Command], within: Option<&Range<usize>>) -> Vec<Command> {
    let Some(within) = within else { return batch.to_vec() };
    let (before, after) = (&batch[..within.start], &batch[within.end..]);
    [before, &[command(&["MULTI"])], &batch[within.clone()], &[command(&["EXEC"])], after].concat()
}

/// The replies as they would be without MULTI and EXEC; the reply of EXEC where it is another than it should be.
fn unframed(mut replies: Vec<Frame>, within: Option<Range<usize>>) -> Result<Vec<Frame>, Frame> {
    let Some(Range { start, end }) = within else { return Ok(replies) };
    let exec = replies[end + 1].clone();
    match exec {
        Frame::Array(items) if items.len() == end - start => drop(replies.splice(start..end + 2, items)),
        other => return Err(other),
    }
    Ok(replies)
}

/// Commands whose replies mean nothing side by side: those whose effect depends on the moment, on memory limits, or
/// on arithmetic in long doubles, and LCS over values that would take seconds.
fn is_comparable(command: &Command) -> bool {
    let name = command[0].to_ascii_uppercase();
    match name.as_slice() {
        // Whether an expired key that nobody asked for is still counted is a matter of timing.
        b"DBSIZE" | b"RANDOMKEY" => false,
        // Which members a range of names means is said only for those of one score.
        b"ZADD" | b"ZINCRBY" if command.get(1).is_some_and(|key| key == BY_NAME) => {
            command[2..].iter().all(|word| word == b"0" || word.first().is_some_and(u8::is_ascii_alphabetic))
        }
        // Near deadlines: GT and LT between two that were set a moment apart.
        b"EXPIRE" | b"PEXPIRE" if command.len() > 3 => false,
        // Times so near that they could pass between the two servers' answers.
        _ => !command.iter().any(|word| word == b"1.5"),
    }
}

fn connect(server: &Server, resp3: bool) -> Client {
    let mut client = server.client();
    if resp3 {
        assert!(matches!(client.hello(3).expect("HELLO is answered"), Frame::Map(_)));
    }
    client
}

/// All keys by SCAN, as often as it gave them.
fn scan(client: &mut Client, count: &str) -> Vec<Vec<u8>> {
    let mut cursor = b"0".to_vec();
    let mut keys = Vec::new();
    loop {
        let reply = client.must(&[b"SCAN", cursor.as_slice(), b"COUNT", count.as_bytes()]);
        let Some([next, page]) = reply.items() else { panic!("SCAN answered {reply:?}") };
        cursor = next.bytes().expect("a cursor is a string").to_vec();
        let page = page.items().expect("a page is an array");
        keys.extend(page.iter().map(|key| key.bytes().expect("a key is a string").to_vec()));
        if cursor == b"0" {
            return keys;
        }
    }
}

/// A key, its value in one piece and its deadline in Unix milliseconds.
type Content = (Vec<u8>, Vec<u8>, Option<i64>);

/// All that a database holds, by key.
fn contents(client: &mut Client, database: usize) -> Vec<Content> {
    assert_eq!(client.must(&["SELECT", &database.to_string()]), Frame::ok());
    let mut keys = scan(client, "100");
    keys.sort();
    keys.dedup();
    let content = |key: Vec<u8>| {
        let value = value(client, &key);
        let deadline = client.must(&[b"PEXPIRETIME", key.as_slice()]).integer().expect("PEXPIRETIME answers a number");
        (key, value, (deadline >= 0).then_some(deadline))
    };
    keys.into_iter().map(content).collect()
}

/// What a key holds, in one piece as the model has it.
fn value(client: &mut Client, key: &[u8]) -> Vec<u8> {
    let kind = client.must(&[b"TYPE", key]);
    let reply = match kind.bytes() {
        Some(b"list") => client.must(&[b"LRANGE", key, b"0", b"-1"]),
        Some(b"hash") => return members(client, "hash", &[b"HGETALL", key]),
        Some(b"set") => return members(client, "set", &[b"SMEMBERS", key]),
        Some(b"zset") => return sorted_set(client, key),
        _ => client.must(&[b"GET", key]),
    };
    match (reply.bytes(), reply.items()) {
        (Some(bytes), _) => bytes.to_vec(),
        (_, Some(items)) => flattened("list", items.iter().map(|item| item.bytes().expect("an element is a string"))),
        _ => panic!("{} has no value", key.escape_ascii()),
    }
}

/// The members of a hash or set in the order that the model has them.
fn members(client: &mut Client, kind: &str, request: &[&[u8]]) -> Vec<u8> {
    let bytes = |frame: &Frame| frame.bytes().expect("a member is a string").to_vec();
    let reply = client.must(request);
    let mut all: Vec<Vec<Vec<u8>>> = match &reply {
        Frame::Map(pairs) => pairs.iter().map(|(field, value)| vec![bytes(field), bytes(value)]).collect(),
        _ => {
            let width = if kind == "hash" { 2 } else { 1 };
            let items = reply.items().expect("members");
            items.chunks(width).map(|parts| parts.iter().map(bytes).collect()).collect()
        }
    };
    all.sort_unstable();
    flattened(kind, all.iter().flatten().map(Vec::as_slice))
}

/// The members of a sorted set with their scores, in its order.
fn sorted_set(client: &mut Client, key: &[u8]) -> Vec<u8> {
    let reply = client.must(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]);
    let items = reply.items().expect("members").iter();
    let parts = items.flat_map(|item| item.items().map_or(vec![item.clone()], <[Frame]>::to_vec));
    let text = |(at, part): (usize, Frame)| match part {
        Frame::Bulk(text) | Frame::Double(text) if at % 2 == 1 => {
            let score: f64 = String::from_utf8_lossy(&text).parse().expect("a score is a number");
            score.to_string().into_bytes()
        }
        part => part.bytes().expect("a member is a string").to_vec(),
    };
    let parts: Vec<Vec<u8>> = parts.enumerate().map(text).collect();
    flattened("zset", parts.iter().map(Vec::as_slice))
}

fn close(a: Option<i64>, b: Option<i64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.abs_diff(b) <= CLOCK_SLACK_MS.unsigned_abs(),
        (None, None) => true,
        _ => false,
    }
}
