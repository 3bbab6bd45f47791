//! Charts as SVG, which is text: a crate for it would bring more code than there is here.

use crate::promises::number;
use std::fmt::Write;

/// A chart, and the file that it becomes.
pub struct Chart {
    pub file: &'static str,
    pub title: String,
    /// What is on the axis of values, and which way is better.
    pub subtitle: String,
    pub content: Content,
}

pub enum Content {
    Bars {
        bars: Vec<Bar>,
        logarithmic: bool,
    },
    /// Both axes are logarithmic; the first place is for nothing, which has no logarithm.
    Lines {
        places: &'static str,
        lines: Vec<Line>,
    },
}

pub struct Bar {
    pub label: String,
    pub value: f64,
    /// wasm-sock's own, which are to be seen at first sight.
    pub ours: bool,
}

pub struct Line {
    pub label: String,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 24.0;
const TOP: f64 = 74.0;
/// From one bar to the next.
const STEP: f64 = 30.0;
/// Where bars begin, and how much is left free behind them, for their values.
const BARS: (f64, f64) = (268.0, 92.0);
const LINES_HEIGHT: f64 = 260.0;
const LINES: (f64, f64) = (70.0, 210.0);

/// Readable on white paper and on a dark screen: the picture brings its own ground.
const STYLE: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#24292f}\
.title{font-size:17px;font-weight:600}.soft,.axis{fill:#57606a;font-size:12px}.axis{font-size:11px}\
.ground{fill:#fff}.grid{stroke:#d8dee4;stroke-width:1}.ours{fill:#0969da}.peer{fill:#afb8c1}\
.strong{font-weight:600}.value{paint-order:stroke;stroke:#fff;stroke-width:4px}.l0{stroke:#0969da;fill:#0969da}.l1{stroke:#bc4c00;fill:#bc4c00}\
.l2{stroke:#1a7f37;fill:#1a7f37}.l3{stroke:#8250df;fill:#8250df}polyline{fill:none!important;stroke-width:2.5}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft,.axis{fill:#9198a1}.ground{fill:#0d1117}.value{stroke:#0d1117}\
.grid{stroke:#30363d}.ours{fill:#58a6ff}.peer{fill:#59636e}.l0{stroke:#58a6ff;fill:#58a6ff}\
.l1{stroke:#f0883e;fill:#f0883e}.l2{stroke:#3fb950;fill:#3fb950}.l3{stroke:#bc8cff;fill:#bc8cff}}";

/// Maps values to pixels.
struct Scale {
    from: f64,
    to: f64,
    /// Pixels of both ends.
    pixels: (f64, f64),
    logarithmic: bool,
}

impl Scale {
    /// From a power of ten to another around the values, or from nothing to something round.
    fn around(values: impl Iterator<Item = f64>, pixels: (f64, f64), logarithmic: bool) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::MIN_POSITIVE);
        for value in values.filter(|value| *value > 0.0 && value.is_finite()) {
            (least, most) = (least.min(value), most.max(value));
        }
        let ten = |exponent: f64| 10_f64.powf(exponent);
        let (from, to) = if logarithmic {
            let from = ten(least.min(most).log10().floor());
            (from, (most * 1.05).max(from * 10.0))
        } else {
            (0.0, most * 1.05)
        };
        Self {
            from,
            to,
            pixels,
            logarithmic,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            value / self.to
        };
        self.pixels.0 + share.clamp(0.0, 1.0) * (self.pixels.1 - self.pixels.0)
    }

    /// Where lines help the eye: at powers of ten, or at about five round values.
    fn marks(&self) -> Vec<f64> {
        if self.logarithmic {
            let next = |mark: &f64| Some(mark * 10.0);
            let marks = std::iter::successors(Some(self.from), next);
            return marks.take_while(|mark| *mark <= self.to * 1.001).collect();
        }
        let rough = self.to / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power * 1.3 >= rough);
        let step = factor.unwrap_or(10.0) * power;
        let count = (self.to / step) as u32;
        (0..=count).map(|index| f64::from(index) * step).collect()
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// `10000` as `10k`: marks have little room.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", v / 1e3),
        v => format!("{}", (v * 1e9).round() / 1e9),
    }
}

impl Chart {
    pub fn svg(&self, origin: &str) -> String {
        let (height, body) = match &self.content {
            Content::Bars { bars, logarithmic } => draw_bars(bars, *logarithmic),
            Content::Lines { places, lines } => draw_lines(places, lines),
        };
        let (title, subtitle) = (escape(&self.title), escape(&self.subtitle));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"ground\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n\
             <text class=\"title\" x=\"{MARGIN}\" y=\"32\">{title}</text>\n\
             <text class=\"soft\" x=\"{MARGIN}\" y=\"52\">{subtitle}</text>\n{body}\
             <text class=\"axis\" x=\"{MARGIN}\" y=\"{}\">{}</text>\n</svg>\n",
            height - 14.0,
            escape(origin)
        )
    }
}

fn text(svg: &mut String, class: &str, anchor: &str, (x, y): (f64, f64), text: &str) {
    let text = escape(text);
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn draw_bars(bars: &[Bar], logarithmic: bool) -> (f64, String) {
    let mut svg = String::new();
    let bottom = TOP + STEP * bars.len() as f64;
    let values = bars.iter().map(|bar| bar.value);
    let scale = Scale::around(values, (BARS.0, WIDTH - BARS.1), logarithmic);
    for mark in scale.marks() {
        let x = scale.at(mark);
        line(&mut svg, (x, TOP - 6.0), (x, bottom));
        text(&mut svg, "axis", "middle", (x, bottom + 16.0), &short(mark));
    }
    for (index, bar) in bars.iter().enumerate() {
        let (y, x) = (TOP + STEP * index as f64, scale.at(bar.value));
        let (class, weight) = if bar.ours { ("ours", "strong") } else { ("peer", "") };
        text(&mut svg, weight, "end", (BARS.0 - 10.0, y + 16.0), &bar.label);
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{}\" y=\"{:.1}\" width=\"{:.1}\" height=\"20\" rx=\"2\"/>",
            BARS.0,
            y + 1.0,
            (x - BARS.0).max(1.0)
        );
        // Lines of the grid end at the value's letters.
        let weight = format!("value {weight}");
        text(&mut svg, &weight, "start", (x + 8.0, y + 16.0), &number(bar.value));
    }
    (bottom + 52.0, svg)
}

fn draw_lines(places: &str, lines: &[Line]) -> (f64, String) {
    let mut svg = String::new();
    let (left, right, bottom) = (LINES.0, WIDTH - LINES.1, TOP + LINES_HEIGHT);
    let points = || lines.iter().flat_map(|line| &line.points);
    // Nothing is drawn a decade before one.
    let place = |x: f64| if x == 0.0 { 0.1 } else { x };
    let across = Scale::around(points().map(|(x, _)| place(*x)), (left, right), true);
    let up = Scale::around(points().map(|(_, y)| *y), (bottom, TOP), false);
    for mark in up.marks() {
        let y = up.at(mark);
        line(&mut svg, (left, y), (right, y));
        text(&mut svg, "axis", "end", (left - 8.0, y + 4.0), &short(mark));
    }
    for mark in across.marks() {
        let name = if mark < 1.0 { "0".into() } else { short(mark) };
        let at = (across.at(mark), bottom + 18.0);
        text(&mut svg, "axis", "middle", at, &name);
    }
    let middle = ((left + right) / 2.0, bottom + 38.0);
    text(&mut svg, "soft", "middle", middle, places);
    let mut free = TOP;
    for (index, line) in lines.iter().enumerate() {
        let mut corners = String::new();
        for (x, y) in &line.points {
            let (x, y) = (across.at(place(*x)), up.at(*y));
            let _ = write!(corners, "{x:.1},{y:.1} ");
            let _ = writeln!(svg, "<circle class=\"l{index}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
        }
        let _ = writeln!(svg, "<polyline class=\"l{index}\" points=\"{corners}\"/>");
        // Lines that end near each other would have their names on top of each other.
        let y = free + 14.0;
        free += 22.0;
        let at = right + 22.0;
        let _ = writeln!(
            svg,
            "<circle class=\"l{index}\" cx=\"{at:.1}\" cy=\"{:.1}\" r=\"5\"/>",
            y - 4.0
        );
        text(&mut svg, "", "start", (at + 12.0, y), &line.label);
    }
    (bottom + 74.0, svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_within_the_scale() {
        let scale = Scale::around([3.0, 470.0].into_iter(), (0.0, 100.0), true);
        assert_eq!(scale.marks(), [1.0, 10.0, 100.0]);
        assert_eq!(scale.at(1.0), 0.0);
        let scale = Scale::around([3.0, 470.0].into_iter(), (0.0, 100.0), false);
        assert_eq!(scale.marks(), [0.0, 100.0, 200.0, 300.0, 400.0]);
    }

    #[test]
    fn a_chart_of_anything_is_well_formed() {
        let bar = |value| Bar {
            label: "a < b & c".into(),
            value,
            ours: false,
        };
        for bars in [vec![], vec![bar(0.0)], vec![bar(1.0), bar(1e6)]] {
            let chart = Chart {
                file: "x.svg",
                title: "<x>".into(),
                subtitle: "&".into(),
                content: Content::Bars {
                    bars,
                    logarithmic: true,
                },
            };
            let svg = chart.svg("today");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(!svg.contains("a < b & c") && svg.ends_with("</svg>\n"), "{svg}");
        }
    }
}
