//! Certificates are made once, renewed in time, and made anew where something is amiss.

use super::*;
use larder_format::clock::ManualClock;

const NOW_MS: u64 = 1_790_000_000_000;

fn made(dir: &Path) -> Vec<Vec<u8>> {
    ["authority.pem", "authority.key", "node.pem", "node.key", "client.pem", "client.key"]
        .map(|name| std::fs::read(dir.join(name)).unwrap())
        .to_vec()
}

#[test]
fn made_once_and_renewed_when_near_their_end_under_the_same_authority() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::in_folder(dir.path().to_owned());
    let address = "127.0.0.1".parse().unwrap();
    assert_eq!(certificates.ensure(address, &ManualClock::at(NOW_MS)).unwrap(), Made::Authority);
    let first = made(dir.path());
    let day_later = ManualClock::at(NOW_MS + DAY_MS);
    assert_eq!(certificates.ensure(address, &day_later).unwrap(), Made::Nothing);
    assert_eq!(made(dir.path()), first);

    let later = ManualClock::at(NOW_MS + LEAF_LIFE_MS - RENEW_BEFORE_MS);
    assert_eq!(certificates.ensure(address, &later).unwrap(), Made::Leaves);
    let second = made(dir.path());
    assert_eq!(second[..2], first[..2], "the authority stays");
    assert!(second[2..].iter().zip(&first[2..]).all(|(new, old)| new != old));
}

#[test]
fn another_address_or_a_missing_file_makes_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::in_folder(dir.path().to_owned());
    let clock = ManualClock::at(NOW_MS);
    let ensure = |address: &str| certificates.ensure(address.parse().unwrap(), &clock).unwrap();
    assert_eq!(ensure("127.0.0.1"), Made::Authority);
    assert_eq!(ensure("0.0.0.0"), Made::Leaves);
    std::fs::remove_file(dir.path().join("client.key")).unwrap();
    assert_eq!(ensure("0.0.0.0"), Made::Leaves);
    std::fs::remove_file(dir.path().join("issued.json")).unwrap();
    let before = made(dir.path());
    assert_eq!(ensure("0.0.0.0"), Made::Authority);
    assert_ne!(made(dir.path())[0], before[0]);
}

#[test]
fn what_was_made_while_the_clock_was_ahead_is_made_anew() {
    let address = "127.0.0.1".parse().unwrap();
    let now = ManualClock::at(NOW_MS);
    // As it is written now, and as it was before the beginning was written down.
    for known in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::in_folder(dir.path().to_owned());
        certificates.ensure(address, &ManualClock::at(NOW_MS + 30 * DAY_MS)).unwrap();
        if !known {
            let text = std::fs::read_to_string(certificates.issued_file()).unwrap();
            let mut issued: serde_json::Value = serde_json::from_str(&text).unwrap();
            for field in ["authority_not_before_ms", "leaves_not_before_ms"] {
                assert!(issued.as_object_mut().unwrap().remove(field).is_some());
            }
            let text = issued.to_string();
            atomic_file::write(&certificates.issued_file(), text.as_bytes(), Existing::Replace).unwrap();
        }
        assert_eq!(certificates.ensure(address, &now).unwrap(), Made::Authority);
        assert_eq!(certificates.ensure(address, &now).unwrap(), Made::Nothing);
    }
}
