//! Tokens: what can be narrowed, what cannot be undone, and that every token has one text.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::right::Right;

const ID: TokenId = TokenId([7; 8]);
const ROOT: RootKey = RootKey([9; 32]);

fn grant() -> Grant {
    Grant {
        right: Right::Write,
        namespaces: Some(vec!["cache".to_owned(), "raw".to_owned()]),
        prefixes: Some(vec![Bytes::from_static(b"app:"), Bytes::from_static(b"job:")]),
        expires_ms: Some(2_000),
    }
}

fn record() -> TokenRecord {
    TokenRecord {
        id: ID,
        root: ROOT,
        name: "backup".to_owned(),
        grant: grant(),
        created_ms: 1_000,
        used_ms: None,
    }
}

#[test]
fn a_token_that_was_kept_still_opens() {
    // Never to be changed: somebody has this text in a file.
    let text = "larder_AQcHBwcHBwcHBAEDAgIAAAAFAAAAY2FjaGUDAAAAcmF3AwIAAAAEAAAAYXBwOgQAAABqb2I6BNAHAAAAAAAAjmgzfb-D5drrIUVPeOjg3o58McwsrtqM4QLyxspsOj4";
    let token = Token::mint(ID, &ROOT, &grant()).unwrap();
    assert_eq!(token.to_text(), text);
    assert!(Token::parse(text).unwrap().is_of(&ROOT));
}

#[test]
fn narrowing_takes_away_and_a_caveat_cannot_be_taken_back() {
    let token = Token::mint(ID, &ROOT, &grant()).unwrap();
    let narrowed = token
        .narrow([
            Caveat::right(Right::Read).unwrap(),
            Caveat::namespaces(["raw".to_owned(), "other".to_owned()]).unwrap(),
            Caveat::prefixes([Bytes::from_static(b"app:1:"), Bytes::from_static(b"x")]).unwrap(),
            Caveat::Expires(9_000),
        ])
        .unwrap();
    let left = record().grant_of(&narrowed).unwrap();
    assert_eq!(left.right, Right::Read);
    assert_eq!(left.namespaces, Some(vec!["raw".to_owned()]));
    assert_eq!(left.prefixes, Some(vec![Bytes::from_static(b"app:1:")]));
    assert_eq!(left.expires_ms, Some(2_000), "sooner, never later");
    assert!(left.is_within(&grant()) && !grant().is_within(&left));

    let without_last = Token { caveats: narrowed.caveats[..7].to_vec(), ..narrowed.clone() };
    assert!(!without_last.is_of(&ROOT));
    let mut wider = narrowed.clone();
    wider.caveats[4] = Caveat::Right(Right::Write);
    assert!(!wider.is_of(&ROOT));
    let mut turned = narrowed.clone();
    turned.caveats.swap(4, 5);
    assert!(!turned.is_of(&ROOT));
    assert!(!Token { id: TokenId([8; 8]), ..narrowed.clone() }.is_of(&ROOT));
    assert!(!narrowed.is_of(&RootKey([8; 32])));
    assert!(narrowed.is_of(&ROOT));
}

#[test]
fn the_record_is_the_most_a_token_grants() {
    let wide = Token::mint(ID, &ROOT, &Grant::ALL).unwrap();
    assert_eq!(record().grant_of(&wide), Some(grant()));
    let another = TokenRecord { id: TokenId([1; 8]), ..record() };
    assert_eq!(another.grant_of(&wide), None);
}

#[test]
fn a_token_that_would_grant_nothing_is_not_made() {
    let token = Token::mint(ID, &ROOT, &grant()).unwrap();
    let elsewhere = Caveat::namespaces(["files".to_owned()]).unwrap();
    assert!(matches!(token.narrow([elsewhere]), Err(BadToken::Caveat(_))));
    let none = Caveat::prefixes([Bytes::from_static(b"z")]).unwrap();
    assert!(matches!(token.narrow([none]), Err(BadToken::Caveat(_))));
    assert!(Caveat::right(Right::Admin).is_err());
    assert!(Caveat::namespaces([]).is_err() && Caveat::prefixes([Bytes::new()]).is_err());
    assert!(Caveat::namespaces(["token/x".to_owned()]).is_err());
}

#[test]
fn length_and_number_of_caveats_are_bounded() {
    let mut token = Token::mint(ID, &ROOT, &Grant::ALL).unwrap();
    while token.caveats().len() < TOKEN_CAVEATS_MAX {
        token = token.narrow([Caveat::Expires(5)]).unwrap();
    }
    assert_eq!(token.narrow([Caveat::Expires(5)]), Err(BadToken::TooLong));
    let long = |byte: u8| Bytes::from(vec![byte; 256]);
    let many = Caveat::prefixes((1..=16).map(long)).unwrap();
    let token = Token::mint(ID, &ROOT, &Grant::ALL).unwrap();
    assert_eq!(token.narrow([many]), Err(BadToken::TooLong));
    let text = format!("{TOKEN_PREFIX}{}", "A".repeat(100_000));
    assert_eq!(Token::parse(&text), Err(BadToken::TooLong));
}

#[test]
fn what_is_not_understood_is_refused() {
    let token = Token::mint(ID, &ROOT, &Grant::ALL).unwrap().narrow([Caveat::Expires(5)]).unwrap();
    let bytes = token.encode().to_vec();
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        Token::decode(bytes.into())
    };
    assert_eq!(with(0, 1), Ok(token.clone()));
    assert!(matches!(with(0, 2), Err(DecodeError::TooNew { .. })));
    assert!(matches!(with(10, 5), Err(DecodeError::BadValue { field: "caveat", .. })), "an unknown caveat");
    assert!(matches!(with(11, 4), Err(DecodeError::BadValue { field: "right", .. })), "no token is admin");
    assert!(Token::decode(bytes[..bytes.len() - 1].to_vec().into()).is_err());
    assert!(Token::decode([&bytes[..], &[0]].concat().into()).is_err());
    assert_eq!(Token::parse("hunter2"), Err(BadToken::Text));
    assert_eq!(Token::parse("larder_!"), Err(BadToken::Text));
}

#[test]
fn a_record_reads_as_too_new_to_a_program_without_tokens() {
    let as_settings = crate::namespace::Namespace::decode(record().encode());
    assert!(matches!(as_settings, Err(DecodeError::TooNew { what: "namespace", .. })), "{as_settings:?}");
    assert!(!crate::namespace::is_name(std::str::from_utf8(&TokenRecord::key(ID)).unwrap()));
}

#[test]
fn no_secret_is_in_what_is_logged() {
    let token = Token::mint(ID, &ROOT, &grant()).unwrap();
    let shown = format!("{token:?} {:?}", record());
    assert!(shown.contains("0707") && !shown.contains("9, 9, 9"), "{shown}");
    assert!(!shown.contains(&token.to_text()));
}

fn any_caveat() -> impl Strategy<Value = Caveat> {
    let name = prop::sample::select(vec!["raw", "cache", "a", "b.c"]).prop_map(str::to_owned);
    let prefix = prop::collection::vec(prop::sample::select(b"ab".to_vec()), 1..4).prop_map(Bytes::from);
    prop_oneof![
        prop::sample::select(Right::ALL[..3].to_vec()).prop_map(Caveat::Right),
        prop::collection::vec(name, 1..4).prop_map(|names| Caveat::namespaces(names).unwrap()),
        prop::collection::vec(prefix, 1..4).prop_map(|all| Caveat::prefixes(all).unwrap()),
        any::<u64>().prop_map(Caveat::Expires),
    ]
}

/// Whether a grant covers one request, as plainly as can be said.
fn covers(grant: &Grant, right: Right, namespace: &str, key: &[u8], now_ms: u64) -> bool {
    grant.right >= right
        && grant.namespaces.as_ref().is_none_or(|all| all.iter().any(|name| name == namespace))
        && grant.prefixes.as_ref().is_none_or(|all| all.iter().any(|prefix| key.starts_with(prefix)))
        && !grant.is_over(now_ms)
}

proptest! {
    #[test]
    fn tokens_round_trip_and_each_has_one_text(caveats in prop::collection::vec(any_caveat(), 0..8)) {
        let base = Token::mint(ID, &ROOT, &Grant::ALL).unwrap();
        let Ok(token) = base.narrow(caveats) else { return Ok(()) };
        let read = Token::parse(&token.to_text()).unwrap();
        prop_assert_eq!(&read, &token);
        prop_assert!(read.is_of(&ROOT));
        let kept = TokenRecord { grant: token.grant(), ..record() };
        prop_assert_eq!(TokenRecord::decode(kept.encode()), Ok(kept));
    }

    #[test]
    fn a_narrowed_token_covers_what_every_caveat_covers_and_no_more(
        caveats in prop::collection::vec(any_caveat(), 0..6),
        right in prop::sample::select(Right::ALL[..3].to_vec()),
        namespace in prop::sample::select(vec!["raw", "cache", "a", "zzz"]),
        key in prop::collection::vec(prop::sample::select(b"abc".to_vec()), 0..5),
        now_ms in any::<u64>(),
    ) {
        let each = caveats.iter().all(|caveat| {
            let mut alone = Grant::ALL;
            alone.narrow(caveat);
            covers(&alone, right, namespace, &key, now_ms)
        });
        let mut grant = Grant::ALL;
        caveats.iter().for_each(|caveat| grant.narrow(caveat));
        prop_assert_eq!(covers(&grant, right, namespace, &key, now_ms), each);
    }

    #[test]
    fn no_bytes_panic_and_what_decodes_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..120), start in any::<bool>()) {
        let start: &[u8] = if start { &[1, 7, 7, 7, 7, 7, 7, 7, 7, 2] } else { &[] };
        let bytes = Bytes::from([start, &bytes].concat());
        if let Ok(token) = Token::decode(bytes.clone()) {
            prop_assert_eq!(token.encode(), bytes.clone());
        }
        if let Ok(record) = TokenRecord::decode(bytes.clone()) {
            prop_assert_eq!(record.encode(), bytes);
        }
    }

    #[test]
    fn any_changed_bit_is_noticed(caveats in prop::collection::vec(any_caveat(), 0..4), at in any::<prop::sample::Index>(), bit in 0..8) {
        let Ok(token) = Token::mint(ID, &ROOT, &Grant::ALL).unwrap().narrow(caveats) else { return Ok(()) };
        let mut bytes = token.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(changed) = Token::decode(bytes.into()) {
            prop_assert!(!changed.is_of(&ROOT) || changed.id() != ID);
            prop_assert_eq!(record().grant_of(&changed), None);
        }
    }
}
