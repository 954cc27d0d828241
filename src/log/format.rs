//! The bytes of commit batches and records. `docs/format.md` has the same tables for people.
//!
//! Commit batch: starts on a 64-byte line, takes whole lines. Integers are little-endian.
//!
//! | offset | size | field |
//! |--:|--:|---|
//! | 0 | 4 | CRC32C, seeded, of bytes 4 to the end of the batch's last line |
//! | 4 | 4 | CRC32C, seeded, of bytes 8..16: tells a header from other bytes at no cost |
//! | 8 | 4 | length in lines |
//! | 12 | 4 | number of records |
//! | 16 | .. | records, each padded with zeros to 16 bytes; then zeros to the end of the line |
//!
//! Both checks are seeded with pool UUID, segment, incarnation and the batch's offset in its segment.
//!
//! Record: starts on a 16-byte boundary, takes at least 32 bytes.
//!
//! | offset | size | field |
//! |--:|--:|---|
//! | 0 | 1 | kind |
//! | 1 | 1 | flags: bit 0 = `raw` string; bit 7 = this is a short header; bit 6 = it has a keyspace id; bit 5 = it has an expiry |
//! | 2 | 2 | key length in bytes |
//! | 4 | 4 | value length in bytes |
//! | 8 | 8 | version |
//! | 16 | 4 | keyspace id, with bit 6, which records of keys have (kinds 1 to 3 and 13) and no others; else it is 0 |
//! | .. | 8 | expiry, Unix milliseconds, if bit 5 is set; else there is none |
//! | .. | .. | key, value |
//!
//! Records with longer keys, and all of earlier releases, have a long header:
//!
//! | offset | size | field |
//! |--:|--:|---|
//! | 0 | 1 | kind |
//! | 1 | 1 | flags: bit 0 = `raw` string |
//! | 2 | 2 | reserved, 0 |
//! | 4 | 4 | key length in bytes |
//! | 8 | 4 | value length in bytes |
//! | 12 | 4 | keyspace id; 0 where the record belongs to an object or to none |
//! | 16 | 8 | version |
//! | 24 | 8 | expiry, Unix milliseconds; 0 = none |
//! | 32 | .. | key, value |
//!
//! | kind | what | key | value |
//! |--:|---|---|---|
//! | 1 | string | name | the string |
//! | 2 | tombstone: the key is gone | name | empty |
//! | 3 | object head | name | object id 8, type 1, log2 of the chunk size 1, 1 if a sum follows 1, reserved 1, sum of the chunks 4, length 8 |
//! | 4 | element | object id 8, sub-key | the element's value |
//! | 5 | element tombstone | object id 8, sub-key | empty |
//! | 6 | bounds of a list or stream | object id 8 | first 8, last 8 |
//! | 7 | chunk of a long string | object id 8, chunk number 8 | the chunk's bytes |
//! | 8 | clock mark: expiry has gone by at least the record's expiry time | empty | empty |
//! | 9 | part: its batch is part of an atom; always the last record of a batch | atom id 8 | empty |
//! | 10 | commit: all parts of the atom are durable, and count | atom id 8 | for each segment with a part: number 4, incarnation 4 |
//! | 11 | database map | its generation 8 | next keyspace id 4, keyspace id of database 0, 1, ... 511, 4 each |
//! | 12 | cuts of a sorted set | object id 8 | `cuts.rs` |
//! | 13 | packed collection | name | `packed.rs` |
//!
//! Any other kind, flag or object type that this release does not know is corruption.

use crate::base::mutant::{self, Mutant};
use crate::pool::format::LINE_BYTES;

/// Bytes of a batch's header.
pub const BATCH_HEADER_BYTES: usize = 16;
/// The most bytes of a record's header; those of a long one.
pub const RECORD_HEADER_BYTES: usize = 32;
/// Bytes of a short header without keyspace and expiry.
pub(super) const SHORT_HEADER_BYTES: usize = 16;
/// Bytes that a short header has besides, with [`FLAG_KEYSPACE`] and [`FLAG_EXPIRY`].
pub(super) const KEYSPACE_BYTES: usize = 4;
pub(super) const EXPIRY_BYTES: usize = 8;
/// The least that a record takes, so that there are always as many bytes as a header may have.
pub(super) const RECORD_BYTES_MIN: usize = RECORD_HEADER_BYTES;
/// Records start on multiples of this.
pub const RECORD_ALIGN: usize = 16;
/// What log2 of a long string's chunk size may be.
pub const CHUNK_SHIFTS: std::ops::RangeInclusive<u8> = 9..=16;
/// The longest string a head may speak of, in bytes.
pub const MAX_LONG_STRING_BYTES: u64 = 1 << 32;
/// Bytes of an object head's value.
pub const OBJECT_HEAD_BYTES: usize = 24;
/// The string was made by a command that leaves it in Redis's `raw` encoding.
pub const FLAG_RAW: u8 = 1;
/// The header is a short one.
pub(super) const FLAG_SHORT: u8 = 1 << 7;
/// A short header has a keyspace.
pub(super) const FLAG_KEYSPACE: u8 = 1 << 6;
/// A short header has an expiry.
pub(super) const FLAG_EXPIRY: u8 = 1 << 5;

/// What the checks of a batch at `offset` bytes from its segment's start are seeded with.
#[inline]
pub fn batch_seed(segment_seed: u32, offset: u64) -> u32 {
    let offset = if mutant::active(Mutant::BatchCheckAnywhere) { 0 } else { offset };
    crc32c::crc32c_append(segment_seed, &offset.to_le_bytes())
}

/// The size of a record with such a header, key and value, padding included.
#[inline]
pub(super) const fn padded_bytes(header_bytes: usize, key_len: usize, value_len: usize) -> usize {
    let bytes = (header_bytes + key_len + value_len).next_multiple_of(RECORD_ALIGN);
    if bytes < RECORD_BYTES_MIN { RECORD_BYTES_MIN } else { bytes }
}

/// The size of an object's record with such a key and value, without expiry, padding included.
#[inline]
pub const fn object_record_bytes(key_len: usize, value_len: usize) -> usize {
    let is_short = key_len <= u16::MAX as usize;
    padded_bytes(if is_short { SHORT_HEADER_BYTES } else { RECORD_HEADER_BYTES }, key_len, value_len)
}

/// The size of a batch whose header and records take `bytes`: whole lines.
#[inline]
pub const fn batch_bytes(bytes: usize) -> usize {
    bytes.next_multiple_of(LINE_BYTES as usize)
}

/// The end of what the checksum of a batch of `bytes` covers.
#[inline(always)]
pub(super) fn checked_bytes(bytes: usize) -> usize {
    let short = mutant::active(Mutant::BatchCheckShort) && bytes > LINE_BYTES as usize;
    if short { bytes - LINE_BYTES as usize } else { bytes }
}
