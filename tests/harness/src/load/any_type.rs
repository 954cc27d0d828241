//! Clients that have a database each and use values of every type in it, one command at a time, in pipelines and in
//! transactions. What may be there after the crash is told by the [model](crate::model) ([`Account`]), which `tests/model.rs` compares with
//! Redis.
//!
//! Their connections are the harness's: the replies of a transaction are checked frame by frame.

use super::{End, Load};
use crate::history::{Account, Broken, Violation};
use crate::workload::Workload;
use crate::{Client, Command, Rng};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

/// Of so many commands one may be of any kind. Most of these put something else at the key of a collection.
const ANY_KIND_ONE_IN: u64 = 5;

/// One client in one round.
pub(super) struct Owner {
    account: Account,
    client: Client,
    load: Arc<Load>,
    workload: Workload,
}

/// Commands over values of every type that stay within a database; those for fields that expire only where the server knows them.
pub fn workload(rng: Rng, has_field_expiry: bool) -> Workload {
    let workload = Workload::new(rng).without_databases();
    if has_field_expiry { workload.with_field_expiry() } else { workload }
}

/// Field and value together, in bytes, that fit into a segment of a small pool (`docs/operations.md`).
const ELEMENT_MOST: usize = 250_000;

/// The next of them.
pub fn command(workload: &mut Workload) -> Command {
    // Ends: few words are long.
    loop {
        let any_kind = workload.rng().one_in(ANY_KIND_ONE_IN);
        let command = if any_kind { workload.command() } else { workload.collection_command() };
        if command.windows(2).all(|pair| pair[0].len() + pair[1].len() <= ELEMENT_MOST) {
            return command;
        }
    }
}

impl Owner {
    /// A client of the server at this address, which knows fields that expire or does not.
    pub(super) fn new(
        account: Account,
        address: SocketAddr,
        has_field_expiry: bool,
        load: Arc<Load>,
        rng: Rng,
    ) -> Self {
        let client = Client::connect(address).expect("a ready server accepts");
        Self { account, client, load, workload: workload(rng, has_field_expiry) }
    }

    /// Works until the server is gone.
    pub(super) fn run(mut self) -> (Account, Option<Violation>) {
        let mut step = self.client.call(&["SELECT", &self.account.database().to_string()]).map(drop).map_err(end);
        while step.is_ok() {
            step = self.pipeline();
        }
        match step {
            Err(End::Wrong(violation)) => (self.account, Some(violation)),
            _ => (self.account, None),
        }
    }

    /// Sends a command or a transaction, or up to 32 of them at once, and takes the replies one by one.
    fn pipeline(&mut self) -> Result<(), End> {
        let depth = if self.workload.rng().one_in(3) { self.workload.rng().between(1, 32) } else { 1 };
        let mut awaited = 0;
        for _ in 0..depth {
            let together = self.workload.rng().one_in(4);
            let count = if together { self.workload.rng().between(1, 8) } else { 1 };
            let commands = (0..count).map(|_| command(&mut self.workload)).collect();
            for command in self.account.invoke(commands, together, self.load.now_ms()) {
                self.client.send(&command);
                awaited += 1;
            }
        }
        self.client.flush().map_err(end)?;
        for _ in 0..awaited {
            let reply = self.client.receive().map_err(end)?;
            for _ in 0..self.account.acknowledge(&reply)? {
                self.load.acknowledge();
            }
        }
        Ok(())
    }
}

/// Why a reply did not come.
fn end(error: io::Error) -> End {
    if error.kind() == ErrorKind::InvalidData {
        End::Wrong(Violation { broken: Broken::Torn, text: error.to_string() })
    } else {
        End::Killed
    }
}
