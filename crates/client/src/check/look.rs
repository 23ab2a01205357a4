//! What does not fit in what was surveyed.

use larder_format::head::{DirId, DirState, FileId};
use larder_format::record::Expiry;

use super::survey::{EntrySeen, FolderSeen, Survey, Target};
use super::{Fault, Finding, Subject};
use crate::vault::Vault;

impl Survey {
    /// All that does not fit, what is mended first coming first.
    pub(super) fn findings(&self, vault: &Vault) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(plan) = &self.plan
            && vault.now_ms() >= plan.deadline_ms
        {
            let path = self.path_in(Some(plan.from), &plan.from_name);
            let detail = format!("to {}", self.path_in(Some(plan.to), &plan.to_name));
            findings.push(Finding { fault: Fault::InterruptedMove, path, detail, subject: Subject::Move });
        }
        self.folders(vault, &mut findings);
        self.entries(&mut findings);
        self.doubles(&mut findings);
        self.versions(&mut findings);
        for record in &self.unreadable {
            let path = self.path_in(self.folder_of(record), "?");
            let detail = record.iter().map(|byte| format!("{byte:02x}")).collect();
            let subject = Subject::Record(record.clone());
            findings.push(Finding { fault: Fault::Unreadable, path, detail, subject });
        }
        findings.sort();
        findings
    }

    fn folders(&self, vault: &Vault, findings: &mut Vec<Finding>) {
        for (id, folder) in self.folders.iter().filter(|(_, folder)| !folder.is_deleted()) {
            let record = &folder.record;
            let entered = self.entry_of(vault, folder).is_some();
            let path = self.path_in(Some(record.parent), &record.name);
            let above_is_there = self.is_there(record.parent);
            let fault = match (entered, above_is_there, self.path_of(*id).is_some()) {
                // Whoever moves it at the moment knows where it belongs.
                _ if self.plan.as_ref().is_some_and(|plan| plan.folder == *id) => continue,
                (true, true, true) if record.state == DirState::Closing => Fault::InterruptedDeletion,
                // One below another that is being deleted, or itself lost, is found again with that.
                (true, true, true) | (true, false, _) if self.knows(record.parent) => continue,
                _ => Fault::LostFolder,
            };
            findings.push(Finding { fault, path, detail: id.to_string(), subject: Subject::Folder(*id) });
        }
        // Known only because others hang in it.
        for parent in self.hung_in.difference(&self.named).filter(|parent| !self.knows(**parent)) {
            let (path, subject) = (format!("(lost)/{parent}"), Subject::Folder(*parent));
            findings.push(Finding { fault: Fault::LostFolder, path, detail: String::new(), subject });
        }
    }

    /// Whether a folder has a record.
    fn knows(&self, folder: DirId) -> bool {
        folder == self.root || self.folders.contains_key(&folder)
    }

    /// Whether a folder takes entries.
    fn is_there(&self, folder: DirId) -> bool {
        folder == self.root
            || self.folders.get(&folder).is_some_and(|f: &FolderSeen| f.record.state == DirState::Open)
    }

    fn entries(&self, findings: &mut Vec<Finding>) {
        for entry in &self.entries {
            let dir = self.folder_of(entry.key.as_bytes());
            match (dir, entry.target) {
                (None, Target::Folder(_)) => {}
                (Some(dir), Target::Folder(folder)) => {
                    let fault = match self.folders.get(&folder) {
                        None => Fault::NoFolder,
                        Some(seen)
                            if (seen.record.parent, seen.record.name.as_str()) != (dir, &*entry.name) =>
                        {
                            Fault::StaleEntry
                        }
                        Some(_) => continue,
                    };
                    let moving = self.plan.as_ref().is_some_and(|plan| plan.folder == folder);
                    if moving || self.folders.get(&dir).is_some_and(FolderSeen::is_deleted) {
                        continue;
                    }
                    let path = self.path_in(Some(dir), &entry.name);
                    let subject = Subject::Entry { dir, name: entry.name.to_string(), folder };
                    findings.push(Finding { fault, path, detail: folder.to_string(), subject });
                }
                (dir, Target::File(id)) => {
                    let known = dir.is_some_and(|dir| self.knows(dir) || self.is_named(dir));
                    if !known {
                        let path = self.path_in(None, &entry.name);
                        let (fault, subject) = (Fault::LostFile, Subject::Key(entry.key));
                        findings.push(Finding { fault, path, detail: id.to_string(), subject });
                    }
                }
            }
        }
    }

    /// Whether an entry, or what hangs in it, tells of a folder that has no record: it is found again by those.
    fn is_named(&self, folder: DirId) -> bool {
        self.named.contains(&folder) || self.hung_in.contains(&folder)
    }

    fn doubles(&self, findings: &mut Vec<Finding>) {
        let is_shown =
            |entry: &EntrySeen| self.folder_of(entry.key.as_bytes()).is_some_and(|dir| self.is_there(dir));
        let mut files: Vec<(FileId, usize)> = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            if let Target::File(id) = entry.target
                && is_shown(entry)
            {
                files.push((id, at));
            }
        }
        files.sort_unstable();
        for same in files.chunk_by(|(a, _), (b, _)| a == b).filter(|same| same.len() > 1) {
            self.double(same, findings);
        }
    }

    /// One file under several names: it belongs under that to which it was moved last.
    fn double(&self, same: &[(FileId, usize)], findings: &mut Vec<Finding>) {
        let entries = || same.iter().map(|(_, at)| &self.entries[*at]);
        let Some(id) = same.first().map(|(id, _)| *id) else { return };
        // Of equals the first.
        let Some(winner) = entries().rev().max_by_key(|entry| (entry.moves, entry.version)) else { return };
        for loser in entries().filter(|entry| entry.key != winner.key) {
            let shown = |entry: &EntrySeen| self.path_in(self.folder_of(entry.key.as_bytes()), &entry.name);
            let subject = Subject::Double { loser: loser.key, winner: winner.key, id };
            let (path, detail) = (shown(loser), format!("also {}", shown(winner)));
            findings.push(Finding { fault: Fault::Double, path, detail, subject });
        }
    }

    /// Kept for good, and no file leads to them. In a folder that was deleted they end with it.
    fn versions(&self, findings: &mut Vec<Finding>) {
        for (key, kept) in self.kept.iter().filter(|(key, _)| self.entry(key).is_none()) {
            let dir = self.folder_of(key.as_bytes());
            let deleting = dir.and_then(|dir| self.folders.get(&dir)).is_some_and(|folder| {
                folder.record.state == DirState::Closing && folder.expiry == Expiry::NEVER
            });
            if kept.endless == 0 || deleting {
                continue;
            }
            let path = self.path_in(dir, &kept.name);
            let detail = format!("versions={}", kept.endless);
            let (fault, subject) = (Fault::LostVersions, Subject::Key(*key));
            findings.push(Finding { fault, path, detail, subject });
        }
    }
}
