//! What a node needs to be told.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::credentials::CertificateFiles;
use crate::upkeep::UpkeepConfig;
use larder_door::bucket::Rate;

/// Default port for gRPC.
pub const PORT_DEFAULT: u16 = 7447;

/// Default port for HTTP.
pub const HTTP_PORT_DEFAULT: u16 = 7448;

/// Default port of the Redis door.
pub const REDIS_PORT_DEFAULT: u16 = 7449;

/// The raw namespace that the HTTP and Redis doors serve unless told otherwise.
pub const RAW_NAMESPACE: &str = "raw";

/// Requests a second, and at once, that one address of strangers may make over HTTP.
pub const HTTP_RATE_DEFAULT: Rate = Rate { per_second: 100, burst: 200 };

/// Commands a second, and at once, that one address of strangers may make over the Redis protocol: pipelines are usual
/// there, and a stranger has no more than a connection until it has said who it is.
pub const REDIS_RATE_DEFAULT: Rate = Rate { per_second: 100, burst: 200 };

/// Default cap on values in memory, in bytes, overhead counted.
pub const MEMORY_CAP_BYTES_DEFAULT: u64 = 1 << 30;

/// A node's settings.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Folder that holds the store; created if missing.
    pub data_dir: PathBuf,
    /// Address to listen on for gRPC.
    pub listen: SocketAddr,
    /// Files of certificates, key and revocation list; changes are taken over while the node runs.
    pub certificates: CertificateFiles,
    /// Most gRPC connections admitted at a time.
    pub connections_max: usize,
    /// Most bytes of values held in memory, overhead counted.
    pub memory_cap_bytes: u64,
    /// Largest value accepted, in bytes, what sealing adds not counted; at most
    /// `larder_format::limits::VALUE_LEN_MAX`, all counted.
    pub value_len_max: usize,
    /// What is verified and collected in the background, and how often.
    pub upkeep: UpkeepConfig,
    /// The HTTP door; `None`: none.
    pub http: Option<HttpConfig>,
    /// The Redis door; `None`: none.
    pub redis: Option<RedisConfig>,
}

/// Whom the HTTP door lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpAuth {
    /// Whoever can reach the address; plain HTTP.
    None,
    /// Programs with a certificate of the node's own authority; HTTPS with mutual TLS.
    Certificate,
    /// Programs with a token, or with such a certificate; HTTPS, but on loopback plain HTTP.
    Token,
}

impl HttpAuth {
    /// Whether a door with this at this address speaks TLS. A token is a secret, so it goes over no network in the clear;
    /// on loopback there is none to read it.
    #[must_use]
    pub fn speaks_tls(self, listen: SocketAddr) -> bool {
        match self {
            HttpAuth::None => false,
            HttpAuth::Certificate => true,
            HttpAuth::Token => !listen.ip().is_loopback(),
        }
    }
}

/// Settings of the HTTP door.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Whom to let in.
    pub auth: HttpAuth,
    /// How much one address of strangers may ask.
    pub rate: Rate,
    /// The rate holds for loopback and for identities as well.
    pub rate_for_all: bool,
    /// Lifetimes out of range are brought into it (and that is said) instead of refused.
    pub clamp_ttl: bool,
    /// Names this node answers to, beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// The raw namespace it serves.
    pub namespace: String,
    /// Longest value taken, in bytes, as [`NodeConfig::value_len_max`].
    pub value_len_max: usize,
}

/// Settings of the Redis door.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Whom to let in, as the HTTP door does: plain TCP, or TLS.
    pub auth: HttpAuth,
    /// How much one address of strangers may ask.
    pub rate: Rate,
    /// The rate holds for loopback and for identities as well.
    pub rate_for_all: bool,
    /// The raw namespace in memory that is its database 0.
    pub namespace: String,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Longest value taken, in bytes, as [`NodeConfig::value_len_max`].
    pub value_len_max: usize,
}
