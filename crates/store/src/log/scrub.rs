//! Scrubbing: reads everything back before somebody needs it, a bounded step at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use larder_format::ids::BlobId;
use larder_format::record::Key;
use larder_format::segment::body::{RecordName, decode_blob};
use larder_format::segment::{ALIGN, FRAME_HEADER_LEN, FrameHeader, FrameKind};
use larder_format::slot::Slot;

use super::queue::Log;
use super::segments::{FIRST_FRAME, Place, ReadError, Segment};
use super::{Core, LogStore};
use crate::api::StoreError;

/// Something that is needed and cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedItem {
    /// The blob, if it is one.
    pub blob: Option<BlobId>,
    /// The record's key, if it is one.
    pub key: Option<Key>,
    /// File and offset.
    pub place: Arc<str>,
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
    pub fn scrub_at(&self, cursor: &mut ScrubCursor, budget_bytes: u64) -> Result<ScrubReport, StoreError> {
        let core = &*self.core;
        core.log.check_open()?;
        let mut report = ScrubReport::default();
        while report.bytes < budget_bytes.max(1) {
            let next = core.log.durable_parts().into_iter().find(|(s, _)| s.number >= cursor.segment);
            let Some((segment, end)) = next else {
                *cursor = ScrubCursor::default();
                report.finished = true;
                break;
            };
            if segment.number != cursor.segment {
                *cursor = ScrubCursor::at_segment(segment.number);
            }
            while cursor.offset < end && report.bytes < budget_bytes.max(1) {
                match core.scrub_frame(&segment, cursor.offset, &mut report) {
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
    fn scrub_frame(&self, segment: &Segment, offset: u64, report: &mut ScrubReport) -> Option<u64> {
        let (header, name) = match self.read_header(segment, offset) {
            Ok(read) => read,
            // Freed meanwhile, and perhaps written over.
            Err(_) if self.log.segments.get(segment.number).is_none() => return None,
            Err(_) => {
                let place = place_at(segment, offset).describe();
                report.damaged.push(DamagedItem { blob: None, key: None, place });
                return self.frame_at(segment, offset).ok().map(|listed| {
                    report.bytes += listed.next - offset;
                    listed.next
                });
            }
        };
        let place =
            Place { name_len: header.name_len, value_len: header.value_len, ..place_at(segment, offset) };
        report.frames += 1;
        report.bytes += header.frame_len();
        match header.kind {
            FrameKind::Blob => report.damaged.extend(self.scrub_blob(&name, place)),
            FrameKind::Record => report.damaged.extend(self.scrub_record(&name, place)),
            _ => {}
        }
        Some(offset + header.frame_len())
    }

    fn scrub_blob(&self, name: &Bytes, place: Place) -> Option<DamagedItem> {
        let id = decode_blob(name.clone()).ok()?;
        let (handle, _) = self.blobs.lock().find(&id).filter(|(_, blob)| blob.place == Some(place))?;
        let read = self.log.segments.read_value(&place);
        if read.is_ok_and(|bytes| BlobId::of(&bytes) == id) {
            return None;
        }
        // Compaction may have moved it and freed the file meanwhile; then this place is not its any more.
        let mut index = self.blobs.lock();
        index.find(&id).filter(|(_, blob)| blob.place == Some(place))?;
        index.mark_damaged(handle, place);
        Some(DamagedItem { blob: Some(id), key: None, place: place.describe() })
    }

    fn scrub_record(&self, name: &Bytes, place: Place) -> Option<DamagedItem> {
        let (said, _) = RecordName::decode(name).ok()?;
        let slot = Slot::from_number(said.slot)?;
        let needed = || {
            let shard = self.records.lock(slot);
            let group = shard.groups.get(&said.namespace);
            group.and_then(|group| group.records.get(said.key)).is_some_and(|entry| entry.place == place)
        };
        if !needed() || self.log.segments.read_frame(&place).is_ok() || !needed() {
            return None;
        }
        let key = Key::new(Bytes::copy_from_slice(said.key)).ok();
        Some(DamagedItem { blob: None, key, place: place.describe() })
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
