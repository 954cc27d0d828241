//! What has each command looked at more closely: one word, read for each command, that is nearly always zero.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

bitflags::bitflags! {
    /// What is asked for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Attention: u32 {
        /// Every call is timed, also of fast commands.
        const TIMES = 1;
        /// Somebody has said MONITOR.
        const MONITOR = 1 << 1;
        /// No commands run together: each is to be told of for itself.
        const SINGLY = 1 << 2;
    }
}

/// The word.
#[derive(Debug, Default)]
pub struct AttentionWord(AtomicU32);

impl AttentionWord {
    /// What is asked for now.
    #[inline]
    pub fn get(&self) -> Attention {
        // Relaxed: commands that overlap a change of it may see it or not.
        Attention::from_bits_retain(self.0.load(Relaxed))
    }

    /// Asks for something, or no longer.
    pub fn set(&self, asked: Attention, on: bool) {
        if on {
            self.0.fetch_or(asked.bits(), Relaxed);
        } else {
            self.0.fetch_and(!asked.bits(), Relaxed);
        }
    }
}
