//! Just enough whole numbers of any size to turn decimal text into binary and back.

use std::fmt;

/// The largest power of ten below 2^32, and its digits.
const CHUNK: u32 = 1_000_000_000;
const CHUNK_DIGITS: usize = 9;

/// A whole number, the lowest 32 bits first, without zeros on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BigUint {
    limbs: Vec<u32>,
}

impl BigUint {
    /// The number that `digits` (all of them decimal) mean.
    pub fn from_decimal(digits: &[u8]) -> Self {
        let mut number = Self { limbs: Vec::with_capacity(digits.len() / CHUNK_DIGITS + 1) };
        for chunk in digits.chunks(CHUNK_DIGITS) {
            let value = chunk.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
            number.multiply_add(10u32.pow(chunk.len() as u32), value);
        }
        number
    }

    /// `value * 2^by`.
    pub fn shifted(value: u64, by: usize) -> Self {
        let mut number = Self { limbs: vec![value as u32, (value >> 32) as u32] };
        number.trim();
        number.shift_left(by);
        number
    }

    /// How many bits it has; 0 for zero.
    pub fn bits(&self) -> usize {
        self.limbs.last().map_or(0, |top| self.limbs.len() * 32 - top.leading_zeros() as usize)
    }

    /// Multiplies by 2^by.
    pub fn shift_left(&mut self, by: usize) {
        if self.limbs.is_empty() {
            return;
        }
        let (limbs, bits) = (by / 32, by % 32);
        if bits != 0 {
            self.multiply_add(1 << bits, 0);
        }
        self.limbs.splice(0..0, std::iter::repeat_n(0, limbs));
    }

    /// Multiplies by 10^by.
    pub fn multiply_power_of_ten(&mut self, mut by: usize) {
        // Ends: each turn takes at least one from `by`.
        while by > 0 {
            let step = by.min(CHUNK_DIGITS);
            self.multiply_add(10u32.pow(step as u32), 0);
            by -= step;
        }
    }

    /// Divides by 10^by, rounding down; says whether there was a remainder.
    pub fn divide_power_of_ten(&mut self, mut by: usize) -> bool {
        let mut inexact = false;
        // Rounding down step by step is the same as rounding down once. Ends: each turn takes at least one from `by`.
        while by > 0 {
            let step = by.min(CHUNK_DIGITS);
            inexact |= self.divide(10u32.pow(step as u32)) != 0;
            by -= step;
        }
        inexact
    }

    /// The top 128 bits (or all, when there are fewer), how many bits are below them, and whether any of those is set.
    pub fn top(&self) -> (u128, usize, bool) {
        let below = self.bits().saturating_sub(128);
        let (skip, shift) = (below / 32, below % 32);
        let mut top = 0;
        for (place, limb) in self.limbs[skip.min(self.limbs.len())..].iter().enumerate() {
            let limb = u128::from(*limb);
            // Five limbs at most: the lowest one loses `shift` bits.
            top |= if place == 0 { limb >> shift } else { limb << (place * 32 - shift) };
        }
        let lost = self.limbs[..skip].iter().any(|limb| *limb != 0)
            || shift != 0 && self.limbs[skip] & ((1 << shift) - 1) != 0;
        (top, below, lost)
    }

    fn multiply_add(&mut self, by: u32, add: u32) {
        let mut carry = u64::from(add);
        for limb in &mut self.limbs {
            let product = u64::from(*limb) * u64::from(by) + carry;
            *limb = product as u32;
            carry = product >> 32;
        }
        if carry != 0 {
            self.limbs.push(carry as u32);
        }
    }

    fn divide(&mut self, by: u32) -> u32 {
        let mut rest = 0;
        for limb in self.limbs.iter_mut().rev() {
            let part = u64::from(rest) << 32 | u64::from(*limb);
            *limb = (part / u64::from(by)) as u32;
            rest = (part % u64::from(by)) as u32;
        }
        self.trim();
        rest
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }
}

impl fmt::Display for BigUint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.clone();
        let mut chunks = Vec::new();
        // Ends: each turn divides by more than one.
        while !rest.limbs.is_empty() {
            chunks.push(rest.divide(CHUNK));
        }
        write!(f, "{}", chunks.pop().unwrap_or(0))?;
        chunks.iter().rev().try_for_each(|chunk| write!(f, "{chunk:0CHUNK_DIGITS$}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decimal_text_survives(text in "[1-9][0-9]{0,200}") {
            prop_assert_eq!(BigUint::from_decimal(text.as_bytes()).to_string(), text);
        }

        #[test]
        fn shifts_and_tops_agree_with_u128(value: u64, by in 0usize..64) {
            let wide = u128::from(value) << by;
            let number = BigUint::shifted(value, by);
            prop_assert_eq!(number.to_string(), wide.to_string());
            prop_assert_eq!(number.bits(), 128 - wide.leading_zeros() as usize);
            prop_assert_eq!(number.top(), (wide, 0, false));
        }

        #[test]
        fn the_top_is_cut_at_128_bits(high in 1u64.., low: u128, by in 0usize..64) {
            let mut number = BigUint::shifted(high, 128);
            for limb in 0..4 {
                number.limbs[limb] = (low >> (32 * limb)) as u32;
            }
            number.shift_left(by);
            let (top, below, lost) = number.top();
            let high_bits = 64 - high.leading_zeros();
            prop_assert_eq!(below, high_bits as usize + by);
            let want = u128::from(high) << (128 - high_bits) | if high_bits == 128 { 0 } else { low >> high_bits };
            prop_assert_eq!(top, want);
            prop_assert_eq!(lost, low & ((1u128 << high_bits) - 1) != 0);
        }

        #[test]
        fn division_is_the_inverse_of_multiplication(value: u64, power in 0usize..60, add in 0u32..10) {
            let mut number = BigUint::shifted(value, 0);
            number.multiply_power_of_ten(power + 1);
            number.multiply_add(1, add);
            prop_assert_eq!(number.divide_power_of_ten(power + 1), add != 0);
            prop_assert_eq!(number, BigUint::shifted(value, 0));
        }
    }
}
