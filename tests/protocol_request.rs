//! The request parser: whatever the cut, the same requests; Redis's limits and texts; bounded memory.

use fencepost::protocol::limits::{MAX_ARGS, MAX_BULK_BYTES, MAX_INLINE_BYTES, READ_HINT_BYTES};
use fencepost::protocol::{ArgSpans, Parsed, ProtocolError, RequestLimits, RequestParser};
use proptest::prelude::*;

/// The arguments of one request.
type Request = Vec<Vec<u8>>;

/// What a stream of bytes came to: the requests in it, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    requests: Vec<Request>,
    /// Bytes behind the last request, or what is wrong with them.
    end: Result<usize, ProtocolError>,
}

impl Outcome {
    fn whole(requests: Vec<Request>) -> Self {
        Self { requests, end: Ok(0) }
    }
}

/// Parses `stream` as it would be if its bytes arrived in pieces that end at `cuts`, which ascend, and at its end.
fn parse_cut(stream: &[u8], cuts: impl IntoIterator<Item = usize>, limits: &RequestLimits) -> Outcome {
    let mut parser = RequestParser::new();
    let mut spans = ArgSpans::new();
    let mut requests = Vec::new();
    let mut start = 0;
    for end in cuts.into_iter().chain([stream.len()]) {
        loop {
            let arrived = &stream[start..end];
            match parser.parse(arrived, limits, &mut spans) {
                Ok(Parsed::Incomplete) => break,
                Ok(Parsed::Request { consumed }) => {
                    assert!(consumed > 0 && consumed <= arrived.len(), "{consumed} of {}", arrived.len());
                    requests.push(spans.args(arrived).iter().map(<[u8]>::to_vec).collect());
                    start += consumed;
                }
                Err(error) => return Outcome { requests, end: Err(error) },
            }
        }
    }
    Outcome { requests, end: Ok(stream.len() - start) }
}

fn parse_whole(stream: &[u8]) -> Outcome {
    parse_cut(stream, [], &RequestLimits::default())
}

fn parse_bytewise(stream: &[u8]) -> Outcome {
    parse_cut(stream, 1..stream.len(), &RequestLimits::default())
}

/// A request as a client library sends it.
fn multibulk(request: &Request) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
    for arg in request {
        bytes.extend(format!("${}\r\n", arg.len()).into_bytes());
        bytes.extend(arg);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// The same request as a line, each argument in double quotes with all but letters and digits escaped.
fn quoted_line(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    for arg in request {
        bytes.extend(b" \"");
        for &byte in arg {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => bytes.push(byte),
                b'\n' => bytes.extend(b"\\n"),
                _ => bytes.extend(format!("\\x{byte:02x}").into_bytes()),
            }
        }
        bytes.push(b'"');
    }
    bytes.extend(b"\r\n");
    bytes
}

/// Any bytes, and bytes that look like protocol.
fn short_arg() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        prop::collection::vec(prop::sample::select(&b"\r\n$*0123\"'\\ "[..]), 0..12),
    ]
    .boxed()
}

/// Also arguments whose length takes two or three digits.
fn arg() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![4 => short_arg(), 1 => prop::collection::vec(any::<u8>(), 95..105)].boxed()
}

/// Few arguments, or enough that their number takes two digits.
fn request(arg: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Request> {
    let tiny_arg = prop::collection::vec(any::<u8>(), 0..2);
    prop_oneof![9 => prop::collection::vec(arg, 0..5), 1 => prop::collection::vec(tiny_arg, 9..14)]
}

/// Fewer requests than `end`, each as multibulk or as a line, and the bytes of all.
fn stream(arg: BoxedStrategy<Vec<u8>>, end: usize) -> impl Strategy<Value = (Vec<Request>, Vec<u8>)> {
    prop::collection::vec((request(arg), any::<bool>()), 1..end).prop_map(|requests| {
        let bytes = requests
            .iter()
            .flat_map(|(request, line)| if *line { quoted_line(request) } else { multibulk(request) })
            .collect();
        (requests.into_iter().map(|(request, _)| request).collect(), bytes)
    })
}

/// Bytes that get past the first checks more often than random ones do.
fn near_protocol() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => prop::sample::select(vec![
            "*1\r\n", "*2\r\n", "*10\r\n", "*0\r\n", "*-1\r\n", "$1\r\n", "$3\r\n", "$0\r\n", "$10\r\n", "\r\n", "GET", "x", "\r", "\n",
            "*", "$", "$1000\r\n", "*1000\r\n", "*10000\r\n", "\"", "'", "\\", "\\x4", " ", "ECHO \"a b\"\r\n", "$-1\r\n", "$01\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A valid stream gives the requests it was made of: whole, byte by byte and cut once anywhere.
    #[test]
    fn a_valid_stream_parses_the_same_wherever_it_is_cut((requests, bytes) in stream(arg(), 4)) {
        let expected = Outcome::whole(requests);
        prop_assert_eq!(&parse_whole(&bytes), &expected);
        prop_assert_eq!(&parse_bytewise(&bytes), &expected);
        for cut in 0..=bytes.len() {
            prop_assert_eq!(&parse_cut(&bytes, [cut], &RequestLimits::default()), &expected, "cut at {}", cut);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The same for every pair of cuts.
    #[test]
    fn a_valid_stream_parses_the_same_wherever_it_is_cut_twice((requests, bytes) in stream(short_arg(), 3)) {
        let expected = Outcome::whole(requests);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let outcome = parse_cut(&bytes, [first, second], &RequestLimits::default());
                prop_assert_eq!(&outcome, &expected, "cut at {} and {}", first, second);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Bytes of any kind come to the same requests, the same error or the same rest, however they are cut, and never panic.
    #[test]
    fn any_bytes_parse_the_same_however_they_are_cut(
        bytes in prop_oneof![near_protocol(), prop::collection::vec(any::<u8>(), 0..80)],
        cuts in prop::collection::btree_set(0usize..80, 0..8),
        authenticated: bool,
    ) {
        let limits = RequestLimits::new(1000, authenticated);
        let whole = parse_cut(&bytes, [], &limits);
        prop_assert_eq!(&parse_cut(&bytes, 1..bytes.len(), &limits), &whole);
        let cuts = cuts.into_iter().filter(|&cut| cut < bytes.len());
        prop_assert_eq!(&parse_cut(&bytes, cuts, &limits), &whole);
    }
}

/// Streams with a known result, each parsed whole and byte by byte; the results are those of redis-server 7.0.15.
#[test]
fn odd_requests_are_taken_as_redis_takes_them() {
    let request = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Request>();
    let table: Vec<(&[u8], Vec<Request>)> = vec![
        (b"*0\r\n*1\r\n$4\r\nPING\r\n", vec![vec![], request(&["PING"])]),
        (b"*-1\r\nPING\r\n", vec![vec![], request(&["PING"])]),
        (b"*-10\r\n", vec![vec![]]),
        (b"*-9223372036854775808\r\n", vec![vec![]]),
        (b"\r\n\nPING\r\n", vec![vec![], vec![], request(&["PING"])]),
        (b"   \r\nPING\n", vec![vec![], request(&["PING"])]),
        (b"*1\r\n$0\r\n\r\n", vec![request(&[""])]),
        (b"*2\r\n$1\r\n5\r\n$0\r\n\r\n", vec![request(&["5", ""])]),
        // The bytes that end a line or a bulk string are not looked at, but for a line's carriage return.
        (b"*1\rX$4\rYPINGZZPING\r\n", vec![request(&["PING"]), request(&["PING"])]),
        (b"SET key \"a value\"\r\n*1\r\n$4\r\nPING\r\n", vec![request(&["SET", "key", "a value"]), request(&["PING"])]),
        (b"$3\r\nGET\r\n", vec![request(&["$3"]), request(&["GET"])]),
        (b"a*1\r\n", vec![request(&["a*1"])]),
    ];
    for (bytes, requests) in table {
        let expected = Outcome::whole(requests);
        assert_eq!(parse_whole(bytes), expected, "{}", bytes.escape_ascii());
        assert_eq!(parse_bytewise(bytes), expected, "{} bytewise", bytes.escape_ascii());
    }
}

#[test]
fn errors_are_worded_as_redis_words_them() {
    let table: &[(&[u8], &str)] = &[
        (b"*x\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"* 1\r\n", "invalid multibulk length"),
        (b"*1 \r\n", "invalid multibulk length"),
        (b"*1x\r\n", "invalid multibulk length"),
        (b"*\xff\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*3000000000\r\n", "invalid multibulk length"),
        (b"*99999999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$-10\r\n", "invalid bulk length"),
        (b"*1\r\n$01\r\n", "invalid bulk length"),
        (b"*1\r\n$blabla\r\n", "invalid bulk length"),
        (b"*1\r\n$2000000000\r\n", "invalid bulk length"),
        (b"*1\r\n$18446744073709551615\r\n", "invalid bulk length"),
        (b"*1\r\nfoo\r\n", "expected '$', got 'f'"),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "expected '$', got 'f'"),
        (b"*1\r\n*1\r\n", "expected '$', got '*'"),
        (b"set \"\"\"test-key\"\"\" test-value\r\n", "unbalanced quotes in request"),
        (b"ECHO 'a\n", "unbalanced quotes in request"),
    ];
    for &(bytes, text) in table {
        for outcome in [parse_whole(bytes), parse_bytewise(bytes)] {
            let error = outcome.end.expect_err(text);
            assert_eq!(error.to_string(), format!("Protocol error: {text}"), "{}", bytes.escape_ascii());
        }
    }
}

/// A request before a wrong one is still answered.
#[test]
fn an_error_takes_nothing_from_the_requests_before_it() {
    let outcome = parse_whole(b"*1\r\n$4\r\nPING\r\nPING\r\n*x\r\n");
    assert_eq!(outcome.requests, [[b"PING"], [b"PING"]]);
    assert_eq!(outcome.end, Err(ProtocolError::InvalidMultibulkLength));
}

/// Lines of exactly the greatest length and of one byte more, before and after their end has arrived.
#[test]
fn lines_end_within_64_kib() {
    let digits = |prefix: &str, len: usize| [prefix.as_bytes(), "1".repeat(len).as_bytes()].concat();
    let kinds = [
        ("", "1", ProtocolError::TooBigInline),
        ("", "*", ProtocolError::TooBigCount),
        ("*1\r\n", "$", ProtocolError::TooBigBulkCount),
    ];
    for (before, kind, too_big) in kinds {
        let longest = digits(&format!("{before}{kind}"), MAX_INLINE_BYTES - 1);
        let end = parse_whole(&longest).end;
        assert_eq!(end, Ok(longest.len()), "{kind}");

        let too_long = [&longest[..], b"1"].concat();
        assert_eq!(parse_whole(&too_long).end, Err(too_big));
        let ended_too_late = [&too_long[..], b"\r\n"].concat();
        assert_eq!(parse_whole(&ended_too_late).end, Err(too_big), "the cut must not matter");
        assert_eq!(parse_cut(&ended_too_late, [10, MAX_INLINE_BYTES], &RequestLimits::default()).end, Err(too_big));
    }
    let longest = [&digits("", MAX_INLINE_BYTES)[..], b"\n"].concat();
    assert_eq!(parse_whole(&longest), Outcome::whole(vec![vec![longest[..MAX_INLINE_BYTES].to_vec()]]));
}

#[test]
fn lengths_are_bounded_as_configured() {
    let announced = |max_bulk_bytes: usize, authenticated: bool, line: &str| {
        let limits = RequestLimits::new(max_bulk_bytes, authenticated);
        parse_cut(line.as_bytes(), [], &limits).end
    };
    let args = |count: usize| format!("*{count}\r\n");
    let bulk = |len: usize| format!("*1\r\n${len}\r\n");
    let waits = |line: &str| Ok(line.len());

    assert_eq!(announced(MAX_BULK_BYTES, true, &args(MAX_ARGS)), waits(&args(MAX_ARGS)));
    assert_eq!(announced(MAX_BULK_BYTES, true, &args(MAX_ARGS + 1)), Err(ProtocolError::InvalidMultibulkLength));
    assert_eq!(announced(MAX_BULK_BYTES, true, &bulk(MAX_BULK_BYTES)), waits(&bulk(MAX_BULK_BYTES)));
    assert_eq!(announced(MAX_BULK_BYTES, true, &bulk(MAX_BULK_BYTES + 1)), Err(ProtocolError::InvalidBulkLength));
    assert_eq!(announced(100, true, &bulk(100)), waits(&bulk(100)));
    assert_eq!(announced(100, true, &bulk(101)), Err(ProtocolError::InvalidBulkLength));

    assert_eq!(announced(MAX_BULK_BYTES, false, &args(10)), waits(&args(10)));
    assert_eq!(announced(MAX_BULK_BYTES, false, &args(11)), Err(ProtocolError::UnauthenticatedMultibulkLength));
    assert_eq!(announced(MAX_BULK_BYTES, false, &args(MAX_ARGS + 1)), Err(ProtocolError::InvalidMultibulkLength));
    assert_eq!(announced(MAX_BULK_BYTES, false, &bulk(16384)), waits(&bulk(16384)));
    assert_eq!(announced(MAX_BULK_BYTES, false, &bulk(16385)), Err(ProtocolError::UnauthenticatedBulkLength));
    assert_eq!(announced(MAX_BULK_BYTES, false, &bulk(MAX_BULK_BYTES + 1)), Err(ProtocolError::InvalidBulkLength));

    // Offsets are 32 bits wide, whatever is configured.
    assert_eq!(announced(usize::MAX, true, &bulk(1 << 32)), Err(ProtocolError::InvalidBulkLength));

    let few = RequestLimits::default().with_max_args(3);
    assert_eq!(parse_cut(b"*3\r\n", [], &few).end, Ok(4));
    assert_eq!(parse_cut(b"*4\r\n", [], &few).end, Err(ProtocolError::InvalidMultibulkLength));
}

/// The limits also hold for requests that are there as a whole.
#[test]
fn whole_requests_are_bounded_too() {
    let unauthenticated = RequestLimits::new(MAX_BULK_BYTES, false);
    let eleven = multibulk(&vec![b"x".to_vec(); 11]);
    assert_eq!(parse_cut(&eleven, [], &unauthenticated).end, Err(ProtocolError::UnauthenticatedMultibulkLength));
    let long = multibulk(&vec![b"GET".to_vec(), vec![b'x'; 101]]);
    assert_eq!(parse_cut(&long, [], &RequestLimits::new(100, true)).end, Err(ProtocolError::InvalidBulkLength));
    assert_eq!(parse_cut(&long, [], &RequestLimits::new(101, true)).requests.len(), 1);
}

/// Counts and lengths of one to six digits, whole and with the last byte late.
#[test]
fn requests_of_every_size_class() {
    let sizes = [0, 1, 2, 9, 10, 11, 99, 100, 101, 999, 1000, 1001, 9999, 10000, 10001, 100_000];
    for size in sizes {
        for request in [vec![vec![b'x'; size]], vec![b"y".to_vec(); size]] {
            let bytes = multibulk(&request);
            let expected = Outcome::whole(vec![request]);
            assert_eq!(parse_whole(&bytes), expected);
            assert_eq!(parse_cut(&bytes, [bytes.len() - 1], &RequestLimits::default()), expected);
        }
    }
}

/// Room grows with what has arrived and not with what is announced, and is given back.
#[test]
fn nothing_is_allocated_for_what_is_only_announced() {
    let limits = RequestLimits::default();
    let mut parser = RequestParser::new();
    let mut spans = ArgSpans::new();
    assert_eq!(parser.parse(b"*1048576\r\n$536870912\r\n", &limits, &mut spans), Ok(Parsed::Incomplete));
    assert_eq!(spans.heap_bytes(), 0);

    let arrived = 100_000;
    let bytes = [&b"*1048576\r\n"[..], &b"$1\r\nx\r\n".repeat(arrived)].concat();
    let mut parser = RequestParser::new();
    assert_eq!(parser.parse(&bytes, &limits, &mut spans), Ok(Parsed::Incomplete));
    assert_eq!(spans.len(), arrived);
    assert!(spans.heap_bytes() <= 3 * bytes.len(), "{} bytes for {}", spans.heap_bytes(), bytes.len());

    spans.clear();
    assert!(spans.heap_bytes() <= 16 * 1024, "{}", spans.heap_bytes());
}

/// What was parsed or looked through is not read again: bytes changed behind the parser's back stay unseen.
#[test]
fn bytes_are_looked_at_once() {
    let limits = RequestLimits::default();
    let mut spans = ArgSpans::new();

    let mut parser = RequestParser::new();
    assert_eq!(parser.parse(b"GET a", &limits, &mut spans), Ok(Parsed::Incomplete));
    assert_eq!(parser.parse(b"\nET abc\r\n", &limits, &mut spans), Ok(Parsed::Request { consumed: 9 }));

    let mut parser = RequestParser::new();
    assert_eq!(parser.parse(b"*2\r\n$3\r\nGET\r\n$3\r\nk", &limits, &mut spans), Ok(Parsed::Incomplete));
    let rest = b"_________________key\r\n";
    assert_eq!(parser.parse(rest, &limits, &mut spans), Ok(Parsed::Request { consumed: rest.len() }));
    assert_eq!(spans.args(rest).at(1), b"key");
}

#[test]
fn wanted_bytes_says_what_the_bulk_string_lacks() {
    let limits = RequestLimits::default();
    let mut parser = RequestParser::new();
    let mut spans = ArgSpans::new();
    assert_eq!(parser.wanted_bytes(0), 0);

    let mut bytes = b"*2\r\n$3\r\nSET\r\n$1000\r\n".to_vec();
    assert_eq!(parser.parse(&bytes, &limits, &mut spans), Ok(Parsed::Incomplete));
    assert_eq!(parser.wanted_bytes(bytes.len()), 1002);
    bytes.resize(bytes.len() + 1000, b'x');
    assert_eq!(parser.parse(&bytes, &limits, &mut spans), Ok(Parsed::Incomplete));
    assert_eq!(parser.wanted_bytes(bytes.len()), 2);
    bytes.extend(b"\r\n");
    assert_eq!(parser.parse(&bytes, &limits, &mut spans), Ok(Parsed::Request { consumed: bytes.len() }));
    assert_eq!(parser.wanted_bytes(0), 0);

    // A large announcement: at first 64 KiB, then as much as has arrived.
    let mut bytes = b"*1\r\n$536870912\r\n".to_vec();
    assert_eq!(parser.parse(&bytes, &limits, &mut spans), Ok(Parsed::Incomplete));
    assert_eq!(parser.wanted_bytes(bytes.len()), READ_HINT_BYTES);
    bytes.resize(1 << 20, b'x');
    assert_eq!(parser.parse(&bytes, &limits, &mut spans), Ok(Parsed::Incomplete));
    assert_eq!(parser.wanted_bytes(bytes.len()), 1 << 20);
}
