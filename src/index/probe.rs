//! Lookups: from a hash to its home bucket, and along the chain. Nothing here waits or writes.

use super::raw::Bucket;
use super::sync::{Ordering, fence};
use super::word::{Header, Tag, Word, low_bits};
use super::{BASE_ROWS, Table};
use crate::base::LogAddr;

/// How many lookups a batch overlaps; about what a core has line-fill buffers for.
pub(super) const BATCH: usize = 16;

/// One lookup of a batch, between its passes.
#[derive(Clone, Copy)]
struct Pending<'a> {
    number: usize,
    header: Header,
    /// Where the candidate was found, and its slot there.
    place: Option<(&'a Bucket, usize)>,
    candidate: Word,
}

impl<'a> Pending<'a> {
    const NONE: Self = Self { number: 0, header: Header(0), place: None, candidate: Word::FREE };

    fn set_candidate(&mut self, found: Option<(&'a Bucket, usize, Word)>) {
        self.place = found.map(|(bucket, i, _)| (bucket, i));
        self.candidate = found.map_or(Word::FREE, |(_, _, word)| word);
    }

    /// Whether the candidate is still where it was found. Then it was all the time: no word leaves and comes back within a pin (X6).
    fn is_there(&self) -> bool {
        self.place.is_some_and(|(bucket, i)| bucket.word(i, Ordering::Acquire) == self.candidate)
    }
}

impl Table {
    /// The row of `hash` in a stripe of `rows` rows.
    #[inline]
    fn row(&self, hash: u64, rows: u32) -> u64 {
        let level = rows.ilog2();
        let row = low_bits(hash >> self.stripe_bits, level + 1);
        if row >= u64::from(rows) { low_bits(row, level) } else { row }
    }

    /// The bucket where `hash` is at home if its stripe has `rows` rows.
    #[inline]
    pub(super) fn home_of(&self, hash: u64, rows: u32) -> usize {
        (self.row(hash, rows) << self.stripe_bits) as usize | self.stripe_of(hash)
    }

    /// The bucket where `hash` is probably at home. In range, but maybe dead or another one's home.
    #[inline]
    pub(super) fn guess(&self, hash: u64) -> usize {
        // Relaxed: a hint. It stays within the rows that were there once.
        let rows = self.space.hint(self.stripe_of(hash)).load(Ordering::Relaxed) + BASE_ROWS;
        self.home_of(hash, rows)
    }

    /// Whether the bucket `number`, which has this header, is the home of `hash`.
    #[inline]
    fn is_home(hash: u64, number: usize, header: Header) -> bool {
        header.depth() != 0 && low_bits(hash, header.depth()) == number as u64
    }

    /// The home bucket of `hash` and its header. The hint is only where the search starts; the headers decide.
    #[inline]
    pub(super) fn locate(&self, hash: u64) -> (usize, &Bucket, Header) {
        let number = self.guess(hash);
        let bucket = self.space.main(number);
        // Acquire: pairs with the Release stores of headers: entries copied before are seen after.
        let header = Header(bucket.header.load(Ordering::Acquire));
        if Self::is_home(hash, number, header) { (number, bucket, header) } else { self.locate_from(hash, number) }
    }

    /// Follows the headers from bucket `number` to the home of `hash`. Each round either ends, or goes to a bucket of fewer
    /// bits (a dead one's parent), or follows a depth that a split or merge has just published.
    #[cold]
    fn locate_from(&self, hash: u64, mut number: usize) -> (usize, &Bucket, Header) {
        loop {
            let bucket = self.space.main(number);
            // Acquire: as in `locate`.
            let header = Header(bucket.header.load(Ordering::Acquire));
            let first_row = number < (BASE_ROWS as usize) << self.stripe_bits;
            if Self::is_home(hash, number, header) || (header.depth() == 0 && first_row) {
                // The first rows cannot die: depth 0 there is a bucket that was never written, at home and empty.
                return (number, bucket, header);
            }
            number = match header.depth() {
                0 => parent(number),
                depth => low_bits(hash, depth) as usize,
            };
            while number >= self.space.mains() {
                number = parent(number);
            }
        }
    }

    /// Looks along one chain. The word of the first entry with this tag that `is_match` accepts, and its slot.
    #[inline]
    fn walk<'a>(
        &'a self,
        main: &'a Bucket,
        header: Header,
        tag: Tag,
        mut is_match: impl FnMut(&'a Bucket, usize, Word, LogAddr) -> bool,
    ) -> Option<LogAddr> {
        let mut bucket = main;
        let mut link = header.link();
        loop {
            let mut mask = bucket.matches(tag);
            while mask != 0 {
                let i = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                // Acquire: pairs with the Release that stored the word, so that the record can be read.
                let word = bucket.word(i, Ordering::Acquire);
                if let Some(addr) = word.addr()
                    && is_match(bucket, i, word, addr)
                {
                    return Some(addr);
                }
            }
            if link == 0 {
                return None;
            }
            bucket = self.space.linked(link);
            // Acquire: pairs with the Release store of the link.
            link = Header(bucket.header.load(Ordering::Acquire)).link();
        }
    }

    /// Whether nothing was moved in or out of the bucket since `header` was read: then what was not found was not there.
    #[inline]
    pub(super) fn still(bucket: &Bucket, header: Header) -> bool {
        // Pairs with the Release stores that clear slots: if one of them was read, the version bumped before is read now.
        fence(Ordering::Acquire);
        Header(bucket.header.load(Ordering::Relaxed)).same_life(header)
    }

    /// Finds the address under `hash` that `is_match` accepts. The closure also sees the slot.
    ///
    /// Lock-free: starts over only when a split, merge or compaction of this bucket has come to completion meanwhile.
    #[inline]
    pub(super) fn lookup<'a>(
        &'a self,
        hash: u64,
        mut is_match: impl FnMut(&'a Bucket, usize, Word, LogAddr) -> bool,
    ) -> Option<LogAddr> {
        let tag = self.tag(hash);
        loop {
            let (_, bucket, header) = self.locate(hash);
            if let Some(addr) = self.walk(bucket, header, tag, &mut is_match) {
                return Some(addr);
            }
            if Self::still(bucket, header) {
                return None;
            }
        }
    }

    /// At most [`BATCH`] lookups side by side: buckets, then records (or overflow buckets and then records), then keys.
    ///
    /// They take effect in their order, as if done one by one: once one of them had to look a second time, what was seen of those behind it
    /// before that must still hold.
    #[inline]
    pub(super) fn lookup_batch(
        &self,
        hashes: &[u64],
        mut prefetch: impl FnMut(LogAddr),
        mut is_match: impl FnMut(usize, LogAddr) -> bool,
        out: &mut [Option<LogAddr>],
    ) {
        let mut pending = [Pending::NONE; BATCH];
        for (&hash, at) in hashes.iter().zip(&mut pending) {
            at.number = self.guess(hash);
            self.space.prefetch_main(at.number);
        }
        let mut chained = 0_u32;
        for (i, (&hash, at)) in hashes.iter().zip(&mut pending).enumerate() {
            let bucket = self.space.main(at.number);
            // Acquire: as in `locate`.
            at.header = Header(bucket.header.load(Ordering::Acquire));
            at.set_candidate(first_match(bucket, self.tag(hash)));
            match at.candidate.addr() {
                Some(addr) => prefetch(addr),
                None if at.header.link() != 0 => {
                    self.space.prefetch_linked(at.header.link());
                    chained |= 1 << i;
                }
                None => {}
            }
        }
        while chained != 0 {
            let i = chained.trailing_zeros() as usize;
            chained &= chained - 1;
            let at = &mut pending[i];
            at.set_candidate(first_match(self.space.linked(at.header.link()), self.tag(hashes[i])));
            if let Some(addr) = at.candidate.addr() {
                prefetch(addr);
            }
        }
        let mut late = false;
        for (i, ((&hash, at), out)) in hashes.iter().zip(&pending).zip(out).enumerate() {
            let main = self.space.main(at.number);
            *out = match at.candidate.addr() {
                // Whatever bucket it came from: the key's own word is a hit.
                Some(addr) if (!late || at.is_there()) && is_match(i, addr) => {
                    late |= at.header.link() != 0;
                    Some(addr)
                }
                None if at.header.link() == 0
                    && Self::is_home(hash, at.number, at.header)
                    && !(late && first_match(main, self.tag(hash)).is_some())
                    && Self::still(main, at.header) =>
                {
                    None
                }
                _ => {
                    late = true;
                    self.lookup(hash, |_, _, _, addr| is_match(i, addr))
                }
            };
        }
    }
}

/// The first entry with this tag, its slot and its word. (Free slots have tag 0, so they may match too.)
#[inline]
fn first_match(bucket: &Bucket, tag: Tag) -> Option<(&Bucket, usize, Word)> {
    let mut mask = bucket.matches(tag);
    while mask != 0 {
        let i = mask.trailing_zeros() as usize;
        // Acquire: as in `walk`.
        let word = bucket.word(i, Ordering::Acquire);
        if !word.is_free() {
            return Some((bucket, i, word));
        }
        mask &= mask - 1;
    }
    None
}

/// The bucket that `number`, beyond the first rows, was split off from.
#[inline]
fn parent(number: usize) -> usize {
    number & !(1 << number.ilog2())
}
