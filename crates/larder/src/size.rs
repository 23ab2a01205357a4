//! Sizes in bytes as people read and write them: `512 B`, `1.4 MiB`; `64MiB`, `1.5G`, `4096`. And counts of things.

use larder_format::size::UNITS;
pub use larder_format::size::show;

/// A size exactly, as [`parse`] reads it: `1GiB`, `1500B`.
pub fn text(bytes: u64) -> String {
    let powers =
        (0..UNITS.len()).rev().find(|power| bytes != 0 && bytes.trailing_zeros() >= 10 * *power as u32);
    let power = powers.unwrap_or(0);
    format!("{}{}", bytes >> (10 * power), UNITS[power])
}

/// `1 file`, `2 files`.
pub fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Parses a size: digits, perhaps with a point, and a unit (`B`, `K`, `KB`, `KiB`, …; all in powers of 1024).
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let range = || format!("allowed: {} to {}, like 512MiB, 2GiB or 1.5G", show(min), show(max));
    let trimmed = text.trim();
    let number_len = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(number_len);
    let unit = unit.trim().to_ascii_lowercase();
    let prefix = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match ["", "k", "m", "g", "t", "p", "e"].iter().position(|name| *name == prefix) {
        Some(0) if unit == "ib" => return Err(format!("not a size; {}", range())),
        Some(power) => 10 * power,
        None => return Err(format!("not a size; {}", range())),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("not a size; {}", range()));
    }
    let whole: u128 = whole.parse::<u64>().map_err(|_| format!("too big; {}", range()))?.into();
    let fraction_scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let fraction: u128 = fraction.parse().unwrap_or(0);
    let bytes = (whole << shift) + (fraction << shift) / fraction_scale;
    match u64::try_from(bytes) {
        Ok(bytes) if bytes < min => Err(format!("too small; {}", range())),
        Ok(bytes) if bytes <= max => Ok(bytes),
        _ => Err(format!("too big; {}", range())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_exactly_is_read_back() {
        for bytes in [1, 1023, 1024, 1500, 3 << 29, (1 << 40) - 1, 1 << 40] {
            assert_eq!(parse(&text(bytes), 1, 1 << 40), Ok(bytes), "{}", text(bytes));
        }
        assert_eq!((text(1 << 30).as_str(), text(3 << 29).as_str()), ("1GiB", "1536MiB"));
    }

    #[test]
    fn parsed_or_refused_with_the_range() {
        let max = 1 << 40;
        for (text, want) in
            [("4096", 4096), ("64MiB", 64 << 20), ("1.5G", 3 << 29), ("2 gb", 2 << 30), ("1t", 1 << 40)]
        {
            assert_eq!(parse(text, 1, max), Ok(want), "{text}");
        }
        for text in ["", "-1", "x", "1.x", "1q", "2T", "0", "1é", "99999999999999999999", "16777216T"] {
            assert!(parse(text, 1, max).is_err_and(|m| m.contains("allowed: 1 B to 1.00 TiB")), "{text}");
        }
    }
}
