//! Whether a history is durably linearizable.
//!
//! It is, when there is an order of all answered calls, and of any of the unanswered ones, such that
//!
//! - a call that was answered before another one was asked for comes before it, and calls of one pipeline come in their order,
//! - the reference model, run in this order, gives every answered call its reply, reads included,
//! - and then holds what was read out after recovery.
//!
//! So a value that a reply has shown is durable: its write comes before the read in the order, and is in the read-out unless something
//! overwrote it.
//!
//! A history that goes over several crashes is checked part by part, each starting from the read-out before it: what was pending at a crash
//! has happened by then, or never does.
//!
//! Expiry: a call happens at one moment between the time it was given when it began and the time it was answered at. It finds no key whose
//! deadline has passed by then, and such a key is gone from there on, so a reply that showed a key as expired keeps it from coming back. A
//! key that the call did not look at (the target of a COPY whose source is not there) may stay. The same holds of a hash's fields.
//!
//! The search is that of Wing and Gong, with Lowe's memory of states already refused, on each group of keys by itself: linearizability is
//! local, so only keys that one call or one pipeline touches together must be looked at together.

use super::history::{Call, Contents, KeyId, Touches, show_contents};
use fencepost_harness::Frame;
use fencepost_harness::model::{Model, Value};
use std::collections::{BTreeMap, HashSet};

/// Contents, and the time they were read at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOut {
    /// Every key.
    pub contents: Contents,
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// Why a history is not durably linearizable.
#[derive(Debug)]
pub struct Refusal {
    /// The keys that do not fit.
    pub keys: Vec<KeyId>,
    /// The longest order that fits the replies, as places in the history.
    pub longest: Vec<usize>,
}

impl Refusal {
    /// The refusal in words, with the history that it is about.
    pub fn describe(&self, start: &Contents, calls: &[Call], position: usize, end: &ReadOut) -> String {
        let keys: Vec<_> = self.keys.iter().map(|(db, key)| format!("{db}/{}", key.escape_ascii())).collect();
        let mut text =
            format!("no order of the calls on {} fits replies and read-out\nat the start:\n", keys.join(", "));
        text.push_str(&show_contents(start));
        text.push_str("calls:\n");
        for call in calls.iter().filter(|call| call.has_begun(position)) {
            let mut shown = call.clone();
            if !call.is_answered(position) {
                shown.returned = usize::MAX;
            }
            text.push_str(&format!("  {shown}\n"));
        }
        text.push_str(&format!("read out at {}:\n{}", end.now_ms, show_contents(&end.contents)));
        let longest: Vec<_> = self.longest.iter().map(|&i| calls[i].op.to_string()).collect();
        text.push_str(&format!("longest order that fits the replies: operations {}\n", longest.join(", ")));
        text
    }
}

/// Checks the calls that had begun when `position` events had happened: those answered by then must be in the order, the others may.
/// `start` is what the store held before the first; `end` what it held after the crash.
///
/// # Errors
/// [`Refusal`], if there is no such order.
///
/// # Panics
/// If more than 128 calls must be looked at together, or the model does not know a command: the workload must not ask for that.
pub fn check(start: &Contents, calls: &[Call], position: usize, end: &ReadOut) -> Result<(), Refusal> {
    for group in groups(start, calls, position, &end.contents) {
        let mut search = Search::new(calls, position, end, &group);
        let begin = model_of(start, &group.keys);
        if !search.extend(0, &begin) {
            let longest = search.longest.iter().map(|&i| group.calls[i]).collect();
            return Err(Refusal { keys: group.keys, longest });
        }
    }
    Ok(())
}

/// Keys that belong together, and the calls on them.
#[derive(Debug)]
struct Group {
    keys: Vec<KeyId>,
    /// Places in the history.
    calls: Vec<usize>,
}

/// The smallest groups of keys such that each call and each pipeline stays within one.
fn groups(start: &Contents, calls: &[Call], position: usize, end: &Contents) -> Vec<Group> {
    let begun: Vec<usize> = (0..calls.len()).filter(|&i| calls[i].has_begun(position)).collect();
    let mut numbers: BTreeMap<&KeyId, usize> = BTreeMap::new();
    let named = begun.iter().flat_map(|&i| match &calls[i].touches {
        Touches::Keys(keys) => keys.as_slice(),
        Touches::All => &[],
    });
    for key in named.chain(start.keys()).chain(end.keys()) {
        let next = numbers.len();
        numbers.entry(key).or_insert(next);
    }
    // Union-find without ranks: there are a handful of keys.
    let mut leader: Vec<usize> = (0..numbers.len()).collect();
    let find = |leader: &[usize], mut i: usize| {
        while leader[i] != i {
            i = leader[i];
        }
        i
    };
    let numbers_of = |call: &Call| -> Vec<usize> {
        match &call.touches {
            Touches::Keys(keys) => keys.iter().map(|key| numbers[key]).collect(),
            Touches::All => (0..numbers.len()).collect(),
        }
    };
    for &i in &begun {
        let mut together = numbers_of(&calls[i]);
        together.extend(calls[i].after.iter().flat_map(|&before| numbers_of(&calls[before])));
        for pair in together.windows(2) {
            let (a, b) = (find(&leader, pair[0]), find(&leader, pair[1]));
            leader[a] = b;
        }
    }
    let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
    for (key, &number) in &numbers {
        let group = groups.entry(find(&leader, number)).or_insert(Group { keys: Vec::new(), calls: Vec::new() });
        group.keys.push((*key).clone());
    }
    for &i in &begun {
        // A call on no key at all, on a store without any, says nothing.
        if let Some(&number) = numbers_of(&calls[i]).first()
            && let Some(group) = groups.get_mut(&find(&leader, number))
        {
            group.calls.push(i);
        }
    }
    groups.into_values().collect()
}

/// The model that holds what `contents` says of `keys`.
fn model_of(contents: &Contents, keys: &[KeyId]) -> Model {
    let mut model = Model::new();
    for (db, key) in keys {
        if let Some(held) = contents.get(&(*db, key.clone())) {
            model.hold(*db, key, held.clone());
        }
    }
    model
}

/// What is left of a group's calls to be put in order.
struct Search<'a> {
    calls: Vec<&'a Call>,
    /// For each call the calls that come before it, as bits.
    before: Vec<u128>,
    /// The calls that were answered, as bits.
    answered: u128,
    keys: &'a [KeyId],
    end: &'a ReadOut,
    /// What was tried in vain: calls done, and the state then.
    refused: HashSet<(u128, Model)>,
    order: Vec<usize>,
    longest: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(all: &'a [Call], position: usize, end: &'a ReadOut, group: &'a Group) -> Self {
        assert!(group.calls.len() <= 128, "{} calls on one group of keys", group.calls.len());
        let calls: Vec<&Call> = group.calls.iter().map(|&i| &all[i]).collect();
        let precedes = |a: usize, b: usize| {
            let answered_first = all[a].is_answered(position) && all[a].returned < all[b].invoked;
            answered_first || all[b].after == Some(a)
        };
        let bits = |test: &dyn Fn(usize) -> bool| {
            group.calls.iter().enumerate().fold(0u128, |bits, (bit, &i)| bits | u128::from(test(i)) << bit)
        };
        let before = group.calls.iter().map(|&b| bits(&|a| precedes(a, b))).collect();
        let answered = bits(&|i| all[i].is_answered(position));
        let keys = &group.keys;
        Self { calls, before, answered, keys, end, refused: HashSet::new(), order: Vec::new(), longest: Vec::new() }
    }

    /// Whether the order so far, which did the calls `done` and led to `state`, can be completed.
    fn extend(&mut self, done: u128, state: &Model) -> bool {
        if done & self.answered == self.answered && self.is_end(state) {
            return true;
        }
        if !self.refused.insert((done, state.clone())) {
            return false;
        }
        if self.order.len() > self.longest.len() {
            self.longest.clone_from(&self.order);
        }
        for i in 0..self.calls.len() {
            if done & 1 << i != 0 || self.before[i] & !done != 0 {
                continue;
            }
            for at_ms in self.moments(state, i) {
                let due = self.due(state, i, at_ms);
                assert!(due.len() < 16, "so many keys and fields that are due at once take too long");
                for kept in 0..1u32 << due.len() {
                    let kept = |number: usize| kept & 1 << number != 0;
                    let Some(next) = self.after(state, i, at_ms, &due, &kept) else { continue };
                    self.order.push(i);
                    if self.extend(done | 1 << i, &next) {
                        return true;
                    }
                    self.order.pop();
                }
            }
        }
        false
    }

    fn keys_of(&self, i: usize) -> &'a [KeyId] {
        match &self.calls[i].touches {
            Touches::Keys(keys) => keys,
            Touches::All => self.keys,
        }
    }

    /// The times that call `i` may happen at and that make a difference: when it began, and each deadline that came until it was answered.
    fn moments(&self, state: &Model, i: usize) -> Vec<i64> {
        let call = self.calls[i];
        let now_ms = call.now_ms as i64;
        let held = self.keys_of(i).iter().filter_map(|(db, key)| state.held(*db, key));
        let deadlines = held.flat_map(|held| held.fields.into_values().chain(held.deadline));
        let mut moments: Vec<i64> = deadlines.filter(|&at| at > now_ms && at as u64 <= call.until_ms).collect();
        moments.push(now_ms);
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// What call `i` may find expired at `at_ms`.
    fn due(&self, state: &Model, i: usize, at_ms: i64) -> Vec<Due<'a>> {
        let mut due = Vec::new();
        for id in self.keys_of(i) {
            let Some(held) = state.held(id.0, &id.1) else { continue };
            if held.deadline.is_some_and(|deadline| deadline <= at_ms) {
                due.push((id, None));
            }
            due.extend(held.fields.into_iter().filter(|(_, at)| *at <= at_ms).map(|(field, _)| (id, Some(field))));
        }
        due
    }

    /// The state after call `i`, if its reply, where there was one, is what the model says when expiry has come to `at_ms`. Of the keys and fields that
    /// are due by then those that are `kept` are not looked at: the reply must be right, and they must be as they were, although they are there.
    fn after(
        &self,
        state: &Model,
        i: usize,
        at_ms: i64,
        due: &[Due<'_>],
        kept: &dyn Fn(usize) -> bool,
    ) -> Option<Model> {
        let call = self.calls[i];
        let mut next = state.clone();
        for (number, ((db, key), field)) in due.iter().enumerate() {
            match field {
                _ if kept(number) => {}
                None => next.expire_if_due(*db, key, at_ms),
                Some(field) => next.expire_field_if_due(*db, key, field, at_ms),
            }
        }
        next.select_database(call.db);
        // What the command sets for so long, it sets from when it began.
        let now_ms = call.now_ms as i64;
        let known = "the workload asks only for what the model knows";
        let expected = next.apply(&call.command, now_ms).expect(known);
        let more: Vec<_> = call.more.iter().map(|command| next.apply(command, now_ms).expect(known)).collect();
        let accepts = |reply: &Frame| match reply.items() {
            Some(replies) if !more.is_empty() => {
                replies.len() == 1 + more.len()
                    && std::iter::once(&expected)
                        .chain(&more)
                        .zip(replies)
                        .all(|(expected, reply)| expected.accepts(reply))
            }
            _ => more.is_empty() && expected.accepts(reply),
        };
        // So that equal states are equal.
        next.select_database(0);
        let seen = call.reply.as_ref().filter(|_| self.answered & 1 << i != 0);
        let untouched = |(number, ((db, key), field)): (usize, &Due<'_>)| match field {
            _ if !kept(number) => true,
            None => next.held(*db, key) == state.held(*db, key),
            // Who renames a hash does not look at its fields.
            Some(field) => self
                .keys_of(i)
                .iter()
                .any(|(other, to)| field_of(&next, *other, to, field) == field_of(state, *db, key, field)),
        };
        (seen.is_none_or(accepts) && due.iter().enumerate().all(untouched)).then_some(next)
    }

    /// Whether the read-out is what `state` says.
    fn is_end(&self, state: &Model) -> bool {
        let now_ms = self.end.now_ms as i64;
        let found = |(db, key): &KeyId| {
            let mut held = state.held(*db, key).filter(|held| held.deadline.is_none_or(|at| at > now_ms))?;
            held.expire_fields(|_, at| at <= now_ms);
            (!held.is_gone()).then_some(held)
        };
        self.keys.iter().all(|id| found(id).as_ref() == self.end.contents.get(id))
    }
}

/// A key that is due, or a field of it.
type Due<'a> = (&'a KeyId, Option<Vec<u8>>);

/// Value and deadline of a hash's field.
fn field_of(state: &Model, db: usize, key: &[u8], field: &[u8]) -> Option<(Vec<u8>, Option<i64>)> {
    let held = state.held(db, key)?;
    let Value::Hash(values) = held.value else { return None };
    Some((values.get(field)?.clone(), held.fields.get(field).copied()))
}

#[cfg(test)]
mod tests;
