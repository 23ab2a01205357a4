//! `larder namespace show`: all that is known of one.

use larder_format::namespace::{Privacy, WhenFull};

use super::{class, find, known, lifetimes, order, privacy};
use crate::cli::Context;
use crate::cli::quota::set::words;
use crate::failure::{Outcome, clean};

/// Flags of `namespace show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which
    #[arg(value_name = "NAME")]
    name: String,
}

/// Shows it.
///
/// # Errors
/// Not found, naming those there are; what the node says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let found =
        crate::session::with_node(&context.folders, async |remote| find(known(remote).await?, &args.name))?;
    context.output.document(&found.json())?;
    let settings = &found.settings;
    let readable = match settings.privacy {
        Privacy::Raw => "the node reads what is in it",
        Privacy::Sealed => "the node holds what it cannot read",
    };
    let doors: Vec<String> = found
        .doors
        .iter()
        .map(|door| format!("{} on {}", clean(&door.protocol), clean(&door.address)))
        .collect();
    context.output.text(&format!(
        "name      {}\nprivacy   {} ({readable})\nclass     {}\norder     by {}\nlifetime  {}\nquota     {}\nfull      {}\nholds     {}\ndoors     {}\n",
        clean(&settings.name),
        privacy(settings),
        class(settings),
        order(settings),
        lifetimes(settings),
        words(settings.quota_bytes),
        match settings.when_full {
            WhenFull::Refuse => "writes are refused",
            WhenFull::Evict => "what ends soonest goes first",
        },
        found.held(),
        if doors.is_empty() { "gRPC only".to_owned() } else { doors.join(", ") },
    ))
}
