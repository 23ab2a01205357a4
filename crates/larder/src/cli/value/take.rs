//! `larder value take`: read a value that allows a limited number of reads, using one up.

use crate::cli::Context;
use crate::failure::{Outcome, clean};
use crate::size;

/// Flags of `value take`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the value
    #[arg(value_name = "NAME")]
    name: String,
}

/// Takes it.
///
/// # Errors
/// Not found, also once it is used up; invalid for an ordinary value.
pub fn run(context: &Context, args: &Args) -> Outcome {
    crate::session::with_vault(context, async |vault| {
        let value = vault.take_value(&args.name).await?;
        super::show(context, &args.name, &value)?;
        let name = clean(&args.name);
        match value.takes_left {
            Some(0) | None => context.output.note(&format!("{name}: that was the last time")),
            Some(left) => {
                let left = size::count(left.into(), "more time");
                context.output.note(&format!("{name}: can be taken {left}"));
            }
        }
        Ok(())
    })
}
