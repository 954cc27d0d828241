//! A worker: one thread, its runtime, its connections, its open segment and its buffers.

use super::connection::Connection;
use super::dispatch::Batch;
use super::held::{self, Held};
use super::opening::StoreSlot;
use super::stream::RawStream;
use crate::command::{Client, Shared};
use crate::store::{self, Store};
use bytes::BytesMut;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A thread's buffers that have grown beyond this are given back after use.
const SCRATCH_KEPT_BYTES: usize = 1024 * 1024;

/// A connection on its way to its worker.
#[derive(Debug)]
pub(super) struct Arrival {
    pub stream: RawStream,
    pub client: Arc<Client>,
    pub place: Place,
}

/// A connection's place among those of its worker; free again when it is dropped. Leaving strikes the client off the list, too.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<AtomicUsize>,
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.clients.disconnect(self.id);
        self.connections.fetch_sub(1, Relaxed);
    }
}

/// The listener's end of a worker.
#[derive(Debug)]
pub(super) struct WorkerHandle {
    inbox: UnboundedSender<Arrival>,
    connections: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
    /// Resolves when the thread has ended its work, well or not.
    ended: oneshot::Receiver<()>,
}

impl WorkerHandle {
    /// How many connections it has.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Hands it a connection. The client is on the list from here on.
    pub fn adopt(&self, shared: &Arc<Shared>, stream: RawStream, client: Arc<Client>) {
        self.connections.fetch_add(1, Relaxed);
        let place = Place { connections: Arc::clone(&self.connections), shared: Arc::clone(shared), id: client.id() };
        // Fails only when the worker is gone; the connection is then closed by being dropped.
        let _ = self.inbox.send(Arrival { stream, client, place });
    }

    /// Tells it that there will be no more connections, so that it ends with its last one.
    pub fn let_go(self) -> Ending {
        Ending { thread: self.thread, ended: Some(self.ended) }
    }
}

/// A worker that ends with its last connection.
#[derive(Debug)]
pub(super) struct Ending {
    thread: JoinHandle<()>,
    /// `None` once it has resolved.
    ended: Option<oneshot::Receiver<()>>,
}

impl Ending {
    /// Waits for its end.
    pub async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            // An error says that the sending end is gone: the thread has ended.
            let _ = ended.await;
            self.ended = None;
        }
    }

    /// Joins its thread, which must have ended. Says whether it ended well.
    pub fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// What the connections of one thread share. Borrowed by one of them at a time, never across an `.await`.
pub(super) struct WorkerState {
    pub index: usize,
    pub shared: Arc<Shared>,
    slot: Arc<StoreSlot>,
    /// The store, or an empty stand-in while `loading`.
    pub store: Arc<Store>,
    pub segment: store::Worker,
    pub loading: bool,
    /// When the requests at hand were read, in Unix milliseconds.
    pub now_ms: u64,
    pub batch: Batch,
    pub held: Held,
    input: BytesMut,
    output: BytesMut,
}

impl WorkerState {
    /// Goes over from the stand-in to the store as soon as that is there.
    #[inline]
    pub fn adopt_store(&mut self) {
        if self.loading
            && let Some(store) = self.slot.get()
        {
            self.store = Arc::clone(store);
            // The stand-in's own has nothing open: nothing was written there.
            self.segment = store.worker();
            self.loading = false;
            // What CONFIG SET has said before was said to the stand-in.
            self.shared.follow_settings(&self.store);
        }
    }

    /// Reads the clock for the requests that have just been read.
    #[inline]
    pub fn read_clock(&mut self) {
        self.now_ms = self.shared.clock.now_ms();
    }

    /// Lends the thread's buffers to a connection that is about to run. What it holds already is kept.
    #[inline]
    pub fn lend(&mut self, input: &mut BytesMut, output: &mut BytesMut) {
        if input.len() < COPIED_BYTES {
            let mut scratch = std::mem::take(&mut self.input);
            scratch.extend_from_slice(input);
            *input = scratch;
        }
        if output.is_empty() {
            *output = std::mem::take(&mut self.output);
        }
    }

    /// Takes the buffers back. A connection keeps only what it still needs: the request that has not arrived whole, in a buffer
    /// of its size, and the replies that the socket did not take.
    #[inline]
    pub fn take_back(&mut self, input: &mut BytesMut, output: &mut BytesMut) {
        if input.len() < COPIED_BYTES {
            let mut scratch = std::mem::take(input);
            if !scratch.is_empty() {
                *input = BytesMut::from(&scratch[..]);
            }
            keep(&mut self.input, &mut scratch);
        }
        if output.is_empty() {
            keep(&mut self.output, &mut std::mem::take(output));
        }
    }
}

/// A request that has not arrived whole is copied out of the thread's read buffer when it is shorter than this; else the
/// connection keeps the buffer.
const COPIED_BYTES: usize = 16 * 1024;

/// Keeps the larger buffer in `kept`, unless it is larger than buffers should stay.
#[inline]
fn keep(kept: &mut BytesMut, returned: &mut BytesMut) {
    returned.clear();
    // Makes the room in front of what was consumed count again; costs nothing on an empty buffer.
    returned.reserve(1);
    if returned.capacity() > kept.capacity() && returned.capacity() <= SCRATCH_KEPT_BYTES {
        *kept = std::mem::take(returned);
    }
}

thread_local! {
    /// The state of the worker that runs on this thread.
    static STATE: RefCell<Option<WorkerState>> = const { RefCell::new(None) };
}

/// Runs `with` on the state of this thread's worker. Not to be nested.
pub(super) fn with_state<T>(with: impl FnOnce(&mut WorkerState) -> T) -> T {
    STATE.with_borrow_mut(|state| {
        with(state.as_mut().expect("the state is set before the first task and until the last one's end"))
    })
}

/// Starts worker `index`.
pub(super) fn start(
    index: usize,
    shared: Arc<Shared>,
    slot: Arc<StoreSlot>,
    stand_in: Arc<Store>,
) -> io::Result<WorkerHandle> {
    let (inbox, arrivals) = unbounded_channel();
    let (end, ended) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let segment = stand_in.worker();
        let state = WorkerState {
            index,
            shared: Arc::clone(&shared),
            slot,
            store: stand_in,
            segment,
            loading: true,
            now_ms: shared.clock.now_ms(),
            batch: Batch::new(),
            held: Held::default(),
            input: BytesMut::new(),
            output: BytesMut::new(),
        };
        STATE.set(Some(state));
        runtime.block_on(work(shared, arrivals));
        if let Some(mut state) = STATE.take() {
            state.store.close_worker(&mut state.segment);
        }
        drop(end);
    })?;
    Ok(WorkerHandle { inbox, connections: Arc::default(), thread, ended })
}

/// Runs connections until the listener lets go and the last one has ended.
async fn work(shared: Arc<Shared>, mut arrivals: UnboundedReceiver<Arrival>) {
    let mut connections = JoinSet::new();
    let relay = tokio::spawn(held::relay());
    // Ends: the listener drops its end at shutdown, and then each connection ends.
    loop {
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => { connections.spawn(serve(Arc::clone(&shared), arrival)); }
                None => break,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    while connections.join_next().await.is_some() {}
    relay.abort();
}

/// One connection from its first request to its end.
async fn serve(shared: Arc<Shared>, arrival: Arrival) {
    let Arrival { stream, client, place } = arrival;
    let id = client.id();
    let stream = match stream.register() {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(client = id, %error, "cannot wait for a connection's socket");
            return;
        }
    };
    let mut connection = Connection::new(stream, &shared, client);
    poll_fn(|cx| {
        // A broken invariant ends this connection and no other.
        let polled = catch_unwind(AssertUnwindSafe(|| with_state(|state| connection.poll(cx, state))));
        polled.unwrap_or_else(|_| {
            tracing::error!(client = id, "a command panicked; its connection is closed");
            Poll::Ready(())
        })
    })
    .await;
    // Whoever sees the connection end finds it off the lists.
    connection.leave();
    drop(place);
    connection.close();
}
