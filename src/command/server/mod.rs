//! Commands about the server itself: what it is, how it fares, what it can do, and how it is stopped.
//!
//! Parts of Redis that do not exist here (replication, a cluster, modules, scripts) answer as Redis does where there are none.

pub(super) mod acl;
pub(super) mod cluster;
pub(super) mod commands;
pub(super) mod debug;
pub(super) mod info;
pub(super) mod latency;
pub(super) mod memory;
pub(super) mod module;
mod process;
pub(super) mod replication;
pub(super) mod saving;
pub(super) mod scripting;
pub(super) mod slowlog;
pub(super) mod time;

#[cfg(test)]
mod tests;

use super::Flags;

/// Flags of administrative commands that are always allowed.
const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

/// This server's own version.
const FENCEPOST_VERSION: &str = env!("CARGO_PKG_VERSION");
