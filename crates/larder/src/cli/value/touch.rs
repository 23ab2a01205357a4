//! `larder value touch`: change how long a value lives, without reading or sending it.

use std::time::Duration;

use larder_format::namespace::LifetimeRequest;
use larder_format::operation::Condition;
use larder_format::record::Version;
use serde_json::json;

use crate::cli::Context;
use crate::cli::lifetime::parse_version;
use crate::duration;
use crate::failure::{Outcome, clean};
use crate::moment;

/// Flags of `value touch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the value
    #[arg(value_name = "NAME")]
    name: String,
    /// How long it lives from now: 90s, 15m, 2h, 7d, 1.5h, or plain seconds
    #[arg(long, value_name = "TIME", value_parser = duration::lifetime, allow_hyphen_values = true)]
    ttl: Duration,
    /// Only if it has this version
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    if_version: Option<Version>,
}

/// Changes it.
///
/// # Errors
/// Not found; a conflict for another version; invalid for a lifetime beyond the maximum.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let lifetime = LifetimeRequest::Ttl(u64::try_from(args.ttl.as_millis()).unwrap_or(u64::MAX));
    let condition = args.if_version.map_or(Condition::Any, Condition::Version);
    crate::session::with_vault(context, async |vault| {
        let (version, expiry) = vault.touch_value(&args.name, lifetime, condition).await?;
        context.output.document(&json!({
            "name": args.name,
            "version": version.to_string(),
            "expires_ms": expiry.ms(),
            "ttl_ms": moment::left_ms_of(lifetime, expiry, vault.now_ms()),
        }))?;
        let left = moment::show_left(expiry, vault.now_ms());
        context.output.note(&format!("{}: ends {left}", clean(&args.name)));
        Ok(())
    })
}
