//! Step: the namespaces exist, and the node keeps a copy of the vault's header, so that one lost file does not lose the
//! vault. The copy needs no key to write or read; it is as sealed as the file. `larder up` takes it back when the file is
//! gone ([`crate::up::vault`]).

use std::time::Duration;

use bytes::Bytes;
use larder_client::remote::{Remote, Scan};
use larder_client::vault::{FILES, KEYS, VALUES};
use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder};
use larder_format::operation::{Condition, Outcome as Done};
use larder_format::record::Key;
use larder_node::config::RAW_NAMESPACE;
use larder_seal::header::{VaultHeader, header_record_key};
use larder_wire::request::{Ask, AskPut, RecordRequest};

use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::session;
use crate::up::vault;

/// Lifetime of a value that asks for none.
const VALUE_TTL_DEFAULT: Duration = Duration::from_secs(3600);
/// Longest lifetime of a value. They live in memory: what has to stay longer is a file.
const VALUE_TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Most vaults looked through for the one whose header file is gone: far beyond what one person has.
const VAULTS_MAX: usize = 1024;

/// Creates what is missing; answers the names of those that are new.
///
/// # Errors
/// A conflict if one exists with other settings; what the node says.
pub fn ensure(folders: &Folders) -> Outcome<Vec<String>> {
    session::with_node(folders, async |remote| {
        let there = remote.list_namespaces().await?;
        let mut created = Vec::new();
        for wanted in wanted() {
            // One whose settings the owner has changed is left as it is.
            if there.iter().any(|namespace| namespace.name == wanted.name) {
                continue;
            }
            if remote.create_namespace(&wanted).await? {
                created.push(wanted.name);
            }
        }
        Ok(created)
    })
}

/// Gives the node a copy of the vault's header, unless it has it.
///
/// # Errors
/// What the node says; if the header cannot be read.
pub fn keep_header(folders: &Folders) -> Outcome {
    let Some(header) = vault::header(folders)? else { return Ok(()) };
    session::with_node(folders, async |remote| keep_copy(remote, &header).await)
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
pub fn kept(folders: &Folders) -> Outcome<Kept> {
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

fn wanted() -> [Namespace; 4] {
    let ms = |length: Duration| u64::try_from(length.as_millis()).ok();
    [
        Namespace::new(FILES, Privacy::Sealed, Class::Disk, ScanOrder::Key),
        Namespace {
            ttl_default_ms: ms(VALUE_TTL_DEFAULT),
            ttl_max_ms: ms(VALUE_TTL_MAX),
            ..Namespace::new(VALUES, Privacy::Sealed, Class::Memory, ScanOrder::Hash)
        },
        Namespace::new(KEYS, Privacy::Sealed, Class::Disk, ScanOrder::Key),
        // What the HTTP door serves, whether it is open or not.
        Namespace {
            ttl_default_ms: ms(VALUE_TTL_DEFAULT),
            ttl_max_ms: ms(VALUE_TTL_MAX),
            ..Namespace::new(RAW_NAMESPACE, Privacy::Raw, Class::Memory, ScanOrder::Hash)
        },
    ]
}

/// Writes the header's copy unless the node has this revision or a newer one.
async fn keep_copy(remote: &Remote, header: &VaultHeader) -> Outcome {
    let key = Key::new(Bytes::copy_from_slice(&header_record_key(header.vault())))
        .map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
    let request = |ask| RecordRequest {
        tag: 0,
        namespace: NamespaceId::of(KEYS),
        key: key.clone(),
        identity: None,
        ask,
    };
    let condition = match remote.apply(request(Ask::Get { head_only: false })).await? {
        Done::Found(found) => match VaultHeader::decode(&found.body) {
            Ok(copy) if copy.revision() >= header.revision() => return Ok(()),
            // Older, or not a header at all: ours was just read whole.
            _ => Condition::Version(found.version),
        },
        _ => Condition::Absent,
    };
    let put = AskPut { condition, body: header.encode(), ..AskPut::default() };
    match remote.apply(request(Ask::Put(put))).await? {
        // A conflict: another device was quicker, and the next `up` compares again.
        Done::Written { .. } | Done::Conflict { .. } => Ok(()),
        _ => Err(Failure::new(
            Kind::Bug,
            "the node gave an answer that does not fit when keeping the vault's header",
        )),
    }
}
