//! Commands that change a hash.

use crate::command::parse::{integer, integer_arg};
use crate::command::string::long_double::{self, LongDouble};
use crate::command::{Answer, CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::Edit;

/// `HSET key field value [field value ...]`
pub fn hset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let added = set_fields(ctx, args, "hset")?;
    ctx.reply.integer(added as i64);
    Ok(())
}

/// HSET in a run.
pub fn stage_hset(hash: &mut Edit<'_, '_>, args: Args<'_>) -> Result<Answer, CommandError> {
    check_pairs(args, "hset")?;
    stage_fields(hash, args).map(Answer::count)
}

/// `HMSET key field value [field value ...]`
pub fn hmset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_fields(ctx, args, "hmset")?;
    ctx.reply.ok();
    Ok(())
}

/// HMSET in a run.
pub fn stage_hmset(hash: &mut Edit<'_, '_>, args: Args<'_>) -> Result<Answer, CommandError> {
    check_pairs(args, "hmset")?;
    stage_fields(hash, args).map(|_| Answer::Ok)
}

/// How many fields are new.
fn set_fields(ctx: &mut Ctx<'_>, args: Args<'_>, command: &str) -> Result<usize, CommandError> {
    check_pairs(args, command)?;
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut hash = txn.edit(key, ObjectType::Hash)?;
    let added = stage_fields(&mut hash, args)?;
    let is_new = hash.base().is_none();
    hash.finish()?;
    txn.commit()?;
    ctx.notify_write(is_new, Events::HASH, "hset", key);
    Ok(added)
}

fn check_pairs(args: Args<'_>, command: &str) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) { Ok(()) } else { Err(CommandError::arity(command)) }
}

fn stage_fields(hash: &mut Edit<'_, '_>, args: Args<'_>) -> Result<usize, CommandError> {
    let mut added = 0;
    for at in (2..args.len()).step_by(2) {
        added += usize::from(hash.put(args.at(at), args.at(at + 1))?);
    }
    Ok(added)
}

/// `HSETNX key field value`
pub fn hsetnx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut hash = txn.edit(key, ObjectType::Hash)?;
    let sets = hash.get(args.at(2)).is_none();
    if sets {
        hash.add(args.at(2), args.at(3))?;
        let is_new = hash.base().is_none();
        hash.finish()?;
        txn.commit()?;
        ctx.notify_write(is_new, Events::HASH, "hset", key);
    }
    ctx.reply.integer(i64::from(sets));
    Ok(())
}

/// `HINCRBY key field increment`
pub fn hincrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = integer_arg(args.at(3))?;
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut hash = txn.edit(key, ObjectType::Hash)?;
    let field = hash.get(args.at(2));
    let expire_at = field.and_then(|field| field.expire_at());
    let old = match field {
        Some(field) => integer(field.value()).ok_or(CommandError::fixed("ERR hash value is not an integer"))?,
        None => 0,
    };
    let sum = old.checked_add(by).ok_or(CommandError::fixed("ERR increment or decrement would overflow"))?;
    hash.put_until(args.at(2), sum.to_string().as_bytes(), expire_at)?;
    let is_new = hash.base().is_none();
    hash.finish()?;
    txn.commit()?;
    ctx.notify_write(is_new, Events::HASH, "hincrby", key);
    ctx.reply.integer(sum);
    Ok(())
}

/// `HINCRBYFLOAT key field increment`
pub fn hincrbyfloat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = long_double::parse(args.at(3)).ok_or(CommandError::NOT_FLOAT)?;
    if by.is_infinite() {
        return Err(CommandError::fixed("ERR value is NaN or Infinity"));
    }
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut hash = txn.edit(key, ObjectType::Hash)?;
    let field = hash.get(args.at(2));
    let expire_at = field.and_then(|field| field.expire_at());
    let old = match field {
        Some(field) => long_double::parse(field.value()).ok_or(CommandError::fixed("ERR hash value is not a float"))?,
        None => LongDouble::ZERO,
    };
    let sum = old.add(by).ok_or(CommandError::fixed("ERR increment would produce NaN or Infinity"))?;
    let text = sum.to_text();
    hash.put_until(args.at(2), text.as_bytes(), expire_at)?;
    let is_new = hash.base().is_none();
    hash.finish()?;
    txn.commit()?;
    ctx.notify_write(is_new, Events::HASH, "hincrbyfloat", key);
    ctx.reply.bulk(text.as_bytes());
    Ok(())
}

/// `HDEL key field [field ...]`
pub fn hdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut hash = txn.edit(key, ObjectType::Hash)?;
    let removed = hash.remove_all(args.from(2).iter());
    if removed > 0 {
        let is_gone = hash.is_empty();
        hash.finish()?;
        txn.commit()?;
        ctx.notify_removal(is_gone, Events::HASH, "hdel", key);
    }
    ctx.reply.integer(removed as i64);
    Ok(())
}
