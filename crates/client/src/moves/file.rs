//! Moving a file or link: target, older versions, and the source last, if it is still what was moved.

use larder_format::error::Kind;
use larder_format::head::{Entry, EntryTarget, Head};
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Version;
use larder_seal::manifest::{Draft, Previous};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut};

use super::carry::{Carried, lifetime_of, same_content};
use super::{MoveOptions, MoveReport, Place, TRIES, nothing_there};
use crate::files::{KEEP_WITHIN_MS, Kept, at, damaged};
use crate::planted;
use crate::vault::{OpenFile, Vault, unexpected};

/// A move of a file under way.
struct Moving<'a> {
    vault: &'a Vault,
    from: &'a Place,
    to: &'a Place,
    source_key: SealedKey,
    target_key: SealedKey,
    options: MoveOptions,
    /// The version this put in place, if it did.
    placed: Option<Version>,
    /// A version there that had the content of the source.
    same: Option<Version>,
    /// What was there before, and is kept beside it.
    replaced: Option<OpenFile>,
    carried: Carried,
}

/// What is under the new name.
enum There {
    Nothing,
    /// What is moved, in place already: an earlier move was interrupted, or somebody else makes the same one.
    Same(OpenFile),
    /// Another file, or another state of the same.
    Other(OpenFile),
}

impl Vault {
    /// Moves a file or link.
    pub(super) async fn move_file(
        &self,
        from: &Place,
        to: &Place,
        options: MoveOptions,
    ) -> Result<MoveReport, Failure> {
        let mut moving = Moving {
            vault: self,
            from,
            to,
            source_key: self.names.entry_key(from.dir, from.name()),
            target_key: self.names.entry_key(to.dir, to.name()),
            options,
            placed: None,
            same: None,
            replaced: None,
            carried: Carried::default(),
        };
        moving.run().await
    }

    /// Moves a file whose folder is not known any more.
    pub(crate) async fn move_lost_file(&self, key: SealedKey, to: &Place) -> Result<MoveReport, Failure> {
        let from = Place { dir: to.dir, path: to.path.clone() };
        let mut moving = Moving {
            vault: self,
            from: &from,
            to,
            source_key: key,
            target_key: self.names.entry_key(to.dir, to.name()),
            options: MoveOptions { no_clobber: true, if_version: None },
            placed: None,
            same: None,
            replaced: None,
            carried: Carried::default(),
        };
        moving.run().await
    }

    /// There is no source: if an earlier move deleted it and did not get to its older versions, those follow now.
    pub(super) async fn finish_file(&self, from: &Place, to: &Place) -> Result<MoveReport, Failure> {
        let key = self.names.entry_key(from.dir, from.name());
        let target_key = self.names.entry_key(to.dir, to.name());
        let found = self.read(self.files, target_key.as_bytes(), true).await.map_err(|f| at(&to.path, f))?;
        let Some(found) = found else { return Err(nothing_there(&from.path)) };
        let entry = self.open_entry(target_key.as_bytes(), &found).map_err(|f| at(&to.path, f))?;
        let EntryTarget::File { id, .. } = entry.target else { return Err(nothing_there(&from.path)) };
        let history = self.history(key).await?;
        let of_it =
            |target: &EntryTarget| matches!(target, EntryTarget::File { id: other, .. } if *other == id);
        if entry.moves == 0 || !history.files().any(|(_, kept)| of_it(&kept.entry.target)) {
            return Err(nothing_there(&from.path));
        }
        let mut carried = Carried::default();
        self.carry(key, to, id, larder_format::record::Expiry::NEVER, &mut carried).await?;
        self.drop_kept(&carried.old).await?;
        Ok(MoveReport {
            to: to.path.clone(),
            folder: false,
            version: Some(found.version),
            replaced: None,
            versions: carried.old.len() as u64,
            left_behind: carried.left_behind,
            finished: true,
        })
    }

    /// The request that puts a file under a key, as what it is: the same content and identity, signed anew because what
    /// was under that name before may be newer than it. It takes its place in the same chain of versions.
    pub(crate) fn file_again(
        &self,
        key: SealedKey,
        name: &str,
        file: &OpenFile,
        moves: u64,
        above: u64,
    ) -> Result<(AskPut, u64), Failure> {
        let manifest = &file.manifest;
        let draft = Draft {
            file: file.info.id,
            kind: file.info.kind,
            revision: self.next_revision(key, manifest.revision.max(above)),
            previous: Previous {
                version: manifest.previous_version,
                revision: manifest.revision,
                statement: manifest.previous_statement,
            },
            size: manifest.size,
            content_hash: manifest.content_hash,
            chunking: manifest.chunking,
            content: manifest.content.clone(),
        };
        let manifest = draft.sign(&file.info.attributes, self.root.id(), &self.signer);
        let target = EntryTarget::File {
            id: file.info.id,
            kind: file.info.kind,
            size: file.info.size,
            attributes: file.info.attributes.clone(),
        };
        let head = Head::Entry(Entry { name: name.to_owned(), moves, target });
        let sealed = self.seal(self.files, key.as_bytes(), &head, &manifest.encode())?;
        let lifetime = lifetime_of(file.info.expiry);
        let put = AskPut { lifetime, head: sealed.head, body: sealed.body, ..AskPut::default() };
        Ok((put, manifest.revision))
    }
}

impl Moving<'_> {
    async fn run(&mut self) -> Result<MoveReport, Failure> {
        let mut finished = false;
        for round in 0..TRIES {
            let Some(source) = self.source().await? else {
                self.take_back().await?;
                return Err(match round {
                    0 => nothing_there(&self.from.path),
                    _ => gone_meanwhile(self.from),
                });
            };
            if planted::is(planted::SOURCE_FIRST) {
                self.delete_source(source.info.version).await?;
            }
            let there = self.there(&source).await?;
            let over = match there {
                There::Nothing => None,
                // Written once more: only who wrote what is there may delete the source, so that nobody takes it back
                // who comes to know that the source is gone.
                There::Same(target) => {
                    finished |= self.placed.is_none();
                    self.same = Some(target.info.version);
                    Some(target)
                }
                There::Other(target) => {
                    self.keep(&target).await?;
                    Some(target)
                }
            };
            if !self.place(&source, over).await? {
                continue;
            }
            let (id, expiry) = (source.info.id, source.info.expiry);
            self.vault.carry(self.source_key, self.to, id, expiry, &mut self.carried).await?;
            if planted::is(planted::SOURCE_FIRST) || self.delete_source(source.info.version).await? {
                self.vault.drop_kept(&self.carried.old).await?;
                return Ok(self.report(finished));
            }
        }
        let message = format!("{}: others keep writing to it; try again", self.from.path);
        Err(Failure::new(Kind::Retry, message))
    }

    fn report(&self, finished: bool) -> MoveReport {
        MoveReport {
            to: self.to.path.clone(),
            folder: false,
            version: self.placed,
            replaced: self.replaced.as_ref().map(|file| file.info.version),
            versions: self.carried.old.len() as u64,
            left_behind: self.carried.left_behind,
            finished,
        }
    }

    /// Whether a version under the new name is but what is being moved.
    fn is_same(&self, version: Version) -> bool {
        [self.placed, self.same].contains(&Some(version))
    }

    async fn source(&self) -> Result<Option<OpenFile>, Failure> {
        let (vault, path) = (self.vault, &self.from.path);
        let found = vault.read(vault.files, self.source_key.as_bytes(), false).await;
        let Some(found) = found.map_err(|f| damaged(path, f))? else { return Ok(None) };
        let file = vault.open_file(self.source_key.as_bytes(), found).map_err(|f| damaged(path, f))?;
        match self.options.if_version {
            Some(wanted) if wanted != file.info.version => {
                let message =
                    format!("{path}: has another version wanted={wanted} found={}", file.info.version);
                Err(Failure::new(Kind::Conflict, message))
            }
            _ => Ok(Some(file)),
        }
    }

    /// What is under the new name. Entries that show nothing are cleared away.
    async fn there(&self, source: &OpenFile) -> Result<There, Failure> {
        let (vault, path) = (self.vault, &self.to.path);
        for _ in 0..TRIES {
            let there = vault.look_up(self.to.dir, self.to.name(), true).await;
            let Some((now, standing)) = there.map_err(|f| damaged(path, f))? else {
                return Ok(There::Nothing);
            };
            if let EntryTarget::Directory { id, .. } = now.entry.target {
                if standing.is_shown() {
                    let message = format!("{path}: is a folder; a file does not take its place");
                    return Err(Failure::new(Kind::Conflict, message));
                }
                vault.clear_name(&now, id, standing, path).await?;
                continue;
            }
            let found = vault.read(vault.files, self.target_key.as_bytes(), false).await;
            let Some(found) = found.map_err(|f| damaged(path, f))? else { continue };
            let file = vault.open_file(self.target_key.as_bytes(), found).map_err(|f| damaged(path, f))?;
            if file.info.id == source.info.id && same_content(&file, source) {
                return Ok(There::Same(file));
            }
            if self.options.no_clobber && self.placed.is_none() {
                let version = file.info.version;
                let message = format!("{path}: exists already version={version}");
                return Err(Failure::new(Kind::Conflict, message));
            }
            return Ok(There::Other(file));
        }
        Err(Failure::new(Kind::Retry, format!("{path}: keeps changing; try again")))
    }

    /// Keeps what is there as an older version, as a put does. What this move itself put there is among the older
    /// versions of the source by now.
    async fn keep(&self, target: &OpenFile) -> Result<(), Failure> {
        if self.is_same(target.info.version) {
            return Ok(());
        }
        let keep_by_ms = self.vault.now_ms() + KEEP_WITHIN_MS;
        let kept = self.vault.keep_version(self.target_key, target, None, keep_by_ms).await?;
        if kept == Kept::Lost {
            let message = format!(
                "{}: the node does not hold its content any more, so it cannot be kept as an older version \
                 (larder rm --now deletes it)",
                self.to.path
            );
            return Err(Failure::new(Kind::Damaged, message));
        }
        Ok(())
    }

    /// Puts the file under its new name. `false`: somebody else was quicker.
    async fn place(&mut self, source: &OpenFile, over: Option<OpenFile>) -> Result<bool, Failure> {
        let vault = self.vault;
        let lease =
            vault.lease_again(self.target_key, source).await.map_err(|f| damaged(&self.from.path, f))?;
        let others = over.as_ref().map_or(0, |file| file.info.moves);
        let moves = source.info.moves.max(others) + 1;
        let above = over.as_ref().map_or(0, |file| file.manifest.revision);
        let (mut put, revision) = vault.file_again(self.target_key, self.to.name(), source, moves, above)?;
        put.condition = over.as_ref().map_or(Condition::Absent, |file| Condition::Version(file.info.version));
        put.tokens = lease.iter().map(|(token, _)| *token).collect();
        put.not_after_ms = lease.map(|(_, deadline_ms)| deadline_ms);
        let mut may_be_listed = false;
        let outcome = vault.put_once(self.target_key, Ask::Put(put), &mut may_be_listed).await;
        if let (false, Some((token, _))) = (may_be_listed, lease) {
            let _ = vault.remote.release(token).await;
        }
        let version = match outcome.map_err(|f| at(&self.to.path, f))? {
            Outcome::Written { version, .. } => version,
            Outcome::Conflict { .. } => return Ok(false),
            other => return Err(unexpected(&other)),
        };
        vault.wrote(self.target_key.as_bytes(), version, revision)?;
        if let Some(old) = over.filter(|file| !self.is_same(file.info.version)) {
            self.replaced = Some(old);
        }
        self.placed = Some(version);
        if !vault.takes_entries(self.to.dir).await? {
            self.take_back().await?;
            let message = format!("{}: its folder is being deleted", self.to.path);
            return Err(Failure::new(Kind::Conflict, message));
        }
        Ok(true)
    }

    /// Deletes the source if it is still what was moved. `false`: it is not.
    async fn delete_source(&self, version: Version) -> Result<bool, Failure> {
        let condition = match planted::is(planted::SOURCE_ANY) {
            true => Condition::Any,
            false => Condition::Version(version),
        };
        let vault = self.vault;
        match vault.change(vault.files, self.source_key.as_bytes(), Ask::Delete { condition }).await? {
            Outcome::Deleted { .. } => Ok(true),
            Outcome::Conflict { .. } | Outcome::Absent => Ok(false),
            other => Err(unexpected(&other)),
        }
    }

    /// The source was deleted or moved elsewhere meanwhile, so this is not what became of it. Puts back what was under
    /// the new name before.
    async fn take_back(&mut self) -> Result<(), Failure> {
        let Some(placed) = self.placed.take() else { return Ok(()) };
        let (vault, key) = (self.vault, self.target_key);
        let condition = Condition::Version(placed);
        let ask = match &self.replaced {
            None => Ask::Delete { condition },
            Some(old) => {
                let (put, _) =
                    vault.file_again(key, self.to.name(), old, old.info.moves, old.manifest.revision)?;
                Ask::Put(AskPut { condition, tokens: old.found.tokens.clone(), ..put })
            }
        };
        match vault.change(vault.files, key.as_bytes(), ask).await? {
            // Somebody wrote on top of it: then it is theirs, and what was there before is an older version.
            Outcome::Conflict { current: Some(_) } => return Ok(()),
            Outcome::Conflict { current: None } | Outcome::Absent => {}
            Outcome::Deleted { .. } | Outcome::Written { .. } => {}
            other => return Err(unexpected(&other)),
        }
        vault.drop_kept(&std::mem::take(&mut self.carried.new)).await?;
        // Who deletes the folder may have kept it: of the file itself, what is kept is kept under its own name.
        vault.delete_any(&key.version_key(placed)).await.map(|_| ())
    }
}

fn gone_meanwhile(from: &Place) -> Failure {
    let message = format!("{}: was deleted or moved by somebody else meanwhile", from.path);
    Failure::new(Kind::Conflict, message)
}
