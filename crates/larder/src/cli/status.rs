//! `larder status`: what runs, what it holds, whether the vault is open, and what is exposed to whom.

use larder_format::namespace::{Class, Namespace, Privacy};
use larder_seal::header::VaultHeader;
use larder_wire::v1::{RawDoor, StatusResponse, UpkeepResponse, UsageResponse};
use serde_json::{Value, json};

use crate::agent::client::{Agent, NAME as AGENT};
use crate::agent::names::{Answer, Ask};
use crate::agent::protocol::Status as AgentStatus;
use crate::bar::bar;
use crate::cli::Context;
use crate::cli::listing::hex;
use crate::cli::upkeep;
use crate::duration;
use crate::failure::{Failure, Outcome, clean, shown};
use crate::life::pid_file;
use crate::moment;
use crate::output::{Output, Tone};
use crate::size;
use crate::vault_header::file;
use crate::{session, up};

/// What the node said of itself.
struct Node {
    address: String,
    pid: Option<i32>,
    status: StatusResponse,
    namespaces: Vec<Namespace>,
    usage: UsageResponse,
    upkeep: UpkeepResponse,
    names: upkeep::Names,
}

/// Shows the state of things.
///
/// # Errors
/// Closed if the node does not answer (what is known is shown all the same).
pub fn run(context: &Context) -> Outcome {
    let agent = Agent::connect(&context.folders).and_then(|mut agent| agent.status()).ok();
    // A damaged header is said, and hides nothing else.
    let header = file::read(&context.folders);
    let vault = header.as_ref().ok().and_then(Option::as_ref);
    let damage = header.as_ref().err().map(Failure::message);
    let is_open = agent.is_some_and(|a| a.open.is_some());
    let node = ask_node(context, is_open);
    context.output.document(&json!({
        "node": node.as_ref().map_or_else(|failure| node_down_json(context, failure), node_json),
        "namespaces": node.as_ref().map(|n| n.namespaces.iter().map(namespace_json).collect::<Vec<_>>()).ok(),
        "vault": {
            "id": vault.map(|header| header.vault().to_string()),
            "fingerprint": vault.and_then(VaultHeader::fingerprint).map(|f| f.to_string()),
            "damage": damage,
            "state": vault_word(vault.is_some(), agent),
            "locks_in_ms": agent.and_then(|a| a.locks_in_ms),
        },
        "agent": {
            "running": agent.is_some(),
            "pid": agent.map(|a| a.pid),
            "index": agent.and_then(|_| index_json(context)),
        },
        "exposed": node.as_ref().map(exposure_json).ok(),
        "folders": {
            "config": context.folders.config(), "data": context.folders.data(), "state": context.folders.state(),
        },
    }))?;
    if !context.output.json() {
        context.output.text(&text(context, node.as_ref(), agent, &header))?;
    }
    node?;
    header.map(drop)
}

/// The agent's index of names; nothing while the vault is locked.
fn index_json(context: &Context) -> Option<Value> {
    let answer = Agent::connect(&context.folders).and_then(|mut agent| agent.names(Ask::Status)).ok()?;
    let Answer::Status(status) = answer else { return None };
    Some(json!({
        "ready": status.ready,
        "entries": status.entries,
        "bytes": status.bytes,
        "scan_ms": status.scan_ms,
    }))
}

/// Whether the node's process is there, whatever it answers.
fn runs(context: &Context) -> bool {
    pid_file::look(&context.folders.pid_file(up::NODE)).is_ok_and(|running| running.is_some())
}

fn ask_node(context: &Context, is_open: bool) -> Outcome<Node> {
    let folders = &context.folders;
    let address = session::node_address(folders)?.to_string();
    let pid = pid_file::look(&folders.pid_file(up::NODE))?.map(|running| running.pid);
    let mut node = session::with_node(folders, async |remote| {
        let status = remote.status().await?;
        let mut namespaces = remote.list_namespaces().await?;
        namespaces.sort_by(|a, b| a.name.cmp(&b.name));
        let (usage, upkeep) = (remote.usage().await?, remote.upkeep().await?);
        Ok(Node { address, pid, status, namespaces, usage, upkeep, names: upkeep::Names::new() })
    })?;
    node.names = upkeep::names(context, &node.upkeep, is_open);
    Ok(node)
}

fn node_json(node: &Node) -> Value {
    let status = &node.status;
    json!({
        "running": true,
        "address": node.address,
        "pid": node.pid,
        "id": hex(&status.node_id),
        "version": status.version,
        "uptime_ms": status.uptime_ms,
        "closed_reason": (!status.closed_reason.is_empty()).then_some(&status.closed_reason),
        "damage": status.damage,
        "upkeep": upkeep::json(&node.upkeep, &node.names),
        "quota_bytes": node.usage.quota_bytes,
        "folder_bytes": node.usage.folder_bytes,
        "connections": { "open": status.connections, "max": status.connections_max },
        "certificates": {
            "not_after_ms": status.certificate_not_after_ms,
            "revoked": status.revoked_certificates,
            "problem": (!status.certificates_problem.is_empty()).then_some(&status.certificates_problem),
        },
        "disk": {
            "records": status.disk_records,
            "payload_bytes": status.disk_payload_bytes,
            "blobs": status.blobs,
            "blob_bytes": status.blob_bytes,
            "orphan_blobs": status.orphan_blobs,
            "orphan_bytes": status.orphan_bytes,
            "leases": status.leases,
            "store_bytes": status.store_bytes,
            "free_bytes": status.disk_free_bytes,
        },
        "memory": {
            "records": status.memory_records,
            "payload_bytes": status.memory_payload_bytes,
            "accounted_bytes": status.memory_accounted_bytes,
            "cap_bytes": status.memory_cap_bytes,
        },
    })
}

fn node_down_json(context: &Context, failure: &Failure) -> Value {
    json!({ "running": runs(context), "reason": failure.message() })
}

fn namespace_json(namespace: &Namespace) -> Value {
    json!({
        "name": namespace.name,
        "privacy": privacy_word(namespace.privacy),
        "class": class_word(namespace.class),
        "replicas_wanted": namespace.replicas,
        "ttl_default_ms": namespace.ttl_default_ms,
        "ttl_max_ms": namespace.ttl_max_ms,
        "quota_bytes": namespace.quota_bytes,
    })
}

fn exposure_json(node: &Node) -> Value {
    let address = &node.address;
    let grpc = json!({
        "door": "grpc", "address": address, "needs": "certificate", "scope": scope_word(address),
        "readable_by_node": false,
    });
    let raw = node.status.raw_doors.iter().map(|door| {
        json!({
            "door": door.protocol,
            "address": door.address,
            "needs": needs(door),
            "tls": door.tls,
            "scope": scope_word(&door.address),
            "namespace": door.namespace,
            "readable_by_node": true,
        })
    });
    std::iter::once(grpc).chain(raw).collect()
}

/// What a raw door wants of its callers, in a word.
fn needs(door: &RawDoor) -> &'static str {
    match (door.needs_certificate, door.needs_token) {
        (true, _) => "certificate",
        (false, true) => "token",
        (false, false) => "nothing",
    }
}

/// What a raw door exposes, in one line: to whom, and that nothing in it is secret from the node.
fn raw_door_text(door: &RawDoor, output: Output) -> String {
    let scope = scope_word(&door.address);
    let protocol = match (door.protocol.as_str(), door.tls) {
        ("http", false) => "HTTP",
        ("http", true) => "HTTPS",
        ("redis", false) => "Redis protocol",
        ("redis", true) => "Redis protocol over TLS",
        (other, _) => other,
    };
    let whom = match (needs(door), scope) {
        ("nothing", "this machine") => "every program of this machine".to_owned(),
        ("nothing", scope) => output.paint(Tone::Bad, &format!("everyone on {scope}, no certificate needed")),
        (needed, scope) => format!("{scope}, {needed} needed"),
    };
    format!(
        "         {} on {} to {whom}:\n           values of {} {}\n",
        clean(protocol),
        clean(&door.address),
        clean(&door.namespace),
        output.paint(Tone::Warn, "(raw: readable by the node)"),
    )
}

fn privacy_word(privacy: Privacy) -> &'static str {
    match privacy {
        Privacy::Sealed => "sealed",
        Privacy::Raw => "raw",
    }
}

fn class_word(class: Class) -> &'static str {
    match class {
        Class::Memory => "memory",
        Class::Disk => "disk",
    }
}

fn vault_word(exists: bool, agent: Option<AgentStatus>) -> &'static str {
    match (exists, agent.and_then(|a| a.open)) {
        (false, _) => "none",
        (true, Some(_)) => "open",
        (true, None) => "locked",
    }
}

/// Who can reach an address.
fn scope_word(address: &str) -> &'static str {
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => "this machine",
        _ => "the network",
    }
}

fn text(
    context: &Context,
    node: Result<&Node, &Failure>,
    agent: Option<AgentStatus>,
    header: &Outcome<Option<VaultHeader>>,
) -> String {
    let output = context.output;
    let mut out = String::new();
    match node {
        Ok(node) => node_text(&mut out, node, output),
        Err(failure) => {
            let word = if runs(context) { "runs but cannot be asked" } else { "not running" };
            out.push_str(&format!(
                "node     {}: {}\n",
                output.paint(Tone::Bad, word),
                clean(failure.message())
            ));
        }
    }
    let vault = header.as_ref().ok().and_then(Option::as_ref);
    let word = match header {
        Ok(_) => vault_word(vault.is_some(), agent),
        Err(_) => "its header cannot be read",
    };
    let tone = if word == "open" { Tone::Good } else { Tone::Warn };
    let when = match agent.and_then(|a| a.locks_in_ms) {
        Some(ms) => format!(", locks itself in {}", moment::show_rounded(ms)),
        None => String::new(),
    };
    out.push_str(&format!("vault    {}{when}\n", output.paint(tone, word)));
    if let Some(fingerprint) = vault.and_then(VaultHeader::fingerprint) {
        out.push_str(&format!("         fingerprint {fingerprint}\n"));
    }
    if agent.is_none() {
        out.push_str(&format!("{AGENT}    {}\n", output.paint(Tone::Bad, "not running")));
    }
    out.push_str(&format!(
        "folders  config {}\n         data   {}\n",
        shown(context.folders.config()),
        shown(context.folders.data())
    ));
    out
}

fn node_text(out: &mut String, node: &Node, output: Output) {
    let status = &node.status;
    let state = if status.closed_reason.is_empty() {
        output.paint(Tone::Good, "running")
    } else {
        output.paint(Tone::Bad, &format!("not serving: {}", clean(&status.closed_reason)))
    };
    let up = duration::show(std::time::Duration::from_millis(status.uptime_ms / 1000 * 1000));
    out.push_str(&format!("node     {state}, version {}, up {up}\n", clean(&status.version)));
    for damage in &status.damage {
        out.push_str(&format!("         {} {}\n", output.paint(Tone::Bad, "damage:"), clean(damage)));
    }
    if !status.certificates_problem.is_empty() {
        let problem = clean(&status.certificates_problem);
        out.push_str(&format!("         {} {problem}\n", output.paint(Tone::Bad, "certificates:")));
    }
    let scope = scope_word(&node.address);
    out.push_str(&format!("exposed  gRPC on {} to {scope}, certificate needed\n", node.address));
    for door in &status.raw_doors {
        out.push_str(&raw_door_text(door, output));
    }
    let whole = node.usage.folder_bytes.saturating_add(node.usage.disk_free_bytes);
    let of_quota = node.usage.quota_bytes.map(|quota| format!(" of {} allowed", size::show(quota)));
    out.push_str(&format!(
        "disk     {} {} used{}, {} free\n         {} records, {} blobs\n",
        bar(node.usage.folder_bytes, node.usage.quota_bytes.unwrap_or(whole)),
        size::show(node.usage.folder_bytes),
        of_quota.unwrap_or_default(),
        size::show(node.usage.disk_free_bytes),
        status.disk_records,
        status.blobs,
    ));
    out.push_str(&format!(
        "memory   {} {} of {}; {} records\n",
        bar(status.memory_accounted_bytes, status.memory_cap_bytes),
        size::show(status.memory_accounted_bytes),
        size::show(status.memory_cap_bytes),
        status.memory_records,
    ));
    out.push_str(&upkeep::text(&node.upkeep, &node.names, output));
    for (at, namespace) in node.namespaces.iter().enumerate() {
        let label = if at == 0 { "spaces" } else { "" };
        let privacy = match namespace.privacy {
            Privacy::Sealed => output.paint(Tone::Good, "sealed"),
            Privacy::Raw => output.paint(Tone::Warn, "raw: readable by the node"),
        };
        let show = |ms| duration::show(std::time::Duration::from_millis(ms));
        let end = match (namespace.ttl_default_ms, namespace.ttl_max_ms) {
            (Some(default), Some(max)) => {
                format!(", lives {}, at most {}", show(default), show(max))
            }
            (Some(default), None) => format!(", lives {} by default", show(default)),
            _ => String::new(),
        };
        out.push_str(&format!(
            "{label:<8} {:<8} {privacy}, {}{end}\n",
            namespace.name,
            class_word(namespace.class)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_reach_it() {
        assert_eq!(scope_word("127.0.0.1:7447"), "this machine");
        assert_eq!(scope_word("[::1]:7447"), "this machine");
        assert_eq!(scope_word("0.0.0.0:7447"), "the network");
    }
}
