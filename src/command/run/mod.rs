//! Runs of requests in one pipeline: plain GETs, and fast looks into collections, overlap their cache misses; plain SETs, and commands that change one
//! collection, share one commit batch and one fence.
//!
//! Nothing that a client can see differs from running them one by one. A plain GET or SET is independent of the ones before it in its run (a plain SET
//! reads nothing), and what changes a collection sees what those before it have staged. No reply leaves before the fence.

mod change;
mod look;

pub use change::{Answer, Together};
pub use look::Look;

use super::server::latency;
use super::string::value;
use super::table::by_name;
use super::{Attention, CommandId, CommandSpec, Ctx, Flags, KeySpec, Modes, ReplyMode, find};
use crate::protocol::Args;
use crate::store::{Entry, Key, Purpose, RUN, Store};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Bytes of keys and values from which a run of writes ends: a larger batch gains nothing, and holds its stripes longer.
const RUN_BYTES: usize = 32 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Get,
    Set,
    /// HSET, LPUSH and others: see [`Together`].
    Change,
    /// HGET, ZSCORE and others: see [`Look`].
    Look,
}

impl Kind {
    /// What the request is, if it is one of those that run together.
    #[inline]
    fn of(args: Args<'_>) -> Option<Self> {
        match args.len() {
            2 if args.at(0).eq_ignore_ascii_case(b"get") => Some(Kind::Get),
            3 if args.at(0).eq_ignore_ascii_case(b"set") => Some(Kind::Set),
            2.. => {
                let spec = find(args.at(0))?;
                match (&spec.together, &spec.look) {
                    (Some(_), _) => Some(Kind::Change),
                    (_, Some(_)) => Some(Kind::Look),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// Runs the plain GETs, plain SETs, changes of collections or looks into them that the first of `count` requests begin with, together. Returns how many ran: 0 when there are not at
/// least two, or when the state of server or session asks for them one by one.
pub fn execute_run<'r>(ctx: &mut Ctx<'_>, count: usize, request: impl Fn(usize) -> Args<'r>) -> usize {
    if count < 2 {
        return 0;
    }
    let Some(kind) = Kind::of(request(0)) else { return 0 };
    let is_alike = |i: &usize| match kind {
        // Of these it depends on the others, too.
        Kind::Change | Kind::Look => true,
        plain => Kind::of(request(*i)) == Some(plain),
    };
    let alike = 1 + (1..count.min(RUN)).take_while(is_alike).count();
    if alike < 2 || !may_run_together(ctx) {
        return 0;
    }
    let ran = match kind {
        Kind::Get => get_run(ctx, alike, request),
        Kind::Set => set_run(ctx, alike, request),
        Kind::Change => change::run(ctx, alike, request),
        Kind::Look => look::run(ctx, alike, request),
    };
    if ran > 0 {
        ctx.stats.commands_processed.add(ran as u64);
        ctx.shared.tracking.broadcast();
    }
    ran
}

/// Longest name of a key that is hashed once more than needed.
const AHEAD_NAME_BYTES: usize = 256;

/// Asks for the memory of the keys that the first of `count` requests will look up, so that their cache misses overlap although they run one by one.
/// Returns for how many requests it did, at least one.
pub fn look_ahead<'r>(ctx: &Ctx<'_>, count: usize, request: impl Fn(usize) -> Args<'r>) -> usize {
    let count = count.min(RUN);
    if count < 2 || !ctx.session.authenticated {
        return count.max(1);
    }
    let (mut hashes, mut keys) = ([0; RUN], 0);
    let mut changes = false;
    let mut before: Option<(&[u8], Option<&CommandSpec>, &[u8])> = None;
    for args in (0..count).map(request) {
        let (command, name) = (args.at(0), args.get(1).unwrap_or_default());
        // Most are like the one before.
        let of_key = match before {
            Some((other, of_key, _)) if other == command => of_key,
            _ => find(command).filter(|spec| matches!(spec.keys, KeySpec::Range { first: 1, .. })),
        };
        let is_same = before.is_some_and(|(_, former, other)| former.is_some() && other == name);
        if let (Some(spec), false, 1..=AHEAD_NAME_BYTES) = (of_key, is_same, name.len()) {
            hashes[keys] = ctx.store.hash(name);
            keys += 1;
            changes |= spec.flags.contains(Flags::WRITE);
        }
        before = Some((command, of_key, name));
    }
    if keys > 1 {
        let purpose = if changes { Purpose::Change } else { Purpose::Look };
        ctx.store.warm(ctx.session.db, &hashes[..keys], purpose, ctx.guard);
    }
    count
}

static GET: LazyLock<CommandId> = LazyLock::new(|| by_name("get"));
static SET: LazyLock<CommandId> = LazyLock::new(|| by_name("set"));

/// Counts `calls` of a command, which have taken so long together.
fn count_calls(ctx: &Ctx<'_>, id: CommandId, calls: u64, time: Duration) {
    let counters = ctx.stats.command(id);
    counters.nanos.add(time.as_nanos() as u64);
    counters.calls.add(calls);
    ctx.note_times(id, time / calls as u32, calls);
    // All of those that run together are fast.
    latency::note_command(ctx, Flags::FAST, time);
    ctx.session.client.set_last_command(id);
}

/// Whether nothing asks for a look at each command: authentication, modes of the session, keyspace events, recovery, a disk that failed, MULTI, CLIENT PAUSE and REPLY,
/// MONITOR, a slow log of very short times.
fn may_run_together(ctx: &Ctx<'_>) -> bool {
    ctx.session.authenticated
        && !ctx.store.has_failed_to_sync()
        && ctx.session.modes == Modes::empty()
        && ctx.shared.settings.events().is_empty()
        && !ctx.loading
        && ctx.session.multi.is_none()
        && ctx.session.reply_mode == ReplyMode::On
        && ctx.shared.pause.window(ctx.now_ms).is_none()
        && !ctx.shared.settings.attention().get().intersects(Attention::SINGLY | Attention::MONITOR)
}

fn get_run<'r>(ctx: &mut Ctx<'_>, count: usize, request: impl Fn(usize) -> Args<'r>) -> usize {
    let started = Instant::now();
    let db = ctx.session.db;
    let mut keys = [Key { db, name: &[] }; RUN];
    for (i, key) in keys[..count].iter_mut().enumerate() {
        key.name = request(i).at(1);
    }
    let mut entries: [Option<Entry<'_>>; RUN] = [const { None }; RUN];
    let read = if ctx.worker.no_touch { Store::peek_batch } else { Store::read_batch };
    read(ctx.store, &keys[..count], ctx.now_ms, ctx.guard, &mut entries[..count]);
    let hits = entries[..count].iter().filter(|entry| entry.is_some()).count();
    ctx.stats.keyspace_hits.add(hits as u64);
    ctx.stats.keyspace_misses.add((count - hits) as u64);
    for entry in &entries[..count] {
        match entry.as_ref().map(Entry::string) {
            Some(Ok(found)) => value::reply(&mut ctx.reply, found),
            None => ctx.reply.null(),
            Some(Err(error)) => {
                let error = super::CommandError::from(error);
                ctx.stats.command(*GET).failed.add(1);
                ctx.stats.count_error(error.prefix());
                ctx.reply.error(&error.0);
            }
        }
    }
    count_calls(ctx, *GET, count as u64, started.elapsed());
    count
}

fn set_run<'r>(ctx: &mut Ctx<'_>, count: usize, request: impl Fn(usize) -> Args<'r>) -> usize {
    let started = Instant::now();
    let db = ctx.session.db;
    let mut pairs: [(Key<'_>, &[u8]); RUN] = [(Key { db, name: &[] }, &[]); RUN];
    let (mut taken, mut bytes) = (0, 0);
    // Ends: `taken` grows each turn.
    while taken < count && bytes < RUN_BYTES {
        let args = request(taken);
        let (name, value) = (args.at(1), args.at(2));
        if value.len() > ctx.store.inline_max() {
            break;
        }
        pairs[taken] = (Key { db, name }, value);
        bytes += name.len() + value.len();
        taken += 1;
    }
    if taken < 2
        || !ctx.has_room_for_run(taken, bytes)
        || ctx.store.set_independent(ctx.worker, &pairs[..taken], ctx.now_ms, ctx.guard).is_err()
    {
        // Nothing has happened but evictions; one by one each gets its own answer.
        return 0;
    }
    for _ in 0..taken {
        ctx.reply.ok();
    }
    count_calls(ctx, *SET, taken as u64, started.elapsed());
    taken
}

#[cfg(test)]
mod tests;
