//! The value of a HyperLogLog key, in the string format that Redis gives it, so that GET, SET and DUMP carry it between
//! servers.
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! | 0 | 4 | `HYLL` |
//! | 4 | 1 | encoding: 0 dense, 1 sparse |
//! | 5 | 3 | zero |
//! | 8 | 8 | cached count, little endian; its top bit says that it is stale |
//! | 16 | | registers: 12288 bytes when dense, runs when sparse |
//!
//! There are 16384 registers of 6 bits. The format is a client's to write with SET, so nothing in it is trusted: the
//! header is checked when a value is opened, runs whenever they are walked.

use super::{dense, hash, sparse};
use crate::command::CommandError;
use crate::store::StrValue;
use std::borrow::Cow;

/// How many registers there are.
pub const REGISTERS: usize = 1 << hash::INDEX_BITS;
/// Bytes in front of the registers.
pub const HEADER_BYTES: usize = 16;
/// Bytes of a dense value.
pub const DENSE_BYTES: usize = HEADER_BYTES + dense::BYTES;

const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const CARDINALITY: std::ops::Range<usize> = 8..16;
/// The byte that has the stale mark.
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;

/// Runs that do not make up the registers.
pub const CORRUPT: CommandError = CommandError::fixed("INVALIDOBJ Corrupted HLL object detected");
const NOT_A_SKETCH: CommandError = CommandError::fixed("WRONGTYPE Key is not a valid HyperLogLog string value.");

/// How the registers are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 6 bits each.
    Dense,
    /// Runs.
    Sparse,
}

/// A HyperLogLog value: borrowed from the pool until it is changed.
#[derive(Clone)]
pub struct Sketch<'a> {
    bytes: Cow<'a, [u8]>,
    encoding: Encoding,
}

impl<'a> Sketch<'a> {
    /// One that has seen nothing.
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 32);
        bytes.extend_from_slice(MAGIC);
        bytes.push(1);
        bytes.resize(HEADER_BYTES, 0);
        sparse::push_empty(&mut bytes);
        Self { bytes: Cow::Owned(bytes), encoding: Encoding::Sparse }
    }

    /// The sketch that a string is. Dense registers are always sound; those of a sparse one are checked when they are
    /// used.
    ///
    /// # Errors
    /// `WRONGTYPE` with its own text when the string has not the header of one, or its size; `INVALIDOBJ` when it is longer than any runs
    /// can be.
    pub fn open(value: StrValue<'a>) -> Result<Self, CommandError> {
        if value.len() < HEADER_BYTES {
            return Err(NOT_A_SKETCH);
        }
        let header = value.range(0, HEADER_BYTES);
        let encoding = match header[ENCODING_AT] {
            0 if value.len() == DENSE_BYTES => Encoding::Dense,
            1 => Encoding::Sparse,
            _ => return Err(NOT_A_SKETCH),
        };
        if &header[..MAGIC.len()] != MAGIC {
            return Err(NOT_A_SKETCH);
        }
        if value.len() > HEADER_BYTES + sparse::MAX_BYTES {
            return Err(CORRUPT);
        }
        Ok(Self { bytes: value.bytes(), encoding })
    }

    /// The value to be stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How its registers are laid out.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Checks the runs of a sparse one.
    ///
    /// # Errors
    /// `INVALIDOBJ` when they do not make up the registers.
    pub fn check(&self) -> Result<(), CommandError> {
        self.for_each_run(|_, _, _| {})
    }

    /// The count that was stored with it, unless it has changed since.
    pub fn cached_count(&self) -> Option<u64> {
        if self.bytes[STALE_AT] & STALE != 0 {
            return None;
        }
        Some(u64::from_le_bytes(self.bytes[CARDINALITY].try_into().expect("the range is of 8 bytes")))
    }

    /// The bytes that store `count` with it, and where they go.
    pub fn cache_patch(count: u64) -> (usize, [u8; 8]) {
        (CARDINALITY.start, count.to_le_bytes())
    }

    /// Marks the stored count as stale.
    pub fn mark_stale(&mut self) {
        self.bytes.to_mut()[STALE_AT] |= STALE;
    }

    /// Whether adding `element` would change it.
    ///
    /// # Errors
    /// `INVALIDOBJ`.
    pub fn would_change(&self, element: &[u8]) -> Result<bool, CommandError> {
        let (index, rank) = hash::place(element);
        let now = match self.encoding {
            Encoding::Dense => dense::get(&self.bytes[HEADER_BYTES..], index),
            Encoding::Sparse => sparse::get(&self.bytes[HEADER_BYTES..], index).ok_or(CORRUPT)?,
        };
        Ok(now < rank)
    }

    /// Adds an element; says whether that changed anything. A sparse sketch that would outgrow `sparse_max_bytes`, its
    /// header included, becomes dense.
    ///
    /// # Errors
    /// `INVALIDOBJ`.
    pub fn add(&mut self, element: &[u8], sparse_max_bytes: usize) -> Result<bool, CommandError> {
        let (index, rank) = hash::place(element);
        self.raise(index, rank, sparse_max_bytes)
    }

    /// Raises a register to `rank` if it is lower; says whether it was. For the limit see [`Sketch::add`].
    ///
    /// # Errors
    /// `INVALIDOBJ`.
    pub fn raise(&mut self, index: usize, rank: u8, sparse_max_bytes: usize) -> Result<bool, CommandError> {
        if self.encoding == Encoding::Sparse {
            if sparse::get(&self.bytes[HEADER_BYTES..], index).ok_or(CORRUPT)? >= rank {
                return Ok(false);
            }
            if sparse::raise(self.bytes.to_mut(), index, rank, sparse_max_bytes).ok_or(CORRUPT)? {
                return Ok(true);
            }
            // It has outgrown the runs.
            self.make_dense()?;
        }
        if dense::get(&self.bytes[HEADER_BYTES..], index) >= rank {
            return Ok(false);
        }
        dense::set(&mut self.bytes.to_mut()[HEADER_BYTES..], index, rank);
        Ok(true)
    }

    /// Lays the registers out densely; the header stays as it is but for that.
    ///
    /// # Errors
    /// `INVALIDOBJ`.
    pub fn make_dense(&mut self) -> Result<(), CommandError> {
        if self.encoding == Encoding::Dense {
            return Ok(());
        }
        let mut bytes = vec![0; DENSE_BYTES];
        bytes[..HEADER_BYTES].copy_from_slice(&self.bytes[..HEADER_BYTES]);
        bytes[ENCODING_AT] = 0;
        let registers = &mut bytes[HEADER_BYTES..];
        self.for_each_run(|start, len, rank| {
            if rank != 0 {
                (start..start + len).for_each(|index| dense::set(registers, index, rank));
            }
        })?;
        self.bytes = Cow::Owned(bytes);
        self.encoding = Encoding::Dense;
        Ok(())
    }

    /// Raises each of `ranks` to this sketch's register.
    ///
    /// # Errors
    /// `INVALIDOBJ`.
    pub fn merge_into(&self, ranks: &mut [u8; REGISTERS]) -> Result<(), CommandError> {
        self.for_each_run(|start, len, rank| {
            for known in &mut ranks[start..start + len] {
                *known = rank.max(*known);
            }
        })
    }

    /// How many registers hold each rank.
    ///
    /// # Errors
    /// `INVALIDOBJ`.
    pub fn histogram(&self) -> Result<[u32; 64], CommandError> {
        let mut histogram = [0; 64];
        self.for_each_run(|_, len, rank| histogram[usize::from(rank)] += len as u32)?;
        Ok(histogram)
    }

    /// The runs as PFDEBUG DECODE shows them; `None` when it is dense.
    ///
    /// # Errors
    /// `INVALIDOBJ`.
    pub fn decode(&self) -> Result<Option<String>, CommandError> {
        match self.encoding {
            Encoding::Dense => Ok(None),
            Encoding::Sparse => sparse::decode(&self.bytes[HEADER_BYTES..]).ok_or(CORRUPT).map(Some),
        }
    }

    /// Calls `visit` with the start, length and rank of each run of registers.
    fn for_each_run(&self, mut visit: impl FnMut(usize, usize, u8)) -> Result<(), CommandError> {
        let registers = &self.bytes[HEADER_BYTES..];
        match self.encoding {
            Encoding::Dense => {
                dense::for_each(registers, |index, rank| visit(index, 1, rank));
                Ok(())
            }
            Encoding::Sparse => sparse::for_each_run(registers, visit).ok_or(CORRUPT),
        }
    }
}
