//! The request parser on any bytes: cut into pieces anywhere, they come to the same requests, error or rest as whole; every
//! argument lies in its request; room is bounded by what has arrived.
//!
//! The input's first byte holds the flags and how many cuts follow; each cut is a byte that says how long the next piece
//! is. The rest is the stream.
#![no_main]

use fencepost::protocol::limits::{MAX_BULK_BYTES, READ_HINT_BYTES};
use fencepost::protocol::{ArgSpans, Parsed, ProtocolError, RequestLimits, RequestParser};
use libfuzzer_sys::fuzz_target;

/// What a stream came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    requests: Vec<Vec<Vec<u8>>>,
    /// Bytes behind the last request, or what is wrong with them.
    end: Result<usize, ProtocolError>,
}

/// Parses the stream as it arrives in pieces that end at `cuts`, which ascend, and at its end.
fn parse(stream: &[u8], cuts: impl Iterator<Item = usize>, limits: &RequestLimits) -> Outcome {
    let mut parser = RequestParser::new();
    let mut spans = ArgSpans::new();
    let mut requests = Vec::new();
    let mut start = 0;
    for end in cuts.filter(|&cut| cut < stream.len()).chain([stream.len()]) {
        loop {
            let arrived = &stream[start..end];
            match parser.parse(arrived, limits, &mut spans) {
                Ok(Parsed::Request { consumed }) => {
                    assert!(consumed > 0);
                    requests.push(spans.args(&arrived[..consumed]).iter().map(<[u8]>::to_vec).collect());
                    start += consumed;
                }
                Ok(Parsed::Incomplete) => {
                    assert!(parser.wanted_bytes(arrived.len()) <= arrived.len().max(READ_HINT_BYTES));
                    break;
                }
                Err(error) => return Outcome { requests, end: Err(error) },
            }
            // A span of 8 bytes for each argument, which takes at least 2, in room that grows by doubling.
            assert!(spans.heap_bytes() <= 64 + 10 * stream.len());
        }
    }
    Outcome { requests, end: Ok(stream.len() - start) }
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else { return };
    let (cuts, stream) = rest.split_at(rest.len().min(usize::from(first >> 4)));
    let max_bulk_bytes = if first & 1 == 0 { MAX_BULK_BYTES } else { 64 };
    let limits = RequestLimits::new(max_bulk_bytes, first & 2 == 0);

    let whole = parse(stream, std::iter::empty(), &limits);
    let pieces = cuts.iter().scan(0, |end, &len| {
        *end += usize::from(len);
        Some(*end)
    });
    assert_eq!(parse(stream, pieces, &limits), whole);
    if first & 4 == 0 {
        assert_eq!(parse(stream, 1..stream.len(), &limits), whole);
    }
});
