//! The sources of Fencepost that threads meet in, compiled over loom's atomics. See `docs/testing.md`.
//!
//! Nothing is copied but the memory of the index: `raw.rs` here stands for `src/index/raw.rs`, whose arrays over mapped memory loom cannot follow, with
//! buckets of two slots instead of seven and tables that begin with two rows instead of sixteen, so that chains, splits and merges take a few keys.

pub mod base;
#[path = "../../../src/index/mod.rs"]
pub mod index;
#[path = "../../../src/store/stripes.rs"]
pub mod stripes;
