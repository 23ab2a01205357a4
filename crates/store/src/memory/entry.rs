//! The bytes of one record in a page: a header of 30 bytes, the key, the value. `docs/design/memory.md` has the layout.
//!
//! Most records lie here as a whole. A large value, or a record that is more than head, body and an end, lies outside
//! and the value's place holds its number.

use larder_format::ids::NamespaceId;
use larder_format::record::{Expiry, Version};

/// Bytes before the key.
pub(super) const HEADER_LEN: usize = 30;

/// Longest value kept in a page, in bytes. Copying a longer one costs more than a second allocation saves, and a page
/// holds a few at least.
pub(super) const INLINE_LEN_MAX: usize = 8 * 1024;

/// Entries begin at multiples of this many bytes.
pub(super) const WORD: usize = 2;

/// An end that is never, in 48 bits. Ends that do not fit are kept outside with their record.
const NEVER: u64 = (1 << 48) - 1;

const VALUE_LEN_BITS: u32 = 15;
const WORDS_BITS: u32 = 13;
const KIND_SHIFT: u32 = VALUE_LEN_BITS + WORDS_BITS;
const ARMED: u32 = 1 << 30;
const DEAD: u32 = 1 << 31;

/// Where a namespace stands in the table's list of those it holds something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space(pub(super) u16);

/// What an entry's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The bytes of a plain value.
    Plain,
    /// A sealed value: two bytes of head length, head, body.
    Headed,
    /// The number of a large plain value that lies outside.
    Large,
    /// The number of a whole record that lies outside.
    Record,
}

impl Kind {
    /// Whether the value's place holds a number.
    pub(super) fn is_outside(self) -> bool {
        matches!(self, Kind::Large | Kind::Record)
    }
}

/// Whether an end fits an entry.
pub(super) fn fits(expiry: Expiry) -> bool {
    expiry.ms().is_none_or(|ms| ms < NEVER)
}

/// Bytes an entry takes, with what rounds it up.
pub(super) fn room_for(key_len: usize, value_len: usize) -> usize {
    (HEADER_LEN + key_len + value_len).next_multiple_of(WORD)
}

/// An entry to read. The slice begins with it and may go on behind it.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a>(pub(super) &'a [u8]);

impl<'a> Entry<'a> {
    fn u32_at(self, at: usize) -> u32 {
        let mut out = [0; 4];
        out.copy_from_slice(&self.0[at..at + 4]);
        u32::from_le_bytes(out)
    }

    fn u64_at(self, at: usize) -> u64 {
        let mut out = [0; 8];
        out.copy_from_slice(&self.0[at..at + 8]);
        u64::from_le_bytes(out)
    }

    /// Handle of the next entry of the same bucket.
    #[inline]
    pub(super) fn next(self) -> u32 {
        self.u32_at(0)
    }

    /// Low bits of the tick for which a timer is filed, if one is.
    #[inline]
    pub(super) fn armed(self) -> Option<u32> {
        (self.u32_at(24) & ARMED != 0).then(|| self.u32_at(4))
    }

    pub(super) fn version(self) -> Version {
        Version::from_u64(self.u64_at(8))
    }

    pub(super) fn expiry(self) -> Expiry {
        match self.u64_at(16) & NEVER {
            NEVER => Expiry::NEVER,
            ms => Expiry::at_ms(ms),
        }
    }

    #[inline]
    fn key_len(self) -> usize {
        (self.u64_at(16) >> 48) as usize
    }

    #[inline]
    fn value_len(self) -> usize {
        (self.u32_at(24) & ((1 << VALUE_LEN_BITS) - 1)) as usize
    }

    /// Bytes the entry occupies; a shorter value may have been put in the room of a longer one.
    pub(super) fn room(self) -> usize {
        (self.u32_at(24) >> VALUE_LEN_BITS & ((1 << WORDS_BITS) - 1)) as usize * WORD
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        match self.u32_at(24) >> KIND_SHIFT & 3 {
            0 => Kind::Plain,
            1 => Kind::Headed,
            2 => Kind::Large,
            _ => Kind::Record,
        }
    }

    pub(super) fn is_dead(self) -> bool {
        self.u32_at(24) & DEAD != 0
    }

    #[inline]
    pub(super) fn space(self) -> Space {
        Space(u16::from_le_bytes([self.0[28], self.0[29]]))
    }

    #[inline]
    pub(super) fn key(self) -> &'a [u8] {
        &self.0[HEADER_LEN..HEADER_LEN + self.key_len()]
    }

    #[inline]
    pub(super) fn value(self) -> &'a [u8] {
        let start = HEADER_LEN + self.key_len();
        &self.0[start..start + self.value_len()]
    }

    /// The number in the value's place of what lies outside.
    pub(super) fn outside(self) -> u32 {
        self.u32_at(HEADER_LEN + self.key_len())
    }

    /// Head and body of a sealed value.
    pub(super) fn headed(self) -> (&'a [u8], &'a [u8]) {
        let (len, rest) = self.value().split_at(2);
        rest.split_at(usize::from(u16::from_le_bytes([len[0], len[1]])))
    }

    /// Whether it is the entry of this key.
    #[inline]
    pub(super) fn is(self, space: Space, key: &[u8]) -> bool {
        self.key_len() == key.len() && self.space() == space && self.key() == key
    }
}

/// What an entry is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) kind: Kind,
    /// Parts of the value, in order.
    pub(super) parts: &'a [&'a [u8]],
    /// Their length together; at most [`INLINE_LEN_MAX`].
    pub(super) len: usize,
    pub(super) version: Version,
    /// When to look at it: its end, or, of a record that lies outside, never (those are due by a list of their own).
    pub(super) expiry: Expiry,
}

/// An entry to change.
pub(super) struct EntryMut<'a>(pub(super) &'a mut [u8]);

impl EntryMut<'_> {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn set_next(&mut self, next: u32) {
        self.put(0, &next.to_le_bytes());
    }

    fn flags(&self) -> u32 {
        Entry(self.0).u32_at(24)
    }

    pub(super) fn set_armed(&mut self, tick: Option<u32>) {
        let flags = if tick.is_some() { self.flags() | ARMED } else { self.flags() & !ARMED };
        self.put(4, &tick.unwrap_or(0).to_le_bytes());
        self.put(24, &flags.to_le_bytes());
    }

    pub(super) fn set_room(&mut self, room: usize) {
        let rest = self.flags() & !(((1 << WORDS_BITS) - 1) << VALUE_LEN_BITS);
        let flags = rest | ((room / WORD) as u32) << VALUE_LEN_BITS;
        self.put(24, &flags.to_le_bytes());
    }

    pub(super) fn set_dead(&mut self) {
        let flags = self.flags() | DEAD;
        self.put(24, &flags.to_le_bytes());
    }

    /// Another version and end for the same value.
    pub(super) fn set_times(&mut self, version: Version, expiry: Expiry) {
        let ms = expiry.ms().unwrap_or(NEVER).min(NEVER);
        self.put(8, &version.to_u64().to_le_bytes());
        self.put(16, &ms.to_le_bytes()[..6]);
    }

    /// Writes an entry that has nothing before: neither a timer nor a place in a bucket.
    pub(super) fn write(&mut self, space: Space, key: &[u8], room: usize, content: &Content<'_>) {
        self.put(22, &(key.len() as u16).to_le_bytes());
        self.put(24, &0_u32.to_le_bytes());
        self.set_room(room);
        self.put(28, &space.0.to_le_bytes());
        self.put(HEADER_LEN, key);
        self.replace(content);
    }

    /// Writes another value, for which there is room, with its version and end.
    pub(super) fn replace(&mut self, content: &Content<'_>) {
        let keep = self.flags() & (ARMED | ((1 << WORDS_BITS) - 1) << VALUE_LEN_BITS);
        let flags = keep | content.len as u32 | (content.kind as u32) << KIND_SHIFT;
        self.put(24, &flags.to_le_bytes());
        self.set_times(content.version, content.expiry);
        let mut at = HEADER_LEN + Entry(self.0).key_len();
        for part in content.parts {
            self.put(at, part);
            at += part.len();
        }
    }
}

/// What identifies a record in a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) namespace: NamespaceId,
    pub(super) space: Space,
    pub(super) key: &'a [u8],
    /// The low half of the key's hash; the shard is chosen by the high half.
    pub(super) hash: u32,
}
