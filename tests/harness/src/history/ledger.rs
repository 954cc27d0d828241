//! The keys that one client owns: what it asked for, what was acknowledged, and what may be there after a crash.

use super::payload::{Payload, describe};
use super::{Broken, Violation};
use crate::{Command, Frame, command};
use std::collections::{BTreeMap, VecDeque};

/// A value and its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The value's bytes.
    pub value: Vec<u8>,
    /// Unix milliseconds, or `None` to stay for ever.
    pub deadline: Option<i64>,
}

/// What the server was found to hold of the client's keys.
pub type Readout = BTreeMap<String, Held>;

/// A command over own keys.
#[derive(Clone, Debug)]
pub enum Operation {
    /// `SET key value [PXAT deadline]`
    Set(String, Payload, Option<i64>),
    /// `MSET key value ...`: all or nothing
    SetMany(Vec<(String, Payload)>),
    /// `APPEND key value`
    Append(String, Payload),
    /// `INCR key`
    Increment(String),
    /// `DEL key ...`: all or nothing
    Delete(Vec<String>),
    /// `GETDEL key`
    GetDelete(String),
    /// `PEXPIREAT key deadline`
    ExpireAt(String, i64),
    /// `PERSIST key`
    Persist(String),
    /// `RENAME from to`: all or nothing
    Rename(String, String),
    /// `COPY from to REPLACE`
    Copy(String, String),
    /// `GET key`
    Get(String),
    /// `FLUSHDB`, by a client that has a database to itself
    Flush,
}

/// Keys with this in their name have deadlines that pass while the test runs: what commands say of them depends on
/// the moment and is not checked; what is left of them afterwards is.
pub const SHORT_LIVED: &str = ":short";

fn is_short_lived(key: &str) -> bool {
    key.contains(SHORT_LIVED)
}

impl Operation {
    /// The command.
    pub fn command(&self) -> Command {
        match self {
            Operation::Set(key, value, None) => command(&[b"SET", key.as_bytes(), &value.bytes()]),
            Operation::Set(key, value, Some(at)) => {
                command(&[b"SET", key.as_bytes(), &value.bytes(), b"PXAT", at.to_string().as_bytes()])
            }
            Operation::SetMany(pairs) => {
                let words = pairs.iter().flat_map(|(key, value)| [key.clone().into_bytes(), value.bytes()]);
                [b"MSET".to_vec()].into_iter().chain(words).collect()
            }
            Operation::Append(key, value) => command(&[b"APPEND", key.as_bytes(), &value.bytes()]),
            Operation::Increment(key) => command(&["INCR", key]),
            Operation::Delete(keys) => {
                ["DEL"].into_iter().chain(keys.iter().map(String::as_str)).map(Vec::from).collect()
            }
            Operation::GetDelete(key) => command(&["GETDEL", key]),
            Operation::ExpireAt(key, at) => command(&["PEXPIREAT", key, &at.to_string()]),
            Operation::Persist(key) => command(&["PERSIST", key]),
            Operation::Rename(from, to) => command(&["RENAME", from, to]),
            Operation::Copy(from, to) => command(&["COPY", from, to, "REPLACE"]),
            Operation::Get(key) => command(&["GET", key]),
            Operation::Flush => command(&["FLUSHDB"]),
        }
    }

    /// What it does to the keys; its reply, or `None` where that depends on the moment.
    fn apply(&self, keys: &mut Readout) -> Option<Frame> {
        let held = |value: &Payload, deadline| Held { value: value.bytes(), deadline };
        let count = |n: bool| Some(Frame::Integer(i64::from(n)));
        let bulk = |held: Option<&Held>| Some(held.map_or(Frame::NullBulk, |held| Frame::bulk(&held.value)));
        match self {
            Operation::Set(key, value, deadline) => {
                keys.insert(key.clone(), held(value, *deadline));
                Some(Frame::ok())
            }
            Operation::SetMany(pairs) => {
                keys.extend(pairs.iter().map(|(key, value)| (key.clone(), held(value, None))));
                Some(Frame::ok())
            }
            Operation::Append(key, value) => {
                let entry = keys.entry(key.clone()).or_insert(Held { value: Vec::new(), deadline: None });
                entry.value.extend(value.bytes());
                Some(Frame::Integer(entry.value.len() as i64))
            }
            Operation::Increment(key) => {
                let entry = keys.entry(key.clone()).or_insert(Held { value: b"0".to_vec(), deadline: None });
                let old: i64 = std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
                entry.value = (old + 1).to_string().into_bytes();
                Some(Frame::Integer(old + 1))
            }
            Operation::Delete(names) => {
                let removed = names.iter().filter(|name| keys.remove(*name).is_some()).count();
                let moment = names.iter().any(|name| is_short_lived(name));
                (!moment).then_some(Frame::Integer(removed as i64))
            }
            Operation::GetDelete(key) => {
                let old = keys.remove(key);
                bulk(old.as_ref())
            }
            Operation::ExpireAt(key, at) => {
                let entry = keys.get_mut(key);
                let there = entry.is_some();
                if let Some(entry) = entry {
                    entry.deadline = Some(*at);
                }
                if is_short_lived(key) { None } else { count(there) }
            }
            Operation::Persist(key) => count(keys.get_mut(key).and_then(|entry| entry.deadline.take()).is_some()),
            Operation::Rename(from, to) => match keys.remove(from) {
                Some(entry) => {
                    keys.insert(to.clone(), entry);
                    Some(Frame::ok())
                }
                None => Some(Frame::error("ERR no such key")),
            },
            Operation::Copy(from, to) => match keys.get(from).cloned() {
                Some(entry) => {
                    keys.insert(to.clone(), entry);
                    count(true)
                }
                None => count(false),
            },
            Operation::Get(key) => bulk(keys.get(key)),
            Operation::Flush => {
                keys.clear();
                Some(Frame::ok())
            }
        }
    }
}

/// One client's account of its keys.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    acknowledged: Readout,
    pending: VecDeque<Operation>,
}

impl Ledger {
    /// The command goes out.
    pub fn invoke(&mut self, operation: Operation) {
        self.pending.push_back(operation);
    }

    /// The oldest unanswered command was answered.
    ///
    /// # Errors
    /// When the answer is not what the acknowledged state calls for.
    ///
    /// # Panics
    /// When nothing is unanswered.
    pub fn acknowledge(&mut self, reply: &Frame) -> Result<(), Violation> {
        let operation = self.pending.pop_front().expect("a reply belongs to a command");
        match operation.apply(&mut self.acknowledged) {
            Some(expected) if expected != *reply => Err(Violation::new(
                Broken::Lost,
                format!("{} answered {}, expected {}", crate::show(&operation.command()), tell(reply), tell(&expected)),
            )),
            _ => Ok(()),
        }
    }

    /// The latest of the deadlines that pass during the test: the read-out has to be made after it.
    pub fn last_short_deadline(&self) -> Option<i64> {
        let mut keys = self.acknowledged.clone();
        let mut latest = None;
        let short = |keys: &Readout| {
            keys.iter().filter(|(key, _)| is_short_lived(key)).filter_map(|(_, held)| held.deadline).max()
        };
        latest = latest.max(short(&keys));
        for operation in &self.pending {
            operation.apply(&mut keys);
            latest = latest.max(short(&keys));
        }
        latest
    }

    /// After a crash: compares what is there with what may be, takes it as the new acknowledged state, and returns
    /// how many of the unanswered commands turned out to have happened.
    ///
    /// # Errors
    /// What is wrong, key by key, when the read-out is no state that the history allows.
    pub fn settle(&mut self, found: &Readout) -> Result<usize, Vec<Violation>> {
        let mut keys = without_short(&self.acknowledged);
        let before = keys.clone();
        let pending = std::mem::take(&mut self.pending);
        let mut candidates = vec![keys.clone()];
        for operation in &pending {
            operation.apply(&mut keys);
            candidates.push(without_short(&keys));
        }
        self.acknowledged = found.clone();
        // The last match: an unanswered command that changed nothing counts as done.
        if let Some(done) = candidates.iter().rposition(|candidate| candidate == found) {
            return Ok(done);
        }
        let differences =
            |candidate: &Readout| names(candidate, found).filter(|key| candidate.get(*key) != found.get(*key)).count();
        let closest = candidates.iter().min_by_key(|candidate| differences(candidate)).unwrap_or(&before);
        let wrong: Vec<&String> = names(closest, found).filter(|key| closest.get(*key) != found.get(*key)).collect();
        // Each right for itself at some point of the history, but not together: commands were cut in two.
        let right_alone = |key: &&String| candidates.iter().any(|candidate| candidate.get(*key) == found.get(*key));
        let cut = wrong.iter().all(right_alone);
        Err(wrong.into_iter().map(|key| classify(key, closest.get(key), found.get(key), cut)).collect())
    }
}

/// Short-lived keys with a deadline are over when the read-out is made.
fn without_short(keys: &Readout) -> Readout {
    let lasts = |key: &str, held: &Held| !(is_short_lived(key) && held.deadline.is_some());
    keys.iter().filter(|(key, held)| lasts(key, held)).map(|(key, held)| (key.clone(), held.clone())).collect()
}

fn names<'a>(a: &'a Readout, b: &'a Readout) -> impl Iterator<Item = &'a String> {
    a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)))
}

fn classify(key: &str, expected: Option<&Held>, found: Option<&Held>, cut: bool) -> Violation {
    let tell = |held: Option<&Held>| match held {
        Some(held) => format!("{} deadline {:?}", describe(&held.value), held.deadline),
        None => "nothing".to_owned(),
    };
    let is_number = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<i64>().is_ok());
    let is_whole = found.is_none_or(|held| Payload::parse_row(&held.value).is_some() || is_number(&held.value));
    let broken = if cut || !is_whole { Broken::Torn } else { Broken::Lost };
    Violation::new(broken, format!("{key}: expected {}, found {}", tell(expected), tell(found)))
}

fn tell(frame: &Frame) -> String {
    match frame {
        Frame::Bulk(bytes) => describe(bytes),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(operation: u64) -> Payload {
        Payload { client: 0, operation, key: "k".to_owned(), len: 100 }
    }

    fn set(key: &str, operation: u64) -> Operation {
        Operation::Set(key.to_owned(), payload(operation), None)
    }

    fn held(operation: u64) -> Held {
        Held { value: payload(operation).bytes(), deadline: None }
    }

    fn readout(pairs: &[(&str, u64)]) -> Readout {
        pairs.iter().map(|&(key, operation)| (key.to_owned(), held(operation))).collect()
    }

    /// A ledger after these acknowledged and these unanswered commands.
    fn ledger(acknowledged: &[Operation], pending: &[Operation]) -> Ledger {
        let mut ledger = Ledger::default();
        for operation in acknowledged {
            let expected = operation.apply(&mut ledger.acknowledged.clone()).expect("a certain reply");
            ledger.invoke(operation.clone());
            ledger.acknowledge(&expected).expect("the right reply");
        }
        pending.iter().for_each(|operation| ledger.invoke(operation.clone()));
        ledger
    }

    fn broken(result: Result<usize, Vec<Violation>>) -> Vec<Broken> {
        result.expect_err("an illegal history").into_iter().map(|violation| violation.broken).collect()
    }

    #[test]
    fn unanswered_commands_happen_in_order_or_not_at_all() {
        let history = ledger(&[set("a", 1)], &[set("a", 2), set("b", 3)]);
        assert_eq!(history.clone().settle(&readout(&[("a", 1)])), Ok(0));
        assert_eq!(history.clone().settle(&readout(&[("a", 2)])), Ok(1));
        assert_eq!(history.clone().settle(&readout(&[("a", 2), ("b", 3)])), Ok(2));
        assert_eq!(broken(history.clone().settle(&readout(&[("a", 1), ("b", 3)]))).len(), 1);
    }

    #[test]
    fn a_lost_acknowledged_write_is_seen() {
        let history = ledger(&[set("a", 1), set("a", 2)], &[]);
        assert_eq!(broken(history.clone().settle(&Readout::new())), [Broken::Lost]);
        assert_eq!(broken(history.clone().settle(&readout(&[("a", 1)]))), [Broken::Lost]);
    }

    #[test]
    fn a_resurrected_key_is_seen_also_two_crashes_later() {
        let mut history = ledger(&[set("a", 1), Operation::Delete(vec!["a".to_owned()])], &[]);
        assert_eq!(history.settle(&Readout::new()), Ok(0));
        assert_eq!(history.settle(&Readout::new()), Ok(0));
        assert_eq!(broken(history.settle(&readout(&[("a", 1)]))), [Broken::Lost]);
    }

    #[test]
    fn half_of_a_command_is_torn() {
        let both = Operation::SetMany(vec![("a".to_owned(), payload(5)), ("b".to_owned(), payload(6))]);
        let history = ledger(&[set("a", 1), set("b", 2)], &[both]);
        assert_eq!(history.clone().settle(&readout(&[("a", 5), ("b", 6)])), Ok(1));
        assert_eq!(broken(history.clone().settle(&readout(&[("a", 5), ("b", 2)]))), [Broken::Torn]);
        let rename = ledger(&[set("a", 1)], &[Operation::Rename("a".to_owned(), "b".to_owned())]);
        assert_eq!(rename.clone().settle(&readout(&[("b", 1)])), Ok(1));
        assert_eq!(broken(rename.clone().settle(&readout(&[("a", 1), ("b", 1)]))), [Broken::Torn]);
        assert_eq!(broken(rename.clone().settle(&Readout::new())), [Broken::Torn]);
    }

    #[test]
    fn mixed_bytes_are_torn() {
        let mut found = readout(&[("a", 2)]);
        let older = payload(1).bytes();
        let value = &mut found.get_mut("a").expect("put there").value;
        value[64..].copy_from_slice(&older[64..]);
        assert_eq!(broken(ledger(&[set("a", 2)], &[]).settle(&found)), [Broken::Torn]);
    }

    #[test]
    fn a_wrong_deadline_is_seen() {
        let mut history = ledger(&[set("a", 1), Operation::ExpireAt("a".to_owned(), 99)], &[]);
        assert_eq!(broken(history.settle(&readout(&[("a", 1)]))), [Broken::Lost]);
    }

    #[test]
    fn an_expired_key_must_be_gone() {
        let key = format!("a{SHORT_LIVED}");
        let history = ledger(&[Operation::Set(key.clone(), payload(1), Some(50))], &[]);
        assert_eq!(history.last_short_deadline(), Some(50));
        assert_eq!(history.clone().settle(&Readout::new()), Ok(0));
        assert_eq!(broken(history.clone().settle(&readout(&[(&key, 1)]))), [Broken::Lost]);
    }

    #[test]
    fn a_wrong_reply_is_seen() {
        let mut history = ledger(&[set("a", 1)], &[Operation::Get("a".to_owned())]);
        assert!(history.acknowledge(&Frame::NullBulk).is_err());
    }
}
