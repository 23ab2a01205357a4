//! A worker's connections come and go: greeted when they are new, closed when they are of no more use, opened again.

use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::{Worker, machine, nanoseconds};
use crate::LoadError;
use crate::connection::{Connection, Request, What};
use crate::measure::Fault;
use crate::protocol::Codec;

/// How long a closed connection waits before it is opened again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

impl<C: Codec> Worker<'_, C> {
    /// Watches a new connection's socket and says who we are.
    pub(super) fn welcome(&mut self, at: usize) -> Result<(), LoadError> {
        let connection = &mut self.connections[at];
        let Some(socket) = connection.socket() else { return Ok(()) };
        epoll::add(&self.epoll, socket, EventData::new_u64(at as u64), EventFlags::IN)
            .map_err(machine("watch a socket"))?;
        self.out.clear();
        connection.greetings = self.codec.greet(&mut self.out);
        let now_ns = self.shared.now_ns();
        let greeting = Request { what: What::Greeting, key: 0, due_ns: now_ns, sent_ns: now_ns };
        connection.under_way.extend(std::iter::repeat_n(greeting, connection.greetings));
        self.send(at);
        Ok(())
    }

    /// Waits until everybody was greeted.
    pub(super) fn greet_all(&mut self) -> Result<(), LoadError> {
        let give_up_ns = self.shared.now_ns() + nanoseconds(self.shared.timeout);
        while self.connections.iter().any(|c| c.greetings > 0) {
            self.must_be_without_fault()?;
            if self.shared.now_ns() > give_up_ns {
                let waited_ms = u64::try_from(self.shared.timeout.as_millis()).unwrap_or(u64::MAX);
                return Err(LoadError::Silent { doing: "saying who we are", waited_ms });
            }
            self.wait(give_up_ns)?;
        }
        self.must_be_without_fault()
    }

    /// Sends `out`.
    pub(super) fn send(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        self.tally.window.counts.sent_bytes += self.out.len() as u64;
        match connection.send(&self.out) {
            Ok(true) => {}
            Ok(false) => self.watch_for_room(at, true),
            Err(error) => self.close(at, Fault::Lost, &error.to_string()),
        }
    }

    pub(super) fn watch_for_room(&mut self, at: usize, wanted: bool) {
        let connection = &mut self.connections[at];
        if connection.watched_for_room == wanted {
            return;
        }
        let Some(socket) = connection.socket() else { return };
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        if epoll::modify(&self.epoll, socket, EventData::new_u64(at as u64), flags).is_ok() {
            connection.watched_for_room = wanted;
        }
    }

    pub(super) fn close(&mut self, at: usize, fault: Fault, words: &str) {
        let now_ns = self.shared.now_ns();
        let again_ns = now_ns + nanoseconds(AGAIN_AFTER);
        let mut fresh = Connection::closed(again_ns);
        fresh.listed = self.connections[at].listed;
        self.closed += usize::from(self.connections[at].is_open());
        let mut closed = std::mem::replace(&mut self.connections[at], fresh);
        self.tally.lost(self.shared, &mut closed.under_way, fault, words, now_ns);
    }

    /// Opens closed connections whose time has come; answers when the next one's will.
    pub(super) fn open_those_due(&mut self, now_ns: u64) -> Result<u64, LoadError> {
        let mut next_ns = u64::MAX;
        for at in 0..self.connections.len() {
            let connection = &self.connections[at];
            if connection.is_open() {
                continue;
            }
            if connection.again_ns <= now_ns {
                self.open_again(at, now_ns)?;
            }
            if !self.connections[at].is_open() {
                next_ns = next_ns.min(self.connections[at].again_ns);
            }
        }
        Ok(next_ns)
    }

    pub(super) fn open_again(&mut self, at: usize, now_ns: u64) -> Result<(), LoadError> {
        let listed = self.connections[at].listed;
        match self.shared.dial.begin() {
            Ok(mut fresh) => {
                self.closed -= 1;
                fresh.listed = listed;
                self.connections[at] = fresh;
                self.welcome(at)?;
                self.has_room(at);
            }
            Err(_) => self.connections[at].again_ns = now_ns + nanoseconds(AGAIN_AFTER),
        }
        Ok(())
    }

    /// Ends connections that owe an answer for too long.
    pub(super) fn give_up_waiting(&mut self, now_ns: u64) {
        let timeout_ns = nanoseconds(self.shared.timeout);
        for at in 0..self.connections.len() {
            let oldest = self.connections[at].under_way.front();
            if oldest.is_some_and(|request| request.sent_ns + timeout_ns < now_ns) {
                self.close(at, Fault::TimedOut, "no answer in time");
            }
        }
    }
}
