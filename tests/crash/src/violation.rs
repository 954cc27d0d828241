//! What is wrong, where it showed, and how to see it again.

use pmem_emulation::{CrashToken, Domain, Kept};
use std::fmt;

/// How a violation was found: the cheapest way first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Level {
    /// Without any crash: the run itself is wrong.
    Run,
    /// A rule that holds on every trace.
    Rule,
    /// A reader could see what was not durable.
    Visible,
    /// The checksum's mechanism, on hand-made batches.
    Mechanism,
    /// Everything stored so far had reached the medium.
    Prefix,
    /// What recovery's reads single out.
    Exhaustive,
    /// Images that stand for the others.
    Representative,
    /// By a seed.
    Random,
    /// Recovery itself was cut.
    Nested,
    /// The run went on after recovery, and was cut again.
    Continued,
    /// The pool is a file, and of the pages written since the last sync some have reached the disk.
    PageCache,
}

impl Level {
    pub const ALL: [Self; 11] = [
        Self::Run,
        Self::Rule,
        Self::Visible,
        Self::Mechanism,
        Self::Prefix,
        Self::Exhaustive,
        Self::Representative,
        Self::Random,
        Self::Nested,
        Self::Continued,
        Self::PageCache,
    ];

    /// The word for it in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Rule => "rule",
            Self::Visible => "visibility",
            Self::Mechanism => "mechanism",
            Self::Prefix => "L0",
            Self::Exhaustive => "L1",
            Self::Representative => "L2",
            Self::Random => "L3",
            Self::Nested => "nested",
            Self::Continued => "continued",
            Self::PageCache => "page cache",
        }
    }
}

/// One cut of a trace, and what it keeps: `17:2040=ff`, or `eadr.17:2040=ff`, `file.17:2000=ff` in the other domains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    pub domain: Domain,
    /// Events before it.
    pub position: usize,
    pub kept: Kept,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = match self.domain {
            Domain::Adr => "",
            Domain::Eadr => "eadr.",
            Domain::PageCache => "file.",
        };
        write!(f, "{domain}{}:{}", self.position, self.kept)
    }
}

impl std::str::FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (domain, rest) = match text.split_once('.') {
            None => (Domain::Adr, text),
            Some(("eadr", rest)) => (Domain::Eadr, rest),
            Some(("file", rest)) => (Domain::PageCache, rest),
            Some((other, _)) => return Err(format!("{other:?} is no domain")),
        };
        let CrashToken { position, choice } = rest.parse()?;
        match choice {
            pmem_emulation::Choice::Kept(kept) => Ok(Self { domain, position, kept }),
            _ => Err(format!("{text:?} does not say what was kept")),
        }
    }
}

/// The name of one crash state, or of a run without a crash: workload, the steps of it, and the cuts, each in the recovery after the one
/// before. Written as `random/2a/40:0,3,5@17:2040=ff@5:-`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    pub workload: String,
    /// The steps that are run, by their numbers in the workload.
    pub steps: Vec<usize>,
    pub cuts: Vec<Cut>,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.steps.iter().map(usize::to_string).collect();
        write!(f, "{}:{}", self.workload, steps.join(","))?;
        self.cuts.iter().try_for_each(|cut| write!(f, "@{cut}"))
    }
}

impl std::str::FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a replay token");
        let mut parts = text.split('@');
        let (workload, steps) = parts.next().and_then(|head| head.split_once(':')).ok_or_else(wrong)?;
        let steps: Result<Vec<usize>, _> = steps.split(',').filter(|step| !step.is_empty()).map(str::parse).collect();
        let cuts: Result<Vec<Cut>, String> = parts.map(str::parse).collect();
        Ok(Self { workload: workload.to_owned(), steps: steps.map_err(|_| wrong())?, cuts: cuts? })
    }
}

/// Something that must never be.
#[derive(Clone, Debug)]
pub struct Violation {
    pub level: Level,
    pub token: Token,
    /// What is wrong, for people.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.level.name(), self.token, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_as_written() {
        for text in
            ["random/2a/40:0,3,5@17:2040=ff+2080=ff,03@eadr.5:-", "ace/1.2:@file.0:1000=80", "special/creation:0"]
        {
            assert_eq!(text.parse::<Token>().unwrap().to_string(), text);
        }
        assert!("ace".parse::<Token>().is_err());
        assert!("ace/1:x".parse::<Token>().is_err());
        assert!("ace/1:0@5:durable".parse::<Token>().is_err());
    }
}
