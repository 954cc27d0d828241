//! Commands that look something up in one collection, and are fast.
//!
//! The memory of all their keys is asked for at once. Those that follow one another on the same key share one view of it, and the memory of what they look
//! up in it is asked for at once, too. They are answered in their order, each by what was there no earlier than what those before it were answered by.

use super::count_calls;
use crate::command::{CommandError, CommandId, Ctx, Found, resolve};
use crate::log::ObjectType;
use crate::protocol::{Args, ReplyWriter};
use crate::store::{Key, Purpose, RUN, View};
use std::time::Instant;

/// A command that looks something up in the collection at its first argument, and nothing else.
pub struct Look {
    /// The type.
    pub kind: ObjectType,
    /// Whether the arguments behind the key are names of fields or members.
    pub by_name: bool,
    /// Writes the reply; without a view if there is no such key.
    pub reply: fn(&mut ReplyWriter<'_>, Option<&View<'_>>, Args<'_>),
}

impl Look {
    /// The one that counts the elements.
    pub const fn len(kind: ObjectType) -> Self {
        Self { kind, by_name: false, reply: |reply, view, _| reply.integer(view.map_or(0, View::len) as i64) }
    }

    /// Runs the command by itself.
    ///
    /// # Errors
    /// `WRONGTYPE` when the key holds another type.
    #[inline]
    pub fn alone(&self, ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
        let view = ctx.view(args.at(1), self.kind)?;
        (self.reply)(&mut ctx.reply, view.as_ref(), args);
        Ok(())
    }
}

/// A command of a run.
#[derive(Clone, Copy)]
struct Member {
    id: CommandId,
    how: &'static Look,
    hash: u64,
}

/// As [`execute_run`](super::execute_run), when the first command is one of those. It may be alone.
pub fn run<'r>(ctx: &mut Ctx<'_>, count: usize, request: impl Fn(usize) -> Args<'r>) -> usize {
    let started = Instant::now();
    let members = members(ctx, count, &request);
    if members.len() < 2 {
        return 0;
    }
    let db = ctx.session.db;
    let mut hashes = [0; RUN];
    let mut keys = 0;
    for of_key in members.chunk_by(|one, other| one.hash == other.hash) {
        hashes[keys] = of_key[0].hash;
        keys += 1;
    }
    if keys > 1 {
        ctx.store.warm(db, &hashes[..keys], Purpose::Look, ctx.guard);
    }
    let mut ran = 0;
    // Ends: each turn answers at least one, or leaves.
    while ran < members.len() {
        let (name, first) = (request(ran).at(1), &members[ran]);
        let is_same = |at: &usize| {
            let other = &members[*at];
            other.hash == first.hash && other.how.kind == first.how.kind && request(*at).at(1) == name
        };
        let end = (ran + 1..members.len()).find(|at| !is_same(at)).unwrap_or(members.len());
        if !answer(ctx, Key { db, name }, &members[ran..end], |at| request(ran + at)) {
            break;
        }
        ran = end;
    }
    let share = started.elapsed() / ran.max(1) as u32;
    for alike in members[..ran].chunk_by(|one, other| one.id == other.id) {
        count_calls(ctx, alike[0].id, alike.len() as u64, share * alike.len() as u32);
    }
    ran
}

/// The run that the first of `count` requests begin with.
fn members<'r>(ctx: &Ctx<'_>, count: usize, request: &impl Fn(usize) -> Args<'r>) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::with_capacity(count);
    // Most are like the one before: command and key need not be found again.
    let mut before: Option<(Args<'r>, Found)> = None;
    for args in (0..count).map(request) {
        let found = match before {
            Some((other, found)) if other.at(0) == args.at(0) => Ok(found),
            _ => resolve(args),
        };
        let Ok(found) = found else { break };
        let (Some(how), true) = (found.spec.look, found.spec.arity.accepts(args.len())) else { break };
        let hash = match (before, members.last()) {
            (Some((other, _)), Some(member)) if other.at(1) == args.at(1) => member.hash,
            _ => ctx.store.hash(args.at(1)),
        };
        members.push(Member { id: found.id, how, hash });
        before = Some((args, found));
    }
    members
}

/// Answers the commands of one key. False, and nothing has happened: it holds something else, or cannot be read, and each gets its own answer.
fn answer<'r>(ctx: &mut Ctx<'_>, key: Key<'_>, members: &[Member], request: impl Fn(usize) -> Args<'r>) -> bool {
    let Member { how, hash, .. } = members[0];
    let uses = if ctx.worker.no_touch { 0 } else { members.len() };
    let Ok(view) = ctx.store.collection_hashed(key, hash, Some(how.kind), uses, ctx.now_ms, ctx.guard) else {
        return false;
    };
    if members.len() > 1
        && let Some(view) = &view
    {
        let names = |(at, member): (usize, &Member)| member.how.by_name.then(|| request(at).from(2).iter());
        view.warm(members.iter().enumerate().filter_map(names).flatten());
    }
    let counter = if view.is_some() { &ctx.stats.keyspace_hits } else { &ctx.stats.keyspace_misses };
    counter.add(members.len() as u64);
    for (at, member) in members.iter().enumerate() {
        (member.how.reply)(&mut ctx.reply, view.as_ref(), request(at));
    }
    true
}
