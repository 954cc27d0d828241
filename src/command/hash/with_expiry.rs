//! HGETEX, HSETEX and HGETDEL: fields are read or set, and with that something is done to their expiry, or they go.

use super::expire::{NOT_POSITIVE, fields, time};
use crate::command::parse::{integer, is_word};
use crate::command::{CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::{Args, ReplyWriter};
use crate::store::Edit;

/// What becomes of the expiry of fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expiry {
    /// Nothing was said: HSETEX removes it, HGETEX leaves it.
    Unsaid,
    /// KEEPTTL.
    Keep,
    /// PERSIST.
    Persist,
    /// EX, PX, EXAT or PXAT: this Unix time in milliseconds.
    At(u64),
}

/// The unit of a word for a time, in milliseconds, and what it counts from.
fn clocking(word: &[u8], now_ms: u64) -> Option<(u64, u64)> {
    let words = [("EX", (1000, now_ms)), ("PX", (1, now_ms)), ("EXAT", (1000, 0)), ("PXAT", (1, 0))];
    words.into_iter().find(|(name, _)| is_word(word, name)).map(|(_, clocking)| clocking)
}

fn reply_with(reply: &mut ReplyWriter<'_>, values: &[Option<Vec<u8>>]) {
    reply.array_header(values.len());
    for value in values {
        match value {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        }
    }
}

fn value(hash: &Edit<'_, '_>, name: &[u8]) -> Option<Vec<u8>> {
    hash.get(name).map(|field| field.value().to_vec())
}

/// `HGETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]`
pub fn hgetex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut hash = txn.edit(key, ObjectType::Hash)?;
    let (expiry, fields_at) = match args.at(2) {
        word if is_word(word, "PERSIST") => (Expiry::Persist, 3),
        word => match clocking(word, ctx.now_ms) {
            Some((unit_ms, base_ms)) => {
                let at_ms = time(args.at(3), unit_ms, base_ms, "hgetex")?;
                if args.len() < 6 {
                    return Err(CommandError::arity("hgetex"));
                }
                (Expiry::At(at_ms), 4)
            }
            None => (Expiry::Unsaid, 2),
        },
    };
    let names = fields(args, fields_at, NOT_POSITIVE)?;

    let now_ms = hash.now_ms();
    let (mut values, mut event) = (Vec::with_capacity(names.len()), None);
    for name in names.iter() {
        let found = value(&hash, name);
        let had_expiry = hash.get(name).is_some_and(|field| field.expire_at().is_some());
        match expiry {
            Expiry::At(at_ms) if found.is_some() && at_ms <= now_ms => {
                hash.remove(name);
                event = Some("hdel");
            }
            Expiry::At(at_ms) if found.is_some() => {
                hash.set_expiry(name, Some(at_ms))?;
                event = Some("hexpire");
            }
            Expiry::Persist if had_expiry => {
                hash.set_expiry(name, None)?;
                event = Some("hpersist");
            }
            _ => {}
        }
        values.push(found);
    }
    if let Some(event) = event {
        let is_gone = hash.is_empty();
        hash.finish()?;
        txn.commit()?;
        ctx.notify_removal(is_gone, Events::HASH, event, key);
    }
    reply_with(&mut ctx.reply, &values);
    Ok(())
}

/// `HGETDEL key FIELDS numfields field [field ...]`
pub fn hgetdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut hash = txn.edit(key, ObjectType::Hash)?;
    let names = fields(args, 2, NOT_POSITIVE)?;
    let mut values = Vec::with_capacity(names.len());
    for name in names.iter() {
        values.push(value(&hash, name));
        hash.remove(name);
    }
    if values.iter().any(Option::is_some) {
        let is_gone = hash.is_empty();
        hash.finish()?;
        txn.commit()?;
        ctx.notify_removal(is_gone, Events::HASH, "hdel", key);
    }
    reply_with(&mut ctx.reply, &values);
    Ok(())
}

/// The arguments of HSETEX.
struct Setting<'r> {
    /// Whether all fields must be there (FXX), or none (FNX).
    there: Option<bool>,
    expiry: Expiry,
    /// Fields and values.
    pairs: Args<'r>,
}

impl<'r> Setting<'r> {
    fn parse(args: Args<'r>, now_ms: u64) -> Result<Self, CommandError> {
        let mut setting = Self { there: None, expiry: Expiry::Unsaid, pairs: args };
        let mut at = 2;
        // Ends: `at` grows each turn.
        while let Some(word) = args.get(at) {
            if is_word(word, "FIELDS") {
                setting.pairs = Self::pairs(args, at)?;
                return Ok(setting);
            }
            let there = [("FXX", true), ("FNX", false)].into_iter().find(|(name, _)| is_word(word, name));
            let clocking = clocking(word, now_ms);
            if let Some((_, there)) = there {
                if setting.there.replace(there).is_some() {
                    return Err(CommandError::fixed("ERR Only one of FXX or FNX arguments can be specified"));
                }
            } else if clocking.is_some() || is_word(word, "KEEPTTL") {
                if setting.expiry != Expiry::Unsaid {
                    let text = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";
                    return Err(CommandError::fixed(text));
                }
                setting.expiry = Expiry::Keep;
                if let Some((unit_ms, base_ms)) = clocking {
                    at += 1;
                    let text = args.get(at).ok_or(CommandError::fixed("ERR missing expire time"))?;
                    setting.expiry = Expiry::At(time(text, unit_ms, base_ms, "hsetex")?);
                }
            } else {
                let word = String::from_utf8_lossy(word);
                return Err(CommandError::new(format!("ERR unknown argument: {word}")));
            }
            at += 1;
        }
        Err(CommandError::arity("hsetex"))
    }

    /// What comes behind the word FIELDS, which is at `at`.
    fn pairs(args: Args<'r>, at: usize) -> Result<Args<'r>, CommandError> {
        if args.len() <= at + 3 {
            return Err(CommandError::arity("hsetex"));
        }
        let count = integer(args.at(at + 1)).and_then(|count| i32::try_from(count).ok()).filter(|&count| count > 0);
        let count = count.ok_or(CommandError::fixed("ERR invalid number of fields"))? as usize;
        let pairs = args.from(at + 2);
        if pairs.len() == 2 * count { Ok(pairs) } else { Err(CommandError::arity("hsetex")) }
    }
}

/// `HSETEX key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value
/// [field value ...]`
pub fn hsetex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Setting { there, expiry, pairs } = Setting::parse(args, ctx.now_ms)?;
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut hash = txn.edit(key, ObjectType::Hash)?;
    let mut names = (0..pairs.len()).step_by(2).map(|at| pairs.at(at));
    if there.is_some_and(|there| names.any(|name| hash.get(name).is_some() != there)) {
        ctx.reply.integer(0);
        return Ok(());
    }
    let is_new = hash.base().is_none();
    let is_past = matches!(expiry, Expiry::At(at_ms) if at_ms <= hash.now_ms());
    for at in (0..pairs.len()).step_by(2) {
        let (name, value) = (pairs.at(at), pairs.at(at + 1));
        let expire_at = match expiry {
            Expiry::At(_) if is_past => {
                hash.remove(name);
                continue;
            }
            Expiry::At(at_ms) => Some(at_ms),
            Expiry::Keep => hash.get(name).and_then(|field| field.expire_at()),
            Expiry::Unsaid | Expiry::Persist => None,
        };
        hash.put_until(name, value, expire_at)?;
    }
    let is_gone = hash.is_empty();
    hash.finish()?;
    txn.commit()?;
    ctx.notify_write(is_new, Events::HASH, "hset", key);
    match expiry {
        Expiry::At(_) if is_past => ctx.notify_removal(is_gone, Events::HASH, "hdel", key),
        Expiry::At(_) => ctx.notify(Events::HASH, "hexpire", key.name),
        _ => {}
    }
    ctx.reply.integer(1);
    Ok(())
}
