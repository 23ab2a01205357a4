//! What a worker sends: the next request of its work, written into the batch that goes out in one piece.

use std::sync::atomic::Ordering;

use larder_format::rng::Rng;

use super::{Work, Worker};
use crate::connection::{Request, What};
use crate::protocol::Codec;

impl<C: Codec> Worker<'_, C> {
    /// Puts up to `most` requests on a connection and sends them in one go.
    pub(super) fn fill(&mut self, at: usize, most: usize, now_ns: u64) {
        self.out.clear();
        let room = self.depth.saturating_sub(self.connections[at].under_way.len());
        for _ in 0..most.min(room) {
            let Some(request) = self.next(now_ns) else { break };
            self.connections[at].under_way.push_back(request);
        }
        if !self.out.is_empty() {
            self.send(at);
        }
    }

    /// The next request, its bytes appended to `out`.
    fn next(&mut self, now_ns: u64) -> Option<Request> {
        let stopped = self.shared.stop.load(Ordering::Relaxed);
        let request = |what, key, due_ns| Request { what, key, due_ns, sent_ns: now_ns };
        match &mut self.work {
            Work::Fill(next, end) => {
                while *next < *end && !stopped {
                    let key = *next;
                    *next += 1;
                    let write = match &self.shared.ledger {
                        None => None,
                        // A key with so many writes of unknown outcome is best left alone.
                        Some(ledger) => match ledger.begin_write(key) {
                            None => continue,
                            begun => begun,
                        },
                    };
                    self.write(key, write.map_or(0, |write| write.generation));
                    return Some(request(What::Write(write), key, now_ns));
                }
                None
            }
            Work::Delete(next, end) if *next < *end && !stopped => {
                let key = *next;
                *next += 1;
                self.codec.delete(&mut self.out, key);
                Some(request(What::Delete, key, now_ns))
            }
            Work::Mix { writes, pace, until_ns, left } => {
                if *left == Some(0) {
                    *pace = None;
                    return None;
                }
                let due_ns = match pace {
                    Some(pace) => pace.take(now_ns)?,
                    None if now_ns < *until_ns => now_ns,
                    None => return None,
                };
                if let Some(left) = left {
                    *left = left.saturating_sub(1);
                }
                let writes = *writes;
                let what = self.mixed(writes);
                Some(request(what.0, what.1, due_ns))
            }
            _ => None,
        }
    }

    fn mixed(&mut self, writes: u64) -> (What, u32) {
        let is_write = self.rng.u64() >> 32 < writes;
        let key = self.shared.picker.pick(&mut self.rng);
        let Some(ledger) = &self.shared.ledger else {
            if is_write {
                self.write(key, 0);
                return (What::Write(None), key);
            }
            self.codec.read(&mut self.out, key);
            return (What::Read(None), key);
        };
        if is_write && let Some(write) = ledger.begin_write(key) {
            self.write(key, write.generation);
            return (What::Write(Some(write)), key);
        }
        let expected = ledger.begin_read(key);
        self.codec.read(&mut self.out, key);
        (What::Read(Some(expected)), key)
    }

    fn write(&mut self, key: u32, generation: u32) {
        let (shortest, longest) = self.value_len;
        let spread = (longest - shortest) as u64;
        let more = if spread == 0 { 0 } else { usize::try_from(self.rng.below(spread + 1)).unwrap_or(0) };
        let len = shortest + more;
        let values = &self.shared.values;
        self.codec.write(&mut self.out, key, len, |out| values.write(out, key, generation, len));
    }
}
