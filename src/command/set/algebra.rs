//! Intersections, unions and differences.
//!
//! All sets are read as of one moment, with the stripes of their keys held; the members returned stay readable afterwards.

use crate::command::lookups::Lookups;
use crate::command::parse::{integer, is_word};
use crate::command::{CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::{Extent, Key, Txn, View};
use std::collections::HashSet;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Inter,
    Union,
    Diff,
}

impl Operation {
    /// The event of storing its result.
    fn event(self) -> &'static str {
        match self {
            Operation::Inter => "sinterstore",
            Operation::Union => "sunionstore",
            Operation::Diff => "sdiffstore",
        }
    }
}

/// `SINTER key [key ...]`
pub fn sinter(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with(ctx, args, Operation::Inter)
}

/// `SUNION key [key ...]`
pub fn sunion(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with(ctx, args, Operation::Union)
}

/// `SDIFF key [key ...]`
pub fn sdiff(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_with(ctx, args, Operation::Diff)
}

/// `SINTERSTORE destination key [key ...]`
pub fn sinterstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store(ctx, args, Operation::Inter)
}

/// `SUNIONSTORE destination key [key ...]`
pub fn sunionstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store(ctx, args, Operation::Union)
}

/// `SDIFFSTORE destination key [key ...]`
pub fn sdiffstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store(ctx, args, Operation::Diff)
}

/// `SINTERCARD numkeys key [key ...] [LIMIT limit]`
pub fn sintercard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = integer(args.at(1)).and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0);
    let count = count.ok_or(CommandError::fixed("ERR numkeys should be greater than 0"))?;
    if count > args.len() - 2 {
        return Err(CommandError::fixed("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = usize::MAX;
    let mut at = 2 + count;
    // Ends: `at` grows each turn.
    while at < args.len() {
        let value = args.get(at + 1).filter(|_| is_word(args.at(at), "LIMIT")).ok_or(CommandError::SYNTAX)?;
        let value = integer(value).and_then(|limit| usize::try_from(limit).ok());
        limit = match value.ok_or(CommandError::fixed("ERR LIMIT can't be negative"))? {
            0 => usize::MAX,
            limit => limit,
        };
        at += 2;
    }
    let keys: Vec<Key<'_>> = args.from(2).iter().take(count).map(|name| ctx.key(name)).collect();
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
    let found = members(&txn, lookups, &keys, Operation::Inter, limit)?.0.len();
    drop(txn);
    ctx.reply.integer(found as i64);
    Ok(())
}

fn reply_with(ctx: &mut Ctx<'_>, args: Args<'_>, operation: Operation) -> Result<(), CommandError> {
    let keys: Vec<Key<'_>> = args.from(1).iter().map(|name| ctx.key(name)).collect();
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
    let (members, _) = members(&txn, lookups, &keys, operation, usize::MAX)?;
    drop(txn);
    ctx.reply.set_header(members.len());
    members.iter().for_each(|member| ctx.reply.bulk(member));
    Ok(())
}

fn store(ctx: &mut Ctx<'_>, args: Args<'_>, operation: Operation) -> Result<(), CommandError> {
    let keys: Vec<Key<'_>> = args.from(1).iter().map(|name| ctx.key(name)).collect();
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let mut txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
    let (members, extent) = members(&txn, lookups, &keys[1..], operation, usize::MAX)?;
    let was_there = txn.peek(keys[0]).is_some();
    let mut result = txn.edit_new(keys[0], ObjectType::Set, None);
    result.comes_of(extent);
    for member in &members {
        result.add(member, &[])?;
    }
    result.finish()?;
    txn.commit()?;
    ctx.reply.integer(members.len() as i64);
    let is_stored = !members.is_empty();
    ctx.notify_store(is_stored, was_there, Events::SET, operation.event(), keys[0]);
    Ok(())
}

/// The members of the result, at most `limit`, and what Redis would have had in it before.
fn members<'a>(
    txn: &Txn<'a>,
    lookups: Lookups<'_>,
    keys: &[Key<'_>],
    operation: Operation,
    limit: usize,
) -> Result<(Vec<&'a [u8]>, Extent), CommandError> {
    let mut sets: Vec<Option<View<'a>>> = Vec::with_capacity(keys.len());
    for key in keys {
        sets.push(lookups.view(txn, *key, ObjectType::Set)?);
    }
    let names = |view: &View<'a>| view.iter().map(|member| member.name()).collect::<Vec<_>>();
    let mut extent = Extent::NONE;
    let members = match operation {
        Operation::Inter => {
            let Some(mut sets) = sets.into_iter().collect::<Option<Vec<_>>>() else { return Ok((Vec::new(), extent)) };
            sets.sort_by_key(View::len);
            let (smallest, others) = sets.split_first().expect("a command names a key");
            let in_all = |name: &&[u8]| others.iter().all(|other| other.get(name).is_some());
            smallest.iter().map(|member| member.name()).filter(in_all).take(limit).collect()
        }
        Operation::Union => {
            let mut seen = HashSet::new();
            let all = sets.iter().flatten().flat_map(names);
            all.filter(|name| seen.insert(*name)).collect()
        }
        Operation::Diff => {
            let (Some(first), others) = (&sets[0], &sets[1..]) else { return Ok((Vec::new(), extent)) };
            if takes_out(first, &sets) {
                names(first).into_iter().for_each(|name| extent.note_member(name));
            }
            let is_left = |name: &&[u8]| others.iter().flatten().all(|other| other.get(name).is_none());
            first.iter().map(|member| member.name()).filter(is_left).collect()
        }
    };
    Ok((members, extent))
}

/// Whether Redis makes the difference of these sets by putting all of `first` into the result and taking out what the others have: where they are so
/// few that looking each of its members up in each of them would be more. What is taken out leaves its mark on the encoding of the result.
fn takes_out(first: &View<'_>, sets: &[Option<View<'_>>]) -> bool {
    let lens = sets.iter().flatten().map(View::len);
    first.len() * lens.clone().count() / 2 > lens.sum()
}
