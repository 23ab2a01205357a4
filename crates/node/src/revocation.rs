//! The list of revoked certificates: an X.509 CRL, signed by the authority. Who is on it is refused.
//!
//! A list counts only if the authority signed it. How old it is does not matter: it is written anew whenever something
//! is revoked, by whoever holds the authority's key.

use std::collections::HashSet;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::identity::Serial;

/// A list that was verified.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    serials: HashSet<Serial>,
    /// Rises with every list of one authority.
    number: Vec<u8>,
}

impl Revoked {
    /// Reads a list (PEM) and verifies that one of these authorities signed it.
    ///
    /// # Errors
    /// Words that say what is wrong with it.
    pub fn read(pem: &[u8], authorities: &[CertificateDer<'_>]) -> Result<Self, String> {
        let der = CertificateRevocationListDer::from_pem_slice(pem).map_err(|e| e.to_string())?;
        let (rest, list) = CertificateRevocationList::from_der(&der).map_err(|e| e.to_string())?;
        if !rest.is_empty() {
            return Err("bytes follow its end".to_owned());
        }
        let signed = authorities.iter().any(|authority| {
            X509Certificate::from_der(authority).is_ok_and(|(_, authority)| {
                authority.subject() == list.issuer() && list.verify_signature(authority.public_key()).is_ok()
            })
        });
        if !signed {
            return Err("it is not signed by the authority".to_owned());
        }
        let serials = list.iter_revoked_certificates().map(|revoked| Serial::of(revoked.raw_serial()));
        let number = list.crl_number().map(|number| number.to_bytes_be()).unwrap_or_default();
        Ok(Self { serials: serials.collect(), number })
    }

    /// Whether a certificate is on it.
    #[must_use]
    pub fn contains(&self, serial: &Serial) -> bool {
        self.serials.contains(serial)
    }

    /// As [`Revoked::contains`], by the digits of the serial number.
    #[must_use]
    pub fn contains_text(&self, serial: &str) -> bool {
        self.serials.contains(serial)
    }

    /// How many certificates are on it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.serials.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.serials.is_empty()
    }

    /// Whether this list was made before another one of the same authority.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        // Big-endian without leading zeros: the longer is the larger.
        (self.number.len(), &self.number) < (other.number.len(), &other.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod,
        KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
    };

    struct Authority {
        der: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Authority { der, issuer: Issuer::new(params, key) }
    }

    fn list(by: &Authority, number: u64, serials: &[&[u8]]) -> String {
        let revoked = |serial: &&[u8]| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2046, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&by.issuer).unwrap().pem().unwrap()
    }

    #[test]
    fn a_list_of_the_authority_is_read_and_no_other() {
        let (ours, theirs) = (authority(), authority());
        let ours_der = [ours.der.clone()];
        let pem = list(&ours, 7, &[&[0x8f, 1, 2], &[3]]);
        let revoked = Revoked::read(pem.as_bytes(), &ours_der).unwrap();
        assert_eq!(revoked.len(), 2);
        for (serial, is_on_it) in [(&[0x8f, 1, 2][..], true), (&[3], true), (&[4], false)] {
            assert_eq!(revoked.contains(&Serial::of(serial)), is_on_it);
        }
        assert!(Revoked::read(list(&ours, 8, &[]).as_bytes(), &ours_der).unwrap().is_empty());
        let foreign = Revoked::read(list(&theirs, 8, &[]).as_bytes(), &ours_der).unwrap_err();
        assert!(foreign.contains("not signed by the authority"), "{foreign}");
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let ours = authority();
        let pem = list(&ours, 7, &[&[1, 2, 3]]);
        let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap();
        let authorities = [ours.der.clone()];
        for text in ["", "-----BEGIN X509 CRL-----\n", &pem[..pem.len() / 2]] {
            assert!(Revoked::read(text.as_bytes(), &authorities).is_err());
        }
        let whole = Revoked::read(pem.as_bytes(), &authorities).unwrap();
        for at in 0..der.len() {
            let mut damaged = der.to_vec();
            damaged[at] ^= 0x10;
            let pem = pem_of(&damaged);
            assert!(Revoked::read(pem.as_bytes(), &authorities).is_err_or_same(&whole), "byte {at}");
        }
    }

    /// A flip that leaves the signed meaning whole (say, in how the signature is written) would be harmless.
    trait ErrOrSame {
        fn is_err_or_same(&self, whole: &Revoked) -> bool;
    }

    impl ErrOrSame for Result<Revoked, String> {
        fn is_err_or_same(&self, whole: &Revoked) -> bool {
            self.as_ref().map_or(true, |read| read == whole)
        }
    }

    fn pem_of(der: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::from("-----BEGIN X509 CRL-----\n");
        for three in der.chunks(3) {
            let word =
                three.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for at in 0..4 {
                let digit = DIGITS[(word >> (18 - 6 * at) & 63) as usize] as char;
                text.push(if at > three.len() { '=' } else { digit });
            }
        }
        text.push_str("\n-----END X509 CRL-----\n");
        text
    }

    #[test]
    fn numbers_say_which_list_is_older() {
        let ours = authority();
        let read = |number| {
            Revoked::read(list(&ours, number, &[]).as_bytes(), std::slice::from_ref(&ours.der)).unwrap()
        };
        assert!(read(255).is_older_than(&read(256)));
        assert!(!read(256).is_older_than(&read(256)));
        assert!(!read(70_000).is_older_than(&read(256)));
    }
}
