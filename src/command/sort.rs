//! SORT and SORT_RO: the elements of a list, set or sorted set in another order, or what other keys have for them.
//!
//! Which keys the patterns of BY and GET name depends on the elements. So the elements are looked at first, and then once more with the stripes of
//! all keys held; if they have changed meanwhile it starts again.

use super::lookups::Lookups;
use super::parse::{integer_arg, is_word};
use super::{Arity, CommandError, CommandSpec, Ctx, Events, Flags, Group, KeySpec};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::{Db, End, Key, StoreError, Txn};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Returns or stores the elements of a list, set or sorted set in order.",
        complexity: "O(N + M log M) for N elements, M of them sorted; with STORE one record for each element and one for the list, in one batch",
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLEKEYS),
        keys: KeySpec::one(1),
        ..CommandSpec::new("sort", "1.0.0", Group::Generic, Arity::AtLeast(2), sort)
    },
    CommandSpec {
        summary: "Returns the elements of a list, set or sorted set in order.",
        complexity: "O(N + M log M) for N elements, M of them sorted; writes nothing",
        flags: Flags::READONLY.union(Flags::MOVABLEKEYS),
        keys: KeySpec::one(1),
        ..CommandSpec::new("sort_ro", "7.0.0", Group::Generic, Arity::AtLeast(2), sort_ro)
    },
];

const NOT_NUMBERS: CommandError = CommandError::fixed("ERR One or more scores can't be converted into double");

fn sort(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    Request::parse(args, true)?.run(ctx)
}

fn sort_ro(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    Request::parse(args, false)?.run(ctx)
}

/// Where to find something for an element.
#[derive(Clone, Copy)]
enum Pattern<'r> {
    /// `#`: the element itself.
    Itself,
    /// No `*`: nothing.
    Nothing,
    /// The string at the key that has the element between these two.
    At(&'r [u8], &'r [u8]),
    /// The field of the hash at such a key.
    Field(&'r [u8], &'r [u8], &'r [u8]),
}

impl<'r> Pattern<'r> {
    fn parse(text: &'r [u8]) -> Self {
        if text == b"#" {
            return Self::Itself;
        }
        let Some(star) = text.iter().position(|&byte| byte == b'*') else { return Self::Nothing };
        let (before, after) = (&text[..star], &text[star + 1..]);
        match after.windows(2).position(|pair| pair == b"->") {
            Some(arrow) if arrow + 2 < after.len() => Self::Field(before, &after[..arrow], &after[arrow + 2..]),
            _ => Self::At(before, after),
        }
    }

    /// The name of the key for an element.
    fn name(&self, element: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Itself | Self::Nothing => None,
            Self::At(before, after) | Self::Field(before, after, _) => Some([before, element, after].concat()),
        }
    }

    /// What there is for an element. The key that it names is one of the transaction's.
    fn look_up<'a>(&self, element: &'a [u8], within: Within<'_, 'a>) -> Result<Option<Cow<'a, [u8]>>, StoreError> {
        let Some(name) = self.name(element) else {
            return Ok(matches!(self, Self::Itself).then_some(Cow::Borrowed(element)));
        };
        let Within { txn, lookups, db } = within;
        let key = Key { db, name: &name };
        let found = match self {
            Self::Field(_, _, field) => lookups.view(txn, key, ObjectType::Hash).map(|hash| {
                let field = hash.and_then(|hash| hash.get(field));
                field.map(|field| Cow::Borrowed(field.value()))
            }),
            _ => lookups
                .get(txn, key)
                .map(|entry| entry.string())
                .transpose()
                .map(|value| value.map(|value| value.bytes())),
        };
        match found {
            Err(StoreError::WrongType) => Ok(None),
            found => found,
        }
    }
}

/// Where patterns look.
#[derive(Clone, Copy)]
struct Within<'t, 'a> {
    txn: &'t Txn<'a>,
    lookups: Lookups<'t>,
    db: Db,
}

/// What the elements are compared by.
#[derive(Clone, Copy)]
enum By<'r> {
    Themselves,
    Pattern(Pattern<'r>),
    /// They stay in the order that they have.
    Nothing,
}

struct Request<'r> {
    name: &'r [u8],
    by: By<'r>,
    gets: Vec<Pattern<'r>>,
    descending: bool,
    alpha: bool,
    offset: i64,
    count: i64,
    store: Option<&'r [u8]>,
}

impl<'r> Request<'r> {
    fn parse(args: Args<'r>, may_store: bool) -> Result<Self, CommandError> {
        let mut request = Self {
            name: args.at(1),
            by: By::Themselves,
            gets: Vec::new(),
            descending: false,
            alpha: false,
            offset: 0,
            count: -1,
            store: None,
        };
        let mut at = 2;
        // Ends: each turn takes at least one word.
        while let Some(word) = args.get(at) {
            at += match (args.get(at + 1), args.get(at + 2)) {
                _ if is_word(word, "ASC") => {
                    request.descending = false;
                    1
                }
                _ if is_word(word, "DESC") => {
                    request.descending = true;
                    1
                }
                _ if is_word(word, "ALPHA") => {
                    request.alpha = true;
                    1
                }
                (Some(offset), Some(count)) if is_word(word, "LIMIT") => {
                    (request.offset, request.count) = (integer_arg(offset)?, integer_arg(count)?);
                    3
                }
                (Some(name), _) if may_store && is_word(word, "STORE") => {
                    request.store = Some(name);
                    2
                }
                (Some(pattern), _) if is_word(word, "BY") => {
                    request.by = match Pattern::parse(pattern) {
                        Pattern::Itself | Pattern::Nothing => By::Nothing,
                        pattern => By::Pattern(pattern),
                    };
                    2
                }
                (Some(pattern), _) if is_word(word, "GET") => {
                    request.gets.push(Pattern::parse(pattern));
                    2
                }
                _ => return Err(CommandError::SYNTAX),
            };
        }
        Ok(request)
    }

    /// The names of the keys that are looked at for these elements.
    fn names_for(&self, elements: &[&[u8]]) -> BTreeSet<Vec<u8>> {
        let by = match &self.by {
            By::Pattern(pattern) => Some(pattern),
            _ => None,
        };
        let patterns = by.into_iter().chain(&self.gets);
        patterns.flat_map(|pattern| elements.iter().filter_map(|element| pattern.name(element))).collect()
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<(), CommandError> {
        let key = ctx.key(self.name);
        let mut names: BTreeSet<Vec<u8>> = [self.name].into_iter().chain(self.store).map(<[u8]>::to_vec).collect();
        let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
        // Ends: unless others give the key new elements between any two looks.
        loop {
            let keys: Vec<Key<'_>> = names.iter().map(|name| Key { db: key.db, name }).collect();
            let mut txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
            let found = elements_of(&txn, key);
            let (kind, elements) = found.inspect_err(|_| lookups.saw(key, true))?;
            let needed = self.names_for(&elements);
            if !needed.is_subset(&names) {
                drop(txn);
                names.extend(needed);
                continue;
            }
            lookups.saw(key, txn.peek(key).is_some());
            let within = Within { txn: &txn, lookups, db: key.db };
            let sorted = self.sorted(within, kind, elements)?;
            let mut found = Vec::with_capacity(sorted.len() * self.gets.len().max(1));
            for element in sorted {
                match &self.gets[..] {
                    [] => found.push(Some(Cow::Borrowed(element))),
                    gets => {
                        for get in gets {
                            found.push(get.look_up(element, within)?);
                        }
                    }
                }
            }
            let Some(name) = self.store else {
                drop(txn);
                ctx.reply.array_header(found.len());
                for value in found {
                    match value {
                        Some(value) => ctx.reply.bulk(&value),
                        None => ctx.reply.null(),
                    }
                }
                return Ok(());
            };
            let to = Key { db: key.db, name };
            let was_there = txn.peek(to).is_some();
            let mut edit = txn.list_new(to, None);
            for value in &found {
                edit.push(End::Right, value.as_deref().unwrap_or_default())?;
            }
            edit.finish()?;
            txn.commit()?;
            ctx.reply.integer(found.len() as i64);
            let is_stored = !found.is_empty();
            ctx.notify_store(is_stored, was_there, Events::LIST, "sortstore", to);
            return Ok(());
        }
    }

    /// Those of the elements that are asked for, in order.
    fn sorted<'a>(
        &self,
        within: Within<'_, 'a>,
        kind: ObjectType,
        mut elements: Vec<&'a [u8]>,
    ) -> Result<Vec<&'a [u8]>, CommandError> {
        match self.by {
            // A set has no order. What is stored should have one.
            By::Nothing if kind == ObjectType::Set && self.store.is_some() => {
                self.sort_by(&mut elements, |element| Ok(Cow::Borrowed(element)), Ord::cmp)?;
            }
            By::Nothing if kind == ObjectType::Set => {}
            By::Nothing if self.descending => elements.reverse(),
            By::Nothing => {}
            By::Themselves if self.alpha => {
                self.sort_by(&mut elements, |element| Ok(Cow::Borrowed(element)), Ord::cmp)?;
            }
            By::Themselves => self.sort_by(&mut elements, |element| Ok((number(element)?, element)), by_number)?,
            By::Pattern(pattern) if self.alpha => {
                self.sort_by(&mut elements, |element| Ok(pattern.look_up(element, within)?), Ord::cmp)?;
            }
            By::Pattern(pattern) => {
                let weight = |element| match pattern.look_up(element, within)? {
                    Some(value) => Ok((number(&value)?, element)),
                    None => Ok((0.0, element)),
                };
                self.sort_by(&mut elements, weight, by_number)?;
            }
        }
        let len = elements.len() as i64;
        let start = self.offset.clamp(0, len);
        let count = if self.count < 0 { len } else { self.count.min(len - start) };
        let end = start.saturating_add(count).min(len);
        Ok(elements[start as usize..end as usize].to_vec())
    }

    fn sort_by<'a, W>(
        &self,
        elements: &mut Vec<&'a [u8]>,
        weight: impl Fn(&'a [u8]) -> Result<W, CommandError>,
        compare: impl Fn(&W, &W) -> Ordering,
    ) -> Result<(), CommandError> {
        let weighed = elements.iter().map(|&element| Ok((weight(element)?, element)));
        let mut weighed = weighed.collect::<Result<Vec<_>, CommandError>>()?;
        weighed.sort_by(|(a, _), (b, _)| if self.descending { compare(b, a) } else { compare(a, b) });
        *elements = weighed.into_iter().map(|(_, element)| element).collect();
        Ok(())
    }
}

/// By number, then by the element.
fn by_number(a: &(f64, &[u8]), b: &(f64, &[u8])) -> Ordering {
    a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
}

/// The elements of the list, set or sorted set at a key, and which of them it is; of an absent key none.
fn elements_of<'a>(txn: &Txn<'a>, key: Key<'_>) -> Result<(ObjectType, Vec<&'a [u8]>), CommandError> {
    let kind = txn.get(key).map_or(ObjectType::List, |entry| entry.kind());
    if !matches!(kind, ObjectType::List | ObjectType::Set | ObjectType::SortedSet) {
        return Err(CommandError::WRONG_TYPE);
    }
    let elements = txn.view(key, kind)?.map_or_else(Vec::new, |view| {
        view.iter().map(|element| if kind == ObjectType::List { element.value() } else { element.name() }).collect()
    });
    Ok((kind, elements))
}

/// A number as `strtod` reads it, up to the first NUL, where that is the whole text.
fn number(text: &[u8]) -> Result<f64, CommandError> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Ok(0.0);
    }
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let number = std::str::from_utf8(&text[blanks..]).ok();
    let number = number.and_then(|text| text.parse::<f64>().ok().or_else(|| hexadecimal(text)));
    let overflows = |number: f64| number.is_infinite() && text.iter().any(u8::is_ascii_digit);
    number.filter(|&number| !number.is_nan() && !overflows(number)).ok_or(NOT_NUMBERS)
}

/// A hexadecimal number as `strtod` reads it: `0x1f`, `-0x.8p3`.
fn hexadecimal(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"))?;
    let (mantissa, power) = match digits.split_once(['p', 'P']) {
        Some((mantissa, power)) => (mantissa, power.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let value = whole
        .chars()
        .chain(fraction.chars())
        .try_fold(0.0, |value, digit| Some(value * 16.0 + f64::from(digit.to_digit(16)?)))?;
    let power = power.saturating_sub(4 * fraction.len() as i32);
    Some(sign * value * 2f64.powi(power))
}

#[cfg(test)]
mod tests;
