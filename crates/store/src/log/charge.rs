//! Which namespaces a blob is charged to: each of which at least one lease keeps it, once. Almost every blob has one
//! such namespace, which the blob itself names; those that several share are in a map beside it.

use std::collections::HashMap;
use std::sync::Arc;

use larder_format::ids::NamespaceId;

use super::blobs::{Blob, BlobIndex};
use crate::used::{Used, UsedTable};

/// What is known of namespaces and the blobs they share.
#[derive(Default)]
pub(super) struct Charges {
    used: Arc<UsedTable>,
    /// Namespaces by the number that blobs know them by.
    spaces: Vec<(NamespaceId, Arc<Used>)>,
    /// Blobs that leases of several namespaces keep: how many leases of each but the one it names.
    shared: HashMap<u32, Vec<(u32, u32)>>,
}

impl Charges {
    pub(super) fn new(used: Arc<UsedTable>) -> Self {
        Self { used, ..Self::default() }
    }
}

impl BlobIndex {
    pub(super) fn charging(used: Arc<UsedTable>) -> Self {
        Self { charges: Charges::new(used), ..Self::default() }
    }

    /// The bytes of a blob that was leased before it was found.
    pub(super) fn count_found(&self, handle: u32, blob: &Blob, grown: u64) {
        for space in self.charged(handle, blob) {
            self.charges.spaces[space as usize].1.count_blob(Some(0), Some(grown));
        }
    }

    /// The number that blobs know a namespace by.
    pub(super) fn space(&mut self, namespace: NamespaceId) -> u32 {
        let found = self.charges.spaces.iter().position(|(known, _)| *known == namespace);
        let place = found.unwrap_or_else(|| {
            self.charges.spaces.push((namespace, self.charges.used.of(namespace)));
            self.charges.spaces.len() - 1
        });
        u32::try_from(place).expect("there are few namespaces")
    }

    /// Leases by which a blob's first namespace keeps it.
    fn home_leases(&self, handle: u32, blob: &Blob) -> u32 {
        let others = self.charges.shared.get(&handle).map_or(0, |others| others.iter().map(|(_, n)| n).sum());
        blob.leases - others
    }

    /// The namespaces that a blob is charged to.
    fn charged(&self, handle: u32, blob: &Blob) -> Vec<u32> {
        let home = (self.home_leases(handle, blob) > 0).then_some(blob.home);
        let others = self.charges.shared.get(&handle).into_iter().flatten().map(|(space, _)| *space);
        home.into_iter().chain(others).collect()
    }

    /// Whether a blob is charged to a namespace already.
    pub(super) fn is_charged(&self, handle: u32, namespace: NamespaceId) -> bool {
        let Some(blob) = self.blob(handle) else { return false };
        self.charged(handle, blob).iter().any(|space| self.charges.spaces[*space as usize].0 == namespace)
    }

    /// One more lease of a namespace keeps a blob.
    pub(super) fn keep(&mut self, handle: u32, space: u32) {
        let Some(blob) = self.blob(handle).copied() else { return };
        let len = blob.place.map_or(0, |place| u64::from(place.value_len));
        let home_leases = self.home_leases(handle, &blob);
        let first = if blob.leases == 0 || blob.home == space {
            home_leases == 0
        } else {
            let others = self.charges.shared.entry(handle).or_default();
            match others.iter_mut().find(|(other, _)| *other == space) {
                Some((_, leases)) => {
                    *leases += 1;
                    false
                }
                None => {
                    others.push((space, 1));
                    true
                }
            }
        };
        if first {
            self.charges.spaces[space as usize].1.count_blob(None, Some(len));
        }
        let Some(Some(blob)) = self.slab.get_mut(handle as usize) else { return };
        if blob.leases == 0 {
            blob.home = space;
            self.orphan_count -= 1;
            self.orphan_bytes -= len;
        }
        blob.leases += 1;
    }

    /// One lease of a namespace fewer keeps a blob.
    pub(super) fn let_go(&mut self, handle: u32, space: u32) {
        let Some(blob) = self.blob(handle).copied() else { return };
        let len = blob.place.map_or(0, |place| u64::from(place.value_len));
        let last = match self.charges.shared.get_mut(&handle).filter(|_| blob.home != space) {
            Some(others) => {
                let Some(at) = others.iter().position(|(other, _)| *other == space) else { return };
                others[at].1 -= 1;
                let last = others[at].1 == 0;
                if last {
                    others.swap_remove(at);
                }
                if others.is_empty() {
                    self.charges.shared.remove(&handle);
                }
                last
            }
            None => self.home_leases(handle, &blob) == 1,
        };
        if last {
            self.charges.spaces[space as usize].1.count_blob(Some(len), None);
        }
        let Some(Some(blob)) = self.slab.get_mut(handle as usize) else { return };
        blob.leases -= 1;
        if blob.leases == 0 {
            self.orphan_count += 1;
            self.orphan_bytes += len;
            self.orphans.push_back(handle);
        }
    }
}
