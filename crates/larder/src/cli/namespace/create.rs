//! `larder namespace create`: a new namespace. What it is never changes afterwards.

use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder, WhenFull};

use super::{Ttl, find, known, lifetimes, own_name, parse_ttl, parse_when_full};
use crate::cli::Context;
use crate::cli::quota::set::{Limit, parse as parse_quota, words};
use crate::failure::{Failure, Outcome};

/// Lifetime that values get where one is needed and nobody says which, in milliseconds: an hour, as the namespace `raw`.
const TTL_DEFAULT_MS: u64 = 3_600_000;

/// Flags of `namespace create`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("privacy").args(["raw", "sealed"]).required(true))]
#[command(group = clap::ArgGroup::new("class").args(["memory", "disk"]))]
pub struct Args {
    /// What it is called: letters a-z, digits, `.`, `-` and `_`
    #[arg(value_name = "NAME")]
    name: String,
    /// The node reads what is in it: for plain Redis and HTTP clients
    #[arg(long)]
    raw: bool,
    /// Only what clients have sealed goes in
    #[arg(long)]
    sealed: bool,
    /// Values live in memory: quick, and gone when the node restarts (this is the default)
    #[arg(long)]
    memory: bool,
    /// Values live on disk, acknowledged when they are there
    #[arg(long)]
    disk: bool,
    /// How long a value lives that asks for nothing else; none: without end [default: none, or 1h where there is a maximum]
    #[arg(long, value_name = "TIME|none", value_parser = parse_ttl)]
    ttl_default: Option<Ttl>,
    /// Longest lifetime that may be asked for; none: also without end
    #[arg(long, value_name = "TIME|none", value_parser = parse_ttl, default_value = "none")]
    ttl_max: Ttl,
    /// Most bytes it may hold
    #[arg(long, value_name = "SIZE|none", value_parser = parse_quota, default_value = "none")]
    quota: Limit,
    /// What happens to a write when memory is full: refuse it, or evict what ends soonest
    #[arg(long, value_name = "refuse|evict", value_parser = parse_when_full, default_value = "refuse")]
    when_full: WhenFull,
    /// In which order it is listed [default: hash in memory, key on disk]
    #[arg(long, value_name = "ORDER", value_parser = ["hash", "key"])]
    order: Option<String>,
}

impl Args {
    fn settings(&self) -> Outcome<Namespace> {
        let privacy = if self.raw { Privacy::Raw } else { Privacy::Sealed };
        let (class, usual) = if self.disk { (Class::Disk, "key") } else { (Class::Memory, "hash") };
        let order = self.order.as_deref().unwrap_or(usual);
        if order != usual {
            let message =
                "a namespace in memory is listed by hash, one on disk by key: other orders are not there yet";
            return Err(Failure::invalid(message).hint(format!("leave --order out, or --order {usual}")));
        }
        let scan_order = if order == "key" { ScanOrder::Key } else { ScanOrder::Hash };
        let ttl_max_ms = self.ttl_max.0;
        let ttl_default_ms = match self.ttl_default {
            Some(Ttl(given)) => given,
            None => ttl_max_ms.map(|max| max.min(TTL_DEFAULT_MS)),
        };
        let settings = Namespace {
            ttl_default_ms,
            ttl_max_ms,
            quota_bytes: self.quota.0,
            when_full: self.when_full,
            ..Namespace::new(&self.name, privacy, class, scan_order)
        };
        check_ttl(&settings)?;
        Ok(settings)
    }
}

/// Refuses lifetimes that do not go together, in words for whoever typed them.
///
/// # Errors
/// Invalid.
pub(super) fn check_ttl(settings: &Namespace) -> Outcome {
    match (settings.ttl_default_ms, settings.ttl_max_ms) {
        (Some(default), Some(max)) if default > max => {
            Err(Failure::invalid("the lifetime by default is longer than the longest that is allowed")
                .hint("--ttl-default at most --ttl-max"))
        }
        (None, Some(_)) => {
            Err(Failure::invalid("where lifetimes have a maximum, values need one by default")
                .hint("--ttl-default TIME, or --ttl-max none"))
        }
        _ => settings.check().map_err(|e| Failure::invalid(e.to_string())),
    }
}

/// Makes it.
///
/// # Errors
/// Invalid for what cannot be; a conflict if it is there with other settings; what the node says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    own_name(&args.name)?;
    let settings = args.settings()?;
    let (created, made) = crate::session::with_node(&context.folders, async |remote| {
        let created = remote.create_namespace(&settings).await?;
        Ok((created, find(known(remote).await?, &args.name)?))
    })?;
    let mut document = made.json();
    if let Some(fields) = document.as_object_mut() {
        fields.insert("created".to_owned(), created.into());
    }
    context.output.document(&document)?;
    let what = format!("{}, {}", super::privacy(&settings), super::class(&settings));
    let done = if created { "made" } else { "was there already, with these settings" };
    context.output.note(&format!(
        "{} {done}: {what}; lifetime: {}; quota: {}",
        args.name,
        lifetimes(&settings),
        words(made.settings.quota_bytes)
    ));
    if created && settings.privacy == Privacy::Raw {
        context
            .output
            .note("Raw: the node reads what is in it. larder token create gives programs a way in.");
    }
    Ok(())
}
