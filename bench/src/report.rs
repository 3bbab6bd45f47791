//! What was measured: tables on the terminal and in Markdown, charts, and the promises.

use crate::plot::Chart;
use crate::promises::{self, Measured, Promise, Verdict, number};
use crate::{Result, machine};
use std::fs;
use std::path::Path;

/// Numbers under a heading.
pub struct Table {
    pub title: String,
    /// The first is that of the names.
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, name: &str, values: &[f64]) {
        let values = values.iter().map(|value| match value.is_finite() {
            true => number(*value),
            false => "-".into(),
        });
        self.rows.push([name.into()].into_iter().chain(values).collect());
    }

    /// For the terminal: columns under each other.
    fn print(&self) {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.columns[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &[&str]| {
            let mut text = format!("  {:1$}", cells[0], widths[0]);
            for (cell, width) in cells.iter().zip(&widths).skip(1) {
                text += &format!("  {cell:>width$}");
            }
            println!("{}", text.trim_end());
        };
        println!("\n{}", self.title);
        line(&self.columns);
        for row in &self.rows {
            line(&row.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    fn markdown(&self) -> String {
        let numbers = "---:|".repeat(self.columns.len() - 1);
        let mut text = format!(
            "## {}\n\n| {} |\n|---|{numbers}\n",
            self.title,
            self.columns.join(" | ")
        );
        for row in &self.rows {
            text += &format!("| {} |\n", row.join(" | "));
        }
        text
    }
}

/// All that one run of the benchmark finds out.
pub struct Report {
    promises: Vec<Promise>,
    measured: Measured,
    tables: Vec<Table>,
    charts: Vec<Chart>,
    /// The chapter that is being measured, and all so far.
    chapters: Vec<&'static str>,
    /// The chapters in which a peer was missing.
    incomplete: Vec<&'static str>,
}

impl Report {
    pub fn new(specification: &str) -> Self {
        Self {
            promises: promises::read(specification),
            measured: Measured::new(),
            tables: Vec::new(),
            charts: Vec::new(),
            chapters: Vec::new(),
            incomplete: Vec::new(),
        }
    }

    pub fn begin(&mut self, chapter: &'static str) {
        self.chapters.push(chapter);
    }

    /// A promise, by its name, and the number: in bytes or microseconds, where it has a unit.
    pub fn measure(&mut self, what: &str, value: f64) -> Result<()> {
        let promise = self.promises.iter().find(|promise| promise.what == what);
        let promise = promise.ok_or_else(|| format!("SPECIFICATION.md does not promise \"{what}\""))?;
        if self.chapters.last() != Some(&promise.chapter.as_str()) {
            return Err(format!("\"{what}\" is of the chapter {}", promise.chapter).into());
        }
        self.measured.insert(what.into(), promise.in_its_unit(value));
        Ok(())
    }

    /// Somebody was not there to be measured.
    pub fn skip(&mut self, who: &str, why: &str) {
        println!("\nskipped: {who} ({why})");
        self.incomplete.extend(self.chapters.last());
    }

    pub fn table(&mut self, table: Table) {
        table.print();
        self.tables.push(table);
    }

    pub fn chart(&mut self, chart: Chart) {
        self.charts.push(chart);
    }

    /// Prints the promises, and writes everything to `folder`.
    pub fn finish(mut self, folder: &Path, smoke: bool) -> Result<Outcome> {
        let verdicts: Vec<Verdict> = self
            .promises
            .iter()
            .map(|promise| promises::verdict(promise, &self.measured, &self.chapters))
            .collect();
        self.table(self.promise_table(&verdicts));
        let origin = machine::origin();
        fs::create_dir_all(folder)?;
        let mut text = format!("# What `make bench` measured\n\n{origin}.\n");
        for chart in &self.charts {
            fs::write(folder.join(chart.file), chart.svg(&origin))?;
            text += &format!("\n![{}]({})\n", chart.title, chart.file);
        }
        for table in &self.tables {
            text += &format!("\n{}", table.markdown());
        }
        fs::write(folder.join("results.md"), text)?;
        if smoke {
            let mut asked = self.promises;
            asked.retain(|promise| self.chapters.contains(&promise.chapter.as_str()));
            promises::check_instrument(&asked, &self.measured, &self.incomplete)?;
        }
        Ok(Outcome {
            exit_code: promises::exit_code(&verdicts, smoke),
            measured: self.measured,
        })
    }

    fn promise_table(&self, verdicts: &[Verdict]) -> Table {
        let columns = ["promise", "measured", "bound", "margin %", ""];
        let mut table = Table::new("Promises", &columns);
        for (promise, verdict) in self.promises.iter().zip(verdicts) {
            let (measured, margin) = match self.measured.get(&promise.what) {
                Some(value) => (number(*value), format!("{:+.0}", promise.margin(*value))),
                None => ("-".into(), "-".into()),
            };
            let verdict = match verdict {
                Verdict::Kept => "",
                Verdict::Broken => "BROKEN",
                Verdict::NotMeasured => "NOT MEASURED",
                Verdict::NotAsked => continue,
            };
            let row = [promise.what.clone(), measured, promise.bound(), margin, verdict.into()];
            table.rows.push(row.into());
        }
        table
    }
}

/// How it went.
pub struct Outcome {
    pub exit_code: u8,
    pub measured: Measured,
}
