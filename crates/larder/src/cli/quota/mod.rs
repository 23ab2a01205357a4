//! `larder quota`: how much the node and each namespace hold and may hold; changing that; and what could be deleted.

pub mod offer;
pub mod set;
mod suggest;

use larder_wire::v1::{NamespaceUsage, UsageResponse};
use serde_json::{Value, json};

use crate::bar::{bar, percent};
use crate::cli::Context;
use crate::failure::{Outcome, clean};
use crate::size;

/// Flags of `quota`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Set or lift a limit, at once and for good
    ///
    /// Without --namespace: the most disk that the node's data folder may take, everything counted; an eighth of it (40
    /// to 64 MiB) is kept for deleting and for giving space back. With it: the most bytes of records and chunks,
    /// sealed, of that namespace; old versions and the trash count. A limit below what is there already deletes
    /// nothing: new things are refused until there is room.
    Set(set::Args),
    /// What takes most room: the trash, older versions, large files
    Suggest(suggest::Args),
}

/// Shows usage, or runs a verb.
///
/// # Errors
/// Closed if the node does not run; what the verb says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.verb {
        None => show(context),
        Some(Verb::Set(args)) => set::run(context, args),
        Some(Verb::Suggest(args)) => suggest::run(context, args),
    }
}

fn show(context: &Context) -> Outcome {
    let usage = crate::session::with_node(&context.folders, async |remote| Ok(remote.usage().await?))?;
    context.output.document(&usage_json(&usage))?;
    if context.output.json() {
        return Ok(());
    }
    let whole = usage.folder_bytes.saturating_add(usage.disk_free_bytes);
    let mut out = line("node", usage.folder_bytes, usage.quota_bytes, whole);
    out.pop();
    out.push_str(&format!("; the disk has {} left\n", size::show(usage.disk_free_bytes)));
    for namespace in &usage.namespaces {
        let name = clean(&namespace.name);
        let mut text = line(&name, used(namespace), namespace.quota_bytes, usage.folder_bytes);
        text.pop();
        out.push_str(&text);
        let counts = (size::count(namespace.records, "record"), size::count(namespace.blobs, "chunk"));
        out.push_str(&format!("; {}, {}\n", counts.0, counts.1));
    }
    if usage.orphan_bytes > 0 {
        out.push_str(&format!(
            "{} that nothing needs any more come back soon\n",
            size::show(usage.orphan_bytes)
        ));
    }
    context.output.text(&out)
}

/// Bytes that count against a namespace's quota.
pub fn used(namespace: &NamespaceUsage) -> u64 {
    namespace.record_bytes.saturating_add(namespace.blob_bytes)
}

/// One line: name, bar, words. The bar is of the limit, or without one of `whole`.
fn line(name: &str, used: u64, limit: Option<u64>, whole: u64) -> String {
    let drawn = bar(used, limit.unwrap_or(whole));
    match limit {
        Some(limit) => {
            let percent = percent(used, limit);
            format!("{name:<8} {drawn} {} of {} ({percent} %)\n", size::show(used), size::show(limit))
        }
        None => format!("{name:<8} {drawn} {}, no limit\n", size::show(used)),
    }
}

fn usage_json(usage: &UsageResponse) -> Value {
    let namespace = |n: &NamespaceUsage| {
        json!({
            "name": n.name,
            "used_bytes": used(n),
            "quota_bytes": n.quota_bytes,
            "records": n.records,
            "record_bytes": n.record_bytes,
            "chunks": n.blobs,
            "chunk_bytes": n.blob_bytes,
        })
    };
    json!({
        "node": {
            "used_bytes": usage.folder_bytes,
            "quota_bytes": usage.quota_bytes,
            "disk_free_bytes": usage.disk_free_bytes,
            "orphan_bytes": usage.orphan_bytes,
        },
        "namespaces": usage.namespaces.iter().map(namespace).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_bar_of_the_limit_or_of_all() {
        assert_eq!(line("files", 50, Some(100), 0), "files    [##########----------] 50 B of 100 B (50 %)\n");
        assert_eq!(line("files", 50, None, 200), "files    [#####---------------] 50 B, no limit\n");
    }
}
