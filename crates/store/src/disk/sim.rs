//! A disk in memory that counts every call, fails the one it is told to, and loses unsynced writes.
//!
//! Contents and names are kept twice: as the running process sees them, and as they are durable. Between the
//! two lies a list of unsynced changes. [`SimDisk::crash`] makes the disk that the next start finds, with any
//! subset of those changes lost: whole writes, or single pages of them.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use larder_format::rng::{Rng, SeededRng};
use parking_lot::Mutex;

use super::{Disk, DiskFile, OpenMode};

mod faults;

pub use faults::{Fault, Loss};

/// The system's number for an input/output error.
const EIO: i32 = 5;

/// Unsynced writes are lost or kept in pieces of this many bytes.
const PAGE_LEN: u64 = 4096;

#[derive(Clone)]
enum Change {
    Write { file: usize, offset: u64, bytes: Vec<u8> },
    SetLen { file: usize, len: u64 },
    Name(NameChange),
}

#[derive(Clone)]
enum NameChange {
    Create { name: String, file: usize },
    Rename { from: String, to: String },
    Remove { name: String },
}

#[derive(Clone, Default)]
struct Inner {
    /// Contents by file number, now and durable.
    now: Vec<Vec<u8>>,
    durable: Vec<Vec<u8>>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced: Vec<Change>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    fired: bool,
    dead: bool,
    locked: bool,
    capacity: Option<u64>,
    /// It is a quota of the file system that limits the bytes.
    has_quota: bool,
    cannot_allocate: bool,
    /// Parts of files that the disk cannot read.
    unreadable: Vec<(usize, Range<u64>)>,
}

/// Something that other threads of the process do beside a sync, and before which sync from now on.
type Beside = Option<(u32, Box<dyn FnOnce() + Send>)>;

/// The disk. Clones are handles on the same one.
#[derive(Clone, Default)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    beside: Arc<Mutex<Beside>>,
}

fn dead() -> io::Error {
    io::Error::other("simulated process was killed")
}

/// Applies a write to a file's contents.
fn apply_write(contents: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).expect("simulated files fit memory");
    let end = start + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[start..end].copy_from_slice(bytes);
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Create { name, file } => {
            names.insert(name.clone(), *file);
        }
        NameChange::Rename { from, to } => {
            // Its creation may have been lost.
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        NameChange::Remove { name } => {
            names.remove(name);
        }
    }
}

impl SimDisk {
    /// An empty disk without a limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes call number `call` (the first is 0, counted from the disk's making) fail.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.inner.lock().fault = Some((call, fault));
    }

    /// Runs this when a file is synced, just before that happens: what other threads do beside the one that
    /// syncs. `after`: how many syncs come before.
    pub fn beside_sync(&self, after: u32, run: impl FnOnce() + Send + 'static) {
        *self.beside.lock() = Some((after, Box::new(run)));
    }

    /// Forgets what [`SimDisk::beside_sync`] was told, if it has not happened.
    pub fn nothing_beside(&self) {
        *self.beside.lock() = None;
    }

    /// Limits the bytes of all files together; `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner.lock().capacity = bytes;
    }

    /// From now on it is somebody's quota that is used up where space is missing, not the disk.
    pub fn limit_by_quota(&self) {
        self.inner.lock().has_quota = true;
    }

    /// From now on reading any of these bytes of a file is an error of the disk.
    pub fn spoil(&self, name: &str, range: Range<u64>) {
        let mut inner = self.inner.lock();
        if let Some(file) = inner.names.get(name).copied() {
            inner.unreadable.push((file, range));
        }
    }

    /// From now on the file system cannot take space without writing.
    pub fn cannot_allocate(&self) {
        self.inner.lock().cannot_allocate = true;
    }

    /// Calls made so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner.lock().calls
    }

    /// Whether the fault has happened.
    #[must_use]
    pub fn fired(&self) -> bool {
        self.inner.lock().fired
    }

    /// Unsynced changes at this moment.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.inner.lock().unsynced.len()
    }

    /// The process ends without more ado: every further call fails.
    pub fn kill(&self) {
        self.inner.lock().dead = true;
    }

    /// The disk that the next start finds.
    ///
    /// # Panics
    /// If a file does not fit in memory.
    #[must_use]
    pub fn crash(&self, loss: Loss) -> SimDisk {
        let inner = self.inner.lock();
        if loss == Loss::Nothing {
            let alive =
                Inner { calls: 0, fault: None, fired: false, dead: false, locked: false, ..inner.clone() };
            return SimDisk::of(alive);
        }
        let mut next = Inner {
            now: inner.durable.clone(),
            names: inner.durable_names.clone(),
            capacity: inner.capacity,
            has_quota: inner.has_quota,
            unreadable: inner.unreadable.clone(),
            ..Inner::default()
        };
        next.now.resize(inner.now.len(), Vec::new());
        let mut rng = SeededRng::new(match loss {
            Loss::Random(seed) => seed,
            _ => 0,
        });
        for (index, change) in inner.unsynced.iter().enumerate() {
            let kept = match loss {
                Loss::Nothing | Loss::Everything => false,
                Loss::KeepOnly(bits) => index < 64 && bits >> index & 1 == 1,
                Loss::Random(_) => rng.below(2) == 1,
            };
            match change {
                Change::Write { file, offset, bytes } if matches!(loss, Loss::Random(_)) => {
                    for (at, page) in pieces(*offset, bytes, PAGE_LEN) {
                        if rng.below(2) == 1 {
                            apply_write(&mut next.now[*file], at, page);
                        }
                    }
                }
                Change::Write { file, offset, bytes } if kept => {
                    apply_write(&mut next.now[*file], *offset, bytes);
                }
                Change::SetLen { file, len } if kept => {
                    next.now[*file].resize(usize::try_from(*len).expect("simulated files fit memory"), 0);
                }
                Change::Name(change) if kept => apply_name(&mut next.names, change),
                _ => {}
            }
        }
        next.durable = next.now.clone();
        next.durable_names = next.names.clone();
        SimDisk::of(next)
    }

    fn of(inner: Inner) -> Self {
        SimDisk { inner: Arc::new(Mutex::new(inner)), beside: Arc::default() }
    }

    /// The process has ended in good order and another may take the lock.
    pub fn unlock(&self) {
        self.inner.lock().locked = false;
    }

    /// Names and contents of all files, for tests that damage them.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let inner = self.inner.lock();
        inner.names.iter().map(|(name, file)| (name.clone(), inner.now[*file].clone())).collect()
    }

    /// A disk with these files, all of it durable.
    #[must_use]
    pub fn with_contents(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut inner = Inner::default();
        for (name, contents) in files {
            inner.names.insert(name.clone(), inner.now.len());
            inner.now.push(contents.clone());
        }
        inner.durable = inner.now.clone();
        inner.durable_names = inner.names.clone();
        Self::of(inner)
    }
}

/// A write in aligned pieces.
fn pieces(offset: u64, bytes: &[u8], piece_len: u64) -> Vec<(u64, &[u8])> {
    let mut out = Vec::new();
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let room = usize::try_from(piece_len - at % piece_len).expect("pieces are small");
        let (piece, more) = rest.split_at(room.min(rest.len()));
        out.push((at, piece));
        at += piece.len() as u64;
        rest = more;
    }
    out
}

impl Inner {
    /// Counts a call, and fails it if it is to fail. Answers the fault if the call itself must play it out.
    fn call(&mut self, is_write: bool, takes_space: bool) -> io::Result<Option<Fault>> {
        if self.dead {
            return Err(dead());
        }
        let number = self.calls;
        self.calls += 1;
        let Some((_, fault)) = self.fault.filter(|(at, _)| *at == number) else { return Ok(None) };
        self.fired = true;
        match fault {
            Fault::Torn { .. } | Fault::Error if is_write => Ok(Some(fault)),
            Fault::Kill | Fault::Torn { .. } => {
                self.dead = true;
                Err(dead())
            }
            Fault::Error => Err(io::Error::from_raw_os_error(EIO)),
            Fault::NoSpace if takes_space => Err(self.is_full()),
            Fault::NoSpace => Ok(None),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.now[*file].len() as u64).sum()
    }

    fn write(&mut self, file: usize, offset: u64, bytes: Vec<u8>) {
        apply_write(&mut self.now[file], offset, &bytes);
        self.unsynced.push(Change::Write { file, offset, bytes });
    }

    /// Fails if a file growing to `len` would not fit.
    fn fits(&self, file: usize, len: u64) -> io::Result<()> {
        let grown = len.saturating_sub(self.now[file].len() as u64);
        if self.capacity.is_some_and(|capacity| self.used() + grown > capacity) {
            return Err(self.is_full());
        }
        Ok(())
    }

    fn is_full(&self) -> io::Error {
        if self.has_quota { ErrorKind::QuotaExceeded.into() } else { ErrorKind::StorageFull.into() }
    }
}

impl Disk for SimDisk {
    fn name(&self) -> Arc<str> {
        "simulated".into()
    }

    fn lock(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.call(false, false)?;
        if std::mem::replace(&mut inner.locked, true) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(())
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        inner.call(false, mode == OpenMode::CreateNew)?;
        let file = match (inner.names.get(name).copied(), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(file), _) => file,
            (None, OpenMode::CreateNew) => {
                let file = inner.now.len();
                inner.now.push(Vec::new());
                inner.durable.push(Vec::new());
                let change = NameChange::Create { name: name.to_owned(), file };
                apply_name(&mut inner.names, &change);
                inner.unsynced.push(Change::Name(change));
                file
            }
            (None, _) => return Err(ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut inner = self.inner.lock();
        inner.call(false, false)?;
        Ok(inner.names.iter().map(|(name, file)| (name.clone(), inner.now[*file].len() as u64)).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.call(false, false)?;
        if !inner.names.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        let change = NameChange::Rename { from: from.to_owned(), to: to.to_owned() };
        apply_name(&mut inner.names, &change);
        inner.unsynced.push(Change::Name(change));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.call(false, false)?;
        if !inner.names.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        let change = NameChange::Remove { name: name.to_owned() };
        apply_name(&mut inner.names, &change);
        inner.unsynced.push(Change::Name(change));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.call(false, false)?;
        inner.durable_names = inner.names.clone();
        inner.unsynced.retain(|change| !matches!(change, Change::Name(_)));
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut inner = self.inner.lock();
        inner.call(false, false)?;
        // Of a quota the file system says nothing.
        let capacity = inner.capacity.filter(|_| !inner.has_quota);
        Ok(capacity.map_or(u64::MAX / 2, |capacity| capacity.saturating_sub(inner.used())))
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.disk.inner.lock();
        inner.call(false, false)?;
        let contents = &inner.now[self.file];
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(contents.len());
        let len = out.len().min(contents.len() - start);
        out[..len].copy_from_slice(&contents[start..start + len]);
        let end = offset + len as u64;
        let meets = |(file, range): &(usize, Range<u64>)| {
            *file == self.file && range.start < end && offset < range.end
        };
        if inner.unreadable.iter().any(meets) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(len)
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let mut inner = self.disk.inner.lock();
        let fault = inner.call(true, true)?;
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        inner.fits(self.file, offset + bytes.len() as u64)?;
        let (piece_len, seed) = match fault {
            Some(Fault::Torn { piece_len, seed }) => (piece_len, seed),
            // A failed write may have been made in part: the first half of its sectors.
            Some(_) => {
                let half = bytes[..bytes.len() / 2].to_vec();
                inner.write(self.file, offset, half);
                return Err(io::Error::from_raw_os_error(EIO));
            }
            None => {
                inner.write(self.file, offset, bytes);
                return Ok(());
            }
        };
        let mut rng = SeededRng::new(seed);
        for (at, piece) in pieces(offset, &bytes, piece_len) {
            if rng.below(2) == 1 {
                inner.write(self.file, at, piece.to_vec());
            }
        }
        inner.dead = true;
        Err(dead())
    }

    fn sync(&self) -> io::Result<()> {
        let due = {
            let mut beside = self.disk.beside.lock();
            match beside.take() {
                Some((0, run)) => Some(run),
                later => {
                    *beside = later.map(|(after, run)| (after - 1, run));
                    None
                }
            }
        };
        // Nothing of the disk is locked meanwhile: what runs may use it.
        if let Some(run) = due {
            run();
        }
        let mut inner = self.disk.inner.lock();
        inner.call(false, false)?;
        let file = self.file;
        inner.durable[file] = inner.now[file].clone();
        inner.unsynced.retain(|change| match change {
            Change::Write { file: of, .. } | Change::SetLen { file: of, .. } => *of != file,
            Change::Name(_) => true,
        });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.disk.inner.lock();
        inner.call(false, true)?;
        inner.fits(self.file, len)?;
        let file = self.file;
        inner.now[file].resize(usize::try_from(len).expect("simulated files fit memory"), 0);
        inner.unsynced.push(Change::SetLen { file, len });
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let mut inner = self.disk.inner.lock();
        inner.call(false, false)?;
        Ok(inner.now[self.file].len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.disk.inner.lock().cannot_allocate {
            return Err(ErrorKind::Unsupported.into());
        }
        let current = self.size()?;
        if len > current { self.set_len(len) } else { Ok(()) }
    }
}
