//! Places in the pool.

use std::fmt;
use std::num::NonZeroU64;

/// Bytes that one step of a [`LogAddr`] stands for: records start on 16-byte boundaries.
pub const ADDR_UNIT_BYTES: u64 = 16;

/// Bits of a [`LogAddr`]: 2^40 units of 16 bytes are 16 TiB, the largest pool.
pub const ADDR_BITS: u32 = 40;

/// Where a record starts: its byte offset in the pool divided by 16, never 0 (the superblock is there).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogAddr(NonZeroU64);

impl LogAddr {
    /// The address of the record that starts `offset` bytes into the pool.
    ///
    /// `None` when `offset` is 0, not a multiple of 16, or beyond 16 TiB.
    #[inline]
    pub fn from_offset(offset: u64) -> Option<Self> {
        if !offset.is_multiple_of(ADDR_UNIT_BYTES) {
            return None;
        }
        Self::from_units(offset / ADDR_UNIT_BYTES)
    }

    /// The address `units` steps of 16 bytes into the pool; `None` for 0 and for 2^40 and above.
    #[inline]
    pub fn from_units(units: u64) -> Option<Self> {
        if units >> ADDR_BITS != 0 {
            return None;
        }
        NonZeroU64::new(units).map(Self)
    }

    /// The address in steps of 16 bytes, `1..2^40`.
    #[inline]
    pub fn units(self) -> u64 {
        self.0.get()
    }

    /// The address as a byte offset in the pool.
    #[inline]
    pub fn offset(self) -> u64 {
        self.0.get() * ADDR_UNIT_BYTES
    }
}

impl fmt::Debug for LogAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogAddr({:#x})", self.offset())
    }
}

/// The number of a segment, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentId(pub u32);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
