//! `larder value del`: delete values.

use larder_format::operation::Condition;
use larder_format::record::Version;
use serde_json::json;

use crate::cli::Context;
use crate::cli::lifetime::parse_version;
use crate::failure::{Outcome, clean};

/// Flags of `value del`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the value
    #[arg(value_name = "NAME")]
    name: String,
    /// Only if it has this version
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    if_version: Option<Version>,
}

/// Deletes it.
///
/// # Errors
/// Not found; a conflict for another version.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let condition = args.if_version.map_or(Condition::Any, Condition::Version);
    crate::session::with_vault(context, async |vault| {
        vault.delete_value(&args.name, condition).await?;
        context.output.document(&json!({ "name": args.name, "deleted": true }))?;
        context.output.note(&format!("{}: deleted", clean(&args.name)));
        Ok(())
    })
}
