//! Who is at the other end of a connection, and what it may do: both are signed into its certificate, so that a node
//! needs no list of identities. Shared by every door of the node, and by whoever issues certificates.
//!
//! **Form.** Subject alternative names of kind URI: exactly one `larder:rights/RIGHT`, and one `larder:namespace/NAME`
//! for each namespace it is limited to (none: all). A certificate without any `larder:` name is from before there were
//! rights; the authority only ever made those for its own machine, and they keep all rights. Whatever else begins with
//! `larder:` is refused: a limit that is not understood must not be ignored.
//!
//! Nothing here verifies signatures or dates: TLS has done so before ([`crate::listener`]).

use std::fmt;

use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::limits::NAMESPACES_MAX;
use larder_wire::answer::Failure;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What every name of ours in a certificate begins with.
const SCHEME: &str = "larder:";
const RIGHTS: &str = "larder:rights/";
const NAMESPACE: &str = "larder:namespace/";

/// What an identity may do. Each includes all that come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Get, scan, read blobs, ask for the status.
    Read,
    /// Also create records, store and lease blobs; replace a record only where nothing is lost by it. Never delete,
    /// take, release or shorten a lifetime.
    AppendOnly,
    /// Everything on records and blobs.
    Write,
    /// Also the node itself: collect, scrub, accept damage, create namespaces.
    Admin,
}

impl Right {
    /// All of them, least first.
    pub const ALL: [Right; 4] = [Right::Read, Right::AppendOnly, Right::Write, Right::Admin];

    /// Its name, in certificates and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::AppendOnly => "append-only",
            Right::Write => "write",
            Right::Admin => "admin",
        }
    }

    /// The right of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.name() == name)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A certificate's serial number: lower-case hexadecimal without leading zero bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(Box<str>);

impl Serial {
    /// From its bytes, most significant first.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let digits = bytes.iter().skip_while(|byte| **byte == 0);
        Self(digits.map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Serial {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who somebody is, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name in the certificate (its common name).
    pub name: String,
    /// Serial number of the certificate.
    pub serial: Serial,
    /// What it may do.
    pub right: Right,
    /// Where, by name; `None`: in all namespaces.
    pub namespaces: Option<Vec<String>>,
    /// From when the certificate holds, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// Until when the certificate holds, in milliseconds since 1970.
    pub not_after_ms: u64,
}

/// A certificate that does not say who somebody is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// Not a certificate, or one that contradicts itself.
    #[error("not a certificate: {0}")]
    Unreadable(String),
    /// A name that begins with `larder:` and means nothing to this program.
    #[error("certificate says what this program does not understand name={0:?}; upgrade larder")]
    Unknown(String),
    /// Limited to namespaces, or twice given a right, without one right that says to what.
    #[error("certificate must name exactly one right, and names {0}")]
    Rights(usize),
    /// More namespaces than a node has.
    #[error("certificate names too many namespaces max={NAMESPACES_MAX}")]
    Namespaces,
}

impl Identity {
    /// What a certificate (DER) says.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn of_certificate(der: &[u8]) -> Result<Self, BadCertificate> {
        let unreadable = |e: &dyn fmt::Display| BadCertificate::Unreadable(e.to_string());
        let (_, certificate) = X509Certificate::from_der(der).map_err(|e| unreadable(&e))?;
        let names = certificate.subject_alternative_name().map_err(|e| unreadable(&e))?;
        let uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
            _ => None,
        });
        let (right, namespaces) = rights(uris)?;
        let name = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
        let ms = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
        Ok(Self {
            name: name.unwrap_or_default().to_owned(),
            serial: Serial::of(certificate.raw_serial()),
            right,
            namespaces,
            not_before_ms: ms(certificate.validity().not_before.timestamp()),
            not_after_ms: ms(certificate.validity().not_after.timestamp()),
        })
    }

    /// Whether this identity has at least this right, wherever.
    ///
    /// # Errors
    /// [`Kind::Denied`] names the right that is missing.
    pub fn check(&self, needed: Right) -> Result<(), Failure> {
        if self.right >= needed {
            return Ok(());
        }
        let message = format!(
            "the certificate {:?} lacks the right {needed}: it has {}; ask for one that has it (larder ca issue --rights {needed})",
            self.name, self.right
        );
        Err(Failure::new(Kind::Denied, message))
    }

    /// Whether this identity has at least this right in a namespace.
    ///
    /// # Errors
    /// [`Kind::Denied`] names the right or the namespace that is missing.
    pub fn check_in(&self, needed: Right, namespace: NamespaceId) -> Result<(), Failure> {
        self.check(needed)?;
        let Some(allowed) = &self.namespaces else { return Ok(()) };
        if allowed.iter().any(|name| NamespaceId::of(name) == namespace) {
            return Ok(());
        }
        let message = format!(
            "the certificate {:?} has no rights in this namespace: only in {}; ask for one that has them (larder ca issue --namespace NS) namespace={namespace}",
            self.name,
            allowed.join(", ")
        );
        Err(Failure::new(Kind::Denied, message))
    }

    /// As [`Identity::check_in`], of a namespace's name.
    ///
    /// # Errors
    /// As [`Identity::check_in`].
    pub fn check_named(&self, needed: Right, namespace: &str) -> Result<(), Failure> {
        self.check_in(needed, NamespaceId::of(namespace))
    }
}

/// What the names of ours in a certificate say.
fn rights<'a>(uris: impl Iterator<Item = &'a str>) -> Result<(Right, Option<Vec<String>>), BadCertificate> {
    let (mut found, mut namespaces) = (Vec::new(), Vec::new());
    for uri in uris {
        let unknown = || BadCertificate::Unknown(uri.chars().take(80).collect());
        if let Some(name) = uri.strip_prefix(RIGHTS) {
            found.push(Right::named(name).ok_or_else(unknown)?);
        } else if let Some(name) = uri.strip_prefix(NAMESPACE) {
            namespaces.push(name.to_owned());
        } else {
            return Err(unknown());
        }
        if namespaces.len() > NAMESPACES_MAX {
            return Err(BadCertificate::Namespaces);
        }
    }
    let limited = !namespaces.is_empty();
    match found[..] {
        // From before there were rights: this machine's own.
        [] if !limited => Ok((Right::Admin, None)),
        [right] => Ok((right, limited.then_some(namespaces))),
        _ => Err(BadCertificate::Rights(found.len())),
    }
}

/// The names (URIs) that give a right in these namespaces (none: in all), for a certificate about to be signed.
#[must_use]
pub fn rights_uris(right: Right, namespaces: &[String]) -> Vec<String> {
    let mut uris = vec![format!("{RIGHTS}{right}")];
    uris.extend(namespaces.iter().map(|name| format!("{NAMESPACE}{name}")));
    uris
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
