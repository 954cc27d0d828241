//! What other threads have for a client: bytes that its connection sends between two replies.
//!
//! Messages of channels, invalidations of cached keys and whatever else does not answer the request at hand is written into the client's outbox by the
//! thread that has it, and the connection is woken. It takes all of it at once, behind the replies that it has written already: so what was posted
//! before a command ran may reach the client behind that command's reply, but never within it, and in the order it was posted.
//!
//! Nobody waits: who posts holds the lock for as long as it takes to copy the message, and a client that does not read is cut off once more
//! than its hard limit waits for it, here and in the connection together.
//!
//! Invariants, each under the lock:
//! 1. A message is in the protocol in force when it was appended; whoever changes that takes what waits first, if replies are not in the way.
//! 2. [`Signals::POSTED`](super::clients::Signals::POSTED) is up whenever there are bytes.
//! 3. A shut outbox is empty and stays so.

use crate::base::sync::{Mutex, MutexGuard, PoisonError};
use crate::protocol::{Protocol, ReplyWriter};
use bytes::BytesMut;

/// An outbox that was emptied keeps room for so many bytes.
const KEPT_BYTES: usize = 1024;

/// One client's outbox.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
}

/// What is in it, by who holds the lock.
#[derive(Debug, Default)]
pub struct Queue {
    bytes: BytesMut,
    protocol: Protocol,
    is_shut: bool,
}

impl Outbox {
    /// Takes the lock.
    pub fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Has `write` append a message, in the client's protocol. Says how many bytes wait now; `None` when the outbox is shut.
    pub fn append(&mut self, write: impl FnOnce(&mut ReplyWriter<'_>)) -> Option<usize> {
        if self.is_shut {
            return None;
        }
        write(&mut ReplyWriter::new(&mut self.bytes, self.protocol));
        Some(self.bytes.len())
    }

    /// Moves all that waits to the end of `output`.
    pub fn move_to(&mut self, output: &mut BytesMut) {
        output.extend_from_slice(&self.bytes);
        self.clear();
    }

    /// What is appended from here on is in `protocol`; what waits goes to the end of `output` if it is given.
    pub fn set_protocol(&mut self, protocol: Protocol, output: Option<&mut BytesMut>) {
        self.protocol = protocol;
        if let Some(output) = output {
            self.move_to(output);
        }
    }

    /// Drops what waits, and whatever is appended later.
    pub fn shut(&mut self) {
        self.is_shut = true;
        self.bytes = BytesMut::new();
    }

    /// Whether nothing is taken any more.
    pub fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = BytesMut::new();
        } else {
            self.bytes.clear();
        }
    }
}
