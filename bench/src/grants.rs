//! What a cold start costs a handler that was granted everything and uses nothing of it.

use crate::activate::{cold_start, settle};
use crate::http::REQUEST;
use crate::report::{Report, Table};
use crate::statistics::Samples;
use crate::way_out::WayOut;
use crate::{Bench, Result};
use std::fs;

const GUEST: &str = "http-hello";

const GRANTS: &str = "\
allow-outbound = [\"https://api.example.org/v1/*\", \"10.88.0.1:5432\"]
keyvalue = { default = \"embedded\", cache = \"redis://10.88.0.1\" }
config = { greeting = \"hello\" }
secrets = [\"token\"]
";

/// How many more rounds than the other cold starts: a hundredth is to be seen.
const MORE: usize = 5;

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let credentials = bench.scratch.join("credentials");
    fs::create_dir_all(&credentials)?;
    fs::write(credentials.join("unknown.token"), "a secret")?;
    let host = |name, settings| -> Result<_> {
        let host = WayOut::new(bench, name, GUEST, settings)?.host();
        let host = host.variable("CREDENTIALS_DIRECTORY", &credentials);
        Ok(host.variable("STATE_DIRECTORY", bench.scratch.join("state")))
    };
    let programs = [host("grants-none", "")?, host("grants-all", GRANTS)?];
    for program in &programs {
        settle(program, 1, REQUEST)?;
    }
    let mut times = [const { Samples::new() }; 2];
    for round in 0..MORE * bench.effort.rounds {
        // There and back, so that neither always follows the other.
        for place in [round % 2, 1 - round % 2] {
            times[place].add(cold_start(&programs[place], 1, REQUEST)?);
        }
    }
    let columns = ["", "p10 µs", "median µs", "p99 µs"];
    let mut table = Table::new("Grants that are not used, HTTP component", &columns);
    for (name, own) in ["none", "network, stores, values, a secret"].iter().zip(&times) {
        table.row(name, &[own.p10(), own.median(), own.p99()]);
    }
    report.table(table);
    let [none, all] = &times;
    report.measure("grants that are not used", all.p10() / none.p10())
}
