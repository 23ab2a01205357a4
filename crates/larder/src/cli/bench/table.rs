//! A report as a table for people.

pub use larder_load::picture::grouped;
use larder_load::report::{Figures, PhaseReport, Report};
use larder_load::require::show_us;

use crate::failure::clean;
use crate::output::{Output, Tone};
use crate::size;

/// The whole report.
pub fn text(report: &Report, output: Output) -> String {
    let settings = &report.settings;
    let mut out = output.paint(Tone::Strong, &format!("{}  {}", report.target, report.profile));
    let pace = settings.rate.map_or_else(
        || "closed loop".to_owned(),
        |rate| format!("{rate} requests/s asked for, latencies from when each was due"),
    );
    out.push_str(&format!(
        "\n{} connections × {}, {} keys {}{}, {}:{} reads:writes, {pace}\n\n",
        settings.connections,
        settings.pipeline,
        grouped(u64::from(settings.keys)),
        settings.distribution,
        settings.skew.map_or_else(String::new, |skew| format!(" {skew}")),
        settings.reads_percent,
        100 - settings.reads_percent,
    ));
    if report.phases.len() == 1 {
        one(&mut out, &report.phases[0]);
    } else {
        several(&mut out, &report.phases);
    }
    for phase in &report.phases {
        footnotes(&mut out, phase, report, output);
    }
    if report.keys_left_behind {
        out.push_str("keys    left on the server\n");
    }
    out
}

fn row(cells: &[&str]) -> String {
    let mut line = format!("{:<16}", cells[0]);
    for cell in &cells[1..] {
        // By characters: µ is two bytes.
        let gap = 11_usize.saturating_sub(cell.chars().count());
        line.push_str(&" ".repeat(gap));
        line.push_str(cell);
    }
    line.push('\n');
    line
}

fn per_second(rate: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive rate")]
    let whole = rate.round() as u64;
    format!("{}/s", grouped(whole))
}

#[allow(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn line(name: &str, figures: &Figures, seconds: f64) -> String {
    let rate = if seconds > 0.0 { figures.count as f64 / seconds } else { 0.0 };
    let times =
        [figures.p50_us, figures.p90_us, figures.p99_us, figures.p99_9_us, figures.max_us].map(show_us);
    let [p50, p90, p99, p99_9, max] = &times;
    row(&[name, &per_second(rate), p50, p90, p99, p99_9, max])
}

const HEAD: [&str; 7] = ["", "rate", "p50", "p90", "p99", "p99.9", "max"];

fn one(out: &mut String, phase: &PhaseReport) {
    out.push_str(&row(&HEAD));
    out.push_str(&line("all", &phase.all, phase.seconds));
    if phase.reads.count > 0 && phase.writes.count > 0 {
        out.push_str(&line("reads", &phase.reads, phase.seconds));
        out.push_str(&line("writes", &phase.writes, phase.seconds));
    }
    out.push('\n');
}

fn several(out: &mut String, phases: &[PhaseReport]) {
    let mut head = HEAD.to_vec();
    head.push("received");
    out.push_str(&row(&head));
    for phase in phases {
        let mut line = line(&phase.name, &phase.all, phase.seconds);
        line.pop();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive rate")]
        let bytes = format!("{}/s", size::show(phase.received_bytes_per_second as u64));
        line.push_str(&format!("{bytes:>15}\n"));
        out.push_str(&line);
    }
    out.push('\n');
}

fn footnotes(out: &mut String, phase: &PhaseReport, report: &Report, output: Output) {
    let at = if report.phases.len() > 1 { format!(" at {}", phase.name) } else { String::new() };
    if report.phases.len() == 1 {
        out.push_str(&format!(
            "took    {:.2} s, {} requests; the generator spent {:.2} µs of processor time on each\n",
            phase.seconds,
            grouped(phase.requests),
            phase.generator_cpu_us
        ));
        let absent = match phase.absent {
            0 => String::new(),
            n => format!(", {} absent (never written, or their time was up)", grouped(n)),
        };
        if report.settings.verified {
            out.push_str(&format!("read    {} values verified{absent}\n", grouped(phase.verified)));
        }
    }
    if phase.errors == 0 {
        if report.phases.len() == 1 {
            out.push_str("errors  none\n");
        }
        return;
    }
    let kinds: Vec<String> = phase
        .faults
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| format!("{} {kind}", grouped(*count)))
        .collect();
    let words = format!("errors{at}  {}", kinds.join(", "));
    out.push_str(&output.paint(Tone::Bad, &words));
    out.push('\n');
    for sample in &phase.samples {
        out.push_str(&format!("        {}\n", clean(sample)));
    }
}
