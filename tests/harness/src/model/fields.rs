//! Fields of hashes that expire, as Redis 7.4 and 8.0 have them.

use super::expiry::is_later;
use super::members::Fields;
use super::{CLOCK_SLACK_MS, Deadline, Expected, Frame, Model, Outcome, Stop, integer, refuse};
use std::collections::BTreeMap;

/// When each field expires that does.
pub(super) type Deadlines = BTreeMap<Vec<u8>, Deadline>;

/// The latest time that a field may expire at, in Unix milliseconds.
const LATEST_MS: i64 = (1 << 46) - 1;

/// The fields of a well-formed `FIELDS numfields field ...`.
fn names<'a>(words: &'a [&'a [u8]]) -> Result<&'a [&'a [u8]], Stop> {
    match words {
        [word, count, names @ ..] if word.eq_ignore_ascii_case(b"FIELDS") && integer(count)? == names.len() as i64 => {
            Ok(names)
        }
        _ => Err(Stop::Unpredictable),
    }
}

fn deadline(command: &str, time: &[u8], unit: i64, base: i64) -> Result<Deadline, Stop> {
    let time = integer(time)?;
    if time < 0 {
        return refuse("ERR invalid expire time, must be >= 0");
    }
    match time.checked_mul(unit).and_then(|ms| ms.checked_add(base)) {
        Some(at_ms) if at_ms <= LATEST_MS => Ok(Deadline { at_ms, exact: base == 0 }),
        _ => refuse(&format!("ERR invalid expire time in '{command}' command")),
    }
}

/// The unit and the base of EX, PX, EXAT and PXAT.
fn clocking(word: &[u8], now: i64) -> Option<(i64, i64)> {
    Some(match word.to_ascii_uppercase().as_slice() {
        b"EX" => (1000, now),
        b"PX" => (1, now),
        b"EXAT" => (1000, 0),
        b"PXAT" => (1, 0),
        _ => return None,
    })
}

/// A hash and its deadlines, to be changed and stored again.
struct Hash {
    fields: Fields,
    deadlines: Deadlines,
}

impl Hash {
    fn remove(&mut self, name: &[u8]) {
        self.fields.remove(name);
        self.deadlines.remove(name);
    }

    /// A time that is over removes the field.
    fn expire(&mut self, name: &[u8], deadline: Deadline, now: i64) {
        if deadline.at_ms <= now {
            self.remove(name);
        } else {
            self.deadlines.insert(name.to_vec(), deadline);
        }
    }
}

impl Model {
    fn open(&self, key: &[u8]) -> Result<Hash, Stop> {
        let fields = self.hash(key)?.cloned().unwrap_or_default();
        Ok(Hash { fields, deadlines: self.entry(key).map(|entry| entry.fields.clone()).unwrap_or_default() })
    }

    fn close(&mut self, key: &[u8], hash: Hash) {
        self.keep_hash(key, hash.fields);
        if let Some(entry) = self.db_mut().keys.get_mut(key) {
            entry.fields = hash.deadlines;
        }
    }

    /// Runs a command on fields that expire, if it is one.
    pub(super) fn field_expiry(&mut self, name: &[u8], args: &[&[u8]], now: i64) -> Outcome {
        match (name, args) {
            (b"HEXPIRE", [key, time, rest @ ..]) => self.hexpire("hexpire", key, time, (1000, now), rest, now),
            (b"HPEXPIRE", [key, time, rest @ ..]) => self.hexpire("hpexpire", key, time, (1, now), rest, now),
            (b"HEXPIREAT", [key, time, rest @ ..]) => self.hexpire("hexpireat", key, time, (1000, 0), rest, now),
            (b"HPEXPIREAT", [key, time, rest @ ..]) => self.hexpire("hpexpireat", key, time, (1, 0), rest, now),
            (b"HTTL", [key, rest @ ..]) => self.field_times(key, rest, 1000, now),
            (b"HPTTL", [key, rest @ ..]) => self.field_times(key, rest, 1, now),
            (b"HEXPIRETIME", [key, rest @ ..]) => self.field_times(key, rest, 1000, 0),
            (b"HPEXPIRETIME", [key, rest @ ..]) => self.field_times(key, rest, 1, 0),
            (b"HPERSIST", [key, rest @ ..]) => self.hpersist(key, rest),
            (b"HGETEX", [key, rest @ ..]) => self.hgetex(key, rest, now),
            (b"HSETEX", [key, rest @ ..]) => self.hsetex(key, rest, now),
            (b"HGETDEL", [key, rest @ ..]) => {
                let (mut hash, names) = (self.open(key)?, names(rest)?);
                let values = names.iter().map(|name| {
                    hash.deadlines.remove(*name);
                    hash.fields.remove(*name)
                });
                let values: Vec<_> = values.collect();
                self.close(key, hash);
                Ok(self.values(&values))
            }
            _ => Err(Stop::Unpredictable),
        }
    }

    fn values(&self, values: &[Option<Vec<u8>>]) -> Expected {
        Frame::Array(values.iter().map(|value| self.bulk_or_null(value.as_deref())).collect()).into()
    }

    fn hexpire(
        &mut self,
        command: &str,
        key: &[u8],
        time: &[u8],
        (unit, base): (i64, i64),
        rest: &[&[u8]],
        now: i64,
    ) -> Outcome {
        let mut hash = self.open(key)?;
        let new = deadline(command, time, unit, base)?;
        let condition = rest[0].to_ascii_uppercase();
        let has_condition = matches!(condition.as_slice(), b"NX" | b"XX" | b"GT" | b"LT");
        let mut replies = Vec::new();
        for name in names(&rest[usize::from(has_condition)..])? {
            let old = hash.deadlines.get(*name).copied();
            let refused = match (condition.as_slice(), old) {
                (b"NX", old) => old.is_some(),
                (b"XX" | b"GT", None) => true,
                (b"GT" | b"LT", Some(old)) => is_later(old, new, condition == b"GT")?,
                _ => false,
            };
            replies.push(Frame::Integer(match hash.fields.contains_key(*name) {
                false => -2,
                true if refused => 0,
                true => {
                    hash.expire(name, new, now);
                    if new.at_ms <= now { 2 } else { 1 }
                }
            }));
        }
        self.close(key, hash);
        Ok(Frame::Array(replies).into())
    }

    /// HTTL and the like, with now as the base; HEXPIRETIME and the like, with none.
    fn field_times(&self, key: &[u8], rest: &[&[u8]], unit: i64, base: i64) -> Outcome {
        let hash = self.open(key)?;
        let time = |name: &&[u8]| match (hash.fields.contains_key(*name), hash.deadlines.get(*name)) {
            (false, _) => (-2).into(),
            (true, None) => (-1).into(),
            (true, Some(deadline)) if deadline.exact && base == 0 => ((deadline.at_ms + unit - 1) / unit).into(),
            (true, Some(deadline)) => {
                Expected::Near { value: (deadline.at_ms - base + unit - 1) / unit, slack: CLOCK_SLACK_MS / unit }
            }
        };
        Ok(Expected::Each(names(rest)?.iter().map(time).collect()))
    }

    fn hpersist(&mut self, key: &[u8], rest: &[&[u8]]) -> Outcome {
        let (mut hash, names) = (self.open(key)?, names(rest)?);
        let mut persist = |name: &&[u8]| match hash.fields.contains_key(*name) {
            false => -2,
            true => hash.deadlines.remove(*name).map_or(-1, |_| 1),
        };
        let replies = names.iter().map(|name| Frame::Integer(persist(name))).collect();
        self.close(key, hash);
        Ok(Frame::Array(replies).into())
    }

    fn hgetex(&mut self, key: &[u8], rest: &[&[u8]], now: i64) -> Outcome {
        let mut hash = self.open(key)?;
        let (new, persists, rest) = match rest {
            [word, rest @ ..] if word.eq_ignore_ascii_case(b"PERSIST") => (None, true, rest),
            [word, time, rest @ ..] if clocking(word, now).is_some() => {
                let (unit, base) = clocking(word, now).ok_or(Stop::Unpredictable)?;
                (Some(deadline("hgetex", time, unit, base)?), false, rest)
            }
            rest => (None, false, rest),
        };
        let mut values = Vec::new();
        for name in names(rest)? {
            let value = hash.fields.get(*name).cloned();
            if persists {
                hash.deadlines.remove(*name);
            }
            if let (Some(new), true) = (new, value.is_some()) {
                hash.expire(name, new, now);
            }
            values.push(value);
        }
        self.close(key, hash);
        Ok(self.values(&values))
    }

    fn hsetex(&mut self, key: &[u8], mut rest: &[&[u8]], now: i64) -> Outcome {
        let (mut new, mut keeps, mut there) = (None, false, None);
        let pairs = loop {
            let (word, behind) = rest.split_first().ok_or(Stop::Unpredictable)?;
            rest = behind;
            match word.to_ascii_uppercase().as_slice() {
                b"FIELDS" => break rest.get(1..).ok_or(Stop::Unpredictable)?,
                b"KEEPTTL" => keeps = true,
                b"FXX" => there = Some(true),
                b"FNX" => there = Some(false),
                _ => {
                    let (unit, base) = clocking(word, now).ok_or(Stop::Unpredictable)?;
                    let (time, behind) = rest.split_first().ok_or(Stop::Unpredictable)?;
                    rest = behind;
                    new = Some(deadline("hsetex", time, unit, base)?);
                }
            }
        };
        let mut hash = self.open(key)?;
        if there.is_some_and(|there| pairs.chunks(2).any(|pair| hash.fields.contains_key(pair[0]) != there)) {
            return Ok(0.into());
        }
        for pair in pairs.chunks(2) {
            hash.fields.insert(pair[0].to_vec(), pair[1].to_vec());
            if let Some(new) = new {
                hash.expire(pair[0], new, now);
            } else if !keeps {
                hash.deadlines.remove(pair[0]);
            }
        }
        self.close(key, hash);
        Ok(1.into())
    }
}
