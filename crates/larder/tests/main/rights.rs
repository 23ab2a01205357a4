//! Every call of the protocol with every right, and every operation on a record with every right: what is allowed is
//! what the table here says, and nothing else.

use std::time::Duration;

use crate::issued::{issue, options};
use crate::support::Home;
use crate::support::patience::WAIT_MAX;
use bytes::{Buf, BufMut, Bytes};
use larder_client::connection::connect;
use larder_client::remote::Remote;
use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Key;
use larder_wire::request::{Ask, AskPut, RecordRequest};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Least first.
const RIGHTS: [&str; 4] = ["read", "append-only", "write", "admin"];

/// Every call, and the place in [`RIGHTS`] of the least right that it needs.
const CALLS: &[(&str, &str, usize)] = &[
    ("Records", "Apply", 0),
    ("Records", "ApplyStream", 0),
    ("Records", "Scan", 0),
    ("Records", "Watch", 0),
    ("Records", "Newest", 0),
    ("Blobs", "Put", 1),
    ("Blobs", "Get", 0),
    ("Blobs", "Lease", 1),
    ("Blobs", "Release", 2),
    ("Node", "Status", 0),
    ("Node", "ListNamespaces", 0),
    ("Node", "CreateNamespace", 3),
    ("Node", "SetNamespace", 3),
    ("Node", "DeleteNamespace", 3),
    ("Node", "CreateToken", 3),
    ("Node", "ListTokens", 3),
    ("Node", "RevokeToken", 3),
    ("Node", "Collect", 3),
    ("Node", "Scrub", 3),
    ("Node", "AcceptDamage", 3),
    ("Node", "SetQuota", 3),
    ("Node", "Usage", 0),
    ("Node", "Upkeep", 0),
];

/// Messages as bytes: what they say does not matter here.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A stream that says nothing for so long has begun, where it may.
const BEGINS: Duration = Duration::from_millis(300);

/// How a call with an empty message ends; a stream that goes on for so long has begun, which is what is asked.
async fn outcome(channel: &Channel, service: &str, method: &str, begins: Duration) -> Code {
    outcome_of(channel, service, method, Bytes::new(), begins).await
}

/// As [`outcome`], with this message.
async fn outcome_of(
    channel: &Channel,
    service: &str,
    method: &str,
    message: Bytes,
    begins: Duration,
) -> Code {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = format!("/larder.v1.{service}/{method}").parse().unwrap();
    let answer = client.server_streaming(Request::new(message), path, Raw).await;
    let mut answers = match answer {
        Ok(answers) => answers.into_inner(),
        Err(status) => return status.code(),
    };
    match tokio::time::timeout(begins, answers.message()).await {
        Ok(Err(status)) => status.code(),
        _ => Code::Ok,
    }
}

/// Services and methods as the protocol file has them.
fn declared() -> Vec<(String, String)> {
    let text = include_str!("../../../wire/proto/larder/v1/larder.proto");
    let mut service = "";
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        match (words.next(), words.next()) {
            (Some("service"), Some(name)) if line.starts_with("service") => service = name,
            (Some("rpc"), Some(name)) => found.push((service.to_owned(), name.to_owned())),
            _ => {}
        }
    }
    found
}

#[test]
fn every_call_needs_the_right_that_the_table_says() {
    let in_table: Vec<_> = CALLS.iter().map(|(s, m, _)| ((*s).to_owned(), (*m).to_owned())).collect();
    for call in declared() {
        assert!(
            in_table.contains(&call),
            "{call:?} is new: say in src/rights.rs of the node, and here, what it needs"
        );
    }
    let home = Home::up();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (has, right) in RIGHTS.into_iter().enumerate() {
        let folder = issue(&home, right, &["--rights", right]);
        runtime.block_on(async {
            let channel = connect(&options(&home, &folder)).await.unwrap();
            for (service, method, needs) in CALLS {
                // A refusal is waited for.
                let begins = if has < *needs { WAIT_MAX } else { BEGINS };
                let denied = outcome(&channel, service, method, begins).await == Code::PermissionDenied;
                assert_eq!(denied, has < *needs, "{service}.{method} with {right}");
            }
        });
    }
}

#[test]
fn an_admin_of_some_namespaces_has_no_say_over_the_node_and_the_others() {
    let home = Home::up();
    home.run(&["token", "create", "--right", "read", "--name", "everywhere"]).ends(0);
    home.run(&["token", "create", "--right", "read", "--namespace", "raw", "--name", "within"]).ends(0);
    let folder = issue(&home, "limited", &["--rights", "admin", "--namespace", "raw"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let channel = connect(&options(&home, &folder)).await.unwrap();
        for method in ["Collect", "Scrub", "AcceptDamage", "SetQuota"] {
            assert_eq!(outcome(&channel, "Node", method, WAIT_MAX).await, Code::PermissionDenied, "{method}");
        }
        // The field `namespace`, and a limit.
        let quota = |name: &str| {
            Bytes::from(
                [&[0x0a, name.len() as u8], name.as_bytes(), &[0x10, 0x80, 0x80, 0x80, 0x08]].concat(),
            )
        };
        let set = async |name| outcome_of(&channel, "Node", "SetQuota", quota(name), WAIT_MAX).await;
        assert_eq!((set("files").await, set("raw").await), (Code::PermissionDenied, Code::Ok));
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = "/larder.v1.Node/ListTokens".parse().unwrap();
        let listed: Bytes = client.unary(Request::new(Bytes::new()), path, Raw).await.unwrap().into_inner();
        let listed = String::from_utf8_lossy(&listed).into_owned();
        assert!(listed.contains("within") && !listed.contains("everywhere"), "{listed:?}");
    });
}

/// Operations on a record, and the least right that each needs.
fn operations() -> Vec<(&'static str, Ask, usize)> {
    let put = |condition, lifetime| {
        Ask::Put(AskPut { condition, lifetime, body: "new".into(), ..AskPut::default() })
    };
    let touch = |ttl| Ask::Touch { condition: Condition::Any, lifetime: LifetimeRequest::Ttl(ttl) };
    let long = LifetimeRequest::Ttl(7_200_000);
    vec![
        ("get", Ask::Get { head_only: false }, 0),
        ("create where nothing is", put(Condition::Absent, long), 1),
        ("live longer", touch(7_200_000), 1),
        ("live shorter", touch(60_000), 2),
        ("replace", put(Condition::Any, long), 2),
        ("delete", Ask::Delete { condition: Condition::Any }, 2),
        ("take", Ask::Take, 2),
    ]
}

fn request(namespace: NamespaceId, key: &str, ask: Ask) -> RecordRequest {
    RecordRequest { tag: 0, namespace, key: Key::new(key.as_bytes().to_vec()).unwrap(), identity: None, ask }
}

#[test]
fn every_operation_on_a_record_needs_the_right_that_the_table_says() {
    let home = Home::up();
    let raw = NamespaceId::of("raw");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let writer = issue(&home, "writer", &["--rights", "write"]);
    for (has, right) in RIGHTS.into_iter().enumerate() {
        let folder = issue(&home, right, &["--rights", right]);
        let elsewhere =
            issue(&home, &format!("{right}-elsewhere"), &["--rights", right, "--namespace", "files"]);
        runtime.block_on(async {
            let writer = Remote::connect(&options(&home, &writer)).await.unwrap();
            let remote = Remote::connect(&options(&home, &folder)).await.unwrap();
            let elsewhere = Remote::connect(&options(&home, &elsewhere)).await.unwrap();
            for (at, (what, ask, needs)) in operations().into_iter().enumerate() {
                let key = format!("{right}-{at}");
                let there = AskPut {
                    lifetime: LifetimeRequest::Ttl(3_600_000),
                    takes: matches!(ask, Ask::Take).then_some(2),
                    body: "old".into(),
                    ..AskPut::default()
                };
                if !what.starts_with("create") {
                    let done = writer.apply(request(raw, &key, Ask::Put(there))).await.unwrap();
                    assert!(matches!(done, Outcome::Written { .. }));
                }
                let refused = elsewhere.apply(request(raw, &key, ask.clone())).await.unwrap_err();
                assert_eq!(refused.kind, Kind::Denied, "{what} with {right} elsewhere");
                let done = remote.apply(request(raw, &key, ask)).await;
                match done {
                    Ok(_) => assert!(has >= needs, "{what} was done with {right}"),
                    Err(refused) => {
                        assert_eq!(refused.kind, Kind::Denied, "{what} with {right}: {refused}");
                        assert!(has < needs, "{what} with {right}: {refused}");
                        assert!(refused.message.contains("lacks the right"), "{refused}");
                    }
                }
            }
        });
    }
}

#[test]
fn append_only_replaces_a_file_only_where_its_version_is_kept() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"first").ends(0);
    let folder = issue(&home, "backup", &["--rights", "append-only"]);
    let owner = issue(&home, "owner", &["--rights", "write"]);
    let files = NamespaceId::of(larder_client::vault::FILES);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let remote = Remote::connect(&options(&home, &folder)).await.unwrap();
        let owner = Remote::connect(&options(&home, &owner)).await.unwrap();
        let mut pages = remote.scan(larder_client::remote::Scan::heads(files, &[])).await.unwrap();
        let mut found = None;
        while let Some(page) = pages.next().await.unwrap() {
            found = found.or(page.records.into_iter().next());
        }
        let (key, _) = found.unwrap();
        let get = RecordRequest {
            tag: 0,
            namespace: files,
            key: key.clone(),
            identity: None,
            ask: Ask::Get { head_only: false },
        };
        let Outcome::Found(old) = remote.apply(get.clone()).await.unwrap() else { panic!() };
        let copy = |condition, lifetime| AskPut {
            condition,
            lifetime,
            tokens: old.tokens.clone(),
            head: old.head.clone(),
            body: old.body.clone(),
            ..AskPut::default()
        };
        let put = async |key: &Key, put: AskPut| {
            remote.apply(RecordRequest { key: key.clone(), ask: Ask::Put(put), ..get.clone() }).await
        };
        let denied = async |key: &Key, ask: AskPut, why: &str| {
            let refused = put(key, ask).await.unwrap_err();
            assert!(refused.kind == Kind::Denied && refused.message.contains(why), "{refused}");
        };
        let mut version_key = key.as_bytes().to_vec();
        version_key.extend_from_slice(&old.version.to_u64().to_be_bytes());
        let version_key = Key::new(version_key).unwrap();

        denied(&key, copy(Condition::Any, LifetimeRequest::Never), "not kept").await;
        // Kept, but not for as long as the version itself: that is not kept.
        let short = copy(Condition::Absent, LifetimeRequest::Ttl(600_000));
        denied(&version_key, short.clone(), "whole copy").await;
        let by_owner = RecordRequest { key: version_key.clone(), ask: Ask::Put(short), ..get.clone() };
        owner.apply(by_owner).await.unwrap();
        denied(&key, copy(Condition::Any, LifetimeRequest::Never), "not kept").await;
        let longer = Ask::Touch { condition: Condition::Any, lifetime: LifetimeRequest::Never };
        remote.apply(RecordRequest { key: version_key.clone(), ask: longer, ..get.clone() }).await.unwrap();
        // What is kept stays as it is, whatever is kept of it.
        denied(&version_key, copy(Condition::Any, LifetimeRequest::Never), "not kept").await;
        denied(&key, copy(Condition::Any, LifetimeRequest::Ttl(600_000)), "shorten").await;
        let done = put(&key, copy(Condition::Any, LifetimeRequest::Never)).await.unwrap();
        assert!(matches!(done, Outcome::Written { .. }), "{done:?}");
        denied(&key, copy(Condition::Any, LifetimeRequest::Never), "not kept").await;
    });
}
