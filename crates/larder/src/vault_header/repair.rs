//! File and node's copy of the header are lost while the agent still holds the opened vault: a new header from what is
//! open. It opens the same vault, so nothing that is stored changes; but all former ways in are gone with the old header,
//! and the new passphrase and the new recovery code are the only ones.
//!
//! Refused while either copy is whole: then it is the one that counts, and `larder up` puts it where the other was.

use larder_client::memory::SeenMemory;
use larder_client::vault::KEYS;
use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_seal::header::header_record_key;
use larder_seal::keys::VaultRoot;
use zeroize::Zeroizing;

use crate::agent::client::Agent;
use crate::agent::protocol::Request;
use crate::atomic_file::Existing;
use crate::failure::{Failure, Outcome, shown};
use crate::folders::Folders;
use crate::life::pid_file;
use crate::output::Output;
use crate::session;
use crate::vault_header::change::{Made, made};
use crate::vault_header::file::{self, Local};
use crate::vault_header::{kept, pin};

/// Says that a copy is whole, and what to do with it.
fn is_whole(what: &str) -> Failure {
    Failure::new(Kind::Conflict, format!("{what} is whole: there is nothing to repair"))
        .hint("larder up puts it where the other copy was lost")
}

/// Checks that there is nothing left of the old header, and that a vault is open.
///
/// # Errors
/// A conflict if a copy is whole; locked; what agent and node say.
pub fn check(folders: &Folders) -> Outcome {
    let root = open_vault(folders)?;
    session::with_node(folders, async |remote| look(folders, remote, &root).await).map(drop)
}

fn open_vault(folders: &Folders) -> Outcome<VaultRoot> {
    let locked = |failure: Failure| match failure.kind() {
        Some(Kind::Locked) => {
            Failure::new(Kind::Locked, "no vault is open here: its key is lost with its header")
                .hint("put vault.header back from a backup")
        }
        _ => failure,
    };
    let root = Agent::connect(folders)?.root().map_err(locked)?;
    match pin::load(folders)? {
        Some(pin) if pin.vault != root.id() => {
            let message = format!("the vault that is open is {}, and {} belongs here", root.id(), pin.vault);
            Err(Failure::new(Kind::Conflict, message)
                .hint("larder lock, then put vault.header back from a backup"))
        }
        _ => Ok(root),
    }
}

/// The version of the node's copy that cannot be used any more; `None` if there is none at all.
async fn look(
    folders: &Folders,
    remote: &larder_client::remote::Remote,
    root: &VaultRoot,
) -> Outcome<Option<larder_format::record::Version>> {
    match file::look(folders)? {
        Local::Whole(header) if header.verify(root).is_ok() => {
            return Err(is_whole(&shown(&folders.vault_header_file())));
        }
        // Somebody else's, or another vault's: not ours to move.
        Local::Whole(_) => {
            let message =
                format!("{} is of another vault than the open one", shown(&folders.vault_header_file()));
            return Err(Failure::new(Kind::Conflict, message).hint("move it away first"));
        }
        Local::Missing | Local::Damaged(_) => {}
    }
    match kept::get(remote, root.id()).await {
        Ok(Some(copy)) => match copy.header {
            Ok(header) if header.verify(root).is_ok() => {
                Err(is_whole("the node's copy of the vault's header"))
            }
            _ => Ok(Some(copy.version)),
        },
        Ok(None) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Makes the header and puts it in both places. `hand_over` is called when it is made and does not count yet; if it fails,
/// all stays as it was.
///
/// # Errors
/// As [`check`]; what `hand_over` says.
pub fn run(
    folders: &Folders,
    output: Output,
    passphrase: Zeroizing<Vec<u8>>,
    hand_over: impl FnOnce(&Made) -> Outcome,
) -> Outcome<Made> {
    let _turn = pid_file::wait_for_turn(&folders.work_lock(), || {
        output.note("A `larder up` or another change is at work here; waiting for it.");
    })?;
    let root = open_vault(folders)?;
    let memory = SeenMemory::open(&folders.seen_file())?;
    let after = memory.seen(NamespaceId::of(KEYS), &header_record_key(root.id())).revision;
    drop(memory);
    let mut agent = Agent::connect(folders)?;
    let made = session::with_node(folders, async |remote| {
        let before = look(folders, remote, &root).await?;
        let made = made(agent.ask(&Request::Repair { after, passphrase })?)?;
        hand_over(&made)?;
        if !kept::put(remote, &made.header, before).await? {
            let message =
                "another device wrote the vault's header at the same time; nothing was changed here";
            return Err(Failure::new(Kind::Conflict, message).hint("larder up takes it from the node"));
        }
        Ok(made)
    })?;
    // From here on `larder up` could finish it.
    if let Local::Damaged(_) = file::look(folders)? {
        let aside = file::set_aside(folders)?;
        output.note(&format!("What was damaged is kept as {}.", shown(&aside)));
    }
    file::put(folders, &made.header.encode(), Existing::Keep)?;
    pin::remember_header(folders, &made.header)?;
    Ok(made)
}
