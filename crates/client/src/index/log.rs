//! The latest changes, for whoever watches or comes back with a cursor: bounded, in memory.

use std::collections::VecDeque;

use super::change::Change;
use crate::feed::FeedPosition;

/// Most changes kept.
const CHANGES_MAX: usize = 64 << 10;

/// Most bytes of paths in them.
const PATH_BYTES_MAX: usize = 16 << 20;

/// Most lives of the feed remembered: one for each start of the node.
const LIVES_MAX: usize = 64;

/// Changes since some position.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    changes: VecDeque<(FeedPosition, Change)>,
    path_bytes: usize,
    /// Lives of the feed, in their order, each with the number from which on the log is complete.
    lives: VecDeque<FeedPosition>,
    at: Option<FeedPosition>,
}

fn path_len(change: &Change) -> usize {
    change.path.len() + change.from.as_ref().map_or(0, String::len)
}

impl ChangeLog {
    /// The log begins here: what was before is not known.
    pub(super) fn begin(&mut self, at: FeedPosition) {
        *self = Self { lives: VecDeque::from([at]), at: Some(at), ..Self::default() };
    }

    /// The feed has another life from here on. What changed between the two is told at this position.
    pub(super) fn go_on(&mut self, at: FeedPosition) {
        if self.at.is_none() {
            self.begin(at);
            return;
        }
        // One before, so that what is told at this position is after the life's beginning.
        self.lives.push_back(FeedPosition { sequence: at.sequence.saturating_sub(1), ..at });
        if self.lives.len() > LIVES_MAX {
            self.lives.pop_front();
        }
        self.at = Some(at);
    }

    /// Where it is.
    pub(super) fn at(&self) -> Option<FeedPosition> {
        self.at
    }

    pub(super) fn add(&mut self, at: FeedPosition, changes: Vec<Change>) {
        for change in changes {
            self.path_bytes += path_len(&change);
            self.changes.push_back((at, change));
        }
        while self.changes.len() > CHANGES_MAX || self.path_bytes > PATH_BYTES_MAX {
            let Some((gone, change)) = self.changes.pop_front() else { break };
            self.path_bytes -= path_len(&change);
            while self.lives.front().is_some_and(|life| life.life != gone.life) && self.lives.len() > 1 {
                self.lives.pop_front();
            }
            if let Some(life) = self.lives.front_mut() {
                life.sequence = life.sequence.max(gone.sequence);
            }
        }
    }

    pub(super) fn move_to(&mut self, at: FeedPosition) {
        self.at = Some(at);
    }

    /// Changes after a position that concern a path, at most so many, and where to go on. `None` if the log does not
    /// reach back to it.
    pub(super) fn after(
        &self,
        position: FeedPosition,
        top: &str,
        most: usize,
    ) -> Option<(Vec<(FeedPosition, Change)>, FeedPosition)> {
        let at = self.at?;
        let life = self.lives.iter().position(|life| life.life == position.life)?;
        let ahead = position.life == at.life && position.sequence > at.sequence;
        if position.sequence < self.lives[life].sequence || ahead {
            return None;
        }
        let is_after = |found: &FeedPosition| {
            if found.life == position.life {
                return found.sequence > position.sequence;
            }
            self.lives.iter().skip(life + 1).any(|later| later.life == found.life)
        };
        let start = self.changes.partition_point(|(found, _)| !is_after(found));
        let mut out: Vec<(FeedPosition, Change)> = Vec::new();
        for (found, change) in self.changes.range(start..) {
            // What happened at one position is not told in parts.
            let whole = out.last().is_none_or(|(last, _)| last != found);
            if out.len() >= most && whole {
                let next = out.last().map_or(position, |(last, _)| *last);
                return Some((out, next));
            }
            if change.concerns(top) {
                out.push((*found, change.clone()));
            }
        }
        Some((out, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::change::ChangeKind;
    use larder_format::record::Version;

    fn at(life: u64, sequence: u64) -> FeedPosition {
        FeedPosition { life, sequence }
    }

    fn change(path: &str) -> Vec<Change> {
        let version = Version::from_u64(1);
        vec![Change { kind: ChangeKind::Created, thing: None, path: path.to_owned(), from: None, version }]
    }

    fn paths(log: &ChangeLog, from: FeedPosition, top: &str) -> Option<Vec<String>> {
        Some(log.after(from, top, usize::MAX)?.0.into_iter().map(|(_, c)| c.path).collect())
    }

    #[test]
    fn a_cursor_goes_on_where_it_was_also_over_a_new_life_of_the_feed() {
        let mut log = ChangeLog::default();
        log.begin(at(1, 10));
        log.add(at(1, 12), change("/a"));
        log.add(at(1, 15), change("/d/b"));
        log.move_to(at(1, 20));
        log.go_on(at(2, 3));
        log.add(at(2, 3), change("/found/after"));
        log.add(at(2, 9), change("/d/c"));
        log.move_to(at(2, 9));
        let all = ["/a", "/d/b", "/found/after", "/d/c"].map(str::to_owned);
        assert_eq!(paths(&log, at(1, 10), "/").unwrap(), all);
        assert_eq!(paths(&log, at(1, 12), "/").unwrap(), all[1..]);
        assert_eq!(paths(&log, at(1, 20), "/").unwrap(), all[2..]);
        assert_eq!(paths(&log, at(2, 3), "/").unwrap(), all[3..]);
        assert_eq!(paths(&log, at(1, 10), "/d").unwrap(), ["/d/b", "/d/c"]);
        assert_eq!(paths(&log, at(1, 9), "/"), None, "before the log's beginning");
        assert_eq!(paths(&log, at(2, 10), "/"), None, "from the future");
        assert_eq!(paths(&log, at(3, 1), "/"), None, "of another feed");
        let (some, next) = log.after(at(1, 10), "/", 2).unwrap();
        assert_eq!((some.len(), next), (2, at(1, 15)));
    }

    #[test]
    fn it_is_bounded_and_says_what_it_lost() {
        let mut log = ChangeLog::default();
        log.begin(at(1, 0));
        for number in 1..=(CHANGES_MAX as u64 + 100) {
            log.add(at(1, number), change("/a"));
            log.move_to(at(1, number));
        }
        assert_eq!(log.changes.len(), CHANGES_MAX);
        assert_eq!(paths(&log, at(1, 99), "/"), None);
        assert_eq!(paths(&log, at(1, 100), "/").unwrap().len(), CHANGES_MAX);
    }
}
