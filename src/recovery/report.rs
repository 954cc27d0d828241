//! What recovery found.

use crate::base::SegmentId;
use crate::log::SegmentFault;
use crate::persist::MediaError;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// A damaged place in the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: SegmentId,
    /// Byte offsets in the pool.
    pub range: Range<u64>,
    /// What is wrong.
    pub fault: SegmentFault,
}

impl Damage {
    /// What the medium says, where it fails itself: nothing that is written there can be relied on either.
    pub fn of_medium(&self) -> Option<MediaError> {
        match self.fault {
            SegmentFault::Media(error) => Some(error),
            _ => None,
        }
    }

    /// Whether it is a long string whose chunks are gone: the range is its head then, which is whole.
    pub fn is_of_long_string(&self) -> bool {
        self.fault == SegmentFault::Chunks
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { segment, range, fault } = self;
        let what = match fault {
            SegmentFault::Header => "the segment's header fails its check".to_string(),
            SegmentFault::Media(error) => format!("the medium cannot be read: {error}"),
            SegmentFault::Batch => "a commit batch fails its checksum".to_string(),
            SegmentFault::Record(error) => format!("a record makes no sense: {error}"),
            SegmentFault::Chunks => "a long string has lost chunks".to_string(),
            SegmentFault::Seal => "the segment's seal fails its check".to_string(),
        };
        write!(f, "segment {segment}, bytes {:#x}..{:#x}: {what}", range.start, range.end)
    }
}

/// Counts of one recovery.
#[derive(Debug, Clone, Default)]
pub struct RecoveryReport {
    /// Segments that held records.
    pub segments: u64,
    /// Bytes of log read.
    pub bytes: u64,
    /// Valid commit batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Writes that were in flight when the last user of the pool ended: byte offsets in the pool. Never acknowledged.
    pub unfinished: Vec<u64>,
    /// Atoms of which there are parts and no commit: writes that were in flight, and never acknowledged. In a damaged pool their commits may be lost.
    pub uncommitted: u64,
    /// Damage, in no order.
    pub damage: Vec<Damage>,
    /// Segments that hold records and are not sealed: number and end in bytes.
    pub unsealed: Vec<(SegmentId, u64)>,
    /// A power cut may have left any pages of the pool, and no sync is known to go by: it was written by an older release, or its marks are lost.
    pub sync_unknown: bool,
    /// Wall time.
    pub elapsed: Duration,
    /// Threads that scanned.
    pub threads: usize,
}
