//! What the authority has issued, and what of it is revoked: `register.json`, beside the authority's key, replaced as a
//! whole with every change. The list of revoked certificates that nodes read is made from it.

use larder_format::error::Kind;
use larder_node::identity::{Identity, Right};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome, shown};

/// Version of the file's layout.
const FORMAT: u32 = 1;
/// Largest file read back, in bytes: fifty thousand certificates.
pub(super) const LEN_MAX: usize = 16 << 20;
/// Most certificates in it; what has expired makes room.
const CERTIFICATES_MAX: usize = 50_000;

/// The register.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    pub(super) format: u32,
    /// Number of the last list of revoked certificates; the next is higher.
    pub(super) list_number: u64,
    /// Names and addresses that the node's certificate is for, beside those that follow from where it listens.
    #[serde(default)]
    pub node_hosts: Vec<String>,
    /// Oldest first.
    pub certificates: Vec<Entry>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Whose.
    pub name: String,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// What it may do; `None` for a node's own, which asks nobody for anything.
    pub rights: Option<String>,
    /// Where; none: in all namespaces.
    pub namespaces: Vec<String>,
    /// From when it holds, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// Until when.
    pub not_after_ms: u64,
    /// Whether there is a newer one of that name.
    #[serde(default)]
    pub replaced: bool,
    /// When and why it was revoked.
    #[serde(default)]
    pub revoked: Option<Revocation>,
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// In the words of RFC 5280.
    pub reason: Reason,
}

/// Why a certificate is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "kebab-case")]
pub enum Reason {
    /// Nothing in particular
    #[default]
    Unspecified,
    /// Somebody else may have the key
    KeyCompromise,
    /// Whose it was has another task now
    AffiliationChanged,
    /// There is a newer one
    Superseded,
    /// It is not needed any more
    CessationOfOperation,
    /// Its rights were withdrawn
    PrivilegeWithdrawn,
}

impl Entry {
    /// Of a certificate, by what it says.
    pub fn of(identity: &Identity, is_node: bool) -> Self {
        Self {
            name: identity.name.clone(),
            serial: identity.serial.to_string(),
            rights: (!is_node).then(|| identity.right.to_string()),
            namespaces: identity.namespaces.clone().unwrap_or_default(),
            not_before_ms: identity.not_before_ms,
            not_after_ms: identity.not_after_ms,
            replaced: false,
            revoked: None,
        }
    }

    /// What it may do.
    pub fn right(&self) -> Option<Right> {
        self.rights.as_deref().and_then(Right::named)
    }

    /// Whether it still opens doors.
    pub fn is_good(&self, now_ms: u64) -> bool {
        self.revoked.is_none() && now_ms < self.not_after_ms
    }
}

impl Register {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self { format: FORMAT, ..Self::default() }
    }

    /// From the file's bytes.
    pub(super) fn decode(path: &std::path::Path, bytes: &[u8]) -> Outcome<Self> {
        #[derive(Deserialize)]
        struct FormatOnly {
            format: u32,
        }
        let damaged = |e: serde_json::Error| {
            Failure::new(Kind::Damaged, format!("{} cannot be read: {e}", shown(path)))
                .hint("put it back from a backup: without it nobody knows who is revoked")
        };
        let FormatOnly { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > FORMAT {
            let message = format!("{} is of a newer version format={format} supported={FORMAT}", shown(path));
            return Err(Failure::new(Kind::TooNew, message).hint("upgrade larder"));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// The file's bytes.
    pub(super) fn encode(&self) -> Outcome<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|e| Failure::new(Kind::Bug, format!("cannot write down what was issued: {e}")))
    }

    /// Takes note of a new certificate; those of the same name that still hold are replaced by it.
    ///
    /// # Errors
    /// Full, if there are as many as there can be and none has expired.
    pub(super) fn add(&mut self, entry: Entry, now_ms: u64) -> Outcome {
        if self.certificates.len() >= CERTIFICATES_MAX {
            self.certificates.retain(|old| now_ms < old.not_after_ms);
        }
        if self.certificates.len() >= CERTIFICATES_MAX {
            let message = format!("the authority has issued too many certificates max={CERTIFICATES_MAX}");
            return Err(Failure::new(Kind::Full, message));
        }
        for old in self.certificates.iter_mut().filter(|old| old.name == entry.name) {
            old.replaced = true;
        }
        self.certificates.push(entry);
        Ok(())
    }

    /// The newest certificate of a name, if it still opens doors.
    pub fn good(&self, name: &str, now_ms: u64) -> Option<&Entry> {
        self.certificates
            .iter()
            .rev()
            .find(|entry| entry.name == name && !entry.replaced && entry.is_good(now_ms))
    }

    /// The newest certificate of a name, good or not.
    pub fn newest(&self, name: &str) -> Option<&Entry> {
        self.certificates.iter().rev().find(|entry| entry.name == name)
    }

    /// Serial numbers of those that are revoked, sorted.
    pub(super) fn revoked(&self) -> Vec<&Entry> {
        self.certificates.iter().filter(|entry| entry.revoked.is_some()).collect()
    }
}
