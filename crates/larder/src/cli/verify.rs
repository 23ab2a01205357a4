//! `larder verify`: reads files back end to end, writing nothing, and names what cannot be read and what still can.

use larder_client::files::{Unverified, VerifyReport};
use larder_format::clock::{Clock, SystemClock};
use larder_format::error::Kind;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::several::Several;
use crate::failure::{Failure, Outcome, clean};
use crate::progress::Progress;
use crate::size;

/// Flags of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders in the vault; all of it without any
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Only about this part of the files of each folder, chosen at random: a quick look
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100), default_value_t = 100)]
    sample: u8,
}

/// Verifies everything named.
///
/// # Errors
/// Damaged if anything cannot be read back, after all was looked at; not found; locked.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut paths = args.paths.iter().map(|p| context.path(p)).collect::<Outcome<Vec<_>>>()?;
    if paths.is_empty() {
        paths.push(context.path_or_here(None)?);
    }
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let (report, others) = crate::session::with_vault(context, async |vault| {
        let progress = Progress::begin("verifying", context.output);
        let mut sum = VerifyReport::default();
        let mut several = Several::new(context, paths.len());
        for path in &paths {
            match vault.verify(path, args.sample, progress.meter()).await {
                Err(failure) => several.one(Err(failure.into()))?,
                Ok(done) => {
                    sum.files += done.files;
                    sum.folders += done.folders;
                    sum.bytes += done.bytes;
                    sum.left_out += done.left_out;
                    sum.damaged.extend(done.damaged);
                }
            }
        }
        match paths.len() {
            1 => several.end().map(|()| (sum, Ok(()))),
            _ => Ok((sum, several.end())),
        }
    })?;
    let took = clock.monotonic().saturating_sub(began);
    context.output.document(&json!({
        "files": report.files,
        "folders": report.folders,
        "bytes": report.bytes,
        "left_out": report.left_out,
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "damaged": report.damaged.iter().map(damaged_json).collect::<Vec<_>>(),
    }))?;
    let lines: Vec<String> = report.damaged.iter().map(damaged_text).collect();
    context.output.text(&lines.concat())?;
    let left_out = match report.left_out {
        0 => String::new(),
        count => format!(", {} left out", size::count(count, "file")),
    };
    let verdict = match report.damaged.len() {
        0 => "all whole".to_owned(),
        count => format!("{count} damaged"),
    };
    context.output.text(&format!(
        "verified {} in {}, {}, in {:.1} s{left_out}: {verdict}\n",
        size::count(report.files, "file"),
        size::count(report.folders, "folder"),
        size::show(report.bytes),
        took.as_secs_f64(),
    ))?;
    if report.damaged.is_empty() {
        return others;
    }
    let failure =
        Failure::new(Kind::Damaged, format!("some files cannot be read back count={}", report.damaged.len()));
    Err(failure.hint(
        "larder restore PATH brings a whole version back; larder put --force stores the file anew, and the same content \
         under any name mends its chunks",
    ))
}

fn damaged_json(item: &Unverified) -> Value {
    json!({
        "path": item.path.to_string(),
        "message": item.failure.message,
        "whole_version": item.whole_version.map(|version| version.to_string()),
    })
}

fn damaged_text(item: &Unverified) -> String {
    let whole = match item.whole_version {
        Some(version) => format!("version {version} is whole"),
        None => "no older version is whole".to_owned(),
    };
    // What can be done is said once, at the end.
    let message = item.failure.message.split(" (larder ").next().unwrap_or_default();
    format!("damaged  {}; {whole}\n", clean(message))
}
