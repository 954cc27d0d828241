//! Inline requests: a line of words, for people at a terminal and for the simplest of clients.
//!
//! Words are parted by blanks. `"..."` knows `\n \r \t \b \a`, `\xHH` and `\` before any other byte, which then stands for
//! itself; `'...'` knows only `\'`. Quotes may open inside a word (`a"b c"` is `ab c`), but a closing quote must be
//! followed by a blank or the line's end.

use super::{ArgSpans, ProtocolError};

/// Splits `line`, which starts at the request's first byte and has lost its line end, into `spans`.
///
/// # Errors
/// [`ProtocolError::UnbalancedQuotes`].
pub(super) fn split(line: &[u8], spans: &mut ArgSpans) -> Result<(), ProtocolError> {
    if line.iter().any(|&byte| byte == b'"' || byte == b'\'') {
        split_quoted(line, spans)
    } else {
        split_plain(line, spans);
        Ok(())
    }
}

/// Blanks that may stand before a word and after a closing quote.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Blanks that end a word outside quotes; vertical tab and form feed do not.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn split_plain(line: &[u8], spans: &mut ArgSpans) {
    let mut at = 0;
    // Ends: each turn takes a blank or a word, which is never empty, off the line's front.
    while let Some(&byte) = line.get(at) {
        if is_blank(byte) {
            at += 1;
            continue;
        }
        let rest = &line[at..];
        let len = rest.iter().position(|&byte| ends_word(byte)).unwrap_or(rest.len());
        // A line is at most 64 KiB.
        spans.push(at as u32, len as u32);
        at += len;
    }
}

fn split_quoted(line: &[u8], spans: &mut ArgSpans) -> Result<(), ProtocolError> {
    let mut rest = line;
    // Ends: each turn takes a blank or a word, which is at least a byte or a pair of quotes, off the line's front.
    while let Some((&byte, after)) = rest.split_first() {
        if is_blank(byte) {
            rest = after;
            continue;
        }
        let start = spans.unquoted_bytes();
        rest = word(rest, spans)?;
        spans.push(start, spans.unquoted_bytes() - start);
    }
    Ok(())
}

/// Writes the word at the front of `line` out and returns what follows it.
fn word<'a>(line: &'a [u8], spans: &mut ArgSpans) -> Result<&'a [u8], ProtocolError> {
    let mut rest = line;
    // Ends: each turn takes one byte off the front or returns.
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b'"' => return closed(double_quoted(after, spans)?),
            b'\'' => return closed(single_quoted(after, spans)?),
            byte if ends_word(byte) => break,
            byte => spans.push_unquoted(byte),
        }
        rest = after;
    }
    Ok(rest)
}

/// What follows a closing quote, if that is a blank or nothing.
fn closed(rest: &[u8]) -> Result<&[u8], ProtocolError> {
    match rest.first() {
        Some(&byte) if !is_blank(byte) => Err(ProtocolError::UnbalancedQuotes),
        _ => Ok(rest),
    }
}

/// Writes out what stands between double quotes, the first of which is taken already; returns what follows the second.
fn double_quoted<'a>(line: &'a [u8], spans: &mut ArgSpans) -> Result<&'a [u8], ProtocolError> {
    let mut rest = line;
    // Ends: each turn takes at least one byte off the front or returns.
    loop {
        let (byte, after) = match *rest {
            [b'\\', b'x', high, low, ref after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_digit(high) << 4 | hex_digit(low), after)
            }
            [b'\\', escaped, ref after @ ..] => (unescape(escaped), after),
            [b'"', ref after @ ..] => return Ok(after),
            [byte, ref after @ ..] => (byte, after),
            [] => return Err(ProtocolError::UnbalancedQuotes),
        };
        spans.push_unquoted(byte);
        rest = after;
    }
}

/// The same between single quotes.
fn single_quoted<'a>(line: &'a [u8], spans: &mut ArgSpans) -> Result<&'a [u8], ProtocolError> {
    let mut rest = line;
    // Ends: each turn takes at least one byte off the front or returns.
    loop {
        let (byte, after) = match *rest {
            [b'\\', b'\'', ref after @ ..] => (b'\'', after),
            [b'\'', ref after @ ..] => return Ok(after),
            [byte, ref after @ ..] => (byte, after),
            [] => return Err(ProtocolError::UnbalancedQuotes),
        };
        spans.push_unquoted(byte);
        rest = after;
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of an ASCII hexadecimal digit.
fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let mut spans = ArgSpans::new();
        split(line, &mut spans)?;
        Ok(spans.args(line).iter().map(<[u8]>::to_vec).collect())
    }

    /// Each line and what Redis 7 makes of it.
    #[test]
    fn words_are_split_as_redis_splits_them() {
        let table: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b" \t\x0b\x0c ", &[]),
            (b"PING", &[b"PING"]),
            (b"\tSET  k\tv ", &[b"SET", b"k", b"v"]),
            (b"ECHO \x0b\x0ca\x0bb", &[b"ECHO", b"a\x0bb"]),
            (b"ECHO a\r", &[b"ECHO", b"a"]),
            (b"ECHO a\rPING", &[b"ECHO", b"a", b"PING"]),
            (b"ECHO \"a\\x41\\n\\q\"", &[b"ECHO", b"aA\nq"]),
            (b"ECHO \"\\xfF\\x4\"", &[b"ECHO", b"\xffx4"]),
            (b"ECHO \"\\b\\a\\r\\t\\\\\\\"\"", &[b"ECHO", b"\x08\x07\r\t\\\""]),
            (b"ECHO 'a\\'b\\x41'", &[b"ECHO", b"a'b\\x41"]),
            (b"ECHO foo\"bar\"", &[b"ECHO", b"foobar"]),
            (b"ECHO a\\x41'b'", &[b"ECHO", b"a\\x41b"]),
            (b"ECHO \"a\"\x0bb", &[b"ECHO", b"a", b"b"]),
            (b"ECHO \"\" ''", &[b"ECHO", b"", b""]),
            (b"\"\"", &[b""]),
            (b"SET k \"two words\" 'and three'", &[b"SET", b"k", b"two words", b"and three"]),
        ];
        for &(line, expected) in table {
            assert_eq!(words(line).as_deref(), Ok(expected.iter().map(|w| w.to_vec()).collect::<Vec<_>>().as_slice()));
        }
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [
            &b"ECHO \"a\"b"[..],
            b"ECHO \"a",
            b"ECHO 'a",
            b"ECHO 'a'b",
            b"ECHO \"a\\",
            b"ECHO \"\\\"",
            b"ECHO a\"",
            b"set \"\"\"test-key\"\"\" test-value",
        ] {
            assert_eq!(words(line), Err(ProtocolError::UnbalancedQuotes), "{}", line.escape_ascii());
        }
    }
}
