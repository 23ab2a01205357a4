//! Who `larder bench` says it is: a token from a file or the environment, never from an argument, where every program of
//! this machine would see it; and certificates, its own home's unless others are named.

use std::path::PathBuf;
use std::sync::Arc;

use larder_format::error::Kind;
use larder_load::plan::{Credentials, Plan};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::atomic_file;
use crate::certificates::{CLIENT_NAME, Certificates};
use crate::failure::{Failure, Outcome, shown};
use crate::folders::Folders;

/// The variable that may hold the token.
const VARIABLE: &str = "LARDER_BENCH_TOKEN";
/// Longest token or password, in bytes.
const TOKEN_LEN_MAX: usize = 8 << 10;
/// Longest file of certificates, in bytes: a system's list of all authorities is below 1 MiB.
const CERTIFICATES_LEN_MAX: usize = 4 << 20;

/// Flags about secrets and certificates.
#[derive(Debug, clap::Args)]
pub struct Secure {
    /// User name or token id (Redis protocol)
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Password or token: the first line of this file; or the variable LARDER_BENCH_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// TLS: trust these authorities (PEM) instead of this home's
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// TLS: show this certificate (PEM) instead of this home's
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// TLS: its key (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

impl Secure {
    /// Puts secrets and certificates into a plan.
    ///
    /// # Errors
    /// If a file cannot be read, or is not what it should be.
    pub fn complete(&self, folders: &Folders, plan: &mut Plan) -> Outcome {
        plan.credentials = Credentials { user: self.user.clone(), secret: self.token()? };
        if plan.credentials.user.is_some() && plan.credentials.secret.is_none() {
            return Err(
                Failure::invalid("--user needs a token").hint(format!("--token-file FILE, or {VARIABLE}"))
            );
        }
        if plan.target.tls {
            plan.tls = Some(Arc::new(self.tls(folders)?));
        }
        Ok(())
    }

    fn token(&self) -> Outcome<Option<String>> {
        let text = match &self.token_file {
            Some(path) => {
                let bytes = existing(path, TOKEN_LEN_MAX)?;
                Some(
                    String::from_utf8(bytes)
                        .map_err(|_| Failure::invalid(format!("{} is not text", shown(path))))?,
                )
            }
            None => std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()),
        };
        let Some(text) = text else { return Ok(None) };
        let token = text.lines().next().unwrap_or_default().trim_end().to_owned();
        if token.is_empty() || token.chars().any(char::is_control) {
            return Err(Failure::invalid("the token is empty, or has control characters in it"));
        }
        Ok(Some(token))
    }

    fn tls(&self, folders: &Folders) -> Outcome<ClientConfig> {
        let home = Certificates::in_folder(folders.certificates());
        let authority = self.authority.clone().unwrap_or_else(|| home.authority_file());
        if !authority.exists() {
            let message = format!("there is no authority to trust: {} is missing", shown(&authority));
            return Err(Failure::new(Kind::NotFound, message).hint("--authority FILE"));
        }
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&authority)? {
            // A system's list may hold one that this library does not take.
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            return Err(Failure::invalid(format!(
                "{} holds no certificate of an authority",
                shown(&authority)
            )));
        }
        let own = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            // Only to its own authority's servers does this home show who it is.
            _ if self.authority.is_none() && home.is_whole(CLIENT_NAME) => {
                Some((home.certificate_file(CLIENT_NAME), home.key_file(CLIENT_NAME)))
            }
            _ => None,
        };
        let wrong = |error: rustls::Error| Failure::invalid(format!("cannot set TLS up: {error}"));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_root_certificates(roots);
        let Some((certificate, key)) = own else { return Ok(builder.with_no_client_auth()) };
        let key_der = PrivateKeyDer::from_pem_slice(&existing(&key, CERTIFICATES_LEN_MAX)?)
            .map_err(|_| Failure::invalid(format!("{} holds no private key", shown(&key))))?;
        builder.with_client_auth_cert(certificates(&certificate)?, key_der).map_err(wrong)
    }
}

fn existing(path: &std::path::Path, len_max: usize) -> Outcome<Vec<u8>> {
    atomic_file::read(path, len_max)?
        .ok_or_else(|| Failure::new(Kind::NotFound, format!("there is no {}", shown(path))))
}

fn certificates(path: &std::path::Path) -> Outcome<Vec<CertificateDer<'static>>> {
    let pem = existing(path, CERTIFICATES_LEN_MAX)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    read.map_err(|_| Failure::invalid(format!("{} is not a file of certificates", shown(path))))
}
