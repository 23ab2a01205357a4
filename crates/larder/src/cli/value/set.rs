//! `larder value set`: write a value. What is given as an argument is seen by other programs of this machine in the
//! list of processes; `-` or nothing reads standard input instead.

use std::io::{IsTerminal, Read};

use larder_client::values::SetOptions;
use larder_format::error::Kind;
use larder_format::limits::{TAKES_MAX, VALUE_LEN_DEFAULT_MAX};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::Context;
use crate::cli::lifetime::{ConditionArgs, LifetimeArgs};
use crate::failure::{Failure, Outcome, clean};
use crate::moment;

/// Flags of `value set`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the value
    #[arg(value_name = "NAME")]
    name: String,
    /// The value; - (or nothing) reads standard input
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<String>,
    #[command(flatten)]
    lifetime: LifetimeArgs,
    /// Keep the lifetime of the value it replaces
    #[arg(long, conflicts_with = "ttl")]
    keep_ttl: bool,
    /// It can only be taken, this many times, with `larder value take`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(TAKES_MAX)))]
    takes: Option<u32>,
    #[command(flatten)]
    condition: ConditionArgs,
}

/// Writes it.
///
/// # Errors
/// A conflict if the condition does not hold; invalid for a lifetime or size that is not allowed; full.
pub fn run(context: &Context, args: Args) -> Outcome {
    let data = match args.value {
        Some(value) if value != "-" => Zeroizing::new(value.into_bytes()),
        _ => from_stdin(context)?,
    };
    let lifetime = args.lifetime.request();
    let options = SetOptions {
        lifetime,
        keep_lifetime: args.keep_ttl,
        condition: args.condition.condition(),
        takes: args.takes,
        ..SetOptions::default()
    };
    let name = args.name;
    crate::session::with_vault(context, async |vault| {
        let (version, expiry) = vault.set_value(&name, &data, options).await?;
        context.output.document(&json!({
            "name": name,
            "version": version.to_string(),
            "expires_ms": expiry.ms(),
            "ttl_ms": moment::left_ms_of(lifetime, expiry, vault.now_ms()),
        }))?;
        context.output.note(&format!(
            "{}: set, ends {}",
            clean(&name),
            moment::show_left(expiry, vault.now_ms())
        ));
        Ok(())
    })
}

fn from_stdin(context: &Context) -> Outcome<Zeroizing<Vec<u8>>> {
    if std::io::stdin().is_terminal() {
        context.output.note("Type the value; ctrl-D on a line of its own ends it.");
    }
    let mut data = Zeroizing::new(Vec::new());
    let limit = u64::try_from(VALUE_LEN_DEFAULT_MAX).unwrap_or(u64::MAX) + 1;
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut data)
        .map_err(|e| Failure::io_text(format!("cannot read standard input: {e}"), &e))?;
    if data.len() > VALUE_LEN_DEFAULT_MAX {
        let message = format!("standard input is longer than a value can be max={VALUE_LEN_DEFAULT_MAX}");
        return Err(Failure::new(Kind::Invalid, message).hint("larder put - /NAME stores it as a file"));
    }
    Ok(data)
}
