//! The shapes of COMMAND INFO and COMMAND DOCS.

use super::categories;
use super::facts;
use super::keys::{Extent, KeyRange, specs_of};
use crate::command::{Flags, Found, KeySpec, all};
use crate::protocol::ReplyWriter;

/// Names of the flags, in Redis's order.
const FLAG_NAMES: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::MOVABLEKEYS, "movablekeys"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::ALLOW_BUSY, "allow_busy"),
];

/// The names of `flags`.
pub(super) fn flag_names(flags: Flags) -> Vec<&'static str> {
    FLAG_NAMES.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect()
}

/// A set of simple strings.
pub(super) fn status_set<S: AsRef<str>>(reply: &mut ReplyWriter<'_>, names: &[S]) {
    reply.set_header(names.len());
    for name in names {
        reply.simple(name.as_ref());
    }
}

/// One command as COMMAND INFO has it: ten elements.
pub(super) fn info(reply: &mut ReplyWriter<'_>, found: &Found) {
    let spec = found.spec;
    reply.array_header(10);
    reply.bulk(found.full_name().as_bytes());
    reply.integer(spec.arity.as_redis());
    status_set(reply, &flag_names(spec.flags));
    let (first, last, step) = match spec.keys {
        KeySpec::Range { first, last, step } => (first as i64, last as i64, step as i64),
        KeySpec::TargetAndCounted { target: one, .. } | KeySpec::OneAndStored { first: one, .. } => {
            (one as i64, one as i64, 1)
        }
        KeySpec::None | KeySpec::Counted { .. } => (0, 0, 0),
    };
    for position in [first, last, step] {
        reply.integer(position);
    }
    let categories: Vec<_> = categories::of(found).iter().map(|category| format!("@{category}")).collect();
    status_set(reply, &categories);
    let tips = facts::of(&found.full_name()).map_or(&[][..], |facts| facts.tips);
    reply.set_header(tips.len());
    for tip in tips {
        reply.bulk(tip.as_bytes());
    }
    let ranges = specs_of(found);
    reply.set_header(ranges.len());
    for range in &ranges {
        key_range(reply, range);
    }
    let subcommands = subcommands_of(found);
    match subcommands.len() {
        // As Redis has it: nothing is an empty set, something an array.
        0 => reply.set_header(0),
        len => reply.array_header(len),
    }
    for sub in &subcommands {
        info(reply, sub);
    }
}

fn key_range(reply: &mut ReplyWriter<'_>, range: &KeyRange) {
    reply.map_header(3 + usize::from(range.notes.is_some()));
    if let Some(notes) = range.notes {
        reply.bulk(b"notes");
        reply.bulk(notes.as_bytes());
    }
    reply.bulk(b"flags");
    status_set(reply, range.flags);
    reply.bulk(b"begin_search");
    match range.extent {
        Extent::Unknown => typed(reply, "unknown", &[]),
        Extent::After(word) => keyword(reply, word, range.first as i64),
        _ => typed(reply, "index", &[("index", range.first as i64)]),
    }
    reply.bulk(b"find_keys");
    match range.extent {
        Extent::Range { last, step } => {
            typed(reply, "range", &[("lastkey", last), ("keystep", step as i64), ("limit", 0)]);
        }
        Extent::Unknown => typed(reply, "unknown", &[]),
        Extent::After(_) => typed(reply, "range", &[("lastkey", 0), ("keystep", 1), ("limit", 0)]),
        Extent::Counted => typed(reply, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]),
    }
}

/// `{type: keyword, spec: {...}}`.
fn keyword(reply: &mut ReplyWriter<'_>, word: &str, from: i64) {
    reply.map_header(2);
    reply.bulk(b"type");
    reply.bulk(b"keyword");
    reply.bulk(b"spec");
    reply.map_header(2);
    reply.bulk(b"keyword");
    reply.bulk(word.as_bytes());
    reply.bulk(b"startfrom");
    reply.integer(from);
}

/// `{type: kind, spec: {...}}`.
fn typed(reply: &mut ReplyWriter<'_>, kind: &str, fields: &[(&str, i64)]) {
    reply.map_header(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map_header(fields.len());
    for (field, value) in fields {
        reply.bulk(field.as_bytes());
        reply.integer(*value);
    }
}

fn subcommands_of(found: &Found) -> Vec<Found> {
    if found.spec.subcommands.is_empty() {
        return Vec::new();
    }
    all().filter(|sub| sub.container.is_some_and(|container| std::ptr::eq(container, found.spec))).collect()
}

/// One command as COMMAND DOCS has it: its name and a map.
pub(super) fn docs(reply: &mut ReplyWriter<'_>, found: &Found) {
    let spec = found.spec;
    let subcommands = subcommands_of(found);
    reply.bulk(found.full_name().as_bytes());
    reply.map_header(4 + usize::from(!subcommands.is_empty()));
    for (field, value) in [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map_header(subcommands.len());
        for sub in &subcommands {
            docs(reply, sub);
        }
    }
}
