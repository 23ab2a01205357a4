//! `larder fsck`: whether all names of the vault fit, and mending what interrupted commands left. Content is not read.

use larder_client::check::{CheckReport, Finding, Mended};
use larder_format::error::Kind;
use serde_json::json;

use crate::cli::Context;
use crate::failure::{Failure, Outcome, clean};
use crate::size;

/// Flags of `fsck`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only what is here or below; all records are looked at in any case
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// Mend what can be mended: finish moves, hang lost folders where they belong or in /lost+found, undo deletions that
    /// rest for ten minutes. Nothing is lost by it
    #[arg(long)]
    repair: bool,
}

/// Checks, and mends if asked to.
///
/// # Errors
/// Damaged, if something does not fit in the end.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let below = context.path_or_here(args.path.as_deref())?;
    crate::session::with_vault(context, async |vault| {
        let mut said = Ok(());
        let report = vault
            .check(&below, args.repair, |finding, mended| {
                if said.is_ok() {
                    said = say(context, finding, mended);
                }
            })
            .await?;
        said?;
        closing(context, &report, args.repair)
    })
}

fn say(context: &Context, finding: &Finding, mended: &Mended) -> Outcome {
    let how = match mended {
        Mended::NotTried => None,
        Mended::Yes(how) => Some((*how).to_owned()),
        Mended::Never => Some("cannot be mended here".to_owned()),
        Mended::Failed(failure) => Some(failure.message.clone()),
    };
    context.output.document(&json!({
        "fault": finding.fault.name(),
        "path": finding.path,
        "detail": finding.detail,
        "repaired": matches!(mended, Mended::Yes(_)),
        "how": how,
    }))?;
    let mut line = format!("{}: {}", clean(&finding.path), finding.fault.words());
    if !finding.detail.is_empty() {
        line.push_str(&format!(" ({})", clean(&finding.detail)));
    }
    if let Some(how) = how {
        line.push_str(&format!("; {}", clean(&how)));
    }
    context.output.note(&line);
    Ok(())
}

/// The summary line.
fn closing(context: &Context, report: &CheckReport, repair: bool) -> Outcome {
    let counts = report.counts;
    context.output.document(&json!({
        "records": counts.records,
        "files": counts.files,
        "folders": counts.folders,
        "versions": counts.versions,
        "found": report.findings.len(),
        "left": report.left,
    }))?;
    let looked_at = format!(
        "{}, {}, {} in {}",
        size::count(counts.files, "file"),
        size::count(counts.folders, "folder"),
        size::count(counts.versions, "older version"),
        size::count(counts.records, "record")
    );
    if report.left == 0 {
        let found = match report.findings.len() {
            0 => "all names fit".to_owned(),
            found => format!("{} mended, all names fit now", size::count(found as u64, "thing")),
        };
        context.output.note(&format!("{looked_at}: {found}"));
        return Ok(());
    }
    let left = match report.left {
        1 => "1 thing does not fit".to_owned(),
        left => format!("{left} things do not fit"),
    };
    let failure = Failure::new(Kind::Damaged, format!("{looked_at}: {left}"));
    Err(match repair {
        true => failure,
        false => failure.hint("larder fsck --repair"),
    })
}
