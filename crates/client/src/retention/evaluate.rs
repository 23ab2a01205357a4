//! Which older versions of a file a rule keeps: a pure function of their times and of now. Days, weeks, months and years
//! are those of UTC. The current version is never asked about: it always stays.

use larder_format::retention::Keep;

/// A day, in milliseconds.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Whether each older version stays, given when it was written (newest first, in milliseconds since 1970), and when the
/// current one was. A version counts as replaced when the next newer one was written.
#[must_use]
pub fn stays(keep: &Keep, now_ms: u64, current_ms: u64, older_ms: &[u64]) -> Vec<bool> {
    let mut stays = vec![false; older_ms.len()];
    for (i, stay) in stays.iter_mut().enumerate() {
        let replaced_ms = if i == 0 { current_ms } else { older_ms[i - 1] };
        let among_last = i < usize::try_from(keep.last).unwrap_or(usize::MAX);
        *stay = among_last || now_ms.saturating_sub(replaced_ms) < keep.within_ms;
    }
    // The current version is the newest of its day, and counts as that.
    let all: Vec<u64> = std::iter::once(current_ms).chain(older_ms.iter().copied()).collect();
    for (count, period) in
        [(keep.daily, day as fn(u64) -> u64), (keep.weekly, week), (keep.monthly, month), (keep.yearly, year)]
    {
        newest_of_each(count, period, &all, &mut stays);
    }
    stays
}

/// Marks the newest of each of the last `count` periods that have any. The first of `all` is the current version.
fn newest_of_each(count: u32, period: fn(u64) -> u64, all: &[u64], stays: &mut [bool]) {
    let mut left = count;
    let mut last = None;
    for (i, written_ms) in all.iter().enumerate() {
        if left == 0 {
            return;
        }
        let this = period(*written_ms);
        if last == Some(this) {
            continue;
        }
        last = Some(this);
        left -= 1;
        if i > 0 {
            stays[i - 1] = true;
        }
    }
}

fn day(ms: u64) -> u64 {
    ms / DAY_MS
}

/// 1970-01-01 was a Thursday, three days after a Monday.
fn week(ms: u64) -> u64 {
    (day(ms) + 3) / 7
}

fn month(ms: u64) -> u64 {
    let (year, month) = year_and_month(day(ms));
    year * 12 + month - 1
}

fn year(ms: u64) -> u64 {
    year_and_month(day(ms)).0
}

/// The Gregorian year and month (1 to 12) of a day since 1970-01-01. Counted in eras of 400 years that begin in March, so
/// that the leap day is a year's last.
fn year_and_month(days: u64) -> (u64, u64) {
    const DAYS_FROM_YEAR_0: u64 = 719_468;
    const ERA_DAYS: u64 = 146_097;
    let days = days + DAYS_FROM_YEAR_0;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month)
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
