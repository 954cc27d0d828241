//! ACL categories of commands: most follow from group and flags.

use crate::command::{Flags, Found, Group};

/// All categories that Redis has, in its order.
pub const NAMES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Commands of the server group that are about keys.
const KEYSPACE: &[&str] = &["dbsize", "flushall", "flushdb", "swapdb"];

/// Commands that can hurt others without being administrative.
const DANGEROUS: &[&str] = &["keys", "flushall", "flushdb", "swapdb", "restore", "info", "sort", "sort_ro"];

/// Commands for all types that have elements: they belong to each of these, and not to those for keys.
const SORTS: &[&str] = &["sort", "sort_ro"];

/// Fast commands that tell what only an administrator should know.
const ADMIN: &[&str] = &["lastsave", "role"];

/// Commands of other groups that are about the connection.
const CONNECTION: &[&str] = &["wait", "waitaof"];

/// The categories of a command, in the order of [`NAMES`].
pub fn of(found: &Found) -> Vec<&'static str> {
    NAMES.into_iter().filter(|category| is_in(found, category)).collect()
}

fn is_in(found: &Found, category: &str) -> bool {
    let (spec, flags) = (found.spec, found.spec.flags);
    // A container's own entry is in no group's category; its subcommands are.
    let top = found.container.unwrap_or(spec).name;
    let grouped = spec.subcommands.is_empty();
    let admin = flags.contains(Flags::ADMIN) || ADMIN.contains(&spec.name);
    let sorts = SORTS.contains(&spec.name);
    match category {
        "keyspace" => {
            let elsewhere = CONNECTION.contains(&spec.name) || sorts;
            grouped && spec.group == Group::Generic && !elsewhere || KEYSPACE.contains(&spec.name)
        }
        "read" => flags.contains(Flags::READONLY),
        "write" => flags.contains(Flags::WRITE),
        "string" => spec.group == Group::String,
        "hash" => spec.group == Group::Hash,
        "list" => spec.group == Group::List || sorts,
        "set" => spec.group == Group::Set || sorts,
        "sortedset" => spec.group == Group::SortedSet || sorts,
        "geo" => spec.group == Group::Geo,
        "transaction" => spec.group == Group::Transactions,
        "bitmap" => spec.group == Group::Bitmap,
        "hyperloglog" => spec.group == Group::HyperLogLog,
        "pubsub" => flags.contains(Flags::PUBSUB),
        "admin" => admin,
        "fast" => flags.contains(Flags::FAST),
        "slow" => !flags.contains(Flags::FAST),
        "blocking" => flags.contains(Flags::BLOCKING),
        "dangerous" => admin || found.container.is_none() && DANGEROUS.contains(&spec.name),
        "connection" => {
            grouped && spec.group == Group::Connection || top == "command" || CONNECTION.contains(&spec.name)
        }
        "scripting" => grouped && spec.group == Group::Scripting,
        _ => false,
    }
}
