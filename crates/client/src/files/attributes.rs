//! Attributes and lifetimes of what is stored, changed without its content travelling.
//!
//! Attributes of a file are signed with its content, so other attributes are a new version: the same chunks, leased
//! anew, under a new manifest; the version before is kept as after any other write. A lifetime is not part of the file,
//! only of its record: changing it makes no version. A folder's attributes are its entry's, and are not signed.

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::head::{Attributes, EntryTarget};
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Version;
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::Ask;

use super::damage::damaged;
use super::put::{NewFile, PutOptions, at};
use crate::directory::{EntryNow, Standing, being_deleted};
use crate::path::VaultPath;
use crate::vault::{OpenFile, Vault, unexpected};

/// How often a change is tried again because somebody else was quicker.
const TRIES: u32 = 32;

/// The bits of a mode that can be changed: permissions. The rest says what kind of thing it is.
const MODE_BITS: u32 = 0o7777;

/// What is to be different. What is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeChange {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Time of last modification, in nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
    /// Media type; empty: not known.
    pub content_type: Option<String>,
    /// Custom attributes to set.
    pub set: Vec<(String, Bytes)>,
    /// Custom attributes to take away, as far as they are there. These go first.
    pub remove: Vec<String>,
    /// How long it lives from now; for files only.
    pub lifetime: Option<LifetimeRequest>,
    /// Only if it has this version.
    pub condition: Condition,
}

/// What a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributesChanged {
    /// All was as it was to be.
    Nothing,
    /// A file got a new version; the one before is kept under this.
    NewVersion(Version),
    /// A folder has other attributes, or a file another lifetime.
    InPlace,
}

impl AttributeChange {
    /// These attributes, changed.
    fn applied_to(&self, old: &Attributes) -> Result<Attributes, Failure> {
        let mut new = old.clone();
        if let Some(mode) = self.mode {
            new.mode = (old.mode & !MODE_BITS) | (mode & MODE_BITS);
        }
        new.mtime_ns = self.mtime_ns.unwrap_or(old.mtime_ns);
        if let Some(content_type) = &self.content_type {
            new.content_type.clone_from(content_type);
        }
        new.custom.retain(|(name, _)| !self.remove.contains(name));
        for (name, value) in &self.set {
            match new.custom.binary_search_by(|(there, _)| there.cmp(name)) {
                Ok(place) => new.custom[place].1 = value.clone(),
                Err(place) => new.custom.insert(place, (name.clone(), value.clone())),
            }
        }
        new.check().map_err(|e| Failure::new(Kind::Invalid, e.to_string()))?;
        Ok(new)
    }
}

impl Vault {
    /// Changes attributes or the lifetime of a file or folder.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if the condition does not hold; [`Kind::Invalid`] for what does not fit,
    /// and for lifetimes of folders.
    pub async fn change_attributes(
        &self,
        path: &VaultPath,
        change: &AttributeChange,
    ) -> Result<AttributesChanged, Failure> {
        let Some((parent, name)) = path.split() else {
            return Err(Failure::new(Kind::Invalid, "/: the root has no attributes of its own"));
        };
        let dir = self.folder(&parent).await?;
        for _ in 0..TRIES {
            let there = self.look_up(dir, name, false).await.map_err(|f| damaged(path, f))?;
            let Some((now, standing)) = there.filter(|(_, standing)| *standing != Standing::Gone) else {
                return Err(Failure::new(Kind::NotFound, format!("no such file or folder: {path}")));
            };
            if standing == Standing::Closing {
                return Err(being_deleted(path));
            }
            let found = now.found.version;
            if matches!(change.condition, Condition::Version(wanted) if wanted != found) {
                let message = format!("{path}: has another version found={found}");
                return Err(Failure::new(Kind::Conflict, message));
            }
            let done = match &now.entry.target {
                EntryTarget::Directory { .. } => self.describe(path, &now, change).await?,
                EntryTarget::File { .. } => {
                    let key = now.key;
                    let file = self.open_file(key.as_bytes(), now.found).map_err(|f| damaged(path, f))?;
                    self.describe_file((dir, key), path, &file, change).await?
                }
            };
            if let Some(done) = done {
                return Ok(done);
            }
        }
        Err(Failure::new(Kind::Retry, format!("{path}: others keep writing to it; try again")))
    }

    /// `None`: somebody else was quicker.
    async fn describe(
        &self,
        path: &VaultPath,
        now: &EntryNow,
        change: &AttributeChange,
    ) -> Result<Option<AttributesChanged>, Failure> {
        let EntryTarget::Directory { id, attributes: old } = &now.entry.target else { return Ok(None) };
        if change.lifetime.is_some() {
            let message = format!("{path}: is a folder; lifetimes are those of files");
            return Err(Failure::new(Kind::Invalid, message));
        }
        let new = change.applied_to(old).map_err(|f| at(path, f))?;
        if new == *old {
            return Ok(Some(AttributesChanged::Nothing));
        }
        let ask = self.describing(now, *id, new)?.ask;
        match self.change(self.files, now.key.as_bytes(), ask).await? {
            Outcome::Written { .. } => Ok(Some(AttributesChanged::InPlace)),
            Outcome::Conflict { .. } => Ok(None),
            other => Err(unexpected(&other)),
        }
    }

    /// `None`: somebody else was quicker.
    async fn describe_file(
        &self,
        (dir, key): (larder_format::head::DirId, SealedKey),
        path: &VaultPath,
        file: &OpenFile,
        change: &AttributeChange,
    ) -> Result<Option<AttributesChanged>, Failure> {
        let condition = Condition::Version(file.info.version);
        let attributes = change.applied_to(&file.info.attributes).map_err(|f| at(path, f))?;
        if attributes == file.info.attributes {
            let Some(lifetime) = change.lifetime else { return Ok(Some(AttributesChanged::Nothing)) };
            let ask = Ask::Touch { condition, lifetime };
            return match self.change(self.files, key.as_bytes(), ask).await.map_err(|f| at(path, f))? {
                Outcome::Written { .. } => Ok(Some(AttributesChanged::InPlace)),
                Outcome::Conflict { .. } | Outcome::Absent => Ok(None),
                other => Err(unexpected(&other)),
            };
        }
        let own_end = file.info.expiry.ms().map_or(LifetimeRequest::Never, LifetimeRequest::Until);
        let options =
            PutOptions { lifetime: change.lifetime.unwrap_or(own_end), condition, ..PutOptions::default() };
        let new = self.again(key, file).await.map_err(|f| damaged(path, f))?;
        let name = path.names().last().map_or("", String::as_str);
        match self.commit(dir, path, name, &NewFile { attributes, ..new }, &options).await {
            Ok(_) => Ok(Some(AttributesChanged::NewVersion(file.info.version))),
            Err(failure) if failure.kind == Kind::Conflict && change.condition == Condition::Any => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
