//! The index of names in the agent: a thread that follows the node while the vault is open, and the answers.
//!
//! The thread starts when somebody first asks (or when the vault is opened and there is a snapshot: then somebody asked
//! before), and ends with the lock, which takes the index with it at once. While there is no index, or it cannot be
//! sure of an answer, commands are told to ask the node.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use larder_client::files::Listed;
use larder_client::index::{Filter, Follower, NameIndex, Shared, Walked};
use larder_client::memory::SeenMemory;
use larder_client::path::VaultPath;
use larder_client::vault::Vault;
use larder_format::clock::SystemClock;
use larder_format::error::Kind;
use larder_seal::keys::VaultRoot;
use tokio::sync::watch;

use crate::agent::names::{Answer, Ask, PAGE_LEN, Page, change_len, entry_len};
use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::session;

/// Most commands that may watch at a time: each holds one of the agent's connections.
const WATCHERS_MAX: usize = 16;
/// Entries that one question looks at before others get their turn: some ten milliseconds.
const LOOKED_MAX: usize = 20_000;
/// Most entries of one answer.
const ENTRIES_MAX: u32 = 4_000;
/// First and longest pause before the node is tried again.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether the snapshot is worth writing anew.
const SAVE_LOOK_EVERY: Duration = Duration::from_secs(30);
/// It is when this part of the entries changed, or when anything did and so many looks have passed.
const SAVE_PART: u64 = 20;
const SAVE_LOOKS_MAX: u32 = 20;
/// How long the end of the agent may wait for a last snapshot.
const LAST_SAVE_MAX: Duration = Duration::from_secs(8);

/// How the thread is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Not yet.
    Running,
    /// At once.
    Now,
    /// After writing a snapshot.
    Saving,
}

/// The index and the thread that keeps it.
pub struct Names {
    folders: Folders,
    shared: RefCell<Arc<Shared>>,
    running: RefCell<Option<Running>>,
    watchers: Cell<usize>,
}

struct Running {
    end: watch::Sender<End>,
    thread: JoinHandle<()>,
}

impl Names {
    /// Nothing yet.
    pub fn new(folders: Folders) -> Self {
        Self { folders, shared: Shared::new().into(), running: RefCell::new(None), watchers: Cell::new(0) }
    }

    /// Whether there is a snapshot: somebody used the index before.
    pub fn has_snapshot(&self) -> bool {
        self.folders.index_file().exists()
    }

    /// Starts to follow the node, unless that is under way.
    pub fn start(&self, root: VaultRoot) {
        let mut running = self.running.borrow_mut();
        let given_up = self.shared.borrow().given_up().is_some();
        if running.as_ref().is_some_and(|running| given_up || !running.thread.is_finished()) {
            return;
        }
        let (end, ended) = watch::channel(End::Running);
        // Its own: what the thread before still holds goes with it.
        let shared = Shared::new();
        *self.shared.borrow_mut() = shared.clone();
        let folders = self.folders.clone();
        let work = move || follow(&folders, &root, &shared, ended);
        match std::thread::Builder::new().name("names".to_owned()).spawn(work) {
            Ok(thread) => *running = Some(Running { end, thread }),
            Err(error) => tracing::warn!(%error, "the index of names cannot be kept"),
        }
    }

    /// Forgets the index: the vault is locked.
    pub fn lock(&self) {
        if let Some(running) = self.running.borrow_mut().take() {
            running.end.send_replace(End::Now);
            self.shared.borrow().clear();
        }
    }

    /// Writes a snapshot, for at most a few seconds, and forgets the index: the agent ends.
    pub async fn stop(&self) {
        let Some(running) = self.running.borrow_mut().take() else { return };
        running.end.send_replace(End::Saving);
        let join = tokio::task::spawn_blocking(move || running.thread.join());
        if tokio::time::timeout(LAST_SAVE_MAX, join).await.is_err() {
            tracing::warn!("the snapshot of the index took too long; the one before stays");
        }
        self.shared.borrow().clear();
    }

    /// Answers a question.
    ///
    /// # Errors
    /// Full if too many watch; retry while there is nothing to watch yet.
    pub async fn answer(&self, ask: Ask) -> Outcome<Answer> {
        let shared = self.shared.borrow().clone();
        let found = match ask {
            Ask::List { folder, after, most } => {
                shared
                    .ask(|index, vault, now_ms| list(index, vault, now_ms, &folder, after.as_deref(), most))
                    .await
            }
            Ask::Find { folder, after, most, filter } => {
                let find = |index: &NameIndex, vault: &Vault, now_ms| {
                    find(index, vault, now_ms, &folder, after.as_ref(), most, &filter)
                };
                shared.ask(find).await
            }
            Ask::Changes { top, after, wait_ms } => {
                let _watching = Watching::begin(&self.watchers)?;
                let wait = Duration::from_millis(wait_ms.into());
                let most = PAGE_LEN / 128;
                return match shared.changes(after, &top.to_string(), most, wait).await {
                    Ok(page) => Ok(changes_answer(page)),
                    Err(_) => Err(match (shared.refused(), shared.given_up()) {
                        (Some(why), _) => Failure::new(Kind::Denied, why),
                        (None, Some(why)) => Failure::new(Kind::Full, why),
                        (None, None) => Failure::new(Kind::Retry, "the index of names is being made"),
                    }),
                };
            }
            Ask::Status => return Ok(Answer::Status(shared.status())),
        };
        Ok(found.map_or(Answer::AskNode, Answer::Page))
    }
}

/// A page of changes that fits a frame.
fn changes_answer(page: larder_client::index::ChangesPage) -> Answer {
    let (mut len, mut changes, mut next) = (0, Vec::new(), page.next);
    for (at, change) in page.changes {
        len += change_len(&change);
        // What happened at one position is told together, unless it would never fit.
        let whole = changes.last().is_none_or(|(last, _)| *last != at);
        if len > PAGE_LEN && whole && !changes.is_empty() {
            next = changes.last().map_or(next, |(last, _)| *last);
            break;
        }
        changes.push((at, change));
    }
    Answer::Changes { changes, next, reset: page.reset }
}

/// Somebody who watches.
struct Watching<'a>(&'a Cell<usize>);

impl<'a> Watching<'a> {
    fn begin(watchers: &'a Cell<usize>) -> Outcome<Self> {
        if watchers.get() >= WATCHERS_MAX {
            let message = format!("too many commands watch already max={WATCHERS_MAX}");
            return Err(Failure::new(Kind::Full, message));
        }
        watchers.set(watchers.get() + 1);
        Ok(Self(watchers))
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A page being filled.
struct Filling<'a> {
    vault: &'a Vault,
    page: Page,
    len: usize,
    most: usize,
    /// This device has seen something newer: only the node can be asked about it.
    older: bool,
}

impl<'a> Filling<'a> {
    fn new(vault: &'a Vault, now_ms: u64, most: u32) -> Self {
        let most = usize::try_from(most.clamp(1, ENTRIES_MAX)).unwrap_or(1);
        Self { vault, page: Page { now_ms, ..Page::default() }, len: 0, most, older: false }
    }

    fn add(&mut self, key: larder_seal::names::SealedKey, listed: Listed) -> ControlFlow<()> {
        self.older |= self.vault.has_seen_newer(key, listed.version);
        self.len += entry_len(&listed);
        self.page.entries.push(listed);
        let full = self.len > PAGE_LEN || self.page.entries.len() >= self.most || self.older;
        if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn done(self) -> Option<Page> {
        Some(self.page).filter(|_| !self.older)
    }
}

fn list(
    index: &NameIndex,
    vault: &Vault,
    now_ms: u64,
    folder: &VaultPath,
    after: Option<&str>,
    most: u32,
) -> Option<Page> {
    let found = index.folder(folder).ok().filter(|found| !index.has_unreadable(*found))?;
    let mut filling = Filling::new(vault, now_ms, most);
    let mut next = None;
    index.list(found, after, now_ms, |row| {
        let Ok(path) = folder.join(row.name()) else { return ControlFlow::Continue(()) };
        let added = filling.add(row.key(), row.listed(path));
        next = added.is_break().then(|| row.name().to_owned());
        added
    });
    filling.page.next = next;
    filling.done()
}

fn find(
    index: &NameIndex,
    vault: &Vault,
    now_ms: u64,
    folder: &VaultPath,
    after: Option<&VaultPath>,
    most: u32,
    filter: &Filter,
) -> Option<Page> {
    let found = index.folder(folder).ok()?;
    let mut filling = Filling::new(vault, now_ms, most);
    let walked = index.walk(found, folder, after, now_ms, LOOKED_MAX, |at, row| {
        if !filter.matches(&row) {
            return ControlFlow::Continue(());
        }
        let Ok(path) = at.join(row.name()) else { return ControlFlow::Continue(()) };
        filling.add(row.key(), row.listed(path))
    });
    if let Walked::To(path) = walked {
        filling.page.next = Some(path.to_string());
    }
    filling.page.unreadable = index.unreadable();
    filling.done()
}

/// The thread: follows the node until it is told to end, coming back whenever the node does.
fn follow(folders: &Folders, root: &VaultRoot, shared: &Arc<Shared>, mut end: watch::Receiver<End>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::warn!(%error, "the index of names cannot be kept");
            return;
        }
    };
    runtime.block_on(async {
        let mut pause = PAUSE_MIN;
        loop {
            let ended = end.wait_for(|end| *end != End::Running);
            let failure = tokio::select! {
                _ = ended => break,
                failure = follow_once(folders, root, shared, &mut pause) => failure,
            };
            if failure.kind() == Some(Kind::Full) {
                tracing::warn!(%failure, "there will be no index of names");
                shared.give_up(failure.message());
                return;
            }
            tracing::debug!(%failure, "the node's changes cannot be followed; it is tried again");
            let is_refused = failure.kind() == Some(Kind::Denied);
            shared.set_refused(is_refused.then(|| failure.message().to_owned()));
            let ended = end.wait_for(|end| *end != End::Running);
            tokio::select! {
                _ = ended => break,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let saving = *end.borrow() == End::Saving;
        if saving && shared.changed() > 0 && shared.is_complete() {
            save(folders, root, shared);
        }
    });
}

/// Follows the node until the connection breaks.
async fn follow_once(
    folders: &Folders,
    root: &VaultRoot,
    shared: &Arc<Shared>,
    pause: &mut Duration,
) -> Failure {
    let open = async {
        let remote = session::connect(folders).await?;
        let memory = SeenMemory::open(&folders.seen_file())?;
        // Nothing is sealed here, so it does not matter under which generation.
        let vault = Vault::open(remote, root, 0, memory, Arc::new(SystemClock::new())).await?;
        Ok::<_, Failure>(Arc::new(vault))
    };
    let vault = match open.await {
        Ok(vault) => vault,
        Err(failure) => return failure,
    };
    *pause = PAUSE_MIN;
    shared.set_refused(None);
    let path = folders.index_file();
    let follower = Follower::new(vault, shared.clone(), Some(&path));
    let saving = save_now_and_then(folders, root, shared);
    tokio::select! {
        result = follower.run() => match result {
            Ok(()) => Failure::new(Kind::Closed, "the feed of changes ended"),
            Err(failure) => failure.into(),
        },
        () = saving => Failure::new(Kind::Bug, "saving ended"),
    }
}

async fn save_now_and_then(folders: &Folders, root: &VaultRoot, shared: &Arc<Shared>) {
    let mut looks = 0;
    loop {
        tokio::time::sleep(SAVE_LOOK_EVERY).await;
        looks += 1;
        let (changed, status) = (shared.changed(), shared.status());
        let worth = changed > status.entries / SAVE_PART || looks >= SAVE_LOOKS_MAX;
        if changed == 0 || !worth || !shared.is_complete() {
            continue;
        }
        looks = 0;
        let (folders, root, shared) = (folders.clone(), root.clone(), shared.clone());
        // Beside the following, which others wait for.
        let _ = tokio::task::spawn_blocking(move || save(&folders, &root, &shared)).await;
    }
}

fn save(folders: &Folders, root: &VaultRoot, shared: &Shared) {
    if let Err(failure) = shared.save(root, &folders.index_file()) {
        tracing::warn!(%failure, "the snapshot of the index cannot be written");
    }
}

impl Folders {
    /// The snapshot of the index of names; made again if it is deleted.
    pub fn index_file(&self) -> PathBuf {
        self.state().join("names")
    }
}
