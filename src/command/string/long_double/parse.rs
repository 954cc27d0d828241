//! Text to number, as C's `strtold` reads it.

use super::big::BigUint;
use super::{LongDouble, MANTISSA_BITS};

/// Longest text that is taken for a number, in bytes.
pub const MAX_TEXT_BYTES: usize = 5 * 1024 - 1;

/// Exponents beyond this give infinity or zero whatever digits go with them.
const EXPONENT_LIMIT: i64 = 100_000;

/// Powers of ten that a number near the range's ends can have, with some to spare.
const DECIMAL_RANGE: std::ops::RangeInclusive<i64> = -4980..=4940;

/// The number that all of `text` means: decimal or hexadecimal, with or without sign, point and exponent, or `inf`.
///
/// `None` for anything else, spaces and NaN included, and for what is too large or too small (but not 0) to be represented.
pub fn parse(text: &[u8]) -> Option<LongDouble> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let (negative, text) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
        return Some(LongDouble::Infinite);
    }
    match text {
        [b'0', b'x' | b'X', rest @ ..] => hexadecimal(negative, rest),
        _ => decimal(negative, text),
    }
}

/// The parts of a number: its digits without leading zeros, and how far the point is to be moved right.
struct Parts {
    digits: Vec<u8>,
    exponent: i64,
    /// Digits behind the point.
    behind: i64,
}

fn parts(text: &[u8], is_digit: fn(&u8) -> bool, exponent_mark: u8) -> Option<Parts> {
    let mark = text.iter().position(|byte| byte.eq_ignore_ascii_case(&exponent_mark));
    let (number, exponent) = match mark {
        Some(at) => (&text[..at], exponent_of(&text[at + 1..])?),
        None => (text, 0),
    };
    let point = number.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&number[..at], &number[at + 1..]),
        None => (number, &b""[..]),
    };
    if whole.is_empty() && fraction.is_empty() || !whole.iter().chain(fraction).all(is_digit) {
        return None;
    }
    let digits = whole.iter().chain(fraction).copied().skip_while(|&digit| digit == b'0').collect();
    Some(Parts { digits, exponent, behind: fraction.len() as i64 })
}

/// An exponent, held within the limit that makes the digits irrelevant.
fn exponent_of(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text.split_first()? {
        (b'-', rest) => (-1, rest),
        (b'+', rest) => (1, rest),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(EXPONENT_LIMIT));
    Some(sign * value)
}

fn decimal(negative: bool, text: &[u8]) -> Option<LongDouble> {
    let Parts { mut digits, exponent, behind } = parts(text, u8::is_ascii_digit, b'e')?;
    let mut exponent = exponent - behind;
    // Ends: each turn takes a digit away.
    while digits.last() == Some(&b'0') {
        digits.pop();
        exponent += 1;
    }
    if digits.is_empty() {
        return Some(LongDouble::zero(negative));
    }
    if !DECIMAL_RANGE.contains(&(exponent + digits.len() as i64)) {
        return None;
    }
    let mut number = BigUint::from_decimal(&digits);
    let (mut inexact, mut binary_exponent) = (false, 0);
    if exponent >= 0 {
        number.multiply_power_of_ten(exponent as usize);
    } else {
        let power = exponent.unsigned_abs() as usize;
        // So many bits that the quotient has the mantissa's and a few more: 10^power has at most power * 10 / 3 + 1.
        let wanted = power * 10 / 3 + 1 + MANTISSA_BITS as usize + 4;
        let up = wanted.saturating_sub(number.bits());
        number.shift_left(up);
        inexact = number.divide_power_of_ten(power);
        binary_exponent = -(up as i32);
    }
    let (top, below, lost) = number.top();
    finite(LongDouble::round(negative, top | u128::from(inexact || lost), binary_exponent + below as i32))
}

fn hexadecimal(negative: bool, text: &[u8]) -> Option<LongDouble> {
    let Parts { digits, exponent, behind } = parts(text, u8::is_ascii_hexdigit, b'p')?;
    let mut exponent = exponent - 4 * behind;
    let mut value: u128 = 0;
    for digit in &digits {
        let digit = u128::from((*digit as char).to_digit(16)?);
        if value >> 120 == 0 {
            value = value << 4 | digit;
        } else {
            value |= u128::from(digit != 0);
            exponent += 4;
        }
    }
    if value == 0 {
        return Some(LongDouble::zero(negative));
    }
    finite(LongDouble::round(negative, value, exponent as i32))
}

/// What is not 0 must be neither infinite nor 0 once rounded.
fn finite(number: LongDouble) -> Option<LongDouble> {
    match number {
        LongDouble::Finite { mantissa: 1.., .. } => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_texts_are_taken() {
        for text in [
            "1",
            "+1",
            "-1",
            "1.",
            ".5",
            "1e5",
            "1E+5",
            "1e-5",
            "0",
            "0e999999999999",
            "0x10",
            "0X1.8p3",
            "0x.8",
            "inf",
            "-Infinity",
            "00012",
            "1e4932",
            "1e-4950",
            "3.6e-4951",
        ] {
            assert!(parse(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "",
            "-",
            "+",
            ".",
            "e5",
            "1e",
            "1e+",
            "1 ",
            " 1",
            "1a",
            "--1",
            "0x",
            "0x.",
            "0x1p",
            "nan",
            "1e4933",
            "1e-4952",
            "1e99999999999999999999",
            "1.2.3",
            "1\0",
            "0x1p16384",
            "0x1p-16447",
        ] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(parse(&[b'1'; MAX_TEXT_BYTES + 1]).is_none());
    }

    #[test]
    fn long_texts_are_rounded_by_their_last_digit() {
        // 2^64 + 1 lies half way between two neighbours; a digit far behind decides.
        let tie = "18446744073709551617";
        let round_down = parse(tie.as_bytes());
        assert_eq!(round_down, parse(b"18446744073709551616"));
        let above = format!("{tie}.{}1", "0".repeat(2000));
        assert_eq!(parse(above.as_bytes()), parse(b"18446744073709551618"));
    }

    #[test]
    fn hexadecimal_and_decimal_agree() {
        assert_eq!(parse(b"0x1.8p3"), parse(b"12"));
        assert_eq!(parse(b"-0xff"), parse(b"-255"));
        assert_eq!(parse(b"0x0.00000000000000000000000000000000000001p152"), parse(b"1"));
        assert_eq!(parse(b"0x1000000000000000000000000000000000p-132"), parse(b"1"));
    }
}
