//! How much the rollback memory knew at least, in a small file beside it. The memory is a log: cut at the end of a mark it
//! looks whole, and what was cut off would be forgotten silently. Marks never sink, so their total tells.
//!
//! The floor is written when the log has grown by an eighth since, after the log itself is on the disk: that is seldom
//! enough to cost nothing, and a power cut that takes the log's last marks never leaves a floor above it. So a cut that
//! takes more than the last ninth of the log is noticed. A memory without a floor (by a program before) opens as it is.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use larder_format::error::Kind;
use larder_format::rng::{Rng, SystemRng};
use larder_seal::watermark::Watermarks;
use larder_wire::answer::Failure;

use super::io_failure;

/// First line of the file.
const FIRST_LINE: &str = "larder seen floor 1";
/// Longest file, in bytes: four short lines.
const FILE_LEN_MAX: u64 = 256;
/// The floor is raised when the log has grown by this part of itself.
const GROWTH_PART: u64 = 8;

/// What the memory knew at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floor {
    /// Total of all marks.
    total: u128,
    /// Length of the log then, in bytes.
    len: u64,
}

impl Floor {
    fn text(self) -> String {
        let lines = format!("{FIRST_LINE}\n{}\n{}\n", self.total, self.len);
        let check = blake3::derive_key("larder 2026 seen floor check", lines.as_bytes());
        let check = u64::from_le_bytes(*check.first_chunk().unwrap_or(&[0; 8]));
        format!("{lines}{check:016x}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let floor = Self { total: lines.next()?.parse().ok()?, len: lines.next()?.parse().ok()? };
        (floor.text() == text).then_some(floor)
    }
}

fn file_of(memory: &Path) -> PathBuf {
    memory.with_extension("floor")
}

fn damaged(memory: &Path, what: &str) -> Failure {
    let message = format!(
        "the rollback memory {} {what} (if you know that nobody else was at this machine, move it away to start a new \
         one; then check what the node shows)",
        memory.display()
    );
    Failure::new(Kind::Damaged, message)
}

/// Reads the floor of a memory; `None` if there is none, or no memory.
///
/// # Errors
/// Damaged; the system's error.
pub(super) fn read(memory: &Path) -> Result<Option<Floor>, Failure> {
    let path = file_of(memory);
    let mut text = Vec::new();
    match File::open(&path).and_then(|file| file.take(FILE_LEN_MAX).read_to_end(&mut text)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| io_failure(&path, &error))?,
    };
    match std::str::from_utf8(&text).ok().and_then(Floor::parse) {
        Some(floor) => Ok(Some(floor)),
        // Moved away to start anew: what stood beside it counts no more.
        None if !memory.exists() => Ok(None),
        None => Err(damaged(memory, "cannot be checked, because seen.floor beside it is damaged")),
    }
}

/// Refuses a memory that knows less than it did.
///
/// # Errors
/// Damaged.
pub(super) fn check(memory: &Path, floor: Option<Floor>, marks: &Watermarks) -> Result<(), Failure> {
    match floor {
        Some(floor) if marks.total() < floor.total => {
            Err(damaged(memory, "has lost marks: it was cut short, or an older copy of it was put back"))
        }
        _ => Ok(()),
    }
}

/// Forgets the floor of a memory that is not there any more.
///
/// # Errors
/// The system's error.
pub(super) fn forget(memory: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file_of(memory)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Raises the floor if the log, which says these marks, has grown enough. Called under the memory's lock.
///
/// # Errors
/// Damaged; the system's error.
pub(super) fn raise(memory: &Path, log: &File, len: u64, marks: &Watermarks) -> std::io::Result<()> {
    let before = read(memory)
        .map_err(|failure| std::io::Error::new(std::io::ErrorKind::InvalidData, failure.message))?;
    if before.is_some_and(|floor| floor.len <= len && len < floor.len + floor.len / GROWTH_PART) {
        return Ok(());
    }
    log.sync_data()?;
    let path = file_of(memory);
    let temporary = memory.with_extension(format!("{:016x}.new", SystemRng.u64()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(Floor { total: marks.total(), len }.text().as_bytes())?;
    file.sync_data()?;
    std::fs::rename(&temporary, &path)
}
