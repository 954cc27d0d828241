//! GEOADD, GEOPOS, GEODIST and GEOHASH.

use super::area::distance_m;
use super::cell::Place;
use super::unit::{Unit, place_args, write_distance, write_place};
use crate::command::sorted_set::{Rules, add};
use crate::command::{CommandError, Ctx};
use crate::log::ObjectType;
use crate::protocol::{Args, ReplyWriter};
use crate::store::View;

/// `GEOADD key [NX|XX] [CH] longitude latitude member [longitude latitude member ...]`
pub fn geoadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut rules = Rules::default();
    let options = args.from(2).iter().take_while(|word| rules.take_of_geoadd(word)).count();
    let triples = args.from(2 + options);
    if triples.is_empty() || !triples.len().is_multiple_of(3) || rules.only_new && rules.only_known {
        return Err(CommandError::SYNTAX);
    }
    let mut members = Vec::with_capacity(triples.len() / 3);
    for at in (0..triples.len()).step_by(3) {
        members.push((place_args(triples.at(at), triples.at(at + 1))?.score(), triples.at(at + 2)));
    }
    add(ctx, args.at(1), &members, rules)
}

fn place_in(view: Option<&View<'_>>, member: &[u8]) -> Option<Place> {
    view?.get(member).map(|element| Place::of_score(element.score()))
}

/// Replies for each member named with what `write` makes of its place.
fn each_place(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    write: impl Fn(&mut ReplyWriter<'_>, Option<Place>),
) -> Result<(), CommandError> {
    let view = ctx.view(args.at(1), ObjectType::SortedSet)?;
    ctx.reply.array_header(args.len() - 2);
    args.from(2).iter().for_each(|member| write(&mut ctx.reply, place_in(view.as_ref(), member)));
    Ok(())
}

/// `GEOPOS key [member ...]`
pub fn geopos(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    each_place(ctx, args, |reply, place| match place {
        Some(place) => write_place(reply, place),
        None => reply.null_array(),
    })
}

/// `GEOHASH key [member ...]`
pub fn geohash(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    each_place(ctx, args, |reply, place| match place {
        Some(place) => reply.bulk(&place.geohash()),
        None => reply.null(),
    })
}

/// `GEODIST key member1 member2 [M|KM|FT|MI]`
pub fn geodist(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let unit = match args.get(4) {
        _ if args.len() > 5 => return Err(CommandError::SYNTAX),
        Some(word) => Unit::parse(word)?,
        None => Unit::default(),
    };
    let view = ctx.view(args.at(1), ObjectType::SortedSet)?;
    match place_in(view.as_ref(), args.at(2)).zip(place_in(view.as_ref(), args.at(3))) {
        Some((a, b)) => write_distance(&mut ctx.reply, unit.of_metres(distance_m(a, b))),
        None => ctx.reply.null(),
    }
    Ok(())
}
