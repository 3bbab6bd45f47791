//! `wasm-sock list`: prints all handlers, a line each.

use crate::columns::{self, Cell, Color, Column, Screen};
use crate::handlers::{Handler, HandlerJson, Handlers, State};
use crate::scope::Scope;
use crate::{CommandError, print};
use wasm_sock_config::ConfigErrors;

/// The arguments of `wasm-sock list`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct List {
    /// Print a line of JSON for each handler
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    scope: Scope,
}

/// Prints the handlers.
///
/// # Errors
/// When the counters cannot be read.
pub fn run(arguments: &List) -> Result<(), CommandError> {
    let mut found = Handlers::collect(arguments.scope)?;
    found.handlers.retain(Handler::is_service);
    if !found.mistakes.is_empty() {
        eprintln!(
            "wasm-sock: mistakes in the configuration:\n{}",
            ConfigErrors(found.mistakes)
        );
    }
    if arguments.json {
        return print(&json(&found.handlers));
    }
    if found.handlers.is_empty() {
        let whose = if arguments.scope.is_user() {
            "of yours (see --system)"
        } else {
            "(see --user)"
        };
        return print(&format!("there is no handler {whose}: `wasm-sock install` makes one\n"));
    }
    print(&text(&found.handlers, wasm_sock_stats::now(), Screen::of_stdout()))
}

fn json(handlers: &[Handler]) -> String {
    let lines = handlers.iter().map(|handler| {
        // Strings, numbers and maps with strings as keys can always be written.
        serde_json::to_string(&HandlerJson::from(handler)).unwrap_or_default() + "\n"
    });
    lines.collect()
}

/// The least width of a column that may be cut.
const MIN_NAME: usize = 8;
const MIN_ADDRESSES: usize = 9;

fn text(handlers: &[Handler], now: u64, screen: Screen) -> String {
    let columns = [
        Column::Cut(MIN_NAME),
        Column::Cut(MIN_ADDRESSES),
        Column::Left,
        Column::Right,
        Column::Right,
        Column::Right,
        Column::Right,
        Column::Right,
        Column::Right,
    ];
    let titles = [
        "HANDLER",
        "ADDRESSES",
        "STATE",
        "NOW",
        "SERVED",
        "FAILED",
        "LAST",
        "MEM",
        "CPU",
    ];
    let mut rows = vec![titles.map(Cell::from)];
    rows.extend(handlers.iter().map(|handler| row(handler, now)));
    columns::table(columns, &rows, screen)
}

fn row(handler: &Handler, now: u64) -> [Cell; 9] {
    let counters = &handler.counters;
    let failed = counters.failed();
    let last = match counters.last_client {
        0 => "-".to_owned(),
        time => columns::span(now.saturating_sub(time)),
    };
    let memory = handler
        .usage
        .map_or_else(|| "-".to_owned(), |usage| columns::bytes(usage.memory));
    let colored = |text: String, color| Cell { text, color };
    [
        handler.name.as_str().into(),
        match (&handler.addresses[..], &handler.schedule[..]) {
            ([], []) => "-".into(),
            ([], schedule) => schedule.join(", ").into(),
            (addresses, _) => addresses.join(" ").into(),
        },
        state(handler, now),
        columns::count(counters.in_flight).into(),
        columns::count(counters.served()).into(),
        colored(
            columns::count(failed),
            if failed > 0 { Color::Yellow } else { Color::None },
        ),
        last.into(),
        memory.into(),
        columns::cpu(counters.cpu / 1_000).into(),
    ]
}

/// `awake 2h`, `asleep`; `broken` if there is a mistake in its configuration.
pub fn state(handler: &Handler, now: u64) -> Cell {
    if handler.is_broken {
        return Cell {
            text: "broken".to_owned(),
            color: Color::Red,
        };
    }
    let state = handler.state();
    let text = match handler.awake_since() {
        Some(since) => format!("{} {}", state.as_str(), columns::span(now.saturating_sub(since))),
        None => state.as_str().to_owned(),
    };
    let color = match state {
        State::Awake => Color::Green,
        State::Failed => Color::Red,
        State::Off | State::Unreachable => Color::Yellow,
        State::Asleep | State::Scheduled => Color::None,
    };
    Cell { text, color }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_sock_stats::{HandlerSnapshot, HostSnapshot, Outcome};

    const NOW: u64 = 1_800_000_000_000_000;

    fn handlers() -> Vec<Handler> {
        let host = HostSnapshot {
            pid: 1,
            since: NOW - 7_200_000_000,
            reloads: 0,
            reload_failed: false,
        };
        let mut awake = Handler {
            name: "a-handler-with-a-long-name".to_owned(),
            addresses: ["7000", "[::1]:7001", "udp:5353"].map(str::to_owned).to_vec(),
            counters: HandlerSnapshot {
                hosts: vec![host],
                in_flight: 3,
                killed: 2,
                cpu: 12_345_678_901,
                last_client: NOW - 5_000_000,
                ..HandlerSnapshot::default()
            },
            ..Handler::default()
        };
        awake.counters.ended[Outcome::Ok as usize] = 123_456;
        awake.counters.ended[Outcome::Trap as usize] = 4;
        let mut asleep = Handler {
            name: "hello".to_owned(),
            ..Handler::default()
        };
        asleep.sockets.insert("hello.socket".to_owned(), "active".to_owned());
        vec![awake, asleep]
    }

    #[test]
    fn a_line_tells_what_matters_within_eighty_columns() {
        let screen = Screen {
            width: Some(80),
            has_colors: false,
        };
        let expected = "\
HANDLER          ADDRESSES       STATE     NOW  SERVED  FAILED  LAST  MEM    CPU
a-handler-with…  7000 [::1]:70…  awake 2h    3    123k       6    5s    -  12.3s
hello            -               asleep      0       0       0     -    -      0
";
        assert_eq!(text(&handlers(), NOW, screen), expected);
    }

    #[test]
    fn json_is_a_line_for_each_handler_with_all_numbers() {
        let lines = json(&handlers());
        let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!(first["handler"], "a-handler-with-a-long-name");
        assert_eq!((&first["served"], &first["failed"]), (&123_462.into(), &6.into()));
        assert_eq!(first["outcomes"]["killed"], 2);
        assert_eq!(first["state"], "awake");
        assert_eq!(lines.lines().count(), 2);
    }
}
