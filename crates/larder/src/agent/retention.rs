//! The vault's retention rules, applied by the clock: while the vault is open, a thread deletes the older versions that the
//! rules no longer keep, as `larder retention apply --yes` would, once in each period.
//!
//! When that was last done is noted beside the other state, so that locking, opening and restarts do not shift it; on a
//! machine that never did it the first period begins when the vault is first opened. It ends with the lock, in the
//! middle if it must: what was not deleted yet goes the next time.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use larder_client::files::VersionsReport;
use larder_client::memory::SeenMemory;
use larder_client::path::VaultPath;
use larder_client::vault::Vault;
use larder_format::clock::{Clock, SystemClock};
use larder_seal::keys::VaultRoot;
use tokio::sync::watch;

use crate::atomic_file::{self, Existing};
use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::session;

/// Longest sleep: how late it may be noticed that the wall clock jumped while the machine slept.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Pause after a failure: the node may be away, and is asked by others, too.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Longest file that says when it was last done, in bytes: digits and a line's end.
const FILE_LEN_MAX: usize = 32;

/// Applies the rules while a vault is open.
pub struct Retention {
    folders: Folders,
    every: Option<Duration>,
    /// The thread ends when this is dropped.
    running: RefCell<Option<watch::Sender<()>>>,
}

impl Retention {
    /// Nothing yet. Without a period never.
    pub fn new(folders: Folders, every: Option<Duration>) -> Self {
        Self { folders, every, running: RefCell::new(None) }
    }

    /// Begins: the vault is open.
    pub fn start(&self, root: VaultRoot) {
        let Some(every) = self.every else { return };
        let (going_on, end) = watch::channel(());
        let folders = self.folders.clone();
        let work = move || run(&folders, &root, every, end);
        match std::thread::Builder::new().name("retention".to_owned()).spawn(work) {
            Ok(_) => *self.running.borrow_mut() = Some(going_on),
            Err(error) => tracing::warn!(%error, "the retention rules cannot be applied"),
        }
    }

    /// Ends: the vault is locked.
    pub fn lock(&self) {
        self.running.borrow_mut().take();
    }
}

fn run(folders: &Folders, root: &VaultRoot, every: Duration, mut end: watch::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::warn!(%error, "the retention rules cannot be applied");
            return;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            _ = end.changed() => {}
            () = now_and_then(folders, root, every) => {}
        }
    });
}

async fn now_and_then(folders: &Folders, root: &VaultRoot, every: Duration) {
    let clock = SystemClock::new();
    loop {
        let left = left(folders, &clock, every);
        if !left.is_zero() {
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
            continue;
        }
        match apply(folders, root).await {
            Ok(None) => {}
            Ok(Some(done)) => tracing::info!(
                versions = done.versions,
                files = done.files,
                bytes = done.bytes,
                "older versions were deleted by the retention rules"
            ),
            Err(failure) => {
                tracing::warn!(%failure, "the retention rules could not be applied; it is tried again");
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            }
        }
        note(folders, clock.wall_ms());
    }
}

/// How long until it is due.
fn left(folders: &Folders, clock: &SystemClock, every: Duration) -> Duration {
    let now_ms = clock.wall_ms();
    // A time to come was noted by a clock that was ahead.
    let last_ms = last_ms(folders).filter(|last| *last <= now_ms).unwrap_or_else(|| {
        note(folders, now_ms);
        now_ms
    });
    every.saturating_sub(Duration::from_millis(now_ms - last_ms))
}

fn last_ms(folders: &Folders) -> Option<u64> {
    let bytes = atomic_file::read(&folders.retention_file(), FILE_LEN_MAX).ok()??;
    std::str::from_utf8(&bytes).ok()?.trim_end().parse().ok()
}

fn note(folders: &Folders, now_ms: u64) {
    let text = format!("{now_ms}\n");
    if let Err(failure) = atomic_file::write(&folders.retention_file(), text.as_bytes(), Existing::Replace) {
        tracing::warn!(%failure, "when the retention rules were applied cannot be noted");
    }
}

/// Applies them. `None`: no rule limits older versions, or nothing was superfluous.
async fn apply(folders: &Folders, root: &VaultRoot) -> Outcome<Option<VersionsReport>> {
    let remote = session::connect(folders).await?;
    let memory = SeenMemory::open(&folders.seen_file())?;
    // Nothing is sealed here, so it does not matter under which generation.
    let vault = Arc::new(Vault::open(remote, root, 0, memory, Arc::new(SystemClock::new())).await?);
    let result = async {
        let rules = vault.retention().await?;
        if !rules.limit_versions() {
            return Ok(None);
        }
        let keep = |path: &VaultPath| rules.keep(&path.to_string());
        let done = vault.purge_versions(&VaultPath::default(), keep, false, |_| Ok(())).await?;
        if done.damaged > 0 {
            tracing::warn!(
                records = done.damaged,
                "older versions that cannot be read were left as they are"
            );
        }
        Ok::<_, Failure>(Some(done).filter(|done| done.versions > 0))
    }
    .await;
    // Also after a failure: what was seen was seen.
    let saved = vault.save_memory();
    let done = result?;
    saved?;
    Ok(done)
}

impl Folders {
    /// When the retention rules were last applied by the clock, in milliseconds since 1970.
    pub fn retention_file(&self) -> PathBuf {
        self.state().join("retention")
    }
}
