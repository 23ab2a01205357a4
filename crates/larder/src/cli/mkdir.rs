//! `larder mkdir`: make folders in the vault, and those above them. A folder that is there already is fine.

use serde_json::json;

use crate::cli::Context;
use crate::failure::Outcome;

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
        for path in &paths {
            vault.make_folder(path).await?;
            context.output.document(&json!({ "path": path.to_string(), "kind": "folder" }))?;
        }
        Ok(())
    })
}
