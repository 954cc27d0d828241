//! What a command sees of the server and of its session.

use super::blocking::Waiter;
use super::clients::{Client, ClientFlags, Signals};
use super::events::Pending;
use super::pubsub::Subscriptions;
use super::shared::{Shared, ShutdownRequest};
use super::stats::WorkerStats;
use super::table::CommandId;
use super::tracking::SessionTracking;
use super::transaction::{Queue, Watches};
use super::{CommandSpec, Flags};
use crate::protocol::{Args, Protocol, ReplyWriter};
use crate::store::{Db, Entry, Key, Store, Worker};
use crossbeam_epoch::Guard;
use std::sync::Arc;
use std::time::Duration;

/// Whether a connection wants to read replies: CLIENT REPLY.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// Every reply is sent.
    #[default]
    On,
    /// None is sent.
    Off,
    /// The reply of the next command is not sent: what CLIENT REPLY SKIP leaves behind.
    SkipNext,
    /// The reply of this command is not sent.
    Skip,
}

bitflags::bitflags! {
    /// What makes a session's commands more than they are elsewhere: looked at, as a whole, for each of them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Modes: u8 {
        /// Subscribed, over RESP2: only commands about that may run.
        const SUBSCRIBED = 1;
        /// Something may be posted to the client: it is sent behind the reply of the command that it came with.
        const LISTENING = 1 << 1;
        /// CLIENT TRACKING: the keys of its reads are remembered.
        const TRACKING = 1 << 2;
        /// MONITOR: it is shown commands, and may not run those about keys.
        const MONITOR = 1 << 3;
    }
}

/// One connection's state that commands read and change.
#[derive(Debug, Default)]
pub struct Session {
    /// CLIENT ID.
    pub id: u64,
    /// What its commands are looked at for.
    pub modes: Modes,
    /// The database chosen with SELECT. Change it with [`Session::select`].
    pub db: Db,
    /// The protocol chosen with HELLO. Change it with `Ctx::speak`.
    pub protocol: Protocol,
    /// Whether AUTH has succeeded or was not needed.
    pub authenticated: bool,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// The requests queued since MULTI.
    pub multi: Option<Queue>,
    /// Whether the command that runs now is one of a transaction: it must not wait for anything.
    pub in_exec: bool,
    /// The keys that WATCH has named.
    pub watches: Watches,
    /// Whether what the command that runs now has written are pushes, which CLIENT REPLY does not hold back.
    pub(super) pushes: bool,
    /// What is published when the command, or the transaction, is over.
    pub(super) pending: Pending,
    /// What it is told of keys that have changed.
    pub(super) tracking: SessionTracking,
    /// What it is subscribed to.
    pub(super) subscriptions: Subscriptions,
    /// How often the command that runs now may still wait for room in a full pool.
    pub room_waits: RoomWaits,
    /// Whether the command that runs now is run for a client that waits already: where there is nothing for it, it says nothing.
    pub is_waiter: bool,
    /// The connection as others see it (its name and the like).
    pub client: Arc<Client>,
}

impl Session {
    /// The session of a connection that has just come in.
    pub fn new(client: Arc<Client>, authenticated: bool) -> Self {
        Self { id: client.id(), authenticated, client, ..Self::default() }
    }

    /// SELECT.
    pub fn select(&mut self, db: Db) {
        self.db = db;
        self.client.set_db(db);
    }

    /// DRAM that queued requests take, in bytes.
    pub fn queued_bytes(&self) -> usize {
        self.multi.as_ref().map_or(0, Queue::bytes)
    }
}

/// What the connection does after the command's reply.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum After {
    /// Goes on with the next request.
    #[default]
    Continue,
    /// Sends the reply and closes.
    Close,
    /// Waits so long before it reads on (and before the reply is sent).
    Pause(Duration),
    /// The command did not run and wrote nothing: clients are paused. It is run again when they no longer are.
    Postpone,
    /// The command did not run and wrote nothing: the pool has no room for it. It is run again when the cleaner has made some, or has found
    /// that there is none to be made.
    MakeRoom {
        /// Whether it is one that makes room itself, such as a delete.
        frees: bool,
    },
    /// The command waits for a key, and has not answered yet.
    Block(Arc<Waiter>),
    /// The server shuts down.
    Shutdown(ShutdownRequest),
}

impl After {
    /// Whether the command is to be run again.
    pub fn runs_again(&self) -> bool {
        matches!(self, After::Postpone | After::MakeRoom { .. })
    }
}

/// How often one command may wait for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomWaits(u32);

impl Default for RoomWaits {
    fn default() -> Self {
        Self(Self::MOST)
    }
}

impl RoomWaits {
    /// The room that was made for one may be taken by others; it has that many tries.
    const MOST: u32 = 64;
    /// Tries of a command that takes a good part of a pool, and does so on each of them.
    const MOST_OF_LONG: u32 = 4;
    /// What is long, in bytes.
    const LONG_BYTES: usize = 1 << 20;

    /// Whether a command whose arguments have so many bytes may wait once more.
    fn take(&mut self, bytes: usize) -> bool {
        if bytes > Self::LONG_BYTES {
            self.0 = self.0.min(Self::MOST_OF_LONG);
        }
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }

    /// There is no room to be made: the command gets its error.
    pub fn give_up(&mut self) {
        self.0 = 0;
    }
}

/// What a handler works with. The fields are separate so that a transaction can borrow the worker while the reply is written.
pub struct Ctx<'a> {
    /// What all connections share: settings, counters, clients, the request to shut down.
    pub shared: &'a Shared,
    /// This thread's counters.
    pub stats: &'a WorkerStats,
    /// The data. While the pool is being recovered this is an empty stand-in, which only commands flagged `LOADING` ever see.
    pub store: &'a Store,
    /// This thread's open segment.
    pub worker: &'a mut Worker,
    /// The connection's state.
    pub session: &'a mut Session,
    /// Where the reply goes.
    pub reply: ReplyWriter<'a>,
    /// Keeps what was read from the pool as it is.
    pub guard: &'a Guard,
    /// Whether the pool is still being recovered, so that [`Ctx::store`] is only a stand-in.
    pub loading: bool,
    /// The time this command happens at, in Unix milliseconds.
    pub now_ms: u64,
    /// What comes after the reply.
    pub after: After,
}

impl<'a> Ctx<'a> {
    /// A key in the session's database.
    #[inline]
    pub fn key<'k>(&self, name: &'k [u8]) -> Key<'k> {
        Key { db: self.session.db, name }
    }

    /// Looks a key up in the session's database, counting a hit or a miss, and a use of the key.
    #[inline]
    pub fn lookup(&self, name: &[u8]) -> Option<Entry<'a>> {
        self.counted(name, self.read(self.key(name)))
    }

    /// As [`Ctx::lookup`], for commands that are not a use of the key.
    pub fn lookup_unused(&self, name: &[u8]) -> Option<Entry<'a>> {
        self.counted(name, self.store.peek(self.key(name), self.now_ms, self.guard))
    }

    #[inline]
    fn counted(&self, name: &[u8], entry: Option<Entry<'a>>) -> Option<Entry<'a>> {
        self.lookups().saw(self.key(name), entry.is_some());
        entry
    }

    /// The command found no room in the pool. Whether it should be run again when there may be some.
    #[cold]
    pub(super) fn may_wait_for_room(&mut self, args: Args<'_>) -> bool {
        self.session.room_waits.take(args.iter().map(<[u8]>::len).sum())
    }

    /// Room for a command that has just found none: as much as what it wrote needs, which may be more than its flags say. A small hash that gets an expiring
    /// field becomes larger, and so does what is left of a sorted set that is written anew.
    pub(super) fn room_for(&mut self, spec: &CommandSpec) -> After {
        let frees = self.worker.take_refusal();
        After::MakeRoom { frees: frees.unwrap_or(!spec.flags.contains(Flags::DENYOOM)) }
    }

    /// Looks a key up; a use of it, unless the client has said CLIENT NO-TOUCH ON.
    #[inline]
    pub fn read(&self, key: Key<'_>) -> Option<Entry<'a>> {
        if self.worker.no_touch {
            self.store.peek(key, self.now_ms, self.guard)
        } else {
            self.store.read(key, self.now_ms, self.guard)
        }
    }

    /// A look that was no use of the key has turned out to be one.
    pub fn used(&self, entry: &Entry<'_>) {
        if !self.worker.no_touch {
            self.store.touch(entry, self.now_ms, self.guard);
        }
    }

    /// Who it works for, and whether that client's commands leave the access clocks alone, is known to the worker, who runs commands of one client after
    /// the other.
    pub fn follow_client(&mut self) {
        self.worker.client = self.session.client.id();
        self.worker.no_touch = self.session.client.flags().contains(ClientFlags::NO_TOUCH);
    }

    /// Looks several keys up as of one moment, counting hits and misses; a use of each, unless the client has said CLIENT NO-TOUCH ON.
    pub fn read_many(&self, keys: &[Key<'_>]) -> Vec<Option<Entry<'a>>> {
        let entries = if self.worker.no_touch {
            self.store.peek_many(keys, self.now_ms, self.guard)
        } else {
            self.store.read_many(keys, self.now_ms, self.guard)
        };
        self.count_looks(keys, &entries);
        entries
    }

    /// Counts a look at each of `keys`.
    pub(super) fn count_looks(&self, keys: &[Key<'_>], entries: &[Option<Entry<'a>>]) {
        keys.iter().zip(entries).for_each(|(key, entry)| self.lookups().saw(*key, entry.is_some()));
    }

    /// Changes the protocol (HELLO, RESET), from here on in the reply. What was posted in the former one comes first.
    pub(super) fn speak(&mut self, protocol: Protocol) {
        let output = (!self.session.in_exec).then(|| self.reply.raw());
        self.session.client.set_protocol(protocol, output);
        self.session.protocol = protocol;
        self.reply.set_protocol(protocol);
        super::pubsub::follow(self.session);
    }

    /// Writes what was posted to this client, in between two replies. Inside a transaction, whose replies are elements of one, it waits.
    pub(super) fn take_posted(&mut self) {
        if !self.session.in_exec {
            self.session.client.take_posted(self.reply.raw());
        }
    }

    /// A command of a session in some mode is over.
    #[cold]
    pub(super) fn settle_modes(&mut self, args: Args<'_>) {
        if self.session.in_exec || self.after.runs_again() {
            return;
        }
        let in_multi = self.session.client.flags().contains(ClientFlags::MULTI);
        if self.session.tracking.caching && !in_multi && !args.at(0).eq_ignore_ascii_case(b"client") {
            self.session.tracking.caching = false;
        }
        if self.session.reply_mode == ReplyMode::On && self.session.client.signals().contains(Signals::POSTED) {
            self.take_posted();
        }
    }

    /// Counts `calls` of a command that took so long each, if that is wanted.
    #[inline]
    pub(super) fn note_times(&self, id: CommandId, time: Duration, calls: u64) {
        if self.shared.settings.latency_tracking() {
            self.stats.note_times(id, time.as_nanos() as u64, calls);
        }
    }

    /// All that the command writes are pushes.
    pub(super) fn begin_pushes(&mut self) {
        self.session.pushes = self.session.reply_mode != ReplyMode::On;
    }

    /// CLIENT REPLY OFF and SKIP: takes back what was written since `mark`, and goes on to the next mode.
    #[cold]
    pub fn hold_back_reply(&mut self, mark: usize) {
        if !std::mem::take(&mut self.session.pushes) {
            self.reply.truncate(mark);
        }
        self.session.reply_mode = match self.session.reply_mode {
            ReplyMode::SkipNext => ReplyMode::Skip,
            ReplyMode::Skip | ReplyMode::On => ReplyMode::On,
            ReplyMode::Off => ReplyMode::Off,
        };
    }
}
