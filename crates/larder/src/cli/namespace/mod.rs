//! `larder namespace`: the parts of a node that raw doors serve, each with settings of its own. One file per verb. Those
//! that hold the vault are made by `larder up` and are not touched here.

mod create;
mod delete;
mod list;
mod set;
mod show;

use larder_client::remote::Remote;
use larder_client::vault::{FILES, KEYS, VALUES};
use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder, WhenFull, is_name};
use larder_wire::v1::{NamespaceUsage, RawDoor};
use serde_json::{Value, json};
use std::time::Duration;

use crate::cli::Context;
use crate::duration;
use crate::failure::{Failure, Outcome, clean};
use crate::size;

/// Names that a namespace of one's own cannot have: those of the vault, and words that would be taken for the node's own.
const RESERVED: [&str; 7] = [FILES, VALUES, KEYS, "system", "node", "token", "none"];

/// Flags of `namespace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a namespace
    ///
    /// What it is (raw or sealed, in memory or on disk, its order) never changes; lifetimes and quota can be set later. Raw
    /// means that the node reads what is in it, and so does whoever takes over the node.
    Create(create::Args),
    /// All namespaces, what they are and how much is in them
    List,
    /// All that is known of one
    Show(show::Args),
    /// Change lifetimes, quota or what happens when memory is full, for what is written from now on
    Set(set::Args),
    /// Delete an empty namespace, or with --force one with all that is in it
    Delete(delete::Args),
}

/// Runs a verb.
///
/// # Errors
/// As the verb says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.verb {
        Verb::Create(args) => create::run(context, args),
        Verb::List => list::run(context),
        Verb::Show(args) => show::run(context, args),
        Verb::Set(args) => set::run(context, args),
        Verb::Delete(args) => delete::run(context, args),
    }
}

/// A length of time, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ttl(Option<u64>);

fn parse_ttl(text: &str) -> Result<Ttl, String> {
    if text.trim() == "none" {
        return Ok(Ttl(None));
    }
    let length = duration::lifetime(text).map_err(|e| format!("{e}, or none"))?;
    Ok(Ttl(u64::try_from(length.as_millis()).ok()))
}

fn parse_when_full(text: &str) -> Result<WhenFull, String> {
    [WhenFull::Refuse, WhenFull::Evict]
        .into_iter()
        .find(|when| when_full(*when) == text)
        .ok_or_else(|| "refuse or evict".to_owned())
}

fn when_full(when: WhenFull) -> &'static str {
    match when {
        WhenFull::Refuse => "refuse",
        WhenFull::Evict => "evict",
    }
}

/// A name that may be made, changed or deleted here.
///
/// # Errors
/// Invalid for what is no name, or the vault's own.
fn own_name(name: &str) -> Outcome<()> {
    if !is_name(name) {
        let message = format!(
            "not the name of a namespace: {}; it has 1 to 64 of a-z 0-9 - _ . and starts with a letter or digit",
            clean(name)
        );
        return Err(Failure::invalid(message));
    }
    if [FILES, VALUES, KEYS].contains(&name) {
        let message = format!("{name} is one of the vault's own namespaces, which larder up makes and keeps");
        return Err(Failure::invalid(message)
            .hint("choose another name; larder quota set --namespace limits this one"));
    }
    if RESERVED.contains(&name) {
        return Err(Failure::invalid(format!(
            "{name} is reserved: a namespace of one's own is not called so"
        )));
    }
    Ok(())
}

/// What is known of one.
struct Known {
    settings: Namespace,
    usage: NamespaceUsage,
    doors: Vec<RawDoor>,
}

/// What the node knows, by name.
///
/// # Errors
/// What the node says.
async fn known(remote: &Remote) -> Outcome<Vec<Known>> {
    let (all, usage, status) =
        (remote.list_namespaces().await?, remote.usage().await?, remote.status().await?);
    let known = |settings: Namespace| {
        let usage = usage.namespaces.iter().find(|usage| usage.name == settings.name).cloned();
        let doors = status.raw_doors.iter().filter(|door| door.namespace == settings.name).cloned();
        Known { usage: usage.unwrap_or_default(), doors: doors.collect(), settings }
    };
    Ok(all.into_iter().map(known).collect())
}

/// The one of this name.
///
/// # Errors
/// Not found, naming those there are.
fn find(all: Vec<Known>, name: &str) -> Outcome<Known> {
    let names: Vec<String> = all.iter().map(|known| known.settings.name.clone()).collect();
    all.into_iter().find(|known| known.settings.name == name).ok_or_else(|| {
        let message = format!("there is no namespace {}; there are: {}", clean(name), names.join(", "));
        Failure::new(larder_format::error::Kind::NotFound, message)
    })
}

impl Known {
    fn json(&self) -> Value {
        let settings = &self.settings;
        json!({
            "name": settings.name,
            "privacy": privacy(settings),
            "class": class(settings),
            "order": order(settings),
            "replicas": settings.replicas,
            "ttl_default_ms": settings.ttl_default_ms,
            "ttl_max_ms": settings.ttl_max_ms,
            "quota_bytes": settings.quota_bytes,
            "when_full": when_full(settings.when_full),
            "records": self.usage.records,
            "used_bytes": crate::cli::quota::used(&self.usage),
            "doors": self.doors.iter().map(|door| json!({ "door": door.protocol, "address": door.address })).collect::<Vec<_>>(),
        })
    }

    /// `12 records, 1.2 MiB`.
    fn held(&self) -> String {
        let used = crate::cli::quota::used(&self.usage);
        format!("{}, {}", size::count(self.usage.records, "record"), size::show(used))
    }
}

fn privacy(settings: &Namespace) -> &'static str {
    match settings.privacy {
        Privacy::Raw => "raw",
        Privacy::Sealed => "sealed",
    }
}

fn class(settings: &Namespace) -> &'static str {
    match settings.class {
        Class::Memory => "memory",
        Class::Disk => "disk",
    }
}

fn order(settings: &Namespace) -> &'static str {
    match settings.scan_order {
        ScanOrder::Hash => "hash",
        ScanOrder::Key => "key",
    }
}

/// Lifetimes in words: `1h unless asked for otherwise, at most 7d`.
fn lifetimes(settings: &Namespace) -> String {
    let show = |ms: u64| duration::show(Duration::from_millis(ms));
    match (settings.ttl_default_ms, settings.ttl_max_ms) {
        (None, None) => "no end unless asked for".to_owned(),
        (None, Some(max)) => format!("at most {}", show(max)),
        (Some(default), None) => format!("{} unless asked for otherwise", show(default)),
        (Some(default), Some(max)) => {
            format!("{} unless asked for otherwise, at most {}", show(default), show(max))
        }
    }
}
