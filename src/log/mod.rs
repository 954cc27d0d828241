//! Append-only records in commit batches inside segments.
//!
//! A commit batch is the atom of persistence: written once, flushed, fenced once; its checksum tells after a crash whether all
//! of it is there. What does not fit into one batch, or is written bit by bit, is an [`Atom`] of several. Records are what batches hold.
//! [`mod@format`] has the layout; nothing here ever changes bytes that are durable.
#![forbid(unsafe_code)]

mod atom;
mod batch;
mod cut;
mod cuts;
pub mod format;
mod packed;
mod reader;
mod record;
mod writer;

pub use atom::{Atom, AtomId};
pub use batch::{BatchBuilder, BatchMark};
pub use cut::go_by_last_sync;
pub use cuts::{Cut, ScoredName};
pub use packed::{PACKED_MOST, Packed, PackedElement, PackedElements};
pub use reader::{SegmentFault, SegmentScan, batch_at, record_at, scan_batches, scan_segment, try_record_at};
pub use record::{Kind, LABEL_STEP, NewRecord, Object, ObjectType, Record, RecordError, chunk_mark, is_whole};
pub use writer::{AppendError, Writer};
