//! Step: there is a vault, and it is open if a passphrase is at hand.
//!
//! A new vault is made in the agent (keys are derived there) and becomes real when its header file is in place: the
//! recovery code is shown and written *before* that, so that no vault ever exists whose code was never seen.

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::VaultId;
use larder_seal::header::{VAULT_HEADER_LEN_MAX, VaultHeader};
use zeroize::Zeroizing;

use crate::agent::client::Agent;
use crate::agent::protocol::{Request, Response, Secret};
use crate::atomic_file::{self, Existing};
use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};
use crate::folders::Folders;
use crate::output::Tone;
use crate::passphrase::Passphrase;
use crate::up::Wishes;

/// The vault after this step.
#[derive(Debug)]
pub struct Vault {
    /// Which.
    pub id: VaultId,
    /// Whether it is locked.
    pub locked: bool,
    /// The recovery code, if the vault is new.
    pub recovery_code: Option<Zeroizing<String>>,
}

/// Reads the header file; `None` if there is no vault yet.
///
/// # Errors
/// Damaged, too new, or what the file system says.
pub fn header(folders: &Folders) -> Outcome<Option<VaultHeader>> {
    let path = folders.vault_header_file();
    let Some(bytes) = atomic_file::read(&path, VAULT_HEADER_LEN_MAX)? else { return Ok(None) };
    VaultHeader::decode(&Bytes::from(bytes)).map(Some).map_err(|error| {
        let failure = Failure::new(error.kind(), error.to_string()).context(&shown(&path));
        match error.kind() {
            Kind::TooNew => failure.hint("upgrade larder"),
            _ => failure.hint("put the file back from a backup, or from the copy that the node keeps"),
        }
    })
}

/// Refuses, before anything is started, what this step would refuse later.
///
/// # Errors
/// If a new vault needs a passphrase and there is none; if the recovery code's file is there already.
pub fn check_before_start(folders: &Folders, wishes: &Wishes, passphrase: &Passphrase) -> Outcome {
    if header(folders)?.is_some() {
        return Ok(());
    }
    if let Some(path) = &wishes.recovery_code_file
        && path.exists()
    {
        return Err(Failure::new(Kind::Conflict, format!("{} is there already", shown(path)))
            .hint("name another file with --recovery-code-file"));
    }
    match passphrase {
        Passphrase::Nowhere => {
            Err(Failure::invalid("a new vault needs a passphrase, and there is no terminal to ask on")
                .hint("larder up --passphrase-file FILE (or --passphrase-fd N)"))
        }
        _ => Ok(()),
    }
}

/// Makes the vault if there is none; opens it if a passphrase was given.
///
/// # Errors
/// Denied for a wrong passphrase; what the agent says.
pub fn ensure(context: &Context, wishes: &Wishes, passphrase: Passphrase) -> Outcome<Vault> {
    let mut agent = Agent::connect(&context.folders)?;
    let Some(header) = header(&context.folders)? else {
        return create(context, wishes, passphrase, &mut agent);
    };
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
                agent.tell(&Request::Unlock(Secret::Passphrase(given)))?;
                false
            }
            Passphrase::Ask(mut terminal) => {
                agent.unlock_by_asking(&mut terminal)?;
                false
            }
            Passphrase::Nowhere => true,
        };
    }
    Ok(Vault { id, locked, recovery_code: None })
}

fn create(context: &Context, wishes: &Wishes, passphrase: Passphrase, agent: &mut Agent) -> Outcome<Vault> {
    let Response::Created { header, recovery_code } = agent.ask(&Request::Create(passphrase.new_one()?))?
    else {
        return Err(Failure::new(Kind::Bug, "the agent did not answer with a new vault"));
    };
    let id = VaultHeader::decode(&header).map_err(|e| Failure::new(e.kind(), e.to_string()))?.vault();
    let code = std::str::from_utf8(&recovery_code)
        .map_err(|_| Failure::new(Kind::Bug, "the recovery code is not text"))?;
    let code = Zeroizing::new(code.to_owned());
    if let Some(path) = &wishes.recovery_code_file {
        let line = Zeroizing::new(format!("{}\n", code.as_str()));
        atomic_file::write(path, line.as_bytes(), Existing::Keep)?;
    }
    show(context, wishes, &code);
    let path = context.folders.vault_header_file();
    atomic_file::write(&path, &header, Existing::Keep)?;
    Ok(Vault { id, locked: false, recovery_code: Some(code) })
}

fn show(context: &Context, wishes: &Wishes, code: &str) {
    let output = context.output;
    let line = "─".repeat(64);
    output.note(&format!(
        "{line}\n  Your recovery code, shown this once:\n\n      {}\n\n  It opens the vault if the passphrase is lost. Keep it away from this machine.\n{line}\n",
        output.paint_err(Tone::Strong, code)
    ));
    if let Some(path) = &wishes.recovery_code_file {
        output.note(&format!("  (also in {})", shown(path)));
    }
}
