//! Names to complete what is being typed with: paths of the vault. Nobody is asked for anything, and where the vault is
//! locked, or nothing runs, there are simply none.

use larder_client::files::ListedKind;
use larder_client::path::VaultPath;
use larder_format::error::Kind;

use crate::agent::client::Agent;
use crate::cli::Context;

/// Most suggestions: more are read by nobody, and a large folder must not hold up whoever types.
const SUGGESTIONS_MAX: usize = 500;

/// Most entries of a folder looked at for suggestions.
const ENTRIES_MAX: usize = 20_000;

/// Paths that begin with what is typed, written as it is typed; those of folders end in `/`.
pub fn vault_paths(context: &Context, typed: &str) -> Vec<String> {
    let (folder, begun) = match typed.rfind('/') {
        Some(end) => typed.split_at(end + 1),
        None => ("", typed),
    };
    let at = if folder.is_empty() { "." } else { folder };
    let Ok(path) = context.path(at).or_else(|_| context.path("/")) else { return Vec::new() };
    let mut found = names(context, &path, begun);
    found.sort_unstable();
    found.into_iter().map(|name| format!("{folder}{name}")).collect()
}

fn names(context: &Context, path: &VaultPath, begun: &str) -> Vec<String> {
    let is_open = Agent::connect(&context.folders).and_then(|mut agent| agent.status());
    if !is_open.is_ok_and(|status| status.open.is_some()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut seen = 0;
    // What could be listed until something went wrong is still right.
    let _ = crate::session::with_vault(context, async |vault| {
        let listing = vault.list(path, false, |listed| {
            seen += 1;
            if let Some(name) = listed.path.names().last().filter(|name| name.starts_with(begun)) {
                let slash = if matches!(listed.kind, ListedKind::Folder { .. }) { "/" } else { "" };
                found.push(format!("{name}{slash}"));
            }
            let enough = found.len() >= SUGGESTIONS_MAX || seen >= ENTRIES_MAX;
            if enough { Err(larder_client::Failure::new(Kind::Invalid, "enough")) } else { Ok(()) }
        });
        listing.await?;
        Ok(())
    });
    found
}
