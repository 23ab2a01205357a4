//! `larder namespace set`: other lifetimes, another quota, what happens when memory is full. What is there already keeps the lifetime that it has.

use larder_format::namespace::{Namespace, WhenFull};

use super::create::check_ttl;
use super::{Ttl, find, known, lifetimes, own_name, parse_ttl, parse_when_full};
use crate::cli::Context;
use crate::cli::quota::set::{Limit, parse as parse_quota, words};
use crate::failure::Outcome;

/// Flags of `namespace set`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").args(["ttl_default", "ttl_max", "quota", "when_full"]).required(true).multiple(true))]
pub struct Args {
    /// Which
    #[arg(value_name = "NAME")]
    name: String,
    /// How long a value lives that asks for nothing else; none: without end
    #[arg(long, value_name = "TIME|none", value_parser = parse_ttl)]
    ttl_default: Option<Ttl>,
    /// Longest lifetime that may be asked for; none: also without end
    #[arg(long, value_name = "TIME|none", value_parser = parse_ttl)]
    ttl_max: Option<Ttl>,
    /// Most bytes it may hold
    #[arg(long, value_name = "SIZE|none", value_parser = parse_quota)]
    quota: Option<Limit>,
    /// What happens to a write when memory is full: refuse it, or evict what ends soonest
    #[arg(long, value_name = "refuse|evict", value_parser = parse_when_full)]
    when_full: Option<WhenFull>,
}

/// Changes it.
///
/// # Errors
/// Not found; invalid for lifetimes that do not go together, or the vault's own namespaces; what the node says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    own_name(&args.name)?;
    let changed = crate::session::with_node(&context.folders, async |remote| {
        let before = find(known(remote).await?, &args.name)?.settings;
        let settings = Namespace {
            ttl_default_ms: args.ttl_default.map_or(before.ttl_default_ms, |ttl| ttl.0),
            ttl_max_ms: args.ttl_max.map_or(before.ttl_max_ms, |ttl| ttl.0),
            quota_bytes: args.quota.map_or(before.quota_bytes, |quota| quota.0),
            when_full: args.when_full.unwrap_or(before.when_full),
            ..before.clone()
        };
        check_ttl(&settings)?;
        remote.set_namespace(&before, &settings).await?;
        find(known(remote).await?, &args.name)
    })?;
    context.output.document(&changed.json())?;
    let settings = &changed.settings;
    context.output.note(&format!(
        "{}: lifetime: {}; quota: {}; what is there keeps the lifetime that it has",
        args.name,
        lifetimes(settings),
        words(settings.quota_bytes)
    ));
    Ok(())
}
