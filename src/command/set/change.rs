//! Commands that change a set.

use crate::command::collection::Random;
use crate::command::parse::integer;
use crate::command::{Answer, CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::Edit;

/// `SADD key member [member ...]`
pub fn sadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut set = txn.edit(key, ObjectType::Set)?;
    let answer = stage_sadd(&mut set, args)?;
    if answer != Answer::Integer(0) {
        let is_new = set.base().is_none();
        set.finish()?;
        txn.commit()?;
        ctx.notify_write(is_new, Events::SET, "sadd", key);
    }
    answer.write(&mut ctx.reply);
    Ok(())
}

/// SADD, alone or in a run.
pub fn stage_sadd(set: &mut Edit<'_, '_>, args: Args<'_>) -> Result<Answer, CommandError> {
    let mut added = 0;
    for member in args.from(2).iter() {
        added += usize::from(set.add_new(member, &[])?);
    }
    Ok(Answer::count(added))
}

/// `SREM key member [member ...]`
pub fn srem(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut set = txn.edit(key, ObjectType::Set)?;
    let removed = set.remove_all(args.from(2).iter());
    if removed > 0 {
        let is_gone = set.is_empty();
        set.finish()?;
        txn.commit()?;
        ctx.notify_removal(is_gone, Events::SET, "srem", key);
    }
    ctx.reply.integer(removed as i64);
    Ok(())
}

/// `SMOVE source destination member`
pub fn smove(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to, member) = (ctx.key(args.at(1)), ctx.key(args.at(2)), args.at(3));
    let mut txn = ctx.store.write(ctx.worker, &[from, to], ctx.now_ms, ctx.guard);
    let there = match txn.view(from, ObjectType::Set)? {
        Some(view) => view.get(member).is_some(),
        None => {
            ctx.reply.integer(0);
            return Ok(());
        }
    };
    // The other key must be a set even where nothing is moved.
    txn.view(to, ObjectType::Set)?;
    if there && from.name != to.name {
        let mut source = txn.edit(from, ObjectType::Set)?;
        source.remove(member);
        let is_gone = source.is_empty();
        source.finish()?;
        let mut target = txn.edit(to, ObjectType::Set)?;
        let (is_new, is_added) = (target.base().is_none(), target.add_new(member, &[])?);
        target.finish()?;
        txn.commit()?;
        ctx.notify_removal(is_gone, Events::SET, "srem", from);
        if is_added {
            ctx.notify_write(is_new, Events::SET, "sadd", to);
        }
    }
    ctx.reply.integer(i64::from(there));
    Ok(())
}

/// `SPOP key [count]`
pub fn spop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    /// Redis makes another set of those that stay when they are so many times fewer than those that go.
    const MADE_ANEW: usize = 5;
    if args.len() > 3 {
        return Err(CommandError::SYNTAX);
    }
    let count = match args.get(2) {
        None => None,
        Some(text) => {
            let count = integer(text).ok_or(CommandError::fixed("ERR value is out of range, must be positive"))?;
            let count = usize::try_from(count);
            Some(count.map_err(|_| CommandError::fixed("ERR value is out of range, must be positive"))?)
        }
    };
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut set = txn.edit(key, ObjectType::Set)?;
    let mut popped = Vec::new();
    if let Some(view) = set.base() {
        let places = Random::new().distinct(count.unwrap_or(1), view.len());
        popped.extend(places.into_iter().map(|place| view.member_at(place).name()));
    }
    let (before, popped_len) = (set.len(), popped.len());
    if popped_len == before {
        set.clear();
    } else {
        if count.is_some() && (before - popped_len) * MADE_ANEW <= popped_len {
            set.forget();
        }
        for member in &popped {
            set.remove(member);
        }
    }
    if popped.is_empty() {
        match count {
            Some(_) => ctx.reply.set_header(0),
            None => ctx.reply.null(),
        }
        return Ok(());
    }
    let is_gone = set.is_empty();
    set.finish()?;
    txn.commit()?;
    if count.is_some() {
        ctx.reply.set_header(popped.len());
    }
    // Without a count there is one.
    popped.iter().for_each(|member| ctx.reply.bulk(member));
    ctx.notify_removal(is_gone, Events::SET, "spop", key);
    Ok(())
}
