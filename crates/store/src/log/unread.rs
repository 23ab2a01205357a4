//! A log that ends where the disk cannot read is not opened: what is there may have been acknowledged. Here is the
//! operator's word that it is given up: what that costs, and doing it.
//!
//! The file is copied with zeros for what cannot be read; then the file gets another name (`00000007.unread`), and the copy
//! takes its place. So nothing that the disk may give back one day is written over or goes on beside a second history, and
//! from then on the usual judgement holds: what was durable is lost, and what may not have been is cut off.
//!
//! A crash leaves the old file, or the new one, or none with the copy whole: [`finish`] puts that in its place.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use larder_format::rng::Rng;
use larder_format::segment::BLOCK_LEN;

use super::head::{Marks, give_up_kept, look_at_head};
use super::judge::{Found, Judged, entries};
use super::load::UNREAD_BLOCKS_MAX;
use super::open::{damaged, io_error, load_all, lock};
use super::segments::{numbered, segment_name};
use super::{LogConfig, LogStore};
use crate::api::StoreError;
use crate::disk::real::RealDisk;
use crate::disk::{Disk, DiskFile, OpenMode, is_full, is_unreadable};

/// How much is copied at once, in bytes.
const PIECE_LEN: usize = 1 << 20;

/// The ending of a file that is kept although nothing reads it any more, and of the copy that takes its place.
const ASIDE: &str = ".unread";
const COPY: &str = ".copy";

/// Most files of one number that are kept aside: a disk that needs more is to be replaced.
const ASIDE_MAX: u32 = 100;

/// What giving up the end of the log costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndLoss {
    /// Files that the disk cannot read.
    pub files: Vec<UnreadFile>,
    /// Stretches of frames that were durable and are lost, by first and last sequence number. Those lost elsewhere that nobody
    /// accepted are among them.
    pub lost: Vec<(u64, u64)>,
    /// Whatever was written from this number on is gone.
    pub next_sequence: u64,
    /// Frames from there on whose heads can be read: they go as well.
    pub cut_frames: u64,
}

/// A file that is kept under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadFile {
    /// What it is called.
    pub name: String,
    /// What it will be called, in the same folder.
    pub kept_as: String,
    /// How much of it the disk cannot read, in bytes; `None`: its head, without which nothing in it means anything.
    pub unread_bytes: Option<u64>,
}

/// A file that is kept although nothing reads it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsideFile {
    /// What it is called, in the data folder.
    pub name: String,
    /// Its length, in bytes: it counts in the node's quota.
    pub len: u64,
}

impl LogStore {
    /// Files that were kept aside when an end of the log was given up, with or without a node. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be read.
    pub fn kept_aside(folder: &Path) -> Result<Vec<AsideFile>, StoreError> {
        Self::kept_aside_on(&disk_of(folder)?)
    }

    /// As [`LogStore::kept_aside`], on any disk.
    ///
    /// # Errors
    /// As [`LogStore::kept_aside`].
    pub fn kept_aside_on(disk: &dyn Disk) -> Result<Vec<AsideFile>, StoreError> {
        let names = disk.list().map_err(io_error("listing the data folder"))?;
        let aside = names.into_iter().filter(|(name, _)| aside_number(name).is_some());
        Ok(aside.map(|(name, len)| AsideFile { name, len }).collect())
    }

    /// Removes files that were kept aside, with or without a node; answers which. Where giving up was interrupted the next start
    /// goes by them, so that those stay until it has.
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be read or changed.
    pub fn remove_aside(folder: &Path) -> Result<Vec<AsideFile>, StoreError> {
        Self::remove_aside_on(&disk_of(folder)?)
    }

    /// As [`LogStore::remove_aside`], on any disk.
    ///
    /// # Errors
    /// As [`LogStore::remove_aside`].
    pub fn remove_aside_on(disk: &dyn Disk) -> Result<Vec<AsideFile>, StoreError> {
        let names = disk.list().map_err(io_error("listing the data folder"))?;
        let is_copied = |number: u32| names.iter().any(|(name, _)| numbered(name, COPY) == Some(number));
        let mut removed = Self::kept_aside_on(disk)?;
        removed.retain(|file| aside_number(&file.name).is_some_and(|number| !is_copied(number)));
        for file in &removed {
            disk.remove(&file.name).map_err(io_error("removing what was kept aside"))?;
        }
        disk.sync_dir().map_err(io_error("removing what was kept aside"))?;
        Ok(removed)
    }

    /// What giving up the end of the log of this folder would cost; `None` if the disk can read it. Changes nothing.
    ///
    /// # Errors
    /// As [`LogStore::open`].
    pub fn end_loss(folder: &Path) -> Result<Option<EndLoss>, StoreError> {
        Self::end_loss_on(&disk_of(folder)?)
    }

    /// As [`LogStore::end_loss`], on any disk.
    ///
    /// # Errors
    /// As [`LogStore::open`].
    pub fn end_loss_on(disk: &dyn Disk) -> Result<Option<EndLoss>, StoreError> {
        lock(disk)?;
        finish(disk).map_err(io_error("putting a segment in its place"))?;
        loss(disk)
    }

    /// Gives up what the disk cannot read at the end of the log, keeps the files as they are under other names, and accepts the
    /// frames that are lost by it. `None`, and nothing was changed, if the disk can read it. Durable on return; after
    /// an error the store can be opened, or this called again.
    ///
    /// # Errors
    /// As [`LogStore::open`]; [`StoreError::DiskFull`] if there is no room for a copy of what can be read.
    pub fn give_up_end(
        folder: &Path,
        config: LogConfig,
        rng: &mut dyn Rng,
    ) -> Result<Option<EndLoss>, StoreError> {
        Self::give_up_end_on(Arc::new(disk_of(folder)?), config, rng)
    }

    /// As [`LogStore::give_up_end`], on any disk.
    ///
    /// # Errors
    /// As [`LogStore::give_up_end`].
    pub fn give_up_end_on(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        rng: &mut dyn Rng,
    ) -> Result<Option<EndLoss>, StoreError> {
        lock(disk.as_ref())?;
        finish(disk.as_ref()).map_err(io_error("putting a segment in its place"))?;
        let Some(loss) = loss(disk.as_ref())? else { return Ok(None) };
        for file in &loss.files {
            set_aside(disk.as_ref(), file)?;
            tracing::warn!(file = file.name, kept_as = file.kept_as, "the end of the log was given up");
        }
        let store = Self::open_locked(disk, config, rng)?;
        // Only what was said beforehand. More, were there any, is for whoever starts the node to be told of.
        let is_told = |(from, through): &(u64, u64)| {
            loss.lost.iter().any(|(first, last)| first <= from && through <= last)
        };
        if store.open_report().lost.iter().all(is_told) {
            store.accept_damage()?;
        }
        store.close()?;
        Ok(Some(loss))
    }
}

fn disk_of(folder: &Path) -> Result<RealDisk, StoreError> {
    RealDisk::open(folder).map_err(io_error("opening the data folder"))
}

impl Found {
    fn number(&self) -> u32 {
        match self {
            Found::Loaded(loaded) => loaded.stamp.number,
            Found::Headless(number, _) => *number,
        }
    }

    fn give_up_unread(&mut self) {
        match self {
            Found::Loaded(loaded) => loaded.give_up_unread(),
            Found::Headless(_, is_unread) => *is_unread = false,
        }
    }
}

/// Judges the log as it would be without what cannot be read.
fn loss(disk: &dyn Disk) -> Result<Option<EndLoss>, StoreError> {
    let names = disk.list().map_err(io_error("listing the data folder"))?;
    let Some(head) = look_at_head(disk, &names)? else { return Ok(None) };
    let marked = Marks::look(disk, &names, head.store)?;
    let mut found = load_all(disk, head.store, marked, 1)?;
    let mut given_up = BTreeSet::new();
    let mut judged = loop {
        match Judged::of(found.clone(), marked) {
            Ok(judged) => break judged,
            Err(unread) => {
                // Each round gives up one more, so there is an end to this.
                if unread.segments.is_subset(&given_up) {
                    return Err(unread.into());
                }
                given_up.extend(unread.segments);
                let hit = found.iter_mut().filter(|found| given_up.contains(&found.number()));
                hit.for_each(Found::give_up_unread);
            }
        }
    };
    if given_up.is_empty() {
        return Ok(None);
    }
    let next_sequence = judged.next_sequence;
    let mut loss = EndLoss { lost: judged.unaccepted(), next_sequence, ..EndLoss::default() };
    for found in &found {
        let Found::Loaded(loaded) = found else { continue };
        let all = entries(&loaded.list, u64::MAX);
        loss.cut_frames += all.filter(|entry| entry.sequence >= next_sequence).count() as u64;
    }
    for found in found.iter().filter(|found| given_up.contains(&found.number())) {
        let number = found.number();
        let unread_bytes = match found {
            Found::Loaded(loaded) => Some(loaded.unread_bytes),
            Found::Headless(..) => None,
        };
        let kept_as = aside_name(&names, number)?;
        loss.files.push(UnreadFile { name: segment_name(number), kept_as, unread_bytes });
    }
    Ok(Some(loss))
}

/// A name under which nothing is kept yet: numbers are given out again after an end was given up.
fn aside_name(names: &[(String, u64)], number: u32) -> Result<String, StoreError> {
    let name = |again: u32| match again {
        0 => format!("{number:08}{ASIDE}"),
        again => format!("{number:08}-{again}{ASIDE}"),
    };
    let is_free = |wanted: &String| names.iter().all(|(name, _)| name != wanted);
    let mut all = (0..ASIDE_MAX).map(name);
    all.find(is_free).ok_or_else(|| damaged("too many files were kept aside", name(0)))
}

/// Of which segment a file was kept aside; `None`: it is none of those.
fn aside_number(name: &str) -> Option<u32> {
    let stem = name.strip_suffix(ASIDE)?;
    let (number, again) = stem.split_once('-').unwrap_or((stem, "1"));
    (again.len() <= 2 && again.bytes().all(|digit| digit.is_ascii_digit())).then_some(())?;
    numbered(number, "")
}

/// Puts a copy that holds all that can be read in the place of a segment, and that under another name.
fn set_aside(disk: &dyn Disk, file: &UnreadFile) -> Result<(), StoreError> {
    let number = numbered(&file.name, ".seg").ok_or_else(|| damaged("no segment", file.name.clone()))?;
    let copy = format!("{number:08}{COPY}");
    let mut copied = copy_readable(disk, &file.name, &copy);
    if copied.as_ref().is_err_and(is_full) {
        let names = disk.list().map_err(io_error("listing the data folder"))?;
        give_up_kept(disk, &names)?;
        copied = copy_readable(disk, &file.name, &copy);
    }
    copied.map_err(io_error("copying what can be read of a segment"))?;
    // One after the other: a crash must not keep the second name alone.
    let moved = [(&file.name, &file.kept_as), (&copy, &file.name)].into_iter().try_for_each(|(from, to)| {
        disk.rename(from, to)?;
        disk.sync_dir()
    });
    moved.map_err(io_error("keeping a segment under another name"))
}

/// Copies a file, with zeros for what the disk cannot read. Durable on return, its name too; after an error there is no copy.
fn copy_readable(disk: &dyn Disk, from: &str, to: &str) -> io::Result<()> {
    let source = disk.open(from, OpenMode::Read)?;
    let copy = disk.open(to, OpenMode::CreateNew)?;
    let copied = copy_into(source.as_ref(), copy.as_ref()).and_then(|()| disk.sync_dir());
    if copied.is_err() {
        disk.remove(to)?;
    }
    copied
}

fn copy_into(source: &dyn DiskFile, copy: &dyn DiskFile) -> io::Result<()> {
    let len = source.size()?;
    copy.set_len(len)?;
    let mut piece = vec![0; PIECE_LEN];
    let mut tries_left = UNREAD_BLOCKS_MAX;
    let mut at = 0;
    while at < len {
        let part_len = usize::try_from(len - at).map_or(PIECE_LEN, |left| left.min(PIECE_LEN));
        let part = &mut piece[..part_len];
        read_around(source, at, part, &mut tries_left)?;
        // What was taken for frames to come takes no room in the copy.
        if part.iter().any(|byte| *byte != 0) {
            copy.write_at(at, &[IoSlice::new(part)])?;
        }
        at += part_len as u64;
    }
    copy.sync()
}

/// Reads a piece, with zeros for the blocks that cannot be read, or for all of it when too many were tried already.
fn read_around(source: &dyn DiskFile, at: u64, part: &mut [u8], tries_left: &mut usize) -> io::Result<()> {
    match source.read_at(at, part) {
        Err(error) if is_unreadable(&error) => {}
        Err(error) => return Err(error),
        Ok(read) => {
            part[read..].fill(0);
            return Ok(());
        }
    }
    for (number, block) in part.chunks_mut(BLOCK_LEN).enumerate() {
        let at = at + (number * BLOCK_LEN) as u64;
        let mut read = if *tries_left > 0 { source.read_at(at, block) } else { Ok(0) };
        if read.as_ref().is_err_and(is_unreadable) {
            // What is not copied now is lost for good as far as the store goes.
            read = source.read_at(at, block);
        }
        match read {
            Ok(read) => block[read..].fill(0),
            Err(error) if is_unreadable(&error) => {
                *tries_left -= 1;
                block.fill(0);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Finishes what a crash interrupted: a copy whose segment has its other name already takes its place; one whose segment is
/// still there was not finished, and goes.
pub(super) fn finish(disk: &dyn Disk) -> io::Result<()> {
    let names = disk.list()?;
    let has = |wanted: &str| names.iter().any(|(name, _)| name == wanted);
    for (copy, _) in &names {
        let Some(number) = numbered(copy, COPY) else { continue };
        let is_aside = |name: &str| name.starts_with(&format!("{number:08}")) && name.ends_with(ASIDE);
        if has(&segment_name(number)) {
            disk.remove(copy)?;
        } else if names.iter().any(|(name, _)| is_aside(name)) {
            disk.rename(copy, &segment_name(number))?;
        }
        disk.sync_dir()?;
    }
    Ok(())
}
