//! `larder versions`: the versions of a file, newest first; also of one that was deleted and can be brought back.

use larder_client::path::VaultPath;
use serde_json::json;

use crate::cli::Context;
use crate::failure::Outcome;
use crate::moment;
use crate::output::Tone;
use crate::size;

/// Flags of `versions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File in the vault
    #[arg(value_name = "PATH")]
    path: String,
}

/// Lists them; with `--json` one object a line.
///
/// # Errors
/// Not found.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let output = context.output;
    let path = VaultPath::parse(&args.path)?;
    crate::session::with_vault(context, async |vault| {
        for version in vault.versions(&path).await? {
            output.document(&json!({
                "version": version.version.to_string(),
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
                "{:<20}  {:>10}  {}  {mark}\n",
                version.version.to_string(),
                size::show(version.size),
                moment::show_ms(version.version.0.ms()),
            ))?;
        }
        Ok(())
    })
}
