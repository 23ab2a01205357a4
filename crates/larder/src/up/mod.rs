//! Bringing everything up: each step its own file, each idempotent, so that a `larder up` that was cut short anywhere
//! is finished by the next one.
//!
//! Folders → settings → certificates → agent → node → namespaces → vault. The agent comes before the vault because keys
//! are derived there, and so does the node, because a vault whose header file is lost is taken back from the copy that
//! the node keeps. The vault is last so that nothing that can fail stands between a new vault and its owner: its
//! recovery code is handed over, and only then its header put in place. A missing passphrase still ends the command
//! before anything runs that would have to be stopped again.

pub mod agent;
pub mod code_file;
pub mod connect;
pub mod foreground;
pub mod namespaces;
pub mod node;
pub mod quota;
pub mod vault;

use std::path::PathBuf;

use larder_format::clock::SystemClock;
use larder_format::error::Kind;
use larder_format::ids::VaultId;
use zeroize::Zeroizing;

use crate::certificates::{Certificates, Made};
use crate::cli::Context;
use crate::cli::quota::set::Limit;
use crate::failure::Outcome;
use crate::life::{pid_file, process};
use crate::passphrase::Passphrase;
use crate::settings::{self, Given, Resolved};
use crate::vault_header::kept;

/// The node's pid file name, and what people call it.
pub const NODE: &str = "node";

/// What the command line asked for.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Settings that flags named; kept in the settings file if this is its first use.
    pub settings: Vec<Given>,
    /// Where to write a new vault's recovery code too.
    pub recovery_code_file: Option<PathBuf>,
    /// Which vault to take back when the header file is lost and the node keeps several.
    pub vault: Option<String>,
    /// Another limit for what the node stores; `None`: as it is.
    pub quota: Option<Limit>,
    /// Folder with the certificate for another machine's node.
    pub certificates: Option<PathBuf>,
}

/// A daemon that is now running.
#[derive(Debug)]
pub struct Up {
    /// Where it listens.
    pub address: String,
    /// Where its HTTP door is, if it has one open.
    pub http: Option<String>,
    /// Where the node's Redis door is, if it has one.
    pub redis: Option<String>,
    /// Whether this command started it.
    pub started: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// The node.
    pub node: Up,
    /// The agent.
    pub agent: Up,
    /// The vault's id.
    pub vault: VaultId,
    /// Whether the vault is locked.
    pub locked: bool,
    /// Whether its header file was lost and came back from the node's copy.
    pub restored: bool,
    /// A new vault's recovery code: the only time it is seen.
    pub recovery_code: Option<Zeroizing<String>>,
    /// Namespaces that were made now.
    pub namespaces_created: Vec<String>,
}

/// Brings everything up. `hand_over` is called with the report when all is done but for a new vault's header, which is
/// put in place only if it could hand over the recovery code.
///
/// # Errors
/// What the first step that failed says.
pub fn run(
    context: &Context,
    wishes: &Wishes,
    passphrase: Passphrase,
    hand_over: impl FnOnce(&Report) -> Outcome,
) -> Outcome<Report> {
    let Context { folders, output, .. } = context;
    folders.create()?;
    let _turn = pid_file::wait_for_turn(&folders.work_lock(), || {
        output.note("Another `larder up` or `down` is at work here; waiting for it.");
    })?;
    let resolved = settings(context, wishes)?;
    vault::check_before_start(folders, wishes, &passphrase, resolved.settings.connect.is_some())?;
    if !resolved.has_file {
        // Not before the check: what it refuses was no first use, and the next one's flags are to be kept.
        settings::file::create(&folders.settings_file(), &wishes.settings)?;
    }
    let (agent, node, namespaces_created) = match resolved.settings.connect {
        Some(address) => {
            connect::certificates(folders, wishes)?;
            let agent = agent::ensure(folders, &resolved)?;
            (agent, connect::node(address), connect::namespaces(folders)?)
        }
        None => own_node(context, wishes, &resolved)?,
    };
    if let Some(limit) = wishes.quota {
        quota::set(folders, limit)?;
    }
    let vault = vault::ensure(context, wishes, passphrase)?;
    let report = Report {
        node,
        agent,
        vault: vault.id,
        locked: vault.locked,
        restored: vault.restored,
        recovery_code: vault.recovery_code,
        namespaces_created,
    };
    if let Err(failure) = hand_over(&report) {
        // If it cannot be removed now, the next `up` does it.
        let _ = code_file::clear_unused(folders);
        return Err(vault::not_handed_over(&report, failure));
    }
    if let Some(header) = &vault.header_to_place {
        let code = report.recovery_code.as_ref().map(|code| code.as_str());
        vault::place_new(folders, wishes, header, code)?;
    }
    vault::remember(folders)?;
    match kept::refresh(folders, context.output) {
        // Another machine's node need not let us write there.
        Err(failure) if resolved.settings.connect.is_some() && failure.kind() == Some(Kind::Denied) => {}
        kept => kept?,
    }
    Ok(report)
}

/// Agent and node of this machine, and the namespaces that were made now.
fn own_node(context: &Context, wishes: &Wishes, resolved: &Resolved) -> Outcome<(Up, Up, Vec<String>)> {
    let (folders, output) = (&context.folders, context.output);
    let certificates = Certificates::in_folder(folders.certificates());
    if certificates.ensure(resolved.settings.listen.ip(), &SystemClock::new())? == Made::Authority {
        // A running node would go on with the authority before, and refuse everyone of the new one.
        if process::stop(NODE, &folders.pid_file(NODE))? {
            output.note(
                "The certificates were missing or out of date: new ones were made, and the node is started anew. \
                 Values that it held in memory are gone.",
            );
        }
    }
    let agent = agent::ensure(folders, resolved)?;
    let mut node = node::ensure(folders, resolved, &wishes.settings)?;
    let namespaces_created = match namespaces::ensure(folders) {
        // It seemed to run, but was just being killed.
        Err(failure)
            if failure.kind() == Some(Kind::Closed)
                && !node.started
                && pid_file::is_let_go(&folders.pid_file(NODE))? =>
        {
            node = node::ensure(folders, resolved, &wishes.settings)?;
            namespaces::ensure(folders)?
        }
        ensured => ensured?,
    };
    Ok((agent, node, namespaces_created))
}

/// All settings, with what this command's flags say.
fn settings(context: &Context, wishes: &Wishes) -> Outcome<Resolved> {
    let path = context.folders.settings_file();
    let resolved = Resolved::load(&path, &wishes.settings)?;
    for variable in &resolved.strange_variables {
        context.output.note(&format!("The environment has {variable}, which is no setting of Larder."));
    }
    connect::check(&context.folders, wishes, &resolved)?;
    Ok(resolved)
}

/// Stops agent and node; answers the names of those that ran.
///
/// # Errors
/// If one does not end in time.
pub fn stop_all(context: &Context) -> Outcome<Vec<&'static str>> {
    let folders = &context.folders;
    if !folders.state().is_dir() {
        return Ok(Vec::new());
    }
    let _turn = pid_file::wait_for_turn(&folders.work_lock(), || {
        context.output.note("A `larder up` is at work here; waiting for it.");
    })?;
    let mut stopped = Vec::new();
    for name in [crate::agent::client::NAME, NODE] {
        if process::stop(name, &folders.pid_file(name))? {
            stopped.push(name);
        }
    }
    Ok(stopped)
}
