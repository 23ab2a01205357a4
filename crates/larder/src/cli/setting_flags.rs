//! Flags that name settings: `--set NAME=VALUE` for any of them, and a flag of its own for the few that are asked for
//! most. A flag wins over the environment and the file.

use std::net::SocketAddr;

use crate::settings::http::HttpListen;
use crate::settings::table::address;
use crate::settings::{Given, IdleLock, MEMORY_CAP_MAX, MEMORY_CAP_MIN};
use crate::size;

/// Settings on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingFlags {
    /// Address and port of the node
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Address and port of the HTTP door, auto (beside the node's own) or off
    #[arg(long, value_name = "ADDR:PORT", value_parser = HttpListen::parse)]
    http_listen: Option<HttpListen>,
    /// Address and port of the Redis door, auto (beside the node's own) or off
    #[arg(long, value_name = "ADDR:PORT", value_parser = HttpListen::parse)]
    redis_listen: Option<HttpListen>,
    /// Most memory that expiring values may take
    #[arg(long, value_name = "SIZE", value_parser = parse_memory_cap)]
    memory_cap: Option<u64>,
    /// Lock the vault after this long without a command, or never
    #[arg(long, value_name = "TIME", value_parser = IdleLock::parse)]
    idle_lock: Option<IdleLock>,
    /// Any setting (`larder config show` lists them); the first `larder up` keeps what its flags say
    #[arg(long, value_name = "NAME=VALUE", value_parser = Given::parse_flag)]
    set: Vec<Given>,
}

fn parse_memory_cap(text: &str) -> Result<u64, String> {
    size::parse(text, MEMORY_CAP_MIN, MEMORY_CAP_MAX)
}

impl SettingFlags {
    /// All of them, in the order in which they count.
    pub fn given(&self) -> Vec<Given> {
        let mut given = self.set.clone();
        given.extend(self.listen.map(|address| Given::by_flag("listen", address.to_string())));
        given.extend(self.http_listen.map(|listen| Given::by_flag("http_listen", listen.text())));
        given.extend(self.redis_listen.map(|listen| Given::by_flag("redis_listen", listen.text())));
        given.extend(self.memory_cap.map(|bytes| Given::by_flag("memory_cap", size::text(bytes))));
        given.extend(self.idle_lock.map(|lock| Given::by_flag("idle_lock", lock.text())));
        given
    }
}
