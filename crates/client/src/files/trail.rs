//! The way to a folder, also to one that was deleted and can be brought back.

use larder_format::error::Kind;
use larder_format::head::{DirId, Entry, EntryTarget, Head};
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Version;
use larder_wire::answer::Failure;

use super::put::at as located;
use crate::directory::{Standing, not_a_folder};
use crate::path::VaultPath;
use crate::vault::{Vault, unexpected};

/// The way to a folder.
pub(crate) struct Trail {
    /// The folder at its end.
    pub(crate) dir: DirId,
    /// Deleted folders on the way, from the root down.
    pub(crate) deleted: Vec<Deleted>,
}

/// A folder that was deleted, or whose deletion was interrupted.
#[derive(Debug, Clone)]
pub(crate) struct Deleted {
    pub(crate) parent: DirId,
    pub(crate) id: DirId,
    pub(crate) path: VaultPath,
    pub(crate) entry: Entry,
    /// What was deleted with it was kept later than this.
    pub(crate) mark: Version,
    /// Whether its entry is still there.
    pub(crate) entered: bool,
}

impl Vault {
    /// The way to a folder; where a name is free, through the folder of that name that was deleted last.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if a file stands in the way.
    pub(crate) async fn trail(&self, path: &VaultPath) -> Result<Trail, Failure> {
        let mut trail = Trail { dir: self.names.root_dir(), deleted: Vec::new() };
        let mut at = VaultPath::default();
        for name in path.names() {
            at = at.join(name)?;
            let there = self.look_up(trail.dir, name, true).await.map_err(|f| located(&at, f))?;
            if let Some((now, Standing::Open)) = there {
                let EntryTarget::Directory { id, .. } = now.entry.target else {
                    return Err(not_a_folder(&at));
                };
                trail.dir = id;
                continue;
            }
            let Some(deleted) = self.deleted_folder(trail.dir, &at, None).await? else {
                return Err(Failure::new(Kind::NotFound, format!("no such folder: {at}")));
            };
            trail.dir = deleted.id;
            trail.deleted.push(deleted);
        }
        Ok(trail)
    }

    /// The folder of this path whose deletion is not through; else the one deleted last, or with this mark.
    pub(crate) async fn deleted_folder(
        &self,
        parent: DirId,
        path: &VaultPath,
        mark: Option<Version>,
    ) -> Result<Option<Deleted>, Failure> {
        let name = path.names().last().cloned().unwrap_or_default();
        let history = self.history(self.names.entry_key(parent, &name)).await?;
        let entered = match history.current() {
            Some(now) => match now.entry.target {
                // What a move left behind is no deletion.
                EntryTarget::Directory { id, .. } if !self.hangs_elsewhere(id, parent, &name).await? => {
                    Some((id, now))
                }
                _ => None,
            },
            None => None,
        };
        let make = |id, entry: &Entry, mark, entered| {
            Some(Deleted { parent, id, path: path.clone(), entry: entry.clone(), mark, entered })
        };
        if let (Some((id, now)), None) = (entered, mark) {
            let mark = match history.folders().find(|k| k.id == id) {
                Some(kept) => Some(kept.mark),
                // It was interrupted before anything in it was deleted.
                None => self.folder_record(id).await?.map(|(version, _)| version),
            };
            return Ok(make(id, &now.entry, mark.unwrap_or(now.found.version), true));
        }
        for kept in history.folders().rev().filter(|k| mark.is_none_or(|mark| k.mark == mark)) {
            // Brought back, and moved since: it is not deleted.
            if !self.hangs_elsewhere(kept.id, parent, &name).await? {
                let entered = entered.is_some_and(|(id, _)| id == kept.id);
                return Ok(make(kept.id, &kept.entry, kept.mark, entered));
            }
        }
        Ok(None)
    }

    /// Brings a deleted folder back, with nothing in it but what still was.
    pub(crate) async fn undelete_folder(&self, deleted: &Deleted) -> Result<(), Failure> {
        // An entry must never name a folder that is not there.
        self.open_folder_again(deleted.id, deleted.parent, &deleted.path).await?;
        if deleted.entered {
            return Ok(());
        }
        let name = deleted.path.names().last().cloned().unwrap_or_default();
        let key = self.names.entry_key(deleted.parent, &name);
        for _ in 0..2 {
            let ask = self.put_head(key, &Head::Entry(deleted.entry.clone()), Condition::Absent)?.ask;
            match self.change(self.files, key.as_bytes(), ask).await? {
                Outcome::Written { .. } => return Ok(()),
                Outcome::Conflict { .. } => {}
                other => return Err(unexpected(&other)),
            }
            let Some((now, standing)) = self.look_up(deleted.parent, &name, true).await? else { continue };
            match now.entry.target {
                EntryTarget::Directory { id, .. } if id == deleted.id => return Ok(()),
                EntryTarget::Directory { id, .. } if standing == Standing::Elsewhere => {
                    self.clear_elsewhere(&now, id, &deleted.path).await?;
                }
                _ => return Err(name_is_taken(&deleted.path)),
            }
        }
        Err(name_is_taken(&deleted.path))
    }
}

/// There is something new of the name that a deleted folder had.
pub(crate) fn name_is_taken(path: &VaultPath) -> Failure {
    let message = format!(
        "{path}: something new has that name; delete that first, then restore the older one: larder versions {path}"
    );
    Failure::new(Kind::Conflict, message)
}
