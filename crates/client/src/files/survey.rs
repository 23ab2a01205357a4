//! A walk over everything that is kept below a folder: not only what a listing shows, but older versions and what was
//! deleted and can be brought back. One scan a folder, heads only, name by name in the order of the keys.

use std::collections::BTreeMap;

use larder_format::head::{DirId, DirState, EntryTarget};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;

use super::history::History;
use crate::path::VaultPath;
use crate::remote::Scan;
use crate::vault::Vault;

/// Everything under one name in a folder.
pub(crate) struct Named {
    pub(crate) key: SealedKey,
    pub(crate) path: VaultPath,
    pub(crate) history: History,
    /// What has the name now.
    pub(crate) now: Now,
}

/// What has a name now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Now {
    /// Nothing: what is there was deleted, or its time was up.
    Nothing,
    /// A file or link.
    File,
    /// A folder.
    Folder(DirId),
    /// A folder that is being deleted, or whose deletion was interrupted.
    Closing(DirId),
}

/// What was kept of deleted folders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Files and links.
    pub(crate) files: u64,
    /// Bytes of content of the newest version of each.
    pub(crate) bytes: u64,
    /// Versions, those among them.
    pub(crate) versions: u64,
    /// Bytes of content of all versions.
    pub(crate) all_bytes: u64,
}

impl Vault {
    /// Visits every name below a folder; folders that are being deleted are visited and not entered. Answers how many
    /// records are there that cannot be read.
    pub(crate) async fn survey(
        &self,
        top: &VaultPath,
        dir: DirId,
        mut each: impl AsyncFnMut(Named) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let mut damaged = 0;
        let mut todo = vec![(top.clone(), dir)];
        while let Some((path, dir)) = todo.pop() {
            let mut below = Vec::new();
            let visit = async |named: Named| {
                if let Now::Folder(id) = named.now {
                    below.push((named.path.clone(), id));
                }
                each(named).await
            };
            damaged += self.survey_folder(&path, dir, visit).await?;
            todo.extend(below.into_iter().rev());
        }
        Ok(damaged)
    }

    /// Visits every name in one folder, in the order of their keys. Answers how many records are there that cannot be read.
    pub(crate) async fn survey_folder(
        &self,
        path: &VaultPath,
        dir: DirId,
        mut each: impl AsyncFnMut(Named) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let mut damaged = 0;
        let mut names = self.names_of(dir).await?;
        while let Some(some) = names.next(self).await? {
            for (key, history) in some {
                damaged += history.unreadable.len() as u64;
                let Some(shown) = history.kept.first() else { continue };
                let path = path.join(&shown.entry.name)?;
                let now = self.now_of(dir, &history).await?;
                each(Named { key, path, history, now }).await?;
            }
        }
        Ok(damaged)
    }

    /// Visits one name as [`Vault::survey`] would.
    pub(crate) async fn survey_one(&self, dir: DirId, path: &VaultPath) -> Result<Named, Failure> {
        let name = path.names().last().map_or("", String::as_str);
        let key = self.names.entry_key(dir, name);
        let history = self.history(key).await?;
        let now = self.now_of(dir, &history).await?;
        Ok(Named { key, path: path.clone(), history, now })
    }

    async fn now_of(&self, dir: DirId, history: &History) -> Result<Now, Failure> {
        let Some(current) = history.current() else { return Ok(Now::Nothing) };
        let EntryTarget::Directory { id, .. } = current.entry.target else { return Ok(Now::File) };
        Ok(match self.folder_record(id).await? {
            Some((_, d)) if d.parent != dir || d.name != current.entry.name => Now::Nothing,
            Some((_, d)) if d.state == DirState::Closing => Now::Closing(id),
            Some(_) => Now::Folder(id),
            None => Now::Nothing,
        })
    }

    /// What is in folders that were deleted or are being deleted, all the way down.
    pub(crate) async fn contents(&self, id: DirId) -> Result<Contents, Failure> {
        let mut sum = Contents::default();
        let mut todo = vec![id];
        let mut seen = std::collections::HashSet::from([id]);
        while let Some(id) = todo.pop() {
            let mut names = self.names_of(id).await?;
            while let Some(some) = names.next(self).await? {
                for (_, history) in some {
                    sum.add(&history);
                    for kept in &history.kept {
                        if let EntryTarget::Directory { id, .. } = kept.entry.target
                            && seen.insert(id)
                        {
                            todo.push(id);
                        }
                    }
                }
            }
        }
        Ok(sum)
    }

    async fn names_of(&self, dir: DirId) -> Result<Names, Failure> {
        let scan = Scan::heads(self.files, &self.names.dir_prefix(dir));
        Ok(Names { own: self.names.directory_key(dir), pages: self.remote.scan(scan).await?, last: None })
    }
}

impl Contents {
    fn add(&mut self, history: &History) {
        let mut newest: Option<(bool, u64)> = None;
        for kept in &history.kept {
            let EntryTarget::File { size, .. } = kept.entry.target else { continue };
            self.versions += 1;
            self.all_bytes += size;
            // The current one comes first, then what is kept, oldest first.
            if kept.called.is_none() || newest.is_none_or(|(current, _)| !current) {
                newest = Some((kept.called.is_none(), size));
            }
        }
        if let Some((_, size)) = newest {
            self.files += 1;
            self.bytes += size;
        }
    }
}

/// Names of a folder as they arrive. Records come in the order of their keys, so those of one name come together.
struct Names {
    /// The folder's own record, which has the same prefix and is no name.
    own: SealedKey,
    pages: crate::remote::Pages,
    /// The last name of the page before: more of it may come.
    last: Option<(SealedKey, History)>,
}

impl Names {
    /// The next ones; `None` at the end.
    async fn next(&mut self, vault: &Vault) -> Result<Option<BTreeMap<SealedKey, History>>, Failure> {
        let Some(page) = self.pages.next().await? else {
            return Ok(self.last.take().map(|(key, mut history)| {
                history.kept.sort_by_key(|k| k.called);
                BTreeMap::from([(key, history)])
            }));
        };
        let mut names: BTreeMap<SealedKey, History> = self.last.take().into_iter().collect();
        for record in page.damaged {
            if let Some((key, _)) = SealedKey::parse(record.as_bytes()).filter(|(key, _)| *key != self.own) {
                names.entry(key).or_default().unreadable.push(record);
            }
        }
        for (record, found) in page.records {
            if let Some((key, _)) = SealedKey::parse(record.as_bytes()).filter(|(key, _)| *key != self.own) {
                names.entry(key).or_default().add(vault, record, found)?;
            }
        }
        self.last = names.pop_last();
        for history in names.values_mut() {
            history.kept.sort_by_key(|k| k.called);
        }
        Ok(Some(names))
    }
}
