//! Latencies in buckets: 64 to each power of two, so that a percentile is right to under 2 %.

/// Bits of the linear part.
const FINE_BITS: u32 = 6;
const FINE: u64 = 1 << FINE_BITS;
const BUCKETS: usize = ((64 - FINE_BITS as usize) + 1) * FINE as usize;

/// Counts of durations in nanoseconds. Recording costs one increment.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }
}

fn bucket(nanos: u64) -> usize {
    let shift = (64 - nanos.leading_zeros()).saturating_sub(FINE_BITS + 1);
    (u64::from(shift) * FINE + (nanos >> shift)) as usize
}

/// The middle of a bucket.
fn value(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    if bucket < 2 * FINE {
        return bucket as f64;
    }
    let shift = bucket / FINE - 1;
    let low = (bucket - shift * FINE) << shift;
    low as f64 + (1_u64 << shift) as f64 / 2.0
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own += other);
        self.total += other.total;
    }

    /// The duration in nanoseconds that this share of all (0 to 1) does not exceed; 0 when nothing was recorded.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return value(bucket);
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_two_percent() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|nanos| histogram.record(nanos));
        for share in [0.001, 0.5, 0.99, 0.999, 1.0] {
            let error = histogram.quantile(share) / (share * 100_000.0) - 1.0;
            assert!(error.abs() < 0.02, "{share}: off by {error}");
        }
    }

    #[test]
    fn every_duration_has_a_bucket() {
        for nanos in [0, 1, 63, 64, 127, 128, u64::MAX] {
            let mut histogram = Histogram::default();
            histogram.record(nanos);
            assert!((histogram.quantile(1.0) - nanos as f64).abs() <= nanos as f64 * 0.02);
        }
    }
}
