//! From segments to records: the parallel scan at start-up, and the tools that look at a pool.
//!
//! Recovery writes nothing to the pool. It reads each segment from its header on, batch by batch, and hands every record of every
//! valid batch to a [`Visitor`]; which record of a key wins is the visitor's business (versions decide, not order).
#![forbid(unsafe_code)]

mod liveness;
mod map;
mod readable;
mod report;
mod scan;
pub mod tools;

pub use liveness::preference;
pub use map::{Charset, SegmentState, SegmentView, draw};
pub use readable::readable_records;
pub use report::{Damage, RecoveryReport};
pub use scan::{Progress, Visitor, scan_pool};
