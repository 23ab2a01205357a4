//! Step: there is a vault, and it is open if a passphrase is at hand.
//!
//! A new vault is made in the agent (keys are derived there) and becomes real when its header file is in place: the
//! recovery code is shown, written or answered *before* that, so that no vault ever exists whose code was never seen.
//!
//! A missing or damaged header file does not mean that there is no vault. Where a store is, the node is asked first: the
//! copy it keeps is taken back, and where there are files and no copy, nothing is made over them. A header that the
//! vault's owner changed on another device is taken over, too.

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::VaultId;
use larder_seal::header::VaultHeader;
use zeroize::Zeroizing;

use crate::agent::client::Agent;
use crate::agent::protocol::{Request, Response, Secret};
use crate::atomic_file::Existing;
use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};
use crate::folders::Folders;
use crate::output::{Output, Tone};
use crate::passphrase::Passphrase;
use crate::up::{Report, Wishes, code_file};
use crate::vault_header::file::{self, Local};
use crate::vault_header::kept;
use crate::vault_header::pin::{self, Trust};

/// What is left when file and copy are lost.
const FROM_A_BACKUP: &str =
    "put vault.header back from a backup; without it neither passphrase nor recovery code open anything";

/// The vault after this step.
#[derive(Debug)]
pub struct Vault {
    /// Which.
    pub id: VaultId,
    /// Whether it is locked.
    pub locked: bool,
    /// Whether its header file was lost and came back from the node's copy.
    pub restored: bool,
    /// The recovery code, if the vault is new.
    pub recovery_code: Option<Zeroizing<String>>,
    /// A new vault's header, to be put in place once its recovery code was handed over.
    pub header_to_place: Option<Bytes>,
}

/// Refuses, before anything is started, what this step would refuse later.
///
/// # Errors
/// If a new vault needs a passphrase and there is none; if the recovery code's file is there already.
pub fn check_before_start(
    folders: &Folders,
    wishes: &Wishes,
    passphrase: &Passphrase,
    connected: bool,
) -> Outcome {
    pin::load(folders)?;
    match file::look(folders)? {
        Local::Whole(header) if !wanted(wishes, &header) => return pin::refuse_other(folders, &header),
        Local::Whole(_) => return Ok(()),
        // Where a store is, or another machine's node is used, a lost header may come back from it, and then nothing new is made.
        _ if connected || has_store(folders) => return Ok(()),
        Local::Damaged(failure) => return Err(failure.hint("put the file back from a backup")),
        Local::Missing => {}
    }
    check_code_file(folders, wishes)?;
    match passphrase {
        Passphrase::Nowhere => {
            Err(Failure::invalid("a new vault needs a passphrase, and there is no terminal to ask on")
                .hint("larder up --passphrase-file FILE (or --passphrase-fd N)"))
        }
        _ => Ok(()),
    }
}

/// Whether just this vault was asked for by name.
fn wanted(wishes: &Wishes, header: &VaultHeader) -> bool {
    wishes.vault.as_ref().is_some_and(|id| header.vault().to_string() == *id)
}

/// Refuses a header of another vault than this machine's, unless it was asked for by name: then the pin goes.
fn check_pin(context: &Context, wishes: &Wishes, header: &VaultHeader) -> Outcome {
    let Err(refused) = pin::refuse_other(&context.folders, header) else { return Ok(()) };
    if refused.kind() != Some(Kind::Conflict) || !wanted(wishes, header) {
        return Err(refused);
    }
    context.output.note(&format!("This machine's vault is {} from now on.", header.vault()));
    pin::forget(&context.folders)
}

/// Whether a node has begun a store here.
pub(super) fn has_store(folders: &Folders) -> bool {
    std::fs::read_dir(folders.data()).is_ok_and(|mut entries| entries.next().is_some())
}

fn check_code_file(folders: &Folders, wishes: &Wishes) -> Outcome {
    // Of an `up` that was cut short: there is no vault that it opens.
    code_file::clear_unused(folders)?;
    match &wishes.recovery_code_file {
        Some(path) if path.exists() => {
            Err(Failure::new(Kind::Conflict, format!("{} is there already", shown(path)))
                .hint("name another file with --recovery-code-file"))
        }
        _ => Ok(()),
    }
}

/// Finds the vault, takes its header back if the file is lost, or makes a vault if there is none; opens it if a
/// passphrase was given.
///
/// # Errors
/// Denied for a wrong passphrase; not found if there are files and no header; what agent and node say.
pub fn ensure(context: &Context, wishes: &Wishes, passphrase: Passphrase) -> Outcome<Vault> {
    let folders = &context.folders;
    let mut agent = Agent::connect(folders)?;
    let (header, restored) = match file::look(folders)? {
        Local::Whole(header) => (*header, false),
        lost => match find_lost(folders, wishes, &mut agent, &lost)? {
            Some(header) => {
                check_pin(context, wishes, &header)?;
                take_back(context, &header, &lost)?;
                (header, true)
            }
            None => return create(folders, wishes, passphrase, &mut agent),
        },
    };
    check_pin(context, wishes, &header)?;
    let opened = |agent: &mut Agent, id| agent.root().ok().filter(|root| root.id() == id);
    let root = opened(&mut agent, header.vault());
    let header = kept::adopt_newer(folders, context.output, header, root.as_ref())?;
    let id = header.vault();
    let open = agent.status()?.open;
    if open.is_some_and(|open| open != id) {
        // Made by an `up` that was cut short before its header was in place, or the header was exchanged.
        agent.tell(&Request::Lock)?;
    }
    let mut locked = open != Some(id);
    if locked {
        locked = match passphrase {
            Passphrase::Given(given) => {
                agent.tell(&Request::Unlock(Secret::Passphrase(given))).map_err(is_it_lost)?;
                false
            }
            Passphrase::Ask(mut terminal) => {
                agent.unlock_by_asking(&mut terminal).map_err(is_it_lost)?;
                false
            }
            Passphrase::Nowhere => true,
        };
        if let Some(root) = opened(&mut agent, id).filter(|_| !locked) {
            // What could not be judged while it was locked can be now.
            kept::adopt_newer(folders, context.output, header, Some(&root))?;
        }
    }
    Ok(Vault { id, locked, restored, recovery_code: None, header_to_place: None })
}

/// A wrong passphrase may be a lost one. Node and agent run by now, which is all that setting a new one needs.
fn is_it_lost(failure: Failure) -> Failure {
    match failure.kind() {
        Some(Kind::Denied) => {
            failure.hint("larder vault recover, if it is lost: the recovery code sets a new one")
        }
        _ => failure,
    }
}

/// Puts the node's copy in the place of a lost file; a damaged one is moved aside.
fn take_back(context: &Context, header: &VaultHeader, lost: &Local) -> Outcome {
    let (folders, output) = (&context.folders, context.output);
    if let Local::Damaged(_) = lost {
        let aside = file::set_aside(folders)?;
        output.note(&format!("What was damaged is kept as {}.", shown(&aside)));
    }
    put_in_place(folders, &header.encode())?;
    let trouble = if matches!(lost, Local::Missing) { "missing" } else { "damaged" };
    output.note(&format!("vault.header was {trouble}; it is back, from the copy that the node keeps."));
    Ok(())
}

/// The header that belongs here although its file is gone; `None` if there is no vault.
fn find_lost(
    folders: &Folders,
    wishes: &Wishes,
    agent: &mut Agent,
    lost: &Local,
) -> Outcome<Option<VaultHeader>> {
    let mut kept = kept::everything(folders)?;
    let open = agent.status()?.open;
    let path = folders.vault_header_file();
    let missing = format!("{} {}", shown(&path), lost.trouble());
    let pin = pin::load(folders)?;
    let mut headers = std::mem::take(&mut kept.headers);
    let stranger =
        |header: &VaultHeader| matches!(pin::trust(pin.as_ref(), None, header), Trust::Stranger(_));
    let strangers = headers.iter().filter(|header| stranger(header)).count();
    headers.retain(|header| !stranger(header));
    if let (None, Some(pin)) = (&wishes.vault, pin) {
        // This machine knows which vault belongs here, and no other will do.
        let others = headers.len();
        headers.retain(|header| header.vault() == pin.vault);
        if headers.is_empty() && others > 0 && strangers == 0 && matches!(lost, Local::Missing) {
            return Err(only_others(&missing, &pin));
        }
    }
    if let Some(wanted) = &wishes.vault {
        headers.retain(|header| header.vault().to_string() == *wanted);
        if headers.is_empty() {
            let message = format!("the node keeps no header of the vault {wanted}");
            return Err(Failure::new(Kind::NotFound, message));
        }
    } else if headers.len() > 1
        && let Some(open) = open
    {
        headers.retain(|header| header.vault() == open);
    }
    match headers.len() {
        1 => {
            pin::refuse_older_here(folders, &headers[0])?;
            return Ok(headers.pop());
        }
        0 => none_left(
            folders,
            &missing,
            lost,
            &kept,
            strangers,
            open.is_some_and(|id| pin.is_some_and(|pin| pin.vault == id)),
        )?,
        _ => {
            let ids: Vec<String> = headers.iter().map(|header| header.vault().to_string()).collect();
            let message =
                format!("{missing}, and the node keeps headers of several vaults: {}", ids.join(", "));
            return Err(Failure::new(Kind::Conflict, message).hint("larder up --vault ID"));
        }
    }
    if open.is_some() {
        // Made by an `up` that was cut short before its header was in place: there is nothing in it.
        agent.tell(&Request::Lock)?;
    }
    Ok(None)
}

/// Refuses to make a new vault where one was lost, with all its headers.
fn none_left(
    folders: &Folders,
    missing: &str,
    lost: &Local,
    kept: &kept::Kept,
    strangers: usize,
    is_open: bool,
) -> Outcome {
    if is_open {
        // It is this machine's own, and what the agent holds is all that is left of it.
        let copy = if kept.unreadable + strangers > 0 { "cannot be used" } else { "is lost, too" };
        let message = format!("{missing}, and the node's copy of it {copy}; the vault is still open here");
        let kind = if kept.unreadable > 0 { Kind::Damaged } else { Kind::NotFound };
        return Err(Failure::new(kind, message).hint(
            "larder vault repair makes a new one while it is open; or put vault.header back from a backup",
        ));
    }
    if kept.unreadable + strangers > 0 {
        let why = if strangers > 0 { "is not this vault's" } else { "cannot be read" };
        let message = format!("{missing}, and the node's copy of it {why}");
        return Err(Failure::new(Kind::Damaged, message).hint(FROM_A_BACKUP));
    }
    if matches!(lost, Local::Damaged(_)) {
        let message = format!("{missing}, and the node keeps no copy of it");
        return Err(Failure::new(Kind::Damaged, message).hint(FROM_A_BACKUP));
    }
    if kept.files {
        let message = format!("{missing}, the node keeps no copy of it, and there are files of a vault");
        return Err(Failure::new(Kind::NotFound, message).hint(format!(
            "put the file back from a backup; or begin anew: larder down, then move {} away",
            shown(folders.data())
        )));
    }
    Ok(())
}

fn only_others(missing: &str, pin: &pin::Pin) -> Failure {
    let message = format!(
        "{missing}, and the node keeps only headers of other vaults than this machine's: {} with the fingerprint {}",
        pin.vault, pin.fingerprint
    );
    Failure::new(Kind::Conflict, message)
        .hint("put vault.header back from a backup; or, if another vault is meant: larder up --vault ID")
}

/// Makes a new vault real, once its recovery code was handed over. If that fails for certain, the code's file goes: it opens
/// nothing.
///
/// # Errors
/// As [`put_in_place`].
pub fn place_new(folders: &Folders, wishes: &Wishes, header: &[u8], code: Option<&str>) -> Outcome {
    code_file::counts(folders)?;
    // Of a vault that is no more: there was no header here, and the node had none.
    let placed = pin::forget(folders).and_then(|()| put_in_place(folders, header));
    if placed.is_err()
        && matches!(file::look(folders), Ok(Local::Missing))
        && let (Some(path), Some(code)) = (&wishes.recovery_code_file, code)
    {
        code_file::withdraw(path, code)?;
    }
    placed
}

/// Puts a vault's header file in its place.
///
/// # Errors
/// A conflict if there is one already; what the file system says.
pub fn put_in_place(folders: &Folders, header: &[u8]) -> Outcome {
    file::put(folders, header, Existing::Keep)
}

/// Takes note of the vault that is now open, so that a stranger's header and an older one are known from now on.
///
/// # Errors
/// Damaged if the header is not the open vault's; what the file system says.
pub fn remember(folders: &Folders) -> Outcome {
    let Ok(root) = Agent::connect(folders)?.root() else { return Ok(()) };
    let header = file::read_existing(folders)?;
    header.verify(&root).map_err(|e| {
        Failure::new(e.kind(), format!("{}: {e}", shown(&folders.vault_header_file())))
            .hint("move it away, and `larder up` takes the node's copy; or put it back from a backup")
    })?;
    pin::remember_header(folders, &header)
}

/// What it means that the answer of `up` did not arrive: for a new vault, that there is none.
pub fn not_handed_over(report: &Report, failure: Failure) -> Failure {
    if report.recovery_code.is_none() {
        return failure;
    }
    let message = format!("no vault was made, because its recovery code could not be handed over: {failure}");
    Failure::new(Kind::Io, message)
}

fn create(folders: &Folders, wishes: &Wishes, passphrase: Passphrase, agent: &mut Agent) -> Outcome<Vault> {
    check_code_file(folders, wishes)?;
    let Response::Created { header, recovery_code } = agent.ask(&Request::Create(passphrase.new_one()?))?
    else {
        return Err(Failure::new(Kind::Bug, "the agent did not answer with a new vault"));
    };
    let id = VaultHeader::decode(&header).map_err(|e| Failure::new(e.kind(), e.to_string()))?.vault();
    let code = std::str::from_utf8(&recovery_code)
        .map_err(|_| Failure::new(Kind::Bug, "the recovery code is not text"))?;
    let code = Zeroizing::new(code.to_owned());
    if let Some(path) = &wishes.recovery_code_file {
        code_file::write(folders, path, &code)?;
    }
    let header_to_place = Some(header);
    Ok(Vault { id, locked: false, restored: false, recovery_code: Some(code), header_to_place })
}

/// Shows a new vault's recovery code to a person.
///
/// # Errors
/// If standard error cannot be written and the code is in no file either.
pub fn show(output: Output, wishes: &Wishes, code: &str) -> Outcome {
    let line = "─".repeat(64);
    let shown_to_person = output.must_note(&format!(
        "{line}\n  Your recovery code, shown this once:\n\n      {}\n\n  It opens the vault if the passphrase is lost. Keep it away from this machine.\n{line}\n",
        output.paint_err(Tone::Strong, code)
    ));
    match &wishes.recovery_code_file {
        Some(path) => {
            output.note(&format!("  (also in {})", shown(path)));
            Ok(())
        }
        None => shown_to_person,
    }
}
