//! Contenders under load, in turn: what disturbs one of them disturbs all.

use crate::Result;
use crate::process::Process;
use crate::report::Table;
use crate::statistics::Samples;
use crate::tree;
use std::time::Duration;

/// What clients did to one contender in one turn.
pub struct Load {
    pub count: u64,
    pub took: Duration,
    /// Microseconds that clients waited for an answer.
    pub p10: f64,
    pub median: f64,
    pub p99: f64,
}

impl Load {
    /// Of a client that did one thing after the other, and knows how long all of them took.
    pub fn of_one_client(count: u64, took: Duration) -> Self {
        let each = took.as_secs_f64() * 1e6 / count as f64;
        Self {
            count,
            took,
            p10: each,
            median: each,
            p99: each,
        }
    }
}

pub struct Contender<'a> {
    pub name: &'a str,
    /// Whose CPU time it is, with all that it has started.
    pub process: &'a Process,
    pub load: Box<dyn Fn() -> Result<Load> + 'a>,
}

/// What one contender did, turn by turn.
pub struct Turns {
    pub name: String,
    /// Answers per second.
    pub rate: Samples,
    /// Microseconds of CPU time for one answer.
    pub cpu: Samples,
    p10: Samples,
    pub median: Samples,
    pub p99: Samples,
}

impl Turns {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            rate: Samples::default(),
            cpu: Samples::default(),
            p10: Samples::default(),
            median: Samples::default(),
            p99: Samples::default(),
        }
    }

    fn take(&mut self, contender: &Contender) -> Result<()> {
        let before = tree::cpu_time(contender.process)?;
        let load = (contender.load)().map_err(|error| format!("{}: {error}", self.name))?;
        let cpu = tree::cpu_time(contender.process)?.saturating_sub(before);
        if load.count == 0 {
            return Err(format!("{}: no answers", self.name).into());
        }
        self.rate.add(load.count as f64 / load.took.as_secs_f64());
        self.cpu.add(cpu.as_secs_f64() * 1e6 / load.count as f64);
        self.p10.add(load.p10);
        self.median.add(load.median);
        self.p99.add(load.p99);
        Ok(())
    }
}

/// All contenders, in their order.
pub struct Comparison {
    pub turns: Vec<Turns>,
}

/// Lets the contenders take turns.
pub fn alternate(contenders: &[Contender], turns: usize) -> Result<Comparison> {
    let mut all: Vec<Turns> = contenders.iter().map(|one| Turns::new(one.name)).collect();
    // The first turn warms up, and does not count.
    for contender in contenders {
        Turns::new(contender.name).take(contender)?;
    }
    for _ in 0..turns {
        for (own, contender) in all.iter_mut().zip(contenders) {
            own.take(contender)?;
        }
    }
    Ok(Comparison { turns: all })
}

impl Comparison {
    pub fn of(&self, name: &str) -> Result<&Turns> {
        let found = self.turns.iter().find(|turns| turns.name == name);
        Ok(found.ok_or_else(|| format!("{name} was not measured"))?)
    }

    /// The medians of all turns. `answers` are what there is of a second: requests, connections.
    pub fn table(&self, title: &str, answers: &'static str) -> Table {
        let columns = ["", "CPU µs each", "p10 µs", "median µs", "p99 µs"];
        let mut columns = columns.to_vec();
        columns.insert(1, answers);
        let mut table = Table::new(title, &columns);
        for Turns {
            name,
            rate,
            cpu,
            p10,
            median,
            p99,
        } in &self.turns
        {
            let values = [rate, cpu, p10, median, p99].map(Samples::median);
            table.row(name, &values);
        }
        table
    }
}
