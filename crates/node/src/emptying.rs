//! Deleting a namespace: what is in it, the leases that were taken for it, and at last the namespace itself. A node that
//! stops in between has a namespace with less in it, and the same command goes on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::limits::KEY_LEN_MAX;
use larder_format::namespace::{Class, Namespace};
use larder_format::record::{Ballot, Content};
use larder_store::api::{Address, Next, RecordStore, ScanRequest, StoreError, Ticket, Want};
use larder_store::log::LogStore;
use larder_wire::answer::Failure;

use crate::leases::Leases;
use crate::namespaces::{Namespaces, slot_of};
use crate::registers::{Registers, store_failure};

/// Records removed in one step, between which others get their turn.
const PAGE_RECORDS: usize = 512;

/// Rounds in which everything is removed. More than one are needed only where others still write.
const ROUNDS_MAX: usize = 16;

/// A namespace that is forgotten.
struct Emptied {
    namespace: Arc<Namespace>,
    /// Values that were in it.
    held: u64,
    /// When it is gone for good.
    gone: Ticket,
}

/// How long those may write to a namespace yet who knew it before it was forgotten: they have the time of a request.
const STRAGGLERS_MAX: Duration = Duration::from_millis(200);

/// What deleting works on.
pub(crate) struct Emptying {
    pub(crate) registers: Arc<Registers>,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) log: Arc<LogStore>,
}

impl Emptying {
    /// Deletes a namespace, with `force` also what is in it. Answers how many values that were. Takes as long as there is
    /// to delete.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if there is something in it; [`Kind::Retry`] while others write to it.
    pub(crate) async fn delete(self: Arc<Self>, name: String, force: bool) -> Result<u64, Failure> {
        let Emptied { namespace, held, gone } =
            self.clone().aside(move |this| this.empty(&name, force)).await?;
        tokio::time::sleep(STRAGGLERS_MAX).await;
        let name = namespace.name.clone();
        let back = self.aside(move |this| this.clear_up(&namespace, force)).await?;
        gone.await.map_err(store_failure)?;
        if let Some(back) = back {
            back.await.map_err(store_failure)?;
            return Err(not_empty(&name));
        }
        tracing::info!(name, values = held, "a namespace was deleted");
        Ok(held)
    }

    /// Removes what was still written to a namespace that is forgotten; if something is in it that may not be lost, the
    /// namespace is put back, and when that is durable is answered. One that somebody has made anew is left alone.
    fn clear_up(&self, namespace: &Namespace, force: bool) -> Result<Option<Ticket>, Failure> {
        if self.namespaces.named(&namespace.name).is_ok() {
            return Ok(None);
        }
        self.remove_all(namespace, force)?;
        self.end_leases(namespace)?;
        if self.live(namespace, false)? == 0 {
            return Ok(None);
        }
        let (_, ticket) = self.namespaces.create(namespace.clone(), self.registers.now())?;
        Ok(Some(ticket))
    }

    /// Does something on a thread where nobody waits for it.
    async fn aside<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let done = tokio::task::spawn_blocking(move || work(&self)).await;
        done.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?
    }

    /// Empties a namespace and forgets it.
    fn empty(&self, name: &str, force: bool) -> Result<Emptied, Failure> {
        let namespace = self.namespaces.named(name)?;
        let held = self.live(&namespace, force)?;
        if held > 0 && !force {
            return Err(not_empty(name));
        }
        for _ in 0..ROUNDS_MAX {
            let removed = self.remove_all(&namespace, force)?;
            self.end_leases(&namespace)?;
            if removed == 0 {
                let gone = self.namespaces.forget(name)?;
                return Ok(Emptied { namespace, held, gone });
            }
        }
        let message = format!("others still write to the namespace {name:?}; stop them, and try again");
        Err(Failure::new(Kind::Retry, message))
    }

    /// How many values there are; with `all` unset whether there is one.
    fn live(&self, namespace: &Namespace, all: bool) -> Result<u64, Failure> {
        let now = self.registers.now();
        let mut count = 0;
        let mut request = page();
        loop {
            let found = self.table(namespace).scan(namespace.id(), &request).map_err(store_failure)?;
            let live = |state: &larder_format::record::RecordState| {
                matches!(state.content, Content::Live(_)) && !state.expiry.is_past(now)
            };
            count += found.records.iter().filter(|(_, state)| live(state)).count() as u64;
            // What cannot be read may be a value.
            count += found.damaged.len() as u64;
            match found.next {
                Some(cursor) if all || count == 0 => request.cursor = cursor,
                _ => return Ok(count),
            }
        }
    }

    /// Removes every record, shadows too, but unless `force` no value that is still there; answers how many.
    fn remove_all(&self, namespace: &Namespace, force: bool) -> Result<u64, Failure> {
        let (table, now) = (self.table(namespace), self.registers.now());
        let mut removed = 0;
        let mut request = page();
        loop {
            let found = table.scan(namespace.id(), &request).map_err(store_failure)?;
            for key in found.records.iter().map(|(key, _)| key).chain(&found.damaged) {
                let at = Address { namespace: namespace.id(), slot: slot_of(namespace, key), key };
                // Durable in the order of these calls, and awaited with the last one: that of the settings.
                let _durable = table
                    .update(at, &mut |current| {
                        let meta = current.meta().filter(|meta| force || !meta.is_live(now));
                        let Some(meta) = meta else { return Ok(Next::Keep) };
                        removed += 1;
                        Ok(Next::Remove { floor: Ballot { round: meta.version.to_u64(), proposer: 0 } })
                    })
                    .map_err(store_failure)?;
            }
            match found.next {
                Some(cursor) => request.cursor = cursor,
                None => return Ok(removed),
            }
        }
    }

    /// Ends all leases that were taken for the namespace: no record lists them any more, and nobody would look for one
    /// after it is forgotten.
    fn end_leases(&self, namespace: &Namespace) -> Result<(), Failure> {
        if namespace.class != Class::Disk {
            return Ok(());
        }
        let end = || -> Result<(), StoreError> {
            for token in self.log.lease_tokens() {
                if self.log.lease_info(token).is_some_and(|lease| lease.namespace == namespace.id()) {
                    let _durable = self.leases.end_if_unlisted(token)?;
                }
            }
            Ok(())
        };
        end().map_err(store_failure)
    }

    fn table(&self, namespace: &Namespace) -> &dyn RecordStore {
        self.registers.table(namespace.class)
    }
}

fn not_empty(name: &str) -> Failure {
    let message = format!("the namespace {name:?} is not empty; with --force what is in it is deleted, too");
    Failure::new(Kind::Conflict, message)
}

fn page() -> ScanRequest {
    ScanRequest {
        prefix: Bytes::new(),
        cursor: Bytes::new(),
        limit: PAGE_RECORDS,
        key_len_max: KEY_LEN_MAX,
        want: Want::Head,
    }
}
