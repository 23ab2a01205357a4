//! Opening a store: reads what heads it ([`super::head`]) and its segments ([`super::load`]), judges them
//! ([`super::judge`]), applies them ([`super::replay`]) and starts the log where it ends.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use larder_format::ids::StoreId;
use larder_format::rng::Rng;
use larder_format::segment::body::encode_number;
use larder_format::segment::{ALIGN, BLOCK_LEN, FrameKind, Stamp, StampKind, frame_len, segment_salt};
use parking_lot::{Condvar, Mutex};

use super::blobs::BlobIndex;
use super::commit::Threads;
use super::head::{Head, Marks, check_version, read_head};
use super::index::RecordIndex;
use super::judge::{Found, Judged, entries};
use super::load::{Loaded, load_segment};
use super::queue::{Log, Queue};
use super::replay::{FrameList, Replayed, replay};
use super::segments::{FIRST_FRAME, Segment, Segments, numbered, segment_name};
use super::sidecar;
use super::space::Space;
use super::victim::SPARE_MAX;
use super::{Core, Damage, LogConfig, LogStore, Time};
use crate::api::StoreError;
use crate::disk::real::RealDisk;
use crate::disk::{Disk, DiskFile, OpenMode, is_full, is_unreadable};
use crate::feed::Feed;
use crate::ticket::Progress;
use crate::used::UsedTable;

/// Longest list of one segment that is held from when it is first read until it is applied, in bytes. A
/// segment full of small records has a list of about half its own length.
const LIST_HELD_MAX: usize = 1 << 20;

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the store was made just now.
    pub created: bool,
    /// Frames read.
    pub frames: u64,
    /// Segments there are.
    pub segments: u64,
    /// Frames in which one damaged byte was put right.
    pub repaired: u64,
    /// Bytes of unacknowledged writes that were cut off.
    pub cut_bytes: u64,
    /// Stretches of lost frames, by first and last sequence number, that the operator has not accepted.
    pub lost: Vec<(u64, u64)>,
}

pub(super) fn io_error(what: &str) -> impl FnOnce(io::Error) -> StoreError {
    move |error| {
        let (what, message) = (what.into(), error.to_string().into());
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreError::Denied { what, message }
            }
            _ if is_full(&error) => StoreError::DiskFull { free: 0, kept: 0 },
            _ => StoreError::Io { what, message },
        }
    }
}

pub(super) fn damaged(what: &str, place: impl Into<Arc<str>>) -> StoreError {
    StoreError::Damaged { what: what.into(), place: place.into() }
}

/// Keeps other processes out until the disk is dropped.
pub(super) fn lock(disk: &dyn Disk) -> Result<(), StoreError> {
    disk.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StoreError::InUse { folder: disk.name() },
        _ => io_error("locking the data folder")(error),
    })
}

impl LogStore {
    /// Opens the store in a folder, making it if there is none.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::TooNew`], [`StoreError::Damaged`] if what heads the store cannot
    /// be read at all, [`StoreError::EndUnread`], [`StoreError::Io`].
    pub fn open(folder: &Path, config: LogConfig, rng: &mut dyn Rng) -> Result<Self, StoreError> {
        let disk = RealDisk::open(folder).map_err(io_error("opening the data folder"))?;
        Self::open_on(Arc::new(disk), config, rng)
    }

    /// As [`LogStore::open`], on any disk.
    ///
    /// # Errors
    /// As [`LogStore::open`].
    pub fn open_on(disk: Arc<dyn Disk>, config: LogConfig, rng: &mut dyn Rng) -> Result<Self, StoreError> {
        lock(disk.as_ref())?;
        Self::open_locked(disk, config, rng)
    }

    /// As [`LogStore::open_on`], of a disk that is locked already.
    pub(super) fn open_locked(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        rng: &mut dyn Rng,
    ) -> Result<Self, StoreError> {
        super::unread::finish(disk.as_ref()).map_err(io_error("putting a segment in its place"))?;
        let head = read_head(&disk, rng)?;
        let mut marks = Marks::open(disk.as_ref(), head.store)?;
        let workers =
            if config.threads { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
        let found = load_all(disk.as_ref(), head.store, marks.durable, workers)?;
        let mut judged = Judged::of(found, marks.durable)?;
        // First, because what is cut off may be all that says how far the log was durable.
        marks.raise(head.store, judged.durable).map_err(io_error("writing the marks file"))?;
        judged.cut(disk.as_ref(), marks.durable).map_err(io_error("cutting off the torn tail"))?;
        sidecar::remove_orphans(disk.as_ref()).map_err(io_error("removing a sidecar"))?;
        judged.remove_freed(disk.as_ref()).map_err(io_error("removing a freed segment"))?;
        let core = Arc::new(build(disk, config, &head, &marks, &judged, rng.u64())?);
        let replayed = replay_all(&core, &judged, workers)?;
        let lost: Vec<(u64, u64)> = judged
            .holes
            .iter()
            .filter(|gap| !gap.is_accepted(replayed.accepted_through))
            .map(|gap| (gap.from, gap.through))
            .collect();
        let lost_through = lost.iter().map(|(_, through)| *through).max().unwrap_or(0);
        core.damage.lost_through.store(lost_through, Ordering::Release);
        let report = OpenReport {
            created: head.created,
            frames: replayed.frames,
            segments: judged.kept.len() as u64,
            repaired: judged.kept.iter().map(|loaded| loaded.repaired).sum(),
            cut_bytes: judged.cut_bytes,
            lost,
        };
        start(core, report)
    }
}

/// Applies all segments in order, holding one list in memory at a time where sidecars have them.
fn replay_all(core: &Core, judged: &Judged, workers: usize) -> Result<Replayed, StoreError> {
    let mut replayed = Replayed::default();
    for loaded in &judged.kept {
        let from_sidecar;
        let list = if loaded.in_sidecar {
            from_sidecar = sidecar::read(core.log.disk.as_ref(), &loaded.stamp)
                .ok_or_else(|| damaged("a sidecar changed while it was read", "sidecar"))?;
            &from_sidecar
        } else {
            &loaded.list
        };
        let list = FrameList { segment: loaded.stamp.number, list };
        replay(core, &list, judged.next_sequence, workers, &mut replayed)
            .map_err(|error| damaged(&format!("a frame makes no sense: {error}"), "log"))?;
    }
    Ok(replayed)
}

/// Reads all segments, in order of their numbers, on `workers` threads.
pub(super) fn load_all(
    disk: &dyn Disk,
    store: StoreId,
    durable: u64,
    workers: usize,
) -> Result<Vec<Found>, StoreError> {
    let names = disk.list().map_err(io_error("listing the data folder"))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|(name, _)| numbered(name, ".seg")).collect();
    numbers.sort_unstable();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let is_last = Some(number) == numbers.last();
            done.push((*number, load_one(disk, store, durable, *number, is_last)));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().expect("reading a segment does not panic"));
        }
        done
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, found)| found).collect()
}

fn load_one(
    disk: &dyn Disk,
    store: StoreId,
    durable: u64,
    number: u32,
    is_last: bool,
) -> Result<Found, StoreError> {
    let file =
        disk.open(&segment_name(number), OpenMode::ReadWrite).map_err(io_error("opening a segment"))?;
    let mut block = vec![0; BLOCK_LEN];
    let mut read = file.read_at(0, &mut block);
    if read.as_ref().is_err_and(is_unreadable) {
        // All that is in the segment depends on it.
        read = file.read_at(0, &mut block);
    }
    let is_unread = match read {
        Err(error) if is_unreadable(&error) => true,
        other => other.map(|_| false).map_err(io_error("reading a segment"))?,
    };
    let stamp = Stamp::decode_block(StampKind::Segment, &block)
        .filter(|stamp| !is_unread && stamp.store == store && stamp.number == number && stamp.second > 0);
    let Some(stamp) = stamp else { return Ok(Found::Headless(number, is_unread)) };
    check_version("segment", stamp.version)?;
    // The last segment is never sealed, so a sidecar for it would be of another life.
    if let Some(listed) = (!is_last).then(|| sealed(disk, stamp, &file)).flatten() {
        return Ok(Found::Loaded(Box::new(listed)));
    }
    let loaded = load_segment(&file, stamp, durable).map_err(io_error("reading a segment"))?;
    Ok(Found::Loaded(Box::new(loaded)))
}

/// A sealed segment as its sidecar tells it. A sidecar is made only when its whole segment is durable.
fn sealed(disk: &dyn Disk, stamp: Stamp, file: &Arc<dyn DiskFile>) -> Option<Loaded> {
    let list = sidecar::read(disk, &stamp)?;
    let last = sidecar::last_if_ended(&list)?;
    let last_sequence = last.sequence;
    let end = u64::from(last.place) * ALIGN + frame_len(0, 0);
    // Long lists are read again when it is their turn; only what the whole log must know is kept.
    let in_sidecar = list.len() > LIST_HELD_MAX;
    let kept = if in_sidecar {
        let mut told = Vec::new();
        let tells = |kind| matches!(kind, FrameKind::Freed | FrameKind::Segments | FrameKind::Accept);
        let telling = entries(&list, u64::MAX).filter(|entry| tells(entry.kind));
        telling.for_each(|entry| entry.encode_into(&mut told));
        told
    } else {
        list
    };
    Some(Loaded {
        stamp,
        file: file.clone(),
        list: kept,
        repaired: 0,
        from_sidecar: true,
        in_sidecar,
        gaps: Vec::new(),
        torn_values: Vec::new(),
        end,
        last_sequence,
        chain: 0,
        ended: true,
        durable_through: last_sequence,
        unread_end: false,
        unread_bytes: 0,
    })
}

/// Freed files wait to be used again; more than needed are not kept.
fn take_spares(disk: &dyn Disk) -> io::Result<Vec<String>> {
    let names = disk.list()?;
    let mut spares: Vec<String> =
        names.into_iter().map(|(name, _)| name).filter(|name| numbered(name, ".free").is_some()).collect();
    for extra in spares.split_off(spares.len().min(SPARE_MAX)) {
        disk.remove(&extra)?;
    }
    Ok(spares)
}

/// The queue of a log that ends where it was judged to end.
fn queue_at_end(head: &Head, marks: &Marks, judged: &Judged) -> Queue {
    let last = judged.kept.last().filter(|_| judged.goes_on);
    Queue {
        next_sequence: judged.next_sequence,
        segment: last.map_or(judged.next_segment, |last| last.stamp.number),
        offset: last.map_or(FIRST_FRAME, |last| last.end),
        salt: last.map_or_else(
            || segment_salt(head.store, head.boot, judged.next_segment),
            |last| last.stamp.first,
        ),
        chain: judged.chain,
        pending: std::collections::VecDeque::new(),
        pending_bytes: 0,
        taken: 0,
        taken_bytes: 0,
        written_sequence: judged.next_sequence - 1,
        dirty: Vec::new(),
        syncing: false,
        synced_segment: judged.kept.last().map_or(0, |last| last.stamp.number),
        mark_counter: marks.counter,
        marks_dirty: true,
        missing: judged.missing.clone(),
    }
}

fn build(
    disk: Arc<dyn Disk>,
    config: LogConfig,
    head: &Head,
    marks: &Marks,
    judged: &Judged,
    feed_life: u64,
) -> Result<Core, StoreError> {
    let segments = Segments::default();
    for loaded in &judged.kept {
        segments.insert(Arc::new(Segment {
            number: loaded.stamp.number,
            salt: loaded.stamp.first,
            first_sequence: loaded.stamp.second,
            follows: loaded.stamp.third,
            file: loaded.file.clone().into(),
            live: 0.into(),
            end: loaded.end.into(),
            tombs: Mutex::default(),
            has_sidecar: loaded.from_sidecar.into(),
            leaving: false.into(),
        }));
    }
    let progress = Arc::new(Progress::default());
    progress.publish(judged.next_sequence - 1);
    let queue = queue_at_end(head, marks, judged);
    let space = Space::new(disk.clone(), &config).map_err(io_error("measuring free space"))?;
    space.fit_segments(segments.disk_bytes());
    let spares = take_spares(disk.as_ref()).map_err(io_error("listing spare segments"))?;
    let log = Log {
        disk,
        config,
        store_id: head.store,
        boot: head.boot,
        progress,
        segments,
        space,
        marks: marks.file.clone(),
        queue: Mutex::new(queue),
        work: Condvar::new(),
        written: Condvar::new(),
        sealed: Condvar::new(),
        room: Condvar::new(),
        stopping: false.into(),
        spares: Mutex::new(spares),
        feed: Arc::new(Feed::new(feed_life, judged.next_sequence - 1, true)),
    };
    if !judged.goes_on {
        log.begin_segment(&mut log.queue.lock(), judged.next_segment);
    }
    log.write_mark(judged.next_sequence - 1).map_err(io_error("writing the marks file"))?;
    let used: Arc<UsedTable> = Arc::default();
    Ok(Core {
        log,
        records: RecordIndex::new(used.clone()),
        blobs: Mutex::new(BlobIndex::charging(used)),
        time: Mutex::new(Time::default()),
        damage: Damage { lost_through: AtomicU64::new(0), accepted: Mutex::default() },
        compaction: Mutex::default(),
        scrub: Mutex::default(),
    })
}

fn start(core: Arc<Core>, report: OpenReport) -> Result<LogStore, StoreError> {
    core.log.space.take_reserve().map_err(io_error("making the reserve"))?;
    let body = encode_number(core.log.boot);
    core.log.append(FrameKind::Boot, body, bytes::Bytes::new())?;
    let threads = if core.log.config.threads {
        Some(Threads::start(&core).map_err(io_error("starting the log's threads"))?)
    } else {
        None
    };
    Ok(LogStore { core, threads, report })
}
