//! Words every layer shares: addresses in the pool and the clock. Imports nothing of ours.
#![deny(unsafe_code)]

mod addr;
mod clock;
mod epoch;
pub mod glob;
pub mod mutant;
pub mod sync;

pub use addr::{ADDR_BITS, LogAddr, SegmentId};
pub use clock::Clock;
pub use epoch::{EpochCell, EpochMap, Grace};
