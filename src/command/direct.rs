//! A session without a connection: requests in, replies out, nothing between. For tests, and for whatever runs commands in its own process.

use super::table::ID_COUNT;
use super::{After, Ctx, Identity, ReplyMode, Session, Settings, Shared, execute, execute_run};
use crate::base::Clock;
use crate::protocol::{ArgSpans, Args, ReplyWriter};
use crate::store::{Store, Worker};
use bytes::BytesMut;

/// One authenticated session, in database 0 and RESP2 until it says otherwise.
#[derive(Debug)]
pub struct Direct {
    /// What commands see of a server: settings, counters, clients.
    pub shared: Shared,
    /// The session's own state.
    pub session: Session,
    /// What the last command asked the connection to do. Nobody does it.
    pub after: After,
}

impl Direct {
    /// A session whose server goes by `clock`.
    pub fn new(clock: Clock) -> Self {
        let session = Session { id: 1, authenticated: true, ..Session::default() };
        let shared = Shared::new(Settings::new(), Identity::default(), clock, 1, ID_COUNT);
        Self { shared, session, after: After::Continue }
    }

    /// Runs `body` in a command's place, at the time that the store's clock tells. What it replies is appended to `out`.
    pub fn with_ctx<R>(
        &mut self,
        store: &Store,
        worker: &mut Worker,
        out: &mut BytesMut,
        body: impl FnOnce(&mut Ctx<'_>) -> R,
    ) -> R {
        let guard = crossbeam_epoch::pin();
        let protocol = self.session.protocol;
        let mut ctx = Ctx {
            shared: &self.shared,
            stats: self.shared.stats.worker(0),
            store,
            worker,
            session: &mut self.session,
            reply: ReplyWriter::new(out, protocol),
            guard: &guard,
            loading: self.shared.loading.is_active(),
            now_ms: store.clock().now_ms(),
            after: After::Continue,
        };
        ctx.follow_client();
        let result = body(&mut ctx);
        self.after = ctx.after;
        result
    }

    /// Runs requests as one pipeline: those that can run together do. Their replies are appended to `out`, as a connection would send them.
    /// Ends early behind a command that asks for more than a reply; says how many ran. A full pool is cleaned here and now.
    pub fn run<A: AsRef<[u8]>>(
        &mut self,
        store: &Store,
        worker: &mut Worker,
        requests: &[Vec<A>],
        out: &mut BytesMut,
    ) -> usize {
        let packed: Vec<(Vec<u8>, ArgSpans)> = requests.iter().map(|request| pack(request)).collect();
        let mut ran = 0;
        // Ends: a command waits for room a number of times at most.
        loop {
            ran += self.with_ctx(store, worker, out, |ctx| run_some(ctx, &packed[ran..]));
            let After::MakeRoom { frees } = self.after else { return ran };
            if !store.make_room(frees) {
                self.session.room_waits.give_up();
            }
        }
    }
}

/// Runs requests until one asks for more than a reply. Says how many ran.
fn run_some(ctx: &mut Ctx<'_>, packed: &[(Vec<u8>, ArgSpans)]) -> usize {
    let args = |i: usize| -> Args<'_> { packed[i].1.args(&packed[i].0) };
    let mut ran = 0;
    // Ends: each turn runs at least one request, or leaves.
    while ran < packed.len() {
        let together = execute_run(ctx, packed.len() - ran, |i| args(ran + i));
        if together > 0 {
            ran += together;
            continue;
        }
        let mark = ctx.reply.mark();
        // The error, if any, is in the reply.
        let _written = execute(ctx, args(ran));
        if ctx.after.runs_again() {
            break;
        }
        ran += 1;
        if ctx.session.reply_mode != ReplyMode::On {
            ctx.hold_back_reply(mark);
        }
        if ctx.after != After::Continue {
            break;
        }
    }
    ran
}

/// The arguments one behind the other, and where each is.
fn pack<A: AsRef<[u8]>>(request: &[A]) -> (Vec<u8>, ArgSpans) {
    let (mut buf, mut spans) = (Vec::new(), ArgSpans::new());
    for arg in request {
        let arg = arg.as_ref();
        spans.push(buf.len() as u32, arg.len() as u32);
        buf.extend_from_slice(arg);
    }
    (buf, spans)
}
