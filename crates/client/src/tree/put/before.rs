//! What was in a folder before a run, and whether a local file is still what was stored: by kind, length, time, mode and
//! attributes, and by how long it lives.

use std::collections::HashMap;

use bytes::Bytes;
use larder_format::head::{Attributes, DirId, EntryTarget, FileKind};
use larder_format::namespace::LifetimeRequest;
use larder_format::record::{Expiry, Version};
use larder_wire::answer::Failure;

use crate::directory::EntryNow;
use crate::vault::Vault;

/// An entry as it was before the run.
pub(crate) struct Before(pub(super) EntryNow);

impl Before {
    /// What it names.
    pub(crate) fn target(&self) -> &EntryTarget {
        &self.0.entry.target
    }

    /// The version that was seen.
    pub(super) fn version(&self) -> Version {
        self.0.found.version
    }

    /// Whether a file is as it was stored, as far as can be told without reading it. Attributes that the run
    /// asks for count: a file that is left alone must be what a new version would have been.
    pub(crate) fn is_same(&self, len: u64, now: &Attributes, link: bool) -> bool {
        let EntryTarget::File { kind, size, attributes, .. } = &self.0.entry.target else { return false };
        (*kind == FileKind::Symlink) == link && *size == len && attributes == now
    }

    /// Whether it may end at another time than a new version would. A time to live begins anew with every run.
    pub(super) fn ends_otherwise(&self, asked: LifetimeRequest) -> bool {
        let expiry = self.0.found.expiry;
        match asked {
            // What never ends cannot be lost by being left alone.
            LifetimeRequest::Default | LifetimeRequest::Never => expiry != Expiry::NEVER,
            LifetimeRequest::Until(ms) => expiry.ms() != Some(ms),
            LifetimeRequest::Ttl(_) => true,
        }
    }
}

/// What is in a folder, by name.
pub(crate) async fn before(vault: &Vault, id: DirId) -> Result<HashMap<String, Before>, Failure> {
    let mut all = HashMap::new();
    let mut entries = vault.entries(id).await?;
    while let Some(some) = entries.next(vault).await? {
        all.extend(some.entries.into_iter().map(|mut now| {
            // It is opened already, and would keep the whole answer it came in.
            now.found.head = Bytes::new();
            (now.entry.name.clone(), Before(now))
        }));
    }
    Ok(all)
}
