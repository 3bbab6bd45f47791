//! Histograms of durations, with fixed bounds.

/// The upper bounds of the buckets, in microseconds: from a guest that answers at once to the default `timeout`. The
/// last bucket, which has none, follows.
pub const BOUNDS: [u64; 12] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000, 60_000_000,
];

/// The number of buckets.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// The bucket of a duration in nanoseconds. A bound belongs to the bucket below it, as in Prometheus (`le`).
pub fn bucket(nanoseconds: u64) -> usize {
    BOUNDS.partition_point(|bound| bound * 1_000 < nanoseconds)
}

/// The durations that were counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// How many were at most as long as the bound of the bucket, and longer than that of the one before.
    pub buckets: [u64; BUCKETS],
    /// All of them together, in nanoseconds.
    pub sum: u64,
}

impl Histogram {
    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket = bucket.saturating_add(more);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        for (place, bound) in BOUNDS.into_iter().enumerate() {
            assert_eq!(bucket(bound * 1_000), place);
            assert_eq!(bucket(bound * 1_000 + 1), place + 1);
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BOUNDS.len());
    }
}
