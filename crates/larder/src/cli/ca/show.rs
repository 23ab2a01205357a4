//! `larder ca show`: what a certificate file says, and whether it would be let in here.

use std::path::PathBuf;

use larder_format::clock::{Clock, SystemClock};
use larder_format::error::Kind;
use larder_node::identity::Identity;
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::issue::in_namespaces;
use crate::atomic_file;
use crate::certificates::{Certificates, certificate_der};
use crate::cli::Context;
use crate::failure::{Failure, Outcome, clean, shown};
use crate::moment;

/// Largest file read, in bytes; certificates are below 4 KiB.
const FILE_LEN_MAX: usize = 1 << 20;

/// Flags of `ca show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A certificate, PEM
    file: PathBuf,
}

/// Shows it.
///
/// # Errors
/// Not found; damaged if it is no certificate.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = &args.file;
    let pem = atomic_file::read(path, FILE_LEN_MAX)?
        .ok_or_else(|| Failure::new(Kind::NotFound, format!("{} is not there", shown(path))))?;
    let damaged = |why: &str| Failure::new(Kind::Damaged, format!("{}: {why}", shown(path)));
    let der = certificate_der(&pem).ok_or_else(|| damaged("holds no whole certificate (PEM)"))?;
    let identity = Identity::of_certificate(&der).map_err(|e| damaged(&e.to_string()))?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|e| damaged(&e.to_string()))?;
    let usage = certificate.extended_key_usage().ok().flatten().map(|usage| usage.value);
    let kind = if certificate.is_ca() {
        "authority"
    } else if usage.is_some_and(|usage| usage.server_auth) {
        "node"
    } else {
        "client"
    };
    let ours = of_this_authority(&super::certificates(context), &certificate);
    let revoked = super::certificates(context)
        .register()?
        .certificates
        .iter()
        .any(|entry| entry.serial == identity.serial.as_str() && entry.revoked.is_some());
    let now_ms = SystemClock::new().wall_ms();
    let rights = (kind == "client").then(|| identity.right.name());
    let namespaces = identity.namespaces.clone().unwrap_or_default();
    let state = match () {
        () if revoked => "revoked",
        () if identity.not_after_ms <= now_ms => "expired",
        () if now_ms < identity.not_before_ms => "not yet valid",
        () => "in its time",
    };
    context.output.document(&json!({
        "kind": kind, "name": identity.name, "serial": identity.serial.as_str(), "rights": rights,
        "namespaces": namespaces, "not_before_ms": identity.not_before_ms, "not_after_ms": identity.not_after_ms,
        "of_this_authority": ours, "revoked": revoked,
    }))?;
    let authority = match ours {
        Some(true) => "this one",
        Some(false) => "another one",
        None => "not known here",
    };
    let rights = rights.map_or_else(|| "none to ask for".to_owned(), str::to_owned);
    context.output.text(&format!(
        "{kind:<10}{}\nserial    {}\nrights    {rights}{}\nvalid     {} to {}: {state}\nauthority {authority}\n",
        clean(&identity.name),
        identity.serial,
        in_namespaces(&namespaces),
        moment::show_ms(identity.not_before_ms),
        moment::show_ms(identity.not_after_ms),
    ))
}

/// Whether this home's authority signed it; `None` if there is none.
fn of_this_authority(certificates: &Certificates, certificate: &X509Certificate<'_>) -> Option<bool> {
    let authority = certificate_der(&certificates.authority_pem().ok()?)?;
    let (_, authority) = X509Certificate::from_der(&authority).ok()?;
    Some(certificate.verify_signature(Some(authority.public_key())).is_ok())
}
