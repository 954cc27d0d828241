//! What happened: operations of several clients, when they began and ended, and what they were told.

use fencepost_harness::model::Held;
use fencepost_harness::{Command, Frame, show};
use std::fmt;

/// A key: its database and its name.
pub type KeyId = (usize, Vec<u8>);

/// Which keys a call reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touches {
    /// These.
    Keys(Vec<KeyId>),
    /// Maybe any.
    All,
}

impl Touches {
    /// What a command does to the keys of `db`, going by its arguments.
    pub fn of(db: usize, command: &Command) -> Self {
        let key = |i: usize| (db, command[i].clone());
        let number = |i: usize| String::from_utf8_lossy(&command[i]).parse().unwrap_or(db);
        match command[0].as_slice() {
            b"FLUSHDB" | b"FLUSHALL" | b"SWAPDB" => Touches::All,
            b"MSET" | b"MSETNX" => Touches::Keys((1..command.len()).step_by(2).map(key).collect()),
            b"MGET" | b"DEL" | b"EXISTS" | b"UNLINK" => Touches::Keys((1..command.len()).map(key).collect()),
            b"RENAME" | b"RENAMENX" | b"SMOVE" | b"LMOVE" | b"ZRANGESTORE" => Touches::Keys(vec![key(1), key(2)]),
            b"SUNIONSTORE" | b"SINTERSTORE" | b"SDIFFSTORE" => Touches::Keys((1..command.len()).map(key).collect()),
            // Always of two.
            b"ZUNIONSTORE" => Touches::Keys(vec![key(1), key(3), key(4)]),
            b"COPY" => {
                let at = command.iter().position(|word| word == b"DB");
                Touches::Keys(vec![key(1), (at.map_or(db, |at| number(at + 1)), command[2].clone())])
            }
            b"MOVE" => Touches::Keys(vec![key(1), (number(2), command[1].clone())]),
            _ => Touches::Keys(vec![key(1)]),
        }
    }
}

impl Touches {
    /// What several commands do together.
    pub fn of_all(db: usize, commands: &[Command]) -> Self {
        let mut all = Vec::new();
        for command in commands {
            match Self::of(db, command) {
                Touches::All => return Touches::All,
                Touches::Keys(keys) => all.extend(keys),
            }
        }
        all.sort();
        all.dedup();
        Touches::Keys(all)
    }
}

/// One command, or one transaction, as one client saw it. Times are positions in the recorded trace.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation of the trace that it is part of: its `Begin` and `Ack`.
    pub op: u64,
    /// Who asked for it.
    pub client: usize,
    /// The database that its keys are in.
    pub db: usize,
    /// The time that the command was given when it began, Unix milliseconds.
    pub now_ms: u64,
    /// The time when it was answered; `u64::MAX` if it never was.
    pub until_ms: u64,
    /// The command.
    pub command: Command,
    /// The commands that follow it, where it is a transaction of several.
    pub more: Vec<Command>,
    /// Which keys it is about.
    pub touches: Touches,
    /// When it was asked for.
    pub invoked: usize,
    /// When it was answered; `usize::MAX` if it never was.
    pub returned: usize,
    /// The answer.
    pub reply: Option<Frame>,
    /// The call of the same pipeline, by its place in the history, that must have happened before.
    pub after: Option<usize>,
}

impl Call {
    /// Its commands, for people.
    fn asked(&self) -> String {
        self.more.iter().fold(show(&self.command), |text, command| format!("{text} + {}", show(command)))
    }

    /// Whether the call had been answered when `position` events had happened.
    pub fn is_answered(&self, position: usize) -> bool {
        self.returned < position
    }

    /// Whether the call had begun when `position` events had happened.
    pub fn has_begun(&self, position: usize) -> bool {
        self.invoked < position
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { op, client, db, now_ms, invoked, returned, .. } = self;
        write!(f, "client {client}, operation {op:4}, at {now_ms}, db {db}, events {invoked}..")?;
        match (&self.reply, *returned) {
            (Some(reply), usize::MAX) => write!(f, ", {} -> never sent: {reply:?}", self.asked()),
            (Some(reply), returned) => write!(f, "{returned}, {} -> {reply:?}", self.asked()),
            (None, _) => write!(f, ", {} -> no reply", self.asked()),
        }
    }
}

/// What the databases hold.
pub type Contents = std::collections::BTreeMap<KeyId, Held>;

/// Contents for people.
pub fn show_contents(contents: &Contents) -> String {
    let mut text = String::new();
    for ((db, key), held) in contents {
        let value = fencepost_harness::resp::show_bytes(&held.value.flat());
        text.push_str(&format!("  db {db} {} = {value}", key.escape_ascii()));
        if let Some(at) = held.deadline {
            text.push_str(&format!(", until {at}"));
        }
        for (field, at) in &held.fields {
            text.push_str(&format!(", {} until {at}", field.escape_ascii()));
        }
        text.push('\n');
    }
    if text.is_empty() { "  nothing\n".into() } else { text }
}
