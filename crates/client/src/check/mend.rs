//! Making things fit again. Every change is conditional on what was read right before, so that mending beside others at work
//! is safe; what cannot be decided is left alone and said so.

use std::sync::Arc;

use larder_format::error::Kind;
use larder_format::head::{
    Attributes, DirId, DirState, Directory, Entry, EntryTarget, FileId, Head, MovePlan,
};
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Version;
use larder_format::rng::{Rng, SystemRng};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut};

use super::survey::{Survey, Target};
use super::{Fault, Finding, LOST_AND_FOUND, Mended, Subject};
use crate::directory::Standing;
use crate::files::TRASH_MS_DEFAULT;
use crate::moves::{Carried, Place, same_content};
use crate::path::VaultPath;
use crate::remote::Scan;
use crate::vault::{OpenFile, Vault, unexpected};

/// How long a deletion must have rested before it is undone, in milliseconds: one that is still going on is nobody's fault.
const DELETION_RESTS_MS: u64 = 10 * 60 * 1000;

/// How many names are tried in `/lost+found`.
const NAMES_TRIED: u32 = 8;

impl Vault {
    /// Mends one finding. Failures of the connection end the whole check.
    pub(super) async fn mend(
        self: &Arc<Self>,
        finding: &Finding,
        survey: &Survey,
    ) -> Result<Mended, Failure> {
        let done = match (&finding.subject, finding.fault) {
            (Subject::Move, _) => self.mend_move().await,
            (Subject::Folder(id), Fault::InterruptedDeletion) => self.mend_deletion(*id, survey).await,
            (Subject::Folder(id), _) => self.mend_folder(*id).await,
            (Subject::Entry { dir, name, folder }, _) => self.mend_entry(*dir, name, *folder).await,
            (Subject::Double { loser, winner, id }, _) => {
                self.mend_double(survey, *loser, *winner, *id).await
            }
            (Subject::Key(key), Fault::LostFile) => self.mend_file(survey, *key).await,
            (Subject::Key(key), _) => self.mend_versions(survey, *key).await,
            (Subject::Record(_), _) => return Ok(Mended::Never),
        };
        match done {
            Ok(how) => Ok(Mended::Yes(how)),
            Err(failure) if matches!(failure.kind, Kind::Closed | Kind::Unknown | Kind::Full) => Err(failure),
            Err(failure) => Ok(Mended::Failed(failure)),
        }
    }

    async fn mend_move(&self) -> Result<&'static str, Failure> {
        let Some((version, plan)) = self.plan().await? else { return Ok("it has ended") };
        self.settle(version, &plan).await?;
        Ok("finished or undone")
    }

    async fn mend_deletion(self: &Arc<Self>, id: DirId, survey: &Survey) -> Result<&'static str, Failure> {
        let since = survey.folders.get(&id).map_or(0, |folder| folder.version.0.ms());
        if since + DELETION_RESTS_MS > self.now_ms() {
            let message = "may be going on; --repair undoes it ten minutes after it began";
            return Err(Failure::new(Kind::Conflict, message));
        }
        let path = self.path_of(id).await?;
        self.restore(&path, None).await?;
        Ok("its deletion was undone")
    }

    /// Hangs a folder where its record says, or in `/lost+found`. An empty one whose name is taken goes.
    async fn mend_folder(self: &Arc<Self>, id: DirId) -> Result<&'static str, Failure> {
        let record = self.folder_record(id).await?;
        if let Some((version, record)) = &record {
            let above = self.path_of(record.parent).await;
            if above.is_ok()
                && self.takes_entries(record.parent).await?
                && self.hang(id, record.parent, &record.name, record.moves).await?
            {
                return Ok("hung where it belongs");
            }
            if self.is_bare(id).await? {
                let key = self.names.directory_key(id);
                let ask = Ask::Delete { condition: Condition::Version(*version) };
                self.change(self.files, key.as_bytes(), ask).await?;
                return Ok("it was empty: removed");
            }
        }
        self.hang_in_lost_and_found(id, record).await
    }

    /// Writes a folder's entry if the name is free. Answers whether it is there now.
    async fn hang(&self, id: DirId, parent: DirId, name: &str, moves: u64) -> Result<bool, Failure> {
        if let Some((now, standing)) = self.look_up(parent, name, true).await? {
            match now.entry.target {
                EntryTarget::Directory { id: there, .. } if there == id => return Ok(true),
                EntryTarget::Directory { id: there, .. } if !standing.is_shown() => {
                    self.clear_name(&now, there, standing, &VaultPath::default()).await?;
                }
                _ => return Ok(false),
            }
        }
        let plan = place(id, parent, name);
        Ok(self.enter(&plan, Attributes::default(), moves, Condition::Absent).await?.is_some())
    }

    /// Whether nothing has to do with a folder but its own record.
    async fn is_bare(&self, id: DirId) -> Result<bool, Failure> {
        let own = self.names.directory_key(id);
        let mut pages = self.remote.scan(Scan::heads(self.files, &self.names.dir_prefix(id))).await?;
        while let Some(page) = pages.next().await? {
            if !page.damaged.is_empty()
                || page.records.iter().any(|(key, _)| key.as_bytes() != own.as_bytes())
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn hang_in_lost_and_found(
        &self,
        id: DirId,
        record: Option<(Version, Directory)>,
    ) -> Result<&'static str, Failure> {
        let lost = VaultPath::default().join(LOST_AND_FOUND)?;
        let parent = self.make_folder(&lost).await?;
        let old = record.as_ref().map_or("folder", |(_, record)| record.name.as_str());
        for name in names(old) {
            // The entry first: nobody sees it until the folder's record agrees.
            let moves = record.as_ref().map_or(0, |(_, record)| record.moves + 1);
            let plan = place(id, parent, &name);
            if self.enter(&plan, Attributes::default(), moves, Condition::Absent).await?.is_none() {
                continue;
            }
            let (condition, state) = match &record {
                Some((version, record)) => (Condition::Version(*version), record.state),
                None => (Condition::Absent, DirState::Open),
            };
            let hung = Directory { id, parent, name: name.clone(), moves, state };
            let key = self.names.directory_key(id);
            let ask = self.put_head(key, &Head::Directory(hung), condition)?.ask;
            return match self.change(self.files, key.as_bytes(), ask).await? {
                Outcome::Written { .. } => Ok("hung in /lost+found"),
                Outcome::Conflict { .. } => {
                    self.drop_stale(parent, &name, id).await?;
                    Err(Failure::new(Kind::Retry, "somebody else changed it meanwhile; try again"))
                }
                other => Err(unexpected(&other)),
            };
        }
        Err(Failure::new(Kind::Conflict, "no name is free in /lost+found; move away what is there"))
    }

    /// An entry whose folder has no record: with something in it, it gets one; else it goes. One whose folder hangs
    /// elsewhere goes.
    async fn mend_entry(&self, dir: DirId, name: &str, folder: DirId) -> Result<&'static str, Failure> {
        let there = self.look_up(dir, name, true).await?;
        let Some((now, standing)) = there.filter(|(now, _)| names_it(&now.entry, folder)) else {
            return Ok("it has gone");
        };
        if standing == Standing::Gone && !self.is_empty_folder(folder).await? {
            let (name, state) = (name.to_owned(), DirState::Open);
            let record = Directory { id: folder, parent: dir, name, moves: now.entry.moves, state };
            let key = self.names.directory_key(folder);
            let ask = self.put_head(key, &Head::Directory(record), Condition::Absent)?.ask;
            self.change(self.files, key.as_bytes(), ask).await?;
            return Ok("the folder has a record again");
        }
        self.drop_stale(dir, name, folder).await?;
        Ok("removed")
    }

    /// Of one file under two names, the one that was moved less often goes if the other has all that it has; if it was
    /// written to since, it becomes a file of its own.
    async fn mend_double(
        &self,
        survey: &Survey,
        loser: SealedKey,
        winner: SealedKey,
        id: FileId,
    ) -> Result<&'static str, Failure> {
        let (Some(lost), Some(won)) = (self.open_at(loser).await?, self.open_at(winner).await?) else {
            return Ok("one of them has gone");
        };
        if (lost.info.id, won.info.id) != (id, id) {
            return Ok("they are different files by now");
        }
        if self.has_content_of(winner, &won, &lost).await? {
            let place = self.place_in(survey, winner)?;
            let mut carried = Carried::default();
            self.carry(loser, &place, id, lost.info.expiry, &mut carried).await?;
            let ask = Ask::Delete { condition: Condition::Version(lost.info.version) };
            return match self.change(self.files, loser.as_bytes(), ask).await? {
                Outcome::Deleted { .. } => {
                    self.drop_kept(&carried.old).await?;
                    Ok("its move was finished")
                }
                Outcome::Conflict { .. } | Outcome::Absent => {
                    Err(Failure::new(Kind::Retry, "somebody else changed it meanwhile; try again"))
                }
                other => Err(unexpected(&other)),
            };
        }
        let own = FileId(SystemRng.array());
        let name = lost.info.name.clone();
        let mut apart = lost.clone();
        apart.info.id = own;
        let (put, revision) = self.file_again(loser, &name, &apart, 0, lost.manifest.revision)?;
        let condition = Condition::Version(lost.info.version);
        let ask = Ask::Put(AskPut { condition, tokens: lost.found.tokens.clone(), ..put });
        match self.change(self.files, loser.as_bytes(), ask).await? {
            Outcome::Written { version, .. } => {
                self.wrote(loser.as_bytes(), version, revision)?;
                Ok("was written to since: it is a file of its own now")
            }
            Outcome::Conflict { .. } => {
                Err(Failure::new(Kind::Retry, "somebody else changed it meanwhile; try again"))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Whether a file has, now or in an older version, what another has now.
    async fn has_content_of(
        &self,
        key: SealedKey,
        file: &OpenFile,
        other: &OpenFile,
    ) -> Result<bool, Failure> {
        if same_content(file, other) {
            return Ok(true);
        }
        for (called, kept) in self.history(key).await?.files() {
            let Some(mut found) = self.read(self.files, kept.record.as_bytes(), false).await? else {
                continue;
            };
            found.version = called;
            if self.open_file(kept.record.as_bytes(), found).is_ok_and(|old| same_content(&old, other)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn open_at(&self, key: SealedKey) -> Result<Option<OpenFile>, Failure> {
        match self.read(self.files, key.as_bytes(), false).await? {
            Some(found) => self.open_file(key.as_bytes(), found).map(Some),
            None => Ok(None),
        }
    }

    /// The place of an entry that was surveyed.
    fn place_in(&self, survey: &Survey, key: SealedKey) -> Result<Place, Failure> {
        let entry = survey.entry(&key);
        let dir = survey.folder_of(key.as_bytes());
        let (Some(entry), Some(dir)) = (entry, dir) else {
            return Err(Failure::new(Kind::Bug, "a place that was not surveyed"));
        };
        let path = VaultPath::parse(&survey.path_in(Some(dir), &entry.name))?;
        Ok(Place::new(dir, path))
    }

    async fn mend_file(&self, survey: &Survey, key: SealedKey) -> Result<&'static str, Failure> {
        let Some(entry) = survey.entry(&key) else {
            return Ok("it has gone");
        };
        let lost = VaultPath::default().join(LOST_AND_FOUND)?;
        let dir = self.make_folder(&lost).await?;
        for name in names(&entry.name) {
            let to = Place::new(dir, lost.join(&name)?);
            match self.move_lost_file(key, &to).await {
                Err(failure) if failure.kind == Kind::Conflict => {}
                done => return done.map(|_| "is in /lost+found"),
            }
        }
        Err(Failure::new(Kind::Conflict, "no name is free in /lost+found; move away what is there"))
    }

    /// Versions whose file was moved follow it; others get the end that a deletion gives.
    async fn mend_versions(&self, survey: &Survey, key: SealedKey) -> Result<&'static str, Failure> {
        if self.read(self.files, key.as_bytes(), true).await?.is_some() {
            return Ok("there is a file again");
        }
        let id = survey.kept.get(&key).map(|kept| kept.id);
        let moved = survey.entries.iter().find(|entry| match entry.target {
            Target::File(other) => Some(other) == id && entry.moves > 0,
            Target::Folder(_) => false,
        });
        if let (Some(id), Some(moved)) = (id, moved) {
            let place = self.place_in(survey, moved.key)?;
            let mut carried = Carried::default();
            self.carry(key, &place, id, larder_format::record::Expiry::NEVER, &mut carried).await?;
            self.drop_kept(&carried.old).await?;
            return Ok("they followed their file");
        }
        self.end_versions(key, Some(self.now_ms() + TRASH_MS_DEFAULT)).await?;
        Ok("can be restored for 7d, as after a deletion")
    }
}

fn names_it(entry: &Entry, folder: DirId) -> bool {
    matches!(entry.target, EntryTarget::Directory { id, .. } if id == folder)
}

/// Where an entry is to be written, in the words of a plan.
fn place(folder: DirId, to: DirId, name: &str) -> MovePlan {
    let (to_name, from_name) = (name.to_owned(), name.to_owned());
    MovePlan { folder, from: to, from_name, to, to_name, deadline_ms: 0 }
}

/// A name, and others like it should it be taken.
fn names(old: &str) -> Vec<String> {
    let others = (1..NAMES_TRIED).map(|_| format!("{:.200}-{:08x}", old, SystemRng.u64() as u32));
    std::iter::once(old.to_owned()).chain(others).collect()
}
