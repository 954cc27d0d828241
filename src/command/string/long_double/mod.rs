//! The arithmetic of INCRBYFLOAT: x86's 80-bit extended floating point in software.
//!
//! Redis adds in C's `long double`, which on x86-64 has a 64-bit mantissa and a 15-bit exponent, reads its operands
//! with `strtold` and prints with `%.17Lf`, trailing zeros taken off. Values are stored as that text, so every digit
//! counts: an `f64` would turn 0.1 + 0.2 into 0.30000000000000004, decimal arithmetic would never round. All three
//! steps here are exact and rounded once, half to even, as the hardware and the C library do.

mod big;
mod parse;

pub use parse::{MAX_TEXT_BYTES, parse};

use big::BigUint;

/// Bits of the mantissa.
const MANTISSA_BITS: i32 = 64;
/// The power of two of the mantissa's lowest bit in the smallest denormal number.
const MIN_EXPONENT: i32 = -16445;
/// The same in the largest finite number: 2^16384 is infinite.
const MAX_EXPONENT: i32 = 16384 - MANTISSA_BITS;
/// Digits after the point that are printed.
const FRACTION_DIGITS: usize = 17;

/// A finite or infinite number; never NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongDouble {
    /// `mantissa * 2^exponent`, where the mantissa's top bit is set unless it is 0.
    Finite {
        /// Whether it is below zero (or a negative zero).
        negative: bool,
        /// The significant bits.
        mantissa: u64,
        /// The power of two of the mantissa's lowest bit; 0 for zero.
        exponent: i32,
    },
    /// Too large, or given as `inf`.
    Infinite,
}

impl LongDouble {
    /// 0.
    pub const ZERO: Self = Self::zero(false);

    const fn zero(negative: bool) -> Self {
        Self::Finite { negative, mantissa: 0, exponent: 0 }
    }

    /// `wide * 2^exponent`, rounded to what can be represented. A caller that has dropped non-zero bits below `wide` sets the lowest bit of
    /// `wide`, which must have 66 bits or more then.
    fn round(negative: bool, wide: u128, exponent: i32) -> Self {
        if wide == 0 {
            return Self::zero(negative);
        }
        let bits = 128 - wide.leading_zeros() as i32;
        // Denormal numbers have fewer bits.
        let drop = (bits - MANTISSA_BITS).max(MIN_EXPONENT - exponent);
        let (kept, exponent) = if drop <= 0 {
            (wide, exponent)
        } else if drop >= 128 {
            return Self::zero(negative);
        } else {
            (shift_right_even(wide, drop as u32), exponent + drop)
        };
        if kept == 0 {
            return Self::zero(negative);
        }
        // `kept` has at most 65 bits, and then only the top one is set: moving it loses nothing.
        let up = kept.leading_zeros() as i32 - (128 - MANTISSA_BITS);
        let mantissa = if up >= 0 { (kept << up) as u64 } else { (kept >> 1) as u64 };
        let exponent = exponent - up;
        if exponent > MAX_EXPONENT {
            return Self::Infinite;
        }
        Self::Finite { negative, mantissa, exponent }
    }

    /// Whether it is infinite.
    pub fn is_infinite(self) -> bool {
        self == Self::Infinite
    }

    /// The sum, or `None` when it is infinite or undefined.
    pub fn add(self, other: Self) -> Option<Self> {
        let (
            Self::Finite { negative: a_negative, mantissa: a, exponent: a_exponent },
            Self::Finite { negative: b_negative, mantissa: b, exponent: b_exponent },
        ) = (self, other)
        else {
            return None;
        };
        if b == 0 && a == 0 {
            return Some(Self::zero(a_negative && b_negative));
        }
        if b == 0 {
            return Some(self);
        }
        if a == 0 {
            return Some(other);
        }
        if (a_exponent, a) < (b_exponent, b) {
            return other.add(self);
        }
        // The larger one gets 63 bits below its mantissa, enough for the smaller one but for a sticky bit.
        let room = 63;
        let large = u128::from(a) << room;
        let small = shift_right_sticky(u128::from(b) << room, (a_exponent - b_exponent) as u32);
        let sum = if a_negative == b_negative { large + small } else { large - small };
        // A difference of nothing is a positive zero.
        let negative = a_negative && sum != 0;
        match Self::round(negative, sum, a_exponent - room) {
            Self::Infinite => None,
            finite => Some(finite),
        }
    }

    /// The number without an exponent, to 17 digits after the point, less trailing zeros.
    pub fn to_text(self) -> String {
        let Self::Finite { negative, mantissa, exponent } = self else {
            return "inf".to_string();
        };
        let (mut whole, fraction) = if exponent >= 0 {
            (BigUint::shifted(mantissa, exponent as usize).to_string(), 0)
        } else {
            let (whole, fraction) = split(mantissa, exponent.unsigned_abs());
            (whole.to_string(), fraction)
        };
        if fraction != 0 {
            let digits = format!("{fraction:0FRACTION_DIGITS$}");
            whole.push('.');
            whole.push_str(digits.trim_end_matches('0'));
        }
        if negative && whole != "0" {
            whole.insert(0, '-');
        }
        whole
    }
}

/// `mantissa / 2^down` as a whole part and 17 digits of a fraction, rounded.
fn split(mantissa: u64, down: u32) -> (u64, u128) {
    let scale = 10u128.pow(FRACTION_DIGITS as u32);
    let (whole, rest) = match down {
        0..64 => (mantissa >> down, mantissa & ((1 << down) - 1)),
        _ => (0, mantissa),
    };
    // Below 2^64 * 10^17 < 2^121, so that from 122 on it is less than a half.
    let fraction = if down >= 122 { 0 } else { shift_right_even(u128::from(rest) * scale, down) };
    if fraction == scale { (whole + 1, 0) } else { (whole, fraction) }
}

/// `value / 2^by`, rounded half to even; `by` is in `1..128`.
fn shift_right_even(value: u128, by: u32) -> u128 {
    let kept = value >> by;
    let dropped = value & ((1 << by) - 1);
    let half = 1 << (by - 1);
    kept + u128::from(dropped > half || dropped == half && kept & 1 == 1)
}

/// `value / 2^by` with the lowest bit set if any dropped bit was.
fn shift_right_sticky(value: u128, by: u32) -> u128 {
    match by {
        0 => value,
        1..128 => value >> by | u128::from(value & ((1 << by) - 1) != 0),
        _ => u128::from(value != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        Some(parse(a.as_bytes())?.add(parse(b.as_bytes())?)?.to_text())
    }

    /// The answers of redis-server 7.0.15 on x86-64 to SET and INCRBYFLOAT of these pairs.
    #[test]
    fn sums_are_those_of_redis() {
        for line in include_str!("sums.txt").lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [a, b, want] = words[..] else { panic!("three words a line, not {line}") };
            assert_eq!(sum(a, b).as_deref().unwrap_or("error"), want, "{a} + {b}");
        }
    }

    #[test]
    fn a_sum_beyond_the_range_is_refused() {
        let largest = "1.18973149535723176502e+4932";
        assert!(sum(largest, "0").is_some());
        assert_eq!(sum(largest, largest), None);
        assert_eq!(sum("inf", "-inf"), None);
        assert_eq!(sum("inf", "1"), None);
    }

    #[test]
    fn zeros_have_no_sign_in_print() {
        assert_eq!(sum("-0", "-0").as_deref(), Some("0"));
        assert_eq!(sum("1.5", "-1.5").as_deref(), Some("0"));
        assert_eq!(sum("-1e-30", "0").as_deref(), Some("0"));
    }
}
