//! Judging what was found in a folder: where the log ends, what behind that is a torn tail, and what before
//! it is damage.
//!
//! A frame that does not hold is *torn* if nothing says that it was ever durable: the log is cut there, and
//! nothing after it counts. It is *damage* if anything says so (a later frame, or the marks file): then it is
//! kept for what it is, and every answer that it could have changed is an error.

use std::collections::BTreeSet;
use std::io;

use larder_format::segment::FrameKind;
use larder_format::segment::body::{Segments as SegmentList, decode_number};
use larder_format::segment::sidecar::SidecarEntry;

use super::load::{Gap, Loaded};
use super::segments::{FIRST_FRAME, segment_name};
use super::sidecar;
use crate::api::StoreError;
use crate::disk::Disk;

/// A segment file that was read, or whose head cannot be.
pub(super) enum Found {
    Loaded(Box<Loaded>),
    Headless(u32),
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
    pub(super) next_sequence: u64,
    pub(super) chain: u64,
    /// The last kept segment goes on; else a new one begins.
    pub(super) goes_on: bool,
    pub(super) next_segment: u32,
}

impl Judged {
    pub(super) fn of(found: Vec<Found>, marked: u64) -> Result<Self, StoreError> {
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
    pub(super) fn cut(&self, disk: &dyn Disk) -> io::Result<()> {
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
pub(super) fn entries(list: &[u8], before: u64) -> impl Iterator<Item = SidecarEntry<'_>> {
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
    pub(super) fn check_segments(&mut self, disk: &dyn Disk) -> io::Result<()> {
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
