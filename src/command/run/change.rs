//! Commands that change one collection each, in one batch.
//!
//! They are staged key by key: those of one key in their order, each seeing what those before it have staged. Commands of different keys know nothing of
//! each other. What goes wrong for one of them ends the run before it, and it is answered for itself.

use super::{RUN_BYTES, count_calls};
use crate::command::{CommandError, CommandId, CommandSpec, Ctx, Flags, Found, resolve};
use crate::log::ObjectType;
use crate::protocol::{Args, ReplyWriter};
use crate::store::{Edit, Key, ListEdit, RUN, StoreError, Txn};
use std::time::Instant;

/// The reply of a command in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `+OK`
    Ok,
    /// An integer.
    Integer(i64),
}

impl Answer {
    /// A number of things.
    pub fn count(count: usize) -> Self {
        Self::Integer(count as i64)
    }

    /// Writes the reply.
    pub fn write(self, reply: &mut ReplyWriter<'_>) {
        match self {
            Self::Ok => reply.ok(),
            Self::Integer(value) => reply.integer(value),
        }
    }
}

/// How a command that changes the collection at its first argument, and nothing else, runs together with its neighbours in a pipeline. An error of what
/// stages it says that it does not, and is not seen by anyone.
#[derive(Clone, Copy)]
pub enum Together {
    /// On a hash, a set or a sorted set.
    Members(MembersTogether),
    /// On a list.
    List(fn(&mut ListEdit<'_, '_>, Args<'_>) -> Result<Answer, CommandError>),
}

/// See [`Together`].
#[derive(Clone, Copy)]
pub struct MembersTogether {
    /// The type.
    pub kind: ObjectType,
    /// Where the first name of a field or member is among the arguments, and how far the next one is from it.
    pub names: (usize, usize),
    /// What stages it.
    pub stage: fn(&mut Edit<'_, '_>, Args<'_>) -> Result<Answer, CommandError>,
}

impl Together {
    /// On a hash, a set or a sorted set: where the first name of a field or member is among the arguments, how far the next one is from it, and what
    /// stages the command.
    pub const fn members(
        kind: ObjectType,
        names: (usize, usize),
        stage: fn(&mut Edit<'_, '_>, Args<'_>) -> Result<Answer, CommandError>,
    ) -> Self {
        Self::Members(MembersTogether { kind, names, stage })
    }

    /// HDEL, SREM and ZREM.
    pub const fn removing(kind: ObjectType) -> Self {
        let stage = |edit: &mut Edit<'_, '_>, args: Args<'_>| Ok(Answer::count(edit.remove_all(args.from(2).iter())));
        Self::Members(MembersTogether { kind, names: (2, 1), stage })
    }

    fn kind(self) -> ObjectType {
        match self {
            Self::Members(how) => how.kind,
            Self::List(_) => ObjectType::List,
        }
    }

    /// The names of the fields or members that a command is about.
    fn names<'r>(self, args: Args<'r>) -> impl Iterator<Item = &'r [u8]> + use<'r> {
        let (first, step) = match self {
            Self::Members(how) => how.names,
            Self::List(_) => (usize::MAX, 1),
        };
        args.from(first).iter().step_by(step)
    }
}

/// A command of a run.
struct Member {
    id: CommandId,
    how: &'static Together,
    /// Whether it makes the pool fuller.
    grows: bool,
    hash: u64,
    /// Which is the first one of the same key.
    leader: usize,
    answer: Answer,
}

/// About what a record takes besides what is in it, in bytes.
const ELEMENT_BYTES: usize = 48;

/// The run can be had with so many commands at most. Nothing has happened.
struct Shorter(usize);

/// As [`execute_run`](super::execute_run), when the first command is one of those. It may be alone.
pub fn run<'r>(ctx: &mut Ctx<'_>, count: usize, request: impl Fn(usize) -> Args<'r>) -> usize {
    let started = Instant::now();
    let (mut members, bytes) = members(ctx, count, &request);
    let grows = members.iter().any(|member| member.grows);
    if members.len() < 2 || grows && !ctx.has_room_for_run(members.len(), bytes) {
        return 0;
    }
    // Ends: each turn but the last leaves fewer.
    while let Err(Shorter(len)) = commit(ctx, &mut members, &request) {
        members.truncate(len);
        if len < 2 {
            // Nothing has happened but evictions; one by one each gets its own answer.
            return 0;
        }
    }
    for member in &members {
        member.answer.write(&mut ctx.reply);
    }
    let share = started.elapsed() / members.len() as u32;
    for alike in members.chunk_by(|one, other| one.id == other.id) {
        count_calls(ctx, alike[0].id, alike.len() as u64, share * alike.len() as u32);
    }
    if ctx.shared.blocking.is_ready() {
        ctx.serve_waiters();
    }
    members.len()
}

/// The run that the first of `count` requests begin with, and about how many bytes it takes.
fn members<'r>(ctx: &Ctx<'_>, count: usize, request: &impl Fn(usize) -> Args<'r>) -> (Vec<Member>, usize) {
    let mut members: Vec<Member> = Vec::with_capacity(count);
    let mut bytes = 0;
    let waited_for = ctx.shared.blocking.keys() > 0;
    // Most are like the one before: command and key need not be found again.
    let mut before: Option<(Args<'r>, Found)> = None;
    for args in (0..count).map(request) {
        let found = match before {
            Some((other, found)) if other.at(0) == args.at(0) => Ok(found),
            _ => resolve(args),
        };
        let Ok(Found { spec: CommandSpec { together: Some(how), arity, flags, .. }, id, .. }) = found else { break };
        bytes += args.iter().map(|arg| arg.len() + ELEMENT_BYTES).sum::<usize>();
        // What wakes somebody is served before the next command.
        let may_wake = waited_for && matches!(how.kind(), ObjectType::List | ObjectType::SortedSet);
        if !arity.accepts(args.len()) || bytes > RUN_BYTES || may_wake {
            break;
        }
        let name = args.at(1);
        let (hash, known) = match (before, members.last()) {
            (Some((other, _)), Some(member)) if other.at(1) == name => (member.hash, Some(member.leader)),
            _ => {
                let hash = ctx.store.hash(name);
                let is_same = |at: &usize| members[*at].hash == hash && request(*at).at(1) == name;
                (hash, (0..members.len()).find(is_same))
            }
        };
        if known.is_some_and(|at| members[at].how.kind() != how.kind()) {
            break;
        }
        let leader = known.unwrap_or(members.len());
        members.push(Member { id, how, grows: flags.contains(Flags::DENYOOM), hash, leader, answer: Answer::Ok });
        before = found.ok().map(|found| (args, found));
    }
    (members, bytes)
}

fn commit<'r>(ctx: &mut Ctx<'_>, members: &mut [Member], request: &impl Fn(usize) -> Args<'r>) -> Result<(), Shorter> {
    let (mut hashes, mut keys) = ([0; RUN], 0);
    for (_, member) in members.iter().enumerate().filter(|(at, member)| member.leader == *at) {
        hashes[keys] = member.hash;
        keys += 1;
    }
    let db = ctx.session.db;
    let mut txn = ctx.store.write_hashed(ctx.worker, db, &hashes[..keys], ctx.now_ms, ctx.guard);
    for leader in 0..members.len() {
        if members[leader].leader == leader {
            let key = Key { db, name: request(leader).at(1) };
            txn.remember_hash(key, members[leader].hash);
            stage_key(&mut txn, key, members, leader, request)?;
        }
    }
    // If there is no room nobody can have it.
    txn.commit().map_err(|_| Shorter(0))
}

/// Stages all commands of one key.
fn stage_key<'r>(
    txn: &mut Txn<'_>,
    key: Key<'_>,
    members: &mut [Member],
    leader: usize,
    request: &impl Fn(usize) -> Args<'r>,
) -> Result<(), Shorter> {
    let shorter = |_| Shorter(leader);
    let all = || (leader..members.len()).filter(|&at| members[at].leader == leader);
    // Each of them is a use; the edit counts one.
    txn.count_uses(key, all().count() - 1);
    let mut edit = match members[leader].how {
        Together::Members(how) => KeyEdit::Members(txn.edit(key, how.kind).map_err(shorter)?),
        Together::List(_) => KeyEdit::List(txn.list(key).map_err(shorter)?),
    };
    if let KeyEdit::Members(edit) = &edit {
        edit.warm(all().flat_map(|at| members[at].how.names(request(at))));
    }
    for (at, member) in members.iter_mut().enumerate().filter(|(_, member)| member.leader == leader) {
        member.answer = edit.stage(member.how, request(at)).ok_or(Shorter(at))?;
    }
    edit.finish().map_err(shorter)
}

/// The edit of a key.
enum KeyEdit<'t, 'a> {
    Members(Edit<'t, 'a>),
    List(ListEdit<'t, 'a>),
}

impl KeyEdit<'_, '_> {
    /// Stages a command; `None` if it is none for a run.
    fn stage(&mut self, how: &Together, args: Args<'_>) -> Option<Answer> {
        match (self, how) {
            // What comes after the last element begins anew, without the expiry.
            (Self::Members(edit), _) if edit.is_gone() => None,
            (Self::Members(edit), Together::Members(how)) => (how.stage)(edit, args).ok(),
            (Self::List(list), Together::List(stage)) => stage(list, args).ok(),
            _ => None,
        }
    }

    fn finish(self) -> Result<(), StoreError> {
        match self {
            Self::Members(edit) => edit.finish(),
            Self::List(list) => list.finish(),
        }
    }
}
