//! What is left of a pool on a file after a power cut: everything up to a sync, and nothing behind it.

use super::format::{decode_epoch_words, in_use, seal_word, state_word};
use super::segments::SegmentHeader;
use super::{Pool, SyncMark};
use crate::base::SegmentId;
use crate::base::mutant::{self, Mutant};
use crate::base::sync::PoisonError;
use crate::persist::Medium;
use std::collections::HashMap;
use std::sync::Arc;

/// What recovery goes by after a power cut.
#[derive(Debug)]
pub struct Cut {
    epoch: u64,
    time_ms: u64,
    /// Incarnation, and bytes from the start of the segment to the end of its log.
    ends: HashMap<SegmentId, (u32, u64)>,
}

impl Cut {
    /// The cut that a mark speaks of.
    pub fn at(mark: &SyncMark) -> Self {
        let ends = mark.logs.iter().map(|log| (log.id, (log.incarnation, log.end))).collect();
        Self { epoch: mark.epoch, time_ms: mark.time_ms, ends }
    }

    /// Its sync epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When it was made, Unix milliseconds.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }
}

impl Pool {
    /// Whether what was not synced may be lost in part: a pool on a file that was last open under another boot of the system.
    pub fn may_lack_pages(&self) -> bool {
        let boot_ignored = mutant::active(Mutant::BootIgnored);
        self.region.medium() == Medium::File && self.boot_changed() && !boot_ignored && self.superblock().openings > 0
    }

    /// The cut that recovery goes by, if it goes by one.
    pub fn cut_in_force(&self) -> Option<Arc<Cut>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has recovery go by a cut.
    pub fn put_in_force(&self, cut: Cut) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(cut));
    }

    /// The sync epoch in which segment `id`, one in use, was opened; `None` where its header does not say.
    pub(super) fn opened_epoch(&self, id: SegmentId) -> Option<u64> {
        let at = self.segment_offset(id);
        let words = [self.region.load_u64(at + 16).ok()?, self.region.load_u64(at + 24).ok()?];
        decode_epoch_words(&self.uuid, id, self.incarnation(id), words)
    }

    /// Whether the header of segment `id` has the words of an epoch, of this life or one shortly before; on a file there may be half of them.
    pub fn has_opened_epoch(&self, id: SegmentId) -> bool {
        let at = self.segment_offset(id);
        let (Ok(low), Ok(high)) = (self.region.load_u64(at + 16), self.region.load_u64(at + 24)) else { return false };
        let mut lives = (0..4).map(|before| self.incarnation(id).wrapping_sub(before));
        self.region.medium() == Medium::File
            || lives.any(|life| decode_epoch_words(&self.uuid, id, life, [low, high]).is_some())
    }

    /// Writes the words that [`opened_epoch`](Self::opened_epoch) reads. They are in the line of the header's other words, which are stored and flushed behind them.
    pub(super) fn write_opened_epoch(&self, id: SegmentId, incarnation: u32, epoch: u64) {
        let at = self.segment_offset(id) + 16;
        for (word, at) in super::format::epoch_words(&self.uuid, id, incarnation, epoch).into_iter().zip([at, at + 8]) {
            self.region.store_u64(at, word);
        }
    }

    /// What a header that reads as `header` now said at the cut.
    pub(super) fn header_at(&self, cut: &Cut, id: SegmentId, header: SegmentHeader) -> SegmentHeader {
        let (SegmentHeader::Free { incarnation }
        | SegmentHeader::Open { incarnation }
        | SegmentHeader::Sealed { incarnation, .. }
        | SegmentHeader::SealDamaged { incarnation }) = header
        else {
            return header;
        };
        match cut.ends.get(&id) {
            Some(&(life, end)) if life == incarnation => SegmentHeader::Sealed { incarnation, end },
            // It was freed behind the cut: all that it held was synced in other places before.
            Some(&(life, _)) if life > incarnation => SegmentHeader::Damaged,
            Some(_) if in_use(incarnation) => SegmentHeader::BehindCut { incarnation },
            None if in_use(incarnation) && self.is_behind(cut, id) => SegmentHeader::BehindCut { incarnation },
            _ => header,
        }
    }

    fn is_behind(&self, cut: &Cut, id: SegmentId) -> bool {
        let behind = self.opened_epoch(id).is_some_and(|epoch| epoch > cut.epoch);
        behind && !mutant::active(Mutant::OpenedEpochIgnored)
    }

    /// Makes the pool say what it said at the cut that is in force: logs are sealed where it has them end, and what was opened behind it is free. Free
    /// segments get a new life, as one that the power cut has taken back may have left its batches in them. It must be on the disk before the opening is
    /// recorded, as whoever opens the pool under the same boot goes by no cut, and before another mark is written.
    pub(super) fn trim_to_cut(&self) {
        let Some(cut) = self.cut_in_force() else { return };
        let mut freed = Vec::new();
        for id in self.segment_ids() {
            let Ok(raw) = self.raw_header(id) else { continue };
            match (raw, self.header_at(&cut, id, raw)) {
                (SegmentHeader::Free { incarnation }, _) => {
                    self.rewrite_header(id, incarnation.wrapping_add(2), 0);
                }
                (_, SegmentHeader::BehindCut { incarnation }) => {
                    self.rewrite_header(id, incarnation.wrapping_add(1), 0);
                    freed.push(id);
                }
                (SegmentHeader::Sealed { end: now, .. }, SegmentHeader::Sealed { end, .. }) if now == end => {}
                (_, SegmentHeader::Sealed { incarnation, end }) => self.rewrite_header(id, incarnation, end),
                _ => {}
            }
        }
        self.region.fence();
        self.give_back(&freed);
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Gives a segment's header both of its words, in the order in which they must get to the medium.
    fn rewrite_header(&self, id: SegmentId, incarnation: u32, end: u64) {
        let at = self.segment_offset(id);
        let end_lines = (end / super::format::LINE_BYTES) as u32;
        self.region.store_u64(at + 8, seal_word(&self.uuid, id, incarnation, end_lines));
        self.region.store_u64(at, state_word(&self.uuid, id, incarnation));
        self.region.flush(at, 16);
        self.set_incarnation(id, incarnation);
    }
}
