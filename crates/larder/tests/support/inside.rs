//! The vault seen from inside a test: records read and written one by one, as an interrupted command or a dishonest
//! node would leave them.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use bytes::Bytes;
use larder_client::connection::ConnectOptions;
use larder_client::files::{PutOptions, Reading};
use larder_client::memory::SeenMemory;
use larder_client::remote::{Remote, Scan};
use larder_client::vault::Vault;
use larder_format::head::{DirId, DirState, Directory, EntryTarget, Head};
use larder_format::ids::NamespaceId;
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Found, Outcome};
use larder_format::record::{Key, Version};
use larder_format::rng::SystemRng;
use larder_seal::header::VaultHeader;
use larder_seal::keys::VaultRoot;
use larder_seal::names::{NameKeys, SealedKey};
use larder_seal::record::{RecordOpener, RecordPlace, RecordSealer};
use larder_seal::slots::Unlock;
use larder_wire::request::{Ask, AskPut, RecordRequest};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::support::{Home, PASSPHRASE};

/// An open vault and its node.
pub struct Inside {
    runtime: Runtime,
    remote: Remote,
    root: VaultRoot,
    pub names: NameKeys,
    pub files: NamespaceId,
    pub values: NamespaceId,
}

impl Inside {
    /// Opens the vault of a home whose node runs.
    pub fn of(home: &Home) -> Self {
        let config = home.home().join("config");
        let header = Bytes::from(std::fs::read(config.join("vault.header")).unwrap());
        let root = VaultHeader::decode(&header).unwrap();
        let root = root.open(Unlock::Passphrase(PASSPHRASE.as_bytes())).unwrap();
        let pid_file = std::fs::read_to_string(home.home().join("state/node.pid")).unwrap();
        let pid_file: Value = serde_json::from_str(&pid_file).unwrap();
        let certificate = |name: &str| std::fs::read(config.join("certificates").join(name)).unwrap();
        let options = ConnectOptions {
            address: pid_file["address"].as_str().unwrap().to_owned(),
            authority_pem: certificate("authority.pem"),
            certificate_pem: certificate("client.pem"),
            key_pem: certificate("client.key"),
        };
        let runtime = Runtime::new().unwrap();
        let remote = runtime.block_on(Remote::connect(&options)).unwrap();
        Self {
            runtime,
            remote,
            names: NameKeys::new(&root),
            root,
            files: NamespaceId::of(larder_client::vault::FILES),
            values: NamespaceId::of(larder_client::vault::VALUES),
        }
    }

    fn ask(&self, namespace: NamespaceId, key: &[u8], ask: Ask) -> Outcome {
        let key = Key::new(Bytes::copy_from_slice(key)).unwrap();
        let request = RecordRequest { tag: 0, namespace, key, identity: None, ask };
        self.runtime.block_on(self.remote.apply(request)).unwrap()
    }

    /// A record of a file or folder.
    pub fn read(&self, key: &[u8]) -> Option<Found> {
        match self.ask(self.files, key, Ask::Get { head_only: false }) {
            Outcome::Found(found) => Some(found),
            Outcome::Absent => None,
            other => panic!("{other:?}"),
        }
    }

    /// Writes a record as it is.
    pub fn write(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        found: &Found,
        lifetime: LifetimeRequest,
    ) -> Version {
        let (tokens, head, body) = (found.tokens.clone(), found.head.clone(), found.body.clone());
        let put = AskPut { lifetime, tokens, head, body, ..AskPut::default() };
        match self.ask(namespace, key, Ask::Put(put)) {
            Outcome::Written { version, .. } => version,
            other => panic!("{other:?}"),
        }
    }

    /// Makes a record of any namespace one that no longer opens.
    pub fn spoil(&self, namespace: NamespaceId, key: &[u8]) {
        let Outcome::Found(mut found) = self.ask(namespace, key, Ask::Get { head_only: false }) else {
            panic!()
        };
        let spoilt = |bytes: &Bytes| {
            let mut bytes = bytes.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            Bytes::from(bytes)
        };
        (found.head, found.body) = (spoilt(&found.head), spoilt(&found.body));
        self.write(namespace, key, &found, LifetimeRequest::Default);
    }

    /// Deletes a record; whether it was there.
    pub fn delete(&self, key: &[u8]) -> bool {
        let outcome = self.ask(self.files, key, Ask::Delete { condition: Condition::Any });
        matches!(outcome, Outcome::Deleted { .. })
    }

    fn head(&self, key: &[u8]) -> Option<Head> {
        let found = self.read(key)?;
        let place = RecordPlace::new(self.files, key);
        let plain = RecordOpener::new(&self.root).open_head(place, &found.head).unwrap();
        Some(Head::decode(plain).unwrap())
    }

    /// The key of what is under a path whose folders are all there.
    pub fn key(&self, path: &str) -> SealedKey {
        let mut names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let last = names.pop().unwrap();
        let dir = names.iter().fold(self.names.root_dir(), |dir, name| self.child(dir, name));
        self.names.entry_key(dir, last)
    }

    fn child(&self, dir: DirId, name: &str) -> DirId {
        match self.head(self.names.entry_key(dir, name).as_bytes()) {
            Some(Head::Entry(entry)) => match entry.target {
                EntryTarget::Directory { id, .. } => id,
                EntryTarget::File { .. } => panic!("{name} is a file"),
            },
            other => panic!("{name}: {other:?}"),
        }
    }

    /// The id of a folder.
    pub fn folder(&self, path: &str) -> DirId {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.fold(self.names.root_dir(), |dir, name| self.child(dir, name))
    }

    /// The key of a folder's own record.
    pub fn folder_key(&self, path: &str) -> SealedKey {
        self.names.directory_key(self.folder(path))
    }

    /// Does what deleting a folder begins with, and no more.
    pub fn close(&self, path: &str) {
        let key = self.folder_key(path);
        let Some(Head::Directory(directory)) = self.head(key.as_bytes()) else { panic!("{path}") };
        let head = Head::Directory(Directory { state: DirState::Closing, ..directory }).encode().unwrap();
        let sealer = RecordSealer::new(&self.root, 0, &mut SystemRng);
        let sealed = sealer.seal(RecordPlace::new(self.files, key.as_bytes()), &head, &[]).unwrap();
        let mut found = self.read(key.as_bytes()).unwrap();
        (found.head, found.body) = (sealed.head, sealed.body);
        self.write(self.files, key.as_bytes(), &found, LifetimeRequest::Default);
    }

    /// Puts a file as another device would, past any proxy that came later.
    pub fn put(&self, path: &str, content: &'static [u8]) {
        let path = larder_client::path::VaultPath::parse(path).unwrap();
        let clock = std::sync::Arc::new(larder_format::clock::SystemClock::new());
        self.runtime.block_on(async {
            let vault = Vault::open(self.remote.clone(), &self.root, 0, SeenMemory::ephemeral(), clock)
                .await
                .unwrap();
            let reading = Reading::Stream(Box::new(content));
            vault.put_file(&path, reading, &PutOptions::default(), &Default::default()).await.unwrap();
        });
    }

    /// How many records there are of files and folders.
    pub fn count(&self) -> usize {
        self.runtime.block_on(async {
            let mut pages = self.remote.scan(Scan::heads(self.files, &[])).await.unwrap();
            let mut count = 0;
            while let Some(page) = pages.next().await.unwrap() {
                count += page.records.len();
            }
            count
        })
    }
}

/// A version as commands show it.
pub fn version(of: &Value) -> Version {
    Version::from_u64(of["version"].as_str().unwrap().parse().unwrap())
}
