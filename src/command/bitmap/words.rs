//! Bits counted and searched eight bytes at a time.

/// How many bits are set.
pub fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let ones: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    ones + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The place of the first bit that is set, or clear when `bit` is false; bit 0 is the top bit of byte 0.
pub fn find(bytes: &[u8], bit: bool) -> Option<usize> {
    // Looking for a clear bit is looking for a set one in the complement.
    let flip = if bit { 0 } else { u64::MAX };
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_be_bytes(*word) ^ flip;
        if word != 0 {
            return Some(at * 64 + word.leading_zeros() as usize);
        }
    }
    for (at, byte) in rest.iter().enumerate() {
        let byte = byte ^ flip as u8;
        if byte != 0 {
            return Some(words.len() * 64 + at * 8 + byte.leading_zeros() as usize);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_agree_with_single_bits(bytes in prop::collection::vec(prop_oneof![4 => Just(0u8), 4 => Just(255), 1 => any::<u8>()], 0..40)) {
            let bits: Vec<bool> = bytes.iter().flat_map(|byte| (0..8).map(move |i| byte & (0x80 >> i) != 0)).collect();
            prop_assert_eq!(count_ones(&bytes), bits.iter().filter(|bit| **bit).count() as u64);
            for bit in [false, true] {
                prop_assert_eq!(find(&bytes, bit), bits.iter().position(|b| *b == bit));
            }
        }
    }
}
