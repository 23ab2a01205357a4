//! A command's session: the opened vault from the agent, a connection to the node, and an end that leaves nothing half
//! done, whether the work finished, failed or was interrupted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use larder_client::connection::ConnectOptions;
use larder_client::memory::SeenMemory;
use larder_client::remote::Remote;
use larder_client::transfer::Transfers;
use larder_client::vault::Vault;
use larder_format::clock::SystemClock;
use larder_format::error::Kind;
use larder_node::identity::Identity;
use larder_wire::answer::Limit;

use crate::agent::client::opened_vault;
use crate::certificates::{Certificates, certificate_der};
use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};
use crate::folders::Folders;
use crate::life::{daemon, pid_file};
use crate::moment;
use crate::settings::Resolved;
use crate::{up, vault_header};

/// How long threads that are still reading or writing when a command ends may take to notice.
const THREADS_END_MAX: Duration = Duration::from_secs(2);

impl From<larder_client::Failure> for Failure {
    fn from(failure: larder_client::Failure) -> Self {
        let unattributed = failure.kind == Kind::Damaged && failure.message.contains("frames were lost");
        // A full disk on this side is none of the node's limits.
        let no_room = failure.no_room.filter(|_| failure.kind == Kind::Full);
        let failure = Failure::new(failure.kind, failure.message);
        if unattributed {
            return failure.hint("larder node accept-damage --help says what can be done");
        }
        let about = "larder quota suggest says what takes most room";
        match no_room {
            None => failure,
            Some(Limit::NodeQuota | Limit::NamespaceQuota) => failure.of_full_node().hint(format!(
                "{about}; larder rm --now PATH deletes for good; larder quota set changes the limit"
            )),
            Some(Limit::Disk) => failure.of_full_node().hint(format!(
                "larder rm --now PATH deletes for good, and room comes back within a minute; {about}"
            )),
            Some(Limit::MemoryCap) => failure.hint(
                "larder value del NAME makes room, so do values whose time is up; memory_cap in larder.toml is the limit",
            ),
        }
    }
}

/// Runs a command's work with the opened vault. ctrl-C drops the work where it stands: no file is half there, neither
/// here nor on the node, and what has travelled of a large one is found by the same command again.
///
/// # Errors
/// Locked; closed if agent or node do not run; what the work says.
pub fn with_vault<T>(context: &Context, work: impl AsyncFnOnce(&Arc<Vault>) -> Outcome<T>) -> Outcome<T> {
    with_vault_as(context, Transfers::default(), work)
}

/// As [`with_vault`], for work that moves content in the way that is said.
///
/// # Errors
/// As [`with_vault`].
pub fn with_vault_as<T>(
    context: &Context,
    transfers: Transfers,
    work: impl AsyncFnOnce(&Arc<Vault>) -> Outcome<T>,
) -> Outcome<T> {
    let folders = &context.folders;
    let root = opened_vault(folders, context.output)?;
    let header = vault_header::file::read_existing(folders)?;
    if header.vault() != root.id() {
        return Err(Failure::new(Kind::Conflict, "the agent holds another vault than this folder's")
            .hint("larder lock"));
    }
    // The generation of the keys that new things are sealed under is taken from it.
    header.verify(&root).map_err(|e| {
        Failure::new(e.kind(), format!("{}: {e}", shown(&folders.vault_header_file())))
            .hint("move it away, and `larder up` takes the node's copy; or put it back from a backup")
    })?;
    run(async {
        let remote = connect(folders).await?;
        let memory = SeenMemory::open(&folders.seen_file())?;
        vault_header::pin::observe(folders, &memory, &header)?;
        if let Some(fingerprint) = header.fingerprint() {
            vault_header::pin::remember(folders, header.vault(), fingerprint)?;
        }
        let clock = Arc::new(SystemClock::new());
        let vault = Vault::open(remote, &root, header.generation(), memory, clock).await?;
        let vault = Arc::new(vault.with_transfers(transfers));
        let _interrupted = SavedWhenDropped(vault.clone());
        let result = work(&vault).await;
        // Also after a failure: what was seen was seen.
        let saved = vault.save_memory();
        let answer = result?;
        saved?;
        Ok(answer)
    })
}

/// ctrl-C drops the work where it stands: what was seen and written until then is remembered all the same.
struct SavedWhenDropped(Arc<Vault>);

impl Drop for SavedWhenDropped {
    fn drop(&mut self) {
        // After work that ended by itself there is nothing new to write. If this fails nobody is left to be told.
        let _ = self.0.save_memory();
    }
}

/// Runs a command's work on the node alone, without any key.
///
/// # Errors
/// Closed if the node does not run; what the work says.
pub fn with_node<T>(folders: &Folders, work: impl AsyncFnOnce(&Remote) -> Outcome<T>) -> Outcome<T> {
    run(async { work(&connect(folders).await?).await })
}

fn run<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("larder")
        .build()
        .map_err(|e| Failure::io_text(format!("cannot start the runtime: {e}"), &e))?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = work => result,
            stop = daemon::stop_requested() => stop.and(Err(Failure::interrupted())),
        }
    });
    runtime.shutdown_timeout(THREADS_END_MAX);
    result
}

/// Connects to the node with this user's own certificate.
///
/// # Errors
/// Closed if the node does not run; denied if it does not trust us.
pub async fn connect(folders: &Folders) -> Outcome<Remote> {
    let address = node_address(folders)?;
    let certificates = Certificates::in_folder(folders.certificates());
    let identity = certificates.identity("client")?;
    let options = ConnectOptions {
        address: address.to_string(),
        authority_pem: certificates.authority_pem()?,
        certificate_pem: identity.certificate_pem,
        key_pem: identity.key_pem,
    };
    let folders = folders.clone();
    let locate = Arc::new(move || node_address(&folders).ok().map(|address| address.to_string()));
    match Remote::connect_where(&options, locate).await {
        Err(refused) if refused.kind == Kind::Denied => {
            let shown = own_certificate(&options.certificate_pem);
            Err(Failure::new(Kind::Denied, format!("{}{shown}", refused.message)))
        }
        connected => Ok(connected?),
    }
}

/// Which certificate this home shows, for a message that says that it was refused.
fn own_certificate(pem: &[u8]) -> String {
    let identity = certificate_der(pem).and_then(|der| Identity::of_certificate(&der).ok());
    identity.map_or_else(String::new, |own| {
        format!(
            "; this home shows {:?}, serial number {}, good from {} to {}",
            own.name,
            own.serial,
            moment::show_ms(own.not_before_ms),
            moment::show_ms(own.not_after_ms)
        )
    })
}

/// Where the node listens: another machine's where the settings say so; else where the running one says, else where the
/// settings say.
pub fn node_address(folders: &Folders) -> Outcome<SocketAddr> {
    if let Some(connect) = Resolved::load(&folders.settings_file(), &[])?.settings.connect {
        return Ok(connect);
    }
    let running =
        pid_file::look(&folders.pid_file(up::NODE))?.and_then(|running| running.address.parse().ok());
    let address = match running {
        Some(address) => address,
        None => {
            let resolved = Resolved::load(&folders.settings_file(), &[])?;
            if !resolved.has_file {
                return Err(Failure::new(Kind::Closed, "nothing is set up here yet").hint("larder up"));
            }
            resolved.settings.listen
        }
    };
    Ok(reachable(address))
}

/// A node that listens on every address is reached over loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

impl Folders {
    /// What this device has seen, so that nothing older is accepted.
    pub fn seen_file(&self) -> PathBuf {
        self.state().join("seen")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_on_every_address_is_reached_over_loopback() {
        for (listen, reach) in
            [("0.0.0.0:7", "127.0.0.1:7"), ("[::]:7", "[::1]:7"), ("192.0.2.1:7", "192.0.2.1:7")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), reach);
        }
    }
}
