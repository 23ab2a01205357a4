//! `larder ca renew`: a new certificate and key in time, without interrupting anything.

use std::path::PathBuf;

use larder_format::clock::SystemClock;
use serde_json::json;

use crate::atomic_file::Existing;
use crate::certificates::CLIENT_NAME;
use crate::certificates::authority::is_host;
use crate::certificates::issuing::Renewed;
use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};
use crate::moment;

/// Flags of `ca renew`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose; without it this machine's own (node and client)
    name: Option<String>,
    /// Folder to write it to (larder-NAME here); what lies there is replaced
    #[arg(long, value_name = "FOLDER", requires = "name")]
    to: Option<PathBuf>,
    /// A name or address by which others reach the node, kept in its certificate from now on (may be given several times)
    #[arg(long, value_name = "NAME|ADDR", value_parser = parse_host)]
    host: Vec<String>,
}

fn parse_host(text: &str) -> Result<String, String> {
    if is_host(text) { Ok(text.to_owned()) } else { Err("neither a name nor an address".to_owned()) }
}

/// Renews it.
///
/// # Errors
/// Not found; a conflict if it is revoked.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let _turn = super::turn(context)?;
    let certificates = super::certificates(context);
    let name = args.name.as_deref().unwrap_or(CLIENT_NAME);
    match certificates.renew(name, &args.host, &SystemClock::new())? {
        Renewed::Own => {
            context.output.document(&json!({ "renewed": ["node", "client"] }))?;
            context.output.text("renewed this machine's certificates; a running node takes its own over\n")
        }
        Renewed::Other(_) if !args.host.is_empty() => {
            Err(Failure::invalid("--host is for the node's own certificate: larder ca renew --host NAME"))
        }
        Renewed::Other(signed) => {
            let folder = super::folder_for(args.to.as_ref(), name);
            super::hand_over(&certificates.authority_pem()?, &signed, &folder, Existing::Replace)?;
            let entry = &signed.entry;
            context.output.document(&json!({
                "renewed": [entry.name], "serial": entry.serial, "not_after_ms": entry.not_after_ms,
                "folder": folder,
            }))?;
            context.output.text(&format!(
                "renewed {}: good until {}, serial number {}, in {}\nthe one before stays good until its end; larder ca list shows it\n",
                entry.name,
                moment::show_ms(entry.not_after_ms),
                entry.serial,
                shown(&folder),
            ))
        }
    }
}
