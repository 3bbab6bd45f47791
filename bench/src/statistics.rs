//! Medians and tenths: on a shared machine the mean says more about the neighbours.

/// Times of one contender, in microseconds.
#[derive(Default)]
pub struct Times(Vec<f64>);

impl Times {
    pub fn add(&mut self, time: f64) {
        self.0.push(time);
    }

    /// The time that one run in ten is quicker than: what it costs when nobody disturbs.
    pub fn p10(&self) -> f64 {
        self.at(0.1)
    }

    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// Ratios of the tenths and of the medians.
    pub fn ratio_to(&self, baseline: &Self) -> (f64, f64) {
        (
            self.p10() / baseline.p10(),
            self.median() / baseline.median(),
        )
    }

    fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
            .get((sorted.len() as f64 * share) as usize)
            .copied()
            .unwrap_or(f64::NAN)
    }
}
