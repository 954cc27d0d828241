//! Commands on sorted sets, but for those that answer at random.

use super::{Entry, Expected, Frame, Model, Outcome, SYNTAX, Stop, Value, WRONG_TYPE, integer, plain_integer, refuse};
use std::collections::BTreeMap;

/// A score in 64ths, so that its arithmetic and printing are exact everywhere; infinite at both ends of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(i64);

type Scores = BTreeMap<Vec<u8>, Score>;

const NOT_A_NUMBER: &str = "ERR resulting score is not a number (NaN)";

impl Score {
    /// That of a number which is exact in 64ths.
    pub fn new(value: f64) -> Option<Self> {
        Self::of(value).ok()
    }

    fn of(value: f64) -> Result<Self, Stop> {
        let parts = value * 64.0;
        if value.is_infinite() {
            Ok(Self(if value > 0.0 { i64::MAX } else { i64::MIN }))
        } else if parts.fract() == 0.0
            && parts.abs() < (1i64 << 46) as f64
            && (value != 0.0 || value.is_sign_positive())
        {
            Ok(Self(parts as i64))
        } else {
            Err(Stop::Unpredictable)
        }
    }

    fn parse(text: &[u8]) -> Result<Self, Stop> {
        let text = std::str::from_utf8(text).map_err(|_| Stop::Unpredictable)?;
        Self::of(text.parse().map_err(|_| Stop::Unpredictable)?)
    }

    fn value(self) -> f64 {
        match self.0 {
            i64::MAX => f64::INFINITY,
            i64::MIN => f64::NEG_INFINITY,
            parts => parts as f64 / 64.0,
        }
    }

    /// Its digits.
    pub fn text(self) -> String {
        self.value().to_string()
    }
}

/// Members in the order of a sorted set.
pub fn ordered(scores: &BTreeMap<Vec<u8>, Score>) -> Vec<(Vec<u8>, Score)> {
    let mut members: Vec<_> = scores.iter().map(|(member, score)| (member.clone(), *score)).collect();
    members.sort_by(|a, b| a.1.cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    members
}

/// What a range is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

impl Model {
    fn sorted_set(&self, key: &[u8]) -> Result<Option<&Scores>, Stop> {
        match self.entry(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::SortedSet(scores)) => Ok(Some(scores)),
            Some(_) => refuse(WRONG_TYPE),
        }
    }

    fn members_in_order(&self, key: &[u8]) -> Result<Vec<(Vec<u8>, Score)>, Stop> {
        Ok(self.sorted_set(key)?.map(ordered).unwrap_or_default())
    }

    /// Stores a sorted set, which keeps the deadline of what it replaces or not; an empty one is none.
    fn put_sorted_set(&mut self, key: &[u8], scores: Scores, keeps_deadline: bool) {
        let deadline = self.entry(key).and_then(|entry| entry.deadline).filter(|_| keeps_deadline);
        let keys = &mut self.db_mut().keys;
        if scores.is_empty() {
            keys.remove(key);
        } else {
            keys.insert(key.to_vec(), Entry::new(Value::SortedSet(scores), deadline));
        }
    }

    fn score(&self, score: Score) -> Frame {
        let text = score.text().into_bytes();
        if self.resp3 { Frame::Double(text) } else { Frame::Bulk(text) }
    }

    fn pairs(&self, members: &[(Vec<u8>, Score)], with_scores: bool, nested: bool) -> Frame {
        let one = |(member, score): &(Vec<u8>, Score)| match (with_scores, nested) {
            (false, _) => vec![Frame::bulk(member)],
            (true, false) => vec![Frame::bulk(member), self.score(*score)],
            (true, true) => vec![Frame::Array(vec![Frame::bulk(member), self.score(*score)])],
        };
        Frame::Array(members.iter().flat_map(one).collect())
    }

    pub(super) fn zadd(&mut self, key: &[u8], rest: &[&[u8]]) -> Outcome {
        let is_option = |word: &&&[u8]| {
            [&b"NX"[..], b"XX", b"GT", b"LT", b"CH", b"INCR"].iter().any(|option| word.eq_ignore_ascii_case(option))
        };
        let options = rest.iter().take_while(is_option).count();
        let has = |word: &[u8]| rest[..options].iter().any(|option| option.eq_ignore_ascii_case(word));
        let (nx, xx, gt, lt) = (has(b"NX"), has(b"XX"), has(b"GT"), has(b"LT"));
        let pairs = &rest[options..];
        if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
            return refuse(SYNTAX);
        }
        if nx && xx {
            return refuse("ERR XX and NX options at the same time are not compatible");
        }
        if nx && (gt || lt) || gt && lt {
            return refuse("ERR GT, LT, and/or NX options at the same time are not compatible");
        }
        if has(b"INCR") && pairs.len() > 2 {
            return refuse("ERR INCR option supports a single increment-element pair");
        }
        let pairs: Vec<_> =
            pairs.chunks(2).map(|pair| Ok((Score::parse(pair[0])?, pair[1]))).collect::<Result<_, Stop>>()?;
        let mut scores = self.sorted_set(key)?.cloned().unwrap_or_default();
        let (mut added, mut changed, mut last) = (0, 0, None);
        for (score, member) in pairs {
            let former = scores.get(member).copied();
            let score = match former {
                Some(former) if has(b"INCR") => match former.value() + score.value() {
                    sum if sum.is_nan() => return if nx { Err(Stop::Unpredictable) } else { refuse(NOT_A_NUMBER) },
                    sum => Score::of(sum)?,
                },
                _ => score,
            };
            let refused = match former {
                None => xx,
                Some(former) => nx || gt && score <= former || lt && score >= former,
            };
            last = (!refused).then_some(score);
            if !refused {
                added += i64::from(former.is_none());
                changed += i64::from(former.is_some_and(|former| former != score));
                scores.insert(member.to_vec(), score);
            }
        }
        self.put_sorted_set(key, scores, true);
        Ok(match last {
            _ if !has(b"INCR") => (added + if has(b"CH") { changed } else { 0 }).into(),
            Some(score) => self.score(score).into(),
            None => self.null().into(),
        })
    }

    pub(super) fn zrem(&mut self, key: &[u8], members: &[&[u8]]) -> Outcome {
        let mut scores = self.sorted_set(key)?.cloned().unwrap_or_default();
        let removed = members.iter().filter(|member| scores.remove(**member).is_some()).count() as i64;
        if removed > 0 {
            self.put_sorted_set(key, scores, true);
        }
        Ok(removed.into())
    }

    pub(super) fn zcard(&self, key: &[u8]) -> Outcome {
        Ok((self.sorted_set(key)?.map_or(0, BTreeMap::len) as i64).into())
    }

    pub(super) fn zscore(&self, key: &[u8], members: &[&[u8]], many: bool) -> Outcome {
        let scores = self.sorted_set(key)?;
        let one = |member: &&[u8]| {
            scores.and_then(|scores| scores.get(*member)).map_or(self.null(), |score| self.score(*score))
        };
        let mut replies: Vec<Frame> = members.iter().map(one).collect();
        Ok(if many { Frame::Array(replies) } else { replies.remove(0) }.into())
    }

    pub(super) fn zrank(&self, key: &[u8], member: &[u8], reversed: bool) -> Outcome {
        let mut members = self.members_in_order(key)?;
        if reversed {
            members.reverse();
        }
        let rank = members.iter().position(|(other, _)| other == member);
        Ok(rank.map_or(self.null(), |rank| Frame::Integer(rank as i64)).into())
    }

    /// The members between both ends, the lesser first.
    fn between(&self, key: &[u8], by: By, min: &[u8], max: &[u8]) -> Result<Vec<(Vec<u8>, Score)>, Stop> {
        match by {
            By::Rank => {
                let (start, stop) = (integer(min)?, integer(max)?);
                let members = self.members_in_order(key)?;
                let from_end = |at: i64| if at < 0 { at.saturating_add(members.len() as i64) } else { at };
                let (start, stop) = (from_end(start).max(0), from_end(stop));
                let within = |at: usize| at as i64 >= start && at as i64 <= stop;
                Ok(members.into_iter().enumerate().filter(|(at, _)| within(*at)).map(|(_, member)| member).collect())
            }
            By::Score => {
                let end = |text: &[u8]| match text.strip_prefix(b"(") {
                    Some(text) => Ok((Score::parse(text)?, true)),
                    None => Ok::<_, Stop>((Score::parse(text)?, false)),
                };
                let ((min, above), (max, below)) = (end(min)?, end(max)?);
                let mut members = self.members_in_order(key)?;
                members.retain(|(_, score)| {
                    (*score > min || !above && *score == min) && (*score < max || !below && *score == max)
                });
                Ok(members)
            }
            By::Lex => {
                let valid = |text: &[u8]| matches!(text, b"-" | b"+" | [b'[' | b'(', ..]);
                if !valid(min) || !valid(max) {
                    return refuse("ERR min or max not valid string range item");
                }
                let mut members = self.members_in_order(key)?;
                if members.windows(2).any(|pair| pair[0].1 != pair[1].1) {
                    return Err(Stop::Unpredictable);
                }
                members.retain(|(name, _)| {
                    let is_above = match min {
                        b"-" => true,
                        [b'[', least @ ..] => name.as_slice() >= least,
                        [b'(', least @ ..] => name.as_slice() > least,
                        _ => false,
                    };
                    let is_below = match max {
                        b"+" => true,
                        [b'[', most @ ..] => name.as_slice() <= most,
                        [b'(', most @ ..] => name.as_slice() < most,
                        _ => false,
                    };
                    is_above && is_below
                });
                Ok(members)
            }
        }
    }

    /// ZRANGE and all its kin: `name` says what is no option any more.
    pub(super) fn zrange(&mut self, name: &[u8], args: &[&[u8]]) -> Outcome {
        let (target, args) = if name == b"ZRANGESTORE" { (Some(args[0]), &args[1..]) } else { (None, args) };
        let [key, first, second, options @ ..] = args else { return Err(Stop::Unpredictable) };
        let is_plain = matches!(name, b"ZRANGE" | b"ZRANGESTORE");
        let mut reversed = name.starts_with(b"ZREV");
        let mut by = match name {
            _ if name.ends_with(b"BYSCORE") => By::Score,
            _ if name.ends_with(b"BYLEX") => By::Lex,
            _ => By::Rank,
        };
        let (mut limit, mut with_scores, mut rest) = ((0, -1), false, options);
        while let [word, more @ ..] = rest {
            rest = more;
            match (word.to_ascii_uppercase().as_slice(), more) {
                (b"WITHSCORES", _) if target.is_none() => with_scores = true,
                (b"REV", _) if is_plain && !reversed => reversed = true,
                (b"BYSCORE", _) if is_plain && by == By::Rank => by = By::Score,
                (b"BYLEX", _) if is_plain && by == By::Rank => by = By::Lex,
                (b"LIMIT", [offset, count, more @ ..]) => {
                    limit = (integer(offset)?, integer(count)?);
                    rest = more;
                }
                _ => return refuse(SYNTAX),
            }
        }
        if by == By::Rank && limit.1 != -1 {
            return refuse("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
        }
        if by == By::Lex && with_scores {
            return refuse("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
        }
        let mut members = match (by, reversed) {
            (By::Rank, false) => self.between(key, by, first, second)?,
            (By::Rank, true) => {
                let len = self.sorted_set(key)?.map_or(0, BTreeMap::len) as i64;
                let turned = |at: i64| if at < 0 { -1 - at } else { len - 1 - at };
                let (start, stop) = (integer(first)?, integer(second)?);
                if start.unsigned_abs().max(stop.unsigned_abs()) > 1 << 40 {
                    return Err(Stop::Unpredictable);
                }
                let all = self.members_in_order(key)?;
                let within = |at: i64| at <= turned(start) && at >= turned(stop);
                let places = all.into_iter().enumerate().filter(|(at, _)| within(*at as i64));
                places.map(|(_, member)| member).collect()
            }
            (_, false) => self.between(key, by, first, second)?,
            (_, true) => self.between(key, by, second, first)?,
        };
        if reversed {
            members.reverse();
        }
        if by != By::Rank {
            let offset = if limit.0 < 0 { members.len() } else { (limit.0 as usize).min(members.len()) };
            members.drain(..offset);
            members.truncate(usize::try_from(limit.1).unwrap_or(usize::MAX));
        }
        match target {
            Some(target) => {
                let stored = members.len() as i64;
                self.put_sorted_set(target, members.into_iter().collect(), false);
                Ok(stored.into())
            }
            None => Ok(self.pairs(&members, with_scores, self.resp3).into()),
        }
    }

    pub(super) fn zcount(&self, name: &[u8], key: &[u8], min: &[u8], max: &[u8]) -> Outcome {
        let by = if name == b"ZCOUNT" { By::Score } else { By::Lex };
        Ok((self.between(key, by, min, max)?.len() as i64).into())
    }

    pub(super) fn zremrange(&mut self, name: &[u8], key: &[u8], min: &[u8], max: &[u8]) -> Outcome {
        let by = match name {
            b"ZREMRANGEBYRANK" => By::Rank,
            b"ZREMRANGEBYSCORE" => By::Score,
            _ => By::Lex,
        };
        let removed = self.between(key, by, min, max)?;
        let names: Vec<&[u8]> = removed.iter().map(|(name, _)| name.as_slice()).collect();
        self.zrem(key, &names)
    }

    /// Takes members from the lower or the upper end.
    fn take(&mut self, key: &[u8], from_top: bool, count: usize) -> Result<Vec<(Vec<u8>, Score)>, Stop> {
        let mut members = self.members_in_order(key)?;
        if from_top {
            members.reverse();
        }
        members.truncate(count);
        let names: Vec<&[u8]> = members.iter().map(|(name, _)| name.as_slice()).collect();
        self.zrem(key, &names)?;
        Ok(members)
    }

    pub(super) fn zpop(&mut self, name: &[u8], key: &[u8], count: &[&[u8]]) -> Outcome {
        let count = match count {
            [] => None,
            [count] => match plain_integer(count) {
                Some(count @ 0..) => Some(count as usize),
                _ => return refuse("ERR value is out of range, must be positive"),
            },
            _ => return refuse(SYNTAX),
        };
        let popped = self.take(key, name == b"ZPOPMAX", count.unwrap_or(1))?;
        Ok(self.pairs(&popped, true, self.resp3 && count.is_some()).into())
    }

    pub(super) fn zmpop(&mut self, count: &[u8], rest: &[&[u8]]) -> Outcome {
        let keys = match plain_integer(count) {
            Some(keys @ 1..) => keys as usize,
            _ => return refuse("ERR numkeys should be greater than 0"),
        };
        let (Some(names), Some([end, options @ ..])) = (rest.get(..keys), rest.get(keys..)) else {
            return refuse(SYNTAX);
        };
        let from_top = end.eq_ignore_ascii_case(b"MAX");
        if !from_top && !end.eq_ignore_ascii_case(b"MIN") {
            return refuse(SYNTAX);
        }
        let count = match options {
            [] => 1,
            [word, count] if word.eq_ignore_ascii_case(b"COUNT") => match plain_integer(count) {
                Some(count @ 1..) => count as usize,
                _ => return refuse("ERR count should be greater than 0"),
            },
            _ => return refuse(SYNTAX),
        };
        for name in names {
            if self.sorted_set(name)?.is_some() {
                let popped = self.take(name, from_top, count)?;
                return Ok(Frame::Array(vec![Frame::bulk(name), self.pairs(&popped, true, true)]).into());
            }
        }
        Ok(if self.resp3 { Frame::Null } else { Frame::NullArray }.into())
    }

    /// ZUNION, ZINTER, ZDIFF, with STORE or not, and ZINTERCARD.
    pub(super) fn zcombine(&mut self, name: &[u8], args: &[&[u8]]) -> Outcome {
        let (target, args) = if name.ends_with(b"STORE") { (Some(args[0]), &args[1..]) } else { (None, args) };
        let [count, rest @ ..] = args else { return Err(Stop::Unpredictable) };
        let count = match integer(count)? {
            count @ 1.. => count as usize,
            _ => {
                let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                return refuse(&format!("ERR at least 1 input key is needed for '{name}' command"));
            }
        };
        let (Some(keys), Some(options)) = (rest.get(..count), rest.get(count..)) else { return refuse(SYNTAX) };
        let mut sources = Vec::new();
        for key in keys {
            sources.push(match self.entry(key).map(|entry| &entry.value) {
                None => Scores::new(),
                Some(Value::SortedSet(scores)) => scores.clone(),
                Some(Value::Set(members)) => members.iter().map(|member| (member.clone(), Score(64))).collect(),
                Some(_) => return refuse(WRONG_TYPE),
            });
        }
        let (counts, combines) = (name == b"ZINTERCARD", !name.starts_with(b"ZDIFF"));
        let (mut weights, mut aggregate, mut with_scores) = (vec![1.0; count], b"SUM".to_vec(), false);
        let (mut limit, mut rest) = (usize::MAX, options);
        while let [word, more @ ..] = rest {
            rest = more;
            match (word.to_ascii_uppercase().as_slice(), more) {
                (b"WEIGHTS", more) if combines && !counts && more.len() >= count => {
                    for (weight, text) in weights.iter_mut().zip(more) {
                        *weight = Score::parse(text)?.value();
                    }
                    rest = &more[count..];
                }
                (b"AGGREGATE", [word, more @ ..]) if combines && !counts => {
                    aggregate = word.to_ascii_uppercase();
                    rest = more;
                }
                (b"WITHSCORES", _) if target.is_none() && !counts => with_scores = true,
                (b"LIMIT", [most, more @ ..]) if counts => {
                    limit = match plain_integer(most) {
                        Some(0) => usize::MAX,
                        Some(most @ 1..) => most as usize,
                        _ => return refuse("ERR LIMIT can't be negative"),
                    };
                    rest = more;
                }
                _ => return refuse(SYNTAX),
            }
        }
        let combine: fn(f64, f64) -> f64 = match aggregate.as_slice() {
            b"SUM" => |a, b| a + b,
            // Of 0 and -0, which are one score, the first.
            b"MIN" => |a, b| if b < a { b } else { a },
            b"MAX" => |a, b| if b > a { b } else { a },
            _ => return refuse(SYNTAX),
        };
        let mut result = Scores::new();
        for member in sources.iter().flat_map(|source| source.keys()) {
            let mut found: Vec<_> =
                sources.iter().zip(&weights).filter(|(source, _)| source.contains_key(member)).collect();
            // The shortest set comes first.
            found.sort_by_key(|(source, _)| source.len());
            let is_in = match name[1] {
                b'U' => true,
                b'I' => found.len() == sources.len(),
                _ => sources[0].contains_key(member) && !sources[1..].iter().any(|other| other.contains_key(member)),
            };
            if is_in && !counts {
                let orderless = |value: f64| if value.is_nan() { 0.0 } else { value };
                let values: Vec<f64> = found.iter().map(|(source, weight)| source[member].value() * **weight).collect();
                // An intersection takes nothing times infinity for 0 in the smallest of the sets only.
                if name[1] == b'I' && values.iter().any(|value| value.is_nan()) {
                    return Err(Stop::Unpredictable);
                }
                let values: Vec<f64> = values.into_iter().map(orderless).collect();
                // A sum of opposite infinities depends on the order of its parts.
                if values.iter().filter(|value| value.is_infinite()).count() > 1 && values.len() > 2 {
                    return Err(Stop::Unpredictable);
                }
                let total = values.into_iter().reduce(|a, b| orderless(combine(a, b))).unwrap_or(0.0);
                result.insert(member.clone(), Score::of(total)?);
            } else if is_in {
                result.insert(member.clone(), Score(0));
            }
        }
        Ok(match target {
            _ if counts => Expected::from(result.len().min(limit) as i64),
            None => self.pairs(&ordered(&result), with_scores, self.resp3).into(),
            Some(target) => {
                let stored = result.len() as i64;
                self.put_sorted_set(target, result, false);
                stored.into()
            }
        })
    }
}
