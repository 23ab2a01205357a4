//! `larder ca create`: a new authority, and this machine's node and client certificates under it.

use larder_format::clock::SystemClock;
use serde_json::json;

use crate::cli::Context;
use crate::failure::Outcome;
use crate::moment;
use crate::settings::Resolved;

/// Flags of `ca create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also where there is one: every certificate that it issued is void then
    #[arg(long)]
    replace: bool,
}

/// Makes one.
///
/// # Errors
/// A conflict if there is one and it is not to be replaced.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let _turn = super::turn(context)?;
    let certificates = super::certificates(context);
    let address = match certificates.node_address()? {
        Some(address) => address,
        None => Resolved::load(&context.folders.settings_file(), &[])?.settings.listen.ip(),
    };
    certificates.create(address, args.replace, &SystemClock::new())?;
    let ends_ms = certificates.authority_ends_ms()?;
    context
        .output
        .document(&json!({ "authority": { "not_after_ms": ends_ms }, "replaced": args.replace }))?;
    context.output.text(&format!(
        "made a new authority, good until {}, and this machine's certificates under it\n",
        moment::show_ms(ends_ms)
    ))
}
