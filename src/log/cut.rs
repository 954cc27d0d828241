//! Which sync a pool on a file is recovered to after a power cut.

use super::reader::batch_at;
use crate::base::mutant::{self, Mutant};
use crate::pool::format::{SEGMENT_HEADER_BYTES, segment_seed};
use crate::pool::{Cut, LogEnd, Pool, SegmentHeader, SyncMark};

/// Has recovery go by the last sync of which everything is in the pool, if pages may be lacking. `false` where it should but no sync is known: a pool
/// of an older release, or both marks are lost.
///
/// Reads the segments that the newest mark speaks of.
pub fn go_by_last_sync(pool: &Pool) -> bool {
    if !pool.may_lack_pages() || pool.cut_in_force().is_some() {
        return true;
    }
    let marks = pool.sync_marks();
    let unverified = mutant::active(Mutant::MarkUnverified);
    let cut = match marks.as_slice() {
        [] => return false,
        [newest, before] if !unverified && !is_complete(pool, newest) => before,
        // With one mark alone the other one was being written, and this one's sync was over.
        [newest, ..] => newest,
    };
    pool.put_in_force(Cut::at(cut));
    true
}

/// Whether all that a mark speaks of is there.
fn is_complete(pool: &Pool, mark: &SyncMark) -> bool {
    mark.logs.iter().all(|log| is_there(pool, log))
}

fn is_there(pool: &Pool, log: &LogEnd) -> bool {
    if log.id.0 >= pool.segment_count() || log.end > pool.segment_bytes() {
        return false;
    }
    let incarnation = match pool.segment_header(log.id) {
        Ok(
            SegmentHeader::Free { incarnation }
            | SegmentHeader::Open { incarnation }
            | SegmentHeader::Sealed { incarnation, .. }
            | SegmentHeader::SealDamaged { incarnation },
        ) => incarnation,
        _ => return false,
    };
    // It was freed since, so the sync was over.
    if incarnation > log.incarnation {
        return true;
    }
    let start = pool.segment_offset(log.id);
    pool.region().read_ahead(start, log.end);
    let Ok(segment) = pool.region().read(start, pool.segment_bytes()) else { return false };
    let segment = &segment[..log.end as usize];
    let seed = segment_seed(pool.uuid(), log.id, log.incarnation);
    let mut at = SEGMENT_HEADER_BYTES as usize;
    // Ends: `at` grows each turn.
    while incarnation == log.incarnation && at < segment.len() {
        match batch_at(segment, at, seed) {
            Some((batch, _)) => at += batch.len(),
            None => return false,
        }
    }
    incarnation == log.incarnation
}
