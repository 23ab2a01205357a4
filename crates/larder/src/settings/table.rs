//! One entry for each setting: its name, what it means, what is allowed, and how it is read and shown.

use std::net::SocketAddr;

use larder_client::transfer::{JOBS_MAX, RATE_MIN};

use crate::life::log::{self, LogFormat};
use crate::settings::http::{self, HOSTS_MAX, HttpListen, RawAuthSetting};
use crate::settings::idle_lock::{IDLE_LOCK_MAX, IDLE_LOCK_MIN};
use crate::settings::protection;
use crate::settings::rate::{self, RATE_MAX};
use crate::settings::redis;
use crate::settings::{
    CONNECTIONS_MAX_MAX, CONNECTIONS_MAX_MIN, IdleLock, MEMORY_CAP_MAX, MEMORY_CAP_MIN, Settings, every,
};
use crate::{duration, size};

/// Which process goes by a setting. It reads it when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// The blind node.
    Node,
    /// The agent, which holds the open vault.
    Agent,
    /// Both.
    Both,
    /// Every command by itself: nothing has to be started anew.
    Command,
}

impl Process {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Agent => "agent",
            Self::Both => "node and agent",
            Self::Command => "command",
        }
    }
}

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in the file, in lower case with `_`.
    pub name: &'static str,
    /// What it means, in a sentence or two.
    pub meaning: &'static str,
    /// Who goes by it.
    pub process: Process,
    /// What is allowed.
    pub allowed: fn() -> String,
    /// Reads a value; a sentence that says what is allowed if it cannot be.
    pub set: fn(&mut Settings, &str) -> Result<(), String>,
    /// The value as text that `set` reads.
    pub show: fn(&Settings) -> String,
}

impl Field {
    /// The environment variable of the same meaning.
    pub fn variable(&self) -> String {
        format!("LARDER_{}", self.name.to_ascii_uppercase())
    }

    /// The value that is built in.
    pub fn default_text(&self) -> String {
        (self.show)(&Settings::default())
    }
}

/// All settings, in the order in which they are shown.
pub static FIELDS: &[Field] = &joined::<{ MOST.len() + protection::FIELDS.len() + redis::FIELDS.len() }>([
    MOST,
    protection::FIELDS,
    redis::FIELDS,
]);

/// Several tables as one.
const fn joined<const N: usize>(tables: [&[Field]; 3]) -> [Field; N] {
    let mut all = [MOST[0]; N];
    let (mut table, mut at) = (0, 0);
    while table < tables.len() {
        let mut place = 0;
        while place < tables[table].len() {
            all[at] = tables[table][place];
            (place, at) = (place + 1, at + 1);
        }
        table += 1;
    }
    all
}

/// Reads an address and a port.
///
/// # Errors
/// A sentence that says what is expected.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected ADDRESS:PORT, like 127.0.0.1:7447 or [::1]:7447".to_owned())
}

/// All but those about protection and the Redis door.
const MOST: &[Field] = &[
    Field {
        name: "listen",
        meaning: "Address and port the node listens on (mutual TLS). Only programs of this machine reach 127.0.0.1; port 0 is \
                  any free one.",
        process: Process::Node,
        allowed: || "ADDRESS:PORT of this machine".to_owned(),
        set: |settings, text| {
            settings.listen = address(text)?;
            Ok(())
        },
        show: |settings| settings.listen.to_string(),
    },
    Field {
        name: "connect",
        meaning: "Address and port of another machine's node, used instead of one of this home's own (larder up --connect); \
                  nothing: this home has its own.",
        process: Process::Command,
        allowed: || "ADDRESS:PORT of a node that issued this home a certificate, or nothing".to_owned(),
        set: |settings, text| {
            settings.connect = match text {
                "" => None,
                text => Some(address(text)?),
            };
            Ok(())
        },
        show: |settings| settings.connect.map(|address| address.to_string()).unwrap_or_default(),
    },
    Field {
        name: "connections_max",
        meaning: "Most connections (gRPC) the node admits at a time; who comes beyond is told to try again later.",
        process: Process::Node,
        allowed: || format!("{CONNECTIONS_MAX_MIN} to {CONNECTIONS_MAX_MAX}"),
        set: |settings, text| {
            let count: usize = text.parse().map_err(|_| "expected a number")?;
            if !(CONNECTIONS_MAX_MIN..=CONNECTIONS_MAX_MAX).contains(&count) {
                return Err(format!("allowed: {CONNECTIONS_MAX_MIN} to {CONNECTIONS_MAX_MAX}"));
            }
            settings.connections_max = count;
            Ok(())
        },
        show: |settings| settings.connections_max.to_string(),
    },
    Field {
        name: "memory_cap",
        meaning: "Most memory that expiring values may take, overhead counted; beyond it a put is refused as full, or values that end soonest go first where their namespace says so.",
        process: Process::Node,
        allowed: || format!("{} to {}", size::show(MEMORY_CAP_MIN), size::show(MEMORY_CAP_MAX)),
        set: |settings, text| {
            settings.memory_cap_bytes = size::parse(text, MEMORY_CAP_MIN, MEMORY_CAP_MAX)?;
            Ok(())
        },
        show: |settings| size::text(settings.memory_cap_bytes),
    },
    Field {
        name: "http_listen",
        meaning: "Address and port of the HTTP door, which serves the raw namespace in the clear; auto is 127.0.0.1 and the \
                  port after that of listen (7448), or any free one; off closes it.",
        process: Process::Node,
        allowed: || "auto, off, or ADDRESS:PORT of this machine".to_owned(),
        set: |settings, text| {
            settings.http.listen = HttpListen::parse(text)?;
            Ok(())
        },
        show: |settings| settings.http.listen.text(),
    },
    Field {
        name: "http_auth",
        meaning: "Whom the HTTP door lets in: certificate (HTTPS, programs with a certificate of this authority), token (also \
                  those with a token; HTTPS, but on loopback plain HTTP) or none (plain HTTP, whoever reaches the address: \
                  loopback only); auto is none on loopback and certificate elsewhere.",
        process: Process::Node,
        allowed: || "auto, certificate, token or none".to_owned(),
        set: |settings, text| {
            settings.http.auth = RawAuthSetting::parse(text)?;
            Ok(())
        },
        show: |settings| settings.http.auth.text().to_owned(),
    },
    Field {
        name: "http_ttl",
        meaning: "What becomes of a lifetime out of range over HTTP: refuse it, or clamp it to the nearest that is allowed and \
                  say so in the answer.",
        process: Process::Node,
        allowed: || "refuse or clamp".to_owned(),
        set: |settings, text| {
            settings.http.clamp_ttl = http::one_of(text, ["refuse", "clamp"])? == 1;
            Ok(())
        },
        show: |settings| if settings.http.clamp_ttl { "clamp" } else { "refuse" }.to_owned(),
    },
    Field {
        name: "http_hosts",
        meaning: "Host names that the HTTP door answers to, beside localhost and addresses. Others are refused, because a page \
                  of a stranger may be behind them.",
        process: Process::Node,
        allowed: || format!("names with commas between them, at most {HOSTS_MAX}; or nothing"),
        set: |settings, text| {
            settings.http.hosts = http::parse_hosts(text)?;
            Ok(())
        },
        show: |settings| settings.http.hosts.join(","),
    },
    Field {
        name: "idle_lock",
        meaning: "The vault locks itself after this long without a command, or never.",
        process: Process::Agent,
        allowed: || {
            format!("{} to {}, or never", duration::show(IDLE_LOCK_MIN), duration::show(IDLE_LOCK_MAX))
        },
        set: |settings, text| {
            settings.idle_lock = IdleLock::parse(text)?;
            Ok(())
        },
        show: |settings| settings.idle_lock.text(),
    },
    Field {
        name: "retention_every",
        meaning: "How often the vault's retention rules are applied while it is open: older versions that no rule keeps are \
                  deleted for good; off: only when a file is written, or by larder retention apply.",
        process: Process::Agent,
        allowed: every::allowed,
        set: |settings, text| {
            settings.retention_every = every::parse(text)?;
            Ok(())
        },
        show: |settings| every::text(settings.retention_every),
    },
    Field {
        name: "scrub_every",
        meaning: "In this time the node reads and verifies everything it holds once, in the background and spread evenly; off: \
                  only larder node scrub does.",
        process: Process::Node,
        allowed: every::allowed,
        set: |settings, text| {
            settings.upkeep.scrub_every = every::parse(text)?;
            Ok(())
        },
        show: |settings| every::text(settings.upkeep.scrub_every),
    },
    Field {
        name: "collect_every",
        meaning: "How often the node looks through everything for what nobody needs any more, in the background; off: only \
                  larder node collect does. What is deleted gives its space back within seconds all the same.",
        process: Process::Node,
        allowed: every::allowed,
        set: |settings, text| {
            settings.upkeep.collect_every = every::parse(text)?;
            Ok(())
        },
        show: |settings| every::text(settings.upkeep.collect_every),
    },
    Field {
        name: "log",
        meaning: "Which events node and agent log: a level, or levels for parts of the program.",
        process: Process::Both,
        allowed: || "error, warn, info, debug, trace, or a list like info,larder_node=debug".to_owned(),
        set: |settings, text| {
            log::check_filter(text)?;
            text.clone_into(&mut settings.log);
            Ok(())
        },
        show: |settings| settings.log.clone(),
    },
    Field {
        name: "log_format",
        meaning: "How they write them: for people, or one JSON object a line.",
        process: Process::Both,
        allowed: || "text or json".to_owned(),
        set: |settings, text| {
            settings.log_format = LogFormat::parse(text)?;
            Ok(())
        },
        show: |settings| settings.log_format.text().to_owned(),
    },
    Field {
        name: "transfer_jobs",
        meaning: "Files that a put, get or export moves side by side; each holds a few mebibytes of memory.",
        process: Process::Command,
        allowed: || format!("1 to {JOBS_MAX}"),
        set: |settings, text| {
            settings.transfer_jobs = rate::jobs(text)?;
            Ok(())
        },
        show: |settings| settings.transfer_jobs.to_string(),
    },
    Field {
        name: "upload_rate",
        meaning: "Bytes a second that each command may send to the node, or none for no limit.",
        process: Process::Command,
        allowed: || format!("{} to {} a second, or none", size::show(RATE_MIN), size::show(RATE_MAX)),
        set: |settings, text| {
            settings.upload_rate = rate::rate(text)?;
            Ok(())
        },
        show: |settings| settings.upload_rate.to_string(),
    },
    Field {
        name: "download_rate",
        meaning: "Bytes a second that each command may take from the node, or none for no limit.",
        process: Process::Command,
        allowed: || format!("{} to {} a second, or none", size::show(RATE_MIN), size::show(RATE_MAX)),
        set: |settings, text| {
            settings.download_rate = rate::rate(text)?;
            Ok(())
        },
        show: |settings| settings.download_rate.to_string(),
    },
];

/// The setting of that name; `-` counts as `_`.
pub fn find(name: &str) -> Option<&'static Field> {
    let name = name.replace('-', "_");
    FIELDS.iter().find(|field| field.name == name)
}

/// What is said of a name that is no setting.
pub fn unknown(name: &str) -> String {
    let known: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
    format!("there is no setting {name:?}; there are {}", known.join(", "))
}
