//! `larder quota set`: a limit for the node or a namespace, in force at once and kept by the node.

use larder_node::quota::{NAMESPACE_QUOTA_MIN, NODE_QUOTA_MIN, QUOTA_MAX};
use serde_json::json;

use crate::cli::Context;
use crate::cli::quota::used;
use crate::failure::{Failure, Outcome, clean};
use crate::size;

/// Flags of `quota set`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The limit: a size like 200GiB, or none
    #[arg(value_name = "SIZE|none", value_parser = parse)]
    limit: Limit,
    /// Of this namespace (`larder quota` lists them) instead of the node
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
}

/// A limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

/// Parses a size or `none`; how small it may be depends on what it is for.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse(text: &str) -> Result<Limit, String> {
    if text.trim() == "none" {
        return Ok(Limit(None));
    }
    size::parse(text, NAMESPACE_QUOTA_MIN, QUOTA_MAX)
        .map(|bytes| Limit(Some(bytes)))
        .map_err(|e| format!("{e}, or none"))
}

/// As [`parse`], of the node's.
///
/// # Errors
/// As [`parse`].
pub fn parse_node(text: &str) -> Result<Limit, String> {
    if text.trim() == "none" {
        return Ok(Limit(None));
    }
    size::parse(text, NODE_QUOTA_MIN, QUOTA_MAX)
        .map(|bytes| Limit(Some(bytes)))
        .map_err(|e| format!("{e}, or none"))
}

/// A limit in words.
pub fn words(limit: Option<u64>) -> String {
    limit.map_or_else(|| "no limit".to_owned(), size::show)
}

/// Sets it, and says what is used of it.
///
/// # Errors
/// Not found for an unknown namespace; invalid for a limit out of range; closed if the node does not run.
pub fn run(context: &Context, args: &Args) -> Outcome {
    if let (None, Some(bytes)) = (&args.namespace, args.limit.0)
        && bytes < NODE_QUOTA_MIN
    {
        let message = format!("the smallest limit of a node is {}", size::show(NODE_QUOTA_MIN));
        return Err(Failure::invalid(message)
            .hint("a namespace may have less: larder quota set --namespace NAME SIZE"));
    }
    let (before, usage) = crate::session::with_node(&context.folders, async |remote| {
        let before = remote.set_quota(args.namespace.as_deref(), args.limit.0).await?;
        Ok((before, remote.usage().await?))
    })?;
    let (name, used) = match &args.namespace {
        None => ("node".to_owned(), usage.folder_bytes),
        Some(name) => {
            let found = usage.namespaces.iter().find(|n| n.name == *name);
            (name.clone(), found.map_or(0, used))
        }
    };
    context.output.document(&json!({
        "of": if args.namespace.is_some() { "namespace" } else { "node" },
        "name": name,
        "quota_bytes": args.limit.0,
        "before_bytes": before,
        "used_bytes": used,
    }))?;
    let now = words(args.limit.0);
    context.output.note(&format!(
        "{}: {now} (before: {}); {} used",
        clean(&name),
        words(before),
        size::show(used)
    ));
    if args.limit.0.is_some_and(|limit| used > limit) {
        context.output.note(
            "That is over the limit: nothing was deleted, and new things are refused until there is room.",
        );
    }
    Ok(())
}
