//! Commands that wait for a key to have something for them.
//!
//! Such a command tries first. Finding nothing, it becomes a [`Waiter`]: its words, its database, the keys it waits for. Whoever changes one of these
//! keys puts it on a list (`ReadyKeys`, told by the store while the stripe is held), and serves the waiters once the command, or the whole
//! transaction, is over: it runs each one's command on its behalf, in the order in which they came, and leaves the reply for the waiter's connection.
//!
//! One thread serves at a time (`Blocking::turn`), so that the order holds; that lock is taken before any stripe, and by nobody who holds one. Whether a
//! waiter is served or has given up is decided once, by its `State`: nothing is taken out of a key for one that is gone. While nobody waits a
//! command pays one load for all of this.

use super::sorted_set::score::any_number;
use super::table::{Found, resolve, run};
use super::{After, Client, CommandError, Ctx, ReplyMode, Session, Shared};
use crate::base::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::base::sync::{Mutex, MutexGuard, PoisonError};
use crate::log::ObjectType;
use crate::protocol::{ArgSpans, Args, Protocol, ReplyWriter};
use crate::store::{Change, Changes, Db, Key, Watcher};
use bytes::BytesMut;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// A database and the name of a key in it.
type KeyName = (Db, Vec<u8>);

/// How a wait has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With this reply.
    Reply(Vec<u8>),
    /// There was no room in the pool for what the command does: the connection runs it again.
    RunAgain,
}

/// What a blocking command waits for.
pub struct Wait<'r> {
    /// The type that a key must have to have something for it.
    pub kind: ObjectType,
    /// The keys.
    pub names: Args<'r>,
    /// How long; `None` for ever.
    pub timeout: Option<Duration>,
    /// The whole command.
    pub args: Args<'r>,
    /// What it answers where it may not wait.
    pub nothing: fn(&mut ReplyWriter<'_>),
}

/// A command that waits.
pub struct Waiter {
    client: Arc<Client>,
    db: Db,
    protocol: Protocol,
    found: Found,
    words: Vec<u8>,
    spans: ArgSpans,
    keys: Vec<KeyName>,
    kind: ObjectType,
    /// How long it waits; `None` for ever.
    pub timeout: Option<Duration>,
    changes: Arc<Changes>,
    silent: bool,
    slot: Mutex<Slot>,
}

/// Where a waiter is on its way.
#[derive(Default)]
enum State {
    /// Nothing was found for it yet.
    #[default]
    Waiting,
    /// Its command is being run. If that finds nothing then this is the answer, as the time is over, or CLIENT UNBLOCK was called.
    BeingServed(Option<Answer>),
    /// The answer is there.
    Answered(Answer),
    /// The answer was taken, and nobody will give another one.
    Over,
}

/// A waiter's state, and who is to be told when the answer is there.
#[derive(Default)]
struct Slot {
    state: State,
    waker: Option<Waker>,
}

impl Slot {
    fn answer(&mut self, answer: Answer) {
        self.state = State::Answered(answer);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn take(&mut self) -> Option<Answer> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Answered(answer) => Some(answer),
            other => {
                self.state = other;
                None
            }
        }
    }
}

impl Waiter {
    fn args(&self) -> Args<'_> {
        self.spans.args(&self.words)
    }

    /// A session like the one that waits, for running its command on its behalf.
    fn session(&self) -> Session {
        let session = Session::new(Arc::clone(&self.client), true);
        Session { db: self.db, protocol: self.protocol, is_waiter: true, ..session }
    }

    /// The command's words, for running it again.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.args().iter()
    }

    /// Whether CLIENT REPLY has it answer nothing.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its command is about to be run. Not if it has its answer, or has gone.
    fn begin(&self) -> bool {
        let mut slot = self.slot();
        let waits = matches!(slot.state, State::Waiting);
        if waits {
            slot.state = State::BeingServed(None);
        }
        waits
    }

    /// Its command has been run, and has found this.
    fn finish(&self, found: Option<Answer>) {
        let mut slot = self.slot();
        if let State::BeingServed(otherwise) = std::mem::take(&mut slot.state) {
            match found.or(otherwise) {
                Some(answer) => slot.answer(answer),
                // What was posted meanwhile is not sent before this.
                None => slot.wake(),
            }
        }
    }

    /// Whether it has its answer, or its command is being run: what is posted to its client now may come of that, and belongs behind the answer.
    pub fn is_about_to_answer(&self) -> bool {
        matches!(self.slot().state, State::BeingServed(_) | State::Answered(_))
    }

    /// It is to wait no longer; says whether it did. If its command is being run and finds something, then that is the answer.
    fn end(&self, write: impl FnOnce(&mut ReplyWriter<'_>)) -> bool {
        let answer = self.reply(write);
        let mut slot = self.slot();
        match &mut slot.state {
            State::Waiting => slot.answer(answer),
            State::BeingServed(otherwise) => *otherwise = Some(answer),
            State::Answered(_) | State::Over => return false,
        }
        true
    }

    /// The answer, once it is there.
    pub fn take_answer(&self) -> Option<Answer> {
        self.slot().take()
    }

    async fn answered(&self) -> Answer {
        poll_fn(|cx| {
            let mut slot = self.slot();
            match slot.take() {
                Some(answer) => Poll::Ready(answer),
                None => {
                    slot.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The bytes of a reply in the waiter's protocol.
    fn reply(&self, write: impl FnOnce(&mut ReplyWriter<'_>)) -> Answer {
        let mut bytes = BytesMut::new();
        write(&mut ReplyWriter::new(&mut bytes, self.protocol));
        Answer::Reply(bytes.to_vec())
    }
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Waiter {}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Waiter({} of client {})", self.found.spec.name, self.client.id())
    }
}

/// Keys that somebody waits for and that have changed, in the order in which they have.
#[derive(Debug, Default)]
struct ReadyKeys {
    /// Whether there are any, or were and those who wait for them are still being served: who has put one there waits for that.
    any: AtomicBool,
    keys: Mutex<VecDeque<KeyName>>,
}

impl ReadyKeys {
    fn put(&self, key: KeyName) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.back() != Some(&key) {
            keys.push_back(key);
        }
        // Relaxed: it is the thread that has put it there that looks.
        self.any.store(true, Ordering::Relaxed);
    }

    /// The next one. Whoever asks has served those who wait for the former one.
    fn take(&self) -> Option<KeyName> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let key = keys.pop_front();
        if key.is_none() {
            self.any.store(false, Ordering::Relaxed);
        }
        key
    }
}

impl Watcher for ReadyKeys {
    fn changed(&self, db: Db, name: &[u8], change: Change) -> bool {
        // What has expired has nothing for anybody.
        if !change.is_expiry() {
            self.put((db, name.to_vec()));
        }
        true
    }
}

/// Those who wait for each key, in the order in which they came.
type Queues = HashMap<KeyName, VecDeque<Arc<Waiter>>>;

/// Who waits for which key.
#[derive(Debug, Default)]
pub struct Blocking {
    turn: Mutex<Queues>,
    ready: Arc<ReadyKeys>,
    by_client: Mutex<HashMap<u64, Arc<Waiter>>>,
    clients: AtomicU32,
    keys: AtomicU32,
}

impl Blocking {
    fn turn(&self) -> MutexGuard<'_, Queues> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_client<R>(&self, act: impl FnOnce(&mut HashMap<u64, Arc<Waiter>>) -> R) -> R {
        let mut by_client = self.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut by_client);
        self.clients.store(by_client.len() as u32, Ordering::Relaxed);
        result
    }

    /// How many clients wait.
    pub fn clients(&self) -> u32 {
        self.clients.load(Ordering::Relaxed)
    }

    /// How many keys are waited for.
    pub fn keys(&self) -> u32 {
        self.keys.load(Ordering::Relaxed)
    }

    /// Whether a key has changed that somebody waits for, and not all who do have been served.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.ready.any.load(Ordering::Relaxed)
    }

    fn watcher(&self) -> Arc<dyn Watcher> {
        self.ready.clone()
    }

    fn insert(&self, queues: &mut Queues, waiter: &Arc<Waiter>) {
        for key in &waiter.keys {
            let queue = queues.entry(key.clone()).or_default();
            if queue.is_empty() {
                waiter.changes.watch(key.0, &key.1, self.watcher());
            }
            queue.push_back(Arc::clone(waiter));
        }
        self.keys.store(queues.len() as u32, Ordering::Relaxed);
        self.by_client(|by_client| by_client.insert(waiter.client.id(), Arc::clone(waiter)));
    }

    fn remove(&self, queues: &mut Queues, waiter: &Arc<Waiter>) {
        for key in &waiter.keys {
            let Some(queue) = queues.get_mut(key) else { continue };
            queue.retain(|other| other != waiter);
            if queue.is_empty() {
                queues.remove(key);
                waiter.changes.unwatch(key.0, &key.1, &self.watcher());
            }
        }
        self.keys.store(queues.len() as u32, Ordering::Relaxed);
        self.by_client(|by_client| {
            if by_client.get(&waiter.client.id()) == Some(waiter) {
                by_client.remove(&waiter.client.id());
            }
        });
    }

    /// The waiter's client has gone, or has its answer. Waits for whoever serves now, so that nothing is taken for it afterwards.
    fn leave(&self, waiter: &Arc<Waiter>) {
        let mut queues = self.turn();
        waiter.slot().state = State::Over;
        self.remove(&mut queues, waiter);
    }

    /// CLIENT UNBLOCK: says whether the client did wait. Takes no turn, as a transaction that holds stripes may call it.
    pub(super) fn unblock(&self, client_id: u64, with_error: bool) -> bool {
        let waiter = self.by_client(|by_client| by_client.get(&client_id).cloned());
        waiter.is_some_and(|waiter| {
            waiter.end(|reply| match with_error {
                true => reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
                false => reply.null_array(),
            })
        })
    }
}

/// Runs a waiter's command, and tells what it has found even if it panics.
struct Serving<'w> {
    waiter: &'w Waiter,
    found: Option<Answer>,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.waiter.finish(self.found.take());
    }
}

/// A waiter whose connection awaits the answer. Dropped, it waits no more.
#[derive(Debug)]
pub struct Blocked {
    shared: Arc<Shared>,
    waiter: Arc<Waiter>,
}

impl Blocked {
    /// The connection takes over.
    pub fn new(shared: Arc<Shared>, waiter: Arc<Waiter>) -> Self {
        Self { shared, waiter }
    }

    /// The answer, at the latest when the time is over.
    pub async fn answered(&self) -> Answer {
        let Some(timeout) = self.waiter.timeout else { return self.waiter.answered().await };
        if let Ok(answer) = tokio::time::timeout(timeout, self.waiter.answered()).await {
            return answer;
        }
        // If somebody was quicker then the answer is there, or will be at once.
        self.waiter.end(|reply| reply.null_array());
        self.waiter.answered().await
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.shared.blocking.leave(&self.waiter);
    }
}

impl Ctx<'_> {
    /// Runs a blocking command: `attempt`, which says whether it found anything, now or when a key changes.
    ///
    /// # Errors
    /// Those of `attempt`.
    pub(super) fn wait_for(
        &mut self,
        wait: Wait<'_>,
        attempt: impl FnOnce(&mut Self) -> Result<bool, CommandError>,
    ) -> Result<(), CommandError> {
        let (is_waiter, may_wait) = (self.session.is_waiter, !self.session.in_exec);
        // Those who have waited for longer are asked first.
        let queues = may_wait && !is_waiter && self.shared.blocking.clients() > 0;
        if !queues && attempt(self)? || is_waiter {
            return Ok(());
        }
        if may_wait {
            return self.enter(wait);
        }
        (wait.nothing)(&mut self.reply);
        Ok(())
    }

    /// Begins to wait, unless there is something by now: a change before the store was told of this waiter has told nobody.
    fn enter(&mut self, wait: Wait<'_>) -> Result<(), CommandError> {
        let mut keys: Vec<KeyName> = Vec::new();
        for name in wait.names.iter() {
            let key = (self.session.db, name.to_vec());
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let (mut words, mut spans) = (Vec::new(), ArgSpans::new());
        for word in wait.args.iter() {
            spans.push(words.len() as u32, word.len() as u32);
            words.extend_from_slice(word);
        }
        let waiter = Arc::new(Waiter {
            client: Arc::clone(&self.session.client),
            db: self.session.db,
            protocol: self.session.protocol,
            found: resolve(wait.args)?,
            words,
            spans,
            keys,
            kind: wait.kind,
            timeout: wait.timeout,
            changes: Arc::clone(self.store.changes()),
            silent: matches!(self.session.reply_mode, ReplyMode::Off | ReplyMode::Skip),
            slot: Mutex::default(),
        });
        let blocking = &self.shared.blocking;
        let mut queues = blocking.turn();
        blocking.insert(&mut queues, &waiter);
        waiter.keys.iter().for_each(|key| blocking.ready.put(key.clone()));
        self.serve_in_turn(&mut queues, Some(&waiter));
        drop(queues);
        match waiter.take_answer() {
            Some(Answer::Reply(bytes)) => self.reply.raw().extend_from_slice(&bytes),
            // The error that has it run again.
            Some(Answer::RunAgain) => return Err(CommandError::OUT_OF_SPACE),
            None => self.after = After::Block(waiter),
        }
        Ok(())
    }

    /// Serves those who wait for keys that have changed. The command, or the transaction, that has changed them is over, and no stripe is held.
    #[cold]
    pub(super) fn serve_waiters(&mut self) {
        // What has expired since it was put there, by a transaction that took its time, is for nobody.
        let now_ms = std::mem::replace(&mut self.now_ms, self.shared.clock.now_ms());
        let mut queues = self.shared.blocking.turn();
        self.serve_in_turn(&mut queues, None);
        drop(queues);
        self.now_ms = now_ms;
    }

    fn serve_in_turn(&mut self, queues: &mut Queues, newcomer: Option<&Arc<Waiter>>) {
        // Ends: a waiter that is served may change a key, but each is served once; what others change they serve themselves if this is done.
        while let Some(key) = self.shared.blocking.ready.take() {
            self.serve_key(queues, &key, newcomer);
        }
    }

    /// Serves those who wait for this key, in their order, as long as there is something in it. `newcomer` is told also when it has the wrong type.
    fn serve_key(&mut self, queues: &mut Queues, key: &KeyName, newcomer: Option<&Arc<Waiter>>) {
        let mut at = 0;
        // Ends: each turn takes a waiter off the queue or goes on to the next.
        while let Some(waiter) = queues.get(key).and_then(|queue| queue.get(at)).cloned() {
            // With its stripe held for a moment, so that no change is missed of which nobody is told.
            let name = Key { db: key.0, name: &key.1 };
            let kind = match self.store.collection_held(name, None, self.now_ms, self.guard) {
                Ok(None) => return,
                Ok(Some(view)) => Some(view.kind()),
                Err(_) => None,
            };
            let tries = kind == Some(waiter.kind) || newcomer == Some(&waiter);
            if tries && self.serve(&waiter) {
                self.shared.blocking.remove(queues, &waiter);
            } else {
                at += 1;
            }
        }
    }

    /// Tries a waiter's command once more; says whether it waits no longer.
    fn serve(&mut self, waiter: &Waiter) -> bool {
        if waiter.begin() {
            let mut serving = Serving { waiter, found: None };
            serving.found = self.run_for(waiter);
        }
        !matches!(waiter.slot().state, State::Waiting)
    }

    /// Runs a waiter's command on its behalf. `None` when there was nothing for it.
    fn run_for(&mut self, waiter: &Waiter) -> Option<Answer> {
        let mut out = BytesMut::new();
        let mut session = waiter.session();
        let mut ctx = Ctx {
            shared: self.shared,
            stats: self.stats,
            store: self.store,
            worker: &mut *self.worker,
            session: &mut session,
            reply: ReplyWriter::new(&mut out, waiter.protocol),
            guard: self.guard,
            loading: false,
            now_ms: self.now_ms,
            after: After::Continue,
        };
        ctx.follow_client();
        // The error, if any, is in the reply.
        let _written = run(&mut ctx, &waiter.found, waiter.args());
        ctx.publish_events();
        let runs_again = ctx.after.runs_again();
        self.follow_client();
        match runs_again {
            true => Some(Answer::RunAgain),
            false => (!out.is_empty()).then(|| Answer::Reply(out.to_vec())),
        }
    }
}

/// The timeout of a blocking command, in seconds; `None` for ever.
///
/// # Errors
/// `ERR timeout is not a float or out of range`, `ERR timeout is negative`, `ERR timeout is out of range`.
pub(super) fn timeout_arg(bytes: &[u8]) -> Result<Option<Duration>, CommandError> {
    let seconds = any_number(bytes).ok_or(CommandError::fixed("ERR timeout is not a float or out of range"))?;
    let ms = (seconds * 1000.0).ceil();
    if ms >= i64::MAX as f64 {
        return Err(CommandError::fixed("ERR timeout is out of range"));
    }
    if ms < 0.0 {
        return Err(CommandError::fixed("ERR timeout is negative"));
    }
    Ok((ms > 0.0).then(|| Duration::from_millis(ms as u64)))
}

#[cfg(test)]
mod tests;
