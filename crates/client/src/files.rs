//! One file at a time: in, out, its versions, and away. Whole folders are in [`crate::tree`].

mod content;
mod get;
mod list;
mod put;
mod remove;
mod versions;

pub use content::{ContentOptions, Uploaded};
pub use get::{Destination, GetReport, Proof};
pub use list::{Listed, ListedKind, Listing};
pub(crate) use put::{NewFile, at};
pub use put::{PutOptions, PutReport, Reading};
pub use remove::{RemoveOptions, RemoveReport, TRASH_MS_DEFAULT};
pub use versions::VersionInfo;
