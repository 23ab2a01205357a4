//! What a node keeps for itself, in its own log and in a namespace that no door leads to: small named values, durable
//! like any record and found again at every start.

use std::sync::Arc;

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::ids::NamespaceId;
use larder_format::record::{Content, Expiry, Key, Live, RecordSlot, RecordState, Version, unknown_format};
use larder_format::slot::Slot;
use larder_store::api::{Address, Next, RecordStore, StoreError, Ticket, Want};
use larder_store::log::LogStore;

/// Name of the value that holds the node's quota.
const QUOTA: &str = "quota";

/// Layout of the quota's bytes.
const QUOTA_FORMAT: u8 = 1;

/// The node's own values.
pub(crate) struct Own {
    log: Arc<LogStore>,
}

fn key(name: &str) -> Key {
    Key::new(Bytes::copy_from_slice(name.as_bytes())).expect("names of own values are short constants")
}

fn address(key: &Key) -> Address<'_> {
    Address { namespace: NamespaceId::NODE, slot: Slot::of_raw(key.as_bytes()), key }
}

impl Own {
    pub(crate) fn new(log: Arc<LogStore>) -> Self {
        Self { log }
    }

    /// The value of this name, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let key = key(name);
        let (state, _durable) = self.log.read(address(&key), Want::All)?;
        Ok(state.and_then(|state| match state.content {
            Content::Live(live) => Some(live.body),
            Content::Shadow(_) => None,
        }))
    }

    /// Keeps a value under this name. It goes into the room that is kept for deleting: what a full node has to note
    /// must not fail.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn set(&self, name: &str, value: &Bytes, now: Hlc) -> Result<Ticket, StoreError> {
        let key = key(name);
        self.log.update(address(&key), &mut |current| {
            let newest = current.meta().map_or(0, |meta| meta.version.to_u64()).max(current.floor().round);
            let state = RecordState {
                version: Version::from_u64(now.to_u64().max(newest.saturating_add(1))),
                expiry: Expiry::NEVER,
                content: Content::Live(Live { body: value.clone(), ..Live::default() }),
                operations: Vec::new(),
            };
            Ok(Next::StoreInto(RecordSlot { ballots: None, state: Some(state) }))
        })
    }

    /// The node's quota: most bytes that its data folder may take; `None`: no limit. One that cannot be read, or may
    /// be among what was lost, is none: a node that did not start for it would keep everything else from its owner.
    ///
    /// # Errors
    /// [`StoreError`], but for damage.
    pub(crate) fn quota(&self) -> Result<Option<u64>, StoreError> {
        let unread = |why: &dyn std::fmt::Display| {
            tracing::warn!(%why, "the node's quota cannot be read: there is none until it is set again");
            Ok(None)
        };
        match self.get(QUOTA) {
            Ok(Some(bytes)) => read_quota(bytes).or_else(|why| unread(&why)),
            Ok(None) => Ok(None),
            Err(why @ StoreError::Damaged { .. }) => unread(&why),
            Err(error) => Err(error),
        }
    }

    /// Keeps the node's quota and puts it in force.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn set_quota(&self, quota_bytes: Option<u64>, now: Hlc) -> Result<Ticket, StoreError> {
        let mut w = Writer::new();
        w.u8(QUOTA_FORMAT).u64(quota_bytes.unwrap_or(u64::MAX));
        let ticket = self.set(QUOTA, &w.finish(), now)?;
        self.log.set_quota(quota_bytes);
        Ok(ticket)
    }
}

fn read_quota(bytes: Bytes) -> Result<Option<u64>, DecodeError> {
    let mut r = Reader::new(bytes);
    let format = r.u8("quota format")?;
    if format != QUOTA_FORMAT {
        return Err(unknown_format("quota", format, QUOTA_FORMAT));
    }
    let quota = r.u64("quota")?;
    r.finish()?;
    Ok((quota != u64::MAX).then_some(quota))
}
