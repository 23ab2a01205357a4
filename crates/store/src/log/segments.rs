//! Which segment files there are, and reading frames from them.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use larder_format::segment::{ALIGN, BLOCK_LEN, FRAME_HEADER_LEN, FrameHeader, checksum, frame_len};
use parking_lot::{Mutex, RwLock};

use crate::api::StoreError;
use crate::disk::{DiskFile, read_exact_at};

/// Where frames begin in a segment.
pub(super) const FIRST_FRAME: u64 = BLOCK_LEN as u64;

/// One segment file, present or about to be written.
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) salt: u64,
    pub(super) first_sequence: u64,
    /// Chain value that its first frame follows.
    pub(super) follows: u64,
    /// Absent until the first group that reaches it is written.
    pub(super) file: OnceLock<Arc<dyn DiskFile>>,
    /// Bytes of frames that are still needed. Rises before frames are written, falls when they are replaced.
    pub(super) live: AtomicI64,
    /// Where its frames end; 0 while it is the last one.
    pub(super) end: AtomicU64,
    pub(super) tombs: Mutex<Tombs>,
    /// Whether its sidecar is there, or was tried.
    pub(super) has_sidecar: AtomicBool,
    /// The log says that it is freed: no list of segments names it any more. Set under the queue's lock.
    pub(super) leaving: AtomicBool,
}

/// Frames of a segment that only hide others: removals and releases. They are needed as long as one of the
/// segments they may hide something in is left, or a token must be remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tombs {
    pub(super) bytes: u64,
    pub(super) since: u32,
    pub(super) until: u32,
    pub(super) remember_until_ms: u64,
}

impl Default for Tombs {
    fn default() -> Self {
        Self { bytes: 0, since: u32::MAX, until: 0, remember_until_ms: 0 }
    }
}

/// All segments by number.
#[derive(Default)]
pub(super) struct Segments {
    map: RwLock<BTreeMap<u32, Arc<Segment>>>,
    /// How often a single wrong byte was put right while reading.
    pub(super) repaired: AtomicU64,
}

/// Where a frame is, and how long its parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// In units of [`ALIGN`].
    pub(super) at: u32,
    pub(super) name_len: u32,
    pub(super) value_len: u32,
}

impl Place {
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.at) * ALIGN
    }

    pub(super) fn frame_len(&self) -> u64 {
        frame_len(self.name_len as usize, self.value_len as usize)
    }

    /// For messages.
    pub(super) fn describe(&self) -> Arc<str> {
        format!("{} offset {}", segment_name(self.segment), self.offset()).into()
    }

    pub(super) fn damaged(&self, what: &str) -> StoreError {
        StoreError::Damaged { what: what.into(), place: self.describe() }
    }
}

/// File name of a segment.
pub(super) fn segment_name(number: u32) -> String {
    format!("{number:08}.seg")
}

/// The number in a segment's file name, or in that of another file that goes with a segment.
pub(super) fn numbered(name: &str, extension: &str) -> Option<u32> {
    let digits = name.strip_suffix(extension)?;
    (digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

impl Segments {
    pub(super) fn insert(&self, segment: Arc<Segment>) {
        self.map.write().insert(segment.number, segment);
    }

    pub(super) fn get(&self, number: u32) -> Option<Arc<Segment>> {
        self.map.read().get(&number).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.map.read().values().cloned().collect()
    }

    /// Counts a frame that was appended as one that only hides others.
    pub(super) fn count_tomb(&self, place: &Place, since: u32, until: u32, remember_until_ms: u64) {
        self.count_live(place.segment, -i64::try_from(place.frame_len()).unwrap_or(0));
        self.add_tomb(place, since, until, remember_until_ms);
    }

    /// Counts a frame that only hides others.
    pub(super) fn add_tomb(&self, place: &Place, since: u32, until: u32, remember_until_ms: u64) {
        let Some(segment) = self.get(place.segment) else { return };
        let mut tombs = segment.tombs.lock();
        tombs.bytes += place.frame_len();
        tombs.since = tombs.since.min(since);
        tombs.until = tombs.until.max(until);
        tombs.remember_until_ms = tombs.remember_until_ms.max(remember_until_ms);
    }

    /// Whether a segment in this range, both ends included, is left beside `victim`.
    pub(super) fn any_but(&self, since: u32, until: u32, victim: u32) -> bool {
        since <= until && self.map.read().range(since..=until).any(|(number, _)| *number != victim)
    }

    pub(super) fn remove(&self, number: u32) {
        self.map.write().remove(&number);
    }

    /// Bytes of all segments, as far as they are written.
    pub(super) fn disk_bytes(&self) -> u64 {
        let files = self.map.read();
        files.values().filter_map(|s| s.file.get()).filter_map(|file| file.size().ok()).sum()
    }

    /// Segments that are sealed and durable as a whole: those before the first frame that may not be.
    pub(super) fn durable_sealed(&self, durable: u64) -> Vec<Arc<Segment>> {
        let all = self.all();
        let whole = all.windows(2).filter(|pair| pair[1].first_sequence <= durable);
        whole.map(|pair| pair[0].clone()).filter(|segment| segment.file.get().is_some()).collect()
    }

    /// A frame of this length is now needed (or, negative, no longer).
    pub(super) fn count_live(&self, number: u32, len: i64) {
        if let Some(segment) = self.map.read().get(&number) {
            segment.live.fetch_add(len, Ordering::Relaxed);
        }
    }

    /// Reads a frame's header and the given part of its body, verifying the header.
    fn read_parts(&self, place: &Place, body: usize) -> Result<(FrameHeader, Bytes), ReadError> {
        let segment = self.get(place.segment).ok_or(ReadError::Moved)?;
        let file = segment.file.get().ok_or(ReadError::Moved)?;
        let mut bytes = vec![0; FRAME_HEADER_LEN + body];
        read_exact_at(file.as_ref(), place.offset(), &mut bytes)?;
        let same = |h: &FrameHeader| h.name_len == place.name_len && h.value_len == place.value_len;
        let header = FrameHeader::decode(&bytes, segment.salt, place.at)
            .or_else(|| {
                Some(self.note_repair(super::repair::header(&bytes, segment.salt, place.at, same)?.1))
            })
            .ok_or(ReadError::Damaged)?;
        if header.name_len != place.name_len || header.value_len != place.value_len {
            return Err(ReadError::Moved);
        }
        Ok((header, Bytes::from(bytes).slice(FRAME_HEADER_LEN..)))
    }

    /// The name part of a frame, verified.
    pub(super) fn read_name(&self, place: &Place) -> Result<(FrameHeader, Bytes), ReadError> {
        let (header, name) = self.read_parts(place, place.name_len as usize)?;
        Ok((header, self.whole_name(&header, name)?))
    }

    /// Both parts of a frame, verified. A blob's value has no checksum here: its id is one.
    pub(super) fn read_frame(&self, place: &Place) -> Result<(FrameHeader, Bytes, Bytes), ReadError> {
        let name_len = place.name_len as usize;
        let (header, mut name) = self.read_parts(place, name_len + place.value_len as usize)?;
        let value = name.split_off(name_len);
        let value_holds = header.value_sum == 0 || checksum(&value, 0) == header.value_sum;
        if !value_holds {
            return Err(ReadError::Damaged);
        }
        Ok((header, self.whole_name(&header, name)?, value))
    }

    /// The value part of a frame, unverified: for blobs, whose id is their checksum.
    pub(super) fn read_value(&self, place: &Place) -> Result<Bytes, ReadError> {
        let segment = self.get(place.segment).ok_or(ReadError::Moved)?;
        let file = segment.file.get().ok_or(ReadError::Moved)?;
        let mut bytes = vec![0; place.value_len as usize];
        let offset = place.offset() + FRAME_HEADER_LEN as u64 + u64::from(place.name_len);
        read_exact_at(file.as_ref(), offset, &mut bytes)?;
        Ok(bytes.into())
    }

    /// A name part that holds, if need be after repair of one byte.
    fn whole_name(&self, header: &FrameHeader, name: Bytes) -> Result<Bytes, ReadError> {
        if checksum(&name, 0) == header.name_sum {
            return Ok(name);
        }
        let mut copy = name.to_vec();
        if super::repair::known_name(&mut copy, header.name_sum) {
            Ok(self.note_repair(copy).into())
        } else {
            Err(ReadError::Damaged)
        }
    }

    fn note_repair<T>(&self, repaired: T) -> T {
        self.repaired.fetch_add(1, Ordering::Relaxed);
        repaired
    }
}

/// Why a frame could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The segment is not there, or not yet: look the place up again.
    Moved,
    /// The bytes are not what was written. Perhaps the file was recycled meanwhile: look the place up again
    /// before saying so.
    Damaged,
    /// The system could not read them.
    Io(io::Error),
    /// The store has stopped.
    Closed(StoreError),
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        ReadError::Closed(error)
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { ReadError::Damaged } else { ReadError::Io(error) }
    }
}

impl ReadError {
    /// As an answer, once it is sure that the place is right.
    pub(super) fn into_store_error(self, place: &Place) -> StoreError {
        match self {
            ReadError::Moved | ReadError::Damaged => {
                place.damaged("stored bytes do not match their checksum")
            }
            ReadError::Io(error) => place.damaged(&format!("stored bytes cannot be read: {error}")),
            ReadError::Closed(error) => error,
        }
    }
}
