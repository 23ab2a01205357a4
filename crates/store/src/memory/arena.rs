//! The pages of one shard: entries are appended, marked dead where they lie, and moved out of pages that are mostly
//! dead. A page that holds nothing alive is spare: another shard may take it, or it goes back to the operating system,
//! because it is a mapping of its own and not a piece of some allocator's.
//!
//! What is counted is what is touched: a page is mapped as a whole and charged in steps of 4 KiB as it fills.

use memmap2::MmapMut;

use super::budget::{Budget, Purpose};
use super::entry::{Entry, EntryMut, WORD};
use super::spare::Spare;
use crate::api::StoreError;

/// What the operating system gives at once, in bytes, and in what steps a page is charged.
const STEP: usize = 4 << 10;

/// Shortest page, in bytes, unless the cap is small. Mapping more than is touched costs nothing, and each page has an end
/// that is too short for the next entry.
const PAGE_LEN_MIN: usize = 64 << 10;

/// Longest page, in bytes. Longer ones would save mappings only above 16 GiB, and hold more memory by one live entry.
const PAGE_LEN_MAX: usize = 1 << 20;

/// A new page is this part of what the shard holds, so that shards have few pages and waste little.
const PAGE_PART: u64 = 4;

/// And at most this part of the cap, so that a page can be emptied out of what is left to upkeep.
const PAGE_PART_OF_CAP: u64 = 128;

/// Most bytes charged for a page that is kept although nothing in it is alive, because the next entry goes there.
const KEPT_EMPTY: usize = 2 * STEP;

/// Bytes charged for a page beside its memory: its place in the list.
const PAGE_OVERHEAD: u64 = 64;

/// Bits of a handle that say where in its page an entry begins, in words.
const OFFSET_BITS: u32 = (PAGE_LEN_MAX / WORD).trailing_zeros();

/// Most pages: one less than a handle can name, because all ones is no handle.
const PAGES_MAX: usize = (1 << (32 - OFFSET_BITS)) - 1;

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

struct Page {
    map: MmapMut,
    /// Bytes appended so far.
    used: usize,
    /// Bytes of entries that are alive.
    live: usize,
    /// Bytes charged.
    charged: usize,
}

/// The pages of a shard.
#[derive(Default)]
#[repr(C)]
pub(super) struct Arena {
    pages: Vec<Option<Page>>,
    vacant: Vec<u32>,
    /// Where entries are appended.
    open: Option<u32>,
    /// The page that is being emptied, and how far that has come.
    moving: Option<(u32, usize)>,
    live: u64,
    used: u64,
}

fn split(handle: u32) -> (usize, usize) {
    ((handle >> OFFSET_BITS) as usize, (handle & ((1 << OFFSET_BITS) - 1)) as usize * WORD)
}

fn join(page: u32, offset: usize) -> u32 {
    page << OFFSET_BITS | (offset / WORD) as u32
}

/// A new page of `len` bytes, of which the first `charged` are charged.
fn map(len: usize, charged: usize, budget: &Budget, purpose: Purpose) -> Result<Spare, StoreError> {
    budget.take(charged as u64, purpose)?;
    match MmapMut::map_anon(len) {
        Ok(map) => Ok(Spare { map, charged }),
        Err(_) => {
            budget.give(charged as u64);
            Err(full("memory of this machine", budget))
        }
    }
}

/// Charges a spare page for at least its first `charged` bytes.
fn widen(mut spare: Spare, charged: usize, budget: &Budget, purpose: Purpose) -> Result<Spare, StoreError> {
    if let Err(error) = budget.take(charged.saturating_sub(spare.charged) as u64, purpose) {
        budget.keep_spare(spare);
        return Err(error);
    }
    spare.charged = spare.charged.max(charged);
    Ok(spare)
}

fn full(what: &'static str, budget: &Budget) -> StoreError {
    StoreError::Full { what, used: budget.used(), max: budget.cap() }
}

impl Arena {
    fn page(&self, number: usize) -> &Page {
        self.pages[number].as_ref().expect("handles lead to pages that are there")
    }

    fn page_mut(&mut self, number: usize) -> &mut Page {
        self.pages[number].as_mut().expect("handles lead to pages that are there")
    }

    /// The entry at a handle.
    #[inline]
    pub(super) fn entry(&self, handle: u32) -> Entry<'_> {
        let (page, offset) = split(handle);
        Entry(&self.page(page).map[offset..])
    }

    /// The entry at a handle, to change it.
    #[inline]
    pub(super) fn entry_mut(&mut self, handle: u32) -> EntryMut<'_> {
        let (page, offset) = split(handle);
        EntryMut(&mut self.page_mut(page).map[offset..])
    }

    /// Bytes of entries that are alive.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// Bytes of entries that are dead.
    pub(super) fn dead(&self) -> u64 {
        self.used - self.live
    }

    /// Length of a page opened now for an entry of `len` bytes.
    fn page_len(&self, len: usize, budget: &Budget) -> usize {
        let of_cap = if budget.cap() == 0 { u64::MAX } else { budget.cap() / PAGE_PART_OF_CAP };
        let wanted = (self.live / PAGE_PART).clamp(PAGE_LEN_MIN as u64, PAGE_LEN_MAX as u64).min(of_cap);
        let wanted = 1 << wanted.max(STEP as u64).ilog2();
        wanted.max(len.next_power_of_two())
    }

    /// Makes sure that an entry of `len` bytes can be appended. Moves nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`].
    pub(super) fn reserve(
        &mut self,
        len: usize,
        budget: &Budget,
        purpose: Purpose,
    ) -> Result<(), StoreError> {
        if let Some(open) = self.open {
            let page = self.page_mut(open as usize);
            let end = page.used + len;
            if end <= page.charged {
                return Ok(());
            }
            if end <= page.map.len() {
                let charged = end.next_multiple_of(STEP).min(page.map.len());
                budget.take((charged - page.charged) as u64, purpose)?;
                page.charged = charged;
                return Ok(());
            }
        }
        self.open_page(len, budget, purpose)
    }

    fn open_page(&mut self, len: usize, budget: &Budget, purpose: Purpose) -> Result<(), StoreError> {
        if self.vacant.is_empty() && self.pages.len() >= PAGES_MAX {
            return Err(full("pages of a shard", budget));
        }
        let page_len = self.page_len(len, budget);
        let charged = len.next_multiple_of(STEP);
        budget.take(PAGE_OVERHEAD, purpose)?;
        // A spare page is charged as far as it was touched: more than a small shard would have touched of a new one.
        let is_worth = self.live >= page_len as u64 * PAGE_PART;
        let spare = match is_worth.then(|| budget.reuse_spare(page_len)).flatten() {
            Some(spare) => widen(spare, charged, budget, purpose),
            None => map(page_len, charged, budget, purpose),
        };
        let spare = spare.inspect_err(|_| budget.give(PAGE_OVERHEAD))?;
        let page = Page { map: spare.map, used: 0, live: 0, charged: spare.charged };
        let number = match self.vacant.pop() {
            Some(number) => {
                self.pages[number as usize] = Some(page);
                number
            }
            None => {
                self.pages.push(Some(page));
                (self.pages.len() - 1) as u32
            }
        };
        // A page without anything alive is kept only to be appended to.
        let before = self.open.replace(number);
        if let Some(before) = before
            && self.page(before as usize).live == 0
        {
            self.free(before, budget);
        }
        Ok(())
    }

    /// Takes the place for an entry of `len` bytes, for which [`Arena::reserve`] has made room.
    pub(super) fn append(&mut self, len: usize) -> u32 {
        let open = self.open.expect("room was made");
        let page = self.page_mut(open as usize);
        let offset = page.used;
        page.used += len;
        page.live += len;
        debug_assert!(page.used <= page.charged, "room was made for less");
        self.used += len as u64;
        self.live += len as u64;
        join(open, offset)
    }

    /// Copies an entry to a new place of `len` bytes, for which [`Arena::reserve`] has made room.
    pub(super) fn copy(&mut self, handle: u32, len: usize) -> u32 {
        let (from, offset) = split(handle);
        debug_assert_ne!(self.open, Some(from as u32), "entries are moved to another page");
        let Some(page) = self.pages[from].take() else { return handle };
        let copy = self.append(len);
        let mut entry = self.entry_mut(copy);
        entry.0[..len].copy_from_slice(&page.map[offset..offset + len]);
        entry.set_room(len);
        self.pages[from] = Some(page);
        copy
    }

    /// Marks an entry dead, and gives its page back if nothing in it is alive.
    pub(super) fn release(&mut self, handle: u32, budget: &Budget) {
        let room = self.entry(handle).room();
        self.entry_mut(handle).set_dead();
        let (number, _) = split(handle);
        let page = self.page_mut(number);
        page.live -= room;
        let (is_empty, charged) = (page.live == 0, page.charged);
        self.live -= room as u64;
        if !is_empty {
            return;
        }
        if self.live == 0 {
            // The open page too, which may have been empty before.
            return (0..self.pages.len() as u32).for_each(|number| self.free(number, budget));
        }
        let number = number as u32;
        if self.open != Some(number) || charged > KEPT_EMPTY {
            return self.free(number, budget);
        }
        self.forget_moving(number);
        let page = self.page_mut(number as usize);
        let used = std::mem::take(&mut page.used);
        self.used -= used as u64;
    }

    fn forget_moving(&mut self, number: u32) {
        if self.moving.is_some_and(|(page, _)| page == number) {
            self.moving = None;
        }
    }

    fn free(&mut self, number: u32, budget: &Budget) {
        let Some(page) = self.pages.get_mut(number as usize).and_then(Option::take) else { return };
        self.used -= page.used as u64;
        budget.give(PAGE_OVERHEAD);
        budget.keep_spare(Spare { map: page.map, charged: page.charged });
        self.forget_moving(number);
        if self.open == Some(number) {
            self.open = None;
        }
        if self.pages.iter().all(Option::is_none) {
            (self.pages, self.vacant) = (Vec::new(), Vec::new());
        } else {
            self.vacant.push(number);
        }
    }

    /// The next entry alive in the page that is being emptied. If none is, begins with the page of which the largest
    /// share is dead; `None` if nothing is.
    pub(super) fn next_to_move(&mut self) -> Option<u32> {
        if self.moving.is_none() {
            self.choose_page();
        }
        let (number, mut offset) = self.moving?;
        let page = self.page(number as usize);
        while offset < page.used {
            let entry = Entry(&page.map[offset..]);
            let (at, room, dead) = (offset, entry.room(), entry.is_dead());
            offset += room;
            if !dead {
                self.moving = Some((number, offset));
                return Some(join(number, at));
            }
        }
        self.moving = None;
        None
    }

    fn choose_page(&mut self) {
        let Some(number) = self.most_dead() else { return };
        if self.open == Some(number) {
            self.open = None;
        }
        self.moving = Some((number, 0));
    }

    /// The page of which the largest share is dead, if anything is.
    fn most_dead(&self) -> Option<u32> {
        let dead_share = |page: &Page| (page.used - page.live) * 1024 / page.used.max(1);
        let pages = self.pages.iter().enumerate().filter_map(|(number, page)| Some((number, page.as_ref()?)));
        let most = pages.max_by_key(|(_, page)| dead_share(page)).filter(|(_, page)| page.used > page.live);
        most.map(|(number, _)| number as u32)
    }

    /// Length and dead bytes of the page that would be emptied next.
    pub(super) fn next_emptied(&self) -> Option<(usize, usize)> {
        let number = self.moving.map(|(page, _)| page).or_else(|| self.most_dead())?;
        let page = self.page(number as usize);
        Some((page.map.len(), page.used - page.live))
    }

    /// Every entry alive, page by page in the order of memory.
    pub(super) fn each_live(&self, mut each: impl FnMut(u32, Entry<'_>)) {
        for (number, page) in self.pages.iter().enumerate() {
            let Some(page) = page else { continue };
            let mut offset = 0;
            while offset < page.used {
                let entry = Entry(&page.map[offset..]);
                if !entry.is_dead() {
                    each(join(number as u32, offset), entry);
                }
                offset += entry.room();
            }
        }
    }
}
