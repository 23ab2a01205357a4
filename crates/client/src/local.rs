//! The user's own files: finding them, reading them without being fooled by changes, and writing them so that
//! a crash leaves the old file or the new one and nothing between.

pub mod exclude;
pub mod part;
pub mod same;
pub mod source;
pub mod target;
pub mod walk;
pub mod xattrs;
