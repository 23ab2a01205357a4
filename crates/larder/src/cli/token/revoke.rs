//! `larder token revoke`: tokens that are not good any more, nor any that was made of them.

use serde_json::json;

use super::{find, words};
use crate::cli::Context;
use crate::failure::{Outcome, clean};

/// Flags of `token revoke`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids or names
    #[arg(value_name = "ID|NAME", required = true)]
    tokens: Vec<String>,
}

/// Revokes them. All are found before any is revoked.
///
/// # Errors
/// Not found; a conflict if several have a name; denied without the right admin.
pub fn run(context: &Context, args: &Args) -> Outcome {
    crate::session::with_node(&context.folders, async |remote| {
        let all = remote.list_tokens().await?;
        let found = args.tokens.iter().map(|wanted| find(&all, wanted)).collect::<Outcome<Vec<_>>>()?;
        let mut revoked = Vec::new();
        for info in found {
            remote.revoke_token(info.id).await?;
            context.output.note(&format!(
                "revoked {}{}: {}",
                info.id,
                if info.name.is_empty() { String::new() } else { format!(" ({})", clean(&info.name)) },
                words(&info.grant)
            ));
            revoked.push(json!({ "id": info.id.to_string(), "name": info.name }));
        }
        context.output.document(&json!({ "revoked": revoked }))
    })
}
