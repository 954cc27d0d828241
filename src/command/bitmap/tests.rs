//! The bitmap commands over a store in memory. Replies and error texts are those of redis-server 7.0.15.

use super::bit_offset;
use crate::command::testing::{Reply, TestClient};

fn int(value: i64) -> Reply {
    Reply::Integer(value)
}

fn ints<const N: usize>(values: [i64; N]) -> Reply {
    Reply::Array(values.map(int).to_vec())
}

#[test]
fn bit_offsets_end_with_the_longest_string() {
    let client = TestClient::new();
    let offset = |text: &str, width| bit_offset(&client.direct.shared, text.as_bytes(), width).ok();
    assert_eq!(offset("4294967295", None), Some(4_294_967_295));
    assert_eq!(offset("4294967296", None), None);
    assert_eq!(offset("-1", None), None);
    assert_eq!(offset("#1", None), None);
    assert_eq!(offset("#3", Some(5)), Some(15));
    assert_eq!(offset("#9223372036854775807", Some(64)), None);
    assert_eq!(offset("#", Some(5)), None);
}

#[test]
fn single_bits_are_set_and_read() {
    let mut client = TestClient::new();
    assert_eq!(client.run("SETBIT k 7 1"), int(0));
    assert_eq!(client.run("SETBIT k 7 0"), int(1));
    assert_eq!(client.run("SETBIT k 9 1"), int(0));
    assert_eq!(client.run("GETBIT k 9"), int(1));
    assert_eq!(client.run("GETBIT k 1000"), int(0));
    assert_eq!(client.run("GET k"), Reply::bulk("\x00\x40"));
    assert_eq!(client.run("SETBIT zero 20 0"), int(0));
    assert_eq!(client.run("STRLEN zero"), int(3));
    assert_eq!(client.run("SETBIT k 0 2"), Reply::error("ERR bit is not an integer or out of range"));
    assert_eq!(client.run("GETBIT k -1"), Reply::error("ERR bit offset is not an integer or out of range"));
}

/// What there is to know about a string's bits.
struct Bits {
    /// Ones before each bit, and in all.
    ones_before: Vec<usize>,
    /// Where the next clear and the next set bit is from each bit on; the number of bits when there is none.
    next: [Vec<usize>; 2],
}

impl Bits {
    fn new(bytes: &[u8]) -> Self {
        let bits: Vec<usize> =
            bytes.iter().flat_map(|byte| (0..8).map(move |i| usize::from(byte >> (7 - i) & 1))).collect();
        let mut ones_before = vec![0];
        bits.iter().for_each(|bit| ones_before.push(ones_before[ones_before.len() - 1] + bit));
        let mut next = [vec![bits.len(); bits.len() + 1], vec![bits.len(); bits.len() + 1]];
        for at in (0..bits.len()).rev() {
            next[bits[at]][at] = at;
            next[1 - bits[at]][at] = next[1 - bits[at]][at + 1];
        }
        Self { ones_before, next }
    }
}

/// Goal: ranges of bits and bytes in short and long values. Method: every count and search against a plain vector of
/// bits.
#[test]
fn counts_and_positions_agree_with_a_vector_of_bits() {
    let mut client = TestClient::new();
    let mut bytes = vec![0u8; 150_000];
    bytes[65_535] = 0x01;
    bytes[65_536] = 0x80;
    bytes[100_000..140_000].fill(0xff);
    bytes[149_999] = 0x10;
    for len in [0, 1, 9, 66_000, 150_000] {
        let value = &bytes[150_000 - len..];
        client.run_args(&[&b"SET"[..], b"k", value]);
        let bits = Bits::new(value);
        let ends = [0, 1, 7, 8, 9, 63, 524_287, 524_288, 524_289, 800_001, 1_119_999, 1_199_995, 2_000_000];
        for (unit, width) in [("BIT", 1), ("BYTE", 8)] {
            for (start, end) in ends.iter().flat_map(|start| ends.iter().map(move |end| (start / width, end / width))) {
                let range = (start * width).min(len * 8)..((end + 1) * width).min(len * 8);
                let ones = bits.ones_before[range.end] - bits.ones_before[range.start.min(range.end)];
                assert_eq!(
                    client.run(&format!("BITCOUNT k {start} {end} {unit}")),
                    int(ones as i64),
                    "len {len}, {start} to {end} {unit}"
                );
                for wanted in [0, 1] {
                    let next = bits.next[wanted][range.start];
                    let place = if next < range.end { next as i64 } else { -1 };
                    assert_eq!(
                        client.run(&format!("BITPOS k {wanted} {start} {end} {unit}")),
                        int(place),
                        "len {len}, {wanted} in {start} to {end} {unit}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_clear_bit_is_found_behind_the_value_only_without_an_end() {
    let mut client = TestClient::new();
    client.run(r#"SET k "\xff\xff""#);
    assert_eq!(client.run("BITPOS k 0"), int(16));
    assert_eq!(client.run("BITPOS k 0 1"), int(16));
    assert_eq!(client.run("BITPOS k 0 0 -1"), int(-1));
    assert_eq!(client.run("BITPOS k 0 5"), int(-1));
    assert_eq!(client.run("BITPOS none 0 0 -1"), int(0));
    assert_eq!(client.run("BITPOS none 1"), int(-1));
    assert_eq!(client.run("BITPOS k 2"), Reply::error("ERR The bit argument must be 1 or 0."));
    assert_eq!(client.run("BITCOUNT k 0"), Reply::error("ERR syntax error"));
    assert_eq!(client.run("BITCOUNT k 0 0 HEX"), Reply::error("ERR syntax error"));
    assert_eq!(client.run("BITCOUNT k -2 -1"), int(16));
}

#[test]
fn strings_are_combined_bit_by_bit() {
    let mut client = TestClient::new();
    client.run(r#"MSET a "\xf0\x0f\xff" b "\xff\x01""#);
    assert_eq!(client.run("BITOP AND d a b"), int(3));
    assert_eq!(client.run("GET d"), Reply::Bulk(vec![0xf0, 0x01, 0x00]));
    assert_eq!(client.run("BITOP or d a b none"), int(3));
    assert_eq!(client.run("GET d"), Reply::Bulk(vec![0xff, 0x0f, 0xff]));
    assert_eq!(client.run("BITOP XOR a a b"), int(3));
    assert_eq!(client.run("GET a"), Reply::Bulk(vec![0x0f, 0x0e, 0xff]));
    assert_eq!(client.run("BITOP NOT d b"), int(2));
    assert_eq!(client.run("GET d"), Reply::Bulk(vec![0x00, 0xfe]));
    assert_eq!(client.run("BITOP AND d none"), int(0));
    assert_eq!(client.run("EXISTS d"), int(0));
    assert_eq!(client.run("BITOP NOT d a b"), Reply::error("ERR BITOP NOT must be called with a single source key."));
    assert_eq!(client.run("BITOP NAND d a b"), Reply::error("ERR syntax error"));
}

#[test]
fn long_strings_are_combined_across_chunks() {
    let mut client = TestClient::new();
    let a: Vec<u8> = (0..150_000u32).map(|i| (i % 253) as u8).collect();
    let b: Vec<u8> = (0..70_000u32).map(|i| (i % 127) as u8 | 0x80).collect();
    client.run_args(&[&b"MSET"[..], b"a", &a, b"b", &b]);
    let byte = |i: usize| b.get(i).copied().unwrap_or(0);
    type Combine = fn(u8, u8) -> u8;
    let operations: [(&str, Combine); 3] = [("AND", |a, b| a & b), ("OR", |a, b| a | b), ("XOR", |a, b| a ^ b)];
    for (name, combine) in operations {
        let want: Vec<u8> = a.iter().enumerate().map(|(i, a)| combine(*a, byte(i))).collect();
        for sources in ["a b", "b a"] {
            assert_eq!(client.run(&format!("BITOP {name} d {sources}")), int(150_000));
            assert_eq!(client.run("GET d"), Reply::Bulk(want.clone()), "{name} {sources}");
        }
    }
}

#[test]
fn fields_are_read_written_and_added_to() {
    let mut client = TestClient::new();
    assert_eq!(client.run("BITFIELD k SET i8 0 -1 GET u4 0 INCRBY u2 100 1"), ints([0, 15, 1]));
    assert_eq!(client.run("BITFIELD k SET u8 #1 200 GET u8 8 GET i8 8"), ints([0, 200, -56]));
    assert_eq!(client.run("BITFIELD k OVERFLOW SAT INCRBY u8 8 100 INCRBY u8 8 -300"), ints([255, 0]));
    assert_eq!(client.run("BITFIELD k OVERFLOW WRAP INCRBY i8 0 -128"), ints([127]));
    assert_eq!(
        client.run("BITFIELD k OVERFLOW FAIL INCRBY i8 0 1 OVERFLOW SAT INCRBY i8 0 1"),
        Reply::Array(vec![Reply::Null, int(127)])
    );
    assert_eq!(client.run("BITFIELD k"), Reply::Array(vec![]));
    assert_eq!(client.run("BITFIELD_RO k GET u8 0 GET u63 1000"), ints([127, 0]));
    assert_eq!(
        client.run("BITFIELD_RO k SET u8 0 1"),
        Reply::error("ERR BITFIELD_RO only supports the GET subcommand")
    );
    assert_eq!(client.run("BITFIELD k OVERFLOW x"), Reply::error("ERR Invalid OVERFLOW type specified"));
    for bad in ["u64", "i65", "u0", "x8", "U8", "i"] {
        assert_eq!(
            client.run(&format!("BITFIELD k GET {bad} 0")),
            Reply::error(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
            ),
            "{bad}"
        );
    }
    assert_eq!(client.run("BITFIELD k GET u8"), Reply::error("ERR syntax error"));
}

#[test]
fn a_write_that_fails_still_makes_the_string_long_enough() {
    let mut client = TestClient::new();
    assert_eq!(client.run("BITFIELD k OVERFLOW FAIL SET u2 20 7"), Reply::Array(vec![Reply::Null]));
    assert_eq!(client.run("GET k"), Reply::bulk("\0\0\0"));
    client.run("BITFIELD ro GET u8 100");
    assert_eq!(client.run("EXISTS ro"), int(0));
}

#[test]
fn fields_in_long_values_leave_the_rest_alone() {
    let mut client = TestClient::new();
    let mut bytes: Vec<u8> = (0..150_000u32).map(|i| (i % 253) as u8).collect();
    client.run_args(&[&b"SET"[..], b"k", &bytes]);
    // Over the edge of a chunk.
    client.run("BITFIELD k SET i64 524256 -2 SET u16 #70000 513");
    bytes[65_532..65_540].copy_from_slice(&(-2i64).to_be_bytes());
    bytes[140_000..140_002].copy_from_slice(&[2, 1]);
    assert_eq!(client.run("GET k"), Reply::Bulk(bytes));
    assert_eq!(client.run("BITFIELD k GET i64 524256"), ints([-2]));
}
