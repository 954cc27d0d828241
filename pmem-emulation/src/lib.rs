//! Records, delays, damages and crashes a persistent-memory region, so that its user can be tested without one.
//!
//! A region that supports this crate reports each of its operations to a [`Hook`]. Nothing here knows what the
//! region's bytes mean: the crate is a leaf, and the same hooks serve unit tests, the crash explorer and
//! `--emulate-latency`.
//!
//! - [`Recorder`] keeps the [`Trace`] of what happened and checks cheap rules on the way: what is acknowledged is
//!   durable, no write goes round the region, no flush or fence is wasted.
//! - [`Replay`] walks a trace and gives the images that a power cut at each point could leave.
//! - [`Latency`] makes memory as slow as a persistent one.
//! - [`Faults`] makes lines unreadable, [`FailingCalls`] system calls fail.

#![forbid(unsafe_code)]

mod crash;
mod fault;
mod finding;
mod hook;
mod kept;
mod latency;
mod lazy;
mod model;
mod objects;
mod recorder;
mod trace;

pub use crash::{Choice, Crash, CrashToken, Promises, Replay};
pub use fault::{FailingCalls, Faults};
pub use finding::{Finding, FindingKind, NotDurable};
pub use hook::{Both, Call, Hook, Mapping, MediaError, Note};
pub use kept::{Kept, KeptLine};
pub use latency::{Latency, LatencyModel, ParseLatencyError};
pub use lazy::{Lazy, LazyRun, Reads};
pub use model::{Domain, Flaw, LINE_BYTES, UNIT_BYTES};
pub use objects::{Object, Values};
pub use recorder::{Counters, Recorder, RecorderOptions};
pub use trace::{Event, EventKind, Trace};
