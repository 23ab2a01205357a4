//! `INFO`: how the node is, in the words that tools for Redis look for. Only what is measured is told: a figure that this
//! door does not have is left out rather than told as zero.

use std::fmt::Write as _;

use larder_door::resp::table::COMMANDS;

use super::call::Call;
use super::hello::REDIS_VERSION;
use super::server::policy;
use super::shared::Shared;
use crate::metrics::{process_seconds, resident_bytes};

const DEFAULT: [&str; 8] =
    ["server", "clients", "memory", "persistence", "stats", "replication", "cpu", "keyspace"];

const ALL: [&str; 9] =
    ["server", "clients", "memory", "persistence", "stats", "replication", "cpu", "commandstats", "keyspace"];

/// `INFO [section ...]`.
pub(super) fn info(call: &mut Call<'_>) {
    let asked = call.args.from(1);
    let is_asked = |name: &str| asked.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let wanted: Vec<&str> = if is_asked("all") || is_asked("everything") {
        ALL.to_vec()
    } else if asked.is_empty() {
        DEFAULT.to_vec()
    } else {
        let with_default = is_asked("default");
        ALL.into_iter().filter(|name| is_asked(name) || with_default && DEFAULT.contains(name)).collect()
    };
    let mut text = String::new();
    for name in wanted {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let mut section = Section { text: &mut text };
        write(call, name, &mut section);
    }
    call.out.verbatim("txt", &text);
}

struct Section<'a> {
    text: &'a mut String,
}

impl Section<'_> {
    fn title(&mut self, name: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "# {name}\r\n");
    }

    fn line(&mut self, name: impl std::fmt::Display, value: impl std::fmt::Display) {
        let _ = write!(self.text, "{name}:{value}\r\n");
    }
}

fn write(call: &Call<'_>, name: &str, section: &mut Section<'_>) {
    let shared = call.shared;
    match name {
        "server" => server(shared, section),
        "clients" => clients(shared, section),
        "memory" => memory(shared, section, policy(call)),
        "persistence" => {
            section.title("Persistence");
            for name in [
                "loading",
                "async_loading",
                "rdb_bgsave_in_progress",
                "aof_enabled",
                "aof_rewrite_in_progress",
            ] {
                section.line(name, 0);
            }
        }
        "stats" => stats(shared, section),
        "replication" => {
            section.title("Replication");
            section.line("role", "master");
            section.line("connected_slaves", 0);
        }
        "cpu" => {
            section.title("CPU");
            if let Some((system, user)) = process_seconds() {
                section.line("used_cpu_sys", format_args!("{system:.6}"));
                section.line("used_cpu_user", format_args!("{user:.6}"));
            }
        }
        "commandstats" => {
            section.title("Commandstats");
            for command in &COMMANDS {
                let (good, bad) = shared.sources.metrics.redis.calls(command.verb);
                if good + bad > 0 {
                    section.line(
                        format_args!("cmdstat_{}", command.name),
                        format_args!("calls={},failed_calls={bad}", good + bad),
                    );
                }
            }
        }
        _ => {
            section.title("Keyspace");
            let keys = shared.keys_of(&call.session.space);
            if keys > 0 {
                section.line("db0", format_args!("keys={keys}"));
            }
        }
    }
}

fn server(shared: &Shared, section: &mut Section<'_>) {
    let uptime_s = shared.sources.time.monotonic().as_secs();
    section.title("Server");
    section.line("redis_version", REDIS_VERSION);
    section.line("larder_version", env!("CARGO_PKG_VERSION"));
    section.line("redis_mode", "standalone");
    section.line("os", std::env::consts::OS);
    section.line("arch_bits", usize::BITS);
    section.line("multiplexing_api", "epoll");
    section.line("process_id", std::process::id());
    section.line("run_id", shared.node_id);
    section.line("tcp_port", shared.config.listen.port());
    section.line("server_time_usec", shared.sources.time.latest().ms() * 1000);
    section.line("uptime_in_seconds", uptime_s);
    section.line("uptime_in_days", uptime_s / 86_400);
}

fn clients(shared: &Shared, section: &mut Section<'_>) {
    let (connected, subscribers) = shared.clients.count();
    section.title("Clients");
    section.line("connected_clients", connected);
    section.line("maxclients", shared.config.connections_max);
    section.line("pubsub_clients", subscribers);
    section.line("blocked_clients", 0);
}

fn memory(shared: &Shared, section: &mut Section<'_>, policy: &str) {
    let usage = shared.memory_usage();
    section.title("Memory");
    section.line("used_memory", usage.accounted_bytes);
    section.line("used_memory_dataset", usage.payload_bytes);
    if let Some(bytes) = resident_bytes() {
        section.line("used_memory_rss", bytes);
    }
    section.line("maxmemory", usage.cap_bytes);
    section.line("maxmemory_policy", policy);
    section.line("mem_clients_normal", shared.partial_bytes() + shared.unsent_bytes());
}

fn stats(shared: &Shared, section: &mut Section<'_>) {
    let metrics = &shared.sources.metrics;
    let (channels, patterns) = shared.topology.counts();
    let totals = metrics.redis.totals();
    section.title("Stats");
    section.line("total_connections_received", totals.connections);
    section.line("total_commands_processed", totals.commands);
    section.line("total_net_input_bytes", totals.received_bytes);
    section.line("total_net_output_bytes", totals.sent_bytes);
    section.line("rejected_connections", totals.rejected);
    section.line("expired_keys", metrics.chores.expired_memory.get());
    section.line("pubsub_channels", channels);
    section.line("pubsub_patterns", patterns);
}
