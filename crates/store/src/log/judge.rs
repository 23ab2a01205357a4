//! Judging what was found in a folder: where the log ends, what behind that is a torn tail, and what before
//! it is damage.
//!
//! A frame that does not hold is *torn* if nothing says that it was ever durable: the log is cut there, and
//! nothing after it counts. It is *damage* if anything says so (a later frame, or the marks file): then it is
//! kept for what it is, and every answer that it could have changed is an error.

use std::collections::BTreeSet;
use std::io;

use larder_format::segment::FrameKind;
use larder_format::segment::body::{Accept, Segments as SegmentList, decode_number};
use larder_format::segment::sidecar::SidecarEntry;

use super::load::{Gap, Loaded};
use super::segments::{FIRST_FRAME, segment_name};
use super::sidecar;
use crate::api::StoreError;
use crate::disk::Disk;

/// A segment file that was read, or whose head cannot be.
#[derive(Clone)]
pub(super) enum Found {
    Loaded(Box<Loaded>),
    /// Its number, and whether the disk could not read its head.
    Headless(u32, bool),
}

/// The log ends, or goes on, where the disk cannot read. Nothing is cut there: it might be what was acknowledged last.
#[derive(Debug)]
pub(super) struct Unread {
    /// The segments that are in the way, never none: what they hold there must be read, or given up.
    pub(super) segments: BTreeSet<u32>,
}

impl Unread {
    fn of(number: u32) -> Self {
        Self { segments: BTreeSet::from([number]) }
    }
}

impl From<Unread> for StoreError {
    fn from(unread: Unread) -> Self {
        let first = unread.segments.first().copied().unwrap_or_default();
        StoreError::EndUnread { file: segment_name(first).into() }
    }
}

/// Where the log ends and what is missing before that.
pub(super) struct Judged {
    pub(super) kept: Vec<Loaded>,
    /// Segments of which nothing counts.
    pub(super) dropped: Vec<u32>,
    /// The last kept segment ends here; what is behind is torn.
    pub(super) cut_at: Option<u64>,
    pub(super) cut_bytes: u64,
    pub(super) holes: Vec<Gap>,
    /// Lost segments that no file tells of, with the number of their first frame: every list of segments
    /// must name them until their loss is accepted, or the next start would not notice.
    pub(super) missing: Vec<(u32, u64)>,
    /// Everything up to here was durable, by whatever says so.
    pub(super) durable: u64,
    pub(super) next_sequence: u64,
    pub(super) chain: u64,
    /// The last kept segment goes on; else a new one begins.
    pub(super) goes_on: bool,
    pub(super) next_segment: u32,
}

impl Judged {
    /// # Errors
    /// [`Unread`] if the log would end where the disk cannot read.
    pub(super) fn of(found: Vec<Found>, marked: u64) -> Result<Self, Unread> {
        let says = |found: &Found| match found {
            Found::Loaded(loaded) => loaded.durable_through,
            Found::Headless(..) => 0,
        };
        let durable = found.iter().map(says).max().unwrap_or(0).max(marked);
        let mut judged = Self {
            kept: Vec::new(),
            dropped: Vec::new(),
            cut_at: None,
            cut_bytes: 0,
            holes: Vec::new(),
            missing: Vec::new(),
            durable,
            next_sequence: 1,
            chain: 0,
            goes_on: false,
            next_segment: 1,
        };
        let mut rest = found.into_iter().peekable();
        let mut ended = false;
        // The first of those at the end that have no head, and those whose head the disk could not read.
        let (mut headless, mut unread_heads) = (None, BTreeSet::new());
        while let Some(this) = rest.next() {
            let number = match &this {
                Found::Loaded(loaded) => loaded.stamp.number,
                Found::Headless(number, _) => *number,
            };
            if ended {
                judged.dropped.push(number);
                continue;
            }
            let loaded = match this {
                Found::Loaded(loaded) => *loaded,
                Found::Headless(_, true) if durable < judged.next_sequence => return Err(Unread::of(number)),
                Found::Headless(_, is_unread) => {
                    unread_heads.extend(is_unread.then_some(number));
                    // Without its head nothing in it can be told from noise. If the log is durable beyond what
                    // came before, its frames were lost; else it had not been synced yet.
                    judged.next_segment = number;
                    if durable < judged.next_sequence {
                        judged.dropped.push(number);
                        // Nor had anything after it.
                        ended = true;
                    } else {
                        judged.next_segment = number + 1;
                        judged.goes_on = false;
                        headless.get_or_insert(number);
                    }
                    continue;
                }
            };
            (headless, unread_heads) = (None, BTreeSet::new());
            let next_first = rest.peek().and_then(|next| match next {
                Found::Loaded(next) => Some(next.stamp.second),
                Found::Headless(..) => None,
            });
            ended = judged.take(loaded, next_first, rest.peek().is_some(), durable)?;
        }
        if durable >= judged.next_sequence {
            judged.lose_end(headless, unread_heads)?;
        }
        Ok(judged)
    }

    /// The end of the log itself is lost. What is left of that segment stays as it is. `headless`: the first of the
    /// segments at the end that have no head; `unread`: those of them whose head the disk could not read.
    ///
    /// # Errors
    /// [`Unread`] if the disk could not read it: were it readable again later, two histories would go on from here.
    fn lose_end(&mut self, headless: Option<u32>, mut unread: BTreeSet<u32>) -> Result<(), Unread> {
        unread.extend(self.kept.last().filter(|last| last.unread_end).map(|last| last.stamp.number));
        if !unread.is_empty() {
            return Err(Unread { segments: unread });
        }
        self.lose(self.next_sequence, self.durable, 0);
        // A file that just stops tells of it at every start. Else a number is set aside for what is lost.
        if self.kept.last().is_none_or(|last| last.ended) {
            self.set_aside(headless.unwrap_or(self.next_segment), self.next_sequence);
        }
        self.next_sequence = self.durable + 1;
        self.goes_on = false;
        Ok(())
    }

    /// Notes a segment as lost; its number is not given out again.
    fn set_aside(&mut self, number: u32, first: u64) {
        self.missing.push((number, first));
        self.next_segment = self.next_segment.max(number + 1);
    }

    fn lose(&mut self, from: u64, through: u64, offset: u64) {
        let segment = self.kept.last().map_or(0, |last| last.stamp.number);
        let at_end = offset == 0;
        self.holes.push(Gap { from, through, offset, chain: self.chain, segment, at_end, unread: false });
    }

    /// Takes the next segment in; answers whether the log ends in it.
    ///
    /// # Errors
    /// [`Unread`] if it would end where the disk could not read: what is there may have been acknowledged.
    fn take(
        &mut self,
        mut loaded: Loaded,
        next_first: Option<u64>,
        has_next: bool,
        durable: u64,
    ) -> Result<bool, Unread> {
        let number = loaded.stamp.number;
        if !self.kept.is_empty() && loaded.stamp.second > self.next_sequence && !self.after_end() {
            self.lose(self.next_sequence, loaded.stamp.second - 1, 0);
        }
        let mut gaps: Vec<Gap> = loaded.gaps.clone();
        gaps.extend(loaded.torn_values.iter().filter(|gap| gap.from > durable));
        let tail = loaded.last_sequence + 1;
        if has_next && !loaded.ended && tail > durable {
            let through = next_first.map_or(tail, |first| first.saturating_sub(1)).max(tail);
            let (offset, chain, unread) = (loaded.end, loaded.chain, loaded.unread_end);
            gaps.push(Gap { from: tail, through, offset, chain, segment: number, at_end: true, unread });
        }
        gaps.sort_by_key(|gap| gap.from);
        let cut = gaps.iter().find(|gap| gap.through > durable);
        let is_unread = match cut {
            Some(gap) => gap.unread,
            None => loaded.unread_end && !loaded.ended && tail > durable,
        };
        if is_unread {
            return Err(Unread::of(number));
        }
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
                if gap.from <= durable && self.kept.last().is_none_or(|last| last.ended) {
                    self.set_aside(number, gap.from);
                }
            } else {
                self.cut_at = Some(gap.offset);
                (loaded.end, loaded.ended) = (gap.offset, false);
                self.kept.push(loaded);
            }
            return Ok(true);
        }
        self.next_sequence = loaded.last_sequence + 1;
        self.chain = loaded.chain;
        self.goes_on = !loaded.ended;
        if loaded.last_sequence < loaded.stamp.second && !has_next && durable < loaded.stamp.second {
            // Made, but nothing in it was written: make it anew.
            self.dropped.push(number);
            self.next_segment = number;
            self.goes_on = false;
            return Ok(true);
        }
        self.kept.push(loaded);
        Ok(false)
    }

    fn after_end(&self) -> bool {
        self.kept.last().is_some_and(|last| last.ended)
    }

    /// Makes the files end where the log ends, durably, and everything that is about to be served durable:
    /// the process may have been killed between write and sync. What is cut must be gone for good before
    /// anything new is written, or frames of two histories could be mixed. `marked`: what the marks file,
    /// which must be durable, says.
    pub(super) fn cut(&self, disk: &dyn Disk, marked: u64) -> io::Result<()> {
        for number in self.dropped.iter().rev() {
            disk.remove(&segment_name(*number))?;
        }
        if let Some(last) = self.kept.last()
            && (self.goes_on || self.cut_at.is_some())
            && !crate::planted::is("cut not made")
        {
            last.file.set_len(last.end)?;
            last.file.sync()?;
        }
        for loaded in self.kept.iter().filter(|loaded| loaded.last_sequence > marked) {
            loaded.file.sync()?;
        }
        disk.sync_dir()
    }
}

/// Entries of a loaded segment that count.
pub(super) fn entries(list: &[u8], before: u64) -> impl Iterator<Item = SidecarEntry<'_>> {
    let mut rest = list;
    let all = std::iter::from_fn(move || {
        let (entry, next) = SidecarEntry::decode(rest)?;
        rest = next;
        Some(entry)
    });
    all.take_while(move |entry| entry.sequence < before)
}

/// What kept segments say about others.
#[derive(Default)]
struct Told {
    freed: BTreeSet<u32>,
    /// The newest list of segments, with the number of each one's first frame.
    listed: Vec<(u32, u64)>,
    /// The first frame of the segment that has the list: those listed end before.
    listed_before: u64,
    /// Lost frames up to here were accepted as lost.
    accepted: u64,
}

impl Judged {
    fn told(&self) -> Told {
        let mut told = Told::default();
        for loaded in &self.kept {
            for entry in entries(&loaded.list, self.next_sequence) {
                let name = || bytes::Bytes::copy_from_slice(entry.name);
                match entry.kind {
                    FrameKind::Freed => {
                        told.freed.extend(decode_number(name()).ok().and_then(|n| u32::try_from(n).ok()));
                    }
                    FrameKind::Segments => {
                        if let Ok(list) = SegmentList::decode(name()) {
                            (told.listed, told.listed_before) = (list.0, loaded.stamp.second);
                        }
                    }
                    FrameKind::Accept => {
                        let through = Accept::decode(name()).map_or(0, |body| body.through);
                        told.accepted = told.accepted.max(through);
                    }
                    _ => {}
                }
            }
        }
        told
    }

    /// Removes the files of segments that were freed, and leaves these out. What says that they were freed must be durable.
    pub(super) fn remove_freed(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let gone = self.check_segments();
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
        Ok(())
    }

    /// Leaves out segments that were freed, and answers which; notices those that should be there and are not.
    fn check_segments(&mut self) -> Vec<u32> {
        let Told { freed, listed, listed_before, accepted } = self.told();
        let gone: Vec<u32> =
            self.kept.iter().map(|l| l.stamp.number).filter(|number| freed.contains(number)).collect();
        self.kept.retain(|loaded| !freed.contains(&loaded.stamp.number));
        self.holes.retain(|gap| !freed.contains(&gap.segment));
        for (number, first) in listed.iter().copied().filter(|(number, _)| !freed.contains(number)) {
            if self.kept.iter().any(|loaded| loaded.stamp.number == number) {
                continue;
            }
            // The whole file is missing: its frames end where those of the next one listed begin. The list
            // alone decides, so that every start says the same, also when the next one was freed since.
            let later = listed.iter().map(|(_, next)| *next).filter(|next| *next > first).min();
            let through = later.unwrap_or(listed_before).saturating_sub(1);
            let (offset, chain, segment) = (0, 0, number);
            let gap = Gap { from: first, through, offset, chain, segment, at_end: false, unread: false };
            self.holes.push(gap);
            if !gap.is_accepted(accepted) {
                self.missing.push((number, first));
            }
        }
        self.missing.sort_unstable();
        gone
    }

    /// Stretches of frames that were durable and are lost, and whose loss nobody accepted.
    pub(super) fn unaccepted(&mut self) -> Vec<(u64, u64)> {
        let accepted = self.told().accepted;
        self.check_segments();
        let lost = self.holes.iter().filter(|gap| !gap.is_accepted(accepted));
        lost.map(|gap| (gap.from, gap.through)).collect()
    }
}
