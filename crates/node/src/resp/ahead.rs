//! The next few requests of what has come: parsed together before the first of them is carried out, so that what they
//! will read in memory can be brought near for all of them at once, and so that they are counted against their caller's limit once.
//!
//! Only commands on keys are looked beyond. Whatever else a request is, it may change what the bytes behind it mean: who
//! asks, which namespace, whether they are read at all.

use larder_door::resp::{Args, Bounds, Parser, Step, Verb, Wrong};
use larder_store::memory::AHEAD_MAX;

/// Most arguments of a request that is looked beyond: so that requests of very many are held one at a time.
const ARGUMENTS_MAX: usize = 64;

/// How the bytes go on behind the requests that were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Whatever it is, it was not looked at.
    Unseen,
    /// With a request in part, or they do not.
    More,
    /// With no request.
    Wrong(Wrong),
}

/// A request that was found.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    from: usize,
    len: usize,
    verb: Option<Verb>,
    is_empty: bool,
}

/// Requests in the order in which they came.
#[derive(Default)]
pub(super) struct Ahead {
    /// One for each, because a parser holds the arguments of one request.
    parsers: [Parser; AHEAD_MAX],
    found: [Found; AHEAD_MAX],
    len: usize,
}

impl Ahead {
    /// Finds the requests that begin at `from`, up to the first behind which nothing is known.
    pub(super) fn look(&mut self, bytes: &[u8], mut from: usize, bounds: Bounds) -> Then {
        self.len = 0;
        while self.len < AHEAD_MAX && from < bytes.len() {
            let parser = &mut self.parsers[self.len];
            let rest = &bytes[from..];
            let len = match parser.step(rest, bounds) {
                Ok(Step::Request(len)) => len,
                Ok(Step::More) => return Then::More,
                Err(wrong) => {
                    *parser = Parser::new();
                    return Then::Wrong(wrong);
                }
            };
            let args = parser.args(rest);
            let verb = args.get(0).and_then(Verb::find);
            self.found[self.len] = Found { from, len, verb, is_empty: args.is_empty() };
            self.len += 1;
            from += len;
            let is_on_keys = verb.is_some_and(|verb| verb.command().keys.first > 0);
            if !(is_on_keys || args.is_empty()) || args.len() > ARGUMENTS_MAX {
                break;
            }
        }
        Then::Unseen
    }

    /// How many requests were found.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many of them are to be answered: not those without a word.
    pub(super) fn asking(&self) -> u32 {
        // As many as there are places, at most.
        self.found[..self.len].iter().filter(|found| !found.is_empty).count() as u32
    }

    /// One of them: which command, its arguments, and how many bytes it took.
    pub(super) fn request<'a>(&'a self, at: usize, bytes: &'a [u8]) -> (Option<Verb>, Args<'a>, usize) {
        let Found { from, len, verb, .. } = self.found[at];
        (verb, self.parsers[at].args(&bytes[from..]), len)
    }

    /// The keys that they begin with, of those that have any.
    pub(super) fn keys<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len).filter_map(move |at| {
            let (verb, args, _) = self.request(at, bytes);
            let first = verb.map_or(0, |verb| verb.command().keys.first);
            if first > 0 { args.get(usize::from(first)) } else { None }
        })
    }

    /// What goes on with the first request: the state of one that came in part.
    pub(super) fn first(&mut self) -> &mut Parser {
        &mut self.parsers[0]
    }

    /// The state of the request in part that [`Then::More`] told of.
    pub(super) fn partial(&mut self) -> &mut Parser {
        &mut self.parsers[self.len.min(AHEAD_MAX - 1)]
    }
}
