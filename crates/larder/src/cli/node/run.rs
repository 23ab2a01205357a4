//! `larder node run`: the blind node, in the foreground or as `larder up` starts it. It is told where its store, its
//! certificate and its port are, and nothing about any vault.

use std::net::SocketAddr;
use std::path::PathBuf;

use larder_format::error::Kind;
use larder_format::limits::VALUE_LEN_DEFAULT_MAX;
use larder_node::credentials::{CertificateFiles, TlsError};
use larder_node::{Addresses, NodeConfig, NodeError};

use crate::certificates::Certificates;
use crate::cli::Context;
use crate::cli::setting_flags::SettingFlags;
use crate::failure::{Failure, Outcome};
use crate::life::daemon::{self, Line, Mode};
use crate::life::log::Log;
use crate::life::pid_file::{self, Running};
use crate::settings::{Process, Resolved, protection};

/// Flags of `node run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the store
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Settings file; by default the one in the config folder, if it is there
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    #[command(flatten)]
    flags: SettingFlags,
    /// Folder with the authority's and the node's certificate
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Pid and lock file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The log's file, if standard error is one that must be kept small
    #[arg(long, value_name = "FILE", hide = true)]
    log_file: Option<PathBuf>,
    /// Leave the terminal, and say on stdout when ready
    #[arg(long, hide = true)]
    detached: bool,
}

/// Runs the node until it is told to stop.
///
/// # Errors
/// If its port is taken, its store cannot be opened, or it had to stop itself.
pub fn run(context: &Context, run: Args) -> Outcome {
    let mode = if run.detached { Mode::Detached } else { Mode::Attached };
    let settings_file = run.settings.clone().unwrap_or_else(|| context.folders.settings_file());
    let resolved = Resolved::load(&settings_file, &run.flags.given());
    let log = resolved.as_ref().map_or_else(
        |_| Log::default(),
        |resolved| Log {
            filter: resolved.settings.log.clone(),
            format: resolved.settings.log_format,
            file: run.log_file.clone(),
        },
    );
    daemon::begin(mode, &log)?;
    let result = resolved.and_then(|resolved| serve(context, run, mode, &resolved));
    if let Err(failure) = &result {
        tracing::error!("{failure}");
        // If it was ready already, or whoever started us is gone, nobody listens for this.
        let _ = daemon::announce(mode, &Line::of(failure));
    }
    result
}

/// A pid file that cannot be made for want of a folder.
fn no_folder(failure: Failure) -> Failure {
    match failure.kind() {
        Some(Kind::NotFound) => failure.hint("make its folder, or name another file with --pid-file"),
        _ => failure,
    }
}

fn serve(context: &Context, run: Args, mode: Mode, resolved: &Resolved) -> Outcome {
    let folders = &context.folders;
    let pid_file = run.pid_file.unwrap_or_else(|| folders.pid_file(crate::up::NODE));
    for variable in &resolved.strange_variables {
        tracing::warn!(variable, "the environment has a variable that looks like a setting and is none");
    }
    let settings = &resolved.settings;
    protection::check(settings).map_err(Failure::invalid)?;
    let mut running = Running {
        pid: rustix::process::getpid().as_raw_pid(),
        address: settings.listen.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        http: None,
        redis: None,
        settings: resolved.of(Process::Node),
    };
    let certificates = Certificates::in_folder(run.certificates.unwrap_or_else(|| folders.certificates()));
    // What is missing altogether is said in the same words as by every command.
    certificates.authority_pem()?;
    certificates.identity("node")?;
    let mut held = pid_file::hold(&pid_file, &running).map_err(no_folder)?;
    let config = NodeConfig {
        data_dir: run.data.unwrap_or_else(|| folders.data().to_owned()),
        listen: settings.listen,
        certificates: CertificateFiles::in_folder(certificates.folder()),
        connections_max: settings.connections_max,
        memory_cap_bytes: settings.memory_cap_bytes,
        value_len_max: VALUE_LEN_DEFAULT_MAX,
        upkeep: settings.upkeep,
        grpc: settings.protection.grpc_config(),
        proxies: settings.protection.proxies.clone(),
        http: settings.http.config(settings.listen, &settings.protection),
        redis: settings.redis.config(settings.listen, &settings.protection),
    };
    crate::allocator::give_back_soon();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("larder-node")
        .build()
        .map_err(|e| Failure::io_text(format!("cannot start the node's runtime: {e}"), &e))?;
    runtime.block_on(async {
        let ready = |addresses: Addresses| {
            let address = addresses.grpc;
            let [http, redis] = [addresses.http, addresses.redis]
                .map(|door| door.map_or_else(|| "off".to_owned(), |address| address.to_string()));
            tracing::info!(%address, http, redis, "ready");
            // With port 0 only now it is known which one it became.
            running.address = address.to_string();
            running.http = addresses.http.map(|http| http.to_string());
            running.redis = addresses.redis.map(|redis| redis.to_string());
            if let Err(failure) = held.write(&running) {
                tracing::warn!("{failure}");
            }
            // Whoever started us may have given up; the node serves all the same.
            if let Err(failure) = daemon::announce(mode, &Line::Ready { address: address.to_string() }) {
                tracing::warn!("{failure}");
            }
        };
        let stop = async {
            if let Err(failure) = daemon::stop_requested().await {
                tracing::error!("{failure}");
            }
        };
        larder_node::run(config, Box::new(ready), Box::pin(stop)).await.map_err(|error| node_failure(&error))
    })?;
    tracing::info!("stopped");
    Ok(())
}

/// What a node's error is for a person.
pub(super) fn node_failure(error: &NodeError) -> Failure {
    match error {
        NodeError::Listen { address, reason } => {
            cannot_listen(*address, "", reason).hint("another address or port: larder up --listen ADDR:PORT")
        }
        NodeError::ListenHttp { address, reason } => cannot_listen(*address, " for HTTP", reason)
            .hint("another address or port, or none: larder up --http-listen ADDR:PORT, or off"),
        NodeError::ListenRedis { address, reason } => cannot_listen(*address, " for Redis clients", reason)
            .hint("another address or port, or none: larder up --redis-listen ADDR:PORT, or off"),
        NodeError::Tls(error) => Failure::new(error.kind(), error.to_string()).hint(match error {
            TlsError::Revoked { .. } | TlsError::Read { .. } => {
                "on the machine that has the authority's key, `larder up` writes it anew from the record of what was issued"
            }
            TlsError::Mismatch(_) => "larder ca renew node, or put the files back from a backup",
            TlsError::Pem { .. } => "put the file back from a backup; or remove the certificates folder: `larder up` makes new ones",
        }),
        NodeError::Store(store) => {
            let failure = Failure::new(store.kind(), store.to_string());
            match store.kind() {
                Kind::TooNew => failure.hint("upgrade larder"),
                Kind::Denied => {
                    failure.hint("look at owner and mode of the data folder and of the files in it")
                }
                _ if error.is_end_unread() => failure.hint(
                    "larder node accept-damage says what would be lost without it, and changes nothing; or a copy of the \
                     data folder from before, or of the disk once it can be read",
                ),
                _ => failure,
            }
        }
        NodeError::Server(_) => Failure::new(Kind::Closed, error.to_string()),
    }
}

fn cannot_listen(address: SocketAddr, what_for: &str, reason: &str) -> Failure {
    let reason = reason.split(" (os error").next().unwrap_or(reason).to_lowercase();
    Failure::new(Kind::Conflict, format!("cannot listen on {address}{what_for}: {reason}"))
}
