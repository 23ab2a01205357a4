//! The machine: what the system allows this user's processes, and where memory may end up.

use rustix::process::{Resource, getrlimit};

use crate::cli::Context;
use crate::doctor::Finding;
use crate::size;

/// Open files that a node with a thousand clients needs.
const OPEN_FILES_MIN: u64 = 4096;

pub(super) fn look(_context: &Context, findings: &mut Vec<Finding>) {
    let limit = getrlimit(Resource::Nofile);
    // The hard limit counts: the soft one can be raised up to it by whoever starts the node.
    match limit.current {
        Some(files) if files < OPEN_FILES_MIN => findings.push(Finding::advice(
            "open files",
            format!("a process may open {files} files; a thousand clients at once need {OPEN_FILES_MIN}"),
            format!("ulimit -n {OPEN_FILES_MIN} before larder up, or LimitNOFILE= of the service"),
        )),
        _ => findings.push(Finding::good("open files", "enough for a thousand clients")),
    }
    swap(findings);
}

/// Values that expire live in the node's memory, sealed; contents pass through commands in the clear. Both may be
/// swapped out. The agent's key is kept out of swap by itself.
fn swap(findings: &mut Vec<Finding>) {
    let Ok(text) = std::fs::read_to_string("/proc/swaps") else { return };
    let plain: Vec<&str> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        // Compressed memory is no disk; device-mapper names are most often encrypted ones, and nobody without rights
        // can tell.
        .filter(|device| !device.contains("zram") && !device.contains("/dm-") && !device.contains("mapper"))
        .collect();
    match plain.first() {
        None => findings.push(Finding::good("swap", "none that could keep contents in the clear")),
        Some(device) => findings.push(Finding::advice(
            "swap",
            format!("{device} may keep parts of files that a command was reading or writing"),
            "encrypt swap, or switch it off (swapoff)",
        )),
    }
}

/// All memory of the machine, in bytes, if the system says.
pub(super) fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim();
    size::parse(&format!("{kib}K"), 1, u64::MAX).ok()
}
