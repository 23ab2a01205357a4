//! The record that serialises moves of folders. Whoever moves one first writes its plan there, with a deadline; whoever
//! finds a plan waits, and after the deadline finishes or undoes what it says. No lock is held by anyone: a mover that was
//! overtaken fails at its deciding step, because undoing has given the folder's record a new version.

use std::time::Duration;

use larder_format::error::Kind;
use larder_format::head::{Attributes, DirId, DirState, Directory, Entry, EntryTarget, Head, MovePlan};
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Version;
use larder_wire::answer::Failure;
use larder_wire::request::Ask;

use super::{MoveReport, Place, TRIES};
use crate::directory::EntryNow;
use crate::path::VaultPath;
use crate::vault::{Vault, unexpected};

/// How long a move of a folder may take, in milliseconds: it is a dozen small requests. Whoever is slower may be overtaken,
/// and then nothing was moved.
pub(crate) const PLAN_MS: u64 = 10_000;

/// How long to wait before looking again whether another move has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(if cfg!(feature = "planted") { 1 } else { 50 });

/// What became of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The folder is where it was to go.
    Finished,
    /// The folder is where it was.
    Undone,
}

impl Vault {
    /// The move of a folder that is under way, and the version of the record that says so.
    pub(crate) async fn plan(&self) -> Result<Option<(Version, MovePlan)>, Failure> {
        let key = self.names.moves_key();
        let Some(found) = self.read(self.files, key.as_bytes(), true).await? else { return Ok(None) };
        self.check_folder(key.as_bytes(), &found)?;
        match self.open_head(self.files, key.as_bytes(), &found.head)? {
            Head::Move(plan) => Ok(Some((found.version, plan))),
            _ => Err(Failure::new(Kind::Damaged, "the node shows another record where moves are noted")),
        }
    }

    /// Writes a plan, once no other is under way. Answers the version of it.
    pub(super) async fn hold_moves(&self, plan: &MovePlan) -> Result<Version, Failure> {
        let key = self.names.moves_key();
        loop {
            if let Some((version, other)) = self.plan().await? {
                self.wait_or_settle(version, &other).await?;
                continue;
            }
            let plan = MovePlan { deadline_ms: self.now_ms() + PLAN_MS, ..plan.clone() };
            let ask = self.put_head(key, &Head::Move(plan), Condition::Absent)?.ask;
            match self.change(self.files, key.as_bytes(), ask).await? {
                Outcome::Written { version, .. } => return Ok(version),
                Outcome::Conflict { .. } => {}
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Gives somebody else's move a moment, or settles it if its time is up.
    async fn wait_or_settle(&self, version: Version, plan: &MovePlan) -> Result<(), Failure> {
        if self.now_ms() < plan.deadline_ms {
            tokio::time::sleep(LOOK_AGAIN).await;
            return Ok(());
        }
        self.settle(version, plan).await.map(|_| ())
    }

    /// Ends a plan. If somebody else has settled it meanwhile, that is as good.
    pub(super) async fn let_go(&self, version: Version) -> Result<(), Failure> {
        let key = self.names.moves_key();
        let ask = Ask::Delete { condition: Condition::Version(version) };
        self.change(self.files, key.as_bytes(), ask).await.map(|_| ())
    }

    /// Finishes a move if it was decided, undoes it if not.
    pub(crate) async fn settle(&self, version: Version, plan: &MovePlan) -> Result<Settled, Failure> {
        let settled = self.finish_or_undo(plan).await?;
        self.let_go(version).await?;
        Ok(settled)
    }

    async fn finish_or_undo(&self, plan: &MovePlan) -> Result<Settled, Failure> {
        for _ in 0..TRIES {
            let Some((version, record)) = self.folder_record(plan.folder).await? else {
                // It was deleted for good meanwhile: neither entry shows anything.
                self.drop_stale(plan.from, &plan.from_name, plan.folder).await?;
                self.drop_stale(plan.to, &plan.to_name, plan.folder).await?;
                return Ok(Settled::Finished);
            };
            if (record.parent, &record.name) == (plan.to, &plan.to_name) {
                let moved = Moved { version, record };
                if self.seat(plan, moved).await? {
                    self.drop_stale(plan.from, &plan.from_name, plan.folder).await?;
                    return Ok(Settled::Finished);
                }
                continue;
            }
            // A new version of the same: whoever had the old one in hand cannot move it any more.
            let key = self.names.directory_key(plan.folder);
            let ask = self.put_head(key, &Head::Directory(record), Condition::Version(version))?.ask;
            match self.change(self.files, key.as_bytes(), ask).await? {
                Outcome::Written { .. } => {
                    self.drop_stale(plan.to, &plan.to_name, plan.folder).await?;
                    return Ok(Settled::Undone);
                }
                Outcome::Conflict { .. } => {}
                other => return Err(unexpected(&other)),
            }
        }
        Err(Failure::new(Kind::Retry, "another move of a folder cannot be settled; try again"))
    }

    /// Makes sure that a folder that was moved has its entry, and that the folder it is in takes entries. Otherwise it
    /// goes back to where it was; then the answer is `false`.
    pub(super) async fn seat(&self, plan: &MovePlan, moved: Moved) -> Result<bool, Failure> {
        let there = self.look_up(plan.to, &plan.to_name, true).await?;
        let seated = match &there {
            Some((now, _)) => names_folder(now, plan.folder),
            None => {
                let old = self.look_up(plan.from, &plan.from_name, true).await?;
                let attributes = old.map(|(now, _)| attributes_of(&now)).unwrap_or_default();
                self.enter(plan, attributes, moved.record.moves, Condition::Absent).await?.is_some()
            }
        };
        // While it is being deleted there it stays: deleting goes on where it is.
        if moved.record.state == DirState::Closing || (seated && self.takes_entries(plan.to).await?) {
            return Ok(true);
        }
        let back = Directory {
            parent: plan.from,
            name: plan.from_name.clone(),
            moves: moved.record.moves + 1,
            ..moved.record
        };
        let key = self.names.directory_key(plan.folder);
        let ask = self.put_head(key, &Head::Directory(back), Condition::Version(moved.version))?.ask;
        match self.change(self.files, key.as_bytes(), ask).await? {
            Outcome::Written { .. } | Outcome::Conflict { .. } => Ok(false),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes a folder's entry in the place it is to go to. `None` if something else is there.
    pub(crate) async fn enter(
        &self,
        plan: &MovePlan,
        attributes: Attributes,
        moves: u64,
        condition: Condition,
    ) -> Result<Option<Version>, Failure> {
        let target = EntryTarget::Directory { id: plan.folder, attributes };
        let entry = Entry { name: plan.to_name.clone(), moves, target };
        let key = self.names.entry_key(plan.to, &plan.to_name);
        let ask = self.put_head(key, &Head::Entry(entry), condition)?.ask;
        match self.change(self.files, key.as_bytes(), ask).await? {
            Outcome::Written { version, .. } => Ok(Some(version)),
            Outcome::Conflict { .. } => Ok(None),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes an entry that names a folder which hangs elsewhere, or is not there at all.
    pub(crate) async fn drop_stale(&self, dir: DirId, name: &str, folder: DirId) -> Result<(), Failure> {
        for _ in 0..TRIES {
            // The entry first: whoever hangs the folder there again writes the entry anew before, and looks after.
            let Some((now, standing)) = self.look_up(dir, name, true).await? else { return Ok(()) };
            if !names_folder(&now, folder) || standing.is_shown() {
                return Ok(());
            }
            let ask = Ask::Delete { condition: Condition::Version(now.found.version) };
            match self.change(self.files, now.key.as_bytes(), ask).await? {
                Outcome::Deleted { .. } | Outcome::Absent => return Ok(()),
                Outcome::Conflict { .. } => {}
                other => return Err(unexpected(&other)),
            }
        }
        Err(Failure::new(Kind::Retry, format!("{name}: keeps changing; try again")))
    }

    /// Frees a name under which a folder stands that hangs elsewhere. If it is on its way there, waits until that is
    /// decided; whoever asked looks again.
    pub(crate) async fn clear_elsewhere(
        &self,
        now: &EntryNow,
        folder: DirId,
        at: &VaultPath,
    ) -> Result<(), Failure> {
        if let Some((version, plan)) = self.plan().await?
            && plan.folder == folder
            && self.names.entry_key(plan.to, &plan.to_name) == now.key
        {
            return self.wait_until_settled(version, plan).await;
        }
        let ask = Ask::Delete { condition: Condition::Version(now.found.version) };
        match self.change(self.files, now.key.as_bytes(), ask).await? {
            Outcome::Deleted { .. } | Outcome::Absent | Outcome::Conflict { .. } => Ok(()),
            other => Err(crate::files::at(at, unexpected(&other))),
        }
    }

    async fn wait_until_settled(&self, version: Version, plan: MovePlan) -> Result<(), Failure> {
        loop {
            self.wait_or_settle(version, &plan).await?;
            match self.plan().await? {
                Some((now, _)) if now == version => {}
                _ => return Ok(()),
            }
        }
    }

    /// If a move from this place was begun and not finished, settles it; answers what came of it if it was finished and
    /// went to where this one is to go.
    pub(super) async fn finish_plan_of(
        &self,
        from: &Place,
        to: &VaultPath,
    ) -> Result<Option<MoveReport>, Failure> {
        let ours = |plan: &MovePlan| (plan.from, plan.from_name.as_str()) == (from.dir, from.name());
        while let Some((version, plan)) = self.plan().await?.filter(|(_, plan)| ours(plan)) {
            if self.now_ms() < plan.deadline_ms {
                tokio::time::sleep(LOOK_AGAIN).await;
            } else if self.settle(version, &plan).await? == Settled::Finished {
                let to = self.place_of(to).await?;
                let there = (to.dir, to.name()) == (plan.to, plan.to_name.as_str());
                // The same command again: what was a new name then is a folder now, to move into.
                let into = (to.dir, to.name()) == (plan.folder, plan.from_name.as_str());
                if there || into {
                    let above = self.path_of(plan.to).await?;
                    return Ok(Some(MoveReport::of_folder(above.join(&plan.to_name)?, true)));
                }
            }
        }
        Ok(None)
    }
}

/// A folder's record that says it hangs where it was to go.
pub(super) struct Moved {
    pub(super) version: Version,
    pub(super) record: Directory,
}

pub(super) fn names_folder(now: &EntryNow, folder: DirId) -> bool {
    matches!(now.entry.target, EntryTarget::Directory { id, .. } if id == folder)
}

pub(super) fn attributes_of(now: &EntryNow) -> Attributes {
    match &now.entry.target {
        EntryTarget::Directory { attributes, .. } | EntryTarget::File { attributes, .. } => {
            attributes.clone()
        }
    }
}
