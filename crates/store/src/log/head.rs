//! What heads a store: the `STORE` file with its id and boot counter, and the marks file, which says how far
//! the log was durable when it was last written to.

use std::io::{self, IoSlice};
use std::sync::Arc;

use larder_format::ids::StoreId;
use larder_format::rng::Rng;
use larder_format::segment::{BLOCK_LEN, LOG_FORMAT, Stamp, StampKind};

use super::open::{damaged, io_error};
use super::segments::numbered;
use super::space::RESERVE_NAME;
use crate::api::StoreError;
use crate::disk::{Disk, DiskFile, OpenMode, is_full};

const STORE_NAME: &str = "STORE";
const STORE_NEW_NAME: &str = "STORE.new";
const MARKS_NAME: &str = "marks";

/// What the `STORE` file says.
pub(super) struct Head {
    pub(super) store: StoreId,
    pub(super) boot: u64,
    pub(super) created: bool,
}

/// What the `STORE` file says of the next start; `None` if there is no store yet.
pub(super) fn look_at_head(disk: &dyn Disk, names: &[(String, u64)]) -> Result<Option<Head>, StoreError> {
    if names.iter().any(|(name, _)| name == STORE_NAME) {
        let file = disk.open(STORE_NAME, OpenMode::Read).map_err(io_error("opening STORE"))?;
        let mut block = vec![0; BLOCK_LEN];
        file.read_at(0, &mut block).map_err(io_error("reading STORE"))?;
        let stamp = Stamp::decode_block(StampKind::Store, &block)
            .ok_or_else(|| damaged("the file that names the store cannot be read", STORE_NAME))?;
        check_version("store", stamp.version)?;
        return Ok(Some(Head { store: stamp.store, boot: stamp.first + 1, created: false }));
    }
    if names.iter().any(|(name, _)| numbered(name, ".seg").is_some()) {
        return Err(damaged("the file that names the store is missing", STORE_NAME));
    }
    Ok(None)
}

/// Makes room on a full disk: removes the reserve and spare files. They are taken again when there is room.
pub(super) fn give_up_kept(disk: &dyn Disk, names: &[(String, u64)]) -> Result<(), StoreError> {
    tracing::warn!("disk is full: what was kept aside is given up so that the store can be opened");
    let aside = |name: &&String| *name == RESERVE_NAME || numbered(name, ".free").is_some();
    for name in names.iter().map(|(name, _)| name).filter(aside) {
        disk.remove(name).map_err(io_error("giving up the reserve"))?;
    }
    Ok(())
}

/// Reads the `STORE` file and counts this start in it, or makes it.
pub(super) fn read_head(disk: &Arc<dyn Disk>, rng: &mut dyn Rng) -> Result<Head, StoreError> {
    let names = disk.list().map_err(io_error("listing the data folder"))?;
    let has = |wanted: &str| names.iter().any(|(name, _)| name == wanted);
    let head = match look_at_head(disk.as_ref(), &names)? {
        Some(head) => head,
        None => {
            let mut head = Head { store: StoreId([0; 16]), boot: 1, created: true };
            rng.fill(&mut head.store.0);
            head
        }
    };
    let mut written = write_head(disk.as_ref(), &head, has(STORE_NEW_NAME));
    if written.as_ref().is_err_and(is_full) {
        give_up_kept(disk.as_ref(), &names)?;
        // The first try made it, whatever became of its contents.
        let stale_new = disk.list().is_ok_and(|names| names.iter().any(|(name, _)| name == STORE_NEW_NAME));
        written = write_head(disk.as_ref(), &head, stale_new);
    }
    written.map_err(io_error("writing STORE"))?;
    Ok(head)
}

fn write_head(disk: &dyn Disk, head: &Head, stale_new: bool) -> io::Result<()> {
    let stamp = Stamp {
        kind: StampKind::Store,
        version: LOG_FORMAT,
        number: 0,
        store: head.store,
        first: head.boot,
        second: 0,
        third: 0,
    };
    // One that an earlier start left behind is written over, not replaced: were it removed and made anew,
    // a crash could keep the renaming below and lose the two changes before it.
    let mode = if stale_new { OpenMode::ReadWrite } else { OpenMode::CreateNew };
    let file = disk.open(STORE_NEW_NAME, mode)?;
    file.write_at(0, &[IoSlice::new(&stamp.encode_block())])?;
    file.sync()?;
    disk.rename(STORE_NEW_NAME, STORE_NAME)?;
    disk.sync_dir()
}

pub(super) fn check_version(what: &'static str, version: u32) -> Result<(), StoreError> {
    if version > LOG_FORMAT {
        return Err(StoreError::TooNew { what, version: version.into(), supported: LOG_FORMAT.into() });
    }
    Ok(())
}

/// The marks file: how far the log was durable when it was last written to.
pub(super) struct Marks {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) durable: u64,
    pub(super) counter: u64,
}

impl Marks {
    pub(super) fn open(disk: &dyn Disk, store: StoreId) -> Result<Self, StoreError> {
        let opened = match disk.open(MARKS_NAME, OpenMode::ReadWrite) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                disk.open(MARKS_NAME, OpenMode::CreateNew).and_then(|file| {
                    file.write_at(0, &[IoSlice::new(&vec![0; 2 * BLOCK_LEN])])?;
                    file.sync()?;
                    disk.sync_dir()?;
                    Ok(file)
                })
            }
            other => other,
        };
        let file = opened.map_err(io_error("opening the marks file"))?;
        Self::read(file, store)
    }

    /// As [`Marks::open`], without making the file where it is missing.
    pub(super) fn look(disk: &dyn Disk, names: &[(String, u64)], store: StoreId) -> Result<u64, StoreError> {
        if !names.iter().any(|(name, _)| name == MARKS_NAME) {
            return Ok(0);
        }
        let file = disk.open(MARKS_NAME, OpenMode::Read).map_err(io_error("opening the marks file"))?;
        Ok(Self::read(file, store)?.durable)
    }

    fn read(file: Arc<dyn DiskFile>, store: StoreId) -> Result<Self, StoreError> {
        let mut marks = Self { file, durable: 0, counter: 0 };
        let mut both = vec![0; 2 * BLOCK_LEN];
        marks.file.read_at(0, &mut both).map_err(io_error("reading the marks file"))?;
        for slot in both.chunks(BLOCK_LEN) {
            let Some(stamp) = Stamp::decode(StampKind::Mark, slot).filter(|s| s.store == store) else {
                continue;
            };
            marks.durable = marks.durable.max(stamp.first);
            marks.counter = marks.counter.max(stamp.second);
        }
        Ok(marks)
    }

    /// Notes, durably, that everything up to `durable` is, unless it says so already.
    pub(super) fn raise(&mut self, store: StoreId, durable: u64) -> io::Result<()> {
        if durable <= self.durable {
            return Ok(());
        }
        (self.durable, self.counter) = (durable, self.counter + 1);
        let stamp = Stamp {
            kind: StampKind::Mark,
            version: LOG_FORMAT,
            number: 0,
            store,
            first: durable,
            second: self.counter,
            third: 0,
        };
        let at = (self.counter % 2) * BLOCK_LEN as u64;
        self.file.write_at(at, &[IoSlice::new(&stamp.encode())])?;
        self.file.sync()
    }
}
