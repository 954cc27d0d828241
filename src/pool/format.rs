//! The bytes of the superblock and of segment headers. `docs/format.md` has the same tables for people.
//!
//! Superblock, 4096 bytes, two copies at offsets 0 and 4096 of the pool. Integers are little-endian.
//!
//! | offset | size | field |
//! |--:|--:|---|
//! | 0 | 8 | magic `FENCPOOL` |
//! | 8 | 4 | format version |
//! | 12 | 4 | compatible features: an older release may ignore unknown bits |
//! | 16 | 4 | incompatible features: an older release must refuse unknown bits |
//! | 20 | 4 | reserved, 0 |
//! | 24 | 8 | generation: the valid copy with the higher one counts |
//! | 32 | 16 | pool UUID |
//! | 48 | 16 | key of the index's hash |
//! | 64 | 8 | pool size in bytes |
//! | 72 | 8 | offset of segment 0 |
//! | 80 | 8 | segment size in bytes, a power of two |
//! | 88 | 4 | number of segments |
//! | 92 | 4 | number of stripes, a power of two |
//! | 96 | 16 | boot id of the last opening |
//! | 112 | 4 | 1 after a clean shutdown, else 0 |
//! | 116 | 4 | next keyspace id |
//! | 120 | 8 | clock floor: expiry has gone by at least this time, Unix milliseconds |
//! | 128 | 8 | number of openings |
//! | 136 | 8 | time of creation, Unix milliseconds |
//! | 144 | 8 | generation of the database map: that of the last map from the log that was put in force |
//! | 152 | 104 | reserved, 0 |
//! | 256 | 2048 | keyspace id of database 0, 1, ... 511, 4 bytes each |
//! | 2304 | 1788 | reserved, 0 |
//! | 4092 | 4 | CRC32C of bytes 0..4092 |
//!
//! Segment header, the first 64 bytes of each segment. Both words are written with one aligned 8-byte store, so that
//! they are never torn, and each carries its own check.
//!
//! | offset | size | field |
//! |--:|--:|---|
//! | 0 | 8 | state word: incarnation (low 32 bits, odd: in use, even: free) and check (high 32 bits) |
//! | 8 | 8 | seal word: end of the sealed log in 64-byte lines, 0 while open (low 32 bits), and check (high 32 bits) |
//! | 16 | 8 | low half of the sync epoch in which it was opened (low 32 bits), and check (high 32 bits); only in pools on a file |
//! | 24 | 8 | high half of it, and check |
//! | 32 | 32 | reserved, 0 |
//!
//! Between the superblock copies and segment 0 lie the slots of sync marks, see `sync_mark.rs`; zeros in pools that are on no file.
//!
//! The checks are CRC32C over pool UUID, segment number, word number, incarnation and, for the seal, the end; so a word of
//! another segment, another pool or a former life never passes.

use crate::base::SegmentId;
use crate::base::mutant::{self, Mutant};
use crate::persist::MediaError;

/// Bytes of a cache line: batches start on one, and flushes work on whole ones.
pub const LINE_BYTES: u64 = 64;
/// Bytes of one superblock copy.
pub const SUPERBLOCK_BYTES: usize = 4096;
/// Bytes of a segment's header: the first batch starts right behind it.
pub const SEGMENT_HEADER_BYTES: u64 = LINE_BYTES;
/// The first eight bytes of a pool.
pub const MAGIC: [u8; 8] = *b"FENCPOOL";
/// The format that this release writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// The incompatible features that this release knows; it says so in every pool that it opens. Bit 0: collections; bit 1: atoms of several batches;
/// bit 2: elements that expire; bit 3: sync marks; bit 4: cuts of sorted sets; bit 5: packed collections;
/// bit 6: short headers of records.
pub const FEATURES: u32 = 0b111_1111;
/// The most logical databases a pool can map.
pub const MAX_DATABASES: usize = 512;
/// The smallest and largest segment sizes, in bytes. The small end is for tests.
pub const SEGMENT_BYTES_RANGE: std::ops::RangeInclusive<u64> = 4096..=256 * 1024 * 1024;
/// The largest number of stripes: the index keeps the low 16 bits of the hash for them.
pub const MAX_STRIPES: u32 = 1 << 16;

const CRC_AT: usize = SUPERBLOCK_BYTES - 4;
const DATABASES_AT: usize = 256;

const _: () = assert!(DATABASES_AT + 4 * MAX_DATABASES <= CRC_AT);

/// A decoded superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Raised by every update.
    pub generation: u64,
    /// Told apart from every other pool by this.
    pub uuid: [u8; 16],
    /// Key of the index's hash (SipHash-1-3).
    pub hash_key: [u8; 16],
    /// Size of the pool file in bytes.
    pub pool_bytes: u64,
    /// Where segment 0 starts.
    pub data_offset: u64,
    /// Size of a segment in bytes, a power of two.
    pub segment_bytes: u64,
    /// Number of segments.
    pub segment_count: u32,
    /// Number of stripes, a power of two.
    pub stripe_count: u32,
    /// The operating system's boot id at the last opening.
    pub boot_id: [u8; 16],
    /// Whether the last user closed the pool in order.
    pub clean: bool,
    /// The keyspace id that the next FLUSHDB takes.
    pub next_keyspace: u32,
    /// Expiry has gone by at least this time, in Unix milliseconds.
    pub clock_floor_ms: u64,
    /// How many times the pool was opened.
    pub openings: u64,
    /// When it was created, in Unix milliseconds.
    pub created_ms: u64,
    /// The generation of the last database map from the log that was put in force.
    pub map_generation: u64,
    /// The keyspace id of each logical database.
    pub keyspaces: Vec<u32>,
}

/// Which keyspace each database is, as a transaction has it in the log before it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseMap {
    /// Of two maps the one of the higher generation is the newer.
    pub generation: u64,
    /// The keyspace id that the next FLUSHDB takes.
    pub next_keyspace: u32,
    /// The keyspace id of each logical database.
    pub keyspaces: Vec<u32>,
}

impl DatabaseMap {
    /// The bytes of all but the generation.
    pub fn encode(&self) -> Vec<u8> {
        let ids = std::iter::once(&self.next_keyspace).chain(&self.keyspaces);
        ids.flat_map(|id| id.to_le_bytes()).collect()
    }

    /// Reads a map.
    pub fn decode(generation: u64, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 4 * (1 + MAX_DATABASES) || generation >> 63 != 0 {
            return None;
        }
        let keyspaces: Vec<u32> = (0..MAX_DATABASES).map(|db| u32_at(bytes, 4 + 4 * db)).collect();
        let map = Self { generation, next_keyspace: u32_at(bytes, 0), keyspaces };
        map.makes_sense().then_some(map)
    }

    fn makes_sense(&self) -> bool {
        let mut ids = self.keyspaces.clone();
        ids.sort_unstable();
        ids.dedup();
        self.next_keyspace >> 31 == 0
            && ids.len() == self.keyspaces.len()
            && ids[0] != 0
            && ids[ids.len() - 1] < self.next_keyspace
    }
}

/// Why 4096 bytes are no superblock of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuperblockFault {
    /// Not our magic.
    NotAPool,
    /// Ours by its magic, but the checksum fails.
    Checksum,
    /// Ours and whole, but of another format version or with features that this release does not know.
    Version {
        /// The format version found.
        version: u32,
        /// The incompatible feature bits found.
        features: u32,
    },
    /// The medium cannot read it.
    Unreadable(MediaError),
    /// The checksum holds but a field makes no sense.
    Geometry(&'static str),
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn array_at(bytes: &[u8], at: usize) -> [u8; 16] {
    bytes[at..at + 16].try_into().expect("sixteen bytes")
}

impl Superblock {
    /// The 4096 bytes of this superblock, checksum included.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0u8; SUPERBLOCK_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(8, &FORMAT_VERSION.to_le_bytes());
        put(16, &FEATURES.to_le_bytes());
        put(24, &self.generation.to_le_bytes());
        put(32, &self.uuid);
        put(48, &self.hash_key);
        put(64, &self.pool_bytes.to_le_bytes());
        put(72, &self.data_offset.to_le_bytes());
        put(80, &self.segment_bytes.to_le_bytes());
        put(88, &self.segment_count.to_le_bytes());
        put(92, &self.stripe_count.to_le_bytes());
        put(96, &self.boot_id);
        put(112, &u32::from(self.clean).to_le_bytes());
        put(116, &self.next_keyspace.to_le_bytes());
        put(120, &self.clock_floor_ms.to_le_bytes());
        put(128, &self.openings.to_le_bytes());
        put(136, &self.created_ms.to_le_bytes());
        put(144, &self.map_generation.to_le_bytes());
        for (db, id) in self.keyspaces.iter().enumerate() {
            put(DATABASES_AT + 4 * db, &id.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a superblock copy and checks every field against the size of the file it is in.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, SuperblockFault> {
        if bytes.len() < SUPERBLOCK_BYTES || bytes[..8] != MAGIC {
            return Err(SuperblockFault::NotAPool);
        }
        let holds = crc32c::crc32c(&bytes[..CRC_AT]) == u32_at(bytes, CRC_AT);
        if !holds && !mutant::active(Mutant::SuperblockUnchecked) {
            return Err(SuperblockFault::Checksum);
        }
        let (version, features) = (u32_at(bytes, 8), u32_at(bytes, 16));
        if version != FORMAT_VERSION || features & !FEATURES != 0 {
            return Err(SuperblockFault::Version { version, features });
        }
        let superblock = Self {
            generation: u64_at(bytes, 24),
            uuid: array_at(bytes, 32),
            hash_key: array_at(bytes, 48),
            pool_bytes: u64_at(bytes, 64),
            data_offset: u64_at(bytes, 72),
            segment_bytes: u64_at(bytes, 80),
            segment_count: u32_at(bytes, 88),
            stripe_count: u32_at(bytes, 92),
            boot_id: array_at(bytes, 96),
            clean: u32_at(bytes, 112) == 1,
            next_keyspace: u32_at(bytes, 116),
            clock_floor_ms: u64_at(bytes, 120),
            openings: u64_at(bytes, 128),
            created_ms: u64_at(bytes, 136),
            map_generation: u64_at(bytes, 144),
            keyspaces: (0..MAX_DATABASES).map(|db| u32_at(bytes, DATABASES_AT + 4 * db)).collect(),
        };
        superblock.check_geometry()?;
        Ok(superblock)
    }

    fn check_geometry(&self) -> Result<(), SuperblockFault> {
        let fault = |what| Err(SuperblockFault::Geometry(what));
        if !self.segment_bytes.is_power_of_two() || !SEGMENT_BYTES_RANGE.contains(&self.segment_bytes) {
            return fault("segment size");
        }
        if !self.stripe_count.is_power_of_two() || self.stripe_count > MAX_STRIPES {
            return fault("stripe count");
        }
        if self.data_offset < 2 * SUPERBLOCK_BYTES as u64 || !self.data_offset.is_multiple_of(LINE_BYTES) {
            return fault("data offset");
        }
        let data_bytes = self.segment_bytes.checked_mul(u64::from(self.segment_count));
        let end = data_bytes.and_then(|bytes| bytes.checked_add(self.data_offset));
        if self.segment_count == 0 || end.is_none_or(|end| end > self.pool_bytes) {
            return fault("segment count");
        }
        if self.pool_bytes > 1 << 44 {
            return fault("pool size");
        }
        // Each is counted up from 0 or 1: no pool gets there.
        if self.generation >> 63 != 0 || self.openings >> 63 != 0 || self.next_keyspace >> 31 != 0 {
            return fault("counter");
        }
        if self.map_generation >> 63 != 0 {
            return fault("counter");
        }
        if !self.map().makes_sense() {
            return fault("database map");
        }
        Ok(())
    }

    /// The database map.
    pub fn map(&self) -> DatabaseMap {
        DatabaseMap {
            generation: self.map_generation,
            next_keyspace: self.next_keyspace,
            keyspaces: self.keyspaces.clone(),
        }
    }

    /// Puts a map in force.
    pub fn set_map(&mut self, map: &DatabaseMap) {
        self.map_generation = map.generation;
        self.next_keyspace = map.next_keyspace;
        self.keyspaces.clone_from(&map.keyspaces);
    }
}

/// The seed of every check in one life of one segment.
pub fn segment_seed(uuid: &[u8; 16], segment: SegmentId, incarnation: u32) -> u32 {
    let crc = crc32c::crc32c(uuid);
    let crc = crc32c::crc32c_append(crc, &segment.0.to_le_bytes());
    let incarnation = if mutant::active(Mutant::BatchCheckAnyLife) { 1 } else { incarnation };
    crc32c::crc32c_append(crc, &incarnation.to_le_bytes())
}

fn checked_word(seed: u32, word_number: u8, low: u32) -> u64 {
    let check = crc32c::crc32c_append(crc32c::crc32c_append(seed, &[word_number]), &low.to_le_bytes());
    u64::from(check) << 32 | u64::from(low)
}

/// The state word of a segment in its life `incarnation`.
pub fn state_word(uuid: &[u8; 16], segment: SegmentId, incarnation: u32) -> u64 {
    checked_word(segment_seed(uuid, segment, incarnation), 0, incarnation)
}

/// The incarnation in a state word; `None` when its check fails.
pub fn decode_state_word(uuid: &[u8; 16], segment: SegmentId, word: u64) -> Option<u32> {
    let incarnation = word as u32;
    let holds = state_word(uuid, segment, incarnation) == word || mutant::active(Mutant::HeaderUnchecked);
    holds.then_some(incarnation)
}

/// The seal word of a segment in its life `incarnation`, sealed at `end_lines` (0: still open).
pub fn seal_word(uuid: &[u8; 16], segment: SegmentId, incarnation: u32, end_lines: u32) -> u64 {
    checked_word(segment_seed(uuid, segment, incarnation), 1, end_lines)
}

/// The end in a seal word, in lines, 0 while open; `None` when its check fails.
pub fn decode_seal_word(uuid: &[u8; 16], segment: SegmentId, incarnation: u32, word: u64) -> Option<u32> {
    let end_lines = word as u32;
    let holds = seal_word(uuid, segment, incarnation, end_lines) == word || mutant::active(Mutant::HeaderUnchecked);
    holds.then_some(end_lines)
}

/// The two words of the sync epoch in which a segment was opened.
pub fn epoch_words(uuid: &[u8; 16], segment: SegmentId, incarnation: u32, epoch: u64) -> [u64; 2] {
    let seed = segment_seed(uuid, segment, incarnation);
    [checked_word(seed, 2, epoch as u32), checked_word(seed, 3, (epoch >> 32) as u32)]
}

/// The sync epoch that two words say; `None` when they are of no epoch of this life.
pub fn decode_epoch_words(uuid: &[u8; 16], segment: SegmentId, incarnation: u32, words: [u64; 2]) -> Option<u64> {
    let epoch = u64::from(words[0] as u32) | u64::from(words[1] as u32) << 32;
    // Counted up from 0: no pool gets to where its highest bit is set.
    (epoch_words(uuid, segment, incarnation, epoch) == words && epoch >> 63 == 0).then_some(epoch)
}

/// Whether a segment of this incarnation holds records.
pub fn in_use(incarnation: u32) -> bool {
    incarnation % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Superblock {
        Superblock {
            generation: 7,
            uuid: [3; 16],
            hash_key: [9; 16],
            pool_bytes: 1 << 20,
            data_offset: 65536,
            segment_bytes: 65536,
            segment_count: 15,
            stripe_count: 16,
            boot_id: [1; 16],
            clean: true,
            next_keyspace: 513,
            clock_floor_ms: 12345,
            openings: 2,
            created_ms: 99,
            map_generation: 3,
            keyspaces: (1..=MAX_DATABASES as u32).collect(),
        }
    }

    #[test]
    fn a_superblock_reads_back_as_written() {
        assert_eq!(Superblock::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn any_flipped_bit_of_a_superblock_is_noticed() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(Superblock::decode(&damaged).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn geometry_that_leaves_the_file_is_refused() {
        let mut superblock = sample();
        superblock.segment_count = 16;
        assert_eq!(Superblock::decode(&superblock.encode()), Err(SuperblockFault::Geometry("segment count")));
        superblock.segment_count = 15;
        superblock.segment_bytes = 65535;
        assert_eq!(Superblock::decode(&superblock.encode()), Err(SuperblockFault::Geometry("segment size")));
    }

    #[test]
    fn counters_that_would_overflow_and_a_database_map_that_cannot_be_are_refused() {
        let refused = |change: fn(&mut Superblock)| {
            let mut superblock = sample();
            change(&mut superblock);
            Superblock::decode(&superblock.encode()).err()
        };
        let (counter, map) =
            (Some(SuperblockFault::Geometry("counter")), Some(SuperblockFault::Geometry("database map")));
        assert_eq!(refused(|superblock| superblock.generation = u64::MAX), counter);
        assert_eq!(refused(|superblock| superblock.openings = u64::MAX), counter);
        assert_eq!(refused(|superblock| superblock.next_keyspace = u32::MAX), counter);
        assert_eq!(refused(|superblock| superblock.next_keyspace = 512), map);
        assert_eq!(refused(|superblock| superblock.keyspaces[3] = 0), map);
        assert_eq!(refused(|superblock| superblock.keyspaces[3] = 2), map);
    }

    #[test]
    fn header_words_hold_only_for_their_segment_and_life() {
        let (uuid, segment) = ([5; 16], SegmentId(3));
        let word = seal_word(&uuid, segment, 7, 100);
        assert_eq!(decode_seal_word(&uuid, segment, 7, word), Some(100));
        assert_eq!(decode_seal_word(&uuid, segment, 9, word), None);
        assert_eq!(decode_seal_word(&uuid, SegmentId(4), 7, word), None);
        assert_eq!(decode_seal_word(&[6; 16], segment, 7, word), None);
        assert_eq!(decode_state_word(&uuid, segment, state_word(&uuid, segment, 7)), Some(7));
        for bit in 0..64 {
            assert_eq!(decode_seal_word(&uuid, segment, 7, word ^ (1 << bit)), None);
            assert_eq!(decode_state_word(&uuid, segment, state_word(&uuid, segment, 7) ^ (1 << bit)), None);
        }
        assert_eq!(decode_state_word(&uuid, segment, 0), None, "a zeroed header is damage, not a free segment");
    }
}
