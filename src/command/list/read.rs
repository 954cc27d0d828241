//! LLEN, LINDEX, LRANGE, LPOS.

use crate::command::parse::{integer, integer_arg, is_word};
use crate::command::{CommandError, Ctx};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::View;

const ZERO_RANK: CommandError = CommandError::fixed(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
);

const RANK_RANGE: CommandError =
    CommandError::fixed("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");

pub(super) fn llen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let len = ctx.view(args.at(1), ObjectType::List)?.map_or(0, |view| view.len());
    ctx.reply.integer(len as i64);
    Ok(())
}

pub(super) fn lindex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let element = match ctx.view(args.at(1), ObjectType::List)? {
        Some(view) => position(integer_arg(args.at(2))?, view.len()).and_then(|at| view.nth(at)),
        None => None,
    };
    match element {
        Some(element) => ctx.reply.bulk(element.value()),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// The position that an index means, where negative ones count from the end.
pub(super) fn position(index: i64, len: usize) -> Option<usize> {
    let at = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(at).ok().filter(|&at| at < len)
}

/// The positions from `start` to `stop`, both included, that are within a list of this length.
pub(super) fn span(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, end) = (from_end(start).clamp(0, len), from_end(stop).saturating_add(1).clamp(0, len));
    start as usize..end.max(start) as usize
}

pub(super) fn lrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (start, stop) = (integer_arg(args.at(2))?, integer_arg(args.at(3))?);
    let Some(view) = ctx.view(args.at(1), ObjectType::List)? else {
        ctx.reply.array_header(0);
        return Ok(());
    };
    let span = span(start, stop, view.len());
    ctx.reply.array_header(span.len());
    for element in view.iter_from(span.start).take(span.len()) {
        ctx.reply.bulk(element.value());
    }
    Ok(())
}

/// What LPOS is to find.
struct Search<'r> {
    value: &'r [u8],
    /// Matches that are passed over first.
    skip: usize,
    backwards: bool,
    /// `None`: one, which is then no array in the reply.
    count: Option<usize>,
    /// Most elements that are compared.
    most: usize,
}

impl<'r> Search<'r> {
    fn parse(args: Args<'r>) -> Result<Self, CommandError> {
        let mut search = Self { value: args.at(2), skip: 0, backwards: false, count: None, most: usize::MAX };
        let not_negative = |bytes: &[u8], error| integer(bytes).and_then(|n| usize::try_from(n).ok()).ok_or(error);
        let mut at = 3;
        // Ends: each turn takes two words.
        while let Some(option) = args.get(at) {
            let value = args.get(at + 1).ok_or(CommandError::SYNTAX)?;
            if is_word(option, "RANK") {
                let rank = integer_arg(value)?;
                if rank == 0 {
                    return Err(ZERO_RANK);
                }
                if rank == i64::MIN {
                    return Err(RANK_RANGE);
                }
                (search.skip, search.backwards) = (rank.unsigned_abs() as usize - 1, rank < 0);
            } else if is_word(option, "COUNT") {
                let count = not_negative(value, CommandError::fixed("ERR COUNT can't be negative"))?;
                search.count = Some(if count == 0 { usize::MAX } else { count });
            } else if is_word(option, "MAXLEN") {
                let most = not_negative(value, CommandError::fixed("ERR MAXLEN can't be negative"))?;
                search.most = if most == 0 { usize::MAX } else { most };
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 2;
        }
        Ok(search)
    }

    /// The positions found, in the order of the search.
    fn run(&self, view: &View<'_>) -> Vec<usize> {
        let (len, count) = (view.len(), self.count.unwrap_or(1));
        let start = if self.backwards { len.saturating_sub(self.most) } else { 0 };
        let matches = view.iter_from(start).take(self.most).zip(start..);
        let matches = matches.filter(|(element, _)| element.value() == self.value).map(|(_, at)| at);
        if self.backwards {
            let all: Vec<usize> = matches.collect();
            all.into_iter().rev().skip(self.skip).take(count).collect()
        } else {
            matches.skip(self.skip).take(count).collect()
        }
    }
}

pub(super) fn lpos(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let search = Search::parse(args)?;
    let found = ctx.view(args.at(1), ObjectType::List)?.map_or_else(Vec::new, |view| search.run(&view));
    match (search.count, found.first()) {
        (Some(_), _) => {
            ctx.reply.array_header(found.len());
            found.iter().for_each(|&at| ctx.reply.integer(at as i64));
        }
        (None, Some(&at)) => ctx.reply.integer(at as i64),
        (None, None) => ctx.reply.null(),
    }
    Ok(())
}
