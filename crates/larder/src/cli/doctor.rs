//! `larder doctor`: what is unsafe or broken, and what to do about it. The checks are in [`crate::doctor`].

use serde_json::json;

use crate::cli::Context;
use crate::doctor::{self, Finding, Level};
use crate::failure::{Failure, Outcome, clean};
use crate::output::{Output, Tone};
use crate::size;

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show what is good, too
    #[arg(short, long)]
    all: bool,
}

/// Looks at everything and says what it found.
///
/// # Errors
/// Of the kind of the first thing that is broken now; advice and warnings are no failure.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let findings = doctor::look(context);
    if context.output.json() {
        let all = findings.iter().map(|finding| {
            json!({
                "about": finding.about,
                "level": finding.level.word(),
                "found": finding.found,
                "remedy": finding.remedy,
            })
        });
        context
            .output
            .document(&json!({ "findings": all.collect::<Vec<_>>(), "worst": worst(&findings).word() }))?;
    } else {
        context.output.text(&text(&findings, args.all, context.output))?;
    }
    let broken = findings.iter().find(|finding| finding.level == Level::Bad);
    broken.map_or(Ok(()), |finding| {
        let message = format!("{}: {}", finding.about, finding.found);
        let failure = Failure::new(finding.kind.unwrap_or(larder_format::error::Kind::Io), message);
        Err(match &finding.remedy {
            Some(remedy) => failure.hint(remedy.clone()),
            None => failure,
        })
    })
}

fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Good)
}

fn text(findings: &[Finding], all: bool, output: Output) -> String {
    let mut out = String::new();
    let shown = findings.iter().filter(|finding| all || finding.level != Level::Good);
    for finding in shown {
        let tone = match finding.level {
            Level::Good => Tone::Good,
            Level::Advice => Tone::Strong,
            Level::Warning => Tone::Warn,
            Level::Bad => Tone::Bad,
        };
        let word = output.paint(tone, &format!("{:<7}", finding.level.word()));
        out.push_str(&format!("{word}  {}: {}\n", finding.about, clean(&finding.found)));
        if let Some(remedy) = &finding.remedy {
            out.push_str(&format!("         {}\n", clean(remedy)));
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (checks, good) = (size::count(findings.len() as u64, "check"), count(Level::Good));
    if good == findings.len() {
        out.push_str(&format!("{checks}, all good.\n"));
    } else {
        out.push_str(&format!(
            "{checks}: {good} good, {} advice, {} warning, {} bad.\n",
            count(Level::Advice),
            count(Level::Warning),
            count(Level::Bad)
        ));
    }
    out
}
