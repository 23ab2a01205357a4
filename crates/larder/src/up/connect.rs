//! Step, in the place of a node of this home's own: another machine's node, with a certificate that was issued there
//! (`larder ca issue`). No node is started here; the vault's header comes from the copy that node keeps.

use std::net::SocketAddr;

use larder_format::error::Kind;

use crate::atomic_file::{self, Existing};
use crate::certificates::{CLIENT_NAME, Certificates};
use crate::failure::{Failure, Outcome, shown};
use crate::folders::Folders;
use crate::settings::Resolved;
use crate::up::{Up, Wishes, namespaces as own_namespaces, vault};

/// Refuses, before anything is made, what does not go together with what is there.
///
/// # Errors
/// A conflict if this home has a node of its own, or was set up with another one; invalid without a certificate.
pub fn check(folders: &Folders, wishes: &Wishes, resolved: &Resolved) -> Outcome {
    let Some(asked) = resolved.settings.connect else {
        return match &wishes.certificates {
            Some(_) => Err(Failure::invalid("--certificates is for the node of another machine")
                .hint("larder up --connect ADDR:PORT --certificates FOLDER")),
            None => Ok(()),
        };
    };
    let stored = Resolved::load(&folders.settings_file(), &[])?;
    if stored.has_file && stored.settings.connect != Some(asked) {
        let message = match stored.settings.connect {
            Some(other) => format!("this home uses the node on {other} and not on {asked}"),
            None => "this home has a node of its own".to_owned(),
        };
        return Err(Failure::new(Kind::Conflict, message).hint(format!(
            "choose another home with --home DIR, or change `connect` in {}",
            shown(&folders.settings_file())
        )));
    }
    let certificates = Certificates::in_folder(folders.certificates());
    if vault::has_store(folders) || certificates.has_authority() {
        return Err(Failure::new(Kind::Conflict, "this home has a node of its own")
            .hint("choose another home with --home DIR"));
    }
    if wishes.certificates.is_none() && !certificates.certificate_file(CLIENT_NAME).exists() {
        return Err(Failure::invalid("the node of another machine asks for a certificate")
            .hint("there: larder ca issue NAME; here: larder up --connect ADDR:PORT --certificates FOLDER"));
    }
    Ok(())
}

/// Takes over the certificate that the command line names, if it names one.
///
/// # Errors
/// Invalid if certificate and key do not belong together; damaged or missing files.
pub fn certificates(folders: &Folders, wishes: &Wishes) -> Outcome {
    let Some(folder) = &wishes.certificates else { return Ok(()) };
    let given = Certificates::in_folder(folder.clone());
    let authority_pem = given.authority_pem()?;
    let identity = given.identity(CLIENT_NAME)?;
    if !given.is_whole(CLIENT_NAME) {
        let message = format!("certificate and key in {} do not belong together", shown(folder));
        return Err(Failure::invalid(message).hint("use the folder as larder ca issue wrote it"));
    }
    let own = Certificates::in_folder(folders.certificates());
    // The certificate last: with it this home has one.
    for (path, bytes) in [
        (own.authority_file(), &authority_pem),
        (own.key_file(CLIENT_NAME), &identity.key_pem),
        (own.certificate_file(CLIENT_NAME), &identity.certificate_pem),
    ] {
        atomic_file::write(&path, bytes, Existing::Replace)?;
    }
    Ok(())
}

/// The node, as `up` reports it.
pub fn node(address: SocketAddr) -> Up {
    Up { address: address.to_string(), http: None, redis: None, started: false }
}

/// Makes missing namespaces where the certificate allows it; they are the other machine's to make.
///
/// # Errors
/// What the node says.
pub fn namespaces(folders: &Folders) -> Outcome<Vec<String>> {
    match own_namespaces::ensure(folders) {
        Err(failure)
            if failure.kind() == Some(Kind::Denied) && failure.message().contains("lacks the right") =>
        {
            Ok(Vec::new())
        }
        ensured => ensured,
    }
}
