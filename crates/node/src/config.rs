//! What a node needs to be told.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::credentials::CertificateFiles;
use crate::upkeep::UpkeepConfig;
use larder_door::Rates;
use larder_door::bucket::Rate;
use larder_door::proxies::Proxies;

/// Default port for gRPC.
pub const PORT_DEFAULT: u16 = 7447;

/// Default port for HTTP.
pub const HTTP_PORT_DEFAULT: u16 = 7448;

/// Default port of the Redis door.
pub const REDIS_PORT_DEFAULT: u16 = 7449;

/// The raw namespace that the HTTP and Redis doors serve unless told otherwise.
pub const RAW_NAMESPACE: &str = "raw";

/// What may be asked over HTTP. All strangers together have as much as a hundred of them, an identity as much as that: one
/// program that runs wild leaves room for the others.
pub const HTTP_RATES_DEFAULT: Rates = Rates {
    address: Rate { per_second: 100, burst: 200 },
    total: Rate { per_second: 10_000, burst: 20_000 },
    identity: Rate { per_second: 10_000, burst: 20_000 },
    for_all: false,
};

/// What may be asked over gRPC. Strangers get no further than a handshake, and that is what they are counted by: one takes
/// about a millisecond of a processor. Calls and the operations in their streams are an identity's.
pub const GRPC_RATES_DEFAULT: Rates = Rates {
    address: Rate { per_second: 20, burst: 200 },
    total: Rate { per_second: 200, burst: 1_000 },
    identity: Rate { per_second: 100_000, burst: 200_000 },
    for_all: false,
};

/// What may be asked over the Redis protocol, in commands: clients send many small ones at once.
pub const REDIS_RATES_DEFAULT: Rates = Rates {
    address: Rate { per_second: 1_000, burst: 2_000 },
    total: Rate { per_second: 100_000, burst: 200_000 },
    identity: Rate { per_second: 1_000_000, burst: 2_000_000 },
    for_all: false,
};

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
    /// The gRPC door.
    pub grpc: GrpcConfig,
    /// Proxies that are trusted to say for whom they call, whichever door they come to.
    pub proxies: Proxies,
    /// The HTTP door; `None`: none.
    pub http: Option<HttpConfig>,
    /// The Redis door; `None`: none.
    pub redis: Option<RedisConfig>,
}

/// Settings of the gRPC door beside its address.
#[derive(Debug, Clone)]
pub struct GrpcConfig {
    /// What may be asked.
    pub rates: Rates,
    /// Connections from trusted proxies begin with a PROXY protocol header.
    pub proxy_protocol: bool,
}

/// Whom the HTTP door lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawAuth {
    /// Whoever can reach the address; plain HTTP.
    None,
    /// Programs with a certificate of the node's own authority; HTTPS with mutual TLS.
    Certificate,
    /// Programs with a token, or with such a certificate; HTTPS, but on loopback plain HTTP.
    Token,
}

impl RawAuth {
    /// Whether a door with this at this address speaks TLS. A token is a secret, so it goes over no network in the clear;
    /// on loopback there is none to read it.
    #[must_use]
    pub fn speaks_tls(self, listen: SocketAddr) -> bool {
        match self {
            RawAuth::None => false,
            RawAuth::Certificate => true,
            RawAuth::Token => !listen.ip().is_loopback(),
        }
    }
}

/// Settings of the HTTP door.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Whom to let in.
    pub auth: RawAuth,
    /// What may be asked.
    pub rates: Rates,
    /// Connections from trusted proxies begin with a PROXY protocol header.
    pub proxy_protocol: bool,
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
    pub auth: RawAuth,
    /// What may be asked, in commands.
    pub rates: Rates,
    /// Connections from trusted proxies begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// The raw namespace in memory that is its database 0.
    pub namespace: String,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Longest value taken, in bytes, as [`NodeConfig::value_len_max`].
    pub value_len_max: usize,
}
