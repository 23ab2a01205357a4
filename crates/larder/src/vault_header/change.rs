//! How a changed header takes the place of the one before.
//!
//! The agent makes it (keys are derived there). A new recovery code is handed over before anything counts. Then the
//! node's copy is exchanged, under the condition that it is still the one the change began with, and last the file: two
//! devices that change at once cannot both succeed, and whichever step is the last one done, there is a header that
//! opens with the old secret or the new one. `larder up` finishes what was cut short between the two.

use larder_client::remote::Remote;
use larder_format::error::Kind;
use larder_format::record::Version;
use larder_seal::header::VaultHeader;
use larder_seal::keys::VaultRoot;
use larder_seal::slots::SlotId;
use zeroize::Zeroizing;

use crate::agent::change::{Change, What};
use crate::agent::client::{Agent, unexpected};
use crate::agent::protocol::{Request, Response, Secret};
use crate::atomic_file::Existing;
use crate::cli::Context;
use crate::failure::{Failure, Outcome};
use crate::life::pid_file;
use crate::session;
use crate::vault_header::pin::{self, Trust};
use crate::vault_header::{file, kept};

/// A header that was made and does not count yet.
#[derive(Debug)]
pub struct Made {
    /// It.
    pub header: VaultHeader,
    /// The slot that is new, or gone.
    pub slot: SlotId,
    /// A new recovery code: the only time it is seen.
    pub recovery_code: Option<Zeroizing<String>>,
}

/// Changes the header. `hand_over` is called when all is made and nothing counts yet; if it fails, all stays as it was.
///
/// # Errors
/// Denied for a wrong proof; locked; a conflict if another device was quicker; what agent and node say.
pub fn run(
    context: &Context,
    proof: Option<Secret>,
    what: What,
    hand_over: impl FnOnce(&Made) -> Outcome,
) -> Outcome<Made> {
    let folders = &context.folders;
    let local = file::read_existing(folders)?;
    let _turn = pid_file::wait_for_turn(&folders.work_lock(), || {
        context.output.note("A `larder up` or another change is at work here; waiting for it.");
    })?;
    let mut agent = Agent::connect(folders)?;
    let root = agent.root().ok().filter(|root| root.id() == local.vault());
    let made = session::with_node(folders, async |remote| {
        let (header, before) = current(context, remote, local, root.as_ref()).await?;
        let change = Change { header: header.encode(), proof, what };
        let made = ask(&mut agent, change)?;
        hand_over(&made)?;
        if !kept::put(remote, &made.header, before).await? {
            let message =
                "another device changed the vault's keys at the same time; nothing was changed here";
            return Err(Failure::new(Kind::Conflict, message).hint("try again"));
        }
        Ok(made)
    })?;
    let placed = file::put(folders, &made.header.encode(), Existing::Replace);
    placed.map_err(|failure| {
        let message = format!("the node has the changed header, this machine not yet: {failure}");
        Failure::new(failure.kind().unwrap_or(Kind::Io), message).hint("larder up takes it from the node")
    })?;
    pin::remember_header(folders, &made.header)?;
    Ok(made)
}

/// The header that counts, and which version of the node's copy a change of it must replace.
async fn current(
    context: &Context,
    remote: &Remote,
    local: VaultHeader,
    root: Option<&VaultRoot>,
) -> Outcome<(VaultHeader, Option<Version>)> {
    let folders = &context.folders;
    let copy = kept::get(remote, local.vault()).await?;
    let before = copy.as_ref().map(|copy| copy.version);
    let newer = copy.and_then(|copy| copy.header.ok()).filter(|copy| copy.revision() > local.revision());
    let header = match newer {
        // Unknown: the agent checks it with the root before it changes it.
        Some(copy) => match pin::trust(pin::load(folders)?.as_ref(), root, &copy) {
            Trust::Owner | Trust::Unknown => copy,
            Trust::Stranger(_) => local,
        },
        None => local,
    };
    pin::refuse_older_here(folders, &header)?;
    Ok((header, before))
}

fn ask(agent: &mut Agent, change: Change) -> Outcome<Made> {
    made(agent.ask(&Request::Change(Box::new(change)))?)
}

/// What the agent made, from its answer.
///
/// # Errors
/// A defect, if it is no header.
pub fn made(answer: Response) -> Outcome<Made> {
    match answer {
        Response::Changed { header, slot, recovery_code } => {
            let header = VaultHeader::decode(&header).map_err(|e| Failure::new(e.kind(), e.to_string()))?;
            let code = String::from_utf8(recovery_code.to_vec())
                .map_err(|_| Failure::new(Kind::Bug, "the recovery code is not text"))?;
            let recovery_code = (!code.is_empty()).then(|| Zeroizing::new(code));
            Ok(Made { header, slot, recovery_code })
        }
        other => Err(unexpected(&other)),
    }
}
