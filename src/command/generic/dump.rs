//! DUMP and RESTORE.

use crate::command::parse::{integer_arg, is_word};
use crate::command::rdb::{self, PayloadError, Value};
use crate::command::{CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::{End, Entry, Key, StoreError, Txn};

const BUSY_KEY: CommandError = CommandError::fixed("BUSYKEY Target key name already exists.");
const BAD_IDLE_TIME: CommandError = CommandError::fixed("ERR Invalid IDLETIME value, must be >= 0");
const BAD_FREQUENCY: CommandError = CommandError::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255");
const BAD_TTL: CommandError = CommandError::fixed("ERR Invalid TTL value, must be >= 0");

pub(super) fn dump(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let name = args.at(1);
    // Ends: it goes round again only when the key has become a string since it was a collection.
    loop {
        match ctx.lookup(name) {
            Some(entry) if entry.is_collection() => {
                match ctx.store.collection(ctx.key(name), None, 0, ctx.now_ms, ctx.guard) {
                    Ok(Some(view)) => ctx.reply.bulk(&rdb::dump_collection(&view)),
                    Ok(None) => ctx.reply.null(),
                    Err(StoreError::WrongType) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            Some(entry) => ctx.reply.bulk(&rdb::dump_string(&entry.string()?.bytes())),
            None => ctx.reply.null(),
        }
        return Ok(());
    }
}

/// The options after the payload.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute_ttl: bool,
    idle_seconds: Option<u64>,
    use_counter: Option<u8>,
}

impl Options {
    fn parse(options: Args<'_>) -> Result<Self, CommandError> {
        let mut parsed = Self::default();
        let mut i = 0;
        while let Some(word) = options.get(i) {
            match options.get(i + 1) {
                _ if is_word(word, "REPLACE") => parsed.replace = true,
                _ if is_word(word, "ABSTTL") => parsed.absolute_ttl = true,
                Some(value) if is_word(word, "IDLETIME") && parsed.use_counter.is_none() => {
                    let seconds = u64::try_from(integer_arg(value)?).map_err(|_| BAD_IDLE_TIME)?;
                    parsed.idle_seconds = Some(seconds);
                    i += 1;
                }
                Some(value) if is_word(word, "FREQ") && parsed.idle_seconds.is_none() => {
                    let counter = u8::try_from(integer_arg(value)?).map_err(|_| BAD_FREQUENCY)?;
                    parsed.use_counter = Some(counter);
                    i += 1;
                }
                _ => return Err(CommandError::SYNTAX),
            }
            i += 1;
        }
        Ok(parsed)
    }
}

impl Options {
    fn tells_use(&self) -> bool {
        self.idle_seconds.is_some() || self.use_counter.is_some()
    }

    /// Has the key count as used when, or as often as, they say. Each has an effect under the policies that go by it.
    fn set_use(&self, ctx: &Ctx<'_>, entry: &Entry<'_>) {
        if let Some(seconds) = self.idle_seconds {
            ctx.store.set_idle_seconds(entry, seconds, ctx.now_ms, ctx.guard);
        }
        if let Some(counter) = self.use_counter {
            ctx.store.set_use_counter(entry, counter, ctx.now_ms, ctx.guard);
        }
    }
}

pub(super) fn restore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args.from(4))?;
    let key = ctx.key(args.at(1));
    if !options.replace && ctx.read(key).is_some() {
        return Err(BUSY_KEY);
    }
    let expire_at = expiry(args.at(2), options.absolute_ttl, ctx.now_ms)?;
    let value = rdb::restore(args.at(3)).map_err(|error| match error {
        PayloadError::Footer => CommandError::fixed("ERR DUMP payload version or checksum are wrong"),
        PayloadError::Format => CommandError::fixed("ERR Bad data format"),
    })?;

    let is_past = expire_at.is_some_and(|at| at <= ctx.now_ms);
    let prepared = match &value {
        Value::String(string) if !is_past => Some(ctx.store.prepare(ctx.worker, string, ctx.guard)?),
        _ => None,
    };
    let mut txn = ctx.store.write(ctx.worker, std::slice::from_ref(&key), ctx.now_ms, ctx.guard);
    if !options.replace && txn.get(key).is_some() {
        return Err(BUSY_KEY);
    }
    let replaced = txn.peek(key).is_some();
    match prepared {
        Some(value) => txn.set(key, value, expire_at)?,
        // Restored and expired at once.
        None if is_past => {
            txn.delete(key)?;
        }
        None => stage(&mut txn, key, &value, expire_at)?,
    }
    txn.commit()?;
    match is_past {
        false => ctx.notify_write(true, Events::GENERIC, "restore", key),
        true if replaced => ctx.notify(Events::GENERIC, "del", key.name),
        true => {}
    }
    if let (Some(entry), true) = (ctx.store.peek(key, ctx.now_ms, ctx.guard), options.tells_use()) {
        options.set_use(ctx, &entry);
    }
    ctx.reply.ok();
    Ok(())
}

/// Stages a collection in the place of whatever is at `key`.
fn stage(txn: &mut Txn<'_>, key: Key<'_>, value: &Value<'_>, expire_at: Option<u64>) -> Result<(), StoreError> {
    match value {
        Value::String(_) => Ok(()),
        Value::List(elements) => {
            let mut list = txn.list_new(key, expire_at);
            elements.iter().try_for_each(|element| list.push(End::Right, element))?;
            list.finish()
        }
        Value::Set(members) => {
            let mut set = txn.edit_new(key, ObjectType::Set, expire_at);
            members.iter().try_for_each(|member| set.add(member, &[]))?;
            set.finish()
        }
        Value::Hash(fields) => {
            let mut hash = txn.edit_new(key, ObjectType::Hash, expire_at);
            let now_ms = hash.now_ms();
            // Those whose time has come are not restored; without any other the key is gone.
            let live = fields.iter().filter(|(_, _, at_ms)| at_ms.is_none_or(|at_ms| at_ms > now_ms));
            live.into_iter().try_for_each(|(field, value, at_ms)| hash.add_until(field, value, *at_ms))?;
            hash.finish()
        }
        Value::SortedSet(members) => {
            let mut sorted = txn.edit_new(key, ObjectType::SortedSet, expire_at);
            members.iter().try_for_each(|(member, score)| sorted.add(member, &score.to_le_bytes()))?;
            sorted.finish()
        }
    }
}

/// The time that the key expires at; 0 stands for never.
fn expiry(ttl: &[u8], is_absolute: bool, now_ms: u64) -> Result<Option<u64>, CommandError> {
    let ttl_ms = u64::try_from(integer_arg(ttl)?).map_err(|_| BAD_TTL)?;
    let base_ms = if is_absolute { 0 } else { now_ms };
    let at_ms = ttl_ms.checked_add(base_ms).filter(|&at_ms| i64::try_from(at_ms).is_ok()).ok_or(BAD_TTL)?;
    Ok((ttl_ms > 0).then_some(at_ms))
}
