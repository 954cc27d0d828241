//! Records that can still be made out in damaged bytes. Nothing vouches for them: they are good for naming keys, never for values.

use super::Damage;
use crate::base::SegmentId;
use crate::log::format::{BATCH_HEADER_BYTES, RECORD_ALIGN};
use crate::log::{Record, SegmentFault};
use crate::pool::Pool;
use crate::pool::format::LINE_BYTES;
use std::ops::Range;

/// Calls `visit` for each record that makes sense in a damaged place, until it returns `false`.
pub fn readable_records<'p>(pool: &'p Pool, damage: &Damage, visit: impl FnMut(Record<'p>) -> bool) {
    match damage.fault {
        // The record itself is whole there; what belongs to it is not.
        SegmentFault::Chunks => {}
        _ => readable_in(pool, damage.segment, damage.range.clone(), visit),
    }
}

/// As [`readable_records`], for a byte range of a segment. Beyond the segment's end nothing is read.
pub(super) fn readable_in<'p>(
    pool: &'p Pool,
    segment: SegmentId,
    range: Range<u64>,
    mut visit: impl FnMut(Record<'p>) -> bool,
) {
    const LINE: usize = LINE_BYTES as usize;
    let end = range.end.min(pool.segment_offset(segment) + pool.segment_bytes());
    let Ok(bytes) = pool.region().read(range.start, end.saturating_sub(range.start)) else { return };
    // Batches start on lines. The range does, too, or it starts at a record.
    let mut at = if range.start.is_multiple_of(LINE_BYTES) { BATCH_HEADER_BYTES } else { 0 };
    // Ends: `at` grows by at least 16 each turn.
    while at < bytes.len() {
        let line_at = (range.start as usize + at) % LINE;
        match Record::decode(&bytes[at..]) {
            Ok(record) => {
                if !visit(record) {
                    return;
                }
                at += record.bytes();
            }
            // The end of a batch that fills its last line: the header of the next one.
            Err(_) if line_at == 0 => at += RECORD_ALIGN,
            Err(_) => at += LINE - line_at + BATCH_HEADER_BYTES,
        }
    }
}
