//! What became of a whole folder, said for people and programs, and what failed in it.

use std::path::{Path, PathBuf};

use larder_client::files::PutReport;
use larder_client::meter::Reading;
use larder_client::path::VaultPath;
use larder_client::tree::TreeReport;
use larder_format::error::Kind;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::{Failure, Outcome, clean, shown};
use crate::size;

/// Most failures named one by one for people; JSON has them all.
const FAILURES_SHOWN_MAX: usize = 20;

/// What can be done about files that cannot be read.
const DAMAGED_HINT: &str = "larder versions PATH lists older versions of a file, larder restore PATH brings one back, \
     larder put --force stores it anew, larder node scrub finds all damage";

/// What failed in a folder of the vault, for programs.
pub fn failures(failed: &[(VaultPath, larder_client::Failure)]) -> Vec<Value> {
    let one = |(path, failure): &(VaultPath, larder_client::Failure)| json!({ "path": path.to_string(), "kind": failure.kind.name(), "message": failure.message });
    failed.iter().map(one).collect()
}

/// Names what failed in a folder of the vault. `whole` and `what` make the sentence.
///
/// # Errors
/// The first failure's kind, if there was any.
pub fn some_failed(
    context: &Context,
    whole: &str,
    what: &str,
    failed: &[(VaultPath, larder_client::Failure)],
) -> Outcome {
    for (path, failure) in failed.iter().take(FAILURES_SHOWN_MAX) {
        let path = clean(&path.to_string());
        context.output.note(&format!("failed {path}: {}", clean(&failure.message)));
    }
    match failed.first() {
        None => Ok(()),
        Some((_, first)) => {
            let message =
                format!("{} things in {whole} {what}; the first: {}", failed.len(), clean(&first.message));
            Err(with_remedy(first.clone().worded(message)))
        }
    }
}

/// Says that things are there that cannot be read, after the rest was shown.
///
/// # Errors
/// Damaged, if there are any.
pub fn unreadable(count: u64, what: &str) -> Outcome {
    if count == 0 {
        return Ok(());
    }
    let message = format!("{count} {what} are there but cannot be read");
    Err(Failure::new(Kind::Damaged, message).hint(DAMAGED_HINT))
}

/// A failure with what can be done about damage, unless it says so itself.
fn with_remedy(failure: larder_client::Failure) -> Failure {
    let without_hint = failure.kind == Kind::Damaged && !failure.message.contains("larder ");
    let failure = Failure::from(failure);
    if without_hint && failure.hint_text().is_none() { failure.hint(DAMAGED_HINT) } else { failure }
}

/// That what was replaced is not among the older versions, if so.
pub fn not_kept(done: &PutReport) -> &'static str {
    if done.not_kept { "; what it replaced could not be read whole and was not kept" } else { "" }
}

/// What had to travel to the node and what did not, if any did not.
pub fn sent(moved: &Reading) -> String {
    match moved.bytes_present {
        0 => String::new(),
        present => {
            format!(" ({} sent, {} were there already)", size::show(moved.bytes_sent), size::show(present))
        }
    }
}

/// What had to travel from the node and what did not, if any did not.
pub fn fetched(moved: &Reading) -> String {
    match moved.bytes_kept {
        0 => String::new(),
        kept => {
            format!(" ({} fetched, {} were here already)", size::show(moved.bytes_fetched), size::show(kept))
        }
    }
}

/// Says what became of a folder: of the vault's at `path`, and where it was written to, if it was.
///
/// # Errors
/// The first failure's kind, if there was any; unknown, if that is so of anything.
pub fn tree(
    context: &Context,
    verb: &str,
    path: &VaultPath,
    written_to: Option<&Path>,
    report: &TreeReport,
    moved: &Reading,
) -> Outcome {
    let output = context.output;
    let failed: Vec<_> = report
        .failed
        .iter()
        .map(|(path, failure)| {
            json!({ "path": path.to_string_lossy(), "kind": failure.kind.name(), "message": failure.message })
        })
        .collect();
    let mut document = json!({
        "path": path.to_string(),
        "kind": "folder",
        "files": report.files,
        "folders": report.folders,
        "bytes": report.bytes,
        "unchanged": report.unchanged,
        "excluded": report.excluded,
        "skipped": skipped(report),
        "failed": failed,
    });
    if let Some(fields) = document.as_object_mut() {
        let travelled = match written_to {
            Some(local) => {
                fields.insert("local".to_owned(), local.to_string_lossy().into());
                [("fetched", moved.bytes_fetched), ("kept", moved.bytes_kept)]
            }
            None => [("sent", moved.bytes_sent), ("present", moved.bytes_present)],
        };
        fields.extend(travelled.map(|(name, bytes)| (name.to_owned(), bytes.into())));
    }
    output.document(&document)?;
    let travelled = if written_to.is_some() { fetched(moved) } else { sent(moved) };
    let path = written_to.map_or_else(|| path.to_string(), shown);
    let path = path.as_str();
    for (path, what) in &report.skipped {
        output.note(&format!("skipped {}: {what}", shown(path)));
    }
    for (path, failure) in report.failed.iter().take(FAILURES_SHOWN_MAX) {
        output.note(&format!("failed {}: {}", shown(path), clean(&failure.message)));
    }
    let mut line = format!(
        "{}: {verb} {}, {}, {}",
        clean(path),
        size::count(report.files, "file"),
        size::count(report.folders, "folder"),
        size::show(report.bytes)
    );
    if report.unchanged > 0 {
        line.push_str(&format!("; {} unchanged", size::count(report.unchanged, "file")));
    }
    if report.excluded > 0 {
        line.push_str(&format!("; {} left out", report.excluded));
    }
    output.note(&(line + &travelled));
    closing(path, report)
}

/// Says what would become of a folder.
///
/// # Errors
/// As [`tree`].
pub fn plan(
    context: &Context,
    verb: &str,
    path: &VaultPath,
    local: Option<&Path>,
    report: &TreeReport,
) -> Outcome {
    let output = context.output;
    let path = local.map_or_else(|| path.to_string(), shown);
    output.document(&json!({
        "path": path,
        "kind": "folder",
        "dry_run": true,
        "files": report.files,
        "folders": report.folders,
        "bytes": report.bytes,
        "unchanged": report.unchanged,
        "excluded": report.excluded,
        "skipped": skipped(report),
        "failed": report.failed.len(),
    }))?;
    for (path, what) in &report.skipped {
        output.note(&format!("would skip {}: {what}", shown(path)));
    }
    for (path, failure) in report.failed.iter().take(FAILURES_SHOWN_MAX) {
        output.note(&format!("would fail {}: {}", shown(path), clean(&failure.message)));
    }
    output.note(&format!(
        "{}: would {verb} {}, at most {}, and make {}; {} unchanged; nothing was done",
        clean(&path),
        size::count(report.files, "file"),
        size::show(report.bytes),
        size::count(report.folders, "folder"),
        size::count(report.unchanged, "file"),
    ));
    closing(&path, report)
}

/// What was left out because it cannot or must not be kept.
fn skipped(report: &TreeReport) -> Vec<Value> {
    let one = |(path, what): &(PathBuf, &str)| json!({ "path": path.to_string_lossy(), "what": what });
    report.skipped.iter().map(one).collect()
}

/// How many failed, and the failure that the exit code is of.
fn closing(path: &str, report: &TreeReport) -> Outcome {
    let unknown = report.failed.iter().find(|(_, failure)| failure.kind == Kind::Unknown);
    match unknown.or(report.failed.first()) {
        None => Ok(()),
        Some((_, first)) => {
            let message = format!(
                "{} of the files in {} failed; the first: {}",
                report.failed.len(),
                clean(path),
                clean(&first.message)
            );
            Err(with_remedy(first.clone().worded(message)))
        }
    }
}
