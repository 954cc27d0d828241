//! Commands: a table of specs, each beside its handler, and what they need of their session.
//!
//! A handler reads [`Args`](crate::protocol::Args), calls the store and writes its reply; it never sees a socket. A family is one file plus a line in [`FAMILIES`].
#![forbid(unsafe_code)]

mod attention;
mod bitmap;
pub mod blocking;
pub mod clients;
mod collection;
mod config;
mod connection;
mod context;
mod direct;
#[cfg(test)]
mod docs;
mod error;
mod events;
mod eviction;
mod generic;
mod geo;
mod hash;
mod help;
mod histogram;
mod hyperloglog;
mod list;
mod lookups;
mod monitor;
mod outbox;
mod parse;
pub mod pubsub;
mod rdb;
mod run;
mod server;
mod set;
pub mod settings;
mod shared;
mod sort;
mod sorted_set;
mod spec;
pub mod stats;
mod string;
mod table;
#[cfg(test)]
mod testing;
mod tracking;
mod transaction;

pub use crate::base::glob;
pub use attention::{Attention, AttentionWord};
pub use clients::{Client, Clients};
pub use connection::leave;
pub use context::{After, Ctx, Modes, ReplyMode, Session};
pub use direct::Direct;
pub use error::CommandError;
pub use events::Events;
pub use run::{Answer, Look, Together, execute_run, look_ahead};
pub use settings::Settings;
pub use shared::{Identity, Loading, Pause, PauseScope, PauseWindow, REDIS_VERSION, Shared, ShutdownRequest};
pub use spec::{Arity, CommandSpec, Flags, Group, Handler, KeySpec};
pub use stats::{Stats, WorkerStats};
pub use table::{CommandId, FAMILIES, Found, ID_COUNT, all, by_full_name, by_id, container, execute, find, resolve};
