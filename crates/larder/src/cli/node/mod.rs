//! `larder node`: the blind node itself. One file per verb. All but `run` and `unread` ask the running node, with this
//! home's certificate and without any key of a vault.

mod accept_damage;
pub mod collect;
mod run;
mod scrub;
mod unread;

use crate::cli::Context;
use crate::failure::Outcome;

/// Flags of `node`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Serve until told to stop (SIGTERM or ctrl-C)
    Run(Box<run::Args>),
    /// Give the disk space of deleted files back now
    ///
    /// The node does this by itself within seconds after files are deleted for good. This looks through everything at
    /// once and takes more trouble: it also empties files of which little is dead. Nothing that a file, a kept version or
    /// an upload under way needs is touched.
    Collect,
    /// Read everything the node holds and verify it
    ///
    /// Reads all of the node's disk once, without any key: frames, names, records and chunks are checked against
    /// their checksums and hashes. Ends with exit code 0 if all is well and 6 if something is damaged, and names what.
    /// Nothing is changed, except that a damaged chunk is stored anew when somebody puts the same bytes again.
    Scrub,
    /// Accept that what was lost from the log stays lost
    ///
    /// When parts of the log are lost and nobody can say what they were about, the node answers with an error (exit
    /// code 6) wherever they could matter, instead of guessing, and gives no space back. This says that the loss
    /// stands: what is left is served as it is, and what only the lost parts said is as if it had never been. A deleted
    /// file may show again; a file or version may be missing. It cannot be undone: first copy the data folder if
    /// there is hope to repair it.
    ///
    /// A node whose log ends where the disk cannot read does not start: what is there may have been acknowledged. Then this,
    /// without a node, says what would be lost; with --yes it gives that up, and the node starts again. The file with
    /// what cannot be read stays beside the others, as NUMBER.unread: `larder node unread` lists such files and removes them when
    /// nobody hopes for them any more. Nothing of this happens by itself.
    AcceptDamage(accept_damage::Args),
    /// Files kept aside when the end of the log was given up: how large they are, or remove them
    ///
    /// When the disk could not read the end of the log and that was given up (`larder node accept-damage`), the file was kept as
    /// NUMBER.unread, for whoever may still get something back from it. Nothing reads it, and it counts in the node's quota.
    /// Works with or without a running node, on the machine that has the data folder.
    Unread(unread::Args),
}

/// Runs a verb.
///
/// # Errors
/// As the verb says.
pub fn run(context: &Context, args: Args) -> Outcome {
    match args.verb {
        Verb::Run(args) => run::run(context, *args),
        Verb::Collect => collect::run(context),
        Verb::Scrub => scrub::run(context),
        Verb::AcceptDamage(args) => accept_damage::run(context, &args),
        Verb::Unread(args) => unread::run(context, &args),
    }
}
