//! The copy of the header that the node keeps. It needs no key to write or read; it is as sealed and signed as the file.

use bytes::Bytes;
use larder_client::remote::{Remote, Scan};
use larder_client::vault::{FILES, KEYS};
use larder_format::error::Kind;
use larder_format::ids::{NamespaceId, VaultId};
use larder_format::operation::{Condition, Outcome as Done};
use larder_format::record::{Key, Version};
use larder_seal::SealError;
use larder_seal::header::{VaultHeader, header_record_key};
use larder_wire::request::{Ask, AskPut, RecordRequest};

use crate::atomic_file::Existing;
use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::output::Output;
use crate::session;
use crate::vault_header::file;
use crate::vault_header::pin::{self, Pin, Trust};

/// Most vaults looked through for the one whose header file is gone: far beyond what one person has.
const VAULTS_MAX: usize = 1024;

/// The copy of one vault's header.
#[derive(Debug)]
pub struct Copy {
    /// Of the record it is in.
    pub version: Version,
    /// What is in it.
    pub header: Result<VaultHeader, SealError>,
}

/// What the node has of vaults, for a machine whose header file is gone.
#[derive(Debug, Default)]
pub struct Kept {
    /// Copies of headers, each found under the key that belongs to its vault.
    pub headers: Vec<VaultHeader>,
    /// Records in their place that are no header, or cannot be read.
    pub unreadable: usize,
    /// Whether there are files, of whichever vault.
    pub files: bool,
}

/// Looks what the node has of vaults.
///
/// # Errors
/// What the node says.
pub fn everything(folders: &Folders) -> Outcome<Kept> {
    session::with_node(folders, async |remote| {
        let mut kept = Kept::default();
        let one = Scan { limit: 1, pages: 1, ..Scan::heads(NamespaceId::of(FILES), &[]) };
        let mut pages = remote.scan(one).await?;
        while let Some(page) = pages.next().await? {
            kept.files |= !page.records.is_empty() || !page.damaged.is_empty();
        }
        let all = Scan { head_only: false, ..Scan::heads(NamespaceId::of(KEYS), &[]) };
        let mut pages = remote.scan(all).await?;
        while let Some(page) = pages.next().await? {
            kept.unreadable += page.damaged.len();
            for (key, found) in page.records {
                match VaultHeader::decode(&found.body) {
                    Ok(header) if header_record_key(header.vault())[..] == *key.as_bytes() => {
                        if kept.headers.len() == VAULTS_MAX {
                            let message =
                                format!("the node keeps headers of too many vaults max={VAULTS_MAX}");
                            return Err(Failure::new(Kind::Full, message));
                        }
                        kept.headers.push(header);
                    }
                    _ => kept.unreadable += 1,
                }
            }
        }
        Ok(kept)
    })
}

fn request(vault: VaultId, ask: Ask) -> Outcome<RecordRequest> {
    let key = Key::new(Bytes::copy_from_slice(&header_record_key(vault)))
        .map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
    Ok(RecordRequest { tag: 0, namespace: NamespaceId::of(KEYS), key, identity: None, ask })
}

/// The copy of one vault's header; `None` if there is none.
///
/// # Errors
/// What the node says.
pub async fn get(remote: &Remote, vault: VaultId) -> Outcome<Option<Copy>> {
    match remote.apply(request(vault, Ask::Get { head_only: false })?).await? {
        Done::Found(found) => {
            let stranger = SealError::Damaged { what: "vault header" };
            let header = VaultHeader::decode(&found.body);
            let header = header.and_then(|h| if h.vault() == vault { Ok(h) } else { Err(stranger) });
            Ok(Some(Copy { version: found.version, header }))
        }
        _ => Ok(None),
    }
}

/// Puts a header in the place of the copy that was looked at; `false`: another device was quicker.
///
/// # Errors
/// What the node says; unknown if its answer was lost.
pub async fn put(remote: &Remote, header: &VaultHeader, before: Option<Version>) -> Outcome<bool> {
    let condition = before.map_or(Condition::Absent, Condition::Version);
    let put = AskPut { condition, body: header.encode(), ..AskPut::default() };
    match remote.apply(request(header.vault(), Ask::Put(put))?).await? {
        Done::Written { .. } => Ok(true),
        Done::Conflict { .. } => Ok(false),
        _ => Err(Failure::new(
            Kind::Bug,
            "the node gave an answer that does not fit when keeping the vault's header",
        )),
    }
}

/// Gives the node a copy of the vault's header, unless it has this revision or a newer one that may be the owner's.
///
/// # Errors
/// What the node says; if the header cannot be read.
pub fn refresh(folders: &Folders, output: Output) -> Outcome {
    let Some(header) = file::read(folders)? else { return Ok(()) };
    let pin = pin::load(folders)?;
    session::with_node(folders, async |remote| {
        let before = match get(remote, header.vault()).await? {
            None => None,
            Some(Copy { version, header: Ok(copy) }) if copy.revision() >= header.revision() => {
                if let Trust::Stranger(_) = pin::trust(pin.as_ref(), None, &copy) {
                    output
                        .note("The node's copy of the vault's header was not this vault's; it has ours now.");
                    Some(version)
                } else {
                    return Ok(());
                }
            }
            // Older, or not a header at all: ours was just read whole.
            Some(Copy { version, .. }) => Some(version),
        };
        // A conflict: another device was quicker, and the next `up` compares again.
        put(remote, &header, before).await.map(drop)
    })
}

/// Takes the node's copy over if the vault's owner made it after the local one, on another device or in a command that
/// was cut short. Answers the header that counts now.
///
/// # Errors
/// What the node and the file system say.
pub fn adopt_newer(
    folders: &Folders,
    output: Output,
    local: VaultHeader,
    root: Option<&larder_seal::keys::VaultRoot>,
) -> Outcome<VaultHeader> {
    let copy = session::with_node(folders, async |remote| get(remote, local.vault()).await)?;
    let Some(Copy { header: Ok(copy), .. }) = copy else { return Ok(local) };
    if copy.revision() <= local.revision() {
        return Ok(local);
    }
    // A machine that never opened the vault has believed its first header; the keys that signed that one will do.
    let pin = pin::load(folders)?.filter(|pin| pin.vault == local.vault());
    let first = || local.fingerprint().map(|fingerprint| Pin { vault: local.vault(), fingerprint });
    match pin::trust(pin.or_else(first).as_ref(), root, &copy) {
        Trust::Owner => {
            file::put(folders, &copy.encode(), Existing::Replace)?;
            output.note("The vault's header was changed since; the newer one was taken from the node.");
            Ok(copy)
        }
        // Unknown: to be decided when the vault is open. A stranger's is put right by `refresh`.
        Trust::Unknown | Trust::Stranger(_) => Ok(local),
    }
}
