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
        let uses = usize::from(!self.worker.no_touch);
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

/// The options of HSCAN, SSCAN and ZSCAN.
#[derive(Debug, Clone, Copy)]
struct ScanOptions<'r> {
    pattern: Option<&'r [u8]>,
    count: usize,
    no_values: bool,
}

impl<'r> ScanOptions<'r> {
    /// Reads `[MATCH pattern] [COUNT count] [NOVALUES]`; `values` says whether elements have a second part, which NOVALUES leaves out.
    fn parse(args: Args<'r>, values: bool) -> Result<Self, CommandError> {
        let mut options = Self { pattern: None, count: 10, no_values: false };
        let mut at = 0;
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
}

/// HSCAN, SSCAN and ZSCAN: `key cursor [options]`. `second` writes what an element has besides its name, if it has that.
///
/// The cursor is a place among the members, and counts down to 0; a member that is there throughout a whole scan is met at least once. Small
/// collections are returned whole, as by Redis. As there, the options of a scan of an absent key are not looked at.
///
/// # Errors
/// `ERR invalid cursor`, `ERR syntax error`, `ERR value is not an integer or out of range`, `WRONGTYPE`.
pub fn scan(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    kind: ObjectType,
    second: Option<fn(&mut ReplyWriter<'_>, Element<'_>)>,
) -> Result<(), CommandError> {
    /// Members up to which a collection is returned whole: about what Redis keeps packed.
    const WHOLE: usize = 128;
    let cursor = cursor_arg(args.at(2)).ok_or(CommandError::fixed("ERR invalid cursor"))?;
    let Some(view) = ctx.view(args.at(1), kind)? else {
        ctx.reply.array_header(2);
        ctx.reply.bulk(b"0");
        ctx.reply.array_header(0);
        return Ok(());
    };
    let options = ScanOptions::parse(args.from(3), second.is_some())?;
    let len = view.places();
    let end = if cursor == 0 { len } else { usize::try_from(cursor).unwrap_or(len).min(len) };
    let count = if len <= WHOLE { len } else { options.count };
    let matches = |element: &Element<'_>| options.pattern.is_none_or(|pattern| glob::matches(pattern, element.name()));
    let next = end.saturating_sub(count);
    let found: Vec<Element<'_>> = view.members_in(next..end).filter(matches).collect();
    let second = second.filter(|_| !options.no_values);
    ctx.reply.array_header(2);
    ctx.reply.bulk_display(next);
    ctx.reply.array_header(found.len() * (1 + usize::from(second.is_some())));
    for element in found {
        ctx.reply.bulk(element.name());
        if let Some(second) = second {
            second(&mut ctx.reply, element);
        }
    }
    Ok(())
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
