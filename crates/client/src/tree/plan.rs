//! What putting a folder would do, without doing it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{Attributes, EntryTarget};
use larder_seal::names::check_name_bytes;
use larder_wire::answer::Failure;
use tokio::sync::mpsc;

use super::put::before::{Before, before};
use super::{Planned, PlannedFile, Planner, PutTreeOptions, TreeReport, name_refused};
use crate::directory::not_a_folder;
use crate::files::is_a_folder;
use crate::local::walk::{Found, Item, Walk};
use crate::local::xattrs;
use crate::path::VaultPath;
use crate::vault::{Vault, local_failure};

/// Found things that may wait to be looked at.
const FOUND_QUEUED_MAX: usize = 256;

/// What is in the folder of the vault that a local one would go to; `None` if it would be made.
type There = Option<HashMap<String, Before>>;

struct Plan<'a> {
    vault: &'a Vault,
    options: &'a PutTreeOptions,
    planner: &'a Planner,
    folders: HashMap<PathBuf, (VaultPath, There)>,
    report: TreeReport,
}

impl Vault {
    /// Says what [`Vault::put_tree`] would do now; changes nothing. In the report are the files and folders that would be
    /// stored, with the length of their content: how much of it the node has already is known only by doing it.
    ///
    /// # Errors
    /// [`Failure`] if nothing could be looked at.
    pub async fn plan_put_tree(
        self: &Arc<Self>,
        local: &Path,
        remote: &VaultPath,
        options: &PutTreeOptions,
        planner: &Planner,
    ) -> Result<TreeReport, Failure> {
        let (sender, mut found) = mpsc::channel(FOUND_QUEUED_MAX);
        let (root, rules) = (local.to_path_buf(), options.rules.clone());
        let walking = tokio::task::spawn_blocking(move || {
            for found in Walk::new(root, rules) {
                if sender.blocking_send(found).is_err() {
                    return;
                }
            }
        });
        let (folders, report) = (HashMap::new(), TreeReport::default());
        let mut plan = Plan { vault: self, options, planner, folders, report };
        while let Some(next) = found.recv().await {
            let (at, planned) = match next {
                Found::Folder(item) => (item.path.clone(), plan.folder(&item, remote).await),
                Found::File(item) => (item.path.clone(), plan.file(&item, item.metadata.len(), false)),
                Found::Link(item, to) => {
                    (item.path.clone(), plan.file(&item, to.as_os_str().len() as u64, true))
                }
                Found::Excluded => {
                    plan.report.excluded += 1;
                    continue;
                }
                Found::Skipped { path, what } => {
                    plan.report.skipped.push((path, what));
                    continue;
                }
                Found::Failed { path, error } => {
                    let failure = local_failure(&path, &error);
                    (path, Err(failure))
                }
            };
            if let Err(failure) = planned {
                if plan.folders.is_empty() {
                    return Err(failure);
                }
                plan.report.failed.push((at, failure));
            }
        }
        walking.await.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
        Ok(plan.report)
    }
}

impl Plan<'_> {
    async fn folder(&mut self, item: &Item, remote: &VaultPath) -> Result<(), Failure> {
        let (path, there) = if item.relative.as_os_str().is_empty() {
            let there = match self.vault.folder(remote).await {
                Ok(id) => Some(before(self.vault, id).await?),
                Err(failure) if failure.kind == Kind::NotFound => None,
                Err(failure) => return Err(failure),
            };
            (remote.clone(), there)
        } else {
            let Some((path, name, parent)) = self.place(item)? else { return Ok(()) };
            let there = match parent.as_ref().and_then(|entries| entries.get(&name)).map(Before::target) {
                Some(EntryTarget::Directory { id, .. }) => Some(before(self.vault, *id).await?),
                Some(EntryTarget::File { .. }) => return Err(not_a_folder(&path)),
                None => None,
            };
            (path, there)
        };
        self.report.folders += u64::from(there.is_none());
        self.folders.insert(item.relative.clone(), (path, there));
        Ok(())
    }

    fn file(&mut self, item: &Item, len: u64, link: bool) -> Result<(), Failure> {
        let Some((path, name, parent)) = self.place(item)? else { return Ok(()) };
        let mut now = Attributes {
            mode: item.mode(),
            mtime_ns: item.mtime_ns(),
            ..self.options.put.attributes.clone()
        };
        if !link {
            xattrs::put_among(&mut now, &xattrs::read_path(&item.path));
        }
        let there = parent.as_ref().and_then(|entries| entries.get(&name));
        if there.is_some_and(|before| matches!(before.target(), EntryTarget::Directory { .. })) {
            return Err(is_a_folder(&path));
        }
        if !self.options.put.force && there.is_some_and(|before| before.is_same(len, &now, link)) {
            self.report.unchanged += 1;
            return Ok(());
        }
        let what = if there.is_some() { Planned::Replace } else { Planned::New };
        self.report.files += 1;
        self.report.bytes += len;
        (self.planner.0)(PlannedFile { path, local: item.path.clone(), what, bytes: len });
        Ok(())
    }

    /// Where something would go. `None` if the folder it is in cannot be looked at, which was reported.
    fn place(&self, item: &Item) -> Result<Option<(VaultPath, String, &There)>, Failure> {
        use std::os::unix::ffi::OsStrExt;
        let Some((path, there)) = item.relative.parent().and_then(|parent| self.folders.get(parent)) else {
            return Ok(None);
        };
        let name = item.relative.file_name().unwrap_or_default().as_bytes();
        let name = check_name_bytes(name).map_err(|e| name_refused(&item.path, &e))?;
        Ok(Some((path.join(name)?, name.to_owned(), there)))
    }
}
