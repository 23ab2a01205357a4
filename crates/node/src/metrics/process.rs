//! What the node's process uses, from the system's own accounts. What cannot be read is left out.

use super::family::{Family, Kind, Section, Value};

/// What the process uses now.
pub(crate) fn families() -> Vec<Family> {
    let one = |kind, name, help, value| Family::one(Section::System, kind, name, help, Value::Number(value));
    let mut out = Vec::new();
    if let Some(bytes) = resident_bytes() {
        out.push(one(Kind::Gauge, "larder_process_resident_memory_bytes", "Resident memory", bytes as f64));
    }
    if let Some(count) = open_descriptors() {
        out.push(one(Kind::Gauge, "larder_process_open_fds", "Open descriptors", count as f64));
    }
    if let Some(max) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        out.push(one(Kind::Gauge, "larder_process_max_fds", "Most open descriptors", max as f64));
    }
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu_s = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    out.push(one(
        Kind::Counter,
        "larder_process_cpu_seconds_total",
        "Processor time, user and system",
        cpu_s,
    ));
    out
}

/// Resident memory in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Processor time in seconds: in the system, and in the program.
pub(crate) fn process_seconds() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name may have anything in it; what follows has not.
    let (_, rest) = text.rsplit_once(')')?;
    let mut ticks = rest.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Some((system as f64 / per_second, user as f64 / per_second))
}

fn open_descriptors() -> Option<u64> {
    let mut count = 0;
    for _ in std::fs::read_dir("/proc/self/fd").ok()? {
        count += 1;
    }
    // The one that reads the folder.
    Some(count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_uses_something() {
        let families = families();
        assert!(families.len() >= 4);
        for family in families {
            let Value::Number(value) = family.samples[0].value else { panic!("{family:?}") };
            assert!(value > 0.0, "{family:?}");
        }
    }
}
