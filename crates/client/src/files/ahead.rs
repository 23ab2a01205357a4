//! Folders read ahead: while the entries of one are worked on, those of the folders that come next are on their
//! way, so that a tree of many small folders costs work and not waiting.
//!
//! What is read ahead is always one whole page, fetched by a call of its own: no answer is left half read, which
//! would take the connection's window from the answers that somebody waits for.

use std::sync::Arc;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::head::{DirId, EntryTarget};
use larder_wire::answer::Failure;
use tokio::task::JoinSet;

use crate::directory::{EntryNow, SomeEntries, Standing};
use crate::vault::Vault;

/// Some entries of a folder, each with what its own record says if it is a folder.
#[derive(Debug, Default)]
pub(crate) struct FolderPage {
    /// The entries. What was left of deleted folders is not among them.
    pub(crate) entries: Vec<(EntryNow, Result<Standing, Failure>)>,
    /// Entries that are there but cannot be read.
    pub(crate) damaged: u64,
}

/// A folder being read. Dropped, it stops.
pub(crate) struct FolderReading {
    vault: Arc<Vault>,
    dir: DirId,
    with_bodies: bool,
    /// At most one: the page under way.
    page: JoinSet<Result<(FolderPage, Bytes), Failure>>,
}

impl FolderReading {
    /// Begins to read a folder. With bodies, a page is large: few should be read ahead.
    pub(crate) fn start(vault: &Arc<Vault>, dir: DirId, with_bodies: bool) -> Self {
        let mut reading = Self { vault: vault.clone(), dir, with_bodies, page: JoinSet::new() };
        reading.fetch(Bytes::new());
        reading
    }

    fn fetch(&mut self, cursor: Bytes) {
        let (vault, dir, with_bodies) = (self.vault.clone(), self.dir, self.with_bodies);
        self.page.spawn(async move { read_page(&vault, dir, with_bodies, cursor).await });
    }

    /// The next page; `None` at the end. The one after it is fetched from now on.
    pub(crate) async fn next(&mut self) -> Result<Option<FolderPage>, Failure> {
        let Some(page) = self.page.join_next().await else { return Ok(None) };
        let (page, cursor) = page.map_err(|e| Failure::new(Kind::Bug, e.to_string()))??;
        if !cursor.is_empty() {
            self.fetch(cursor);
        }
        Ok(Some(page))
    }
}

async fn read_page(
    vault: &Vault,
    dir: DirId,
    with_bodies: bool,
    cursor: Bytes,
) -> Result<(FolderPage, Bytes), Failure> {
    let mut entries = vault.entries_page(dir, with_bodies, cursor).await?;
    let Some(mut some) = entries.next(vault).await? else {
        return Ok((FolderPage::default(), Bytes::new()));
    };
    // The answer is read to its end, though nothing follows.
    while entries.next(vault).await?.is_some() {}
    if with_bodies {
        name_unreadable(vault, &mut some).await?;
    }
    let folders: Vec<(DirId, String)> = some
        .entries
        .iter()
        .filter_map(|now| match now.entry.target {
            EntryTarget::Directory { id, .. } => Some((id, now.entry.name.clone())),
            EntryTarget::File { .. } => None,
        })
        .collect();
    let mut confirmed = vault.confirm_all(dir, folders).await?.into_iter();
    let mut page = FolderPage { entries: Vec::with_capacity(some.entries.len()), damaged: some.damaged };
    for now in some.entries {
        let standing = match now.entry.target {
            EntryTarget::Directory { .. } => confirmed.next().unwrap_or(Ok(Standing::Gone)),
            EntryTarget::File { .. } => Ok(Standing::Open),
        };
        if standing.as_ref().map_or(true, |standing| standing.is_shown()) {
            page.entries.push((now, standing));
        }
    }
    Ok((page, some.cursor))
}

/// What is damaged in its body only still has a name: it joins the entries without its body, so that whoever opens it
/// fails by that name.
async fn name_unreadable(vault: &Vault, some: &mut SomeEntries) -> Result<(), Failure> {
    for (key, found) in std::mem::take(&mut some.unreadable) {
        let found = match found {
            // It was whole, and what it says is wrong.
            Some(_) => continue,
            None => match vault.read(vault.files, key.as_bytes(), true).await {
                Err(failure) if failure.kind == Kind::Damaged => continue,
                found => found?,
            },
        };
        let Some(found) = found else { continue };
        if let Ok(entry) = vault.open_entry(key.as_bytes(), &found) {
            some.entries.push(EntryNow { key, entry, found });
            some.damaged -= 1;
        }
    }
    Ok(())
}
