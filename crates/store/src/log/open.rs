//! Opening a store: what is in the folder, where the log ends, what of it is a torn tail and what is damage.
//!
//! A frame that does not hold is *torn* if nothing says that it was ever durable: the log is cut there, and
//! nothing after it counts. It is *damage* if anything says so (a later frame, or the marks file): then it is
//! kept for what it is, and every answer that it could have changed is an error.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use larder_format::ids::StoreId;
use larder_format::rng::Rng;
use larder_format::segment::body::{Segments as SegmentList, decode_number, encode_number};
use larder_format::segment::sidecar::SidecarEntry;
use larder_format::segment::{
    ALIGN, BLOCK_LEN, FrameKind, LOG_FORMAT, Stamp, StampKind, frame_len, segment_salt,
};
use parking_lot::{Condvar, Mutex};

use super::blobs::BlobIndex;
use super::commit::Threads;
use super::compact::SPARE_MAX;
use super::index::RecordIndex;
use super::load::{Gap, Loaded, load_segment};
use super::queue::{Log, Queue};
use super::replay::{FrameList, Replayed, replay};
use super::segments::{FIRST_FRAME, Segment, Segments, numbered, segment_name};
use super::sidecar;
use super::space::Space;
use super::{Core, Damage, LogConfig, LogStore, Time};
use crate::api::StoreError;
use crate::disk::real::RealDisk;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::ticket::Progress;

const STORE_NAME: &str = "STORE";
const STORE_NEW_NAME: &str = "STORE.new";
const MARKS_NAME: &str = "marks";

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

fn io_error(what: &str) -> impl FnOnce(io::Error) -> StoreError {
    move |error| StoreError::Io { what: what.into(), message: error.to_string().into() }
}

fn damaged(what: &str, place: impl Into<Arc<str>>) -> StoreError {
    StoreError::Damaged { what: what.into(), place: place.into() }
}

impl LogStore {
    /// Opens the store in a folder, making it if there is none.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::TooNew`], [`StoreError::Damaged`] if what heads the store cannot
    /// be read at all, [`StoreError::Io`].
    pub fn open(folder: &Path, config: LogConfig, rng: &mut dyn Rng) -> Result<Self, StoreError> {
        let disk = RealDisk::open(folder).map_err(io_error("opening the data folder"))?;
        Self::open_on(Arc::new(disk), config, rng)
    }

    /// As [`LogStore::open`], on any disk.
    ///
    /// # Errors
    /// As [`LogStore::open`].
    pub fn open_on(disk: Arc<dyn Disk>, config: LogConfig, rng: &mut dyn Rng) -> Result<Self, StoreError> {
        disk.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => StoreError::InUse { folder: disk.name() },
            _ => io_error("locking the data folder")(error),
        })?;
        let head = read_head(&disk, rng)?;
        let marks = Marks::open(disk.as_ref(), head.store)?;
        let workers =
            if config.threads { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
        let found = load_all(disk.as_ref(), head.store, marks.durable, workers)?;
        let mut judged = Judged::of(found, marks.durable)?;
        judged.cut(disk.as_ref()).map_err(io_error("cutting off the torn tail"))?;
        judged.check_segments(disk.as_ref()).map_err(io_error("removing a freed segment"))?;
        let core = Arc::new(build(disk, config, &head, &marks, &judged)?);
        let replayed = replay_all(&core, &judged, workers)?;
        let lost: Vec<(u64, u64)> = judged
            .holes
            .iter()
            .filter(|gap| gap.through > replayed.accepted_through)
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

/// What the `STORE` file says.
struct Head {
    store: StoreId,
    boot: u64,
    created: bool,
}

/// Reads the `STORE` file and counts this start in it, or makes it.
fn read_head(disk: &Arc<dyn Disk>, rng: &mut dyn Rng) -> Result<Head, StoreError> {
    let names = disk.list().map_err(io_error("listing the data folder"))?;
    let has = |wanted: &str| names.iter().any(|(name, _)| name == wanted);
    let mut head = Head { store: StoreId([0; 16]), boot: 1, created: true };
    if has(STORE_NAME) {
        let file = disk.open(STORE_NAME, OpenMode::Read).map_err(io_error("opening STORE"))?;
        let mut block = vec![0; BLOCK_LEN];
        file.read_at(0, &mut block).map_err(io_error("reading STORE"))?;
        let stamp = Stamp::decode_block(StampKind::Store, &block)
            .ok_or_else(|| damaged("the file that names the store cannot be read", STORE_NAME))?;
        check_version("store", stamp.version)?;
        head = Head { store: stamp.store, boot: stamp.first + 1, created: false };
    } else if names.iter().any(|(name, _)| numbered(name, ".seg").is_some()) {
        return Err(damaged("the file that names the store is missing", STORE_NAME));
    } else {
        rng.fill(&mut head.store.0);
    }
    write_head(disk.as_ref(), &head, has(STORE_NEW_NAME)).map_err(io_error("writing STORE"))?;
    Ok(head)
}

fn write_head(disk: &dyn Disk, head: &Head, stale_new: bool) -> io::Result<()> {
    let stamp = Stamp {
        kind: StampKind::Store,
        version: LOG_FORMAT,
        number: 0,
        store: head.store,
        first: head.boot,
        second: 0,
        third: 0,
    };
    // One that an earlier start left behind is written over, not replaced: were it removed and made anew,
    // a crash could keep the renaming below and lose the two changes before it.
    let mode = if stale_new { OpenMode::ReadWrite } else { OpenMode::CreateNew };
    let file = disk.open(STORE_NEW_NAME, mode)?;
    file.write_at(0, &[IoSlice::new(&stamp.encode_block())])?;
    file.sync()?;
    disk.rename(STORE_NEW_NAME, STORE_NAME)?;
    disk.sync_dir()
}

fn check_version(what: &'static str, version: u32) -> Result<(), StoreError> {
    if version > LOG_FORMAT {
        return Err(StoreError::TooNew { what, version: version.into(), supported: LOG_FORMAT.into() });
    }
    Ok(())
}

/// The marks file: how far the log was durable when it was last written to.
struct Marks {
    file: Arc<dyn DiskFile>,
    durable: u64,
    counter: u64,
}

impl Marks {
    fn open(disk: &dyn Disk, store: StoreId) -> Result<Self, StoreError> {
        let opened = match disk.open(MARKS_NAME, OpenMode::ReadWrite) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                disk.open(MARKS_NAME, OpenMode::CreateNew).and_then(|file| {
                    file.write_at(0, &[IoSlice::new(&vec![0; 2 * BLOCK_LEN])])?;
                    file.sync()?;
                    disk.sync_dir()?;
                    Ok(file)
                })
            }
            other => other,
        };
        let file = opened.map_err(io_error("opening the marks file"))?;
        let mut marks = Self { file, durable: 0, counter: 0 };
        let mut both = vec![0; 2 * BLOCK_LEN];
        marks.file.read_at(0, &mut both).map_err(io_error("reading the marks file"))?;
        for slot in both.chunks(BLOCK_LEN) {
            let Some(stamp) = Stamp::decode(StampKind::Mark, slot).filter(|s| s.store == store) else {
                continue;
            };
            marks.durable = marks.durable.max(stamp.first);
            marks.counter = marks.counter.max(stamp.second);
        }
        Ok(marks)
    }
}

/// A segment file that was read, or whose head cannot be.
enum Found {
    Loaded(Box<Loaded>),
    Headless(u32),
}

/// Reads all segments, in order of their numbers, on `workers` threads.
fn load_all(disk: &dyn Disk, store: StoreId, durable: u64, workers: usize) -> Result<Vec<Found>, StoreError> {
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
    file.read_at(0, &mut block).map_err(io_error("reading a segment"))?;
    let stamp = Stamp::decode_block(StampKind::Segment, &block)
        .filter(|stamp| stamp.store == store && stamp.number == number && stamp.second > 0);
    let Some(stamp) = stamp else { return Ok(Found::Headless(number)) };
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
        let tells = |kind| matches!(kind, FrameKind::Freed | FrameKind::Segments);
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
    })
}

/// Where the log ends and what is missing before that.
struct Judged {
    kept: Vec<Loaded>,
    /// Segments of which nothing counts.
    dropped: Vec<u32>,
    /// The last kept segment ends here; what is behind is torn.
    cut_at: Option<u64>,
    cut_bytes: u64,
    holes: Vec<Gap>,
    next_sequence: u64,
    chain: u64,
    /// The last kept segment goes on; else a new one begins.
    goes_on: bool,
    next_segment: u32,
}

impl Judged {
    fn of(found: Vec<Found>, marked: u64) -> Result<Self, StoreError> {
        let says = |found: &Found| match found {
            Found::Loaded(loaded) => loaded.durable_through,
            Found::Headless(_) => 0,
        };
        let durable = found.iter().map(says).max().unwrap_or(0).max(marked);
        let mut judged = Self {
            kept: Vec::new(),
            dropped: Vec::new(),
            cut_at: None,
            cut_bytes: 0,
            holes: Vec::new(),
            next_sequence: 1,
            chain: 0,
            goes_on: false,
            next_segment: 1,
        };
        let mut rest = found.into_iter().peekable();
        let mut ended = false;
        while let Some(this) = rest.next() {
            let number = match &this {
                Found::Loaded(loaded) => loaded.stamp.number,
                Found::Headless(number) => *number,
            };
            if ended {
                judged.dropped.push(number);
                continue;
            }
            let Found::Loaded(loaded) = this else {
                // Without its head nothing in it can be told from noise. If the log is durable beyond what
                // came before, its frames were lost; else it had not been synced yet.
                judged.next_segment = number;
                if durable < judged.next_sequence {
                    judged.dropped.push(number);
                } else {
                    judged.next_segment = number + 1;
                    judged.goes_on = false;
                }
                continue;
            };
            let next_first = rest.peek().and_then(|next| match next {
                Found::Loaded(next) => Some(next.stamp.second),
                Found::Headless(_) => None,
            });
            ended = judged.take(*loaded, next_first, rest.peek().is_some(), durable);
        }
        if durable >= judged.next_sequence {
            // The end of the log itself is lost. What is left of that segment stays as it is.
            judged.lose(judged.next_sequence, durable, 0);
            judged.next_sequence = durable + 1;
            judged.goes_on = false;
        }
        Ok(judged)
    }

    fn lose(&mut self, from: u64, through: u64, offset: u64) {
        let segment = self.kept.last().map_or(0, |last| last.stamp.number);
        self.holes.push(Gap { from, through, offset, chain: self.chain, segment });
    }

    /// Takes the next segment in; answers whether the log ends in it.
    fn take(&mut self, loaded: Loaded, next_first: Option<u64>, has_next: bool, durable: u64) -> bool {
        let number = loaded.stamp.number;
        if !self.kept.is_empty() && loaded.stamp.second > self.next_sequence && !self.after_end() {
            self.lose(self.next_sequence, loaded.stamp.second - 1, 0);
        }
        let mut gaps: Vec<Gap> = loaded.gaps.clone();
        gaps.extend(loaded.torn_values.iter().filter(|gap| gap.from > durable));
        let tail = loaded.last_sequence + 1;
        if has_next && !loaded.ended && tail > durable {
            let through = next_first.map_or(tail, |first| first.saturating_sub(1)).max(tail);
            let (offset, chain) = (loaded.end, loaded.chain);
            gaps.push(Gap { from: tail, through, offset, chain, segment: number });
        }
        gaps.sort_by_key(|gap| gap.from);
        self.next_segment = number + 1;
        for gap in gaps {
            if gap.through <= durable {
                self.holes.push(gap);
                continue;
            }
            // Not everything from here on was durable, so the log ends here.
            if gap.from <= durable {
                self.lose(gap.from, durable, gap.offset);
            }
            self.next_sequence = gap.from.max(durable + 1);
            self.chain = gap.chain;
            self.cut_bytes += loaded.file.size().unwrap_or(gap.offset).saturating_sub(gap.offset);
            self.goes_on = gap.from > durable;
            if gap.offset <= FIRST_FRAME {
                self.dropped.push(number);
                self.next_segment = number;
                self.goes_on = false;
            } else {
                self.cut_at = Some(gap.offset);
                self.kept.push(loaded);
            }
            return true;
        }
        self.next_sequence = loaded.last_sequence + 1;
        self.chain = loaded.chain;
        self.goes_on = !loaded.ended;
        if loaded.last_sequence < loaded.stamp.second && !has_next && durable < loaded.stamp.second {
            // Made, but nothing in it was written: make it anew.
            self.dropped.push(number);
            self.next_segment = number;
            self.goes_on = false;
            return true;
        }
        self.kept.push(loaded);
        false
    }

    fn after_end(&self) -> bool {
        self.kept.last().is_some_and(|last| last.ended)
    }

    /// Makes the files end where the log ends. What is cut must be gone for good before anything new is
    /// written, or frames of two histories could be mixed.
    fn cut(&self, disk: &dyn Disk) -> io::Result<()> {
        for number in self.dropped.iter().rev() {
            disk.remove(&segment_name(*number))?;
        }
        if !self.dropped.is_empty() {
            disk.sync_dir()?;
        }
        let Some(last) = self.kept.last() else { return Ok(()) };
        if self.goes_on && !crate::planted::is("cut not made") {
            last.file.set_len(self.cut_at.unwrap_or(last.end))?;
        }
        Ok(())
    }
}

/// Entries of a loaded segment that count.
fn entries(list: &[u8], before: u64) -> impl Iterator<Item = SidecarEntry<'_>> {
    let mut rest = list;
    let all = std::iter::from_fn(move || {
        let (entry, next) = SidecarEntry::decode(rest)?;
        rest = next;
        Some(entry)
    });
    all.take_while(move |entry| entry.sequence < before)
}

impl Judged {
    /// Leaves out segments that were freed, and notices those that should be there and are not.
    fn check_segments(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let mut freed = BTreeSet::new();
        let mut listed: Vec<(u32, u64)> = Vec::new();
        for loaded in &self.kept {
            for entry in entries(&loaded.list, self.next_sequence) {
                let name = || bytes::Bytes::copy_from_slice(entry.name);
                match entry.kind {
                    FrameKind::Freed => {
                        freed.extend(decode_number(name()).ok().and_then(|n| u32::try_from(n).ok()));
                    }
                    FrameKind::Segments => {
                        listed = SegmentList::decode(name()).map_or(listed, |list| list.0);
                    }
                    _ => {}
                }
            }
        }
        let gone: Vec<u32> =
            self.kept.iter().map(|l| l.stamp.number).filter(|number| freed.contains(number)).collect();
        let names: BTreeSet<String> = disk.list()?.into_iter().map(|(name, _)| name).collect();
        for number in &gone {
            disk.remove(&segment_name(*number))?;
            if names.contains(&sidecar::sidecar_name(*number)) {
                disk.remove(&sidecar::sidecar_name(*number))?;
            }
        }
        if !gone.is_empty() {
            disk.sync_dir()?;
        }
        self.kept.retain(|loaded| !freed.contains(&loaded.stamp.number));
        self.holes.retain(|gap| !freed.contains(&gap.segment));
        for (number, first) in listed.iter().filter(|(number, _)| !freed.contains(number)) {
            if self.kept.iter().any(|loaded| loaded.stamp.number == *number) {
                continue;
            }
            // The whole file is missing: its frames end where the next one's begin.
            let later = self.kept.iter().map(|loaded| loaded.stamp.second).filter(|next| next > first).min();
            let through = later.unwrap_or(self.next_sequence).saturating_sub(1);
            self.holes.push(Gap { from: *first, through, offset: 0, chain: 0, segment: *number });
        }
        Ok(())
    }
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

fn build(
    disk: Arc<dyn Disk>,
    config: LogConfig,
    head: &Head,
    marks: &Marks,
    judged: &Judged,
) -> Result<Core, StoreError> {
    // What was found may never have been synced: the process may have been killed between write and sync.
    // It is about to be served, so it must be durable first.
    for loaded in judged.kept.iter().filter(|loaded| loaded.last_sequence > marks.durable) {
        loaded.file.sync().map_err(io_error("syncing a segment"))?;
    }
    disk.sync_dir().map_err(io_error("syncing the data folder"))?;
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
        }));
    }
    let progress = Arc::new(Progress::default());
    progress.publish(judged.next_sequence - 1);
    let last = judged.kept.last().filter(|_| judged.goes_on);
    let queue = Queue {
        next_sequence: judged.next_sequence,
        segment: last.map_or(judged.next_segment, |last| last.stamp.number),
        offset: last.map_or(FIRST_FRAME, |last| judged.cut_at.unwrap_or(last.end)),
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
    };
    let space = Space::new(disk.clone(), config.margin_bytes, config.reserve_bytes)
        .map_err(io_error("measuring free space"))?;
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
    };
    if !judged.goes_on {
        log.begin_segment(&mut log.queue.lock(), judged.next_segment);
    }
    log.write_mark(judged.next_sequence - 1).map_err(io_error("writing the marks file"))?;
    Ok(Core {
        log,
        records: RecordIndex::new(),
        blobs: Mutex::new(BlobIndex::default()),
        time: Mutex::new(Time::default()),
        damage: Damage { lost_through: AtomicU64::new(0), accepted: Mutex::default() },
        compaction: Mutex::default(),
        scrub: Mutex::new((0, FIRST_FRAME)),
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
