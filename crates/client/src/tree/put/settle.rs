//! The answers of a run's stream: what they settle, who waits for them, and what goes on once they have ended.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::DirId;
use larder_format::operation::Outcome;
use larder_wire::answer::Failure;

use super::{Run, Sent};
use crate::files::{at, refused};
use crate::path::VaultPath;
use crate::remote::ApplyAnswers;
use crate::vault::unexpected;

impl Run {
    /// Waits until a folder's record is there. A file that goes another way than the stream would overtake it,
    /// and take the folder for one that is being deleted.
    pub(super) async fn made(&self, tag: u64) -> Result<(), Failure> {
        let mut settled = self.settled.subscribe();
        loop {
            // In this order, so that what is settled in between wakes us.
            let ended = *settled.borrow_and_update();
            if !self.sent.lock().contains_key(&tag) {
                return Ok(());
            }
            if ended || settled.changed().await.is_err() {
                return Err(Failure::new(Kind::Closed, "its folder could not be made; put it again"));
            }
        }
    }

    /// Reads the answers of the stream and keeps the books. Answers why it ended before its time, if it did.
    pub(super) async fn settle(self: Arc<Self>, mut answers: ApplyAnswers) -> Option<String> {
        let broke_off = loop {
            let (tag, answer) = match answers.next().await {
                Ok(Some(answered)) => answered,
                Ok(None) => break None,
                Err(failure) => break Some(failure.message),
            };
            self.settle_one(tag, answer);
        };
        self.settled.send_replace(true);
        broke_off
    }

    fn settle_one(&self, tag: u64, answer: Result<Outcome, Failure>) {
        let Some(sent) = self.sent.lock().remove(&tag) else { return };
        let local = sent.local();
        let noted = match (sent, answer) {
            (Sent::FolderPart { key, .. }, Ok(Outcome::Written { version, .. })) => {
                self.settled.send_replace(false);
                self.vault.changed(self.vault.files, key.as_bytes(), version)
            }
            (Sent::FolderAttributes { key, .. }, Ok(Outcome::Written { version, .. })) => {
                self.vault.changed(self.vault.files, key.as_bytes(), version)
            }
            // Whoever may only add leaves a folder's mode and time as they are; its files are what is kept.
            (Sent::FolderAttributes { .. }, Err(denied)) if denied.kind == Kind::Denied => Ok(()),
            (Sent::FolderAttributes { local, path, folder, .. }, Ok(Outcome::Conflict { .. })) => {
                self.describe_again.lock().push((local, path, *folder));
                Ok(())
            }
            (Sent::Lifetime { small, len }, Ok(Outcome::Written { version, .. })) => {
                self.unchanged(len);
                self.vault.changed(self.vault.files, small.key.as_bytes(), version)
            }
            (Sent::Lifetime { small, .. }, Ok(Outcome::Conflict { .. } | Outcome::Absent)) => {
                self.changed.lock().push(*small);
                Ok(())
            }
            (Sent::File { small, size, ahead, revision }, Ok(Outcome::Written { version, .. })) => {
                self.stored(&small, size);
                if let Some((token, _)) = ahead.and_then(|new| new.uploaded.lease) {
                    self.placed.lock().push((small.key, token));
                }
                self.vault.wrote(small.key.as_bytes(), version, revision)
            }
            (Sent::File { small, ahead, .. }, Ok(Outcome::Conflict { .. })) => {
                match ahead {
                    Some(new) => self.again.lock().push((*small, *new)),
                    None => self.changed.lock().push(*small),
                }
                Ok(())
            }
            (Sent::FolderPart { .. }, answer) => {
                self.settled.send_replace(false);
                Err(failure_of(answer))
            }
            (Sent::File { ahead, .. }, answer) => {
                let failure = failure_of(answer);
                let lease = ahead.and_then(|new| new.uploaded.lease);
                if let (true, Some((token, _))) = (refused(&failure), lease) {
                    self.unlisted.lock().push(token);
                }
                Err(failure)
            }
            (_, answer) => Err(failure_of(answer)),
        };
        if let Err(failure) = noted {
            self.fail(local, failure);
        }
    }

    /// Of what was sent and not answered nobody knows what became of it: each is named. Answers whether there
    /// was any.
    pub(super) fn unanswered(&self, broke_off: Option<&str>) -> bool {
        let sent = std::mem::take(&mut *self.sent.lock());
        let why = broke_off.unwrap_or("the node ended the stream early");
        // A folder is sent in two parts and named once.
        let locals: BTreeSet<PathBuf> = sent.values().map(Sent::local).collect();
        let any = !locals.is_empty();
        for local in locals {
            let message = format!("{}: {why}; it may or may not be stored: put it again", local.display());
            self.fail(local, Failure::new(Kind::Unknown, message));
        }
        any
    }

    /// Files whose name was taken between listing and writing become new versions of what took it, and files
    /// that were as they were stored, until somebody changed them in between, are stored again. Folders whose entry
    /// somebody changed get their attributes over it. Content whose record was refused is given up.
    pub(super) async fn careful_again(&self) {
        let placed = std::mem::take(&mut *self.placed.lock());
        for (key, token) in placed {
            self.vault.in_place(key, token).await;
        }
        let unlisted = std::mem::take(&mut *self.unlisted.lock());
        for token in unlisted {
            self.vault.give_up(token).await;
        }
        let describe = std::mem::take(&mut *self.describe_again.lock());
        for (local, path, folder) in describe {
            if let Err(failure) = self.vault.describe_folder(&folder, &path).await {
                self.fail(local, failure);
            }
        }
        let changed = std::mem::take(&mut *self.changed.lock());
        for small in changed {
            if let Err(failure) = self.put_large(&small, &self.options).await {
                self.fail(small.local, failure);
            }
        }
        let again = std::mem::take(&mut *self.again.lock());
        for (small, new) in again {
            let size = new.uploaded.size;
            match self.commit(&small, &new, &self.options).await {
                Ok(()) => self.stored(&small, size),
                Err(failure) => self.fail(small.local, failure),
            }
        }
    }

    /// Folders may have been deleted meanwhile, those that this run made like any other: then what was put in them
    /// is lost to sight, which must be said.
    pub(super) async fn check_folders(&self, touched: Vec<(DirId, VaultPath)>) -> Result<(), Failure> {
        let ids = touched.iter().map(|(id, _)| *id).collect();
        let open = self.vault.take_entries(ids).await?;
        for ((_, path), open) in touched.iter().zip(open) {
            if !open {
                let failure = Failure::new(Kind::Conflict, "was deleted meanwhile; put it again");
                self.fail(PathBuf::from(path.to_string()), at(path, failure));
            }
        }
        Ok(())
    }
}

fn failure_of(answer: Result<Outcome, Failure>) -> Failure {
    match answer {
        Ok(outcome) => unexpected(&outcome),
        Err(failure) => failure,
    }
}
