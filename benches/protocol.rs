//! What a request costs to parse and a reply to write: time per request or reply, everything in the cache, no socket.
//!
//! An iteration of `parse` takes the next request from a buffer of 64 pipelined ones, or of one, as the connection does, and
//! reads its first and last argument. One of `reply` adds a reply to an output buffer, which is emptied every 64 replies.
//! A sample is 1024 of them. Pin the bench to a core for steady figures.

use bytes::BytesMut;
use divan::{Bencher, black_box, counter::ItemsCount};
use fencepost::protocol::{ArgSpans, Parsed, Protocol, ReplyWriter, RequestLimits, RequestParser};

const PIPELINE: usize = 64;

fn main() {
    divan::main();
}

#[divan::bench_group(sample_size = 1024, sample_count = 500)]
mod parse {
    use super::*;

    fn multibulk(args: &[&[u8]]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            bytes.extend(format!("${}\r\n", arg.len()).into_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend(b"\r\n");
        }
        bytes
    }

    /// `SET key:NNNNNN` with a value of this many bytes.
    fn set(value_bytes: usize) -> impl Fn(usize) -> Vec<u8> {
        let value = vec![b'v'; value_bytes];
        move |i| multibulk(&[b"SET", format!("key:{i:06}").as_bytes(), &value])
    }

    fn get(i: usize) -> Vec<u8> {
        multibulk(&[b"GET", format!("key:{i:06}").as_bytes()])
    }

    fn parse(bencher: Bencher, count: usize, request: impl Fn(usize) -> Vec<u8>) {
        let bytes: Vec<u8> = (0..count).flat_map(request).collect();
        let limits = RequestLimits::default();
        let mut parser = RequestParser::new();
        let mut spans = ArgSpans::new();
        let mut rest = &bytes[..];
        bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
            if rest.is_empty() {
                rest = black_box(&bytes);
            }
            let Ok(Parsed::Request { consumed }) = parser.parse(rest, &limits, &mut spans) else {
                panic!("the bytes are whole requests");
            };
            let args = spans.args(rest);
            black_box((args.at(0), args.at(args.len() - 1)));
            rest = &rest[consumed..];
        });
    }

    #[divan::bench]
    fn set_64_b_pipelined(bencher: Bencher) {
        parse(bencher, PIPELINE, set(64));
    }

    #[divan::bench]
    fn set_1_kib_pipelined(bencher: Bencher) {
        parse(bencher, PIPELINE, set(1024));
    }

    #[divan::bench]
    fn get_pipelined(bencher: Bencher) {
        parse(bencher, PIPELINE, get);
    }

    #[divan::bench]
    fn set_to_get_1_to_10_pipelined(bencher: Bencher) {
        parse(bencher, PIPELINE, |i| if i % 11 == 0 { set(64)(i) } else { get(i) });
    }

    #[divan::bench]
    fn set_64_b_alone(bencher: Bencher) {
        parse(bencher, 1, set(64));
    }

    #[divan::bench]
    fn get_alone(bencher: Bencher) {
        parse(bencher, 1, get);
    }

    #[divan::bench]
    fn incr_of_a_1_byte_key_alone(bencher: Bencher) {
        parse(bencher, 1, |_| multibulk(&[b"INCR", b"k"]));
    }

    #[divan::bench]
    fn mget_of_100_keys(bencher: Bencher) {
        let keys: Vec<Vec<u8>> = (0..100).map(|i| format!("key:{i:06}").into_bytes()).collect();
        let args: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
        parse(bencher, 1, |_| multibulk(&args));
    }

    #[divan::bench]
    fn get_inline(bencher: Bencher) {
        parse(bencher, PIPELINE, |i| format!("GET key:{i:06}\r\n").into_bytes());
    }

    #[divan::bench]
    fn get_inline_quoted(bencher: Bencher) {
        parse(bencher, PIPELINE, |i| format!("GET \"key:{i:06}\"\r\n").into_bytes());
    }

    /// One request that arrives in two pieces, cut in the last argument.
    #[divan::bench]
    fn set_64_b_in_two_pieces(bencher: Bencher) {
        let bytes = set(64)(1);
        let limits = RequestLimits::default();
        let mut parser = RequestParser::new();
        let mut spans = ArgSpans::new();
        bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
            let bytes = black_box(&bytes[..]);
            assert_eq!(parser.parse(&bytes[..bytes.len() - 10], &limits, &mut spans), Ok(Parsed::Incomplete));
            assert_eq!(parser.parse(bytes, &limits, &mut spans), Ok(Parsed::Request { consumed: bytes.len() }));
            black_box(spans.args(bytes).at(0));
        });
    }
}

#[divan::bench_group(sample_size = 1024, sample_count = 500)]
mod reply {
    use super::*;

    fn reply(bencher: Bencher, write: impl Fn(&mut ReplyWriter<'_>, usize)) {
        let mut out = BytesMut::with_capacity(256 * 1024);
        let mut written = 0;
        bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
            write(&mut ReplyWriter::new(&mut out, black_box(Protocol::Resp2)), written);
            written += 1;
            if written == PIPELINE {
                black_box(&out[..]);
                out.clear();
                written = 0;
            }
        });
    }

    #[divan::bench]
    fn ok(bencher: Bencher) {
        reply(bencher, |writer, _| writer.ok());
    }

    #[divan::bench]
    fn null(bencher: Bencher) {
        reply(bencher, |writer, _| writer.null());
    }

    #[divan::bench(args = [64, 1024])]
    fn bulk_of_bytes(bencher: Bencher, bytes: usize) {
        let value = vec![b'v'; bytes];
        reply(bencher, |writer, _| writer.bulk(black_box(&value)));
    }

    #[divan::bench]
    fn integer_below_100(bencher: Bencher) {
        reply(bencher, |writer, i| writer.integer(black_box(i as i64)));
    }

    #[divan::bench]
    fn integer_of_13_digits(bencher: Bencher) {
        reply(bencher, |writer, i| writer.integer(black_box(1_700_000_000_000 + i as i64)));
    }

    #[divan::bench]
    fn double(bencher: Bencher) {
        reply(bencher, |writer, i| writer.double(black_box(i as f64 + 0.1)));
    }
}
