//! What flows into a pool, to tell how much it writes for each byte that users do.

use super::Pool;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that a persistent medium writes at once: flushing one line of a block writes the block.
const BLOCK_BYTES: u64 = 256;

/// What one writer has appended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    user: u64,
    blocks: u64,
    copied: u64,
}

impl Flow {
    /// Counts a batch of `bytes` that was appended at `at`, with keys and values of `user_bytes`; whether the cleaner has.
    #[inline]
    pub fn count(&mut self, at: u64, bytes: u64, user_bytes: u64, cleaning: bool) {
        self.blocks += ((at + bytes).div_ceil(BLOCK_BYTES) - at / BLOCK_BYTES) * BLOCK_BYTES;
        if cleaning {
            self.copied += bytes;
        } else {
            self.user += user_bytes;
        }
    }
}

/// What all writers have appended since the pool was opened. Each tells whenever it begins a segment, so this lags by up to one for each.
#[derive(Debug, Default)]
pub(super) struct Flows {
    user: AtomicU64,
    blocks: AtomicU64,
    copied: AtomicU64,
}

/// Bytes appended to a pool since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowTotals {
    /// Keys and values of writes.
    pub user_bytes: u64,
    /// What the medium has written for them and for the cleaner, in whole blocks of 256 bytes.
    pub block_bytes: u64,
    /// Copied by the cleaner.
    pub copied_bytes: u64,
}

impl FlowTotals {
    /// Bytes written for each byte of users; 0 before there is one.
    pub fn amplification(&self) -> f64 {
        if self.user_bytes == 0 { 0.0 } else { self.block_bytes as f64 / self.user_bytes as f64 }
    }
}

impl Pool {
    /// Adds what a writer has appended.
    pub fn count_flow(&self, flow: Flow) {
        // Relaxed: figures.
        self.flows.user.fetch_add(flow.user, Ordering::Relaxed);
        self.flows.blocks.fetch_add(flow.blocks, Ordering::Relaxed);
        self.flows.copied.fetch_add(flow.copied, Ordering::Relaxed);
    }

    /// What was appended since the pool was opened, as far as writers have told.
    pub fn flow_totals(&self) -> FlowTotals {
        FlowTotals {
            user_bytes: self.flows.user.load(Ordering::Relaxed),
            block_bytes: self.flows.blocks.load(Ordering::Relaxed),
            copied_bytes: self.flows.copied.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_touched_are_counted_whole() {
        let mut flow = Flow::default();
        flow.count(64, 128, 70, false);
        flow.count(192, 128, 70, false);
        flow.count(512, 256, 0, true);
        assert_eq!((flow.user, flow.blocks, flow.copied), (140, 256 + 512 + 256, 256));
    }
}
