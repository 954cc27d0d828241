//! Scores as clients write them: what C's `strtod` reads, as strictly as Redis takes each of them.

use crate::command::CommandError;

/// A number argument: a score, a weight, a coordinate.
///
/// # Errors
/// `ERR value is not a valid float`.
pub fn number_arg(text: &[u8]) -> Result<f64, CommandError> {
    number(text).ok_or(CommandError::NOT_FLOAT)
}

/// The number that all of `text` means. `None` for NaN, for spaces, and for what is too large or too small (but not 0) to be represented.
pub fn number(text: &[u8]) -> Option<f64> {
    let value = any_number(text)?;
    let digits = text.iter().take_while(|byte| !byte.eq_ignore_ascii_case(&b'e'));
    let is_zero = || !digits.clone().any(|digit| (b'1'..=b'9').contains(digit));
    let is_worded = !text.iter().any(u8::is_ascii_digit);
    let fits = if value == 0.0 { is_zero() || is_hexadecimal(text) } else { value.is_finite() || is_worded };
    fits.then_some(value)
}

/// A score as a member's record has it. There is one zero.
pub fn stored(score: f64) -> [u8; 8] {
    (score + 0.0).to_le_bytes()
}

/// A border of a range of scores, which Redis reads with less care: spaces before the number, bytes behind a zero byte, nothing at all for 0, and
/// numbers too large for anything but infinity are taken.
pub fn border(text: &[u8]) -> Option<f64> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let spaces = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    any_number(&text[spaces..])
}

fn is_hexadecimal(text: &[u8]) -> bool {
    matches!(text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text), [b'0', b'x' | b'X', ..])
}

/// Whatever number it is but NaN, rounded to infinity or 0 if need be.
pub fn any_number(text: &[u8]) -> Option<f64> {
    let value = if is_hexadecimal(text) {
        let (sign, digits) = match text {
            [b'-', b'0', _, digits @ ..] => (-1.0, digits),
            [b'+', b'0', _, digits @ ..] | [b'0', _, digits @ ..] => (1.0, digits),
            _ => return None,
        };
        sign * hexadecimal(digits)?
    } else {
        std::str::from_utf8(text).ok()?.parse().ok()?
    };
    (!f64::is_nan(value)).then_some(value)
}

/// Hexadecimal digits, perhaps with a point and a power of two.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    /// The mantissa takes digits up to here; of those behind, it is enough to know whether there is one.
    const FULL: u64 = 1 << 59;
    let mut parts = text.splitn(2, |byte| byte.eq_ignore_ascii_case(&b'p'));
    let number = parts.next()?;
    let mut exponent: i64 = match parts.next() {
        Some(power) => std::str::from_utf8(power).ok()?.parse().ok()?,
        None => 0,
    };
    let (mut mantissa, mut behind_point, mut digits) = (0u64, false, 0);
    for &byte in number {
        if byte == b'.' && !behind_point {
            behind_point = true;
            continue;
        }
        let digit = u64::from((byte as char).to_digit(16)?);
        digits += 1;
        if mantissa < FULL {
            mantissa = mantissa << 4 | digit;
            exponent = exponent.saturating_sub(if behind_point { 4 } else { 0 });
        } else {
            mantissa |= u64::from(digit != 0);
            exponent = exponent.saturating_add(if behind_point { 0 } else { 4 });
        }
    }
    // In two steps, as a power of two alone may lie beyond what the product does.
    let exponent = exponent.clamp(-2200, 2200) as i32;
    let half = exponent / 2;
    (digits > 0).then(|| mantissa as f64 * 2f64.powi(half) * 2f64.powi(exponent - half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_texts() {
        for (text, value) in [
            ("1", 1.0),
            ("+1.5e3", 1500.0),
            ("-.5", -0.5),
            ("5.", 5.0),
            ("0x10", 16.0),
            ("-0x1.8p3", -12.0),
            ("0X.8", 0.5),
            ("0x1p-1074", 5e-324),
            ("0x10000000000000000000000p-88", 1.0),
            ("0x1000000000000080000000000000p0", 2f64.powi(108)),
            ("0x1000000000000080000000000001p0", 2f64.powi(108) + 2f64.powi(56)),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("+INF", f64::INFINITY),
            ("0e999", 0.0),
            ("4.9e-324", 5e-324),
        ] {
            assert_eq!(number(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "", " 1", "1 ", "1a", "nan", "-nan", "e5", "1e", ".", "0x", "0x.", "0x1p", "0xg", "1e400", "-1e400",
            "1e-400", "0x1p2000", "--1", "+-1", "1\0",
        ] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
        assert!(number(b"-0").is_some_and(|zero| zero.is_sign_negative()));
    }

    #[test]
    fn borders_are_read_with_less_care() {
        for (text, value) in
            [("", 0.0), (" 1", 1.0), ("\t\n2", 2.0), ("3\0x", 3.0), ("1e400", f64::INFINITY), ("-inf", -f64::INFINITY)]
        {
            assert_eq!(border(text.as_bytes()), Some(value), "{text:?}");
        }
        for text in ["nan", "1 ", " ", "x", "1x"] {
            assert_eq!(border(text.as_bytes()), None, "{text:?}");
        }
    }
}
