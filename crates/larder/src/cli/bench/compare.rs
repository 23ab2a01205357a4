//! `larder bench compare`: two reports beside each other, and an exit code that says whether the second is worse.

use std::path::{Path, PathBuf};

use larder_load::compare::{Difference, compare, settings};
use larder_load::report::{REPORT_LEN_MAX, Report};
use larder_load::require::show_us;
use serde_json::json;

use crate::atomic_file;
use crate::cli::Context;
use crate::cli::bench::table::grouped;
use crate::failure::{Failure, Outcome, shown};
use crate::output::{Output, Tone};

/// Flags of `bench compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first report, as --json wrote it
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The second
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// How much worse rate, p50 and p99 may be, in percent; beyond it the exit code is 12
    #[arg(long, value_name = "PERCENT", value_parser = tolerance)]
    tolerance: Option<f64>,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim().parse::<f64>().ok();
    number.filter(|n| (0.0..=1000.0).contains(n)).ok_or_else(|| "a percentage, 0 to 1000".to_owned())
}

/// Compares.
///
/// # Errors
/// Invalid if a file is no report; unmet if `--tolerance` is given and the second is worse by more, or has more errors.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let differences = compare(&before, &after, args.tolerance.unwrap_or(0.0) / 100.0);
    if differences.is_empty() {
        return Err(Failure::invalid("the reports have no phase of the same name"));
    }
    let other = settings(&before, &after);
    let judged = args.tolerance.is_some();
    let shown: Vec<_> =
        differences.iter().map(|one| Difference { worse: one.worse && judged, ..one.clone() }).collect();
    context.output.document(&json!({
        "differences": shown,
        "other_settings": other.iter().map(|(name, before, after)| json!({
            "name": name, "before": before, "after": after,
        })).collect::<Vec<_>>(),
    }))?;
    for (name, before, after) in &other {
        context.output.note(&format!("not the same load: {name} was {before} and is {after}"));
    }
    context.output.text(&text(&shown, context.output))?;
    let worse: Vec<_> = shown.iter().filter(|one| one.worse).map(named).collect();
    if worse.is_empty() { Ok(()) } else { Err(Failure::unmet(format!("worse: {}", worse.join(", ")))) }
}

fn read(path: &Path) -> Outcome<Report> {
    let bytes = atomic_file::read(path, REPORT_LEN_MAX)?;
    let bytes = bytes.ok_or_else(|| {
        Failure::new(larder_format::error::Kind::NotFound, format!("there is no {}", shown(path)))
    })?;
    Report::parse(&bytes).map_err(|error| Failure::from(error).context(&shown(path)))
}

fn named(one: &Difference) -> String {
    let name = one.metric.trim_end_matches("_us").replace("99_9", "99.9");
    if one.phase.is_empty() { name } else { format!("{name} at {}", one.phase) }
}

fn text(differences: &[Difference], output: Output) -> String {
    let value = |metric: &str, number: f64| {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive counts and rates"
        )]
        let whole = number.round() as u64;
        match metric {
            "errors" => grouped(whole),
            "rate" => format!("{}/s", grouped(whole)),
            _ => show_us(number),
        }
    };
    let mut out = format!("{:<28}{:>14}{:>14}{:>9}\n", "", "before", "after", "×");
    for one in differences {
        let ratio = one.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let pad =
            |text: String| format!("{}{text}", " ".repeat(14_usize.saturating_sub(text.chars().count())));
        let line = format!(
            "{:<28}{}{}{ratio:>9}",
            named(one),
            pad(value(one.metric, one.before)),
            pad(value(one.metric, one.after)),
        );
        let mark = if one.worse { output.paint(Tone::Bad, "  worse") } else { String::new() };
        out.push_str(&format!("{line}{mark}\n"));
    }
    out
}
