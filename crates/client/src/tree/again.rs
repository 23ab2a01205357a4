//! A folder's way goes on after the node was away: the walk is made again, and what is there unchanged is left alone. The
//! report is of all walks together.

use std::path::Path;
use std::sync::Arc;

use larder_format::error::Kind;
use larder_wire::answer::Failure;

use super::{GetTreeOptions, PutTreeOptions, TreeReport};
use crate::meter::Meter;
use crate::path::VaultPath;
use crate::transfer::Outage;
use crate::vault::Vault;

impl TreeReport {
    /// What failed because the node was away.
    fn cut_off(&self) -> Option<Failure> {
        let away = |kind| matches!(kind, Kind::Closed | Kind::Unknown);
        self.failed.iter().map(|(_, failure)| failure).find(|failure| away(failure.kind)).cloned()
    }

    /// Takes the walk after this one together with it: what this one stored is unchanged in the next.
    fn and_then(self, next: Self) -> Self {
        Self {
            files: self.files + next.files,
            folders: self.folders + next.folders,
            bytes: self.bytes + next.bytes,
            unchanged: next.unchanged.saturating_sub(self.files),
            excluded: next.excluded,
            skipped: next.skipped,
            failed: next.failed,
        }
    }
}

impl Vault {
    /// Stores a folder with everything in it. Files that are there already with the same length, time and
    /// mode are left alone; others become new versions; nothing is deleted. Folders, the one named among them, get the
    /// mode and time of the local ones; folders above it that are missing are made without any. A node that goes away
    /// is waited for as long as there is patience.
    ///
    /// # Errors
    /// [`Failure`] if nothing could be done. What failed for single files is in the report.
    pub async fn put_tree(
        self: &Arc<Self>,
        local: &Path,
        remote: &VaultPath,
        options: PutTreeOptions,
        meter: &Arc<Meter>,
    ) -> Result<TreeReport, Failure> {
        let mut walks = Walks::default();
        loop {
            let walked = self.put_tree_once(local, remote, options.clone(), meter).await;
            if let Some(done) = walks.walked(self, local, walked).await {
                return done;
            }
        }
    }

    /// Writes a folder with everything in it to a local folder, which is made if it is missing. Files that are as in the
    /// vault by length, time and mode are left alone; others that have the name of one in the vault are replaced; nothing
    /// is deleted. Folders get the mode and time of those in the vault, also where they were there before. A folder that
    /// is being deleted, or was while it was read, has failed. A node that goes away is waited for as long as there is
    /// patience.
    ///
    /// # Errors
    /// [`Failure`] if nothing could be done. What failed for single files is in the report.
    pub async fn get_tree(
        self: &Arc<Self>,
        remote: &VaultPath,
        local: &Path,
        options: &GetTreeOptions,
        meter: &Arc<Meter>,
    ) -> Result<TreeReport, Failure> {
        let mut walks = Walks::default();
        loop {
            let walked = self.get_tree_once(remote, local, options, meter).await;
            if let Some(done) = walks.walked(self, local, walked).await {
                return done;
            }
        }
    }
}

/// What the walks so far came to.
#[derive(Default)]
struct Walks {
    total: Option<TreeReport>,
    outage: Outage,
}

impl Walks {
    /// After a walk: its report with those before, if there is to be no other; else waits for the node.
    async fn walked(
        &mut self,
        vault: &Vault,
        local: &Path,
        walked: Result<TreeReport, Failure>,
    ) -> Option<Result<TreeReport, Failure>> {
        let (total, cut_off) = match (self.total.take(), walked) {
            (None, Err(failure)) => (None, Some(failure)),
            (Some(mut total), Err(failure)) => {
                total.failed = vec![(local.to_path_buf(), failure.clone())];
                (Some(total), Some(failure))
            }
            (before, Ok(report)) => {
                if report.files > 0 {
                    self.outage.over();
                }
                let total = before.unwrap_or_default().and_then(report);
                let cut_off = total.cut_off();
                (Some(total), cut_off)
            }
        };
        let Some(cut_off) = cut_off else { return total.map(Ok) };
        match self.outage.ride_out(vault, cut_off).await {
            Ok(()) => {
                self.total = total;
                None
            }
            Err(failure) => Some(total.ok_or(failure)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_walk_stored_is_not_counted_as_unchanged() {
        let first = TreeReport { files: 3, bytes: 30, unchanged: 2, ..TreeReport::default() };
        let second = TreeReport { files: 4, bytes: 40, unchanged: 5, ..TreeReport::default() };
        let both = first.and_then(second);
        assert_eq!((both.files, both.bytes, both.unchanged), (7, 70, 2));
    }
}
