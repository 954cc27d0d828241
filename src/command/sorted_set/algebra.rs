//! Unions, intersections and differences of sorted sets and sets.
//!
//! All are read as of one moment, with the stripes of their keys held. Scores are combined in the order in which Redis combines them, so that sums
//! round alike: from the shortest set to the longest.

use super::score::number;
use super::{pairs, store};
use crate::command::lookups::Lookups;
use crate::command::parse::{integer, integer_arg, is_word};
use crate::command::{CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::{Element, Key, Txn, View};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// What becomes of the scores of a member that is in several sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

/// What a command takes behind its keys.
#[derive(Clone, Copy)]
struct Form {
    name: &'static str,
    operation: Operation,
    /// Whether WITHSCORES is an option.
    lists: bool,
    /// Whether only LIMIT is.
    counts: bool,
}

const fn listing(name: &'static str, operation: Operation) -> Form {
    Form { name, operation, lists: true, counts: false }
}

const fn storing(name: &'static str, operation: Operation) -> Form {
    Form { name, operation, lists: false, counts: false }
}

/// `ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]`
pub fn zunion(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, listing("zunion", Operation::Union))
}

/// `ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]`
pub fn zinter(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, listing("zinter", Operation::Inter))
}

/// `ZDIFF numkeys key [key ...] [WITHSCORES]`
pub fn zdiff(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, listing("zdiff", Operation::Diff))
}

/// `ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX]`
pub fn zunionstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_result(ctx, args, storing("zunionstore", Operation::Union))
}

/// `ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX]`
pub fn zinterstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_result(ctx, args, storing("zinterstore", Operation::Inter))
}

/// `ZDIFFSTORE destination numkeys key [key ...]`
pub fn zdiffstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_result(ctx, args, storing("zdiffstore", Operation::Diff))
}

/// `ZINTERCARD numkeys key [key ...] [LIMIT limit]`
pub fn zintercard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let form = Form { name: "zintercard", operation: Operation::Inter, lists: false, counts: true };
    let names = names_arg(args.from(1), form.name)?;
    let keys: Vec<Key<'_>> = names.iter().map(|name| ctx.key(name)).collect();
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
    let sources = sources(&txn, lookups, &keys)?;
    drop(txn);
    let query = Query::parse(args.from(2 + keys.len()), keys.len(), form)?;
    let count = intersection(&sources, &query).take(query.limit).count();
    ctx.reply.integer(count as i64);
    Ok(())
}

fn list(ctx: &mut Ctx<'_>, args: Args<'_>, form: Form) -> Result<(), CommandError> {
    let names = names_arg(args.from(1), form.name)?;
    let keys: Vec<Key<'_>> = names.iter().map(|name| ctx.key(name)).collect();
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
    let sources = sources(&txn, lookups, &keys)?;
    // The sets stay as they are as long as their views are kept.
    drop(txn);
    let query = Query::parse(args.from(2 + keys.len()), keys.len(), form)?;
    let mut members = combine(sources, &query);
    // No score is NaN; 0 and -0 are one score.
    members.sort_unstable_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal).then_with(|| a.0.cmp(b.0)));
    pairs::header(&mut ctx.reply, members.len(), query.with_scores);
    for (member, score) in members {
        pairs::write(&mut ctx.reply, member, score, query.with_scores);
    }
    Ok(())
}

fn store_result(ctx: &mut Ctx<'_>, args: Args<'_>, form: Form) -> Result<(), CommandError> {
    let target = ctx.key(args.at(1));
    let names = names_arg(args.from(2), form.name)?;
    let keys: Vec<Key<'_>> = names.iter().map(|name| ctx.key(name)).chain([target]).collect();
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let mut txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
    let sources = sources(&txn, lookups, &keys[..names.len()])?;
    let query = Query::parse(args.from(3 + names.len()), names.len(), form)?;
    let members = combine(sources, &query);
    let (stored, was_there) = (members.len(), store::members(&mut txn, target, members.into_iter())?);
    txn.commit()?;
    ctx.notify_store(stored > 0, was_there, Events::ZSET, form.name, target);
    ctx.reply.integer(stored as i64);
    Ok(())
}

/// Reads `numkeys key [key ...]`.
fn names_arg<'r>(args: Args<'r>, command: &str) -> Result<Vec<&'r [u8]>, CommandError> {
    let count = integer_arg(args.at(0))?;
    if count < 1 {
        return Err(CommandError::new(format!("ERR at least 1 input key is needed for '{command}' command")));
    }
    let count = usize::try_from(count).ok().filter(|&count| count < args.len()).ok_or(CommandError::SYNTAX)?;
    Ok(args.from(1).iter().take(count).collect())
}

/// The set at each key.
fn sources<'a>(txn: &Txn<'a>, lookups: Lookups<'_>, keys: &[Key<'_>]) -> Result<Vec<Option<View<'a>>>, CommandError> {
    let view = |&key: &Key<'_>| match txn.peek(key).map(|entry| entry.kind()) {
        Some(ObjectType::Set) => lookups.view(txn, key, ObjectType::Set),
        _ => lookups.view(txn, key, ObjectType::SortedSet),
    };
    Ok(keys.iter().map(view).collect::<Result<_, _>>()?)
}

/// The options.
struct Query {
    operation: Operation,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Members that ZINTERCARD counts at most.
    limit: usize,
}

impl Query {
    fn parse(args: Args<'_>, sets: usize, form: Form) -> Result<Self, CommandError> {
        let combines = form.operation != Operation::Diff && !form.counts;
        let mut query = Self {
            operation: form.operation,
            weights: vec![1.0; sets],
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: usize::MAX,
        };
        let mut at = 0;
        // Ends: `at` grows each turn.
        while let Some(word) = args.get(at) {
            let behind = args.len() - at - 1;
            at += match word {
                _ if combines && behind >= sets && is_word(word, "WEIGHTS") => {
                    for (weight, text) in query.weights.iter_mut().zip(args.from(at + 1).iter()) {
                        *weight = number(text).ok_or(CommandError::fixed("ERR weight value is not a float"))?;
                    }
                    1 + sets
                }
                _ if combines && behind >= 1 && is_word(word, "AGGREGATE") => {
                    query.aggregate = Aggregate::parse(args.at(at + 1))?;
                    2
                }
                _ if form.lists && is_word(word, "WITHSCORES") => {
                    query.with_scores = true;
                    1
                }
                _ if form.counts && behind >= 1 && is_word(word, "LIMIT") => {
                    let limit = integer(args.at(at + 1)).and_then(|limit| usize::try_from(limit).ok());
                    query.limit = match limit.ok_or(CommandError::fixed("ERR LIMIT can't be negative"))? {
                        0 => usize::MAX,
                        limit => limit,
                    };
                    2
                }
                _ => return Err(CommandError::SYNTAX),
            };
        }
        Ok(query)
    }
}

impl Aggregate {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        match word {
            _ if is_word(word, "SUM") => Ok(Self::Sum),
            _ if is_word(word, "MIN") => Ok(Self::Min),
            _ if is_word(word, "MAX") => Ok(Self::Max),
            _ => Err(CommandError::SYNTAX),
        }
    }

    /// Opposite infinities add up to 0.
    fn apply(self, total: f64, value: f64) -> f64 {
        match self {
            Self::Sum => number_or_zero(total + value),
            Self::Min if value < total => value,
            Self::Max if value > total => value,
            Self::Min | Self::Max => total,
        }
    }
}

fn number_or_zero(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// The score that counts: members of plain sets have 1.
fn score_in(view: &View<'_>, element: &Element<'_>) -> f64 {
    if view.kind() == ObjectType::Set { 1.0 } else { element.score() }
}

/// The members of the result with their scores, in no order.
fn combine<'a>(sources: Vec<Option<View<'a>>>, query: &Query) -> Vec<(&'a [u8], f64)> {
    match query.operation {
        Operation::Union => union(&sources, query),
        Operation::Inter => intersection(&sources, query).collect(),
        Operation::Diff => {
            let Some((Some(first), others)) = sources.split_first() else { return Vec::new() };
            let is_left =
                |element: &Element<'a>| others.iter().flatten().all(|other| other.get(element.name()).is_none());
            first.iter().filter(is_left).map(|element| (element.name(), score_in(first, &element))).collect()
        }
    }
}

/// The sets that there are with their weights, the shortest first.
fn by_length<'s, 'a>(sources: &'s [Option<View<'a>>], weights: &[f64]) -> Vec<(&'s View<'a>, f64)> {
    let weighted = sources.iter().zip(weights);
    let mut sets: Vec<_> = weighted.filter_map(|(view, &weight)| Some((view.as_ref()?, weight))).collect();
    sets.sort_by_key(|(view, _)| view.len());
    sets
}

fn union<'a>(sources: &[Option<View<'a>>], query: &Query) -> Vec<(&'a [u8], f64)> {
    let mut totals: HashMap<&[u8], f64> = HashMap::new();
    for (view, weight) in by_length(sources, &query.weights) {
        for element in view.iter() {
            let score = number_or_zero(weight * score_in(view, &element));
            match totals.entry(element.name()) {
                Entry::Occupied(mut total) => {
                    *total.get_mut() = query.aggregate.apply(*total.get(), score);
                }
                Entry::Vacant(place) => drop(place.insert(score)),
            }
        }
    }
    totals.into_iter().collect()
}

fn intersection<'s, 'a>(
    sources: &'s [Option<View<'a>>],
    query: &'s Query,
) -> Box<dyn Iterator<Item = (&'a [u8], f64)> + 's> {
    let sets = by_length(sources, &query.weights);
    if sets.len() < sources.len() {
        return Box::new(std::iter::empty());
    }
    let (smallest, weight) = sets[0];
    Box::new(smallest.iter().filter_map(move |element| {
        let mut total = number_or_zero(weight * score_in(smallest, &element));
        for (other, weight) in &sets[1..] {
            let found = other.get(element.name())?;
            total = query.aggregate.apply(total, weight * score_in(other, &found));
        }
        Some((element.name(), total))
    }))
}
