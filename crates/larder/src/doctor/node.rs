//! The node: runs, serves, is whole, has room, and is this program's version.

use larder_format::clock::Hlc;
use larder_format::clock::{Clock, SystemClock};
use larder_format::error::Kind;
use larder_wire::v1::{StatusResponse, UpkeepResponse};

use crate::cli::Context;
use crate::doctor::Finding;
use crate::failure::clean;
use crate::{session, size};

/// Less room than this on the disk is little, in bytes, whatever the disk's size.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// A node's time may be ahead of this machine's clock by this much, in milliseconds: requests take a while.
const AHEAD_MS_MAX: u64 = 60_000;

/// Answers what the node said, if it did.
pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) -> Option<StatusResponse> {
    let asked = session::with_node(&context.folders, async |remote| {
        Ok((remote.status().await?, remote.upkeep().await?))
    });
    let (status, upkeep) = match asked {
        Ok(answers) => answers,
        Err(failure) => {
            findings.push(Finding::failed("node", &failure, "larder up"));
            return None;
        }
    };
    if status.closed_reason.is_empty() {
        findings.push(Finding::good("node", format!("serves, version {}", clean(&status.version))));
    } else {
        findings.push(Finding::bad(
            "node",
            Kind::Closed,
            format!("has stopped serving: {}", clean(&status.closed_reason)),
            "mend what it says, then larder down and larder up",
        ));
    }
    if status.version != env!("CARGO_PKG_VERSION") {
        findings.push(Finding::advice(
            "node",
            format!(
                "runs version {}, and this command is {}",
                clean(&status.version),
                env!("CARGO_PKG_VERSION")
            ),
            "larder down, then larder up",
        ));
    }
    damage(&status, &upkeep, findings);
    room(&status, findings);
    clock(&status, findings);
    Some(status)
}

fn damage(status: &StatusResponse, upkeep: &UpkeepResponse, findings: &mut Vec<Finding>) {
    if let Some(first) = status.damage.first() {
        findings.push(Finding::bad(
            "damage",
            Kind::Damaged,
            format!("{} ({} known)", clean(first), status.damage.len()),
            "larder node accept-damage --help says what can be done",
        ));
    }
    if let Some(first) = upkeep.damaged.first() {
        let places = upkeep.damaged.len();
        findings.push(Finding::bad(
            "damage",
            Kind::Damaged,
            format!("{} damaged, the first at {}", size::count(places as u64, "place"), clean(&first.place)),
            "larder verify names the files it hits; larder put --force FILE stores one anew",
        ));
    }
    if status.damage.is_empty() && upkeep.damaged.is_empty() {
        findings.push(Finding::good("damage", "none known"));
    }
    if upkeep.scrub_every_ms == 0 {
        findings.push(Finding::advice(
            "scrub",
            "switched off: damage is noticed only when something is read",
            "set scrub_every to a time, or run larder node scrub now and then",
        ));
    }
}

fn room(status: &StatusResponse, findings: &mut Vec<Finding>) {
    let free = status.disk_free_bytes;
    let total = status.store_bytes.saturating_add(free);
    if free < FREE_BYTES_MIN || free < total / 20 {
        findings.push(Finding::warning(
            "room on disk",
            format!("{} free", size::show(free)),
            "delete what is not needed (larder rm --now PATH), or make room on the disk",
        ));
    } else {
        findings.push(Finding::good("room on disk", format!("{} free", size::show(free))));
    }
    let (used, cap) = (status.memory_accounted_bytes, status.memory_cap_bytes);
    if cap > 0 && used > cap / 10 * 9 {
        findings.push(Finding::warning(
            "room in memory",
            format!("values take {} of {}", size::show(used), size::show(cap)),
            "raise memory_cap, or give values shorter lifetimes",
        ));
    }
}

fn clock(status: &StatusResponse, findings: &mut Vec<Finding>) {
    let ahead_ms = Hlc::from_u64(status.time).ms().saturating_sub(SystemClock::new().wall_ms());
    if ahead_ms > AHEAD_MS_MAX {
        findings.push(Finding::warning(
            "clock",
            format!(
                "the node's time is {} s ahead of this machine's clock and goes on by the steady clock",
                ahead_ms / 1_000
            ),
            "if the clock is wrong, set it right; if it was ahead once and is right now, nothing need be done: \
             lifetimes end after as long as they were given, though moments that are shown are ahead",
        ));
    } else {
        findings.push(Finding::good("clock", "node and machine agree"));
    }
}
