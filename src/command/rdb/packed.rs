//! The packed forms that Redis keeps small collections in, and dumps them in: listpacks, ziplists, intsets.
//!
//! ```text
//! listpack = bytes 4 | elements 2 | (element | its length, counted back)... | 0xff
//! ziplist  = bytes 4 | last element 4 | elements 2 | (length of the one before | element)... | 0xff
//! intset   = width 4 (2, 4 or 8) | elements 4 | integers
//! ```
//!
//! Little-endian, but for the lengths within a ziplist. Everything is checked against the bytes that are there.

use super::take;
use std::borrow::Cow;

type Elements<'a> = Vec<Cow<'a, [u8]>>;

fn text(number: i64) -> Cow<'static, [u8]> {
    Cow::Owned(number.to_string().into_bytes())
}

/// A signed integer of `width` bytes, little-endian.
fn take_integer(rest: &mut &[u8], width: usize) -> Option<i64> {
    let bytes = take(rest, width)?;
    let mut wide = [if bytes.last()? & 0x80 != 0 { 0xff } else { 0 }; 8];
    wide[..width].copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

/// A length of `width` bytes.
fn take_length(rest: &mut &[u8], width: usize, is_big_endian: bool) -> Option<usize> {
    let bytes = take(rest, width)?;
    let add = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
    Some(if is_big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
}

/// The elements of a listpack.
pub fn listpack(bytes: &[u8]) -> Option<Elements<'_>> {
    let mut rest = bytes;
    if take_length(&mut rest, 4, false)? != bytes.len() {
        return None;
    }
    let count = take_length(&mut rest, 2, false)?;
    let mut elements = Vec::new();
    // Ends: each turn takes at least one byte.
    while *rest.first()? != 0xff {
        let before = rest.len();
        elements.push(listpack_element(&mut rest)?);
        let len = before - rest.len();
        let back = [127, 16_383, 2_097_151, 268_435_455].iter().filter(|&&most| len > most).count() + 1;
        take(&mut rest, back)?;
    }
    // 65535: too many to be counted.
    (rest.len() == 1 && (count == elements.len() || count == usize::from(u16::MAX))).then_some(elements)
}

fn listpack_element<'a>(rest: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let first = *take(rest, 1)?.first()?;
    let low = |bits: u32| usize::from(first & ((1 << bits) - 1));
    let len = match first {
        0..0x80 => return Some(text(i64::from(first))),
        0x80..0xc0 => low(6),
        0xc0..0xe0 => {
            let number = (low(5) << 8 | take_length(rest, 1, true)?) as i64;
            return Some(text(if number >= 1 << 12 { number - (1 << 13) } else { number }));
        }
        0xe0..0xf0 => low(4) << 8 | take_length(rest, 1, true)?,
        0xf0 => take_length(rest, 4, false)?,
        0xf1 => return Some(text(take_integer(rest, 2)?)),
        0xf2 => return Some(text(take_integer(rest, 3)?)),
        0xf3 => return Some(text(take_integer(rest, 4)?)),
        0xf4 => return Some(text(take_integer(rest, 8)?)),
        _ => return None,
    };
    take(rest, len).map(Cow::Borrowed)
}

/// The elements of a ziplist.
pub fn ziplist(bytes: &[u8]) -> Option<Elements<'_>> {
    let mut rest = bytes;
    if take_length(&mut rest, 4, false)? != bytes.len() {
        return None;
    }
    take(&mut rest, 4)?;
    let count = take_length(&mut rest, 2, false)?;
    let mut elements = Vec::new();
    // Ends: each turn takes at least one byte.
    while *rest.first()? != 0xff {
        if *take(&mut rest, 1)?.first()? == 0xfe {
            take(&mut rest, 4)?;
        }
        elements.push(ziplist_element(&mut rest)?);
    }
    (rest.len() == 1 && (count == elements.len() || count == usize::from(u16::MAX))).then_some(elements)
}

fn ziplist_element<'a>(rest: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let first = *take(rest, 1)?.first()?;
    let len = match first {
        0..0x40 => usize::from(first),
        0x40..0x80 => usize::from(first & 0x3f) << 8 | take_length(rest, 1, true)?,
        0x80 => take_length(rest, 4, true)?,
        0xc0 => return Some(text(take_integer(rest, 2)?)),
        0xd0 => return Some(text(take_integer(rest, 4)?)),
        0xe0 => return Some(text(take_integer(rest, 8)?)),
        0xf0 => return Some(text(take_integer(rest, 3)?)),
        0xfe => return Some(text(take_integer(rest, 1)?)),
        0xf1..=0xfd => return Some(text(i64::from(first & 0x0f) - 1)),
        _ => return None,
    };
    take(rest, len).map(Cow::Borrowed)
}

/// The elements of an intset.
pub fn intset(bytes: &[u8]) -> Option<Elements<'static>> {
    let mut rest = bytes;
    let (width, count) = (take_length(&mut rest, 4, false)?, take_length(&mut rest, 4, false)?);
    if !matches!(width, 2 | 4 | 8) || count.checked_mul(width)? != rest.len() {
        return None;
    }
    (0..count).map(|_| take_integer(&mut rest, width).map(text)).collect()
}
