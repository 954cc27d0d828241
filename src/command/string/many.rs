//! MGET, MSET and MSETNX: several keys at one moment.

use super::value;
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;
use crate::store::{Entry, Key, NewValue, StoreError, StrValue};

/// `MGET key [key ...]`: null for what is absent or no string.
pub fn mget(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let names = args.from(1);
    ctx.reply.array_header(names.len());
    if names.len() == 1 {
        let entry = ctx.lookup(names.at(0));
        value::reply_or_null(&mut ctx.reply, string_or_none(entry)?);
        return Ok(());
    }
    // One allocation here and one in the store: the number of keys is the client's choice.
    let keys: Vec<Key<'_>> = names.iter().map(|name| ctx.key(name)).collect();
    for entry in ctx.read_many(&keys) {
        value::reply_or_null(&mut ctx.reply, string_or_none(entry)?);
    }
    Ok(())
}

/// What MGET shows of a key: nothing if it holds no string. A damaged one fails the command.
fn string_or_none(entry: Option<Entry<'_>>) -> Result<Option<StrValue<'_>>, StoreError> {
    match entry.map(|entry| entry.string()).transpose() {
        Err(StoreError::WrongType) => Ok(None),
        found => found,
    }
}

/// `MSET key value [key value ...]`
pub fn mset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let keys = keys_of(ctx, args, "mset")?;
    let values = prepare_all(ctx, args)?;
    let mut txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
    let mut new = Vec::new();
    for (key, value) in keys.iter().zip(values) {
        if ctx.shared.settings.events().contains(Events::NEW) && txn.peek(*key).is_none() {
            new.push(key.name);
        }
        txn.set(*key, value, None)?;
    }
    txn.commit()?;
    for key in keys {
        // One that is named twice is new once.
        let place = new.iter().position(|name| *name == key.name);
        ctx.notify_write(place.is_some(), Events::STRING, "set", key);
        new.retain(|name| *name != key.name);
    }
    ctx.reply.ok();
    Ok(())
}

/// `MSETNX key value [key value ...]`
pub fn msetnx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let keys = keys_of(ctx, args, "msetnx")?;
    // A first look without the locks, so that long values are not written to the pool only to be dropped.
    if let Some(entry) = keys.iter().find_map(|key| ctx.store.peek(*key, ctx.now_ms, ctx.guard)) {
        ctx.used(&entry);
        ctx.reply.integer(0);
        return Ok(());
    }
    let values = prepare_all(ctx, args)?;
    let mut txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
    if keys.iter().any(|key| txn.get(*key).is_some()) {
        ctx.reply.integer(0);
        return Ok(());
    }
    for (key, value) in keys.iter().zip(values) {
        txn.set(*key, value, None)?;
    }
    txn.commit()?;
    keys.into_iter().for_each(|key| ctx.notify_write(true, Events::STRING, "set", key));
    ctx.reply.integer(1);
    Ok(())
}

fn keys_of<'a>(ctx: &Ctx<'_>, args: Args<'a>, command: &str) -> Result<Vec<Key<'a>>, CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::new(format!("ERR wrong number of arguments for '{command}' command")));
    }
    Ok(args.from(1).iter().step_by(2).map(|name| ctx.key(name)).collect())
}

fn prepare_all<'a, 'g: 'a>(ctx: &mut Ctx<'g>, args: Args<'a>) -> Result<Vec<NewValue<'a>>, CommandError> {
    let mut values = Vec::with_capacity(args.len() / 2);
    for bytes in args.from(2).iter().step_by(2) {
        values.push(ctx.store.prepare(ctx.worker, bytes, ctx.guard)?);
    }
    Ok(values)
}
