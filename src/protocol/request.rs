//! The incremental request parser.
//!
//! It runs over the front of the connection's read buffer and remembers how far it came, so that a request that arrives
//! in many pieces is scanned once, however it is cut. It never allocates for what is only announced: a span of eight bytes
//! is added when its argument, six bytes at least, has arrived. (Words of an inline request can be shorter, but such a
//! request is at most 64 KiB.)
//!
//! Two paths give the same results. The quick one takes requests that are whole in the buffer and whose length lines are
//! short, which is nearly all of them, with everything in registers. It stops at the first thing it does not like and
//! leaves the rest, from there on, to the careful one, which knows about pieces, limits and errors.
//!
//! What is found depends on the bytes alone and never on how they were cut. As in Redis, two bytes end a line or a bulk
//! string; the second of a line's end, and both of a bulk string's, are skipped unseen.

use super::limits::{MAX_INLINE_BYTES, MAX_REQUEST_BYTES, READ_HINT_BYTES, RequestLimits};
use super::{ArgSpans, ProtocolError, inline};

/// What the parser found at the front of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request of `consumed` bytes; its arguments are in the spans given.
    Request {
        /// Bytes of the buffer's front that the request takes.
        consumed: usize,
    },
    /// More bytes are needed.
    Incomplete,
}

/// Parses requests from the front of a growing buffer; remembers how far it came.
///
/// Between requests all fields are zero or `None`.
#[derive(Debug, Default)]
pub struct RequestParser {
    /// Bytes of the request that are done with: the place of the next line or of the bulk string under way.
    at: usize,
    /// Bytes from `at` on that hold no line end.
    scanned: usize,
    /// Arguments announced and not found yet.
    args_left: usize,
    /// The length of the bulk string that starts at `at`, once its length line is read.
    bulk_bytes: Option<usize>,
}

impl RequestParser {
    /// A parser at the start of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for one request at the front of `buf`.
    ///
    /// After `Incomplete` the next call must pass the same bytes with more behind them, and the same spans; after
    /// `Request` the bytes behind `consumed`. An empty request (a blank line, `*0`, `*-1`) has no arguments and no reply.
    ///
    /// # Errors
    /// The bytes are no request, or break the limits. The connection cannot be read any further; the parser is of no
    /// more use.
    #[inline]
    pub fn parse(&mut self, buf: &[u8], limits: &RequestLimits, spans: &mut ArgSpans) -> Result<Parsed, ProtocolError> {
        if self.args_left == 0 {
            spans.clear();
            if self.scanned == 0 && quick(self, buf, limits, spans) {
                return Ok(Parsed::Request { consumed: std::mem::take(&mut self.at) });
            }
        }
        self.careful(buf, limits, spans)
    }

    /// How many bytes more, at least, must be read before parsing makes progress, if a bulk string is under way and
    /// `buffered` bytes of the request were there when it was last parsed; else 0.
    ///
    /// Meant for sizing the next read. Never more than what has already arrived, or 64 KiB when that is more, so that
    /// a client that announces much and sends little gets little room.
    pub fn wanted_bytes(&self, buffered: usize) -> usize {
        let Some(bulk_bytes) = self.bulk_bytes else { return 0 };
        let missing = (self.at + bulk_bytes + 2).saturating_sub(buffered);
        missing.min(buffered.max(READ_HINT_BYTES))
    }

    /// The path for everything: goes on wherever the parser stands.
    #[cold]
    fn careful(&mut self, buf: &[u8], limits: &RequestLimits, spans: &mut ArgSpans) -> Result<Parsed, ProtocolError> {
        if self.args_left == 0 {
            match buf.first() {
                None => return Ok(Parsed::Incomplete),
                Some(b'*') => {}
                Some(_) => return self.inline(buf, spans),
            }
            let Some(line) = self.line(buf, ProtocolError::TooBigCount)? else { return Ok(Parsed::Incomplete) };
            self.args_left = args_announced(line, limits)?;
        }
        // Ends: each turn finds one of the announced arguments or returns.
        while self.args_left > 0 {
            let bulk_bytes = match self.bulk_bytes {
                Some(bulk_bytes) => bulk_bytes,
                None => {
                    let Some(line) = self.line(buf, ProtocolError::TooBigBulkCount)? else {
                        return Ok(Parsed::Incomplete);
                    };
                    bulk_bytes_announced(line, self.at, limits)?
                }
            };
            if buf.len() < self.at + bulk_bytes + 2 {
                self.bulk_bytes = Some(bulk_bytes);
                return Ok(Parsed::Incomplete);
            }
            // Both fit: `bulk_bytes_announced` keeps their sum below 4 GiB.
            spans.push(self.at as u32, bulk_bytes as u32);
            self.bulk_bytes = None;
            self.at += bulk_bytes + 2;
            self.args_left -= 1;
        }
        Ok(Parsed::Request { consumed: std::mem::take(&mut self.at) })
    }

    /// Takes the line at `at`, without its two end bytes, once it is whole.
    fn line<'b>(&mut self, buf: &'b [u8], too_big: ProtocolError) -> Result<Option<&'b [u8]>, ProtocolError> {
        let rest = buf.get(self.at..).unwrap_or_default();
        let Some(len) = self.find(b'\r', rest, too_big)? else { return Ok(None) };
        if rest.len() < len + 2 {
            return Ok(None);
        }
        self.scanned = 0;
        self.at += len + 2;
        Ok(Some(&rest[..len]))
    }

    fn inline(&mut self, buf: &[u8], spans: &mut ArgSpans) -> Result<Parsed, ProtocolError> {
        let Some(len) = self.find(b'\n', buf, ProtocolError::TooBigInline)? else { return Ok(Parsed::Incomplete) };
        self.scanned = 0;
        let line = &buf[..len];
        inline::split(line.strip_suffix(b"\r").unwrap_or(line), spans)?;
        Ok(Parsed::Request { consumed: len + 1 })
    }

    /// How many bytes stand before `end` in `rest`, the bytes from `at` on, if it is there. Looks at each byte once.
    fn find(&mut self, end: u8, rest: &[u8], too_big: ProtocolError) -> Result<Option<usize>, ProtocolError> {
        let window = &rest[..rest.len().min(MAX_INLINE_BYTES + 1)];
        let fresh = window.get(self.scanned..).unwrap_or_default();
        match fresh.iter().position(|&byte| byte == end) {
            Some(found) => {
                self.scanned += found;
                Ok(Some(self.scanned))
            }
            None if window.len() > MAX_INLINE_BYTES => Err(too_big),
            None => {
                self.scanned = window.len();
                Ok(None)
            }
        }
    }
}

/// Reads the line that starts with `*`.
fn args_announced(line: &[u8], limits: &RequestLimits) -> Result<usize, ProtocolError> {
    let count = decimal(&line[1..]).ok_or(ProtocolError::InvalidMultibulkLength)?;
    let count = usize::try_from(count).unwrap_or(0);
    if count > limits.args_ever() {
        Err(ProtocolError::InvalidMultibulkLength)
    } else if count > limits.args() {
        Err(ProtocolError::UnauthenticatedMultibulkLength)
    } else {
        Ok(count)
    }
}

/// Reads the line that announces a bulk string, which will start at `at`.
fn bulk_bytes_announced(line: &[u8], at: usize, limits: &RequestLimits) -> Result<usize, ProtocolError> {
    let digits = match line.split_first() {
        Some((b'$', digits)) => digits,
        Some((&byte, _)) => return Err(ProtocolError::ExpectedBulk(byte)),
        None => return Err(ProtocolError::ExpectedBulk(b'\r')),
    };
    let bytes = decimal(digits).and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.ok_or(ProtocolError::InvalidBulkLength)?;
    if bytes > limits.bulk_bytes_ever() || bytes > MAX_REQUEST_BYTES.saturating_sub(at) {
        Err(ProtocolError::InvalidBulkLength)
    } else if bytes > limits.bulk_bytes() {
        Err(ProtocolError::UnauthenticatedBulkLength)
    } else {
        Ok(bytes)
    }
}

/// A decimal integer in its only spelling: no `+`, no `-0`, no leading zeros.
fn decimal(text: &[u8]) -> Option<i64> {
    match text {
        b"0" => Some(0),
        [b'1'..=b'9', ..] | [b'-', b'1'..=b'9', ..] => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// The least that an argument takes on the wire, in bytes: `$0` and two line ends.
const LEAST_ARG_BYTES: usize = 6;

/// The quick path, for a parser at the start of a request. Whether it took the whole request; if not, parser and spans
/// say where to go on.
#[inline]
fn quick(parser: &mut RequestParser, buf: &[u8], limits: &RequestLimits, spans: &mut ArgSpans) -> bool {
    let Some((count, line)) = short_line(buf, b'*') else { return false };
    let Some(mut rest) = buf.get(line..) else { return false };
    // Room is made for arguments that can be there already.
    if count > limits.args() || count * LEAST_ARG_BYTES > rest.len() {
        return false;
    }
    let bulk_limit = limits.bulk_bytes();
    let mut slots = spans.set_len(count).iter_mut();
    let mut args_left = 0;
    // Ends: the slots are finite.
    while let Some(slot) = slots.next() {
        let taken = short_line(rest, b'$').and_then(|(bulk_bytes, line)| {
            let after = rest.get(line + bulk_bytes + 2..)?;
            (bulk_bytes <= bulk_limit).then_some((bulk_bytes, line, after))
        });
        let Some((bulk_bytes, line, after)) = taken else {
            args_left = slots.len() + 1;
            break;
        };
        // At most 9999 arguments of 9999 bytes: far below 4 GiB.
        *slot = ((buf.len() - rest.len() + line) as u32, bulk_bytes as u32);
        rest = after;
    }
    parser.at = buf.len() - rest.len();
    if args_left > 0 {
        spans.truncate(count - args_left);
        parser.args_left = args_left;
        return false;
    }
    true
}

/// The number in the line at the front of `buf`, if that is `kind` and one to four digits, and the line's length with its
/// end. Wants six bytes, as many as the shortest bulk string takes, and both bytes of the line's end where they are among
/// these.
#[inline(always)]
fn short_line(buf: &[u8], kind: u8) -> Option<(usize, usize)> {
    let bytes: &[u8; LEAST_ARG_BYTES] = buf.first_chunk()?;
    let (low, high) = bytes.split_first_chunk()?;
    let low = u32::from_le_bytes(*low);
    let kind = u32::from(kind);
    let digit = |place: u32| (low >> (8 * place) & 0xff).wrapping_sub(u32::from(b'0'));
    let first = digit(1);
    if low & 0xffff_00ff == kind | LINE_END << 16 {
        return (first < 10).then_some((first as usize, 4));
    }
    let second = digit(2);
    if low & 0xff00_00ff == kind | LINE_END << 24 && high.first() == Some(&b'\n') {
        return (first.wrapping_sub(1) < 9 && second < 10).then(|| ((10 * first + second) as usize, 5));
    }
    longer_line(bytes, kind)
}

/// CR LF as they lie in a little-endian word.
const LINE_END: u32 = 0x0a0d;

/// The same for three or four digits, given the line's first six bytes.
#[inline(never)]
fn longer_line(bytes: &[u8; LEAST_ARG_BYTES], kind: u32) -> Option<(usize, usize)> {
    let [first, a, b, c, d, end] = *bytes;
    let digit = |byte: u8| usize::from(byte.wrapping_sub(b'0'));
    if u32::from(first) != kind || digit(a).wrapping_sub(1) >= 9 || digit(b) > 9 || digit(c) > 9 {
        return None;
    }
    let value = 100 * digit(a) + 10 * digit(b) + digit(c);
    if d == b'\r' {
        return Some((value, 6));
    }
    (digit(d) <= 9 && end == b'\r').then_some((10 * value + digit(d), 7))
}
