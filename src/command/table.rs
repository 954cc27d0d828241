//! All commands, and how one is found and run.
//!
//! The table is built by the compiler from the families' specs: an open-addressing array of 32-byte slots keyed on the
//! lower-case name, so that finding a command is one multiplication and, nearly always, one cache line. Every command and
//! every subcommand has a [`CommandId`], a small dense number that counters are kept by.
//!
//! Invariants, held by compile-time assertions: at most half of the slots are taken, so probing ends; no two commands have
//! one name; every name is in lower case and at most [`NAME_MAX_BYTES`] long.

use super::context::RoomWaits;
use super::server::{latency, slowlog};
use super::{
    After, Attention, CommandError, CommandSpec, Ctx, Flags, Modes, PauseScope, monitor, pubsub, tracking, transaction,
};
use crate::protocol::Args;
use crate::store::Fsync;
use std::time::{Duration, Instant};

/// The tables of all families.
pub const FAMILIES: &[&[CommandSpec]] = &[
    super::string::COMMANDS,
    super::bitmap::COMMANDS,
    super::hyperloglog::COMMANDS,
    super::hash::COMMANDS,
    super::list::COMMANDS,
    super::set::COMMANDS,
    super::sorted_set::COMMANDS,
    super::geo::COMMANDS,
    super::pubsub::COMMANDS,
    super::generic::COMMANDS,
    super::sort::COMMANDS,
    super::transaction::COMMANDS,
    super::monitor::COMMANDS,
    super::connection::COMMANDS,
    super::config::COMMANDS,
    super::server::info::COMMANDS,
    super::server::commands::COMMANDS,
    super::server::time::COMMANDS,
    super::server::memory::COMMANDS,
    super::server::saving::COMMANDS,
    super::server::debug::COMMANDS,
    super::server::slowlog::COMMANDS,
    super::server::latency::COMMANDS,
    super::server::replication::COMMANDS,
    super::server::scripting::COMMANDS,
    super::server::acl::COMMANDS,
    super::server::module::COMMANDS,
    super::server::cluster::COMMANDS,
];

/// Longest name of a command, in bytes.
pub const NAME_MAX_BYTES: usize = 32;

/// Slots of the table: a power of two.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 10;

/// How many commands there are, subcommands not counted.
pub const COMMAND_COUNT: usize = count(false);

/// How many commands and subcommands there are: one more than the greatest [`CommandId`].
pub const ID_COUNT: usize = count(true);

const _: () = assert!(COMMAND_COUNT * 2 <= SLOTS, "the table needs another bit");

/// The dense number of a command or subcommand, below [`ID_COUNT`]. Fixed for one build only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(u16);

impl CommandId {
    /// The number, for indexing counters.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A command or subcommand as a request names it.
#[derive(Clone, Copy)]
pub struct Found {
    /// What is known of it.
    pub spec: &'static CommandSpec,
    /// The container that a subcommand belongs to.
    pub container: Option<&'static CommandSpec>,
    /// Its number.
    pub id: CommandId,
}

impl Found {
    /// The name as COMMAND and the statistics give it: `get`, `client|list`.
    pub fn full_name(&self) -> String {
        match self.container {
            Some(container) => format!("{}|{}", container.name, self.spec.name),
            None => self.spec.name.to_owned(),
        }
    }
}

#[derive(Clone, Copy)]
struct Slot {
    /// The first and the last eight bytes of the name, see [`words`].
    first: u64,
    last: u64,
    spec: Option<&'static CommandSpec>,
    id: u16,
    len: u8,
}

static TABLE: [Slot; SLOTS] = build();

/// The spec of the command of this name, whatever its case. A few nanoseconds; allocates nothing.
#[inline]
pub fn find(name: &[u8]) -> Option<&'static CommandSpec> {
    find_slot(name).and_then(|slot| slot.spec)
}

/// The command that a request's first arguments name: the subcommand when the first names a container that has it.
///
/// # Errors
/// `ERR unknown command ...`, `ERR unknown subcommand ...`.
#[inline]
pub fn resolve(args: Args<'_>) -> Result<Found, CommandError> {
    let Some((slot, spec)) = args.get(0).and_then(find_slot).and_then(|slot| Some((slot, slot.spec?))) else {
        return Err(unknown_command(args));
    };
    if spec.subcommands.is_empty() || args.len() == 1 {
        return Ok(Found { spec, container: None, id: CommandId(slot.id) });
    }
    resolve_subcommand(spec, slot.id, args)
}

/// Every command in the families' order, each container before its subcommands.
pub fn all() -> impl Iterator<Item = Found> {
    let mut next_id = 0;
    FAMILIES.iter().flat_map(|family| family.iter()).flat_map(move |spec| {
        let id = next_id;
        next_id += 1 + spec.subcommands.len() as u16;
        let container = Found { spec, container: None, id: CommandId(id) };
        let subs = spec.subcommands.iter().enumerate().map(move |(i, sub)| Found {
            spec: sub,
            container: Some(spec),
            id: CommandId(id + 1 + i as u16),
        });
        std::iter::once(container).chain(subs)
    })
}

/// The command with that number.
///
/// # Panics
/// If `id` is not one of the joined table's.
pub fn by_id(id: CommandId) -> Found {
    all().nth(id.index()).expect("numbers come from the joined table")
}

/// The number of a command that exists.
///
/// # Panics
/// If it does not.
pub fn by_name(name: &str) -> CommandId {
    CommandId(find_slot(name.as_bytes()).expect("a command of the table").id)
}

/// The command of a name as COMMAND gives it: `get`, `config|set`. Walks the table.
pub fn by_full_name(name: &[u8]) -> Option<Found> {
    all().find(|found| found.full_name().as_bytes().eq_ignore_ascii_case(name))
}

/// Runs one request: finds the command, checks arity, authentication and whether it may run now, runs it, counts it, and writes
/// the reply or the error.
///
/// When clients are paused it may leave [`After::Postpone`] behind instead, with nothing run, written or counted; when the pool is full,
/// [`After::MakeRoom`].
///
/// # Errors
/// The error that has just been written as the reply, so that a transaction can tell.
pub fn execute(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let outcome = match admit(ctx, args) {
        Ok(found) if is_paused(ctx, &found) => {
            ctx.after = After::Postpone;
            Ok(())
        }
        Ok(found) if transaction::is_queued(ctx, &found) => {
            transaction::queue(ctx, &found, args);
            Ok(())
        }
        Ok(found) => {
            let outcome = run(ctx, &found, args);
            if ctx.shared.blocking.is_ready() {
                // Its own events come before those of whom it serves.
                ctx.publish_events();
                ctx.serve_waiters();
            }
            outcome
        }
        Err(error) => {
            let error = transaction::refuse(ctx, args, error);
            ctx.stats.count_error(error.prefix());
            ctx.reply.error(&error.0);
            Err(error)
        }
    };
    ctx.publish_events();
    if !ctx.session.modes.is_empty() {
        ctx.settle_modes(args);
    }
    outcome
}

/// Runs a command that [`admit`] has let in, taking back what it wrote if it fails.
///
/// # Errors
/// The error that has just been written as the reply.
pub(super) fn run(ctx: &mut Ctx<'_>, found: &Found, args: Args<'_>) -> Result<(), CommandError> {
    let (mark, events) = (ctx.reply.mark(), ctx.session.pending.mark());
    let outcome = call(ctx, found, args);
    if outcome.as_ref().is_err_and(|error| *error == CommandError::OUT_OF_SPACE) {
        ctx.session.pending.take_back(events);
        if ctx.may_wait_for_room(args) || ctx.may_evict_for_room(found.spec, args) {
            ctx.after = ctx.room_for(found.spec);
        }
    }
    if ctx.after.runs_again() {
        ctx.reply.truncate(mark);
        return Ok(());
    }
    ctx.session.room_waits = RoomWaits::default();
    settle(ctx, found, args, mark, outcome)
}

/// Runs a command of a transaction, which waits for nothing.
///
/// # Errors
/// The error that has just been written as the reply.
pub(super) fn run_within(ctx: &mut Ctx<'_>, found: &Found, args: Args<'_>) -> Result<(), CommandError> {
    let mark = ctx.reply.mark();
    let outcome = call(ctx, found, args);
    settle(ctx, found, args, mark, outcome)
}

/// Calls a command's handler, taking its time where that is to be known.
#[inline]
fn call(ctx: &mut Ctx<'_>, found: &Found, args: Args<'_>) -> Result<(), CommandError> {
    if ctx.session.modes.contains(Modes::TRACKING) {
        tracking::before(ctx, found, args);
    }
    let counters = ctx.stats.command(found.id);
    ctx.session.client.set_last_command(found.id);
    let weight = timing_weight(counters.calls.get(), found.spec.flags, ctx.shared.settings.attention().get());
    if weight == 0 {
        (found.spec.run)(ctx, args)
    } else {
        let started = Instant::now();
        let outcome = (found.spec.run)(ctx, args);
        // DEBUG SLEEP takes as long as it says, though only its connection is held up, behind this.
        let asleep = if let After::Pause(length) = ctx.after { length } else { Duration::ZERO };
        let elapsed = started.elapsed() + asleep;
        counters.nanos.add(elapsed.as_nanos() as u64 * weight);
        ctx.note_times(found.id, elapsed, weight);
        // One that begins to wait is noted when it is served.
        if !matches!(ctx.after, After::Block(_)) {
            slowlog::note(ctx, found, args, elapsed);
            latency::note_command(ctx, found.spec.flags, elapsed);
        }
        outcome
    }
}

/// Counts a command that has run; in the place of what it wrote comes its error, if it failed.
#[inline]
fn settle(
    ctx: &mut Ctx<'_>,
    found: &Found,
    args: Args<'_>,
    mark: usize,
    outcome: Result<(), CommandError>,
) -> Result<(), CommandError> {
    let stats = ctx.stats;
    let counters = stats.command(found.id);
    // One that waits has been counted when it began to.
    if !ctx.session.is_waiter {
        counters.calls.add(1);
        stats.commands_processed.add(1);
        if ctx.shared.settings.attention().get().contains(Attention::MONITOR) {
            monitor::show(ctx, found, args);
        }
    }
    if let Err(error) = &outcome {
        counters.failed.add(1);
        stats.count_error(error.prefix());
        ctx.reply.truncate(mark);
        ctx.reply.error(&error.0);
    }
    outcome
}

/// Calls of a command on one thread that are all timed.
const ALWAYS_TIMED_CALLS: u64 = 64;

/// After these, one call of a fast command in so many is timed and stands for the others.
const TIMED_ONE_IN: u64 = 16;

/// How many calls the time of this one stands for; 0 when it need not be timed.
///
/// Reading the clock twice costs about as much as a tenth of a GET, so calls of fast commands are sampled, unless the slow log
/// asks for calls that short. Commands that may take long are always timed.
#[inline]
fn timing_weight(calls: u64, flags: Flags, attention: Attention) -> u64 {
    if calls < ALWAYS_TIMED_CALLS || !flags.contains(Flags::FAST) || attention.contains(Attention::TIMES) {
        1
    } else if calls.is_multiple_of(TIMED_ONE_IN) {
        TIMED_ONE_IN
    } else {
        0
    }
}

/// Whether the request may run: its command exists, has the right number of arguments, the client is authenticated or need not be,
/// the store is there or not needed, and there is room for what it may write.
#[inline]
fn admit(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Found, CommandError> {
    let found = resolve(args)?;
    let flags = transaction::flags_of(ctx, &found);
    let refusal = if !found.spec.arity.accepts(args.len()) {
        CommandError::arity(&found.full_name())
    } else if !ctx.session.authenticated && !flags.contains(Flags::NO_AUTH) {
        CommandError::fixed("NOAUTH Authentication required.")
    } else if ctx.session.modes.intersects(Modes::SUBSCRIBED | Modes::MONITOR)
        && let Some(refusal) = refused_by_mode(ctx.session.modes, &found)
    {
        refusal
    } else if ctx.loading && !flags.contains(Flags::LOADING) {
        CommandError::fixed("LOADING Redis is loading the dataset in memory")
    } else if ctx.store.has_failed_to_sync() && is_refused_unsynced(ctx, flags) {
        CommandError::NOT_SYNCED
    } else if transaction::forbids(ctx, &found, args) {
        CommandError::fixed("ERR Command not allowed inside a transaction")
    } else if flags.contains(Flags::DENYOOM) && !ctx.has_room() {
        CommandError::OUT_OF_SPACE
    } else {
        return Ok(found);
    };
    ctx.stats.command(found.id).rejected.add(1);
    Err(refusal)
}

/// Why a client that is subscribed over RESP2, or monitors, may not run the command, if it may not.
#[cold]
fn refused_by_mode(modes: Modes, found: &Found) -> Option<CommandError> {
    if modes.contains(Modes::SUBSCRIBED) && !pubsub::may_run_subscribed(found.spec) {
        Some(pubsub::refusal(&found.full_name()))
    } else {
        (modes.contains(Modes::MONITOR) && !monitor::may_run_monitoring(found.spec)).then_some(monitor::REFUSAL)
    }
}

/// Whether a command of these flags is refused once a sync has failed: writes are, and where each reply has to speak of what is on the disk, so are
/// reads.
#[cold]
fn is_refused_unsynced(ctx: &Ctx<'_>, flags: Flags) -> bool {
    flags.contains(Flags::WRITE) || flags.contains(Flags::READONLY) && ctx.store.fsync() == Fsync::Always
}

/// Whether CLIENT PAUSE holds the command back. A pause of writes also holds what replicas would hear of, though it changes no data.
#[inline]
fn is_paused(ctx: &Ctx<'_>, found: &Found) -> bool {
    ctx.shared.pause.window(ctx.now_ms).is_some_and(|window| {
        window.scope == PauseScope::All
            || transaction::flags_of(ctx, found).contains(Flags::WRITE)
            || found.spec.is_replicated_anyway()
    })
}

/// What a container's own handler is when it does nothing without a subcommand. Never reached: arity asks for a subcommand,
/// and [`resolve`] refuses one that does not exist.
///
/// # Errors
/// Always: `ERR unknown subcommand ...`.
pub fn container(_ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    Err(unknown_subcommand(args.at(0), args.get(1).unwrap_or_default()))
}

#[cold]
fn resolve_subcommand(spec: &'static CommandSpec, id: u16, args: Args<'_>) -> Result<Found, CommandError> {
    let name = args.at(1);
    let position = spec.subcommands.iter().position(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name));
    match position {
        Some(i) => Ok(Found { spec: &spec.subcommands[i], container: Some(spec), id: CommandId(id + 1 + i as u16) }),
        None => Err(unknown_subcommand(spec.name.as_bytes(), name)),
    }
}

#[cold]
fn unknown_subcommand(container: &[u8], name: &[u8]) -> CommandError {
    CommandError::new(format!(
        "ERR unknown subcommand '{}'. Try {} HELP.",
        clipped(name, QUOTED_MAX_BYTES),
        String::from_utf8_lossy(container).to_ascii_uppercase()
    ))
}

/// Most bytes of a client's own words that an error repeats.
const QUOTED_MAX_BYTES: usize = 128;

#[cold]
fn unknown_command(args: Args<'_>) -> CommandError {
    let mut quoted = String::new();
    for arg in args.from(1).iter() {
        if quoted.len() >= QUOTED_MAX_BYTES {
            break;
        }
        quoted.push('\'');
        quoted.push_str(&clipped(arg, QUOTED_MAX_BYTES - (quoted.len() - 1)));
        quoted.push_str("' ");
    }
    CommandError::new(format!(
        "ERR unknown command '{}', with args beginning with: {quoted}",
        clipped(args.get(0).unwrap_or_default(), QUOTED_MAX_BYTES)
    ))
}

/// At most `max` bytes of `bytes`, up to the first NUL, as text.
fn clipped(bytes: &[u8], max: usize) -> std::borrow::Cow<'_, str> {
    let end = bytes.iter().take(max).position(|&byte| byte == 0).unwrap_or(bytes.len().min(max));
    String::from_utf8_lossy(&bytes[..end])
}

#[inline]
fn find_slot(name: &[u8]) -> Option<&'static Slot> {
    if name.is_empty() || name.len() > NAME_MAX_BYTES {
        return None;
    }
    let (first, last) = words(name);
    let (first, last) = (to_lower(first), to_lower(last));
    let mut at = slot_of(first, last, name.len());
    // Ends: at least half of the slots are empty.
    loop {
        let slot = &TABLE[at & (SLOTS - 1)];
        let spec = slot.spec?;
        if slot.first == first
            && slot.last == last
            && usize::from(slot.len) == name.len()
            // The two words hold names of up to 16 bytes whole.
            && (name.len() <= 16 || spec.name.as_bytes().eq_ignore_ascii_case(name))
        {
            return Some(slot);
        }
        at += 1;
    }
}

/// The first and the last eight bytes of a name, overlapping when it is shorter than 16; for one of up to 16 bytes they and the length tell the whole of it.
#[inline]
const fn words(name: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return (u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << 32, 0);
    }
    let len = name.len();
    if len == 0 {
        return (0, 0);
    }
    (name[0] as u64 | (name[len / 2] as u64) << 8 | (name[len - 1] as u64) << 16, 0)
}

/// Each of eight bytes in lower case when it is an ASCII letter, unchanged otherwise.
#[inline]
const fn to_lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low7 = word & (0x7f * EACH);
    let at_least_a = low7 + (0x80 - b'A' as u64) * EACH;
    let beyond_z = low7 + (0x7f - b'Z' as u64) * EACH;
    let upper = !word & (at_least_a ^ beyond_z) & (0x80 * EACH);
    word | upper >> 2
}

#[inline]
const fn slot_of(first: u64, last: u64, len: usize) -> usize {
    let mixed = (first ^ last.rotate_left(23) ^ len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - SLOT_BITS)) as usize
}

const fn count(with_subcommands: bool) -> usize {
    let (mut commands, mut family) = (0, 0);
    while family < FAMILIES.len() {
        let mut i = 0;
        while i < FAMILIES[family].len() {
            commands += 1;
            if with_subcommands {
                commands += FAMILIES[family][i].subcommands.len();
            }
            i += 1;
        }
        family += 1;
    }
    commands
}

const fn build() -> [Slot; SLOTS] {
    let mut slots = [Slot { first: 0, last: 0, spec: None, id: 0, len: 0 }; SLOTS];
    let (mut family, mut id) = (0, 0);
    while family < FAMILIES.len() {
        let mut i = 0;
        while i < FAMILIES[family].len() {
            insert(&mut slots, &FAMILIES[family][i], id);
            id += 1 + FAMILIES[family][i].subcommands.len() as u16;
            i += 1;
        }
        family += 1;
    }
    slots
}

const fn insert(slots: &mut [Slot; SLOTS], spec: &'static CommandSpec, id: u16) {
    let name = spec.name.as_bytes();
    assert!(!name.is_empty() && name.len() <= NAME_MAX_BYTES, "a command's name is too long");
    let (first, last) = words(name);
    assert!(to_lower(first) == first && to_lower(last) == last, "a command's name is not in lower case");
    let mut at = slot_of(first, last, name.len()) & (SLOTS - 1);
    // Ends: at least half of the slots are empty.
    while slots[at].spec.is_some() {
        assert!(
            slots[at].first != first || slots[at].last != last || slots[at].len as usize != name.len(),
            "two commands have one name"
        );
        at = (at + 1) & (SLOTS - 1);
    }
    slots[at] = Slot { first, last, spec: Some(spec), id, len: name.len() as u8 };
}

#[cfg(test)]
mod tests;
