//! Verbs that take several things do what they can, as tools of Unix do: one thing that fails is told at once and does not
//! keep the others from being done; the exit code at the end is that of the first that failed.

use larder_format::error::Kind;

use crate::cli::Context;
use crate::exit::Reason;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// What became of several things.
pub struct Several {
    output: Output,
    asked: usize,
    failed: Vec<Failure>,
}

impl Several {
    /// For a command that was asked for this many.
    pub fn new(context: &Context, asked: usize) -> Self {
        Self { output: context.output, asked, failed: Vec::new() }
    }

    /// Takes what became of one thing. A failure of several is told here and now; a single thing's at the end.
    ///
    /// # Errors
    /// The failure itself, where it would be the same for everything that is still to come.
    pub fn one(&mut self, outcome: Outcome) -> Outcome {
        let Err(failure) = outcome else { return Ok(()) };
        let of_all = match failure.reason() {
            Reason::Interrupted | Reason::BrokenPipe => true,
            Reason::Kind(kind) => matches!(kind, Kind::Closed | Kind::Locked | Kind::TooNew | Kind::Bug),
            Reason::Io | Reason::Unmet => false,
        };
        if of_all {
            return Err(failure);
        }
        if self.asked > 1 {
            self.output.failure(&failure);
        }
        self.failed.push(failure);
        Ok(())
    }

    /// The end of the command.
    ///
    /// # Errors
    /// The failure of a single thing; of several how many failed, with the reason of the first, or of the first whose
    /// outcome is not known: that one has to be looked at.
    pub fn end(mut self) -> Outcome {
        let unknown = self.failed.iter().position(|failure| failure.kind() == Some(Kind::Unknown));
        let count = self.failed.len();
        if count == 0 {
            return Ok(());
        }
        let is_full = self.failed.iter().any(Failure::node_is_full);
        let first = self.failed.swap_remove(unknown.unwrap_or(0));
        if self.asked == 1 {
            return Err(first);
        }
        let failure = first.summed_up(format!("{count} of {} failed; what was done stays", self.asked));
        Err(if is_full { failure.of_full_node() } else { failure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn several(asked: usize) -> Several {
        Several { output: Output::new(true), asked, failed: Vec::new() }
    }

    #[test]
    fn the_first_failure_gives_the_exit_code_unless_an_outcome_is_unknown() {
        let of = |kinds: &[Kind]| {
            let mut several = several(4);
            for kind in kinds {
                several.one(Err(Failure::new(*kind, "x").hint("y"))).unwrap();
                several.one(Ok(())).unwrap();
            }
            several.end().map_err(|failure| (failure.reason().code(), failure.message().to_owned()))
        };
        assert_eq!(of(&[]), Ok(()));
        let said = |count| format!("{count} of 4 failed; what was done stays");
        assert_eq!(of(&[Kind::NotFound, Kind::Conflict]), Err((3, said(2))));
        assert_eq!(of(&[Kind::NotFound, Kind::Unknown]), Err((10, said(2))));
    }

    #[test]
    fn what_everything_would_fail_with_ends_it_and_a_single_failure_is_as_it_is() {
        for kind in [Kind::Locked, Kind::Closed] {
            assert!(several(2).one(Err(Failure::new(kind, "x"))).is_err());
        }
        assert!(several(2).one(Err(Failure::interrupted())).is_err());
        let mut one = several(1);
        one.one(Err(Failure::new(Kind::NotFound, "x").hint("y"))).unwrap();
        assert_eq!(one.end(), Err(Failure::new(Kind::NotFound, "x").hint("y")));
    }
}
