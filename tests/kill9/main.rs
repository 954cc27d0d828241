//! `kill -9` under load: every acknowledged effect is there after the restart, every unanswered one is whole or absent.
//!
//! Several connections of a stock client library (the `redis` crate) write, update, delete, expire and rename, one
//! command at a time and in pipelines, several keys at once (MSET, RENAME, DEL), over short values and long ones.
//! Others use lists, hashes, sets, sorted sets and strings, also in transactions, each in a database of its own
//! ([`any_type`]). The server is killed at random moments: under load, while it creates its pool and while it recovers.
//! After each restart everything it holds is read and compared with the history; the history goes on over all the
//! rounds of one pool, so that what comes back from the dead later is seen too. What is compared, and how, is told in
//! `fencepost_harness::history`.
//!
//! The client library is the `redis` crate because it gives each reply of a pipeline as it comes (`recv_response`):
//! what was acknowledged before the connection broke is known to the command. Python's client throws the replies of a
//! broken pipeline away.
//!
//! ```text
//! cargo test --release --test kill9 -- --nocapture
//! ```
//!
//! prints as its last line `rounds N, acknowledged N, lost 0, torn 0` and fails when a number that should be 0 is not.
//! `FENCEPOST_KILL9_ROUNDS` sets the rounds, `FENCEPOST_SEED` the seed; `FENCEPOST_TEST_SERVER=redis-volatile` shows
//! that the test can fail.

mod any_type;
mod commands;

use any_type::Owner;
use fencepost_harness::contents::contents;
use fencepost_harness::history::payload::{Payload, describe};
use fencepost_harness::history::{
    Account, Broken, Counter, Held, Ledger, Operation, Readout, Register, SHORT_LIVED, Violation,
};
use fencepost_harness::{Frame, Rng, Seed, Server, Storage};
use redis::{Connection, RedisResult, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Connections that write at the same time. The first has a database to itself.
const CLIENTS: u32 = 6;

/// Connections beside them that have a database each and use values of every type.
const OWNERS: usize = 3;

/// The databases of the others come first.
const SHARED_DATABASES: usize = 2;

/// Lasting and short-lived keys of each client, and keys that all but the first share.
const LASTING_KEYS: u64 = 24;
const SHORT_KEYS: u64 = 6;
const SHARED_KEYS: usize = 4;

/// Rounds on one pool before the next begins with a new one.
const ROUNDS_PER_POOL: usize = 25;

/// How large pools are: some that are small to begin with, so that many kills come while they grow, and some that never have much more room than
/// the keys take, so that all of it is cleaned again and again.
const SIZES: [&[&str]; 2] = [&["--pool-size", "8mb", "--pool-max-size", "1gb"], &["--pool-size", "12mb"]];

/// The key that everyone increments.
const COUNTER: &str = "counter";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        println!("kill9: test");
        return ExitCode::SUCCESS;
    }
    // A filter that means other tests.
    if words.iter().any(|word| !word.starts_with('-') && !"kill9".contains(word.as_str())) {
        return ExitCode::SUCCESS;
    }
    if let Err(text) = commands::check() {
        println!("{text}");
        return ExitCode::FAILURE;
    }
    let default = if cfg!(debug_assertions) { 12 } else { 50 };
    let rounds =
        std::env::var("FENCEPOST_KILL9_ROUNDS").map_or(default, |text| text.parse().expect("a number of rounds"));
    let verdict = run(rounds, Seed::from_env("kill9"));
    println!(
        "rounds {}, acknowledged {}, lost {}, torn {}",
        verdict.rounds, verdict.acknowledged, verdict.lost, verdict.torn
    );
    if verdict.lost + verdict.torn == 0 && verdict.acknowledged > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Verdict {
    rounds: usize,
    acknowledged: u64,
    lost: usize,
    torn: usize,
    refused: usize,
}

impl Verdict {
    fn note(&mut self, round: usize, violations: &[Violation]) {
        const SHOWN_MAX: usize = 10;
        for violation in violations {
            let (count, word) = match violation.broken {
                Broken::Lost => (&mut self.lost, "LOST"),
                Broken::Torn => (&mut self.torn, "TORN"),
            };
            *count += 1;
            if *count <= SHOWN_MAX {
                println!("round {round}: {word}: {}", violation.text);
            }
        }
    }
}

/// Takes turns between a pool in memory and one on a disk.
fn run(rounds: usize, seed: Seed) -> Verdict {
    let start = Instant::now();
    let mut rng = seed.rng(0);
    let mut verdict = Verdict::default();
    let places = [Storage::Memory, Storage::Disk(PathBuf::from(env!("CARGO_TARGET_TMPDIR")))];
    let kinds: Vec<_> = SIZES.iter().flat_map(|sizes| places.iter().map(move |place| (place, *sizes))).collect();
    let mut trials: Vec<Trial> = kinds.iter().map(|(place, sizes)| Trial::new(place, sizes, &mut rng)).collect();
    for round in 0..rounds {
        let turn = round % kinds.len();
        if trials[turn].rounds == ROUNDS_PER_POOL {
            trials[turn] = Trial::new(kinds[turn].0, kinds[turn].1, &mut rng);
        }
        let (acknowledged, refused, violations) = trials[turn].round(seed.rng(1 + round as u64));
        verdict.rounds += 1;
        verdict.acknowledged += acknowledged;
        verdict.refused += refused;
        verdict.note(round, &violations);
        if !violations.is_empty() {
            println!("{}", trials[turn].server.log_end());
            break;
        }
    }
    println!(
        "{} rounds in {:.1} s, {} commands refused within transactions for want of room",
        verdict.rounds,
        start.elapsed().as_secs_f64(),
        verdict.refused
    );
    verdict
}

/// What the keys that several clients use went through in a round.
#[derive(Default)]
struct Shared {
    registers: Vec<Register>,
    counter: Counter,
}

/// One pool, its server and the history of both.
struct Trial {
    server: Server,
    writers: Vec<Writer>,
    accounts: Vec<Account>,
    shared: Arc<Mutex<Shared>>,
    rounds: usize,
}

impl Trial {
    /// A server on a new pool; some are killed while they are making it.
    fn new(place: &Storage, sizes: &[&str], rng: &mut Rng) -> Self {
        let mut server = Server::under_test(env!("CARGO_BIN_EXE_fencepost"), place, sizes);
        let (_quiet, silence) = mpsc::channel();
        for _ in 0..rng.below(4) {
            server.spawn();
            pause(&silence, rng.below(40_000));
            server.kill();
        }
        server.run();
        let shared = Shared { registers: vec![Register::default(); SHARED_KEYS], ..Shared::default() };
        let writers = (0..CLIENTS).map(|client| Writer { client, operations: 0, ledger: Ledger::default() }).collect();
        let accounts = (0..OWNERS).map(|owner| Account::new(SHARED_DATABASES + owner)).collect();
        Self { server, writers, accounts, shared: Arc::new(Mutex::new(shared)), rounds: 0 }
    }

    /// Load, kill, restart, compare. Returns how many commands were acknowledged, how many of these were refused for want
    /// of room, and what is wrong.
    fn round(&mut self, mut rng: Rng) -> (u64, usize, Vec<Violation>) {
        self.rounds += 1;
        let refused_before = self.refused();
        let goal = 1 + rng.below(6_000);
        let (reached, goal_reached) = mpsc::channel();
        let load = Arc::new(Load { clock: AtomicU64::new(1), acknowledged: AtomicU64::new(0), goal, reached });
        let threads: Vec<_> = self
            .writers
            .drain(..)
            .map(|writer| {
                let connection = connect(&self.server);
                let (load, shared, rng) = (load.clone(), self.shared.clone(), Seed(rng.next()).rng(0));
                std::thread::spawn(move || Session { connection, load, shared, rng, writer }.run())
            })
            .collect();
        let owners: Vec<_> = self
            .accounts
            .drain(..)
            .map(|account| {
                let owner = Owner::new(account, &self.server, load.clone(), Seed(rng.next()).rng(0));
                std::thread::spawn(move || owner.run())
            })
            .collect();
        // Half of the kills come at a count of commands, half at a time.
        pause(&goal_reached, if rng.one_in(2) { 10_000_000 } else { rng.below(150_000) });
        self.server.kill();

        let mut violations = Vec::new();
        for thread in threads {
            let (writer, wrong) = thread.join().expect("a load thread does not panic");
            self.writers.push(writer);
            violations.extend(wrong);
        }
        for owner in owners {
            let (account, wrong) = owner.join().expect("a load thread does not panic");
            self.accounts.push(account);
            violations.extend(wrong);
        }
        let (_quiet, silence) = mpsc::channel();
        for _ in 0..rng.below(3) {
            self.server.spawn();
            pause(&silence, rng.below(30_000));
            self.server.kill();
        }
        self.server.run();
        violations.extend(self.compare());
        (load.acknowledged.load(Ordering::Relaxed), self.refused() - refused_before, violations)
    }

    fn refused(&self) -> usize {
        self.accounts.iter().map(Account::refused).sum()
    }

    /// Reads all that the server holds and settles it with the history.
    fn compare(&mut self) -> Vec<Violation> {
        let mut connection = connect(&self.server);
        wait_until(self.writers.iter().filter_map(|writer| writer.ledger.last_short_deadline()).max());
        let mut violations = Vec::new();
        let mut databases: Vec<Readout> =
            (0..SHARED_DATABASES).map(|database| read_all(&mut connection, database)).collect();
        for writer in &mut self.writers {
            let keys = &mut databases[writer.database()];
            let (own, others) =
                std::mem::take(keys).into_iter().partition(|(key, _)| key.starts_with(&writer.prefix()));
            *keys = others;
            violations.extend(writer.ledger.settle(&own).err().into_iter().flatten());
        }
        let mut client = self.server.client();
        for account in &mut self.accounts {
            let found = contents(&mut client, account.database());
            violations.extend(account.settle(&found).err().into_iter().flatten());
        }
        let mut shared = self.shared.lock().expect("no load thread panicked");
        let keys = &mut databases[0];
        for (index, register) in shared.registers.iter_mut().enumerate() {
            let key = shared_key(index);
            let (label, torn) = label(&key, keys.remove(&key).as_ref().map(|held| held.value.as_slice()));
            violations.extend(torn);
            violations.extend(register.settle(&key, label).err());
        }
        let count = keys.remove(COUNTER).map_or(Ok(0), |held| number(&held.value));
        match count {
            Ok(count) => violations.extend(shared.counter.settle(COUNTER, count).err()),
            Err(text) => violations.push(Violation { broken: Broken::Torn, text }),
        }
        let strangers: BTreeSet<&String> = databases.iter().flat_map(BTreeMap::keys).collect();
        violations.extend(
            strangers
                .into_iter()
                .map(|key| Violation { broken: Broken::Torn, text: format!("{key} is there and nobody wrote it") }),
        );
        violations
    }
}

/// Waits for a message, at most this long.
fn pause(message: &Receiver<()>, micros: u64) {
    // Either way it is time to go on.
    let _ = message.recv_timeout(Duration::from_micros(micros));
}

fn now_ms() -> i64 {
    UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_millis() as i64
}

/// Lets the deadlines of the test pass, so that what may be there is certain.
fn wait_until(deadline: Option<i64>) {
    let (_quiet, silence) = mpsc::channel();
    while let Some(left) = deadline.map(|at| at - now_ms()).filter(|&left| left >= 0) {
        pause(&silence, (left as u64 + 1) * 1000);
    }
}

fn shared_key(index: usize) -> String {
    format!("shared:{index}")
}

fn number(text: &[u8]) -> Result<i64, String> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{COUNTER} holds no number: {}", text.escape_ascii()))
}

/// Which write a shared key's value is of; a complaint when it is of none.
fn label(key: &str, value: Option<&[u8]>) -> (Option<u64>, Option<Violation>) {
    let Some(bytes) = value else { return (None, None) };
    match Payload::parse(bytes) {
        Some((payload, [])) if payload.key == key => (Some(shared_label(payload.client, payload.operation)), None),
        _ => {
            let text = format!("{key} holds {}", describe(bytes));
            (None, Some(Violation { broken: Broken::Torn, text }))
        }
    }
}

fn shared_label(client: u32, operation: u64) -> u64 {
    u64::from(client) << 48 | operation
}

fn connect(server: &Server) -> Connection {
    let client = redis::Client::open(format!("redis://{}/", server.address())).expect("a valid address");
    let connection = client.get_connection().expect("a ready server accepts");
    connection.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    connection
}

/// All keys of a database with their values and deadlines. A key that goes while it is read is left out.
fn read_all(connection: &mut Connection, database: usize) -> Readout {
    redis::cmd("SELECT").arg(database).exec(connection).expect("SELECT is answered");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(connection).expect("KEYS is answered");
    let mut pipe = redis::pipe();
    for key in &keys {
        pipe.cmd("GET").arg(key).cmd("PEXPIRETIME").arg(key);
    }
    let replies: Vec<(Option<Vec<u8>>, i64)> = if keys.is_empty() {
        Vec::new()
    } else {
        let flat: Vec<Value> = pipe.query(connection).expect("reads are answered");
        flat.chunks_exact(2)
            .map(|pair| redis::from_redis_value(Value::Array(pair.to_vec())).expect("a value and a time"))
            .collect()
    };
    let held = |(key, (value, at)): (String, (Option<Vec<u8>>, i64))| {
        value.map(|value| (key, Held { value, deadline: (at >= 0).then_some(at) }))
    };
    keys.into_iter().zip(replies).filter_map(held).collect()
}

/// What the threads of a round share beside the keys: a clock that orders their calls, and the count that triggers
/// the kill.
struct Load {
    clock: AtomicU64,
    acknowledged: AtomicU64,
    goal: u64,
    reached: Sender<()>,
}

impl Load {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn acknowledge(&self) {
        if self.acknowledged.fetch_add(1, Ordering::Relaxed) + 1 == self.goal {
            // The other side may have stopped waiting.
            let _ = self.reached.send(());
        }
    }
}

/// What a client takes from one round into the next.
struct Writer {
    client: u32,
    operations: u64,
    ledger: Ledger,
}

impl Writer {
    fn database(&self) -> usize {
        usize::from(self.client == 0)
    }

    fn prefix(&self) -> String {
        format!("c{}:", self.client)
    }
}

/// One client in one round.
struct Session {
    connection: Connection,
    load: Arc<Load>,
    shared: Arc<Mutex<Shared>>,
    rng: Rng,
    writer: Writer,
}

/// Ends a session: the connection broke, or the server answered wrongly.
enum End {
    Killed,
    Wrong(Violation),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        End::Wrong(violation)
    }
}

impl Session {
    /// Works until the server is gone.
    fn run(mut self) -> (Writer, Option<Violation>) {
        if self.writer.database() != 0 {
            let selected = redis::cmd("SELECT").arg(self.writer.database()).exec(&mut self.connection);
            if selected.is_err() {
                return (self.writer, None);
            }
        }
        loop {
            let step = match self.rng.below(10) {
                0 if self.writer.client != 0 => self.use_register(),
                1 if self.writer.client != 0 => self.increment(),
                2..4 => self.pipeline(32),
                _ => self.pipeline(1),
            };
            match step {
                Ok(()) => {}
                Err(End::Killed) => return (self.writer, None),
                Err(End::Wrong(violation)) => return (self.writer, Some(violation)),
            }
        }
    }

    /// Sends up to `depth_max` commands over own keys at once and takes their replies one by one.
    fn pipeline(&mut self, depth_max: u64) -> Result<(), End> {
        let depth = 1 + self.rng.below(depth_max);
        let mut bytes = Vec::new();
        for _ in 0..depth {
            let operation = self.operation();
            let words = operation.command();
            let mut command = redis::Cmd::new();
            words.iter().for_each(|word| {
                command.arg(word.as_slice());
            });
            bytes.extend(command.get_packed_command());
            self.writer.ledger.invoke(operation);
        }
        self.connection.send_packed_command(&bytes).map_err(|_| End::Killed)?;
        for _ in 0..depth {
            let reply = self.reply()?;
            self.writer.ledger.acknowledge(&reply)?;
        }
        Ok(())
    }

    fn reply(&mut self) -> Result<Frame, End> {
        let reply = frame(self.connection.recv_response())?;
        self.load.acknowledge();
        Ok(reply)
    }

    fn call(&mut self, command: &redis::Cmd) -> Result<Frame, End> {
        self.connection.send_packed_command(&command.get_packed_command()).map_err(|_| End::Killed)?;
        self.reply()
    }

    /// Writes, deletes or reads a key that others use too.
    fn use_register(&mut self) -> Result<(), End> {
        let index = self.rng.below(SHARED_KEYS as u64) as usize;
        let key = shared_key(index);
        if self.rng.one_in(2) {
            let invoked = self.load.tick();
            let reply = self.call(redis::cmd("GET").arg(&key))?;
            let acknowledged = self.load.tick();
            let (label, torn) = label(&key, reply.bytes());
            self.lock().registers[index].saw(label, invoked, acknowledged);
            return torn.map_or(Ok(()), |torn| Err(torn.into()));
        }
        let payload = (!self.rng.one_in(5)).then(|| self.payload(&key));
        let label = payload.as_ref().map(|payload| shared_label(payload.client, payload.operation));
        let ticket = {
            let tick = self.load.tick();
            self.lock().registers[index].invoke(label, tick)
        };
        match payload {
            Some(payload) => self.call(redis::cmd("SET").arg(&key).arg(payload.bytes()))?,
            None => self.call(redis::cmd("DEL").arg(&key))?,
        };
        let tick = self.load.tick();
        self.lock().registers[index].acknowledge(ticket, tick);
        Ok(())
    }

    fn increment(&mut self) -> Result<(), End> {
        self.lock().counter.invoke();
        let reply = self.call(redis::cmd("INCR").arg(COUNTER))?;
        let Frame::Integer(number) = reply else {
            return Err(End::Wrong(Violation { broken: Broken::Lost, text: format!("INCR answered {reply:?}") }));
        };
        self.lock().counter.acknowledge(number);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("no load thread panicked")
    }

    fn lasting_key(&mut self) -> String {
        format!("{}k{}", self.writer.prefix(), self.rng.below(LASTING_KEYS))
    }

    fn payload(&mut self, key: &str) -> Payload {
        let len = match self.rng.below(200) {
            0..120 => self.rng.between(30, 200),
            120..170 => self.rng.between(200, 2_000),
            170..196 => self.rng.between(2_000, 12_000),
            // Long strings, in one chunk and a bit, and in three.
            196..199 => self.rng.between(65_000, 66_500),
            _ => self.rng.between(131_000, 200_000),
        };
        self.writer.operations += 1;
        Payload {
            client: self.writer.client,
            operation: self.writer.operations,
            key: key.to_owned(),
            len: len as usize,
        }
    }

    fn operation(&mut self) -> Operation {
        let (key, other) = (self.lasting_key(), self.lasting_key());
        match self.rng.below(40) {
            0..10 => Operation::Set(key.clone(), self.payload(&key), None),
            10..12 => Operation::Set(key.clone(), self.payload(&key), Some(self.far_deadline())),
            12..16 => self.set_many(),
            16..19 => Operation::Append(key.clone(), self.payload(&key)),
            19..21 => Operation::Increment(format!("{}n{}", self.writer.prefix(), self.rng.below(3))),
            21..24 => Operation::Delete(vec![key, other]),
            24 => Operation::GetDelete(key),
            25..28 => Operation::ExpireAt(key, self.far_deadline()),
            28 => Operation::Persist(key),
            29..33 => Operation::Rename(key, other),
            33 if key != other => Operation::Copy(key, other),
            34..36 => Operation::Get(key),
            36 if self.writer.database() != 0 && self.rng.one_in(10) => Operation::Flush,
            _ => self.short_lived(),
        }
    }

    fn set_many(&mut self) -> Operation {
        let mut pairs = BTreeMap::new();
        for _ in 0..self.rng.between(2, 6) {
            let key = self.lasting_key();
            let payload = self.payload(&key);
            pairs.insert(key, payload);
        }
        Operation::SetMany(pairs.into_iter().collect())
    }

    /// Commands over keys whose deadlines pass while the test runs.
    fn short_lived(&mut self) -> Operation {
        let key = format!("{}v{}{SHORT_LIVED}", self.writer.prefix(), self.rng.below(SHORT_KEYS));
        let soon = now_ms() + self.rng.between(1, 60);
        match self.rng.below(5) {
            0 => Operation::Set(key.clone(), self.payload(&key), None),
            1 => Operation::ExpireAt(key, soon),
            2 => Operation::Delete(vec![key]),
            _ => Operation::Set(key.clone(), self.payload(&key), Some(soon)),
        }
    }

    /// A deadline that does not pass during the test.
    fn far_deadline(&mut self) -> i64 {
        4_102_444_800_000 + self.rng.between(0, 1_000_000_000)
    }
}

/// The library's reply as a frame; an error other than the server's own ends the session.
fn frame(reply: RedisResult<Value>) -> Result<Frame, End> {
    match reply {
        Ok(Value::Nil) => Ok(Frame::NullBulk),
        Ok(Value::Int(n)) => Ok(Frame::Integer(n)),
        Ok(Value::BulkString(bytes)) => Ok(Frame::Bulk(bytes)),
        Ok(Value::SimpleString(text)) => Ok(Frame::Simple(text.into_bytes())),
        Ok(Value::Okay) => Ok(Frame::ok()),
        Ok(Value::ServerError(error)) => Ok(server_error(error.code(), error.details())),
        Ok(other) => {
            Err(End::Wrong(Violation { broken: Broken::Torn, text: format!("an unexpected kind of reply: {other:?}") }))
        }
        Err(error) if error.kind() == redis::ErrorKind::Io => Err(End::Killed),
        Err(error) => match error.code() {
            Some(code) => Ok(server_error(code, error.detail())),
            None => Err(End::Wrong(Violation { broken: Broken::Torn, text: format!("not a reply: {error}") })),
        },
    }
}

fn server_error(code: &str, details: Option<&str>) -> Frame {
    Frame::error(format!("{code} {}", details.unwrap_or_default()).trim_end())
}
