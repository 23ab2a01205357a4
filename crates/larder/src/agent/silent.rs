//! Connections to the agent that have not sent a whole request yet. They hold a place that others may be waiting for;
//! while others wait, the one that has been silent longest gives way, once it had time enough for any honest client.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A connection may take this long for a whole request while others wait. A client sends one in a single call.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(2);

/// All silent connections of one agent, oldest first.
#[derive(Default)]
pub(super) struct Silent {
    next: Cell<u64>,
    turns: RefCell<BTreeMap<u64, (Instant, Rc<Notify>)>>,
}

/// One connection's silence; over when it is dropped.
pub(super) struct Turn<'a> {
    all: &'a Silent,
    id: u64,
    leave: Rc<Notify>,
}

impl Silent {
    /// A connection begins to wait for a request.
    pub(super) fn begin(&self) -> Turn<'_> {
        let id = self.next.replace(self.next.get() + 1);
        let leave = Rc::new(Notify::new());
        self.turns.borrow_mut().insert(id, (Instant::now(), leave.clone()));
        Turn { all: self, id, leave }
    }

    /// Tells the oldest to give way as soon as it has been silent long enough, and so on. Never ends: it is dropped when
    /// there is a place.
    pub(super) async fn drive_out(&self) {
        loop {
            let oldest = self.turns.borrow().first_key_value().map(|(_, (since, _))| *since);
            let due =
                oldest.map_or_else(|| Instant::now() + GIVES_WAY_AFTER, |since| since + GIVES_WAY_AFTER);
            tokio::time::sleep_until(due).await;
            let mut turns = self.turns.borrow_mut();
            if let Some(oldest) = turns.first_entry()
                && oldest.get().0.elapsed() >= GIVES_WAY_AFTER
            {
                oldest.remove().1.notify_one();
            }
        }
    }
}

impl Turn<'_> {
    /// Ends when this connection has to give way.
    pub(super) async fn gives_way(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.all.turns.borrow_mut().remove(&self.id);
    }
}
