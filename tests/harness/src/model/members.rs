//! Commands on hashes and sets.

use super::strings::quarters;
use super::{Entry, Expected, Frame, Model, Outcome, SYNTAX, Stop, Value, WRONG_TYPE, integer, plain_integer, refuse};
use std::collections::{BTreeMap, BTreeSet};

pub(super) type Fields = BTreeMap<Vec<u8>, Vec<u8>>;
type Members = BTreeSet<Vec<u8>>;

impl Model {
    pub(super) fn hash(&self, key: &[u8]) -> Result<Option<&Fields>, Stop> {
        match self.entry(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Hash(fields)) => Ok(Some(fields)),
            Some(_) => refuse(WRONG_TYPE),
        }
    }

    fn set_of(&self, key: &[u8]) -> Result<Option<&Members>, Stop> {
        match self.entry(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Set(members)) => Ok(Some(members)),
            Some(_) => refuse(WRONG_TYPE),
        }
    }

    /// Stores a value that keeps the deadlines of what it replaces; an empty one is none.
    fn keep(&mut self, key: &[u8], value: Value, is_empty: bool) {
        let mut entry = Entry::new(value, None);
        if let Some(former) = self.entry(key) {
            (entry.deadline, entry.fields) = (former.deadline, former.fields.clone());
        }
        if let Value::Hash(fields) = &entry.value {
            entry.fields.retain(|name, _| fields.contains_key(name));
        }
        let keys = &mut self.db_mut().keys;
        match is_empty {
            true => drop(keys.remove(key)),
            false => drop(keys.insert(key.to_vec(), entry)),
        }
    }

    pub(super) fn keep_hash(&mut self, key: &[u8], fields: Fields) {
        let is_empty = fields.is_empty();
        self.keep(key, Value::Hash(fields), is_empty);
    }

    fn keep_set(&mut self, key: &[u8], members: Members) {
        let is_empty = members.is_empty();
        self.keep(key, Value::Set(members), is_empty);
    }

    pub(super) fn hset(&mut self, key: &[u8], pairs: &[&[u8]], counts: bool) -> Outcome {
        if !pairs.len().is_multiple_of(2) {
            let name = if counts { "hset" } else { "hmset" };
            return refuse(&format!("ERR wrong number of arguments for '{name}' command"));
        }
        let mut fields = self.hash(key)?.cloned().unwrap_or_default();
        let before = fields.len();
        fields.extend(pairs.chunks(2).map(|pair| (pair[0].to_vec(), pair[1].to_vec())));
        let added = (fields.len() - before) as i64;
        self.keep_hash(key, fields);
        if let Some(entry) = self.db_mut().keys.get_mut(key) {
            for pair in pairs.chunks(2) {
                entry.fields.remove(pair[0]);
            }
        }
        Ok(if counts { added.into() } else { Frame::ok().into() })
    }

    /// Sets a field, which keeps its deadline.
    fn hset_keeping(&mut self, key: &[u8], field: &[u8], value: &[u8]) -> Result<(), Stop> {
        let deadline = self.entry(key).and_then(|entry| entry.fields.get(field).copied());
        self.hset(key, &[field, value], true)?;
        if let (Some(entry), Some(deadline)) = (self.db_mut().keys.get_mut(key), deadline) {
            entry.fields.insert(field.to_vec(), deadline);
        }
        Ok(())
    }

    pub(super) fn hsetnx(&mut self, key: &[u8], field: &[u8], value: &[u8]) -> Outcome {
        if self.hash(key)?.is_some_and(|fields| fields.contains_key(field)) {
            return Ok(0.into());
        }
        self.hset(key, &[field, value], true)
    }

    pub(super) fn hget(&self, key: &[u8], field: &[u8]) -> Outcome {
        let value = self.hash(key)?.and_then(|fields| fields.get(field));
        Ok(self.bulk_or_null(value.map(Vec::as_slice)).into())
    }

    pub(super) fn hmget(&self, key: &[u8], names: &[&[u8]]) -> Outcome {
        let fields = self.hash(key)?;
        let value = |name: &&[u8]| fields.and_then(|fields| fields.get(*name)).map(Vec::as_slice);
        Ok(Frame::Array(names.iter().map(|name| self.bulk_or_null(value(name))).collect()).into())
    }

    pub(super) fn hdel(&mut self, key: &[u8], names: &[&[u8]]) -> Outcome {
        let Some(mut fields) = self.hash(key)?.cloned() else { return Ok(0.into()) };
        let removed = names.iter().filter(|name| fields.remove(**name).is_some()).count() as i64;
        self.keep_hash(key, fields);
        Ok(removed.into())
    }

    pub(super) fn hlen(&self, key: &[u8]) -> Outcome {
        Ok((self.hash(key)?.map_or(0, BTreeMap::len) as i64).into())
    }

    pub(super) fn hexists(&self, key: &[u8], field: &[u8]) -> Outcome {
        Ok(i64::from(self.hash(key)?.is_some_and(|fields| fields.contains_key(field))).into())
    }

    pub(super) fn hstrlen(&self, key: &[u8], field: &[u8]) -> Outcome {
        Ok((self.hash(key)?.and_then(|fields| fields.get(field)).map_or(0, Vec::len) as i64).into())
    }

    /// HKEYS and HVALS.
    pub(super) fn hparts(&self, key: &[u8], part: impl Fn((&Vec<u8>, &Vec<u8>)) -> Frame) -> Outcome {
        Ok(Expected::AnyOrder(self.hash(key)?.into_iter().flatten().map(part).collect()))
    }

    pub(super) fn hincrby(&mut self, key: &[u8], field: &[u8], by: &[u8]) -> Outcome {
        let by = integer(by)?;
        let fields = self.hash(key)?;
        let old = match fields.and_then(|fields| fields.get(field)) {
            None => 0,
            Some(text) => match plain_integer(text) {
                Some(number) => number,
                None => return refuse("ERR hash value is not an integer"),
            },
        };
        let Some(sum) = old.checked_add(by) else { return refuse("ERR increment or decrement would overflow") };
        self.hset_keeping(key, field, sum.to_string().as_bytes())?;
        Ok(sum.into())
    }

    pub(super) fn hincrbyfloat(&mut self, key: &[u8], field: &[u8], by: &[u8]) -> Outcome {
        let by = quarters(by)?;
        // What is no number is refused with an error of its own.
        let old = self.hash(key)?.and_then(|fields| fields.get(field));
        let old = old.map_or(Ok(0.0), |text| quarters(text)).map_err(|_| Stop::Unpredictable)?;
        let sum = format!("{}", old + by);
        self.hset_keeping(key, field, sum.as_bytes())?;
        Ok(Frame::bulk(sum).into())
    }

    pub(super) fn hgetall(&self, key: &[u8]) -> Outcome {
        let pairs = self.hash(key)?.into_iter().flatten();
        Ok(Expected::Pairs(pairs.map(|(field, value)| (Frame::bulk(field), Frame::bulk(value))).collect()))
    }

    pub(super) fn sadd(&mut self, key: &[u8], names: &[&[u8]]) -> Outcome {
        let mut members = self.set_of(key)?.cloned().unwrap_or_default();
        let added = names.iter().filter(|name| members.insert(name.to_vec())).count() as i64;
        self.keep_set(key, members);
        Ok(added.into())
    }

    pub(super) fn srem(&mut self, key: &[u8], names: &[&[u8]]) -> Outcome {
        let Some(mut members) = self.set_of(key)?.cloned() else { return Ok(0.into()) };
        let removed = names.iter().filter(|name| members.remove(**name)).count() as i64;
        self.keep_set(key, members);
        Ok(removed.into())
    }

    pub(super) fn smove(&mut self, from: &[u8], to: &[u8], name: &[u8]) -> Outcome {
        let Some(mut source) = self.set_of(from)?.cloned() else { return Ok(0.into()) };
        self.set_of(to)?;
        let there = source.remove(name);
        if there && from != to {
            self.keep_set(from, source);
            self.sadd(to, &[name])?;
        }
        Ok(i64::from(there).into())
    }

    pub(super) fn scard(&self, key: &[u8]) -> Outcome {
        Ok((self.set_of(key)?.map_or(0, BTreeSet::len) as i64).into())
    }

    pub(super) fn smismember(&self, key: &[u8], names: &[&[u8]], single: bool) -> Outcome {
        let members = self.set_of(key)?;
        let has = |name: &&[u8]| i64::from(members.is_some_and(|members| members.contains(*name)));
        Ok(match single {
            true => has(&names[0]).into(),
            false => Frame::Array(names.iter().map(|name| Frame::Integer(has(name))).collect()).into(),
        })
    }

    /// The result of an operation on sets: `I`, `U` or `D` of SINTER, SUNION, SDIFF.
    fn combined(&self, operation: u8, keys: &[&[u8]]) -> Result<Members, Stop> {
        let mut sets = Vec::new();
        for key in keys {
            sets.push(self.set_of(key)?.cloned().unwrap_or_default());
        }
        let (first, others) = sets.split_first().ok_or(Stop::Unpredictable)?;
        Ok(others.iter().fold(first.clone(), |mut result, other| {
            match operation {
                b'I' => result.retain(|name| other.contains(name)),
                b'U' => result.extend(other.iter().cloned()),
                _ => result.retain(|name| !other.contains(name)),
            }
            result
        }))
    }

    pub(super) fn set_operation(&self, operation: u8, keys: &[&[u8]]) -> Outcome {
        let members = self.combined(operation, keys)?;
        Ok(Expected::AnyOrder(members.iter().map(Frame::bulk).collect()))
    }

    pub(super) fn set_operation_store(&mut self, operation: u8, target: &[u8], keys: &[&[u8]]) -> Outcome {
        let members = self.combined(operation, keys)?;
        let len = members.len() as i64;
        self.db_mut().keys.remove(target);
        self.keep_set(target, members);
        Ok(len.into())
    }

    pub(super) fn sintercard(&self, numkeys: &[u8], rest: &[&[u8]]) -> Outcome {
        let Some(numkeys) = plain_integer(numkeys).filter(|&count| count > 0) else {
            return refuse("ERR numkeys should be greater than 0");
        };
        if numkeys as usize > rest.len() {
            return refuse("ERR Number of keys can't be greater than number of args");
        }
        let (keys, options) = rest.split_at(numkeys as usize);
        let limit = match options {
            [] => 0,
            [word, limit] if word.eq_ignore_ascii_case(b"LIMIT") => match plain_integer(limit) {
                Some(limit @ 0..) => limit,
                _ => return refuse("ERR LIMIT can't be negative"),
            },
            _ => return Err(Stop::Unpredictable),
        };
        let found = self.combined(b'I', keys)?.len() as i64;
        Ok(if limit > 0 { found.min(limit) } else { found }.into())
    }

    /// SPOP of all there is: of fewer it cannot be known which.
    pub(super) fn spop(&mut self, key: &[u8], count: &[&[u8]]) -> Outcome {
        let members = self.set_of(key)?.cloned().unwrap_or_default();
        let count = match count {
            [] if members.len() > 1 => return Err(Stop::Unpredictable),
            [] => None,
            [count] => match plain_integer(count) {
                Some(count @ 0..) => Some(count as usize),
                _ => return refuse("ERR value is out of range, must be positive"),
            },
            _ => return refuse(SYNTAX),
        };
        match count {
            Some(0) => return Ok(Expected::AnyOrder(Vec::new())),
            Some(count) if count < members.len() => return Err(Stop::Unpredictable),
            _ => drop(self.db_mut().keys.remove(key)),
        }
        Ok(match count {
            Some(_) => Expected::AnyOrder(members.iter().map(Frame::bulk).collect()),
            None => self.bulk_or_null(members.first().map(Vec::as_slice)).into(),
        })
    }
}
