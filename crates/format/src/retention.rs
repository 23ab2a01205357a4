//! Retention rules: which older versions of files stay, how long what is deleted can be brought back, and how long new
//! files live. A vault keeps its rules in one sealed record, so that all devices follow them. This is the record's body.
//!
//! Layout, little-endian: format (1), revision (u64), number of rules (u32); each rule: folder (u32 length, UTF-8, `/a/b` or `/`),
//! keep (0 not set, 1 all, 2 some: last u32, within u64 ms, daily u32, weekly u32, monthly u32, yearly u32), trash time
//! (u64 ms, 0 not set), lifetime (0 not set, 1 never, 2 u64 ms). Rules are sorted by folder, each folder once.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{PATH_LEN_MAX, TTL_MS_MAX};
use crate::record::unknown_format;

/// Version of the layout that this program writes.
pub const RETENTION_FORMAT: u8 = 1;

/// Most rules of one vault: they are read before files are written, and kept in memory meanwhile.
pub const RETENTION_RULES_MAX: usize = 256;

/// Shortest trash time a rule may set, in milliseconds (a minute): what is deleted by mistake is noticed no sooner.
pub const TRASH_MS_MIN: u64 = 60_000;

/// Shortest encoding of a rule, in bytes: an empty folder name, nothing set.
const RULE_LEN_MIN: usize = 4 + 1 + 8 + 1;

/// Which older versions of a file stay: those that any of these keeps. The current version always stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// The newest that are not current.
    pub last: u32,
    /// All that were replaced less than this ago, in milliseconds.
    pub within_ms: u64,
    /// The last one written on each of this many days (UTC) on which any was.
    pub daily: u32,
    /// The same by weeks, which begin on Monday.
    pub weekly: u32,
    /// The same by months.
    pub monthly: u32,
    /// The same by years.
    pub yearly: u32,
}

/// What a rule says of older versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepRule {
    /// All stay.
    All,
    /// Some stay.
    Some(Keep),
}

/// What a rule says of the lifetime of new files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifetimeRule {
    /// They have no end.
    Never,
    /// They live this long, in milliseconds.
    Ttl(u64),
}

/// The rule of one folder and all below it. What it leaves open is as in the folder above.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// The folder, as `/a/b`; `/` is the whole vault.
    pub folder: String,
    /// Which older versions stay.
    pub keep: Option<KeepRule>,
    /// How long what is deleted can be brought back, in milliseconds.
    pub trash_ms: Option<u64>,
    /// How long new files live.
    pub lifetime: Option<LifetimeRule>,
}

/// All rules of a vault.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Rises with every change, so that a device that has seen them takes no older ones for the newest.
    pub revision: u64,
    /// Sorted by folder, each folder once.
    rules: Vec<Rule>,
}

impl Rule {
    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keep.is_none() && self.trash_ms.is_none() && self.lifetime.is_none()
    }

    /// Whether it is about this path: the folder itself or anything below it.
    fn covers(&self, path: &str) -> bool {
        self.folder == "/"
            || path
                .strip_prefix(self.folder.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Rules {
    /// The rules, sorted by folder.
    #[must_use]
    pub fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of exactly this folder.
    #[must_use]
    pub fn of(&self, folder: &str) -> Option<&Rule> {
        self.rules.iter().find(|r| r.folder == folder)
    }

    /// Puts a rule in the place of the folder's; one that says nothing takes it away. Answers `false`, and changes
    /// nothing, if there would be more than [`RETENTION_RULES_MAX`].
    pub fn set(&mut self, rule: Rule) -> bool {
        match self.rules.binary_search_by(|r| r.folder.cmp(&rule.folder)) {
            Ok(place) if rule.is_empty() => {
                self.rules.remove(place);
            }
            Ok(place) => self.rules[place] = rule,
            Err(_) if rule.is_empty() => {}
            Err(_) if self.rules.len() >= RETENTION_RULES_MAX => return false,
            Err(place) => self.rules.insert(place, rule),
        }
        true
    }

    /// Which older versions of the file at this path stay; `None`: all.
    #[must_use]
    pub fn keep(&self, path: &str) -> Option<Keep> {
        match self.nearest(path, |r| r.keep) {
            Some(KeepRule::Some(keep)) => Some(keep),
            Some(KeepRule::All) | None => None,
        }
    }

    /// How long what is deleted at this path can be brought back, in milliseconds, if a rule says so. With `whole`, as
    /// for a folder that is deleted with all below it: the longest of that time and of all that rules below set.
    #[must_use]
    pub fn trash_ms(&self, path: &str, whole: bool, default_ms: u64) -> u64 {
        let own = self.nearest(path, |r| r.trash_ms).unwrap_or(default_ms);
        let above = Rule { folder: path.to_owned(), ..Rule::default() };
        let below = self.rules.iter().filter(|r| whole && above.covers(&r.folder)).filter_map(|r| r.trash_ms);
        below.fold(own, u64::max)
    }

    /// How long a file put at this path lives, in milliseconds; `None`: no rule gives it an end.
    #[must_use]
    pub fn ttl_ms(&self, path: &str) -> Option<u64> {
        match self.nearest(path, |r| r.lifetime) {
            Some(LifetimeRule::Ttl(ms)) => Some(ms),
            Some(LifetimeRule::Never) | None => None,
        }
    }

    /// Whether any rule limits versions at all.
    #[must_use]
    pub fn limit_versions(&self) -> bool {
        self.rules.iter().any(|r| matches!(r.keep, Some(KeepRule::Some(_))))
    }

    /// What the rule says that is nearest above a path and says anything of it.
    fn nearest<T>(&self, path: &str, of: impl Fn(&Rule) -> Option<T>) -> Option<T> {
        let said =
            self.rules.iter().filter(|r| r.covers(path)).filter_map(|r| Some((r.folder.len(), of(r)?)));
        said.max_by_key(|(len, _)| *len).map(|(_, said)| said)
    }

    /// The record's body.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::with_capacity(64);
        w.u8(RETENTION_FORMAT).u64(self.revision).count(self.rules.len());
        for rule in &self.rules {
            w.bytes(rule.folder.as_bytes());
            match rule.keep {
                None => {
                    w.u8(0);
                }
                Some(KeepRule::All) => {
                    w.u8(1);
                }
                Some(KeepRule::Some(k)) => {
                    w.u8(2).u32(k.last).u64(k.within_ms);
                    w.u32(k.daily).u32(k.weekly).u32(k.monthly).u32(k.yearly);
                }
            }
            w.u64(rule.trash_ms.unwrap_or(0));
            match rule.lifetime {
                None => {
                    w.u8(0);
                }
                Some(LifetimeRule::Never) => {
                    w.u8(1);
                }
                Some(LifetimeRule::Ttl(ms)) => {
                    w.u8(2).u64(ms);
                }
            }
        }
        w.finish()
    }

    /// Reads what [`Rules::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let format = r.u8("retention format")?;
        if format != RETENTION_FORMAT {
            return Err(unknown_format("retention rules", format, RETENTION_FORMAT));
        }
        let revision = r.u64("retention revision")?;
        let count = r.count("retention rules", RETENTION_RULES_MAX, RULE_LEN_MIN)?;
        let mut rules: Vec<Rule> = Vec::with_capacity(count);
        for i in 0..count {
            let rule = decode_rule(&mut r)?;
            if rules.last().is_some_and(|last| last.folder >= rule.folder) {
                return Err(DecodeError::BadValue { field: "retention rule order", value: i as u64 });
            }
            rules.push(rule);
        }
        r.finish()?;
        Ok(Self { revision, rules })
    }
}

fn decode_rule(r: &mut Reader) -> Result<Rule, DecodeError> {
    let folder = r.string("retention folder", PATH_LEN_MAX)?;
    if !folder.starts_with('/') {
        return Err(DecodeError::BadValue { field: "retention folder", value: 0 });
    }
    let keep = match r.u8("retention keep")? {
        0 => None,
        1 => Some(KeepRule::All),
        2 => Some(KeepRule::Some(Keep {
            last: r.u32("keep last")?,
            within_ms: r.u64("keep within")?,
            daily: r.u32("keep daily")?,
            weekly: r.u32("keep weekly")?,
            monthly: r.u32("keep monthly")?,
            yearly: r.u32("keep yearly")?,
        })),
        other => return Err(DecodeError::BadValue { field: "retention keep", value: other.into() }),
    };
    let trash_ms = match r.u64("trash time")? {
        0 => None,
        ms @ TRASH_MS_MIN..=TTL_MS_MAX => Some(ms),
        other => return Err(DecodeError::BadValue { field: "trash time", value: other }),
    };
    let lifetime = match r.u8("retention lifetime")? {
        0 => None,
        1 => Some(LifetimeRule::Never),
        2 => match r.u64("retention lifetime")? {
            ms @ 1..=TTL_MS_MAX => Some(LifetimeRule::Ttl(ms)),
            other => return Err(DecodeError::BadValue { field: "retention lifetime", value: other }),
        },
        other => return Err(DecodeError::BadValue { field: "retention lifetime", value: other.into() }),
    };
    Ok(Rule { folder, keep, trash_ms, lifetime })
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
