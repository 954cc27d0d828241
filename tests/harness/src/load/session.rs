//! A client with keys of its own and shared ones, one command at a time and in pipelines.

use super::{COUNTER, End, Load, SHARED_KEYS, Shared, label, shared_key, shared_label};
use crate::history::payload::Payload;
use crate::history::{Broken, Ledger, Operation, SHORT_LIVED, Violation};
use crate::{Frame, Rng};
use redis::{Connection, RedisResult, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Lasting and short-lived keys of each client.
const LASTING_KEYS: u64 = 24;
const SHORT_KEYS: u64 = 6;

/// What a client takes from one round into the next.
pub(super) struct Writer {
    pub(super) client: u32,
    pub(super) operations: u64,
    pub(super) ledger: Ledger,
}

impl Writer {
    pub(super) fn database(&self) -> usize {
        usize::from(self.client == 0)
    }

    pub(super) fn prefix(&self) -> String {
        format!("c{}:", self.client)
    }
}

/// One client in one round.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) load: Arc<Load>,
    pub(super) shared: Arc<Mutex<Shared>>,
    pub(super) rng: Rng,
    pub(super) writer: Writer,
}

impl Session {
    /// Works until the server is gone.
    pub(super) fn run(mut self) -> (Writer, Option<Violation>) {
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
        let soon = self.load.now_ms() + self.rng.between(1, 60);
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
