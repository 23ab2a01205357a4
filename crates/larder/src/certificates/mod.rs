//! The certificates of this machine's mutual TLS: an authority of our own, one certificate for the node, one for the
//! client, and those that are issued to others. The first three are made on the first `larder up`, renewed when they
//! near their end or the node's address changes.
//!
//! They keep strangers away from the node's port; they protect no contents (the vault's keys do that). What there is of
//! this machine's own, and until when, stands in `issued.json`, written last: if it is missing or something is amiss,
//! everything is made anew. What was issued to whom and what is revoked stands in `register.json` ([`register`]); the
//! list of revoked ones that the node reads, `revoked.crl`, is made from it and made again wherever it does not say the
//! same. Keys are ECDSA P-256, files 0600. [`authority`] signs; [`issuing`] is what `larder ca` asks for.

pub mod authority;
pub mod issuing;
pub mod register;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use larder_format::clock::Clock;
use larder_format::error::Kind;
use larder_node::identity::Right;
use larder_node::revocation::Revoked;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use self::authority::{Authority, Wanted};
use self::register::Register;
use crate::atomic_file::{self, Existing};
use crate::failure::{Failure, Outcome, shown};

/// What the node's own certificate is called.
pub const NODE_NAME: &str = "node";
/// What the certificate of this machine's own commands is called.
pub const CLIENT_NAME: &str = "client";

/// What every certificate and key begins with.
const PEM_START: &[u8] = b"-----BEGIN";

const MAKE_NEW_HINT: &str = "remove the certificates folder; `larder down` and `larder up` make new ones";

/// A day, in milliseconds.
pub const DAY_MS: u64 = 24 * 3_600_000;
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
        let register = self.register()?;
        let leaves_good = authority_good
            && issued.as_ref().is_some_and(|i| {
                i.leaves_not_after_ms > now_ms + RENEW_BEFORE_MS
                    && i.leaves_begun(now_ms)
                    && i.node_address == address
                    && [NODE_NAME, CLIENT_NAME].iter().all(|name| self.is_whole(name))
            });
        if leaves_good {
            if !self.list_is_right(&register) {
                self.write_list(&self.load_authority()?, register, now_ms)?;
            }
            return Ok(Made::Nothing);
        }
        let (authority, register, not_before_ms, not_after_ms) = match &issued {
            Some(issued) if authority_good => {
                let authority = self.load_authority()?;
                (authority, register, issued.authority_not_before_ms, issued.authority_not_after_ms)
            }
            _ => {
                let (authority, register) = self.make_authority(&register.node_hosts, now_ms)?;
                (authority, register, Some(now_ms.saturating_sub(BACKDATE_MS)), now_ms + AUTHORITY_LIFE_MS)
            }
        };
        let issued = Issued {
            format: ISSUED_FORMAT,
            authority_not_before_ms: not_before_ms,
            authority_not_after_ms: not_after_ms,
            leaves_not_before_ms: None,
            leaves_not_after_ms: 0,
            node_address: address,
        };
        self.make_own(&authority, register, issued, now_ms)?;
        Ok(if authority_good { Made::Leaves } else { Made::Authority })
    }

    /// Makes the certificates of node and client under an authority that is there.
    fn make_own(
        &self,
        authority: &Authority,
        mut register: Register,
        mut issued: Issued,
        now_ms: u64,
    ) -> Outcome {
        let hosts = register.node_hosts.clone();
        let node = authority.sign(&Wanted::Node { address: issued.node_address, hosts }, now_ms)?;
        let client = authority.sign(&Wanted::OwnClient, now_ms)?;
        for signed in [&node, &client] {
            register.add(signed.entry.clone(), now_ms)?;
        }
        self.write_list(authority, register, now_ms)?;
        for (name, signed) in [(NODE_NAME, &node), (CLIENT_NAME, &client)] {
            self.store(&self.key_file(name), signed.key_pem.as_bytes())?;
            self.store(&self.certificate_file(name), signed.certificate_pem.as_bytes())?;
        }
        issued.leaves_not_before_ms = Some(now_ms.saturating_sub(BACKDATE_MS));
        issued.leaves_not_after_ms = now_ms + LEAF_LIFE_MS;
        let text = serde_json::to_vec(&issued)
            .map_err(|e| Failure::new(Kind::Bug, format!("cannot write down what was issued: {e}")))?;
        atomic_file::write(&self.issued_file(), &text, Existing::Replace)
    }

    /// Whether certificate and key of a name are there and belong together. What is there and cannot be read is not
    /// this step's to judge: whoever uses it says so.
    pub fn is_whole(&self, name: &str) -> bool {
        if !self.certificate_file(name).exists() || !self.key_file(name).exists() {
            return false;
        }
        let Ok(own) = self.identity(name) else { return true };
        match (certificate_der(&own.certificate_pem), std::str::from_utf8(&own.key_pem)) {
            (Some(der), Ok(key)) => authority::key_fits(key, &der),
            _ => true,
        }
    }

    /// Whether the list of revoked certificates is there, signed by the authority, and says what the register says.
    fn list_is_right(&self, register: &Register) -> bool {
        let Ok(Some(pem)) = atomic_file::read(&self.list_file(), register::LEN_MAX) else { return false };
        let Ok(authority) = self.authority_der() else { return false };
        let revoked = register.revoked();
        Revoked::read(&pem, &[authority]).is_ok_and(|list| {
            list.len() == revoked.len() && revoked.iter().all(|entry| list.contains_text(&entry.serial))
        })
    }

    /// Writes the register, then the list that follows from it.
    fn write_list(&self, authority: &Authority, mut register: Register, now_ms: u64) -> Outcome<Register> {
        // Higher than every list before, also after the clock was set back.
        register.list_number = (register.list_number + 1).max(now_ms);
        self.write_register(&register)?;
        let list = authority.list(&register, now_ms)?;
        self.store(&self.list_file(), list.as_bytes())?;
        Ok(register)
    }

    fn write_register(&self, register: &Register) -> Outcome {
        atomic_file::write(&self.register_file(), &register.encode()?, Existing::Replace)
    }

    /// When the first of node's and client's certificates ends, in milliseconds since 1970; `None` if nothing says so.
    ///
    /// # Errors
    /// What the file system says.
    pub fn ends_ms(&self) -> Outcome<Option<u64>> {
        Ok(self.issued()?.map(|issued| issued.leaves_not_after_ms.min(issued.authority_not_after_ms)))
    }

    /// Whether the client's certificate gives this right; one that cannot be read is left to the node to judge.
    ///
    /// # Errors
    /// Denied, with the right that is missing; if the certificate is missing.
    pub fn check_client(&self, right: Right) -> Outcome {
        let own = self.identity(CLIENT_NAME)?;
        let Some(der) = certificate_der(&own.certificate_pem) else { return Ok(()) };
        let Ok(identity) = larder_node::identity::Identity::of_certificate(&der) else { return Ok(()) };
        identity.check(right).map_err(|failure| Failure::new(failure.kind, failure.message))
    }

    /// When the client's certificate says that it ends, in milliseconds since 1970; `None` if it cannot be read.
    ///
    /// # Errors
    /// If it is missing.
    pub fn client_ends_ms(&self) -> Outcome<Option<u64>> {
        let own = self.identity(CLIENT_NAME)?;
        let der = certificate_der(&own.certificate_pem);
        Ok(der
            .and_then(|der| larder_node::identity::Identity::of_certificate(&der).ok())
            .map(|own| own.not_after_ms))
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

    /// Whether the authority's key is here.
    pub fn has_authority(&self) -> bool {
        self.authority_key_file().exists()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was issued and what is revoked; an empty register if none was kept yet.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn register(&self) -> Outcome<Register> {
        let path = self.register_file();
        match atomic_file::read(&path, register::LEN_MAX)? {
            Some(bytes) => Register::decode(&path, &bytes),
            None => Ok(Register::new()),
        }
    }

    fn register_file(&self) -> PathBuf {
        self.folder.join("register.json")
    }

    /// The list of revoked certificates.
    pub fn list_file(&self) -> PathBuf {
        self.folder.join("revoked.crl")
    }

    fn authority_der(&self) -> Outcome<CertificateDer<'static>> {
        let path = self.authority_file();
        certificate_der(&must_read(&path)?).ok_or_else(|| {
            Failure::new(Kind::Damaged, format!("{} holds no certificate", shown(&path))).hint(MAKE_NEW_HINT)
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

    fn load_authority(&self) -> Outcome<Authority> {
        let path = self.authority_key_file();
        let pem = String::from_utf8(must_read(&path)?).unwrap_or_default();
        Authority::of_key(&pem, &self.authority_der()?).ok_or_else(|| {
            let message = format!("{} is not the private key of authority.pem beside it", shown(&path));
            Failure::new(Kind::Damaged, message).hint(MAKE_NEW_HINT)
        })
    }

    /// A new authority, whose register is empty but for the node's names: what another one issued opens nothing here.
    fn make_authority(&self, node_hosts: &[String], now_ms: u64) -> Outcome<(Authority, Register)> {
        let (authority, certificate_pem, key_pem) = Authority::make(now_ms)?;
        self.store(&self.authority_key_file(), key_pem.as_bytes())?;
        self.store(&self.authority_file(), certificate_pem.as_bytes())?;
        Ok((authority, Register { node_hosts: node_hosts.to_vec(), ..Register::new() }))
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

/// The first certificate of a PEM file, as DER.
pub fn certificate_der(pem: &[u8]) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem).ok()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
