//! A usage bar: how much of a whole is taken, readable without colour and on any terminal.

/// Width of a bar, in characters.
const WIDTH: u64 = 20;

/// `[####----------------]`: part of whole. It shows something as soon as there is something.
pub fn bar(part: u64, whole: u64) -> String {
    let filled =
        if whole == 0 { 0 } else { (u128::from(part) * u128::from(WIDTH)).div_ceil(u128::from(whole)) };
    let filled = usize::try_from(filled).unwrap_or(usize::MAX).min(WIDTH as usize);
    format!("[{}{}]", "#".repeat(filled), "-".repeat(WIDTH as usize - filled))
}

/// How much of a whole is taken, in percent, rounded up; 100 at most unless it is over.
pub fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        0
    } else {
        u64::try_from((u128::from(part) * 100).div_ceil(u128::from(whole))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_something_as_soon_as_there_is_something() {
        assert_eq!(bar(0, 100), format!("[{}]", "-".repeat(20)));
        assert_eq!(bar(1, u64::MAX), format!("[#{}]", "-".repeat(19)));
        assert_eq!(bar(100, 100), format!("[{}]", "#".repeat(20)));
        assert_eq!(bar(200, 100), format!("[{}]", "#".repeat(20)));
        assert_eq!(bar(1, 0), format!("[{}]", "-".repeat(20)));
    }

    #[test]
    fn what_is_over_reads_as_over() {
        assert_eq!((percent(1, 1000), percent(101, 100), percent(0, 0)), (1, 101, 0));
    }
}
