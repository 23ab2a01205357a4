//! A report as a picture (SVG): throughput and latency over time on top, latency over percentile below; in a profile of
//! several phases, throughput and latency of each.

use std::fmt::Write as _;

use crate::report::{PhaseReport, Report};
use crate::require::show_us;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 74.0;
const PLOT_HEIGHT: f64 = 190.0;
const HEAD_HEIGHT: f64 = 76.0;
/// From one plot's top to the next one's.
const STEP: f64 = 266.0;

const RATE_COLOUR: &str = "#2f6f9f";
const P50_COLOUR: &str = "#3a9d6e";
const P99_COLOUR: &str = "#d9822b";
const ERROR_COLOUR: &str = "#c23b3b";

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#333}.t{font-size:17px;font-weight:600;fill:#111}\
    .h{font-size:13px;font-weight:600}.f{fill:#777}.e{text-anchor:end}.m{text-anchor:middle}\
    .g{stroke:#e4e4e4;stroke-width:1}.a{stroke:#999;stroke-width:1}.l{fill:none;stroke-width:1.8;stroke-linejoin:round}";

/// A range of numbers on a stretch of the picture.
#[derive(Clone, Copy)]
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    logarithmic: bool,
}

impl Axis {
    fn at(self, value: f64) -> f64 {
        let scale = |v: f64| if self.logarithmic { v.max(1e-9).log10() } else { v };
        let (from, to) = (scale(self.from), scale(self.to));
        let part = if to > from { (scale(value) - from) / (to - from) } else { 0.0 };
        self.start + part.clamp(0.0, 1.0) * (self.end - self.start)
    }
}

/// Draws a report.
#[must_use]
pub fn svg(report: &Report) -> String {
    let plots = if report.phases.len() > 1 { 3.0 } else { 2.0 };
    let height = HEAD_HEIGHT + plots * STEP;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"Load test\">\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    head(&mut out, report);
    let mut top = HEAD_HEIGHT;
    if report.phases.len() > 1 {
        by_phase(&mut out, report, top);
        top += STEP;
    }
    over_time(&mut out, report, top);
    over_percentile(&mut out, report, top + STEP);
    out.push_str("</svg>\n");
    out
}

fn text(out: &mut String, x: f64, y: f64, class: &str, words: &str) {
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>", escaped(words));
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn rule(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn curve(out: &mut String, colour: &str, points: &[(f64, f64)]) {
    if points.len() == 1 {
        let (x, y) = points[0];
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        return;
    }
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(out, "<polyline class=\"l\" stroke=\"{colour}\" points=\"{}\"/>", path.join(" "));
}

fn head(out: &mut String, report: &Report) {
    let settings = &report.settings;
    text(out, 24.0, 32.0, "t", &format!("{}, {}", report.target, report.profile));
    let rate = settings.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate}/s asked for"));
    let errors = match report.errors() {
        0 => "no errors".to_owned(),
        1 => "1 error".to_owned(),
        n => format!("{} errors", grouped(n)),
    };
    let words = format!(
        "{} connections × {}, {}:{} reads:writes, {} keys ({}), {rate}; {errors}",
        settings.connections,
        settings.pipeline,
        settings.reads_percent,
        100 - settings.reads_percent,
        grouped(u64::from(settings.keys)),
        settings.distribution,
    );
    text(out, 24.0, 52.0, "f", &words);
}

/// A legend: words and their colours, from the right edge of a plot.
fn legend(out: &mut String, y: f64, entries: &[(&str, &str)]) {
    let mut x = WIDTH - RIGHT;
    for (words, colour) in entries.iter().rev() {
        text(out, x, y, "e", words);
        #[allow(clippy::cast_precision_loss, reason = "a few letters")]
        let width = words.chars().count() as f64 * 7.2 + 20.0;
        let _ = writeln!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"3\" fill=\"{colour}\"/>",
            x - width,
            y - 5.0
        );
        x -= width + 14.0;
    }
}

/// The frame of a plot, its title, and marks of the left axis with their words.
fn frame(out: &mut String, top: f64, title: &str, left: &Axis, marks: &[(f64, String)]) {
    text(out, LEFT, top + 8.0, "h", title);
    for (value, words) in marks {
        let y = left.at(*value);
        rule(out, "g", (LEFT, y), (WIDTH - RIGHT, y));
        text(out, LEFT - 8.0, y + 4.0, "e", words);
    }
    rule(out, "a", (LEFT, left.start), (WIDTH - RIGHT, left.start));
}

fn plot_axis(top: f64, from: f64, to: f64, logarithmic: bool) -> Axis {
    Axis { from, to, start: top + 20.0 + PLOT_HEIGHT, end: top + 20.0, logarithmic }
}

/// An axis of latencies in powers of ten that holds all of them, with its marks.
fn latency_axis(top: f64, values: &[f64]) -> (Axis, Vec<(f64, String)>) {
    let positive = || values.iter().copied().filter(|v| *v > 0.0);
    let lowest = positive().fold(f64::INFINITY, f64::min);
    let highest = positive().fold(0.0, f64::max);
    let lowest = if lowest.is_finite() { lowest } else { 1.0 };
    let from = 10_f64.powf(lowest.log10().floor());
    let to = 10_f64.powf(highest.max(lowest * 1.001).log10().ceil());
    let axis = plot_axis(top, from, to, true);
    let mut marks = Vec::new();
    let mut mark = from;
    while mark <= to * 1.001 {
        marks.push((mark, show_us(mark).replace(".00", "").replace(".0", "")));
        mark *= 10.0;
    }
    (axis, marks)
}

/// A round step so that there are four to eight marks up to a number.
fn round_step(highest: f64) -> f64 {
    let rough = (highest / 5.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough).unwrap_or(power)
}

/// An axis of counts a second from 0, with its marks.
fn rate_axis(top: f64, highest: f64) -> (Axis, Vec<(f64, String)>) {
    let step = round_step(highest);
    let count = (highest / step).ceil().max(1.0);
    let axis = plot_axis(top, 0.0, step * count, false);
    let mut marks = Vec::new();
    let mut value = 0.0;
    while value <= step * count * 1.001 {
        marks.push((value, short(value)));
        value += step;
    }
    (axis, marks)
}

fn short(number: f64) -> String {
    let (number, unit) = match number {
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e3 => (n / 1e3, "k"),
        n => (n, ""),
    };
    let text = format!("{number:.1}");
    format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// A whole number with commas.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Rate and latency of each phase, side by side.
#[allow(clippy::cast_precision_loss, reason = "a handful of phases")]
fn by_phase(out: &mut String, report: &Report, top: f64) {
    let highest = report.phases.iter().map(|phase| phase.rate).fold(1.0, f64::max);
    let (rates, marks) = rate_axis(top, highest);
    frame(out, top, "Requests a second and latency by phase", &rates, &marks);
    legend(out, top + 8.0, &[("requests/s", RATE_COLOUR), ("p50", P50_COLOUR), ("p99", P99_COLOUR)]);
    let values: Vec<f64> = report.phases.iter().flat_map(|p| [p.all.p50_us, p.all.p99_us]).collect();
    let (latencies, latency_marks) = latency_axis(top, &values);
    for (value, words) in &latency_marks {
        text(out, WIDTH - RIGHT + 8.0, latencies.at(*value) + 4.0, "f", words);
    }
    let width = (WIDTH - LEFT - RIGHT) / report.phases.len() as f64;
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for (at, phase) in report.phases.iter().enumerate() {
        let middle = LEFT + width * (at as f64 + 0.5);
        let y = rates.at(phase.rate);
        let _ = writeln!(
            out,
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{RATE_COLOUR}\" opacity=\"0.28\"/>",
            middle - width * 0.3,
            width * 0.6,
            rates.start - y
        );
        text(out, middle, rates.start + 16.0, "m", phase.name.trim_end_matches(" connections"));
        p50.push((middle, latencies.at(phase.all.p50_us)));
        p99.push((middle, latencies.at(phase.all.p99_us)));
    }
    curve(out, P50_COLOUR, &p50);
    curve(out, P99_COLOUR, &p99);
}

/// Rate (left) and 99th percentile (right) over time, one phase after the other; windows with errors are marked.
fn over_time(out: &mut String, report: &Report, top: f64) {
    let mut offset = 0.0;
    let mut points: Vec<(f64, &crate::report::Point)> = Vec::new();
    let mut borders = Vec::new();
    for phase in &report.phases {
        // A last window that is cut short would look like a collapse.
        let whole = phase.windows.iter().filter(|w| millis(w.at_ms) <= phase.seconds * 1000.0 + 50.0);
        points.extend(whole.map(|w| (offset + millis(w.at_ms) / 1000.0, w)));
        offset += phase.seconds;
        borders.push(offset);
    }
    let highest = points.iter().map(|(_, w)| w.rate).fold(1.0, f64::max);
    let (rates, marks) = rate_axis(top, highest);
    frame(out, top, "Over time", &rates, &marks);
    let entries =
        [("requests/s", RATE_COLOUR), ("p50", P50_COLOUR), ("p99", P99_COLOUR), ("errors", ERROR_COLOUR)];
    let shown = if points.iter().any(|(_, w)| w.errors > 0) { 4 } else { 3 };
    legend(out, top + 8.0, &entries[..shown]);
    let values: Vec<f64> = points.iter().flat_map(|(_, w)| [w.p50_us, w.p99_us]).collect();
    let (latencies, latency_marks) = latency_axis(top, &values);
    for (value, words) in &latency_marks {
        text(out, WIDTH - RIGHT + 8.0, latencies.at(*value) + 4.0, "f", words);
    }
    let time = Axis { from: 0.0, to: offset.max(0.001), start: LEFT, end: WIDTH - RIGHT, logarithmic: false };
    time_marks(out, &time, rates.start, offset);
    for border in borders.iter().take(borders.len().saturating_sub(1)) {
        rule(out, "a", (time.at(*border), rates.end), (time.at(*border), rates.start));
    }
    let line = |value: fn(&crate::report::Point) -> f64, axis: &Axis| -> Vec<(f64, f64)> {
        points.iter().map(|(at, w)| (time.at(*at), axis.at(value(w)))).collect()
    };
    curve(out, RATE_COLOUR, &line(|w| w.rate, &rates));
    curve(out, P50_COLOUR, &line(|w| w.p50_us, &latencies));
    curve(out, P99_COLOUR, &line(|w| w.p99_us, &latencies));
    for (at, _) in points.iter().filter(|(_, w)| w.errors > 0) {
        let x = time.at(*at);
        let _ = writeln!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"4\" height=\"7\" fill=\"{ERROR_COLOUR}\"/>",
            x - 2.0,
            rates.start - 7.0
        );
    }
}

#[allow(clippy::cast_precision_loss, reason = "two days of milliseconds")]
fn millis(ms: u64) -> f64 {
    ms as f64
}

fn time_marks(out: &mut String, time: &Axis, y: f64, whole: f64) {
    let step = round_step(whole);
    let mut mark = 0.0;
    while mark <= whole * 1.001 {
        let words = if step < 1.0 { format!("{mark:.1} s") } else { format!("{mark:.0} s") };
        text(out, time.at(mark), y + 16.0, "m", &words);
        mark += step;
    }
}

/// Latency over percentile, as far to the right as there are requests: each step is a tenth of the one before.
fn over_percentile(out: &mut String, report: &Report, top: f64) {
    let phases: Vec<&PhaseReport> = report.phases.iter().filter(|p| p.percentiles.len() > 1).collect();
    let values: Vec<f64> = phases.iter().flat_map(|p| p.percentiles.iter().map(|(_, us)| *us)).collect();
    let (latencies, marks) = latency_axis(top, &values);
    frame(out, top, "Latency over percentile", &latencies, &marks);
    let beyond = |percent: f64| (1.0 - percent / 100.0).max(1e-9);
    let most = phases
        .iter()
        .flat_map(|p| p.percentiles.iter().rev().nth(1))
        .map(|(percent, _)| -beyond(*percent).log10())
        .fold(1.0, f64::max);
    let across = Axis { from: 0.0, to: most, start: LEFT, end: WIDTH - RIGHT, logarithmic: false };
    for percent in [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999] {
        let x = -beyond(percent).log10();
        if x <= most * 1.001 {
            rule(out, "g", (across.at(x), latencies.end), (across.at(x), latencies.start));
            text(out, across.at(x), latencies.start + 16.0, "m", &format!("{percent} %"));
        }
    }
    let count = phases.len();
    for (at, phase) in phases.iter().enumerate() {
        let path: Vec<(f64, f64)> = phase
            .percentiles
            .iter()
            .filter(|(percent, _)| *percent < 100.0)
            .map(|(percent, us)| (across.at(-beyond(*percent).log10()), latencies.at(*us)))
            .collect();
        let colour = shade(at, count);
        curve(out, &colour, &path);
        if count > 1
            && let Some((x, y)) = path.last()
        {
            text(out, x + 4.0, y + 4.0, "f", phase.name.trim_end_matches(" connections"));
        }
    }
}

/// From light to dark for one phase after the other.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "colours"
)]
fn shade(at: usize, count: usize) -> String {
    let part = if count > 1 { at as f64 / (count - 1) as f64 } else { 1.0 };
    let mix = |from: f64, to: f64| (from + (to - from) * part) as u8;
    format!("#{:02x}{:02x}{:02x}", mix(158.0, 47.0), mix(202.0, 111.0), mix(225.0, 159.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_round_and_grouped() {
        assert_eq!((round_step(98_000.0), round_step(0.7), round_step(5.0)), (20_000.0, 0.2, 1.0));
        assert_eq!(
            (grouped(0), grouped(999), grouped(1_234_567)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!(
            (short(20_000.0), short(2_500_000.0), short(0.0)),
            ("20k".into(), "2.5M".into(), "0".into())
        );
    }

    #[test]
    fn an_axis_holds_what_it_was_made_for() {
        let (axis, marks) = latency_axis(0.0, &[0.0, 35.0, 4_200.0]);
        assert_eq!((axis.from.round(), axis.to.round(), marks.len()), (10.0, 10_000.0, 4));
        assert!(axis.at(35.0) < axis.start && axis.at(4_200.0) > axis.end);
        let (empty, _) = latency_axis(0.0, &[]);
        assert!(empty.from > 0.0 && empty.to > empty.from);
    }
}
