//! What the commands on hashes, lists, sets and sorted sets share.

use super::clients::ClientClass;
use super::generic::cursor_arg;
use super::parse::{integer, is_word};
use super::{CommandError, Ctx, Settings, glob};
use crate::log::ObjectType;
use crate::protocol::{Args, ReplyWriter};
use crate::store::{Element, Txn, View};
use std::hash::{BuildHasher, RandomState};

impl<'a> Ctx<'a> {
    /// The collection at `name`, counting a hit or a miss, and a use of the key. It is locked as long as the view is kept: drop it before a
    /// transaction that changes the same collection commits.
    ///
    /// # Errors
    /// `WRONGTYPE` when the key holds another type.
    pub fn view(&self, name: &[u8], kind: ObjectType) -> Result<Option<View<'a>>, CommandError> {
        let uses = !self.worker.no_touch;
        let view = self.store.collection(self.key(name), Some(kind), uses, self.now_ms, self.guard);
        self.lookups().saw(self.key(name), !matches!(view, Ok(None)));
        Ok(view?)
    }

    /// Begins a write of these keys of the session's database. To read several collections as of one moment, begin one and commit nothing.
    pub fn txn<'t>(&'t mut self, names: &[&[u8]]) -> Txn<'t> {
        let keys: Vec<_> = names.iter().map(|name| self.key(name)).collect();
        self.store.write(self.worker, &keys, self.now_ms, self.guard)
    }
}

/// The arguments of HSCAN, SSCAN and ZSCAN behind the key.
#[derive(Debug, Clone, Copy)]
pub struct ScanOptions<'r> {
    cursor: u64,
    pattern: Option<&'r [u8]>,
    count: usize,
    /// NOVALUES.
    pub no_values: bool,
    /// What is returned of each element: its name, or two parts.
    parts: usize,
}

impl<'r> ScanOptions<'r> {
    /// Reads `cursor [MATCH pattern] [COUNT count] [NOVALUES]`; `values` says whether elements have a second part (a value, a score), which
    /// NOVALUES leaves out.
    ///
    /// # Errors
    /// `ERR invalid cursor`, `ERR syntax error`, `ERR value is not an integer or out of range`.
    pub fn parse(args: Args<'r>, values: bool) -> Result<Self, CommandError> {
        let cursor = cursor_arg(args.at(0)).ok_or(CommandError::fixed("ERR invalid cursor"))?;
        let mut options = Self { cursor, pattern: None, count: 10, no_values: false, parts: 1 + usize::from(values) };
        let mut at = 1;
        // Ends: `at` grows each turn.
        while at < args.len() {
            match (args.at(at), args.get(at + 1)) {
                (word, Some(pattern)) if is_word(word, "MATCH") => {
                    // What matches everything matches the empty name, too.
                    options.pattern = Some(pattern).filter(|pattern| *pattern != b"*");
                }
                (word, Some(count)) if is_word(word, "COUNT") => {
                    let count = integer(count).ok_or(CommandError::NOT_INTEGER)?;
                    options.count = usize::try_from(count).ok().filter(|&n| n > 0).ok_or(CommandError::SYNTAX)?;
                }
                (word, _) if values && is_word(word, "NOVALUES") => {
                    options.no_values = true;
                    at += 1;
                    continue;
                }
                _ => return Err(CommandError::SYNTAX),
            }
            at += 2;
        }
        Ok(options)
    }

    /// One step through a hash, set or sorted set: calls `emit` for the elements of this step that match and returns the next cursor, 0 at the end.
    ///
    /// The cursor is a place among the members, and counts down; a member that is there throughout a whole scan is met at least once.
    /// Small collections are returned whole, as by Redis.
    pub fn step<'g>(&self, view: &View<'g>, mut emit: impl FnMut(Element<'g>)) -> u64 {
        /// Members up to which a collection is returned whole: about what Redis keeps packed.
        const WHOLE: usize = 128;
        let len = view.len();
        let end = if self.cursor == 0 { len } else { usize::try_from(self.cursor).unwrap_or(len).min(len) };
        let count = if len <= WHOLE { len } else { self.count };
        let matches = |element: &Element<'_>| self.pattern.is_none_or(|pattern| glob::matches(pattern, element.name()));
        view.members_below(end).take(count).filter(matches).for_each(&mut emit);
        end.saturating_sub(count) as u64
    }
}

impl ScanOptions<'_> {
    /// Takes a step and replies: the next cursor and what `write` gives of each element, which must be as many parts for each.
    pub fn reply<'g>(
        &self,
        ctx: &mut Ctx<'_>,
        view: Option<&View<'g>>,
        mut write: impl FnMut(&mut ReplyWriter<'_>, Element<'g>),
    ) {
        let mut elements = Vec::new();
        let next = view.map_or(0, |view| self.step(view, |element| elements.push(element)));
        ctx.reply.array_header(2);
        ctx.reply.bulk_display(next);
        let parts = if self.parts == 2 && !self.no_values { 2 } else { 1 };
        ctx.reply.array_header(elements.len() * parts);
        elements.into_iter().for_each(|element| write(&mut ctx.reply, element));
    }
}

/// The count of HRANDFIELD, SRANDMEMBER and ZRANDMEMBER: so many different ones, or, if negative, so many of which some may be the same.
/// `doubled`: each is to be returned in two parts.
///
/// # Errors
/// `ERR value is not an integer or out of range`, `ERR value is out of range`, with the range where it is that of all integers.
pub fn random_count(text: &[u8], doubled: bool) -> Result<i64, CommandError> {
    let limit = if doubled { i64::MAX / 2 } else { i64::MAX };
    let count = integer(text).ok_or(CommandError::NOT_INTEGER)?;
    if count == i64::MIN {
        return Err(CommandError::new(format!(
            "ERR value is out of range, value must between {} and {}",
            -i64::MAX,
            i64::MAX
        )));
    }
    if count < -limit || count > limit {
        return Err(CommandError::fixed("ERR value is out of range"));
    }
    Ok(count)
}

/// Most elements that one reply repeats, where `client-output-buffer-limit` sets normal clients no hard limit: 128 Mi, which take 768 MiB at least.
const REPEATED_MOST: u64 = 128 << 20;

impl Ctx<'_> {
    /// How many elements out of `len`, which is not 0, HRANDFIELD, SRANDMEMBER and ZRANDMEMBER return, and their places: `count` different ones, or as
    /// many as there are; with a negative count exactly so many, each drawn when it is asked for. `doubled`: each is returned in two parts.
    ///
    /// A reply with repetitions is as long as the client likes, and the server holds all of it. So its parts, of 6 bytes or more each, are no more than
    /// fit into the hard limit of `client-output-buffer-limit normal`, and no more than 128 Mi where there is none.
    ///
    /// # Errors
    /// `ERR value is out of range, ...`, with how many there may be.
    pub fn random_places(
        &self,
        count: i64,
        len: usize,
        doubled: bool,
    ) -> Result<(usize, impl Iterator<Item = usize> + use<>), CommandError> {
        /// `$0\r\n\r\n`
        const PART_LEAST_BYTES: u64 = 6;
        let mut random = Random::new();
        let (distinct, repeated) = match usize::try_from(count) {
            Ok(count) => (random.distinct(count, len), 0),
            Err(_) => (Vec::new(), count.unsigned_abs()),
        };
        let most_parts = match self.shared.settings.output_limit(ClientClass::Normal).hard_bytes {
            0 => REPEATED_MOST,
            bytes => bytes / PART_LEAST_BYTES,
        };
        let most = most_parts / if doubled { 2 } else { 1 };
        if repeated > most {
            return Err(CommandError::new(format!(
                "ERR value is out of range, one reply has room for {most} elements"
            )));
        }
        let all = distinct.len() + repeated as usize;
        Ok((all, distinct.into_iter().chain((0..repeated).map(move |_| random.below(len)))))
    }
}

/// Whether Redis would keep a hash, set or sorted set in a listpack: by `NAME-max-listpack-entries` and `-value`.
pub fn is_packed(view: &View<'_>, settings: &Settings, name: &str) -> bool {
    let limit = |what: &str| {
        let text = settings.get(&format!("{name}-max-listpack-{what}")).unwrap_or_default();
        std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(usize::MAX)
    };
    let extent = view.extent();
    extent.most <= limit("entries") && extent.longest <= limit("value")
}

/// Random numbers, seeded by the system for each command.
pub struct Random {
    state: RandomState,
    counter: u64,
}

impl Random {
    /// A generator of its own.
    pub fn new() -> Self {
        Self { state: RandomState::new(), counter: 0 }
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.counter += 1;
        ((u128::from(self.state.hash_one(self.counter)) * bound as u128) >> 64) as usize
    }

    /// `count` different numbers below `bound`, or all of them, in no order.
    pub fn distinct(&mut self, count: usize, bound: usize) -> Vec<usize> {
        if count >= bound {
            return (0..bound).collect();
        }
        // Floyd's: one number drawn for each one returned.
        let mut chosen = std::collections::HashSet::with_capacity(count);
        let mut all = Vec::with_capacity(count);
        for top in bound - count..bound {
            let drawn = self.below(top + 1);
            let next = if chosen.insert(drawn) { drawn } else { top };
            chosen.insert(next);
            all.push(next);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Reply, TestClient};

    /// As many as asked for, up to what one reply has room for; of a key that is absent none, however many.
    #[test]
    fn repeated_elements_are_bounded() {
        let mut client = TestClient::new();
        client.run("HSET h a 1");
        client.run("SADD s a b");
        client.run("ZADD z 1 a");
        let refused =
            |most: u64| Reply::error(&format!("ERR value is out of range, one reply has room for {most} elements"));
        let commands = [("HRANDFIELD h", " WITHVALUES"), ("SRANDMEMBER s", ""), ("ZRANDMEMBER z", " WITHSCORES")];
        for (command, _) in commands {
            for count in [(128 << 20) + 1, i64::MAX / 2] {
                assert_eq!(client.run(&format!("{command} -{count}")), refused(128 << 20), "{command} {count}");
            }
        }
        client.run("CONFIG SET client-output-buffer-limit 'normal 600 0 0'");
        for (command, doubling) in commands {
            assert_eq!(client.run(&format!("{command} -100")).items().len(), 100, "{command}");
            assert_eq!(client.run(&format!("{command} -101")), refused(100), "{command}");
            assert!(client.run(&format!("{command} 1000")).items().len() <= 2);
            if !doubling.is_empty() {
                assert_eq!(client.run(&format!("{command} -50 {doubling}")).items().len(), 100, "{command}");
                assert_eq!(client.run(&format!("{command} -51 {doubling}")), refused(50), "{command}");
            }
            let absent = command.split(' ').next().unwrap_or_default();
            assert_eq!(client.run(&format!("{absent} none -{}", i64::MAX)), Reply::bulks([]));
        }
    }
}
