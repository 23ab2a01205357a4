//! Getting past frames that cannot be read: what they were about is known from the segment's list, so that
//! compaction needs to stop only for those that are needed.

use bytes::Bytes;
use larder_format::segment::sidecar::SidecarEntry;
use larder_format::segment::{ALIGN, FrameKind, LOG_FORMAT, Stamp, StampKind};

use super::Core;
use super::load::load_segment;
use super::queue::Log;
use super::replay::appended;
use super::segments::{Place, ReadError, Segment};
use super::sidecar;

/// A frame of a segment, as far as compaction must know it.
pub(super) struct FrameAt {
    /// [`FrameKind::End`] also for a stretch whose loss was accepted: neither says anything.
    pub(super) kind: FrameKind,
    pub(super) name: Bytes,
    pub(super) place: Place,
    /// Where the next one begins.
    pub(super) next: u64,
}

impl Log {
    /// What heads a segment's file.
    pub(super) fn stamp_of(&self, segment: &Segment) -> Stamp {
        Stamp {
            kind: StampKind::Segment,
            version: LOG_FORMAT,
            number: segment.number,
            store: self.store_id,
            first: segment.salt,
            second: segment.first_sequence,
            third: segment.follows,
        }
    }
}

impl Core {
    /// The frame at an offset: from the segment itself or, if it does not hold there, from its list.
    pub(super) fn frame_at(&self, segment: &Segment, offset: u64) -> Result<FrameAt, ReadError> {
        match self.read_header(segment, offset) {
            Ok((header, name)) => {
                let place = Place {
                    segment: segment.number,
                    at: header.place,
                    name_len: header.name_len,
                    value_len: header.value_len,
                };
                Ok(FrameAt { kind: header.kind, name, place, next: offset + header.frame_len() })
            }
            Err(error @ (ReadError::Damaged | ReadError::Io(_))) => {
                self.listed_at(segment, offset).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    fn listed_at(&self, segment: &Segment, offset: u64) -> Option<FrameAt> {
        let stamp = self.log.stamp_of(segment);
        if let Some(list) = sidecar::read(self.log.disk.as_ref(), &stamp) {
            let entry = entries(&list).find(|entry| u64::from(entry.place) * ALIGN == offset)?;
            let place = appended(segment.number, &entry).place;
            let name = Bytes::copy_from_slice(entry.name);
            return Some(FrameAt { kind: entry.kind, name, place, next: offset + place.frame_len() });
        }
        // Nobody knows what was here. If the operator accepted that, it is as if it had never been.
        let loaded = load_segment(segment.file.get()?, stamp, u64::MAX).ok()?;
        let gap = loaded.gaps.iter().find(|gap| gap.offset == offset)?;
        if gap.through > self.damage.accepted.lock().through {
            return None;
        }
        let next = entries(&loaded.list).map(|e| u64::from(e.place) * ALIGN).find(|at| *at > offset)?;
        let at = u32::try_from(offset / ALIGN).ok()?;
        let place = Place { segment: segment.number, at, name_len: 0, value_len: 0 };
        Some(FrameAt { kind: FrameKind::End, name: Bytes::new(), place, next })
    }
}

fn entries(list: &[u8]) -> impl Iterator<Item = SidecarEntry<'_>> {
    super::judge::entries(list, u64::MAX)
}
