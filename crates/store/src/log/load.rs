//! Reading a segment from front to back: which frames it holds, where it stops making sense, and what its
//! frames say about how far the log was durable. Judging that is for [`super::open`].

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use larder_format::ids::BlobId;
use larder_format::segment::body::RecordName;
use larder_format::segment::sidecar::SidecarEntry;
use larder_format::segment::{ALIGN, BLOCK_LEN, FRAME_HEADER_LEN, FrameHeader, FrameKind, Stamp, checksum};

use super::repair;
use super::segments::FIRST_FRAME;
use crate::disk::{DiskFile, is_unreadable};

/// Read-ahead while scanning, in bytes: at first and at most.
const WINDOW_LEN_MIN: usize = 16 << 10;
const WINDOW_LEN_MAX: usize = 1 << 20;

/// How much is searched at once for the next frame, in bytes.
const SEARCH_LEN: usize = 64 * 1024;

/// Most blocks of one segment that are tried one by one where the disk cannot read: each can take it seconds to say so. After
/// that a window that cannot be read as a whole counts as lost as a whole.
pub(super) const UNREAD_BLOCKS_MAX: usize = 256;

/// Where no frame is, so many bytes must have been read to say that none was written there: a header, and usually a name.
const DOUBT_LEN: u64 = 2 * BLOCK_LEN as u64;

/// What a segment holds.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) stamp: Stamp,
    pub(super) file: Arc<dyn DiskFile>,
    /// Its frames, as a sidecar lists them.
    pub(super) list: Vec<u8>,
    /// Frames in which one byte was put right.
    pub(super) repaired: u64,
    /// Whether `list` comes from a sidecar.
    pub(super) from_sidecar: bool,
    /// Whether `list` was left out because the sidecar has it.
    pub(super) in_sidecar: bool,
    /// Where frames are missing, in order.
    pub(super) gaps: Vec<Gap>,
    /// Frames whose value part is not what was written, as far as it was checked.
    pub(super) torn_values: Vec<Gap>,
    /// Where the last frame ends.
    pub(super) end: u64,
    /// Number of the last frame; one before the first if there is none.
    pub(super) last_sequence: u64,
    /// Chain value of the last frame.
    pub(super) chain: u64,
    /// Whether its last frame says that it ends.
    pub(super) ended: bool,
    /// The highest number that any frame says was durable.
    pub(super) durable_through: u64,
    /// The disk could not read what follows the last frame.
    pub(super) unread_end: bool,
    /// How much of it the disk could not read, in bytes, as far as it was looked at.
    pub(super) unread_bytes: u64,
}

impl Loaded {
    /// From now on what the disk could not read counts as read, and as not what was written.
    pub(super) fn give_up_unread(&mut self) {
        self.unread_end = false;
        self.gaps.iter_mut().chain(&mut self.torn_values).for_each(|gap| gap.unread = false);
    }
}

/// A stretch of a segment without a frame that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// Number of the first frame missing.
    pub(super) from: u64,
    /// Number of the last frame missing.
    pub(super) through: u64,
    /// Where it begins.
    pub(super) offset: u64,
    /// Chain value of the frame before.
    pub(super) chain: u64,
    /// The segment it is in.
    pub(super) segment: u32,
    /// It is the end of its segment, and `through` only where the next one left begins: that changes when
    /// the next one is freed.
    pub(super) at_end: bool,
    /// The disk could not read what is there: nobody knows whether it is torn.
    pub(super) unread: bool,
}

impl Gap {
    /// Whether the operator accepted it as lost when that was said up to this number. Whole segments that are
    /// lost behind an end are gaps of their own.
    pub(super) fn is_accepted(&self, through: u64) -> bool {
        (if self.at_end { self.from } else { self.through }) <= through
    }
}

/// A window on a file that moves forward. What the disk cannot read is zeros.
struct Window<'a> {
    file: &'a dyn DiskFile,
    file_len: u64,
    start: u64,
    bytes: Vec<u8>,
    /// How much is read at once: grows while reading goes straight on, shrinks when values are skipped.
    ahead: usize,
    /// Where the blocks begin that the disk could not read.
    unread: BTreeSet<u64>,
}

impl Window<'_> {
    /// Fills the window from its start, around what cannot be read; answers how many bytes there were.
    fn fill(&mut self) -> io::Result<usize> {
        match self.file.read_at(self.start, &mut self.bytes) {
            Err(error) if is_unreadable(&error) => self.fill_by_blocks(),
            other => other,
        }
    }

    fn fill_by_blocks(&mut self) -> io::Result<usize> {
        let mut done = 0;
        while done < self.bytes.len() {
            let at = self.start + done as u64;
            let block = at - at % BLOCK_LEN as u64;
            let left = usize::try_from(block + BLOCK_LEN as u64 - at).unwrap_or(BLOCK_LEN);
            let end = self.bytes.len().min(done + left);
            let part = &mut self.bytes[done..end];
            let is_tried = self.unread.len() < UNREAD_BLOCKS_MAX;
            match is_tried.then(|| self.file.read_at(at, part)) {
                Some(Ok(read)) if read < part.len() => return Ok(done + read),
                Some(Ok(_)) => {}
                Some(Err(error)) if !is_unreadable(&error) => return Err(error),
                Some(Err(_)) | None => {
                    part.fill(0);
                    self.unread.insert(block);
                }
            }
            done = end;
        }
        Ok(done)
    }

    /// Whether the disk could not read some of these bytes.
    fn is_unread(&self, from: u64, to: u64) -> bool {
        self.unread.range(from.saturating_sub(BLOCK_LEN as u64 - 1)..to).next().is_some()
    }

    /// `len` bytes at `offset`; fewer if the file ends before.
    fn at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.file_len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let held = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + len as u64 > held {
            let straight_on = offset >= self.start && offset <= held;
            self.ahead = if straight_on { (self.ahead * 2).min(WINDOW_LEN_MAX) } else { WINDOW_LEN_MIN };
            self.bytes.resize(len.max(self.ahead.min(left)), 0);
            self.start = offset;
            let read = self.fill()?;
            self.bytes.truncate(read);
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let to = (from + len).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or(&[]))
    }
}

/// Reads a whole segment. `durable` is what is known durable from elsewhere: values of later frames are
/// checked, because they may be torn.
pub(super) fn load_segment(file: &Arc<dyn DiskFile>, stamp: Stamp, durable: u64) -> io::Result<Loaded> {
    let file_len = file.size()?;
    let (start, bytes, unread) = (0, Vec::new(), BTreeSet::new());
    let mut window = Window { file: file.as_ref(), file_len, start, bytes, ahead: WINDOW_LEN_MIN, unread };
    let mut loaded = Loaded {
        stamp,
        list: Vec::new(),
        repaired: 0,
        from_sidecar: false,
        in_sidecar: false,
        gaps: Vec::new(),
        torn_values: Vec::new(),
        end: FIRST_FRAME,
        last_sequence: stamp.second - 1,
        chain: stamp.third,
        ended: false,
        durable_through: durable,
        unread_end: false,
        unread_bytes: 0,
        file: file.clone(),
    };
    let mut offset = FIRST_FRAME;
    while !loaded.ended && offset + FRAME_HEADER_LEN as u64 <= file_len {
        if let Some(next) = take_frame(&mut window, &mut loaded, offset)? {
            offset = next;
            continue;
        }
        let Some(found) = next_header(&mut window, &loaded, offset + ALIGN)? else {
            loaded.unread_end = window.is_unread(offset, offset + DOUBT_LEN);
            break;
        };
        let header = found.1;
        loaded.gaps.push(Gap {
            from: loaded.last_sequence + 1,
            through: header.sequence - 1,
            offset,
            chain: loaded.chain,
            segment: loaded.stamp.number,
            at_end: false,
            unread: window.is_unread(offset, found.0),
        });
        loaded.last_sequence = header.sequence - 1;
        loaded.chain = header.follows;
        offset = found.0;
    }
    loaded.unread_bytes = (window.unread.len() * BLOCK_LEN) as u64;
    Ok(loaded)
}

/// Takes the frame at `offset` in, if one that fits is there; answers where the next begins.
fn take_frame(window: &mut Window<'_>, loaded: &mut Loaded, offset: u64) -> io::Result<Option<u64>> {
    let salt = loaded.stamp.first;
    let head = window.at(offset, FRAME_HEADER_LEN)?;
    let Some(header) = read_header(head, salt, offset, loaded) else { return Ok(None) };
    let chain = FrameHeader::chain(&header.encode(salt));
    // A frame that holds but belongs to another history (a write that never happened, a file copied back)
    // has the wrong number or follows another frame.
    let stale = crate::planted::is("stale recycled frame accepted");
    let unchained = stale || crate::planted::is("chain not checked");
    let follows = unchained || header.follows == loaded.chain;
    if !follows || (!stale && header.sequence != loaded.last_sequence + 1) {
        return Ok(None);
    }
    let name_len = header.name_len as usize;
    let whole = window.at(offset, FRAME_HEADER_LEN + name_len)?;
    let Some(name) = whole.get(FRAME_HEADER_LEN..FRAME_HEADER_LEN + name_len) else { return Ok(None) };
    let mut repaired = Vec::new();
    let mut name = name;
    if checksum(name, 0) != header.name_sum {
        let known = header.sequence <= loaded.durable_through;
        repaired.extend_from_slice(name);
        let len_max = if known { usize::MAX } else { repair::TAIL_NAME_LEN_MAX };
        if !repair::name(&mut repaired, header.name_sum, len_max) {
            return Ok(None);
        }
        loaded.repaired += 1;
        name = &repaired;
    }
    if !append_entry(&mut loaded.list, &header, name) {
        return Ok(None);
    }
    loaded.durable_through = loaded.durable_through.max(header.durable_through);
    if header.sequence > loaded.durable_through && header.value_len > 0 {
        let blob = (header.kind == FrameKind::Blob).then(|| name.to_vec());
        let value_at = offset + (FRAME_HEADER_LEN + name_len) as u64;
        let value = window.at(value_at, header.value_len as usize)?;
        let holds = match blob {
            Some(id) => BlobId::of(value).0[..] == id[..],
            None => value.len() == header.value_len as usize && checksum(value, 0) == header.value_sum,
        };
        if !holds && !crate::planted::is("torn value accepted") {
            let (from, through, chain) = (header.sequence, header.sequence, loaded.chain);
            let segment = loaded.stamp.number;
            let unread = window.is_unread(value_at, value_at + u64::from(header.value_len));
            loaded.torn_values.push(Gap { from, through, offset, chain, segment, at_end: false, unread });
        }
    }
    loaded.last_sequence = header.sequence;
    loaded.chain = chain;
    loaded.ended = header.kind == FrameKind::End;
    loaded.end = offset + header.frame_len();
    Ok(Some(loaded.end))
}

/// The header at `offset`: as it is, or with the one byte put right that makes it the frame that must come
/// next.
fn read_header(head: &[u8], salt: u64, offset: u64, loaded: &mut Loaded) -> Option<FrameHeader> {
    let place = place_of(offset);
    if let Some(header) = FrameHeader::decode(head, salt, place) {
        return Some(header);
    }
    let (sequence, chain) = (loaded.last_sequence + 1, loaded.chain);
    let next = |header: &FrameHeader| header.sequence == sequence && header.follows == chain;
    let (_, header) = repair::header(head, salt, place, next)?;
    loaded.repaired += 1;
    Some(header)
}

fn place_of(offset: u64) -> u32 {
    u32::try_from(offset / ALIGN).unwrap_or(u32::MAX)
}

/// Adds a frame to a list, keeping only what the index needs of its name part. Answers false if that part
/// makes no sense.
fn append_entry(list: &mut Vec<u8>, header: &FrameHeader, name: &[u8]) -> bool {
    let kept = match header.kind {
        FrameKind::Record | FrameKind::Promise => match RecordName::decode(name) {
            Ok((_, len)) => &name[..len],
            Err(_) => return false,
        },
        _ => name,
    };
    let entry = SidecarEntry {
        kind: header.kind,
        place: header.place,
        name_len: header.name_len,
        value_len: header.value_len,
        sequence: header.sequence,
        name: kept,
    };
    entry.encode_into(list);
    true
}

/// Looks for the next header of this segment with a later number, at `from` or behind.
fn next_header(
    window: &mut Window<'_>,
    loaded: &Loaded,
    from: u64,
) -> io::Result<Option<(u64, FrameHeader)>> {
    let mut offset = from;
    loop {
        let bytes = window.at(offset, SEARCH_LEN)?;
        if bytes.len() < FRAME_HEADER_LEN {
            return Ok(None);
        }
        let last = bytes.len() - FRAME_HEADER_LEN;
        for at in (0..=last).step_by(ALIGN as usize) {
            let place = place_of(offset + at as u64);
            if let Some(header) = FrameHeader::decode(&bytes[at..], loaded.stamp.first, place)
                && header.sequence > loaded.last_sequence
            {
                return Ok(Some((offset + at as u64, header)));
            }
        }
        offset += (last as u64 / ALIGN + 1) * ALIGN;
    }
}
