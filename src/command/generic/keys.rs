//! DEL, UNLINK, EXISTS, TOUCH, TYPE, RENAME, RENAMENX, COPY, MOVE, RANDOMKEY.

use crate::command::lookups::Lookups;
use crate::command::parse::{db_arg, is_word};
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;
use crate::store::{Db, Entry, Key};

const SAME_OBJECTS: CommandError = CommandError::fixed("ERR source and destination objects are the same");

pub(super) fn del(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let only = ctx.key(args.at(1));
    let many;
    let keys = if args.len() == 2 {
        std::slice::from_ref(&only)
    } else {
        many = distinct_keys(ctx.session.db, args.from(1));
        &many
    };
    let mut txn = ctx.store.write(ctx.worker, keys, ctx.now_ms, ctx.guard);
    let mut removed = 0;
    let mut gone = Vec::new();
    let tells = ctx.shared.settings.events().contains(Events::GENERIC);
    for &key in keys {
        let there = txn.delete(key)?;
        removed += i64::from(there);
        if there && tells {
            gone.push(key.name);
        }
    }
    txn.commit()?;
    gone.into_iter().for_each(|name| ctx.notify(Events::GENERIC, "del", name));
    ctx.reply.integer(removed);
    Ok(())
}

/// The keys named, each once.
fn distinct_keys<'a>(db: Db, names: Args<'a>) -> Vec<Key<'a>> {
    let mut keys: Vec<_> = names.iter().map(|name| Key { db, name }).collect();
    keys.sort_unstable_by_key(|key| key.name);
    keys.dedup_by_key(|key| key.name);
    keys
}

pub(super) fn exists(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() == 2 {
        let found = ctx.lookup_unused(args.at(1)).is_some();
        ctx.reply.integer(i64::from(found));
        return Ok(());
    }
    count(ctx, args, |ctx, keys| ctx.store.peek_many(keys, ctx.now_ms, ctx.guard))
}

/// Counts as a use whatever CLIENT NO-TOUCH says: that is what it is for.
pub(super) fn touch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    count(ctx, args, |ctx, keys| ctx.store.read_many(keys, ctx.now_ms, ctx.guard))
}

/// Answers with how many of the keys are there. All of one moment: half of another client's MSET is never counted.
fn count<'a>(
    ctx: &mut Ctx<'a>,
    args: Args<'_>,
    look: impl FnOnce(&Ctx<'a>, &[Key<'_>]) -> Vec<Option<Entry<'a>>>,
) -> Result<(), CommandError> {
    let keys: Vec<_> = args.from(1).iter().map(|name| ctx.key(name)).collect();
    let entries = look(ctx, &keys);
    ctx.count_looks(&keys, &entries);
    let found = entries.iter().flatten().count();
    ctx.reply.integer(found as i64);
    Ok(())
}

pub(super) fn type_of(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let name = ctx.lookup_unused(args.at(1)).map_or("none", |entry| entry.type_name());
    ctx.reply.simple(name);
    Ok(())
}

pub(super) fn rename(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    rename_unless(ctx, args, false)?;
    ctx.reply.ok();
    Ok(())
}

pub(super) fn renamenx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let renamed = rename_unless(ctx, args, true)?;
    ctx.reply.integer(i64::from(renamed));
    Ok(())
}

/// Renames, unless `only_if_free` and the new name is taken; says whether it did.
fn rename_unless(ctx: &mut Ctx<'_>, args: Args<'_>, only_if_free: bool) -> Result<bool, CommandError> {
    let (from, to) = (ctx.key(args.at(1)), ctx.key(args.at(2)));
    let mut txn = ctx.store.write(ctx.worker, &[from, to], ctx.now_ms, ctx.guard);
    if txn.get(from).is_none() {
        return Err(CommandError::NO_SUCH_KEY);
    }
    if only_if_free && txn.get(to).is_some() {
        return Ok(false);
    }
    if from.name != to.name {
        txn.rename(from, to)?;
    }
    txn.commit()?;
    ctx.store.carry_access(from, to, ctx.now_ms, ctx.guard);
    if from.name != to.name {
        ctx.notify_moved(["rename_from", "rename_to"], from, to);
    }
    Ok(true)
}

pub(super) fn copy(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut db, mut replace) = (ctx.session.db, false);
    let mut i = 3;
    while let Some(word) = args.get(i) {
        match args.get(i + 1) {
            _ if is_word(word, "REPLACE") => replace = true,
            Some(number) if is_word(word, "DB") => {
                db = db_arg(number, ctx.store.databases())?;
                i += 1;
            }
            _ => return Err(CommandError::SYNTAX),
        }
        i += 1;
    }
    let (from, to) = (ctx.key(args.at(1)), Key { db, name: args.at(2) });
    if from.db == to.db && from.name == to.name {
        return Err(SAME_OBJECTS);
    }
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let mut txn = ctx.store.write(ctx.worker, &[from, to], ctx.now_ms, ctx.guard);
    let copied = match lookups.get(&txn, from) {
        Some(entry) if replace || txn.get(to).is_none() => {
            txn.copy(from, to, entry.expire_at())?;
            txn.commit()?;
            ctx.notify_write(true, Events::GENERIC, "copy_to", to);
            true
        }
        _ => false,
    };
    ctx.reply.integer(i64::from(copied));
    Ok(())
}

pub(super) fn move_to(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let db = db_arg(args.at(2), ctx.store.databases())?;
    let from = ctx.key(args.at(1));
    if db == from.db {
        return Err(SAME_OBJECTS);
    }
    let to = Key { db, name: from.name };
    let mut txn = ctx.store.write(ctx.worker, &[from, to], ctx.now_ms, ctx.guard);
    let moved = txn.get(from).is_some() && txn.get(to).is_none();
    if moved {
        txn.rename(from, to)?;
        txn.commit()?;
        ctx.store.carry_access(from, to, ctx.now_ms, ctx.guard);
        ctx.notify_moved(["move_from", "move_to"], from, to);
    }
    ctx.reply.integer(i64::from(moved));
    Ok(())
}

pub(super) fn random(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    match ctx.store.random(ctx.session.db, ctx.now_ms, ctx.guard) {
        Some(entry) => ctx.reply.bulk(entry.key()),
        None => ctx.reply.null(),
    }
    Ok(())
}
