//! Distances and places as clients write and read them.

use super::cell::Place;
use crate::command::CommandError;
use crate::command::parse::is_word;
use crate::command::sorted_set::score::number_arg;
use crate::protocol::ReplyWriter;

/// A unit of length, by its metres.
#[derive(Clone, Copy, Debug)]
pub struct Unit(f64);

impl Default for Unit {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Unit {
    /// `m`, `km`, `ft` or `mi`
    ///
    /// # Errors
    /// `ERR unsupported unit provided. please use M, KM, FT, MI`.
    pub fn parse(word: &[u8]) -> Result<Self, CommandError> {
        match word {
            _ if is_word(word, "M") => Ok(Self(1.0)),
            _ if is_word(word, "KM") => Ok(Self(1000.0)),
            _ if is_word(word, "FT") => Ok(Self(0.3048)),
            _ if is_word(word, "MI") => Ok(Self(1609.34)),
            _ => Err(CommandError::fixed("ERR unsupported unit provided. please use M, KM, FT, MI")),
        }
    }

    /// So many of this unit in metres.
    pub fn metres(self, length: f64) -> f64 {
        length * self.0
    }

    /// So many metres in this unit.
    pub fn of_metres(self, length_m: f64) -> f64 {
        length_m / self.0
    }
}

/// A place given by its longitude and latitude.
///
/// # Errors
/// `ERR value is not a valid float`, `ERR invalid longitude,latitude pair ...`.
pub fn place_args(longitude: &[u8], latitude: &[u8]) -> Result<Place, CommandError> {
    let place = Place { longitude: number_arg(longitude)?, latitude: number_arg(latitude)? };
    if !place.is_on_the_grid() {
        return Err(CommandError::new(format!(
            "ERR invalid longitude,latitude pair {:.6},{:.6}",
            place.longitude, place.latitude
        )));
    }
    Ok(place)
}

/// Replies with a distance: four decimals, rounded as Redis does it, half to even after scaling.
pub fn write_distance(reply: &mut ReplyWriter<'_>, distance: f64) {
    const SCALE: u64 = 10_000;
    let scaled = (distance * SCALE as f64).round_ties_even() as u64;
    reply.bulk_display(format_args!("{}.{:04}", scaled / SCALE, scaled % SCALE));
}

/// Replies with a place: its longitude and latitude with all their decimals.
pub fn write_place(reply: &mut ReplyWriter<'_>, place: Place) {
    reply.array_header(2);
    for degrees in [place.longitude, place.latitude] {
        let text = format!("{degrees:.17}");
        reply.double_text(text.trim_end_matches('0').trim_end_matches('.'));
    }
}
