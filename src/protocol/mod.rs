//! RESP bytes to requests and replies to RESP bytes. Knows no socket and no store.
//!
//! [`RequestParser`] finds requests in the read buffer and leaves them there: a command sees its arguments as [`Args`],
//! slices of that buffer. [`ReplyWriter`] writes replies straight into the output buffer.
#![forbid(unsafe_code)]

mod args;
mod error;
mod inline;
pub mod limits;
mod number;
mod reply;
mod request;

pub use args::{ArgSpans, Args};
pub use error::ProtocolError;
pub use limits::RequestLimits;
pub use reply::{Protocol, ReplyWriter};
pub use request::{Parsed, RequestParser};
