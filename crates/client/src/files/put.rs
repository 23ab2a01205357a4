//! Storing one file. The new version takes the old one's place in one step; the old one is kept beside it
//! first. A failure at any point leaves the old version whole, and of two writers at once none is lost.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{Attributes, DirId, Entry, EntryTarget, FileId, FileKind, Head};
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Outcome};
use larder_format::record::{Expiry, Version};
use larder_format::rng::{Rng, SystemRng};
use larder_seal::manifest::{Draft, Previous};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut};

use super::content::{ContentOptions, Uploaded};
use super::damage::damaged;
use super::keep::{KEEP_WITHIN_MS, Kept};
use crate::local::source::Source;
use crate::local::xattrs;
use crate::meter::Meter;
use crate::path::VaultPath;
use crate::retention::lifetime_by;
use crate::transfer::Outage;
use crate::vault::{OpenFile, Vault, local_failure, unexpected};

/// How often a file that changes while it is read is read again.
const READ_TRIES: u32 = 3;

/// How often a write is tried again because another writer was quicker.
pub(super) const WRITE_TRIES: u32 = 32;

/// Where content comes from.
pub enum Reading {
    /// A local file; mode and time are taken from it.
    File(PathBuf),
    /// Anything else, read to its end.
    Stream(Box<dyn Read + Send>),
}

/// How to store a file.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Until when it lives.
    pub lifetime: LifetimeRequest,
    /// Only then.
    pub condition: Condition,
    /// Attributes for streams; for local files only the content type and custom ones are taken.
    pub attributes: Attributes,
    /// Cutting, compression, threads.
    pub content: ContentOptions,
    /// Also over what cannot be read, or is older than what this device has seen. In a folder every file is then
    /// read and stored again, whatever its length and time say.
    pub force: bool,
    /// Also over what cannot be read, but not over what is older than what this device has seen.
    pub over_damaged: bool,
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutReport {
    /// The version this made.
    pub version: Version,
    /// The version it replaced.
    pub replaced: Option<Version>,
    /// That version could not be read whole: it is not among the older versions.
    pub not_kept: bool,
    /// Until when it lives.
    pub expiry: Expiry,
    /// Length of the content, in bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub content_hash: [u8; 32],
}

/// A new version of a file, except where it goes.
pub(crate) struct NewFile {
    pub(crate) kind: FileKind,
    pub(crate) attributes: Attributes,
    pub(crate) uploaded: Uploaded,
}

impl Vault {
    /// Stores a file. Its folder is made if it is missing.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if the condition does not hold or a folder has that name; [`Kind::Retry`] if the
    /// local file keeps changing; [`Failure`] otherwise. The old version, if any, is then still there.
    pub async fn put_file(
        &self,
        path: &VaultPath,
        reading: Reading,
        options: &PutOptions,
        meter: &Arc<Meter>,
    ) -> Result<PutReport, Failure> {
        let Some((parent, name)) = path.split() else {
            return Err(Failure::new(Kind::Invalid, "a file needs a name: the root is a folder"));
        };
        let mut outage = Outage::default();
        let dir = loop {
            match self.make_folder(&parent).await {
                Err(failure) => outage.ride_out(self, failure).await?,
                made => break made?,
            }
        };
        let key = self.names.entry_key(dir, name);
        // Before anything travels: most conflicts are known already.
        if options.condition != Condition::Any {
            let current = match self.read(self.files, key.as_bytes(), true).await {
                Err(failure) if failure.kind == Kind::Damaged && options.force => None,
                current => Some(current.map_err(|f| damaged(path, f))?),
            };
            if let Some(current) = current {
                check_condition(options.condition, current.map(|found| found.version), path)?;
            }
        }
        let rules = self.retention_if_readable().await?;
        let options =
            &PutOptions { lifetime: lifetime_by(&rules, path, options.lifetime), ..options.clone() };
        let result = match reading {
            Reading::File(local) => self.put_local(dir, path, name, &local, options, meter).await,
            Reading::Stream(source) => {
                let new = NewFile {
                    kind: FileKind::File,
                    attributes: options.attributes.clone(),
                    uploaded: self.upload(key, source, &options.content, meter).await?,
                };
                Ok(self.place(dir, path, name, &new, options).await?)
            }
        };
        meter.file_done();
        result
    }

    /// Stores a local file; sends it again if what was sent is not held any more when it gets its place.
    async fn put_local(
        &self,
        dir: DirId,
        path: &VaultPath,
        name: &str,
        local: &std::path::Path,
        options: &PutOptions,
        meter: &Arc<Meter>,
    ) -> Result<PutReport, Failure> {
        let key = self.names.entry_key(dir, name);
        let mut tries = READ_TRIES;
        loop {
            tries -= 1;
            let new = self.upload_file(key, local, options, meter).await?;
            match self.place(dir, path, name, &new, options).await {
                Err(NotPlaced::LeaseEnded(_)) if tries > 0 => meter.rewind(new.uploaded.size),
                other => return Ok(other?),
            }
        }
    }

    /// Puts a new version in place. If that failed for certain, the lease of its blobs ends at once. If a
    /// record may list the lease, it is left alone: a release counts whatever the record says, and would take
    /// the blobs from a version that is there. At the lease's deadline the node looks, and frees or keeps.
    async fn place(
        &self,
        dir: DirId,
        path: &VaultPath,
        name: &str,
        new: &NewFile,
        options: &PutOptions,
    ) -> Result<PutReport, NotPlaced> {
        let mut may_be_listed = false;
        let result = self.try_commit(dir, path, name, new, options, &mut may_be_listed).await;
        if let (Err(_), false, Some((token, _))) = (&result, may_be_listed, new.uploaded.lease) {
            let cut_off = matches!(&result, Err(NotPlaced::Failed(f)) if matches!(f.kind, Kind::Closed | Kind::Unknown));
            // What was cut off is tried again, and finds it then.
            if !cut_off {
                self.give_up(token).await;
            }
        }
        if let (Ok(_), Some((token, _))) = (&result, new.uploaded.lease) {
            self.in_place(self.names.entry_key(dir, name), token).await;
        }
        result
    }

    /// Uploads a local file; reads it again if it changed meanwhile.
    pub(crate) async fn upload_file(
        &self,
        key: SealedKey,
        local: &std::path::Path,
        options: &PutOptions,
        meter: &Arc<Meter>,
    ) -> Result<NewFile, Failure> {
        for _ in 0..READ_TRIES {
            let source = Source::open(local).map_err(|e| local_failure(local, &e))?;
            let reader = source.reader().map_err(|e| local_failure(local, &e))?;
            let uploaded = self.upload(key, Box::new(reader), &options.content, meter).await?;
            let whole = uploaded.size == source.len();
            if whole && source.unchanged().map_err(|e| local_failure(local, &e))? {
                let mut attributes = Attributes {
                    mode: source.mode(),
                    mtime_ns: source.mtime_ns(),
                    ..options.attributes.clone()
                };
                xattrs::put_among(&mut attributes, &source.xattrs());
                return Ok(NewFile { kind: FileKind::File, attributes, uploaded });
            }
            meter.rewind(uploaded.size);
            if let Some((token, _)) = uploaded.lease {
                self.give_up(token).await;
            }
        }
        let message = format!("{}: changed while it was read, {READ_TRIES} times", local.display());
        Err(Failure::new(Kind::Retry, message))
    }

    /// Puts a new version in place. If that fails for certain, the lease of its blobs has ended.
    pub(crate) async fn commit(
        &self,
        dir: DirId,
        path: &VaultPath,
        name: &str,
        new: &NewFile,
        options: &PutOptions,
    ) -> Result<PutReport, Failure> {
        Ok(self.place(dir, path, name, new, options).await?)
    }

    async fn try_commit(
        &self,
        dir: DirId,
        path: &VaultPath,
        name: &str,
        new: &NewFile,
        options: &PutOptions,
        may_be_listed: &mut bool,
    ) -> Result<PutReport, NotPlaced> {
        let key = self.names.entry_key(dir, name);
        let mut lost = None;
        for _ in 0..WRITE_TRIES {
            let keep_by_ms = self.now_ms() + KEEP_WITHIN_MS;
            let there = self.to_replace(key, path, options).await?;
            let (version, current) = (there.version, there.file);
            // Where the node cannot tell what is there it judges the condition itself.
            if there.condition != options.condition {
                check_condition(options.condition, version, path)?;
            }
            if let Some(current) = &current
                && lost != version
                && self.keep_version(key, current, None, keep_by_ms).await? == Kept::Lost
            {
                lost = version;
                continue;
            }
            let (mut ask, revision) =
                self.file_request(key, name, new, current.as_ref(), options.lifetime)?;
            if let Ask::Put(put) = &mut ask {
                put.condition = there.condition;
            }
            match self.put_once(key, ask, may_be_listed).await.map_err(NotPlaced::of_put)? {
                Outcome::Written { version: written, expiry } => {
                    self.wrote(key.as_bytes(), written, revision).map_err(|f| written_but(path, &f))?;
                    if !self.takes_entries(dir).await.map_err(|f| written_but(path, &f))? {
                        let condition = Condition::Version(written);
                        self.change(self.files, key.as_bytes(), Ask::Delete { condition }).await?;
                        let message = format!("{path}: its folder is being deleted");
                        return Err(Failure::new(Kind::Conflict, message).into());
                    }
                    if version.is_some() {
                        self.thin_out_after_put(key, path).await;
                    }
                    return Ok(PutReport {
                        version: written,
                        replaced: version,
                        not_kept: version.is_some() && (current.is_none() || lost == version),
                        expiry,
                        size: new.uploaded.size,
                        content_hash: new.uploaded.content_hash,
                    });
                }
                // Somebody else was quicker: theirs is kept as a version, ours goes on top, if it may.
                Outcome::Conflict { current } => check_condition(options.condition, current, path)?,
                other => return Err(unexpected(&other).into()),
            }
        }
        Err(Failure::new(Kind::Retry, format!("{path}: others keep writing to it; try again")).into())
    }

    /// Writes a record and, if the connection fails, looks whether it was written: sealed bytes are never
    /// the same twice, so they tell. Sets `may_be_listed` unless it is certain that no record came of it.
    pub(crate) async fn put_once(
        &self,
        key: SealedKey,
        ask: Ask,
        may_be_listed: &mut bool,
    ) -> Result<Outcome, Failure> {
        let Ask::Put(put) = &ask else { return Err(Failure::new(Kind::Bug, "not a put")) };
        let head = put.head.clone();
        let result = self.change(self.files, key.as_bytes(), ask).await;
        *may_be_listed |= match &result {
            Ok(Outcome::Conflict { .. } | Outcome::Refused(_)) => false,
            Ok(_) => true,
            Err(failure) => !refused(failure),
        };
        match result {
            // What is not there when we look may still arrive: it stays possible that it is listed.
            Err(failure) if failure.kind == Kind::Unknown => {
                match self.read(self.files, key.as_bytes(), true).await {
                    Ok(Some(found)) if found.head == head => {
                        Ok(Outcome::Written { version: found.version, expiry: found.expiry })
                    }
                    Ok(found) => Ok(Outcome::Conflict { current: found.map(|f| f.version) }),
                    Err(_) => Err(failure),
                }
            }
            other => other,
        }
    }

    /// The request that puts a new version over what is there, and the version's revision.
    pub(crate) fn file_request(
        &self,
        key: SealedKey,
        name: &str,
        new: &NewFile,
        current: Option<&OpenFile>,
        lifetime: LifetimeRequest,
    ) -> Result<(Ask, u64), Failure> {
        let file = current.map_or_else(|| FileId(SystemRng.array()), |c| c.info.id);
        let previous = current.map_or_else(Previous::default, |c| {
            Previous::of(c.info.version.to_u64(), &c.manifest, self.root.id())
        });
        let draft = Draft {
            file,
            kind: new.kind,
            revision: self.next_revision(key, current.map_or(0, |c| c.manifest.revision)),
            previous,
            size: new.uploaded.size,
            content_hash: new.uploaded.content_hash,
            chunking: new.uploaded.chunking,
            content: new.uploaded.content.clone(),
        };
        let manifest = draft.sign(&new.attributes, self.root.id(), &self.signer);
        let head = Head::Entry(Entry {
            name: name.to_owned(),
            moves: current.map_or(0, |c| c.info.moves),
            target: EntryTarget::File {
                id: file,
                kind: new.kind,
                size: new.uploaded.size,
                attributes: new.attributes.clone(),
            },
        });
        let sealed = self.seal(self.files, key.as_bytes(), &head, &manifest.encode())?;
        let ask = Ask::Put(AskPut {
            condition: current.map_or(Condition::Absent, |c| Condition::Version(c.info.version)),
            lifetime,
            tokens: new.uploaded.lease.iter().map(|(token, _)| *token).collect(),
            not_after_ms: new.uploaded.lease.map(|(_, deadline_ms)| deadline_ms),
            head: sealed.head,
            body: sealed.body,
            ..AskPut::default()
        });
        Ok((ask, manifest.revision))
    }
}

/// Why a new version did not get its place.
enum NotPlaced {
    /// The node does not hold what was sent for it any more: send it again.
    LeaseEnded(Failure),
    Failed(Failure),
}

impl NotPlaced {
    /// Of writes without an operation id, a node asks to be tried again only for this reason.
    fn of_put(failure: Failure) -> Self {
        if failure.kind == Kind::Retry { Self::LeaseEnded(failure) } else { Self::Failed(failure) }
    }
}

impl From<Failure> for NotPlaced {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<NotPlaced> for Failure {
    fn from(not_placed: NotPlaced) -> Self {
        match not_placed {
            NotPlaced::LeaseEnded(failure) | NotPlaced::Failed(failure) => failure,
        }
    }
}

/// Says where a failure happened.
pub(crate) fn at(path: &VaultPath, failure: Failure) -> Failure {
    let message = format!("{path}: {}", failure.message);
    failure.worded(message)
}

/// Whether the node said that it did not write, as against not saying what became of it.
pub(crate) fn refused(failure: &Failure) -> bool {
    matches!(
        failure.kind,
        Kind::Invalid
            | Kind::NotFound
            | Kind::Conflict
            | Kind::Full
            | Kind::Denied
            | Kind::Retry
            | Kind::TooNew
    )
}

/// A failure after the new version was in place: not "nothing changed", whatever its cause.
fn written_but(path: &VaultPath, failure: &Failure) -> Failure {
    let kind = match failure.kind {
        Kind::Closed | Kind::Retry => Kind::Unknown,
        kind => kind,
    };
    let message = format!("{path}: the new version was written, but then: {}", failure.message);
    Failure { kind, ..failure.clone().worded(message) }
}

fn check_condition(condition: Condition, current: Option<Version>, path: &VaultPath) -> Result<(), Failure> {
    let message = match (condition, current) {
        (Condition::Absent, Some(version)) => format!("{path}: exists already version={version}"),
        (Condition::Version(wanted), Some(found)) if wanted != found => {
            format!("{path}: has another version wanted={wanted} found={found}")
        }
        (Condition::Version(wanted), None) => format!("{path}: is not there wanted={wanted}"),
        _ => return Ok(()),
    };
    Err(Failure::new(Kind::Conflict, message))
}
