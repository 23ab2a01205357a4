//! The vault's header as this machine has it: the file, the node's copy of it, and what this device knows of the vault
//! without its key.
//!
//! - [`file`]: the local file; whole, missing or damaged.
//! - [`kept`]: the copy that the node keeps, so that one lost or damaged file does not lose the vault.
//! - [`pin`]: the vault's fingerprint and the highest revision seen: a stranger's header and an older one are refused.
//! - [`change`]: how a changed header takes the place of the one before, in both places.
//! - [`repair`]: a new one where both copies are lost and the vault is still open.

pub mod change;
pub mod file;
pub mod kept;
pub mod pin;
pub mod repair;
