//! What somebody who may only add puts where a file's older version is to be kept: the node takes nothing there but
//! that very version, and a client does not take anything else for kept. Whatever was planted, what was there before
//! can be read after the next change.

use std::collections::BTreeSet;

use crate::issued::{issue, options};
use crate::support::{Home, noise, pause};
use larder_client::remote::{Remote, Scan};
use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Found, Outcome};
use larder_format::record::Key;
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut, RecordRequest};

/// How long what is planted for a short time lives, in milliseconds.
const SHORT_MS: u64 = 2_500;

/// What can be planted in the place of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Head,
    Body,
    HeadAndBody,
    Leases,
    Takes,
    Lifetime,
}

const FORMS: [Form; 6] =
    [Form::Head, Form::Body, Form::HeadAndBody, Form::Leases, Form::Takes, Form::Lifetime];

impl Form {
    /// The version that is there, with this wrong in it. `other` is a record of another file.
    fn of(self, there: &Found, other: &Found) -> AskPut {
        let mut put = copy(there);
        match self {
            Self::Head => put.head = other.head.clone(),
            Self::Body => put.body = other.body.clone(),
            Self::HeadAndBody => (put.head, put.body) = (other.head.clone(), other.body.clone()),
            Self::Leases => put.tokens.clear(),
            Self::Takes => put.takes = Some(1),
            Self::Lifetime => put.lifetime = LifetimeRequest::Ttl(SHORT_MS),
        }
        put
    }
}

fn copy(there: &Found) -> AskPut {
    AskPut {
        condition: Condition::Absent,
        lifetime: LifetimeRequest::Never,
        tokens: there.tokens.clone(),
        head: there.head.clone(),
        body: there.body.clone(),
        ..AskPut::default()
    }
}

/// Whoever plants, with a certificate and without any key of the vault.
struct Planter<'a> {
    remote: Remote,
    runtime: &'a tokio::runtime::Runtime,
    files: NamespaceId,
}

impl<'a> Planter<'a> {
    fn with(runtime: &'a tokio::runtime::Runtime, home: &Home, right: &str) -> Self {
        let folder = issue(home, &format!("planter-{right}"), &["--rights", right]);
        let remote = runtime.block_on(Remote::connect(&options(home, &folder))).unwrap();
        Self { remote, runtime, files: NamespaceId::of(larder_client::vault::FILES) }
    }

    fn apply(&self, key: &Key, ask: Ask) -> Result<Outcome, Failure> {
        let request = RecordRequest { tag: 0, namespace: self.files, key: key.clone(), identity: None, ask };
        self.runtime.block_on(self.remote.apply(request))
    }

    fn get(&self, key: &Key) -> Found {
        match self.apply(key, Ask::Get { head_only: false }).unwrap() {
            Outcome::Found(found) => found,
            other => panic!("{other:?}"),
        }
    }

    /// Keys of what is no kept version.
    fn keys(&self) -> BTreeSet<Vec<u8>> {
        self.runtime.block_on(async {
            let mut pages = self.remote.scan(Scan::heads(self.files, &[])).await.unwrap();
            let mut keys = BTreeSet::new();
            while let Some(page) = pages.next().await.unwrap() {
                keys.extend(page.records.iter().map(|(key, _)| key.as_bytes().to_vec()));
            }
            keys.retain(|key| key.len() == 32);
            keys
        })
    }

    /// Stores a file as its owner, and answers its key.
    fn store(&self, home: &Home, path: &str, content: &[u8]) -> Key {
        let before = self.keys();
        home.run_with(&["put", "-", path], content).ends(0);
        let new: Vec<_> = self.keys().difference(&before).cloned().collect();
        assert_eq!(new.len(), 1);
        Key::new(new[0].clone()).unwrap()
    }

    /// Plants in the place of the version that is there, or of the one `later` by so much.
    fn plant(&self, key: &Key, later: i64, put: AskPut) -> Result<Outcome, Failure> {
        let version = self.get(key).version.to_u64().wrapping_add_signed(later);
        self.apply(&place(key, version), Ask::Put(put))
    }

    /// That a version is kept with all that it held.
    fn is_kept(&self, key: &Key, version: &Found, form: Form) {
        let kept = self.get(&place(key, version.version.to_u64()));
        assert!(!version.tokens.is_empty() && kept.tokens == version.tokens, "{form:?}: its leases are lost");
        assert!(kept.head == version.head && kept.body == version.body, "{form:?}: it is another");
        assert!(kept.takes_left.is_none() && kept.expiry >= version.expiry, "{form:?}: it will go");
    }
}

/// Where a version is kept.
fn place(key: &Key, version: u64) -> Key {
    let mut place = key.as_bytes().to_vec();
    place.extend_from_slice(&version.to_be_bytes());
    Key::new(place).unwrap()
}

fn versions(home: &Home, path: &str) -> Vec<String> {
    let lines = home.run(&["versions", "--json", path]).ends(0).json_lines();
    lines
        .iter()
        .map(|line| line["version"].as_str().map_or(line["version"].to_string(), Into::into))
        .collect()
}

/// That every one of these contents can be read as one of the file's versions.
fn all_there(home: &Home, path: &str, contents: &[&[u8]], what: &str) {
    let out = home.path("out");
    let mut read = Vec::new();
    for version in versions(home, path) {
        let _ = std::fs::remove_file(&out);
        let said = home.run(&["get", path, out.to_str().unwrap(), "--version", &version]);
        read.extend((said.code == 0).then(|| std::fs::read(&out).unwrap()));
    }
    for (at, content) in contents.iter().enumerate() {
        assert!(read.iter().any(|is| is == content), "{what}: content {at} of {path} is lost");
    }
}

/// Changes a file in every way that keeps its version, with something planted before each.
fn change_everything(home: &Home, planter: &Planter<'_>, form: Form, plant: &dyn Fn(&Key, AskPut)) {
    let path = &format!("/{form:?}");
    let [first, second, moved] = [11, 12, 13].map(|seed| noise(600_000, seed));
    let other = planter.store(home, &format!("{path}-other"), &noise(600_000, 14));
    let other = planter.get(&other);
    let key = planter.store(home, path, &first);
    let again = || plant(&key, form.of(&planter.get(&key), &other));

    let there = planter.get(&key);
    again();
    home.run_with(&["put", "-", path], &second).ends(0);
    planter.is_kept(&key, &there, form);
    if form == Form::Lifetime {
        pause(SHORT_MS);
    }
    home.run(&["node", "collect"]).ends(0);
    all_there(home, path, &[&first, &second], &format!("put, {form:?}"));

    let oldest = versions(home, path).pop().unwrap();
    again();
    home.run(&["restore", path, "--version", &oldest]).ends(0);
    all_there(home, path, &[&first, &second], &format!("restore, {form:?}"));

    again();
    home.run(&["rm", path]).ends(0);
    home.run(&["node", "collect"]).ends(0);
    home.run(&["undelete", path]).ends(0);
    all_there(home, path, &[&first, &second], &format!("rm and undelete, {form:?}"));

    home.run_with(&["put", "-", &format!("{path}-moved")], &moved).ends(0);
    home.run_with(&["put", "-", path], b"last").ends(0);
    again();
    home.run(&["mv", &format!("{path}-moved"), path]).ends(0);
    all_there(home, path, &[&first, &second, &moved, b"last"], &format!("mv, {form:?}"));
}

#[test]
fn the_node_lets_nobody_who_may_only_add_plant_anything_but_the_version_itself() {
    let home = Home::up();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let planter = Planter::with(&runtime, &home, "append-only");
    for form in FORMS {
        let refused = std::cell::Cell::new(0);
        change_everything(&home, &planter, form, &|key, put| {
            let planted = planter.plant(key, 0, put);
            refused.set(refused.get() + u32::from(planted.is_err_and(|f| f.kind == Kind::Denied)));
        });
        // Of small content there are no leases to leave out.
        assert!(refused.get() >= 3, "{form:?}: refused {} times", refused.get());
    }

    let key = planter.store(&home, "/copied", &noise(600_000, 15));
    let there = planter.get(&key);
    // Of a version that is still to come, or was never one of the file's.
    let later = planter.plant(&key, 1, copy(&there)).unwrap_err();
    assert!(later.kind == Kind::Denied && later.message.contains("lacks the right write"), "{later}");
    assert_eq!(planter.plant(&key, -1, copy(&there)).unwrap_err().kind, Kind::Retry);
    for len in [33, 39, 41, 48] {
        let mut place = key.as_bytes().to_vec();
        place.resize(len, 0);
        let refused = planter.apply(&Key::new(place).unwrap(), Ask::Put(copy(&there))).unwrap_err();
        assert_eq!(refused.kind, Kind::Denied, "{len}: {refused}");
    }
    let nowhere = planter.apply(&Key::new(vec![7; 40]).unwrap(), Ask::Put(copy(&there))).unwrap_err();
    assert_eq!(nowhere.kind, Kind::Retry, "{nowhere}");
    // The version itself is what may be put there.
    assert!(matches!(planter.plant(&key, 0, copy(&there)), Ok(Outcome::Written { .. })));
    home.run_with(&["put", "-", "/copied"], b"new").ends(0);
    all_there(&home, "/copied", &[&noise(600_000, 15), b"new"], "a copy");
}

#[test]
fn a_client_replaces_what_was_planted_where_a_version_is_to_be_kept() {
    let home = Home::up();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // As on a node that has not always refused it.
    let planter = Planter::with(&runtime, &home, "write");
    for form in FORMS {
        change_everything(&home, &planter, form, &|key, put| {
            // What a change before has kept there already stays.
            planter.plant(key, 0, put).unwrap();
        });
    }
}

#[test]
fn a_client_that_may_not_replace_what_was_planted_changes_nothing() {
    let (home, device) = (Home::up(), Home::new());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let planter = Planter::with(&runtime, &home, "write");
    let other = planter.store(&home, "/other", &noise(600_000, 22));
    let key = planter.store(&home, "/f", &noise(600_000, 21));
    let (there, other) = (planter.get(&key), planter.get(&other));
    planter.plant(&key, 0, Form::HeadAndBody.of(&there, &other)).unwrap();

    let folder = issue(&home, "laptop", &["--rights", "append-only"]);
    let (address, passphrase) = (crate::issued::address(&home), device.path("passphrase"));
    let up = ["up", "--connect", &address, "--certificates", folder.to_str().unwrap()];
    device.run(&[&up[..], &["--passphrase-file", passphrase.to_str().unwrap()]].concat()).ends(0);
    device.run_with(&["put", "-", "/f"], b"new").ends(7).says("something else lies where its older version");
    assert_eq!(planter.get(&key).version, there.version);
    // Whoever may write puts it right, and then the other one can go on.
    home.run_with(&["put", "-", "/f"], b"newer").ends(0);
    device.run_with(&["put", "-", "/f"], b"newest").ends(0);
    all_there(&home, "/f", &[&noise(600_000, 21), b"newer", b"newest"], "after it was put right");
}
