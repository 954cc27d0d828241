//! DEBUG: what test suites of clients and servers turn.

mod digest;
mod samples;

use super::ADMIN;
use crate::command::generic::encoding_of;
use crate::command::parse::{integer, integer_arg, is_word};
use crate::command::{After, Arity, CommandError, CommandSpec, Ctx, Group, glob, help, rdb};
use crate::protocol::Args;
use crate::store::Key;
use std::time::Duration;

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[CommandSpec {
    summary: "Helps to test servers and clients.",
    complexity: "That of the subcommand",
    flags: ADMIN,
    ..CommandSpec::new("debug", "1.0.0", Group::Server, Arity::AtLeast(2), debug)
}];

struct Subcommand {
    name: &'static str,
    /// Least and most arguments, DEBUG and the subcommand counted.
    args: std::ops::RangeInclusive<usize>,
    run: fn(&mut Ctx<'_>, Args<'_>) -> Result<(), CommandError>,
}

const fn sub(
    name: &'static str,
    args: std::ops::RangeInclusive<usize>,
    run: fn(&mut Ctx<'_>, Args<'_>) -> Result<(), CommandError>,
) -> Subcommand {
    Subcommand { name, args, run }
}

const SUBCOMMANDS: &[Subcommand] = &[
    sub("CHANGE-REPL-ID", 2..=2, nothing_to_change),
    sub("DIGEST", 2..=2, digest::of_all),
    sub("DIGEST-VALUE", 2..=usize::MAX, digest::of_keys),
    sub("ERROR", 3..=3, error),
    sub("HELP", 2..=2, help_text),
    sub("JMAP", 2..=2, nothing_to_change),
    sub("LOADAOF", 2..=2, reload),
    sub("LOG", 3..=3, log),
    sub("OBJECT", 3..=4, object),
    sub("PAUSE-CRON", 3..=3, nothing_to_change),
    sub("POPULATE", 3..=5, populate),
    sub("PROTOCOL", 3..=3, samples::write),
    sub("QUICKLIST-PACKED-THRESHOLD", 3..=3, nothing_to_change),
    sub("RELOAD", 2..=usize::MAX, reload),
    sub("REPLYBUFFER", 4..=4, nothing_to_change),
    sub("SET-ACTIVE-EXPIRE", 3..=3, set_active_expire),
    sub("SET-DISABLE-DENY-SCRIPTS", 3..=3, nothing_to_change),
    sub("SLEEP", 3..=3, sleep),
    sub("STRINGMATCH-LEN", 4..=4, stringmatch_len),
];

fn debug(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let name = args.at(1);
    match SUBCOMMANDS.iter().find(|sub| is_word(name, sub.name) && sub.args.contains(&args.len())) {
        Some(sub) => (sub.run)(ctx, args),
        None => Err(CommandError::subcommand_syntax(args)),
    }
}

/// Accepts what tunes a thing that does not exist here.
fn nothing_to_change(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.ok();
    Ok(())
}

/// Answers with any error that a client's tests want.
fn error(_ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::new(String::from_utf8_lossy(args.at(2))))
}

fn log(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    tracing::info!(message = %String::from_utf8_lossy(args.at(2)), "DEBUG LOG");
    ctx.reply.ok();
    Ok(())
}

/// RELOAD and LOADAOF: reopens the pool through recovery. RELOAD's options choose between files that do not exist here.
fn reload(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let is_option = |word: &[u8]| ["MERGE", "NOFLUSH", "NOSAVE"].iter().any(|option| is_word(word, option));
    if !args.from(2).iter().all(is_option) {
        return Err(CommandError::fixed("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."));
    }
    ctx.store.reload()?;
    ctx.reply.ok();
    Ok(())
}

/// Whether a request with enough arguments reopens the pool: nobody may in the midst of a transaction, which holds all of it.
pub(in crate::command) fn reopens_pool(spec: &CommandSpec, args: Args<'_>) -> bool {
    spec.name == "debug" && ["LOADAOF", "RELOAD"].iter().any(|word| is_word(args.at(1), word))
}

fn object(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let entry = ctx.store.peek(ctx.key(args.at(2)), ctx.now_ms, ctx.guard).ok_or(CommandError::NO_SUCH_KEY)?;
    let encoding = encoding_of(ctx, &entry)?;
    let serialized = match entry.is_collection() {
        true => entry.pool_bytes() as usize,
        false => rdb::string_len(&entry.string()?.bytes()),
    };
    let idle_s = ctx.store.idle_seconds(&entry, ctx.now_ms, ctx.guard);
    // The clock is 24 bits wide, and shows 0 where none is kept.
    let used_at_s = idle_s.map_or(0, |idle_s| (ctx.now_ms / 1000).wrapping_sub(idle_s) & 0xff_ffff);
    let text = format!(
        "Value at:{:#x} refcount:1 encoding:{encoding} serializedlength:{serialized} lru:{used_at_s} lru_seconds_idle:{}",
        entry.key().as_ptr().addr(),
        idle_s.unwrap_or(0)
    );
    ctx.reply.simple(&text);
    Ok(())
}

/// Longest text that STRINGMATCH-LEN makes.
const MAX_MATCH_BYTES: i64 = 1024 * 1024;

/// Matches a text of so many `a` against a pattern: for testing what bad patterns cost.
fn stringmatch_len(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let len = integer_arg(args.at(2))?;
    if !(0..=MAX_MATCH_BYTES).contains(&len) {
        return Err(CommandError::NOT_INTEGER);
    }
    let matched = glob::matches(args.at(3), &b"a".repeat(len as usize));
    ctx.reply.integer(i64::from(matched));
    Ok(())
}

fn set_active_expire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.store.set_active_expire(integer(args.at(2)).is_some_and(|value| value != 0));
    ctx.reply.ok();
    Ok(())
}

/// The connection sleeps; others are served on, as no thread is held up.
fn sleep(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let seconds = std::str::from_utf8(args.at(2)).ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    if let Ok(pause) = Duration::try_from_secs_f64(seconds)
        && !pause.is_zero()
    {
        ctx.after = After::Pause(pause);
    }
    ctx.reply.ok();
    Ok(())
}

/// Most bytes of one value that POPULATE makes.
const MAX_POPULATE_BYTES: i64 = 512 * 1024 * 1024;

/// Creates `count` keys `prefix:0`, `prefix:1`, ... that are not there yet, with values `value:N`, cut or filled up with zeros to a size.
fn populate(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = integer_arg(args.at(2))?;
    if count < 0 {
        return Err(CommandError::fixed("ERR value is out of range, must be positive"));
    }
    let prefix = args.get(3).unwrap_or(b"key");
    let size = args.get(4).map(integer_arg).transpose()?;
    if size.is_some_and(|size| !(0..=MAX_POPULATE_BYTES).contains(&size)) {
        return Err(CommandError::fixed("ERR value is out of range, must be positive"));
    }
    for i in 0..count {
        let name = [prefix, b":", i.to_string().as_bytes()].concat();
        let mut value = format!("value:{i}").into_bytes();
        if let Some(size) = size {
            value.resize(size as usize, 0);
        }
        let key = Key { db: ctx.session.db, name: &name };
        let prepared = ctx.store.prepare(ctx.worker, &value, ctx.guard)?;
        let mut txn = ctx.store.write(ctx.worker, std::slice::from_ref(&key), ctx.now_ms, ctx.guard);
        if txn.get(key).is_none() {
            txn.set(key, prepared, None)?;
            txn.commit()?;
        }
    }
    ctx.reply.ok();
    Ok(())
}

fn help_text(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(
        ctx,
        args,
        &[
            "CHANGE-REPL-ID",
            "    Accepted; there is no replication.",
            "DIGEST",
            "    A digest of all keys, values and expiries, in this server's own way.",
            "DIGEST-VALUE <key> [<key> ...]",
            "    Digests of values.",
            "ERROR <string>",
            "    Answers with that error.",
            "LOADAOF",
            "    Reopens the pool through recovery.",
            "LOG <message>",
            "    Writes a message to the log.",
            "OBJECT <key>",
            "    How a key's value is kept.",
            "POPULATE <count> [<prefix>] [<size>]",
            "    Creates keys <prefix>:<n> that are not there yet.",
            "PROTOCOL <type>",
            "    A reply of that type: string, integer, double, bignum, null, array, set, map,",
            "    attrib, push, verbatim, true, false.",
            "QUICKLIST-PACKED-THRESHOLD <size>, PAUSE-CRON <0|1>, REPLYBUFFER <what> <value>",
            "    Accepted without effect.",
            "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
            "    Reopens the pool through recovery.",
            "SET-ACTIVE-EXPIRE <0|1>",
            "    Whether expired keys are removed in the background.",
            "SLEEP <seconds>",
            "    Holds this connection up.",
            "STRINGMATCH-LEN <length> <pattern>",
            "    Whether so many 'a' match the pattern.",
        ],
    );
    Ok(())
}
