//! Scrubbing: reads everything back before somebody needs it, a bounded step at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use larder_format::ids::{BlobId, NamespaceId};
use larder_format::record::Key;
use larder_format::segment::body::{RecordName, decode_blob};
use larder_format::segment::{ALIGN, FRAME_HEADER_LEN, FrameHeader, FrameKind, checksum};
use larder_format::slot::Slot;

use super::queue::Log;
use super::segments::{FIRST_FRAME, Place, ReadError, Segment};
use super::{Core, LogStore};
use crate::api::StoreError;
use crate::disk::is_unreadable;
use crate::shard::shard_of;

/// Something that is needed and cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedItem {
    /// The blob, if it is one.
    pub blob: Option<BlobId>,
    /// The record's key, if it is one.
    pub key: Option<Key>,
    /// The record's namespace.
    pub namespace: Option<NamespaceId>,
    /// File and offset.
    pub place: Arc<str>,
    pub(super) at: Option<Place>,
}

/// What one step of scrubbing found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Bytes read.
    pub bytes: u64,
    /// Frames read.
    pub frames: u64,
    /// What is damaged.
    pub damaged: Vec<DamagedItem>,
    /// Single wrong bytes that were put right where they lie.
    pub repaired: u64,
    /// Whether this step reached the end: the next begins anew.
    pub finished: bool,
}

/// Where a scrub goes on. The default is the beginning.
#[derive(Debug, Clone, Copy)]
pub struct ScrubCursor {
    segment: u32,
    offset: u64,
}

impl Default for ScrubCursor {
    fn default() -> Self {
        Self::at_segment(0)
    }
}

impl ScrubCursor {
    fn at_segment(segment: u32) -> Self {
        Self { segment, offset: FIRST_FRAME }
    }

    /// Segment and offset, to be noted.
    #[must_use]
    pub fn parts(&self) -> (u32, u64) {
        (self.segment, self.offset)
    }

    /// From what was noted. A place that is not the beginning of a frame is left for the segment's first.
    #[must_use]
    pub fn from_parts(segment: u32, offset: u64) -> Self {
        let aligned = offset >= FIRST_FRAME && offset.is_multiple_of(ALIGN);
        if aligned { Self { segment, offset } } else { Self::at_segment(segment) }
    }
}

/// Most that is read at once, in bytes.
const WINDOW_LEN_MAX: u64 = 4 << 20;

/// Least that is read at once, in bytes: what a step for somebody in a hurry reads.
const WINDOW_LEN_MIN: u64 = 128 << 10;

/// So many windows are asked of the disk ahead of the one that is verified: while one is copied out of the system's
/// cache and verified, the disk is never without work.
const WINDOWS_AHEAD: u64 = 2;

/// A scrub under way: where it goes on, and what it holds of the segment it is in.
#[derive(Default)]
pub struct Scrubber {
    cursor: ScrubCursor,
    window: Option<Window>,
}

impl From<ScrubCursor> for Scrubber {
    fn from(cursor: ScrubCursor) -> Self {
        Self { cursor, window: None }
    }
}

impl Scrubber {
    /// Where it goes on.
    #[must_use]
    pub fn cursor(&self) -> ScrubCursor {
        self.cursor
    }
}

/// A part of a segment, read from the disk itself in one go. While it is verified the system reads what follows.
struct Window {
    segment: Arc<Segment>,
    len: u64,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
    /// Up to here the system was told to forget what it had and to read anew.
    asked: u64,
}

impl Window {
    /// On the rest of a segment; what one before holds of the same is used.
    fn on(segment: &Arc<Segment>, end: u64, budget_bytes: u64, before: Option<Self>) -> Self {
        let len = budget_bytes.clamp(WINDOW_LEN_MIN, WINDOW_LEN_MAX);
        match before {
            Some(window) if Arc::ptr_eq(&window.segment, segment) => Self { len, end, ..window },
            _ => Self { segment: segment.clone(), len, end, start: 0, bytes: Vec::new(), asked: 0 },
        }
    }

    /// `len` bytes at `offset`.
    fn at(&mut self, offset: u64, len: u64) -> Result<&[u8], ReadError> {
        let held = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + len > held {
            self.move_to(offset, len)?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        self.bytes.get(from..to).ok_or(ReadError::Damaged)
    }

    /// Reads at least `len` bytes at `offset`, keeping those of them that are held already.
    fn move_to(&mut self, offset: u64, len: u64) -> Result<(), ReadError> {
        let file = self.segment.file.get().ok_or(ReadError::Moved)?;
        let wanted = len.max(self.len.min(self.end.saturating_sub(offset)));
        let whole = |len: u64| usize::try_from(len).map_err(|_| ReadError::Damaged);
        let (needed, mut size) = (whole(len)?, whole(wanted)?);
        let gone = offset.checked_sub(self.start).and_then(|gone| usize::try_from(gone).ok());
        let kept = match gone.filter(|gone| *gone < self.bytes.len()) {
            Some(gone) => {
                self.bytes.copy_within(gone.., 0);
                self.bytes.len() - gone
            }
            None => 0,
        };
        let from = self.asked.max(offset + kept as u64);
        let to = (offset + wanted * (1 + WINDOWS_AHEAD)).min(self.end).max(offset + wanted);
        if from < to {
            // Not what the system remembers, but what the disk has.
            file.forget_cached(from, to - from);
            file.will_read(from, to - from);
            self.asked = to;
        }
        self.start = offset;
        let read = loop {
            self.bytes.resize(size, 0);
            match file.read_at(offset + kept as u64, &mut self.bytes[kept..]) {
                // Somewhere in what is ahead: what was asked for may be fine.
                Err(error) if is_unreadable(&error) && size > needed => size = (size / 2).max(needed),
                read => break read,
            }
        };
        self.bytes.truncate(kept + *read.as_ref().unwrap_or(&0));
        read?;
        Ok(())
    }
}

impl LogStore {
    /// Reads on from where the last step stopped, about `budget_bytes`, verifying every frame that is
    /// durable. Damaged blobs are noted, so that they are stored anew when somebody puts them again.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn scrub(&self, budget_bytes: u64) -> Result<ScrubReport, StoreError> {
        self.scrub_at(&mut self.core.scrub.lock(), budget_bytes)
    }

    /// As [`LogStore::scrub`], from a place of the caller's own.
    ///
    /// # Errors
    /// As [`LogStore::scrub`].
    pub fn scrub_at(&self, scrubber: &mut Scrubber, budget_bytes: u64) -> Result<ScrubReport, StoreError> {
        let core = &*self.core;
        let Scrubber { cursor, window: held } = scrubber;
        core.log.check_open()?;
        let mut report = ScrubReport::default();
        while report.bytes < budget_bytes.max(1) {
            let next = core.log.durable_parts().into_iter().find(|(s, _)| s.number >= cursor.segment);
            let Some((segment, end)) = next else {
                *scrubber = Scrubber::default();
                report.finished = true;
                break;
            };
            if segment.number != cursor.segment {
                *cursor = ScrubCursor::at_segment(segment.number);
            }
            let before = held.take();
            let window = held.insert(Window::on(&segment, end, budget_bytes, before));
            while cursor.offset < end && report.bytes < budget_bytes.max(1) {
                match core.scrub_frame(window, cursor.offset, &mut report)? {
                    Some(next) => cursor.offset = next,
                    None => break,
                }
            }
            if report.bytes < budget_bytes.max(1) {
                *cursor = ScrubCursor::at_segment(segment.number + 1);
            }
        }
        Ok(report)
    }

    /// How many bytes a scrub from the beginning reads.
    #[must_use]
    pub fn scrub_bytes(&self) -> u64 {
        self.core.log.durable_parts().iter().map(|(_, end)| end.saturating_sub(FIRST_FRAME)).sum()
    }
}

impl Log {
    /// All segments that have a file, and how far each is durable.
    fn durable_parts(&self) -> Vec<(Arc<Segment>, u64)> {
        let all = self.segments.all();
        let queue = self.queue.lock();
        let end = |segment: &Segment| {
            let first = queue.pending.partition_point(|frame| frame.segment < segment.number);
            match queue.pending.get(first) {
                Some(frame) if frame.segment == segment.number => frame.offset,
                _ if queue.segment == segment.number => queue.offset,
                _ => segment.end.load(Ordering::Acquire),
            }
        };
        let written = all.into_iter().filter(|segment| segment.file.get().is_some());
        written.map(|segment| (segment.clone(), end(&segment))).collect()
    }
}

fn place_at(segment: &Segment, offset: u64) -> Place {
    let at = u32::try_from(offset / ALIGN).unwrap_or(u32::MAX);
    Place { segment: segment.number, at, name_len: 0, value_len: 0 }
}

impl Core {
    /// Verifies one frame; answers where the next begins, or `None` if that cannot be told.
    fn scrub_frame(
        &self,
        window: &mut Window,
        offset: u64,
        report: &mut ScrubReport,
    ) -> Result<Option<u64>, StoreError> {
        let segment = window.segment.clone();
        let read = self.scrub_header(window, offset, report);
        let (header, name) = match read {
            Ok(read) => read,
            Err(ReadError::Closed(error)) => return Err(error),
            // Freed meanwhile, and perhaps written over.
            Err(_) if self.log.segments.get(segment.number).is_none() => return Ok(None),
            Err(_) => {
                let at = place_at(&segment, offset);
                report.damaged.push(DamagedItem {
                    blob: None,
                    key: None,
                    namespace: None,
                    place: at.describe(),
                    at: Some(at),
                });
                return Ok(self.frame_at(&segment, offset).ok().map(|listed| {
                    report.bytes += listed.next - offset;
                    listed.next
                }));
            }
        };
        let place =
            Place { name_len: header.name_len, value_len: header.value_len, ..place_at(&segment, offset) };
        report.frames += 1;
        report.bytes += header.frame_len();
        let value_at = offset + FRAME_HEADER_LEN as u64 + u64::from(header.name_len);
        let found = match header.kind {
            FrameKind::Blob => self.scrub_blob(window, value_at, &name, place),
            FrameKind::Record => self.scrub_record(window, value_at, &header, &name, place),
            _ => None,
        };
        report.damaged.extend(found);
        Ok(Some(offset + header.frame_len()))
    }

    /// A frame's header and name part; where one byte is wrong it is put right, on the disk too.
    fn scrub_header(
        &self,
        window: &mut Window,
        offset: u64,
        report: &mut ScrubReport,
    ) -> Result<(FrameHeader, Bytes), ReadError> {
        let segment = window.segment.clone();
        let bytes = window.at(offset, FRAME_HEADER_LEN as u64)?;
        let at = place_at(&segment, offset).at;
        let header = match FrameHeader::decode(bytes, segment.salt, at) {
            Some(header) => header,
            None => {
                let wrong = bytes.to_vec();
                let (right, header) =
                    super::repair::header(&wrong, segment.salt, at, |_| true).ok_or(ReadError::Damaged)?;
                self.note_mended(&segment, offset, &wrong, &right, report)?;
                header
            }
        };
        let name_at = offset + FRAME_HEADER_LEN as u64;
        let name = window.at(name_at, header.name_len.into())?;
        if checksum(name, 0) == header.name_sum {
            return Ok((header, Bytes::copy_from_slice(name)));
        }
        let wrong = name.to_vec();
        let mut right = wrong.clone();
        if !super::repair::known_name(&mut right, header.name_sum) {
            return Err(ReadError::Damaged);
        }
        self.note_mended(&segment, name_at, &wrong, &right, report)?;
        Ok((header, right.into()))
    }

    fn note_mended(
        &self,
        segment: &Arc<Segment>,
        offset: u64,
        wrong: &[u8],
        right: &[u8],
        report: &mut ScrubReport,
    ) -> Result<(), StoreError> {
        self.log.segments.repaired.fetch_add(1, Ordering::Relaxed);
        if self.write_back(segment, offset, wrong, right)? {
            report.repaired += 1;
            tracing::info!(segment = segment.number, offset, "a damaged byte was put right");
        }
        Ok(())
    }

    fn scrub_blob(
        &self,
        window: &mut Window,
        value_at: u64,
        name: &Bytes,
        place: Place,
    ) -> Option<DamagedItem> {
        let id = decode_blob(name.clone()).ok()?;
        let (handle, _) = self.blobs.lock().find(&id).filter(|(_, blob)| blob.place == Some(place))?;
        let read = window.at(value_at, place.value_len.into());
        if read.is_ok_and(|bytes| BlobId::of(bytes) == id) {
            return None;
        }
        // Compaction may have moved it and freed the file meanwhile; then this place is not its any more.
        let mut index = self.blobs.lock();
        index.find(&id).filter(|(_, blob)| blob.place == Some(place))?;
        index.mark_damaged(handle, place);
        let at = Some(place);
        Some(DamagedItem { blob: Some(id), key: None, namespace: None, place: place.describe(), at })
    }

    fn scrub_record(
        &self,
        window: &mut Window,
        value_at: u64,
        header: &FrameHeader,
        name: &Bytes,
        place: Place,
    ) -> Option<DamagedItem> {
        let (said, _) = RecordName::decode(name).ok()?;
        let shard = shard_of(Slot::from_number(said.slot)?);
        let needed = || self.holds_record_at(shard, said.namespace, said.key, place);
        if !needed() {
            return None;
        }
        let value = window.at(value_at, place.value_len.into());
        let holds = value.is_ok_and(|value| header.value_sum == 0 || checksum(value, 0) == header.value_sum);
        if holds || !needed() {
            return None;
        }
        let key = Key::new(Bytes::copy_from_slice(said.key)).ok();
        let (namespace, at) = (Some(said.namespace), Some(place));
        Some(DamagedItem { blob: None, key, namespace, place: place.describe(), at })
    }

    /// Whether this is where a record's state is now.
    pub(super) fn holds_record_at(
        &self,
        shard: usize,
        namespace: NamespaceId,
        key: &[u8],
        at: Place,
    ) -> bool {
        let shard = self.records.shard(shard).lock();
        let group = shard.groups.get(&namespace);
        group.and_then(|group| group.records.get(key)).is_some_and(|entry| entry.place == at)
    }

    /// Reads a frame's header and name part from a segment, repairing single bytes.
    pub(super) fn read_header(
        &self,
        segment: &Segment,
        offset: u64,
    ) -> Result<(FrameHeader, Bytes), ReadError> {
        let file = segment.file.get().ok_or(ReadError::Moved)?;
        let mut bytes = [0; FRAME_HEADER_LEN];
        crate::disk::read_exact_at(file.as_ref(), offset, &mut bytes)?;
        let at = place_at(segment, offset).at;
        let header = FrameHeader::decode(&bytes, segment.salt, at)
            .or_else(|| Some(super::repair::header(&bytes, segment.salt, at, |_| true)?.1))
            .ok_or(ReadError::Damaged)?;
        let mut name = vec![0; header.name_len as usize];
        crate::disk::read_exact_at(file.as_ref(), offset + FRAME_HEADER_LEN as u64, &mut name)?;
        if !super::repair::known_name(&mut name, header.name_sum) {
            return Err(ReadError::Damaged);
        }
        Ok((header, name.into()))
    }
}
