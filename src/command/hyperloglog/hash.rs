//! Where an element falls: MurmurHash64A with the seed of Redis, for sketches to be exchanged with it.

/// Bits of the hash that choose the register.
pub const INDEX_BITS: u32 = 14;
/// Bits of the hash whose trailing zeros give the rank.
pub const RANK_BITS: u32 = 64 - INDEX_BITS;

const SEED: u64 = 0xadc8_3b19;
const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
const SHIFT: u32 = 47;

/// The register of an element and its rank there: 1 more than the zeros that its hash ends in above the register's
/// bits.
pub fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element);
    let index = hash & ((1 << INDEX_BITS) - 1);
    // A bit above the last one ends the search.
    let rest = hash >> INDEX_BITS | 1 << RANK_BITS;
    (index as usize, rest.trailing_zeros() as u8 + 1)
}

fn murmur64a(bytes: &[u8]) -> u64 {
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mixed = scatter(u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ mixed).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
    }
    scatter(scatter(hash).wrapping_mul(MULTIPLIER))
}

fn scatter(word: u64) -> u64 {
    word ^ word >> SHIFT
}
