//! `larder ca`: the authority whose certificates open the node's doors. One file per verb. All work on the certificates
//! folder of the machine that has the authority's key; a running node notices what changes by itself.

mod create;
mod issue;
mod list;
mod renew;
mod revoke;
mod show;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use larder_format::error::Kind;
use serde_json::{Value, json};

use crate::atomic_file::{self, Existing};
use crate::certificates::authority::Signed;
use crate::certificates::register::Entry;
use crate::certificates::{CLIENT_NAME, Certificates};
use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};
use crate::life::pid_file::{self, Held};

/// What ends sooner than this is marked: `larder ca renew` is due.
const SOON_MS: u64 = 30 * crate::certificates::DAY_MS;

/// Flags of `ca`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a new authority (the first `larder up` does so by itself)
    Create(create::Args),
    /// Issue a certificate to another device, person or program
    ///
    /// Rights are signed into the certificate: read (get and list), append-only (also add, but never delete, replace
    /// what is not kept as a version, or shorten a lifetime), write (everything on files and values), admin (also the
    /// node itself: collect, scrub, accept damage, create namespaces). The folder that is written holds all that the
    /// other side needs: larder up --connect ADDR:PORT --certificates FOLDER.
    Issue(issue::Args),
    /// What was issued to whom, until when, and what is revoked
    List,
    /// Renew this machine's own certificates (node and client), or those of a name
    ///
    /// Nothing is interrupted: a running node takes its new certificate over by itself, open connections go on, and a
    /// certificate that was renewed stays good until its own end unless it is revoked.
    Renew(renew::Args),
    /// Revoke a certificate: its connections end within a second, and it opens none again
    Revoke(revoke::Args),
    /// What a certificate file says
    Show(show::Args),
}

/// Runs a verb.
///
/// # Errors
/// As the verb says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.verb {
        Verb::Create(args) => create::run(context, args),
        Verb::Issue(args) => issue::run(context, args),
        Verb::List => list::run(context),
        Verb::Renew(args) => renew::run(context, args),
        Verb::Revoke(args) => revoke::run(context, args),
        Verb::Show(args) => show::run(context, args),
    }
}

fn certificates(context: &Context) -> Certificates {
    Certificates::in_folder(context.folders.certificates())
}

/// Waits until no other command changes certificates; held until the change is made.
fn turn(context: &Context) -> Outcome<Held> {
    context.folders.create()?;
    pid_file::wait_for_turn(&context.folders.work_lock(), || {
        context.output.note("Another command is at work here; waiting for it.");
    })
}

fn entry_json(entry: &Entry, now_ms: u64) -> Value {
    json!({
        "name": entry.name,
        "serial": entry.serial,
        "rights": entry.rights,
        "namespaces": entry.namespaces,
        "not_before_ms": entry.not_before_ms,
        "not_after_ms": entry.not_after_ms,
        "state": state(entry, now_ms),
        "replaced": entry.replaced,
        "revoked_ms": entry.revoked.as_ref().map(|revoked| revoked.at_ms),
        "reason": entry.revoked.as_ref().map(|revoked| revoked.reason),
    })
}

/// How a certificate stands, in a word.
fn state(entry: &Entry, now_ms: u64) -> &'static str {
    if entry.revoked.is_some() {
        "revoked"
    } else if entry.not_after_ms <= now_ms {
        "expired"
    } else if now_ms < entry.not_before_ms {
        "not_yet_valid"
    } else if entry.replaced {
        "replaced"
    } else if entry.not_after_ms - now_ms < SOON_MS {
        "expires_soon"
    } else {
        "good"
    }
}

/// Where a certificate for a name is written unless told otherwise.
fn folder_for(to: Option<&PathBuf>, name: &str) -> PathBuf {
    to.cloned().unwrap_or_else(|| PathBuf::from(format!("larder-{name}")))
}

/// Refuses a folder that has a certificate already, before anything is issued.
fn must_be_free(folder: &Path) -> Outcome {
    let there = Certificates::in_folder(folder.to_owned());
    let files = [there.authority_file(), there.certificate_file(CLIENT_NAME), there.key_file(CLIENT_NAME)];
    match files.iter().find(|file| file.exists()) {
        Some(file) => Err(Failure::new(Kind::Conflict, format!("{} is there already", shown(file)))
            .hint("name another folder with --to")),
        None => Ok(()),
    }
}

/// Writes what the other side needs: authority, certificate and key, readable by this user only.
fn hand_over(authority_pem: &[u8], signed: &Signed, folder: &Path, existing: Existing) -> Outcome {
    // One that is there may be for other things too, and keeps its mode.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| Failure::io("make the folder", folder, &e))?;
    let there = Certificates::in_folder(folder.to_owned());
    atomic_file::write(&there.key_file(CLIENT_NAME), signed.key_pem.as_bytes(), existing)?;
    atomic_file::write(&there.certificate_file(CLIENT_NAME), signed.certificate_pem.as_bytes(), existing)?;
    atomic_file::write(&there.authority_file(), authority_pem, existing)
}
