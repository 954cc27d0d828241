//! OBJECT: how a key's value is kept, in the terms that Redis has for it.

use super::read;
use crate::command::parse::integer;
use crate::command::{Arity, CommandError, CommandSpec, Ctx, Group, KeySpec, hash, help, list, set, sorted_set};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::{Entry, StoreError};

/// Longest string that Redis keeps in one allocation with its header and calls `embstr`.
const EMBSTR_MAX_BYTES: usize = 44;

/// Integers below this are shared objects in Redis, whose count of references is the greatest 32-bit number.
const SHARED_INTEGERS: i64 = 10_000;

const NOT_LFU: CommandError = CommandError::fixed(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between \
     policies at runtime LRU and LFU data will take some time to adjust.",
);
const LFU: CommandError = CommandError::fixed(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at \
     runtime LRU and LFU data will take some time to adjust.",
);

pub(super) const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Names the encoding that Redis would keep the value in.",
        ..read("encoding", "2.2.3", Arity::Exact(3), KeySpec::one(2), encoding)
    },
    CommandSpec {
        summary: "Gives the logarithmic counter of a key's uses, while an LFU policy is in force.",
        ..read("freq", "4.0.0", Arity::Exact(3), KeySpec::one(2), freq)
    },
    CommandSpec {
        summary: "Gives the seconds since a key was last used; 0 unless an LRU policy is in force.",
        ..read("idletime", "2.2.3", Arity::Exact(3), KeySpec::one(2), idletime)
    },
    CommandSpec {
        summary: "How many references there are to the value.",
        ..read("refcount", "2.2.3", Arity::Exact(3), KeySpec::one(2), refcount)
    },
    CommandSpec::help("6.2.0", Group::Generic, help_text),
];

/// The key, without counting a hit or a miss; a missing one is answered with null.
fn look<'a>(ctx: &mut Ctx<'a>, args: Args<'_>) -> Option<Entry<'a>> {
    let entry = ctx.store.peek(ctx.key(args.at(2)), ctx.now_ms, ctx.guard);
    if entry.is_none() {
        ctx.reply.null();
    }
    entry
}

fn encoding(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if let Some(entry) = look(ctx, args) {
        let encoding = encoding_of(ctx, &entry)?;
        ctx.reply.bulk(encoding.as_bytes());
    }
    Ok(())
}

/// The encoding's name as Redis gives it.
///
/// # Errors
/// [`StoreError::DamagedRecord`].
pub(in crate::command) fn encoding_of(ctx: &Ctx<'_>, entry: &Entry<'_>) -> Result<&'static str, StoreError> {
    if entry.is_collection() {
        let (view, settings) = (ctx.store.view(*entry, ctx.now_ms)?, &ctx.shared.settings);
        return Ok(match entry.kind() {
            ObjectType::List => list::encoding(&view, settings),
            ObjectType::Set => set::encoding(&view, settings),
            ObjectType::SortedSet => sorted_set::encoding(&view, settings),
            _ => hash::encoding(&view, settings),
        });
    }
    let value = entry.string()?;
    Ok(if entry.is_raw() || value.len() > EMBSTR_MAX_BYTES {
        "raw"
    } else if integer(&value.bytes()).is_some() {
        "int"
    } else {
        "embstr"
    })
}

fn freq(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(entry) = look(ctx, args) else { return Ok(()) };
    let counter = ctx.store.use_counter(&entry, ctx.now_ms, ctx.guard);
    ctx.reply.integer(i64::from(counter.ok_or(NOT_LFU)?));
    Ok(())
}

fn idletime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(entry) = look(ctx, args) else { return Ok(()) };
    if ctx.shared.settings.maxmemory_policy().is_lfu() {
        return Err(LFU);
    }
    let seconds = ctx.store.idle_seconds(&entry, ctx.now_ms, ctx.guard).unwrap_or(0);
    ctx.reply.integer(seconds as i64);
    Ok(())
}

fn refcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(entry) = look(ctx, args) else { return Ok(()) };
    let shared = encoding_of(ctx, &entry)? == "int"
        && integer(&entry.string()?.bytes()).is_some_and(|value| (0..SHARED_INTEGERS).contains(&value));
    ctx.reply.integer(if shared { i64::from(i32::MAX) } else { 1 });
    Ok(())
}

fn help_text(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(
        ctx,
        args,
        &[
            "ENCODING <key>",
            "    The encoding Redis would keep the value in: int, embstr or raw for strings.",
            "FREQ <key>",
            "    How often the key is used, on a logarithmic scale; while an LFU policy is in force.",
            "IDLETIME <key>",
            "    Seconds since the key was last used; 0 unless an LRU policy is in force.",
            "REFCOUNT <key>",
            "    References to the value.",
        ],
    );
    Ok(())
}
