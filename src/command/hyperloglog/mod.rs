//! HyperLogLog: counts of different elements in 12 KB, wrong by 0.81% as a rule.
//!
//! The values are Redis's to the bit, dense and sparse, and so are the counts, so that sketches can move between both.
//! A change rewrites the value's record; an element that changes nothing is found out without a lock and writes
//! nothing.

mod dense;
mod estimate;
mod hash;
mod sketch;
mod sparse;

use super::lookups::Lookups;
use super::parse::is_word;
use super::string::value;
use super::{Arity, CommandError, CommandSpec, Ctx, Events, Flags, Group, KeySpec};
use crate::protocol::Args;
use crate::store::{Key, StrValue};
use sketch::{Encoding, REGISTERS, Sketch};

/// What the specs of this family have in common.
const READ: CommandSpec = CommandSpec {
    name: "pfcount",
    summary: "Estimates how many different elements were added to one or several HyperLogLog keys.",
    since: "2.8.9",
    group: Group::HyperLogLog,
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    keys: KeySpec::all_from(1),
    complexity: "O(1) for one key, O(N) in the number of keys otherwise; for one key writes the record anew to keep the count with it.",
    subcommands: &[],
    run: pfcount,
    together: None,
    look: None,
};

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    READ,
    CommandSpec {
        name: "pfadd",
        summary: "Adds elements to a HyperLogLog key.",
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        keys: KeySpec::one(1),
        complexity: "O(N) in the number of elements; writes one record of at most 12 KB, or nothing when no register changes.",
        run: pfadd,
        ..READ
    },
    CommandSpec {
        name: "pfmerge",
        summary: "Merges HyperLogLog keys into one.",
        flags: Flags::WRITE.union(Flags::DENYOOM),
        complexity: "O(N) in the number of keys; writes one record of at most 12 KB.",
        run: pfmerge,
        ..READ
    },
    CommandSpec {
        name: "pfdebug",
        summary: "Shows the insides of a HyperLogLog key.",
        arity: Arity::Exact(3),
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::ADMIN),
        keys: KeySpec::one(2),
        complexity: "O(1); TODENSE writes one record of 12 KB.",
        run: pfdebug,
        ..READ
    },
    CommandSpec {
        name: "pfselftest",
        summary: "Checks that HyperLogLog registers and estimates work.",
        arity: Arity::Exact(1),
        flags: Flags::ADMIN,
        keys: KeySpec::None,
        complexity: "O(1), but many milliseconds; writes nothing.",
        run: pfselftest,
        ..READ
    },
];

/// `PFADD key [element ...]`
fn pfadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args.at(1));
    let elements = args.from(2);
    // Once a sketch has settled most elements change nothing, which a reader can tell.
    if let Some(entry) = ctx.store.peek(key, ctx.now_ms, ctx.guard) {
        let sketch = Sketch::open(entry.string()?)?;
        sketch.check()?;
        let mut changes = false;
        for element in elements.iter() {
            changes = changes || sketch.would_change(element)?;
        }
        if !changes {
            ctx.used(&entry);
            ctx.reply.integer(0);
            return Ok(());
        }
    }
    let sparse_max_bytes = ctx.shared.settings.hll_sparse_max_bytes();
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let entry = txn.get(key);
    let is_new = entry.is_none();
    let (mut sketch, mut changed) = match value::string_of(entry)? {
        Some(found) => (Sketch::open(found)?, false),
        None => (Sketch::new(), true),
    };
    sketch.check()?;
    for element in elements.iter() {
        changed |= sketch.add(element, sparse_max_bytes)?;
    }
    if changed {
        sketch.mark_stale();
        value::set(&mut txn, key, sketch.bytes(), entry.and_then(|entry| entry.expire_at()))?;
        txn.commit()?;
        ctx.notify_write(is_new, Events::STRING, "pfadd", key);
    }
    ctx.reply.integer(i64::from(changed));
    Ok(())
}

/// `PFCOUNT key [key ...]`
fn pfcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() == 2 {
        return pfcount_one(ctx, args.at(1));
    }
    let keys: Vec<Key<'_>> = args.from(1).iter().map(|name| ctx.key(name)).collect();
    let mut ranks = Box::new([0; REGISTERS]);
    for entry in ctx.read_many(&keys) {
        if let Some(found) = value::string_of(entry)? {
            Sketch::open(found)?.merge_into(&mut ranks)?;
        }
    }
    let mut histogram = [0; 64];
    ranks.iter().for_each(|rank| histogram[usize::from(*rank)] += 1);
    ctx.reply.integer(estimate::count(&histogram) as i64);
    Ok(())
}

fn pfcount_one(ctx: &mut Ctx<'_>, name: &[u8]) -> Result<(), CommandError> {
    let Some(found) = value::read(ctx, name)? else {
        ctx.reply.integer(0);
        return Ok(());
    };
    let sketch = Sketch::open(found)?;
    let count = match sketch.cached_count() {
        Some(count) => count,
        None => {
            let count = estimate::count(&sketch.histogram()?);
            keep_count(ctx, name, found, count);
            count
        }
    };
    ctx.reply.integer(count as i64);
    Ok(())
}

/// Stores a count with the sketch it was made from, if that is still there. Only the next PFCOUNT's speed depends on
/// it, so a full pool is no error.
fn keep_count(ctx: &mut Ctx<'_>, name: &[u8], counted: StrValue<'_>, count: u64) {
    let key = ctx.key(name);
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let unchanged = matches!(value::locked(&txn, key), Ok(Some(found)) if same_bytes(found, counted));
    let (at, bytes) = Sketch::cache_patch(count);
    if unchanged && txn.patch(key, &[(at, &bytes)]).is_ok() {
        // Without the cached count the answer is the same.
        let _ = txn.commit();
    }
}

/// Whether two values are the same bytes in the pool. Records are not changed in place, so what has not moved is the
/// same.
fn same_bytes(a: StrValue<'_>, b: StrValue<'_>) -> bool {
    a.pieces().map(|piece| piece.as_ptr_range()).eq(b.pieces().map(|piece| piece.as_ptr_range()))
}

/// `PFMERGE destkey [sourcekey ...]`
fn pfmerge(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    // The destination is one of the sources, too.
    let keys: Vec<Key<'_>> = args.from(1).iter().map(|name| ctx.key(name)).collect();
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let mut txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
    let mut ranks = Box::new([0; REGISTERS]);
    let mut dense = false;
    for key in &keys {
        if let Some(found) = value::string_of(lookups.get(&txn, *key))? {
            let sketch = Sketch::open(found)?;
            dense |= sketch.encoding() == Encoding::Dense;
            sketch.merge_into(&mut ranks)?;
        }
    }
    let entry = txn.get(keys[0]);
    let is_new = entry.is_none();
    let mut merged = match value::string_of(entry)? {
        Some(found) => Sketch::open(found)?,
        None => Sketch::new(),
    };
    if dense {
        merged.make_dense()?;
    }
    let sparse_max_bytes = ctx.shared.settings.hll_sparse_max_bytes();
    for (index, rank) in ranks.iter().enumerate().filter(|(_, rank)| **rank != 0) {
        merged.raise(index, *rank, sparse_max_bytes)?;
    }
    merged.mark_stale();
    value::set(&mut txn, keys[0], merged.bytes(), entry.and_then(|entry| entry.expire_at()))?;
    txn.commit()?;
    ctx.notify_write(is_new, Events::STRING, "pfadd", keys[0]);
    ctx.reply.ok();
    Ok(())
}

/// `PFDEBUG GETREG|DECODE|ENCODING|TODENSE key`
fn pfdebug(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (subcommand, key) = (args.at(1), ctx.key(args.at(2)));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let entry = txn.get(key);
    let Some(found) = value::string_of(entry)? else {
        return Err(CommandError::fixed("ERR The specified key does not exist"));
    };
    let mut sketch = Sketch::open(found)?;
    let known = ["GETREG", "DECODE", "ENCODING", "TODENSE"].iter().find(|word| is_word(subcommand, word));
    let shown = String::from_utf8_lossy(subcommand);
    match known {
        None => return Err(CommandError::new(format!("ERR Unknown PFDEBUG subcommand '{shown}'"))),
        Some(&"GETREG") => {
            let mut ranks = Box::new([0; REGISTERS]);
            sketch.merge_into(&mut ranks)?;
            ctx.reply.array_header(REGISTERS);
            ranks.iter().for_each(|rank| ctx.reply.integer(i64::from(*rank)));
        }
        Some(&"DECODE") => {
            let text = sketch.decode()?.ok_or(CommandError::fixed("ERR HLL encoding is not sparse"))?;
            ctx.reply.bulk(text.as_bytes());
        }
        Some(&"ENCODING") => ctx.reply.simple(match sketch.encoding() {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        }),
        Some(_) => {
            let sparse = sketch.encoding() == Encoding::Sparse;
            if sparse {
                sketch.make_dense()?;
                value::set(&mut txn, key, sketch.bytes(), entry.and_then(|entry| entry.expire_at()))?;
                txn.commit()?;
            }
            ctx.reply.integer(i64::from(sparse));
        }
    }
    Ok(())
}

/// `PFSELFTEST`
fn pfselftest(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    self_test().map_err(|what| CommandError::new(format!("TESTFAILED {what}")))?;
    ctx.reply.ok();
    Ok(())
}

/// Adds elements and checks that sparse and dense registers agree and that the estimates are within five standard
/// errors.
fn self_test() -> Result<(), String> {
    const SPARSE_MAX_BYTES: usize = 3000;
    let mut sketch = Sketch::new();
    let mut dense = Sketch::new();
    let broken = |error: CommandError| error.0.into_owned();
    dense.make_dense().map_err(broken)?;
    let mut checkpoint = 10;
    for element in 1..=100_000u64 {
        let bytes = element.to_be_bytes();
        let changed = sketch.add(&bytes, SPARSE_MAX_BYTES).map_err(broken)?;
        if dense.add(&bytes, SPARSE_MAX_BYTES).map_err(broken)? != changed {
            return Err(format!("element {element} changes one encoding only"));
        }
        if element == checkpoint {
            checkpoint *= 10;
            let histogram = sketch.histogram().map_err(broken)?;
            if histogram != dense.histogram().map_err(broken)? {
                return Err(format!("registers of both encodings differ after {element} elements"));
            }
            let (count, allowed) = (estimate::count(&histogram), (element as f64 * 5.0 * 1.04 / 128.0).ceil());
            if count.abs_diff(element) as f64 > allowed {
                return Err(format!("{element} elements are counted as {count}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
