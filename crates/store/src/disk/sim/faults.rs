//! What a simulated disk may do to who uses it: fail a call, lose what was not synced.

/// What goes wrong at one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed before the call does anything; every later call fails too.
    Kill,
    /// The process is killed in the middle of a write, of which some pieces of this many bytes were made.
    /// Other calls: as [`Fault::Kill`].
    Torn {
        /// 512 or 4096.
        piece_len: u64,
        /// Which pieces.
        seed: u64,
    },
    /// The call fails with an input/output error; a write may have been made in part.
    Error,
    /// The call, if it takes space, finds none.
    NoSpace,
}

/// Which unsynced changes a crash loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// None: the process died, the machine did not. What was not synced can still be lost by a later crash.
    Nothing,
    /// All.
    Everything,
    /// Those whose bit is not set, counting changes in the order they were made; changes beyond 64 are lost.
    KeepOnly(u64),
    /// A random half of the pages of each write, and of the changes of names.
    Random(u64),
}
