//! Random commands against a plain model, and against Redis itself, reply by reply.
//!
//! Three sides are compared in pairs, so that an agreement means something: the model with `redis-server` (is the
//! model right?), the server with the model, `kill -9` and recovery in between (is anything lost or answered
//! wrongly?), and the server with `redis-server` on commands that are also malformed (are errors worded as clients
//! know them?). Each in RESP2 and RESP3. Fields of hashes that expire, which that `redis-server` does not know, are compared with a Redis 8
//! beside it.
//!
//! A failure prints its seed; `FENCEPOST_SEED=N` runs it again. `FENCEPOST_MODEL_COMMANDS` sets how many commands
//! each test sends.

use fencepost_harness::compare::agree;
use fencepost_harness::contents::{Content, contents, same, scan};
use fencepost_harness::model::Model;
use fencepost_harness::server::{redis_8, redis_is_installed};
use fencepost_harness::workload::fields::is_about_a_moment;
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
    Run::new("the server and the model", fencepost(), false).with_field_expiry().against_model(true);
}

#[test]
fn the_server_agrees_with_the_model_over_crashes_in_resp3() {
    Run::new("the server and the model", fencepost(), true).with_field_expiry().against_model(true);
}

#[test]
fn the_server_agrees_with_redis_reply_by_reply() {
    if redis_is_installed() {
        for resp3 in [false, true] {
            let redis = Server::start(Program::Redis, &Storage::Memory, &[]);
            Run::new("the server and redis", fencepost(), resp3).against_server(&redis, any_command);
        }
    }
}

#[test]
fn the_server_agrees_with_redis_8_on_fields_that_expire() {
    if let Some(program) = redis_8() {
        for resp3 in [false, true] {
            // Removes what has expired at once, nearly.
            let redis = Server::start(program.clone(), &Storage::Memory, &["--hz", "500"]);
            let run = Run::new("the server and redis 8", fencepost(), resp3).with_field_expiry();
            run.against_server(&redis, field_expiry_command);
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

    /// With what the redis-server that there is to compare with does not know.
    fn with_field_expiry(mut self) -> Self {
        if self.server.has_field_expiry() {
            self.workload = self.workload.with_field_expiry();
        }
        self
    }

    /// Sends commands in pipelines of random depth and compares each reply with the model's; now and then lets a key
    /// expire, walks the keys with SCAN, or (with `crashes`) kills the server and compares all it holds afterwards.
    fn against_model(mut self, crashes: bool) {
        self.workload.with_stretches();
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
                9..15 => self.server.vary_packing(&mut self.client, self.workload.rng()),
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
        if let Err(reply) = answers(&mut self.client, command, wanted) {
            self.fail(&format!("{} still answers {reply:?}, not {wanted:?}", show(command)));
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
            if !same(&found, &expected) {
                let tell = |contents: &[Content]| -> Vec<String> {
                    let one = |(key, value, at, fields): &Content| {
                        format!("{} = {:?} at {at:?}, fields at {fields:?}", key.escape_ascii(), Frame::bulk(value))
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

    /// Sends the same commands to both servers.
    fn against_server(mut self, reference: &Server, next: fn(&mut Workload) -> Command) {
        let mut other = connect(reference, self.resp3);
        let mut left = command_count();
        while left > 0 {
            let mut batch: Vec<Command> = Vec::new();
            for _ in 0..self.workload.rng().between(1, 12) {
                batch.push(next(&mut self.workload));
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
                (ours, theirs) => {
                    let sent: Vec<String> = framed.iter().map(show).collect();
                    self.fail(&format!("{}\nEXEC gave {ours:?}, redis-server {theirs:?}", sent.join("\n")))
                }
            };
            for ((command, ours), theirs) in batch.iter().zip(&ours).zip(&theirs) {
                self.note(command);
                if !agree(command, ours, theirs) {
                    self.fail(&format!("{} answered {ours:?}, redis-server {theirs:?}", show(command)));
                }
            }
            left = left.saturating_sub(batch.len());
            if self.workload.rng().one_in(16) {
                self.server.vary_packing(&mut self.client, self.workload.rng());
            }
            if reference.has_field_expiry() {
                match self.workload.rng().below(100) {
                    0..2 => self.let_a_field_expire(&mut other),
                    2..6 => self.exchange_a_hash(&mut other),
                    _ => {}
                }
            }
        }
        for database in 0..3 {
            let (ours, theirs) = (contents(&mut self.client, database), contents(&mut other, database));
            assert!(same(&ours, &theirs), "the servers hold different things");
        }
    }

    /// Which commands of a batch run as a transaction, if any do.
    fn transaction(&mut self, len: usize) -> Option<Range<usize>> {
        let rng = self.workload.rng();
        let start = rng.below(len as u64 + 1) as usize;
        let end = start + rng.below((len - start) as u64 + 1) as usize;
        rng.one_in(3).then_some(start..end)
    }

    /// A field of a hash, if a key drawn at random is one.
    fn field(&mut self, other: &mut Client) -> Option<(Vec<u8>, Vec<u8>, i64)> {
        let key = self.workload.key();
        let reply = other.must(&[b"HKEYS", key.as_slice()]);
        let fields = reply.items().filter(|fields| !fields.is_empty())?;
        let field = self.workload.rng().pick(fields).bytes().expect("a field is a string").to_vec();
        Some((key, field, fields.len() as i64))
    }

    /// A short life of a field: it must go on both servers.
    fn let_a_field_expire(&mut self, other: &mut Client) {
        let Some((key, field, count)) = self.field(other) else { return };
        let expire = command(&[&b"HPEXPIRE"[..], &key, b"1", b"FIELDS", b"1", &field]);
        self.note(&expire);
        for client in [&mut self.client, &mut *other] {
            assert_eq!(client.must(&expire), Frame::Array(vec![Frame::Integer(1)]));
        }
        let (len, wanted) = (command(&[&b"HLEN"[..], &key]), Frame::Integer(count - 1));
        self.until(&len, &wanted);
        answers(other, &len, &wanted).expect("redis-server removes fields that have expired");
    }

    /// Each server gets what the other one serializes.
    fn exchange_a_hash(&mut self, other: &mut Client) {
        let Some((key, ..)) = self.field(other) else { return };
        let to = self.workload.key();
        let dump = command(&[&b"DUMP"[..], &key]);
        self.note(&dump);
        let payloads = [&mut self.client, &mut *other].map(|client| client.must(&dump));
        for (client, payload) in [&mut *other, &mut self.client].into_iter().zip(&payloads) {
            let restore = command(&[&b"RESTORE"[..], &to, b"0", payload.bytes().expect("a payload"), b"REPLACE"]);
            assert_eq!(client.must(&restore), Frame::ok());
        }
        self.recent.push_back(format!("(each other's RESTORE of it to {})", to.escape_ascii()));
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

/// Any command that can be compared, one in three of them broken.
fn any_command(workload: &mut Workload) -> Command {
    loop {
        let command = match workload.rng().below(9) {
            0..5 => workload.command(),
            5 => {
                let key = workload.key();
                command(&[&b"OBJECT"[..], b"ENCODING", &key])
            }
            6 => lcs_with_options(workload),
            _ => workload.broken_command(),
        };
        if is_comparable(&command) {
            return command;
        }
    }
}

fn lcs_with_options(workload: &mut Workload) -> Command {
    let mut words = command(&[&b"LCS"[..], &workload.key(), &workload.key()]);
    for option in ["IDX", "WITHMATCHLEN", "LEN"] {
        if workload.rng().one_in(2) {
            words.push(option.into());
        }
    }
    if workload.rng().one_in(3) {
        words.extend(command(&["MINMATCHLEN", "3"]));
    }
    words
}

/// One about fields that expire, or about the hashes that have them.
fn field_expiry_command(workload: &mut Workload) -> Command {
    loop {
        let command = workload.field_expiry_command();
        if is_comparable(&command) && !is_about_a_moment(&command) {
            return command;
        }
    }
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
        // 7.2 takes WITHSCORE here; 7.0 refuses the fourth word, in a transaction when it is queued.
        b"ZRANK" | b"ZREVRANK" if command.len() > 3 => false,
        // Any member.
        b"SPOP" if command.len() == 2 => false,
        // Near deadlines: GT and LT between two that were set a moment apart.
        b"EXPIRE" | b"PEXPIRE" if command.len() > 3 => false,
        // Times so near that they could pass between the two servers' answers.
        _ => !command.iter().any(|word| word == b"1.5"),
    }
}

/// Asks until the answer is the one that is wanted; otherwise gives the last one.
fn answers(client: &mut Client, command: &Command, wanted: &Frame) -> Result<(), Frame> {
    let start = Instant::now();
    loop {
        let reply = client.must(command);
        if reply == *wanted {
            return Ok(());
        }
        if start.elapsed() > EXPIRY_SEEN_MAX {
            return Err(reply);
        }
    }
}

fn connect(server: &Server, resp3: bool) -> Client {
    let mut client = server.client();
    if resp3 {
        assert!(matches!(client.hello(3).expect("HELLO is answered"), Frame::Map(_)));
    }
    client
}
