//! The order of all changes. Every change is a frame; [`Log::append`] gives it the next sequence number and
//! its place in the log, and keeps it readable until it is durable. Nothing here touches a file.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use larder_format::ids::{NamespaceId, StoreId};
use larder_format::segment::body::{Segments as SegmentList, decode_number};
use larder_format::segment::{
    ALIGN, FRAME_HEADER_LEN, FrameHeader, FrameKind, NAME_PART_LEN_MAX, VALUE_PART_LEN_MAX, checksum,
    frame_len, segment_salt,
};
use parking_lot::{Condvar, Mutex};

use super::LogConfig;
use super::segments::{FIRST_FRAME, Place, Segment, Segments};
use super::space::{Admission, Space};
use crate::api::{StoreError, Ticket};
use crate::disk::{Disk, DiskFile};
use crate::feed::{Change, Feed};
use crate::ticket::Progress;

/// Room kept at the end of each segment for its last frame.
const END_LEN: u64 = FRAME_HEADER_LEN as u64;

/// The log and what it needs to be written.
pub(super) struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) config: LogConfig,
    pub(super) store_id: StoreId,
    pub(super) boot: u64,
    pub(super) progress: Arc<Progress>,
    pub(super) segments: Segments,
    pub(super) space: Space,
    pub(super) marks: Arc<dyn DiskFile>,
    pub(super) queue: Mutex<Queue>,
    /// Signalled when there is something to write, or a sync has ended.
    pub(super) work: Condvar,
    /// Signalled when something was written and wants a sync.
    pub(super) written: Condvar,
    /// Signalled when a segment was sealed.
    pub(super) sealed: Condvar,
    /// Signalled when the queue has shrunk.
    pub(super) room: Condvar,
    pub(super) stopping: AtomicBool,
    /// Names of freed segment files that wait to be used again.
    pub(super) spares: Mutex<Vec<String>>,
    /// Which records changed, in the order of the log.
    pub(super) feed: Arc<Feed>,
}

/// Where the log ends, and what of it is not durable yet.
pub(super) struct Queue {
    pub(super) next_sequence: u64,
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) salt: u64,
    pub(super) chain: u64,
    /// Frames that are not durable, oldest first; their numbers are consecutive.
    pub(super) pending: VecDeque<PendingFrame>,
    pub(super) pending_bytes: u64,
    /// How many of `pending`, from the front, were handed to the writer, and their bytes.
    pub(super) taken: usize,
    pub(super) taken_bytes: u64,
    /// Everything up to here is written (not necessarily durable).
    pub(super) written_sequence: u64,
    /// Files with written bytes that no sync has covered.
    pub(super) dirty: Vec<Arc<Segment>>,
    pub(super) syncing: bool,
    /// The last segment of which something is durable.
    pub(super) synced_segment: u32,
    /// Counter of the last mark written.
    pub(super) mark_counter: u64,
    pub(super) marks_dirty: bool,
    /// Lost segments, with the number of their first frame: named by every list of segments until their loss
    /// is accepted.
    pub(super) missing: Vec<(u32, u64)>,
}

/// A frame that is not durable yet.
#[derive(Clone)]
pub(super) struct PendingFrame {
    pub(super) sequence: u64,
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) header: [u8; FRAME_HEADER_LEN],
    pub(super) name: Bytes,
    pub(super) value: Bytes,
}

impl PendingFrame {
    pub(super) fn len(&self) -> u64 {
        frame_len(self.name.len(), self.value.len())
    }
}

/// A frame's number and place, given out by [`Log::append`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Appended {
    pub(super) sequence: u64,
    pub(super) place: Place,
}

/// What a frame changes, for the feed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) namespace: NamespaceId,
    pub(super) key: &'a [u8],
    pub(super) change: Change,
}

fn check_len(what: &'static str, len: u64, max: u64) -> Result<(), StoreError> {
    if len > max { Err(StoreError::TooLarge { what, len, max }) } else { Ok(()) }
}

/// Refuses parts of a frame that its decoder would refuse.
pub(super) fn check_parts(name_len: usize, value_len: usize) -> Result<(), StoreError> {
    check_len("record without its body", name_len as u64, NAME_PART_LEN_MAX as u64)?;
    check_len("body", value_len as u64, VALUE_PART_LEN_MAX as u64)
}

impl Log {
    /// Adds a frame to the log's end. Its bytes count as needed in its segment until
    /// [`Segments::count_live`] says otherwise.
    ///
    /// # Errors
    /// [`StoreError::Closed`]; [`StoreError::Full`] while the log waits for room; [`StoreError::TooLarge`] if it
    /// could not be read back. Then nothing was added.
    pub(super) fn append(&self, kind: FrameKind, name: Bytes, value: Bytes) -> Result<Appended, StoreError> {
        self.append_told(kind, name, value, None)
    }

    /// As [`Log::append`], telling the feed of what it changes.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(super) fn append_told(
        &self,
        kind: FrameKind,
        name: Bytes,
        value: Bytes,
        told: Option<Told<'_>>,
    ) -> Result<Appended, StoreError> {
        check_parts(name.len(), value.len())?;
        // A checksum of 0 means "none", which only blobs are allowed; the one value in 2^64 that hashes to
        // it stays unchecked too.
        let value_sum = if kind == FrameKind::Blob { 0 } else { checksum(&value, 0) };
        let name_sum = checksum(&name, 0);
        let mut queue = self.queue.lock();
        if let Some(closed) = self.progress.closed() {
            return Err(closed);
        }
        if self.progress.is_stalled() {
            return Err(self.space.nothing_left());
        }
        let len = frame_len(name.len(), value.len());
        if queue.offset + len + END_LEN > self.space.segment_len() {
            self.roll(&mut queue);
        }
        let freed = (kind == FrameKind::Freed).then(|| name.clone());
        let appended = self.push(&mut queue, kind, name, value, (name_sum, value_sum));
        // Under the lock that gives numbers out, so that the feed has them in order.
        if let Some(told) = told {
            self.feed.push(appended.sequence, told.namespace, told.key, told.change);
        }
        // Under the same lock: a list made after this frame that still named the segment would outlive it,
        // and make the next start take what was freed for lost.
        if let Some(number) = freed.and_then(|name| decode_number(name).ok())
            && !crate::planted::is("freed segment still listed")
            && let Some(segment) = u32::try_from(number).ok().and_then(|number| self.segments.get(number))
        {
            segment.leaving.store(true, Ordering::Release);
        }
        let idle = !queue.syncing || queue.pending_bytes - queue.taken_bytes >= self.config.early_write_bytes;
        drop(queue);
        self.segments.count_live(appended.place.segment, i64::try_from(len).unwrap_or(i64::MAX));
        if idle {
            self.work.notify_one();
        }
        Ok(appended)
    }

    fn push(
        &self,
        queue: &mut Queue,
        kind: FrameKind,
        name: Bytes,
        value: Bytes,
        sums: (u64, u64),
    ) -> Appended {
        let at = u32::try_from(queue.offset / ALIGN).expect("a segment is far below 32 GiB");
        let part_len = |part: &Bytes| u32::try_from(part.len()).expect("parts are limited to 32 MiB");
        let header = FrameHeader {
            kind,
            name_len: part_len(&name),
            value_len: part_len(&value),
            place: at,
            sequence: queue.next_sequence,
            durable_through: self.progress.durable(),
            follows: queue.chain,
            name_sum: sums.0,
            value_sum: sums.1,
        };
        let encoded = header.encode(queue.salt);
        let place =
            Place { segment: queue.segment, at, name_len: header.name_len, value_len: header.value_len };
        let frame = PendingFrame {
            sequence: queue.next_sequence,
            segment: queue.segment,
            offset: queue.offset,
            header: encoded,
            name,
            value,
        };
        let appended = Appended { sequence: frame.sequence, place };
        queue.next_sequence += 1;
        queue.offset += frame.len();
        queue.chain = FrameHeader::chain(&encoded);
        queue.pending_bytes += frame.len();
        queue.pending.push_back(frame);
        appended
    }

    /// Ends the current segment and begins the next, whose first frame lists the others.
    pub(super) fn roll(&self, queue: &mut Queue) {
        let empty = (checksum(b"", 0), checksum(b"", 0));
        self.push(queue, FrameKind::End, Bytes::new(), Bytes::new(), empty);
        if let Some(segment) = self.segments.get(queue.segment) {
            segment.end.store(queue.offset, Ordering::Release);
        }
        self.begin_segment(queue, queue.segment + 1);
    }

    /// Begins a segment at the end of the log. The file is made when the first group reaches it.
    pub(super) fn begin_segment(&self, queue: &mut Queue, number: u32) {
        let others = self.segments.all();
        let stale = crate::planted::is("stale recycled frame accepted");
        let salt = if stale { 0 } else { segment_salt(self.store_id, self.boot, number) };
        self.segments.insert(Arc::new(Segment {
            number,
            salt,
            first_sequence: queue.next_sequence,
            follows: queue.chain,
            file: OnceLock::new(),
            live: 0.into(),
            end: 0.into(),
            tombs: Mutex::default(),
            has_sidecar: false.into(),
            leaving: false.into(),
        }));
        queue.segment = number;
        queue.offset = FIRST_FRAME;
        queue.salt = salt;
        let there = others.iter().filter(|segment| !segment.leaving.load(Ordering::Acquire));
        let mut list: Vec<_> = there.map(|segment| (segment.number, segment.first_sequence)).collect();
        list.extend(&queue.missing);
        list.sort_unstable();
        let list = SegmentList(list).encode();
        let sums = (checksum(&list, 0), checksum(b"", 0));
        self.push(queue, FrameKind::Segments, list, Bytes::new(), sums);
    }

    /// The parts of the frame at `place` if it is not durable yet; else it is in its file. `newest` is the
    /// frame's number or a higher one.
    pub(super) fn pending_place(&self, newest: u64, place: &Place) -> Option<(Bytes, Bytes)> {
        if self.progress.durable() >= newest {
            return None;
        }
        let queue = self.queue.lock();
        let wanted = (place.segment, place.offset());
        let index = queue.pending.binary_search_by_key(&wanted, |f| (f.segment, f.offset)).ok()?;
        let frame = &queue.pending[index];
        Some((frame.name.clone(), frame.value.clone()))
    }

    /// Asks whether a frame of this length may be added for somebody who could as well be refused.
    pub(super) fn admit(&self, len: u64) -> Result<(), StoreError> {
        self.admit_as(len, Admission::Writer)
    }

    /// As [`Log::admit`], for whoever it is.
    pub(super) fn admit_as(&self, len: u64, admission: Admission) -> Result<(), StoreError> {
        check_len("record or blob with what heads it", len, self.config.segment_len - FIRST_FRAME - END_LEN)?;
        self.space.admit(len, admission)
    }

    /// Number of the segment that the log ends in.
    pub(super) fn last_segment(&self) -> u32 {
        self.queue.lock().segment
    }

    pub(super) fn ticket(&self, sequence: u64) -> Ticket {
        self.progress.ticket(sequence)
    }

    /// Fails if the log has stopped.
    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        self.progress.closed().map_or(Ok(()), Err)
    }

    pub(super) fn has_room(&self) -> bool {
        self.queue.lock().pending_bytes < self.config.queue_bytes_max
    }

    /// Holds the calling thread up while too much is waiting to become durable. Without threads there is
    /// nobody to wait for, and the caller pumps when it likes.
    pub(super) fn wait_for_room(&self) -> Result<(), StoreError> {
        let mut queue = self.queue.lock();
        while queue.pending_bytes >= self.config.queue_bytes_max && self.config.threads {
            self.check_open()?;
            if self.progress.is_stalled() {
                return Err(self.space.nothing_left());
            }
            self.room.wait(&mut queue);
        }
        drop(queue);
        self.check_open()
    }

    /// Resolves when so much is durable that the queue is half empty.
    pub(super) fn room_ticket(&self) -> Ticket {
        let queue = self.queue.lock();
        let mut rest = queue.pending_bytes;
        if rest < self.config.queue_bytes_max {
            return Ticket::done();
        }
        for frame in &queue.pending {
            rest -= frame.len();
            if rest <= self.config.queue_bytes_max / 2 {
                return self.ticket(frame.sequence);
            }
        }
        Ticket::done()
    }

    /// Stops the log for good.
    pub(super) fn fail(&self, what: &str, error: &std::io::Error) -> StoreError {
        let reason = format!("{what} failed: {error}");
        tracing::error!(reason, "the store stops");
        self.progress.close(&reason);
        // Whoever looked under the lock before this and found nothing wrong is waiting by now.
        drop(self.queue.lock());
        self.room.notify_all();
        self.work.notify_all();
        self.written.notify_all();
        self.sealed.notify_all();
        StoreError::Closed { reason: reason.into() }
    }
}
