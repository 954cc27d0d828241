//! Histories of the crash tests and their checkers.
//!
//! - [`payload`]: values that say who wrote them, so that torn, foreign and old bytes are seen at once;
//! - [`Ledger`]: keys that one client owns. Its commands run in the order it sent them, so after a crash the keys
//!   must be as the acknowledged commands left them, or as some first few of the unanswered ones left them as well:
//!   exact, whole keys and deadlines, several keys of one command together;
//! - [`Account`]: a database that one client has to itself, with values of every type and transactions: the same, with
//!   the model for what commands do;
//! - [`Register`]: a key that everyone writes. The final value must be one that a register could hold in view of who
//!   finished before whom: not overwritten by an acknowledged write that began later, and not older than what a
//!   reader was shown;
//! - [`Counter`]: a key that everyone increments.
//!
//! The state goes on from one crash to the next, so a value that comes back from the dead two crashes later is seen
//! too.

mod account;
mod ledger;
pub mod payload;
mod shared;

pub use account::Account;
pub use ledger::{Held, Ledger, Operation, Readout, SHORT_LIVED};
pub use shared::{Counter, Register, Ticket};

/// What kind of promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// An acknowledged effect is not there: a value missing, older than acknowledged, or back from the dead.
    Lost,
    /// Something is there that no command wrote whole: mixed or foreign bytes, half of a command's keys.
    Torn,
}

/// A broken promise, with what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its kind.
    pub broken: Broken,
    /// For people: the key, what was expected and what was found.
    pub text: String,
}

impl Violation {
    fn new(broken: Broken, text: String) -> Self {
        Self { broken, text }
    }
}
