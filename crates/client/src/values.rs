//! Sealed values that expire: small, in memory on the node, named by keyed hashes.

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::head::{Attributes, Head, ValueHead};
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Found, Outcome};
use larder_format::record::{Expiry, Version};
use larder_seal::names::{SealedKey, check_value_name};
use larder_seal::record::{BODY_PLAIN_LEN_MAX, RecordPlace};
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut};

use crate::remote::Scan;
use crate::vault::{Vault, seal_failure, unexpected};

/// How to write a value.
#[derive(Debug, Clone, Default)]
pub struct SetOptions {
    /// Until when it lives.
    pub lifetime: LifetimeRequest,
    /// Keep the lifetime of the value it replaces, if there is one.
    pub keep_lifetime: bool,
    /// Only then.
    pub condition: Condition,
    /// It may only be taken, this many times.
    pub takes: Option<u32>,
    /// Content type and custom attributes.
    pub attributes: Attributes,
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Which version.
    pub version: Version,
    /// Until when it lives.
    pub expiry: Expiry,
    /// Content type and custom attributes.
    pub attributes: Attributes,
    /// The bytes.
    pub data: Bytes,
    /// Reads left, if it was taken.
    pub takes_left: Option<u32>,
}

/// What can be said of a value without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueState {
    /// Which version.
    pub version: Version,
    /// Until when it lives.
    pub expiry: Expiry,
    /// Reads left, for a value that may only be taken.
    pub takes_left: Option<u32>,
}

fn absent(name: &str) -> Failure {
    Failure::new(Kind::NotFound, format!("no such value: {name} (never set, deleted, or its time is up)"))
}

fn conflict(name: &str, current: Option<Version>) -> Failure {
    let message = match current {
        Some(version) => format!("{name}: has another version found={version}"),
        None => format!("{name}: is not there"),
    };
    Failure::new(Kind::Conflict, message)
}

impl Vault {
    fn value_key(&self, name: &str) -> Result<SealedKey, Failure> {
        check_value_name(name).map_err(|e| Failure::new(e.kind(), e.to_string()))?;
        Ok(self.names.value_key(self.values, name))
    }

    /// Writes a value.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if the condition does not hold; [`Kind::Invalid`] for a lifetime or length that is
    /// not allowed; [`Kind::Full`].
    pub async fn set_value(
        &self,
        name: &str,
        data: &[u8],
        options: SetOptions,
    ) -> Result<(Version, Expiry), Failure> {
        let key = self.value_key(name)?;
        if data.len() > BODY_PLAIN_LEN_MAX {
            let message = format!(
                "value too long len={} max={BODY_PLAIN_LEN_MAX}; store it as a file: larder put",
                data.len()
            );
            return Err(Failure::new(Kind::Invalid, message));
        }
        let head = Head::Value(ValueHead { name: name.to_owned(), attributes: options.attributes });
        let sealed = self.seal(self.values, key.as_bytes(), &head, data)?;
        let put = AskPut {
            condition: options.condition,
            lifetime: options.lifetime,
            keep_lifetime: options.keep_lifetime,
            takes: options.takes,
            head: sealed.head,
            body: sealed.body,
            ..AskPut::default()
        };
        match self.change(self.values, key.as_bytes(), Ask::Put(put)).await? {
            Outcome::Written { version, expiry } => Ok((version, expiry)),
            Outcome::Conflict { current: Some(version) } if options.condition == Condition::Absent => {
                let message = format!("{name}: exists already version={version}");
                Err(Failure::new(Kind::Conflict, message))
            }
            Outcome::Conflict { current } => Err(conflict(name, current)),
            other => Err(unexpected(&other)),
        }
    }

    fn open_value(&self, key: SealedKey, name: &str, found: &Found) -> Result<Value, Failure> {
        let place = RecordPlace::new(self.values, key.as_bytes());
        let Head::Value(head) = self.open_head(self.values, key.as_bytes(), &found.head)? else {
            return Err(Failure::new(
                Kind::Damaged,
                format!("{name}: the node shows another kind of record"),
            ));
        };
        let data = self.opener.open_body(place, &found.head, &found.body).map_err(seal_failure)?;
        Ok(Value {
            version: found.version,
            expiry: found.expiry,
            attributes: head.attributes,
            data,
            takes_left: found.takes_left,
        })
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`] for a value that may only be taken.
    pub async fn get_value(&self, name: &str) -> Result<Value, Failure> {
        let key = self.value_key(name)?;
        let Some(found) = self.read(self.values, key.as_bytes(), false).await? else {
            return Err(absent(name));
        };
        if found.takes_left.is_some() {
            let message = format!("{name}: can only be taken, which uses it up: larder value take {name}");
            return Err(Failure::new(Kind::Conflict, message));
        }
        self.open_value(key, name, &found)
    }

    /// What can be said of a value without reading it.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub async fn value_state(&self, name: &str) -> Result<ValueState, Failure> {
        let key = self.value_key(name)?;
        match self.read(self.values, key.as_bytes(), true).await? {
            None => Err(absent(name)),
            Some(f) => Ok(ValueState { version: f.version, expiry: f.expiry, takes_left: f.takes_left }),
        }
    }

    /// Changes until when a value lives.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`]; [`Kind::Invalid`] for a lifetime that is not allowed.
    pub async fn touch_value(
        &self,
        name: &str,
        lifetime: LifetimeRequest,
        condition: Condition,
    ) -> Result<(Version, Expiry), Failure> {
        let key = self.value_key(name)?;
        let ask = Ask::Touch { condition, lifetime };
        match self.change(self.values, key.as_bytes(), ask).await? {
            Outcome::Written { version, expiry } => Ok((version, expiry)),
            Outcome::Absent => Err(absent(name)),
            Outcome::Conflict { current } => Err(conflict(name, current)),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes a value.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`].
    pub async fn delete_value(&self, name: &str, condition: Condition) -> Result<(), Failure> {
        let key = self.value_key(name)?;
        match self.change(self.values, key.as_bytes(), Ask::Delete { condition }).await? {
            Outcome::Deleted { .. } => Ok(()),
            Outcome::Absent => Err(absent(name)),
            Outcome::Conflict { current } => Err(conflict(name, current)),
            other => Err(unexpected(&other)),
        }
    }

    /// Reads a value that allows a limited number of reads, using one up.
    ///
    /// # Errors
    /// [`Kind::NotFound`] also once it is used up; [`Kind::Invalid`] for an ordinary value.
    pub async fn take_value(&self, name: &str) -> Result<Value, Failure> {
        let key = self.value_key(name)?;
        match self.change(self.values, key.as_bytes(), Ask::Take).await? {
            Outcome::Taken { version, expiry, takes_left, head, body } => {
                let tokens = Vec::new();
                let found = Found { version, expiry, takes_left: Some(takes_left), tokens, head, body };
                self.open_value(key, name, &found)
            }
            Outcome::Absent => Err(absent(name)),
            other => Err(unexpected(&other)),
        }
    }

    /// All values with their names, in no order. Values that may only be taken show no name. Answers how many are
    /// there that cannot be read: they hide no other.
    ///
    /// # Errors
    /// [`Failure`]; what `each` fails with.
    pub async fn list_values(
        &self,
        mut each: impl FnMut(Option<String>, ValueState) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let scan = Scan::heads(self.values, &[]);
        let mut pages = self.remote.scan(scan).await?;
        let mut damaged = 0;
        while let Some(page) = pages.next().await? {
            damaged += page.damaged.len() as u64;
            for (key, found) in page.records {
                let name = if found.takes_left.is_some() {
                    None
                } else {
                    match self.open_head(self.values, key.as_bytes(), &found.head) {
                        Ok(Head::Value(head)) => Some(head.name),
                        Ok(_) => {
                            damaged += 1;
                            continue;
                        }
                        Err(failure) if failure.kind == Kind::Damaged => {
                            damaged += 1;
                            continue;
                        }
                        Err(failure) => return Err(failure),
                    }
                };
                let state =
                    ValueState { version: found.version, expiry: found.expiry, takes_left: found.takes_left };
                each(name, state)?;
            }
        }
        Ok(damaged)
    }
}
