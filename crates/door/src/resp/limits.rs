//! Limits of the Redis door by name. Each is applied before anything is allocated for what it limits. What a value may
//! weigh is a setting of the node; `larder_format::limits` has the formats' own.

use std::time::Duration;

/// Most arguments of one request, its name among them: as in Redis. Clients that set a million keys do so in several
/// requests.
pub const ARGUMENTS_MAX: usize = 1024 * 1024;

/// Longest request, in bytes, framing included: several values of the largest size at once, and little enough that a few
/// of them at a time do no harm.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest inline request (a line of words, as typed into a terminal), in bytes, as in Redis.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Longest line that says how many arguments or bytes follow: a sign, ten digits, and room to see that it is no number.
pub const COUNT_LINE_BYTES_MAX: usize = 32;

/// Most arguments of a request of somebody who has yet to say who they are: `HELLO` with all its options takes eight.
pub const STRANGER_ARGUMENTS_MAX: usize = 10;

/// Longest argument of such a request, in bytes: a token is shorter.
pub const STRANGER_BULK_BYTES_MAX: usize = 16 * 1024;

/// Bytes read from a connection at once, into memory that all connections of a thread share.
pub const READ_BYTES: usize = 64 * 1024;

/// Bytes of answers after which they are sent before the next request is looked at.
pub const GATHER_BYTES: usize = 64 * 1024;

/// Longest answer to one request, in bytes: a few hundred thousand keys, or several values of the largest size. Whoever
/// wants more asks in several requests.
pub const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most bytes held for all connections together of requests that have come in part.
pub const PARTIAL_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Most bytes held for all connections together of answers that their clients have not taken.
pub const UNSENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Most bytes held for one subscriber of messages that it has not taken; beyond, it is cut off, as Redis does.
pub const BACKLOG_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Up to this many bytes a connection's part of a request or answer is not counted against the sums: the number of
/// connections bounds these.
pub const SMALL_BYTES_MAX: usize = 4 * 1024;

/// Most requests that one transaction (`MULTI`) may queue.
pub const QUEUED_MAX: usize = 65_536;

/// Most bytes of requests that one transaction may queue.
pub const QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most of them that are about all keys of a namespace: everybody waits for all of these, one after the other.
pub const QUEUED_WHOLE_MAX: usize = 16;

/// Most bytes of values that one `MSET` replaces: they are kept until it is certain that all of it has room.
pub const REPLACED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long what came at once from one connection is worked on before the others of its thread have their turn.
pub const TURN_MAX: Duration = Duration::from_millis(5);

/// Most keys that one connection may watch for its next transaction.
pub const WATCHED_MAX: usize = 65_536;

/// Most bytes of keys that one connection may watch.
pub const WATCHED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest name of a channel or pattern, in bytes: that of a notification about the longest key, and room.
pub const CHANNEL_BYTES_MAX: usize = 8 * 1024;

/// Most channels and patterns that one connection may be subscribed to.
pub const SUBSCRIPTIONS_PER_CLIENT_MAX: usize = 65_536;

/// Most subscriptions in all: some hundred bytes each.
pub const SUBSCRIPTIONS_MAX: usize = 262_144;

/// Most bytes of their names in all.
pub const SUBSCRIPTION_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most patterns in all: each is compared with every message.
pub const PATTERNS_MAX: usize = 4_096;

/// Longest pattern of `KEYS`, `SCAN … MATCH`, `PSUBSCRIBE` and the like, in bytes: the longest key with a `\` before each byte.
pub const PATTERN_BYTES_MAX: usize = 8 * 1024;

/// Most stars of one pattern, of those that have something between them: each begins a search.
pub const PATTERN_STARS_MAX: usize = 256;

/// Most bytes of one class (`[a-z]`) of a pattern, with its brackets: all letters, digits and more. It is gone through for each byte
/// that is compared with it.
pub const PATTERN_CLASS_BYTES_MAX: usize = 128;

/// Most bytes that a piece between two stars stands for, if `?`, `[` or `\` is in it: what is known while it is looked for is one
/// number of so many bits.
pub const PATTERN_PIECE_MAX: usize = 64;

/// Most such pieces of all patterns that somebody listens to: each holds a table of 2 KiB.
pub const PATTERN_TABLES_MAX: usize = 16_384;

/// Most patterns of one `CONFIG GET`: several times as many as there are settings.
pub const CONFIG_PATTERNS_MAX: usize = 64;

/// Most that one transaction does, in bytes that are copied or looked through: a few tenths of a second, in which nobody else gets to
/// its keys.
pub const EXEC_WORK_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Bytes of values moved by one connection's commands after which it is looked at whether it has had its turn, beside now and then.
pub const TURN_LOOK_BYTES: usize = 1024 * 1024;

/// Longest name that a client may give itself or its library, in bytes.
pub const CLIENT_NAME_BYTES_MAX: usize = 256;

/// Most connections at a time: 10,000 of them idle are to be nothing special.
pub const CONNECTIONS_MAX: usize = 16_384;

/// Most connections at a time from one network of strangers.
pub const CONNECTIONS_PER_NETWORK_MAX: usize = 1_024;

/// How long a connection may take to say who it is, where that is asked for.
pub const AUTH_TIME_MAX: Duration = Duration::from_secs(30);

/// How long nothing may come while a request has come in part.
pub const PARTIAL_STALL_MAX: Duration = Duration::from_secs(60);

/// How long a client may not take a single byte of what is sent to it.
pub const ANSWER_STALL_MAX: Duration = Duration::from_secs(30);

/// Failed attempts to say who one is, after which a connection is closed.
pub const AUTH_FAILURES_MAX: u32 = 8;
