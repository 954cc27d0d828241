//! GEORADIUS, GEOSEARCH and their kin: the members within an area.

use super::cell::Place;
use super::query::{Family, Order, Query};
use super::unit::{write_distance, write_place};
use crate::command::sorted_set::store_members;
use crate::command::{CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::{Element, View};
use std::cmp::Ordering;

/// `GEORADIUS key longitude latitude radius M|KM|FT|MI [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC|DESC] [STORE key] [STOREDIST key]`
pub fn georadius(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Family::RadiusOfPlace { stores: true })
}

/// `GEORADIUS_RO`: the same without STORE and STOREDIST.
pub fn georadius_ro(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Family::RadiusOfPlace { stores: false })
}

/// `GEORADIUSBYMEMBER key member radius M|KM|FT|MI ...`, with the options of GEORADIUS.
pub fn georadiusbymember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Family::RadiusOfMember { stores: true })
}

/// `GEORADIUSBYMEMBER_RO`: the same without STORE and STOREDIST.
pub fn georadiusbymember_ro(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Family::RadiusOfMember { stores: false })
}

/// `GEOSEARCH key FROMMEMBER member|FROMLONLAT longitude latitude BYRADIUS radius unit|BYBOX width height unit [ASC|DESC] [COUNT count [ANY]] [WITHCOORD]
/// [WITHDIST] [WITHHASH]`
pub fn geosearch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Family::Search)
}

/// `GEOSEARCHSTORE destination source FROMMEMBER member|FROMLONLAT longitude latitude BYRADIUS radius unit|BYBOX width height unit [ASC|DESC]
/// [COUNT count [ANY]] [STOREDIST]`
pub fn geosearchstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Family::SearchAndStore)
}

/// A member within the area.
struct Found<'a> {
    element: Element<'a>,
    place: Place,
    distance_m: f64,
}

fn search(ctx: &mut Ctx<'_>, args: Args<'_>, family: Family) -> Result<(), CommandError> {
    let source = args.at(if family == Family::SearchAndStore { 2 } else { 1 });
    let view = ctx.view(source, ObjectType::SortedSet)?;
    let query = Query::parse(args, family, view.as_ref())?;
    if let Some(target) = query.target {
        drop(view);
        return store(ctx, args, family, source, target);
    }
    let found = find(view.as_ref(), &query);
    ctx.reply.array_header(found.len());
    let parts = 1 + [query.with_distance, query.with_hash, query.with_place].into_iter().filter(|&with| with).count();
    for Found { element, place, distance_m } in found {
        if parts > 1 {
            ctx.reply.array_header(parts);
        }
        ctx.reply.bulk(element.name());
        if query.with_distance {
            write_distance(&mut ctx.reply, query.unit.of_metres(distance_m));
        }
        if query.with_hash {
            ctx.reply.integer(element.score() as i64);
        }
        if query.with_place {
            write_place(&mut ctx.reply, place);
        }
    }
    Ok(())
}

fn store(ctx: &mut Ctx<'_>, args: Args<'_>, family: Family, source: &[u8], target: &[u8]) -> Result<(), CommandError> {
    let (source, target) = (ctx.key(source), ctx.key(target));
    let mut txn = ctx.store.write(ctx.worker, &[target, source], ctx.now_ms, ctx.guard);
    let view = txn.view(source, ObjectType::SortedSet)?;
    // Once more, as the member that is searched around may have moved.
    let query = Query::parse(args, family, view.as_ref())?;
    let found = find(view.as_ref(), &query);
    drop(view);
    let score = |found: &Found<'_>| match query.stores_distances {
        true => query.unit.of_metres(found.distance_m),
        false => found.element.score(),
    };
    let members = found.iter().map(|found| (found.element.name(), score(found)));
    let (stored, was_there) = (found.len(), store_members(&mut txn, target, members)?);
    txn.commit()?;
    let event = if family == Family::SearchAndStore { "geosearchstore" } else { "georadiusstore" };
    ctx.notify_store(stored > 0, was_there, Events::ZSET, event, target);
    ctx.reply.integer(stored as i64);
    Ok(())
}

/// The members in the area, in the order and number asked for. O(n) in the members of the cells that cover it, and O(m log m) for m found.
fn find<'a>(view: Option<&View<'a>>, query: &Query<'_>) -> Vec<Found<'a>> {
    let (Some(view), Some(area)) = (view, query.area) else { return Vec::new() };
    let count = query.count.unwrap_or(usize::MAX);
    let in_cells = area.cells().into_iter().flat_map(|cell| {
        let scores = cell.scores();
        let ranks = view.rank_of_score(scores.start, false)..view.rank_of_score(scores.end, false);
        view.iter_from(ranks.start).take(ranks.len())
    });
    let within = in_cells.filter_map(|element| {
        let place = Place::of_score(element.score());
        area.distance_within_m(place).map(|distance_m| Found { element, place, distance_m })
    });
    let mut found: Vec<_> = within.take(if query.any { count } else { usize::MAX }).collect();
    // The nearest are meant where a count is given without an order, unless any will do.
    let implied = (query.count.is_some() && !query.any).then_some(Order::Ascending);
    let nearer = |a: &Found<'_>, b: &Found<'_>| a.distance_m.partial_cmp(&b.distance_m).unwrap_or(Ordering::Equal);
    match query.order.or(implied) {
        Some(Order::Ascending) => found.sort_by(nearer),
        Some(Order::Descending) => found.sort_by(|a, b| nearer(b, a)),
        None => {}
    }
    found.truncate(count);
    found
}
