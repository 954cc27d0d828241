//! The only code that makes bytes durable: a mapped [`Region`] and its stores, flushes and fences.
//!
//! A region is a pool file, a character device of persistent memory (device DAX), or anonymous memory, mapped whole. Bytes get into it by [`Region::write`] (or its parts:
//! `copy`, `copy_nt`, `store_u64`, `flush`) and are durable once **the same thread** has called [`Region::fence`]
//! afterwards. What "durable" survives is the medium's promise, see [`Medium`]. A crash
//!
//! - before the fence keeps any subset of the aligned 8-byte units written since the thread's last fence: a dirty line
//!   may reach the medium at any moment, and lines have no order among themselves;
//! - after the fence keeps all of them.
//!
//! Costs, per call: `copy` is a `memcpy`; `flush` one instruction a line; `fence` one `SFENCE`; `read` a bounds check
//! and an addition. A [`Hook`] may be put on a region to record, delay or damage what happens to it; without one each
//! operation pays one predictable comparison, which is its bounds check.
//!
//! # Invariants
//!
//! 1. Nothing outside the mapping is touched: every operation checks its range and panics, or for reads panics too,
//!    when it is not inside. Offsets found in the pool are checked by the layer that reads them, before they get
//!    here.
//! 2. Only this folder holds the region's raw pointer.
//! 3. A range is written only while nobody holds a slice of it from [`Region::read`]: the log writes only to room that
//!    it has reserved and that no reader can have an address of. This is the one thing the types do not enforce.
//! 4. A mapped file is never shortened, and all of its blocks are allocated, while it is mapped: it is locked against
//!    other servers, and `fallocate` ran at creation and whenever it grew. So no access ends in SIGBUS for want of space. Where the medium fails, or somebody
//!    cuts the file short all the same, SIGBUS is met by the handler in `poison`.

mod access;
mod error;
mod file;
mod flush;
mod hooked;
mod mapping;
mod medium;
mod poison;
mod region;
mod sysfs;

pub use error::RegionError;
pub use flush::{CACHE_LINE_BYTES, FlushChoice};
pub use medium::{Granularity, Medium};
pub use pmem_emulation::{Hook, MediaError, Note};
pub use region::{NT_THRESHOLD_BYTES, Region, RegionOptions};
pub use sysfs::MemoryHealth;
