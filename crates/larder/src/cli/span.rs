//! Parts of files as people write them: `10M-20M`, `1G-`, `-64K`.

use std::ops::Range;

use larder_format::error::Kind;

use crate::failure::{Failure, Outcome};
use crate::size;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// From a byte to another, which is not included; to the end without one.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

impl Span {
    /// Reads one.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected FIRST-END, FIRST- or -LAST in bytes, like 10M-20M".to_owned();
        let number = |text: &str| size::parse(text, 0, u64::MAX).map_err(|_| expected());
        match text.split_once('-').ok_or_else(expected)? {
            ("", "") => Err(expected()),
            ("", last) => number(last).map(Self::Last),
            (first, "") => number(first).map(|first| Self::From(first, None)),
            (first, end) => match (number(first)?, number(end)?) {
                (first, end) if first <= end => Ok(Self::From(first, Some(end))),
                _ => Err("the end of a range is not before its beginning".to_owned()),
            },
        }
    }

    /// Which bytes that is of a file of this length. What lies beyond its end is left away.
    ///
    /// # Errors
    /// Invalid if all of it does.
    pub fn within(self, size: u64) -> Outcome<Range<u64>> {
        match self {
            Self::From(first, _) if first > size => {
                let message =
                    format!("the range begins beyond the end of the file first={first} size={size}");
                Err(Failure::new(Kind::Invalid, message))
            }
            Self::From(first, end) => Ok(first..end.unwrap_or(size).min(size)),
            Self::Last(len) => Ok(size.saturating_sub(len)..size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_and_cut_to_the_file() {
        let part = |text: &str, size| Span::parse(text).unwrap().within(size).ok();
        assert_eq!(part("10-20", 100), Some(10..20));
        assert_eq!(part("1K-2K", 1500), Some(1024..1500));
        assert_eq!(part("10-", 12), Some(10..12));
        assert_eq!(part("-3", 10), Some(7..10));
        assert_eq!(part("-30", 10), Some(0..10));
        assert_eq!(part("10-20", 10), Some(10..10));
        assert_eq!(part("11-20", 10), None);
        for bad in ["", "-", "5", "20-10", "a-b", "1--2", "-x"] {
            assert!(Span::parse(bad).is_err(), "{bad:?}");
        }
    }
}
