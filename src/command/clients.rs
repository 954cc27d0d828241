//! The connected clients: who they are, what CLIENT LIST shows of them, and how one is told to go.
//!
//! A [`Client`] is written by its own connection, with plain stores once per batch of requests, and read by others. The registry is
//! locked when a client comes or goes and when clients are listed, never by an ordinary command.

use super::outbox::Outbox;
use super::settings::OutputLimits;
use super::table::CommandId;
use crate::protocol::{Args, Protocol, ReplyWriter};
use crate::store::Db;
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The kinds of client that have limits of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientClass {
    /// Sends requests and reads replies.
    Normal,
    /// Is subscribed to channels.
    PubSub,
}

bitflags::bitflags! {
    /// What is said of a client by the letters of CLIENT LIST's `flags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ClientFlags: u32 {
        /// `P`: subscribed.
        const PUBSUB = 1;
        /// `x`: inside MULTI.
        const MULTI = 1 << 1;
        /// `b`: waits in a blocking command.
        const BLOCKED = 1 << 2;
        /// `O`: MONITOR.
        const MONITOR = 1 << 11;
        /// `t`: CLIENT TRACKING ON.
        const TRACKING = 1 << 8;
        /// `R`: the client that is told in its stead has gone.
        const BROKEN_REDIRECT = 1 << 9;
        /// `B`: tracks in BCAST mode.
        const BCAST = 1 << 10;
        /// `d`: a watched key has changed, so EXEC will run nothing.
        const DIRTY = 1 << 7;
        /// `c`: closes once its reply is sent.
        const CLOSING = 1 << 3;
        /// `U`: over the Unix socket.
        const UNIX_SOCKET = 1 << 4;
        /// `e`: CLIENT NO-EVICT ON.
        const NO_EVICT = 1 << 5;
        /// `T`: CLIENT NO-TOUCH ON.
        const NO_TOUCH = 1 << 6;
    }
}

impl ClientFlags {
    /// The letters, `N` when there are none.
    pub fn letters(self) -> String {
        const LETTERS: [(ClientFlags, char); 12] = [
            (ClientFlags::MONITOR, 'O'),
            (ClientFlags::PUBSUB, 'P'),
            (ClientFlags::MULTI, 'x'),
            (ClientFlags::BLOCKED, 'b'),
            (ClientFlags::TRACKING, 't'),
            (ClientFlags::BROKEN_REDIRECT, 'R'),
            (ClientFlags::BCAST, 'B'),
            (ClientFlags::DIRTY, 'd'),
            (ClientFlags::CLOSING, 'c'),
            (ClientFlags::UNIX_SOCKET, 'U'),
            (ClientFlags::NO_EVICT, 'e'),
            (ClientFlags::NO_TOUCH, 'T'),
        ];
        let letters: String = LETTERS.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, c)| *c).collect();
        if letters.is_empty() { "N".to_owned() } else { letters }
    }
}

bitflags::bitflags! {
    /// What other threads tell a connection.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Signals: u8 {
        /// Close now; what is not sent yet is dropped.
        const KILL = 1;
        /// Read no further, send what there is to send, close.
        const DRAIN = 1 << 1;
        /// Close if it has been idle for longer than `timeout`.
        const CHECK_IDLE = 1 << 2;
        /// There is something in the outbox.
        const POSTED = 1 << 3;
        /// Close now: more waited to be sent than may.
        const OVERFLOW = 1 << 4;
    }
}

/// What a client says of itself.
#[derive(Debug, Default, Clone)]
pub struct ClientLabels {
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Vec<u8>,
}

/// No command yet, in [`Client::last_command`]'s word.
const NO_COMMAND: u32 = u32::MAX;

/// One connection as others see it.
#[derive(Debug)]
pub struct Client {
    id: u64,
    peer: String,
    local: String,
    fd: i32,
    connected_at_ms: u64,
    labels: Mutex<ClientLabels>,
    db: AtomicU32,
    protocol: AtomicU8,
    flags: AtomicU32,
    last_command: AtomicU32,
    last_active_ms: AtomicU64,
    query_bytes: AtomicU64,
    query_room: AtomicU64,
    output_bytes: AtomicU64,
    queued: AtomicI64,
    queued_bytes: AtomicU64,
    signals: AtomicU8,
    waker: Mutex<Option<Waker>>,
    /// Channels, patterns and shard channels that it is subscribed to.
    subscriptions: [AtomicU32; 3],
    redirect: AtomicI64,
    outbox: Outbox,
    limits: Arc<OutputLimits>,
}

impl Default for Client {
    /// A client without a connection, as it is for commands that run in their own process.
    fn default() -> Self {
        Self::new(1, String::new(), String::new(), -1, 0, Arc::default())
    }
}

impl Client {
    fn new(id: u64, peer: String, local: String, fd: i32, now_ms: u64, limits: Arc<OutputLimits>) -> Self {
        Self {
            id,
            peer,
            local,
            fd,
            connected_at_ms: now_ms,
            labels: Mutex::default(),
            db: AtomicU32::new(0),
            protocol: AtomicU8::new(2),
            flags: AtomicU32::new(0),
            last_command: AtomicU32::new(NO_COMMAND),
            last_active_ms: AtomicU64::new(now_ms),
            query_bytes: AtomicU64::new(0),
            query_room: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            queued: AtomicI64::new(-1),
            queued_bytes: AtomicU64::new(0),
            signals: AtomicU8::new(0),
            waker: Mutex::default(),
            subscriptions: Default::default(),
            redirect: AtomicI64::new(-1),
            outbox: Outbox::default(),
            limits,
        }
    }

    /// CLIENT ID: never used twice within one run of the server.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The other end: `ip:port`, or the Unix socket's path with `:0`.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// This end, in the same form.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Normal or subscribed.
    pub fn class(&self) -> ClientClass {
        if self.flags().contains(ClientFlags::PUBSUB) { ClientClass::PubSub } else { ClientClass::Normal }
    }

    /// Its flags.
    pub fn flags(&self) -> ClientFlags {
        ClientFlags::from_bits_truncate(self.flags.load(Relaxed))
    }

    /// Sets or clears a flag.
    pub fn set_flag(&self, flag: ClientFlags, on: bool) {
        if on {
            self.flags.fetch_or(flag.bits(), Relaxed);
        } else {
            self.flags.fetch_and(!flag.bits(), Relaxed);
        }
    }

    /// Notes how many requests are queued since MULTI, `None` outside of a transaction, and the bytes that they take.
    pub fn note_transaction(&self, queued: Option<usize>, bytes: usize) {
        self.queued.store(queued.map_or(-1, |queued| queued as i64), Relaxed);
        self.queued_bytes.store(bytes as u64, Relaxed);
    }

    /// What it says of itself.
    pub fn labels(&self) -> ClientLabels {
        self.lock_labels().clone()
    }

    /// Changes what it says of itself.
    pub fn update_labels(&self, change: impl FnOnce(&mut ClientLabels)) {
        change(&mut self.lock_labels());
    }

    fn lock_labels(&self) -> MutexGuard<'_, ClientLabels> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the database it has chosen.
    pub fn set_db(&self, db: Db) {
        self.db.store(db, Relaxed);
    }

    /// Notes who is told of changed keys in its stead: 0 for nobody, `None` when it does not track. A redirection that was broken is forgotten.
    pub fn set_redirect(&self, target: Option<i64>) {
        self.redirect.store(target.unwrap_or(-1), Relaxed);
        self.set_flag(ClientFlags::BROKEN_REDIRECT, false);
    }

    /// Who is told in its stead: 0 for nobody, -1 when it does not track.
    pub fn redirect(&self) -> i64 {
        self.redirect.load(Relaxed)
    }

    /// The client that is told in its stead has gone.
    pub fn note_broken_redirect(&self) {
        self.set_flag(ClientFlags::BROKEN_REDIRECT, true);
    }

    /// Whether it has.
    pub fn has_broken_redirect(&self) -> bool {
        self.flags().contains(ClientFlags::BROKEN_REDIRECT)
    }

    /// Whether it is subscribed to anything.
    pub fn is_subscribed(&self) -> bool {
        self.flags().contains(ClientFlags::PUBSUB)
    }

    /// The protocol it speaks.
    pub fn protocol(&self) -> Protocol {
        if self.protocol.load(Relaxed) == 3 { Protocol::Resp3 } else { Protocol::Resp2 }
    }

    /// Notes how many channels, patterns and shard channels it is subscribed to.
    pub fn set_subscriptions(&self, counts: [usize; 3]) {
        for (cell, count) in self.subscriptions.iter().zip(counts) {
            cell.store(count as u32, Relaxed);
        }
    }

    /// Notes the protocol it speaks. What was posted in the former one is appended to `output`, if there is one to take it.
    pub fn set_protocol(&self, protocol: Protocol, output: Option<&mut BytesMut>) {
        let number = match protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        };
        self.protocol.store(number, Relaxed);
        self.outbox.lock().set_protocol(protocol, output);
    }

    /// Notes the command that it runs.
    #[inline]
    pub fn set_last_command(&self, id: CommandId) {
        self.last_command.store(id.index() as u32, Relaxed);
    }

    /// The name of the command it ran last.
    pub fn last_command(&self) -> Option<String> {
        let index = self.last_command.load(Relaxed) as usize;
        super::table::all().find(|found| found.id.index() == index).map(|found| found.full_name())
    }

    /// Notes what a batch of requests left behind: bytes not executed yet, free room in the read buffer, bytes not sent yet.
    #[inline]
    pub fn note_activity(&self, now_ms: u64, query_bytes: usize, query_room: usize, output_bytes: usize) {
        self.last_active_ms.store(now_ms, Relaxed);
        self.query_bytes.store(query_bytes as u64, Relaxed);
        self.query_room.store(query_room as u64, Relaxed);
        self.output_bytes.store(output_bytes as u64, Relaxed);
    }

    /// Notes that it is in the middle of this request, which its buffer holds: with the next note of what it leaves behind that is over.
    pub fn note_running(&self, args: Args<'_>) {
        let digits = |number: usize| number.to_string().len();
        let words: usize = args.iter().map(|word| word.len() + digits(word.len()) + 5).sum();
        self.query_bytes.store((words + digits(args.len()) + 3) as u64, Relaxed);
    }

    /// When it last did something, in Unix milliseconds.
    pub fn last_active_ms(&self) -> u64 {
        self.last_active_ms.load(Relaxed)
    }

    /// Bytes it sent that are not executed yet.
    pub fn query_bytes(&self) -> u64 {
        self.query_bytes.load(Relaxed)
    }

    /// Bytes of replies it has not read yet.
    pub fn output_bytes(&self) -> u64 {
        self.output_bytes.load(Relaxed) + self.outbox.lock().len() as u64
    }

    /// Has `write` append a message to what the connection sends next, in the client's protocol, and wakes the connection; it comes behind the
    /// replies that are written already. For any thread; it waits for nothing. Says whether the client is there to get it: not when it has gone, nor
    /// when too much waits for it, in which case it is cut off.
    pub fn post(&self, write: impl FnOnce(&mut ReplyWriter<'_>)) -> bool {
        let mut outbox = self.outbox.lock();
        let Some(posted_bytes) = outbox.append(write) else { return false };
        let waiting_bytes = self.output_bytes.load(Relaxed) + posted_bytes as u64;
        let limit_bytes = self.limits.of(self.class()).hard_bytes;
        let fits = limit_bytes == 0 || waiting_bytes <= limit_bytes;
        if !fits {
            outbox.shut();
        }
        let signal = if fits { Signals::POSTED } else { Signals::OVERFLOW };
        // Relaxed: the outbox's lock orders this and its taking back.
        let is_news = self.signals.fetch_or(signal.bits(), Relaxed) & signal.bits() == 0;
        drop(outbox);
        if is_news {
            self.wake();
        }
        fits
    }

    /// Appends what was posted to `output`. For the client's own thread, between two replies.
    pub fn take_posted(&self, output: &mut BytesMut) {
        let mut outbox = self.outbox.lock();
        self.signals.fetch_and(!Signals::POSTED.bits(), Relaxed);
        outbox.move_to(output);
        self.output_bytes.store(output.len() as u64, Relaxed);
    }

    /// Whether nothing reaches it any more.
    pub fn has_left(&self) -> bool {
        self.outbox.lock().is_shut()
    }

    /// Nothing is sent any more: what was posted is dropped, and what will be.
    pub fn shut_outbox(&self) {
        self.outbox.lock().shut();
    }

    /// Tells the connection something and wakes it. It looks between batches of requests, so the command that it runs is finished first.
    pub fn signal(&self, signal: Signals) {
        // Relaxed: the lock below orders this before the wake-up, or before the connection's first look.
        self.signals.fetch_or(signal.bits(), Relaxed);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.lock_waker().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// What the connection was told so far.
    #[inline]
    pub fn signals(&self) -> Signals {
        Signals::from_bits_truncate(self.signals.load(Relaxed))
    }

    /// Takes a signal back once it has been acted on. For the client's own thread.
    pub fn clear_signal(&self, signal: Signals) {
        self.signals.fetch_and(!signal.bits(), Relaxed);
    }

    /// How [`Client::signal`] wakes the connection. It must look at [`Client::signals`] after this.
    pub fn attach_waker(&self, waker: Waker) {
        *self.lock_waker() = Some(waker);
    }

    fn lock_waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line of CLIENT LIST and CLIENT INFO, without an end of line.
    pub fn describe(&self, now_ms: u64) -> Vec<u8> {
        let labels = self.labels();
        let output_bytes = self.output_bytes();
        let query_room = self.query_room.load(Relaxed);
        let query_bytes = self.query_bytes();
        let queued_bytes = self.queued_bytes.load(Relaxed);
        let [channels, patterns, shard_channels] = self.subscriptions.each_ref().map(|count| count.load(Relaxed));
        let command = self.last_command().unwrap_or_else(|| "NULL".to_owned());
        let mut line = Vec::with_capacity(320);
        line.extend_from_slice(
            format!("id={} addr={} laddr={} fd={} name=", self.id, self.peer, self.local, self.fd).as_bytes(),
        );
        line.extend_from_slice(&labels.name);
        line.extend_from_slice(
            format!(
                " age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} qbuf={} qbuf-free={} argv-mem=0 multi-mem={} \
                 rbs=0 rbp=0 obl={} oll=0 omem={} tot-mem={} events=r cmd={} user=default redir={} resp={} lib-name=",
                now_ms.saturating_sub(self.connected_at_ms) / 1000,
                now_ms.saturating_sub(self.last_active_ms()) / 1000,
                self.flags().letters(),
                self.db.load(Relaxed),
                channels,
                patterns,
                shard_channels,
                self.queued.load(Relaxed),
                query_bytes,
                query_room,
                queued_bytes,
                output_bytes,
                output_bytes,
                size_of::<Self>() as u64 + query_bytes + query_room + output_bytes + queued_bytes,
                command,
                self.redirect(),
                self.protocol.load(Relaxed),
            )
            .as_bytes(),
        );
        line.extend_from_slice(&labels.lib_name);
        line.extend_from_slice(b" lib-ver=");
        line.extend_from_slice(&labels.lib_ver);
        line
    }
}

/// All connected clients, by id.
#[derive(Debug, Default)]
pub struct Clients {
    last_id: AtomicU64,
    limits: Arc<OutputLimits>,
    by_id: Mutex<BTreeMap<u64, Arc<Client>>>,
}

impl Clients {
    /// Nobody yet. To each may be posted as much as `limits` say.
    pub fn new(limits: Arc<OutputLimits>) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Enters a new client.
    pub fn connect(&self, peer: String, local: String, fd: i32, now_ms: u64) -> Arc<Client> {
        let id = self.last_id.fetch_add(1, Relaxed) + 1;
        let client = Arc::new(Client::new(id, peer, local, fd, now_ms, Arc::clone(&self.limits)));
        self.lock().insert(id, Arc::clone(&client));
        client
    }

    /// Strikes a client off.
    pub fn disconnect(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// How many are connected.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The client of that id.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.lock().get(&id).cloned()
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Client>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
