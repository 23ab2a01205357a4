//! `larder restore`: make an older version of a file the current one again, or bring back a deleted file.

use larder_client::path::VaultPath;
use larder_format::error::Kind;
use larder_format::record::Version;
use serde_json::json;

use crate::cli::Context;
use crate::cli::lifetime::parse_version;
use crate::cli::listing::hex;
use crate::failure::{Failure, Outcome, clean};
use crate::moment;
use crate::size;

/// Flags of `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File in the vault
    #[arg(value_name = "PATH")]
    path: String,
    /// Which version [default: the newest that is not current]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    version: Option<Version>,
}

/// Restores; the version that was current is kept as one more.
///
/// # Errors
/// Not found; damaged if parts of that version are missing.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = VaultPath::parse(&args.path)?;
    crate::session::with_vault(context, async |vault| {
        let version = match args.version {
            Some(version) => version,
            None => vault.versions(&path).await?.iter().find(|v| !v.current).map(|v| v.version).ok_or_else(
                || Failure::new(Kind::NotFound, format!("{} has no older version", clean(&path.to_string()))),
            )?,
        };
        let done = vault.restore(&path, version).await?;
        context.output.document(&json!({
            "path": path.to_string(),
            "restored": version.to_string(),
            "version": done.version.to_string(),
            "replaced": done.replaced.map(|v| v.to_string()),
            "size": done.size,
            "blake3": hex(&done.content_hash),
        }))?;
        context.output.note(&format!(
            "{}: as it was written {} ({})",
            clean(&path.to_string()),
            moment::show_ms(version.0.ms()),
            size::show(done.size)
        ));
        Ok(())
    })
}
