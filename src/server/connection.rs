//! One connection: reads requests, runs them, sends replies, all three whenever each is possible.
//!
//! It is a state machine that its worker polls. With one request at a time a poll is one read, one run, one write: the
//! read that comes up short tells that there is no more. When the socket takes no more replies it goes on reading and running, as a client may
//! send any number of requests before it reads the first reply; what then piles up is bounded by `client-output-buffer-limit`.
//!
//! Between polls an idle connection holds no buffers: see [`WorkerState::lend`].

use super::dispatch::{self, FLUSH_BYTES, Requests};
use super::stream::Stream;
use super::worker::WorkerState;
use crate::command::blocking::{Answer, Blocked, Waiter};
use crate::command::clients::{ClientFlags, Signals};
use crate::command::{self, After, Client, Session, Shared};
use crate::protocol::ReplyWriter;
use bytes::{Buf, BytesMut};
use std::convert::Infallible;
use std::future::{Future, pending};
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Sleep, sleep, sleep_until};

/// Room for one read.
const READ_BYTES: usize = 64 * 1024;

/// Requests after which the other connections of the thread get their turn.
const TURN_REQUESTS: usize = 512;

/// Reads after which the other connections of the thread get their turn.
const TURN_READS: usize = 16;

/// A wait that a command asked for: nothing is run before it is over.
struct Hold {
    over: Pin<Box<dyn Future<Output = Over> + Send>>,
    /// Whether the replies so far are sent meanwhile.
    sends: bool,
    /// The command that waits for a key. Meanwhile it is read on, to see when the client goes.
    waits: Option<Arc<Waiter>>,
}

/// How a wait has ended.
enum Over {
    /// It goes on.
    Done,
    /// The room that was waited for is not to be had.
    NoRoom,
    /// A command that waited for a key has this answer.
    Answered(Answer),
}

impl Hold {
    fn new(sends: bool, over: impl Future<Output = Over> + Send + 'static) -> Self {
        Self { over: Box::pin(over), sends, waits: None }
    }
}

/// Output that is held back until the pool is synced.
struct Unsynced {
    /// So many bytes of it, from its front.
    bytes: usize,
    /// What they speak of is of this epoch or before.
    epoch: u64,
}

/// The connection is over: there is nothing more to do, or nothing more that can be done.
#[derive(Debug)]
struct Ended;

/// A connection and what it is in the middle of.
pub(super) struct Connection {
    stream: Stream,
    session: Session,
    shared: Arc<Shared>,
    requests: Requests,
    /// Replies that are not sent yet.
    output: BytesMut,
    /// Reads no further; ends when the output is sent.
    closing: bool,
    /// What it waits for before it goes on.
    hold: Option<Hold>,
    /// What waits for a sync before it is sent.
    unsynced: Option<Unsynced>,
    /// Bytes at the front of the output that wait for no sync any more.
    cleared: usize,
    /// Whether there may be replies in the output from before a sync failed.
    vouches: bool,
    /// Set while more waits to be sent than the soft limit: when it began, and a timer for when it has lasted too long.
    over_soft_limit: Option<(Instant, Pin<Box<Sleep>>)>,
    /// What [`Client::signal`] wakes; kept here to see cheaply that it has not changed.
    waker: Option<Waker>,
}

impl Connection {
    /// A connection that has just come in.
    pub fn new(stream: Stream, shared: &Arc<Shared>, client: Arc<Client>) -> Self {
        let authenticated = !shared.settings.password_required();
        Self {
            stream,
            session: Session::new(client, authenticated),
            shared: Arc::clone(shared),
            requests: Requests::default(),
            output: BytesMut::new(),
            closing: false,
            hold: None,
            unsynced: None,
            cleared: 0,
            vouches: false,
            over_soft_limit: None,
            waker: None,
        }
    }

    /// Goes on until it must wait. Ready when the connection has ended.
    pub fn poll(&mut self, cx: &mut Context<'_>, state: &mut WorkerState) -> Poll<()> {
        self.attach(cx);
        state.lend(&mut self.requests.buffer, &mut self.output);
        if self.requests.pending {
            state.read_clock();
        }
        let polled = self.advance(cx, state);
        state.take_back(&mut self.requests.buffer, &mut self.output);
        let buffer = &self.requests.buffer;
        let room_bytes = buffer.capacity() - buffer.len();
        self.session.client.note_activity(state.now_ms, buffer.len(), room_bytes, self.output.len());
        polled.map(|Err(Ended)| ())
    }

    /// Nothing more is sent to it, and nothing more is to be had for it.
    pub fn leave(&mut self) {
        self.session.client.shut_outbox();
        command::leave(&self.shared, &mut self.session);
    }

    /// The last thing: the socket is closed when this is dropped.
    pub fn close(self) {
        self.stream.discard_arrived();
    }

    fn advance(&mut self, cx: &mut Context<'_>, state: &mut WorkerState) -> Poll<Result<Infallible, Ended>> {
        let (mut requests_left, mut reads_left) = (TURN_REQUESTS, TURN_READS);
        // Ends: each turn uses up some of the turn's requests or reads, waits, or ends the connection.
        loop {
            self.heed_signals(state)?;
            if let Some(hold) = &self.hold
                && hold.sends
            {
                self.send(cx, state)?;
            }
            if let Some(hold) = &mut self.hold {
                match hold.over.as_mut().poll(cx) {
                    Poll::Ready(over) => {
                        self.go_on(over);
                        // What belongs behind the answer.
                        self.heed_signals(state)?;
                        state.read_clock();
                    }
                    Poll::Pending if hold.waits.is_some() && reads_left > 0 => {
                        ready!(self.receive(cx, state))?;
                        reads_left -= 1;
                        if self.closing {
                            return Poll::Ready(Err(Ended));
                        }
                        continue;
                    }
                    Poll::Pending => {
                        if hold.waits.is_some() {
                            cx.waker().wake_by_ref();
                        }
                        return Poll::Pending;
                    }
                }
            }
            // Everything that was read is run before anything is sent, within reason.
            while self.requests.pending && !self.closing && self.hold.is_none() && requests_left > 0 {
                requests_left = requests_left.saturating_sub(self.run_batch(state).max(1));
                if self.output.len() >= FLUSH_BYTES {
                    break;
                }
            }
            if self.hold.is_some() {
                continue;
            }
            self.send(cx, state)?;
            if self.closing {
                return if self.output.is_empty() { Poll::Ready(Err(Ended)) } else { Poll::Pending };
            }
            if requests_left == 0 || reads_left == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.requests.pending {
                ready!(self.receive(cx, state))?;
                reads_left -= 1;
            }
        }
    }

    /// A wait is over.
    #[cold]
    fn go_on(&mut self, over: Over) {
        let waits = self.hold.take().and_then(|hold| hold.waits);
        self.session.client.set_flag(ClientFlags::BLOCKED, false);
        match over {
            Over::Done => {}
            Over::NoRoom => self.session.room_waits.give_up(),
            Over::Answered(answer) => {
                let Some(waiter) = waits else { return };
                match answer {
                    Answer::RunAgain => self.requests.put_back(waiter.words()),
                    Answer::Reply(bytes) if !waiter.is_silent() => self.output.extend_from_slice(&bytes),
                    Answer::Reply(_) => {}
                }
            }
        }
    }

    /// Makes sure that signals wake this task.
    #[inline]
    fn attach(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.session.client.attach_waker(cx.waker().clone());
            self.waker = Some(cx.waker().clone());
        }
    }

    /// Does what other threads have told this connection.
    #[inline]
    fn heed_signals(&mut self, state: &WorkerState) -> Result<(), Ended> {
        let signals = self.session.client.signals();
        if signals.is_empty() { Ok(()) } else { self.heed(signals, state) }
    }

    #[cold]
    fn heed(&mut self, signals: Signals, state: &WorkerState) -> Result<(), Ended> {
        if signals.contains(Signals::KILL) {
            return Err(Ended);
        }
        if signals.contains(Signals::OVERFLOW) {
            return Err(self.cut_off(state));
        }
        let waiter = self.hold.as_ref().and_then(|hold| hold.waits.as_ref());
        if signals.contains(Signals::POSTED) && !waiter.is_some_and(|waiter| waiter.is_about_to_answer()) {
            self.session.client.take_posted(&mut self.output);
        }
        if signals.contains(Signals::DRAIN) {
            self.hold = None;
            self.session.client.set_flag(ClientFlags::BLOCKED, false);
            self.close_after_replies();
        }
        if signals.contains(Signals::CHECK_IDLE) {
            self.session.client.clear_signal(Signals::CHECK_IDLE);
            let idle_ms = self.shared.clock.now_ms().saturating_sub(self.session.client.last_active_ms());
            let limit = self.shared.settings.timeout();
            if self.hold.is_none() && limit.is_some_and(|limit| u128::from(idle_ms) > limit.as_millis()) {
                tracing::debug!(client = self.session.id, idle_ms, "closing an idle client");
                return Err(Ended);
            }
        }
        Ok(())
    }

    fn close_after_replies(&mut self) {
        self.closing = true;
        self.session.client.set_flag(ClientFlags::CLOSING, true);
    }

    /// Runs the next requests of the buffer. Returns how many.
    fn run_batch(&mut self, state: &mut WorkerState) -> usize {
        self.vouches |= state.store.holds_replies();
        let outcome = dispatch::run_batch(state, &mut self.session, &mut self.requests, &mut self.output);
        if let Some(error) = outcome.error {
            tracing::debug!(client = self.session.id, %error, "closing a client");
            state.shared.stats.worker(state.index).count_error("ERR");
            ReplyWriter::new(&mut self.output, self.session.protocol).protocol_error(&error);
            self.close_after_replies();
        }
        if outcome.after != After::Continue {
            self.follow(outcome.after, state);
        }
        outcome.executed
    }

    #[cold]
    fn follow(&mut self, after: After, state: &WorkerState) {
        let shared = Arc::clone(&self.shared);
        let hold = match after {
            After::Continue => return,
            After::Close => return self.close_after_replies(),
            After::Pause(length) => Hold::new(false, async move {
                sleep(length).await;
                Over::Done
            }),
            After::Postpone => {
                self.session.client.set_flag(ClientFlags::BLOCKED, true);
                let held = shared.pause.hold();
                Hold::new(true, async move {
                    shared.pause.over(&shared.clock).await;
                    drop(held);
                    Over::Done
                })
            }
            After::MakeRoom { frees } => {
                let store = Arc::clone(&state.store);
                let over = async move { if store.wait_for_room(frees).await { Over::Done } else { Over::NoRoom } };
                Hold::new(true, over)
            }
            After::Block(waiter) => {
                self.session.client.set_flag(ClientFlags::BLOCKED, true);
                let blocked = Blocked::new(shared, Arc::clone(&waiter));
                let over = async move { Over::Answered(blocked.answered().await) };
                Hold { waits: Some(waiter), ..Hold::new(true, over) }
            }
            After::Shutdown(request) => {
                shared.request_shutdown(request);
                // The server now tells all connections to end, this one too.
                Hold::new(true, pending())
            }
        };
        self.hold = Some(hold);
    }

    /// Sends what the socket takes, and sees to it that not too much is left.
    #[inline]
    fn send(&mut self, cx: &mut Context<'_>, state: &mut WorkerState) -> Result<(), Ended> {
        // Ends: each turn sends something, or leaves.
        while !self.output.is_empty() {
            let ready = if state.store.holds_replies() || self.unsynced.is_some() || self.vouches {
                match self.synced_output(cx, state)? {
                    0 => return Ok(()),
                    bytes => &self.output[..bytes],
                }
            } else {
                &self.output[..]
            };
            match Pin::new(&mut self.stream).poll_write(cx, ready) {
                Poll::Ready(Ok(sent @ 1..)) => {
                    self.output.advance(sent);
                    self.cleared = self.cleared.saturating_sub(sent);
                    let stats = state.shared.stats.worker(state.index);
                    stats.net_output_bytes.add(sent as u64);
                    stats.writes_processed.add(1);
                }
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Poll::Ready(_) => return Err(Ended),
                Poll::Pending => return self.limit_output(cx, state),
            }
        }
        self.over_soft_limit = None;
        self.vouches = false;
        Ok(())
    }

    /// How much of the output speaks of nothing but what is synced; for the rest it waits. Which of the replies speak of what was written lately nobody
    /// knows: all wait for the last epoch in which anything was.
    #[cold]
    fn synced_output(&mut self, cx: &mut Context<'_>, state: &mut WorkerState) -> Result<usize, Ended> {
        if let Some(unsynced) = &self.unsynced {
            if state.store.synced_epoch() >= unsynced.epoch {
                self.cleared = unsynced.bytes;
                self.unsynced = None;
            } else if state.store.has_failed_to_sync() {
                return Err(self.disown());
            } else {
                return Ok(0);
            }
        }
        if self.cleared > 0 {
            return Ok(self.cleared);
        }
        if state.store.has_failed_to_sync() {
            return if self.vouches { Err(self.disown()) } else { Ok(self.output.len()) };
        }
        match state.store.unsynced().filter(|_| state.store.holds_replies()) {
            None => {
                self.vouches = false;
                self.cleared = self.output.len();
                Ok(self.cleared)
            }
            Some(epoch) => {
                state.held.wait(epoch, cx.waker());
                self.unsynced = Some(Unsynced { bytes: self.output.len(), epoch });
                Ok(0)
            }
        }
    }

    /// What was to be answered may be lost at a power cut, so it is not.
    fn disown(&self) -> Ended {
        tracing::warn!(client = self.session.id, "closing a client whose writes could not be synced");
        Ended
    }

    /// Ends the connection when its client has too many replies waiting.
    #[cold]
    fn limit_output(&mut self, cx: &mut Context<'_>, state: &WorkerState) -> Result<(), Ended> {
        let waiting_bytes = self.output.len() as u64;
        let limit = self.shared.settings.output_limit(self.session.client.class());
        let above = |bound: u64| bound > 0 && waiting_bytes > bound;
        let mut exceeded = above(limit.hard_bytes);
        if above(limit.soft_bytes) {
            let (_, too_long) = self.over_soft_limit.get_or_insert_with(|| {
                let now = Instant::now();
                (now, Box::pin(sleep_until((now + limit.soft_for).into())))
            });
            exceeded |= too_long.as_mut().poll(cx).is_ready();
        } else {
            self.over_soft_limit = None;
        }
        if exceeded { Err(self.cut_off(state)) } else { Ok(()) }
    }

    /// More waits to be sent than may.
    fn cut_off(&self, state: &WorkerState) -> Ended {
        tracing::warn!(client = self.session.id, "closing a client that does not read what it is sent");
        state.shared.stats.worker(state.index).output_limit_disconnections.add(1);
        Ended
    }

    /// Reads what has arrived.
    #[inline]
    fn receive(&mut self, cx: &mut Context<'_>, state: &mut WorkerState) -> Poll<Result<(), Ended>> {
        let room_bytes = self.requests.wanted_bytes().max(READ_BYTES);
        let buffer = &mut self.requests.buffer;
        buffer.reserve(room_bytes);
        let read = ready!(pin!(self.stream.read_buf(buffer)).poll(cx));
        let read_bytes = match read {
            Ok(0) => {
                self.close_after_replies();
                return Poll::Ready(Ok(()));
            }
            Ok(read_bytes) => read_bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Poll::Ready(Ok(())),
            Err(error) => {
                tracing::debug!(client = self.session.id, %error, "reading from a client");
                return Poll::Ready(Err(Ended));
            }
        };
        state.read_clock();
        let stats = state.shared.stats.worker(state.index);
        stats.net_input_bytes.add(read_bytes as u64);
        stats.reads_processed.add(1);
        if self.requests.buffer.len() + self.session.queued_bytes() > self.shared.settings.query_limit_bytes() {
            tracing::warn!(client = self.session.id, "closing a client that sent more than client-query-buffer-limit");
            stats.query_limit_disconnections.add(1);
            return Poll::Ready(Err(Ended));
        }
        self.requests.pending = true;
        Poll::Ready(Ok(()))
    }
}
