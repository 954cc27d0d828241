//! The bytes of a sync mark: where the logs end that a sync of the file covers. `docs/format.md` has the same table for people.
//!
//! Two slots behind the superblock copies take turns. Each is half of what lies between the copies and segment 0, in whole pages.
//!
//! | offset | size | field |
//! |--:|--:|---|
//! | 0 | 8 | magic `FENCSYNC` |
//! | 8 | 8 | sync epoch: the mark is in the slot of its lowest bit |
//! | 16 | 8 | time of the cut, Unix milliseconds |
//! | 24 | 4 | number of segments |
//! | 28 | 4 | CRC32C of the pool's UUID, bytes 0..28 and the segments |
//! | 32 | 12 each | segment number 4, incarnation 4, end of its log in 64-byte lines 4 |

use super::format::{LINE_BYTES, SUPERBLOCK_BYTES};
use crate::base::SegmentId;

const MAGIC: [u8; 8] = *b"FENCSYNC";
const HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 12;
/// The slots are in whole pages: a disk's write never touches both.
const PAGE_BYTES: u64 = 4096;
/// Where the first slot starts.
const SLOTS_AT: u64 = 2 * SUPERBLOCK_BYTES as u64;
/// The least offset of segment 0 that leaves room for the slots.
pub(super) const LEAST_DATA_OFFSET: u64 = SLOTS_AT + 2 * PAGE_BYTES;

/// How far the log of one segment goes at a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// Which segment.
    pub id: SegmentId,
    /// The life that it is in.
    pub incarnation: u32,
    /// Bytes from its start to the end of its log.
    pub end: u64,
}

/// What a sync covers: everything that was appended in its epoch and before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncMark {
    /// Counted up by one for each sync.
    pub epoch: u64,
    /// When the cut was made, Unix milliseconds.
    pub time_ms: u64,
    /// The segments that were open at the cut or had been since the one before. Every other one in use was sealed and synced before.
    pub logs: Vec<LogEnd>,
}

/// The pages of the slots of a pool whose segment 0 starts at `data_offset`: where the slot of `epoch` starts, and its size in bytes. `None` when there
/// is no room for them, in pools of an older release with tiny segments.
pub(super) fn slot(data_offset: u64, epoch: u64) -> Option<(u64, u64)> {
    let bytes = data_offset.saturating_sub(SLOTS_AT) / 2 / PAGE_BYTES * PAGE_BYTES;
    (bytes > 0).then_some((SLOTS_AT + epoch % 2 * bytes, bytes))
}

/// How many segments a mark in a slot of so many bytes can speak of.
pub(super) fn most_logs(slot_bytes: u64) -> usize {
    (slot_bytes as usize - HEADER_BYTES) / ENTRY_BYTES
}

fn check(uuid: &[u8; 16], header: &[u8], entries: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(uuid), &header[..28]), entries)
}

impl SyncMark {
    /// The bytes of this mark.
    pub(super) fn encode(&self, uuid: &[u8; 16]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.logs.len() * ENTRY_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.time_ms.to_le_bytes());
        bytes.extend_from_slice(&(self.logs.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for log in &self.logs {
            for field in [log.id.0, log.incarnation, (log.end / LINE_BYTES) as u32] {
                bytes.extend_from_slice(&field.to_le_bytes());
            }
        }
        let (header, entries) = bytes.split_at(HEADER_BYTES);
        let crc = check(uuid, header, entries);
        bytes[28..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the mark in the bytes of slot `number`; `None` when there is none that is whole.
    pub(super) fn decode(uuid: &[u8; 16], number: u64, slot: &[u8]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes(slot[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("eight bytes"));
        let count = word(24) as usize;
        if slot[..8] != MAGIC || long(8) % 2 != number || long(8) >> 63 != 0 || count > most_logs(slot.len() as u64) {
            return None;
        }
        let (header, rest) = slot.split_at(HEADER_BYTES);
        let entries = &rest[..count * ENTRY_BYTES];
        if check(uuid, header, entries) != word(28) {
            return None;
        }
        let logs = entries.chunks_exact(ENTRY_BYTES).map(|entry| {
            let field = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
            LogEnd { id: SegmentId(field(0)), incarnation: field(4), end: u64::from(field(8)) * LINE_BYTES }
        });
        Some(Self { epoch: long(8), time_ms: long(16), logs: logs.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_none_that_is_torn_or_foreign_does() {
        let log =
            |number| LogEnd { id: SegmentId(number), incarnation: 2 * number + 1, end: 64 * u64::from(number + 1) };
        let mark = SyncMark { epoch: 7, time_ms: 1234, logs: (0..5).map(log).collect() };
        let mut slot = mark.encode(&[1; 16]);
        slot.resize(4096, 0xff);
        assert_eq!(SyncMark::decode(&[1; 16], 1, &slot), Some(mark));
        assert_eq!(SyncMark::decode(&[2; 16], 1, &slot), None, "another pool's");
        assert_eq!(SyncMark::decode(&[1; 16], 0, &slot), None, "another slot's");
        for at in 0..HEADER_BYTES + 5 * ENTRY_BYTES {
            slot[at] ^= 1;
            assert_eq!(SyncMark::decode(&[1; 16], 1, &slot), None, "byte {at}");
            slot[at] ^= 1;
        }
        assert_eq!(SyncMark::decode(&[1; 16], 1, &[0; 4096]), None);
    }

    #[test]
    fn slots_lie_between_superblock_and_segments() {
        assert_eq!(slot(8192, 0), None);
        assert_eq!((slot(LEAST_DATA_OFFSET, 4), slot(LEAST_DATA_OFFSET, 5)), (Some((8192, 4096)), Some((12288, 4096))));
        let (at, bytes) = slot(2 << 20, 1).unwrap();
        assert!(at + bytes <= 2 << 20 && at - bytes == 8192 && bytes > 1 << 19);
        assert_eq!(most_logs(4096), 338);
    }
}
