//! Where a key belongs: slots (as Redis Cluster counts them) and partitions of a mesh.
//!
//! A raw key's slot is CRC16 (XMODEM) of the key, or of its hash tag (the part between the first `{` and the
//! next `}` if that is not empty), modulo 16,384: the rule of the Redis Cluster specification, so that its
//! clients compute the same. A sealed key's slot is CRC16 of its first 16 bytes, which are the directory, so
//! that one folder lives in one partition and listing it is one scan.

/// Number of slots.
pub const SLOTS: u16 = 16_384;

/// Prefix of a sealed key that decides its slot, in bytes.
pub const SEALED_PREFIX_LEN: usize = 16;

/// A slot, below [`SLOTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

/// A partition of the key space: `slot >> shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

const CRC16_TABLE: [u16; 256] = crc16_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ CRC16_TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

impl Slot {
    /// The slot of a raw key.
    #[must_use]
    pub fn of_raw(key: &[u8]) -> Self {
        Self(crc16(hash_tag(key)) % SLOTS)
    }

    /// The slot of a sealed key.
    #[must_use]
    pub fn of_sealed(key: &[u8]) -> Self {
        Self(crc16(&key[..key.len().min(SEALED_PREFIX_LEN)]) % SLOTS)
    }

    /// The slot with this number; `None` from [`SLOTS`] on.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// The slot's number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// The partition this slot falls in, where `shift` is fixed for a mesh (0 to 14).
    #[must_use]
    pub fn partition(self, shift: u8) -> Partition {
        Partition(self.0 >> shift.min(14))
    }
}

fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|b| *b == b'{') else { return key };
    match key[open + 1..].iter().position(|b| *b == b'}') {
        Some(len) if len > 0 => &key[open + 1..open + 1 + len],
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_match_the_published_cluster_examples() {
        // "123456789" → 0x31C3 is the check value of CRC16/XMODEM in the Redis Cluster specification.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(Slot::of_raw(b"foo").number(), 12_182);
        assert_eq!(Slot::of_raw(b"{user1000}.following"), Slot::of_raw(b"{user1000}.followers"));
        assert_eq!(Slot::of_raw(b"foo{}{bar}"), Slot(crc16(b"foo{}{bar}") % SLOTS));
        assert_eq!(Slot::of_raw(b"foo{{bar}}zap"), Slot(crc16(b"{bar") % SLOTS));
    }

    #[test]
    fn a_sealed_folder_lives_in_one_slot() {
        let a = [&[7u8; 16][..], b"name-one________"].concat();
        let b = [&[7u8; 16][..], b"name-two________"].concat();
        assert_eq!(Slot::of_sealed(&a), Slot::of_sealed(&b));
    }
}
