//! Whole values: what DUMP makes of a collection, and what a payload holds.

use super::packed::{intset, listpack, ziplist};
use super::{
    NEWEST, PayloadError, TYPE_STRING, push_len, push_string, seal, seal_as, take, take_len, take_string, unsealed,
};
use crate::log::ObjectType;
use crate::store::View;
use std::borrow::Cow;
use std::collections::HashSet;

/// Borrowed from the payload where they lie there as they are.
pub type Bytes<'a> = Cow<'a, [u8]>;

/// A hash's field: its name, its value, and when it expires, in Unix milliseconds.
pub type Field<'a> = (Bytes<'a>, Bytes<'a>, Option<u64>);

/// What a payload holds. No collection is empty, and none has a member twice.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A string.
    String(Bytes<'a>),
    /// A list.
    List(Vec<Bytes<'a>>),
    /// A set.
    Set(Vec<Bytes<'a>>),
    /// A hash.
    Hash(Vec<Field<'a>>),
    /// A sorted set: members and scores, none of them NaN.
    SortedSet(Vec<(Bytes<'a>, f64)>),
}

const TYPE_LIST: u8 = 1;
const TYPE_SET: u8 = 2;
const TYPE_ZSET: u8 = 3;
const TYPE_HASH: u8 = 4;
const TYPE_ZSET_2: u8 = 5;
const TYPE_LIST_ZIPLIST: u8 = 10;
const TYPE_SET_INTSET: u8 = 11;
const TYPE_ZSET_ZIPLIST: u8 = 12;
const TYPE_HASH_ZIPLIST: u8 = 13;
const TYPE_LIST_QUICKLIST: u8 = 14;
const TYPE_HASH_LISTPACK: u8 = 16;
const TYPE_ZSET_LISTPACK: u8 = 17;
const TYPE_LIST_QUICKLIST_2: u8 = 18;
const TYPE_SET_LISTPACK: u8 = 20;
const TYPE_HASH_EXPIRING: u8 = 24;
const TYPE_HASH_LISTPACK_EXPIRING: u8 = 25;

/// The latest time that a field may expire at, in Unix milliseconds.
pub const MAX_EXPIRY_MS: u64 = (1 << 46) - 1;

/// A node of a quicklist that is an element, not a listpack.
const PLAIN: usize = 1;

/// The payload of a collection, in the plain form of its type, which every Redis from 4.0 on takes; if it is a hash with fields that expire, every one
/// from 7.4 on.
pub fn dump_collection(view: &View<'_>) -> Vec<u8> {
    if let Some(first_ms) = view.iter().filter_map(|element| element.expire_at()).min() {
        return dump_expiring(view, first_ms);
    }
    let mut payload = vec![match view.kind() {
        ObjectType::List => TYPE_LIST,
        ObjectType::Set => TYPE_SET,
        ObjectType::SortedSet => TYPE_ZSET_2,
        _ => TYPE_HASH,
    }];
    push_len(&mut payload, view.len());
    for element in view.iter() {
        if view.kind() != ObjectType::List {
            push_string(&mut payload, element.name());
        }
        match view.kind() {
            ObjectType::Set => {}
            ObjectType::SortedSet => payload.extend_from_slice(&element.score().to_le_bytes()),
            _ => push_string(&mut payload, element.value()),
        }
    }
    seal(&mut payload);
    payload
}

/// A hash with fields that expire, the first at `first_ms`: that time, in 8 bytes, and each field behind the time that it expires later, and one; 0 if
/// it does not expire.
fn dump_expiring(view: &View<'_>, first_ms: u64) -> Vec<u8> {
    let mut payload = vec![TYPE_HASH_EXPIRING];
    payload.extend_from_slice(&first_ms.to_le_bytes());
    push_len(&mut payload, view.len());
    for field in view.iter() {
        push_len(&mut payload, field.expire_at().map_or(0, |at_ms| at_ms - first_ms + 1) as usize);
        push_string(&mut payload, field.name());
        push_string(&mut payload, field.value());
    }
    seal_as(&mut payload, NEWEST);
    payload
}

/// What a payload holds.
///
/// # Errors
/// The payload is of a newer version, damaged, or of a type that does not exist here.
pub fn restore(payload: &[u8]) -> Result<Value<'_>, PayloadError> {
    let body = unsealed(payload).ok_or(PayloadError::Footer)?;
    let (kind, mut rest) = body.split_first().ok_or(PayloadError::Format)?;
    let value = read(*kind, &mut rest).ok_or(PayloadError::Format)?;
    if !rest.is_empty() || !is_sound(&value) {
        return Err(PayloadError::Format);
    }
    Ok(value)
}

fn read<'a>(kind: u8, rest: &mut &'a [u8]) -> Option<Value<'a>> {
    Some(match kind {
        TYPE_STRING => Value::String(take_string(rest)?),
        TYPE_LIST => Value::List(many(rest, take_string)?),
        TYPE_SET => Value::Set(many(rest, take_string)?),
        TYPE_HASH => Value::Hash(many(rest, |rest| Some((take_string(rest)?, take_string(rest)?, None)))?),
        TYPE_ZSET => Value::SortedSet(many(rest, |rest| Some((take_string(rest)?, take_old_double(rest)?)))?),
        TYPE_ZSET_2 => Value::SortedSet(many(rest, |rest| {
            Some((take_string(rest)?, f64::from_le_bytes(*take(rest, 8)?.first_chunk()?)))
        })?),
        TYPE_LIST_ZIPLIST => Value::List(packed(rest, ziplist)?),
        TYPE_SET_INTSET => Value::Set(packed(rest, intset_of)?),
        TYPE_SET_LISTPACK => Value::Set(packed(rest, listpack)?),
        TYPE_HASH_ZIPLIST => Value::Hash(lasting(packed(rest, ziplist)?)?),
        TYPE_HASH_LISTPACK => Value::Hash(lasting(packed(rest, listpack)?)?),
        TYPE_HASH_EXPIRING => {
            let first_ms = take_time(rest)?;
            Value::Hash(many(rest, |rest| {
                let expire_at = match take_len(rest)? as u64 {
                    0 => None,
                    later => Some(first_ms.checked_add(later - 1)?),
                };
                Some((take_string(rest)?, take_string(rest)?, expire_at))
            })?)
        }
        TYPE_HASH_LISTPACK_EXPIRING => {
            let _first_ms = take_time(rest)?;
            Value::Hash(expiring(packed(rest, listpack)?)?)
        }
        TYPE_ZSET_ZIPLIST => Value::SortedSet(scored(packed(rest, ziplist)?)?),
        TYPE_ZSET_LISTPACK => Value::SortedSet(scored(packed(rest, listpack)?)?),
        TYPE_LIST_QUICKLIST => Value::List(many(rest, |rest| packed(rest, ziplist))?.concat()),
        TYPE_LIST_QUICKLIST_2 => Value::List(
            many(rest, |rest| match take_len(rest)? {
                PLAIN => Some(vec![take_string(rest)?]),
                _ => packed(rest, listpack),
            })?
            .concat(),
        ),
        _ => return None,
    })
}

/// A count, and so many of something. Each takes a byte at least, so no count can ask for more room than the payload is long.
fn many<'a, T>(rest: &mut &'a [u8], one: impl Fn(&mut &'a [u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = take_len(rest)?;
    (count <= rest.len()).then(|| (0..count).map(|_| one(rest)).collect())?
}

/// What is packed into a string.
fn packed<'a>(
    rest: &mut &'a [u8],
    unpack: impl for<'b> Fn(&'b [u8]) -> Option<Vec<Bytes<'b>>>,
) -> Option<Vec<Bytes<'a>>> {
    match take_string(rest)? {
        Cow::Borrowed(bytes) => unpack(bytes),
        Cow::Owned(bytes) => {
            let elements = unpack(&bytes)?;
            Some(elements.into_iter().map(|element| Cow::Owned(element.into_owned())).collect())
        }
    }
}

fn intset_of(bytes: &[u8]) -> Option<Vec<Bytes<'_>>> {
    intset(bytes)
}

fn pairs<'a>(elements: Vec<Bytes<'a>>) -> Option<Vec<(Bytes<'a>, Bytes<'a>)>> {
    let mut elements = elements.into_iter();
    let mut all = Vec::new();
    // Ends: each turn takes an element.
    while let Some(first) = elements.next() {
        all.push((first, elements.next()?));
    }
    Some(all)
}

fn lasting<'a>(elements: Vec<Bytes<'a>>) -> Option<Vec<Field<'a>>> {
    Some(pairs(elements)?.into_iter().map(|(field, value)| (field, value, None)).collect())
}

/// Fields that have their expiry behind them; 0 if they do not expire.
fn expiring<'a>(elements: Vec<Bytes<'a>>) -> Option<Vec<Field<'a>>> {
    let mut elements = elements.into_iter();
    let mut all = Vec::new();
    // Ends: each turn takes an element.
    while let Some(field) = elements.next() {
        let (value, text) = (elements.next()?, elements.next()?);
        let at_ms: u64 = std::str::from_utf8(&text).ok()?.parse().ok()?;
        all.push((field, value, (at_ms > 0).then_some(at_ms)));
    }
    Some(all)
}

/// A time in milliseconds.
fn take_time(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*take(rest, 8)?.first_chunk()?))
}

fn scored<'a>(elements: Vec<Bytes<'a>>) -> Option<Vec<(Bytes<'a>, f64)>> {
    let score = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    pairs(elements)?.into_iter().map(|(member, text)| Some((member, score(&text)?))).collect()
}

/// A double as early versions wrote it: the length of its text, or a byte that stands for one without.
fn take_old_double(rest: &mut &[u8]) -> Option<f64> {
    match *take(rest, 1)?.first()? {
        253 => Some(f64::NAN),
        254 => Some(f64::INFINITY),
        255 => Some(f64::NEG_INFINITY),
        len => std::str::from_utf8(take(rest, usize::from(len))?).ok()?.parse().ok(),
    }
}

/// Whether it is as a collection has to be.
fn is_sound(value: &Value<'_>) -> bool {
    let are_distinct = |names: &mut dyn Iterator<Item = &Bytes<'_>>| {
        let mut seen = HashSet::new();
        let (mut any, mut distinct) = (false, true);
        for name in names {
            (any, distinct) = (true, distinct && seen.insert(name.to_vec()));
        }
        any && distinct
    };
    match value {
        Value::String(_) => true,
        Value::List(elements) => !elements.is_empty(),
        Value::Set(members) => are_distinct(&mut members.iter()),
        Value::Hash(fields) => {
            let are_times = fields.iter().all(|(_, _, at_ms)| at_ms.is_none_or(|at_ms| at_ms <= MAX_EXPIRY_MS));
            are_times && are_distinct(&mut fields.iter().map(|(field, ..)| field))
        }
        Value::SortedSet(members) => {
            are_distinct(&mut members.iter().map(|(member, _)| member))
                && members.iter().all(|(_, score)| !score.is_nan())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{Reply, TestClient};
    use proptest::prelude::*;

    fn bytes_of(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(kind in 0u8..28, body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut payload = vec![kind];
            payload.extend_from_slice(&body);
            seal(&mut payload);
            let _either = restore(&payload);
        }

        #[test]
        fn any_packed_bytes_are_refused_or_read(mut body in proptest::collection::vec(any::<u8>(), 7..80)) {
            let len = body.len() as u32;
            body[..4].copy_from_slice(&len.to_le_bytes());
            *body.last_mut().expect("seven at least") = 0xff;
            let _either = (listpack(&body), ziplist(&body), intset(&body));
        }
    }

    /// What redis-server 7.0.15 answered to DUMP: packed forms, compressed ones too.
    #[test]
    fn payloads_of_redis_are_restored() {
        let string = |text: &str| Cow::Owned(text.as_bytes().to_vec());
        let x = "x".repeat(70);
        let cases = [
            (
                "101e1e000000060081610201018162028568656c6c6f06c12c02f290eefe04ff0a00ff786747c7a68986",
                Value::Hash(
                    [("a", "1"), ("b", "hello"), ("300", "-70000")].map(|(a, b)| (string(a), string(b), None)).into(),
                ),
            ),
            (
                "120102c32b406b1b6b0000000800816102010102010301df7f02f270110104f4005ed0b2201a040009e04678e03c000148ff0a00e2\
                 39776553adb2b2",
                Value::List(["a", "1", "2", "3", "-129", "70000", "3000000000", &x].map(string).into()),
            ),
            ("0b0e0200000003000000010002002c010a00e510b28e7b9529aa", Value::Set(["1", "2", "300"].map(string).into())),
            ("0202016201610a0075d99d835ef85f65", Value::Set(["b", "a"].map(string).into())),
            (
                "111d1d0000000600816202842d696e660581610283312e35048163020301ff0a002970c58fcde6fc31",
                Value::SortedSet(
                    [("b", f64::NEG_INFINITY), ("a", 1.5), ("c", 3.0)].map(|(a, score)| (string(a), score)).into(),
                ),
            ),
        ];
        for (hex, value) in cases {
            assert_eq!(restore(&bytes_of(hex)), Ok(value));
        }
    }

    /// Hashes with fields that expire, written out by the layout of Redis 7.4: type, first expiry, and fields with how much later they expire, and one;
    /// and packed, with the time itself behind each field and value.
    #[test]
    fn fields_that_expire_have_the_layout_of_redis() {
        let mut client = TestClient::new();
        client.run("HSET h a 1 b 2");
        client.run("HPEXPIREAT h 1700000005000 FIELDS 1 a");
        let first = 1_700_000_005_000u64.to_le_bytes();
        let body = [&[24][..], &first, &[2, 1, 1, b'a', 0xc0, 1, 0, 1, b'b', 0xc0, 2]].concat();
        let mut sealed = body.clone();
        seal_as(&mut sealed, 12);
        assert_eq!(client.run("DUMP h"), Reply::Bulk(sealed.clone()));
        let bytes = |byte: u8| Cow::Owned(vec![byte]);
        let hash =
            Value::Hash(vec![(bytes(b'a'), bytes(b'1'), Some(1_700_000_005_000)), (bytes(b'b'), bytes(b'2'), None)]);
        assert_eq!(restore(&sealed), Ok(hash.clone()));
        let entries = [&[0x81, b'a', 2, 1, 1, 0xf4][..], &first, &[9, 0x81, b'b', 2, 2, 1, 0, 1, 0xff]].concat();
        let packed = [&[29, 0, 0, 0, 6, 0][..], &entries].concat();
        let mut sealed = [&[25][..], &first, &[29], &packed].concat();
        seal_as(&mut sealed, 12);
        assert_eq!(restore(&sealed), Ok(hash));
        let mut late = [&[24][..], &u64::MAX.to_le_bytes(), &[1, 1, 1, b'a', 1, b'b']].concat();
        seal_as(&mut late, 12);
        assert_eq!(restore(&late), Err(PayloadError::Format));
    }

    #[test]
    fn empty_collections_and_doubled_members_are_refused() {
        for body in [&[TYPE_SET, 0][..], &[TYPE_SET, 2, 1, b'a', 1, b'a'], &[TYPE_LIST, 0], &[TYPE_HASH, 9, 1, b'a']] {
            let mut payload = body.to_vec();
            seal(&mut payload);
            assert_eq!(restore(&payload), Err(PayloadError::Format));
        }
    }

    #[test]
    fn collections_are_restored_as_they_were_dumped() {
        let mut client = TestClient::new();
        client.run("HSET hash a 1 b '' 300 value");
        client.run("RPUSH list a 1 a '' -70000");
        client.run("SADD set a 1 '' 99999999999");
        client.run("ZADD zset 1.5 a -inf b 3e300 c");
        for key in ["hash", "list", "set", "zset"] {
            let Reply::Bulk(payload) = client.run(&format!("DUMP {key}")) else { panic!("a payload") };
            let digest = client.run(&format!("DEBUG DIGEST-VALUE {key}"));
            let restore = [b"RESTORE", key.as_bytes(), b"0", &payload, b"REPLACE"];
            assert_eq!(client.run_args(&restore), Reply::ok());
            assert_eq!(client.run(&format!("DEBUG DIGEST-VALUE {key}")), digest, "{key}");
            assert_eq!(
                client.run_args(&[b"RESTORE", key.as_bytes(), b"0", &payload]),
                Reply::error("BUSYKEY Target key name already exists.")
            );
        }
        assert_eq!(client.run("TYPE zset"), Reply::Simple("zset".to_owned()));
    }
}
