//! The DRAM side of objects: for a long string, where its chunks are.

use crate::base::{EpochMap, LogAddr};

/// A long string as it is at one moment. Replaced whole by every change, so that a reader's copy stays what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkTable {
    /// Length of the string in bytes.
    pub len: u64,
    /// log2 of the chunk size.
    pub shift: u8,
    /// The highest version given to a chunk.
    pub version: u64,
    /// Where each chunk is; `None` is a hole, which reads as zeros.
    pub chunks: Vec<Option<LogAddr>>,
}

impl ChunkTable {
    /// A string of `len` zeros: all holes.
    pub fn zeros(len: u64, shift: u8) -> Self {
        Self { len, shift, version: 0, chunks: vec![None; Self::chunks_for(len, shift)] }
    }

    /// How many chunks a string of `len` bytes has.
    pub fn chunks_for(len: u64, shift: u8) -> usize {
        len.div_ceil(1 << shift) as usize
    }

    /// Bytes of chunk `number`: the chunk size, but for the last.
    pub fn chunk_len(&self, number: usize) -> usize {
        let start = (number as u64) << self.shift;
        (self.len - start).min(1 << self.shift) as usize
    }
}

/// From object id to object.
pub type Objects = EpochMap<ChunkTable>;
