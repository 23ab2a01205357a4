//! Reading and writing bytes that may come from anywhere.
//!
//! All integers are little-endian except inside keys (keys sort, so they use big-endian and do it
//! themselves). Variable-length fields carry a `u32` length that is checked against a named limit *and*
//! against what is left before anything is allocated. A decoder must end with [`Reader::finish`], so that
//! trailing bytes are an error and every value has exactly one encoding.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// Why bytes could not be decoded. Decoding never changes any state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ended early.
    #[error("truncated field={field} need={need} have={have}")]
    Truncated {
        /// Field being read.
        field: &'static str,
        /// Bytes needed.
        need: usize,
        /// Bytes left.
        have: usize,
    },
    /// A length or count is above its limit.
    #[error("too long field={field} len={len} max={max}")]
    TooLong {
        /// Field being read.
        field: &'static str,
        /// Length found.
        len: usize,
        /// Limit.
        max: usize,
    },
    /// A value is not one of those allowed.
    #[error("bad value field={field} value={value}")]
    BadValue {
        /// Field being read.
        field: &'static str,
        /// Value found.
        value: u64,
    },
    /// Bytes are left over after the last field.
    #[error("trailing bytes count={count}")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// The data was written by a newer version of Larder.
    #[error("newer format what={what} version={version} supported={supported}; upgrade larder")]
    TooNew {
        /// What carries the version.
        what: &'static str,
        /// Version found.
        version: u64,
        /// Newest version this program reads.
        supported: u64,
    },
}

/// Reads fields from a buffer, sharing (not copying) variable-length ones.
#[derive(Debug, Clone)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Starts reading at the front of `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn need(&self, field: &'static str, need: usize) -> Result<(), DecodeError> {
        if self.rest.len() < need {
            return Err(DecodeError::Truncated { field, need, have: self.rest.len() });
        }
        Ok(())
    }

    /// Reads `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        self.need(field, N)?;
        let taken = self.rest.split_to(N);
        let mut out = [0; N];
        out.copy_from_slice(&taken);
        Ok(out)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(field)?[0])
    }

    /// Reads a little-endian `u16`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// Reads a little-endian `u32`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// Reads a little-endian `u64`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// Reads a `u32` count and checks it against `max` and against what is left, given that each item takes
    /// at least `item_len_min` bytes; so a vector of that capacity may be allocated.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] or [`DecodeError::Truncated`].
    pub fn count(
        &mut self,
        field: &'static str,
        max: usize,
        item_len_min: usize,
    ) -> Result<usize, DecodeError> {
        let count = self.u32(field)? as usize;
        if count > max {
            return Err(DecodeError::TooLong { field, len: count, max });
        }
        self.need(field, count.saturating_mul(item_len_min))?;
        Ok(count)
    }

    /// Reads a length-prefixed byte string of at most `max` bytes, sharing the buffer.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] or [`DecodeError::Truncated`].
    pub fn bytes(&mut self, field: &'static str, max: usize) -> Result<Bytes, DecodeError> {
        let len = self.count(field, max, 1)?;
        Ok(self.rest.split_to(len))
    }

    /// Reads a length-prefixed UTF-8 string of at most `max` bytes.
    ///
    /// # Errors
    /// As [`Reader::bytes`], or [`DecodeError::BadValue`] (the offset of the first bad byte) if not UTF-8.
    pub fn string(&mut self, field: &'static str, max: usize) -> Result<String, DecodeError> {
        let raw = self.bytes(field, max)?;
        match std::str::from_utf8(&raw) {
            Ok(text) => Ok(text.to_owned()),
            Err(e) => Err(DecodeError::BadValue { field, value: e.valid_up_to() as u64 }),
        }
    }

    /// Takes everything that is left.
    #[must_use]
    pub fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// Ends decoding.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing { count: self.rest.len() }) }
    }
}

/// Appends fields to a buffer, in the form [`Reader`] reads.
#[derive(Debug, Default)]
pub struct Writer {
    out: BytesMut,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `len` bytes.
    #[must_use]
    pub fn with_capacity(len: usize) -> Self {
        Self { out: BytesMut::with_capacity(len) }
    }

    /// Appends raw bytes without a length.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.put_slice(bytes);
        self
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.out.put_u8(value);
        self
    }

    /// Appends a little-endian `u16`.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.out.put_u16_le(value);
        self
    }

    /// Appends a little-endian `u32`.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.out.put_u32_le(value);
        self
    }

    /// Appends a little-endian `u64`.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.out.put_u64_le(value);
        self
    }

    /// Appends a count or length as `u32`.
    ///
    /// # Panics
    /// If `count` does not fit `u32`: every limit in [`crate::limits`] is far below that.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).expect("counts are limited well below 2^32"))
    }

    /// Appends a length-prefixed byte string.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The finished bytes.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_input_allocates_nothing_and_fails() {
        let mut w = Writer::new();
        w.u32(u32::MAX);
        let mut r = Reader::new(w.finish());
        assert!(matches!(r.bytes("x", usize::MAX), Err(DecodeError::Truncated { .. })));
    }

    #[test]
    fn a_length_beyond_the_limit_fails_even_when_the_bytes_are_there() {
        let mut w = Writer::new();
        w.bytes(b"12345");
        assert_eq!(
            Reader::new(w.finish()).bytes("x", 4),
            Err(DecodeError::TooLong { field: "x", len: 5, max: 4 })
        );
    }

    #[test]
    fn trailing_bytes_are_an_error() {
        let mut r = Reader::new(Bytes::from_static(&[1, 2]));
        r.u8("x").unwrap();
        assert_eq!(r.finish(), Err(DecodeError::Trailing { count: 1 }));
    }
}
