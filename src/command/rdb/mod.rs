//! Values in the form that DUMP gives and RESTORE takes: Redis's RDB format, version 11: strings, hashes, lists, sets and sorted sets. Hashes with fields
//! that expire are of version 12.
//!
//! ```text
//! type 1 byte (0 = string) | string | version 2 bytes | CRC64 of all before, 8 bytes
//! string = length | bytes                 length: 00xxxxxx, 01xxxxxx +1 byte, 0x80 +4 bytes, 0x81 +8 bytes (big-endian)
//!        | 0xc0 int8 | 0xc1 int16 | 0xc2 int32 (little-endian)
//!        | 0xc3 compressed length | length | LZF bytes
//! ```
//!
//! Payloads come from anyone: every length is checked against the bytes that are there before it is used.

mod crc64;
mod lzf;
mod packed;
mod value;

pub use value::{MAX_EXPIRY_MS, Value, dump_collection, restore};

use super::parse::integer;
use std::borrow::Cow;

/// The version written.
pub const VERSION: u16 = 11;

/// The version written of what earlier ones do not have, and the highest that is read.
const NEWEST: u16 = 12;

/// Version and checksum at a payload's end.
const FOOTER_BYTES: usize = 2 + 8;

const TYPE_STRING: u8 = 0;

const ENCODED_INT8: u8 = 0xc0;
const ENCODED_INT16: u8 = 0xc1;
const ENCODED_INT32: u8 = 0xc2;
const ENCODED_LZF: u8 = 0xc3;

/// Longest string that is tried as an integer.
const INTEGER_MAX_BYTES: usize = 11;

/// Why a payload was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// A newer version or a wrong checksum.
    Footer,
    /// The bytes are no value.
    Format,
}

/// The payload of a string, ready to be restored elsewhere.
pub fn dump_string(value: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(value.len() + 16 + FOOTER_BYTES);
    payload.push(TYPE_STRING);
    push_string(&mut payload, value);
    seal(&mut payload);
    payload
}

/// Adds version and checksum.
pub fn seal(payload: &mut Vec<u8>) {
    seal_as(payload, VERSION);
}

fn seal_as(payload: &mut Vec<u8>, version: u16) {
    payload.extend_from_slice(&version.to_le_bytes());
    let crc = crc64::checksum(payload);
    payload.extend_from_slice(&crc.to_le_bytes());
}

/// What comes before version and checksum, when these are right.
fn unsealed(payload: &[u8]) -> Option<&[u8]> {
    let (covered, crc) = payload.split_last_chunk::<8>()?;
    let (body, version) = covered.split_last_chunk::<2>()?;
    let right = u16::from_le_bytes(*version) <= NEWEST && u64::from_le_bytes(*crc) == crc64::checksum(covered);
    right.then_some(body)
}

/// Bytes that a string takes in a payload, without type and footer.
pub fn string_len(value: &[u8]) -> usize {
    let mut head = Vec::new();
    if push_integer(&mut head, value) {
        return head.len();
    }
    push_len(&mut head, value.len());
    head.len() + value.len()
}

fn push_string(out: &mut Vec<u8>, value: &[u8]) {
    if !push_integer(out, value) {
        push_len(out, value.len());
        out.extend_from_slice(value);
    }
}

/// Writes the value as an integer when it is the text of one of 32 bits.
fn push_integer(out: &mut Vec<u8>, value: &[u8]) -> bool {
    if value.len() > INTEGER_MAX_BYTES {
        return false;
    }
    let Some(number) = integer(value) else { return false };
    if let Ok(number) = i8::try_from(number) {
        out.push(ENCODED_INT8);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i16::try_from(number) {
        out.push(ENCODED_INT16);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.push(ENCODED_INT32);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        return false;
    }
    true
}

fn push_len(out: &mut Vec<u8>, len: usize) {
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let number = match *rest.first()? {
        ENCODED_INT8 => i64::from(i8::from_le_bytes(take_encoded(rest)?)),
        ENCODED_INT16 => i64::from(i16::from_le_bytes(take_encoded(rest)?)),
        ENCODED_INT32 => i64::from(i32::from_le_bytes(take_encoded(rest)?)),
        ENCODED_LZF => {
            *rest = &rest[1..];
            let (compressed_len, len) = (take_len(rest)?, take_len(rest)?);
            return lzf::decompress(take(rest, compressed_len)?, len).map(Cow::Owned);
        }
        _ => {
            let len = take_len(rest)?;
            return take(rest, len).map(Cow::Borrowed);
        }
    };
    Some(Cow::Owned(number.to_string().into_bytes()))
}

/// The bytes after the one that says how they are encoded.
fn take_encoded<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    *rest = &rest[1..];
    take(rest, N)?.first_chunk().copied()
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

fn take_len(rest: &mut &[u8]) -> Option<usize> {
    let first = *take(rest, 1)?.first()?;
    match first >> 6 {
        0 => Some(usize::from(first)),
        1 => Some(usize::from(first & 0x3f) << 8 | usize::from(*take(rest, 1)?.first()?)),
        2 if first == 0x80 => Some(u32::from_be_bytes(*take(rest, 4)?.first_chunk()?) as usize),
        2 if first == 0x81 => usize::try_from(u64::from_be_bytes(*take(rest, 8)?.first_chunk()?)).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restore_string(payload: &[u8]) -> Result<Cow<'_, [u8]>, PayloadError> {
        match restore(payload)? {
            Value::String(string) => Ok(string),
            other => panic!("{other:?} is no string"),
        }
    }

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_dumped_is_restored(value in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            let payload = dump_string(&value);
            let restored = restore_string(&payload);
            prop_assert_eq!(restored.as_deref(), Ok(&value[..]));
            prop_assert_eq!(payload.len(), 1 + string_len(&value) + FOOTER_BYTES);
        }

        #[test]
        fn integers_are_dumped_short(number in any::<i64>()) {
            let value = number.to_string();
            let payload = dump_string(value.as_bytes());
            let restored = restore_string(&payload);
            prop_assert_eq!(restored.as_deref(), Ok(value.as_bytes()));
            prop_assert!(i32::try_from(number).is_err() || payload.len() <= 1 + 5 + FOOTER_BYTES);
        }

        #[test]
        fn any_bytes_are_refused_or_read(mut body in proptest::collection::vec(any::<u8>(), 0..64)) {
            body.insert(0, TYPE_STRING);
            seal(&mut body);
            let _either = restore_string(&body);
        }
    }

    fn bytes_of(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
    }

    /// What redis-server 7.0.15 answered to DUMP: each form of a string, compressed ones too.
    #[test]
    fn payloads_of_redis_are_restored() {
        let cases = [
            (String::new(), "00000a005d9b5c400f7fa2da"),
            ("1".into(), "00c0010a002678e7b6d10111fc"),
            ("-129".into(), "00c17fff0a001760822854808480"),
            ("70000".into(), "00c2701101000a0001a408fe953095a5"),
            ("3000000000".into(), "000a333030303030303030300a00e7076b7954bb7947"),
            ("hello".into(), "000568656c6c6f0a006372df766534200a"),
            ("a".repeat(100), "00c3094064016161e057000161610a00e8a3b507b06df271"),
            ("abcdefgh".repeat(40) + "xyz", "00c314414308616263646566676861e0ff07e126070278797a0a007a91602b52811fe9"),
            (
                "x".repeat(70) + "0123456789abcdef",
                "00c3174056017878e03b000f303132333435363738396162636465660a00c3ebccf446ff934f",
            ),
        ];
        for (value, hex) in cases {
            assert_eq!(restore_string(&bytes_of(hex)).as_deref(), Ok(value.as_bytes()));
            if value.len() <= 20 {
                // Alike but for the version and the checksum over it.
                let ours = dump_string(value.as_bytes());
                let body = ours.len() - FOOTER_BYTES;
                assert_eq!(ours[..body], bytes_of(hex)[..body], "{value}");
            }
        }
    }

    #[test]
    fn newer_versions_and_other_types_are_refused() {
        let mut newer = vec![TYPE_STRING, 0];
        newer.extend_from_slice(&(NEWEST + 1).to_le_bytes());
        let crc = crc64::checksum(&newer);
        newer.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(restore_string(&newer), Err(PayloadError::Footer));
        for mut body in [vec![], vec![1, 0], vec![TYPE_STRING], vec![TYPE_STRING, 5, b'a'], vec![TYPE_STRING, 0, 0]] {
            seal(&mut body);
            assert_eq!(restore_string(&body), Err(PayloadError::Format));
        }
    }

    #[test]
    fn each_flipped_bit_is_noticed() {
        let payload = dump_string(b"fencepost");
        for i in 0..payload.len() * 8 {
            let mut damaged = payload.clone();
            damaged[i / 8] ^= 1 << (i % 8);
            assert_eq!(restore_string(&damaged), Err(PayloadError::Footer));
        }
        assert_eq!(restore_string(b""), Err(PayloadError::Footer));
    }
}
