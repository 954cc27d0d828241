//! Keys that several clients write: checked by who finished before whom, on one clock of ticks.

use super::{Broken, Violation};

/// The number of a call in a register's round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(usize);

/// What a register holds: the label of the write that put it there, or `None` after a delete.
type Label = Option<u64>;

#[derive(Clone, Debug)]
struct Write {
    label: Label,
    invoked: u64,
    acknowledged: Option<u64>,
}

#[derive(Clone, Debug)]
struct Read {
    label: Label,
    invoked: u64,
    acknowledged: u64,
}

/// A key with many writers and readers, over one round between two crashes. Labels are never used twice; deletes
/// share `None`.
#[derive(Clone, Debug)]
pub struct Register {
    writes: Vec<Write>,
    reads: Vec<Read>,
}

impl Default for Register {
    fn default() -> Self {
        Self::holding(None)
    }
}

impl Register {
    fn holding(label: Label) -> Self {
        Self { writes: vec![Write { label, invoked: 0, acknowledged: Some(0) }], reads: Vec::new() }
    }

    /// A write of `label` (a delete for `None`) goes out at this tick; ticks start at 1.
    pub fn invoke(&mut self, label: Label, tick: u64) -> Ticket {
        self.writes.push(Write { label, invoked: tick, acknowledged: None });
        Ticket(self.writes.len() - 1)
    }

    /// It was answered at this tick.
    pub fn acknowledge(&mut self, ticket: Ticket, tick: u64) {
        self.writes[ticket.0].acknowledged = Some(tick);
    }

    /// A reader that asked at `invoked` was shown `label` at `acknowledged`.
    pub fn saw(&mut self, label: Label, invoked: u64, acknowledged: u64) {
        self.reads.push(Read { label, invoked, acknowledged });
    }

    /// After a crash the key was found to hold `found`. Starts the next round from it.
    ///
    /// # Errors
    /// When no order of the calls that agrees with real time ends there, or a read was impossible.
    pub fn settle(&mut self, key: &str, found: Label) -> Result<(), Violation> {
        let round = std::mem::replace(self, Self::holding(found));
        let violation = |broken, text: String| Err(Violation::new(broken, format!("shared key {key}: {text}")));
        for read in &round.reads {
            if !round.could_show(read) {
                return violation(
                    Broken::Lost,
                    format!("a reader was shown {:?}, which was overwritten before it asked", read.label),
                );
            }
        }
        let mut candidates = round.writes.iter().filter(|write| write.label == found).peekable();
        if candidates.peek().is_none() {
            return violation(Broken::Torn, format!("holds {found:?}, which nobody wrote in this round"));
        }
        if candidates.any(|write| !round.is_overwritten(write)) {
            return Ok(());
        }
        violation(
            Broken::Lost,
            format!("went back to {found:?}, which was overwritten or not shown any more before the crash"),
        )
    }

    /// Whether something that surely came after `write` shows that the key held something else later.
    fn is_overwritten(&self, write: &Write) -> bool {
        let Some(done) = write.acknowledged else { return false };
        self.writes.iter().any(|other| other.acknowledged.is_some() && other.invoked > done)
            || self.reads.iter().any(|read| read.invoked > done && read.label != write.label)
    }

    fn could_show(&self, read: &Read) -> bool {
        let overwritten_before = |write: &Write| {
            write.acknowledged.is_some_and(|done| {
                let between =
                    |other: &&Write| other.invoked > done && other.acknowledged.is_some_and(|end| end < read.invoked);
                self.writes.iter().any(|other| between(&other))
            })
        };
        let shows = |write: &&Write| write.label == read.label && write.invoked < read.acknowledged;
        self.writes.iter().filter(shows).any(|write| !overwritten_before(write))
    }
}

/// A key that several clients increment by one, over one round between two crashes.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    start: i64,
    pending: i64,
    replies: Vec<i64>,
}

impl Counter {
    /// An increment goes out.
    pub fn invoke(&mut self) {
        self.pending += 1;
    }

    /// One was answered with this number.
    pub fn acknowledge(&mut self, reply: i64) {
        self.pending -= 1;
        self.replies.push(reply);
    }

    /// After a crash the key was found to hold `found`. Starts the next round from it.
    ///
    /// # Errors
    /// When an acknowledged increment is missing, one counted twice, or two were answered alike.
    pub fn settle(&mut self, key: &str, found: i64) -> Result<(), Violation> {
        let round = std::mem::replace(self, Self { start: found, ..Self::default() });
        let lowest = round.start + round.replies.len() as i64;
        let highest_reply = round.replies.iter().copied().max().unwrap_or(round.start);
        let mut replies = round.replies;
        let count = replies.len();
        replies.sort_unstable();
        replies.dedup();
        let violation = |broken, text: String| Err(Violation::new(broken, format!("shared counter {key}: {text}")));
        if replies.len() < count {
            return violation(Broken::Lost, "two increments were answered with the same number".to_owned());
        }
        if found < lowest.max(highest_reply) {
            return violation(
                Broken::Lost,
                format!("holds {found}, below the acknowledged {}", lowest.max(highest_reply)),
            );
        }
        if found > lowest + round.pending {
            return violation(
                Broken::Torn,
                format!("holds {found}, above the {} that were asked for", lowest + round.pending),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes as (label, invoked, acknowledged).
    fn register(writes: &[(Label, u64, Option<u64>)], reads: &[(Label, u64, u64)]) -> Register {
        let mut register = Register::default();
        for &(label, invoked, acknowledged) in writes {
            let ticket = register.invoke(label, invoked);
            if let Some(tick) = acknowledged {
                register.acknowledge(ticket, tick);
            }
        }
        reads.iter().for_each(|&(label, invoked, acknowledged)| register.saw(label, invoked, acknowledged));
        register
    }

    fn settles(writes: &[(Label, u64, Option<u64>)], reads: &[(Label, u64, u64)], found: Label) -> bool {
        register(writes, reads).settle("k", found).is_ok()
    }

    #[test]
    fn the_last_acknowledged_write_stays() {
        let one_after_the_other = [(Some(1), 1, Some(2)), (Some(2), 3, Some(4))];
        assert!(settles(&one_after_the_other, &[], Some(2)));
        assert!(!settles(&one_after_the_other, &[], Some(1)));
        assert!(!settles(&one_after_the_other, &[], None));
        assert!(!settles(&one_after_the_other, &[], Some(9)));
    }

    #[test]
    fn concurrent_writes_may_end_either_way_and_pending_ones_may_happen() {
        let concurrent = [(Some(1), 1, Some(4)), (Some(2), 2, Some(3))];
        assert!(settles(&concurrent, &[], Some(1)) && settles(&concurrent, &[], Some(2)));
        let pending = [(Some(1), 1, Some(2)), (Some(2), 3, None)];
        assert!(settles(&pending, &[], Some(1)) && settles(&pending, &[], Some(2)));
    }

    #[test]
    fn what_a_reader_was_shown_stays() {
        let pending = [(Some(1), 1, Some(2)), (Some(2), 3, None)];
        assert!(settles(&pending, &[(Some(2), 4, 5)], Some(2)));
        assert!(!settles(&pending, &[(Some(2), 4, 5)], Some(1)));
    }

    #[test]
    fn stale_and_invented_reads_are_seen() {
        let writes = [(Some(1), 1, Some(2)), (Some(2), 3, Some(4))];
        assert!(!settles(&writes, &[(Some(1), 5, 6)], Some(2)));
        assert!(!settles(&writes, &[(Some(7), 5, 6)], Some(2)));
        assert!(settles(&writes, &[(Some(1), 3, 6), (None, 1, 2)], Some(2)));
    }

    #[test]
    fn deletes_are_writes() {
        assert!(settles(&[(Some(1), 1, Some(2)), (None, 3, Some(4))], &[], None));
        assert!(!settles(&[(Some(1), 1, Some(2)), (None, 3, Some(4))], &[], Some(1)));
    }

    #[test]
    fn counters() {
        let counter = |replies: &[i64], pending: usize| {
            let mut counter = Counter::default();
            (0..replies.len() + pending).for_each(|_| counter.invoke());
            replies.iter().for_each(|&reply| counter.acknowledge(reply));
            counter
        };
        assert!(counter(&[1, 2, 3], 1).settle("n", 3).is_ok());
        assert!(counter(&[1, 2, 3], 1).settle("n", 4).is_ok());
        assert!(counter(&[1, 2, 3], 1).settle("n", 2).is_err());
        assert!(counter(&[1, 2, 3], 1).settle("n", 5).is_err());
        assert!(counter(&[1, 2, 2], 0).settle("n", 3).is_err());
    }
}
