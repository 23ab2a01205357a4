//! Rollback memory, in memory and on disk.

use proptest::prelude::*;

use super::*;

fn mark(version: u64, revision: u64) -> Mark {
    Mark { version, revision }
}

#[test]
fn what_is_older_in_either_sense_is_refused_and_changes_nothing() {
    let mut marks = Watermarks::new();
    assert!(marks.observe(1, b"k", mark(10, 5)).unwrap().is_some());
    assert_eq!(marks.observe(1, b"k", mark(10, 5)), Ok(None), "no news");
    for old in [mark(9, 5), mark(10, 4), mark(11, 4), mark(9, 6)] {
        let refused = marks.observe(1, b"k", old);
        assert_eq!(refused, Err(WatermarkError::Rollback { seen: mark(10, 5), shown: old }));
    }
    assert_eq!(marks.seen(1, b"k"), Some(mark(10, 5)));
    assert!(marks.observe(1, b"k", mark(12, 6)).is_ok());
    assert!(marks.observe(2, b"k", mark(1, 1)).is_ok(), "another namespace is another record");
    assert!(marks.observe(1, b"l", mark(1, 1)).is_ok());
}

fn any_log() -> impl Strategy<Value = Vec<(u64, Vec<u8>, Mark)>> {
    let one = (0u64..3, prop::collection::vec(0u8..4, 1..3), 0u64..50, 0u64..50)
        .prop_map(|(namespace, key, version, revision)| (namespace, key, mark(version, revision)));
    prop::collection::vec(one, 0..60)
}

proptest! {
    #[test]
    fn a_log_and_its_snapshot_load_to_the_same_memory(log in any_log()) {
        let mut marks = Watermarks::new();
        let mut file = marks.snapshot().to_vec();
        for (namespace, key, mark) in &log {
            if let Ok(Some(line)) = marks.observe(*namespace, key, *mark) {
                file.extend_from_slice(&line);
            }
        }
        let loaded = Watermarks::load(&file.clone().into()).unwrap();
        prop_assert_eq!(&loaded.watermarks, &marks);
        prop_assert_eq!(loaded.good_len, file.len());
        let again = Watermarks::load(&marks.snapshot()).unwrap();
        prop_assert_eq!(again.watermarks, marks);
    }

    #[test]
    fn a_torn_end_is_cut_and_nothing_before_it_is_lost(log in any_log(), cut in 0usize..WATERMARK_LEN) {
        let mut marks = Watermarks::new();
        for (namespace, key, mark) in &log {
            let _ = marks.observe(*namespace, key, *mark);
        }
        let mut file = marks.snapshot().to_vec();
        let before = file.len();
        let line = marks.clone().observe(9, b"torn", mark(99, 99)).unwrap().unwrap();
        file.extend_from_slice(&line[..cut]);
        let loaded = Watermarks::load(&file.into()).unwrap();
        prop_assert_eq!(loaded.watermarks, marks);
        prop_assert_eq!(loaded.good_len, before);
    }
}

#[test]
fn damage_in_the_middle_is_an_error_and_not_forgotten() {
    let mut marks = Watermarks::new();
    for i in 0..5u64 {
        marks.observe(i, b"k", mark(i + 1, 1)).unwrap();
    }
    let file = marks.snapshot();
    for at in 0..file.len() - WATERMARK_LEN {
        let mut bad = file.to_vec();
        bad[at] ^= 4;
        assert!(Watermarks::load(&bad.into()).is_err(), "at={at}");
    }
}

#[test]
fn a_log_is_compacted_when_it_is_mostly_old_news() {
    let mut marks = Watermarks::new();
    marks.observe(1, b"k", mark(1, 1)).unwrap();
    assert!(!marks.should_compact(1_000), "a small log is left alone");
    assert!(marks.should_compact(COMPACT_LEN_MIN));
}

#[test]
fn marks_in_a_file_never_sink() {
    let line = |mark| Watermarks::new().observe(1, b"k", mark).unwrap().unwrap();
    let mut file = Watermarks::new().snapshot().to_vec();
    for mark in [mark(5, 9), mark(8, 3), mark(1, 1)] {
        file.extend_from_slice(&line(mark));
    }
    let loaded = Watermarks::load(&file.into()).unwrap().watermarks;
    assert_eq!(loaded.seen(1, b"k"), Some(mark(8, 9)));
}
