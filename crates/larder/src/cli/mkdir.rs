//! `larder mkdir`: make folders in the vault, and those above them. A folder that is there already is fine.

use serde_json::json;

use crate::cli::Context;
use crate::cli::several::Several;
use crate::failure::{Failure, Outcome};

/// Flags of `mkdir`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folders in the vault
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
}

/// Makes them.
///
/// # Errors
/// A conflict if a file is in the way.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let paths = args.paths.iter().map(|p| context.path(p)).collect::<Outcome<Vec<_>>>()?;
    crate::session::with_vault(context, async |vault| {
        let mut several = Several::new(context, paths.len());
        for path in &paths {
            let made = vault.make_folder(path).await.map_err(Failure::from);
            let document = json!({ "path": path.to_string(), "kind": "folder" });
            several.one(made.and_then(|_| context.output.document(&document)))?;
        }
        several.end()
    })
}
