//! Places as scores: the cell of a grid over the globe, its two numbers with their bits interleaved.
//!
//! The grid is Redis's: longitudes from -180 to 180, latitudes to where a square map of the globe ends, each halved 26 times. The 52 bits fit a double
//! exactly, and the cells of a coarser grid are ranges of scores.

use std::ops::Range;

/// Times that longitude and latitude are halved for a score.
pub const STEPS_MAX: u32 = 26;

/// The places that have a score, in degrees.
pub const LONGITUDES: [f64; 2] = [-180.0, 180.0];
/// As [`LONGITUDES`].
pub const LATITUDES: [f64; 2] = [-85.051_128_78, 85.051_128_78];

/// Latitudes of the standard geohash.
const STANDARD_LATITUDES: [f64; 2] = [-90.0, 90.0];

/// A place on the globe, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// East of Greenwich.
    pub longitude: f64,
    /// North of the equator.
    pub latitude: f64,
}

impl Place {
    /// Whether it has a score.
    pub fn is_on_the_grid(self) -> bool {
        let within = |value: f64, [least, most]: [f64; 2]| value >= least && value <= most;
        within(self.longitude, LONGITUDES) && within(self.latitude, LATITUDES)
    }

    /// The score of the cell it is in.
    pub fn score(self) -> f64 {
        Cell::around(self, STEPS_MAX).bits() as f64
    }

    /// The middle of the cell that a score means.
    pub fn of_score(score: f64) -> Self {
        let bits = bits_of(score);
        let cell = Cell { longitude: gather(bits >> 1), latitude: gather(bits), steps: STEPS_MAX };
        let [west, east] = cell.longitudes();
        let [south, north] = cell.latitudes();
        let middle = |from: f64, to: f64, [least, most]: [f64; 2]| ((from + to) / 2.0).clamp(least, most);
        Self { longitude: middle(west, east, LONGITUDES), latitude: middle(south, north, LATITUDES) }
    }

    /// The standard geohash, of eleven characters; the last one says nothing, as there are only 52 bits.
    pub fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let latitude = number_of(self.latitude, STANDARD_LATITUDES, STEPS_MAX);
        let longitude = number_of(self.longitude, LONGITUDES, STEPS_MAX);
        let bits = Cell { longitude, latitude, steps: STEPS_MAX }.bits();
        let mut text = [ALPHABET[0]; 11];
        for (place, letter) in text[..10].iter_mut().enumerate() {
            *letter = ALPHABET[(bits >> (47 - 5 * place)) as usize & 31];
        }
        text
    }
}

/// A cell of the grid with so many halvings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Counted from the west. One more than there are, for a place on the very edge.
    longitude: u32,
    /// Counted from the south. One more than there are, for a place on the very edge.
    latitude: u32,
    steps: u32,
}

impl Cell {
    /// The cell that a place is in.
    pub fn around(place: Place, steps: u32) -> Self {
        Self {
            longitude: number_of(place.longitude, LONGITUDES, steps),
            latitude: number_of(place.latitude, LATITUDES, steps),
            steps,
        }
    }

    /// The cell so many cells to the east and to the north. The grid is taken for one that closes on all sides.
    pub fn beside(self, east: i32, north: i32) -> Self {
        let count = 1u32 << self.steps;
        let moved = |number: u32, by: i32| if by == 0 { number } else { number.wrapping_add_signed(by) % count };
        Self { longitude: moved(self.longitude, east), latitude: moved(self.latitude, north), steps: self.steps }
    }

    /// From its western to its eastern border.
    pub fn longitudes(self) -> [f64; 2] {
        borders(self.longitude, LONGITUDES, self.steps)
    }

    /// From its southern to its northern border.
    pub fn latitudes(self) -> [f64; 2] {
        borders(self.latitude, LATITUDES, self.steps)
    }

    /// The scores of places in it.
    pub fn scores(self) -> Range<f64> {
        let unused = 2 * (STEPS_MAX - self.steps);
        let bits = self.bits();
        (bits << unused) as f64..((bits + 1) << unused) as f64
    }

    fn bits(self) -> u64 {
        spread(self.latitude) | spread(self.longitude) << 1
    }
}

fn number_of(value: f64, [least, most]: [f64; 2], steps: u32) -> u32 {
    ((value - least) / (most - least) * (1u64 << steps) as f64) as u32
}

fn borders(number: u32, [least, most]: [f64; 2], steps: u32) -> [f64; 2] {
    let count = (1u64 << steps) as f64;
    [0.0, 1.0].map(|side| least + (f64::from(number) + side) / count * (most - least))
}

/// Puts bit `n` of the number to place `2n`.
fn spread(number: u32) -> u64 {
    let halves = |bits: u64, shift: u32, mask: u64| (bits | bits << shift) & mask;
    let bits = halves(u64::from(number), 16, 0x0000_ffff_0000_ffff);
    let bits = halves(bits, 8, 0x00ff_00ff_00ff_00ff);
    let bits = halves(bits, 4, 0x0f0f_0f0f_0f0f_0f0f);
    let bits = halves(bits, 2, 0x3333_3333_3333_3333);
    halves(bits, 1, 0x5555_5555_5555_5555)
}

/// The bits that a score is taken for. One that is no cell's (negative, or too large) comes out as Redis has it on x86-64, where such a conversion
/// goes by way of a signed number: modulo 2^64 within its range, and the least signed number beyond.
fn bits_of(score: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    let signed = |score: f64| if (-HALF..HALF).contains(&score) { score as i64 } else { i64::MIN };
    if score < HALF { signed(score) as u64 } else { signed(score - HALF) as u64 ^ 1 << 63 }
}

/// Takes back what [`spread`] does; bits at odd places are left out.
fn gather(bits: u64) -> u32 {
    let halves = |bits: u64, shift: u32, mask: u64| (bits | bits >> shift) & mask;
    let bits = halves(bits & 0x5555_5555_5555_5555, 1, 0x3333_3333_3333_3333);
    let bits = halves(bits, 2, 0x0f0f_0f0f_0f0f_0f0f);
    let bits = halves(bits, 4, 0x00ff_00ff_00ff_00ff);
    let bits = halves(bits, 8, 0x0000_ffff_0000_ffff);
    halves(bits, 16, 0x0000_0000_ffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_spread_and_gathered() {
        for number in [0, 1, 2, 3, 0x5555, 0xdead_beef, u32::MAX, 1 << 26] {
            let expected = (0..32).map(|bit| u64::from(number >> bit & 1) << (2 * bit)).sum::<u64>();
            assert_eq!(spread(number), expected);
            assert_eq!(gather(expected), number);
            assert_eq!(gather(expected | expected << 1), number);
        }
    }

    /// Scores that are no cell's, as a plain ZADD gives them; the hashes are what redis-server 7.0.15 answers.
    #[test]
    fn any_score_means_what_it_means_in_redis() {
        let bits = [
            (-1.0, u64::MAX),
            (-0.5, 0),
            (1e19, 10_000_000_000_000_000_000),
            (1.9e19, 0),
            (-1e300, 1 << 63),
            (f64::INFINITY, 0),
            (f64::NEG_INFINITY, 1 << 63),
        ];
        for (score, expected) in bits {
            assert_eq!(bits_of(score), expected, "{score}");
        }
        let hashes = [
            (-1.0, "bp05b5048p0"),
            (-5.5, "bp05b5048p0"),
            (1e19, "bp05b5048p0"),
            (1.9e19, "00bh0hbj200"),
            (f64::NEG_INFINITY, "00bh0hbj200"),
            (4_503_599_627_370_496.0, "bp05b5048p0"),
        ];
        for (score, hash) in hashes {
            assert_eq!(String::from_utf8_lossy(&Place::of_score(score).geohash()), hash, "{score}");
        }
    }

    #[test]
    fn neighbours_share_borders_and_the_grid_closes() {
        let cell = Cell::around(Place { longitude: 13.361389, latitude: 38.115556 }, 10);
        assert_eq!(cell.beside(1, 0).longitudes()[0], cell.longitudes()[1]);
        assert_eq!(cell.beside(0, -1).latitudes()[1], cell.latitudes()[0]);
        assert_eq!(cell.beside(1, 1).beside(-1, -1), cell);
        let corner = Cell::around(Place { longitude: -180.0, latitude: LATITUDES[0] }, 3);
        assert_eq!(corner.beside(-1, -1).longitudes()[1], 180.0);
        assert_eq!(corner.beside(-1, -1).beside(1, 1), corner);
    }

    #[test]
    fn a_score_means_the_middle_of_its_cell() {
        for place in [
            Place { longitude: 13.361389, latitude: 38.115556 },
            Place { longitude: -122.27652, latitude: 37.805186 },
            Place { longitude: 0.0, latitude: 0.0 },
            Place { longitude: -180.0, latitude: -85.05 },
        ] {
            let back = Place::of_score(place.score());
            assert!((back.longitude - place.longitude).abs() < 6e-6 && (back.latitude - place.latitude).abs() < 6e-6);
            assert_eq!(back.score(), place.score());
        }
        // As Redis's documentation gives it.
        let palermo = Place { longitude: 13.361389, latitude: 38.115556 };
        assert_eq!(palermo.score(), 3_479_099_956_230_698.0);
        assert_eq!(&Place::of_score(palermo.score()).geohash(), b"sqc8b49rny0");
    }
}
