//! What goes along with a file that gets another name: its older versions. They are kept under the file's key, so each is
//! sealed anew under the other key and its blobs are leased once more: no content travels.
//!
//! What was deleted earlier under the same name stays there: it can be brought back by that name until its time is up.

use larder_format::error::Kind;
use larder_format::head::{Entry, EntryTarget, FileId, Head};
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Outcome};
use larder_format::record::{Expiry, Key, Version};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut};

use super::Place;
use crate::files::KeptRecord;
use crate::vault::{OpenFile, Vault, unexpected};

/// Older versions under way to another key.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// The records they had, and the versions of those: deleted when the file itself is through.
    pub(crate) old: Vec<(Key, Version)>,
    /// The records this made, and the versions of those: deleted when the move is taken back.
    pub(super) new: Vec<(Key, Version)>,
    /// How many cannot be read, and stay.
    pub(super) left_behind: u64,
}

/// Whether a kept version belongs to the file that is moved, rather than to one of that name that was deleted before: by
/// its identity, or because it ends no sooner than the file itself (as those of a file that was brought back).
fn goes_along(kept: &KeptRecord, id: FileId, expiry: Expiry) -> bool {
    match kept.entry.target {
        EntryTarget::File { id: other, .. } => other == id || kept.found.expiry >= expiry,
        EntryTarget::Directory { .. } => false,
    }
}

impl Vault {
    /// Copies the older versions of a file to another key. What is there already is left as it is.
    pub(crate) async fn carry(
        &self,
        key: SealedKey,
        to: &Place,
        id: FileId,
        expiry: Expiry,
        carried: &mut Carried,
    ) -> Result<(), Failure> {
        let target = self.names.entry_key(to.dir, to.name());
        let history = self.history(key).await?;
        carried.left_behind = history.unreadable.len() as u64;
        carried.old.clear();
        for (called, kept) in history.files().filter(|(_, kept)| goes_along(kept, id, expiry)) {
            match self.carry_one(key, target, to.name(), called, kept).await {
                Ok(made) => {
                    carried.old.push((kept.record.clone(), kept.found.version));
                    let record = crate::vault::record_key(&target.version_key(called))?;
                    carried.new.extend(made.map(|version| (record, version)));
                }
                Err(failure) if failure.kind == Kind::Damaged => carried.left_behind += 1,
                // Its time was up meanwhile.
                Err(failure) if failure.kind == Kind::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Copies one version; answers the version of the record this made, `None` if it was there.
    async fn carry_one(
        &self,
        key: SealedKey,
        target: SealedKey,
        name: &str,
        called: Version,
        kept: &KeptRecord,
    ) -> Result<Option<Version>, Failure> {
        let target_key = target.version_key(called);
        let Some(mut found) = self.read(self.files, kept.record.as_bytes(), false).await? else {
            return Err(Failure::new(Kind::NotFound, "its time was up meanwhile"));
        };
        found.version = called;
        let file = self.open_file(kept.record.as_bytes(), found)?;
        self.check_kept(key, &file)?;
        if self.is_carried(&target_key, called, &file).await? {
            return Ok(None);
        }
        let lease = self.lease_again(target, &file).await?;
        let entry = Entry {
            name: name.to_owned(),
            moves: file.info.moves,
            target: EntryTarget::File {
                id: file.info.id,
                kind: file.info.kind,
                size: file.info.size,
                attributes: file.info.attributes.clone(),
            },
        };
        let sealed = self.seal(self.files, &target_key, &Head::Entry(entry), &file.manifest.encode())?;
        let put = AskPut {
            condition: Condition::Absent,
            lifetime: lifetime_of(file.info.expiry),
            tokens: lease.iter().map(|(token, _)| *token).collect(),
            not_after_ms: lease.map(|(_, deadline_ms)| deadline_ms),
            head: sealed.head,
            body: sealed.body,
            ..AskPut::default()
        };
        match self.change(self.files, &target_key, Ask::Put(put)).await? {
            Outcome::Written { version, .. } => Ok(Some(version)),
            Outcome::Conflict { .. } => {
                if let Some((token, _)) = lease {
                    self.remote.release(token).await?;
                }
                match self.is_carried(&target_key, called, &file).await? {
                    true => Ok(None),
                    false => Err(Failure::new(Kind::Retry, "its older versions keep changing; try again")),
                }
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Whether a version is at the other key already.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if something else is in its place: the version then stays where it is.
    async fn is_carried(&self, target_key: &[u8], called: Version, file: &OpenFile) -> Result<bool, Failure> {
        let Some(mut there) = self.read(self.files, target_key, false).await? else { return Ok(false) };
        let is_whole = there.takes_left.is_none()
            && there.expiry >= file.info.expiry
            && there.tokens.is_empty() == file.found.tokens.is_empty();
        there.version = called;
        if is_whole && self.open_file(target_key, there).is_ok_and(|there| same_content(&there, file)) {
            return Ok(true);
        }
        Err(Failure::new(Kind::Damaged, format!("something else is where it is to go version={called}")))
    }

    /// Deletes records that are still what they were.
    pub(crate) async fn drop_kept(&self, records: &[(Key, Version)]) -> Result<(), Failure> {
        for (record, version) in records {
            let ask = Ask::Delete { condition: Condition::Version(*version) };
            match self.change(self.files, record.as_bytes(), ask).await? {
                Outcome::Deleted { .. } | Outcome::Absent | Outcome::Conflict { .. } => {}
                other => return Err(unexpected(&other)),
            }
        }
        Ok(())
    }
}

/// As long as that.
pub(super) fn lifetime_of(expiry: Expiry) -> LifetimeRequest {
    expiry.ms().map_or(LifetimeRequest::Never, LifetimeRequest::Until)
}

/// Whether two versions have the same content and attributes, so that one of them can go.
pub(crate) fn same_content(a: &OpenFile, b: &OpenFile) -> bool {
    a.manifest.content_hash == b.manifest.content_hash
        && a.manifest.size == b.manifest.size
        && a.manifest.kind == b.manifest.kind
        && a.manifest.attributes_hash == b.manifest.attributes_hash
}
