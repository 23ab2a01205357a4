//! Planted bugs: ways to break a rule on purpose, so that the simulation shows it would notice.
//!
//! [`Planted`] is chosen at run time and travels in a [`Faults`] value. Without the cargo feature `planted`
//! (so in the binary people run) a [`Faults`] is empty, [`Faults::has`] is `false` by construction and every
//! branch on it compiles to nothing. `docs/design/register.md` lists which seed catches which.

macro_rules! planted {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A rule that is broken on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Planted { $($(#[$doc])* $name,)* }

        #[cfg(feature = "planted")]
        impl Planted {
            /// All of them, in the order of the design page's table.
            pub const ALL: &[Planted] = &[$(Planted::$name,)*];

            /// Its name on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Planted::$name => $text,)* }
            }
        }
    };
}

planted! {
    /// A read is answered by the first replica that replies.
    ReadFromOne = "read-from-one",
    /// What a read (or a failed condition) saw is answered without making sure that a majority holds it.
    NoWriteBack = "no-write-back",
    /// An acceptor answers and accepts below what it promised.
    IgnoredPromise = "ignored-promise",
    /// An operation without id is applied again after its first accept phase failed.
    BlindRetry = "blind-retry",
    /// A client retries an unknown outcome under a new id. (In the simulated client.)
    NewIdRetry = "new-id-retry",
    /// One acceptor fewer than a majority commits.
    MinorityCommit = "minority-commit",
    /// The version is the proposer's wall clock.
    WallClockOrder = "wall-clock-order",
    /// Replies go out before what they rest on is durable.
    AnswerBeforeSync = "answer-before-sync",
    /// Promises are kept in memory only.
    PromiseNotDurable = "promise-not-durable",
    /// Completing somebody's write loses its expiry.
    ExpiryForgotten = "expiry-forgotten",
    /// Each replica counts a value's time to live from when it accepts it.
    ExpiryRestarted = "expiry-restarted",
    /// Acceptors do not take note of the time in messages.
    TimeNotMerged = "time-not-merged",
    /// The high-water mark of time is lost in a crash.
    TimeNotDurable = "time-not-durable",
    /// A value is called expired without that being written down first.
    ExpiryNotWritten = "expiry-not-written",
    /// Acceptors accept what rests on a value whose time they know is up.
    LateAccept = "late-accept",
    /// Times beyond the bound are believed.
    ClockUnbounded = "clock-unbounded",
    /// A shadow goes as soon as a sweep finds it.
    ShadowDroppedEarly = "shadow-dropped-early",
    /// Dropping per-key state leaves the floor where it was.
    FloorNotRaised = "floor-not-raised",
    /// A value written over a shadow gets the shadow's version.
    VersionReused = "version-reused",
    /// A take uses nothing up.
    TakeTwice = "take-twice",
    /// A take's bytes are released before the accept.
    TakeBeforeAccept = "take-before-accept",
    /// Get shows bytes that may only be taken.
    GetShowsTakes = "get-shows-takes",
    /// Operation ids are forgotten at the next write.
    IdEvictedEarly = "id-evicted-early",
    /// A remembered result is answered without making sure that a majority remembers it.
    IdUnconfirmed = "id-unconfirmed",
    /// Operations take effect after their deadline.
    DeadlineIgnored = "deadline-ignored",
    /// Writes take effect at or after their `not_after`.
    NotAfterIgnored = "not-after-ignored",
    /// A confirmed read does not write back, so that writes it did not see can still surface.
    BarrierSkipped = "barrier-skipped",
    /// Ballots do not carry their proposer's name, so two proposers can use the same one.
    BallotShared = "ballot-shared",
    /// A memory replica that restarted votes at once.
    RejoinAmnesia = "rejoin-amnesia",
    /// A memory replica that restarted votes after hearing one other replica.
    RejoinFromOne = "rejoin-from-one",
    /// Replicas hand out state without fencing the incarnation before.
    RejoinWithoutFence = "rejoin-without-fence",
}

/// Which bug is planted, if any. Nothing in normal builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    #[cfg(feature = "planted")]
    planted: Option<Planted>,
}

impl Faults {
    /// No bug.
    pub const NONE: Faults = Faults {
        #[cfg(feature = "planted")]
        planted: None,
    };

    /// With this bug.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn plant(bug: Planted) -> Self {
        Self { planted: Some(bug) }
    }

    /// Whether this bug is planted.
    #[cfg(feature = "planted")]
    #[must_use]
    #[inline]
    pub fn has(self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    /// Whether this bug is planted: never.
    #[cfg(not(feature = "planted"))]
    #[must_use]
    #[inline]
    pub fn has(self, _: Planted) -> bool {
        false
    }
}
