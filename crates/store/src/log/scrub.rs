//! Scrubbing: reads everything back before somebody needs it, a bounded step at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use larder_format::ids::BlobId;
use larder_format::record::Key;
use larder_format::segment::body::{RecordName, decode_blob};
use larder_format::segment::{ALIGN, FRAME_HEADER_LEN, FrameHeader, FrameKind};
use larder_format::slot::Slot;

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

impl LogStore {
    /// Reads on from where the last step stopped, about `budget_bytes`, verifying every frame of sealed
    /// segments. Damaged blobs are noted, so that they are stored anew when somebody puts them again.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn scrub(&self, budget_bytes: u64) -> Result<ScrubReport, StoreError> {
        let core = &*self.core;
        core.log.check_open()?;
        let mut report = ScrubReport::default();
        let mut cursor = core.scrub.lock();
        while report.bytes < budget_bytes.max(1) {
            let sealed = core.log.segments.durable_sealed(core.log.progress.durable());
            let next = sealed.iter().find(|segment| segment.number >= cursor.0);
            let Some(segment) = next else {
                *cursor = (0, FIRST_FRAME);
                report.finished = true;
                break;
            };
            if segment.number != cursor.0 {
                *cursor = (segment.number, FIRST_FRAME);
            }
            if cursor.1 >= segment.end.load(Ordering::Acquire) {
                *cursor = (segment.number + 1, FIRST_FRAME);
                continue;
            }
            match core.scrub_frame(segment, cursor.1, &mut report) {
                Some(next) => cursor.1 = next,
                // Freed meanwhile, and perhaps written over.
                None if core.log.segments.get(segment.number).is_none() => {
                    *cursor = (segment.number + 1, FIRST_FRAME);
                }
                None => {
                    report.damaged.push(DamagedItem {
                        blob: None,
                        key: None,
                        place: place_at(segment, cursor.1).describe(),
                    });
                    *cursor = (segment.number + 1, FIRST_FRAME);
                }
            }
        }
        Ok(report)
    }
}

fn place_at(segment: &Segment, offset: u64) -> Place {
    let at = u32::try_from(offset / ALIGN).unwrap_or(u32::MAX);
    Place { segment: segment.number, at, name_len: 0, value_len: 0 }
}

impl Core {
    /// Reads one frame; answers where the next begins, or `None` if that cannot be told.
    fn scrub_frame(&self, segment: &Segment, offset: u64, report: &mut ScrubReport) -> Option<u64> {
        let (header, name) = self.read_header(segment, offset).ok()?;
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
