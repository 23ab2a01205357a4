//! What `MULTI` queues: requests in a few growing pieces of memory, bounded in number and bytes.

use larder_door::resp::limits::{QUEUED_BYTES_MAX, QUEUED_MAX, QUEUED_WHOLE_MAX};
use larder_door::resp::request::Span;
use larder_door::resp::{Args, Verb};

use super::commands::is_about_all;

/// A request that waits. Its arguments lie in the queue.
#[derive(Debug, Clone, Copy)]
struct Queued {
    verb: Verb,
    /// Where its arguments begin among all.
    first: u32,
    /// How many it has.
    count: u32,
}

/// Requests that wait for `EXEC`.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    requests: Vec<Queued>,
    /// How many of them are about all keys.
    whole: usize,
    /// Something could not be queued: `EXEC` will do nothing.
    spoilt: bool,
}

/// There is no room for another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

impl Queue {
    /// Queues a request.
    ///
    /// # Errors
    /// [`QueueFull`]; nothing was queued.
    pub(super) fn push(&mut self, verb: Verb, args: Args<'_>) -> Result<(), QueueFull> {
        let more = args.bytes_len() + args.len() * size_of::<Span>();
        let whole = self.whole + usize::from(is_about_all(verb));
        let is_full = self.requests.len() >= QUEUED_MAX || self.len_bytes() + more > QUEUED_BYTES_MAX;
        if is_full || whole > QUEUED_WHOLE_MAX {
            return Err(QueueFull);
        }
        let short = |number: usize| u32::try_from(number).map_err(|_| QueueFull);
        let queued = Queued { verb, first: short(self.spans.len())?, count: short(args.len())? };
        for arg in args.iter() {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(arg);
            self.spans.push(Span::new(start, self.bytes.len()));
        }
        self.requests.push(queued);
        self.whole = whole;
        Ok(())
    }

    /// Something could not be queued.
    pub(crate) fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// Whether something could not be queued.
    pub(crate) fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// What waits, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Verb, Args<'_>)> + Clone {
        self.requests.iter().map(|queued| {
            let (first, count) = (queued.first as usize, queued.count as usize);
            let spans = self.spans.get(first..first + count).unwrap_or_default();
            (queued.verb, Args::new(&self.bytes, spans))
        })
    }

    fn len_bytes(&self) -> usize {
        self.bytes.len() + self.spans.len() * size_of::<Span>()
    }

    /// Bytes of memory that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.spans.capacity() * size_of::<Span>()
            + self.requests.capacity() * size_of::<Queued>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args<'a>(bytes: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args::new(bytes, spans)
    }

    #[test]
    fn what_was_queued_comes_back_in_order_and_within_bounds() {
        let mut queue = Queue::default();
        let spans = [Span::new(0, 3), Span::new(3, 4)];
        queue.push(Verb::Get, args(b"geta", &spans)).unwrap();
        queue.push(Verb::Incr, args(b"incb", &spans)).unwrap();
        let all: Vec<_> = queue.iter().map(|(verb, args)| (verb, args.at(1).to_vec())).collect();
        assert_eq!(all, [(Verb::Get, b"a".to_vec()), (Verb::Incr, b"b".to_vec())]);
        let long = vec![0; QUEUED_BYTES_MAX];
        let span = [Span::new(0, long.len())];
        assert_eq!(queue.push(Verb::Set, args(&long, &span)), Err(QueueFull));
        assert_eq!(queue.len(), 2);
        for _ in 2..QUEUED_MAX {
            queue.push(Verb::Ping, args(b"", &[])).unwrap();
        }
        assert_eq!(queue.push(Verb::Ping, args(b"", &[])), Err(QueueFull), "the number is bounded, too");
        let mut queue = Queue::default();
        for _ in 0..QUEUED_WHOLE_MAX {
            queue.push(Verb::Keys, args(b"", &[])).unwrap();
        }
        assert_eq!(queue.push(Verb::Scan, args(b"", &[])), Err(QueueFull), "everybody waits for these");
        queue.push(Verb::Get, args(b"", &[])).unwrap();
    }
}
