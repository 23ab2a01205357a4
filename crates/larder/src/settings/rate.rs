//! The settings of transfers: how many at once, how many bytes a second. Flags read them in the same way.

use larder_client::transfer::{JOBS_MAX, RATE_MIN};

use crate::size;

/// Fastest rate that can be asked for, in bytes a second: beyond any link.
pub const RATE_MAX: u64 = 1 << 50;

/// A rate, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate(pub Option<u64>);

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.map_or_else(|| "none".to_owned(), size::text))
    }
}

/// Reads a count of transfers.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=JOBS_MAX) => Ok(jobs),
        _ => Err(format!("allowed: 1 to {JOBS_MAX}")),
    }
}

/// Reads a rate, or `none`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn rate(text: &str) -> Result<Rate, String> {
    if text == "none" {
        return Ok(Rate(None));
    }
    let text = text.strip_suffix("/s").unwrap_or(text);
    size::parse(text, RATE_MIN, RATE_MAX).map(|rate| Rate(Some(rate)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_counts_are_read_strictly() {
        assert_eq!(rate("10M"), Ok(Rate(Some(10 << 20))));
        assert_eq!(rate("1.5MiB/s"), Ok(Rate(Some(3 << 19))));
        assert_eq!(rate("none").map(|r| r.to_string()), Ok("none".to_owned()));
        for bad in ["", "0", "1", "fast", "-1M", "10M/m"] {
            assert!(rate(bad).is_err(), "{bad:?}");
        }
        assert_eq!(jobs("10"), Ok(10));
        for bad in ["0", "-1", "1000", "x"] {
            assert!(jobs(bad).is_err(), "{bad:?}");
        }
    }
}
