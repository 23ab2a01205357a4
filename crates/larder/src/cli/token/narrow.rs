//! `larder token narrow`: a weaker token of one that is at hand, without a node.

use std::path::PathBuf;

use larder_format::clock::{Clock, SystemClock};
use larder_format::right::Right;
use larder_format::token::{BadToken, Caveat, Grant};
use zeroize::Zeroizing;

use super::{Limits, grant_json, hand_over, must_be_free, parse_right, read, words};
use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};

/// Flags of `token narrow`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("less").args(["right", "namespace", "prefix", "expires"]).required(true).multiple(true))]
pub struct Args {
    /// What the new one may do: read, append-only, write
    #[arg(long, value_name = "RIGHT", value_parser = parse_right)]
    right: Option<Right>,
    #[command(flatten)]
    limits: Limits,
    /// Read the token from this file instead of standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Write the new one to this new file, readable by this user only, instead of standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Makes it.
///
/// # Errors
/// Invalid for what is no token, and for what the token at hand does not grant.
pub fn run(context: &Context, args: &Args) -> Outcome {
    must_be_free(args.to.as_ref())?;
    let token = read(args.token_file.as_deref())?;
    let has = token.grant();
    let mut caveats: Vec<Caveat> = args.right.map(Caveat::Right).into_iter().collect();
    caveats.extend(args.limits.caveats(SystemClock::new().wall_ms())?);
    caveats.iter().try_for_each(|caveat| check(&has, caveat))?;
    let narrowed = token.narrow(caveats).map_err(|bad| match bad {
        BadToken::TooLong => {
            Failure::invalid("the token has been narrowed as often as it can be; ask for a new one")
        }
        bad => Failure::invalid(bad.to_string()),
    })?;
    let grant = narrowed.grant();
    let text = Zeroizing::new(narrowed.to_text());
    let mut document = grant_json(narrowed.id(), &grant);
    if let (Some(fields), None) = (document.as_object_mut(), &args.to) {
        fields.insert("token".to_owned(), text.as_str().into());
    }
    hand_over(context, &text, args.to.as_ref())?;
    context.output.document(&document)?;
    let place = args.to.as_ref().map_or_else(String::new, |path| format!(", in {}", shown(path)));
    context.output.note(&format!("token {}: {}{place}", narrowed.id(), words(&grant)));
    Ok(())
}

/// Refuses a limit that the token at hand does not reach: whoever asks for it would have less than they think.
fn check(has: &Grant, caveat: &Caveat) -> Outcome {
    let mut left = has.clone();
    left.narrow(caveat);
    let reaches = match caveat {
        Caveat::Right(right) => left.right == *right,
        Caveat::Namespaces(names) => left.namespaces.as_ref() == Some(names),
        Caveat::Prefixes(prefixes) => left.prefixes.as_ref() == Some(prefixes),
        Caveat::Expires(ms) => left.expires_ms == Some(*ms),
    };
    if reaches {
        return Ok(());
    }
    let asked = match caveat {
        Caveat::Right(right) => format!("the right {right}"),
        Caveat::Namespaces(names) => format!("rights in {}", names.join(", ")),
        Caveat::Prefixes(_) => "rights on all keys that begin so".to_owned(),
        Caveat::Expires(_) => "as long a life".to_owned(),
    };
    Err(Failure::invalid(format!("this token has not got {asked} to hand on: it grants {}", words(has))))
}
