//! DUMP and RESTORE, for strings.

use crate::command::parse::{integer_arg, is_word};
use crate::command::rdb::{self, PayloadError};
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;
use crate::store::Entry;

const BUSY_KEY: CommandError = CommandError::fixed("BUSYKEY Target key name already exists.");
const BAD_IDLE_TIME: CommandError = CommandError::fixed("ERR Invalid IDLETIME value, must be >= 0");
const BAD_FREQUENCY: CommandError = CommandError::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255");
const BAD_TTL: CommandError = CommandError::fixed("ERR Invalid TTL value, must be >= 0");

pub(super) fn dump(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match ctx.lookup(args.at(1)) {
        Some(entry) => ctx.reply.bulk(&rdb::dump_string(&entry.string()?.bytes())),
        None => ctx.reply.null(),
    }
    Ok(())
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
    let value = rdb::restore_string(args.at(3)).map_err(|error| match error {
        PayloadError::Footer => CommandError::fixed("ERR DUMP payload version or checksum are wrong"),
        PayloadError::Format => CommandError::fixed("ERR Bad data format"),
    })?;

    let is_past = expire_at.is_some_and(|at| at <= ctx.now_ms);
    let prepared = if is_past { None } else { Some(ctx.store.prepare(ctx.worker, &value, ctx.guard)?) };
    let mut txn = ctx.store.write(ctx.worker, std::slice::from_ref(&key), ctx.now_ms, ctx.guard);
    if !options.replace && txn.get(key).is_some() {
        return Err(BUSY_KEY);
    }
    let replaced = txn.peek(key).is_some();
    match prepared {
        Some(value) => txn.set(key, value, expire_at)?,
        // Restored and expired at once.
        None => {
            txn.delete(key)?;
        }
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

/// The time that the key expires at; 0 stands for never.
fn expiry(ttl: &[u8], is_absolute: bool, now_ms: u64) -> Result<Option<u64>, CommandError> {
    let ttl_ms = u64::try_from(integer_arg(ttl)?).map_err(|_| BAD_TTL)?;
    let base_ms = if is_absolute { 0 } else { now_ms };
    let at_ms = ttl_ms.checked_add(base_ms).filter(|&at_ms| i64::try_from(at_ms).is_ok()).ok_or(BAD_TTL)?;
    Ok((ttl_ms > 0).then_some(at_ms))
}
