//! From registers to a count: Otmar Ertl's improved raw estimator, "New cardinality estimation algorithms for
//! HyperLogLog sketches" (arXiv:1702.01284), section 2.2. It needs no table of corrections and is what Redis uses, so
//! that counts agree.

use super::hash::RANK_BITS;
use super::sketch::REGISTERS;

/// 1 / (2 ln 2): the factor for infinitely many registers.
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// How many different elements were seen, from how many registers hold each rank.
pub fn count(histogram: &[u32; 64]) -> u64 {
    let registers = REGISTERS as f64;
    let top = RANK_BITS as usize + 1;
    let mut z = registers * tau((registers - f64::from(histogram[top])) / registers);
    for rank in (1..top).rev() {
        z = (z + f64::from(histogram[rank])) * 0.5;
    }
    z += registers * sigma(f64::from(histogram[0]) / registers);
    (ALPHA * registers * registers / z).round() as u64
}

/// The share of the registers that are still empty: x + x^2 + 2 x^4 + 4 x^8 ..., infinite for 1.
fn sigma(x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut factor, mut sum) = (x, 1.0, x);
    // Ends: below 1 the powers die out until the sum no longer changes.
    loop {
        power *= power;
        let before = sum;
        sum += power * factor;
        factor += factor;
        if sum == before {
            return sum;
        }
    }
}

/// The share of the registers that are full.
fn tau(x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut root, mut factor, mut sum) = (x, 1.0, 1.0 - x);
    // Ends: the roots come near 1 and the factors near 0 until the sum no longer changes.
    loop {
        root = root.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - root) * (1.0 - root) * factor;
        if sum == before {
            return sum / 3.0;
        }
    }
}
