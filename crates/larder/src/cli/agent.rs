//! `larder agent run` (hidden): the agent itself, as `larder up` starts it.

use std::path::PathBuf;

use crate::agent::server::{self, AgentConfig};
use crate::cli::Context;
use crate::failure::Outcome;
use crate::life::daemon::Mode;
use crate::life::log::{Log, LogFormat};
use crate::settings::IdleLock;
use crate::settings::every::{self, Every};

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
    /// Apply the vault's retention rules once in this time, or off
    #[arg(long, value_name = "TIME", default_value = "off", value_parser = every::parse)]
    retention_every: Every,
    /// Which events are logged
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    /// How they are written
    #[arg(long, value_name = "FORMAT", value_parser = LogFormat::parse, default_value = "text")]
    log_format: LogFormat,
    /// The log's file, if standard error is one that must be kept small
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Leave the terminal, and say on stdout when ready
    #[arg(long)]
    detached: bool,
}

/// Runs the agent.
///
/// # Errors
/// If it runs already or cannot listen.
pub fn run(context: &Context, args: Args) -> Outcome {
    let Verb::Run(run) = args.verb;
    let mode = if run.detached { Mode::Detached } else { Mode::Attached };
    let config = AgentConfig {
        socket: run.socket,
        pid_file: run.pid_file,
        header_file: run.header,
        idle_lock: run.idle_lock,
        retention_every: run.retention_every,
        folders: context.folders.clone(),
        log: Log { filter: run.log, format: run.log_format, file: run.log_file },
    };
    server::run(config, mode)
}
