//! The certificates of this machine's mutual TLS: an authority of our own, one certificate for the node, one for the
//! client. Made once, renewed when they near their end or the node's address changes.
//!
//! They keep strangers away from the node's port; they protect no contents (the vault's keys do that). What was issued
//! and until when stands in `issued.json`, written last: if it is missing or something is amiss, everything is made
//! anew. Keys are ECDSA P-256, files 0600.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use larder_format::clock::Clock;
use larder_format::error::Kind;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::atomic_file::{self, Existing};
use crate::failure::{Failure, Outcome, shown};

/// What every certificate and key begins with.
const PEM_START: &[u8] = b"-----BEGIN";

const MAKE_NEW_HINT: &str = "remove the certificates folder; `larder down` and `larder up` make new ones";

const DAY_MS: u64 = 24 * 3_600_000;
/// Life of the authority: as long as anyone keeps a machine.
const AUTHORITY_LIFE_MS: u64 = 20 * 365 * DAY_MS;
/// Life of node and client certificates.
const LEAF_LIFE_MS: u64 = 2 * 365 * DAY_MS;
/// `larder up` renews what ends sooner than this.
const RENEW_BEFORE_MS: u64 = 180 * DAY_MS;
/// Certificates begin this long ago, so that a clock that is somewhat behind accepts them.
const BACKDATE_MS: u64 = DAY_MS;
/// Largest PEM or JSON file read back, in bytes; real ones are below 2 KiB.
const FILE_LEN_MAX: usize = 64 * 1024;
/// Version of `issued.json`.
const ISSUED_FORMAT: u32 = 1;

/// Where the certificate files are.
#[derive(Debug, Clone)]
pub struct Certificates {
    folder: PathBuf,
}

/// What `issued.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Issued {
    format: u32,
    /// Missing in what was written before this was kept.
    #[serde(default)]
    authority_not_before_ms: Option<u64>,
    authority_not_after_ms: u64,
    /// Missing in what was written before this was kept.
    #[serde(default)]
    leaves_not_before_ms: Option<u64>,
    leaves_not_after_ms: u64,
    node_address: IpAddr,
}

impl Issued {
    /// Whether the authority's time has begun: not, if it was made while the clock was ahead.
    fn authority_begun(&self, now_ms: u64) -> bool {
        begin_ms(self.authority_not_before_ms, self.authority_not_after_ms, AUTHORITY_LIFE_MS) <= now_ms
    }

    /// As [`Issued::authority_begun`], of node and client.
    fn leaves_begun(&self, now_ms: u64) -> bool {
        begin_ms(self.leaves_not_before_ms, self.leaves_not_after_ms, LEAF_LIFE_MS) <= now_ms
    }
}

/// When a certificate's time begins, from its end where that is all there is.
fn begin_ms(not_before_ms: Option<u64>, not_after_ms: u64, life_ms: u64) -> u64 {
    not_before_ms.unwrap_or_else(|| not_after_ms.saturating_sub(life_ms).saturating_sub(BACKDATE_MS))
}

/// What [`Certificates::ensure`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// All was there and good.
    Nothing,
    /// Certificates of node and client, under the authority there was: a running node's are as good as before.
    Leaves,
    /// Everything: a running node knows another authority and has to start anew.
    Authority,
}

/// A PEM certificate with its key.
#[derive(Debug)]
pub struct Identity {
    /// Certificate, PEM.
    pub certificate_pem: Vec<u8>,
    /// Private key, PEM.
    pub key_pem: Vec<u8>,
}

impl Certificates {
    /// The files in this folder.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The authority's certificate.
    pub fn authority_file(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    fn authority_key_file(&self) -> PathBuf {
        self.folder.join("authority.key")
    }

    /// Certificate file of `node` or `client`.
    pub fn certificate_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    /// Key file of `node` or `client`.
    pub fn key_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.key"))
    }

    /// Makes whatever is missing, near its end, not begun yet, or not for this address. Answers what was made.
    ///
    /// # Errors
    /// What the file system says.
    pub fn ensure(&self, address: IpAddr, clock: &dyn Clock) -> Outcome<Made> {
        let now_ms = clock.wall_ms();
        let issued = self.issued()?;
        let files = [self.authority_file(), self.authority_key_file()];
        let authority_good = issued.as_ref().is_some_and(|i| {
            i.authority_not_after_ms > now_ms + LEAF_LIFE_MS
                && i.authority_begun(now_ms)
                && files.iter().all(|f| f.exists())
        });
        let leaf_files = ["node", "client"].map(|n| [self.certificate_file(n), self.key_file(n)]);
        let leaves_good = authority_good
            && issued.as_ref().is_some_and(|i| {
                i.leaves_not_after_ms > now_ms + RENEW_BEFORE_MS
                    && i.leaves_begun(now_ms)
                    && i.node_address == address
                    && leaf_files.iter().flatten().all(|f| f.exists())
            });
        if leaves_good {
            return Ok(Made::Nothing);
        }
        let before_ms = Some(now_ms.saturating_sub(BACKDATE_MS));
        let (issuer, authority_not_before_ms, authority_not_after_ms) = match &issued {
            Some(issued) if authority_good => {
                (self.load_authority()?, issued.authority_not_before_ms, issued.authority_not_after_ms)
            }
            _ => (self.make_authority(now_ms)?, before_ms, now_ms + AUTHORITY_LIFE_MS),
        };
        let leaves_not_after_ms = now_ms + LEAF_LIFE_MS;
        self.make_leaf("node", leaf_params(Some(address), now_ms)?, &issuer)?;
        self.make_leaf("client", leaf_params(None, now_ms)?, &issuer)?;
        let issued = Issued {
            format: ISSUED_FORMAT,
            authority_not_before_ms,
            authority_not_after_ms,
            leaves_not_before_ms: before_ms,
            leaves_not_after_ms,
            node_address: address,
        };
        let text = serde_json::to_vec(&issued)
            .map_err(|e| Failure::new(Kind::Bug, format!("cannot write down what was issued: {e}")))?;
        atomic_file::write(&self.issued_file(), &text, Existing::Replace)?;
        Ok(if authority_good { Made::Leaves } else { Made::Authority })
    }

    /// When the first of node's and client's certificates ends, in milliseconds since 1970; `None` if nothing says so.
    ///
    /// # Errors
    /// What the file system says.
    pub fn ends_ms(&self) -> Outcome<Option<u64>> {
        Ok(self.issued()?.map(|issued| issued.leaves_not_after_ms.min(issued.authority_not_after_ms)))
    }

    /// The authority's certificate, PEM.
    ///
    /// # Errors
    /// If it is missing or cannot be read.
    pub fn authority_pem(&self) -> Outcome<Vec<u8>> {
        must_read(&self.authority_file())
    }

    /// Certificate and key of `node` or `client`.
    ///
    /// # Errors
    /// If they are missing or cannot be read.
    pub fn identity(&self, name: &str) -> Outcome<Identity> {
        Ok(Identity {
            certificate_pem: must_read(&self.certificate_file(name))?,
            key_pem: must_read(&self.key_file(name))?,
        })
    }

    fn issued_file(&self) -> PathBuf {
        self.folder.join("issued.json")
    }

    fn issued(&self) -> Outcome<Option<Issued>> {
        let Some(bytes) = atomic_file::read(&self.issued_file(), FILE_LEN_MAX)? else { return Ok(None) };
        // Nothing in it is worth an error: what cannot be understood is made anew.
        Ok(serde_json::from_slice::<Issued>(&bytes).ok().filter(|issued| issued.format == ISSUED_FORMAT))
    }

    fn load_authority(&self) -> Outcome<Issuer<'static, KeyPair>> {
        let path = self.authority_key_file();
        let pem = String::from_utf8(must_read(&path)?).unwrap_or_default();
        let key = KeyPair::from_pem(&pem).map_err(|e| {
            Failure::new(Kind::Damaged, format!("{} is not a private key: {e}", shown(&path)))
                .hint(MAKE_NEW_HINT)
        })?;
        Ok(Issuer::new(authority_params(0), key))
    }

    fn make_authority(&self, now_ms: u64) -> Outcome<Issuer<'static, KeyPair>> {
        let params = authority_params(now_ms);
        let key = KeyPair::generate().map_err(|e| certificate_bug(&e))?;
        let certificate = params.self_signed(&key).map_err(|e| certificate_bug(&e))?;
        self.store(&self.authority_key_file(), key.serialize_pem().as_bytes())?;
        self.store(&self.authority_file(), certificate.pem().as_bytes())?;
        Ok(Issuer::new(params, key))
    }

    fn make_leaf(&self, name: &str, params: CertificateParams, issuer: &Issuer<'static, KeyPair>) -> Outcome {
        let key = KeyPair::generate().map_err(|e| certificate_bug(&e))?;
        let mut params = params;
        params.distinguished_name.push(DnType::CommonName, format!("larder {name}"));
        let certificate: Certificate = params.signed_by(&key, issuer).map_err(|e| certificate_bug(&e))?;
        self.store(&self.key_file(name), key.serialize_pem().as_bytes())?;
        self.store(&self.certificate_file(name), certificate.pem().as_bytes())
    }

    fn store(&self, path: &Path, bytes: &[u8]) -> Outcome {
        atomic_file::write(path, bytes, Existing::Replace)
    }
}

fn must_read(path: &Path) -> Outcome<Vec<u8>> {
    let Some(bytes) = atomic_file::read(path, FILE_LEN_MAX)? else {
        // Without it nobody is reached; not "not found", which is about what was asked for.
        let message = format!("{} is missing", shown(path));
        return Err(Failure::new(Kind::Closed, message).hint("larder down and larder up make new ones"));
    };
    if !bytes.trim_ascii_start().starts_with(PEM_START) {
        let message = format!("{} is empty or not PEM", shown(path));
        return Err(Failure::new(Kind::Damaged, message).hint(MAKE_NEW_HINT));
    }
    Ok(bytes)
}

fn certificate_bug(error: &rcgen::Error) -> Failure {
    Failure::new(Kind::Bug, format!("cannot make a certificate: {error}"))
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

/// A certificate for a server at this address (and for loopback), or for a client.
fn leaf_params(address: Option<IpAddr>, now_ms: u64) -> Outcome<CertificateParams> {
    let mut names = Vec::new();
    let usage = match address {
        Some(address) => {
            names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
            // "Any address" is not one that a client can ask for.
            if !address.is_unspecified() && !names.contains(&address.to_string()) {
                names.push(address.to_string());
            }
            ExtendedKeyUsagePurpose::ServerAuth
        }
        None => ExtendedKeyUsagePurpose::ClientAuth,
    };
    let mut params = CertificateParams::new(names).map_err(|e| certificate_bug(&e))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    (params.not_before, params.not_after) = period(now_ms, LEAF_LIFE_MS);
    Ok(params)
}

fn period(now_ms: u64, life_ms: u64) -> (OffsetDateTime, OffsetDateTime) {
    (moment(now_ms.saturating_sub(BACKDATE_MS)), moment(now_ms.saturating_add(life_ms)))
}

fn moment(ms: u64) -> OffsetDateTime {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    // Out of range only with a clock beyond the year 9999.
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
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
}
