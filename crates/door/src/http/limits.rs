//! Limits of the HTTP door by name. What a value may weigh is a setting of the node, and
//! `larder_format::limits` has the formats' own.

use std::time::Duration;

/// Longest head (request line and headers), in bytes. The longest key, percent-encoded throughout, takes 12 KiB.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Most headers. Browsers send about 20, proxies add a few.
pub const HEADERS_MAX: usize = 64;

/// How long a head may take from its first byte to its last.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a connection may stay open without a request: longer than the usual 60 s of clients, so that they close.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(75);

/// How long any body may take, whatever its length.
pub const BODY_TIME_BASE: Duration = Duration::from_secs(10);

/// Slowest sending beyond [`BODY_TIME_BASE`], in bytes a second: below a mobile connection at its worst.
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 16 * 1024;

/// How long a client may not take a single byte of its answer.
pub const ANSWER_STALL_MAX: Duration = Duration::from_secs(30);

/// Most bytes of bodies held at a time, over all connections. A request waits for its share.
pub const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a request waits for its share of [`BODIES_BYTES_MAX`] before it is told to come again.
pub const BODIES_WAIT_MAX: Duration = Duration::from_secs(5);

/// Most connections at a time.
pub const CONNECTIONS_MAX: usize = 4096;

/// Most connections at a time from one network of strangers.
pub const CONNECTIONS_PER_NETWORK_MAX: usize = 256;

/// Beside the value, what a JSON body may hold: key, lifetime, names of fields.
pub const JSON_EXTRA_BYTES_MAX: u64 = 64 * 1024;

/// Keys of one page of a listing, unless asked otherwise.
pub const PAGE_KEYS_DEFAULT: usize = 100;

/// Most keys of one page of a listing.
pub const PAGE_KEYS_MAX: usize = 1000;

/// How long a body of this length may take.
#[must_use]
pub fn body_time(len: u64) -> Duration {
    BODY_TIME_BASE + Duration::from_secs(len / BODY_BYTES_PER_SECOND_MIN)
}
