//! `larder attr`: attributes and lifetime of a file or folder, shown or changed. No content travels.

use std::time::Duration;

use larder_client::files::{AttributeChange, AttributesChanged, Listed};
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::Condition;
use larder_format::record::Version;
use serde_json::{Value, json};

use crate::cli::content::attribute;
use crate::cli::lifetime::parse_version;
use crate::cli::{Context, listing};
use crate::duration;
use crate::failure::{Failure, Outcome, clean};
use crate::moment;

/// Flags of `attr`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File or folder in the vault
    #[arg(value_name = "PATH")]
    path: String,
    /// Attributes to set; without any, and without flags, all are shown
    #[arg(value_name = "NAME=VALUE", value_parser = attribute)]
    set: Vec<(String, String)>,
    /// Take an attribute away; may be repeated
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
    /// Media type, for instance text/plain; empty takes it away
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Permission bits, in octal: 644
    #[arg(long, value_name = "BITS", value_parser = mode)]
    mode: Option<u32>,
    /// Time of last modification, in UTC: 2026-11-21, 2026-11-21T09:17, @1790000000, or now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    mtime: Option<String>,
    /// How long the file lives from now: 90s, 15m, 2h, 7d, 1.5h, or plain seconds
    #[arg(long, value_name = "TIME", value_parser = duration::lifetime, allow_hyphen_values = true)]
    ttl: Option<Duration>,
    /// The file has no end any more
    #[arg(long, conflicts_with = "ttl")]
    no_ttl: bool,
    /// Only if it has this version
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    if_version: Option<Version>,
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(bits) if bits <= 0o7777 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(bits),
        _ => Err("want permission bits in octal, like 644 or 0750".to_owned()),
    }
}

impl Args {
    fn change(&self, now_ms: u64) -> Outcome<AttributeChange> {
        let mtime_ns = match &self.mtime {
            None => None,
            Some(text) => Some(moment::parse_ns(text, now_ms).map_err(Failure::invalid)?),
        };
        let lifetime = match (self.ttl, self.no_ttl) {
            (Some(ttl), _) => Some(LifetimeRequest::Ttl(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))),
            (None, true) => Some(LifetimeRequest::Never),
            (None, false) => None,
        };
        let mut names: Vec<_> = self.set.iter().map(|(name, _)| name).chain(&self.remove).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Failure::invalid(format!("the attribute {} is named twice", clean(twice[0]))));
        }
        Ok(AttributeChange {
            mode: self.mode,
            mtime_ns,
            content_type: self.content_type.clone(),
            set: self.set.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect(),
            remove: self.remove.clone(),
            lifetime,
            condition: self.if_version.map_or(Condition::Any, Condition::Version),
        })
    }
}

/// Changes what was asked for, then shows how it is now.
///
/// # Errors
/// Not found; a conflict with another version; invalid for what does not fit.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = context.path(&args.path)?;
    crate::session::with_vault(context, async |vault| {
        let change = args.change(vault.now_ms())?;
        let nothing = AttributeChange { condition: change.condition, ..AttributeChange::default() };
        let mut changed = None;
        if change != nothing {
            changed = Some(vault.change_attributes(&path, &change).await?);
        }
        let listed = vault.stat(&path).await?;
        context.output.document(&document(&listed, changed))?;
        let shown = clean(&path.to_string());
        match changed {
            None => context.output.text(&text(&listed, vault.now_ms())),
            Some(AttributesChanged::Nothing) => {
                context.output.note(&format!("{shown}: is so already"));
                Ok(())
            }
            Some(AttributesChanged::InPlace) => {
                context.output.note(&format!("{shown}: changed"));
                Ok(())
            }
            Some(AttributesChanged::NewVersion(_)) => {
                context.output.note(&format!("{shown}: changed, as a new version"));
                Ok(())
            }
        }
    })
}

fn document(listed: &Listed, changed: Option<AttributesChanged>) -> Value {
    let mut document = listing::object(listed);
    if let (Some(changed), Some(fields)) = (changed, document.as_object_mut()) {
        let replaced = match changed {
            AttributesChanged::NewVersion(version) => Some(version.to_string()),
            AttributesChanged::Nothing | AttributesChanged::InPlace => None,
        };
        fields.insert("changed".to_owned(), json!(changed != AttributesChanged::Nothing));
        fields.insert("replaced".to_owned(), json!(replaced));
    }
    document
}

fn text(listed: &Listed, now_ms: u64) -> String {
    let attributes = &listed.attributes;
    let content_type = if attributes.content_type.is_empty() { "-" } else { &attributes.content_type };
    let expires = match listed.expiry.ms() {
        Some(ms) => format!("{} ({})", moment::show_ms(ms), moment::show_left(listed.expiry, now_ms)),
        None => "never".to_owned(),
    };
    let mut text = format!(
        "mode          {:04o}\nmodified      {}\ncontent-type  {}\nexpires       {expires}\n",
        attributes.mode & 0o7777,
        moment::show_ns(attributes.mtime_ns),
        clean(content_type),
    );
    for (name, value) in &attributes.custom {
        text.push_str(&format!("{}={}\n", clean(name), clean(&String::from_utf8_lossy(value))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_permission_bits() {
        assert_eq!(mode("644"), Ok(0o644));
        assert_eq!(mode("0750"), Ok(0o750));
        for bad in ["888", "+644", "u+x", "10000", "", "-1"] {
            assert!(mode(bad).is_err(), "{bad:?}");
        }
    }
}
