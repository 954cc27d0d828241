//! MEMORY: what keys and the server take.

use super::process;
use crate::command::parse::{integer_arg, is_word};
use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Group, Handler, KeySpec, help};
use crate::protocol::Args;
use std::fmt::Write as _;

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::container("memory", "4.0.0", Group::Server, "Looks at memory.", SUBCOMMANDS)];

const fn sub(name: &'static str, summary: &'static str, run: Handler) -> CommandSpec {
    CommandSpec { summary, ..CommandSpec::new(name, "4.0.0", Group::Server, Arity::Exact(2), run) }
}

const SUBCOMMANDS: &[CommandSpec] = &[
    sub("doctor", "Looks for what is wrong with memory and the pool.", doctor),
    sub("malloc-stats", "Says what the process has taken from the operating system.", malloc_stats),
    sub("purge", "Does nothing: freed memory is given back as it is freed.", purge),
    CommandSpec { complexity: "O(N) for N databases", ..sub("stats", "Details what memory is used for.", stats) },
    CommandSpec {
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: KeySpec::one(2),
        ..sub("usage", "Gives the bytes that a key takes, in the pool and in the index.", usage)
    },
    CommandSpec::help("4.0.0", Group::Server, help_text),
];

fn usage(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut i = 3;
    while let Some(word) = args.get(i) {
        let samples = args.get(i + 1).filter(|_| is_word(word, "SAMPLES")).ok_or(CommandError::SYNTAX)?;
        // All of a key is counted; nothing is sampled.
        if integer_arg(samples)? < 0 {
            return Err(CommandError::SYNTAX);
        }
        i += 2;
    }
    match ctx.store.peek(ctx.key(args.at(2)), ctx.now_ms, ctx.guard) {
        Some(entry) => ctx.reply.integer(entry.memory_bytes() as i64),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// Less live data than this part of the pool is not worth a remark.
const NEARLY_FULL: f64 = 0.9;

fn doctor(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let store = ctx.store.info();
    let limit = store.pool_max_bytes;
    let mut findings = String::new();
    if store.medium == "dram" {
        findings.push_str("* Data is kept in DRAM only: nothing survives a restart.\n");
    } else if !store.power_loss_safe {
        let _infallible = writeln!(findings, "* On the medium '{}' writes may not survive a power loss.", store.medium);
    }
    if limit > 0 && store.live_bytes as f64 > limit as f64 * NEARLY_FULL {
        let _infallible = writeln!(
            findings,
            "* Live records take {} of at most {limit} bytes: writes will soon be refused with OOM.",
            store.live_bytes
        );
    }
    if findings.is_empty() {
        findings.push_str("Nothing is wrong with memory or the pool.\n");
    }
    ctx.reply.verbatim("txt", findings.as_bytes());
    Ok(())
}

fn malloc_stats(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let memory = process::memory(&ctx.store.info());
    let text = format!(
        "resident bytes besides the pool: {}\nresident bytes, mapped pool included: {}\nmost resident bytes: {}\n",
        memory.besides_pool, memory.resident, memory.resident_max
    );
    ctx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn purge(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.ok();
    Ok(())
}

fn stats(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let store = ctx.store.info();
    let memory = process::memory(&store);
    let used = memory.besides_pool + store.live_bytes;
    let peak = used.max(memory.resident_max);
    let filled: Vec<_> =
        (0..ctx.store.databases()).map(|db| (db, ctx.store.len(db))).filter(|(_, keys)| *keys > 0).collect();
    let keys: u64 = filled.iter().map(|(_, keys)| keys).sum();
    let buffers: u64 = ctx.shared.clients.all().iter().map(|client| client.query_bytes() + client.output_bytes()).sum();
    let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole.max(1) as f64;
    let before: &[(&str, u64)] = &[
        ("peak.allocated", peak),
        ("total.allocated", used),
        ("startup.allocated", 0),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", buffers),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", 0),
        ("functions.caches", 0),
    ];
    let after: &[(&str, u64)] = &[
        ("overhead.total", memory.besides_pool),
        ("keys.count", keys),
        ("keys.bytes-per-key", used / keys.max(1)),
        ("dataset.bytes", store.live_bytes),
    ];
    let ratios: &[(&str, f64)] =
        &[("dataset.percentage", percent(store.live_bytes, used)), ("peak.percentage", percent(used, peak))];
    let last: &[(&str, u64)] = &[
        ("allocator.allocated", memory.besides_pool),
        ("allocator.active", memory.besides_pool),
        ("allocator.resident", memory.besides_pool),
    ];
    ctx.reply.map_header(before.len() + filled.len() + after.len() + ratios.len() + last.len());
    write_fields(ctx, before);
    for (db, keys) in filled {
        ctx.reply.bulk(format!("db.{db}").as_bytes());
        ctx.reply.map_header(2);
        // One 8-byte word of the index for each key; expiry lies in the record.
        write_fields(ctx, &[("overhead.hashtable.main", keys * 8), ("overhead.hashtable.expires", 0)]);
    }
    write_fields(ctx, after);
    for (name, value) in ratios {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.double(*value);
    }
    write_fields(ctx, last);
    Ok(())
}

fn write_fields(ctx: &mut Ctx<'_>, fields: &[(&str, u64)]) {
    for (name, value) in fields {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.integer(*value as i64);
    }
}

fn help_text(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(
        ctx,
        args,
        &[
            "DOCTOR",
            "    What is wrong with memory and the pool.",
            "MALLOC-STATS",
            "    What the process has taken from the operating system.",
            "PURGE",
            "    Does nothing: freed memory is given back as it is freed.",
            "STATS",
            "    What memory is used for.",
            "USAGE <key> [SAMPLES <count>]",
            "    Bytes that a key takes, in the pool and in the index.",
        ],
    );
    Ok(())
}
