//! SLOWLOG: the commands that took long, newest first, in a ring of bounded length.
//!
//! Entering one takes a lock and copies the arguments, cut to what is shown; commands that are not slow never come here.

use super::ADMIN;
use crate::command::parse::{integer, is_word};
use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Found, Group, help};
use crate::protocol::Args;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::container("slowlog", "2.2.12", Group::Server, "Looks at the log of slow commands.", SUBCOMMANDS)];

const FLAGS: Flags = ADMIN.difference(Flags::NOSCRIPT);

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Shows the newest entries.",
        complexity: "O(N) for N entries",
        flags: FLAGS,
        ..CommandSpec::new("get", "2.2.12", Group::Server, Arity::AtLeast(2), get)
    },
    CommandSpec {
        summary: "Counts the entries.",
        flags: FLAGS,
        ..CommandSpec::new("len", "2.2.12", Group::Server, Arity::Exact(2), len)
    },
    CommandSpec {
        summary: "Forgets all entries.",
        complexity: "O(N) for N entries",
        flags: FLAGS,
        ..CommandSpec::new("reset", "2.2.12", Group::Server, Arity::Exact(2), reset)
    },
    CommandSpec::help("6.2.0", Group::Server, help_text),
];

/// Arguments of an entry, the last of them saying how many more there were.
const SHOWN_ARGS: usize = 32;

/// Bytes shown of an argument, before it is said how many more there were.
const SHOWN_BYTES: usize = 128;

/// Entries that SLOWLOG GET shows when it is not said.
const DEFAULT_COUNT: usize = 10;

/// One slow command.
#[derive(Debug, Clone)]
struct Entry {
    id: u64,
    at_s: u64,
    duration_us: u64,
    args: Vec<Vec<u8>>,
    peer: String,
    client_name: Vec<u8>,
}

/// The log of slow commands.
#[derive(Debug, Default)]
pub struct SlowLog {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Newest first.
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl SlowLog {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all entries. Numbers go on.
    pub fn reset(&self) {
        self.lock().entries.clear();
    }

    fn push(&self, mut entry: Entry, max_len: usize) {
        let mut inner = self.lock();
        entry.id = inner.next_id;
        inner.next_id += 1;
        inner.entries.push_front(entry);
        inner.entries.truncate(max_len);
    }

    fn newest(&self, count: usize) -> Vec<Entry> {
        self.lock().entries.iter().take(count).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enters a command that ran for `elapsed`, if that is long enough by the settings.
#[inline]
pub(in crate::command) fn note(ctx: &Ctx<'_>, found: &Found, args: Args<'_>, elapsed: Duration) {
    let threshold_us = ctx.shared.settings.slowlog_threshold_us();
    let duration_us = elapsed.as_micros() as u64;
    if threshold_us < 0 || duration_us < threshold_us as u64 || found.spec.flags.contains(Flags::SKIP_SLOWLOG) {
        return;
    }
    enter(ctx, found, args, duration_us);
}

#[cold]
fn enter(ctx: &Ctx<'_>, found: &Found, args: Args<'_>, duration_us: u64) {
    let client = &ctx.session.client;
    let entry = Entry {
        id: 0,
        at_s: ctx.now_ms / 1000,
        duration_us,
        args: shown_args(found, args),
        peer: client.peer().to_owned(),
        client_name: client.labels().name,
    };
    ctx.shared.slowlog.push(entry, ctx.shared.settings.slowlog_max_len());
}

fn shown_args(found: &Found, args: Args<'_>) -> Vec<Vec<u8>> {
    let full_name = found.full_name();
    let fits = if args.len() > SHOWN_ARGS { SHOWN_ARGS - 1 } else { args.len() };
    let mut shown: Vec<Vec<u8>> = (0..fits)
        .map(|i| if is_secret(&full_name, args, i) { b"(redacted)".to_vec() } else { shown_arg(args.at(i)) })
        .collect();
    if fits < args.len() {
        shown.push(format!("... ({} more arguments)", args.len() - fits).into_bytes());
    }
    shown
}

fn shown_arg(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= SHOWN_BYTES {
        return arg.to_vec();
    }
    let mut shown = arg[..SHOWN_BYTES].to_vec();
    shown.extend_from_slice(format!("... ({} more bytes)", arg.len() - SHOWN_BYTES).as_bytes());
    shown
}

/// Whether argument `i` may be a password.
pub(in crate::command) fn is_secret(full_name: &str, args: Args<'_>, i: usize) -> bool {
    match full_name {
        "auth" => i >= 1,
        // Behind AUTH there are two of them.
        "hello" => (2..i).rev().take(2).any(|at| is_word(args.at(at), "AUTH")),
        "config|set" => i >= 3 && i % 2 == 1 && args.at(i - 1).to_ascii_lowercase().ends_with(b"pass"),
        _ => false,
    }
}

fn get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    const BAD_COUNT: CommandError = CommandError::fixed("ERR count should be greater than or equal to -1");
    let count = match args.get(2) {
        None => DEFAULT_COUNT,
        Some(_) if args.len() > 3 => return Err(CommandError::subcommand_syntax(args)),
        Some(count) => match integer(count).ok_or(BAD_COUNT)? {
            -1 => usize::MAX,
            count => usize::try_from(count).map_err(|_| BAD_COUNT)?,
        },
    };
    let entries = ctx.shared.slowlog.newest(count);
    ctx.reply.array_header(entries.len());
    for entry in entries {
        ctx.reply.array_header(6);
        for number in [entry.id, entry.at_s, entry.duration_us] {
            ctx.reply.integer(number as i64);
        }
        ctx.reply.array_header(entry.args.len());
        for arg in &entry.args {
            ctx.reply.bulk(arg);
        }
        ctx.reply.bulk(entry.peer.as_bytes());
        ctx.reply.bulk(&entry.client_name);
    }
    Ok(())
}

fn len(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let entries = ctx.shared.slowlog.len();
    ctx.reply.integer(entries as i64);
    Ok(())
}

fn reset(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.shared.slowlog.reset();
    ctx.reply.ok();
    Ok(())
}

fn help_text(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(
        ctx,
        args,
        &[
            "GET [<count>]",
            "    The newest entries (10 unless said, -1 for all): number, Unix time, microseconds,",
            "    arguments, client address, client name.",
            "LEN",
            "    How many entries there are.",
            "RESET",
            "    Forgets all entries.",
        ],
    );
    Ok(())
}
