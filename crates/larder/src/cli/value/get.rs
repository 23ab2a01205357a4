//! `larder value get`: a value's bytes on standard output.

use crate::cli::Context;
use crate::failure::Outcome;

/// Flags of `value get`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the value
    #[arg(value_name = "NAME")]
    name: String,
}

/// Reads it.
///
/// # Errors
/// Not found, also when its time is up; a conflict if it can only be taken.
pub fn run(context: &Context, args: &Args) -> Outcome {
    crate::session::with_vault(context, async |vault| {
        let value = vault.get_value(&args.name).await?;
        super::show(context, &args.name, &value)
    })
}
