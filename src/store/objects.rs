//! The DRAM side of objects: for a long string, where its chunks are.

use crate::base::{EpochMap, LogAddr};
use crate::log::chunk_mark;

/// A long string as it is at one moment. Replaced whole by every change, so that a reader's copy stays what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkTable {
    /// Length of the string in bytes.
    pub len: u64,
    /// log2 of the chunk size.
    pub shift: u8,
    /// The highest version given to a chunk.
    pub version: u64,
    /// Sum of [`chunk_mark`] over the chunks that are there, as the head has it.
    pub sum: u32,
    /// Where each chunk is; `None` is a hole, which reads as zeros.
    pub chunks: Vec<Option<LogAddr>>,
}

impl ChunkTable {
    /// A string of `len` zeros: all holes.
    pub fn zeros(len: u64, shift: u8) -> Self {
        Self { len, shift, version: 0, sum: 0, chunks: vec![None; Self::chunks_for(len, shift)] }
    }

    /// Counts in that `version` of chunk `number` is the current one, in the place of `old`.
    pub fn count_chunk(&mut self, number: usize, old: Option<u64>, version: u64) {
        let mark = |version| chunk_mark(number as u64, version);
        self.sum = self.sum.wrapping_sub(old.map_or(0, mark)).wrapping_add(mark(version));
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
