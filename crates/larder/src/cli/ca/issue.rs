//! `larder ca issue`: a certificate for another device, person or program, with the rights named.

use std::path::PathBuf;

use larder_format::clock::SystemClock;
use larder_format::limits::{NAMESPACE_NAME_LEN_MAX, NAMESPACES_MAX};
use larder_node::identity::Right;
use serde_json::json;

use crate::atomic_file::Existing;
use crate::certificates::DAY_MS;
use crate::certificates::authority::Wanted;
use crate::certificates::issuing::{parse_name, parse_right};
use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};
use crate::moment;

/// Life of a certificate unless told otherwise, in days.
const DAYS_DEFAULT: u64 = 365;
/// Longest life: beyond it nobody remembers to whom it was given.
const DAYS_MAX: u64 = 3_650;

/// Flags of `ca issue`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose it is: a name for the list and the log
    #[arg(value_parser = parse_name)]
    name: String,
    /// What it may do: read, append-only, write or admin
    #[arg(long, value_name = "RIGHT", value_parser = parse_right, default_value = "write")]
    rights: Right,
    /// Only in this namespace (may be given several times; without it in all)
    #[arg(long, value_name = "NS", value_parser = parse_namespace)]
    namespace: Vec<String>,
    /// Good for this many days
    #[arg(long, value_name = "N", default_value_t = DAYS_DEFAULT, value_parser = clap::value_parser!(u64).range(1..=DAYS_MAX))]
    days: u64,
    /// Folder to write it to (larder-NAME here)
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

fn parse_namespace(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if text.len() > NAMESPACE_NAME_LEN_MAX || !starts || !text.chars().all(allowed) {
        return Err("not the name of a namespace".to_owned());
    }
    Ok(text.to_owned())
}

/// Issues it.
///
/// # Errors
/// A conflict if the name has a good one, or the folder holds one already.
pub fn run(context: &Context, args: &Args) -> Outcome {
    if args.namespace.len() > NAMESPACES_MAX {
        return Err(Failure::invalid(format!("too many namespaces max={NAMESPACES_MAX}")));
    }
    let folder = super::folder_for(args.to.as_ref(), &args.name);
    let _turn = super::turn(context)?;
    super::must_be_free(&folder)?;
    let mut namespaces = args.namespace.clone();
    namespaces.sort();
    namespaces.dedup();
    let wanted = Wanted::Client {
        name: args.name.clone(),
        right: args.rights,
        namespaces,
        life_ms: args.days * DAY_MS,
    };
    if args.rights == Right::AppendOnly {
        // Whoever may add makes what is not there yet, and rules of retention delete.
        crate::session::with_vault(context, async |vault| Ok(vault.ensure_retention().await?)).map_err(
            |failure| failure.context("the vault's retention rules must be there before others may add"),
        )?;
    }
    let certificates = super::certificates(context);
    let authority_pem = certificates.authority_pem()?;
    let signed = certificates.issue(&wanted, &SystemClock::new())?;
    super::hand_over(&authority_pem, &signed, &folder, Existing::Keep).map_err(|failure| {
        let message = format!("the certificate was issued and could not be written: {failure}");
        Failure::new(failure.kind().unwrap_or(larder_format::error::Kind::Io), message)
            .hint(format!("larder ca renew {} --to FOLDER", args.name))
    })?;
    let entry = &signed.entry;
    context.output.document(&json!({
        "name": entry.name, "serial": entry.serial, "rights": entry.rights, "namespaces": entry.namespaces,
        "not_after_ms": entry.not_after_ms, "folder": folder,
    }))?;
    context.output.text(&format!(
        "issued to {}: rights {}{}, good until {}, serial number {}\nin {} (authority.pem, client.pem, client.key): keep the key private\n",
        entry.name,
        args.rights,
        in_namespaces(&entry.namespaces),
        moment::show_ms(entry.not_after_ms),
        entry.serial,
        shown(&folder),
    ))?;
    context.output.note(&format!(
        "On the other device: larder up --connect ADDR:PORT --certificates {}",
        shown(&folder)
    ));
    Ok(())
}

/// ` in files, values`, or nothing for everywhere.
pub(super) fn in_namespaces(namespaces: &[String]) -> String {
    if namespaces.is_empty() { String::new() } else { format!(" in {}", namespaces.join(", ")) }
}
