//! Makes a pool whose segments have been used before.
//!
//! Every segment in use is freed by hand, as a cleaner would free it: its incarnation is raised, its bytes stay. What is written from
//! then on lies over the bytes of a former life.

use crate::engine::Engine;
use fencepost::base::SegmentId;
use fencepost::pool::SegmentHeader;
use fencepost::pool::format::state_word;

/// The engine's image with all of its segments freed. It holds no key.
pub fn recycle(engine: &Engine) -> Vec<u8> {
    let pool = engine.store.pool();
    let mut image = engine.image();
    for id in (0..pool.segment_count()).map(SegmentId) {
        let header = pool.segment_header(id).expect("memory reads");
        if let SegmentHeader::Open { incarnation } | SegmentHeader::Sealed { incarnation, .. } = header {
            let at = pool.segment_offset(id) as usize;
            image[at..at + 8].copy_from_slice(&state_word(pool.uuid(), id, incarnation + 1).to_le_bytes());
        }
    }
    image
}
