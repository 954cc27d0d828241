//! ZADD and ZINCRBY.

use super::score::{number_arg, stored};
use crate::command::parse::is_word;
use crate::command::{Answer, CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::Edit;

/// The options of ZADD.
#[derive(Clone, Copy, Default)]
pub struct Rules {
    /// NX: only members that are not there.
    pub only_new: bool,
    /// XX: only members that are there.
    pub only_known: bool,
    /// GT: a member that is there only gets a greater score.
    pub only_greater: bool,
    /// LT: a member that is there only gets a lesser score.
    pub only_less: bool,
    /// CH: members whose score has changed are counted, too.
    pub counts_changed: bool,
    /// INCR: the score is added to the one that is there.
    pub increments: bool,
}

impl Rules {
    /// Takes in one option; says whether it was one.
    pub fn take(&mut self, word: &[u8]) -> bool {
        let option = match word {
            _ if is_word(word, "NX") => &mut self.only_new,
            _ if is_word(word, "XX") => &mut self.only_known,
            _ if is_word(word, "GT") => &mut self.only_greater,
            _ if is_word(word, "LT") => &mut self.only_less,
            _ if is_word(word, "CH") => &mut self.counts_changed,
            _ if is_word(word, "INCR") => &mut self.increments,
            _ => return false,
        };
        *option = true;
        true
    }

    /// Takes in one option of GEOADD; says whether it was one.
    pub fn take_of_geoadd(&mut self, word: &[u8]) -> bool {
        ["NX", "XX", "CH"].iter().any(|option| is_word(word, option)) && self.take(word)
    }

    fn check(&self, pairs: usize) -> Result<(), CommandError> {
        let known_and_new = self.only_new && self.only_known;
        let contrary = [self.only_new, self.only_greater, self.only_less].into_iter().filter(|&rule| rule).count() > 1;
        Err(CommandError::fixed(if known_and_new {
            "ERR XX and NX options at the same time are not compatible"
        } else if contrary {
            "ERR GT, LT, and/or NX options at the same time are not compatible"
        } else if self.increments && pairs > 1 {
            "ERR INCR option supports a single increment-element pair"
        } else {
            return Ok(());
        }))
    }
}

/// What was done to a member.
enum Done {
    Added(f64),
    Changed(f64),
    /// It had that score.
    Kept(f64),
    /// The options forbid it.
    Nothing,
}

/// `ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member [score member ...]`
pub fn zadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut rules = Rules::default();
    let options = args.from(2).iter().take_while(|word| rules.take(word)).count();
    let pairs = args.from(2 + options);
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::SYNTAX);
    }
    rules.check(pairs.len() / 2)?;
    let mut members = Vec::with_capacity(pairs.len() / 2);
    for at in (0..pairs.len()).step_by(2) {
        members.push((number_arg(pairs.at(at))?, pairs.at(at + 1)));
    }
    add(ctx, args.at(1), &members, rules)
}

/// ZADD without options in a run.
pub fn stage_zadd(set: &mut Edit<'_, '_>, args: Args<'_>) -> Result<Answer, CommandError> {
    let pairs = args.from(2);
    if !pairs.len().is_multiple_of(2) {
        return Err(CommandError::SYNTAX);
    }
    let mut added = 0;
    for at in (0..pairs.len()).step_by(2) {
        // An option is no number.
        let done = put(set, pairs.at(at + 1), number_arg(pairs.at(at))?, Rules::default())?;
        added += usize::from(matches!(done, Done::Added(_)));
    }
    Ok(Answer::count(added))
}

/// `ZINCRBY key increment member`
pub fn zincrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    // Redis takes a word of ZADD's there for an option, which leaves a member without its score.
    if ["NX", "XX", "GT", "LT", "CH", "INCR"].iter().any(|word| is_word(args.at(2), word)) {
        return Err(CommandError::SYNTAX);
    }
    let rules = Rules { increments: true, ..Rules::default() };
    add(ctx, args.at(1), &[(number_arg(args.at(2))?, args.at(3))], rules)
}

/// Adds the members to the sorted set at `name`, and replies as ZADD does.
///
/// # Errors
/// Those of the store; `ERR resulting score is not a number (NaN)`.
pub fn add(ctx: &mut Ctx<'_>, name: &[u8], members: &[(f64, &[u8])], rules: Rules) -> Result<(), CommandError> {
    let key = ctx.key(name);
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let mut set = txn.edit(key, ObjectType::SortedSet)?;
    let (mut added, mut changed, mut last) = (0, 0, None);
    for &(score, member) in members {
        last = match put(&mut set, member, score, rules)? {
            Done::Added(score) => {
                added += 1;
                Some(score)
            }
            Done::Changed(score) => {
                changed += 1;
                Some(score)
            }
            Done::Kept(score) => Some(score),
            Done::Nothing => None,
        };
    }
    if added + changed > 0 {
        let is_new = set.base().is_none();
        set.finish()?;
        txn.commit()?;
        let event = if rules.increments { "zincr" } else { "zadd" };
        ctx.notify_write(is_new, Events::ZSET, event, key);
    }
    match last {
        _ if !rules.increments => ctx.reply.integer(if rules.counts_changed { added + changed } else { added }),
        Some(score) => ctx.reply.double(score),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn put(set: &mut Edit<'_, '_>, member: &[u8], score: f64, rules: Rules) -> Result<Done, CommandError> {
    let Some(former) = set.get(member).map(|element| element.score()) else {
        if rules.only_known {
            return Ok(Done::Nothing);
        }
        set.add(member, &stored(score))?;
        return Ok(Done::Added(score));
    };
    let score = if rules.increments { former + score } else { score };
    if rules.only_new {
        return Ok(Done::Nothing);
    }
    if score.is_nan() {
        return Err(CommandError::fixed("ERR resulting score is not a number (NaN)"));
    }
    if rules.only_less && score >= former || rules.only_greater && score <= former {
        return Ok(Done::Nothing);
    }
    if score == former {
        return Ok(Done::Kept(former));
    }
    set.put(member, &stored(score))?;
    Ok(Done::Changed(score))
}
