//! What a node shows of itself and asks of others: its certificate and key, the authority that everybody must be of,
//! and the list of who is revoked. Read from files as a whole: either all of it fits together, or nothing is taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_format::error::Kind;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use crate::identity::{BadCertificate, Identity};
use crate::revocation::Revoked;

/// Largest file read, in bytes: a list of a hundred thousand revoked certificates. The others are below 2 KiB.
const FILE_LEN_MAX: u64 = 8 * 1024 * 1024;

/// Where they are.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// Certificates of the authority whose clients are admitted, PEM.
    pub authority: PathBuf,
    /// The node's own certificate chain, PEM.
    pub certificate: PathBuf,
    /// The node's private key, PEM.
    pub key: PathBuf,
    /// The authority's list of revoked certificates, PEM.
    pub revoked: PathBuf,
}

impl CertificateFiles {
    /// The files of these names in one folder, as `larder up` keeps them.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            authority: folder.join("authority.pem"),
            certificate: folder.join("node.pem"),
            key: folder.join("node.key"),
            revoked: folder.join("revoked.crl"),
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> [&Path; 4] {
        [&self.authority, &self.certificate, &self.key, &self.revoked]
    }
}

/// Why certificates or keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {what} {path}: {reason}", path = path.display())]
    Read {
        /// Which one.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// The system's message.
        reason: String,
    },
    /// A PEM file has not what it should.
    #[error("cannot read {what} (PEM) {path}: {reason}", path = path.display())]
    Pem {
        /// Which one.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// They do not fit together.
    #[error("certificate, key and authority do not fit together: {0}")]
    Mismatch(String),
    /// The list of revoked certificates cannot be believed.
    #[error("the list of revoked certificates {path} cannot be used: {reason}", path = path.display())]
    Revoked {
        /// Where it is.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl TlsError {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            TlsError::Read { .. } => Kind::Closed,
            TlsError::Pem { .. } | TlsError::Revoked { .. } => Kind::Damaged,
            TlsError::Mismatch(_) => Kind::Invalid,
        }
    }
}

/// All of it, fitting together.
pub(crate) struct Credentials {
    pub(crate) tls: Arc<rustls::ServerConfig>,
    /// The same for doors that let others in, too: a certificate is asked for, verified if there is one, and not needed.
    pub(crate) tls_for_tokens: Arc<rustls::ServerConfig>,
    pub(crate) authority: Vec<CertificateDer<'static>>,
    pub(crate) revoked: Arc<Revoked>,
    /// When the node's own certificate ends, in milliseconds since 1970.
    pub(crate) not_after_ms: u64,
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |reason: String| TlsError::Read { what, path: path.to_owned(), reason };
    let metadata = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?;
    if metadata.len() > FILE_LEN_MAX {
        return Err(failed(format!("larger than it can be len_max={FILE_LEN_MAX}")));
    }
    std::fs::read(path).map_err(|e| failed(e.to_string()))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(what, path)?).collect();
    let failed = |reason: String| Err(TlsError::Pem { what, path: path.to_owned(), reason });
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => failed("no certificate in it".to_owned()),
        Err(e) => failed(e.to_string()),
    }
}

impl Credentials {
    /// Reads all of it.
    ///
    /// # Errors
    /// [`TlsError`] says which file is wrong, and how.
    pub(crate) fn load(files: &CertificateFiles) -> Result<Self, TlsError> {
        let mismatch = |e: &dyn std::fmt::Display| TlsError::Mismatch(e.to_string());
        let authority = certificates("the authority's certificate", &files.authority)?;
        let mut roots = RootCertStore::empty();
        for certificate in &authority {
            roots.add(certificate.clone()).map_err(|e| mismatch(&e))?;
        }
        let key = PrivateKeyDer::from_pem_slice(&read("the node's key", &files.key)?).map_err(|e| {
            TlsError::Pem { what: "the node's key", path: files.key.clone(), reason: e.to_string() }
        })?;
        let chain = certificates("the node's certificate", &files.certificate)?;
        let own = Identity::of_certificate(&chain[0]).map_err(|e| mismatch(&e))?;
        let list = read("the list of revoked certificates", &files.revoked)?;
        let revoked = Revoked::read(&list, &authority)
            .map_err(|reason| TlsError::Revoked { path: files.revoked.clone(), reason })?;
        let revoked = Arc::new(revoked);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(roots);
        let server = |is_needed: bool, key: PrivateKeyDer<'static>| {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
                .build()
                .map_err(|e| mismatch(&e))?;
            let verifier = Arc::new(Gate { verifier, revoked: revoked.clone(), is_needed });
            rustls::ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(|e| mismatch(&e))?
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain.clone(), key)
                .map_err(|e| mismatch(&e))
        };
        let tls_for_tokens = Arc::new(server(false, key.clone_key())?);
        let mut tls = server(true, key)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { tls: Arc::new(tls), tls_for_tokens, authority, revoked, not_after_ms: own.not_after_ms })
    }
}

/// Looks at a client's certificate: of our authority, in its time, for clients, not revoked, and saying something about
/// rights that this program understands. Says in the log whose it was, which TLS does not.
#[derive(Debug)]
struct Gate {
    verifier: Arc<dyn ClientCertVerifier>,
    revoked: Arc<Revoked>,
    /// Nobody gets in without one.
    is_needed: bool,
}

impl Gate {
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        identity: Result<&Identity, &BadCertificate>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(certificate, intermediates, now)?;
        let identity = identity.map_err(|bad| {
            tracing::info!("{bad}");
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })?;
        if self.revoked.contains(&identity.serial) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(verified)
    }
}

impl ClientCertVerifier for Gate {
    fn client_auth_mandatory(&self) -> bool {
        self.is_needed
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let identity = Identity::of_certificate(certificate);
        let checked = self.check(certificate, identity.as_ref(), intermediates, now);
        if let (Err(error), Ok(identity)) = (&checked, &identity) {
            let (name, serial) = (&identity.name, &identity.serial);
            tracing::info!(?name, %serial, %error, "certificate refused");
        }
        checked
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
