//! `docs/commands.md` is written from the command table; the test here fails when it is not up to date.

use super::{CommandSpec, Found, Group, KeySpec, all};
use std::fmt::Write as _;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md");

const GROUPS: &[(Group, &str)] = &[
    (Group::Connection, "Connection"),
    (Group::Generic, "Keys"),
    (Group::String, "Strings"),
    (Group::Hash, "Hashes"),
    (Group::List, "Lists"),
    (Group::Set, "Sets"),
    (Group::SortedSet, "Sorted sets"),
    (Group::Geo, "Places on the globe"),
    (Group::PubSub, "Publish and subscribe"),
    (Group::Transactions, "Transactions"),
    (Group::Bitmap, "Bitmaps"),
    (Group::HyperLogLog, "HyperLogLog"),
    (Group::Transactions, "Transactions"),
    (Group::List, "Lists"),
    (Group::Scripting, "Scripts and functions"),
    (Group::Server, "Server"),
];

const PREFACE: &str = "\
# Commands

Written from the command table by `UPDATE_DOCS=1 cargo test --lib command::docs`; do not edit.

Replies, options and errors are those of Redis 7.2. *Arity* counts the command's name; a `+` stands for \"or more\". *Keys* are the
positions of the key names.
";

/// The page.
fn page() -> String {
    let mut page = PREFACE.to_owned();
    for (group, title) in GROUPS {
        if !all().any(|found| top(&found).group == *group) {
            continue;
        }
        let _infallible = write!(
            page,
            "\n## {title}\n\n| Command | Arity | Keys | Flags | Time, and what is written | What it does |\n|---|--:|---|---|---|---|\n"
        );
        let mut commands: Vec<_> = all().filter(|found| top(found).group == *group).collect();
        commands.sort_by_key(Found::full_name);
        commands.iter().for_each(|found| page.push_str(&row(found)));
    }
    page
}

/// The command itself, or the container of a subcommand: they are listed together.
fn top(found: &Found) -> &'static CommandSpec {
    found.container.unwrap_or(found.spec)
}

fn row(found: &Found) -> String {
    let spec = found.spec;
    let name = found.full_name().to_ascii_uppercase().replace('|', " ");
    let arity = spec.arity.as_redis();
    let arity = if arity < 0 { format!("{}+", -arity) } else { arity.to_string() };
    let flags: Vec<_> = spec.flags.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect();
    format!(
        "| `{name}` | {arity} | {} | {} | {} | {} |\n",
        keys(spec.keys),
        flags.join(" "),
        cell(spec.complexity),
        cell(spec.summary)
    )
}

/// Text that does not end a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn keys(keys: KeySpec) -> String {
    match keys {
        KeySpec::None => String::new(),
        KeySpec::Range { first, last, .. } if last == first as isize => first.to_string(),
        KeySpec::Range { first, last: -1, step: 1 } => format!("{first}..."),
        KeySpec::Range { first, last: -1, step } => format!("{first}, {}, ...", first + step),
        KeySpec::Range { first, last, .. } => format!("{first} to {last}"),
        KeySpec::Counted { at } => format!("as many as {at} says, after it"),
        KeySpec::OneAndStored { first, .. } => format!("{first}; that of STORE or STOREDIST"),
        KeySpec::TargetAndCounted { target, at } => format!("{target}; as many as {at} says, after it"),
    }
}

#[test]
fn the_page_of_commands_is_up_to_date() {
    let page = page();
    for found in all() {
        assert!(page.contains(&row(&found)), "{} is in no group of the page", found.full_name());
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).expect("a folder for the page");
        std::fs::write(PATH, &page).expect("the page is written");
    }
    let written = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(written == page, "docs/commands.md is out of date: UPDATE_DOCS=1 cargo test --lib command::docs");
}
