//! The agent's socket and what each request does.
//!
//! The socket lies in a private folder, has mode 0600, and every connection must come from this user
//! (`SO_PEERCRED`). Connections, frames and waiting times are bounded, and one key derivation runs at a time, so the
//! agent's memory is too.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use larder_format::clock::{Clock, SystemClock};
use larder_format::error::Kind;
use larder_format::ids::VaultId;
use larder_format::rng::SystemRng;
use larder_seal::SealError;
use larder_seal::header::notes::Note;
use larder_seal::header::{VAULT_HEADER_LEN_MAX, VaultHeader};
use larder_seal::keys::VaultRoot;
use larder_seal::recovery::RecoveryCode;
use larder_seal::slots::{Argon2Cost, Slot, Unlock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore};
use zeroize::Zeroizing;

use crate::agent::change::{self, Change};
use crate::agent::index::Names;
use crate::agent::names::Ask;
use crate::agent::open_vault::OpenVault;
use crate::agent::protocol::{self, Request, Response, Secret, Status};
use crate::agent::retention::Retention;
use crate::agent::silent::Silent;
use crate::agent::{client, hardening};
use crate::atomic_file;
use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::life::daemon::{self, Line, Mode};
use crate::life::log::Log;
use crate::life::pid_file::{self, Running};
use crate::settings::{IdleLock, every};

/// Most connections at a time; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 32;
/// A connection that says nothing for this long is closed.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A thread that derived a key ends after this long without more to do. Its end gives its memory back only if the
/// allocator has let it lie long enough by then (a second): ending sooner would keep the 64 MiB for good.
const DERIVATION_THREAD_IDLE: Duration = Duration::from_secs(2);
/// Longest sleep of the idle watch: how late it may notice that the wall clock jumped while the machine slept.
const IDLE_LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the agent needs to be told.
#[derive(Debug)]
pub struct AgentConfig {
    /// Where to listen.
    pub socket: PathBuf,
    /// Pid and lock file.
    pub pid_file: PathBuf,
    /// The vault's header.
    pub header_file: PathBuf,
    /// When the open vault locks itself.
    pub idle_lock: IdleLock,
    /// How often the vault's retention rules are applied; `None`: only when somebody says so.
    pub retention_every: Option<Duration>,
    /// What it says, and where.
    pub log: Log,
    /// Where everything else lies: the node's address, certificates, what this device has seen.
    pub folders: Folders,
}

struct Agent {
    config: AgentConfig,
    clock: SystemClock,
    vault: Arc<Mutex<OpenVault>>,
    /// One key derivation at a time.
    derivation: Semaphore,
    /// The vault was opened: the idle watch has something to watch.
    opened: Notify,
    stop: Notify,
    names: Names,
    retention: Retention,
    silent: Silent,
}

/// Runs the agent until it is told to stop, by a request or a signal.
///
/// # Errors
/// If it runs already, or cannot listen.
pub fn run(config: AgentConfig, mode: Mode) -> Outcome {
    daemon::begin(mode, &config.log)?;
    hardening::close_process();
    let result = start(config, mode);
    if let Err(failure) = &result {
        tracing::error!("{failure}");
        // If whoever started us is gone, there is nobody to tell.
        let _ = daemon::announce(mode, &Line::of(failure));
    }
    result
}

fn start(config: AgentConfig, mode: Mode) -> Outcome {
    let address = config.socket.to_string_lossy().into_owned();
    let running = Running {
        http: None,
        redis: None,
        pid: rustix::process::getpid().as_raw_pid(),
        address: address.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: [
            ("idle_lock".to_owned(), config.idle_lock.text()),
            ("retention_every".to_owned(), every::text(config.retention_every)),
            ("log".to_owned(), config.log.filter.clone()),
            ("log_format".to_owned(), config.log.format.text().to_owned()),
        ]
        .into(),
    };
    let _held = pid_file::hold(&config.pid_file, &running)?;
    crate::allocator::give_back_soon();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        // The 64 MiB of a derivation go back to the system when its thread ends, and not before.
        .thread_keep_alive(DERIVATION_THREAD_IDLE)
        .build()
        .map_err(|e| Failure::io_text(format!("cannot start the agent's runtime: {e}"), &e))?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = bind(&config)?;
        let names = Names::new(config.folders.clone());
        let retention = Retention::new(config.folders.clone(), config.retention_every);
        let agent = Rc::new(Agent {
            vault: Arc::new(Mutex::new(OpenVault::new(config.idle_lock))),
            config,
            clock: SystemClock::new(),
            derivation: Semaphore::new(1),
            opened: Notify::new(),
            stop: Notify::new(),
            names,
            retention,
            silent: Silent::default(),
        });
        daemon::announce(mode, &Line::Ready { address })?;
        tracing::info!("ready");
        tokio::task::spawn_local(watch_idle(agent.clone()));
        let result = tokio::select! {
            result = daemon::stop_requested() => result,
            () = agent.stop.notified() => Ok(()),
            result = accept(&agent, listener) => result,
        };
        agent.with_vault(|vault| vault.lock());
        agent.retention.lock();
        agent.names.stop().await;
        // Only a courtesy: the next agent removes it too.
        let _ = fs::remove_file(&agent.config.socket);
        tracing::info!("stopped");
        result
    })
}

fn bind(config: &AgentConfig) -> Outcome<tokio::net::UnixListener> {
    let failed = |e: io::Error| Failure::io("listen on", &config.socket, &e);
    // We hold the pid file's lock, so whoever made this socket is gone.
    match fs::remove_file(&config.socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let short = client::ShortPath::of(&config.socket).map_err(failed)?;
    let listener = tokio::net::UnixListener::bind(short.path()).map_err(failed)?;
    fs::set_permissions(&config.socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

async fn accept(agent: &Rc<Agent>, listener: tokio::net::UnixListener) -> Outcome {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, for instance: the next one may work, but not at full speed.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // It is here already: whoever is silent while it waits gives way.
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = agent.silent.drive_out() => return Ok(()),
        };
        let Ok(slot) = slot else { return Ok(()) };
        let agent = agent.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = agent.serve(stream).await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(slot);
        });
    }
}

/// The next request's bytes; `None` if the other end is done or says nothing.
async fn next_frame(stream: &mut UnixStream) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut prefix = [0; 4];
    match tokio::time::timeout(SILENCE_MAX, stream.read_exact(&mut prefix)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(None),
    }
    let mut frame = Zeroizing::new(vec![0; protocol::frame_len(prefix)?]);
    tokio::time::timeout(SILENCE_MAX, stream.read_exact(&mut frame)).await??;
    Ok(Some(frame))
}

async fn watch_idle(agent: Rc<Agent>) {
    loop {
        match agent.with_vault(|vault| vault.lock_if_idle(&agent.clock)) {
            Some(left) => tokio::time::sleep(left.min(IDLE_LOOK_EVERY)).await,
            None => {
                if agent.with_vault(|vault| vault.vault(&agent.clock)).is_none() {
                    agent.forget();
                }
                agent.opened.notified().await;
            }
        }
    }
}

impl Agent {
    fn with_vault<T>(&self, look: impl FnOnce(&mut OpenVault) -> T) -> T {
        // A panic while it was held can at worst have left the vault locked or open, both whole.
        look(&mut self.vault.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends what works with the open vault.
    fn forget(&self) {
        self.names.lock();
        self.retention.lock();
    }

    async fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        let peer = stream.peer_cred()?.uid();
        if peer != rustix::process::geteuid().as_raw() {
            tracing::warn!(uid = peer, "refused a connection of another user");
            return Ok(());
        }
        loop {
            let turn = self.silent.begin();
            let frame = tokio::select! {
                biased;
                frame = next_frame(&mut stream) => frame?,
                () = turn.gives_way() => None,
            };
            drop(turn);
            let Some(frame) = frame else { return Ok(()) };
            let (response, stop) = match Request::decode(&frame) {
                Ok(request) => {
                    let stop = request == Request::Stop;
                    (self.answer(request).await, stop)
                }
                Err(error) => (Response::Failed { kind: Kind::Invalid, message: error.to_string() }, false),
            };
            let answer = response.encode();
            let send = async {
                stream.write_all(&protocol::frame_prefix(&answer)).await?;
                stream.write_all(&answer).await
            };
            tokio::time::timeout(SILENCE_MAX, send).await??;
            if stop {
                self.stop.notify_one();
                return Ok(());
            }
        }
    }

    async fn answer(&self, request: Request) -> Response {
        let result = match request {
            Request::Status => Ok(self.status()),
            Request::Root => self.root(),
            Request::Unlock(secret) => self.unlock(secret).await,
            Request::Lock => {
                if self.with_vault(OpenVault::lock) {
                    tracing::info!("the vault is locked");
                }
                self.forget();
                Ok(Response::Done)
            }
            Request::Create(passphrase) => self.create(passphrase).await,
            Request::Change(change) => self.change(*change).await,
            Request::Repair { after, passphrase } => self.repair(after, passphrase).await,
            Request::Names(ask) => self.names(ask).await,
            Request::Stop => Ok(Response::Done),
        };
        result.unwrap_or_else(|failure| Response::Failed {
            kind: failure.kind().unwrap_or(Kind::Closed),
            message: failure.message().to_owned(),
        })
    }

    fn status(&self) -> Response {
        let (left, open) =
            self.with_vault(|vault| (vault.lock_if_idle(&self.clock), vault.vault(&self.clock)));
        Response::Status(Status {
            open,
            locks_in_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            pid: std::process::id(),
        })
    }

    async fn names(&self, ask: Ask) -> Outcome<Response> {
        // Who only looks on does not keep the vault open.
        let looking_on = matches!(ask, Ask::Changes { .. } | Ask::Status);
        let locked = || Failure::new(Kind::Locked, "the vault is locked");
        let root = self.with_vault(|vault| {
            if looking_on {
                return vault
                    .look_at_root(&self.clock)
                    .map(|(id, root)| root_of(id, root))
                    .ok_or_else(locked);
            }
            vault.use_root(&self.clock).map(|(id, root)| root_of(id, root)).ok_or_else(locked)
        });
        if root.is_err() {
            self.forget();
        }
        let root = root?;
        if ask != Ask::Status {
            self.names.start(root);
        }
        self.names.answer(ask).await.map(Response::Names)
    }

    fn root(&self) -> Outcome<Response> {
        self.with_vault(|vault| {
            let (vault, root) = vault
                .use_root(&self.clock)
                .ok_or_else(|| Failure::new(Kind::Locked, "the vault is locked"))?;
            Ok(Response::Root { vault, root: Zeroizing::new(*root) })
        })
    }

    async fn unlock(&self, secret: Secret) -> Outcome<Response> {
        let path = &self.config.header_file;
        let bytes = atomic_file::read(path, VAULT_HEADER_LEN_MAX)?
            .ok_or_else(|| Failure::new(Kind::NotFound, "there is no vault yet; `larder up` makes one"))?;
        let root = self
            .derive(move || {
                let header = VaultHeader::decode(&Bytes::from(bytes)).map_err(sealing)?;
                change::open_with(&header, &secret).map(|(root, _)| root)
            })
            .await?;
        self.opened(&root);
        Ok(Response::Done)
    }

    async fn create(&self, passphrase: Zeroizing<Vec<u8>>) -> Outcome<Response> {
        if self.config.header_file.exists() {
            return Err(Failure::new(Kind::Conflict, "there is a vault already"));
        }
        // Its header may be lost: then what is open here is the last way to it.
        if self.with_vault(|vault| vault.vault(&self.clock)).is_some() {
            return Err(Failure::new(Kind::Conflict, "a vault is open; lock it before another one is made"));
        }
        let created_ms = self.clock.wall_ms();
        let (root, header, code) = self
            .derive(move || {
                let root = VaultRoot::generate(&mut SystemRng);
                let (header, code) = new_header(&root, &passphrase, 0, created_ms).map_err(sealing)?;
                Ok((root, header.encode(), code.to_text()))
            })
            .await?;
        self.opened(&root);
        Ok(Response::Created { header, recovery_code: Zeroizing::new(code.as_bytes().to_vec()) })
    }

    /// Makes a header for the vault that is open. Whether the old one is lost is for whoever asks to know: they can ask
    /// for the root, too.
    async fn repair(&self, after: u64, passphrase: Zeroizing<Vec<u8>>) -> Outcome<Response> {
        let open = self.with_vault(|vault| vault.use_root(&self.clock).map(|(id, root)| root_of(id, root)));
        let root = open.ok_or_else(|| Failure::new(Kind::Locked, "the vault is locked"))?;
        let created_ms = self.clock.wall_ms();
        let (header, code) =
            self.derive(move || new_header(&root, &passphrase, after, created_ms).map_err(sealing)).await?;
        tracing::info!("a new vault header was made for the open vault");
        let slot = header.slots().first().map(Slot::id);
        Ok(Response::Changed {
            header: header.encode(),
            slot: slot.ok_or_else(|| Failure::new(Kind::Bug, "a header without slots was made"))?,
            recovery_code: Zeroizing::new(code.to_text().as_bytes().to_vec()),
        })
    }

    /// Makes a changed header. What is open stays open; what the proof opened on the way is forgotten again.
    async fn change(&self, change: Change) -> Outcome<Response> {
        let open = self.with_vault(|vault| {
            let (vault, root) = vault.use_root(&self.clock)?;
            Some(VaultRoot::from_parts(vault, larder_seal::Secret::new(*root)))
        });
        let now_ms = self.clock.wall_ms();
        let changed = self.derive(move || change.apply(open, now_ms, &mut SystemRng)).await?;
        tracing::info!(slot = %changed.slot, "a changed vault header was made");
        let code = changed.recovery_code.map(|code| code.to_text());
        Ok(Response::Changed {
            header: changed.header.encode(),
            slot: changed.slot,
            recovery_code: Zeroizing::new(code.map_or_else(Vec::new, |code| code.as_bytes().to_vec())),
        })
    }

    fn opened(&self, root: &VaultRoot) {
        self.with_vault(|vault| vault.open(root.id(), root.secret().expose(), &self.clock));
        tracing::info!("the vault is open");
        self.forget();
        self.retention.start(root.clone());
        if self.names.has_snapshot() {
            self.names.start(root.clone());
        }
        self.opened.notify_one();
    }

    /// Runs a key derivation on a thread of its own, one at a time.
    async fn derive<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let ended = |_| Failure::new(Kind::Bug, "the key derivation ended unexpectedly");
        let _turn = self.derivation.acquire().await.map_err(|_| Failure::new(Kind::Closed, "stopping"))?;
        tokio::task::spawn_blocking(work).await.map_err(ended)?
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn sealing(error: SealError) -> Failure {
    Failure::new(error.kind(), error.to_string())
}

/// A header with a passphrase and a recovery code, newer than a revision.
fn new_header(
    root: &VaultRoot,
    passphrase: &[u8],
    after: u64,
    created_ms: u64,
) -> Result<(VaultHeader, RecoveryCode), SealError> {
    let (rng, cost) = (&mut SystemRng, Argon2Cost::default());
    let unlock = Unlock::Passphrase(passphrase);
    let mut header = VaultHeader::create_after(root, unlock, after, cost, rng)?;
    let code = RecoveryCode::generate(rng);
    header.add_slot(root, Unlock::RecoveryCode(&code), cost, rng)?;
    for id in header.slots().iter().map(Slot::id).collect::<Vec<_>>() {
        header.annotate(root, id, Note { created_ms, ..Note::default() }, rng)?;
    }
    Ok((header, code))
}

fn root_of(id: VaultId, root: &[u8; 32]) -> VaultRoot {
    VaultRoot::from_parts(id, larder_seal::Secret::new(*root))
}
