//! The namespaces this node knows. Their settings are records in the system namespace, held here as well so
//! that no request reads them from disk.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::limits::NAMESPACES_MAX;
use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder, WhenFull};
use larder_format::record::{Ballot, Content, Expiry, Key, Live, RecordSlot, RecordState, Version};
use larder_format::slot::Slot;
use larder_format::token::record::TOKEN_RECORD_PREFIX;
use larder_store::api::{Address, Current, Next, RecordStore, ScanRequest, StoreError, Ticket, Want};
use larder_store::log::LogStore;
use larder_store::memory::MemoryTable;
use larder_wire::answer::Failure;
use parking_lot::RwLock;

use crate::quota;
use crate::registers::store_failure;

/// What helps against settings that cannot be read.
const CREATE_AGAIN: &str = "create it again with the class and privacy it had, and what is in it is there";

/// All namespaces, by id.
pub struct Namespaces {
    disk: Arc<LogStore>,
    memory: Arc<MemoryTable>,
    known: RwLock<HashMap<NamespaceId, Arc<Namespace>>>,
    /// Those whose settings are damaged.
    unreadable: RwLock<HashSet<NamespaceId>>,
    /// Raised whenever settings change or a namespace goes.
    epoch: AtomicU64,
}

impl Namespaces {
    /// Reads the settings that the disk store holds, and puts quotas in force. Settings but lifetimes and quota never
    /// change once they are there, so what is known holds even while other frames are lost (those may then be older
    /// ones); what is not known is an error.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Damaged`] if settings make no sense. A namespace whose settings cannot be read is not
    /// served until it is created again; the others are.
    pub fn load(disk: Arc<LogStore>, memory: Arc<MemoryTable>) -> Result<Self, StoreError> {
        let (mut known, mut unreadable) = (HashMap::new(), HashSet::new());
        let mut request = ScanRequest {
            prefix: bytes::Bytes::new(),
            cursor: bytes::Bytes::new(),
            limit: 256,
            key_len_max: larder_format::limits::KEY_LEN_MAX,
            want: Want::All,
        };
        loop {
            let page = disk.scan_known(NamespaceId::SYSTEM, &request)?;
            let is_settings = |key: &Key| !key.as_bytes().starts_with(TOKEN_RECORD_PREFIX);
            for key in page.damaged.iter().filter(|key| is_settings(key)) {
                // The others are served all the same.
                tracing::error!(?key, "the settings of a namespace cannot be read: {CREATE_AGAIN}");
                unreadable.insert(NamespaceId::of(&String::from_utf8_lossy(key.as_bytes())));
            }
            for (key, state) in page.records.into_iter().filter(|(key, _)| is_settings(key)) {
                let Content::Live(live) = state.content else { continue };
                let settings =
                    Namespace::decode(live.body).map_err(|e| damaged_settings(&key, &e.to_string()))?;
                disk.used().of(settings.id()).set_limit(settings.quota_bytes);
                memory.set_evicts(settings.id(), settings.when_full == WhenFull::Evict);
                known.insert(settings.id(), Arc::new(settings));
            }
            match page.next {
                Some(cursor) => request.cursor = cursor,
                None => break,
            }
        }
        let (known, unreadable) = (RwLock::new(known), RwLock::new(unreadable));
        Ok(Self { disk, memory, known, unreadable, epoch: AtomicU64::new(0) })
    }

    /// The settings of a namespace.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is no such namespace here; [`Kind::Damaged`] if its settings cannot be read, or may be
    /// among what was lost.
    pub fn get(&self, id: NamespaceId) -> Result<Arc<Namespace>, Failure> {
        self.known.read().get(&id).cloned().ok_or_else(|| {
            if self.unreadable.read().contains(&id) {
                return unreadable(&format!("id={id}"));
            }
            if self.disk.has_unaccepted_damage() {
                let message =
                    format!("frames were lost that may have held the settings of a namespace id={id}");
                return Failure::new(Kind::Damaged, message);
            }
            Failure::new(Kind::NotFound, format!("no such namespace id={id}; create it first"))
        })
    }

    /// A number that changes whenever settings change or a namespace goes: what was looked up before may be out of date.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<Arc<Namespace>> {
        let mut all: Vec<_> = self.known.read().values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Creates a namespace. Answers whether it is new, and when that is durable.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for settings that are not allowed, [`Kind::Conflict`] if it exists with others.
    pub fn create(&self, settings: Namespace, now: Hlc) -> Result<(bool, Ticket), Failure> {
        settings.check().map_err(|e| Failure::new(Kind::Invalid, e.to_string()))?;
        if settings.replicas != 1 {
            let message = format!(
                "this node is alone and can hold one replica replicas={}; ask for one",
                settings.replicas
            );
            return Err(Failure::new(Kind::Invalid, message));
        }
        quota::check(Some(settings.id()), settings.quota_bytes)?;
        refuse_unenforced(&settings)?;
        let mut known = self.known.write();
        if let Some(existing) = known.get(&settings.id()) {
            // The quota may have been changed since.
            let as_made = Namespace { quota_bytes: existing.quota_bytes, ..settings.clone() };
            let asks_no_other = settings.quota_bytes.is_none_or(|bytes| existing.quota_bytes == Some(bytes));
            if **existing == as_made && asks_no_other {
                // Whoever created it may still be waiting for the disk; then so does this.
                let key = settings_key(&settings)?;
                let read = self.disk.read(settings_address(&key), Want::Head).map_err(store_failure)?;
                return Ok((false, read.1));
            }
            let message = format!("namespace exists with other settings name={}", settings.name);
            return Err(Failure::new(Kind::Conflict, message));
        }
        if known.len() >= NAMESPACES_MAX {
            return Err(Failure::new(Kind::Full, format!("too many namespaces max={NAMESPACES_MAX}")));
        }
        let ticket = self.store(&settings, now, Next::Store)?;
        self.unreadable.write().remove(&settings.id());
        known.insert(settings.id(), Arc::new(settings));
        Ok((true, ticket))
    }

    /// The settings of the namespace of this name.
    ///
    /// # Errors
    /// [`Kind::NotFound`] names those there are; [`Kind::Damaged`] if they cannot be read.
    pub fn named(&self, name: &str) -> Result<Arc<Namespace>, Failure> {
        if self.unreadable.read().contains(&NamespaceId::of(name)) {
            return Err(unreadable(&format!("name={name:?}")));
        }
        find(&self.known.read(), name).cloned()
    }

    /// Changes lifetimes, quota and what happens when memory is full, for what is written from now on; answers when that is durable.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Retry`] if it is not any more what it was `before`; [`Kind::Invalid`] for what is not
    /// allowed or cannot be changed.
    pub fn set(&self, before: &Namespace, settings: Namespace, now: Hlc) -> Result<Ticket, Failure> {
        settings.check().map_err(|e| Failure::new(Kind::Invalid, e.to_string()))?;
        quota::check(Some(settings.id()), settings.quota_bytes)?;
        let mut known = self.known.write();
        let existing = find(&known, &settings.name)?;
        if **existing != *before {
            let message =
                format!("somebody else has just changed this namespace; look again name={:?}", settings.name);
            return Err(Failure::new(Kind::Retry, message));
        }
        let fixed = |of: &Namespace| Namespace {
            ttl_default_ms: None,
            ttl_max_ms: None,
            quota_bytes: None,
            when_full: WhenFull::Refuse,
            ..of.clone()
        };
        if fixed(existing) != fixed(&settings) {
            let message = "of a namespace only lifetimes, quota and when_full can be changed: what is in it was stored as it is";
            return Err(Failure::new(Kind::Invalid, message));
        }
        let ticket = self.store(&settings, now, Next::StoreInto)?;
        known.insert(settings.id(), Arc::new(settings));
        self.epoch.fetch_add(1, Ordering::AcqRel);
        Ok(ticket)
    }

    /// Forgets a namespace of which nothing is left; answers when that is durable.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub(crate) fn forget(&self, name: &str) -> Result<Ticket, Failure> {
        let mut known = self.known.write();
        let settings = find(&known, name)?.clone();
        let key = settings_key(&settings)?;
        let remove = &mut |current: &mut dyn Current| {
            let Some(meta) = current.meta() else { return Ok(Next::Keep) };
            Ok(Next::Remove { floor: Ballot { round: meta.version.to_u64(), proposer: 0 } })
        };
        let ticket = self.disk.update(settings_address(&key), remove).map_err(store_failure)?;
        self.disk.used().of(settings.id()).set_limit(None);
        self.memory.set_evicts(settings.id(), false);
        known.remove(&settings.id());
        self.epoch.fetch_add(1, Ordering::AcqRel);
        Ok(ticket)
    }

    /// Sets or lifts a namespace's quota, at once; answers the one before, and when the new one is durable.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for an unknown namespace; [`Kind::Invalid`] for a quota out of range.
    pub fn set_quota(
        &self,
        name: &str,
        quota_bytes: Option<u64>,
        now: Hlc,
    ) -> Result<(Option<u64>, Ticket), Failure> {
        let id = NamespaceId::of(name);
        quota::check(Some(id), quota_bytes)?;
        let mut known = self.known.write();
        let existing = find(&known, name)?;
        let before = existing.quota_bytes;
        let settings = Namespace { quota_bytes, ..(**existing).clone() };
        // Raising a quota is a way out of a full node.
        let ticket = self.store(&settings, now, Next::StoreInto)?;
        known.insert(id, Arc::new(settings));
        self.epoch.fetch_add(1, Ordering::AcqRel);
        Ok((before, ticket))
    }

    /// Writes settings and puts the quota in force.
    fn store(&self, settings: &Namespace, now: Hlc, next: fn(RecordSlot) -> Next) -> Result<Ticket, Failure> {
        let key = settings_key(settings)?;
        let store = &mut |current: &mut dyn Current| {
            let newest = current.meta().map_or(0, |meta| meta.version.to_u64());
            let state = RecordState {
                version: Version::from_u64(now.to_u64().max(newest.saturating_add(1))),
                expiry: Expiry::NEVER,
                content: Content::Live(Live { body: settings.encode(), ..Live::default() }),
                operations: Vec::new(),
            };
            Ok(next(RecordSlot { ballots: None, state: Some(state) }))
        };
        let ticket = self.disk.update(settings_address(&key), store).map_err(store_failure)?;
        self.disk.used().of(settings.id()).set_limit(settings.quota_bytes);
        self.memory.set_evicts(settings.id(), settings.when_full == WhenFull::Evict);
        Ok(ticket)
    }
}

fn find<'a>(
    known: &'a HashMap<NamespaceId, Arc<Namespace>>,
    name: &str,
) -> Result<&'a Arc<Namespace>, Failure> {
    known.get(&NamespaceId::of(name)).filter(|existing| existing.name == name).ok_or_else(|| {
        let mut names: Vec<&str> = known.values().map(|namespace| namespace.name.as_str()).collect();
        names.sort_unstable();
        let message = format!("no such namespace name={name:?}; there are: {}", names.join(", "));
        Failure::new(Kind::NotFound, message)
    })
}

fn settings_key(settings: &Namespace) -> Result<Key, Failure> {
    Key::new(settings.name.clone().into_bytes()).map_err(|e| Failure::new(Kind::Invalid, e.to_string()))
}

fn settings_address(key: &Key) -> Address<'_> {
    Address { namespace: NamespaceId::SYSTEM, slot: Slot::of_raw(key.as_bytes()), key }
}

/// Settings that this node would store but not enforce are refused: whoever asks for them relies on them.
fn refuse_unenforced(settings: &Namespace) -> Result<(), Failure> {
    let unenforced = [("owner_keys", !settings.owner_keys.is_empty()), ("zone", !settings.zone.is_empty())];
    match unenforced.iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((what, _)) => {
            let message = format!("this node cannot enforce a namespace's {what} yet; leave it out");
            Err(Failure::new(Kind::Invalid, message))
        }
    }
}

fn unreadable(which: &str) -> Failure {
    let message = format!("the settings of this namespace cannot be read {which}: {CREATE_AGAIN}");
    Failure::new(Kind::Damaged, message)
}

fn damaged_settings(key: &Key, why: &str) -> StoreError {
    StoreError::Damaged { what: format!("settings of namespace {key:?}: {why}").into(), place: "log".into() }
}

/// The slot of a key in a namespace.
#[must_use]
pub fn slot_of(namespace: &Namespace, key: &Key) -> Slot {
    match namespace.privacy {
        Privacy::Sealed => Slot::of_sealed(key.as_bytes()),
        Privacy::Raw => Slot::of_raw(key.as_bytes()),
    }
}

/// Whether a namespace's class and order go together: memory tables scan by hash, the log by key.
///
/// # Errors
/// [`Kind::Invalid`] names the combination that is not there.
pub fn check_order(settings: &Namespace) -> Result<(), Failure> {
    let fits = match settings.class {
        Class::Memory => settings.scan_order == ScanOrder::Hash,
        Class::Disk => settings.scan_order == ScanOrder::Key,
    };
    if fits {
        return Ok(());
    }
    let message = "memory namespaces are scanned by hash, disk namespaces by key";
    Err(Failure::new(Kind::Invalid, message))
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use larder_format::rng::SeededRng;
    use larder_store::disk::sim::SimDisk;
    use larder_store::disk::{Disk, OpenMode};
    use larder_store::log::LogConfig;
    use larder_store::memory::MemoryConfig;

    use super::*;

    fn load(disk: &SimDisk) -> Namespaces {
        disk.unlock();
        let config = LogConfig { threads: false, reserve_bytes: 0, margin_bytes: 0, ..LogConfig::default() };
        let log = LogStore::open_on(Arc::new(disk.clone()), config, &mut SeededRng::new(1)).unwrap();
        let memory = MemoryTable::new(MemoryConfig { cap_bytes: 0, hash_seed: 4 });
        Namespaces::load(Arc::new(log), Arc::new(memory)).unwrap()
    }

    #[test]
    fn damaged_settings_of_one_namespace_keep_nobody_from_the_others() {
        let disk = SimDisk::new();
        let of = |name| Namespace::new(name, Privacy::Sealed, Class::Disk, ScanOrder::Key);
        let (files, other) = (of("files"), of("other"));
        let namespaces = load(&disk);
        for settings in [&files, &other] {
            drop(namespaces.create(settings.clone(), Hlc::from_ms(5)).unwrap());
        }
        namespaces.disk.pump().unwrap();
        drop(namespaces);
        let (bytes, wanted) = (disk.contents()["00000001.seg"].clone(), files.encode());
        let at = bytes.windows(wanted.len()).position(|some| *some == wanted[..]).unwrap();
        let file = disk.open("00000001.seg", OpenMode::ReadWrite).unwrap();
        file.write_at(at as u64, &[IoSlice::new(&[0xa5; 2])]).unwrap();

        let namespaces = load(&disk);
        assert_eq!(namespaces.get(other.id()).unwrap().name, "other");
        for refused in [namespaces.get(files.id()), namespaces.named("files")] {
            assert_eq!(refused.map(|_| ()).unwrap_err().kind, Kind::Damaged);
        }
        assert!(namespaces.create(files.clone(), Hlc::from_ms(6)).unwrap().0, "made anew");
        assert_eq!(namespaces.get(files.id()).unwrap().name, "files");
        namespaces.disk.pump().unwrap();
        drop(namespaces);
        assert_eq!(*load(&disk).named("files").unwrap(), files);
    }
}
