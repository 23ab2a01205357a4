//! The authority at work: its key, signing certificates and the list of those that are revoked.

use std::net::IpAddr;

use larder_format::error::Kind;
use larder_format::rng::{Rng, SystemRng};
use larder_node::identity::{Identity, Right, rights_uris};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevocationReason, RevokedCertParams,
    SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::register::{Entry, Reason, Register};
use super::{AUTHORITY_LIFE_MS, BACKDATE_MS, LEAF_LIFE_MS};
use crate::failure::{Failure, Outcome};

/// What is to be made.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// For a server at this address and under these names, and on loopback.
    Node {
        /// Where it listens.
        address: IpAddr,
        /// What else it is called.
        hosts: Vec<String>,
    },
    /// For this machine's own commands: all rights.
    OwnClient,
    /// For somebody else.
    Client {
        /// Whose.
        name: String,
        /// What it may do.
        right: Right,
        /// Where; none: everywhere.
        namespaces: Vec<String>,
        /// How long, in milliseconds.
        life_ms: u64,
    },
}

/// A certificate just signed.
#[derive(Debug)]
pub struct Signed {
    /// Certificate, PEM.
    pub certificate_pem: String,
    /// Private key, PEM.
    pub key_pem: String,
    /// What it says.
    pub entry: Entry,
}

/// Key and name.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

fn bug(error: &rcgen::Error) -> Failure {
    Failure::new(Kind::Bug, format!("cannot make a certificate: {error}"))
}

impl Authority {
    /// A new one; also its certificate and key, PEM.
    pub(super) fn make(now_ms: u64) -> Outcome<(Self, String, String)> {
        let params = authority_params(now_ms);
        let key = KeyPair::generate().map_err(|e| bug(&e))?;
        let certificate = params.self_signed(&key).map_err(|e| bug(&e))?;
        let key_pem = key.serialize_pem();
        Ok((Self { issuer: Issuer::new(params, key) }, certificate.pem(), key_pem))
    }

    /// From its key. `None` if that is not a private key, or not the one of its certificate (DER).
    pub(super) fn of_key(key_pem: &str, certificate_der: &[u8]) -> Option<Self> {
        let key = KeyPair::from_pem(key_pem).ok()?;
        fits(&key, certificate_der).then(|| Self { issuer: Issuer::new(authority_params(0), key) })
    }

    /// Signs a certificate for a new key.
    pub(super) fn sign(&self, wanted: &Wanted, now_ms: u64) -> Outcome<Signed> {
        let key = KeyPair::generate().map_err(|e| bug(&e))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(new_serial());
        let (name, life_ms) = match wanted {
            Wanted::Node { address, hosts } => {
                params.subject_alt_names = node_names(*address, hosts)?;
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                (super::NODE_NAME.to_owned(), LEAF_LIFE_MS)
            }
            Wanted::OwnClient => {
                params.subject_alt_names = uris(&rights_uris(Right::Admin, &[]))?;
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                (super::CLIENT_NAME.to_owned(), LEAF_LIFE_MS)
            }
            Wanted::Client { name, right, namespaces, life_ms } => {
                params.subject_alt_names = uris(&rights_uris(*right, namespaces))?;
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                (name.clone(), *life_ms)
            }
        };
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = period(now_ms, life_ms);
        let certificate = params.signed_by(&key, &self.issuer).map_err(|e| bug(&e))?;
        // As it will be read: what a node would not understand is found here.
        let identity = Identity::of_certificate(certificate.der())
            .map_err(|e| Failure::new(Kind::Bug, format!("made a certificate that says nothing: {e}")))?;
        let entry = Entry::of(&identity, matches!(wanted, Wanted::Node { .. }));
        Ok(Signed { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), entry })
    }

    /// Signs the list of revoked certificates (PEM).
    pub(super) fn list(&self, register: &Register, now_ms: u64) -> Outcome<String> {
        let revoked = |entry: &Entry| -> Option<RevokedCertParams> {
            let revocation = entry.revoked.as_ref()?;
            Some(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&bytes_of(&entry.serial)?),
                revocation_time: moment(revocation.at_ms),
                reason_code: reason(revocation.reason),
                invalidity_date: None,
            })
        };
        let params = CertificateRevocationListParams {
            this_update: moment(now_ms.saturating_sub(BACKDATE_MS)),
            // It is written anew whenever it changes; nobody fetches it by the clock.
            next_update: moment(now_ms.saturating_add(AUTHORITY_LIFE_MS)),
            crl_number: SerialNumber::from(register.list_number),
            issuing_distribution_point: None,
            revoked_certs: register.revoked().into_iter().filter_map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(|e| bug(&e))
    }
}

/// Whether a private key (PEM) is the one of a certificate (DER).
pub(super) fn key_fits(key_pem: &str, certificate_der: &[u8]) -> bool {
    KeyPair::from_pem(key_pem).is_ok_and(|key| fits(&key, certificate_der))
}

fn fits(key: &KeyPair, certificate_der: &[u8]) -> bool {
    use x509_parser::prelude::{FromDer, X509Certificate};
    X509Certificate::from_der(certificate_der)
        .is_ok_and(|(_, certificate)| certificate.public_key().raw == key.subject_public_key_info())
}

/// Always the same name and shape, so that an authority read back signs like the one that was made.
fn authority_params(now_ms: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "larder authority");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = period(now_ms, AUTHORITY_LIFE_MS);
    params
}

fn node_names(address: IpAddr, hosts: &[String]) -> Outcome<Vec<SanType>> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if address.is_unspecified() {
        // "Any address" is not one that a client can ask for; what the machine is called may be.
        let uname = rustix::system::uname();
        names.extend(uname.nodename().to_str().ok().map(str::to_owned).filter(|name| is_host(name)));
    } else {
        names.push(address.to_string());
    }
    names.extend(hosts.iter().cloned());
    let mut once: Vec<String> = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    Ok(CertificateParams::new(once).map_err(|e| bug(&e))?.subject_alt_names)
}

/// Whether a certificate can be for this name or address.
pub fn is_host(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || rustls::pki_types::DnsName::try_from(name).is_ok()
}

fn uris(names: &[String]) -> Outcome<Vec<SanType>> {
    names.iter().map(|name| Ok(SanType::URI(name.as_str().try_into().map_err(|e| bug(&e))?))).collect()
}

/// Random: it says nothing, and two authorities never share one.
fn new_serial() -> SerialNumber {
    let mut bytes: [u8; 16] = SystemRng.array();
    // Positive, and never shorter for a leading zero.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

fn reason(reason: Reason) -> Option<RevocationReason> {
    Some(match reason {
        // RFC 5280: left out rather than said.
        Reason::Unspecified => return None,
        Reason::KeyCompromise => RevocationReason::KeyCompromise,
        Reason::AffiliationChanged => RevocationReason::AffiliationChanged,
        Reason::Superseded => RevocationReason::Superseded,
        Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
        Reason::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
    })
}

fn period(now_ms: u64, life_ms: u64) -> (OffsetDateTime, OffsetDateTime) {
    (moment(now_ms.saturating_sub(BACKDATE_MS)), moment(now_ms.saturating_add(life_ms)))
}

fn moment(ms: u64) -> OffsetDateTime {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    // Out of range only with a clock beyond the year 9999.
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
