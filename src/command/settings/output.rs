//! How much may wait to be sent to clients: `client-output-buffer-limit`, as whoever sends to one looks it up.

use super::OutputLimit;
use crate::command::clients::ClientClass;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The limits of all classes of clients. At first there are none.
#[derive(Debug, Default)]
pub struct OutputLimits {
    /// For each class: hard limit, soft limit, seconds above the soft limit.
    classes: [[AtomicU64; 3]; 2],
}

impl OutputLimits {
    /// How much may wait to be sent to a client of that class.
    pub fn of(&self, class: ClientClass) -> OutputLimit {
        let [hard, soft, secs] = &self.classes[match class {
            ClientClass::Normal => 0,
            ClientClass::PubSub => 1,
        }];
        OutputLimit {
            hard_bytes: hard.load(Relaxed),
            soft_bytes: soft.load(Relaxed),
            soft_for: Duration::from_secs(secs.load(Relaxed)),
        }
    }

    pub(super) fn set(&self, classes: [[u64; 3]; 2]) {
        for (cell, value) in self.classes.as_flattened().iter().zip(classes.as_flattened()) {
            cell.store(*value, Relaxed);
        }
    }
}
