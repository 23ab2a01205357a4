//! How far the scrub has come and what it found, as it is kept across restarts. A note that cannot be read means a
//! new round, nothing worse.

use bytes::Bytes;
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::record::unknown_format;
use larder_store::log::ScrubCursor;

/// Version of the note's layout.
const FORMAT: u8 = 1;

/// One round of background work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Hybrid time in milliseconds.
    pub(crate) started_ms: u64,
    /// Hybrid time in milliseconds; 0 while it is under way.
    pub(crate) ended_ms: u64,
    /// Time spent working.
    pub(crate) took_ms: u64,
    pub(crate) checked_bytes: u64,
    pub(crate) checked_frames: u64,
    pub(crate) total_bytes: u64,
    pub(crate) damaged: u64,
    pub(crate) repaired: u64,
    pub(crate) orphaned: u64,
    pub(crate) orphaned_bytes: u64,
    pub(crate) removed_bytes: u64,
}

impl Pass {
    /// All of it, in the order in which it is kept.
    fn words(&mut self) -> [&mut u64; 11] {
        [
            &mut self.started_ms,
            &mut self.ended_ms,
            &mut self.took_ms,
            &mut self.checked_bytes,
            &mut self.checked_frames,
            &mut self.total_bytes,
            &mut self.damaged,
            &mut self.repaired,
            &mut self.orphaned,
            &mut self.orphaned_bytes,
            &mut self.removed_bytes,
        ]
    }

    fn write(mut self, w: &mut Writer) {
        for word in self.words() {
            w.u64(*word);
        }
    }

    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let mut pass = Self::default();
        for word in pass.words() {
            *word = r.u64("scrub counts")?;
        }
        Ok(pass)
    }
}

/// The scrub, under way or waiting.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scrub {
    /// The round under way, if there is one, and where it goes on.
    pub(crate) now: Option<(Pass, ScrubCursor)>,
    /// The last one that ended.
    pub(crate) last: Option<Pass>,
    /// When the next begins, in hybrid time; 0: not planned yet.
    pub(crate) next_ms: u64,
}

impl Scrub {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u8(FORMAT).u64(self.next_ms);
        let (pass, cursor) = self.now.unwrap_or_default();
        let (segment, offset) = cursor.parts();
        w.u8(self.now.is_some().into()).u64(segment.into()).u64(offset);
        pass.write(&mut w);
        w.u8(self.last.is_some().into());
        self.last.unwrap_or_default().write(&mut w);
        w.finish()
    }

    /// Reads what [`Scrub::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let format = r.u8("scrub format")?;
        if format != FORMAT {
            return Err(unknown_format("scrub", format, FORMAT));
        }
        let next_ms = r.u64("next scrub")?;
        let is_under_way = r.u8("scrub under way")? == 1;
        let segment = r.u64("scrub segment")?;
        let offset = r.u64("scrub offset")?;
        let pass = Pass::read(&mut r)?;
        let has_last = r.u8("last scrub")? == 1;
        let last = Pass::read(&mut r)?;
        r.finish()?;
        let segment = u32::try_from(segment)
            .map_err(|_| DecodeError::BadValue { field: "scrub segment", value: segment })?;
        let cursor = ScrubCursor::from_parts(segment, offset);
        Ok(Self { now: is_under_way.then_some((pass, cursor)), last: has_last.then_some(last), next_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back() {
        let pass = Pass { started_ms: 1, took_ms: 3, removed_bytes: 11, damaged: 7, ..Pass::default() };
        let scrub = Scrub {
            now: Some((pass, ScrubCursor::from_parts(7, 8192))),
            last: Some(Pass { ended_ms: 5, ..pass }),
            next_ms: 99,
        };
        let back = Scrub::decode(scrub.encode()).unwrap();
        assert_eq!(back.encode(), scrub.encode());
        assert_eq!(back.now.unwrap().1.parts(), (7, 8192));
        assert_eq!((back.now.unwrap().0, back.last.unwrap().ended_ms), (pass, 5));
        assert!(Scrub::decode(Bytes::from_static(b"\x01short")).is_err());
        assert!(Scrub::decode(Scrub::default().encode()).unwrap().now.is_none());
    }
}
