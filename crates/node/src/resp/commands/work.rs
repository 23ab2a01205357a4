//! How much a transaction will do, reckoned before it does any of it. Nobody else gets to its keys meanwhile, and its thread
//! serves nobody else, so there is a bound on it; and what is beyond is told while nothing has happened yet.
//!
//! Counted are bytes that are copied or looked through: by far the most of what a long transaction takes its time for. A value is
//! reckoned with the greatest length that it can have by then.

use std::collections::HashMap;

use larder_door::resp::limits::EXEC_WORK_BYTES_MAX;
use larder_door::resp::table::{COMMANDS, Flags};
use larder_door::resp::{Args, Verb, numbers};

use super::super::queue::Queue;
use super::super::shared::Shared;
use crate::plain::Held;

/// Times that a value is copied which is changed in part, or gets another key: out of the table, and into it.
const COPIES: usize = 2;

/// Least length of a value that is taken note of when it is set as a whole, in bytes: of shorter ones a transaction may name millions.
const NOTED_LEN_MIN: usize = 512;

/// About what it takes to show one connection, one command and one counter or setting.
const LINE_EFFORT: usize = 1024;

/// What a transaction does so far, and how long values may be by then.
struct Reckoning<'r, 'v, 'q> {
    shared: &'r Shared,
    held: &'r mut Held<'v>,
    lens: HashMap<&'q [u8], usize>,
    /// What each change takes beside, to be told.
    events: usize,
    bytes: usize,
}

/// Whether a transaction whose keys are held stays within what one may do.
pub(super) fn is_bearable(shared: &Shared, held: &mut Held<'_>, queue: &Queue) -> bool {
    let events = shared.notify.events_effort(held.values().id);
    let mut reckoning = Reckoning { shared, held, lens: HashMap::new(), events, bytes: 0 };
    queue.iter().all(|(verb, args)| {
        reckoning.add(verb, args);
        reckoning.bytes <= EXEC_WORK_BYTES_MAX
    })
}

impl<'q> Reckoning<'_, '_, 'q> {
    fn add(&mut self, verb: Verb, args: Args<'q>) {
        let bytes = self.of(verb, args);
        self.bytes = self.bytes.saturating_add(bytes).saturating_add(args.bytes_len());
        let command = verb.command();
        if command.flags.has(Flags::WRITE) {
            for key in command.keys(args) {
                let told = self.shared.notify.effort(self.held.values().id, key, self.events);
                self.bytes = self.bytes.saturating_add(told);
            }
        }
    }

    /// What a command does beside looking at its arguments; takes note of how long it makes values.
    fn of(&mut self, verb: Verb, args: Args<'q>) -> usize {
        let key = args.at(1);
        match verb {
            Verb::Get | Verb::GetDel | Verb::GetEx => self.len(key),
            Verb::GetRange => part(args).min(self.len(key)),
            Verb::MGet => args.from(1).iter().map(|key| self.len(key)).sum(),
            // Any of them may be asked for the value before.
            Verb::Set | Verb::GetSet => {
                let before = if args.len() > 3 || verb == Verb::GetSet { self.len(key) } else { 0 };
                self.grows(key, args.at(2).len());
                before
            }
            Verb::SetEx | Verb::PSetEx => self.grows(key, args.at(3).len()),
            Verb::SetNx => self.grows(key, args.at(2).len()),
            Verb::MSet | Verb::MSetNx => {
                let pairs = args.from(1).iter().step_by(2).zip(args.from(2).iter().step_by(2));
                pairs.map(|(key, value)| self.len(key) + self.grows(key, value.len())).sum()
            }
            Verb::Append => {
                let len = self.len(key) + args.at(2).len();
                self.note(key, len);
                COPIES * self.len(key)
            }
            Verb::SetRange => {
                let offset = numbers::integer(args.at(2)).and_then(|offset| usize::try_from(offset).ok());
                let end = offset.unwrap_or(0).saturating_add(args.at(3).len());
                let len = self.len(key).max(end);
                COPIES * self.grows(key, len)
            }
            Verb::Rename | Verb::RenameNx | Verb::Copy => {
                let len = self.len(key);
                COPIES * self.grows(args.at(2), len)
            }
            Verb::Publish => self.shared.topology.effort(self.held.values().id, key, args.at(2).len()),
            Verb::PubSub => self.shared.topology.names_effort(),
            Verb::Client
                if [&b"list"[..], b"kill"].iter().any(|word| args.at(1).eq_ignore_ascii_case(word)) =>
            {
                self.shared.clients.count().0 * LINE_EFFORT
            }
            Verb::CommandTable | Verb::Info | Verb::Config => COMMANDS.len() * LINE_EFFORT,
            _ => 0,
        }
    }

    /// The greatest length that a value can have by now.
    fn len(&mut self, key: &'q [u8]) -> usize {
        match self.lens.get(key) {
            Some(len) => *len,
            None => self.held.was(key).ok().flatten().map_or(0, |was| was.len),
        }
    }

    /// A value can have this length by now; none has more than is allowed.
    fn note(&mut self, key: &'q [u8], len: usize) {
        let (before, max) = (self.len(key), self.held.values().value_len_max);
        self.lens.insert(key, len.min(max).max(before));
    }

    /// A value may be set to one of this length. Answers the greatest that it can have then: whether it is set is not known.
    fn grows(&mut self, key: &'q [u8], len: usize) -> usize {
        if len >= NOTED_LEN_MIN {
            self.note(key, len);
        }
        len.min(self.held.values().value_len_max).max(self.len(key))
    }
}

/// The most that `GETRANGE` answers by its places alone.
fn part(args: Args<'_>) -> usize {
    match (numbers::integer(args.at(2)), numbers::integer(args.at(3))) {
        (Some(start), Some(end)) if (start < 0) == (end < 0) => {
            usize::try_from(end.saturating_sub(start).saturating_add(1)).unwrap_or(0)
        }
        _ => usize::MAX,
    }
}
