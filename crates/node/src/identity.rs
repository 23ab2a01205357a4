//! Who is at the other end of a connection, and what it may do. Shared by every door of the node, and by whoever issues
//! certificates. With a certificate both are signed into it, so that a node needs no list of identities; with a token
//! ([`crate::tokens`]) they are what the token grants.
//!
//! **Form of a certificate.** Subject alternative names of kind URI: exactly one `larder:rights/RIGHT`, and one `larder:namespace/NAME`
//! for each namespace it is limited to (none: all). A certificate without any `larder:` name is from before there were
//! rights; the authority only ever made those for its own machine, and they keep all rights. Whatever else begins with
//! `larder:` is refused: a limit that is not understood must not be ignored.
//!
//! Nothing here verifies signatures or dates: TLS has done so before ([`crate::listener`]).

use std::fmt;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::{NamespaceId, TokenId};
use larder_format::limits::NAMESPACES_MAX;
pub use larder_format::right::Right;
use larder_wire::answer::Failure;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What every name of ours in a certificate begins with.
const SCHEME: &str = "larder:";
const RIGHTS: &str = "larder:rights/";
const NAMESPACE: &str = "larder:namespace/";

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

    /// A token's id in the place of a serial number: all of its digits.
    #[must_use]
    pub fn of_token(id: TokenId) -> Self {
        Self(id.to_string().into())
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

/// By what somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A certificate, shown when the connection was made.
    Certificate,
    /// This token, or one made of it.
    Token(TokenId),
}

/// Who somebody is, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// By what it is known.
    pub proof: Proof,
    /// Name in the certificate (its common name), or of the token.
    pub name: String,
    /// Serial number of the certificate; of a token its id.
    pub serial: Serial,
    /// What it may do.
    pub right: Right,
    /// Where, by name; `None`: in all namespaces.
    pub namespaces: Option<Vec<String>>,
    /// On which keys: those that begin with one of these; `None`: on all. Certificates are not limited to keys.
    pub prefixes: Option<Vec<Bytes>>,
    /// From when it holds, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// Until when it holds, in milliseconds since 1970; `u64::MAX`: no end.
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
            proof: Proof::Certificate,
            name: name.unwrap_or_default().to_owned(),
            serial: Serial::of(certificate.raw_serial()),
            right,
            namespaces,
            prefixes: None,
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
        Err(self
            .denied(&format!("lacks the right {needed}: it has {}", self.right), &format!("right {needed}")))
    }

    /// Whether this identity has at least this right on all of the node: whoever is limited to namespaces has not.
    ///
    /// # Errors
    /// [`Kind::Denied`] names the right, or what it is limited to.
    pub fn check_everywhere(&self, needed: Right) -> Result<(), Failure> {
        self.check(needed)?;
        let Some(allowed) = &self.namespaces else { return self.check_keys(&[]) };
        let lacks = format!("has rights only in {}, and this is about all of the node", allowed.join(", "));
        let message = format!("the {} {lacks}; ask for one without a limit to namespaces", self.shown());
        Err(Failure::new(Kind::Denied, message))
    }

    /// Whether this identity has at least this right in a namespace, whatever the key.
    ///
    /// # Errors
    /// [`Kind::Denied`] names the right, the namespace or the keys that are missing.
    pub fn check_in(&self, needed: Right, namespace: NamespaceId) -> Result<(), Failure> {
        self.check_prefix(needed, namespace, &[])
    }

    /// As [`Identity::check_in`], of a namespace's name.
    ///
    /// # Errors
    /// As [`Identity::check_in`].
    pub fn check_named(&self, needed: Right, namespace: &str) -> Result<(), Failure> {
        self.check_named_prefix(needed, namespace, &[])
    }

    /// Whether this identity has at least this right on some keys of a namespace, by its name. Which they are is looked at
    /// when the key is known.
    ///
    /// # Errors
    /// As [`Identity::check_in`].
    pub fn check_somewhere(&self, needed: Right, namespace: &str) -> Result<(), Failure> {
        self.check_where(needed, |name| name == namespace, &namespace)
    }

    /// As [`Identity::check_prefix`], of a namespace's name: no hash is taken, so that it may be asked with every request.
    ///
    /// # Errors
    /// As [`Identity::check_in`].
    pub fn check_named_prefix(&self, needed: Right, namespace: &str, prefix: &[u8]) -> Result<(), Failure> {
        self.check_somewhere(needed, namespace)?;
        self.check_keys(prefix)
    }

    /// Whether this identity has at least this right on a key of a namespace.
    ///
    /// # Errors
    /// As [`Identity::check_in`].
    pub fn check_key(&self, needed: Right, namespace: NamespaceId, key: &[u8]) -> Result<(), Failure> {
        self.check_prefix(needed, namespace, key)
    }

    /// Whether this identity has at least this right on all keys of a namespace that begin with this, itself included.
    ///
    /// # Errors
    /// As [`Identity::check_in`].
    pub fn check_prefix(&self, needed: Right, namespace: NamespaceId, prefix: &[u8]) -> Result<(), Failure> {
        self.check_where(needed, |name| NamespaceId::of(name) == namespace, &namespace)?;
        self.check_keys(prefix)
    }

    fn check_where(
        &self,
        needed: Right,
        is_there: impl Fn(&str) -> bool,
        namespace: &dyn fmt::Display,
    ) -> Result<(), Failure> {
        self.check(needed)?;
        match &self.namespaces {
            Some(allowed) if !allowed.iter().any(|name| is_there(name)) => {
                let allowed = allowed.join(", ");
                let lacks =
                    format!("has no rights in this namespace: only in {allowed} namespace={namespace}");
                Err(self.denied(&lacks, "namespace NS"))
            }
            _ => Ok(()),
        }
    }

    fn check_keys(&self, prefix: &[u8]) -> Result<(), Failure> {
        if self.may_touch(prefix) {
            return Ok(());
        }
        let prefixes: Vec<_> = self.prefixes.iter().flatten().map(|p| p.escape_ascii().to_string()).collect();
        let lacks = format!("has rights only on keys that begin with {}", prefixes.join(" or "));
        Err(self.denied(&lacks, "prefix P"))
    }

    /// Whether all keys that begin with this are among those that this identity is limited to.
    #[must_use]
    pub fn may_touch(&self, prefix: &[u8]) -> bool {
        self.prefixes.as_ref().is_none_or(|allowed| allowed.iter().any(|own| prefix.starts_with(own)))
    }

    /// By what it is known, in a word, and its name.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.proof {
            Proof::Certificate => format!("certificate {:?}", self.name),
            Proof::Token(id) if self.name.is_empty() => format!("token {id}"),
            Proof::Token(id) => format!("token {id} ({:?})", self.name),
        }
    }

    fn denied(&self, lacks: &str, flag: &str) -> Failure {
        let advice = match self.proof {
            Proof::Certificate => format!("larder ca issue --{}", flag.replacen("right ", "rights ", 1)),
            Proof::Token(_) => format!("larder token create --{flag}"),
        };
        let message = format!("the {} {lacks}; ask for one that has it ({advice})", self.shown());
        Failure::new(Kind::Denied, message)
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
