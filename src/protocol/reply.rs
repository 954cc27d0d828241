//! Replies to RESP bytes, written straight into the connection's output buffer.
//!
//! There is no reply value in between: a handler says what it answers by calling the method of that shape, and the form
//! (RESP2 or RESP3) follows from the connection. Each method asks for its room once.

use super::ProtocolError;
use super::number::{self, INTEGER_LINE_BYTES};
use bytes::{BufMut, BytesMut};

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// RESP2, what a connection starts with.
    #[default]
    Resp2,
    /// RESP3, after `HELLO 3`.
    Resp3,
}

/// Appends replies to an output buffer in the form the connection's protocol gives them.
///
/// Each method writes one complete reply, but for the `*_header` ones, after which the caller writes the elements.
pub struct ReplyWriter<'a> {
    out: &'a mut BytesMut,
    protocol: Protocol,
}

impl<'a> ReplyWriter<'a> {
    /// Appends to `out`.
    #[inline]
    pub fn new(out: &'a mut BytesMut, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    /// The protocol in force.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Changes the protocol for what follows (HELLO).
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Bytes in the output buffer: a mark for [`ReplyWriter::truncate`] and [`ReplyWriter::array_since`].
    #[inline]
    pub fn mark(&self) -> usize {
        self.out.len()
    }

    /// Takes back all that was written after `mark`.
    pub fn truncate(&mut self, mark: usize) {
        self.out.truncate(mark);
    }

    /// `+text`. The text must hold no line break.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.put_slice(b"+OK\r\n");
    }

    /// `-text`, where the text starts with the error's prefix. Line breaks become spaces.
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// The same for a text that quotes the client's bytes, which need not be UTF-8.
    pub fn error_bytes(&mut self, text: &[u8]) {
        let start = self.out.len();
        self.line(b'-', text);
        let end = self.out.len() - 2;
        for byte in &mut self.out[start..end] {
            if matches!(*byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    /// `-ERR Protocol error: ...`, the last reply that the connection gets.
    pub fn protocol_error(&mut self, error: &ProtocolError) {
        match *error {
            // The byte goes back as it came.
            ProtocolError::ExpectedBulk(byte) => {
                let mut text = *b"ERR Protocol error: expected '$', got ' '";
                text[text.len() - 2] = byte;
                self.error_bytes(&text);
            }
            _ => self.error(&format!("ERR {error}")),
        }
    }

    /// An error of any bytes (`!`): a plain error in RESP2, where line breaks become spaces.
    pub fn blob_error(&mut self, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.error_bytes(text),
            Protocol::Resp3 => self.blob(b'!', text),
        }
    }

    /// `:value`.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.int_line(b':', value);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.blob(b'$', bytes);
    }

    /// The front of a bulk string of `len` bytes; the caller then appends exactly that many with
    /// [`ReplyWriter::raw`] and ends with [`ReplyWriter::bulk_end`]. Makes room for all of it.
    #[inline]
    pub fn bulk_header(&mut self, len: usize) {
        self.out.reserve(INTEGER_LINE_BYTES + len + 2);
        self.int_line(b'$', len as i64);
    }

    /// The end of a bulk string begun with [`ReplyWriter::bulk_header`].
    #[inline]
    pub fn bulk_end(&mut self) {
        self.out.put_slice(b"\r\n");
    }

    /// The output buffer itself, for copying a value from the pool once.
    #[inline]
    pub fn raw(&mut self) -> &mut BytesMut {
        self.out
    }

    /// A bulk string of the value's text.
    pub fn bulk_display(&mut self, value: impl std::fmt::Display) {
        self.bulk(value.to_string().as_bytes());
    }

    /// No value: `$-1` or `_`.
    #[inline]
    pub fn null(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.out.put_slice(b"$-1\r\n"),
            Protocol::Resp3 => self.out.put_slice(b"_\r\n"),
        }
    }

    /// No array: `*-1` or `_`.
    pub fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.out.put_slice(b"*-1\r\n"),
            Protocol::Resp3 => self.out.put_slice(b"_\r\n"),
        }
    }

    /// An array of `len` elements follows.
    #[inline]
    pub fn array_header(&mut self, len: usize) {
        self.int_line(b'*', len as i64);
    }

    /// Makes an array of the `len` elements written since `mark`, for when their number is known only afterwards.
    /// Costs one move of their bytes.
    pub fn array_since(&mut self, mark: usize, len: usize) {
        let elements_end = self.out.len();
        self.array_header(len);
        let header_bytes = self.out.len() - elements_end;
        self.out[mark..].rotate_right(header_bytes);
    }

    /// A map of `pairs` pairs follows: a flat array in RESP2.
    pub fn map_header(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.int_line(b'*', 2 * pairs as i64),
            Protocol::Resp3 => self.int_line(b'%', pairs as i64),
        }
    }

    /// A set of `len` elements follows: an array in RESP2.
    pub fn set_header(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.int_line(b'*', len as i64),
            Protocol::Resp3 => self.int_line(b'~', len as i64),
        }
    }

    /// A push message of `len` elements follows: an array in RESP2.
    pub fn push_header(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.int_line(b'*', len as i64),
            Protocol::Resp3 => self.int_line(b'>', len as i64),
        }
    }

    /// A floating-point number: a bulk string in RESP2.
    pub fn double(&mut self, value: f64) {
        let text = number::double(value);
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// A floating-point number, given by its text: a bulk string in RESP2.
    pub fn double_text(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// The text of a floating-point number as a bulk string, in either protocol.
    pub fn bulk_double(&mut self, value: f64) {
        self.bulk(number::double(value).as_bytes());
    }

    /// An integer of any size, given by its decimal digits: a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits.as_bytes()),
            Protocol::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    /// A truth value: `:1` or `:0` in RESP2.
    pub fn boolean(&mut self, value: bool) {
        let text: &[u8] = match (self.protocol, value) {
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp2, false) => b":0\r\n",
            (Protocol::Resp3, true) => b"#t\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
        };
        self.out.put_slice(text);
    }

    /// Text with its format (`txt` or `mkd`): a bulk string in RESP2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                let len = format.len() + 1 + text.len();
                self.out.reserve(INTEGER_LINE_BYTES + len + 2);
                self.int_line(b'=', len as i64);
                self.out.put_slice(format.as_bytes());
                self.out.put_u8(b':');
                self.out.put_slice(text);
                self.out.put_slice(b"\r\n");
            }
        }
    }

    #[inline]
    fn blob(&mut self, kind: u8, bytes: &[u8]) {
        self.out.reserve(INTEGER_LINE_BYTES + bytes.len() + 2);
        self.int_line(kind, bytes.len() as i64);
        self.out.put_slice(bytes);
        self.out.put_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.put_u8(kind);
        self.out.put_slice(text);
        self.out.put_slice(b"\r\n");
    }

    #[inline]
    fn int_line(&mut self, kind: u8, value: i64) {
        number::put_integer_line(self.out, kind, value);
    }
}
