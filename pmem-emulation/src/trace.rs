//! The record of what happened to a region.

use std::panic::Location;
use std::sync::Arc;

use crate::hook::Note;

/// One operation, as it took its place among all others.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The thread, numbered in the order of first appearance.
    pub thread: u32,
    /// Where it was asked for.
    pub site: &'static Location<'static>,
    /// What it was.
    pub kind: EventKind,
}

/// The operations that are recorded. Offsets and lengths in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// One aligned unit.
    Store {
        /// Where.
        at: u64,
        /// The bytes, as they lie in memory.
        bytes: [u8; 8],
    },
    /// Plain stores in no order.
    Copy {
        /// Where.
        at: u64,
        /// The bytes.
        bytes: Span,
    },
    /// Non-temporal stores.
    CopyNt {
        /// Where.
        at: u64,
        /// The bytes.
        bytes: Span,
    },
    /// Write-back of the lines that the range touches.
    Flush {
        /// Where.
        at: u64,
        /// How long.
        len: u64,
    },
    /// A fence.
    Fence,
    /// Everything written so far has reached the disk beneath a file.
    Sync,
    /// The region has become longer, durably; the new bytes are zeros.
    Grow {
        /// Bytes that it has now.
        len: u64,
    },
    /// The user's own word.
    Note(Note),
}

/// Bytes kept in the trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// A recorded history: the bytes at the start, and what was done to them.
#[derive(Clone, Default)]
pub struct Trace {
    pub(crate) base: Arc<Vec<u8>>,
    pub(crate) events: Vec<Event>,
    pub(crate) data: Vec<u8>,
    pub(crate) truncated: bool,
}

impl Trace {
    /// The region before the first event.
    pub fn base(&self) -> &[u8] {
        &self.base
    }

    /// All events, in the order in which they happened.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Whether the recorder ran into its limit, so that events are missing at the end.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The bytes behind a span of one of this trace's events.
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.data[span.start..][..span.len]
    }
}

/// A small generator of numbers from a seed (SplitMix64), so that the crate needs no other.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0. The bias is of no account for the small bounds used here.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
