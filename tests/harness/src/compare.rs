//! Comparing two servers' replies to the same command: where they may differ, and by how much.
//!
//! Each rule is a difference that Redis itself allows or has between 7.0.15 (the reference that Debian ships) and 7.2
//! (what we answer like). Everything else, error texts included, has to be the same byte for byte.

use crate::model::CLOCK_SLACK_MS;
use crate::{Command, Frame};

/// Whether the replies agree.
pub fn agree(command: &Command, ours: &Frame, reference: &Frame) -> bool {
    if ours == reference {
        return true;
    }
    let name = command.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    match name.as_slice() {
        // Times are reckoned from two clocks at two moments.
        b"PTTL" | b"PEXPIRETIME" => near(ours, reference, CLOCK_SLACK_MS),
        b"TTL" | b"EXPIRETIME" => near(ours, reference, CLOCK_SLACK_MS / 1000),
        b"HPTTL" | b"HPEXPIRETIME" => all_near(ours, reference, CLOCK_SLACK_MS),
        b"HTTL" | b"HEXPIRETIME" => all_near(ours, reference, CLOCK_SLACK_MS / 1000),
        // Any order; any key.
        b"KEYS" | b"HKEYS" | b"HVALS" | b"SMEMBERS" | b"SINTER" | b"SUNION" | b"SDIFF" | b"SPOP" => {
            same_items(ours, reference)
        }
        b"HGETALL" => same_pairs(ours, reference),
        // Left unsorted, a set's members come in any order; then LIMIT takes any of them.
        b"SORT" | b"SORT_RO" if is_unsorted(command) => {
            let len = |frame: &Frame| frame.items().map(<[Frame]>::len);
            len(ours).is_some() && len(ours) == len(reference)
        }
        b"RANDOMKEY" => ours.is_null() == reference.is_null() && ours.is_error() == reference.is_error(),
        // 7.2 checks the arguments also when the key is missing; 7.0 answered 0 or -1 then.
        b"BITCOUNT" | b"BITPOS" => ours.is_error() && reference.integer().is_some(),
        // How strings are stored is each server's own affair: ours are called `int` also after a write that left a
        // number's bytes as they were, where Redis has turned them into a buffer already. The other way round would
        // be a loss.
        // 7.2 keeps a short list or set in one piece, 7.0 none.
        b"OBJECT" if ours.bytes() == Some(b"listpack") => {
            matches!(reference.bytes(), Some(b"quicklist" | b"hashtable" | b"skiplist"))
        }
        b"OBJECT" => is_buffer(reference) && (is_buffer(ours) || ours.bytes() == Some(b"int")),
        // 7.2 takes no rank that it could not make positive.
        b"LPOS" => command.iter().any(|word| word == i64::MIN.to_string().as_bytes()) && ours.is_error(),
        b"ZSCAN" | b"HSCAN" => scanned(ours).is_some() && scanned(ours) == scanned(reference),
        // Other members are as good, unless all were asked for.
        b"ZRANDMEMBER" | b"HRANDFIELD" if command.get(2).is_none_or(|count| count != b"1000") => {
            ours.is_null() == reference.is_null()
                && ours.items().map(<[Frame]>::len) == reference.items().map(<[Frame]>::len)
        }
        b"ZRANDMEMBER" if command.len() > 3 => same_scores(ours, reference),
        b"HRANDFIELD" if command.len() > 3 => same_pairs(ours, reference),
        b"ZRANDMEMBER" | b"HRANDFIELD" => same_items(ours, reference),
        // 7.0 prints seventeen digits of a number, 7.2 as few as tell it from others.
        _ if (name.starts_with(b"Z") || name.starts_with(b"GEO")) && !ours.is_error() => {
            plain(ours) == plain(reference)
        }
        // A client's own binary bytes, repeated in an error's text: Redis passes them on up to the first zero byte,
        // we make text of them.
        _ => match (ours, reference) {
            (Frame::Error(ours), Frame::Error(reference)) => same_up_to_binary(ours, reference),
            _ => false,
        },
    }
}

fn same_up_to_binary(ours: &[u8], reference: &[u8]) -> bool {
    let is_binary = |byte: &u8| *byte == 0 || !byte.is_ascii();
    let len = ours.iter().position(is_binary).unwrap_or(ours.len());
    len < ours.len() && reference.get(..len) == Some(&ours[..len])
}

fn near(ours: &Frame, reference: &Frame, slack: i64) -> bool {
    match (ours.integer(), reference.integer()) {
        // -1 and -2 are answers, not times.
        (Some(a), Some(b)) => a >= 0 && b >= 0 && a.abs_diff(b) <= slack.unsigned_abs(),
        _ => false,
    }
}

/// Several times: each near, or the same where it is none.
fn all_near(ours: &Frame, reference: &Frame, slack: i64) -> bool {
    let (Some(ours), Some(reference)) = (ours.items(), reference.items()) else { return false };
    ours.len() == reference.len() && ours.iter().zip(reference).all(|(a, b)| a == b || near(a, b, slack))
}

fn same_items(ours: &Frame, reference: &Frame) -> bool {
    let sorted = |frame: &Frame| {
        frame.items().map(|items| {
            let mut texts: Vec<&[u8]> = items.iter().filter_map(Frame::bytes).collect();
            texts.sort_unstable();
            texts.iter().map(|text| text.to_vec()).collect::<Vec<_>>()
        })
    };
    sorted(ours).is_some() && sorted(ours) == sorted(reference)
}

/// Whether SORT is told not to sort.
fn is_unsorted(command: &Command) -> bool {
    let is_by = |pair: &&[Vec<u8>]| pair[0].eq_ignore_ascii_case(b"BY");
    command.windows(2).rfind(is_by).is_some_and(|pair| !pair[1].contains(&b'*'))
}

fn same_pairs(ours: &Frame, reference: &Frame) -> bool {
    let sorted = |frame: &Frame| {
        let mut pairs: Vec<String> = match frame {
            Frame::Map(pairs) => pairs.iter().map(|pair| format!("{pair:?}")).collect(),
            Frame::Array(items) if items.iter().any(|item| item.items().is_some()) => {
                items.iter().map(|pair| format!("{pair:?}")).collect()
            }
            Frame::Array(items) => items.chunks(2).map(|pair| format!("{pair:?}")).collect(),
            _ => return None,
        };
        pairs.sort_unstable();
        Some(pairs)
    };
    sorted(ours).is_some() && sorted(ours) == sorted(reference)
}

/// The same frame with all numbers in one notation, whose zero has no sign.
fn plain(frame: &Frame) -> Frame {
    let number = |text: &[u8]| {
        let value: Option<f64> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        value.map_or(text.to_vec(), |value| (value + 0.0).to_string().into_bytes())
    };
    match frame {
        Frame::Array(items) => Frame::Array(items.iter().map(plain).collect()),
        Frame::Double(text) => Frame::Double(number(text)),
        Frame::Bulk(text) => Frame::Bulk(number(text)),
        other => other.clone(),
    }
}

/// Members with their scores in any order.
fn same_scores(ours: &Frame, reference: &Frame) -> bool {
    let sorted = |frame: &Frame| {
        let items = frame.items()?;
        let flat = items.iter().all(|item| item.items().is_none());
        let pairs = items.chunks(if flat { 2 } else { 1 });
        let mut pairs: Vec<String> = pairs.map(|pair| format!("{:?}", plain(&Frame::Array(pair.to_vec())))).collect();
        pairs.sort_unstable();
        Some(pairs)
    };
    sorted(ours).is_some() && sorted(ours) == sorted(reference)
}

/// What one call of ZSCAN has found, if it has found all there is.
fn scanned(reply: &Frame) -> Option<Vec<String>> {
    let [cursor, page] = reply.items()? else { return None };
    let mut pairs: Vec<String> =
        page.items()?.chunks(2).map(|pair| format!("{:?}", plain(&Frame::Array(pair.to_vec())))).collect();
    pairs.sort_unstable();
    (cursor.bytes() == Some(b"0")).then_some(pairs)
}

fn is_buffer(frame: &Frame) -> bool {
    matches!(frame.bytes(), Some(b"raw" | b"embstr"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;

    #[test]
    fn only_the_listed_differences_pass() {
        let int = Frame::Integer;
        assert!(agree(&command(&["ttl", "k"]), &int(100), &int(101)));
        assert!(!agree(&command(&["ttl", "k"]), &int(-1), &int(-2)));
        assert!(!agree(&command(&["STRLEN", "k"]), &int(100), &int(101)));
        let ints = |numbers: &[i64]| Frame::Array(numbers.iter().map(|&number| int(number)).collect());
        assert!(agree(&command(&["HPTTL", "k"]), &ints(&[-1, 100]), &ints(&[-1, 101])));
        assert!(!agree(&command(&["HPTTL", "k"]), &ints(&[-1, 100]), &ints(&[-2, 100])));
        assert!(!agree(&command(&["HPTTL", "k"]), &ints(&[100]), &ints(&[100, 100])));
        assert!(!agree(&command(&["HPERSIST", "k"]), &ints(&[1]), &ints(&[2])));
        assert!(!agree(&command(&["GET", "k"]), &Frame::Null, &Frame::NullBulk));
        assert!(agree(
            &command(&["KEYS", "*"]),
            &Frame::Array(vec![Frame::bulk("a"), Frame::bulk("b")]),
            &Frame::Array(vec![Frame::bulk("b"), Frame::bulk("a")]),
        ));
        assert!(!agree(&command(&["KEYS", "*"]), &Frame::Array(vec![]), &Frame::Array(vec![Frame::bulk("b")])));
        assert!(!agree(&command(&["SET", "k"]), &Frame::error("ERR a"), &Frame::error("ERR b")));
        assert!(agree(&command(&["X"]), &Frame::error("ERR no 'a\u{fffd}'"), &Frame::error(b"ERR no 'a\xff")));
        assert!(!agree(&command(&["X"]), &Frame::error("ERR no 'a\u{fffd}'"), &Frame::error(b"ERR not 'a\xff")));
        assert!(agree(&command(&["X"]), &Frame::error("ERR no: a\0b"), &Frame::error(b"ERR no: a")));
        assert!(!agree(&command(&["X"]), &Frame::error("ERR no: ab"), &Frame::error(b"ERR no: a")));
    }
}
