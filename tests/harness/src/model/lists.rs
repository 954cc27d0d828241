//! List commands, and SORT.

use super::sorted_sets::ordered;
use super::{
    Entry, Expected, Frame, Model, Outcome, SYNTAX, Stop, Value, WRONG_TYPE, clip, integer, plain_integer, refuse,
};
use std::collections::VecDeque;

type List = VecDeque<Vec<u8>>;

const ZERO_RANK: &str = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list";

impl Model {
    fn list(&self, key: &[u8]) -> Result<Option<&List>, Stop> {
        match self.entry(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(_) => refuse(WRONG_TYPE),
        }
    }

    /// Stores a list in the place of one, or of nothing; an empty one is none.
    fn put_list(&mut self, key: &[u8], list: List) {
        let deadline = self.entry(key).and_then(|entry| entry.deadline);
        let keys = &mut self.db_mut().keys;
        if list.is_empty() {
            keys.remove(key);
        } else {
            keys.insert(key.to_vec(), Entry::new(Value::List(list), deadline));
        }
    }

    /// `side` is `L` or `R`.
    pub(super) fn push(&mut self, side: u8, key: &[u8], values: &[&[u8]]) -> Outcome {
        let mut list = self.list(key)?.cloned().unwrap_or_default();
        values.iter().for_each(|value| put(&mut list, side, value.to_vec()));
        let len = list.len() as i64;
        self.put_list(key, list);
        Ok(len.into())
    }

    pub(super) fn push_existing(&mut self, side: u8, key: &[u8], values: &[&[u8]]) -> Outcome {
        if self.list(key)?.is_none() {
            return Ok(0.into());
        }
        self.push(side, key, values)
    }

    pub(super) fn pop(&mut self, side: u8, key: &[u8], count: &[&[u8]]) -> Outcome {
        let count = match count {
            [] => None,
            [count] => match plain_integer(count) {
                Some(count @ 0..) => Some(count as usize),
                _ => return refuse("ERR value is out of range, must be positive"),
            },
            _ => return Err(Stop::Unpredictable),
        };
        let Some(mut list) = self.list(key)?.cloned() else {
            return Ok(if count.is_some() { self.null_array() } else { self.null() }.into());
        };
        let popped = take_many(&mut list, side, count.unwrap_or(1));
        self.put_list(key, list);
        Ok(match count {
            None => Frame::bulk(&popped[0]).into(),
            Some(_) => bulks(&popped).into(),
        })
    }

    fn null_array(&self) -> Frame {
        if self.resp3 { Frame::Null } else { Frame::NullArray }
    }

    pub(super) fn llen(&self, key: &[u8]) -> Outcome {
        Ok((self.list(key)?.map_or(0, List::len) as i64).into())
    }

    pub(super) fn lrange(&self, key: &[u8], start: &[u8], end: &[u8]) -> Outcome {
        let (start, end) = (integer(start)?, integer(end)?);
        let list = self.list(key)?.cloned().unwrap_or_default();
        let part = within(start, end, list.len()).map_or(0..0, |(start, end)| start..end + 1);
        Ok(bulks(&list.range(part).cloned().collect::<Vec<_>>()).into())
    }

    pub(super) fn lindex(&self, key: &[u8], index: &[u8]) -> Outcome {
        let Some(list) = self.list(key)? else { return Ok(self.null().into()) };
        let at = place(integer(index)?, list.len());
        Ok(self.bulk_or_null(at.map(|at| list[at].as_slice())).into())
    }

    pub(super) fn lset(&mut self, key: &[u8], index: &[u8], value: &[u8]) -> Outcome {
        let Some(mut list) = self.list(key)?.cloned() else { return refuse("ERR no such key") };
        let Some(at) = place(integer(index)?, list.len()) else { return refuse("ERR index out of range") };
        list[at] = value.to_vec();
        self.put_list(key, list);
        Ok(Frame::ok().into())
    }

    pub(super) fn linsert(&mut self, key: &[u8], place: &[u8], pivot: &[u8], value: &[u8]) -> Outcome {
        let after = match place.to_ascii_uppercase().as_slice() {
            b"AFTER" => 1,
            b"BEFORE" => 0,
            _ => return refuse(SYNTAX),
        };
        let Some(mut list) = self.list(key)?.cloned() else { return Ok(0.into()) };
        let Some(at) = list.iter().position(|element| element == pivot) else { return Ok((-1).into()) };
        list.insert(at + after, value.to_vec());
        let len = list.len() as i64;
        self.put_list(key, list);
        Ok(len.into())
    }

    pub(super) fn lrem(&mut self, key: &[u8], count: &[u8], value: &[u8]) -> Outcome {
        let count = integer(count)?;
        let Some(mut list) = self.list(key)?.cloned() else { return Ok(0.into()) };
        let mut removed = 0;
        while count == 0 || removed < count.unsigned_abs() {
            let found = if count < 0 {
                list.iter().rposition(|element| element == value)
            } else {
                list.iter().position(|element| element == value)
            };
            let Some(at) = found else { break };
            list.remove(at);
            removed += 1;
        }
        self.put_list(key, list);
        Ok((removed as i64).into())
    }

    pub(super) fn ltrim(&mut self, key: &[u8], start: &[u8], end: &[u8]) -> Outcome {
        let (start, end) = (integer(start)?, integer(end)?);
        if let Some(list) = self.list(key)?.cloned() {
            let part = within(start, end, list.len()).map_or(0..0, |(start, end)| start..end + 1);
            self.put_list(key, list.range(part).cloned().collect());
        }
        Ok(Frame::ok().into())
    }

    pub(super) fn lpos(&self, key: &[u8], value: &[u8], options: &[&[u8]]) -> Outcome {
        let (mut rank, mut count, mut most) = (1, None, 0);
        for pair in options.chunks(2) {
            let [option, operand] = pair else { return refuse(SYNTAX) };
            let option = option.to_ascii_uppercase();
            let number = plain_integer(operand);
            match (option.as_slice(), number) {
                (b"RANK", None) => return refuse(super::NOT_AN_INTEGER),
                (b"RANK", Some(0)) => return refuse(ZERO_RANK),
                // 7.0 takes it, 7.2 refuses it.
                (b"RANK", Some(i64::MIN)) => return Err(Stop::Unpredictable),
                (b"RANK", Some(number)) => rank = number,
                (b"COUNT", Some(number @ 0..)) => count = Some(number as usize),
                (b"COUNT", _) => return refuse("ERR COUNT can't be negative"),
                (b"MAXLEN", Some(number @ 0..)) => most = number as usize,
                (b"MAXLEN", _) => return refuse("ERR MAXLEN can't be negative"),
                _ => return refuse(SYNTAX),
            }
        }
        let list = self.list(key)?.cloned().unwrap_or_default();
        let mut order: Vec<usize> = (0..list.len()).collect();
        if rank < 0 {
            order.reverse();
        }
        if most > 0 {
            order.truncate(most);
        }
        let found = order.into_iter().filter(|&at| list[at] == value).skip(rank.unsigned_abs() as usize - 1);
        let mut found: Vec<Frame> = found.map(|at| Frame::Integer(at as i64)).collect();
        Ok(match count {
            None => found.into_iter().next().unwrap_or(self.null()).into(),
            Some(count) => {
                if count > 0 {
                    found.truncate(count);
                }
                Frame::Array(found).into()
            }
        })
    }

    pub(super) fn lmove(&mut self, from: &[u8], to: &[u8], pop: &[u8], push: &[u8]) -> Outcome {
        let (pop, push) = (side(pop)?, side(push)?);
        let Some(mut list) = self.list(from)?.cloned() else { return Ok(self.null().into()) };
        self.list(to)?;
        let element = take(&mut list, pop).ok_or(Stop::Unpredictable)?;
        if from == to {
            put(&mut list, push, element.clone());
            self.put_list(from, list);
        } else {
            self.put_list(from, list);
            self.push(push, to, &[&element])?;
        }
        Ok(Frame::bulk(element).into())
    }

    pub(super) fn lmpop(&mut self, numkeys: &[u8], rest: &[&[u8]]) -> Outcome {
        let positive = |text: &[u8]| plain_integer(text).filter(|&number| number > 0).map(|number| number as usize);
        let Some(numkeys) = positive(numkeys) else { return refuse("ERR numkeys should be greater than 0") };
        if rest.is_empty() {
            return Err(Stop::Unpredictable);
        }
        if numkeys >= rest.len() {
            return refuse(SYNTAX);
        }
        let (keys, rest) = rest.split_at(numkeys);
        let side = side(rest[0])?;
        let count = match &rest[1..] {
            [] => 1,
            [word, number, more @ ..] if word.eq_ignore_ascii_case(b"COUNT") => match positive(number) {
                None => return refuse("ERR count should be greater than 0"),
                Some(_) if !more.is_empty() => return refuse(SYNTAX),
                Some(count) => count,
            },
            _ => return refuse(SYNTAX),
        };
        for key in keys {
            if let Some(mut list) = self.list(key)?.cloned() {
                let popped = take_many(&mut list, side, count);
                self.put_list(key, list);
                return Ok(Frame::Array(vec![Frame::bulk(key), bulks(&popped)]).into());
            }
        }
        Ok(self.null_array().into())
    }

    pub(super) fn sort(&mut self, key: &[u8], options: &[&[u8]], may_store: bool) -> Outcome {
        let (mut by, mut gets, mut store) = (None, Vec::new(), None);
        let (mut descending, mut alpha, mut limit) = (false, false, (0, -1));
        let mut rest = options;
        while let [word, more @ ..] = rest {
            rest = more;
            match (word.to_ascii_uppercase().as_slice(), more) {
                (b"ASC", _) => descending = false,
                (b"DESC", _) => descending = true,
                (b"ALPHA", _) => alpha = true,
                (b"LIMIT", [offset, count, more @ ..]) => {
                    limit = (integer(offset)?, integer(count)?);
                    rest = more;
                }
                (b"BY", [pattern, more @ ..]) => (by, rest) = (Some(*pattern), more),
                (b"GET", [pattern, more @ ..]) => {
                    gets.push(*pattern);
                    rest = more;
                }
                (b"STORE", [name, more @ ..]) if may_store => (store, rest) = (Some(*name), more),
                _ => return refuse(SYNTAX),
            }
        }
        let sorts = by.is_none_or(|pattern| pattern.contains(&b'*'));
        let mut elements: Vec<Vec<u8>> = match self.entry(key).map(|entry| &entry.value) {
            // In no order of its own.
            Some(Value::Set(_)) if !sorts => return Err(Stop::Unpredictable),
            Some(Value::Set(members)) => members.iter().cloned().collect(),
            Some(Value::SortedSet(scores)) => ordered(scores).into_iter().map(|(member, _)| member).collect(),
            _ => self.list(key)?.into_iter().flatten().cloned().collect(),
        };
        let mut failure = None;
        if sorts {
            let mut weighed = Vec::new();
            for element in &elements {
                let text = by.map_or(Some(element.clone()), |pattern| self.named(pattern, element));
                let number = match &text {
                    Some(text) if !alpha => weight(text),
                    _ => Ok(0.0),
                };
                let number = number.unwrap_or_else(|stop| {
                    // One that cannot be told is worse than one that is wrong.
                    if failure.is_none() || matches!(stop, Stop::Unpredictable) {
                        failure = Some(stop);
                    }
                    0.0
                });
                weighed.push((number, text.filter(|_| alpha), element.clone()));
            }
            // Where texts are equal, or missing, the order is left open.
            let mut texts: Vec<_> = weighed.iter().map(|(_, text, _)| text).collect();
            texts.sort();
            let ties = texts.windows(2).any(|pair| pair[0] == pair[1]);
            if alpha && by.is_some() && ties {
                failure = Some(Stop::Unpredictable);
            }
            weighed.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)).then_with(|| a.2.cmp(&b.2)));
            elements = weighed.into_iter().map(|(_, _, element)| element).collect();
        }
        if descending {
            elements.reverse();
        }
        if let Some(stop) = failure {
            return Err(stop);
        }
        let offset = limit.0.clamp(0, elements.len() as i64) as usize;
        elements.drain(..offset);
        if let Ok(count) = usize::try_from(limit.1) {
            elements.truncate(count);
        }
        let mut found = Vec::new();
        for element in &elements {
            match gets.as_slice() {
                [] => found.push(Some(element.clone())),
                gets => found.extend(gets.iter().map(|pattern| self.named(pattern, element))),
            }
        }
        let Some(store) = store else {
            return Ok(Frame::Array(found.iter().map(|value| self.bulk_or_null(value.as_deref())).collect()).into());
        };
        /// Longer ones, in bytes, may not fit into a segment of a small pool, which is the limit for elements (`docs/operations.md`).
        const ELEMENT_MOST: usize = 128 * 1024;
        if found.iter().flatten().any(|element| element.len() > ELEMENT_MOST) {
            return Err(Stop::Unpredictable);
        }
        let len = found.len() as i64;
        self.db_mut().keys.remove(store);
        self.put_list(store, found.into_iter().map(Option::unwrap_or_default).collect());
        Ok(Expected::from(len))
    }

    /// What a pattern of SORT leads to for an element.
    fn named(&self, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
        if pattern == b"#" {
            return Some(element.to_vec());
        }
        let star = pattern.iter().position(|&byte| byte == b'*')?;
        self.value(&[&pattern[..star], element, &pattern[star + 1..]].concat()).map(<[u8]>::to_vec)
    }
}

/// A number to sort by, where every server agrees what it is.
fn weight(text: &[u8]) -> Result<f64, Stop> {
    let Some(first) = text.first() else { return Ok(0.0) };
    if text.iter().all(|byte| byte.is_ascii_digit() || b"-.".contains(byte))
        && let Some(number) = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok())
    {
        return Ok(number);
    }
    if first.is_ascii_graphic() && !first.is_ascii_digit() && !b"+-.iInN".contains(first) {
        return refuse("ERR One or more scores can't be converted into double");
    }
    Err(Stop::Unpredictable)
}

fn bulks(elements: &[Vec<u8>]) -> Frame {
    Frame::Array(elements.iter().map(Frame::bulk).collect())
}

fn side(word: &[u8]) -> Result<u8, Stop> {
    match word.to_ascii_uppercase().as_slice() {
        b"LEFT" => Ok(b'L'),
        b"RIGHT" => Ok(b'R'),
        _ => refuse(SYNTAX),
    }
}

fn put(list: &mut List, side: u8, value: Vec<u8>) {
    if side.eq_ignore_ascii_case(&b'L') { list.push_front(value) } else { list.push_back(value) }
}

fn take(list: &mut List, side: u8) -> Option<Vec<u8>> {
    if side.eq_ignore_ascii_case(&b'L') { list.pop_front() } else { list.pop_back() }
}

fn take_many(list: &mut List, side: u8, count: usize) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| take(list, side)).take(count).collect()
}

/// Where an index is that counts from the end when negative.
fn place(index: i64, len: usize) -> Option<usize> {
    let at = if index < 0 { index + len as i64 } else { index };
    usize::try_from(at).ok().filter(|&at| at < len)
}

/// As [`clip`], but an end before the beginning leaves nothing.
fn within(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    if end < 0 && end + (len as i64) < 0 { None } else { clip(start, end, len) }
}
