//! The folders of a run: made where they are missing, and given the attributes of the local ones where theirs are others.
//! What is as it was is not written.

use std::collections::HashMap;
use std::path::Path;

use larder_format::head::{Attributes, EntryTarget};
use larder_seal::names::check_name_bytes;
use larder_wire::answer::Failure;

use super::before::before;
use super::{Filling, Folder, Sent};
use crate::directory::{Described, EntryNow, Standing};
use crate::local::walk::Item;
use crate::path::VaultPath;
use crate::tree::name_refused;

impl Filling {
    pub(super) async fn folder(&mut self, item: Item, remote: &VaultPath) -> Result<(), Failure> {
        self.leave(&item.relative);
        let folder = match item.relative.as_os_str().is_empty() {
            true => Some(self.top_folder(&item, remote).await?),
            false => self.lower_folder(&item).await?,
        };
        if let Some(folder) = folder {
            self.open.push(item.relative.clone());
            self.folders.insert(item.relative, folder);
        }
        Ok(())
    }

    /// A walk does not come back to a folder that it has left: what was in it before is not needed any more.
    fn leave(&mut self, next: &Path) {
        while let Some(last) = self.open.pop_if(|last| !next.starts_with(last)) {
            if let Some(Folder { before: Some(before), .. }) = self.folders.get_mut(&last) {
                *before = HashMap::new();
            }
        }
    }

    /// The folder that was named. Those above it are made without attributes where they are missing: no local folder
    /// says what they should be.
    async fn top_folder(&self, item: &Item, remote: &VaultPath) -> Result<Folder, Failure> {
        let vault = &self.run.vault;
        let path = remote.clone();
        let Some((above, name)) = remote.split() else {
            let id = vault.names.root_dir();
            return Ok(Folder { id, path, before: Some(before(vault, id).await?), made_by: None });
        };
        let parent = vault.make_folder(&above).await?;
        let attributes = self.attributes_of(item);
        let (id, made) = vault.child_folder(parent, name, attributes.clone(), remote).await?;
        if !made && let Some((now, Standing::Open)) = vault.look_up(parent, name, true).await? {
            let described = Described { parent, name: name.to_owned(), id, attributes };
            self.describe(item, remote, Some(&now), described).await?;
        }
        self.run.report.lock().folders += u64::from(made);
        // Others see it from here on, so it may be filled already.
        Ok(Folder { id, path, before: Some(before(vault, id).await?), made_by: None })
    }

    /// A folder below. `None` if what it is in could not be made, which was reported.
    async fn lower_folder(&self, item: &Item) -> Result<Option<Folder>, Failure> {
        let vault = &self.run.vault;
        let Some((parent, name)) = self.place(item) else { return Ok(None) };
        let (name, attributes) = (name?, self.attributes_of(item));
        let path = parent.path.join(&name)?;
        let Some(known) = parent.before.as_ref().map(|b| b.get(&name)) else {
            // In a folder made by this run nobody else can have made anything: no need to wait.
            let made = vault.new_folder(parent.id, &name, attributes)?;
            let part = |key| Sent::FolderPart { path: item.path.clone(), key };
            let (record_key, entry_key) =
                (vault.names.directory_key(made.id), vault.names.entry_key(parent.id, &name));
            let made_by = Some(self.run.send(&self.sender, part(record_key), made.record).await?);
            self.run.send(&self.sender, part(entry_key), made.entry).await?;
            self.run.report.lock().folders += 1;
            return Ok(Some(Folder { id: made.id, path, before: None, made_by }));
        };
        let (id, made) = vault.child_folder(parent.id, &name, attributes.clone(), &path).await?;
        if made {
            self.run.report.lock().folders += 1;
            return Ok(Some(Folder { id, path, before: None, made_by: None }));
        }
        let described = Described { parent: parent.id, name, id, attributes };
        self.describe(item, &path, known.map(|b| &b.0), described).await?;
        Ok(Some(Folder { id, path, before: Some(before(vault, id).await?), made_by: None }))
    }

    /// Gives a folder that is there its attributes, with the stream, if those that were seen are others.
    async fn describe(
        &self,
        item: &Item,
        path: &VaultPath,
        now: Option<&EntryNow>,
        folder: Described,
    ) -> Result<(), Failure> {
        let seen = now.and_then(|now| match &now.entry.target {
            EntryTarget::Directory { id, attributes } if *id == folder.id => Some((now, attributes)),
            _ => None,
        });
        let Some((now, attributes)) = seen else {
            // It came after its parent was listed.
            self.run.describe_again.lock().push((item.path.clone(), path.clone(), folder));
            return Ok(());
        };
        if *attributes == folder.attributes {
            return Ok(());
        }
        let request = self.run.vault.describing(now, folder.id, folder.attributes.clone())?;
        let (local, path) = (item.path.clone(), path.clone());
        let sent = Sent::FolderAttributes { local, path, key: now.key, folder: Box::new(folder) };
        self.run.send(&self.sender, sent, request).await.map(|_| ())
    }

    /// The folder something is in and its name there. `None` if the folder could not be made: that was
    /// reported, and what is in it needs no report of its own.
    pub(super) fn place(&self, item: &Item) -> Option<(&Folder, Result<String, Failure>)> {
        use std::os::unix::ffi::OsStrExt;
        let parent = self.folders.get(item.relative.parent()?)?;
        let name = item.relative.file_name()?.as_bytes();
        let name = check_name_bytes(name).map(ToOwned::to_owned).map_err(|e| name_refused(&item.path, &e));
        Some((parent, name))
    }

    fn attributes_of(&self, item: &Item) -> Attributes {
        let mut attributes =
            Attributes { mode: item.mode(), mtime_ns: item.mtime_ns(), ..Attributes::default() };
        self.run.add_xattrs(&item.path, &mut attributes);
        attributes
    }
}
