//! The vault while it is open, and when it locks itself.
//!
//! Idle time is measured on the monotonic clock *and* the wall clock: the first stands still while a laptop sleeps,
//! and a machine that was closed for a night must not wake up with its vault open.

use std::time::Duration;

use larder_format::clock::Clock;
use larder_format::ids::VaultId;

use crate::agent::hardening::LockedKey;
use crate::settings::IdleLock;

/// An open vault, or none.
#[derive(Debug)]
pub struct OpenVault {
    idle_lock: IdleLock,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    vault: VaultId,
    root: LockedKey,
    used_at: Duration,
    used_at_wall_ms: u64,
}

impl OpenVault {
    /// Locked.
    pub fn new(idle_lock: IdleLock) -> Self {
        Self { idle_lock, open: None }
    }

    /// Opens with this root key.
    pub fn open(&mut self, vault: VaultId, root: &[u8; 32], clock: &dyn Clock) {
        self.open = Some(Open {
            vault,
            root: LockedKey::new(root),
            used_at: clock.monotonic(),
            used_at_wall_ms: clock.wall_ms(),
        });
    }

    /// Wipes the key. Answers whether there was one.
    pub fn lock(&mut self) -> bool {
        self.open.take().is_some()
    }

    /// The key, for use: starts the idle time anew. `None` when locked, or when the idle time is over.
    pub fn use_root(&mut self, clock: &dyn Clock) -> Option<(VaultId, &[u8; 32])> {
        self.lock_if_idle(clock);
        let open = self.open.as_mut()?;
        open.used_at = clock.monotonic();
        open.used_at_wall_ms = clock.wall_ms();
        Some((open.vault, &open.root))
    }

    /// The key, without starting the idle time anew.
    pub fn look_at_root(&mut self, clock: &dyn Clock) -> Option<(VaultId, &[u8; 32])> {
        self.lock_if_idle(clock);
        self.open.as_ref().map(|open| (open.vault, &*open.root))
    }

    /// Which vault is open, without using it.
    pub fn vault(&mut self, clock: &dyn Clock) -> Option<VaultId> {
        self.lock_if_idle(clock);
        self.open.as_ref().map(|open| open.vault)
    }

    /// Locks if the idle time is over. Answers how long until it is; `None` if that will not happen by itself.
    pub fn lock_if_idle(&mut self, clock: &dyn Clock) -> Option<Duration> {
        let open = self.open.as_ref()?;
        let IdleLock::After(limit) = self.idle_lock else { return None };
        let awake = clock.monotonic().saturating_sub(open.used_at);
        let passed = Duration::from_millis(clock.wall_ms().saturating_sub(open.used_at_wall_ms));
        let left = limit.checked_sub(awake.max(passed)).filter(|left| !left.is_zero());
        if left.is_none() {
            tracing::info!("idle: the vault is locked");
            self.open = None;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_format::clock::ManualClock;

    const VAULT: VaultId = VaultId([3; 16]);

    fn opened(clock: &ManualClock) -> OpenVault {
        let mut vault = OpenVault::new(IdleLock::After(Duration::from_secs(10)));
        vault.open(VAULT, &[9; 32], clock);
        vault
    }

    #[test]
    fn use_keeps_it_open_and_idleness_locks_it() {
        let clock = ManualClock::at(1_000_000);
        let mut vault = opened(&clock);
        for _ in 0..3 {
            clock.advance(Duration::from_secs(9));
            assert_eq!(vault.use_root(&clock), Some((VAULT, &[9; 32])));
        }
        clock.advance(Duration::from_secs(9));
        assert_eq!(vault.vault(&clock), Some(VAULT));
        assert_eq!(vault.lock_if_idle(&clock), Some(Duration::from_secs(1)), "looking is not using");
        clock.advance(Duration::from_secs(1));
        assert_eq!(vault.use_root(&clock), None);
    }

    #[test]
    fn a_sleeping_machine_wakes_up_locked() {
        let clock = ManualClock::at(1_000_000);
        let mut vault = opened(&clock);
        clock.jump_to(1_000_000 + 8 * 3_600_000);
        assert_eq!(vault.use_root(&clock), None);
    }

    #[test]
    fn a_clock_that_jumps_back_neither_locks_nor_keeps_open_for_longer() {
        let clock = ManualClock::at(1_000_000);
        let mut vault = opened(&clock);
        clock.jump_to(0);
        assert_eq!(vault.vault(&clock), Some(VAULT));
        clock.advance(Duration::from_secs(10));
        assert_eq!(vault.vault(&clock), None);
    }

    #[test]
    fn never_means_only_when_told() {
        let clock = ManualClock::at(0);
        let mut vault = OpenVault::new(IdleLock::Never);
        vault.open(VAULT, &[9; 32], &clock);
        clock.advance(Duration::from_secs(1_000_000));
        assert_eq!(vault.lock_if_idle(&clock), None);
        assert!(vault.lock());
        assert!(!vault.lock());
        assert_eq!(vault.use_root(&clock), None);
    }
}
