//! Medians and tenths: on a shared machine the mean says more about the neighbours.

/// What was measured of one contender, time after time.
#[derive(Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// All of several clients.
    pub fn merge(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// One in ten is below: of times, what it costs when nobody disturbs.
    pub fn p10(&self) -> f64 {
        self.at(0.1)
    }

    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// One in a hundred is above.
    pub fn p99(&self) -> f64 {
        self.at(0.99)
    }

    /// The ratio of the medians.
    pub fn ratio_to(&self, baseline: &Self) -> f64 {
        self.median() / baseline.median()
    }

    /// The median of the ratios, each to the baseline's of the same turn: what disturbs one disturbs
    /// the other.
    pub fn turn_by_turn(&self, baseline: &Self) -> f64 {
        let pairs = self.0.iter().zip(&baseline.0);
        Self(pairs.map(|(own, base)| own / base).collect()).median()
    }

    fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        // The nearest rank; not a number, if there is nothing.
        let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
        sorted.get(index).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: impl IntoIterator<Item = u32>) -> Samples {
        values.into_iter().map(f64::from).collect()
    }

    #[test]
    fn a_share_of_the_samples_is_at_or_below_each_percentile() {
        let hundred = samples((1..=100).rev());
        assert_eq!(hundred.p10(), 10.0);
        assert_eq!(hundred.median(), 50.0);
        assert_eq!(hundred.p99(), 99.0);
    }

    #[test]
    fn one_sample_is_every_percentile_and_none_is_no_number() {
        let one = samples([7]);
        assert_eq!((one.p10(), one.median(), one.p99()), (7.0, 7.0, 7.0));
        assert!(samples([]).median().is_nan());
    }

    #[test]
    fn a_disturbance_that_met_both_of_a_turn_is_in_neither_ratio() {
        let (own, base) = (samples([4, 40, 4]), samples([2, 20, 2]));
        assert_eq!(own.turn_by_turn(&base), 2.0);
        assert_eq!(own.ratio_to(&base), 2.0);
        assert_eq!(samples([4, 6, 30]).turn_by_turn(&samples([2, 2, 10])), 3.0);
    }

    #[test]
    fn merged_samples_are_those_of_all() {
        let mut all = samples([1, 2]);
        all.merge(samples([3]));
        assert_eq!((all.count(), all.median()), (3, 2.0));
    }
}
