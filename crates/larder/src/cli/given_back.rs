//! What came back after something was deleted for good. Three figures are not the same: the content of what was deleted, what
//! of it nothing else needs (versions, copies and files that are alike share chunks), and how much less the node's files
//! take. The second is looked up rather than reckoned: the node counts what the vault's namespace keeps, each chunk once.

use larder_client::remote::Remote;
use larder_client::vault::FILES;
use larder_format::error::Kind;
use serde_json::{Map, Value};

use crate::cli::{Context, node};
use crate::failure::Outcome;
use crate::size;

/// What was stored before.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    store_bytes: u64,
    kept_bytes: Option<u64>,
}

/// What came back.
#[derive(Debug, Clone, Copy)]
pub struct GivenBack {
    /// How much less the node's files take.
    disk_bytes: u64,
    /// How much less of records and chunks the vault keeps; `None` if the node does not say.
    unneeded_bytes: Option<u64>,
}

impl Before {
    /// Looks, before anything is deleted.
    ///
    /// # Errors
    /// What the node says.
    pub async fn look(remote: &Remote) -> Outcome<Self> {
        let usage = remote.usage().await?;
        let files = usage.namespaces.iter().find(|namespace| namespace.name == FILES);
        let kept_bytes = files.map(|files| files.record_bytes + files.blob_bytes);
        Ok(Self { store_bytes: remote.status().await?.store_bytes, kept_bytes })
    }

    /// Has the node collect, and answers what came back; `None` if it is collecting already.
    ///
    /// # Errors
    /// What the node says.
    pub async fn give_back(self, context: &Context, remote: &Remote) -> Outcome<Option<GivenBack>> {
        match node::collect::collect(context, remote).await {
            Ok(_) => {
                let after = Self::look(remote).await?;
                let both = self.kept_bytes.zip(after.kept_bytes);
                Ok(Some(GivenBack {
                    disk_bytes: self.store_bytes.saturating_sub(after.store_bytes),
                    unneeded_bytes: both.map(|(before, after)| before.saturating_sub(after)),
                }))
            }
            Err(failure) if failure.kind() == Some(Kind::Conflict) => Ok(None),
            Err(failure) => {
                Err(failure.context("what was to go is deleted, but the space is not given back yet"))
            }
        }
    }
}

/// What came back, in words.
pub fn words(given_back: Option<GivenBack>) -> String {
    match given_back {
        None => "the node is giving space back already".to_owned(),
        Some(GivenBack { disk_bytes, unneeded_bytes: None }) => {
            format!("the disk has {} more", size::show(disk_bytes))
        }
        Some(GivenBack { disk_bytes, unneeded_bytes: Some(bytes) }) => format!(
            "{} of what is stored was needed by nothing else; the disk has {} more",
            size::show(bytes),
            size::show(disk_bytes)
        ),
    }
}

/// What came back, for programs.
pub fn add_fields(fields: &mut Map<String, Value>, given_back: Option<GivenBack>) {
    fields.insert("unneeded_bytes".to_owned(), given_back.and_then(|given| given.unneeded_bytes).into());
    fields.insert("freed_bytes".to_owned(), given_back.map(|given| given.disk_bytes).into());
}
