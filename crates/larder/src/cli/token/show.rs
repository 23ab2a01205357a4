//! `larder token show`: what the node knows of a token; or, without a node, what a token says that is at hand.

use std::path::PathBuf;

use larder_format::clock::Hlc;

use super::{find, grant_json, info_json, read, words};
use crate::cli::Context;
use crate::failure::{Failure, Outcome, clean};
use crate::moment;

/// Flags of `token show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its id or name; - reads a token from standard input and says what it is
    #[arg(value_name = "ID|NAME|-", required_unless_present = "token_file", conflicts_with = "token_file")]
    token: Option<String>,
    /// Say what the token in this file is
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Shows it.
///
/// # Errors
/// Not found; invalid for what is no token; what the node says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    match args.token.as_deref() {
        None | Some("-") => at_hand(context, args),
        // Arguments are seen by others; whoever does this should know that it leaked.
        Some(text) if text.starts_with(larder_format::token::TOKEN_PREFIX) => Err(Failure::invalid(
            "a token does not belong into the arguments, which other programs see: revoke it",
        )
        .hint("larder token show - reads one from standard input")),
        Some(wanted) => on_node(context, wanted),
    }
}

fn at_hand(context: &Context, args: &Args) -> Outcome {
    let token = read(args.token_file.as_deref())?;
    let grant = token.grant();
    context.output.document(&grant_json(token.id(), &grant))?;
    context.output.text(&format!("id      {}\ngrants  {}\n", token.id(), words(&grant)))?;
    context.output.note("Only the node can tell whether it is good.");
    Ok(())
}

fn on_node(context: &Context, wanted: &str) -> Outcome {
    let (all, now_ms) = crate::session::with_node(&context.folders, async |remote| {
        Ok((remote.list_tokens().await?, Hlc::from_u64(remote.status().await?.time).ms()))
    })?;
    let info = find(&all, wanted)?;
    context.output.document(&info_json(info, now_ms))?;
    let state = if info.grant.is_over(now_ms) { "expired" } else { "good" };
    let used = info.used_ms.map_or_else(|| "never".to_owned(), moment::show_ms);
    context.output.text(&format!(
        "id       {}\nname     {}\ngrants   {}\nstate    {state}\ncreated  {}\nused     {used}\n",
        info.id,
        clean(&info.name),
        words(&info.grant),
        moment::show_ms(info.created_ms),
    ))
}
