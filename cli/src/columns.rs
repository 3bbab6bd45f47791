//! Tables that fit the terminal, numbers for people, colours.

use rustix::termios::{isatty, tcgetwinsize};
use std::env;
use std::fmt::Write as _;
use std::io;

/// The width of a terminal that does not tell its own.
const DEFAULT_WIDTH: usize = 80;

/// What the output goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// The number of columns. `None`: a file or a pipe, where nothing is cut.
    pub width: Option<usize>,
    /// Are colours shown? Not with `NO_COLOR` (no-color.org).
    pub has_colors: bool,
}

impl Screen {
    /// That of standard output.
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        if !isatty(&stdout) {
            return Self {
                width: None,
                has_colors: false,
            };
        }
        let size = tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        Self {
            width: Some(if size == 0 { DEFAULT_WIDTH } else { size }),
            has_colors: !no_color && !is_dumb,
        }
    }

    /// `text` in a colour, if there are any.
    pub fn paint(self, color: Color, text: &str) -> String {
        match (self.has_colors, color) {
            (false, _) | (_, Color::None) => text.to_owned(),
            (true, color) => format!("\x1b[{}m{text}\x1b[0m", color as u8),
        }
    }
}

/// A colour of the terminal (`console_codes(4)`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Color {
    #[default]
    None = 0,
    Faint = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// A cell of a table.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    pub text: String,
    pub color: Color,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            color: Color::None,
        }
    }
}

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Left,
    Right,
    /// Cut with `…` if the table is too wide, though not below this width.
    Cut(usize),
}

/// Sets a table: columns two spaces apart, within the width of the screen if that can be.
pub fn table<const COLUMNS: usize>(columns: [Column; COLUMNS], rows: &[[Cell; COLUMNS]], screen: Screen) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(length(&cell.text));
        }
    }
    if let Some(most) = screen.width {
        shrink(&mut widths, columns, most.saturating_sub(2 * (COLUMNS - 1)));
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        let mut pending = 0;
        for ((cell, column), width) in row.iter().zip(columns).zip(widths) {
            let shown = cut(&cell.text, width);
            let padding = width.saturating_sub(length(&shown));
            let (before, after) = if column == Column::Right {
                (padding, 0)
            } else {
                (0, padding)
            };
            let painted = if shown.is_empty() {
                shown
            } else {
                screen.paint(cell.color, &shown)
            };
            // Writing to a string does not fail.
            let _ = write!(line, "{:1$}{painted}", "", pending + before);
            pending = after + 2;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Makes columns narrower that may be, the widest first, until all together have at most `most`.
fn shrink<const COLUMNS: usize>(widths: &mut [usize; COLUMNS], columns: [Column; COLUMNS], most: usize) {
    while widths.iter().sum::<usize>() > most {
        let can_shrink = |place: &usize| matches!(columns[*place], Column::Cut(least) if widths[*place] > least);
        let Some(widest) = (0..COLUMNS).filter(can_shrink).max_by_key(|place| widths[*place]) else {
            return;
        };
        widths[widest] -= 1;
    }
}

/// `text` with at most `width` characters; what is cut ends with `…`.
pub fn cut(text: &str, width: usize) -> String {
    match length(text) > width {
        false => text.to_owned(),
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// A count in at most five characters: `12345`, `123k`, `4.5M`.
pub fn count(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        _ => scaled(count, 1_000, &["", "k", "M", "G", "T", "P", "E"]),
    }
}

/// Bytes, in at most five characters: `512B`, `1.9M`, `64M`.
pub fn bytes(bytes: u64) -> String {
    scaled(bytes, 1_024, &["B", "K", "M", "G", "T", "P", "E"])
}

/// `number` in the largest unit in which it is at least 1, with a decimal below 10.
fn scaled(number: u64, step: u64, units: &[&str; 7]) -> String {
    let (mut unit, mut size) = (0, 1u64);
    // What rounds to a thousand has the next unit.
    while unit < 6 && number / size >= step - 1 && number >= step {
        (unit, size) = (unit + 1, size * step);
    }
    let tenths = (u128::from(number) * 10 + u128::from(size) / 2) / u128::from(size);
    match tenths {
        _ if unit == 0 => format!("{number}{}", units[0]),
        0..100 => format!("{}.{}{}", tenths / 10, tenths % 10, units[unit]),
        _ => format!("{}{}", (tenths + 5) / 10, units[unit]),
    }
}

/// A time span in microseconds, in its largest unit: `0s`, `59s`, `12min`, `3h`, `45d`.
pub fn span(microseconds: u64) -> String {
    let seconds = microseconds / 1_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}min", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// CPU time in microseconds: `0`, `850us`, `12ms`, `3.4s`, `56min`.
pub fn cpu(microseconds: u64) -> String {
    match microseconds {
        0 => "0".to_owned(),
        1..1_000 => format!("{microseconds}us"),
        1_000..1_000_000 => format!("{}ms", microseconds / 1_000),
        1_000_000..60_000_000 => format!("{}.{}s", microseconds / 1_000_000, microseconds / 100_000 % 10),
        _ => span(microseconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let counts = [0, 99_999, 100_000, 999_499, 1_000_000, 12_345_678, u64::MAX].map(count);
        assert_eq!(counts, ["0", "99999", "100k", "999k", "1.0M", "12M", "18E"]);
        let sizes = [0, 1_023, 1_024, 1_992_294, 67_108_864, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0B", "1.0K", "1.0K", "1.9M", "64M", "16E"]);
        let spans = [0, 59_999_999, 60_000_000, 86_399_000_000, 9 * 86_400_000_000].map(span);
        assert_eq!(spans, ["0s", "59s", "1min", "23h", "9d"]);
        let times = [0, 850, 12_345, 3_456_789, 90_000_000].map(cpu);
        assert_eq!(times, ["0", "850us", "12ms", "3.4s", "1min"]);
    }

    #[test]
    fn a_table_is_cut_where_it_may_be_and_only_on_a_screen() {
        let row = |cells: [&str; 3]| cells.map(Cell::from);
        let rows = [
            row(["NAME", "ADDRESSES", "NOW"]),
            row(["a-long-name", "[2001:db8::1]:7000 7001", "12"]),
        ];
        let columns = [Column::Cut(4), Column::Cut(6), Column::Right];
        let set = |width| {
            let has_colors = false;
            table(columns, &rows, Screen { width, has_colors })
        };
        assert_eq!(
            set(None),
            "NAME         ADDRESSES                NOW\na-long-name  [2001:db8::1]:7000 7001   12\n"
        );
        assert_eq!(
            set(Some(24)),
            "NAME      ADDRESSES  NOW\na-long-…  [2001:d…   12\n"
                .replace("a-long-…  [2001:d…   12", "a-long…   [2001:d…   12")
                .replace("NAME      ADDRESSES", "NAME      ADDRESS…"),
            "{}",
            set(Some(24))
        );
        assert!(set(Some(1)).lines().all(|line| line.chars().count() <= 4 + 6 + 3 + 4));
    }

    #[test]
    fn colours_do_not_count_as_characters() {
        let screen = Screen {
            width: Some(80),
            has_colors: true,
        };
        let cell = Cell {
            text: "up".to_owned(),
            color: Color::Green,
        };
        let rows = [[cell, Cell::from("x")], [Cell::from("asleep"), Cell::from("y")]];
        let text = table([Column::Left, Column::Left], &rows, screen);
        assert_eq!(text, "\x1b[32mup\x1b[0m      x\nasleep  y\n");
    }
}
