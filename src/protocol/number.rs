//! Numbers to their RESP text, without the heap.

use bytes::{BufMut, BytesMut};
use std::fmt::Write;

/// Room for the longest text: `-` and 19 digits, or a sign, 17 digits, the point and `e-324`.
const TEXT_BYTES: usize = 32;

/// The text of a number, on the stack.
pub(super) struct NumberText {
    bytes: [u8; TEXT_BYTES],
    len: usize,
}

impl NumberText {
    fn new() -> Self {
        Self { bytes: [0; TEXT_BYTES], len: 0 }
    }

    /// The text.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    fn push_zeros(&mut self, count: usize) {
        self.bytes[self.len..self.len + count].fill(b'0');
        self.len += count;
    }
}

impl Write for NumberText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if text.len() > TEXT_BYTES - self.len {
            return Err(std::fmt::Error);
        }
        self.push(text.as_bytes());
        Ok(())
    }
}

/// Doubles up to here are written as integers where they are whole: half of what fits an `i64`.
const WHOLE_MAX: f64 = (i64::MAX / 2) as f64;

/// A double as Redis 7.2 writes it: the shortest digits that read back as the same number, and these as a whole number, with
/// a decimal point, or with an exponent (`1e+20`, `1.5e-7`), by the rules of the library Redis uses. `inf`, `-inf`, `nan`.
///
/// The rules, for digits `d` with their last digit at the power of ten `k` and their first at `e`: whole when `k >= 0` and
/// `|e| < d.len() + 7`; with a point when `k < 0` and `k > -7 or |e| < 4`; with an exponent otherwise.
pub(super) fn double(value: f64) -> NumberText {
    let mut text = NumberText::new();
    if value.is_nan() {
        text.push(b"nan");
    } else if value.is_infinite() {
        text.push(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value == 0.0 {
        text.push(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= WHOLE_MAX && value.trunc() == value {
        write!(text, "{}", value as i64).expect("an i64 takes at most 20 bytes");
    } else {
        shortest(value, &mut text);
    }
    text
}

/// A finite double that is not zero.
fn shortest(value: f64, text: &mut NumberText) {
    // The standard library gives the shortest digits as `d.ddde-x`; take it apart.
    let mut scientific = NumberText::new();
    write!(scientific, "{:e}", value.abs()).expect("17 digits, a point and an exponent take at most 24 bytes");
    let mut digits = NumberText::new();
    let mut first_power = 0i32;
    for (i, part) in scientific.as_bytes().split(|&byte| byte == b'e').enumerate() {
        if i == 0 {
            part.split(|&byte| byte == b'.').for_each(|piece| digits.push(piece));
        } else {
            let exponent = std::str::from_utf8(part).ok().and_then(|part| part.parse().ok());
            first_power = exponent.expect("a float's exponent is a small number");
        }
    }
    let digits = digits.as_bytes();
    let last_power = first_power - (digits.len() as i32 - 1);
    let magnitude = first_power.unsigned_abs() as usize;

    if value < 0.0 {
        text.push(b"-");
    }
    if last_power >= 0 && magnitude < digits.len() + 7 {
        text.push(digits);
        text.push_zeros(last_power as usize);
    } else if last_power < 0 && (last_power > -7 || magnitude < 4) {
        if first_power < 0 {
            text.push(b"0.");
            text.push_zeros(magnitude - 1);
            text.push(digits);
        } else {
            let (whole, fraction) = digits.split_at(magnitude + 1);
            text.push(whole);
            text.push(b".");
            text.push(fraction);
        }
    } else {
        text.push(&digits[..1]);
        if digits.len() > 1 {
            text.push(b".");
            text.push(&digits[1..]);
        }
        let sign = if first_power < 0 { '-' } else { '+' };
        write!(text, "e{sign}{magnitude}").expect("a sign, 17 digits, a point and `e-324` take at most 24 bytes");
    }
}

/// Room that [`put_integer_line`] needs at most, in bytes.
pub(super) const INTEGER_LINE_BYTES: usize = 32;

/// CR LF as they lie in a little-endian word.
const LINE_END: u64 = 0x0a0d;

/// Eight ASCII zeros.
const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;

/// Appends a kind byte, an integer and CR LF.
///
/// The text is put together in a register, low byte first, and appended as a whole word of which the unused end is then cut
/// off: bytes written one by one and then copied would make the copy wait for each of them. Lengths and counts are
/// nearly always short, and how short is well predicted.
#[inline]
pub(super) fn put_integer_line(out: &mut BytesMut, kind: u8, value: i64) {
    let kind = u64::from(kind);
    match value {
        0..10 => put_word(out, kind | ascii(value) << 8 | LINE_END << 16, 4),
        10..100 => {
            let digits = ascii(value / 10) | ascii(value % 10) << 8;
            put_word(out, kind | digits << 8 | LINE_END << 24, 5);
        }
        100..1000 => {
            let digits = ascii(value / 100) | ascii(value / 10 % 10) << 8 | ascii(value % 10) << 16;
            put_word(out, kind | digits << 8 | LINE_END << 32, 6);
        }
        _ => put_long_integer_line(out, kind, value),
    }
}

/// The ASCII digit for a value below ten.
#[inline]
fn ascii(digit: i64) -> u64 {
    u64::from(b'0') + digit as u64
}

/// Appends the low `len` bytes of `word`.
#[inline]
fn put_word(out: &mut BytesMut, word: u64, len: usize) {
    let end = out.len() + len;
    out.put_slice(&word.to_le_bytes());
    out.truncate(end);
}

fn put_long_integer_line(out: &mut BytesMut, kind: u64, value: i64) {
    const CHUNK: u64 = 100_000_000;
    out.reserve(INTEGER_LINE_BYTES);
    if let Ok(value) = u64::try_from(value)
        && value < CHUNK
    {
        // Sign, digits and line end in one go.
        let digits = eight_digits(value);
        let zeros = leading_zeros(digits);
        let len = 8 - zeros as usize;
        let text = u128::from((digits | ASCII_ZEROS) >> (8 * zeros));
        let line = u128::from(kind) | text << 8 | u128::from(LINE_END) << (8 * (1 + len));
        let end = out.len() + len + 3;
        out.put_slice(&line.to_le_bytes());
        out.truncate(end);
        return;
    }
    if value < 0 {
        put_word(out, kind | u64::from(b'-') << 8, 2);
    } else {
        put_word(out, kind, 1);
    }
    let magnitude = value.unsigned_abs();
    let chunks = [magnitude / (CHUNK * CHUNK), magnitude / CHUNK % CHUNK, magnitude % CHUNK];
    // At most two chunks lead with nothing in them; a zero is written as the last one.
    let first = chunks.iter().position(|&chunk| chunk != 0).unwrap_or(chunks.len() - 1);
    let digits = eight_digits(chunks[first]);
    let zeros = leading_zeros(digits);
    put_word(out, (digits | ASCII_ZEROS) >> (8 * zeros), 8 - zeros as usize);
    for &chunk in &chunks[first + 1..] {
        put_word(out, eight_digits(chunk) | ASCII_ZEROS, 8);
    }
    put_word(out, LINE_END, 2);
}

/// How many of eight digits are zeros that lead: the last one stays even when it is a zero.
fn leading_zeros(digits: u64) -> u32 {
    // The first digit is in the low byte.
    (digits | 1 << 56).trailing_zeros() / 8
}

/// The eight decimal digits of a value below 10^8, one a byte, the first in the low byte.
///
/// Halves the value into two lanes of four digits, these into lanes of two and these into digits. The factors are
/// reciprocals of 100 and 10, exact over the lanes' ranges.
fn eight_digits(value: u64) -> u64 {
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - 10 * tens) << 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        String::from_utf8(double(value).as_bytes().to_vec()).unwrap()
    }

    fn line(value: i64) -> String {
        let mut out = BytesMut::new();
        put_integer_line(&mut out, b':', value);
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// The borders between the three forms, each taken from the rules in the doc of [`double`].
    #[test]
    fn doubles_are_written_as_redis_7_2_writes_them() {
        let table = [
            (3.0, "3"),
            (-3.0, "-3"),
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (-0.1, "-0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1.5, "1.5"),
            (100.25, "100.25"),
            (1e15, "1000000000000000"),
            (4e18, "4000000000000000000"),
            (1e19, "1e+19"),
            (-1e20, "-1e+20"),
            (12345678901234567e3, "12345678901234567000"),
            (1.2345678e20, "1.2345678e+20"),
            (1e300, "1e+300"),
            (1e100, "1e+100"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (0.00012345, "1.2345e-4"),
            (0.0001234, "1.234e-4"),
            (0.000123, "0.000123"),
            (0.0012345678, "0.0012345678"),
            (1234.56789012, "1234.56789012"),
            (12345.6789012, "1.23456789012e+4"),
            (123456.789, "123456.789"),
            (1.5e-10, "1.5e-10"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
        ];
        for (value, expected) in table {
            assert_eq!(text(value), expected, "{value:e}");
        }
    }

    #[test]
    fn integers_at_every_digit_count() {
        let mut power = 1i64;
        for _ in 0..19 {
            for value in [power - 1, power, power + 1] {
                assert_eq!(line(value), format!(":{value}\r\n"));
                assert_eq!(line(-value), format!(":{}\r\n", -value));
            }
            power = power.saturating_mul(10);
        }
        for value in [i64::MIN, i64::MIN + 1, i64::MAX] {
            assert_eq!(line(value), format!(":{value}\r\n"));
        }
    }

    #[test]
    fn all_eight_digits() {
        for value in (0..100_000_000).step_by(997).chain([99_999_999]) {
            let expected = format!("{value:08}");
            assert_eq!((eight_digits(value) | ASCII_ZEROS).to_le_bytes(), expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_integer(value: i64, shift in 0u32..64) {
            prop_assert_eq!(line(value >> shift), format!(":{}\r\n", value >> shift));
        }

        #[test]
        fn any_double_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            let back: f64 = text(value).parse().unwrap();
            prop_assert!(back == value || value.is_nan());
        }

        /// Numbers with few digits around one, where the forms change.
        #[test]
        fn any_short_decimal_reads_back(digits in -1_000_000_000i64..1_000_000_000, power in -25i32..25) {
            let value: f64 = format!("{digits}e{power}").parse().unwrap();
            prop_assert_eq!(text(value).parse::<f64>().unwrap(), value);
        }
    }
}
