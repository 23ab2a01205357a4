//! An open vault on one node: how records are named, sealed, opened and kept from going back in time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_format::clock::{Clock, Hlc};
use larder_format::error::Kind;
use larder_format::head::{Attributes, Entry, EntryTarget, FileId, FileKind, Head};
use larder_format::ids::{LeaseToken, NamespaceId, OperationId};
use larder_format::manifest::Manifest;
use larder_format::operation::{Found, Identity, Outcome};
use larder_format::record::{Expiry, Key, Version};
use larder_format::retention::Rules;
use larder_format::rng::{Rng, SystemRng};
use larder_seal::chunk::BlobSealer;
use larder_seal::cut::Gear;
use larder_seal::keys::{PublicKey, Signer, VaultRoot};
use larder_seal::manifest::{check_head, open_manifest};
use larder_seal::names::{NameKeys, SealedKey};
use larder_seal::pipeline::seal::Cutting;
use larder_seal::record::{RecordOpener, RecordPlace, RecordSealer, SealedRecord};
use larder_seal::watermark::Mark;
use larder_seal::{SealError, names};
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, RecordRequest};
use parking_lot::Mutex;

use crate::files::{Attempts, Sealers};
use crate::local::io_words;
use crate::memory::SeenMemory;
use crate::remote::Remote;
use crate::transfer::{Outage, Transfers};

/// Namespace of files.
pub const FILES: &str = "files";

/// Namespace of sealed values that expire.
pub const VALUES: &str = "values";

/// Namespace of vault headers.
pub const KEYS: &str = "keys";

/// How long a lease of what is on the node already holds without being listed: its record follows at once. Uploads
/// have their own time: [`crate::transfer::Transfers::resume_within`].
const LEASE_MS: u64 = 60 * 60 * 1000;

/// How long the outcome of a take can be asked for again.
const OPERATION_MS: u64 = 60 * 1000;

/// An open vault.
pub struct Vault {
    pub(crate) remote: Remote,
    pub(crate) names: NameKeys,
    pub(crate) sealer: RecordSealer,
    pub(crate) opener: RecordOpener,
    pub(crate) blobs: BlobSealer,
    pub(crate) sealers: Arc<Sealers>,
    pub(crate) signer: Signer,
    pub(crate) public: PublicKey,
    pub(crate) root: VaultRoot,
    pub(crate) files: NamespaceId,
    pub(crate) values: NamespaceId,
    /// Retention rules, once they were needed.
    pub(crate) rules: tokio::sync::OnceCell<Rules>,
    memory: SeenMemory,
    pub(crate) attempts: Attempts,
    pub(crate) transfers: Transfers,
    /// Whether somebody was told that the node is away.
    pub(crate) away: Mutex<bool>,
    /// Whether somebody was told that extended attributes could not be kept.
    pub(crate) xattrs_lost: Mutex<bool>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The node's time, and ours when we asked for it: all deadlines are in the node's time.
    node_ms: u64,
    connected: Duration,
}

/// A file or link, as its record says.
#[derive(Debug, Clone)]
pub struct FileInfo {
    /// Its name in its folder.
    pub name: String,
    /// Its identity.
    pub id: FileId,
    /// File or link.
    pub kind: FileKind,
    /// Length, in bytes.
    pub size: u64,
    /// Mode, time, type, custom attributes.
    pub attributes: Attributes,
    /// How often it was moved.
    pub moves: u64,
    /// Which version of the record.
    pub version: Version,
    /// When its time is up.
    pub expiry: Expiry,
}

/// A file's record with everything in it, opened and verified.
#[derive(Debug, Clone)]
pub struct OpenFile {
    /// What the head says.
    pub info: FileInfo,
    /// What the body says.
    pub manifest: Manifest,
    /// The record as it was found, still sealed.
    pub(crate) found: Found,
    /// Where it was found.
    key: Bytes,
}

#[allow(clippy::needless_pass_by_value, reason = "made for map_err, which gives the error away")]
pub(crate) fn seal_failure(error: SealError) -> Failure {
    Failure::new(error.kind(), error.to_string())
}

/// A failure to use a local file.
pub(crate) fn local_failure(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(io_kind(error), format!("{}: {}", path.display(), io_words(error)))
}

/// What a caller should do about a failure to read or write a local file.
pub(crate) fn io_kind(error: &std::io::Error) -> Kind {
    use std::io::ErrorKind as E;
    match error.kind() {
        E::NotFound => Kind::NotFound,
        E::PermissionDenied | E::ReadOnlyFilesystem => Kind::Denied,
        E::StorageFull | E::QuotaExceeded | E::FileTooLarge => Kind::Full,
        E::AlreadyExists | E::IsADirectory | E::NotADirectory | E::DirectoryNotEmpty => Kind::Conflict,
        E::InvalidInput | E::InvalidFilename => Kind::Invalid,
        _ => Kind::Io,
    }
}

impl Vault {
    /// Opens a vault on a node, given its root. The node is asked for its time.
    ///
    /// # Errors
    /// [`Failure`] if the node does not answer.
    pub async fn open(
        remote: Remote,
        root: &VaultRoot,
        generation: u32,
        memory: SeenMemory,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        // Counted from before the question: then our idea of the node's time is never behind it, and what is
        // left of a lifetime is never shown longer than it is.
        let asked = clock.monotonic();
        let status = remote.status().await?;
        let signer = root.signer();
        Ok(Self {
            remote,
            names: NameKeys::new(root),
            sealer: RecordSealer::new(root, generation, &mut SystemRng),
            opener: RecordOpener::new(root),
            blobs: BlobSealer::new(root, generation),
            sealers: Arc::default(),
            public: signer.public(),
            signer,
            root: root.clone(),
            files: NamespaceId::of(FILES),
            values: NamespaceId::of(VALUES),
            rules: tokio::sync::OnceCell::new(),
            attempts: Attempts::in_folder(memory.beside("uploads")),
            memory,
            transfers: Transfers::default(),
            away: Mutex::default(),
            xattrs_lost: Mutex::default(),
            node_ms: Hlc::from_u64(status.time).ms(),
            connected: asked,
            clock,
        })
    }

    /// The node.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// How to cut content where it says so itself, at this average length in bytes (a power of two, 64 KiB to
    /// 4 MiB). The cutting follows the vault's own key, so lengths of chunks are not those of other vaults.
    #[must_use]
    pub fn content_defined(&self, average: u32) -> Cutting {
        Cutting::ContentDefined { average, gear: Gear::new(&self.root) }
    }

    /// Writes what was seen to this device's memory. Call it when work is done.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be written.
    pub fn save_memory(&self) -> Result<(), Failure> {
        self.memory.save()
    }

    /// Learns what other processes of this device have seen meanwhile.
    ///
    /// # Errors
    /// [`Failure`] if the memory cannot be read.
    pub fn refresh_memory(&self) -> Result<(), Failure> {
        self.memory.refresh()
    }

    /// Whether this device has seen a newer version of a file's or folder's record.
    #[must_use]
    pub fn has_seen_newer(&self, key: SealedKey, version: Version) -> bool {
        self.memory.check_version(self.files, key.as_bytes(), version.to_u64()).is_err()
    }

    /// The node's time, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let passed = self.clock.monotonic().saturating_sub(self.connected);
        self.node_ms + u64::try_from(passed.as_millis()).unwrap_or(u64::MAX / 2)
    }

    /// The revision of a file's next version: this moment, and in any case above the version it replaces and
    /// above what this device has seen under the name. Our idea of the node's time differs from one command to
    /// the next, and a file that is deleted and made again must not look like an older state.
    pub(crate) fn next_revision(&self, key: SealedKey, replaced: u64) -> u64 {
        let seen = self.memory.seen(self.files, key.as_bytes()).revision;
        let now = Hlc::from_ms(self.now_ms()).to_u64();
        now.max(replaced.saturating_add(1)).max(seen.saturating_add(1))
    }

    pub(crate) fn lease_deadline_ms(&self) -> u64 {
        self.now_ms() + LEASE_MS
    }

    pub(crate) fn new_token() -> LeaseToken {
        LeaseToken(SystemRng.array())
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { id: OperationId(SystemRng.array()), deadline_ms: self.now_ms() + OPERATION_MS }
    }

    /// Seals a head and body for a place.
    pub(crate) fn seal(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        head: &Head,
        body: &[u8],
    ) -> Result<SealedRecord, Failure> {
        let head = head.encode().map_err(|e| Failure::new(Kind::Invalid, e.to_string()))?;
        self.sealer.seal(RecordPlace::new(namespace, key), &head, body).map_err(seal_failure)
    }

    /// Opens a head.
    pub(crate) fn open_head(&self, namespace: NamespaceId, key: &[u8], head: &[u8]) -> Result<Head, Failure> {
        let plain = self.opener.open_head(RecordPlace::new(namespace, key), head).map_err(seal_failure)?;
        Head::decode(plain).map_err(|e| seal_failure(e.into()))
    }

    /// Opens a body, given the head it came with.
    pub(crate) fn open_body(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        found: &Found,
    ) -> Result<Bytes, Failure> {
        self.opener
            .open_body(RecordPlace::new(namespace, key), &found.head, &found.body)
            .map_err(seal_failure)
    }

    /// Reads one record.
    pub(crate) async fn read(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        head_only: bool,
    ) -> Result<Option<Found>, Failure> {
        let request = self.request(namespace, key, Ask::Get { head_only })?;
        match self.ask(request).await? {
            Outcome::Found(found) => Ok(Some(found)),
            Outcome::Absent => Ok(None),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks something that changes nothing, again if the node goes away meanwhile and there is patience.
    pub(crate) async fn ask(&self, request: RecordRequest) -> Result<Outcome, Failure> {
        let mut outage = Outage::default();
        loop {
            match self.remote.apply(request.clone()).await {
                Err(failure) => outage.ride_out(self, failure).await?,
                answered => return answered,
            }
        }
    }

    /// A request without an identity.
    pub(crate) fn request(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        ask: Ask,
    ) -> Result<RecordRequest, Failure> {
        let key = record_key(key)?;
        Ok(RecordRequest { tag: 0, namespace, key, identity: None, ask })
    }

    /// A change. A take is recognised when it is retried, so it retries itself while the connection fails and
    /// uses up one read only. Other changes are not: for them it costs every record a list of remembered
    /// operations, and whoever asks can look what became of them.
    ///
    /// # Errors
    /// [`Kind::Unknown`] if the connection failed and it may or may not have happened.
    pub(crate) async fn change(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        ask: Ask,
    ) -> Result<Outcome, Failure> {
        let mut request = self.request(namespace, key, ask)?;
        let mut tries_left = 0;
        if matches!(request.ask, Ask::Take) {
            request.identity = Some(self.identity());
            tries_left = 3;
        }
        loop {
            match self.remote.apply(request.clone()).await {
                Err(failure) if failure.kind == Kind::Closed && tries_left > 0 => tries_left -= 1,
                Err(failure) if failure.kind == Kind::Closed => {
                    let message = format!("{}; whether it happened is not known", failure.message);
                    return Err(Failure::new(Kind::Unknown, message));
                }
                Ok(Outcome::Written { version, expiry }) => {
                    self.changed(namespace, key, version)?;
                    return Ok(Outcome::Written { version, expiry });
                }
                Ok(Outcome::Deleted { version }) => {
                    self.changed(namespace, key, version)?;
                    return Ok(Outcome::Deleted { version });
                }
                other => return other,
            }
        }
    }

    /// Takes note of a change this device made, so that what was there before is not accepted again. Values
    /// are left out: they come and go by the million, and the memory is for what stays. So are versions kept
    /// beside a file, which are named by what they are.
    pub(crate) fn changed(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        version: Version,
    ) -> Result<(), Failure> {
        if namespace != self.files || key.len() != names::SEALED_KEY_LEN {
            return Ok(());
        }
        self.memory.changed(namespace, key, version.to_u64())
    }

    /// Refuses a folder's own record if it is older than what this device has made of it.
    pub(crate) fn check_folder(&self, key: &[u8], found: &Found) -> Result<(), Failure> {
        self.memory.check_version(self.files, key, found.version.to_u64())
    }

    /// What an entry's head says, refused if this device has seen a newer one.
    pub(crate) fn open_entry(&self, key: &[u8], found: &Found) -> Result<Entry, Failure> {
        let head = self.open_head(self.files, key, &found.head)?;
        if key.len() == names::SEALED_KEY_LEN {
            self.memory.check_version(self.files, key, found.version.to_u64())?;
        }
        match head {
            Head::Entry(entry) => Ok(entry),
            Head::Directory(_) | Head::Value(_) | Head::Move(_) => Err(Failure::new(
                Kind::Damaged,
                "the node shows another kind of record where an entry belongs",
            )),
        }
    }

    /// Opens a file's record whole: signature, agreement of head and body, and age are checked.
    pub(crate) fn open_file(&self, key: &[u8], found: Found) -> Result<OpenFile, Failure> {
        let entry = self.open_entry(key, &found)?;
        let Some(info) = FileInfo::of(entry, &found) else {
            return Err(Failure::new(Kind::Conflict, "is a folder, not a file"));
        };
        if found.body.is_empty() {
            // It was read without, because the node cannot read it: no body is sealed to nothing.
            let message = "the node cannot read its content: what it stored is damaged";
            return Err(Failure::new(Kind::Damaged, message));
        }
        let body = self.open_body(self.files, key, &found)?;
        let manifest = open_manifest(body, self.root.id(), self.public).map_err(seal_failure)?;
        check_head(&manifest, info.id, info.kind, info.size, &info.attributes).map_err(seal_failure)?;
        if key.len() == names::SEALED_KEY_LEN {
            let mark = Mark { version: found.version.to_u64(), revision: manifest.revision };
            self.memory.observe(self.files, key, mark)?;
        }
        Ok(OpenFile { info, manifest, found, key: Bytes::copy_from_slice(key) })
    }

    /// Why content that could not be read whole is not there: perhaps because somebody deleted it meanwhile.
    pub(crate) async fn why_unreadable(&self, file: &OpenFile, failure: Failure) -> Failure {
        if failure.kind != Kind::Damaged {
            return failure;
        }
        match self.read(self.files, &file.key, true).await {
            Ok(None) => Failure::new(Kind::NotFound, "was deleted for good while it was being read"),
            Ok(Some(now)) if now.version != file.found.version => {
                Failure::new(Kind::Retry, "was replaced while it was being read; try again")
            }
            Ok(Some(_)) | Err(_) => failure,
        }
    }

    /// Opens a file's record as the node shows it, however old it is.
    pub(crate) fn open_file_as_shown(&self, key: SealedKey, found: Found) -> Result<OpenFile, Failure> {
        // It opens wherever one of its versions may lie, and of those any age is right.
        let version_key = key.version_key(found.version);
        self.open_file(&version_key, found)
    }

    /// Takes note of a version that this device is about to delete: nothing will lead to it any more.
    pub(crate) fn note_kept(&self, key: SealedKey, file: &OpenFile) {
        let mark = Mark { version: file.info.version.to_u64(), revision: file.manifest.revision };
        // Without room for it the file is deleted all the same, and its versions are known by their signatures.
        let _ = self.memory.observe(self.files, &key.version_key(file.info.version), mark);
    }

    /// Refuses another version in the place of one that this device deleted.
    pub(crate) fn check_kept(&self, key: SealedKey, file: &OpenFile) -> Result<(), Failure> {
        let version = file.info.version;
        let noted = self.memory.seen(self.files, &key.version_key(version)).revision;
        let last = self.memory.seen(self.files, key.as_bytes());
        let seen = if noted == 0 && last.version == version.to_u64() { last.revision } else { noted };
        if seen == 0 || seen == file.manifest.revision {
            return Ok(());
        }
        let message = format!("the node shows another version where this one was version={version}");
        Err(Failure::new(Kind::Damaged, message))
    }

    /// What this device has seen of a record of the vault's own, which has a revision in its sealed body.
    pub(crate) fn seen_revision(&self, key: SealedKey) -> u64 {
        self.memory.seen(self.files, key.as_bytes()).revision
    }

    /// Takes note of the revision of a record of the vault's own, or refuses it as older than what was seen.
    pub(crate) fn observe_revision(&self, key: SealedKey, revision: u64) -> Result<(), Failure> {
        let seen = self.memory.seen(self.files, key.as_bytes());
        self.memory.observe(self.files, key.as_bytes(), Mark { revision, ..seen })
    }

    /// Takes note of a version this device wrote.
    pub(crate) fn wrote(&self, key: &[u8], version: Version, revision: u64) -> Result<(), Failure> {
        self.memory.observe(self.files, key, Mark { version: version.to_u64(), revision })
    }
}

impl FileInfo {
    /// `None` for a folder's entry.
    pub(crate) fn of(entry: Entry, found: &Found) -> Option<Self> {
        let EntryTarget::File { id, kind, size, attributes } = entry.target else { return None };
        Some(Self {
            name: entry.name,
            id,
            kind,
            size,
            attributes,
            moves: entry.moves,
            version: found.version,
            expiry: found.expiry,
        })
    }
}

pub(crate) fn record_key(key: &[u8]) -> Result<Key, Failure> {
    Key::new(Bytes::copy_from_slice(key)).map_err(|e| Failure::new(Kind::Invalid, e.to_string()))
}

/// An outcome that does not belong to the operation: a defect of the node.
pub(crate) fn unexpected(outcome: &Outcome) -> Failure {
    // Not the whole outcome: it may hold the bytes of a value.
    let what = match outcome {
        Outcome::Found(_) => "found",
        Outcome::Absent => "absent",
        Outcome::Written { .. } => "written",
        Outcome::Deleted { .. } => "deleted",
        Outcome::Taken { .. } => "taken",
        Outcome::Conflict { .. } => "conflict",
        Outcome::Refused(_) => "refused",
    };
    Failure::new(Kind::Bug, format!("the node gave an answer that does not fit the request answer={what}"))
}
