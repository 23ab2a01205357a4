//! The vault: its header is whole, a copy is kept, and the agent is there to hold it.

use larder_wire::v1::StatusResponse;

use crate::agent::client::Agent;
use crate::cli::Context;
use crate::doctor::Finding;
use crate::vault_header::{file, kept};

pub(super) fn look(context: &Context, node: Option<&StatusResponse>, findings: &mut Vec<Finding>) {
    let folders = &context.folders;
    let header = match file::read(folders) {
        Ok(Some(header)) => header,
        Ok(None) => {
            findings.push(Finding::bad(
                "vault",
                larder_format::error::Kind::NotFound,
                "vault.header is missing",
                "larder up takes it back from the node's copy, or makes a vault if there is none",
            ));
            return;
        }
        Err(failure) => {
            findings.push(Finding::failed("vault", &failure, "larder up"));
            return;
        }
    };
    if node.is_some() {
        match kept::everything(folders) {
            Ok(kept) => {
                let copy = kept.headers.iter().find(|copy| copy.vault() == header.vault());
                match copy {
                    Some(copy) if copy.revision() == header.revision() => {
                        findings.push(Finding::good("vault", "its header is whole, and the node keeps a copy"));
                    }
                    Some(copy) if copy.revision() > header.revision() => findings.push(Finding::warning(
                        "vault",
                        "the node keeps a newer header than this machine: passphrase or slots were changed elsewhere",
                        "larder up takes it from the node",
                    )),
                    _ => findings.push(Finding::warning(
                        "vault",
                        "the node keeps no copy of the vault's header: if vault.header is lost, so is everything",
                        "larder up gives it one",
                    )),
                }
            }
            Err(failure) => findings.push(Finding::failed("vault", &failure, "larder up")),
        }
    }
    match Agent::connect(folders).and_then(|mut agent| agent.status()) {
        Ok(status) if status.open.is_some_and(|open| open != header.vault()) => {
            findings.push(Finding::warning(
                "agent",
                "it holds another vault than this folder's",
                "larder lock, then larder unlock",
            ));
        }
        Ok(_) => findings.push(Finding::good("agent", "runs")),
        Err(failure) => findings.push(Finding::failed("agent", &failure, "larder up")),
    }
}
