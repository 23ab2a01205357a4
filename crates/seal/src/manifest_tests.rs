//! Signing and checking manifests.

use larder_format::rng::SeededRng;

use super::*;
use crate::keys::VaultRoot;

fn root(seed: u64) -> VaultRoot {
    VaultRoot::generate(&mut SeededRng::new(seed))
}

fn attributes() -> Attributes {
    Attributes { mode: 0o100_644, mtime_ns: 1_700_000_000_000_000_000, ..Attributes::default() }
}

fn inline(root: &VaultRoot, data: &'static [u8], previous: Previous) -> Manifest {
    Draft::inline(FileId([1; 16]), FileKind::File, 10, previous, Bytes::from_static(data)).unwrap().sign(
        &attributes(),
        root.id(),
        &root.signer(),
    )
}

#[test]
fn a_signed_manifest_opens_under_its_own_vault_only() {
    let root = root(1);
    let manifest = inline(&root, b"hello", Previous::default());
    let body = manifest.encode();
    assert_eq!(open_manifest(body.clone(), root.id(), root.signer().public()), Ok(manifest));
    let other = self::root(2);
    let refused = Err(SealError::BadSignature);
    assert_eq!(open_manifest(body.clone(), root.id(), other.signer().public()), refused);
    assert_eq!(open_manifest(body, other.id(), root.signer().public()), refused);
}

#[test]
fn every_flipped_byte_is_refused_but_those_of_the_unsigned_record_version() {
    let root = root(1);
    let body = inline(&root, b"hello", Previous::default()).encode();
    for at in (0..body.len()).filter(|at| !(26..34).contains(at)) {
        let mut bad = body.to_vec();
        bad[at] ^= 1;
        let opened = open_manifest(bad.into(), root.id(), root.signer().public());
        assert!(opened.is_err(), "at={at}");
    }
}

#[test]
fn the_head_must_say_what_was_signed() {
    let root = root(1);
    let manifest = inline(&root, b"hello", Previous::default());
    let (file, kind) = (FileId([1; 16]), FileKind::File);
    assert_eq!(check_head(&manifest, file, kind, 5, &attributes()), Ok(()));
    assert!(check_head(&manifest, FileId([2; 16]), kind, 5, &attributes()).is_err());
    assert!(check_head(&manifest, file, FileKind::Symlink, 5, &attributes()).is_err());
    assert!(check_head(&manifest, file, kind, 6, &attributes()).is_err());
    let touched = Attributes { mtime_ns: 1, ..attributes() };
    assert!(check_head(&manifest, file, kind, 5, &touched).is_err());
}

#[test]
fn one_old_version_does_not_pass_for_another() {
    let root = root(1);
    let first = inline(&root, b"one", Previous::default());
    let second = inline(&root, b"two", Previous::of(100, &first, root.id()));
    let third = inline(&root, b"three", Previous::of(200, &second, root.id()));
    assert!(first.revision < second.revision && second.revision < third.revision);
    assert_eq!(check_chain(&second, &first, 100, root.id()), Ok(()));
    assert_eq!(check_chain(&third, &second, 200, root.id()), Ok(()));
    let refused = Err(SealError::Contradiction { what: "previous version" });
    assert_eq!(check_chain(&third, &first, 200, root.id()), refused, "first shown under second's key");
    assert_eq!(check_chain(&third, &second, 100, root.id()), refused);
}

#[test]
fn a_statement_proves_authorship_without_any_key() {
    let root = root(1);
    let manifest = inline(&root, b"hello", Previous::default());
    let statement = Statement::decode(manifest.statement(root.id()).encode()).unwrap();
    let public = root.signer().public();
    let hash = *blake3::hash(b"hello").as_bytes();
    assert_eq!(verify_statement(&statement, &manifest.signature, public, &hash, 5), Ok(()));
    let other = *blake3::hash(b"hullo").as_bytes();
    assert!(verify_statement(&statement, &manifest.signature, public, &other, 5).is_err());
    let stranger = self::root(2).signer().public();
    assert!(verify_statement(&statement, &manifest.signature, stranger, &hash, 5).is_err());
}

#[test]
fn inline_content_is_bounded() {
    let data = Bytes::from(vec![0; INLINE_FILE_LEN_MAX + 1]);
    let refused = Draft::inline(FileId([1; 16]), FileKind::File, 1, Previous::default(), data);
    assert!(matches!(refused, Err(SealError::TooLong { .. })));
}

#[test]
fn signed_inline_content_must_have_the_signed_hash() {
    let root = root(1);
    let mut draft =
        Draft::inline(FileId([1; 16]), FileKind::File, 1, Previous::default(), Bytes::from_static(b"hello"))
            .unwrap();
    draft.content_hash = *blake3::hash(b"hullo").as_bytes();
    let body = draft.sign(&attributes(), root.id(), &root.signer()).encode();
    let refused = open_manifest(body, root.id(), root.signer().public());
    assert_eq!(refused, Err(SealError::Contradiction { what: "content hash" }));
}
