//! Replies: what is written reads back as what was meant, in RESP2 and in RESP3.

use bytes::BytesMut;
use fencepost::protocol::{Protocol, ProtocolError, ReplyWriter};
use proptest::prelude::*;

/// A reply as a command means it.
#[derive(Debug, Clone)]
enum Meant {
    Simple(String),
    Error(String),
    BlobError(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    BulkInPieces(Vec<u8>),
    Null,
    NullArray,
    Double(f64),
    BigNumber(String),
    Boolean(bool),
    Verbatim(Vec<u8>),
    Array(Vec<Meant>),
    ArrayCountedLater(Vec<Meant>),
    Set(Vec<Meant>),
    Push(Vec<Meant>),
    Map(Vec<(Meant, Meant)>),
}

/// A reply as a client reads it: the kind byte with what follows it.
#[derive(Debug, Clone, PartialEq)]
enum Read {
    /// `+ - : _ , # (`: text up to the line's end.
    Line(u8, Vec<u8>),
    /// `$ = !`: bytes of a stated length.
    Blob(u8, Vec<u8>),
    /// `* ~ > %`: elements; those of a map are keys and values in turn.
    Elements(u8, Vec<Read>),
    /// `$-1`, `*-1`.
    Absent(u8),
}

fn write(reply: &mut ReplyWriter<'_>, meant: &Meant) {
    let write_all = |reply: &mut ReplyWriter<'_>, elements: &[Meant]| elements.iter().for_each(|e| write(reply, e));
    match meant {
        Meant::Simple(text) => reply.simple(text),
        Meant::Error(text) => reply.error(text),
        Meant::BlobError(text) => reply.blob_error(text),
        Meant::Integer(value) => reply.integer(*value),
        Meant::Bulk(bytes) => reply.bulk(bytes),
        Meant::BulkInPieces(bytes) => {
            reply.bulk_header(bytes.len());
            bytes.chunks(3).for_each(|chunk| reply.raw().extend_from_slice(chunk));
            reply.bulk_end();
        }
        Meant::Null => reply.null(),
        Meant::NullArray => reply.null_array(),
        Meant::Double(value) => reply.double(*value),
        Meant::BigNumber(digits) => reply.big_number(digits),
        Meant::Boolean(value) => reply.boolean(*value),
        Meant::Verbatim(text) => reply.verbatim("txt", text),
        Meant::Array(elements) => {
            reply.array_header(elements.len());
            write_all(reply, elements);
        }
        Meant::ArrayCountedLater(elements) => {
            let mark = reply.mark();
            write_all(reply, elements);
            reply.array_since(mark, elements.len());
        }
        Meant::Set(elements) => {
            reply.set_header(elements.len());
            write_all(reply, elements);
        }
        Meant::Push(elements) => {
            reply.push_header(elements.len());
            write_all(reply, elements);
        }
        Meant::Map(pairs) => {
            reply.map_header(pairs.len());
            for (key, value) in pairs {
                write(reply, key);
                write(reply, value);
            }
        }
    }
}

/// What a client must read, `third` being whether it speaks RESP3.
fn expected(meant: &Meant, third: bool) -> Read {
    let all = |elements: &[Meant]| elements.iter().map(|e| expected(e, third)).collect::<Vec<_>>();
    let one_line = |text: &[u8]| text.iter().map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }).collect();
    let line_or_bulk = |kind: u8, text: &[u8]| {
        if third { Read::Line(kind, text.to_vec()) } else { Read::Blob(b'$', text.to_vec()) }
    };
    match meant {
        Meant::Simple(text) => Read::Line(b'+', text.clone().into_bytes()),
        Meant::Error(text) => Read::Line(b'-', one_line(text.as_bytes())),
        Meant::BlobError(text) if third => Read::Blob(b'!', text.clone()),
        Meant::BlobError(text) => Read::Line(b'-', one_line(text)),
        Meant::Integer(value) => Read::Line(b':', value.to_string().into_bytes()),
        Meant::Bulk(bytes) | Meant::BulkInPieces(bytes) => Read::Blob(b'$', bytes.clone()),
        Meant::Null | Meant::NullArray if third => Read::Line(b'_', vec![]),
        Meant::Null => Read::Absent(b'$'),
        Meant::NullArray => Read::Absent(b'*'),
        Meant::Double(value) => line_or_bulk(b',', value.to_string().as_bytes()),
        Meant::BigNumber(digits) => line_or_bulk(b'(', digits.as_bytes()),
        Meant::Boolean(value) if third => Read::Line(b'#', vec![if *value { b't' } else { b'f' }]),
        Meant::Boolean(value) => Read::Line(b':', vec![if *value { b'1' } else { b'0' }]),
        Meant::Verbatim(text) if third => Read::Blob(b'=', [b"txt:", &text[..]].concat()),
        Meant::Verbatim(text) => Read::Blob(b'$', text.clone()),
        Meant::Array(elements) | Meant::ArrayCountedLater(elements) => Read::Elements(b'*', all(elements)),
        Meant::Set(elements) => Read::Elements(if third { b'~' } else { b'*' }, all(elements)),
        Meant::Push(elements) => Read::Elements(if third { b'>' } else { b'*' }, all(elements)),
        Meant::Map(pairs) => {
            let elements = pairs.iter().flat_map(|(k, v)| [expected(k, third), expected(v, third)]).collect();
            Read::Elements(if third { b'%' } else { b'*' }, elements)
        }
    }
}

/// Reads one reply off the front of `bytes`, as strictly as the protocol is written.
fn read(bytes: &mut &[u8]) -> Read {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a line ends");
    let (kind, text) = (bytes[0], bytes[1..end].to_vec());
    *bytes = &bytes[end + 2..];
    if b"+-:_,#(".contains(&kind) {
        return Read::Line(kind, text);
    }
    let len: i64 = std::str::from_utf8(&text).unwrap().parse().unwrap();
    assert_eq!(len.to_string().into_bytes(), text, "a length has one spelling");
    let Ok(len) = usize::try_from(len) else { return Read::Absent(kind) };
    match kind {
        b'$' | b'=' | b'!' => {
            let (body, rest) = bytes.split_at(len);
            *bytes = rest.strip_prefix(b"\r\n").expect("a blob ends with its line");
            Read::Blob(kind, body.to_vec())
        }
        b'*' | b'~' | b'>' => Read::Elements(kind, (0..len).map(|_| read(bytes)).collect()),
        b'%' => Read::Elements(kind, (0..2 * len).map(|_| read(bytes)).collect()),
        other => panic!("no kind of reply starts with {other}"),
    }
}

fn meant() -> impl Strategy<Value = Meant> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let leaf = prop_oneof![
        "[ -~]{0,30}".prop_map(Meant::Simple),
        "ERR [ -~\r\n]{0,30}".prop_map(Meant::Error),
        bytes().prop_map(Meant::BlobError),
        (any::<i64>(), 0u32..64).prop_map(|(value, shift)| Meant::Integer(value >> shift)),
        bytes().prop_map(Meant::Bulk),
        bytes().prop_map(Meant::BulkInPieces),
        Just(Meant::Null),
        Just(Meant::NullArray),
        // Quarters below a million look the same in Rust's notation; the forms have their own tests.
        (-4_000_000i32..4_000_000)
            .prop_filter("the sign of zero", |n| *n != 0)
            .prop_map(|n| Meant::Double(f64::from(n) / 4.0)),
        "-?[1-9][0-9]{0,60}".prop_map(Meant::BigNumber),
        any::<bool>().prop_map(Meant::Boolean),
        bytes().prop_map(Meant::Verbatim),
    ];
    leaf.prop_recursive(3, 40, 6, |inner| {
        let elements = || prop::collection::vec(inner.clone(), 0..6);
        prop_oneof![
            elements().prop_map(Meant::Array),
            elements().prop_map(Meant::ArrayCountedLater),
            elements().prop_map(Meant::Set),
            elements().prop_map(Meant::Push),
            prop::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(Meant::Map),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Several replies in one buffer, each of any shape, read back one after the other.
    #[test]
    fn replies_read_back(meant in prop::collection::vec(meant(), 1..4), third: bool) {
        let mut out = BytesMut::new();
        let protocol = if third { Protocol::Resp3 } else { Protocol::Resp2 };
        let mut reply = ReplyWriter::new(&mut out, protocol);
        meant.iter().for_each(|meant| write(&mut reply, meant));
        let mut rest = &out[..];
        for meant in &meant {
            prop_assert_eq!(read(&mut rest), expected(meant, third));
        }
        prop_assert!(rest.is_empty());
    }
}

fn written(protocol: Protocol, write: impl FnOnce(&mut ReplyWriter<'_>)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut ReplyWriter::new(&mut out, protocol));
    out.to_vec()
}

/// The bytes of each shape, as a guard against a writer and a reader that are wrong together.
#[test]
fn the_bytes_of_each_shape() {
    type Write = fn(&mut ReplyWriter<'_>);
    let table: [(Write, &str, &str); 16] = [
        (|r| r.ok(), "+OK\r\n", "+OK\r\n"),
        (|r| r.simple("PONG"), "+PONG\r\n", "+PONG\r\n"),
        (|r| r.error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
        (|r| r.integer(-42), ":-42\r\n", ":-42\r\n"),
        (|r| r.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n"),
        (|r| r.bulk_display(12345), "$5\r\n12345\r\n", "$5\r\n12345\r\n"),
        (|r| r.null(), "$-1\r\n", "_\r\n"),
        (|r| r.null_array(), "*-1\r\n", "_\r\n"),
        (|r| r.map_header(2), "*4\r\n", "%2\r\n"),
        (|r| r.set_header(3), "*3\r\n", "~3\r\n"),
        (|r| r.push_header(3), "*3\r\n", ">3\r\n"),
        (|r| r.double(1e20), "$5\r\n1e+20\r\n", ",1e+20\r\n"),
        (|r| r.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n"),
        (|r| r.big_number("123"), "$3\r\n123\r\n", "(123\r\n"),
        (|r| r.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
        (|r| r.blob_error(b"ERR a\nb"), "-ERR a b\r\n", "!7\r\nERR a\nb\r\n"),
    ];
    for (write, second, third) in table {
        assert_eq!(written(Protocol::Resp2, write), second.as_bytes());
        assert_eq!(written(Protocol::Resp3, write), third.as_bytes());
    }
}

/// As redis-server 7.0.15 sends them: the byte found goes back as it came, a line break as a space.
#[test]
fn protocol_errors_are_answered_in_bytes() {
    let table: [(ProtocolError, &[u8]); 4] = [
        (ProtocolError::InvalidBulkLength, b"-ERR Protocol error: invalid bulk length\r\n"),
        (ProtocolError::ExpectedBulk(b'x'), b"-ERR Protocol error: expected '$', got 'x'\r\n"),
        (ProtocolError::ExpectedBulk(0xff), b"-ERR Protocol error: expected '$', got '\xff'\r\n"),
        (ProtocolError::ExpectedBulk(b'\r'), b"-ERR Protocol error: expected '$', got ' '\r\n"),
    ];
    for (error, expected) in table {
        assert_eq!(written(Protocol::Resp2, |reply| reply.protocol_error(&error)), expected);
    }
}

#[test]
fn what_was_written_since_a_mark_can_be_taken_back() {
    let bytes = written(Protocol::Resp2, |reply| {
        reply.ok();
        let mark = reply.mark();
        reply.array_header(2);
        reply.bulk(b"half");
        reply.truncate(mark);
        reply.error("ERR no");
    });
    assert_eq!(bytes, b"+OK\r\n-ERR no\r\n");
}
