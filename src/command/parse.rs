//! Arguments to numbers and words, as strictly as Redis reads them.

use super::CommandError;
use crate::store::Db;

/// A decimal integer without spaces, sign `+` or leading zeros, as Redis's `string2ll` takes it.
pub fn integer(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, bytes),
    };
    let (first, rest) = digits.split_first()?;
    if *first == b'0' {
        return (rest.is_empty() && !negative).then_some(0);
    }
    let mut value: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if negative { (value <= 1 << 63).then(|| (value as i64).wrapping_neg()) } else { i64::try_from(value).ok() }
}

/// An integer argument.
///
/// # Errors
/// `ERR value is not an integer or out of range`.
pub fn integer_arg(bytes: &[u8]) -> Result<i64, CommandError> {
    integer(bytes).ok_or(CommandError::NOT_INTEGER)
}

/// Whether an argument is the given word, whatever its case. `word` is in upper case.
#[inline]
pub fn is_word(bytes: &[u8], word: &str) -> bool {
    bytes.eq_ignore_ascii_case(word.as_bytes())
}

/// An integer argument that fits 32 bits, as Redis reads database numbers.
///
/// # Errors
/// `ERR value is not an integer or out of range`, `ERR value is out of range, value must between ...`.
pub fn int32_arg(bytes: &[u8]) -> Result<i32, CommandError> {
    i32::try_from(integer_arg(bytes)?)
        .map_err(|_| CommandError::fixed("ERR value is out of range, value must between -2147483648 and 2147483647"))
}

/// The number of one of `databases` logical databases.
///
/// # Errors
/// Those of [`int32_arg`], and `ERR DB index is out of range`.
pub fn db_arg(bytes: &[u8], databases: u32) -> Result<Db, CommandError> {
    existing_db(int32_arg(bytes)?, databases)
}

/// The same for a number that has been read already.
///
/// # Errors
/// `ERR DB index is out of range`.
pub fn existing_db(number: i32, databases: u32) -> Result<Db, CommandError> {
    Db::try_from(number)
        .ok()
        .filter(|&db| db < databases)
        .ok_or(const { CommandError::fixed("ERR DB index is out of range") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        for (text, value) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(integer(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "1.0",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn databases_are_within_their_number() {
        assert_eq!(db_arg(b"15", 16), Ok(15));
        assert_eq!(db_arg(b"16", 16).expect_err("refused").0, "ERR DB index is out of range");
        assert_eq!(db_arg(b"-1", 16).expect_err("refused").0, "ERR DB index is out of range");
        assert!(db_arg(b"3000000000", 16).expect_err("refused").0.contains("must between"));
        assert_eq!(db_arg(b"x", 16), Err(CommandError::NOT_INTEGER));
    }
}
