//! `larder versions`: the versions of a file, newest first, also of one that was deleted and can be brought back; and
//! deleted folders of that name.

use larder_client::files::VersionKind;
use serde_json::json;

use crate::cli::{Context, report};
use crate::failure::{Outcome, clean};
use crate::moment;
use crate::output::Tone;
use crate::size;

/// Flags of `versions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File in the vault, also a deleted one; or a deleted folder
    #[arg(value_name = "PATH")]
    path: String,
}

/// Lists them; with `--json` one object a line.
///
/// # Errors
/// Not found; damaged if a version cannot be read (the others are listed).
pub fn run(context: &Context, args: &Args) -> Outcome {
    let output = context.output;
    let path = context.path(&args.path)?;
    crate::session::with_vault(context, async |vault| {
        let found = vault.versions(&path).await?;
        for version in found.versions {
            let (kind, size) = match version.kind {
                VersionKind::File => ("file", size::show(version.size)),
                VersionKind::Symlink => ("link", size::show(version.size)),
                VersionKind::DeletedFolder => ("folder", "folder".to_owned()),
            };
            output.document(&json!({
                "version": version.version.to_string(),
                "kind": kind,
                "current": version.current,
                "size": version.size,
                "mtime_ns": version.attributes.mtime_ns,
                "written_ms": version.version.0.ms(),
                "expires_ms": version.expiry.ms(),
            }))?;
            let mark = match (version.current, version.expiry.ms()) {
                (true, None) => output.paint(Tone::Good, "current"),
                (true, Some(_)) => {
                    format!("current, ends {}", moment::show_left(version.expiry, vault.now_ms()))
                }
                (false, None) => String::new(),
                (false, Some(_)) => {
                    format!("kept, ends {}", moment::show_left(version.expiry, vault.now_ms()))
                }
            };
            output.text(&format!(
                "{:<20}  {size:>10}  {}  {mark}\n",
                version.version.to_string(),
                moment::show_ms(version.version.0.ms()),
            ))?;
        }
        report::unreadable(found.damaged, &format!("versions of {}", clean(&path.to_string())))
    })
}
