//! A database that one client has to itself, with values of every type: what the client asked for, what was
//! acknowledged, and what may be there after a crash, by the model.

use super::{Broken, Violation};
use crate::contents::{Content, alike, same};
use crate::model::Model;
use crate::{Command, Frame, command, show};
use std::collections::VecDeque;

/// Commands that happen together or not at all.
#[derive(Clone, Debug)]
struct Step {
    commands: Vec<Command>,
    at_ms: i64,
    is_transaction: bool,
    /// Replies that have come: of a transaction `OK`, a `QUEUED` for each command, and the last one with theirs.
    answered: usize,
}

impl Step {
    fn apply(&self, model: &mut Model) {
        for command in &self.commands {
            model.apply(command, self.at_ms);
        }
    }
}

/// One client's account of its database.
#[derive(Clone, Debug)]
pub struct Account {
    database: usize,
    /// As the acknowledged steps left it.
    acknowledged: Model,
    /// As those that are under way will leave it.
    asked: Model,
    under_way: VecDeque<Step>,
    refused: usize,
}

impl Account {
    /// Of a database that is empty.
    pub fn new(database: usize) -> Self {
        let mut model = Model::new();
        model.select_database(database);
        Self { database, acknowledged: model.clone(), asked: model, under_way: VecDeque::new(), refused: 0 }
    }

    /// The number of the database.
    pub fn database(&self) -> usize {
        self.database
    }

    /// Commands of transactions that were refused for want of room: a transaction that has written cannot wait for it.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// The commands go out at this time (Unix milliseconds), each for itself or `together`, as a transaction. Returns
    /// what to send: not those of which the model does not know what they do.
    pub fn invoke(&mut self, mut commands: Vec<Command>, together: bool, at_ms: i64) -> Vec<Command> {
        commands.retain(|command| self.asked.apply(command, at_ms).is_some());
        if !together {
            let alone =
                |command: &Command| Step { commands: vec![command.clone()], at_ms, is_transaction: false, answered: 0 };
            self.under_way.extend(commands.iter().map(alone));
            return commands;
        }
        let framed = [&[command(&["MULTI"])], commands.as_slice(), &[command(&["EXEC"])]].concat();
        self.under_way.push_back(Step { commands, at_ms, is_transaction: true, answered: 0 });
        framed
    }

    /// The next reply has come. Returns how many commands it acknowledges.
    ///
    /// # Errors
    /// When it is not what the acknowledged state calls for.
    ///
    /// # Panics
    /// When nothing is under way.
    pub fn acknowledge(&mut self, reply: &Frame) -> Result<usize, Violation> {
        let step = self.under_way.front_mut().expect("a reply belongs to a command");
        let (answered, count) = (step.answered, step.commands.len());
        step.answered += 1;
        let replies = match reply {
            reply if !step.is_transaction => std::slice::from_ref(reply),
            Frame::Simple(text) if answered == 0 && text == b"OK" => return Ok(0),
            Frame::Simple(text) if (1..=count).contains(&answered) && text == b"QUEUED" => return Ok(0),
            Frame::Array(items) if answered == count + 1 && items.len() == count => items.as_slice(),
            reply => {
                let text = format!("a transaction of {count} got {reply:?} as its reply number {answered}");
                return Err(Violation::new(Broken::Lost, text));
            }
        };
        let step = self.under_way.pop_front().expect("looked at above");
        for (command, reply) in step.commands.iter().zip(replies) {
            if step.is_transaction && is_want_of_room(reply) {
                self.refused += 1;
                continue;
            }
            match self.acknowledged.apply(command, step.at_ms) {
                Some(expected) if !expected.accepts(reply) => {
                    let text = format!("{} answered {reply:?}, expected {expected:?}", show(command));
                    return Err(Violation::new(Broken::Lost, text));
                }
                _ => {}
            }
        }
        // Behind a refused command what was asked for is another state.
        if replies.iter().any(is_want_of_room) {
            self.asked = self.acknowledged.clone();
            self.under_way.iter().for_each(|step| step.apply(&mut self.asked));
        }
        Ok(count)
    }

    /// After a crash: compares what is there with what may be, takes it as the new acknowledged state, and returns
    /// how many of the steps under way turned out to have happened.
    ///
    /// # Errors
    /// What is wrong, key by key, when this is no state that the history allows.
    pub fn settle(&mut self, found: &[Content]) -> Result<usize, Vec<Violation>> {
        let mut states = vec![self.acknowledged.clone()];
        for step in self.under_way.drain(..) {
            let mut next = states[states.len() - 1].clone();
            step.apply(&mut next);
            states.push(next);
        }
        let candidates: Vec<Vec<Content>> = states.iter().map(|state| state.contents(self.database)).collect();
        // The last match: a step that changed nothing counts as done.
        if let Some(done) = candidates.iter().rposition(|candidate| same(candidate, found)) {
            self.acknowledged = states.swap_remove(done);
            self.asked = self.acknowledged.clone();
            return Ok(done);
        }
        let closest = candidates.iter().min_by_key(|candidate| differences(candidate, found).len());
        let wrong = closest.map(|candidate| differences(candidate, found)).unwrap_or_default();
        // Each right for itself at some point of the history, but not together: steps were cut in two.
        let right_alone =
            |key: &&[u8]| candidates.iter().any(|candidate| agree(held(candidate, key), held(found, key)));
        let broken = if wrong.iter().all(right_alone) { Broken::Torn } else { Broken::Lost };
        let tell = |content: Option<&Content>| {
            content.map_or("nothing".to_owned(), |(_, value, at, fields)| {
                format!("{:?} deadline {at:?} of fields {fields:?}", Frame::bulk(value))
            })
        };
        let violation = |key: &[u8]| {
            let expected: Vec<String> = candidates.iter().map(|candidate| tell(held(candidate, key))).collect();
            let (key, found) = (key.escape_ascii(), tell(held(found, key)));
            let text = format!("database {} {key}: found {found}, expected {}", self.database, expected.join(" or "));
            Violation::new(broken, text)
        };
        Err(wrong.into_iter().map(violation).collect())
    }
}

fn is_want_of_room(reply: &Frame) -> bool {
    matches!(reply, Frame::Error(text) if text.starts_with(b"OOM "))
}

fn held<'c>(contents: &'c [Content], key: &[u8]) -> Option<&'c Content> {
    contents.iter().find(|content| content.0 == key)
}

fn agree(a: Option<&Content>, b: Option<&Content>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => alike(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// The keys that are not the same in both.
fn differences<'c>(a: &'c [Content], b: &'c [Content]) -> Vec<&'c [u8]> {
    let names = a.iter().chain(b.iter().filter(|content| held(a, &content.0).is_none()));
    names.map(|content| content.0.as_slice()).filter(|key| !agree(held(a, key), held(b, key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Command {
        text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    /// What a database is after these commands.
    fn after(commands: &[&str]) -> Vec<Content> {
        let mut model = Model::new();
        for text in commands {
            model.apply(&words(text), 0).expect("a command that the model knows");
        }
        model.contents(0)
    }

    /// An account with these commands under way, or as one transaction.
    fn asked(commands: &[&str], together: bool) -> Account {
        let mut account = Account::new(0);
        account.invoke(commands.iter().map(|text| words(text)).collect(), together, 0);
        account
    }

    fn broken(result: Result<usize, Vec<Violation>>) -> Broken {
        result.expect_err("an illegal history")[0].broken
    }

    #[test]
    fn what_is_under_way_happens_in_order_or_not_at_all() {
        let commands = ["RPUSH l a b", "SADD s a", "LPOP l"];
        let account = asked(&commands, false);
        for done in 0..=3 {
            assert_eq!(account.clone().settle(&after(&commands[..done])), Ok(done));
        }
        assert_eq!(broken(account.clone().settle(&after(&["SADD s a"]))), Broken::Torn);
        assert_eq!(broken(account.clone().settle(&after(&["RPUSH l b a"]))), Broken::Lost);
    }

    #[test]
    fn an_acknowledged_change_stays_over_two_crashes() {
        let mut account = asked(&["RPUSH l a b", "LPOP l"], false);
        assert_eq!(account.acknowledge(&Frame::Integer(2)), Ok(1));
        assert_eq!(account.acknowledge(&Frame::bulk("a")), Ok(1));
        assert_eq!(account.settle(&after(&["RPUSH l b"])), Ok(0));
        assert_eq!(broken(account.settle(&after(&["RPUSH l a b"]))), Broken::Lost);
    }

    #[test]
    fn a_transaction_happens_whole_or_not_at_all() {
        let commands = ["RPUSH l a", "SADD s a"];
        let mut account = asked(&commands, true);
        assert_eq!(account.clone().settle(&after(&[])), Ok(0));
        assert_eq!(account.clone().settle(&after(&commands)), Ok(1));
        assert_eq!(broken(account.clone().settle(&after(&commands[..1]))), Broken::Torn);
        for reply in [Frame::ok(), Frame::Simple(b"QUEUED".to_vec()), Frame::Simple(b"QUEUED".to_vec())] {
            assert_eq!(account.acknowledge(&reply), Ok(0));
        }
        assert_eq!(account.acknowledge(&Frame::Array(vec![Frame::Integer(1); 2])), Ok(2));
        assert_eq!(broken(account.settle(&after(&[]))), Broken::Lost);
    }

    #[test]
    fn what_found_no_room_in_a_transaction_is_not_there() {
        let mut account = asked(&["RPUSH l a", "SADD s a", "RPUSH l b"], true);
        let queued = Frame::Simple(b"QUEUED".to_vec());
        for reply in [Frame::ok(), queued.clone(), queued.clone(), queued] {
            assert_eq!(account.acknowledge(&reply), Ok(0));
        }
        let items = vec![Frame::Integer(1), Frame::error("OOM no room"), Frame::Integer(2)];
        assert_eq!(account.acknowledge(&Frame::Array(items)), Ok(3));
        assert_eq!(account.refused(), 1);
        assert_eq!(account.clone().settle(&after(&["RPUSH l a b"])), Ok(0));
        assert!(account.settle(&after(&["RPUSH l a b", "SADD s a"])).is_err());
    }

    #[test]
    fn a_wrong_reply_is_seen_and_what_is_not_known_is_not_sent() {
        assert!(asked(&["RPUSH l a b"], false).acknowledge(&Frame::Integer(1)).is_err());
        assert!(asked(&["RPUSH l a b"], true).acknowledge(&Frame::Integer(2)).is_err());
        assert_eq!(Account::new(0).invoke(vec![words("NOSUCHCOMMAND")], false, 0), Vec::<Command>::new());
    }
}
