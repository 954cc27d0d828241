//! What the integration tests and the comparison bench share.
//!
//! - [`Server`]: a server process (the `fencepost` binary or Debian's `redis-server`) on a private port in a
//!   directory of its own, that can be killed, started again over the same data, and asked to stop.
//! - [`Client`] and [`Frame`]: a blocking RESP2/RESP3 client with a full decoder. It is written apart from the
//!   server's own protocol code, so that a shared misreading cannot hide.
//! - [`Rng`] and [`Seed`]: everything random comes from one printed number and can be run again from it.
//! - [`workload`]: random commands; [`model`]: what they should do, slowly and plainly; [`contents`]: what a server holds.
//! - [`history`]: self-describing values and the checkers of the crash tests; [`load`]: their clients.
//!
//! The package has no dependency on the `fencepost` library: it sees a server as clients do.
#![forbid(unsafe_code)]

pub mod client;
pub mod compare;
pub mod contents;
pub mod history;
pub mod load;
pub mod model;
pub mod resp;
pub mod rng;
pub mod server;
pub mod workload;

pub use client::Client;
pub use resp::Frame;
pub use rng::{Rng, Seed};
pub use server::{Program, Server, Storage};

/// A command as its arguments, the name first.
pub type Command = Vec<Vec<u8>>;

/// Makes a command out of words: `command(&["SET", "k", "v"])`.
pub fn command<A: AsRef<[u8]>>(words: &[A]) -> Command {
    words.iter().map(|word| word.as_ref().to_vec()).collect()
}

/// A command as text for messages: binary bytes escaped, long arguments cut.
pub fn show(command: &Command) -> String {
    command.iter().map(|arg| resp::show_bytes(arg)).collect::<Vec<_>>().join(" ")
}
