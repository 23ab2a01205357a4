//! `larder quota suggest`: what takes most room and could be deleted, as a numbered list.

use larder_client::files::{Candidate, CandidateKind, Candidates};
use larder_client::vault::Vault;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::{Outcome, clean};
use crate::moment;
use crate::progress::Progress;
use crate::size;

/// Flags of `quota suggest`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many of each kind
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

/// A line of the list.
#[derive(Debug, Clone)]
pub enum Choice {
    /// Everything of a kind.
    All(CandidateKind),
    /// One thing.
    One(Candidate),
}

/// A numbered list and what stands behind each number.
#[derive(Debug)]
pub struct List {
    /// The choices; number 1 is the first.
    pub choices: Vec<Choice>,
    /// The list as shown.
    pub text: String,
}

impl List {
    /// Of what was found: trash first, then old versions, then files.
    pub fn of(found: &Candidates) -> Self {
        let mut list = Self { choices: Vec::new(), text: String::new() };
        for kind in [CandidateKind::Trash, CandidateKind::Older, CandidateKind::File] {
            let total = match kind {
                CandidateKind::Trash => found.trash,
                CandidateKind::Older => found.older,
                CandidateKind::File => found.files,
            };
            let of_kind: Vec<&Candidate> = found.largest.iter().filter(|c| c.kind == kind).collect();
            // All files at once is nothing that anyone should be offered.
            if kind != CandidateKind::File && total.files > 1 {
                let what =
                    if kind == CandidateKind::Trash { "all deleted files" } else { "all older versions" };
                let counted = (size::count(total.files, "file"), size::count(total.versions, "version"));
                list.add(Choice::All(kind), total.bytes, &format!("{what} ({}, {})", counted.0, counted.1));
            }
            for candidate in of_kind {
                list.add(Choice::One(candidate.clone()), candidate.bytes, &words(candidate));
            }
        }
        list
    }

    fn add(&mut self, choice: Choice, bytes: u64, words: &str) {
        self.choices.push(choice);
        self.text.push_str(&format!("{:>3}  {:>9}  {words}\n", self.choices.len(), size::show(bytes)));
    }
}

fn words(candidate: &Candidate) -> String {
    let path = clean(&candidate.path);
    let versions = size::count(candidate.versions, "version");
    let date = moment::show_ms(candidate.changed_ms);
    match candidate.kind {
        CandidateKind::Trash => {
            let end = candidate.ends_ms.map(|ms| format!(", goes by itself {}", moment::show_ms(ms)));
            format!("deleted  {path} ({versions}{})", end.unwrap_or_default())
        }
        CandidateKind::Older => format!("older    {path} ({versions}, newest {date})"),
        CandidateKind::File => format!("file     {path} ({versions}, {date})"),
    }
}

/// The stable word for a kind.
fn kind_word(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Trash => "trash",
        CandidateKind::Older => "older_versions",
        CandidateKind::File => "file",
    }
}

/// Looks through the vault.
///
/// # Errors
/// What the node says.
pub async fn look(context: &Context, vault: &Vault, limit: usize) -> Outcome<Candidates> {
    let progress = Progress::begin("looking", context.output);
    Ok(vault.candidates(limit, progress.meter()).await?)
}

/// Shows what could go.
///
/// # Errors
/// Locked; closed; what the node says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let found =
        crate::session::with_vault(context, async |vault| look(context, vault, args.limit.into()).await)?;
    context.output.document(&found_json(&found))?;
    let list = List::of(&found);
    if list.choices.is_empty() {
        context.output.note("There is nothing to delete.");
    }
    context.output.text(&list.text)?;
    if !list.choices.is_empty() {
        context.output.note("For good: larder rm --now PATH deletes a file with all its versions, also one that was deleted before.");
    }
    Ok(())
}

fn found_json(found: &Candidates) -> Value {
    let total = |t: larder_client::files::Total| json!({ "files": t.files, "versions": t.versions, "bytes": t.bytes });
    let one = |c: &Candidate| {
        json!({
            "kind": kind_word(c.kind),
            "path": c.path,
            "versions": c.versions,
            "bytes": c.bytes,
            "changed_ms": c.changed_ms,
            "ends_ms": c.ends_ms,
        })
    };
    json!({
        "trash": total(found.trash),
        "older_versions": total(found.older),
        "files": total(found.files),
        "candidates": found.largest.iter().map(one).collect::<Vec<_>>(),
    })
}
