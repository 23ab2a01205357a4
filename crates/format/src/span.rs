//! Lengths of time as people read and write them: `1h30m`, exactly to the millisecond. Messages of every layer show them
//! alike.

/// Units, largest first, with their milliseconds. Weeks are for those who write them.
pub const UNITS: &[(&str, u64)] =
    &[("d", 24 * 3_600_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// So many milliseconds, every unit that is needed.
#[must_use]
pub fn text(ms: u64) -> String {
    let (mut left, mut out) = (ms, String::new());
    for (name, unit_ms) in UNITS {
        if left >= *unit_ms {
            out.push_str(&format!("{}{name}", left / unit_ms));
            left %= unit_ms;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_to_the_millisecond() {
        for (ms, want) in [
            (0, "0s"),
            (1, "1ms"),
            (90_000, "1m30s"),
            (5_400_000, "1h30m"),
            (604_800_000, "7d"),
            (86_400_001, "1d1ms"),
            (u64::MAX, "213503982334d14h25m51s615ms"),
        ] {
            assert_eq!(text(ms), want);
        }
    }
}
