//! Every limit of Larder's formats by name, with its unit and its reason. Decoders apply them before they
//! allocate; doors apply them before they accept.

/// Longest raw record key, in bytes. A sealed key is 32 or 40 bytes; raw keys come from Redis and HTTP
/// clients, and a key is held in memory for every record, so it stays within one page.
pub const KEY_LEN_MAX: usize = 4096;

/// Longest name a person may give to a file, folder or sealed value, in bytes of UTF-8. Four times what
/// common file systems allow for one component; it has to fit a sealed head beside its attributes.
pub const NAME_LEN_MAX: usize = 1024;

/// Longest path in a vault, in bytes of UTF-8, as on Linux (`PATH_MAX`) times four.
pub const PATH_LEN_MAX: usize = 16 * 1024;

/// Deepest folder nesting in a vault.
pub const PATH_DEPTH_MAX: usize = 256;

/// Longest namespace name, in bytes.
pub const NAMESPACE_NAME_LEN_MAX: usize = 64;

/// Largest sealed head (name and attributes), in bytes: listings read heads only, so they stay small.
pub const HEAD_LEN_MAX: usize = 4096;

/// Largest file kept inside its record instead of in blobs, in plaintext bytes.
pub const INLINE_FILE_LEN_MAX: usize = 32 * 1024;

/// Largest record value that any node accepts, in bytes (head and body together).
pub const VALUE_LEN_MAX: usize = 16 * 1024 * 1024;

/// Default cap on a record value, in bytes; an operator may raise it up to [`VALUE_LEN_MAX`].
pub const VALUE_LEN_DEFAULT_MAX: usize = 10 * 1024 * 1024;

/// Largest blob, in bytes: a 4 MiB content-defined chunk with its padding and sealing overhead.
pub const BLOB_LEN_MAX: usize = 4 * 1024 * 1024 + 256 * 1024;

/// Most blobs one lease request may name. At 32 bytes each the request stays within 128 KiB.
pub const LEASE_BLOBS_MAX: usize = 4096;

/// Most lease tokens one record may list.
pub const RECORD_TOKENS_MAX: usize = 64;

/// Most operation ids remembered in one record. Each has a deadline, so a record only holds this many when
/// that many distinct operations with ids hit one key within one deadline; then the next is told to retry.
pub const RECORD_OPERATIONS_MAX: usize = 64;

/// Furthest an operation id's deadline may lie ahead, in milliseconds (one hour). What is remembered until then
/// includes bytes handed to takers, so it is not longer than a patient client needs.
pub const OPERATION_DEADLINE_MS_MAX: u64 = 3600 * 1000;

/// Most bytes of results that one record remembers for operation ids: those handed to takers. A state is stored
/// and sent whole, so what it remembers must leave room for a value of the largest size.
pub const RECORD_REMEMBERED_BYTES_MAX: usize = VALUE_LEN_MAX;

/// Furthest a lease's deadline may lie ahead, in milliseconds (25 hours): an interrupted upload can be resumed for a
/// day, and a client's idea of the node's time may be ahead of it.
pub const LEASE_DEADLINE_MS_MAX: u64 = 25 * 3600 * 1000;

/// Longest time to live anyone may ask for, in milliseconds (100 years of 365 days).
pub const TTL_MS_MAX: u64 = 100 * 365 * 24 * 3600 * 1000;

/// Most reads a burn-after-reading value may allow.
pub const TAKES_MAX: u32 = 1_000_000;

/// Most records one page of a scan may return.
pub const SCAN_PAGE_RECORDS_MAX: usize = 10_000;

/// Most bytes of records one page of a scan may return, unless its first record alone is larger.
pub const SCAN_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How far a peer's or client's hybrid time may run ahead of this machine's clock, in milliseconds. Beyond
/// it a message is refused, so that one wrong clock cannot drag the whole mesh into the future.
pub const CLOCK_AHEAD_MS_MAX: u64 = 60_000;

/// Most namespaces a mesh may have.
pub const NAMESPACES_MAX: usize = 4096;

/// Most tokens a node keeps. Each is looked up in memory by its id; beyond it somebody makes tokens without end.
pub const TOKENS_MAX: usize = 4096;

/// Longest token, in bytes before it is made text: it travels with every request over HTTP.
pub const TOKEN_LEN_MAX: usize = 2048;

/// Most caveats of a token: each costs a hash whenever it is verified.
pub const TOKEN_CAVEATS_MAX: usize = 32;

/// Most namespaces one caveat of a token may name.
pub const TOKEN_NAMESPACES_MAX: usize = 16;

/// Most prefixes of keys one caveat of a token may name: all are compared with every key.
pub const TOKEN_PREFIXES_MAX: usize = 16;

/// Longest prefix of keys in a token, in bytes.
pub const TOKEN_PREFIX_LEN_MAX: usize = 256;

/// Longest name a token may have, in bytes of UTF-8.
pub const TOKEN_NAME_LEN_MAX: usize = 64;
