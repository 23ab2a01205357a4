//! What somebody may do: four rights, each including those before it. Certificates and tokens name them, nodes check them.

use std::fmt;

/// What an identity may do. Each includes all that come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Get, scan, read blobs, ask for the status.
    Read,
    /// Also create records, store and lease blobs; replace a record only where nothing is lost by it. Never delete,
    /// take, release or shorten a lifetime.
    AppendOnly,
    /// Everything on records and blobs.
    Write,
    /// Also the node itself: collect, scrub, accept damage, create namespaces.
    Admin,
}

impl Right {
    /// All of them, least first.
    pub const ALL: [Right; 4] = [Right::Read, Right::AppendOnly, Right::Write, Right::Admin];

    /// Its name, in certificates and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::AppendOnly => "append-only",
            Right::Write => "write",
            Right::Admin => "admin",
        }
    }

    /// The right of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.name() == name)
    }

    /// Its number, in tokens: 1 to 4, least first.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Right::Read => 1,
            Right::AppendOnly => 2,
            Right::Write => 3,
            Right::Admin => 4,
        }
    }

    /// The right of that number.
    #[must_use]
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.number() == number)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
