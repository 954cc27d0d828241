//! Building a commit batch in DRAM, so that it is streamed to the pool once.

use super::format::{BATCH_HEADER_BYTES, batch_bytes, checked_bytes, padded_bytes};
use super::record::Lengths;
use super::{NewRecord, Record};

/// A commit batch being put together. Reused from batch to batch: allocates only to grow.
#[derive(Debug)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    records: u32,
    user_bytes: u64,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self { bytes: vec![0; BATCH_HEADER_BYTES], records: 0, user_bytes: 0 }
    }
}

/// A place in a batch being put together, between two records.
#[derive(Clone, Copy, Debug)]
pub struct BatchMark {
    bytes: usize,
    records: u32,
    user_bytes: u64,
}

/// Room that a builder keeps from one batch to the next, in bytes.
const KEEP_BYTES: usize = 1 << 20;

impl BatchBuilder {
    /// Empties it.
    pub fn clear(&mut self) {
        self.bytes.truncate(BATCH_HEADER_BYTES);
        self.bytes.shrink_to(KEEP_BYTES);
        self.records = 0;
        self.user_bytes = 0;
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Its size in the pool, in bytes: whole lines.
    pub fn bytes(&self) -> usize {
        batch_bytes(self.bytes.len())
    }

    /// Bytes of keys and values in it.
    pub fn user_bytes(&self) -> u64 {
        self.user_bytes
    }

    /// Its size in the pool if a record of `bytes`, padding included, were added.
    pub fn bytes_with(&self, bytes: usize) -> usize {
        batch_bytes(self.bytes.len() + bytes)
    }

    /// Adds a record and returns where in the batch it starts.
    #[inline]
    pub fn push(&mut self, record: &NewRecord<'_>) -> usize {
        self.push_with(record, record.value.len(), |bytes| bytes.extend_from_slice(record.value))
    }

    /// Adds a record whose value of `value_len` bytes `fill` appends; `record.value` is ignored.
    ///
    /// # Panics
    /// If `fill` appends another number of bytes.
    #[inline]
    pub fn push_with(&mut self, record: &NewRecord<'_>, value_len: usize, fill: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.bytes.len();
        let (header, header_bytes) = record.header(value_len);
        // Its size is known, so this is no call.
        self.bytes.extend_from_slice(&header);
        self.bytes.truncate(start + header_bytes);
        self.bytes.extend_from_slice(record.key[0]);
        self.bytes.extend_from_slice(record.key[1]);
        let value_at = self.bytes.len();
        fill(&mut self.bytes);
        assert_eq!(self.bytes.len() - value_at, value_len, "a value of another length than announced");
        let bytes = self.bytes.len() - start;
        self.user_bytes += (bytes - header_bytes) as u64;
        self.bytes.resize(start + padded_bytes(0, 0, bytes), 0);
        self.records += 1;
        start
    }

    /// Its end as it is now.
    pub fn mark(&self) -> BatchMark {
        BatchMark { bytes: self.bytes.len(), records: self.records, user_bytes: self.user_bytes }
    }

    /// Bytes of records added since `mark`.
    pub fn bytes_since(&self, mark: BatchMark) -> usize {
        self.bytes.len() - mark.bytes
    }

    /// Takes back what was added since `mark`.
    pub fn truncate(&mut self, mark: BatchMark) {
        self.bytes.truncate(mark.bytes);
        (self.records, self.user_bytes) = (mark.records, mark.user_bytes);
    }

    /// Moves what was added since `mark` into another batch, which is emptied first. Returns how much less each record's offset is there.
    pub fn move_tail(&mut self, mark: BatchMark, into: &mut BatchBuilder) -> usize {
        into.clear();
        into.bytes.extend_from_slice(&self.bytes[mark.bytes..]);
        (into.records, into.user_bytes) = (self.records - mark.records, self.user_bytes - mark.user_bytes);
        self.truncate(mark);
        mark.bytes - BATCH_HEADER_BYTES
    }

    /// The record that was added at `offset`.
    ///
    /// # Panics
    /// If none was.
    pub fn record(&self, offset: usize) -> Record<'_> {
        Record::decode(&self.bytes[offset..]).expect("it was encoded here")
    }

    /// Cuts its records into stretches of at most `limit` bytes, but for a single record that is longer. Offsets are from the batch's start.
    pub fn cut(&self, limit: usize) -> Vec<std::ops::Range<usize>> {
        let mut pieces: Vec<std::ops::Range<usize>> = Vec::new();
        let mut at = BATCH_HEADER_BYTES;
        // Ends: `at` grows each turn.
        while let Some(header) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            let end = at + Lengths::of(header).padded();
            match pieces.last_mut() {
                Some(piece) if end - piece.start <= limit => piece.end = end,
                _ => pieces.push(at..end),
            }
            at = end;
        }
        pieces
    }

    /// Adds the records that another batch has at `piece`, one of its [`BatchBuilder::cut`], and returns where
    /// in the batch the first of them starts.
    pub fn push_piece(&mut self, from: &BatchBuilder, piece: std::ops::Range<usize>) -> usize {
        let start = self.bytes.len();
        let mut at = piece.start;
        // Ends: `at` grows each turn.
        while at < piece.end {
            let header = from.bytes[at..].first_chunk().expect("a piece is made of whole records");
            let lengths = Lengths::of(header);
            at += lengths.padded();
            self.records += 1;
            self.user_bytes += lengths.key + lengths.value;
        }
        self.bytes.extend_from_slice(&from.bytes[piece]);
        start
    }

    /// Completes the header and both checks; returns the batch as it goes to the pool.
    pub(super) fn seal(&mut self, seed: u32) -> &[u8] {
        let bytes = self.bytes();
        self.bytes.resize(bytes, 0);
        let lines = (bytes / 64) as u32;
        self.bytes[8..12].copy_from_slice(&lines.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&self.records.to_le_bytes());
        let head_check = crc32c::crc32c_append(seed, &self.bytes[8..16]);
        self.bytes[4..8].copy_from_slice(&head_check.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &self.bytes[4..checked_bytes(bytes)]);
        self.bytes[..4].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}
