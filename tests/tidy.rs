//! Polices the floor plan: what `docs/architecture.md` and the crate's root say of layers, unsafe code and files
//! stays true.
//!
//! Each rule reads the sources as text. That is crude and enough: the rules are about what stands where, and a false
//! alarm is a line to look at, not a mystery.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers from the bottom up; rooms on one row do not import each other.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["persist", "protocol"],
    &["pool"],
    &["log", "index"],
    &["recovery", "cleaner"],
    &["store", "pubsub"],
    &["command"],
    &["server"],
    &["config", "main"],
];

/// What may hold unsafe code. Everything else is safe.
const UNSAFE_PLACES: &[&str] =
    &["src/base/epoch.rs", "src/index/raw.rs", "src/persist/", "tests/damage/poison.rs", "benches/index-rivals/"];

/// What may lie at the top of the tree.
const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    ".github",
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "benches",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "fencepost.conf",
    "pmem-emulation",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "scripts",
    "src",
    "tests",
];

/// Files settle under about 500 lines; beyond this one has outgrown its concept.
const LINES_MAX: usize = 650;

/// Places that wait for another process, where there is no event to wait for.
const SLEEPERS: &[&str] = &["tests/dax/guest.rs", "tests/harness/src/server.rs", "tests/tidy.rs"];

/// A source file: its path from the root of the tree, with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines that are code, with their numbers: comments left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        self.text.lines().enumerate().filter(move |(_, line)| is_code(line)).map(|(index, line)| (index + 1, line))
    }

    /// The room it belongs to: `store` for `src/store/txn.rs` and for `src/store.rs`.
    fn room(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        Some(inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs"))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust sources of the tree, build output left out.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for top in ["src", "pmem-emulation", "tests", "benches"] {
        collect(&root().join(top), &mut found);
    }
    assert!(found.len() > 20, "the sources are not where they are looked for");
    found
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.expect("a folder of ours can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let below = path.strip_prefix(root()).expect("it was found below the root");
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            found.push(Source { path: below.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

/// Fails with all complaints at once.
fn report(rule: &str, complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{rule}:\n  {}", complaints.join("\n  "));
}

fn row(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms that a line names as `crate::room` or `fencepost::room`; `use crate::{a, b::c}` names two.
fn named_rooms(line: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for start in line.match_indices("crate::").map(|(at, found)| at + found.len()) {
        let rest = &line[start..];
        // `$crate::` and `in crate::` name rooms just as well.
        match rest.strip_prefix('{') {
            Some(list) => top_level_items(list).for_each(|item| rooms.extend(first_word(item))),
            None => rooms.extend(first_word(rest)),
        }
    }
    rooms
}

/// The items of a `use` list up to its closing brace, nested lists kept together.
fn top_level_items(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let end = list.find(|letter| {
        depth += match letter {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth < 0
    });
    let mut inside = 0;
    list[..end.unwrap_or(list.len())].split(move |letter| {
        inside += match letter {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        letter == ',' && inside == 0
    })
}

fn first_word(text: &str) -> Option<String> {
    let word: String =
        text.trim_start().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// Text with each `use` statement on one line, so that lists over several lines are seen whole.
fn joined_uses(source: &Source) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in source.code() {
        let starts = line.trim_start().trim_start_matches("pub ").starts_with("use ");
        match lines.last_mut() {
            Some((_, last)) if open => last.push_str(line),
            _ => lines.push((number, line.to_owned())),
        }
        open = (open || starts) && !line.contains(';');
    }
    lines
}

#[test]
fn layers_import_downward_only() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| source.path != "src/lib.rs") {
        let Some(room) = source.room() else { continue };
        let Some(own) = row(room) else {
            complaints.push(format!("{}: the room {room} has no place in the floor plan (tests/tidy.rs)", source.path));
            continue;
        };
        for (number, line) in joined_uses(source) {
            for other in named_rooms(&line) {
                if other != room && row(&other).is_some_and(|other| other >= own) {
                    complaints.push(format!("{}:{number}: {room} imports {other}, which is not below it", source.path));
                }
            }
        }
    }
    report("layers import downward only", complaints);
}

#[test]
fn the_emulation_and_the_harness_are_leaves() {
    let mut complaints = Vec::new();
    for source in sources() {
        let leaf = source.path.starts_with("pmem-emulation/") || source.path.starts_with("tests/harness/");
        for (number, line) in source.code().filter(|_| leaf) {
            if line.contains("fencepost::") || line.contains("extern crate fencepost") {
                complaints.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    report("the emulation and the harness know nothing of the server's code", complaints);
}

#[test]
fn unsafe_code_stays_in_its_places() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| source.path != "tests/tidy.rs") {
        let is_in = |place: &&str| source.path == **place || (place.ends_with('/') && source.path.starts_with(*place));
        let allowed = UNSAFE_PLACES.iter().any(is_in);
        for (number, line) in source.code() {
            let unsafe_word =
                line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == "unsafe");
            if unsafe_word && !allowed {
                complaints.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    report("unsafe code stays in the places that tests/tidy.rs names", complaints);
}

#[test]
fn every_module_says_what_it_is() {
    let mut complaints = Vec::new();
    for source in sources() {
        let first = source.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
        if !first.is_some_and(|line| line.starts_with("//!")) {
            complaints.push(source.path);
        }
    }
    report("every file opens with a module doc", complaints);
}

#[test]
fn nothing_is_left_undone_or_switched_off() {
    let marks = ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "FIXME", "XXX"];
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| source.path != "tests/tidy.rs") {
        for (number, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                complaints.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    report("nothing is left undone, no test is switched off", complaints);
}

#[test]
fn lints_are_silenced_only_with_a_reason() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| source.path != "tests/tidy.rs") {
        for (number, line) in source.code() {
            if line.contains("#[allow(") || line.contains("#![allow(") {
                complaints.push(format!("{}:{number}: {} (use expect with a reason)", source.path, line.trim()));
            }
        }
    }
    report("lints are silenced only with a reason", complaints);
}

#[test]
fn tests_wait_for_events_and_not_for_time() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| !SLEEPERS.contains(&source.path.as_str())) {
        let mut in_tests = source.path.starts_with("tests/") || source.path.ends_with("/tests.rs");
        for (number, line) in source.code() {
            in_tests |= line.contains("#[cfg(test)]");
            if in_tests && line.contains("thread::sleep") {
                complaints.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    report("tests wait for events, not for time (or tests/tidy.rs names the place)", complaints);
}

#[test]
fn files_keep_to_one_concept() {
    let long = |source: &Source| {
        let lines = source.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    };
    report(
        &format!("no file has more than {LINES_MAX} lines; cut along a concept"),
        sources().iter().filter_map(long).collect(),
    );
}

#[test]
fn no_stray_files_at_the_top() {
    let output = std::process::Command::new("git").args(["ls-files"]).current_dir(root()).output();
    let names: BTreeSet<String> = match output {
        // What is in the repository; what a build or a run leaves beside it is nobody's concern.
        Ok(output) if output.status.success() => {
            let listed = String::from_utf8_lossy(&output.stdout).into_owned();
            listed.lines().filter_map(|path| path.split('/').next().map(str::to_owned)).collect()
        }
        // A source archive without git.
        _ => return,
    };
    let strays = names.into_iter().filter(|name| !TOP.contains(&name.as_str())).collect();
    report("no stray files at the top of the tree (or tests/tidy.rs names them)", strays);
}

#[test]
fn the_reader_of_imports_reads_them_right() {
    let rooms = |line: &str| named_rooms(line).into_iter().collect::<Vec<_>>();
    assert_eq!(rooms("use crate::store::Store;"), ["store"]);
    assert_eq!(rooms("use crate::{base::Clock, log::{Reader, Writer}, pool};"), ["base", "log", "pool"]);
    assert_eq!(rooms("let x = crate::index::probe(crate::base::now());"), ["base", "index"]);
    assert_eq!(rooms("use super::index;"), Vec::<String>::new());
    let source = Source {
        path: "src/log/mod.rs".into(),
        text: "use crate::{\n    base::Clock,\n    store::Store,\n};\nfn f() {}".into(),
    };
    let lines = joined_uses(&source);
    assert_eq!(named_rooms(&lines[0].1).into_iter().collect::<Vec<_>>(), ["base", "store"]);
    assert_eq!(lines.len(), 2);
}
