//! What a client does: names become keyed hashes, files become sealed chunks and signed manifests, and nodes
//! see neither. Everything here works on an open vault and one node connection.
//!
//! - [`connection`] and [`remote`]: a node as typed calls;
//! - [`vault`]: the open vault, what [`path`]s mean in it and how records are sealed and opened;
//! - [`directory`]: folders; [`files`]: one file; [`tree`]: whole folders in and out; [`values`]: what expires;
//! - [`local`]: the user's own files; [`memory`]: what this device has seen, so that nothing older is accepted;
//! - [`feed`]: what changes on the node, pushed; [`index`]: names and attributes kept at hand, fed by it;
//! - [`moves`]: other names for what is there, and copies of it; [`check`]: whether all names fit;
//! - progress is counted in a [`meter`]; how much, how fast and how patiently: [`transfer`].

pub mod check;
pub mod connection;
pub mod directory;
pub mod feed;
pub mod files;
pub mod index;
mod keeping;
pub mod local;
pub mod memory;
pub mod meter;
pub mod moves;
pub mod path;
pub mod planted;
pub mod remote;
pub mod retention;
mod tokens;
pub mod transfer;
pub mod tree;
pub mod values;
pub mod values_watch;
pub mod vault;

pub use larder_wire::answer::Failure;
