//! What a person may change: every setting's value and where it comes from. Later wins: built in, the file
//! `larder.toml` in the config folder, the environment (`LARDER_` and the name in capitals), flags.
//!
//! [`table`] has one entry for each setting; the file, the environment, `--set NAME=VALUE`, `larder config show` and the
//! pages that explain them all go by it. A new setting is a field of [`Settings`] and an entry of the table.

pub mod every;
pub mod file;
pub mod http;
pub mod idle_lock;
pub mod protection;
pub mod rate;
pub mod redis;
pub mod table;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use larder_client::transfer::JOBS_DEFAULT;

use larder_node::admission::CONNECTIONS_MAX_DEFAULT;
use larder_node::upkeep::UpkeepConfig;

use crate::failure::{Failure, Outcome, shown};
use crate::folders::HOME_VARIABLE;
use crate::life::log::LogFormat;
use crate::settings::rate::Rate;

pub use http::HttpSettings;
pub use idle_lock::IdleLock;
pub use protection::Protection;
pub use redis::RedisSettings;
pub use table::Process;

/// Where the node listens unless told otherwise.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7447);
/// Default cap on values in the node's memory, in bytes.
pub const MEMORY_CAP_DEFAULT: u64 = 1 << 30;
/// Smallest memory cap that can hold one largest value.
pub const MEMORY_CAP_MIN: u64 = 32 << 20;
/// Largest memory cap: beyond any machine, within arithmetic.
pub const MEMORY_CAP_MAX: u64 = 1 << 50;

/// Fewest connections that the node may be limited to: this machine's own commands use a few at a time.
pub const CONNECTIONS_MAX_MIN: usize = 16;
/// Most connections that the node may be set to: what a process may have open, and memory, end sooner.
pub const CONNECTIONS_MAX_MAX: usize = 8_192;

/// Environment variables that begin as settings do and are none.
const OTHER_VARIABLES: [&str; 1] = [HOME_VARIABLE];
/// Longest value taken from the environment or a flag, in bytes.
const VALUE_LEN_MAX: usize = 4096;

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the node listens.
    pub listen: SocketAddr,
    /// The node of another machine that is used instead of one of this home's own.
    pub connect: Option<SocketAddr>,
    /// Most gRPC connections the node admits at a time.
    pub connections_max: usize,
    /// Cap on values in the node's memory, in bytes.
    pub memory_cap_bytes: u64,
    /// The HTTP door.
    pub http: HttpSettings,
    /// What may be asked of the gRPC door, and proxies.
    pub protection: Protection,
    /// The Redis door.
    pub redis: RedisSettings,
    /// When an open vault locks itself.
    pub idle_lock: IdleLock,
    /// How often the agent applies the vault's retention rules.
    pub retention_every: Option<Duration>,
    /// What the node verifies and collects in the background.
    pub upkeep: UpkeepConfig,
    /// Which events the daemons log.
    pub log: String,
    /// How they write them.
    pub log_format: LogFormat,
    /// Files that a command moves side by side.
    pub transfer_jobs: usize,
    /// Bytes a second that a command sends to the node.
    pub upload_rate: Rate,
    /// Bytes a second that a command takes from the node.
    pub download_rate: Rate,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: LISTEN_DEFAULT,
            connect: None,
            connections_max: CONNECTIONS_MAX_DEFAULT,
            memory_cap_bytes: MEMORY_CAP_DEFAULT,
            http: HttpSettings::default(),
            protection: Protection::default(),
            redis: RedisSettings::default(),
            idle_lock: IdleLock::After(idle_lock::IDLE_LOCK_DEFAULT),
            retention_every: Some(every::RETENTION_EVERY_DEFAULT),
            upkeep: UpkeepConfig::default(),
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            transfer_jobs: JOBS_DEFAULT,
            upload_rate: Rate(None),
            download_rate: Rate(None),
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    BuiltIn,
    /// The settings file, and its line.
    File(usize),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag,
}

impl Origin {
    /// For people, given the settings file.
    pub fn for_people(&self, file: &Path) -> String {
        match self {
            Self::BuiltIn => "built in".to_owned(),
            Self::File(line) => format!("{}:{line}", shown(file)),
            Self::Environment(name) => format!("environment {name}"),
            Self::Flag => "flag".to_owned(),
        }
    }
}

/// One value that somebody gave, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The setting's name.
    pub name: String,
    /// What it is to be.
    pub value: String,
    /// Who says so.
    pub origin: Origin,
}

impl Given {
    /// By a flag.
    pub fn by_flag(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into(), origin: Origin::Flag }
    }

    /// Parses `NAME=VALUE`, as `--set` takes it.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse_flag(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
        let field = table::find(name).ok_or_else(|| table::unknown(name))?;
        let given = Self::by_flag(field.name, value);
        Settings::default().take(&given).map(|_| given)
    }
}

/// All settings with their origins.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The values.
    pub settings: Settings,
    /// Where each comes from, in the table's order.
    pub origins: Vec<Origin>,
    /// Whether there is a settings file.
    pub has_file: bool,
    /// Variables that begin with `LARDER_` and mean nothing to this program. They are told and not refused: service
    /// managers and container platforms put variables of their own into the environment, named after the service.
    pub strange_variables: Vec<String>,
}

impl Resolved {
    /// Takes file, environment and flags together.
    ///
    /// # Errors
    /// Invalid, naming the setting and who gave it; too new if a newer program wrote the file.
    pub fn load(path: &Path, flags: &[Given]) -> Outcome<Self> {
        Self::from_parts(path, file::load(path)?, &mut std::env::vars_os(), flags)
    }

    fn from_parts(
        path: &Path,
        in_file: Option<Vec<Given>>,
        environment: &mut dyn Iterator<Item = (OsString, OsString)>,
        flags: &[Given],
    ) -> Outcome<Self> {
        let has_file = in_file.is_some();
        let (in_environment, strange_variables) = from_environment(environment)?;
        let mut resolved = Self {
            settings: Settings::default(),
            origins: vec![Origin::BuiltIn; table::FIELDS.len()],
            has_file,
            strange_variables,
        };
        for given in in_file.unwrap_or_default().iter().chain(&in_environment).chain(flags) {
            let place = resolved.settings.take(given).map_err(|why| match &given.origin {
                Origin::Flag => Failure::invalid(format!("--set {}: {why}", given.name)),
                origin => Failure::invalid(format!("{}: {}: {why}", origin.for_people(path), given.name)),
            })?;
            resolved.origins[place] = given.origin.clone();
        }
        Ok(resolved)
    }

    /// Whether a setting was given on the command line.
    pub fn is_by_flag(&self, name: &str) -> bool {
        table::FIELDS
            .iter()
            .position(|field| field.name == name)
            .is_some_and(|i| self.origins[i] == Origin::Flag)
    }

    /// The settings of one process by name, as it is told them and as it writes them down.
    pub fn of(&self, process: Process) -> std::collections::BTreeMap<String, String> {
        let fields =
            table::FIELDS.iter().filter(|field| field.process == process || field.process == Process::Both);
        fields.map(|field| (field.name.to_owned(), (field.show)(&self.settings))).collect()
    }
}

impl Settings {
    /// Takes over one value; answers its place in the table.
    fn take(&mut self, given: &Given) -> Result<usize, String> {
        let place = table::FIELDS.iter().position(|field| field.name == given.name);
        let place = place.ok_or_else(|| table::unknown(&given.name))?;
        if given.value.len() > VALUE_LEN_MAX {
            return Err(format!("too long len={} max={VALUE_LEN_MAX}", given.value.len()));
        }
        (table::FIELDS[place].set)(self, &given.value)?;
        Ok(place)
    }
}

/// Settings among the variables, and the names of those that look like settings and are none.
fn from_environment(
    variables: &mut dyn Iterator<Item = (OsString, OsString)>,
) -> Outcome<(Vec<Given>, Vec<String>)> {
    let (mut given, mut strange) = (Vec::new(), Vec::new());
    for (variable, value) in variables {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with("LARDER_")) else { continue };
        if OTHER_VARIABLES.contains(&variable) {
            continue;
        }
        let Some(field) = table::FIELDS.iter().find(|field| field.variable() == variable) else {
            strange.push(variable.to_owned());
            continue;
        };
        let value = value
            .into_string()
            .map_err(|_| Failure::invalid(format!("environment {variable}: it is not text")))?;
        let origin = Origin::Environment(variable.to_owned());
        given.push(Given { name: field.name.to_owned(), value, origin });
    }
    strange.sort();
    Ok((given, strange))
}

#[cfg(test)]
mod tests;
