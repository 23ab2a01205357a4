//! The index against the plain truth: records in a `BTreeMap`, from which a listing is computed as one that asks the
//! node would, after random puts, moves (also half done), deletions, expiries and scans.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use larder_format::head::{
    Attributes, DirId, DirState, Directory, Entry, EntryTarget, FileId, FileKind, Head,
};
use larder_format::record::{Expiry, Version};
use larder_format::rng::{Rng, SeededRng};
use larder_seal::names::SealedKey;

use super::change::ChangeKind;
use super::item::Thing;
use super::look::Walked;
use super::tree::{NameIndex, Prefix};
use crate::path::VaultPath;

const ROOT: DirId = DirId([1; 16]);

fn prefix_of(dir: DirId) -> Prefix {
    let mut out = [0; 16];
    out.copy_from_slice(&blake3_like(&dir.0, b"dir")[..16]);
    out
}

/// Any mixing function will do here.
fn blake3_like(a: &[u8], b: &[u8]) -> [u8; 32] {
    let seed = a.iter().chain(b).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    SeededRng::new(seed).array()
}

fn key_of(dir: DirId, name: &str) -> SealedKey {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&prefix_of(dir));
    key[16..].copy_from_slice(&blake3_like(&dir.0, name.as_bytes())[..16]);
    SealedKey(key)
}

fn own_key(dir: DirId) -> SealedKey {
    key_of(dir, "\u{0}self")
}

fn index() -> NameIndex {
    NameIndex::new(ROOT, prefix_of)
}

type Record = (Head, Version, Expiry);

/// The node's records, and the index that follows them.
struct World {
    records: BTreeMap<[u8; 32], Record>,
    index: NameIndex,
    clock: u64,
    rng: SeededRng,
    dirs: Vec<DirId>,
    /// What a watcher has made of the changes: which things are where.
    watched: BTreeMap<Thing, String>,
    /// Nothing is left half done: then a watcher must know exactly what there is.
    calm: bool,
}

impl World {
    fn new(seed: u64, calm: bool) -> Self {
        let mut index = index();
        index.tell_changes();
        let rng = SeededRng::new(seed);
        Self {
            records: BTreeMap::new(),
            index,
            clock: 1,
            rng,
            dirs: vec![ROOT],
            watched: BTreeMap::new(),
            calm,
        }
    }

    fn pick(&mut self, below: usize) -> usize {
        usize::try_from(self.rng.below(below as u64)).unwrap()
    }

    fn name(&mut self) -> String {
        format!("n{}", self.rng.below(12))
    }

    fn dir(&mut self) -> DirId {
        let at = self.pick(self.dirs.len());
        self.dirs[at]
    }

    fn put(&mut self, key: SealedKey, head: Head, expiry: Expiry) {
        self.clock += 1;
        let version = Version::from_u64(self.clock);
        self.records.insert(key.0, (head.clone(), version, expiry));
        self.index.put(key, head, version, expiry).unwrap();
        self.follow();
    }

    fn delete(&mut self, key: SealedKey) {
        self.clock += 1;
        if self.records.remove(&key.0).is_some() {
            self.index.remove(key, Version::from_u64(self.clock), false);
            self.follow();
        }
    }

    /// What a watcher does.
    fn follow(&mut self) {
        for change in self.index.take_changes() {
            let thing = change.thing.expect("no reset in so small a world");
            match change.kind {
                ChangeKind::Created | ChangeKind::Updated => {
                    self.watched.insert(thing, change.path);
                }
                ChangeKind::Renamed | ChangeKind::Moved => {
                    // What is in a folder moves with it, and only the folder is told of.
                    // Of what hung nowhere, nobody knows where it was.
                    if let Some(from) = change.from.map(|from| from + "/") {
                        for path in self.watched.values_mut() {
                            if let Some(rest) = path.strip_prefix(&from) {
                                *path = format!("{}/{rest}", change.path);
                            }
                        }
                    }
                    self.watched.insert(thing, change.path);
                }
                ChangeKind::Deleted | ChangeKind::Expired => {
                    self.watched.remove(&thing);
                }
                ChangeKind::Reset => unreachable!(),
            }
        }
    }

    fn make_folder(&mut self) {
        let (parent, name) = (self.dir(), self.name());
        if self.records.contains_key(&key_of(parent, &name).0) {
            return;
        }
        let id = DirId(self.rng.array());
        self.dirs.push(id);
        let record = Directory { id, parent, name: name.clone(), moves: 0, state: DirState::Open };
        self.put(own_key(id), Head::Directory(record), Expiry::NEVER);
        let target = EntryTarget::Directory { id, attributes: Attributes::default() };
        self.put(key_of(parent, &name), Head::Entry(Entry { name, moves: 0, target }), Expiry::NEVER);
    }

    fn put_file(&mut self) {
        let (dir, name) = (self.dir(), self.name());
        let key = key_of(dir, &name);
        let id = match self.records.get(&key.0) {
            Some((Head::Entry(Entry { target: EntryTarget::File { id, .. }, .. }), ..)) => *id,
            Some(_) => return,
            None => FileId(self.rng.array()),
        };
        let size = self.rng.below(1000);
        let expiry =
            if self.rng.below(4) == 0 { Expiry::at_ms(1 + self.rng.below(500)) } else { Expiry::NEVER };
        let target = EntryTarget::File { id, kind: FileKind::File, size, attributes: Attributes::default() };
        self.put(key, Head::Entry(Entry { name, moves: 0, target }), expiry);
    }

    fn some_entry(&mut self, folder: bool) -> Option<(DirId, Entry, Expiry)> {
        let all: Vec<_> = self
            .dirs
            .iter()
            .flat_map(|dir| {
                let prefix = prefix_of(*dir);
                let in_it = self.records.iter().filter(move |(key, _)| key.starts_with(&prefix));
                in_it.filter_map(move |(_, (head, _, expiry))| match head {
                    Head::Entry(entry) => Some((*dir, entry.clone(), *expiry)),
                    _ => None,
                })
            })
            .filter(|(_, entry, _)| matches!(entry.target, EntryTarget::Directory { .. }) == folder)
            .collect();
        if all.is_empty() {
            return None;
        }
        let at = self.pick(all.len());
        Some(all[at].clone())
    }

    /// As the design has it: the target first, with a higher move counter, then the source. Perhaps not to its end.
    fn move_file(&mut self) {
        let Some((dir, entry, expiry)) = self.some_entry(false) else { return };
        let (to, name) = (self.dir(), self.name());
        if self.records.contains_key(&key_of(to, &name).0) {
            return;
        }
        let source = key_of(dir, &entry.name);
        let moved = Entry { name: name.clone(), moves: entry.moves + 1, ..entry };
        self.put(key_of(to, &name), Head::Entry(moved), expiry);
        if self.calm || self.rng.below(4) > 0 {
            self.delete(source);
        }
    }

    fn move_folder(&mut self) {
        let Some((dir, entry, expiry)) = self.some_entry(true) else { return };
        let EntryTarget::Directory { id, .. } = entry.target else { return };
        let (to, name) = (self.dir(), self.name());
        if self.records.contains_key(&key_of(to, &name).0) || self.is_below(to, id) {
            return;
        }
        let source = key_of(dir, &entry.name);
        let moved = Entry { name: name.clone(), moves: entry.moves + 1, ..entry };
        self.put(key_of(to, &name), Head::Entry(moved), expiry);
        if !self.calm && self.rng.below(5) == 0 {
            return;
        }
        let record = Directory { id, parent: to, name, moves: 1, state: DirState::Open };
        self.put(own_key(id), Head::Directory(record), Expiry::NEVER);
        if self.calm || self.rng.below(5) > 0 {
            self.delete(source);
        }
    }

    fn is_below(&self, mut dir: DirId, top: DirId) -> bool {
        for _ in 0..1000 {
            if dir == top {
                return true;
            }
            match self.records.get(&own_key(dir).0) {
                Some((Head::Directory(record), ..)) => dir = record.parent,
                _ => return false,
            }
        }
        true
    }

    fn close_or_forget_folder(&mut self) {
        let dir = self.dir();
        let key = own_key(dir);
        let Some((Head::Directory(record), ..)) = self.records.get(&key.0).cloned() else { return };
        if self.rng.below(2) == 0 {
            let record = Directory { state: DirState::Closing, ..record };
            self.put(key, Head::Directory(record), Expiry::NEVER);
        } else {
            self.delete(key);
        }
    }

    fn expire(&mut self) {
        let now = self.rng.below(500);
        let due: Vec<_> = self
            .records
            .iter()
            .filter(|(_, (_, _, expiry))| expiry.ms().is_some_and(|ms| ms <= now))
            .map(|(key, (_, version, _))| (SealedKey(*key), *version))
            .collect();
        for (key, version) in due {
            self.records.remove(&key.0);
            self.index.remove(key, version, true);
            self.follow();
        }
    }

    /// Changes that the index is not told of, and then a scan.
    fn rescan(&mut self) {
        let keys: Vec<_> = self.records.keys().copied().collect();
        for key in keys {
            let target = match &self.records[&key].0 {
                Head::Entry(entry) => Some(&entry.target),
                _ => None,
            };
            let is_file = matches!(target, Some(EntryTarget::File { .. }));
            if self.rng.below(4) == 0 && (is_file || !self.calm) {
                self.records.remove(&key);
            } else if self.rng.below(4) == 0 {
                self.clock += 1;
                let version = Version::from_u64(self.clock);
                self.records.get_mut(&key).unwrap().1 = version;
            }
        }
        self.index.begin_scan();
        for (key, (head, version, expiry)) in &self.records {
            self.index.put(SealedKey(*key), head.clone(), *version, *expiry).unwrap();
        }
        self.index.end_scan(0);
        self.follow();
    }

    fn step(&mut self) {
        match self.rng.below(40) {
            0..6 => self.make_folder(),
            6..20 => self.put_file(),
            20..26 => self.move_file(),
            26..30 => self.move_folder(),
            30..36 => {
                let folder = !self.calm && self.rng.below(6) == 0;
                if let Some((dir, entry, _)) = self.some_entry(folder) {
                    self.delete(key_of(dir, &entry.name));
                }
            }
            36 if !self.calm => self.close_or_forget_folder(),
            37 => self.expire(),
            38 => self.rescan(),
            _ if self.calm => {}
            _ => {
                let (dir, name) = (self.dir(), self.name());
                self.delete(key_of(dir, &name));
            }
        }
    }

    /// Everything below a folder as the records say it: path, deleting, version.
    fn truth(&self) -> BTreeMap<VaultPath, (bool, Version)> {
        let mut out = BTreeMap::new();
        let mut open = vec![(ROOT, VaultPath::default())];
        while let Some((dir, at)) = open.pop() {
            let prefix = prefix_of(dir);
            for (key, (head, version, _)) in self.records.range(prefix_start(prefix)..) {
                if !key.starts_with(&prefix) {
                    break;
                }
                let Head::Entry(entry) = head else { continue };
                let path = at.join(&entry.name).unwrap();
                match entry.target {
                    EntryTarget::File { id, .. } => {
                        let target = &entry.target;
                        let outdone = self.records.values().any(|(other, ..)| match other {
                            Head::Entry(Entry {
                                moves,
                                target: other @ EntryTarget::File { id: theirs, .. },
                                ..
                            }) => *theirs == id && *moves > entry.moves && other == target,
                            _ => false,
                        });
                        if !outdone {
                            out.insert(path, (false, *version));
                        }
                    }
                    EntryTarget::Directory { id, .. } => {
                        let Some((Head::Directory(own), ..)) = self.records.get(&own_key(id).0) else {
                            continue;
                        };
                        if own.parent != dir || own.name != entry.name {
                            continue;
                        }
                        let closing = own.state == DirState::Closing;
                        out.insert(path.clone(), (closing, *version));
                        if !closing {
                            open.push((id, path));
                        }
                    }
                }
            }
        }
        out
    }

    fn check(&mut self) {
        let truth = self.truth();
        let mut found = Vec::new();
        let mut after = None;
        let page = 1 + self.pick(7);
        loop {
            let top = VaultPath::default();
            let root = self.index.folder(&top).unwrap();
            let walked = self.index.walk(root, &top, after.as_ref(), 0, page, |at, row| {
                let listed = row.listed(at.join(row.name()).unwrap());
                found.push((listed.path, (listed.deleting, listed.version)));
                ControlFlow::Continue(())
            });
            match walked {
                Walked::All => break,
                Walked::To(path) => after = Some(path),
            }
        }
        let wanted: Vec<_> = truth.into_iter().collect();
        assert_eq!(found, wanted);
        self.check_folders(&found);
        if self.calm {
            self.check_watched(&found);
        }
    }

    fn check_folders(&self, found: &[(VaultPath, (bool, Version))]) {
        let mut folders = vec![VaultPath::default()];
        folders.extend(found.iter().map(|(path, _)| path.clone()));
        for path in folders {
            let Ok(folder) = self.index.folder(&path) else { continue };
            let names: Vec<String> = found
                .iter()
                .filter_map(|(p, _)| {
                    p.split().filter(|(parent, _)| *parent == path).map(|(_, n)| n.to_owned())
                })
                .collect();
            for after in [None, names.first(), names.last()] {
                let mut listed = Vec::new();
                self.index.list(folder, after.map(String::as_str), 0, |row| {
                    listed.push(row.name().to_owned());
                    ControlFlow::Continue(())
                });
                let wanted: Vec<_> =
                    names.iter().filter(|name| after.is_none_or(|after| *name > after)).cloned().collect();
                assert_eq!(listed, wanted, "{path}");
            }
        }
    }

    /// Who followed the changes knows of everything that can be seen, and where it is.
    fn check_watched(&self, found: &[(VaultPath, (bool, Version))]) {
        let mut known: Vec<String> = self.watched.values().cloned().collect();
        known.sort();
        let mut wanted: Vec<String> = found.iter().map(|(path, _)| path.to_string()).collect();
        wanted.sort();
        assert_eq!(known, wanted);
    }
}

fn prefix_start(prefix: Prefix) -> [u8; 32] {
    let mut start = [0; 32];
    start[..16].copy_from_slice(&prefix);
    start
}

#[test]
fn the_index_shows_what_the_records_say() {
    for seed in 0..60 {
        let mut world = World::new(seed, seed % 3 == 0);
        for step in 0..300 {
            world.step();
            if step % 7 == 0 {
                world.check();
            }
        }
        world.check();
    }
}

#[test]
fn records_taken_apart_and_put_together_are_the_same_index() {
    for seed in 0..10 {
        let mut world = World::new(seed, false);
        (0..400).for_each(|_| world.step());
        let mut copy = index();
        let mut from = Some(0);
        while let Some(place) = from {
            let put =
                |key, head: Option<Head>, version, expiry| copy.put(key, head.unwrap(), version, expiry);
            from = world.index.some_records(place, put).unwrap();
        }
        world.index = copy;
        world.watched.clear();
        let truth = world.truth();
        let mut found = BTreeMap::new();
        let top = VaultPath::default();
        world.index.walk(world.index.folder(&top).unwrap(), &top, None, 0, usize::MAX, |at, row| {
            let listed = row.listed(at.join(row.name()).unwrap());
            found.insert(listed.path, (listed.deleting, listed.version));
            ControlFlow::Continue(())
        });
        assert_eq!(found, truth);
    }
}

#[test]
fn a_move_is_one_change_and_a_rename_says_so() {
    let mut world = World::new(1, true);
    let target = |id| EntryTarget::File {
        id: FileId([id; 16]),
        kind: FileKind::File,
        size: 1,
        attributes: Attributes::default(),
    };
    let entry = |name: &str, moves| Head::Entry(Entry { name: name.to_owned(), moves, target: target(9) });
    let dir = DirId([5; 16]);
    let record = Directory { id: dir, parent: ROOT, name: "d".to_owned(), moves: 0, state: DirState::Open };
    let folder = EntryTarget::Directory { id: dir, attributes: Attributes::default() };
    let folder = Head::Entry(Entry { name: "d".to_owned(), moves: 0, target: folder });
    let index = &mut world.index;
    let mut version = 1;
    let mut put = |index: &mut NameIndex, key, head| {
        version += 1;
        index.put(key, head, Version::from_u64(version), Expiry::NEVER).unwrap();
        let told = index.take_changes();
        told.into_iter().map(|c| (c.kind, c.from, c.path)).collect::<Vec<_>>()
    };
    let path = |text: &str| text.to_owned();
    assert_eq!(put(index, own_key(dir), Head::Directory(record)), vec![]);
    assert_eq!(put(index, key_of(ROOT, "d"), folder), vec![(ChangeKind::Created, None, path("/d"))]);
    assert_eq!(put(index, key_of(ROOT, "a"), entry("a", 0)), vec![(ChangeKind::Created, None, path("/a"))]);
    assert_eq!(
        put(index, key_of(ROOT, "b"), entry("b", 1)),
        vec![(ChangeKind::Renamed, Some(path("/a")), path("/b"))]
    );
    index.remove(key_of(ROOT, "a"), Version::from_u64(900), false);
    assert_eq!(index.take_changes(), vec![]);
    assert_eq!(
        put(index, key_of(dir, "b"), entry("b", 2)),
        vec![(ChangeKind::Moved, Some(path("/b")), path("/d/b"))]
    );
    assert_eq!(put(index, key_of(dir, "b"), entry("b", 2)), vec![(ChangeKind::Updated, None, path("/d/b"))]);
    index.remove(key_of(ROOT, "b"), Version::from_u64(901), false);
    assert_eq!(index.take_changes(), vec![]);
    index.remove(key_of(dir, "b"), Version::from_u64(3), true);
    assert_eq!(index.take_changes(), vec![], "an older event changes nothing");
    index.remove(key_of(dir, "b"), Version::from_u64(7), true);
    assert_eq!(index.take_changes()[0].kind, ChangeKind::Expired);
}

#[test]
fn what_was_written_to_after_a_cut_off_move_is_shown_under_both_names() {
    let mut world = World::new(1, true);
    let index = &mut world.index;
    let mut version = 1;
    let mut put = |index: &mut NameIndex, name: &str, moves, size| {
        version += 1;
        let (id, attributes) = (FileId([9; 16]), Attributes::default());
        let target = EntryTarget::File { id, kind: FileKind::File, size, attributes };
        let head = Head::Entry(Entry { name: name.to_owned(), moves, target });
        index.put(key_of(ROOT, name), head, Version::from_u64(version), Expiry::NEVER).unwrap();
    };
    let names = |index: &NameIndex| {
        let mut names = Vec::new();
        index.list(index.folder(&VaultPath::default()).unwrap(), None, 0, |row| {
            names.push(row.name().to_owned());
            ControlFlow::Continue(())
        });
        names
    };
    put(index, "a", 0, 1);
    put(index, "b", 1, 1);
    assert_eq!(names(index), ["b"], "one file, where it was moved to last");
    put(index, "a", 0, 2);
    assert_eq!(names(index), ["a", "b"], "another thing by now");
}
