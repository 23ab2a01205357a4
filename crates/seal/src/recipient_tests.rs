//! Both key agreements are needed, and texts that were changed on the way are refused.

use larder_format::rng::SeededRng;
use proptest::prelude::*;

use super::*;

fn identity(seed: u64) -> Identity {
    Identity::generate(&mut SeededRng::new(seed)).unwrap()
}

fn arrived(encapsulated: &[u8]) -> [u8; ENCAPSULATED_LEN] {
    encapsulated.try_into().unwrap()
}

#[test]
fn whoever_has_the_identity_agrees_on_the_same_secret() {
    let mine = identity(1);
    let (encapsulated, secret) = mine.recipient().encapsulate(&mut SeededRng::new(2)).unwrap();
    let again = mine.decapsulate(&arrived(&encapsulated)).unwrap();
    assert_eq!(again.expose(), secret.expose());
    let (other, _) = mine.recipient().encapsulate(&mut SeededRng::new(2)).unwrap();
    assert_ne!(mine.decapsulate(&arrived(&other)).unwrap().expose(), secret.expose());
}

#[test]
fn neither_half_alone_is_enough() {
    let (mine, other) = (identity(1), identity(2));
    let (encapsulated, secret) = mine.recipient().encapsulate(&mut SeededRng::new(3)).unwrap();
    let encapsulated = arrived(&encapsulated);
    // Only the secret keys are exchanged: what is hashed beside the secrets stays that of the right identity.
    let half = |x25519: &Identity, ml_kem: &Identity| Identity {
        x25519: x25519.x25519.clone(),
        ml_kem: ml_kem.ml_kem.clone(),
        public: mine.public.clone(),
    };
    assert_eq!(half(&mine, &mine).decapsulate(&encapsulated).unwrap().expose(), secret.expose());
    for wrong in [half(&other, &mine), half(&mine, &other), half(&other, &other)] {
        assert_ne!(wrong.decapsulate(&encapsulated).unwrap().expose(), secret.expose());
    }
}

#[test]
fn both_ciphertexts_and_both_public_keys_are_bound() {
    let mine = identity(1);
    let (encapsulated, secret) = mine.recipient().encapsulate(&mut SeededRng::new(3)).unwrap();
    for at in (0..ENCAPSULATED_LEN).step_by(7).chain([31]) {
        let mut bent = arrived(&encapsulated);
        bent[at] ^= 0x80;
        if let Ok(other) = mine.decapsulate(&bent) {
            assert_ne!(other.expose(), secret.expose(), "at={at}");
        }
    }
    let mut public = mine.public.clone();
    public.x25519[0] ^= 1;
    let bent = Identity { x25519: mine.x25519.clone(), ml_kem: mine.ml_kem.clone(), public };
    assert_ne!(bent.decapsulate(&arrived(&encapsulated)).unwrap().expose(), secret.expose());
}

#[test]
fn a_point_that_makes_every_secret_zero_is_refused() {
    let mine = identity(1);
    let low = Recipient { x25519: [0; 32], ml_kem: mine.public.ml_kem.clone() };
    assert_eq!(low.encapsulate(&mut SeededRng::new(1)).unwrap_err(), SealError::BadRecipient);
    let (encapsulated, _) = mine.recipient().encapsulate(&mut SeededRng::new(3)).unwrap();
    let mut encapsulated = arrived(&encapsulated);
    encapsulated[..32].fill(0);
    assert!(mine.decapsulate(&encapsulated).is_err());
}

#[test]
fn texts_survive_mail_and_say_what_they_are() {
    let mine = identity(1);
    let secret = format!("# keep this\n{}\n", *mine.to_text());
    let again = Identity::parse(&secret).unwrap();
    assert_eq!(again.recipient(), mine.recipient());
    assert_eq!(*again.to_text(), *mine.to_text());
    let public = mine.recipient().to_text();
    let broken: String = public
        .to_lowercase()
        .as_bytes()
        .chunks(64)
        .flat_map(|line| [line, b"\n  "].concat())
        .map(char::from)
        .collect();
    assert_eq!(Recipient::parse(&broken).as_ref(), Ok(mine.recipient()));
    assert_eq!(Recipient::parse(&secret), Err(BadKeyText::Secret));
    assert!(matches!(Identity::parse(&public), Err(BadKeyText::Other { .. })));
    assert!(matches!(Recipient::parse("age1xyz"), Err(BadKeyText::Other { .. })));
    assert!(!format!("{mine:?}").contains(&mine.to_text()[30..60]));
}

#[test]
fn every_changed_symbol_is_noticed() {
    let public = identity(1).recipient().to_text();
    for at in RECIPIENT_PREFIX.len()..public.len() {
        let mut bent = public.clone().into_bytes();
        bent[at] = if bent[at] == b'Z' { b'Y' } else { b'Z' };
        let bent = String::from_utf8(bent).unwrap();
        assert_eq!(Recipient::parse(&bent), Err(BadKeyText::Damaged { what: "recipient" }), "at={at}");
    }
    assert!(Recipient::parse(&public[..public.len() - 1]).is_err());
    assert!(Recipient::parse(&format!("{public}0")).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(larder-recipient-1-|larder-secret-identity-1-)?.{0,200}") {
        prop_assert!(Recipient::parse(&text).is_err());
        prop_assert!(Identity::parse(&text).is_err());
    }
}
