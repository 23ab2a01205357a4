//! `larder value ttl`: how long a value still lives, without reading it.

use serde_json::json;

use crate::cli::Context;
use crate::failure::Outcome;
use crate::moment;

/// Flags of `value ttl`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the value
    #[arg(value_name = "NAME")]
    name: String,
}

/// Shows it.
///
/// # Errors
/// Not found, also when its time is up.
pub fn run(context: &Context, args: &Args) -> Outcome {
    crate::session::with_vault(context, async |vault| {
        let state = vault.value_state(&args.name).await?;
        context.output.document(&json!({
            "name": args.name,
            "version": state.version.to_string(),
            "expires_ms": state.expiry.ms(),
            "ttl_ms": moment::left_ms(state.expiry, vault.now_ms()),
            "takes_left": state.takes_left,
        }))?;
        context.output.text(&format!("{}\n", moment::show_left(state.expiry, vault.now_ms())))
    })
}
