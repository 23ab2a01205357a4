//! Moving a folder: a new entry, then its own record, which decides, then the old entry. Nothing below it is touched.

use larder_format::error::Kind;
use larder_format::head::{DirId, DirState, Directory, EntryTarget, Head, MovePlan};
use larder_format::limits::PATH_DEPTH_MAX;
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Version;
use larder_wire::answer::Failure;

use super::plan::{Moved, attributes_of, names_folder};
use super::{MoveReport, Place, TRIES, into_itself, nothing_there};
use crate::directory::{Standing, being_deleted};
use crate::files::{at, refused};
use crate::path::VaultPath;
use crate::planted;
use crate::vault::{Vault, unexpected};

impl Vault {
    /// Moves a folder with everything in it.
    pub(super) async fn move_folder(
        &self,
        folder: DirId,
        from: &Place,
        to: &Place,
    ) -> Result<MoveReport, Failure> {
        let plan = MovePlan {
            folder,
            from: from.dir,
            from_name: from.name().to_owned(),
            to: to.dir,
            to_name: to.name().to_owned(),
            deadline_ms: 0,
        };
        if planted::is(planted::NOT_SERIALISED) {
            self.move_held(&plan, from, to).await?;
            return Ok(MoveReport::of_folder(to.path.clone(), false));
        }
        let held = self.hold_moves(&plan).await?;
        match self.move_held(&plan, from, to).await {
            Ok(()) => self.let_go(held).await?,
            // What the node said no to is put back as it was; otherwise whoever moves next finds the plan.
            Err(failure) if refused(&failure) || failure.kind == Kind::Damaged => {
                self.settle(held, &plan).await?;
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        }
        Ok(MoveReport::of_folder(to.path.clone(), false))
    }

    /// The move itself, while the plan says so.
    async fn move_held(&self, plan: &MovePlan, from: &Place, to: &Place) -> Result<(), Failure> {
        let (version, record) = self.must_hang(plan.folder, from).await?;
        self.must_not_be_below(to, plan.folder, from).await?;
        if !self.takes_entries(to.dir).await? {
            return Err(Failure::new(Kind::Conflict, format!("{}: its folder is being deleted", to.path)));
        }
        let old = self.look_up(from.dir, from.name(), true).await?;
        let attributes = old.map(|(now, _)| attributes_of(&now)).unwrap_or_default();
        let condition = self.free_for_folder(plan, to).await?;
        let moves = record.moves + 1;
        if self.enter(plan, attributes, moves, condition).await?.is_none() {
            return Err(in_the_way(&to.path));
        }
        let (parent, name) = (to.dir, to.name().to_owned());
        let moved = Directory { parent, name, moves, ..record };
        let key = self.names.directory_key(plan.folder);
        let ask = self.put_head(key, &Head::Directory(moved.clone()), Condition::Version(version))?.ask;
        let version = match self.change(self.files, key.as_bytes(), ask).await? {
            Outcome::Written { version, .. } => version,
            Outcome::Conflict { .. } => {
                self.drop_stale(to.dir, to.name(), plan.folder).await?;
                return Err(changed_meanwhile(&from.path));
            }
            other => return Err(unexpected(&other)),
        };
        // Whoever deletes the target's folder has seen the entry, or is seen here.
        if !self.seat(plan, Moved { version, record: moved }).await? {
            self.drop_stale(to.dir, to.name(), plan.folder).await?;
            return Err(Failure::new(Kind::Conflict, format!("{}: its folder is being deleted", to.path)));
        }
        self.drop_stale(from.dir, from.name(), plan.folder).await
    }

    /// The folder's own record, if it hangs there and is open.
    async fn must_hang(&self, folder: DirId, from: &Place) -> Result<(Version, Directory), Failure> {
        let record = self.folder_record(folder).await.map_err(|f| at(&from.path, f))?;
        match Standing::of(record.as_ref().map(|(_, d)| d), from.dir, from.name()) {
            Standing::Closing => Err(being_deleted(&from.path)),
            Standing::Open => record.ok_or_else(|| nothing_there(&from.path)),
            Standing::Elsewhere | Standing::Gone => Err(changed_meanwhile(&from.path)),
        }
    }

    /// Walks from the target's folder to the root. Nobody else moves a folder meanwhile.
    async fn must_not_be_below(&self, to: &Place, folder: DirId, from: &Place) -> Result<(), Failure> {
        let mut dir = to.dir;
        for _ in 0..=PATH_DEPTH_MAX {
            if dir == folder {
                return Err(into_itself(&from.path));
            }
            if dir == self.names.root_dir() {
                return Ok(());
            }
            let Some((_, record)) = self.folder_record(dir).await? else {
                return Err(nothing_there(&to.path));
            };
            if record.state == DirState::Closing {
                return Err(Failure::new(
                    Kind::Conflict,
                    format!("{}: a folder above is being deleted", to.path),
                ));
            }
            dir = record.parent;
        }
        Err(Failure::new(Kind::Invalid, format!("{}: too deep max={PATH_DEPTH_MAX}", to.path)))
    }

    /// Under which condition the new entry may be written: the name is free, or what is there shows nothing, or it is an
    /// empty folder, which goes.
    async fn free_for_folder(&self, plan: &MovePlan, to: &Place) -> Result<Condition, Failure> {
        for _ in 0..TRIES {
            let Some((now, standing)) = self.look_up(to.dir, to.name(), true).await? else {
                return Ok(Condition::Absent);
            };
            let EntryTarget::Directory { id, .. } = now.entry.target else {
                let message = format!("{}: is a file; a folder does not take its place", to.path);
                return Err(Failure::new(Kind::Conflict, message));
            };
            match standing {
                // Of an earlier try, or of another folder that went on from here.
                Standing::Elsewhere => return Ok(Condition::Version(now.found.version)),
                Standing::Open if names_folder(&now, plan.folder) => return Err(changed_meanwhile(&to.path)),
                Standing::Gone => self.clear_name(&now, id, standing, &to.path).await?,
                Standing::Open | Standing::Closing => {
                    if !self.is_empty_folder(id).await? {
                        let message = format!("{}: a folder is there, and it is not empty", to.path);
                        return Err(Failure::new(Kind::Conflict, message));
                    }
                    self.close_folder(id, to.dir, &to.path).await?;
                    if !self.is_empty_folder(id).await? {
                        self.open_folder_again(id, to.dir, &to.path).await?;
                        continue;
                    }
                    self.clear_name(&now, id, Standing::Closing, &to.path).await?;
                }
            }
        }
        Err(Failure::new(Kind::Retry, format!("{}: keeps changing; try again", to.path)))
    }

    /// The path of a folder, as the folders' own records say.
    pub(crate) async fn path_of(&self, folder: DirId) -> Result<VaultPath, Failure> {
        let mut names = Vec::new();
        let mut dir = folder;
        while dir != self.names.root_dir() {
            let record = self.folder_record(dir).await?.filter(|_| names.len() < PATH_DEPTH_MAX);
            let Some((_, record)) = record else {
                return Err(Failure::new(Kind::NotFound, "a folder above is not there"));
            };
            names.push(record.name);
            dir = record.parent;
        }
        names.iter().rev().try_fold(VaultPath::default(), |path, name| path.join(name))
    }
}

fn in_the_way(path: &VaultPath) -> Failure {
    Failure::new(Kind::Conflict, format!("{path}: somebody else made something of that name meanwhile"))
}

fn changed_meanwhile(path: &VaultPath) -> Failure {
    let message = format!("{path}: was moved, changed or deleted by somebody else meanwhile");
    Failure::new(Kind::Conflict, message)
}
