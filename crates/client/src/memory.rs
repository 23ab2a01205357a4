//! What this device has seen, kept in a file, so that a node that shows something older is caught.
//!
//! The file is appended to when work is done and replaced by a snapshot when it has grown. Several processes
//! may work at once: each takes the file's lock, reads what the others added, and only then writes.
//! Beside it stands how much it knew at least ([`floor`]), so that a file cut short is not taken for a whole one.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use larder_format::codec::DecodeError;
use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::rng::{Rng, SystemRng};
use larder_seal::watermark::{Loaded, Mark, WatermarkError, Watermarks};
use larder_wire::answer::Failure;
use parking_lot::Mutex;

use crate::vault::local_failure;

mod floor;

/// The memory of one device.
pub struct SeenMemory {
    file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    marks: Watermarks,
    /// Seen since the file was last written.
    news: BytesMut,
    known: Option<Known>,
}

/// The file as it was last read or written. It stays open, so that no other can be taken for it.
struct Known {
    file: File,
    good_len: u64,
}

impl Known {
    fn is(&self, other: &File) -> std::io::Result<bool> {
        let (ours, theirs) = (self.file.metadata()?, other.metadata()?);
        Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()))
    }
}

fn io_failure(path: &Path, error: &std::io::Error) -> Failure {
    let kind = local_failure(path, error).kind;
    Failure::new(kind, format!("cannot use the rollback memory {}: {error}", path.display()))
}

impl SeenMemory {
    /// Keeps nothing beyond this process.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self { file: None, state: Mutex::default() }
    }

    /// Reads the file, if it is there.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if it is not one of ours or damaged in the middle; the system's error if it cannot be
    /// read.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        // Before the file: what is written in between only adds to it.
        let floor = floor::read(path)?;
        let state = match File::open(path) {
            Ok(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).map_err(|error| io_failure(path, &error))?;
                let Loaded { watermarks, good_len } = load(path, bytes)?;
                floor::check(path, floor, &watermarks)?;
                let known = Some(Known { file, good_len: good_len as u64 });
                State { marks: watermarks, news: BytesMut::new(), known }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(io_failure(path, &error)),
        };
        Ok(Self { file: Some(path.to_path_buf()), state: Mutex::new(state) })
    }

    /// A folder beside the file; `None` if nothing is kept.
    #[must_use]
    pub fn beside(&self, name: &str) -> Option<PathBuf> {
        self.file.as_ref().map(|file| file.with_file_name(name))
    }

    /// What was seen of a record; all zero if nothing was.
    pub fn seen(&self, namespace: NamespaceId, key: &[u8]) -> Mark {
        self.state.lock().marks.seen(namespace.0, key).unwrap_or_default()
    }

    /// Takes note of a record whose manifest was verified, or refuses it as older than what was seen.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if it is older.
    pub fn observe(&self, namespace: NamespaceId, key: &[u8], shown: Mark) -> Result<(), Failure> {
        let mut state = self.state.lock();
        let news = state
            .marks
            .observe(namespace.0, key, shown)
            .map_err(|e| Failure::new(e.kind(), e.to_string()))?;
        if let Some(news) = news {
            state.news.extend_from_slice(&news);
        }
        Ok(())
    }

    /// Refuses a version older than what was seen, and takes note of nothing. For what was read without a
    /// manifest: the version is what the node says, and if it said one too high, everything honest would be
    /// taken for older from then on.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if it is older.
    pub fn check_version(&self, namespace: NamespaceId, key: &[u8], version: u64) -> Result<(), Failure> {
        let seen = self.seen(namespace, key);
        if version >= seen.version {
            return Ok(());
        }
        let shown = Mark { version, revision: seen.revision };
        let older = WatermarkError::Rollback { seen, shown };
        Err(Failure::new(older.kind(), older.to_string()))
    }

    /// Takes note of the version that a change by this device made, a deletion too: whatever was there before
    /// is older.
    ///
    /// # Errors
    /// [`Kind::Full`] if no more records can be remembered.
    pub fn changed(&self, namespace: NamespaceId, key: &[u8], version: u64) -> Result<(), Failure> {
        let seen = self.seen(namespace, key);
        if version <= seen.version {
            return Ok(());
        }
        self.observe(namespace, key, Mark { version, ..seen })
    }

    /// Learns what other processes of this device have seen since this one last looked.
    ///
    /// # Errors
    /// [`Kind::Damaged`]; the system's error if the file cannot be read.
    pub fn refresh(&self) -> Result<(), Failure> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut state = self.state.lock();
        let read = |state: &mut State| {
            let mut file = match File::open(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                file => file?,
            };
            if let Some(known) = &state.known
                && known.is(&file)?
                && file.metadata()?.len() <= known.good_len
            {
                return Ok(());
            }
            let good_len = read_news(path, state, &mut file)?;
            state.known = Some(Known { file, good_len });
            Ok(())
        };
        read(&mut state).map_err(|error| io_failure(path, &error))
    }

    /// Writes what is new to the file.
    ///
    /// # Errors
    /// The system's error if it cannot be written.
    pub fn save(&self) -> Result<(), Failure> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut state = self.state.lock();
        if state.news.is_empty() {
            return Ok(());
        }
        write_news(path, &mut state).map_err(|error| io_failure(path, &error))
    }
}

fn load(path: &Path, bytes: Vec<u8>) -> Result<Loaded, Failure> {
    Watermarks::load(&Bytes::from(bytes)).map_err(|error| damage(path, &error))
}

fn damage(path: &Path, error: &DecodeError) -> Failure {
    let advice = "move it away to start a new one, and check what the node shows";
    let message = format!("the rollback memory {} is damaged: {error} ({advice})", path.display());
    Failure::new(Kind::Damaged, message)
}

/// Appends under the file's lock; replaces the file when it has grown well beyond what it says.
fn write_news(path: &Path, state: &mut State) -> std::io::Result<()> {
    let lock = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path.with_extension("lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    // Readers take no lock, so the file gets its name only once it is whole.
    let mut file = match std::fs::OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            floor::forget(path)?;
            return replace(path, state);
        }
        file => file?,
    };
    let good_len = read_news(path, state, &mut file)?;
    if state.marks.should_compact(usize::try_from(good_len).unwrap_or(usize::MAX)) {
        // What other processes saw was read just now, what this one saw is among its marks.
        return replace(path, state);
    }
    file.set_len(good_len)?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(&state.news)?;
    let good_len = good_len + state.news.len() as u64;
    state.news.clear();
    floor::raise(path, &file, good_len, &state.marks)?;
    state.known = Some(Known { file, good_len });
    Ok(())
}

/// Reads what other processes wrote since this one last looked; answers how much of the file is good.
fn read_news(path: &Path, state: &mut State, file: &mut File) -> std::io::Result<u64> {
    let damaged = |message: String| std::io::Error::new(std::io::ErrorKind::InvalidData, message);
    let mut there = Vec::new();
    if let Some(known) = &state.known
        && known.is(file)?
    {
        file.seek(SeekFrom::Start(known.good_len))?;
        file.read_to_end(&mut there)?;
        let added = state.marks.add(&there).map_err(|e| damaged(damage(path, &e).message))?;
        return Ok(known.good_len + added as u64);
    }
    file.read_to_end(&mut there)?;
    let loaded = load(path, there).map_err(|e| damaged(e.message))?;
    state.marks.merge(loaded.watermarks);
    Ok(loaded.good_len as u64)
}

/// Writes all marks to a new file in the place of what is there.
fn replace(path: &Path, state: &mut State) -> std::io::Result<()> {
    let temporary = path.with_extension(format!("{:016x}.new", SystemRng.u64()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let snapshot = state.marks.snapshot();
    file.write_all(&snapshot)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)?;
    state.news.clear();
    let good_len = snapshot.len() as u64;
    floor::raise(path, &file, good_len, &state.marks)?;
    state.known = Some(Known { file, good_len });
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "what a crash or a person left, not anybody's data")]
mod tests {
    use super::*;

    const NS: NamespaceId = NamespaceId(7);

    fn mark(version: u64, revision: u64) -> Mark {
        Mark { version, revision }
    }

    #[test]
    fn what_was_seen_is_there_after_a_restart_and_older_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        let first = SeenMemory::open(&path).unwrap();
        first.observe(NS, b"key", mark(5, 50)).unwrap();
        first.save().unwrap();
        let second = SeenMemory::open(&path).unwrap();
        assert_eq!(second.observe(NS, b"key", mark(4, 50)).unwrap_err().kind, Kind::Damaged);
        assert_eq!(second.observe(NS, b"key", mark(6, 49)).unwrap_err().kind, Kind::Damaged);
        second.observe(NS, b"key", mark(6, 50)).unwrap();
        assert_eq!(second.check_version(NS, b"key", 5).unwrap_err().kind, Kind::Damaged);
    }

    #[test]
    fn a_version_too_high_that_comes_without_a_manifest_spoils_nothing() {
        let memory = SeenMemory::ephemeral();
        memory.observe(NS, b"key", mark(5, 50)).unwrap();
        memory.check_version(NS, b"key", u64::MAX).unwrap();
        memory.check_version(NS, b"key", 5).unwrap();
        memory.observe(NS, b"key", mark(6, 51)).unwrap();
    }

    #[test]
    fn what_this_device_deleted_is_older_from_then_on() {
        let memory = SeenMemory::ephemeral();
        memory.observe(NS, b"key", mark(5, 50)).unwrap();
        memory.changed(NS, b"key", 7).unwrap();
        assert!(memory.check_version(NS, b"key", 5).is_err());
        assert!(memory.observe(NS, b"key", mark(6, 51)).is_err());
        memory.changed(NS, b"key", 6).unwrap();
        assert_eq!(memory.seen(NS, b"key"), mark(7, 50), "what comes late raises nothing and is no error");
        memory.observe(NS, b"key", mark(8, 51)).unwrap();
    }

    #[test]
    fn who_opens_it_while_it_is_first_written_sees_nothing_or_all_of_it() {
        for _ in 0..50 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("seen");
            let writer = SeenMemory::open(&path).unwrap();
            writer.observe(NS, b"key", mark(5, 50)).unwrap();
            let done = std::sync::atomic::AtomicBool::new(false);
            let both = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    both.wait();
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        SeenMemory::open(&path).unwrap();
                    }
                });
                both.wait();
                writer.save().unwrap();
                done.store(true, std::sync::atomic::Ordering::Relaxed);
            });
        }
    }

    fn with_marks(path: &Path, count: u64) {
        for i in 0..count {
            let memory = SeenMemory::open(path).unwrap();
            memory.observe(NS, &(i % 40).to_le_bytes(), mark(i + 1, i + 1)).unwrap();
            memory.save().unwrap();
        }
    }

    #[test]
    fn a_memory_cut_between_two_marks_is_noticed_and_one_torn_by_a_crash_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        with_marks(&path, 100);
        let whole = std::fs::read(&path).unwrap();
        let marks = (whole.len() - 8) / larder_seal::watermark::WATERMARK_LEN;
        for left in [0, 1, marks / 2, marks * 4 / 5] {
            std::fs::write(&path, &whole[..8 + left * larder_seal::watermark::WATERMARK_LEN]).unwrap();
            let refused = SeenMemory::open(&path).err().expect("refused");
            assert_eq!(refused.kind, Kind::Damaged, "left={left}");
            assert!(refused.message.contains("lost marks"), "{}", refused.message);
        }
        std::fs::write(&path, [&whole[..], &[7; 13]].concat()).unwrap();
        SeenMemory::open(&path).unwrap();
        // Moved away to start anew.
        std::fs::remove_file(&path).unwrap();
        with_marks(&path, 1);
        assert_eq!(SeenMemory::open(&path).unwrap().seen(NS, &0u64.to_le_bytes()), mark(1, 1));
    }

    #[test]
    fn a_memory_without_a_floor_opens_and_a_damaged_floor_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (path, floor) = (dir.path().join("seen"), dir.path().join("seen.floor"));
        with_marks(&path, 20);
        let whole = std::fs::read(&floor).unwrap();
        for bad in [&b""[..], b"nonsense", &whole[..whole.len() / 2]] {
            std::fs::write(&floor, bad).unwrap();
            assert_eq!(SeenMemory::open(&path).err().expect("refused").kind, Kind::Damaged);
        }
        std::fs::remove_file(&floor).unwrap();
        let memory = SeenMemory::open(&path).unwrap();
        memory.observe(NS, b"new", mark(1, 1)).unwrap();
        memory.save().unwrap();
        assert!(floor.exists(), "it is made again");
    }

    #[test]
    fn compaction_keeps_the_floor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        let memory = SeenMemory::open(&path).unwrap();
        for i in 0..3000u64 {
            memory.observe(NS, b"a", mark(i + 1, i + 1)).unwrap();
            if i % 50 == 0 {
                memory.save().unwrap();
                SeenMemory::open(&path).unwrap();
            }
        }
        assert!(std::fs::metadata(&path).unwrap().len() < 100_000);
    }

    #[test]
    fn an_end_torn_by_another_process_is_cut_and_what_came_before_it_is_learnt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        let a = SeenMemory::open(&path).unwrap();
        a.observe(NS, b"a", mark(1, 1)).unwrap();
        a.save().unwrap();
        let b = SeenMemory::open(&path).unwrap();
        b.observe(NS, b"b", mark(2, 2)).unwrap();
        b.save().unwrap();
        let torn = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        (&torn).write_all(&[7; 13]).unwrap();
        a.observe(NS, b"a", mark(3, 3)).unwrap();
        a.save().unwrap();
        assert_eq!(a.seen(NS, b"b"), mark(2, 2));
        // Put in the place of the file by somebody: read whole, and kept.
        std::fs::copy(&path, dir.path().join("copy")).unwrap();
        std::fs::rename(dir.path().join("copy"), &path).unwrap();
        a.observe(NS, b"c", mark(4, 4)).unwrap();
        a.save().unwrap();
        let c = SeenMemory::open(&path).unwrap();
        for (key, wanted) in [(b"a", mark(3, 3)), (b"b", mark(2, 2)), (b"c", mark(4, 4))] {
            assert_eq!(c.seen(NS, key), wanted);
        }
        let len = std::fs::metadata(&path).unwrap().len() as usize;
        assert_eq!(len % larder_seal::watermark::WATERMARK_LEN, 8, "nothing torn is left in the middle");
    }

    #[test]
    fn two_processes_do_not_lose_each_others_marks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seen");
        let a = SeenMemory::open(&path).unwrap();
        let b = SeenMemory::open(&path).unwrap();
        for i in 0..3000u64 {
            a.observe(NS, b"a", mark(i + 1, i + 1)).unwrap();
            b.observe(NS, b"b", mark(i + 1, i + 1)).unwrap();
            if i % 100 == 0 {
                a.save().unwrap();
                b.save().unwrap();
            }
        }
        a.save().unwrap();
        b.save().unwrap();
        let c = SeenMemory::open(&path).unwrap();
        assert!(c.check_version(NS, b"a", 2999).is_err());
        assert!(c.check_version(NS, b"b", 2999).is_err());
    }
}
