//! All that a server holds, read as a client reads it, in the form in which the model has it.

use crate::model::{CLOCK_SLACK_MS, flattened};
use crate::{Client, Frame};

/// A key, its value in one piece ([`crate::model::Value::flat`]), its deadline in Unix milliseconds, and those of its fields that have one.
pub type Content = (Vec<u8>, Vec<u8>, Option<i64>, Vec<(Vec<u8>, i64)>);

/// Whether all keys and values are the same and the deadlines as near as two clocks allow.
pub fn same(a: &[Content], b: &[Content]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
}

/// [`same`] of one key.
pub fn alike(a: &Content, b: &Content) -> bool {
    let near = |a: i64, b: i64| a.abs_diff(b) <= CLOCK_SLACK_MS.unsigned_abs();
    let close = match (a.2, b.2) {
        (Some(a), Some(b)) => near(a, b),
        (None, None) => true,
        _ => false,
    };
    let fields_are_close = a.3.len() == b.3.len() && a.3.iter().zip(&b.3).all(|(a, b)| a.0 == b.0 && near(a.1, b.1));
    close && fields_are_close && a.0 == b.0 && a.1 == b.1
}

/// All keys by SCAN, as often as it gave them.
///
/// # Panics
/// When the connection breaks or a reply is none of SCAN's; so do the others.
pub fn scan(client: &mut Client, count: &str) -> Vec<Vec<u8>> {
    let mut cursor = b"0".to_vec();
    let mut keys = Vec::new();
    loop {
        let reply = client.must(&[b"SCAN", cursor.as_slice(), b"COUNT", count.as_bytes()]);
        let Some([next, page]) = reply.items() else { panic!("SCAN answered {reply:?}") };
        cursor = next.bytes().expect("a cursor is a string").to_vec();
        let page = page.items().expect("a page is an array");
        keys.extend(page.iter().map(|key| key.bytes().expect("a key is a string").to_vec()));
        if cursor == b"0" {
            return keys;
        }
    }
}

/// All that a database holds, by key. The connection stays at it.
///
/// # Panics
/// When the connection breaks, or no value belongs to a key.
pub fn contents(client: &mut Client, database: usize) -> Vec<Content> {
    assert_eq!(client.must(&["SELECT", &database.to_string()]), Frame::ok());
    let mut keys = scan(client, "100");
    keys.sort();
    keys.dedup();
    let content = |key: Vec<u8>| {
        let value = value(client, &key);
        let deadline = client.must(&[b"PEXPIRETIME", key.as_slice()]).integer().expect("PEXPIRETIME answers a number");
        let fields = field_deadlines(client, &key);
        (key, value, (deadline >= 0).then_some(deadline), fields)
    };
    keys.into_iter().map(content).collect()
}

/// The fields of a hash that expire, in order, and when they do; none where the server knows of no such thing.
fn field_deadlines(client: &mut Client, key: &[u8]) -> Vec<(Vec<u8>, i64)> {
    if client.must(&[b"TYPE", key]).bytes() != Some(b"hash") {
        return Vec::new();
    }
    let reply = client.must(&[b"HKEYS", key]);
    let fields: Vec<&[u8]> = reply.items().expect("fields").iter().filter_map(Frame::bytes).collect();
    let count = fields.len().to_string();
    let request = [&[b"HPEXPIRETIME", key, b"FIELDS", count.as_bytes()], fields.as_slice()].concat();
    let reply = client.call(&request).expect("the connection holds");
    let times = reply.items().unwrap_or_default().iter().filter_map(Frame::integer);
    let mut all: Vec<_> = fields.iter().map(|field| field.to_vec()).zip(times).filter(|(_, at)| *at >= 0).collect();
    all.sort_unstable();
    all
}

/// What a key holds, in one piece as the model has it.
fn value(client: &mut Client, key: &[u8]) -> Vec<u8> {
    let kind = client.must(&[b"TYPE", key]);
    let reply = match kind.bytes() {
        Some(b"list") => client.must(&[b"LRANGE", key, b"0", b"-1"]),
        Some(b"hash") => return members(client, "hash", &[b"HGETALL", key]),
        Some(b"set") => return members(client, "set", &[b"SMEMBERS", key]),
        Some(b"zset") => return sorted_set(client, key),
        _ => client.must(&[b"GET", key]),
    };
    match (reply.bytes(), reply.items()) {
        (Some(bytes), _) => bytes.to_vec(),
        (_, Some(items)) => flattened("list", items.iter().map(|item| item.bytes().expect("an element is a string"))),
        _ => panic!("{} has no value", key.escape_ascii()),
    }
}

/// The members of a hash or set in the order that the model has them.
fn members(client: &mut Client, kind: &str, request: &[&[u8]]) -> Vec<u8> {
    let bytes = |frame: &Frame| frame.bytes().expect("a member is a string").to_vec();
    let reply = client.must(request);
    let mut all: Vec<Vec<Vec<u8>>> = match &reply {
        Frame::Map(pairs) => pairs.iter().map(|(field, value)| vec![bytes(field), bytes(value)]).collect(),
        _ => {
            let width = if kind == "hash" { 2 } else { 1 };
            let items = reply.items().expect("members");
            items.chunks(width).map(|parts| parts.iter().map(bytes).collect()).collect()
        }
    };
    all.sort_unstable();
    flattened(kind, all.iter().flatten().map(Vec::as_slice))
}

/// The members of a sorted set with their scores, in its order.
fn sorted_set(client: &mut Client, key: &[u8]) -> Vec<u8> {
    let reply = client.must(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]);
    let items = reply.items().expect("members").iter();
    let parts = items.flat_map(|item| item.items().map_or(vec![item.clone()], <[Frame]>::to_vec));
    let text = |(at, part): (usize, Frame)| match part {
        Frame::Bulk(text) | Frame::Double(text) if at % 2 == 1 => {
            let score: f64 = String::from_utf8_lossy(&text).parse().expect("a score is a number");
            score.to_string().into_bytes()
        }
        part => part.bytes().expect("a member is a string").to_vec(),
    };
    let parts: Vec<Vec<u8>> = parts.enumerate().map(text).collect();
    flattened("zset", parts.iter().map(Vec::as_slice))
}
