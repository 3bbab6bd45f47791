//! The counters as text for Prometheus: OpenMetrics 1.0.0, or the older text format of Prometheus (0.0.4).

use crate::histogram::{BOUNDS, Histogram};
use crate::outcome::Outcome;
use crate::read::HandlerSnapshot;
use std::fmt::{Display, Write as _};

/// The format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    /// The text format of Prometheus, which node_exporter's textfile collector reads, too.
    Prometheus,
}

impl Format {
    /// The media type (`Content-Type`).
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The counters of these handlers, and of the hosts of this `version`, which answer.
pub fn render(handlers: &[HandlerSnapshot], version: &str, format: Format) -> String {
    let mut text = Text {
        text: String::with_capacity(2_048 + handlers.len() * 4_096),
        format,
    };
    text.family(
        "wasm_sock_build",
        "info",
        "",
        "The version of the program that answers.",
    );
    text.sample("wasm_sock_build_info", &[("version", version)], 1);
    life(&mut text, handlers);
    outcomes(&mut text, handlers);
    usage(&mut text, handlers);
    let name = "wasm_sock_duration_seconds";
    text.family(name, "histogram", "seconds", "Time from the acceptance to the end.");
    for handler in handlers {
        text.histogram(name, &handler.name, &handler.duration);
    }
    let name = "wasm_sock_first_byte_seconds";
    text.family(
        name,
        "histogram",
        "seconds",
        "Time from the acceptance to the first byte of the answer.",
    );
    for handler in handlers {
        text.histogram(name, &handler.name, &handler.first_byte);
    }
    if format == Format::OpenMetrics {
        text.text.push_str("# EOF\n");
    }
    text.text
}

/// When its hosts run, and since when.
fn life(text: &mut Text, handlers: &[HandlerSnapshot]) {
    text.gauges(
        "wasm_sock_hosts",
        "",
        "Hosts of the handler that are running; 0: it is asleep.",
        handlers,
        |handler| handler.hosts.len() as u64,
    );
    let help = "Hosts of the handler that could not apply their configuration when they were told to reload it.";
    text.gauges("wasm_sock_reloads_failed", "", help, handlers, |handler| {
        handler.hosts.iter().filter(|host| host.reload_failed).count() as u64
    });
    let help = "Starts of a host for a client of the handler.";
    text.counters("wasm_sock_activations", "", help, handlers, |handler| {
        handler.activations
    });
    let name = "wasm_sock_last_client_timestamp_seconds";
    text.family(
        name,
        "gauge",
        "seconds",
        "When a client came last, in seconds since 1970.",
    );
    for handler in handlers.iter().filter(|handler| handler.last_client > 0) {
        text.sample(name, &[("handler", &handler.name)], Decimal(handler.last_client, 6));
    }
}

/// What became of connections, datagrams and requests.
fn outcomes(text: &mut Text, handlers: &[HandlerSnapshot]) {
    let help = "Connections, datagrams and HTTP requests that are served now.";
    text.gauges("wasm_sock_in_flight", "", help, handlers, |handler| handler.in_flight);
    let help = "Connections, datagrams and HTTP requests that have ended, by how.";
    let name = text.counter("wasm_sock_served", "", help);
    for handler in handlers {
        let words = Outcome::ALL.into_iter().map(Outcome::as_str);
        for (word, count) in words.zip(handler.ended).chain([("killed", handler.killed)]) {
            // Also those that are 0: the first increase of a series that was not there before is lost to `rate()`.
            text.sample(&name, &[("handler", &handler.name), ("outcome", word)], count);
        }
    }
    let help = "HTTP answers, by the class of their status.";
    let name = text.counter("wasm_sock_http_answers", "", help);
    for handler in handlers {
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(handler.classes) {
            text.sample(&name, &[("handler", &handler.name), ("class", class)], count);
        }
    }
}

/// What was used.
fn usage(text: &mut Text, handlers: &[HandlerSnapshot]) {
    let help = "Bytes that clients sent.";
    text.counters("wasm_sock_received_bytes", "bytes", help, handlers, |handler| {
        handler.bytes_in
    });
    let help = "Bytes that were sent to clients.";
    text.counters("wasm_sock_sent_bytes", "bytes", help, handlers, |handler| {
        handler.bytes_out
    });
    let name = text.counter("wasm_sock_cpu_seconds", "seconds", "CPU time of guests.");
    for handler in handlers {
        text.sample(&name, &[("handler", &handler.name)], Decimal(handler.cpu, 9));
    }
    let help = "The most memory that one guest has had.";
    text.gauges("wasm_sock_memory_peak_bytes", "bytes", help, handlers, |handler| {
        handler.memory_peak
    });
    let help = "Log lines of guests that were dropped (max-log).";
    text.counters("wasm_sock_log_lines_dropped", "", help, handlers, |handler| {
        handler.lines_dropped
    });
}

struct Text {
    text: String,
    format: Format,
}

impl Text {
    /// Begins a metric. (Writing to a string does not fail, here and below.)
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let (name, kind) = match (self.format, kind) {
            (Format::Prometheus, "info") => (format!("{name}_info"), "gauge"),
            (Format::Prometheus, "counter") => (format!("{name}_total"), kind),
            _ => (name.to_owned(), kind),
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        if self.format == Format::OpenMetrics && !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    /// Begins a counter. Returns the name of its samples.
    fn counter(&mut self, name: &str, unit: &str, help: &str) -> String {
        self.family(name, "counter", unit, help);
        format!("{name}_total")
    }

    fn counters(
        &mut self,
        name: &str,
        unit: &str,
        help: &str,
        handlers: &[HandlerSnapshot],
        value: impl Fn(&HandlerSnapshot) -> u64,
    ) {
        let name = self.counter(name, unit, help);
        self.samples(&name, handlers, value);
    }

    fn gauges(
        &mut self,
        name: &str,
        unit: &str,
        help: &str,
        handlers: &[HandlerSnapshot],
        value: impl Fn(&HandlerSnapshot) -> u64,
    ) {
        self.family(name, "gauge", unit, help);
        self.samples(name, handlers, value);
    }

    fn samples(&mut self, name: &str, handlers: &[HandlerSnapshot], value: impl Fn(&HandlerSnapshot) -> u64) {
        for handler in handlers {
            self.sample(name, &[("handler", &handler.name)], value(handler));
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            self.text.push_str(if place == 0 { "{" } else { "," });
            self.text.push_str(label);
            self.text.push_str("=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        let _ = writeln!(self.text, "}} {value}");
    }

    fn histogram(&mut self, name: &str, handler: &str, histogram: &Histogram) {
        let (name_of_bucket, mut count) = (format!("{name}_bucket"), 0u64);
        let bounds = BOUNDS.map(|bound| Decimal(bound, 6).to_string());
        let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
        for (bound, more) in bounds.zip(histogram.buckets) {
            count = count.saturating_add(more);
            self.sample(&name_of_bucket, &[("handler", handler), ("le", bound)], count);
        }
        self.sample(
            &format!("{name}_sum"),
            &[("handler", handler)],
            Decimal(histogram.sum, 9),
        );
        self.sample(&format!("{name}_count"), &[("handler", handler)], count);
    }
}

/// A number with so many decimals, exactly: `Decimal(2_500, 6)` is 0.0025.
struct Decimal(u64, u32);

impl Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let one = 10u64.pow(self.1);
        let decimals = format!("{:0width$}", self.0 % one, width = self.1 as usize);
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{}.0", self.0 / one),
            decimals => write!(f, "{}.{decimals}", self.0 / one),
        }
    }
}
