//! `larder undelete`: bring back what was deleted. `larder trash` lists it.

use larder_format::record::Version;

use crate::cli::lifetime::parse_version;
use crate::cli::several::Several;
use crate::cli::{Context, restore};
use crate::failure::{Failure, Outcome};

/// Flags of `undelete`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Deleted files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Which version, or which of several deleted folders [default: the newest]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    version: Option<Version>,
}

/// Brings back, never in the place of what is there.
///
/// # Errors
/// Not found; a conflict if it is there; damaged if parts are missing.
pub fn run(context: &Context, args: &Args) -> Outcome {
    if args.version.is_some() && args.paths.len() > 1 {
        return Err(Failure::invalid("--version is for a single path"));
    }
    let paths = args.paths.iter().map(|p| context.path(p)).collect::<Outcome<Vec<_>>>()?;
    crate::session::with_vault(context, async |vault| {
        let mut several = Several::new(context, paths.len());
        for path in &paths {
            let done = vault.undelete(path, args.version).await;
            several.one(done.map_err(Failure::from).and_then(|done| restore::say(context, path, &done)))?;
        }
        several.end()
    })
}
