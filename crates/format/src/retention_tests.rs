//! Rules as bytes and back, and which rule counts where.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn rule(folder: &str) -> Rule {
    Rule { folder: folder.to_owned(), ..Rule::default() }
}

fn some_rule() -> impl Strategy<Value = Rule> {
    let keep = prop_oneof![
        Just(None),
        Just(Some(KeepRule::All)),
        (any::<u32>(), any::<u64>(), any::<[u32; 4]>()).prop_map(
            |(last, within_ms, [daily, weekly, monthly, yearly])| {
                Some(KeepRule::Some(Keep { last, within_ms, daily, weekly, monthly, yearly }))
            }
        ),
    ];
    let lifetime = prop_oneof![
        Just(None),
        Just(Some(LifetimeRule::Never)),
        (1..=TTL_MS_MAX).prop_map(|ms| Some(LifetimeRule::Ttl(ms))),
    ];
    let trash_ms = prop_oneof![Just(None), (TRASH_MS_MIN..=TTL_MS_MAX).prop_map(Some)];
    ("(/[a-c]){1,3}|/", keep, trash_ms, lifetime).prop_map(|(folder, keep, trash_ms, lifetime)| Rule {
        folder,
        keep,
        trash_ms,
        lifetime,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(rules in proptest::collection::vec(some_rule(), 0..20)) {
        let mut all = Rules::default();
        for rule in rules {
            prop_assert!(all.set(rule));
        }
        prop_assert_eq!(Rules::decode(all.encode()).unwrap(), all);
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(rules) = Rules::decode(Bytes::from(bytes.clone())) {
            prop_assert_eq!(rules.encode(), bytes);
        }
    }
}

#[test]
fn the_bytes_are_as_they_were_first_written() {
    let mut rules = Rules { revision: 5, ..Rules::default() };
    rules.set(Rule {
        keep: Some(KeepRule::Some(Keep {
            last: 3,
            within_ms: 7,
            daily: 1,
            weekly: 2,
            monthly: 4,
            yearly: 5,
        })),
        trash_ms: Some(60_000),
        lifetime: Some(LifetimeRule::Ttl(9)),
        ..rule("/a")
    });
    rules.set(Rule { keep: Some(KeepRule::All), lifetime: Some(LifetimeRule::Never), ..rule("/") });
    let hex: String = rules.encode().iter().map(|b| format!("{b:02x}")).collect();
    let root = "01000000 2f 01 0000000000000000 01";
    let a = "02000000 2f61 02 03000000 0700000000000000 01000000 02000000 04000000 05000000 60ea000000000000 02 0900000000000000";
    assert_eq!(hex, format!("01 0500000000000000 02000000 {root} {a}").replace(' ', ""));
    assert_eq!(Rules::decode(rules.encode()).unwrap(), rules);
}

#[test]
fn the_nearest_rule_that_says_anything_counts() {
    let mut rules = Rules::default();
    let keep = Keep { last: 1, ..Keep::default() };
    rules.set(Rule { keep: Some(KeepRule::Some(keep)), trash_ms: Some(100_000), ..rule("/") });
    rules.set(Rule { keep: Some(KeepRule::All), ..rule("/docs") });
    rules.set(Rule { lifetime: Some(LifetimeRule::Ttl(5)), trash_ms: Some(900_000), ..rule("/docs/tmp") });
    rules.set(Rule { lifetime: Some(LifetimeRule::Never), ..rule("/docs/tmp/keep") });
    assert_eq!(rules.keep("/x"), Some(keep));
    assert_eq!(rules.keep("/docs"), None);
    assert_eq!(rules.keep("/docs/tmp/x"), None);
    assert_eq!(rules.keep("/docstore"), Some(keep), "only whole names count");
    assert_eq!(rules.ttl_ms("/docs/tmp/x"), Some(5));
    assert_eq!(rules.ttl_ms("/docs/tmp/keep/x"), None);
    assert_eq!(rules.trash_ms("/docs/tmp/x", false, 1), 900_000);
    assert_eq!(rules.trash_ms("/docs/x", false, 1), 100_000);
    // What is deleted as a whole stays as long as the longest in it was promised.
    assert_eq!(rules.trash_ms("/docs", true, 1), 900_000);
    assert_eq!(Rules::default().trash_ms("/docs", true, 1), 1);
}

#[test]
fn a_rule_that_says_nothing_is_away_and_there_are_not_too_many() {
    let mut rules = Rules::default();
    let trash = |folder: &str| Rule { trash_ms: Some(TRASH_MS_MIN), ..rule(folder) };
    rules.set(trash("/a"));
    rules.set(rule("/a"));
    assert!(rules.all().is_empty());
    for i in 0..RETENTION_RULES_MAX {
        assert!(rules.set(trash(&format!("/{i:04}"))));
    }
    assert!(!rules.set(trash("/more")));
    assert!(rules.set(rule("/0001")));
    assert!(rules.set(trash("/more")));
}
