//! `larder trash`: what was deleted and can be brought back, until when, and how large it is. The same lines are shown by
//! `larder purge` before it asks.

use larder_client::files::{Trashed, VersionKind};
use larder_format::error::Kind;
use serde_json::{Value, json};

use crate::cli::{Context, report};
use crate::failure::{Outcome, clean};
use crate::moment;
use crate::output::Tone;
use crate::size;

/// Flags of `trash`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder in the vault, or something that was deleted; of a deleted folder what is in it is listed too [default: /]
    #[arg(value_name = "PATH")]
    path: Option<String>,
}

/// Lists; with `--json` one object a line.
///
/// # Errors
/// Not found; damaged if something cannot be read (the rest is listed).
pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = context.path_or_here(args.path.as_deref())?;
    crate::session::with_vault(context, async |vault| {
        let (mut things, mut bytes, now_ms) = (0, 0, vault.now_ms());
        let mut said = Ok(());
        let shown = vault
            .trash(&path, true, async |thing| {
                things += 1;
                bytes += thing.all_bytes;
                let shown = context.output.document(&object(&thing));
                said = shown.and_then(|()| context.output.text(&line(context, &thing, now_ms)));
                // Nobody reads any more, or cannot: what ends the walk here is told below.
                said.as_ref().map(|_| ()).map_err(|e| larder_client::Failure::new(Kind::Closed, e.message()))
            })
            .await;
        said?;
        let damaged = shown?;
        if things == 0 {
            context.output.note(&format!("nothing to bring back in {}", clean(&path.to_string())));
        } else {
            let (things, bytes) = (size::count(things, "thing"), size::show(bytes));
            context.output.note(&format!(
                "{things}, {bytes} with all versions; back: larder undelete PATH, for good: larder purge PATH"
            ));
        }
        report::unreadable(damaged, &format!("records in {}", clean(&path.to_string())))
    })
}

/// One thing as JSON.
pub fn object(thing: &Trashed) -> Value {
    json!({
        "path": thing.path.to_string(),
        "kind": kind(thing),
        "version": thing.version.to_string(),
        "files": thing.files,
        "bytes": thing.bytes,
        "versions": thing.versions,
        "all_bytes": thing.all_bytes,
        "deleted_ms": thing.deleted_ms,
        "expires_ms": thing.expiry.ms(),
        "deleting": thing.deleting,
    })
}

/// One thing as a line for people.
pub fn line(context: &Context, thing: &Trashed, now_ms: u64) -> String {
    let mut path = clean(&thing.path.to_string());
    if thing.kind == VersionKind::DeletedFolder {
        path = format!("{path}/  ({})", size::count(thing.files, "file"));
    } else if thing.versions > 1 {
        path = format!("{path}  ({})", size::count(thing.versions, "version"));
    }
    let until = match thing.expiry.ms() {
        _ if thing.deleting => context.output.paint(Tone::Warn, "being deleted"),
        Some(_) => format!("ends {}", moment::show_left(thing.expiry, now_ms)),
        None => "kept".to_owned(),
    };
    let deleted = moment::show_ms(thing.deleted_ms);
    format!("{:>10}  {deleted}  {until:<16}  {path}\n", size::show(thing.bytes))
}

fn kind(thing: &Trashed) -> &'static str {
    match thing.kind {
        VersionKind::File => "file",
        VersionKind::Symlink => "link",
        VersionKind::DeletedFolder => "folder",
    }
}
