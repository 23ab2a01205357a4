//! What this device knows of its vault without any key: the fingerprint of the vault's signing keys, and the highest
//! revision of its header that it has seen. Both come from headers that were checked with the root. So a header from
//! elsewhere can be judged while the vault is locked, and an older one never takes the place of a newer one unnoticed.

use larder_client::memory::SeenMemory;
use larder_client::vault::KEYS;
use larder_format::error::Kind;
use larder_format::ids::{NamespaceId, VaultId};
use larder_seal::SealError;
use larder_seal::fingerprint::Fingerprint;
use larder_seal::header::{VaultHeader, header_record_key};
use larder_seal::keys::VaultRoot;
use larder_seal::watermark::Mark;

use crate::atomic_file::{self, Existing};
use crate::failure::{Failure, Outcome, shown};
use crate::folders::Folders;

/// First line of the file.
const FIRST_LINE: &str = "larder vault pin 1";
/// Longest file, in bytes: three short lines.
const FILE_LEN_MAX: usize = 256;

/// The vault that belongs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// Its id.
    pub vault: VaultId,
    /// Of its signing keys.
    pub fingerprint: Fingerprint,
}

/// What can be said of a header.
#[derive(Debug)]
pub enum Trust {
    /// The vault's owner wrote it.
    Owner,
    /// Only the opened vault could tell.
    Unknown,
    /// Somebody else wrote it.
    Stranger(SealError),
}

/// Reads what is pinned.
///
/// # Errors
/// Damaged, or what the file system says.
pub fn load(folders: &Folders) -> Outcome<Option<Pin>> {
    let path = folders.vault_pin_file();
    let Some(bytes) = atomic_file::read(&path, FILE_LEN_MAX)? else { return Ok(None) };
    parse(&bytes).map(Some).ok_or_else(|| {
        Failure::new(Kind::Damaged, format!("{} is damaged", shown(&path))).hint(delete_it(folders))
    })
}

fn delete_it(folders: &Folders) -> String {
    let path = folders.vault_pin_file();
    format!(
        "if you know that nobody else was at this machine, delete {}: it is made anew when the vault is opened; \
         compare the fingerprint first (larder vault slots)",
        shown(&path)
    )
}

/// Refuses a header of another vault than the one pinned, and one of the same vault by other keys. Needs no key.
///
/// # Errors
/// A conflict for another vault; damaged if pin and header contradict each other, or the pin is.
pub fn refuse_other(folders: &Folders, header: &VaultHeader) -> Outcome {
    refuse_contradiction(folders, header.vault(), header.fingerprint())
}

fn refuse_contradiction(folders: &Folders, vault: VaultId, fingerprint: Option<Fingerprint>) -> Outcome {
    let Some(pin) = load(folders)? else { return Ok(()) };
    let same_keys = fingerprint == Some(pin.fingerprint);
    if pin.vault == vault && (same_keys || fingerprint.is_none()) {
        return Ok(());
    }
    if pin.vault == vault || same_keys {
        // A fingerprint is of keys and vault: with one of the two the same, one of the files was changed.
        let message = format!(
            "{} and {} contradict each other: {vault} has the fingerprint {}, and {} with {} is remembered",
            shown(&folders.vault_header_file()),
            shown(&folders.vault_pin_file()),
            text_of(fingerprint),
            pin.vault,
            pin.fingerprint
        );
        return Err(Failure::new(Kind::Damaged, message).hint(delete_it(folders)));
    }
    let message = format!(
        "{} is of another vault than this machine's: it is {vault} with the fingerprint {}, and {} with {} belongs here",
        shown(&folders.vault_header_file()),
        text_of(fingerprint),
        pin.vault,
        pin.fingerprint
    );
    Err(Failure::new(Kind::Conflict, message).hint(format!(
        "move it away, and larder up takes this machine's own header from the node; or, if the other vault is meant: \
         larder up --vault {vault}"
    )))
}

fn text_of(fingerprint: Option<Fingerprint>) -> String {
    fingerprint.map_or_else(|| "none".to_owned(), |fingerprint| fingerprint.to_string())
}

/// Forgets which vault belongs here, because another was asked for by name; it is pinned when it is first opened.
///
/// # Errors
/// What the file system says.
pub fn forget(folders: &Folders) -> Outcome {
    let path = folders.vault_pin_file();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::io("remove", &path, &error))
        }
        _ => Ok(()),
    }
}

fn parse(bytes: &[u8]) -> Option<Pin> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let vault = lines.next()?.parse().ok()?;
    let fingerprint = Fingerprint::parse(lines.next()?)?;
    lines.next().is_none().then_some(Pin { vault, fingerprint })
}

/// Pins a vault whose header was checked with its root. What is pinned already stays: another vault is refused.
///
/// # Errors
/// As [`refuse_other`]; what the file system says.
pub fn remember(folders: &Folders, vault: VaultId, fingerprint: Fingerprint) -> Outcome {
    refuse_contradiction(folders, vault, Some(fingerprint))?;
    if load(folders)?.is_some() {
        return Ok(());
    }
    let text = format!("{FIRST_LINE}\n{vault}\n{fingerprint}\n");
    atomic_file::write(&folders.vault_pin_file(), text.as_bytes(), Existing::Replace)
}

/// Judges a header by the root, if the vault is open, else by what is pinned.
pub fn trust(pin: Option<&Pin>, root: Option<&VaultRoot>, header: &VaultHeader) -> Trust {
    let judged = |result: Result<(), SealError>| match result {
        Ok(()) => Trust::Owner,
        Err(SealError::Unsigned) => Trust::Unknown,
        Err(error) => Trust::Stranger(error),
    };
    if let Some(root) = root.filter(|root| root.id() == header.vault()) {
        return judged(header.verify(root));
    }
    match pin.filter(|pin| pin.vault == header.vault()) {
        Some(pin) => judged(header.verify_pinned(&pin.fingerprint)),
        None => Trust::Unknown,
    }
}

/// Refuses a header older than one this device has seen, and takes note of a newer one. Only for headers that were
/// checked with the root: whoever made others could say any revision.
///
/// # Errors
/// Damaged if it is older.
pub fn observe(folders: &Folders, memory: &SeenMemory, header: &VaultHeader) -> Outcome {
    refuse_older(folders, memory, header)?;
    let revision = header.revision();
    let mark = Mark { version: revision, revision };
    Ok(memory.observe(NamespaceId::of(KEYS), &header_record_key(header.vault()), mark)?)
}

/// Refuses a header older than one this device has seen.
///
/// # Errors
/// Damaged if it is older.
pub fn refuse_older(folders: &Folders, memory: &SeenMemory, header: &VaultHeader) -> Outcome {
    let seen = memory.seen(NamespaceId::of(KEYS), &header_record_key(header.vault())).revision;
    let found = header.revision();
    if found >= seen {
        return Ok(());
    }
    let message = format!(
        "the vault's header is older than one this device has seen: ways in that were removed would open it again \
         revision={found} seen={seen}"
    );
    Err(Failure::new(Kind::Damaged, message).hint(format!(
        "larder up takes the newer one from the node; if the older one is all there is, move {} away to accept it",
        shown(&folders.seen_file())
    )))
}

/// The same, by this device's memory as it lies on disk.
///
/// # Errors
/// Damaged if it is older, or if the memory is.
pub fn refuse_older_here(folders: &Folders, header: &VaultHeader) -> Outcome {
    refuse_older(folders, &SeenMemory::open(&folders.seen_file())?, header)
}

/// Pins a header that was checked with the root, and its revision.
///
/// # Errors
/// Damaged if it is older than one seen; what the file system says.
pub fn remember_header(folders: &Folders, header: &VaultHeader) -> Outcome {
    let memory = SeenMemory::open(&folders.seen_file())?;
    observe(folders, &memory, header)?;
    memory.save()?;
    match header.fingerprint() {
        Some(fingerprint) => remember(folders, header.vault(), fingerprint),
        None => Ok(()),
    }
}

impl Folders {
    /// Which vault belongs here, and the fingerprint of its keys.
    pub fn vault_pin_file(&self) -> std::path::PathBuf {
        self.state().join("vault.pin")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_anything_else_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::locate(Some(dir.path()), &|_| None).unwrap();
        folders.create().unwrap();
        assert_eq!(load(&folders).unwrap(), None);
        let (vault, fingerprint) = (VaultId([7; 16]), Fingerprint([9; 20]));
        remember(&folders, vault, fingerprint).unwrap();
        assert_eq!(load(&folders).unwrap(), Some(Pin { vault, fingerprint }));
        let whole = std::fs::read(folders.vault_pin_file()).unwrap();
        for at in 0..whole.len() - 1 {
            assert!(parse(&whole[..at]).is_none(), "at={at}");
        }
        atomic_file::write(&folders.vault_pin_file(), b"nonsense", Existing::Replace).unwrap();
        assert_eq!(load(&folders).unwrap_err().kind(), Some(Kind::Damaged));
        assert_eq!(remember(&folders, vault, fingerprint).unwrap_err().kind(), Some(Kind::Damaged));
        forget(&folders).unwrap();
        remember(&folders, vault, fingerprint).unwrap();
        assert!(load(&folders).unwrap().is_some());
    }

    #[test]
    fn another_vault_is_a_conflict_and_half_of_another_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::locate(Some(dir.path()), &|_| None).unwrap();
        folders.create().unwrap();
        let (ours, theirs) =
            ((VaultId([7; 16]), Fingerprint([9; 20])), (VaultId([8; 16]), Fingerprint([1; 20])));
        remember(&folders, ours.0, ours.1).unwrap();
        for (other, kind) in [
            (theirs, Kind::Conflict),
            ((ours.0, theirs.1), Kind::Damaged),
            ((theirs.0, ours.1), Kind::Damaged),
        ] {
            let failure = remember(&folders, other.0, other.1).unwrap_err();
            assert_eq!(failure.kind(), Some(kind));
            for named in [ours.1, other.1] {
                assert!(failure.message().contains(&named.to_string()), "{failure}");
            }
        }
        assert_eq!(load(&folders).unwrap(), Some(Pin { vault: ours.0, fingerprint: ours.1 }));
    }
}
