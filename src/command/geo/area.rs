//! Areas on the globe, distances, and the cells that cover an area.

use super::cell::{Cell, Place, STEPS_MAX};

/// The radius of the globe that Redis reckons with, in metres.
const EARTH_RADIUS_M: f64 = 6_372_797.560856;

/// Half of the length of the equator on the map, in metres.
const MAP_HALF_M: f64 = 20_037_726.37;

/// The distance of two places that differ only in latitude, in metres.
fn latitude_distance_m(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_M * (radians(b) - radians(a)).abs()
}

/// The distance of two places along a great circle, in metres.
pub fn distance_m(a: Place, b: Place) -> f64 {
    let sine_of_half = |from: f64, to: f64| ((radians(to) - radians(from)) / 2.0).sin();
    let v = sine_of_half(a.longitude, b.longitude);
    if v == 0.0 {
        return latitude_distance_m(a.latitude, b.latitude);
    }
    let u = sine_of_half(a.latitude, b.latitude);
    let chord = u * u + radians(a.latitude).cos() * radians(b.latitude).cos() * v * v;
    2.0 * EARTH_RADIUS_M * chord.sqrt().asin()
}

fn radians(degrees: f64) -> f64 {
    degrees * (std::f64::consts::PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (std::f64::consts::PI / 180.0)
}

/// What lies around a place.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// All within a distance.
    Circle {
        /// The distance, in metres.
        radius_m: f64,
    },
    /// A box along meridians and parallels, with the place in its middle.
    Box {
        /// From west to east, in metres.
        width_m: f64,
        /// From south to north, in metres.
        height_m: f64,
    },
}

/// A shape around a place.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// The place in the middle.
    pub middle: Place,
    /// The shape.
    pub shape: Shape,
}

impl Area {
    /// The distance of a place from the middle in metres, if it lies within.
    pub fn distance_within_m(&self, place: Place) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius_m } => Some(distance_m(self.middle, place)).filter(|&distance| distance <= radius_m),
            Shape::Box { width_m, height_m } => {
                let beside = Place { longitude: self.middle.longitude, latitude: place.latitude };
                let within = latitude_distance_m(place.latitude, self.middle.latitude) <= height_m / 2.0
                    && distance_m(place, beside) <= width_m / 2.0;
                within.then(|| distance_m(self.middle, place))
            }
        }
    }

    /// Cells that cover it: the one around its middle, those to the north, south, east and west, and those at the corners, as far as needed.
    pub fn cells(&self) -> Vec<Cell> {
        const AROUND: [(i32, i32); 8] = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let bounds = self.bounds();
        let mut steps = self.steps();
        let mut cell = Cell::around(self.middle, steps);
        if steps > 1 && !bounds.are_within(cell) {
            steps -= 1;
            cell = Cell::around(self.middle, steps);
        }
        let [[west, east], [south, north]] = [cell.longitudes(), cell.latitudes()];
        let is_needed = |&(x, y): &(i32, i32)| {
            steps < 2
                || !(x < 0 && west < bounds.west
                    || x > 0 && east > bounds.east
                    || y < 0 && south < bounds.south
                    || y > 0 && north > bounds.north)
        };
        let mut cells = vec![cell];
        for (x, y) in AROUND.into_iter().filter(is_needed) {
            let next = cell.beside(x, y);
            // In a grid of few cells one may lie on several sides.
            if !cells.contains(&next) {
                cells.push(next);
            }
        }
        cells
    }

    /// The halvings of a grid with cells about as large as the area.
    fn steps(&self) -> u32 {
        let mut reach_m = match self.shape {
            Shape::Circle { radius_m } => radius_m,
            Shape::Box { width_m, height_m } => (width_m / 2.0).hypot(height_m / 2.0),
        };
        if reach_m == 0.0 {
            return STEPS_MAX;
        }
        let mut steps: i32 = -1;
        // Ends: it doubles each turn.
        while reach_m < MAP_HALF_M {
            reach_m *= 2.0;
            steps += 1;
        }
        // Cells are narrower towards the poles.
        let latitude = self.middle.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, STEPS_MAX as i32) as u32
    }

    fn bounds(&self) -> Bounds {
        let (width_m, height_m) = match self.shape {
            Shape::Circle { radius_m } => (radius_m, radius_m),
            Shape::Box { width_m, height_m } => (width_m / 2.0, height_m / 2.0),
        };
        let Place { longitude, latitude } = self.middle;
        let to_north = degrees(height_m / EARTH_RADIUS_M);
        // It reaches farthest, in degrees, on the side of the nearer pole.
        let widest = if latitude < 0.0 { latitude - to_north } else { latitude + to_north };
        let to_east = degrees(width_m / EARTH_RADIUS_M / radians(widest).cos());
        Bounds {
            west: longitude - to_east,
            east: longitude + to_east,
            south: latitude - to_north,
            north: latitude + to_north,
        }
    }
}

/// How far an area reaches, in degrees.
struct Bounds {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

impl Bounds {
    /// Whether a cell and those around it reach as far.
    fn are_within(&self, cell: Cell) -> bool {
        cell.beside(0, 1).latitudes()[1] >= self.north
            && cell.beside(0, -1).latitudes()[0] <= self.south
            && cell.beside(1, 0).longitudes()[1] >= self.east
            && cell.beside(-1, 0).longitudes()[0] <= self.west
    }
}
