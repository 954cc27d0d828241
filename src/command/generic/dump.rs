//! DUMP and RESTORE, for strings.

use crate::command::parse::{integer_arg, is_word};
use crate::command::rdb::{self, PayloadError};
use crate::command::{CommandError, Ctx};
use crate::protocol::Args;

const BUSY_KEY: CommandError = CommandError::fixed("BUSYKEY Target key name already exists.");
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
}

impl Options {
    /// IDLETIME and FREQ are checked and not kept: times and frequencies of use are not tracked.
    fn parse(options: Args<'_>) -> Result<Self, CommandError> {
        let mut parsed = Self::default();
        let (mut idle_time, mut frequency) = (None, None);
        let mut i = 0;
        while let Some(word) = options.get(i) {
            match options.get(i + 1) {
                _ if is_word(word, "REPLACE") => parsed.replace = true,
                _ if is_word(word, "ABSTTL") => parsed.absolute_ttl = true,
                Some(value) if is_word(word, "IDLETIME") && frequency.is_none() => {
                    idle_time = Some(integer_arg(value)?).filter(|&seconds| seconds >= 0);
                    if idle_time.is_none() {
                        return Err(CommandError::fixed("ERR Invalid IDLETIME value, must be >= 0"));
                    }
                    i += 1;
                }
                Some(value) if is_word(word, "FREQ") && idle_time.is_none() => {
                    frequency = Some(integer_arg(value)?).filter(|value| (0..=255).contains(value));
                    if frequency.is_none() {
                        return Err(CommandError::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                    }
                    i += 1;
                }
                _ => return Err(CommandError::SYNTAX),
            }
            i += 1;
        }
        Ok(parsed)
    }
}

pub(super) fn restore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args.from(4))?;
    let key = ctx.key(args.at(1));
    if !options.replace && ctx.store.read(key, ctx.now_ms, ctx.guard).is_some() {
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
    match prepared {
        Some(value) => txn.set(key, value, expire_at)?,
        // Restored and expired at once.
        None => {
            txn.delete(key)?;
        }
    }
    txn.commit()?;
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
