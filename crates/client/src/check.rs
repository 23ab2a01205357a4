//! Checking the names of a whole vault, and mending what interrupted commands left: every record is looked at, no content
//! is read. What is found is looked at twice, so that what others are doing at the moment is not taken for a fault.
//!
//! - [`survey`] walks the records; [`look`] says what does not fit; [`mend`] makes it fit, by conditional changes only, and
//!   never by losing a file: what has no place goes to `/lost+found`.

mod look;
mod mend;
mod survey;

use std::collections::BTreeSet;
use std::sync::Arc;

use larder_format::head::{DirId, FileId};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;

use self::survey::Survey;
use crate::path::VaultPath;
use crate::vault::Vault;

/// Where things go that have no place any more.
pub const LOST_AND_FOUND: &str = "lost+found";

/// How often everything is looked at again after mending: what is mended can bring other things to light.
const PASSES_MAX: u32 = 4;

/// What does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A move of a folder was begun and not ended.
    InterruptedMove,
    /// A folder's deletion was begun and not ended.
    InterruptedDeletion,
    /// One file is there under two names.
    Double,
    /// A folder that no entry leads to.
    LostFolder,
    /// An entry of a folder that has no record of its own.
    NoFolder,
    /// An entry of a folder that hangs elsewhere.
    StaleEntry,
    /// A file in a folder that is not known any more.
    LostFile,
    /// Older versions without a file, that would be kept for good.
    LostVersions,
    /// A record that cannot be read.
    Unreadable,
}

impl Fault {
    /// Stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InterruptedMove => "interrupted_move",
            Self::InterruptedDeletion => "interrupted_deletion",
            Self::Double => "double",
            Self::LostFolder => "lost_folder",
            Self::NoFolder => "no_folder",
            Self::StaleEntry => "stale_entry",
            Self::LostFile => "lost_file",
            Self::LostVersions => "lost_versions",
            Self::Unreadable => "unreadable",
        }
    }

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::InterruptedMove => "a move of this folder was interrupted",
            Self::InterruptedDeletion => {
                "its deletion was interrupted (larder rm -r finishes it, larder restore undoes it)"
            }
            Self::Double => "the same file is under another name too",
            Self::LostFolder => "no entry leads to this folder",
            Self::NoFolder => "the folder of this entry has no record",
            Self::StaleEntry => "left over from a move of a folder",
            Self::LostFile => "the folder of this file is not there",
            Self::LostVersions => "older versions of a file that is not there, without an end",
            Self::Unreadable => {
                "cannot be read (larder versions PATH and larder restore PATH if it is known what it was)"
            }
        }
    }
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Move,
    Folder(DirId),
    Entry { dir: DirId, name: String, folder: DirId },
    Double { loser: SealedKey, winner: SealedKey, id: FileId },
    Key(SealedKey),
    Record(Vec<u8>),
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What is wrong.
    pub fault: Fault,
    /// Where, as far as it is known.
    pub path: String,
    /// More that is known, for instance the other name; empty if nothing is.
    pub detail: String,
    subject: Subject,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Files and links.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Older versions, and what can be brought back.
    pub versions: u64,
}

/// What a check came to.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// What was there, at the first look.
    pub counts: Counts,
    /// What did not fit; and of each, whether it was mended, or why not.
    pub findings: Vec<(Finding, Mended)>,
    /// How much does not fit at the end.
    pub left: u64,
}

/// What became of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mended {
    /// It was to be reported only.
    NotTried,
    /// It fits again; how.
    Yes(&'static str),
    /// It cannot be mended here.
    Never,
    /// It failed.
    Failed(Failure),
}

impl Vault {
    /// Checks all names of the vault; answers what is found below a path. With `repair`, mends it.
    ///
    /// # Errors
    /// [`Failure`] if the node does not answer. What cannot be mended is in the report.
    pub async fn check(
        self: &Arc<Self>,
        below: &VaultPath,
        repair: bool,
        mut each: impl FnMut(&Finding, &Mended),
    ) -> Result<CheckReport, Failure> {
        let mut report = CheckReport::default();
        let mut failed = BTreeSet::new();
        for pass in 0..=PASSES_MAX {
            let mut survey = Survey::of(self).await?;
            if pass == 0 {
                report.counts = survey.counts;
            }
            let mut findings = survey.findings(self);
            findings.retain(|finding| is_below(&finding.path, below));
            if !findings.is_empty() {
                // Once more: what others are doing just now has changed by then. One at a time: each takes memory for all names.
                drop(survey);
                survey = Survey::of(self).await?;
                let still: BTreeSet<Finding> = survey.findings(self).into_iter().collect();
                findings.retain(|finding| still.contains(finding));
            }
            report.left = findings.len() as u64;
            findings.retain(|finding| !failed.contains(finding));
            if findings.is_empty() || pass == PASSES_MAX {
                break;
            }
            for finding in findings {
                let mended = match repair {
                    true => self.mend(&finding, &survey).await?,
                    false => Mended::NotTried,
                };
                each(&finding, &mended);
                if !matches!(mended, Mended::Yes(_)) {
                    failed.insert(finding.clone());
                }
                report.findings.push((finding, mended));
            }
            if !repair {
                break;
            }
        }
        Ok(report)
    }
}

fn is_below(path: &str, below: &VaultPath) -> bool {
    if below.is_root() {
        return true;
    }
    let below = below.to_string();
    path == below || path.strip_prefix(&below).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(feature = "planted")]
impl Vault {
    /// The lengths of all files and versions that are there or can be brought back, for the model test.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn sizes_of_everything_kept(&self) -> Result<Vec<u64>, Failure> {
        use larder_format::head::{EntryTarget, Head};
        let mut sizes = Vec::new();
        let mut pages = self.remote.scan(crate::remote::Scan::heads(self.files, &[])).await?;
        while let Some(page) = pages.next().await? {
            for (record, found) in page.records {
                if let Head::Entry(entry) = self.open_head(self.files, record.as_bytes(), &found.head)?
                    && let EntryTarget::File { size, .. } = entry.target
                {
                    sizes.push(size);
                }
            }
        }
        Ok(sizes)
    }
}
