//! What there was in all, for the end.

use super::amounts::{size, time};
use crate::log_line::LogLine;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The sums over all connections, datagrams and requests.
#[derive(Debug)]
pub struct Summary {
    began: Instant,
    outcomes: BTreeMap<String, u64>,
    bytes_in: u64,
    bytes_out: u64,
    cpu: Duration,
    memory_peak: u64,
}

impl Summary {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            outcomes: BTreeMap::new(),
            bytes_in: 0,
            bytes_out: 0,
            cpu: Duration::ZERO,
            memory_peak: 0,
        }
    }

    /// Adds the record of one of them.
    pub fn add(&mut self, record: &LogLine) {
        let Some(outcome) = &record.outcome else { return };
        *self.outcomes.entry(outcome.clone()).or_default() += 1;
        self.bytes_in += record.bytes_in;
        self.bytes_out += record.bytes_out;
        self.cpu += Duration::from_micros(record.cpu_usec);
        self.memory_peak = self.memory_peak.max(record.memory_peak);
    }

    /// One sentence.
    pub fn text(&self) -> String {
        let ran = time(self.began.elapsed());
        let total: u64 = self.outcomes.values().sum();
        if total == 0 {
            return format!("ran for {ran}; no client connected");
        }
        let outcomes = self
            .outcomes
            .iter()
            .map(|(outcome, count)| format!("{count} {outcome}"));
        let outcomes: Vec<String> = outcomes.collect();
        format!(
            "ran for {ran}; {total} served: {}; {} in, {} out, CPU {}, memory up to {}",
            outcomes.join(", "),
            size(self.bytes_in),
            size(self.bytes_out),
            time(self.cpu),
            size(self.memory_peak)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_by_outcome() {
        let mut summary = Summary::new();
        assert!(summary.text().ends_with("no client connected"));
        for (outcome, memory_peak) in [("ok", 1 << 20), ("trap", 3 << 20), ("ok", 0)] {
            summary.add(&LogLine {
                outcome: Some(outcome.to_owned()),
                bytes_in: 10,
                memory_peak,
                ..LogLine::default()
            });
        }
        let text = summary.text();
        assert!(text.contains("3 served: 2 ok, 1 trap; 30 B in, 0 B out"), "{text}");
        assert!(text.ends_with("memory up to 3.0 MiB"), "{text}");
    }
}
