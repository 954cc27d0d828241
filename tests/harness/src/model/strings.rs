//! String commands.

use super::expiry::{absolute_deadline, relative_deadline};
use super::{Deadline, Frame, Model, Outcome, SYNTAX, Stop, clip_ordered, integer, plain_integer, refuse};

/// The longest string a server takes: 512 MiB.
const STRING_BYTES_MAX: i64 = 512 * 1024 * 1024;

/// Beyond this many table cells the model leaves LCS out.
const LCS_CELLS_MAX: usize = 4_000_000;

/// What SET and GETEX say about the deadline.
enum Expiry {
    Unsaid,
    Keep,
    Persist,
    At(Deadline),
}

impl Model {
    pub(super) fn set(&mut self, key: &[u8], value: &[u8], options: &[&[u8]], now: i64) -> Outcome {
        let (mut nx, mut xx, mut get) = (false, false, false);
        let mut rest = Vec::new();
        for (at, option) in options.iter().enumerate() {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" if !is_operand(options, at) => nx = true,
                b"XX" if !is_operand(options, at) => xx = true,
                b"GET" if !is_operand(options, at) => get = true,
                _ => rest.push(*option),
            }
        }
        if nx && xx {
            return refuse(SYNTAX);
        }
        let expiry = match parse_expiry("set", &rest, now)? {
            Expiry::Persist => return refuse(SYNTAX),
            expiry => expiry,
        };
        let exists = self.entry(key).is_some();
        let reply = if get { Some(self.bulk_or_null(self.value(key))) } else { None };
        if (nx && exists) || (xx && !exists) {
            return Ok(reply.unwrap_or(self.null()).into());
        }
        match expiry {
            Expiry::Keep => self.update(key, value.to_vec()),
            Expiry::At(deadline) => {
                self.put(key, value.to_vec());
                self.put_deadline(key, deadline, now);
            }
            Expiry::Unsaid | Expiry::Persist => self.put(key, value.to_vec()),
        }
        Ok(reply.unwrap_or(Frame::ok()).into())
    }

    pub(super) fn setnx(&mut self, key: &[u8], value: &[u8]) -> Outcome {
        if self.entry(key).is_some() {
            return Ok(0.into());
        }
        self.put(key, value.to_vec());
        Ok(1.into())
    }

    pub(super) fn setex(&mut self, name: &str, key: &[u8], time: &[u8], unit: i64, value: &[u8], now: i64) -> Outcome {
        let deadline = relative_deadline(name, time, unit, now)?;
        self.put(key, value.to_vec());
        self.put_deadline(key, deadline, now);
        Ok(Frame::ok().into())
    }

    pub(super) fn get(&self, key: &[u8]) -> Outcome {
        Ok(self.bulk_or_null(self.value(key)).into())
    }

    pub(super) fn getset(&mut self, key: &[u8], value: &[u8]) -> Outcome {
        let old = self.get(key);
        self.put(key, value.to_vec());
        old
    }

    pub(super) fn getdel(&mut self, key: &[u8]) -> Outcome {
        let old = self.get(key);
        self.db_mut().keys.remove(key);
        old
    }

    pub(super) fn getex(&mut self, key: &[u8], options: &[&[u8]], now: i64) -> Outcome {
        let expiry = parse_expiry("getex", options, now)?;
        let old = self.get(key);
        if self.entry(key).is_some() {
            match expiry {
                Expiry::Unsaid => {}
                Expiry::Keep => return refuse(SYNTAX),
                Expiry::Persist => {
                    self.persist(key)?;
                }
                Expiry::At(deadline) => self.put_deadline(key, deadline, now),
            }
        }
        old
    }

    pub(super) fn mget(&self, keys: &[&[u8]]) -> Outcome {
        Ok(Frame::Array(keys.iter().map(|key| self.bulk_or_null(self.value(key))).collect()).into())
    }

    pub(super) fn mset(&mut self, pairs: &[&[u8]]) -> Outcome {
        if !pairs.len().is_multiple_of(2) {
            return refuse("ERR wrong number of arguments for 'mset' command");
        }
        for pair in pairs.chunks_exact(2) {
            self.put(pair[0], pair[1].to_vec());
        }
        Ok(Frame::ok().into())
    }

    pub(super) fn msetnx(&mut self, pairs: &[&[u8]]) -> Outcome {
        if !pairs.len().is_multiple_of(2) {
            return refuse("ERR wrong number of arguments for 'msetnx' command");
        }
        if pairs.chunks_exact(2).any(|pair| self.entry(pair[0]).is_some()) {
            return Ok(0.into());
        }
        self.mset(pairs)?;
        Ok(1.into())
    }

    pub(super) fn append(&mut self, key: &[u8], value: &[u8]) -> Outcome {
        let joined = [self.value_or_empty(key), value].concat();
        let len = joined.len() as i64;
        self.update(key, joined);
        Ok(len.into())
    }

    pub(super) fn strlen(&self, key: &[u8]) -> Outcome {
        Ok((self.value_or_empty(key).len() as i64).into())
    }

    pub(super) fn getrange(&self, key: &[u8], start: &[u8], end: &[u8]) -> Outcome {
        let (start, end) = (integer(start)?, integer(end)?);
        let value = self.value_or_empty(key);
        let part = clip_ordered(start, end, value.len()).map_or(&[][..], |(start, end)| &value[start..=end]);
        Ok(Frame::bulk(part).into())
    }

    pub(super) fn setrange(&mut self, key: &[u8], offset: &[u8], patch: &[u8]) -> Outcome {
        let offset = integer(offset)?;
        if offset < 0 {
            return refuse("ERR offset is out of range");
        }
        let mut value = self.value_or_empty(key).to_vec();
        if !patch.is_empty() {
            if offset.saturating_add(patch.len() as i64) > STRING_BYTES_MAX {
                return refuse("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
            }
            let offset = offset as usize;
            value.resize(value.len().max(offset + patch.len()), 0);
            value[offset..offset + patch.len()].copy_from_slice(patch);
            self.update(key, value.clone());
        }
        Ok((value.len() as i64).into())
    }

    pub(super) fn increment(&mut self, key: &[u8], by: i64) -> Outcome {
        let old = self.value(key).map_or(Ok(0), integer)?;
        let Some(new) = old.checked_add(by) else { return refuse("ERR increment or decrement would overflow") };
        self.update(key, new.to_string().into_bytes());
        Ok(new.into())
    }

    pub(super) fn decrby(&mut self, key: &[u8], by: &[u8]) -> Outcome {
        match integer(by)?.checked_neg() {
            Some(by) => self.increment(key, by),
            None => refuse("ERR decrement would overflow"),
        }
    }

    pub(super) fn incrbyfloat(&mut self, key: &[u8], by: &[u8]) -> Outcome {
        let old = self.value(key).map_or(Ok(0.0), quarters)?;
        let new = old + quarters(by)?;
        let text = format!("{new}");
        self.update(key, text.clone().into_bytes());
        Ok(Frame::bulk(text).into())
    }

    pub(super) fn lcs(&self, a: &[u8], b: &[u8], options: &[&[u8]]) -> Outcome {
        let (a, b) = (self.value_or_empty(a), self.value_or_empty(b));
        let length_only = match options {
            [] => false,
            [word] if word.eq_ignore_ascii_case(b"LEN") => true,
            _ => return Err(Stop::Unpredictable),
        };
        if (a.len() + 1) * (b.len() + 1) > LCS_CELLS_MAX {
            return Err(Stop::Unpredictable);
        }
        let common = longest_common_subsequence(a, b);
        Ok(if length_only { (common.len() as i64).into() } else { Frame::bulk(common).into() })
    }
}

/// Whether the word before this one takes it as its operand: `EX NX` is a bad number, not NX.
fn is_operand(options: &[&[u8]], at: usize) -> bool {
    let takes = |word: &[u8]| matches!(word.to_ascii_uppercase().as_slice(), b"EX" | b"PX" | b"EXAT" | b"PXAT");
    // Walk from the left: an operand is not itself a word that takes one.
    let mut index = 0;
    while index < at {
        index += if takes(options[index]) { 2 } else { 1 };
    }
    index > at
}

fn parse_expiry(name: &str, options: &[&[u8]], now: i64) -> Result<Expiry, Stop> {
    match options {
        [] => Ok(Expiry::Unsaid),
        [word] => match (name, word.to_ascii_uppercase().as_slice()) {
            ("set", b"KEEPTTL") => Ok(Expiry::Keep),
            ("getex", b"PERSIST") => Ok(Expiry::Persist),
            _ => refuse(SYNTAX),
        },
        [word, time] => {
            let deadline = match word.to_ascii_uppercase().as_slice() {
                b"EX" => relative_deadline(name, time, 1000, now)?,
                b"PX" => relative_deadline(name, time, 1, now)?,
                b"EXAT" => absolute_deadline(name, time, 1000)?,
                b"PXAT" => absolute_deadline(name, time, 1)?,
                _ => return refuse(SYNTAX),
            };
            Ok(Expiry::At(deadline))
        }
        _ => refuse(SYNTAX),
    }
}

/// A decimal number whose arithmetic and printing are exact everywhere: whole quarters below 2^40.
pub(super) fn quarters(text: &[u8]) -> Result<f64, Stop> {
    if plain_integer(text).is_none() && !looks_like_a_number(text) {
        return refuse("ERR value is not a valid float");
    }
    let number: f64 = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Stop::Unpredictable)?;
    let exact = (number * 4.0).fract() == 0.0 && number.abs() < (1_u64 << 40) as f64;
    let plain = text.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    if exact && plain { Ok(number) } else { Err(Stop::Unpredictable) }
}

/// Anything that some parser might take for a number is left alone by the model.
fn looks_like_a_number(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_digit) || text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"nan")
}

fn longest_common_subsequence(a: &[u8], b: &[u8]) -> Vec<u8> {
    let width = b.len() + 1;
    let mut table = vec![0_u32; (a.len() + 1) * width];
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            table[i * width + j] = if a[i - 1] == b[j - 1] {
                table[(i - 1) * width + j - 1] + 1
            } else {
                table[(i - 1) * width + j].max(table[i * width + j - 1])
            };
        }
    }
    let (mut i, mut j, mut common) = (a.len(), b.len(), Vec::new());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            common.push(a[i - 1]);
            (i, j) = (i - 1, j - 1);
        } else if table[(i - 1) * width + j] > table[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    common.reverse();
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_not_words() {
        let words: Vec<&[u8]> = vec![b"EX", b"NX", b"GET"];
        assert!(!is_operand(&words, 0));
        assert!(is_operand(&words, 1));
        assert!(!is_operand(&words, 2));
    }

    #[test]
    fn common_subsequences() {
        assert_eq!(longest_common_subsequence(b"ohmytext", b"mynewtext"), b"mytext");
        assert_eq!(longest_common_subsequence(b"", b"x"), b"");
    }
}
