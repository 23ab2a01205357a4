//! What could be deleted when there is no room: one pass over all that the vault keeps, which remembers only the
//! largest. Records come in the order of their keys, a file before its versions, so that a file is judged as soon as
//! the next one begins.

use std::collections::HashMap;

use larder_format::error::Kind;
use larder_format::head::{EntryTarget, Head};
use larder_format::operation::{Condition, Found, Outcome};
use larder_format::record::{Key, Version};
use larder_seal::names::{DIR_PREFIX_LEN, SealedKey};
use larder_wire::answer::Failure;
use larder_wire::request::Ask;

use crate::meter::Meter;
use crate::remote::Scan;
use crate::vault::{Vault, unexpected};

/// Deepest climb from a file to the root: more is a loop.
const CLIMB_MAX: usize = larder_format::limits::PATH_DEPTH_MAX;

/// Why something could go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateKind {
    /// It is deleted already and kept until its trash time is over.
    Trash,
    /// Older versions of a file that is there.
    Older,
    /// A file that is there, with all its versions.
    File,
}

/// One thing that could be deleted.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Why it could go.
    pub kind: CandidateKind,
    /// Where it is, or was.
    pub path: String,
    /// How many versions would go.
    pub versions: u64,
    /// Their content, in bytes. Chunks that others share would stay.
    pub bytes: u64,
    /// When the newest of them was written, in milliseconds since 1970.
    pub changed_ms: u64,
    /// When they go by themselves; `None`: never.
    pub ends_ms: Option<u64>,
    key: SealedKey,
    /// Of the file that is there, when it was looked at.
    current: Option<Version>,
    /// Version of the last of its older versions' records to be changed: what was changed since, nobody was shown.
    until: u64,
}

/// How much of one kind there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// Files.
    pub files: u64,
    /// Versions of them.
    pub versions: u64,
    /// Their content, in bytes.
    pub bytes: u64,
}

/// What could be deleted.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    /// Everything in the trash.
    pub trash: Total,
    /// Everything older versions take.
    pub older: Total,
    /// All files that are there.
    pub files: Total,
    /// The largest of each kind: trash, older versions, files.
    pub largest: Vec<Candidate>,
    /// Highest version of all records that were looked at.
    until: u64,
}

/// The records of one file.
#[derive(Default)]
struct Group {
    name: String,
    /// Length and version.
    current: Option<(u64, Version)>,
    until: u64,
    older: Total,
    newest_ms: u64,
    ends_ms: Option<u64>,
    /// Some of its versions were changed too late to be counted.
    changed: bool,
}

/// The largest seen so far, largest first.
struct Largest {
    limit: usize,
    list: Vec<Candidate>,
}

impl Largest {
    fn add(&mut self, candidate: Candidate) {
        let at = self.list.partition_point(|c| c.bytes >= candidate.bytes);
        if at < self.limit {
            self.list.insert(at, candidate);
            self.list.truncate(self.limit);
        }
    }
}

/// The pass under way.
struct Pass {
    /// Older versions whose records were changed after this version was written do not count.
    until: u64,
    found: Candidates,
    /// One list for each kind.
    largest: [Largest; 3],
    /// Folders by the prefix of what is in them: the prefix that they are in, and their name.
    folders: HashMap<[u8; DIR_PREFIX_LEN], ([u8; DIR_PREFIX_LEN], String)>,
    group: Option<(SealedKey, Group)>,
}

fn prefix_of(key: &[u8]) -> [u8; DIR_PREFIX_LEN] {
    let mut prefix = [0; DIR_PREFIX_LEN];
    prefix.copy_from_slice(&key[..DIR_PREFIX_LEN]);
    prefix
}

impl Pass {
    fn new(limit: usize) -> Self {
        let list = || Largest { limit, list: Vec::new() };
        Self {
            until: u64::MAX,
            found: Candidates::default(),
            largest: [list(), list(), list()],
            folders: HashMap::new(),
            group: None,
        }
    }

    fn take(&mut self, vault: &Vault, record: &Key, found: &Found) {
        let (written, until) = (found.version.to_u64(), self.until);
        self.found.until = self.found.until.max(written);
        let Some((key, called)) = SealedKey::parse(record.as_bytes()) else { return };
        // What cannot be opened is another vault's, or damaged: for other commands.
        let Ok(Head::Entry(entry)) = vault.open_head(vault.files, record.as_bytes(), &found.head) else {
            return;
        };
        match entry.target {
            EntryTarget::Directory { id, .. } => {
                let within = prefix_of(key.as_bytes());
                self.folders.insert(vault.names.dir_prefix(id), (within, entry.name));
            }
            EntryTarget::File { size, .. } => {
                if self.group.as_ref().is_none_or(|(of, _)| of.as_bytes() != key.as_bytes()) {
                    self.end_group();
                    self.group = Some((key, Group::default()));
                }
                let Some((_, group)) = &mut self.group else { return };
                group.name = entry.name;
                let Some(called) = called else {
                    group.current = Some((size, found.version));
                    return;
                };
                if written > until {
                    group.changed = true;
                    return;
                }
                group.until = group.until.max(written);
                group.older.versions += 1;
                group.older.bytes += size;
                group.newest_ms = group.newest_ms.max(called.0.ms());
                group.ends_ms = group.ends_ms.max(found.expiry.ms());
            }
        }
    }

    fn end_group(&mut self) {
        let Some((key, group)) = self.group.take() else { return };
        let candidate = |kind, versions, bytes, changed_ms| Candidate {
            kind,
            path: group.name.clone(),
            versions,
            bytes,
            changed_ms,
            ends_ms: group.ends_ms.filter(|_| kind != CandidateKind::File),
            key,
            current: group.current.map(|(_, version)| version),
            until: group.until,
        };
        let older = group.older;
        let kind = if group.current.is_some() { CandidateKind::Older } else { CandidateKind::Trash };
        // What was deleted too late was in no list of what was deleted.
        let counts = kind == CandidateKind::Older || !group.changed;
        if older.versions > 0 && counts {
            let total =
                if kind == CandidateKind::Trash { &mut self.found.trash } else { &mut self.found.older };
            total.files += 1;
            total.versions += older.versions;
            total.bytes += older.bytes;
            let place = usize::from(kind == CandidateKind::Older);
            self.largest[place].add(candidate(kind, older.versions, older.bytes, group.newest_ms));
        }
        if let Some((size, written)) = group.current {
            self.found.files.files += 1;
            self.found.files.versions += 1;
            self.found.files.bytes += size;
            let (versions, bytes) = (older.versions + 1, older.bytes.saturating_add(size));
            self.largest[2].add(candidate(CandidateKind::File, versions, bytes, written.0.ms()));
        }
    }

    /// The path of what has this name in the folder of this prefix.
    fn path(&self, root: &[u8; DIR_PREFIX_LEN], key: SealedKey, name: &str) -> String {
        let mut names = vec![name];
        let mut prefix = prefix_of(key.as_bytes());
        for _ in 0..CLIMB_MAX {
            if prefix == *root {
                names.push("");
                break;
            }
            let Some((above, folder)) = self.folders.get(&prefix) else {
                names.push("(a folder that is gone)");
                break;
            };
            names.push(folder);
            prefix = *above;
        }
        names.reverse();
        names.join("/")
    }

    fn finish(mut self, vault: &Vault) -> Candidates {
        self.end_group();
        let root = vault.names.dir_prefix(vault.names.root_dir());
        let lists = std::mem::take(&mut self.largest.each_mut().map(|l| std::mem::take(&mut l.list)));
        let mut largest: Vec<Candidate> = lists.into_iter().flatten().collect();
        for candidate in &mut largest {
            candidate.path = self.path(&root, candidate.key, &candidate.path);
        }
        Candidates { largest, ..self.found }
    }
}

impl Vault {
    /// What could be deleted: totals, and the `limit` largest of each kind.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn candidates(&self, limit: usize, meter: &Meter) -> Result<Candidates, Failure> {
        let mut pass = Pass::new(limit);
        let mut pages = self.remote.scan(Scan::heads(self.files, &[])).await?;
        while let Some(page) = pages.next().await? {
            meter.expect(page.records.len() as u64, 0);
            for (record, found) in &page.records {
                pass.take(self, record, found);
                meter.file_done();
            }
        }
        Ok(pass.finish(self))
    }

    /// Deletes a candidate for good, as it was when it was looked at; answers how many versions went. Nothing goes of what
    /// was brought back, replaced or deleted meanwhile: what is kept of it now is somebody's way back.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn delete_candidate(&self, candidate: &Candidate) -> Result<u64, Failure> {
        let key = candidate.key;
        let now = match self.read(self.files, key.as_bytes(), true).await {
            // It is there, whatever it is.
            Err(failure) if failure.kind == Kind::Damaged => candidate.current,
            now => now?.map(|found| found.version),
        };
        let mut gone = 0;
        match (candidate.kind, candidate.current) {
            (CandidateKind::File, Some(seen)) => {
                if now != Some(seen) {
                    return Ok(0);
                }
                let ask = Ask::Delete { condition: Condition::Version(seen) };
                match self.change(self.files, key.as_bytes(), ask).await? {
                    Outcome::Deleted { .. } => gone += 1,
                    Outcome::Absent | Outcome::Conflict { .. } => return Ok(0),
                    other => return Err(unexpected(&other)),
                }
            }
            (CandidateKind::Older, _) if now.is_none() => return Ok(0),
            (CandidateKind::Trash, _) if now.is_some() => return Ok(0),
            (CandidateKind::File, None) => return Ok(0),
            (CandidateKind::Trash | CandidateKind::Older, _) => {}
        }
        Ok(gone + self.drop_versions(key, Version::from_u64(candidate.until)).await?)
    }

    /// Deletes for good all that was deleted before, or all older versions of what is there, as far as that was so when
    /// everything was looked at; answers how many versions went.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn delete_all(&self, kind: CandidateKind, seen: &Candidates) -> Result<u64, Failure> {
        let place = match kind {
            CandidateKind::Trash => 0,
            CandidateKind::Older => 1,
            CandidateKind::File => return Ok(0),
        };
        let mut gone = 0;
        // In portions, so that what is to be deleted is never held as a whole.
        loop {
            let mut pass = Pass { until: seen.until, ..Pass::new(DELETE_PORTION) };
            let mut pages = self.remote.scan(Scan::heads(self.files, &[])).await?;
            while let Some(page) = pages.next().await? {
                for (record, found) in &page.records {
                    pass.take(self, record, found);
                }
            }
            pass.end_group();
            let some = std::mem::take(&mut pass.largest[place].list);
            let mut now = 0;
            for candidate in &some {
                now += self.delete_candidate(candidate).await?;
            }
            gone += now;
            if some.len() < DELETE_PORTION || now == 0 {
                return Ok(gone);
            }
        }
    }

    /// Where the files are whose records have these keys, as far as there are such files in this vault.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn paths_of(&self, keys: &[Vec<u8>]) -> Result<HashMap<Vec<u8>, String>, Failure> {
        let mut pass = Pass::new(0);
        let mut names = HashMap::new();
        let mut pages = self.remote.scan(Scan::heads(self.files, &[])).await?;
        while let Some(page) = pages.next().await? {
            for (record, found) in &page.records {
                pass.take(self, record, found);
                if let (Some((key, _)), Some((_, group))) = (SealedKey::parse(record.as_bytes()), &pass.group)
                    && keys.iter().any(|wanted| wanted.starts_with(key.as_bytes()))
                {
                    names.insert(key.as_bytes().to_vec(), (key, group.name.clone()));
                }
            }
        }
        let root = self.names.dir_prefix(self.names.root_dir());
        Ok(names.into_iter().map(|(bytes, (key, name))| (bytes, pass.path(&root, key, &name))).collect())
    }
}

/// Files whose deletion is prepared in one pass.
const DELETE_PORTION: usize = 10_000;

#[cfg(test)]
mod tests {
    use larder_seal::names::SEALED_KEY_LEN;

    use super::*;

    #[test]
    fn what_was_deleted_too_late_takes_nobodys_place() {
        let key = SealedKey([7; SEALED_KEY_LEN]);
        let group = |versions, changed, is_there: bool| Group {
            older: Total { files: 1, versions, bytes: 9 * versions },
            current: is_there.then(|| (1, Version::from_u64(8))),
            changed,
            ..Group::default()
        };
        let mut pass = Pass::new(1);
        for group in [group(5, true, false), group(2, false, false), group(3, true, true)] {
            pass.group = Some((key, group));
            pass.end_group();
        }
        let [trash, older, _] = pass.largest.map(|largest| largest.list);
        assert_eq!((trash[0].versions, older[0].versions), (2, 3));
        assert_eq!(pass.found.trash.versions, 2);
    }
}
