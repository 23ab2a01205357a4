//! One file at a time: in, out, its versions, and away. Whole folders are in [`crate::tree`].

mod ahead;
mod attempts;
mod candidates;
mod closing;
mod content;
mod damage;
mod get;
mod history;
mod list;
mod put;
mod remove;
mod restore;
mod trail;
mod upload;
mod verify;
mod versions;

pub(crate) use ahead::FolderReading;
pub(crate) use attempts::Attempts;
pub use candidates::{Candidate, CandidateKind, Candidates, Total};
pub use content::{ContentOptions, Uploaded};
pub use get::{Destination, GetReport, Proof};
pub use list::{Listed, ListedKind, Listing};
pub(crate) use put::{NewFile, at, refused};
pub use put::{PutOptions, PutReport, Reading};
pub use remove::{RemoveOptions, RemoveReport, TRASH_MS_DEFAULT};
pub use restore::{Restored, RestoredFolder};
pub use verify::{Unverified, VerifyReport};
pub use versions::{VersionInfo, VersionKind, Versions};
