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

#[cfg(test)]
mod tests {
    use larder_format::rng::{Rng, SeededRng};

    use super::*;

    fn bounds() -> Bounds {
        Bounds::known(1 << 20)
    }

    fn request(words: &[&str]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        bytes
    }

    fn words(args: Args<'_>) -> Vec<Vec<u8>> {
        args.iter().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn only_commands_on_keys_are_looked_beyond() {
        let mut ahead = Ahead::default();
        let get = request(&["GET", "a"]);
        for last in [&["AUTH", "t", "p"][..], &["PING"], &["nothing"], &["MULTI"], &["SELECT", "0"]] {
            let bytes = [&get[..], b"\r\n", &get, &request(last), &get].concat();
            assert_eq!(ahead.look(&bytes, 0, bounds()), Then::Unseen);
            assert_eq!((ahead.len(), ahead.asking()), (4, 3), "{last:?}: an empty line asks for nothing");
            assert_eq!(ahead.keys(&bytes).collect::<Vec<_>>(), [b"a", b"a"]);
            let (verb, args, len) = ahead.request(3, &bytes);
            assert_eq!((verb, words(args).len()), (Verb::find(last[0].as_bytes()), last.len()));
            let rest = get.len() * 2 + 2 + len;
            assert_eq!(ahead.look(&bytes, rest, bounds()), Then::Unseen);
            assert_eq!((ahead.len(), ahead.request(0, &bytes).0), (1, Some(Verb::Get)));
        }
        let many: Vec<_> = std::iter::once("MSET").chain(std::iter::repeat_n("x", ARGUMENTS_MAX)).collect();
        let bytes = [request(&many), get.clone()].concat();
        assert_eq!((ahead.look(&bytes, 0, bounds()), ahead.len()), (Then::Unseen, 1), "very many arguments");
        let bytes = get.repeat(AHEAD_MAX + 3);
        assert_eq!((ahead.look(&bytes, 0, bounds()), ahead.len()), (Then::Unseen, AHEAD_MAX));
    }

    /// As a connection does: what has come is gone through, a request in part is gone on with once more has come.
    fn in_pieces(bytes: &[u8], rng: &mut SeededRng) -> (Vec<Vec<Vec<u8>>>, Option<Wrong>) {
        let (mut ahead, mut parser) = (Ahead::default(), Parser::new());
        let (mut found, mut begin, mut end) = (Vec::new(), 0, 0);
        while end < bytes.len() {
            end = (end + 1 + rng.below(90) as usize).min(bytes.len());
            let here = &bytes[begin..end];
            let mut used = 0;
            std::mem::swap(&mut parser, ahead.first());
            while used < here.len() {
                let then = ahead.look(here, used, bounds());
                for at in 0..ahead.len() {
                    let (verb, args, len) = ahead.request(at, here);
                    assert_eq!(verb, args.get(0).and_then(Verb::find));
                    used += len;
                    if !args.is_empty() {
                        found.push(words(args));
                    }
                }
                match then {
                    Then::Unseen => {}
                    Then::More => {
                        std::mem::swap(&mut parser, ahead.partial());
                        break;
                    }
                    Then::Wrong(wrong) => return (found, Some(wrong)),
                }
            }
            begin += used;
        }
        (found, None)
    }

    #[test]
    fn pieces_and_looking_ahead_make_no_difference() {
        let mut rng = SeededRng::new(7);
        for _ in 0..2_000 {
            let mut bytes = Vec::new();
            for _ in 0..rng.below(60) {
                let long = "v".repeat(rng.below(40) as usize);
                bytes.extend(match rng.below(9) {
                    0..=3 => request(&["GET", &format!("k{}", rng.below(99))]),
                    4 => request(&["SET", "key", &long, "EX", "9"]),
                    5 => b"get by line\r\n".to_vec(),
                    6 => b"\r\n*0\r\n".to_vec(),
                    7 => request(&["PING"]),
                    _ => request(&["no", "such"]),
                });
            }
            if rng.below(3) == 0 {
                bytes.extend_from_slice(b"*1\r\n$-5\r\nGET");
            }
            let (mut parser, mut at, mut expected, mut wrong) = (Parser::new(), 0, Vec::new(), None);
            while at < bytes.len() {
                match parser.step(&bytes[at..], bounds()) {
                    Ok(Step::Request(len)) => {
                        let args = words(parser.args(&bytes[at..]));
                        at += len;
                        expected.extend((!args.is_empty()).then_some(args));
                    }
                    Ok(Step::More) => break,
                    Err(error) => {
                        wrong = Some(error);
                        break;
                    }
                }
            }
            assert_eq!(in_pieces(&bytes, &mut rng), (expected, wrong));
        }
    }
}
