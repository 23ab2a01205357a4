//! Rules against a model written the other way round, and on the calendar.

use std::collections::BTreeMap;

use proptest::prelude::*;
use time::OffsetDateTime;

use super::*;

/// The calendar's own words for the periods of a moment: day, week, month, year.
fn periods(ms: u64) -> [String; 4] {
    let t = OffsetDateTime::from_unix_timestamp(i64::try_from(ms / 1000).unwrap()).unwrap();
    let (week_year, week, _) = t.to_iso_week_date();
    [
        t.date().to_string(),
        format!("{week_year}-W{week}"),
        format!("{}-{}", t.year(), u8::from(t.month())),
        t.year().to_string(),
    ]
}

/// The model: for every kind of period, group all versions; the newest of a group stays while there are not yet enough
/// newer groups. Then the last ones, then the young ones.
fn model(keep: &Keep, now_ms: u64, all: &[u64]) -> Vec<bool> {
    let mut stays = vec![false; all.len()];
    for (kind, count) in [keep.daily, keep.weekly, keep.monthly, keep.yearly].into_iter().enumerate() {
        let mut newest: BTreeMap<String, usize> = BTreeMap::new();
        for i in (0..all.len()).rev() {
            newest.insert(periods(all[i])[kind].clone(), i);
        }
        let mut places: Vec<usize> = newest.into_values().collect();
        places.sort_unstable();
        places.into_iter().take(count as usize).for_each(|i| stays[i] = true);
    }
    for i in 1..all.len() {
        stays[i] |= i <= keep.last as usize || now_ms - all[i - 1] < keep.within_ms;
    }
    stays[1..].to_vec()
}

fn times() -> impl Strategy<Value = Vec<u64>> {
    // Around 2023 to 2027, closer together and further apart.
    let step = prop_oneof![0..3_600_000u64, 0..3 * DAY_MS, 0..90 * DAY_MS];
    proptest::collection::vec(step, 1..40).prop_map(|steps| {
        let mut at = 1_800_000_000_000u64;
        steps
            .into_iter()
            .map(|step| {
                at -= step + 1;
                at
            })
            .collect()
    })
}

fn keep() -> impl Strategy<Value = Keep> {
    (0..6u32, prop_oneof![Just(0), 0..400 * DAY_MS], 0..8u32, 0..6u32, 0..5u32, 0..4u32).prop_map(
        |(last, within_ms, daily, weekly, monthly, yearly)| Keep {
            last,
            within_ms,
            daily,
            weekly,
            monthly,
            yearly,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_is_what_the_model_says(all in times(), keep in keep(), later in 0..200 * DAY_MS) {
        let now_ms = all[0] + later;
        prop_assert_eq!(stays(&keep, now_ms, all[0], &all[1..]), model(&keep, now_ms, &all));
    }

    /// Applying a rule again, to what it left, takes nothing more: nothing creeps away day by day for no new reason.
    #[test]
    fn applied_twice_is_applied_once(all in times(), keep in keep(), later in 0..200 * DAY_MS) {
        // A version that follows one that went was replaced later, as far as is known, never earlier.
        let now_ms = all[0] + later;
        let first = stays(&keep, now_ms, all[0], &all[1..]);
        let left: Vec<u64> = all[1..].iter().zip(&first).filter(|(_, stay)| **stay).map(|(ms, _)| *ms).collect();
        prop_assert!(stays(&keep, now_ms, all[0], &left).iter().all(|stay| *stay));
    }
}

#[test]
fn months_and_years_are_those_of_the_calendar() {
    for days in (0..80_000).step_by(13) {
        let date = OffsetDateTime::from_unix_timestamp(days * 86_400).unwrap().date();
        let wanted = (u64::try_from(date.year()).unwrap(), u64::from(u8::from(date.month())));
        assert_eq!(year_and_month(u64::try_from(days).unwrap()), wanted, "{date}");
    }
}

#[test]
fn an_old_file_that_was_replaced_a_moment_ago_is_young() {
    let keep = Keep { within_ms: DAY_MS, ..Keep::default() };
    let now_ms = 1_800_000_000_000;
    let (year_old, ancient) = (now_ms - 365 * DAY_MS, now_ms - 900 * DAY_MS);
    assert_eq!(stays(&keep, now_ms, now_ms - 1000, &[year_old, ancient]), [true, false]);
}

#[test]
fn nothing_kept_is_nothing_left() {
    assert_eq!(stays(&Keep::default(), 10, 9, &[8, 7]), [false, false]);
    assert_eq!(stays(&Keep { last: u32::MAX, ..Keep::default() }, 10, 9, &[8, 7]), [true, true]);
    assert!(stays(&Keep::default(), 10, 9, &[]).is_empty());
}
