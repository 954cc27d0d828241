//! INFO: Redis's sections and field names, so that its tools read them, and what is ours beside them.

mod sections;

use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Group};
use crate::protocol::Args;
use std::fmt::{Display, Write as _};

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[CommandSpec {
    summary: "Reports on the server, section by section.",
    complexity: "O(N) for N commands and databases",
    flags: Flags::LOADING.union(Flags::STALE),
    ..CommandSpec::new("info", "1.0.0", Group::Server, Arity::AtLeast(1), info)
}];

/// When a section is shown without being named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Always.
    ByDefault,
    /// With `all` and `everything`.
    WithAll,
}

struct Section {
    name: &'static str,
    title: &'static str,
    shown: Shown,
    write: fn(&mut Report, &Ctx<'_>),
}

const fn section(name: &'static str, title: &'static str, shown: Shown, write: fn(&mut Report, &Ctx<'_>)) -> Section {
    Section { name, title, shown, write }
}

/// In the order in which they are shown.
const SECTIONS: &[Section] = &[
    section("server", "Server", Shown::ByDefault, sections::server),
    section("clients", "Clients", Shown::ByDefault, sections::clients),
    section("memory", "Memory", Shown::ByDefault, sections::memory),
    section("persistence", "Persistence", Shown::ByDefault, sections::persistence),
    section("stats", "Stats", Shown::ByDefault, sections::stats),
    section("replication", "Replication", Shown::ByDefault, sections::replication),
    section("cpu", "CPU", Shown::ByDefault, sections::cpu),
    section("modules", "Modules", Shown::ByDefault, |_, _| {}),
    section("commandstats", "Commandstats", Shown::WithAll, sections::commandstats),
    section("errorstats", "Errorstats", Shown::ByDefault, sections::errorstats),
    section("latencystats", "Latencystats", Shown::WithAll, sections::latencystats),
    section("cluster", "Cluster", Shown::ByDefault, |report, _| report.field("cluster_enabled", 0)),
    section("keyspace", "Keyspace", Shown::ByDefault, sections::keyspace),
];

/// The text of a reply, as it grows.
#[derive(Default)]
struct Report {
    text: String,
}

impl Report {
    fn title(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push_str("\r\n");
        }
        self.write(format_args!("# {title}\r\n"));
    }

    fn field(&mut self, name: &str, value: impl Display) {
        self.write(format_args!("{name}:{value}\r\n"));
    }

    /// A size in bytes, and the same for people.
    fn size(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(&format!("{name}_human"), human(bytes));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        let _infallible = self.text.write_fmt(text);
    }
}

/// A size as people read it: `1.50M`.
fn human(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match UNITS.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}

fn info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut report = Report::default();
    for section in SECTIONS.iter().filter(|section| is_asked_for(section, args)) {
        report.title(section.title);
        (section.write)(&mut report, ctx);
    }
    ctx.reply.verbatim("txt", report.text.as_bytes());
    Ok(())
}

fn is_asked_for(section: &Section, args: Args<'_>) -> bool {
    if args.len() == 1 {
        return section.shown == Shown::ByDefault;
    }
    args.from(1).iter().any(|name| {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        match name.as_str() {
            "default" => section.shown == Shown::ByDefault,
            "all" | "everything" => true,
            "module_list" => section.name == "modules",
            name => section.name == name,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1536), "1.50K");
        assert_eq!(human(5 << 30), "5.00G");
    }
}
