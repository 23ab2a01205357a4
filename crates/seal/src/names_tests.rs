//! Which names are allowed, and what keys follow from them.

use larder_format::rng::SeededRng;
use proptest::prelude::*;

use super::*;

fn keys(seed: u64) -> NameKeys {
    NameKeys::new(&VaultRoot::generate(&mut SeededRng::new(seed)))
}

#[test]
fn names_that_would_confuse_paths_or_terminals_are_refused() {
    assert_eq!(check_name(""), Err(BadName::Empty));
    assert_eq!(check_name(".."), Err(BadName::Dots { name: ".." }));
    assert_eq!(check_name("."), Err(BadName::Dots { name: "." }));
    assert_eq!(check_name("a/b"), Err(BadName::Slash { offset: 1 }));
    assert_eq!(check_name("a\0"), Err(BadName::Control { character: 0, offset: 1 }));
    assert_eq!(check_name("a\u{1b}[2J"), Err(BadName::Control { character: 0x1b, offset: 1 }));
    assert_eq!(check_name("\u{85}"), Err(BadName::Control { character: 0x85, offset: 0 }));
    assert_eq!(check_name(&"n".repeat(1025)), Err(BadName::TooLong { len: 1025 }));
    assert_eq!(check_name_bytes(b"ok\xff"), Err(BadName::NotUtf8 { offset: 2 }));
    assert_eq!(check_name("a/b").unwrap_err().to_string(), "a name cannot contain a slash offset=1");
}

#[test]
fn everything_else_is_allowed() {
    for name in ["a", "...", ".hidden", " spaced ", "🦀", "back\\slash", "ünï", "C:", &"n".repeat(1024)] {
        assert_eq!(check_name(name), Ok(()), "{name}");
        assert_eq!(check_name_bytes(name.as_bytes()), Ok(name));
    }
    assert_eq!(check_value_name("session/42"), Ok(()));
    assert!(check_value_name("").is_err());
    assert!(check_value_name("a\n").is_err());
}

#[test]
fn a_directory_is_one_prefix_and_its_own_record_is_in_it() {
    let keys = keys(1);
    let dir = keys.root_dir();
    let prefix = keys.dir_prefix(dir);
    for key in [keys.entry_key(dir, "a"), keys.entry_key(dir, "b"), keys.directory_key(dir)] {
        assert_eq!(key.0[..DIR_PREFIX_LEN], prefix);
    }
    assert_ne!(keys.dir_prefix(DirId([1; 16])), prefix);
}

#[test]
fn values_share_no_prefix() {
    let keys = keys(1);
    let ns = NamespaceId(5);
    let a = keys.value_key(ns, "a");
    assert_ne!(a.0[..16], keys.value_key(ns, "b").0[..16]);
    assert_ne!(a, keys.value_key(NamespaceId(6), "a"));
}

#[test]
fn version_keys_sort_by_age_and_come_apart_again() {
    let entry = keys(1).entry_key(DirId([2; 16]), "file");
    let older = entry.version_key(Version::from_u64(0x01ff));
    let newer = entry.version_key(Version::from_u64(0x0200));
    assert!(older < newer);
    assert_eq!(SealedKey::parse(&older), Some((entry, Some(Version::from_u64(0x01ff)))));
    assert_eq!(SealedKey::parse(&entry.0), Some((entry, None)));
    for len in [0, 31, 33, 39, 41] {
        assert_eq!(SealedKey::parse(&[older.as_slice(), &[0]].concat()[..len]), None);
    }
}

proptest! {
    #[test]
    fn keys_depend_on_vault_directory_and_name(a in "\\PC{1,40}", b in "\\PC{1,40}", dir: [u8; 16]) {
        let keys = keys(1);
        let dir = DirId(dir);
        prop_assert_eq!(keys.entry_key(dir, &a) == keys.entry_key(dir, &b), a == b);
        prop_assert_ne!(keys.entry_key(dir, &a), self::keys(2).entry_key(dir, &a));
        prop_assert_ne!(keys.entry_key(dir, &a), keys.entry_key(DirId([9; 16]), &a));
    }
}
