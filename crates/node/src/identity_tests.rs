//! What a certificate says is what it was given, and what is not understood is refused.

use super::*;
use rcgen::{CertificateParams, DnType, KeyPair, SanType, SerialNumber};

fn certificate(uris: &[&str]) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "laptop");
    params.serial_number = Some(SerialNumber::from_slice(&[0, 0x0a, 0xff]));
    params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn parsed(uris: &[&str]) -> Result<Identity, BadCertificate> {
    Identity::of_certificate(&certificate(uris))
}

#[test]
fn rights_come_back_as_they_were_given() {
    for right in Right::ALL {
        for namespaces in [vec![], vec!["files".to_owned()], vec!["a".to_owned(), "b.c".to_owned()]] {
            let uris = rights_uris(right, &namespaces);
            let identity = parsed(&uris.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
            assert_eq!((identity.name.as_str(), identity.serial.as_str()), ("laptop", "0aff"));
            assert_eq!(identity.right, right);
            assert_eq!(identity.namespaces, (!namespaces.is_empty()).then_some(namespaces));
        }
    }
}

#[test]
fn certificates_from_before_have_all_rights_and_what_is_not_understood_is_refused() {
    let before = parsed(&[]).unwrap();
    assert_eq!((before.right, before.namespaces), (Right::Admin, None));
    assert_eq!(parsed(&["https://example.org"]).unwrap().right, Right::Admin);
    for (uris, error) in [
        (&["larder:rights/root"][..], BadCertificate::Unknown("larder:rights/root".to_owned())),
        (
            &["larder:rights/read", "larder:until/noon"],
            BadCertificate::Unknown("larder:until/noon".to_owned()),
        ),
        (&["larder:namespace/files"], BadCertificate::Rights(0)),
        (&["larder:rights/read", "larder:rights/admin"], BadCertificate::Rights(2)),
    ] {
        assert_eq!(parsed(uris).unwrap_err(), error);
    }
    let mut cut = certificate(&["larder:rights/read"]);
    cut.truncate(cut.len() / 2);
    assert!(matches!(Identity::of_certificate(&cut), Err(BadCertificate::Unreadable(_))));
}

#[test]
fn a_token_is_limited_to_keys_and_denials_say_so() {
    let token = Identity {
        proof: Proof::Token(TokenId([0xab; 8])),
        name: "ci".to_owned(),
        serial: Serial::of_token(TokenId([0; 8])),
        right: Right::Write,
        namespaces: Some(vec!["raw".to_owned()]),
        prefixes: Some(vec![Bytes::from_static(b"a:"), Bytes::from_static(b"b:")]),
        not_before_ms: 0,
        not_after_ms: u64::MAX,
    };
    assert_eq!(token.serial.as_str(), "0000000000000000");
    let raw = NamespaceId::of("raw");
    for (key, may) in
        [(&b"a:"[..], true), (b"a:1", true), (b"b:1", true), (b"a", false), (b"", false), (b"c:", false)]
    {
        assert_eq!(token.check_key(Right::Write, raw, key).is_ok(), may, "{key:?}");
        assert_eq!(token.check_named_prefix(Right::Read, "raw", key).is_ok(), may, "{key:?}");
    }
    assert!(
        token.check_somewhere(Right::Write, "raw").is_ok() && token.check_named(Right::Read, "raw").is_err()
    );
    assert!(token.check_key(Right::Write, NamespaceId::of("cache"), b"a:").is_err());
    assert!(token.check_somewhere(Right::Read, "cache").is_err());
    let failure = token.check_key(Right::Read, raw, b"c").unwrap_err();
    assert_eq!(failure.kind, Kind::Denied);
    for words in ["token abababababababab (\"ci\")", "begin with a: or b:", "larder token create --prefix"] {
        assert!(failure.message.contains(words), "{failure}");
    }
    assert!(token.check(Right::Admin).unwrap_err().message.contains("larder token create"));
}

#[test]
fn every_right_includes_those_before_it_and_denials_name_what_is_missing() {
    for (at, right) in Right::ALL.into_iter().enumerate() {
        let identity = parsed(&[&format!("larder:rights/{right}"), "larder:namespace/files"]).unwrap();
        for (needed_at, needed) in Right::ALL.into_iter().enumerate() {
            let checked = identity.check(needed);
            assert_eq!(checked.is_ok(), needed_at <= at, "{right} for {needed}");
            assert_eq!(identity.check_named(needed, "files").is_ok(), checked.is_ok());
            if let Err(failure) = checked {
                assert_eq!(failure.kind, Kind::Denied);
                assert!(failure.message.contains(&format!("right {needed}")), "{failure}");
            }
        }
        let failure = identity.check_named(Right::Read, "keys").unwrap_err();
        assert_eq!(failure.kind, Kind::Denied);
        assert!(failure.message.contains("only in files"), "{failure}");
    }
}
