//! What the rules found.

use std::fmt;
use std::panic::Location;

/// Why a line is not durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotDurable {
    /// It was not flushed after it was written.
    NotFlushed,
    /// It was flushed, but the thread that flushed it has not fenced since.
    NotFenced,
    /// It was flushed by another thread, to which it was not handed over: the store may still have been in this
    /// core's store buffer, where that flush does not reach it.
    NotHandedOver,
}

/// One breach of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FindingKind {
    /// An operation was acknowledged while something it wrote could still be lost.
    AckNotDurable {
        /// The operation.
        op: u64,
        /// Byte offset of the line.
        line: u64,
        /// What is missing.
        why: NotDurable,
        /// Who wrote it.
        written_by: &'static Location<'static>,
    },
    /// An `Ack` without its `Begin`.
    AckUnknown {
        /// The operation.
        op: u64,
    },
    /// Non-temporal and plain stores on one line without a fence between: they have no order.
    MixedStores {
        /// Byte offset of the line.
        line: u64,
    },
    /// The region's bytes differ from what was stored through it.
    Bypass {
        /// Byte offset of the first difference.
        at: u64,
    },
    /// Performance: a flush of a line that has nothing to flush, as far as the flushing thread can know.
    CleanFlush {
        /// Byte offset of the line.
        line: u64,
    },
    /// Performance: a fence without a flush before it.
    EmptyFence,
}

impl FindingKind {
    /// Whether it costs time only, and nothing can be lost by it.
    pub fn is_performance(self) -> bool {
        matches!(self, Self::CleanFlush { .. } | Self::EmptyFence)
    }
}

/// A breach of a rule, with its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// Number of the event that showed it, from 0.
    pub event: u64,
    /// The thread, numbered in the order of first appearance.
    pub thread: u32,
    /// Where that event comes from.
    pub site: &'static Location<'static>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FindingKind::AckNotDurable { op, line, why, written_by } => {
                let why = match why {
                    NotDurable::NotFlushed => "was not flushed",
                    NotDurable::NotFenced => "was flushed, but not fenced by the thread that flushed it",
                    NotDurable::NotHandedOver => "was flushed by a thread that it was not handed over to",
                };
                write!(f, "operation {op} is acknowledged, but line {line:#x}, written at {written_by}, {why}")?;
            }
            FindingKind::AckUnknown { op } => write!(f, "operation {op} is acknowledged, but was never begun")?,
            FindingKind::MixedStores { line } => {
                write!(f, "line {line:#x} has plain and non-temporal stores without a fence between")?;
            }
            FindingKind::Bypass { at } => write!(f, "the byte at {at:#x} was written round the region")?,
            FindingKind::CleanFlush { line } => write!(f, "line {line:#x} is flushed, but has nothing to flush")?,
            FindingKind::EmptyFence => write!(f, "a fence with nothing to wait for")?,
        }
        write!(f, " (event {}, thread {}, {})", self.event, self.thread, self.site)
    }
}
