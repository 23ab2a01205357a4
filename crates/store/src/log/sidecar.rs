//! Sidecars: the list of a sealed segment's frames in a file of its own, so that opening reads names and
//! not values. Made in the background after a segment was sealed; believed only if everything matches; made
//! anew whenever it is missing.

use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;

use larder_format::segment::sidecar::{ENTRY_LEN, SidecarEntry};
use larder_format::segment::{BLOCK_LEN, FrameKind, LOG_FORMAT, Stamp, StampKind, checksum};

use super::load::load_segment;
use super::queue::Log;
use super::segments::{Segment, numbered};
use crate::disk::{Disk, OpenMode};

/// Longest list that is read, in bytes: a segment of the smallest frames has no longer one.
const LIST_LEN_MAX: u64 = 1 << 30;

/// File name of a segment's sidecar.
pub(super) fn sidecar_name(number: u32) -> String {
    format!("{number:08}.idx")
}

/// The list in a sidecar, if it is that of this very segment and whole.
pub(super) fn read(disk: &dyn Disk, segment: &Stamp) -> Option<Vec<u8>> {
    let file = disk.open(&sidecar_name(segment.number), OpenMode::Read).ok()?;
    let mut block = vec![0; BLOCK_LEN];
    file.read_at(0, &mut block).ok()?;
    let stamp = Stamp::decode_block(StampKind::Sidecar, &block)?;
    let of_this = stamp.version == LOG_FORMAT
        && stamp.number == segment.number
        && stamp.store == segment.store
        && stamp.first == segment.first;
    if !of_this || stamp.second > LIST_LEN_MAX || file.size().ok()? < BLOCK_LEN as u64 + stamp.second {
        return None;
    }
    let mut list = vec![0; usize::try_from(stamp.second).ok()?];
    let whole = file.read_at(BLOCK_LEN as u64, &mut list).ok()? == list.len();
    let holds = checksum(&list, 0) == stamp.third || crate::planted::is("sidecar trusted without checksum");
    (whole && holds).then_some(list)
}

/// Removes sidecars whose segments are gone: a crash may have come between the two.
pub(super) fn remove_orphans(disk: &dyn Disk) -> io::Result<()> {
    let names: Vec<String> = disk.list()?.into_iter().map(|(name, _)| name).collect();
    let of = |extension| names.iter().filter_map(move |name| numbered(name, extension));
    let segments: Vec<u32> = of(".seg").collect();
    of(".idx").filter(|number| !segments.contains(number)).try_for_each(|n| disk.remove(&sidecar_name(n)))
}

/// The last frame in a list, if that frame ends its segment. Such a frame says nothing, so it is the fixed
/// part of an entry at the very end.
pub(super) fn last_if_ended(list: &[u8]) -> Option<SidecarEntry<'_>> {
    let (last, rest) = SidecarEntry::decode(list.get(list.len().checked_sub(ENTRY_LEN)?..)?)?;
    (last.kind == FrameKind::End && rest.is_empty()).then_some(last)
}

fn write(disk: &dyn Disk, segment: &Stamp, list: &[u8]) -> io::Result<()> {
    let stamp = Stamp {
        kind: StampKind::Sidecar,
        version: LOG_FORMAT,
        number: segment.number,
        store: segment.store,
        first: segment.first,
        second: list.len() as u64,
        third: checksum(list, 0),
    };
    let name = sidecar_name(segment.number);
    match disk.remove(&name) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = disk.open(&name, OpenMode::CreateNew)?;
    let written = file
        .write_at(0, &[IoSlice::new(&stamp.encode_block()), IoSlice::new(list)])
        .and_then(|()| file.sync());
    if written.is_err() {
        // Half of one is worth nothing, and on a full disk its space is.
        disk.remove(&name)?;
    }
    written
}

impl Log {
    /// Segments that are sealed and durable as a whole, and whose sidecar has not been made.
    fn without_sidecar(&self) -> Option<std::sync::Arc<Segment>> {
        let sealed = self.segments.durable_sealed(self.progress.durable());
        sealed.into_iter().find(|segment| !segment.has_sidecar.load(Ordering::Acquire))
    }

    /// Makes the sidecar of one segment that has none; answers whether there was one to make. A sidecar that
    /// cannot be made costs time at the next start and nothing else.
    pub(super) fn make_sidecar(&self) -> bool {
        let Some(segment) = self.without_sidecar() else { return false };
        segment.has_sidecar.store(true, Ordering::Release);
        let Some(file) = segment.file.get() else { return true };
        let stamp = self.stamp_of(&segment);
        let made = load_segment(file, stamp, u64::MAX).and_then(|loaded| {
            let whole = loaded.gaps.is_empty() && loaded.ended;
            if whole {
                write(self.disk.as_ref(), &stamp, &loaded.list)?;
            }
            // Freed while its list was made: then nobody else removes it.
            if whole && self.segments.get(segment.number).is_none() {
                self.disk.remove(&sidecar_name(segment.number))?;
            }
            Ok(())
        });
        if let Err(error) = made {
            tracing::warn!(segment = segment.number, %error, "the sidecar could not be made");
        }
        true
    }
}
