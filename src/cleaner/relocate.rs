//! Emptying one segment, slice by slice: look at each record, copy what must stay, have its owner look for it there.

use crate::base::mutant::{self, Mutant};
use crate::base::{LogAddr, SegmentId};
use crate::log::format::BATCH_HEADER_BYTES;
use crate::log::{AppendError, BatchBuilder, Kind, NewRecord, Record, Writer, batch_at};
use crate::pool::format::SEGMENT_HEADER_BYTES;
use crate::pool::{Pool, SegmentUse, Urgency};
use crossbeam_epoch::Guard;

/// What is to become of a record in a segment that is being emptied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Nothing needs it. `counted` is the hash of its key, if the stale filter counts it.
    Dead {
        /// The hash of its key.
        counted: Option<u64>,
    },
    /// It is in use: it is copied, and [`Owner::repoint`] is told. `token` comes back with that.
    Live {
        /// Whatever helps the owner to find it again.
        token: u64,
    },
    /// Nothing refers to it, but it must stay in the pool: it is copied.
    Needed,
    /// It says that its key, or its element, is gone and nothing else any more: a tombstone takes its place. The stale filter counts it.
    Buried {
        /// The hash of its key.
        hash: u64,
    },
    /// It cannot be told now. The segment's turn comes later.
    Undecided,
}

/// A record that was copied.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// Where it was.
    pub from: LogAddr,
    /// Where its copy is, durably.
    pub to: LogAddr,
    /// As the owner gave it.
    pub token: u64,
}

/// Whose records they are.
pub trait Owner {
    /// The fate of `record` is asked soon: starts to fetch what that will look at.
    fn expect(&self, record: &Record<'_>, guard: &Guard);

    /// What is to become of `record`, found at `addr`. Asked for each record of a segment once.
    fn fate(&self, addr: LogAddr, record: &Record<'_>, guard: &Guard) -> Fate;

    /// Copies are durable: has everything that led to the old places lead to the new ones. A record that was superseded meanwhile stays where it is;
    /// its hash goes to `counted` if the stale filter counts it, and its copy is counted by the filter as well.
    fn repoint(&self, moves: &[Move], guard: &Guard, counted: &mut Vec<u64>);

    /// These segments are durably free, and will soon hold other records.
    fn released(&self, ids: &[SegmentId]);
}

/// Records whose fate is asked together: the index is fetched for all of them at once.
const AHEAD: usize = 16;
/// Records looked at in one slice: some ten microseconds where none is live.
const SLICE_RECORDS: usize = 256;
/// Bytes copied in one slice, unless one record is longer.
const SLICE_BYTES: usize = 32 * 1024;

/// A segment that is being emptied.
pub(super) struct Victim {
    pub(super) id: SegmentId,
    pub(super) survivors: bool,
    /// Hashes of what the stale filter counts in it, as far as it was looked at.
    pub(super) counted: Vec<u64>,
    seed: u32,
    /// Bytes from its start to the end of its log.
    end: usize,
    place: Place,
}

/// How far a victim is emptied. In bytes from its start.
#[derive(Clone, Copy)]
struct Place {
    next_batch: usize,
    /// In the batch before that.
    next_record: usize,
    /// How many are left there.
    records_left: u32,
}

/// Why a victim cannot be emptied further now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stuck {
    /// Something in it does not validate.
    Damaged,
    /// There is no room for the copies.
    Full,
    /// The owner cannot tell now.
    Undecided,
}

impl From<AppendError> for Stuck {
    fn from(_: AppendError) -> Self {
        Stuck::Full
    }
}

impl Victim {
    pub(super) fn new(pool: &Pool, id: SegmentId, usage: &SegmentUse) -> Self {
        Self {
            id,
            survivors: usage.survivors,
            counted: Vec::new(),
            seed: pool.segment_seed(id),
            end: usage.used_bytes as usize,
            place: Place { next_batch: SEGMENT_HEADER_BYTES as usize, next_record: 0, records_left: 0 },
        }
    }

    /// The next record that was not passed yet; `None` at the end.
    fn peek<'p>(&mut self, pool: &'p Pool) -> Result<Option<(LogAddr, Record<'p>)>, Stuck> {
        let start = pool.segment_offset(self.id);
        let segment = pool.region().read(start, self.end as u64).map_err(|_| Stuck::Damaged)?;
        let place = &mut self.place;
        // Ends: each turn passes a batch, and one with records ends it.
        while place.records_left == 0 {
            if place.next_batch >= self.end {
                return Ok(None);
            }
            let (batch, records) = batch_at(segment, place.next_batch, self.seed).ok_or(Stuck::Damaged)?;
            place.next_record = place.next_batch + BATCH_HEADER_BYTES;
            place.records_left = records;
            place.next_batch += batch.len();
        }
        let bytes = segment.get(place.next_record..place.next_batch).ok_or(Stuck::Damaged)?;
        let record = Record::decode(bytes).map_err(|_| Stuck::Damaged)?;
        record.check().map_err(|_| Stuck::Damaged)?;
        let addr = LogAddr::from_offset(start + place.next_record as u64).ok_or(Stuck::Damaged)?;
        Ok(Some((addr, record)))
    }

    /// Passes the record that was peeked at.
    fn pass(&mut self, record: &Record<'_>) {
        self.place.next_record += record.bytes();
        self.place.records_left -= 1;
    }
}

/// Copies of one slice, on their way.
#[derive(Default)]
pub(super) struct Copies {
    batch: BatchBuilder,
    /// Of live records; their new places are filled in when the batch has its own.
    moves: Vec<Move>,
    /// Where in the batch each of these is.
    offsets: Vec<usize>,
    /// Bytes of all, and of those that are not live.
    bytes: u64,
    held_bytes: u64,
}

impl Copies {
    fn clear(&mut self) {
        self.batch.clear();
        self.moves.clear();
        self.offsets.clear();
        (self.bytes, self.held_bytes) = (0, 0);
    }

    fn add(&mut self, record: &NewRecord<'_>) -> usize {
        let renewed = u64::from(mutant::active(Mutant::CopiesRenewed));
        self.bytes += record.bytes() as u64;
        self.batch.push(&NewRecord { version: record.version + renewed, ..*record })
    }

    fn add_live(&mut self, record: &Record<'_>, from: LogAddr, token: u64) {
        let offset = self.add(&record.copy());
        self.offsets.push(offset);
        self.moves.push(Move { from, to: from, token });
    }

    fn add_held(&mut self, record: &NewRecord<'_>) {
        self.add(record);
        self.held_bytes += record.bytes() as u64;
    }
}

/// What a slice of the work needs.
pub(super) struct Slice<'a, O> {
    pub(super) pool: &'a Pool,
    pub(super) owner: &'a O,
    pub(super) writer: &'a mut Writer,
    pub(super) copies: &'a mut Copies,
}

impl<'a, O: Owner> Slice<'a, O> {
    /// Empties `victim` a bit further; whether nothing is left in it. When it is stuck, it may be tried again from where it is then.
    pub(super) fn run(mut self, victim: &mut Victim) -> Result<bool, Stuck> {
        self.copies.clear();
        let before = (victim.place, victim.counted.len());
        // From before the records are read until what led to them leads to their copies.
        let guard = crossbeam_epoch::pin();
        let looked_at = self.look(victim, &guard);
        if let Err(full) = self.commit(victim, &guard) {
            victim.place = before.0;
            victim.counted.truncate(before.1);
            return Err(full);
        }
        looked_at
    }

    /// Looks at the next records and gathers copies.
    fn look(&mut self, victim: &mut Victim, guard: &Guard) -> Result<bool, Stuck> {
        let mut ahead = Vec::with_capacity(AHEAD);
        for _ in 0..SLICE_RECORDS / AHEAD {
            let mut done = victim.place;
            let behind = self.gather(victim, &mut ahead, guard);
            for (addr, record, after) in ahead.drain(..) {
                match self.judge(victim, addr, &record, guard) {
                    Ok(true) => done = after,
                    stopped => {
                        victim.place = done;
                        return stopped;
                    }
                }
            }
            match behind {
                Ok(false) => {}
                over => return over,
            }
        }
        Ok(false)
    }

    /// Passes the next few records; whether that were all.
    fn gather(
        &self,
        victim: &mut Victim,
        ahead: &mut Vec<(LogAddr, Record<'a>, Place)>,
        guard: &Guard,
    ) -> Result<bool, Stuck> {
        while ahead.len() < AHEAD {
            let Some((addr, record)) = victim.peek(self.pool)? else { return Ok(true) };
            self.owner.expect(&record, guard);
            victim.pass(&record);
            ahead.push((addr, record, victim.place));
        }
        Ok(false)
    }

    /// Gathers a copy of the record if it must stay. `false`: there is no room for one in this slice.
    fn judge(&mut self, victim: &mut Victim, addr: LogAddr, record: &Record<'_>, guard: &Guard) -> Result<bool, Stuck> {
        let batch = &self.copies.batch;
        // What does not fit any more goes into the next segment, and so into a batch of its own.
        let fits = batch.bytes_with(record.bytes()) as u64 <= self.writer.room();
        if !batch.is_empty() && (!fits || batch.bytes() >= SLICE_BYTES) {
            return Ok(false);
        }
        match self.owner.fate(addr, record, guard) {
            Fate::Dead { counted } => victim.counted.extend(counted),
            Fate::Live { token } => self.copies.add_live(record, addr, token),
            Fate::Needed => self.copies.add_held(&record.copy()),
            Fate::Buried { hash } => {
                victim.counted.push(hash);
                let kind = if record.kind.is_of_object() { Kind::ElementTombstone } else { Kind::Tombstone };
                let tombstone = NewRecord { kind, flags: 0, expiry_ms: 0, value: &[], ..record.copy() };
                self.copies.add_held(&tombstone);
            }
            Fate::Undecided => return Err(Stuck::Undecided),
        }
        Ok(true)
    }

    /// Makes the copies durable, and then the ones that count.
    fn commit(&mut self, victim: &mut Victim, guard: &Guard) -> Result<(), Stuck> {
        let Copies { batch, moves, offsets, bytes, held_bytes } = &mut *self.copies;
        if batch.is_empty() {
            return Ok(());
        }
        let at = self.writer.commit(self.pool, batch, Urgency::Cleans)?;
        // From here on a crash finds records of the victim, their copies, or both: they say the same.
        for (moved, &offset) in moves.iter_mut().zip(&*offsets) {
            moved.to = Writer::record_addr(at, offset);
        }
        if let Some(segment) = self.pool.segment_of(at) {
            self.pool.add_survivors(segment, *bytes, *held_bytes);
        }
        self.owner.repoint(moves, guard, &mut victim.counted);
        Ok(())
    }
}
