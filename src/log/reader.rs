//! Reading records at an address, and walking a segment from its start.

use super::format::{BATCH_HEADER_BYTES, RECORD_HEADER_BYTES, batch_seed, checked_bytes};
use super::record::Lengths;
use super::{AtomId, Kind, Record, RecordError};
use crate::base::mutant::{self, Mutant};
use crate::base::{LogAddr, SegmentId};
use crate::persist::MediaError;
use crate::pool::format::{LINE_BYTES, SEGMENT_HEADER_BYTES, segment_seed};
use crate::pool::{Pool, SegmentHeader};

/// The record at an address that the index or an object holds. Its bytes were checked when it was written or recovered; only its structure is
/// checked again, and its lengths against the mapping.
///
/// # Errors
/// [`RecordError`]: the bytes have changed since then. What has changed into something that makes sense is not noticed.
// Not as a call: what is taken out of the record would have to wait until it has been written to the stack.
#[inline(always)]
pub fn try_record_at(pool: &Pool, addr: LogAddr) -> Result<Record<'_>, RecordError> {
    let at = addr.offset();
    let header = pool.read(at, RECORD_HEADER_BYTES as u64);
    let header = header.first_chunk().expect("32 bytes were asked for");
    let lengths = Lengths::of(header);
    let len = lengths.sum();
    if len > pool.region().len() - at {
        return Err(RecordError::Length);
    }
    Record::with_lengths(pool.read(at, len), header, lengths)
}

/// As [`try_record_at`], for records that were looked at a moment ago.
///
/// # Panics
/// If there is no record at `addr` any more.
#[inline(always)]
pub fn record_at(pool: &Pool, addr: LogAddr) -> Record<'_> {
    match try_record_at(pool, addr) {
        Ok(record) => record,
        Err(error) => panic!("no record at {addr:?}: {error}"),
    }
}

/// What is wrong in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentFault {
    /// The state word of the header fails its check: nothing in the segment can be trusted.
    Header,
    /// The medium cannot read it.
    Media(MediaError),
    /// A batch below the end of the log does not validate.
    Batch,
    /// A batch validates, but a record in it makes no sense.
    Record(RecordError),
    /// A long string whose chunks are not the ones that its head speaks of: some are lost, or their newest versions are.
    Chunks,
    /// The segment is sealed at an end that it cannot have, or where is not known.
    Seal,
}

/// What a walk through a segment found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentScan {
    /// Bytes from the segment's start to the end of its log; 0 for a free segment.
    pub end: u64,
    /// Whether it was sealed.
    pub sealed: bool,
    /// Batches that validated.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Damage: byte range in the pool and what is wrong.
    pub faults: Vec<(std::ops::Range<u64>, SegmentFault)>,
    /// A batch at the end of an open log that did not complete: a write in flight when the power failed (never acknowledged).
    pub unfinished: Option<u64>,
}

/// Walks segment `id` and calls `visit` for each record of each valid batch, in order; where the batch is a part of an atom, with the atom.
pub fn scan_segment<'p>(
    pool: &'p Pool,
    id: SegmentId,
    visit: impl FnMut(LogAddr, Record<'p>, Option<AtomId>),
) -> SegmentScan {
    let mut scan = scan_as_read(pool, id, visit);
    // What the medium could not give back has read as zeros, which no check has taken for a batch.
    let unreadable = pool.region().unreadable(pool.segment_offset(id), pool.segment_bytes());
    scan.faults
        .extend(unreadable.into_iter().map(|error| (error.at..error.at + error.len, SegmentFault::Media(error))));
    scan
}

fn scan_as_read<'p>(
    pool: &'p Pool,
    id: SegmentId,
    mut visit: impl FnMut(LogAddr, Record<'p>, Option<AtomId>),
) -> SegmentScan {
    let start = pool.segment_offset(id);
    let whole = start..start + pool.segment_bytes();
    let damaged = |fault| SegmentScan { faults: vec![(whole.clone(), fault)], ..SegmentScan::default() };
    let mut header_fault = None;
    let (incarnation, sealed_end) = match pool.segment_header(id) {
        Ok(SegmentHeader::Free { incarnation }) => match pool.region().read(start + SEGMENT_HEADER_BYTES, LINE_BYTES) {
            // A segment is durably open before anything is appended: the header is older than its log. Not so behind a cut.
            Ok(line)
                if pool.cut_in_force().is_none()
                    && begins_a_log(line, segment_seed(pool.uuid(), id, incarnation.wrapping_add(1))) =>
            {
                return damaged(SegmentFault::Header);
            }
            Ok(_) => return SegmentScan::default(),
            Err(fault) => return damaged(SegmentFault::Media(fault)),
        },
        Ok(SegmentHeader::Open { incarnation }) => (incarnation, None),
        Ok(SegmentHeader::Sealed { incarnation, end }) => (incarnation, Some(end)),
        // Every batch that validates in this life is one; only the end of the log is not known.
        Ok(SegmentHeader::SealDamaged { incarnation }) => {
            header_fault = Some((start..start + SEGMENT_HEADER_BYTES, SegmentFault::Seal));
            (incarnation, None)
        }
        Ok(SegmentHeader::BehindCut { .. }) => return SegmentScan::default(),
        Ok(SegmentHeader::Damaged) => return damaged(SegmentFault::Header),
        Err(fault) => return damaged(SegmentFault::Media(fault)),
    };
    if sealed_end.is_some_and(|end| end < SEGMENT_HEADER_BYTES || end > pool.segment_bytes()) {
        return damaged(SegmentFault::Header);
    }
    pool.region().read_ahead(start, sealed_end.unwrap_or(pool.segment_bytes()));
    let bytes = match pool.region().read(start, pool.segment_bytes()) {
        Ok(bytes) => bytes,
        Err(fault) => return damaged(SegmentFault::Media(fault)),
    };
    let seed = segment_seed(pool.uuid(), id, incarnation);
    let mut scan = scan_batches(
        &bytes[..sealed_end.unwrap_or(pool.segment_bytes()) as usize],
        seed,
        sealed_end.is_some(),
        |at, record, atom| {
            visit(LogAddr::from_offset(start + at).expect("inside the pool, 16-byte aligned"), record, atom);
        },
    );
    for (range, _) in &mut scan.faults {
        *range = start + range.start..start + range.end;
    }
    scan.faults.extend(header_fault);
    scan.unfinished = scan.unfinished.map(|at| start + at);
    // Bytes that are nobody's where no byte was ever written: the front of an unfinished batch's first line was torn off or damaged.
    if scan.unfinished.is_none() && sealed_end.is_none() && incarnation == 1 {
        let tail = &bytes[scan.end as usize..];
        if tail.iter().take(LINE_BYTES as usize).any(|&byte| byte != 0) {
            scan.unfinished = Some(start + scan.end);
        }
    }
    scan
}

/// Walks the batches in `segment`, the bytes of a segment up to its sealed end or its size. Offsets are from the segment's start.
///
/// An invalid batch ends the log of an open segment, unless a valid one follows: commits within a segment are ordered, so that is
/// damage, as is any invalid batch of a sealed one. Walking goes on at the next valid batch then, so that all damage is named and
/// the rest can be saved.
pub fn scan_batches<'p>(
    segment: &'p [u8],
    seed: u32,
    sealed: bool,
    mut visit: impl FnMut(u64, Record<'p>, Option<AtomId>),
) -> SegmentScan {
    let segment = if mutant::active(Mutant::LastBatchLost) && !sealed { without_last(segment, seed) } else { segment };
    let mut scan = SegmentScan { sealed, end: SEGMENT_HEADER_BYTES, ..SegmentScan::default() };
    let mut at = SEGMENT_HEADER_BYTES as usize;
    // Ends: `at` grows by at least a line each turn.
    while at < segment.len() {
        match check_batch(segment, at, seed) {
            BatchCheck::Valid { bytes, records } => {
                if (scan.end as usize) < at && !mutant::active(Mutant::HoleAccepted) {
                    scan.faults.push((scan.end..at as u64, SegmentFault::Batch));
                }
                let batch = &segment[at..at + bytes];
                if let Err((offset, error)) =
                    visit_batch(batch, records, |offset, record, atom| visit((at + offset) as u64, record, atom))
                {
                    scan.faults.push(((at + offset) as u64..(at + bytes) as u64, SegmentFault::Record(error)));
                }
                scan.batches += 1;
                scan.records += u64::from(records);
                at += bytes;
                scan.end = at as u64;
            }
            BatchCheck::Torn => {
                if scan.unfinished.is_none() {
                    scan.unfinished = Some(at as u64);
                }
                at += LINE_BYTES as usize;
            }
            BatchCheck::Nothing => at += LINE_BYTES as usize,
        }
    }
    if sealed && (scan.end as usize) < segment.len() && !mutant::active(Mutant::SealIgnored) {
        scan.faults.push((scan.end..segment.len() as u64, SegmentFault::Batch));
        scan.end = segment.len() as u64;
    }
    // Torn batches below a valid one are damage, named above; only what lies behind the log's end is unfinished.
    scan.unfinished = scan.unfinished.filter(|&at| at >= scan.end);
    scan
}

/// The batch at `at` bytes into `segment`, bytes of a segment whose checks are seeded with `seed`, if it validates: its bytes, and how many records
/// are in it.
pub fn batch_at(segment: &[u8], at: usize, seed: u32) -> Option<(&[u8], u32)> {
    match check_batch(segment, at, seed) {
        BatchCheck::Valid { bytes, records } => Some((&segment[at..at + bytes], records)),
        BatchCheck::Torn | BatchCheck::Nothing => None,
    }
}

/// The segment up to its last batch, which a defect loses.
#[cold]
fn without_last(segment: &[u8], seed: u32) -> &[u8] {
    let (mut at, mut last) = (SEGMENT_HEADER_BYTES as usize, segment.len());
    while let BatchCheck::Valid { bytes, .. } = check_batch(segment, at, seed) {
        last = at;
        at += bytes;
    }
    &segment[..last]
}

/// Whether the first line behind a segment's header is the front of a batch of this life.
fn begins_a_log(line: &[u8], segment_seed: u32) -> bool {
    let word = |at: usize| u32::from_le_bytes(line[at..at + 4].try_into().expect("four bytes"));
    let seed = batch_seed(segment_seed, SEGMENT_HEADER_BYTES);
    word(8) != 0 && crc32c::crc32c_append(seed, &line[8..BATCH_HEADER_BYTES]) == word(4)
}

/// What is at a line of a segment.
enum BatchCheck {
    /// A whole batch of this life.
    Valid { bytes: usize, records: u32 },
    /// The header of a batch of this life whose body is not whole.
    Torn,
    /// No batch of this life.
    Nothing,
}

fn check_batch(segment: &[u8], at: usize, segment_seed: u32) -> BatchCheck {
    let bytes = &segment[at..];
    let Some(header) = bytes.first_chunk::<BATCH_HEADER_BYTES>() else { return BatchCheck::Nothing };
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let lines = word(8) as u64;
    if lines == 0 || lines * LINE_BYTES > bytes.len() as u64 {
        return BatchCheck::Nothing;
    }
    let seed = batch_seed(segment_seed, at as u64);
    let head_holds = crc32c::crc32c_append(seed, &header[8..]) == word(4);
    if !head_holds && !mutant::active(Mutant::BatchHeadUnchecked) {
        return BatchCheck::Nothing;
    }
    let len = (lines * LINE_BYTES) as usize;
    let checked = checked_bytes(len);
    if crc32c::crc32c_append(seed, &bytes[4..checked]) != word(0) && !mutant::active(Mutant::BatchUnchecked) {
        return BatchCheck::Torn;
    }
    BatchCheck::Valid { bytes: len, records: word(12) }
}

/// Calls `visit` for each record of a batch whose checksum holds. Where one makes no sense none is visited, as a batch is an atom; the offset
/// of the first such is returned then.
fn visit_batch<'p>(
    batch: &'p [u8],
    records: u32,
    mut visit: impl FnMut(usize, Record<'p>, Option<AtomId>),
) -> Result<(), (usize, RecordError)> {
    let walk = |visit: &mut dyn FnMut(usize, Record<'p>) -> Result<(), RecordError>| {
        let mut at = BATCH_HEADER_BYTES;
        for _ in 0..records {
            let record = batch.get(at..).ok_or(RecordError::Length).and_then(Record::decode);
            let record = record.and_then(|record| record.check().map(|()| record)).map_err(|error| (at, error))?;
            visit(at, record).map_err(|error| (at, error))?;
            at += record.bytes();
        }
        Ok(())
    };
    let mut atom = None;
    walk(&mut |_, record| match (atom, record.kind) {
        (Some(_), _) => Err(RecordError::Malformed("part: it does not end its batch")),
        (None, Kind::Part) => record.atom().map(|id| atom = Some(id)),
        (None, _) => Ok(()),
    })?;
    walk(&mut |at, record| {
        visit(at, record, atom);
        Ok(())
    })
}
