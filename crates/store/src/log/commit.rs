//! Group commit: takes what is queued, writes it in one piece, syncs, marks, publishes.
//!
//! Two threads take turns so that a large ingest writes the next group while the one before is being synced;
//! small changes gather while a sync runs and go out together. Without threads [`Log::pump`] does the same
//! steps in one fixed order. Tickets resolve after the sync *and* after the mark is written: a killed process
//! leaves the mark in the page cache, so that the next start can tell what was acknowledged.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use larder_format::segment::{BLOCK_LEN, FRAME_HEADER_LEN, LOG_FORMAT, Stamp, StampKind};

use super::queue::{Log, PendingFrame, Queue};
use super::segments::{Segment, segment_name};
use crate::api::StoreError;
use crate::disk::{DiskFile, OpenMode, is_full};

/// Parts up to this long are copied together before they are written: cheaper than a piece of a vectored
/// write each.
const COPY_LEN_MAX: usize = 16 * 1024;

/// While the disk is full, how often it is looked whether there is room again.
const FULL_RETRY: Duration = Duration::from_millis(500);

/// After this long without work the marks file is synced too.
const MARKS_SYNC_AFTER: Duration = Duration::from_secs(1);

/// The writer and the syncer.
pub(super) struct Threads {
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn start(core: &Arc<super::Core>) -> io::Result<Self> {
        let spawn = |name: &str, run: fn(&Log)| {
            let core = core.clone();
            std::thread::Builder::new().name(name.into()).spawn(move || run(&core.log))
        };
        let handles = vec![
            spawn("log-write", Log::run_writer)?,
            spawn("log-sync", Log::run_syncer)?,
            spawn("log-sidecar", Log::run_sidecars)?,
        ];
        Ok(Self { handles })
    }

    /// Lets the threads finish what is queued and end.
    pub(super) fn stop(self, log: &Log) {
        log.stopping.store(true, Ordering::Release);
        {
            // Under the lock, so that nobody misses it between looking and waiting.
            let _queue = log.queue.lock();
            log.work.notify_all();
            log.written.notify_all();
            log.sealed.notify_all();
        }
        for handle in self.handles {
            if handle.join().is_err() {
                log.progress.close("a thread of the log ended by a defect");
            }
        }
    }
}

impl Queue {
    /// Takes frames for the writer, up to the group's limit but at least one.
    fn take_group(&mut self, bytes_max: u64) -> Vec<PendingFrame> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(frame) = self.pending.get(self.taken) {
            if !group.is_empty() && bytes + frame.len() > bytes_max {
                break;
            }
            bytes += frame.len();
            group.push(frame.clone());
            self.taken += 1;
        }
        self.taken_bytes += bytes;
        group
    }

    /// Gives a group back that could not be written: it is taken again.
    fn give_back(&mut self, group: &[PendingFrame]) {
        self.taken -= group.len();
        self.taken_bytes -= group.iter().map(PendingFrame::len).sum::<u64>();
    }

    /// Forgets what is durable now.
    fn drop_durable(&mut self, sequence: u64) {
        while self.pending.front().is_some_and(|frame| frame.sequence <= sequence) {
            let len = self.pending.pop_front().map_or(0, |frame| frame.len());
            self.pending_bytes -= len;
            self.taken_bytes -= len;
            self.taken -= 1;
        }
    }
}

impl Log {
    fn run_writer(&self) {
        let mut queue = self.queue.lock();
        loop {
            if self.progress.closed().is_some() {
                return;
            }
            let waiting = queue.pending_bytes - queue.taken_bytes;
            let busy = queue.syncing || !queue.dirty.is_empty();
            if waiting == 0 || (busy && waiting < self.config.early_write_bytes) {
                if waiting == 0 && self.stopping.load(Ordering::Acquire) {
                    return;
                }
                self.work.wait(&mut queue);
                continue;
            }
            let group = queue.take_group(self.config.group_bytes_max);
            drop(queue);
            let written = self.write_group(&group);
            queue = self.queue.lock();
            match written {
                Ok(()) => {
                    self.written.notify_one();
                }
                Err(StoreError::Stalled) => {
                    // What is not written when the process ends was never acknowledged.
                    if self.stopping.load(Ordering::Acquire) {
                        self.written.notify_one();
                        return;
                    }
                    self.work.wait_for(&mut queue, FULL_RETRY);
                }
                Err(_) => return,
            }
        }
    }

    fn run_syncer(&self) {
        let mut queue = self.queue.lock();
        loop {
            if self.progress.closed().is_some() {
                return;
            }
            if queue.dirty.is_empty() {
                let nothing_left = queue.pending.is_empty() || self.progress.is_stalled();
                if self.stopping.load(Ordering::Acquire) && nothing_left {
                    return;
                }
                let idle = self.written.wait_for(&mut queue, MARKS_SYNC_AFTER).timed_out();
                if idle && queue.marks_dirty && queue.dirty.is_empty() {
                    queue.marks_dirty = false;
                    drop(queue);
                    if self.marks.sync().map_err(|e| self.fail("sync of marks", &e)).is_err() {
                        return;
                    }
                    queue = self.queue.lock();
                }
                continue;
            }
            drop(queue);
            if self.sync_written().is_err() {
                return;
            }
            queue = self.queue.lock();
        }
    }

    fn run_sidecars(&self) {
        loop {
            while self.progress.closed().is_none() && self.make_sidecar() {}
            let mut queue = self.queue.lock();
            if self.stopping.load(Ordering::Acquire) || self.progress.closed().is_some() {
                return;
            }
            self.sealed.wait(&mut queue);
        }
    }

    /// Commits everything that is queued, on this thread.
    pub(super) fn pump(&self) -> Result<(), StoreError> {
        loop {
            self.check_open()?;
            let group = self.queue.lock().take_group(self.config.group_bytes_max);
            if group.is_empty() {
                return Ok(());
            }
            self.write_group(&group)?;
            self.sync_written()?;
        }
    }

    /// Makes the marks durable too, before the store is left alone.
    pub(super) fn rest(&self) -> Result<(), StoreError> {
        self.check_open()?;
        self.marks.sync().map_err(|e| self.fail("sync of marks", &e))
    }

    /// Writes a group. On a full disk it is given back and the log stalls: writing the same bytes to the same
    /// place again is all it takes to go on.
    fn write_group(&self, group: &[PendingFrame]) -> Result<(), StoreError> {
        let mut touched = Vec::new();
        for run in group.chunk_by(|a, b| a.segment == b.segment) {
            let segment = self.segments.get(run[0].segment).expect("a queued frame's segment is listed");
            match self.write_run(run, &segment) {
                Err(error) if is_full(&error) => {
                    self.queue.lock().give_back(group);
                    return Err(self.stall(&error));
                }
                other => other.map_err(|e| self.fail("write to the log", &e))?,
            }
            touched.push(segment);
        }
        let mut queue = self.queue.lock();
        queue.written_sequence = group.last().map_or(queue.written_sequence, |frame| frame.sequence);
        for segment in touched {
            if !queue.dirty.iter().any(|d| d.number == segment.number) {
                queue.dirty.push(segment);
            }
        }
        drop(queue);
        if self.progress.is_stalled() {
            tracing::info!("there is room on the disk again");
            self.progress.go_on();
        }
        Ok(())
    }

    /// Writes frames of one segment, with the help of what is kept aside if the disk is full.
    fn write_run(&self, run: &[PendingFrame], segment: &Segment) -> io::Result<()> {
        self.create_file(segment)?;
        let file = segment.file.get().expect("the file was just made");
        let pieces = Pieces::of(run);
        let slices = pieces.slices();
        self.with_what_is_aside(|| file.write_at(run[0].offset, &slices))
    }

    /// Does something that takes space; if there is none, again after giving up spare files, and again after
    /// giving up the reserve.
    fn with_what_is_aside<T>(&self, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let mut done = write();
        if done.as_ref().is_err_and(is_full) && self.drop_spares()? > 0 {
            done = write();
        }
        if done.as_ref().is_err_and(is_full) && self.space.release_reserve() {
            tracing::warn!("disk is full: the reserve was released");
            done = write();
        }
        done
    }

    fn stall(&self, error: &io::Error) -> StoreError {
        if !self.progress.is_stalled() {
            tracing::error!(%error, "disk is full: writes are refused until there is room");
        }
        self.progress.stall();
        self.room.notify_all();
        StoreError::Stalled
    }

    /// Makes a segment's file, if this is the first group that reaches it.
    fn create_file(&self, segment: &Segment) -> io::Result<()> {
        if segment.file.get().is_some() {
            return Ok(());
        }
        let stamp = self.stamp_of(segment);
        let file = self.with_what_is_aside(|| self.make_file(&stamp))?;
        segment.file.get_or_init(|| file);
        Ok(())
    }

    /// Makes or takes over a file and heads it. On failure no half-made file stays.
    fn make_file(&self, stamp: &Stamp) -> io::Result<Arc<dyn DiskFile>> {
        let name = segment_name(stamp.number);
        // A file that was written before needs no new blocks, so its syncs are faster. What it holds cannot
        // pass for frames: their checksums are seeded with the number and the start that wrote them.
        let spare = self.spares.lock().pop();
        let file = match &spare {
            Some(spare) => {
                self.disk.rename(spare, &name)?;
                self.disk.open(&name, OpenMode::ReadWrite)?
            }
            None => self.disk.open(&name, OpenMode::CreateNew)?,
        };
        let head = file.write_at(0, &[IoSlice::new(&stamp.encode_block())]);
        let made = head.and_then(|()| {
            if crate::planted::is("directory not synced") { Ok(()) } else { self.disk.sync_dir() }
        });
        if let Err(error) = made {
            // A directory that is made durable may want room as well.
            self.disk.remove(&name)?;
            return Err(error);
        }
        Ok(file)
    }

    /// Syncs what was written, marks it, and resolves its tickets.
    fn sync_written(&self) -> Result<(), StoreError> {
        let (dirty, sequence) = {
            let mut queue = self.queue.lock();
            queue.syncing = true;
            (std::mem::take(&mut queue.dirty), queue.written_sequence)
        };
        if crate::planted::is("mark before sync") {
            self.write_mark(sequence).map_err(|e| self.fail("write of marks", &e))?;
        }
        for segment in &dirty {
            if crate::planted::is("ack before sync") {
                break;
            }
            let file = segment.file.get().expect("a written segment has a file");
            file.sync().map_err(|e| self.fail("sync of the log", &e))?;
        }
        self.write_mark(sequence).map_err(|e| self.fail("write of marks", &e))?;
        self.progress.publish(sequence);
        let mut queue = self.queue.lock();
        queue.drop_durable(sequence);
        queue.syncing = false;
        queue.marks_dirty = true;
        let reached = dirty.iter().map(|segment| segment.number).max().unwrap_or(0);
        if reached > queue.synced_segment {
            queue.synced_segment = reached;
            self.sealed.notify_all();
        }
        self.work.notify_one();
        self.room.notify_all();
        Ok(())
    }

    /// Notes, without a sync, that everything up to `sequence` is durable.
    pub(super) fn write_mark(&self, sequence: u64) -> io::Result<()> {
        let counter = {
            let mut queue = self.queue.lock();
            queue.mark_counter += 1;
            queue.mark_counter
        };
        let stamp = Stamp {
            kind: StampKind::Mark,
            version: LOG_FORMAT,
            number: 0,
            store: self.store_id,
            first: sequence,
            second: counter,
            third: 0,
        };
        self.marks.write_at((counter % 2) * BLOCK_LEN as u64, &[IoSlice::new(&stamp.encode())])
    }
}

/// Frames as pieces of one vectored write: small parts copied together, large ones in place.
struct Pieces<'a> {
    copied: Vec<u8>,
    order: Vec<Piece<'a>>,
}

enum Piece<'a> {
    Copied(Range<usize>),
    InPlace(&'a Bytes),
}

impl<'a> Pieces<'a> {
    fn of(frames: &'a [PendingFrame]) -> Self {
        let mut pieces = Self { copied: Vec::new(), order: Vec::new() };
        for frame in frames {
            pieces.copy(&frame.header);
            pieces.part(&frame.name);
            pieces.part(&frame.value);
            let used = FRAME_HEADER_LEN + frame.name.len() + frame.value.len();
            let padding = usize::try_from(frame.len()).expect("frames fit memory") - used;
            pieces.copy(&[0; 8][..padding]);
        }
        pieces
    }

    fn part(&mut self, part: &'a Bytes) {
        if part.len() <= COPY_LEN_MAX {
            self.copy(part);
        } else {
            self.order.push(Piece::InPlace(part));
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        let start = self.copied.len();
        self.copied.extend_from_slice(bytes);
        match self.order.last_mut() {
            Some(Piece::Copied(range)) if range.end == start => range.end = self.copied.len(),
            _ => self.order.push(Piece::Copied(start..self.copied.len())),
        }
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        self.order
            .iter()
            .map(|piece| match piece {
                Piece::Copied(range) => IoSlice::new(&self.copied[range.clone()]),
                Piece::InPlace(bytes) => IoSlice::new(bytes),
            })
            .collect()
    }
}
