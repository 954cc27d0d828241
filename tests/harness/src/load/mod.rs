//! The load of the crash tests, and what may be there after it: several connections of a stock client library (the `redis` crate) write,
//! update, delete, expire and rename, one command at a time and in pipelines, several keys at once (MSET, RENAME, DEL), over short values and
//! long ones. Others use lists, hashes, sets, sorted sets and strings, also in transactions, each in a database of its own ([`any_type`]).
//!
//! The server is cut off at random moments; then everything it holds is read and compared with the history, which goes on over all the crashes of
//! one pool, so that what comes back from the dead later is seen too. What is compared, and how, is told in [`crate::history`].
//!
//! The client library is the `redis` crate because it gives each reply of a pipeline as it comes (`recv_response`):
//! what was acknowledged before the connection broke is known to the command. Python's client throws the replies of a
//! broken pipeline away.

pub mod any_type;
mod session;

use crate::contents::contents;
use crate::history::payload::{Payload, describe};
use crate::history::{Account, Broken, Counter, Held, Ledger, Readout, Register, Violation};
use crate::{Client, Rng, Seed};
use any_type::Owner;
use redis::{Connection, Value};
use session::{Session, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

/// Connections that write at the same time. The first has a database to itself.
const CLIENTS: u32 = 6;

/// Connections beside them that have a database each and use values of every type.
const OWNERS: usize = 3;

/// The databases of the others come first.
const SHARED_DATABASES: usize = 2;

/// Keys that all but the first share.
const SHARED_KEYS: usize = 4;

/// The key that everyone increments.
const COUNTER: &str = "counter";

/// What the keys that several clients use went through in a round.
#[derive(Default)]
struct Shared {
    registers: Vec<Register>,
    counter: Counter,
}

/// The clients of one pool, and the history of both.
pub struct Clients {
    writers: Vec<Writer>,
    accounts: Vec<Account>,
    shared: Arc<Mutex<Shared>>,
    has_field_expiry: bool,
}

/// What a round of load came to.
pub struct Round {
    /// Commands that were acknowledged.
    pub acknowledged: u64,
    /// Answers that the history does not allow.
    pub violations: Vec<Violation>,
}

impl Default for Clients {
    fn default() -> Self {
        Self::new()
    }
}

impl Clients {
    /// Of a pool that is empty.
    pub fn new() -> Self {
        let shared = Shared { registers: vec![Register::default(); SHARED_KEYS], ..Shared::default() };
        let writers = (0..CLIENTS).map(|client| Writer { client, operations: 0, ledger: Ledger::default() }).collect();
        let accounts = (0..OWNERS).map(|owner| Account::new(SHARED_DATABASES + owner)).collect();
        Self { writers, accounts, shared: Arc::new(Mutex::new(shared)), has_field_expiry: true }
    }

    /// The same for a server that knows no fields that expire, as Redis before 7.4.
    #[must_use]
    pub fn without_field_expiry(self) -> Self {
        Self { has_field_expiry: false, ..self }
    }

    /// Commands of transactions that were refused for want of room, so far.
    pub fn refused(&self) -> usize {
        self.accounts.iter().map(Account::refused).sum()
    }

    /// Loads the server that answers at `address` until it is gone. `cut` sees to that, and gets a message when `goal` commands are acknowledged.
    ///
    /// # Panics
    /// When the server does not answer to begin with.
    pub fn run(
        &mut self,
        address: SocketAddr,
        rng: &mut Rng,
        goal: u64,
        cut: impl FnOnce(&mut Rng, &Receiver<()>),
    ) -> Round {
        let (reached, goal_reached) = mpsc::channel();
        let (ahead_ms, has_field_expiry) = (ahead_ms(address), self.has_field_expiry);
        let load =
            Arc::new(Load { clock: AtomicU64::new(1), acknowledged: AtomicU64::new(0), goal, reached, ahead_ms });
        let threads: Vec<_> = self
            .writers
            .drain(..)
            .map(|writer| {
                let connection = connect(address);
                let (load, shared, rng) = (load.clone(), self.shared.clone(), Seed(rng.next()).rng(0));
                std::thread::spawn(move || Session { connection, load, shared, rng, writer }.run())
            })
            .collect();
        let owners: Vec<_> = self
            .accounts
            .drain(..)
            .map(|account| {
                let owner = Owner::new(account, address, has_field_expiry, load.clone(), Seed(rng.next()).rng(0));
                std::thread::spawn(move || owner.run())
            })
            .collect();
        cut(rng, &goal_reached);

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
        Round { acknowledged: load.acknowledged.load(Ordering::Relaxed), violations }
    }

    /// Reads all that the server holds and settles it with the history.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn compare(&mut self, address: SocketAddr) -> Vec<Violation> {
        let mut connection = connect(address);
        let deadline = self.writers.iter().filter_map(|writer| writer.ledger.last_short_deadline()).max();
        wait_until(deadline.map(|at| at - ahead_ms(address)));
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
        let mut client = Client::connect(address).expect("a ready server accepts");
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
pub fn pause(message: &Receiver<()>, micros: u64) {
    // Either way it is time to go on.
    let _ = message.recv_timeout(Duration::from_micros(micros));
}

fn now_ms() -> i64 {
    UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_millis() as i64
}

/// How far the server's clock is ahead of ours, or a bit less: it may be another machine's.
fn ahead_ms(address: SocketAddr) -> i64 {
    let mut client = Client::connect(address).expect("a ready server accepts");
    let reply = client.must(&["TIME"]);
    let numbers: Vec<i64> = reply
        .items()
        .and_then(|items| items.iter().map(|item| std::str::from_utf8(item.bytes()?).ok()?.parse().ok()).collect())
        .unwrap_or_default();
    let &[seconds, micros] = numbers.as_slice() else { panic!("TIME answered {reply:?}") };
    seconds * 1000 + micros / 1000 - now_ms()
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

fn connect(address: SocketAddr) -> Connection {
    let client = redis::Client::open(format!("redis://{address}/")).expect("a valid address");
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
/// the cut.
struct Load {
    clock: AtomicU64,
    acknowledged: AtomicU64,
    goal: u64,
    reached: Sender<()>,
    ahead_ms: i64,
}

impl Load {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// The server's time, or a bit less.
    fn now_ms(&self) -> i64 {
        now_ms() + self.ahead_ms
    }

    fn acknowledge(&self) {
        if self.acknowledged.fetch_add(1, Ordering::Relaxed) + 1 == self.goal {
            // The other side may have stopped waiting.
            let _ = self.reached.send(());
        }
    }
}

/// Why a client stops: the connection broke, or the server answered wrongly.
enum End {
    Killed,
    Wrong(Violation),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        End::Wrong(violation)
    }
}
