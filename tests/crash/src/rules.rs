//! Rules that hold on every trace, checked in one pass without any crash. They add to those of the recorder what needs to know the format.
//!
//! 1. A commit batch goes into a segment that is open, behind everything that was written in its life.
//! 2. No second batch is begun by a thread before the first is durable: one fence for each.

use fencepost::base::SegmentId;
use fencepost::pool::Pool;
use fencepost::pool::format::{SEGMENT_HEADER_BYTES, decode_seal_word, decode_state_word, in_use};
use pmem_emulation::{EventKind, Trace};
use std::collections::HashMap;

/// What breaks a rule.
pub fn check(trace: &Trace, pool: &Pool) -> Vec<String> {
    let mut image = trace.base().to_vec();
    // For each segment the incarnation in which it was last written to, and the end of what was written.
    let mut ends: HashMap<SegmentId, (u32, u64)> = HashMap::new();
    let mut unfenced: HashMap<u32, u32> = HashMap::new();
    let mut found = Vec::new();
    for event in trace.events() {
        let (at, bytes) = match &event.kind {
            EventKind::Store { at, bytes } => (*at, &bytes[..]),
            EventKind::Copy { at, bytes } | EventKind::CopyNt { at, bytes } => (*at, trace.bytes(*bytes)),
            EventKind::Grow { len } => {
                image.resize(image.len().max(*len as usize), 0);
                continue;
            }
            EventKind::Fence => {
                unfenced.insert(event.thread, 0);
                continue;
            }
            _ => continue,
        };
        if let Some(segment) = pool.segment_of(at).filter(|_| !matches!(event.kind, EventKind::Store { .. })) {
            let batches = unfenced.entry(event.thread).or_default();
            *batches += 1;
            if *batches > 1 {
                found.push(format!("{}: a second batch is written before the fence of the first", event.site));
            }
            let within = at - pool.segment_offset(segment);
            if let Err(what) = appends(&image, pool, segment, within, bytes.len() as u64, &mut ends) {
                found.push(format!("{}: {what}", event.site));
            }
        }
        image[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    found
}

/// Whether a write at `within` of a segment is an append to an open log.
fn appends(
    image: &[u8],
    pool: &Pool,
    segment: SegmentId,
    within: u64,
    len: u64,
    ends: &mut HashMap<SegmentId, (u32, u64)>,
) -> Result<(), String> {
    let start = pool.segment_offset(segment) as usize;
    let word = |at: usize| u64::from_le_bytes(image[start + at..][..8].try_into().expect("eight bytes"));
    let incarnation = decode_state_word(pool.uuid(), segment, word(0)).filter(|&incarnation| in_use(incarnation));
    let Some(incarnation) = incarnation else {
        return Err(format!("a write into segment {segment}, which is not in use"));
    };
    if decode_seal_word(pool.uuid(), segment, incarnation, word(8)) != Some(0) {
        return Err(format!("a write into segment {segment}, which is sealed"));
    }
    let end = ends.entry(segment).or_insert((incarnation, SEGMENT_HEADER_BYTES));
    if end.0 != incarnation {
        *end = (incarnation, SEGMENT_HEADER_BYTES);
    }
    if within < end.1 {
        return Err(format!("a write at byte {within} of segment {segment}, whose log has come to byte {}", end.1));
    }
    end.1 = within + len;
    Ok(())
}
