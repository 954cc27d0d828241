//! LSET, LINSERT, LREM, LTRIM.

use super::read::{position, span};
use crate::command::parse::{integer_arg, is_word};
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;
use crate::store::ListEdit;

const OUT_OF_RANGE: CommandError = CommandError::fixed("ERR index out of range");

/// The positions, ascending, of the elements that equal `value`.
fn positions<'e>(edit: &'e ListEdit<'_, '_>, value: &'e [u8]) -> impl Iterator<Item = usize> + 'e {
    let elements = edit.base().into_iter().flat_map(|view| view.iter_from(0));
    elements.enumerate().filter(move |(_, element)| element.value() == value).map(|(at, _)| at)
}

pub(super) fn lset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut edit = txn.list(key)?;
    if edit.base().is_none() {
        return Err(CommandError::NO_SUCH_KEY);
    }
    let at = position(integer_arg(args.at(2))?, edit.len()).ok_or(OUT_OF_RANGE)?;
    edit.set(at, args.at(3))?;
    edit.finish()?;
    txn.commit()?;
    ctx.notify(Events::LIST, "lset", key.name);
    ctx.reply.ok();
    Ok(())
}

/// `LINSERT key BEFORE|AFTER pivot value`: -1 when there is no such pivot, 0 when there is no list.
pub(super) fn linsert(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let after = match args.at(2) {
        word if is_word(word, "AFTER") => 1,
        word if is_word(word, "BEFORE") => 0,
        _ => return Err(CommandError::SYNTAX),
    };
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut edit = txn.list(key)?;
    if edit.base().is_none() {
        ctx.reply.integer(0);
        return Ok(());
    }
    let Some(pivot) = positions(&edit, args.at(3)).next() else {
        ctx.reply.integer(-1);
        return Ok(());
    };
    edit.insert(pivot + after, args.at(4))?;
    let len = edit.len();
    edit.finish()?;
    txn.commit()?;
    ctx.notify(Events::LIST, "linsert", key.name);
    ctx.reply.integer(len as i64);
    Ok(())
}

/// `LREM key count value`: the first `count` from the head, from the tail when negative, all when zero.
pub(super) fn lrem(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = integer_arg(args.at(2))?;
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut edit = txn.list(key)?;
    let most = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let found: Vec<usize> = if count < 0 {
        let all: Vec<usize> = positions(&edit, args.at(3)).collect();
        all.into_iter().rev().take(most).collect()
    } else {
        positions(&edit, args.at(3)).take(most).collect()
    };
    if !found.is_empty() {
        found.iter().for_each(|&at| edit.remove(at));
        let is_gone = edit.is_empty();
        edit.finish()?;
        txn.commit()?;
        ctx.notify_removal(is_gone, Events::LIST, "lrem", key);
    }
    ctx.reply.integer(found.len() as i64);
    Ok(())
}

pub(super) fn ltrim(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (start, stop) = (integer_arg(args.at(2))?, integer_arg(args.at(3))?);
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut edit = txn.list(key)?;
    if edit.base().is_some() {
        let kept = span(start, stop, edit.len());
        edit.trim(kept.start, kept.end);
        let is_gone = edit.is_empty();
        edit.finish()?;
        txn.commit()?;
        ctx.notify_removal(is_gone, Events::LIST, "ltrim", key);
    }
    ctx.reply.ok();
    Ok(())
}
