//! RESP frames, both versions of the protocol: a strict decoder over any reader.
//!
//! Types are kept apart as they were on the wire (a RESP2 null bulk is not a RESP3 null, a set is not an array), so
//! that a comparison of two servers sees such differences. Anything that is not RESP is an error, never a guess.

use std::fmt;
use std::io::{self, BufRead};

/// One reply as it was on the wire.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// `+OK`
    Simple(Vec<u8>),
    /// `-ERR text`
    Error(Vec<u8>),
    /// `:1`
    Integer(i64),
    /// `$3`
    Bulk(Vec<u8>),
    /// `$-1` of RESP2
    NullBulk,
    /// `*-1` of RESP2
    NullArray,
    /// `*2`
    Array(Vec<Frame>),
    /// `_` of RESP3
    Null,
    /// `,1.5`: its text, as clients see it
    Double(Vec<u8>),
    /// `#t`
    Boolean(bool),
    /// `(123`
    BigNumber(Vec<u8>),
    /// `!5`
    BulkError(Vec<u8>),
    /// `=7`: the three letters of the format, a colon and the text
    Verbatim(Vec<u8>),
    /// `%1`
    Map(Vec<(Frame, Frame)>),
    /// `~1`
    Set(Vec<Frame>),
    /// `>2`
    Push(Vec<Frame>),
}

/// How deep frames may be nested before the decoder calls it nonsense.
const DEPTH_MAX: usize = 32;

impl Frame {
    /// `+OK`.
    pub fn ok() -> Self {
        Frame::Simple(b"OK".to_vec())
    }

    /// A bulk string.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Frame::Bulk(bytes.as_ref().to_vec())
    }

    /// An error with this text.
    pub fn error(text: impl AsRef<[u8]>) -> Self {
        Frame::Error(text.as_ref().to_vec())
    }

    /// Whether it is an error of either kind.
    pub fn is_error(&self) -> bool {
        matches!(self, Frame::Error(_) | Frame::BulkError(_))
    }

    /// Whether it is any of the nulls.
    pub fn is_null(&self) -> bool {
        matches!(self, Frame::Null | Frame::NullBulk | Frame::NullArray)
    }

    /// The bytes of a string of any kind.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Frame::Simple(bytes) | Frame::Bulk(bytes) | Frame::Verbatim(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number of an integer.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Frame::Integer(n) => Some(*n),
            _ => None,
        }
    }

    /// The items of an array, set or push.
    pub fn items(&self) -> Option<&[Frame]> {
        match self {
            Frame::Array(items) | Frame::Set(items) | Frame::Push(items) => Some(items),
            _ => None,
        }
    }

    /// Reads one frame. Attributes (`|`) are read and dropped, as clients that do not know them do.
    ///
    /// # Errors
    /// That of the reader; `InvalidData` for anything that is not RESP.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Frame> {
        read_nested(reader, 0)
    }
}

fn read_nested(reader: &mut impl BufRead, depth: usize) -> io::Result<Frame> {
    if depth > DEPTH_MAX {
        return Err(nonsense("nested too deep", b""));
    }
    let line = read_line(reader)?;
    let Some((kind, rest)) = line.split_first() else { return Err(nonsense("an empty line", &line)) };
    Ok(match kind {
        b'+' => Frame::Simple(rest.to_vec()),
        b'-' => Frame::Error(rest.to_vec()),
        b':' => Frame::Integer(number(rest)?),
        b'$' => match length(rest)? {
            Some(len) => Frame::Bulk(read_bulk(reader, len)?),
            None => Frame::NullBulk,
        },
        b'*' => match length(rest)? {
            Some(len) => Frame::Array(read_items(reader, len, depth)?),
            None => Frame::NullArray,
        },
        b'_' if rest.is_empty() => Frame::Null,
        b',' => Frame::Double(rest.to_vec()),
        b'#' if rest == b"t" => Frame::Boolean(true),
        b'#' if rest == b"f" => Frame::Boolean(false),
        b'(' => Frame::BigNumber(rest.to_vec()),
        b'!' => Frame::BulkError(read_bulk(reader, some_length(rest)?)?),
        b'=' => Frame::Verbatim(read_bulk(reader, some_length(rest)?)?),
        b'%' => Frame::Map(read_pairs(reader, some_length(rest)?, depth)?),
        b'~' => Frame::Set(read_items(reader, some_length(rest)?, depth)?),
        b'>' => Frame::Push(read_items(reader, some_length(rest)?, depth)?),
        b'|' => {
            read_pairs(reader, some_length(rest)?, depth)?;
            read_nested(reader, depth)?
        }
        _ => return Err(nonsense("no such type", &line)),
    })
}

/// One line without its CRLF; a bare LF is refused.
fn read_line(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
    }
    if !line.ends_with(b"\r\n") {
        let kind = if line.ends_with(b"\n") { io::ErrorKind::InvalidData } else { io::ErrorKind::UnexpectedEof };
        return Err(io::Error::new(kind, format!("a line without CRLF: {}", show_bytes(&line))));
    }
    line.truncate(line.len() - 2);
    Ok(line)
}

fn read_bulk(reader: &mut impl BufRead, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len + 2];
    reader.read_exact(&mut bytes)?;
    if !bytes.ends_with(b"\r\n") {
        return Err(nonsense("a bulk string does not end where it says", &bytes));
    }
    bytes.truncate(len);
    Ok(bytes)
}

fn read_items(reader: &mut impl BufRead, len: usize, depth: usize) -> io::Result<Vec<Frame>> {
    (0..len).map(|_| read_nested(reader, depth + 1)).collect()
}

fn read_pairs(reader: &mut impl BufRead, len: usize, depth: usize) -> io::Result<Vec<(Frame, Frame)>> {
    (0..len).map(|_| Ok((read_nested(reader, depth + 1)?, read_nested(reader, depth + 1)?))).collect()
}

fn number(text: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| nonsense("not a number", text))
}

/// A length; `None` for -1.
fn length(text: &[u8]) -> io::Result<Option<usize>> {
    match number(text)? {
        -1 => Ok(None),
        len @ 0..=0x4000_0000 => Ok(Some(len as usize)),
        _ => Err(nonsense("not a length", text)),
    }
}

fn some_length(text: &[u8]) -> io::Result<usize> {
    length(text)?.ok_or_else(|| nonsense("a length is missing", text))
}

fn nonsense(what: &str, bytes: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not RESP: {what}: {}", show_bytes(bytes)))
}

/// Bytes for people: printable ones as they are, others escaped, long ones cut with their length said.
pub fn show_bytes(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 80;
    let shown = bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii();
    if bytes.len() > SHOWN_MAX { format!("\"{shown}\"...({} bytes)", bytes.len()) } else { format!("\"{shown}\"") }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Simple(bytes) => write!(f, "+{}", bytes.escape_ascii()),
            Frame::Error(bytes) => write!(f, "-{}", bytes.escape_ascii()),
            Frame::Integer(n) => write!(f, ":{n}"),
            Frame::Bulk(bytes) => write!(f, "{}", show_bytes(bytes)),
            Frame::NullBulk => write!(f, "$-1"),
            Frame::NullArray => write!(f, "*-1"),
            Frame::Array(items) => f.debug_list().entries(items).finish(),
            Frame::Null => write!(f, "_"),
            Frame::Double(text) => write!(f, ",{}", text.escape_ascii()),
            Frame::Boolean(on) => write!(f, "#{on}"),
            Frame::BigNumber(text) => write!(f, "({}", text.escape_ascii()),
            Frame::BulkError(text) => write!(f, "!{}", show_bytes(text)),
            Frame::Verbatim(text) => write!(f, "={}", show_bytes(text)),
            Frame::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(key, value)| (key, value))).finish(),
            Frame::Set(items) => f.debug_set().entries(items).finish(),
            Frame::Push(items) => write!(f, ">").and_then(|()| f.debug_list().entries(items).finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Frame> {
        Frame::read(&mut &bytes[..])
    }

    #[test]
    fn every_type_is_read_as_itself() {
        let cases: &[(&[u8], Frame)] = &[
            (b"+OK\r\n", Frame::ok()),
            (b"-ERR no\r\n", Frame::error("ERR no")),
            (b":-7\r\n", Frame::Integer(-7)),
            (b"$2\r\n\r\n\r\n", Frame::bulk("\r\n")),
            (b"$-1\r\n", Frame::NullBulk),
            (b"*-1\r\n", Frame::NullArray),
            (b"*2\r\n:1\r\n*0\r\n", Frame::Array(vec![Frame::Integer(1), Frame::Array(vec![])])),
            (b"_\r\n", Frame::Null),
            (b",inf\r\n", Frame::Double(b"inf".to_vec())),
            (b"#t\r\n", Frame::Boolean(true)),
            (b"(99\r\n", Frame::BigNumber(b"99".to_vec())),
            (b"!3\r\nbad\r\n", Frame::BulkError(b"bad".to_vec())),
            (b"=5\r\ntxt:a\r\n", Frame::Verbatim(b"txt:a".to_vec())),
            (b"%1\r\n+a\r\n:1\r\n", Frame::Map(vec![(Frame::Simple(b"a".to_vec()), Frame::Integer(1))])),
            (b"~1\r\n:1\r\n", Frame::Set(vec![Frame::Integer(1)])),
            (b">1\r\n:1\r\n", Frame::Push(vec![Frame::Integer(1)])),
            (b"|1\r\n+ttl\r\n:1\r\n:5\r\n", Frame::Integer(5)),
        ];
        for (bytes, frame) in cases {
            assert_eq!(&read(bytes).expect("valid RESP"), frame);
        }
    }

    #[test]
    fn every_cut_is_an_end_of_file_and_never_a_frame() {
        let whole = b"*3\r\n$3\r\nabc\r\n:12\r\n%1\r\n+a\r\n_\r\n";
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]).expect_err("cut short").kind(), io::ErrorKind::UnexpectedEof, "at {end}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [&b"OK\r\n"[..], b"+OK\n", b":x\r\n", b"$-2\r\n", b"$1\r\nab\r\n", b"#x\r\n", b"\r\n", b"!-1\r\n"]
        {
            assert_eq!(read(bytes).expect_err("not RESP").kind(), io::ErrorKind::InvalidData, "{}", show_bytes(bytes));
        }
    }
}
