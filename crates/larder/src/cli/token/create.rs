//! `larder token create`: a new token, told once.

use std::path::PathBuf;

use larder_format::clock::Hlc;
use larder_format::right::Right;
use larder_format::token::record::is_token_name;
use larder_format::token::{Caveat, Grant};
use zeroize::Zeroizing;

use super::{Limits, hand_over, info_json, must_be_free, parse_right, words};
use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};

/// Flags of `token create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What it may do: read, append-only (also add what is not there, never replace or delete), write
    #[arg(long, value_name = "RIGHT", value_parser = parse_right)]
    right: Right,
    #[command(flatten)]
    limits: Limits,
    /// What it is for: a name for the list and the log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    name: String,
    /// Write it to this new file, readable by this user only, instead of standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Makes it.
///
/// # Errors
/// Invalid for what cannot be; not found for a namespace that is not there; denied without the right admin.
pub fn run(context: &Context, args: &Args) -> Outcome {
    if !is_token_name(&args.name) {
        return Err(Failure::invalid("a token's name has at most 64 bytes and no control characters"));
    }
    must_be_free(args.to.as_ref())?;
    let (text, info, now_ms) = crate::session::with_node(&context.folders, async |remote| {
        // Tokens end by the node's time.
        let now_ms = Hlc::from_u64(remote.status().await?.time).ms();
        let mut grant = Grant::ALL;
        grant.narrow(&Caveat::Right(args.right));
        args.limits.caveats(now_ms)?.iter().for_each(|caveat| grant.narrow(caveat));
        let (text, info) = remote.create_token(&args.name, grant).await?;
        Ok((Zeroizing::new(text), info, now_ms))
    })?;
    let mut document = info_json(&info, now_ms);
    if let (Some(fields), None) = (document.as_object_mut(), &args.to) {
        fields.insert("token".to_owned(), text.as_str().into());
    }
    let handed = hand_over(context, &text, args.to.as_ref());
    if let Err(failure) = handed.and_then(|()| context.output.document(&document)) {
        let message = format!("the token was made and could not be handed over: {failure}");
        let kind = failure.kind().unwrap_or(larder_format::error::Kind::Io);
        return Err(Failure::new(kind, message).hint(format!("larder token revoke {}", info.id)));
    }
    context.output.note(&format!("token {}: {}", info.id, words(&info.grant)));
    match &args.to {
        Some(path) => {
            context.output.note(&format!("It is in {}, and nowhere else: keep it private.", shown(path)));
        }
        None => context.output.note("This is the only time that it is shown: keep it private."),
    }
    if info.grant.expires_ms.is_none() {
        context.output.note("It has no end; --expires 30d gives one.");
    }
    Ok(())
}
