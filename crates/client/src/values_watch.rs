//! Watching values: which come, change and go, with their names where they can be known.

use std::collections::HashMap;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::head::Head;
use larder_format::operation::Found;
use larder_wire::answer::Failure;

use crate::feed::{FeedPage, FeedPages, FeedPosition, KeyChange};
use crate::remote::Scan;
use crate::values::ValueState;
use crate::vault::Vault;

/// A value with its record's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedValue {
    /// Its record's key.
    pub key: Bytes,
    /// Its name; `None` if it may only be taken, or cannot be read.
    pub name: Option<String>,
    /// What else can be said of it.
    pub state: ValueState,
}

impl Vault {
    /// Begins to watch the values, from a position on or from now on.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn watch_values(&self, from: Option<FeedPosition>) -> Result<FeedPages, Failure> {
        self.remote.watch(self.values, b"", 0, from).await
    }

    /// All values there are now, in no order.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn each_value(&self, mut each: impl FnMut(NamedValue)) -> Result<(), Failure> {
        let mut pages = self.remote.scan(Scan::heads(self.values, &[])).await?;
        while let Some(page) = pages.next().await? {
            for (key, found) in page.records {
                each(self.named_value(key.to_bytes(), &found));
            }
        }
        Ok(())
    }

    /// The values that some events say have changed, as they are now.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn values_now(&self, page: &FeedPage) -> Result<HashMap<Bytes, NamedValue>, Failure> {
        let mut out = HashMap::new();
        for event in page.events.iter().filter(|event| event.change == KeyChange::Changed) {
            let key = event.key.to_bytes();
            if out.contains_key(&key) {
                continue;
            }
            match self.read(self.values, &key, true).await {
                Ok(Some(found)) => drop(out.insert(key.clone(), self.named_value(key, &found))),
                Ok(None) => {}
                Err(failure) if failure.kind == Kind::Damaged => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(out)
    }

    fn named_value(&self, key: Bytes, found: &Found) -> NamedValue {
        let name = match found.takes_left {
            Some(_) => None,
            None => match self.open_head(self.values, &key, &found.head) {
                Ok(Head::Value(head)) => Some(head.name),
                _ => None,
            },
        };
        let state = ValueState { version: found.version, expiry: found.expiry, takes_left: found.takes_left };
        NamedValue { key, name, state }
    }
}
