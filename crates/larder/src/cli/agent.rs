//! `larder agent run` (hidden): the agent itself, as `larder up` starts it.

use std::path::PathBuf;

use crate::agent::server::{self, AgentConfig};
use crate::failure::Outcome;
use crate::life::daemon::Mode;
use crate::settings::IdleLock;

/// Flags of `agent`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Hold the opened vault until told to stop
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Unix socket to listen on
    #[arg(long, value_name = "FILE")]
    socket: PathBuf,
    /// Pid and lock file
    #[arg(long, value_name = "FILE")]
    pid_file: PathBuf,
    /// The vault's header
    #[arg(long, value_name = "FILE")]
    header: PathBuf,
    /// Lock after this long without a command, or never
    #[arg(long, value_name = "TIME", value_parser = IdleLock::parse)]
    idle_lock: IdleLock,
    /// Leave the terminal, and say on stdout when ready
    #[arg(long)]
    detached: bool,
}

/// Runs the agent.
///
/// # Errors
/// If it runs already or cannot listen.
pub fn run(args: Args) -> Outcome {
    let Verb::Run(run) = args.verb;
    let mode = if run.detached { Mode::Detached } else { Mode::Attached };
    let config = AgentConfig {
        socket: run.socket,
        pid_file: run.pid_file,
        header_file: run.header,
        idle_lock: run.idle_lock,
    };
    server::run(config, mode)
}
