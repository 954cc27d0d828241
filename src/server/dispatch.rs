//! Requests to replies: parses what a read buffer holds into a batch and runs it.
//!
//! A batch is run under one pin of the epoch and one reading of the clock, and its replies go to one buffer. Its requests
//! are all there before the first one runs, so that runs of alike ones can be looked at together.
//!
//! Invariants:
//! 1. Nothing here waits: the guard, the store's worker and the buffers are used and given back within one call.
//! 2. After a batch the read buffer starts at the first request that has not run.

use super::worker::WorkerState;
use crate::command::{self, After, Ctx, ReplyMode, Session};
use crate::protocol::{ArgSpans, Args, Parsed, ProtocolError, ReplyWriter, RequestLimits, RequestParser};
use bytes::{Buf, BytesMut};

/// Most requests of a batch: bounds how long the epoch stays pinned.
pub(super) const BATCH_REQUESTS: usize = 32;

/// A batch stops early once so many bytes of replies wait to be sent.
pub(super) const FLUSH_BYTES: usize = 256 * 1024;

/// A request found in the read buffer.
#[derive(Debug, Default)]
struct Request {
    spans: ArgSpans,
    /// Where its bytes are in the read buffer.
    start: usize,
    end: usize,
}

impl Request {
    /// Its arguments; `input` is the read buffer it was found in.
    #[inline]
    fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        self.spans.args(&input[self.start..self.end])
    }
}

/// Room for the requests of one batch; each thread has one and reuses it.
#[derive(Debug)]
pub(super) struct Batch {
    requests: Vec<Request>,
}

impl Batch {
    /// Room for [`BATCH_REQUESTS`] requests.
    pub fn new() -> Self {
        Self { requests: (0..BATCH_REQUESTS).map(|_| Request::default()).collect() }
    }
}

/// What a connection has read and how far that is parsed.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// From the first byte that belongs to no request that has run.
    pub buffer: BytesMut,
    parser: RequestParser,
    /// The arguments found so far of the request that has not arrived whole.
    partial: ArgSpans,
    /// Whether there may be a whole request in the buffer.
    pub pending: bool,
}

impl Requests {
    /// How many bytes the next read should have room for, for it to make progress.
    pub fn wanted_bytes(&self) -> usize {
        self.parser.wanted_bytes(self.buffer.len())
    }

    /// Forgets what is parsed beyond the first `bytes`, which have run.
    fn rewind_to(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.parser = RequestParser::new();
        self.partial.clear();
        self.pending = true;
    }
}

impl Requests {
    /// Has a request run next that was taken out of the buffer already.
    pub fn put_back<'w>(&mut self, words: impl ExactSizeIterator<Item = &'w [u8]>) {
        let mut request = BytesMut::from(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(&self.buffer);
        self.buffer = request;
        self.rewind_to(0);
    }
}

/// What a batch leaves to do.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How many requests ran.
    pub executed: usize,
    /// What the last one asked for.
    pub after: After,
    /// What is wrong with the bytes that follow: the connection is done.
    pub error: Option<ProtocolError>,
}

/// Parses the next requests in the buffer, up to [`BATCH_REQUESTS`], and runs them, appending their replies to `output`.
pub(super) fn run_batch(
    state: &mut WorkerState,
    session: &mut Session,
    requests: &mut Requests,
    output: &mut BytesMut,
) -> Outcome {
    if !session.authenticated && !state.shared.settings.password_required() {
        // The password was taken away.
        session.authenticated = true;
    }
    let limits = RequestLimits::new(state.shared.settings.max_bulk_bytes(), session.authenticated);
    // Until AUTH has run, what follows it is parsed under tighter limits than it should be.
    let most = if session.authenticated { BATCH_REQUESTS } else { 1 };
    let mut batch = std::mem::take(&mut state.batch.requests);
    // It is shorter only after a command has panicked.
    batch.resize_with(BATCH_REQUESTS, Request::default);
    let (found, parsed_bytes, error) = parse(requests, &limits, &mut batch[..most]);

    let (executed, after) = execute(state, session, &requests.buffer, &batch[..found], output);
    let error = if executed < found {
        // The rest is parsed again when its turn comes.
        requests.rewind_to(batch[executed].start);
        None
    } else {
        requests.buffer.advance(parsed_bytes);
        error
    };
    state.batch.requests = batch;
    Outcome { executed, after, error }
}

/// Fills `batch` with the requests at the front of the buffer. Returns how many there are, how many bytes they take, and
/// what is wrong with what follows.
fn parse(
    requests: &mut Requests,
    limits: &RequestLimits,
    batch: &mut [Request],
) -> (usize, usize, Option<ProtocolError>) {
    std::mem::swap(&mut requests.partial, &mut batch[0].spans);
    let (mut found, mut at) = (0, 0);
    // Ends: each turn takes at least a byte of the buffer, or leaves.
    while let Some(request) = batch.get_mut(found) {
        match requests.parser.parse(&requests.buffer[at..], limits, &mut request.spans) {
            Ok(Parsed::Request { consumed }) => {
                (request.start, request.end) = (at, at + consumed);
                at += consumed;
                // A blank line asks for nothing.
                found += usize::from(!request.spans.is_empty());
            }
            Ok(Parsed::Incomplete) => {
                std::mem::swap(&mut requests.partial, &mut request.spans);
                requests.pending = false;
                return (found, at, None);
            }
            Err(error) => {
                requests.pending = false;
                return (found, at, Some(error));
            }
        }
    }
    requests.pending = at < requests.buffer.len();
    (found, at, None)
}

/// Runs requests in order until one asks for more than a reply. Returns how many ran.
fn execute(
    state: &mut WorkerState,
    session: &mut Session,
    input: &[u8],
    requests: &[Request],
    output: &mut BytesMut,
) -> (usize, After) {
    if requests.is_empty() {
        return (0, After::Continue);
    }
    state.adopt_store();
    let guard = crossbeam_epoch::pin();
    let protocol = session.protocol;
    let mut ctx = Ctx {
        shared: &state.shared,
        stats: state.shared.stats.worker(state.index),
        store: &state.store,
        worker: &mut state.segment,
        session,
        reply: ReplyWriter::new(output, protocol),
        guard: &guard,
        loading: state.loading,
        now_ms: state.now_ms,
        after: After::Continue,
    };
    ctx.follow_client();
    let (mut executed, mut ahead) = (0, 0);
    // Ends: each turn runs at least one request, or leaves.
    while let Some(request) = requests.get(executed) {
        let rest = &requests[executed..];
        let together = command::execute_run(&mut ctx, rest.len(), |i| rest[i].args(input));
        if together > 0 {
            executed += together;
            if ctx.reply.mark() >= FLUSH_BYTES {
                break;
            }
            continue;
        }
        if executed >= ahead {
            ahead = executed + command::look_ahead(&ctx, rest.len(), |i| rest[i].args(input));
        }
        let mark = ctx.reply.mark();
        // An error is in the reply already; only a transaction would want to know.
        let _ = command::execute(&mut ctx, request.args(input));
        if ctx.after.runs_again() {
            break;
        }
        executed += 1;
        if ctx.session.reply_mode != ReplyMode::On {
            ctx.hold_back_reply(mark);
        }
        if ctx.after != After::Continue || ctx.reply.mark() >= FLUSH_BYTES {
            break;
        }
    }
    (executed, ctx.after)
}
