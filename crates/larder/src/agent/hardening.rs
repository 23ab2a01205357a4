//! Keeping the agent's memory to itself, as far as one user can: no core dumps, no other process of the same user
//! attaching or reading `/proc/PID/mem`, the root key not written to swap. All best effort: where the system refuses,
//! the agent works and its log says what is missing. Root can always look.

use std::ops::Deref;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use zeroize::Zeroize;

/// No core dumps, no tracing by others.
pub fn close_process() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be switched off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process could not be closed to others");
    }
}

/// 32 secret bytes at an address of their own: not swapped out if the system allows, wiped when dropped.
pub struct LockedKey {
    bytes: Box<[u8; 32]>,
}

impl LockedKey {
    /// Takes a copy of a key.
    pub fn new(key: &[u8; 32]) -> Self {
        let mut bytes = Box::new([0; 32]);
        if let Err(error) = keep_in_memory(&bytes) {
            tracing::warn!(%error, "the key could not be kept out of swap");
        }
        bytes.copy_from_slice(key);
        Self { bytes }
    }
}

#[allow(unsafe_code, reason = "mlock takes an address; argued below")]
fn keep_in_memory(bytes: &[u8; 32]) -> rustix::io::Result<()> {
    // SAFETY: the address and length are those of a live allocation; mlock neither reads nor writes it and only tells
    // the kernel to keep its pages. They are never unlocked: that would also release neighbours on the same page, and
    // the agent locks one key at a time.
    unsafe { rustix::mm::mlock(bytes.as_ptr().cast_mut().cast(), bytes.len()) }
}

impl Deref for LockedKey {
    type Target = [u8; 32];
    fn deref(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl Drop for LockedKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl std::fmt::Debug for LockedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockedKey(…)")
    }
}
