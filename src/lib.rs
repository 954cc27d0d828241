//! Fencepost: a RESP store for persistent memory. Every acknowledged write is already past the fence.
//!
//! A write is stored, flushed and fenced in a memory-mapped pool before it becomes visible in the index and
//! before it is answered. Start with `docs/architecture.md`; then follow one `SET` through
//! [`server`], [`protocol`], [`command`], [`store`], [`log`], [`persist`] and [`index`].
//!
//! Layers import downward only, and rooms on one row do not import each other:
//!
//! ```text
//! 8 main, config    7 server    6 command    5 store, pubsub    4 recovery, cleaner
//! 3 log, index      2 pool      1 persist, protocol     0 base, pmem-emulation (a crate)
//! ```

pub mod base;
pub mod cleaner;
pub mod command;
pub mod config;
pub mod index;
pub mod log;
pub mod persist;
pub mod pool;
pub mod protocol;
pub mod pubsub;
pub mod recovery;
pub mod server;
pub mod store;
