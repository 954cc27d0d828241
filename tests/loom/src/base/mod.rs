//! The words that all layers share, without what needs an operating system.

#[path = "../../../../src/base/addr.rs"]
mod addr;
#[cfg(crossbeam_loom)]
#[path = "../../../../src/base/epoch.rs"]
mod epoch;
#[path = "../../../../src/base/mutant.rs"]
pub mod mutant;
#[path = "../../../../src/base/sync/mod.rs"]
pub mod sync;

pub use addr::{LogAddr, SegmentId};
#[cfg(crossbeam_loom)]
pub use epoch::EpochCell;
