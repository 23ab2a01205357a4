//! Sealing: what happens to bytes before they leave a machine that may read them, and after they come back.
//!
//! No sockets, no async, no clock. Randomness comes in through [`larder_format::rng::Rng`]. The way of a file:
//! [`pipeline`] cuts it into chunks and seals each ([`compress`], [`pad`], [`chunk`]); [`tree`] gathers the chunks
//! in pages; [`manifest`] describes and signs the whole; [`record`] seals that under a blinded key ([`names`]).
//! All keys follow from one root ([`keys`]), which [`header`] keeps wrapped under passphrases, a recovery code and for
//! people and devices ([`slots`], [`recovery`], [`recipient`]), and signs ([`dual`]). [`watermark`] remembers what was
//! seen. The bytes are in `docs/design/format-seal.md`, with what they do not hide.

mod base32;
pub mod chunk;
pub mod compress;
pub mod content_hash;
pub mod cut;
pub mod dual;
pub mod error;
pub mod fingerprint;
pub mod header;
pub mod keys;
pub mod local;
pub mod manifest;
pub mod names;
pub mod pad;
pub mod pipeline;
mod primitives;
pub mod recipient;
pub mod record;
pub mod recovery;
pub mod slots;
pub mod tree;
pub mod watermark;

pub use error::SealError;
pub use primitives::Secret;
