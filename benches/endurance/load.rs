//! Which keys are written, and what: the same each time.

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// From 0 to below 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How keys are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Draw {
    Uniform,
    Zipf,
}

impl Draw {
    pub fn name(self) -> &'static str {
        if self == Draw::Uniform { "uniform" } else { "Zipf 0.99" }
    }
}

const EXPONENT: f64 = 0.99;

/// The integral of x to the power of `-EXPONENT`, from 1.
fn integral(x: f64) -> f64 {
    (x.powf(1.0 - EXPONENT) - 1.0) / (1.0 - EXPONENT)
}

fn inverse_integral(y: f64) -> f64 {
    (1.0 + y * (1.0 - EXPONENT)).powf(1.0 / (1.0 - EXPONENT))
}

/// Numbers below a limit, drawn one after the other.
///
/// Zipf's law by rejection-inversion (Hoermann and Derflinger, 1996): a draw from the area under the curve, rounded, and drawn again in the few cases
/// where that would not be exact.
pub struct Keys {
    draw: Draw,
    count: u64,
    random: Random,
    /// The area under the curve from the first key's share on, to that of the last.
    area: (f64, f64),
    /// Up to this distance from the middle of a key's share there is nothing to reject.
    safe: f64,
}

impl Keys {
    pub fn new(draw: Draw, count: u64, seed: u64) -> Self {
        let area = (integral(1.5) - 1.0, integral(count as f64 + 0.5));
        let safe = 2.0 - inverse_integral(integral(2.5) - 2_f64.powf(-EXPONENT));
        Self { draw, count, random: Random(seed), area, safe }
    }

    pub fn next(&mut self) -> u64 {
        match self.draw {
            Draw::Uniform => self.random.below(self.count),
            // Ranks are scattered over all keys: this is prime, and larger than any count of keys here.
            Draw::Zipf => (self.rank() - 1) * 2_654_435_761 % self.count,
        }
    }

    /// From 1, the most frequent.
    fn rank(&mut self) -> u64 {
        // Ends: hardly one in ten is rejected.
        loop {
            let y = self.area.1 + self.random.share() * (self.area.0 - self.area.1);
            let x = inverse_integral(y);
            let rank = x.round().clamp(1.0, self.count as f64);
            if rank - x <= self.safe || y >= integral(rank + 0.5) - rank.powf(-EXPONENT) {
                return rank as u64;
            }
        }
    }
}

const LONGEST: u64 = 2048;

/// Values of 280 bytes on the average: six in ten from 32 to 128, three to 512, one to 2,048. Each begins with its key's number.
pub struct Values {
    bytes: Vec<u8>,
    random: Random,
}

impl Values {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        Self { bytes: (0..LONGEST).map(|_| random.next() as u8).collect(), random }
    }

    pub fn next(&mut self, key: u64) -> &[u8] {
        let (from, to) = match self.random.below(10) {
            0..=5 => (32, 128),
            6..=8 => (128, 512),
            _ => (512, LONGEST),
        };
        let length = from + self.random.below(to - from + 1);
        self.bytes[..8].copy_from_slice(&key.to_le_bytes());
        &self.bytes[..length as usize]
    }
}

/// The name of a key: 16 bytes.
pub fn name(number: u64) -> [u8; 16] {
    let mut name = *b"key:000000000000";
    let mut left = number;
    for digit in name[4..].iter_mut().rev() {
        *digit += (left % 10) as u8;
        left /= 10;
    }
    name
}
