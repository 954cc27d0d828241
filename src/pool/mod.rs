//! One mapped region cut into segments: superblock pair, segment states, and which segments are free.
//!
//! Durable here are only the superblock copies, the words in each segment's header ([`mod@format`]), and on a file the sync marks, which say what a power
//! cut leaves (`epochs.rs`, `cut.rs`, `sync_mark.rs`). How much of a segment is live is DRAM state that recovery rebuilds.
//!
//! Both superblock copies say the same while the pool is at rest: an update writes one copy, fences, and then the other. So
//! whichever copy is damaged later, the other one is current, and a torn update leaves the former state whole.
#![forbid(unsafe_code)]

mod create;
mod cut;
mod demand;
mod epochs;
mod error;
mod flow;
pub mod format;
mod grow;
mod segments;
mod states;
mod superblock;
mod sync_mark;

pub use create::PoolOptions;
pub use cut::Cut;
pub use epochs::{Appender, SyncFailed};
pub use error::{PoolError, PoolFull};
pub use flow::{Flow, FlowTotals};
pub use grow::MAX_POOL_BYTES;
pub use segments::{OpenSegment, Phase, SegmentHeader, SegmentUse, Urgency};
pub use sync_mark::{LogEnd, SyncMark};

use crate::base::SegmentId;
use crate::base::sync::Mutex;
use crate::persist::{MediaError, Region};
use format::{SEGMENT_HEADER_BYTES, Superblock};

/// An open pool: the only holder of its region.
pub struct Pool {
    region: Region,
    uuid: [u8; 16],
    hash_key: [u8; 16],
    data_offset: u64,
    segment_bytes: u64,
    stripe_count: u32,
    superblock: Mutex<Superblock>,
    segments: segments::Segments,
    flows: flow::Flows,
    /// Held by who makes the pool larger.
    growing: Mutex<()>,
    demand: demand::Demand,
    /// Where a sync is needed for what a fence does elsewhere.
    epochs: Option<epochs::Epochs>,
    /// What recovery goes by, until the pool says the same.
    cut: Mutex<Option<std::sync::Arc<Cut>>>,
}

impl Pool {
    /// The mapped bytes.
    #[inline]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The pool's identity.
    pub fn uuid(&self) -> &[u8; 16] {
        &self.uuid
    }

    /// Key of the index's hash.
    pub fn hash_key(&self) -> &[u8; 16] {
        &self.hash_key
    }

    /// Number of stripes, a power of two.
    pub fn stripe_count(&self) -> u32 {
        self.stripe_count
    }

    /// Size of a segment in bytes, header included.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Number of segments. It may grow.
    #[inline]
    pub fn segment_count(&self) -> u32 {
        self.segments.count()
    }

    /// The largest commit batch, in bytes: what a segment holds behind its header.
    pub fn max_batch_bytes(&self) -> u64 {
        self.segment_bytes - SEGMENT_HEADER_BYTES
    }

    /// Where segment `id` starts in the pool.
    #[inline]
    pub fn segment_offset(&self, id: SegmentId) -> u64 {
        self.data_offset + u64::from(id.0) * self.segment_bytes
    }

    /// The segment that the byte at `offset` of the pool is in; `None` before the first and behind the last.
    #[inline]
    pub fn segment_of(&self, offset: u64) -> Option<SegmentId> {
        let number = offset.checked_sub(self.data_offset)? >> self.segment_bytes.trailing_zeros();
        (number < u64::from(self.segment_count())).then_some(SegmentId(number as u32))
    }

    /// Reads bytes that a checked address points to.
    ///
    /// The medium failing under a record that was acknowledged cannot be answered with a value or with "no such key";
    /// until such keys can be marked unreadable the process stops instead.
    #[inline]
    pub fn read(&self, at: u64, len: u64) -> &[u8] {
        match self.region.read(at, len) {
            Ok(bytes) => bytes,
            Err(fault) => stop_on_media_error(fault),
        }
    }
}

/// Ends the process: the pool cannot be read where it must be.
#[cold]
fn stop_on_media_error(fault: MediaError) -> ! {
    tracing::error!(%fault, "the pool cannot be read; stopping, as any answer might be wrong");
    std::process::abort();
}
