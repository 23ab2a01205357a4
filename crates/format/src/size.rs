//! Sizes in bytes as people read them: `512 B`, `1.43 MiB`. Messages of every layer show them alike.

/// Units in powers of 1024.
pub const UNITS: &[&str] = &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A size with three significant digits, in powers of 1024.
#[must_use]
pub fn show(bytes: u64) -> String {
    let mut unit = 0;
    let mut shift = 0;
    while unit + 1 < UNITS.len() && (bytes >> shift) >= 1024 {
        unit += 1;
        shift += 10;
    }
    if unit == 0 {
        return format!("{bytes} B");
    }
    // Hundredths, rounded down, so that a full disk never reads fuller than it is.
    let hundredths = (u128::from(bytes) * 100) >> shift;
    let (whole, part) = (hundredths / 100, hundredths % 100);
    match whole {
        0..=9 => format!("{whole}.{part:02} {}", UNITS[unit]),
        10..=99 => format!("{whole}.{} {}", part / 10, UNITS[unit]),
        _ => format!("{whole} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_with_three_digits() {
        for (bytes, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_500_000, "1.43 MiB"),
            (64 << 20, "64.0 MiB"),
            (500 << 30, "500 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(show(bytes), want);
        }
    }
}
