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

/// How long a body may take for each [`BODY_STEP_BYTES`] of it, and for what is left at the end. What came sooner earns
/// no time for what comes later: who stops is let go within this.
pub const BODY_STEP_TIME: Duration = Duration::from_secs(10);

/// Least that comes within [`BODY_STEP_TIME`], in bytes: 16 KiB a second, below a mobile connection at its worst.
pub const BODY_STEP_BYTES: usize = 160 * 1024;

/// How long a client may not take a single byte of its answer.
pub const ANSWER_STALL_MAX: Duration = Duration::from_secs(30);

/// How long a client may take for its answer before [`ANSWER_BYTES_PER_SECOND_MIN`] is looked at.
pub const ANSWER_GRACE: Duration = Duration::from_secs(10);

/// Slowest taking of an answer beyond [`ANSWER_GRACE`], on average and in bytes a second: as for bodies. It bounds how
/// long a value that was deleted stays in memory for somebody who reads it.
pub const ANSWER_BYTES_PER_SECOND_MIN: u64 = 16 * 1024;

/// Most bytes of answers held at a time, over all connections, that were built for one client: pages of keys, metrics.
/// Values are not copied, and a text in JSON is escaped while it is sent.
pub const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most bytes of keys in one page of a listing, as they stand in JSON. More follow with its cursor.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// While programs of this machine wait for memory, how long a body of one of them may take for each
/// [`BODY_WANTED_BYTES`]. They are no network apart, and share what one caller has: who is slow on purpose is let go.
pub const BODY_WANTED_TIME: Duration = Duration::from_secs(1);

/// Least that comes within [`BODY_WANTED_TIME`] then, in bytes: a value of the largest size within half of
/// [`BODIES_WAIT_MAX`].
pub const BODY_WANTED_BYTES: usize = 2 * 1024 * 1024;

/// Most bytes of bodies held at a time, over all connections. A request waits for its share.
pub const BODIES_BYTES_MAX: usize = 128 * 1024 * 1024;

/// One caller's network holds at most one in so many of the bytes of [`BODIES_BYTES_MAX`] and of [`ANSWERS_BYTES_MAX`]:
/// of bodies, three of the largest values at a time.
pub const CALLERS_PER_MEMORY: usize = 4;

/// A body or an answer up to this long, in bytes, is not counted against the memory for them: the number of
/// connections bounds these.
pub const SMALL_BYTES_MAX: usize = 16 * 1024;

/// How long a request waits for its share of [`BODIES_BYTES_MAX`] before it is told to come again.
pub const BODIES_WAIT_MAX: Duration = Duration::from_secs(10);

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

/// Most keys of one watch. More are watched by their prefix.
pub const WATCH_KEYS_MAX: usize = 64;

/// Memory that one stream of events is counted with, in bytes: what it holds while its reader is slow (one look at the
/// changes, and that as text).
pub const WATCH_BYTES: usize = 512 * 1024;

/// Memory for all streams of events together, in bytes: 1,024 of them, a quarter of these for one caller.
pub const WATCHES_BYTES_MAX: usize = 1024 * WATCH_BYTES;

/// How often a stream without events says that it is alive: well within the minute after which proxies give up.
pub const WATCH_HEARTBEAT: Duration = Duration::from_secs(15);
