//! The two words a bucket is made of, as bits.
//!
//! ```text
//! entry    63........42  41      40     39..........0
//!          tag           LOCKED  spare  address in units of 16 bytes         0 = free slot
//! header   63     62..57  56.........32  31..........0
//!          spare  depth   version        overflow link (its number + 1)      depth 0 = dead
//! ```
//!
//! The tag is a window of the hash that begins at the smallest depth a table can have, so the bit that decides a split
//! is always in the word.

use crate::base::LogAddr;

const ADDR_MASK: u64 = (1 << 40) - 1;
const LOCKED: u64 = 1 << 41;
const TAG_SHIFT: u32 = 42;

/// Bits of the tag.
pub(super) const TAG_BITS: u32 = u64::BITS - TAG_SHIFT;

const LINK_MASK: u64 = (1 << 32) - 1;
const VERSION_SHIFT: u32 = 32;
const VERSION_MASK: u64 = (1 << 25) - 1;
const DEPTH_SHIFT: u32 = 57;
const DEPTH_MASK: u64 = (1 << 6) - 1;

/// The bit to set in a slot to lock its entry.
pub(super) const LOCK_BIT: u64 = LOCKED;

/// The bits of a hash below `depth`: the number of the bucket that it belongs to at that depth.
#[inline]
pub(super) fn low_bits(hash: u64, depth: u32) -> u64 {
    hash & !(u64::MAX << depth)
}

/// The tag of a hash, in place (bits 42..64) as entries carry it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(u64);

impl Tag {
    /// The tag of `hash` in a table of least depth `base_depth`.
    #[inline]
    pub(super) fn of(hash: u64, base_depth: u32) -> Self {
        Self((hash >> base_depth) << TAG_SHIFT)
    }

    /// Its upper 32 bits, the tag in bits 10..32.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline]
    pub(super) fn high_half(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether `raw`, the value of a slot, has this tag. A free slot has tag 0.
    #[cfg(any(test, miri, feature = "loom", not(target_arch = "x86_64")))]
    pub(super) fn is_in(self, raw: u64) -> bool {
        (raw ^ self.0) >> TAG_SHIFT == 0
    }
}

/// The value of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    pub(super) const FREE: Self = Self(0);

    #[inline]
    pub(super) fn new(tag: Tag, addr: LogAddr) -> Self {
        Self(tag.0 | addr.units())
    }

    /// Where the record is; `None` for a free slot.
    #[inline]
    pub(super) fn addr(self) -> Option<LogAddr> {
        LogAddr::from_units(self.0 & ADDR_MASK)
    }

    /// The same entry with another address, unlocked.
    #[inline]
    pub(super) fn with_addr(self, addr: LogAddr) -> Self {
        Self((self.0 & !(ADDR_MASK | LOCKED)) | addr.units())
    }

    #[inline]
    pub(super) fn is_free(self) -> bool {
        self == Self::FREE
    }

    #[inline]
    pub(super) fn is_locked(self) -> bool {
        self.0 & LOCKED != 0
    }

    #[inline]
    pub(super) fn locked(self) -> Self {
        Self(self.0 | LOCKED)
    }

    #[inline]
    pub(super) fn unlocked(self) -> Self {
        Self(self.0 & !LOCKED)
    }

    /// Bit `bit` of the tag, counted from its lowest: hash bit `base depth + bit`.
    #[inline]
    pub(super) fn tag_bit(self, bit: u32) -> bool {
        (self.0 >> (TAG_SHIFT + bit)) & 1 != 0
    }

    /// The lowest `bits` bits of the tag.
    #[inline]
    pub(super) fn tag_low(self, bits: u32) -> u64 {
        low_bits(self.0 >> TAG_SHIFT, bits)
    }
}

/// The header word of a bucket. Overflow buckets use its link alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header(pub(super) u64);

impl Header {
    /// Number of the next overflow bucket plus one; 0 at the end of the chain.
    #[inline]
    pub(super) fn link(self) -> u32 {
        (self.0 & LINK_MASK) as u32
    }

    /// How many low hash bits the keys of this bucket share; 0 when the bucket is dead.
    #[inline]
    pub(super) fn depth(self) -> u32 {
        ((self.0 >> DEPTH_SHIFT) & DEPTH_MASK) as u32
    }

    /// Whether both headers mean the same set of home keys and no entry was moved between them. A new link is no change.
    #[inline]
    pub(super) fn same_life(self, other: Self) -> bool {
        (self.0 ^ other.0) & !LINK_MASK == 0
    }

    #[inline]
    pub(super) fn with_link(self, link: u32) -> Self {
        Self((self.0 & !LINK_MASK) | u64::from(link))
    }

    #[inline]
    pub(super) fn with_depth(self, depth: u32) -> Self {
        debug_assert!(u64::from(depth) <= DEPTH_MASK);
        Self((self.0 & !(DEPTH_MASK << DEPTH_SHIFT)) | (u64::from(depth) << DEPTH_SHIFT))
    }

    /// The next version. It wraps after 2^25 moves in one bucket, which no reader sleeps through: each takes a split, a
    /// merge or a compaction of this very bucket while one and the same lookup stands still.
    #[inline]
    pub(super) fn bumped(self) -> Self {
        let version = ((self.0 >> VERSION_SHIFT) + 1) & VERSION_MASK;
        Self((self.0 & !(VERSION_MASK << VERSION_SHIFT)) | (version << VERSION_SHIFT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_do_not_touch_each_other() {
        let header = Header(0).with_link(u32::MAX).with_depth(63);
        assert_eq!((header.link(), header.depth()), (u32::MAX, 63));
        let last = Header(header.0 | (VERSION_MASK << VERSION_SHIFT));
        assert_eq!(last.bumped(), header, "the version wraps within its field");
        assert!(!header.same_life(header.bumped()));
        assert!(!header.same_life(header.with_depth(62)));
        assert!(header.same_life(header.with_link(7)));
    }

    #[test]
    fn entry_fields_do_not_touch_each_other() {
        let addr = LogAddr::from_units(ADDR_MASK).unwrap();
        let tag = Tag::of(u64::MAX, 16);
        let word = Word::new(tag, addr);
        assert_eq!(word.addr(), Some(addr));
        assert!(!word.is_locked() && word.locked().is_locked() && word.locked().unlocked() == word);
        assert!(tag.is_in(word.locked().0));
        assert_eq!(word.locked().with_addr(LogAddr::from_units(5).unwrap()).addr().unwrap().units(), 5);
        assert!(!word.locked().with_addr(addr).is_locked());
    }

    #[test]
    fn tag_is_the_window_of_the_hash_that_begins_at_the_base_depth() {
        let word = Word::new(Tag::of(0b1010_0111, 4), LogAddr::from_units(1).unwrap());
        assert_eq!((0..4).map(|bit| word.tag_bit(bit)).collect::<Vec<_>>(), [false, true, false, true]);
        assert_eq!(word.tag_low(2), 0b10);
        assert!(Tag::of(1 << (16 + TAG_BITS), 16).is_in(0), "bits above the window do not count");
    }
}
