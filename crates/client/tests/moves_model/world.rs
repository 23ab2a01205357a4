//! One run: clients, what they do, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use larder_client::Failure;
use larder_client::files::{ListedKind, PutOptions, Reading, RemoveOptions};
use larder_client::memory::SeenMemory;
use larder_client::meter::Meter;
use larder_client::moves::{CopyOptions, MoveOptions};
use larder_client::path::VaultPath;
use larder_client::vault::Vault;
use larder_format::error::Kind;
use larder_format::rng::SystemRng;
use larder_seal::keys::VaultRoot;
use tokio::task::JoinHandle;

use crate::node::ModelNode;

const CLIENTS: usize = 3;
const OPERATIONS: usize = 18;

/// Protected files are never deleted, replaced or put again: only moved, and only under names of their own.
const PROTECTED: usize = 3;

/// How often everything is looked at while clients are at work: after so many requests.
const LOOK_EVERY: u64 = 9;

/// More requests than any run needs: somebody goes in circles.
const REQUESTS_MAX: u64 = 20_000;

#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Folders are deleted, too: then a protected file may be in the trash at the end.
    pub deletes_folders: bool,
}

/// Pseudo-random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

/// What clients do.
#[derive(Debug, Clone)]
enum Operation {
    Put(String, usize),
    Move(String, String),
    MoveOver(String, String),
    Copy(String, String),
    Remove(String, bool),
    Restore(String),
    Mkdir(String),
}

const FOLDERS: [&str; 6] = ["/a", "/b", "/c", "/a/d", "/b/d", "/c/e"];
const FILES: [&str; 2] = ["x", "y"];

/// What is known of contents: each has a length of its own, so that a listing says which is which.
#[derive(Default)]
struct Books {
    /// Those that a put has answered for.
    acknowledged: BTreeSet<usize>,
    /// The paths of protected files, as far as their movers know.
    protected: BTreeMap<usize, String>,
}

pub struct World {
    node: ModelNode,
    root: VaultRoot,
    settings: Settings,
    dice: Dice,
    books: Arc<Mutex<Books>>,
    next_length: usize,
    fresh: usize,
    log: Vec<String>,
}

type Done = Result<(), Failure>;

impl World {
    pub async fn run(seed: u64, settings: Settings) -> Result<(), String> {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.roll(2);
        }
        let mut world = Self {
            node: ModelNode::default(),
            root: VaultRoot::generate(&mut SystemRng),
            settings,
            dice,
            books: Arc::default(),
            next_length: 10,
            fresh: 0,
            log: Vec::new(),
        };
        world.begin().await;
        let done = world.work().await;
        let done = match done {
            Ok(()) => world.end().await,
            failed => failed,
        };
        done.map_err(|why| format!("{why}\n{}", world.log.join("\n")))
    }

    async fn vault(&self, node: &ModelNode, client: Option<usize>) -> Arc<Vault> {
        let remote = node.connect(client).await;
        let memory = SeenMemory::ephemeral();
        Arc::new(Vault::open(remote, &self.root, 0, memory, node.clock()).await.unwrap())
    }

    async fn begin(&mut self) {
        let vault = self.vault(&self.node, None).await;
        for folder in FOLDERS {
            vault.make_folder(&path(folder)).await.unwrap();
        }
        for (number, folder) in FOLDERS.iter().enumerate().take(PROTECTED) {
            let at = format!("{folder}/p{number}");
            put(&vault, &at, number + 1).await.unwrap();
            let mut books = self.books.lock().unwrap();
            books.acknowledged.insert(number + 1);
            books.protected.insert(number + 1, at);
        }
    }

    /// Often one of two, so that clients meet.
    fn folder(&mut self) -> String {
        let few = if self.dice.roll(2) == 0 { &FOLDERS[..2] } else { &FOLDERS[..] };
        self.dice.pick(few).to_owned()
    }

    fn file(&mut self) -> String {
        let name = if self.dice.roll(3) == 0 { FILES[1] } else { FILES[0] };
        format!("{}/{name}", self.folder())
    }

    fn operation(&mut self) -> Operation {
        let folder_to = |world: &mut Self, from: &str| {
            let name = from.rsplit('/').next().unwrap_or(from).to_owned();
            format!("{}/{name}", world.folder())
        };
        match self.dice.roll(if self.settings.deletes_folders { 15 } else { 13 }) {
            0..=2 => {
                self.next_length += 1;
                Operation::Put(self.file(), self.next_length)
            }
            3 | 4 => Operation::MoveOver(self.file(), self.file()),
            5 | 6 => {
                let which = 1 + self.dice.roll(PROTECTED);
                let from = self.books.lock().unwrap().protected[&which].clone();
                self.fresh += 1;
                let name = format!("{}/q{}", self.folder(), self.fresh);
                Operation::Move(from, name)
            }
            7..=9 => {
                let from = self.folder();
                let to = folder_to(self, &from);
                Operation::Move(from, to)
            }
            10 => Operation::Copy(self.file(), self.file()),
            11 => Operation::Remove(self.file(), false),
            12 => Operation::Restore(self.file()),
            13 => Operation::Remove(self.folder(), true),
            _ => match self.dice.roll(2) {
                0 => Operation::Mkdir(self.folder()),
                _ => Operation::Restore(self.folder()),
            },
        }
    }

    /// Lets the clients work: one request at a time, the next one's by the dice.
    async fn work(&mut self) -> Result<(), String> {
        let mut running: Vec<Option<JoinHandle<Done>>> = (0..CLIENTS).map(|_| None).collect();
        let mut left = OPERATIONS;
        let mut requests = 0;
        loop {
            for (client, place) in running.iter_mut().enumerate() {
                if let Some(done) = place.take_if(|task| task.is_finished()) {
                    self.finished(client, done.await)?;
                }
                if place.is_none() && left > 0 {
                    left -= 1;
                    *place = Some(self.start(client).await);
                }
            }
            if running.iter().all(Option::is_none) {
                return Ok(());
            }
            self.settle(&running).await;
            let waiting = self.node.waiting();
            if waiting.is_empty() {
                continue;
            }
            requests += 1;
            if requests > REQUESTS_MAX {
                return Err("somebody goes in circles".to_owned());
            }
            let place = self.dice.roll(waiting.len());
            if self.dice.roll(60) == 0 {
                // As if it had been killed right before this request.
                let client = waiting[place];
                if let Some(task) = running[client].take() {
                    task.abort();
                    self.log.push(format!("{client} stopped"));
                }
                self.node.forget(client);
                continue;
            }
            self.node.grant(place);
            if requests % LOOK_EVERY == 0 {
                self.settle(&running).await;
                self.look().await?;
            }
        }
    }

    /// Waits until every client that runs has asked for a turn, or sleeps.
    async fn settle(&self, running: &[Option<JoinHandle<Done>>]) {
        for round in 0..40 {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let waiting = self.node.waiting();
            let active = |client: usize| running[client].as_ref().is_some_and(|task| !task.is_finished());
            if (0..CLIENTS).all(|client| !active(client) || waiting.contains(&client)) {
                return;
            }
            if round > 10 && !waiting.is_empty() {
                // Somebody waits for another's move to end.
                return;
            }
            tokio::time::sleep(std::time::Duration::from_micros(300)).await;
        }
    }

    fn finished(&mut self, client: usize, done: Result<Done, tokio::task::JoinError>) -> Result<(), String> {
        match done {
            Ok(Ok(())) => self.log.push(format!("{client} done")),
            Ok(Err(failure)) => {
                self.log.push(format!("{client} failed: {}", failure.message));
                if matches!(failure.kind, Kind::Bug | Kind::Damaged | Kind::Unknown | Kind::Closed) {
                    return Err(format!("{:?}: {}", failure.kind, failure.message));
                }
            }
            Err(error) if error.is_panic() => return Err(format!("panic: {error}")),
            Err(_) => {}
        }
        Ok(())
    }

    async fn start(&mut self, client: usize) -> JoinHandle<Done> {
        let operation = self.operation();
        self.log.push(format!("{client} {operation:?}"));
        let (node, root, books) = (self.node.clone(), self.root.clone(), self.books.clone());
        tokio::spawn(async move {
            let remote = node.connect(Some(client)).await;
            let vault = Vault::open(remote, &root, 0, SeenMemory::ephemeral(), node.clock()).await?;
            perform(&Arc::new(vault), operation, &books).await
        })
    }

    /// On the way: every protected file is to be seen.
    async fn look(&mut self) -> Result<(), String> {
        if self.settings.deletes_folders {
            return Ok(());
        }
        let shown = self.shown(&self.node.snapshot()).await?;
        for which in 1..=PROTECTED {
            if shown.get(&which).is_none_or(Vec::is_empty) {
                return Err(format!("on the way: protected file {which} is not to be seen"));
            }
        }
        Ok(())
    }

    /// The paths of all files, by their lengths.
    async fn shown(&self, node: &ModelNode) -> Result<BTreeMap<usize, Vec<String>>, String> {
        let vault = self.vault(node, None).await;
        let mut shown: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let top = VaultPath::default();
        let listed = vault.list(&top, true, |listed| {
            if let ListedKind::File { size, .. } = listed.kind {
                shown.entry(size as usize).or_default().push(listed.path.to_string());
            }
            Ok(())
        });
        listed.await.map_err(|failure| format!("cannot be listed: {}", failure.message))?;
        Ok(shown)
    }

    /// When all is done, and the last interrupted move may be settled: mended, everything fits.
    async fn end(&mut self) -> Result<(), String> {
        self.node.pass_ms(60_000);
        let before = self.shown(&self.node).await?;
        let vault = self.vault(&self.node, None).await;
        // Not so long that what was deleted is gone for good.
        self.node.pass_ms(20 * 60_000);
        let mut lines = Vec::new();
        let top = VaultPath::default();
        let check = vault.check(&top, true, |finding, mended| {
            lines.push(format!("{} {} {}: {mended:?}", finding.fault.name(), finding.path, finding.detail));
        });
        let report = check.await.map_err(|failure| failure.message)?;
        self.log.append(&mut lines);
        if report.left > 0 {
            return Err(format!("{} things do not fit after mending", report.left));
        }
        let shown = self.shown(&self.node).await?;
        for which in 1..=PROTECTED {
            match shown.get(&which).map_or(&[][..], Vec::as_slice) {
                [_] => {}
                // In the trash; or there twice, if a folder was deleted and brought back in the middle of a move.
                _ if self.settings.deletes_folders => {}
                paths => return Err(format!("protected file {which} is at {paths:?}, before: {before:?}")),
            }
        }
        self.nothing_is_lost(&vault, &shown).await
    }

    /// What a put was answered for is there: as a file, as an older version, or in the trash.
    async fn nothing_is_lost(
        &self,
        vault: &Arc<Vault>,
        shown: &BTreeMap<usize, Vec<String>>,
    ) -> Result<(), String> {
        let kept = vault.sizes_of_everything_kept().await.map_err(|failure| failure.message)?;
        let kept: BTreeSet<usize> = kept.into_iter().map(|size| size as usize).collect();
        let books = self.books.lock().unwrap();
        match books.acknowledged.iter().find(|length| !shown.contains_key(length) && !kept.contains(length)) {
            Some(lost) => Err(format!("content of length {lost} is lost")),
            None => Ok(()),
        }
    }
}

fn path(text: &str) -> VaultPath {
    VaultPath::parse(text).unwrap()
}

async fn put(vault: &Vault, at: &str, length: usize) -> Done {
    let content = std::io::Cursor::new(vec![b'x'; length]);
    let reading = Reading::Stream(Box::new(content));
    vault.put_file(&path(at), reading, &PutOptions::default(), &Arc::new(Meter::default())).await?;
    Ok(())
}

async fn perform(vault: &Arc<Vault>, operation: Operation, books: &Mutex<Books>) -> Done {
    match operation {
        Operation::Put(at, length) => {
            put(vault, &at, length).await?;
            books.lock().unwrap().acknowledged.insert(length);
        }
        Operation::Move(from, to) => {
            vault.rename(&path(&from), &path(&to), MoveOptions::default()).await?;
            let mut books = books.lock().unwrap();
            if let Some(at) = books.protected.values_mut().find(|at| **at == from) {
                *at = to;
            }
        }
        Operation::MoveOver(from, to) => {
            vault.rename(&path(&from), &path(&to), MoveOptions::default()).await?;
        }
        Operation::Copy(from, to) => {
            vault.copy(&path(&from), &path(&to), CopyOptions::default()).await?;
        }
        Operation::Remove(at, recursive) => {
            vault.remove(&path(&at), RemoveOptions { recursive, ..RemoveOptions::default() }).await?;
        }
        Operation::Restore(at) => {
            vault.restore(&path(&at), None).await?;
        }
        Operation::Mkdir(at) => {
            vault.make_folder(&path(&at)).await?;
        }
    }
    Ok(())
}
