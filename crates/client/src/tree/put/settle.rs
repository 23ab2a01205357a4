//! The answers of a run's stream: what they settle, who waits for them, and what goes on once they have ended.

use std::path::PathBuf;
use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::DirId;
use larder_format::operation::Outcome;
use larder_wire::answer::Failure;

use super::{Run, Sent};
use crate::files::at;
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

    /// Reads the answers of the stream and keeps the books.
    pub(super) async fn settle(self: Arc<Self>, answers: ApplyAnswers) -> Result<(), Failure> {
        let result = self.settle_all(answers).await;
        self.settled.send_replace(true);
        result
    }

    async fn settle_all(&self, mut answers: ApplyAnswers) -> Result<(), Failure> {
        while let Some((tag, answer)) = answers.next().await? {
            let Some(sent) = self.sent.lock().remove(&tag) else { continue };
            match (sent, answer) {
                (Sent::FolderPart { key, .. }, Ok(Outcome::Written { version, .. })) => {
                    self.vault.changed(self.vault.files, key.as_bytes(), version)?;
                    self.settled.send_replace(false);
                }
                (Sent::Lifetime { small, len }, Ok(Outcome::Written { version, .. })) => {
                    self.vault.changed(self.vault.files, small.key.as_bytes(), version)?;
                    self.unchanged(len);
                }
                (Sent::Lifetime { small, .. }, Ok(Outcome::Conflict { .. } | Outcome::Absent)) => {
                    self.changed.lock().push(*small);
                }
                (Sent::Lifetime { small, .. }, answer) => self.fail(small.local, failure_of(answer)),
                (Sent::File { small, new, revision }, Ok(Outcome::Written { version, .. })) => {
                    self.vault.wrote(small.key.as_bytes(), version, revision)?;
                    self.meter.advance(new.uploaded.size);
                    self.meter.sent(new.uploaded.size);
                    self.done(new.uploaded.size);
                }
                (Sent::File { small, new, .. }, Ok(Outcome::Conflict { .. })) => {
                    self.again.lock().push((*small, *new));
                }
                (Sent::FolderPart { path, .. }, answer) => {
                    self.fail(path, failure_of(answer));
                    self.settled.send_replace(false);
                }
                (Sent::File { small, .. }, answer) => self.fail(small.local, failure_of(answer)),
            }
        }
        let unanswered = self.sent.lock().len();
        if unanswered == 0 {
            return Ok(());
        }
        let message =
            format!("the node ended the stream early; not answered count={unanswered}; put it again");
        Err(Failure::new(Kind::Closed, message))
    }

    /// Files whose name was taken between listing and writing become new versions of what took it, and files
    /// that were as they were stored, until somebody changed them in between, are stored again.
    pub(super) async fn careful_again(&self) {
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
                Ok(()) => {
                    self.meter.advance(size);
                    self.done(size);
                }
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
