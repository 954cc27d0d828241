//! The arguments of the commands that search: GEORADIUS and GEOSEARCH, with their kin.

use super::area::{Area, Shape};
use super::cell::Place;
use super::unit::{Unit, place_args};
use crate::command::CommandError;
use crate::command::parse::{integer_arg, is_word};
use crate::command::sorted_set::score::number;
use crate::protocol::Args;
use crate::store::View;

/// Which command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// GEORADIUS: the area is a place and a radius at fixed positions. Those with `_RO` store nothing.
    RadiusOfPlace {
        /// Whether STORE and STOREDIST are options.
        stores: bool,
    },
    /// GEORADIUSBYMEMBER: the same with a member for the place.
    RadiusOfMember {
        /// Whether STORE and STOREDIST are options.
        stores: bool,
    },
    /// GEOSEARCH: all is said by options.
    Search,
    /// GEOSEARCHSTORE: the same, behind the key to store at.
    SearchAndStore,
}

/// The order of what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The nearest first.
    Ascending,
    /// The farthest first.
    Descending,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'r> {
    /// Where; `None` when it is around a member of a set that is not there.
    pub area: Option<Area>,
    /// The unit that distances are given in.
    pub unit: Unit,
    pub with_distance: bool,
    pub with_hash: bool,
    pub with_place: bool,
    pub order: Option<Order>,
    /// Most members to be returned.
    pub count: Option<usize>,
    /// Whether any members will do, not just the nearest.
    pub any: bool,
    /// The key that the result is stored at.
    pub target: Option<&'r [u8]>,
    /// Whether distances are stored in place of scores.
    pub stores_distances: bool,
}

/// What GEOSEARCH says of its area, so far.
#[derive(Default)]
struct Parts {
    from_member: bool,
    from_place: bool,
    middle: Option<Place>,
    shape: Option<Shape>,
}

impl<'r> Query<'r> {
    /// Reads a request to the sorted set `view`.
    ///
    /// # Errors
    /// Those of Redis, as far as possible in its order.
    pub fn parse(args: Args<'r>, family: Family, view: Option<&View<'_>>) -> Result<Self, CommandError> {
        let mut query = Self::default();
        let mut parts = Parts::default();
        let options = match family {
            Family::RadiusOfPlace { .. } => {
                parts.middle = Some(place_args(args.at(2), args.at(3))?);
                parts.shape = Some(query.radius(args.at(4), args.at(5))?);
                args.from(6)
            }
            Family::RadiusOfMember { .. } => {
                if view.is_some() {
                    parts.middle = place_of(view, args.at(2))?;
                    parts.shape = Some(query.radius(args.at(3), args.at(4))?);
                }
                args.from(5)
            }
            Family::Search => args.from(2),
            Family::SearchAndStore => {
                query.target = Some(args.at(1));
                args.from(3)
            }
        };
        let mut at = 0;
        // Ends: each option is one word or more.
        while at < options.len() {
            at += match query.common_option(options.from(at), family)? {
                0 if matches!(family, Family::Search | Family::SearchAndStore) => {
                    query.area_option(options.from(at), &mut parts, view)?
                }
                0 => return Err(CommandError::SYNTAX),
                taken => taken,
            };
        }
        query.check(args, family, &parts)?;
        query.area = parts.middle.zip(parts.shape).map(|(middle, shape)| Area { middle, shape });
        Ok(query)
    }

    fn radius(&mut self, radius: &[u8], unit: &[u8]) -> Result<Shape, CommandError> {
        let radius = number(radius).ok_or(CommandError::fixed("ERR need numeric radius"))?;
        if radius < 0.0 {
            return Err(CommandError::fixed("ERR radius cannot be negative"));
        }
        self.unit = Unit::parse(unit)?;
        Ok(Shape::Circle { radius_m: self.unit.metres(radius) })
    }

    fn rectangle(&mut self, width: &[u8], height: &[u8], unit: &[u8]) -> Result<Shape, CommandError> {
        let width = number(width).ok_or(CommandError::fixed("ERR need numeric width"))?;
        let height = number(height).ok_or(CommandError::fixed("ERR need numeric height"))?;
        if width < 0.0 || height < 0.0 {
            return Err(CommandError::fixed("ERR height or width cannot be negative"));
        }
        self.unit = Unit::parse(unit)?;
        Ok(Shape::Box { width_m: self.unit.metres(width), height_m: self.unit.metres(height) })
    }

    /// Takes in the first option, if it is one of those that all have; says how many words it is.
    fn common_option(&mut self, options: Args<'r>, family: Family) -> Result<usize, CommandError> {
        let (word, value) = (options.at(0), options.get(1));
        let may_store =
            matches!(family, Family::RadiusOfPlace { stores: true } | Family::RadiusOfMember { stores: true });
        match (word, value) {
            _ if is_word(word, "WITHDIST") => self.with_distance = true,
            _ if is_word(word, "WITHHASH") => self.with_hash = true,
            _ if is_word(word, "WITHCOORD") => self.with_place = true,
            _ if is_word(word, "ANY") => self.any = true,
            _ if is_word(word, "ASC") => self.order = Some(Order::Ascending),
            _ if is_word(word, "DESC") => self.order = Some(Order::Descending),
            (_, Some(count)) if is_word(word, "COUNT") => {
                let count = usize::try_from(integer_arg(count)?).ok().filter(|&count| count > 0);
                self.count = Some(count.ok_or(CommandError::fixed("ERR COUNT must be > 0"))?);
                return Ok(2);
            }
            (_, Some(key)) if may_store && (is_word(word, "STORE") || is_word(word, "STOREDIST")) => {
                (self.target, self.stores_distances) = (Some(key), is_word(word, "STOREDIST"));
                return Ok(2);
            }
            _ if family == Family::SearchAndStore && is_word(word, "STOREDIST") => self.stores_distances = true,
            _ => return Ok(0),
        }
        Ok(1)
    }

    /// Takes in the first option, which is about the area; says how many words it is.
    fn area_option(
        &mut self,
        options: Args<'r>,
        parts: &mut Parts,
        view: Option<&View<'_>>,
    ) -> Result<usize, CommandError> {
        let word = options.at(0);
        Ok(match options.len() - 1 {
            1.. if !parts.from_place && is_word(word, "FROMMEMBER") => {
                parts.from_member = true;
                parts.middle = place_of(view, options.at(1))?;
                2
            }
            2.. if !parts.from_member && is_word(word, "FROMLONLAT") => {
                parts.from_place = true;
                parts.middle = Some(place_args(options.at(1), options.at(2))?);
                3
            }
            2.. if !matches!(parts.shape, Some(Shape::Box { .. })) && is_word(word, "BYRADIUS") => {
                parts.shape = Some(self.radius(options.at(1), options.at(2))?);
                3
            }
            3.. if !matches!(parts.shape, Some(Shape::Circle { .. })) && is_word(word, "BYBOX") => {
                parts.shape = Some(self.rectangle(options.at(1), options.at(2), options.at(3))?);
                4
            }
            _ => return Err(CommandError::SYNTAX),
        })
    }

    /// What is missing, and what does not go together.
    fn check(&self, args: Args<'_>, family: Family, parts: &Parts) -> Result<(), CommandError> {
        let searches = matches!(family, Family::Search | Family::SearchAndStore);
        let name = || String::from_utf8_lossy(args.at(0));
        Err(CommandError::new(if self.target.is_some() && (self.with_distance || self.with_hash || self.with_place) {
            let what = if searches { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            format!("ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
        } else if searches && !parts.from_member && !parts.from_place {
            format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {}", name())
        } else if searches && parts.shape.is_none() {
            format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {}", name())
        } else if self.any && self.count.is_none() {
            "ERR the ANY argument requires COUNT argument".to_owned()
        } else {
            return Ok(());
        }))
    }
}

/// Where a member is; `None` when the whole set is not there.
fn place_of(view: Option<&View<'_>>, member: &[u8]) -> Result<Option<Place>, CommandError> {
    let Some(view) = view else { return Ok(None) };
    let member = view.get(member).ok_or(CommandError::fixed("ERR could not decode requested zset member"))?;
    Ok(Some(Place::of_score(member.score())))
}
