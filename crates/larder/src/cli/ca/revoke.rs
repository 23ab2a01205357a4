//! `larder ca revoke`: a certificate that opens nothing any more. A running node notices within a second and ends the
//! connections that were made with it.

use larder_format::clock::{Clock, SystemClock};
use serde_json::json;

use crate::certificates::register::Reason;
use crate::cli::Context;
use crate::failure::{Outcome, clean};

/// Flags of `ca revoke`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A name (all its certificates), or the serial number of one
    #[arg(value_name = "NAME|SERIAL")]
    what: String,
    /// Why, for whoever reads the list
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    reason: Reason,
}

/// Revokes it.
///
/// # Errors
/// Not found; a conflict for what this machine itself uses.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let _turn = super::turn(context)?;
    let clock = SystemClock::new();
    let revoked = super::certificates(context).revoke(&args.what, args.reason, &clock)?;
    let now_ms = clock.wall_ms();
    context.output.document(&json!({
        "revoked": revoked.iter().map(|entry| super::entry_json(entry, now_ms)).collect::<Vec<_>>(),
    }))?;
    if revoked.is_empty() {
        return context.output.text(&format!("{} was revoked already\n", clean(&args.what)));
    }
    let lines = revoked.iter().map(|entry| format!("revoked {} {}\n", clean(&entry.name), entry.serial));
    context.output.text(&lines.collect::<String>())
}
