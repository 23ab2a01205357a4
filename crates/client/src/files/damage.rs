//! Files that cannot be read: what is said of them, and what may take their place. Damage names the file and what can
//! be done about it; it hides no older version, and only force or a restored version takes a damaged one's place.

use larder_format::error::Kind;
use larder_format::operation::{Condition, Found};
use larder_format::record::Version;
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;

use super::put::{PutOptions, at};
use crate::path::VaultPath;
use crate::vault::{OpenFile, Vault};

/// In the node's words for what it lost without knowing of what.
pub(super) const FRAMES_LOST: &str = "frames were lost";

/// In this client's words for what is older than what it has seen.
const OLDER: &str = "an older state";

/// What a new version takes the place of.
pub(crate) struct Replaced {
    /// What must still be there when it does.
    pub(crate) condition: Condition,
    /// The version that is there, as far as the node can tell.
    pub(crate) version: Option<Version>,
    /// What is there, to be kept beside the new version. `None` if nothing is, or if it cannot be read.
    pub(crate) file: Option<OpenFile>,
}

impl Replaced {
    fn nothing() -> Self {
        Self { condition: Condition::Absent, version: None, file: None }
    }

    fn of(version: Version, file: Option<OpenFile>) -> Self {
        Self { condition: Condition::Version(version), version: Some(version), file }
    }
}

impl Vault {
    /// What is to be replaced. What cannot be read is replaced only by force or where the options say so; what is older
    /// than what was seen only by force, and it is then kept like any other.
    pub(crate) async fn to_replace(
        &self,
        key: SealedKey,
        path: &VaultPath,
        options: &PutOptions,
    ) -> Result<Replaced, Failure> {
        let over_damaged = options.force || options.over_damaged;
        let found = match self.read(self.files, key.as_bytes(), false).await {
            Err(failure) if failure.kind == Kind::Damaged && over_damaged => {
                return self.damaged_to_replace(key, path, options, failure).await;
            }
            found => found.map_err(|f| damaged(path, f))?,
        };
        let Some(found) = found else { return Ok(Replaced::nothing()) };
        let version = found.version;
        match self.open_to_replace(key, found, options) {
            Ok(file) => Ok(Replaced::of(version, file)),
            // That is all that opening a file says no to.
            Err(failure) if failure.kind == Kind::Conflict => Err(is_a_folder(path)),
            Err(failure) => Err(damaged(path, failure)),
        }
    }

    /// What was read whole, opened; `None` if it cannot be and may be replaced all the same.
    fn open_to_replace(
        &self,
        key: SealedKey,
        found: Found,
        options: &PutOptions,
    ) -> Result<Option<OpenFile>, Failure> {
        let failure = match self.open_file(key.as_bytes(), found.clone()) {
            Err(failure) if failure.kind == Kind::Damaged => failure,
            opened => return opened.map(Some),
        };
        match self.open_file_as_shown(key, found) {
            // Only its age is wrong.
            Ok(file) if options.force => Ok(Some(file)),
            Err(shown) if shown.kind == Kind::Damaged && (options.force || options.over_damaged) => Ok(None),
            _ => Err(failure),
        }
    }

    /// What the node itself cannot read whole. Its head may still say what is there.
    async fn damaged_to_replace(
        &self,
        key: SealedKey,
        path: &VaultPath,
        options: &PutOptions,
        failure: Failure,
    ) -> Result<Replaced, Failure> {
        match self.read(self.files, key.as_bytes(), true).await {
            Ok(None) => Ok(Replaced::nothing()),
            Ok(Some(found)) if self.folder_shown(key.as_bytes(), &found.head).is_some() => {
                Err(is_a_folder(path))
            }
            Ok(Some(found)) => match self.open_entry(key.as_bytes(), &found) {
                Err(failure) if !options.force => Err(damaged(path, failure)),
                _ => Ok(Replaced::of(found.version, None)),
            },
            // Nothing says what is there, so nothing can be lost but what is lost already.
            Err(head) if options.force && head.kind == Kind::Damaged => {
                Ok(Replaced { condition: options.condition, version: None, file: None })
            }
            Err(_) => Err(damaged(path, failure)),
        }
    }
}

/// A folder has the name that a file is to get, and what can be done about it.
#[must_use]
pub fn is_a_folder(path: &VaultPath) -> Failure {
    let message = format!(
        "{path}: is a folder, not a file (larder rm -r {path} deletes it and what is in it; or choose another name)"
    );
    Failure::new(Kind::Conflict, message)
}

/// Says which file cannot be read, and what can be done about it.
pub(crate) fn damaged(path: &VaultPath, failure: Failure) -> Failure {
    if failure.kind != Kind::Damaged {
        return at(path, failure);
    }
    let message = &failure.message;
    // What the node lost without knowing of what has a remedy of its own; a failure that was named is not named again.
    if message.contains(FRAMES_LOST) || message.contains("(larder ") {
        return failure;
    }
    let remedy = if message.contains(OLDER) {
        format!("larder restore --accept-older {path} takes it as it is, larder put --force replaces it")
    } else {
        format!(
            "larder versions {path} lists older versions, larder restore {path} brings one back, larder put --force \
             stores it anew, larder node scrub finds all damage"
        )
    };
    Failure::new(Kind::Damaged, format!("{path}: {message} ({remedy})"))
}
