//! What a node needs to be told.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Default port for gRPC.
pub const PORT_DEFAULT: u16 = 7447;

/// Default cap on values in memory, in bytes, overhead counted.
pub const MEMORY_CAP_BYTES_DEFAULT: u64 = 1 << 30;

/// A node's settings.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Folder that holds the store; created if missing.
    pub data_dir: PathBuf,
    /// Address to listen on for gRPC.
    pub listen: SocketAddr,
    /// Certificates of the authority whose clients are admitted, PEM.
    pub authority_pem: Vec<u8>,
    /// The node's own certificate chain, PEM.
    pub certificate_pem: Vec<u8>,
    /// The node's private key, PEM.
    pub key_pem: Vec<u8>,
    /// Most bytes of values held in memory, overhead counted.
    pub memory_cap_bytes: u64,
    /// Largest value accepted, in bytes, what sealing adds not counted; at most
    /// `larder_format::limits::VALUE_LEN_MAX`, all counted.
    pub value_len_max: usize,
}
