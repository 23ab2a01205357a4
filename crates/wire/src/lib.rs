//! gRPC messages and services between a client and a node, generated from `proto/larder/v1/larder.proto`,
//! and their translation to and from the types of `larder-format`.
//!
//! [`v1`] is generated; [`request`], [`answer`] and [`token`] translate, [`framing`] is for those that carry blobs,
//! [`retry`] for refusals; [`read_ahead`] is the socket under both. The limits of `larder_format::limits` are
//! applied in the translation, before anything else sees the bytes.

pub mod answer;
pub mod framing;
pub mod read_ahead;
pub mod request;
pub mod retry;
pub mod token;

/// Generated messages, clients and servers.
#[allow(missing_docs, clippy::all, clippy::missing_errors_doc, unused_qualifications)]
pub mod v1 {
    tonic::include_proto!("larder.v1");
}

/// The compiled protocol, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/larder_descriptor.bin"));

/// Largest gRPC message either side accepts, in bytes: a scan page, or one record or blob of the largest size,
/// with room for its fields.
pub const MESSAGE_LEN_MAX: usize = larder_format::limits::VALUE_LEN_MAX + 64 * 1024;

/// HTTP/2 flow-control window per stream, in bytes: several blobs in flight, which keeps a loopback or a
/// fast network busy, while a reader that stops stops the writer soon after.
pub const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// HTTP/2 flow-control window per connection, in bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Largest HTTP/2 frame to a node, in bytes: fewer frames per blob cost fewer system calls and copies.
pub const FRAME_BYTES: u32 = 256 * 1024;

/// Largest HTTP/2 frame to a client, in bytes: as much as TLS takes at a time. What arrives of a larger one would wait
/// in memory for its end.
pub const ANSWER_FRAME_BYTES: u32 = 64 * 1024;
