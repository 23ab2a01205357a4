//! One file at a time: in, out, its versions, and away. Whole folders are in [`crate::tree`].

mod ahead;
mod attempts;
mod attributes;
mod closing;
mod content;
mod damage;
mod get;
mod history;
mod list;
mod purge;
mod put;
mod reading;
mod remove;
mod restore;
mod survey;
mod trail;
mod trash;
mod upload;
mod versions;

pub(crate) use ahead::FolderReading;
pub(crate) use attempts::Attempts;
pub use attributes::{AttributeChange, AttributesChanged};
pub use content::{ContentOptions, Uploaded};
pub use get::{Destination, GetReport, Proof};
pub use list::{Listed, ListedKind, Listing};
pub use purge::{Superfluous, VersionsReport};
pub(crate) use put::{NewFile, at, refused};
pub use put::{PutOptions, PutReport, Reading};
pub use remove::{RemoveOptions, RemoveReport, TRASH_MS_DEFAULT};
pub use restore::{Restored, RestoredFolder};
pub use trash::Trashed;
pub use versions::{VersionInfo, VersionKind, Versions};
