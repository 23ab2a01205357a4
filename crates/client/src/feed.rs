//! The node's changes feed as the client sees it: which records changed, pushed, from a cursor on.

use bytes::Bytes;
use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::record::{Key, Version};
use larder_wire::answer::Failure;
use larder_wire::v1;
use tonic::Streaming;

use crate::remote::{Remote, failure};

/// A place in a node's changes. Those of one life compare by their sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FeedPosition {
    /// Of the feed: another after each start of the node.
    pub life: u64,
    /// Number of the last change seen.
    pub sequence: u64,
}

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyChange {
    /// There is a value, new or another than before.
    Changed,
    /// It was deleted, or its last read was taken.
    Deleted,
    /// Its time was up.
    Expired,
}

/// One event of a feed: a hint, confirmed by reading the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEvent {
    /// What happened.
    pub change: KeyChange,
    /// Which record.
    pub key: Key,
    /// Of an expiry the version that expired, else the version made.
    pub version: Version,
    /// Its number in the feed's life.
    pub sequence: u64,
}

/// Some events.
#[derive(Debug)]
pub struct FeedPage {
    /// In order.
    pub events: Vec<KeyEvent>,
    /// Where to go on after them.
    pub position: FeedPosition,
    /// Events before these were lost: everything has to be looked at anew.
    pub reset: bool,
    /// All there was when this was sent has been sent.
    pub caught_up: bool,
}

/// A feed being watched. Dropped, it ends.
pub struct FeedPages(Streaming<v1::WatchPage>);

fn position(message: Option<v1::WatchCursor>) -> FeedPosition {
    let at = message.unwrap_or_default();
    FeedPosition { life: at.life, sequence: at.sequence }
}

impl Remote {
    /// Begins to watch a namespace: keys that begin with `prefix` and are no longer than `key_len_max` (0: any),
    /// from a position on, or from now on.
    ///
    /// # Errors
    /// [`Failure`]; of kind [`Kind::TooNew`] if the node has no feed.
    pub async fn watch(
        &self,
        namespace: NamespaceId,
        prefix: &[u8],
        key_len_max: u32,
        from: Option<FeedPosition>,
    ) -> Result<FeedPages, Failure> {
        let message = v1::WatchRequest {
            namespace: namespace.0,
            prefix: Bytes::copy_from_slice(prefix),
            cursor: from.map(|at| v1::WatchCursor { life: at.life, sequence: at.sequence }),
            key_len_max,
        };
        let response = self.records.clone().watch(message).await.map_err(|s| failure(&s))?;
        Ok(FeedPages(response.into_inner()))
    }

    /// Where the changes of a namespace stand, and the node's time: whoever has watched up to there has seen every
    /// change that was answered before this call.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn newest(&self, namespace: NamespaceId) -> Result<(FeedPosition, Hlc), Failure> {
        let message = v1::NewestRequest { namespace: namespace.0 };
        let response = self.records.clone().newest(message).await.map_err(|s| failure(&s))?.into_inner();
        Ok((position(response.cursor), Hlc::from_u64(response.time)))
    }
}

impl FeedPages {
    /// The next page, as soon as there is something to say.
    ///
    /// # Errors
    /// [`Kind::Closed`] when the node stops or the connection breaks.
    pub async fn next(&mut self) -> Result<FeedPage, Failure> {
        let Some(page) = self.0.message().await.map_err(|s| failure(&s))? else {
            return Err(Failure::new(Kind::Closed, "the node ended the feed of changes"));
        };
        let mut events = Vec::with_capacity(page.events.len());
        for event in page.events {
            let change = match event.kind() {
                v1::ChangeKind::Deleted => KeyChange::Deleted,
                v1::ChangeKind::Expired => KeyChange::Expired,
                // A kind that is newer than this program is a reason to look.
                v1::ChangeKind::Changed | v1::ChangeKind::Unspecified => KeyChange::Changed,
            };
            let key = Key::new(event.key)
                .map_err(|_| Failure::new(Kind::Bug, "the node told of a record without a proper key"))?;
            let version = Version::from_u64(event.version);
            events.push(KeyEvent { change, key, version, sequence: event.sequence });
        }
        Ok(FeedPage { events, position: position(page.cursor), reset: page.reset, caught_up: page.caught_up })
    }
}
