//! So many connections at a time: in all, because each holds a descriptor and some kilobytes, and for one network
//! of strangers, so that none of them takes all.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::caller::{Caller, Network};

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// In all.
    pub all: usize,
    /// From one network of strangers.
    pub per_network: usize,
}

/// Which cap was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowded {
    /// The one for all.
    All,
    /// The one for the caller's network.
    Network,
}

/// Connections as they are now.
pub struct Connections {
    caps: Caps,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    strangers: HashMap<Network, usize>,
}

/// One connection's place; dropped when it ends.
pub struct Place {
    of: Arc<Connections>,
    network: Option<Network>,
}

impl Connections {
    /// Nobody there yet.
    #[must_use]
    pub fn new(caps: Caps) -> Arc<Self> {
        Arc::new(Self { caps, open: Mutex::default() })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.lock().all
    }

    /// A place for a new connection. Whether its caller is a stranger is known only after a TLS handshake: until then it
    /// counts as one, and [`Place::known`] says otherwise.
    ///
    /// # Errors
    /// Which cap is reached.
    pub fn enter(self: &Arc<Self>, caller: &Caller) -> Result<Place, Crowded> {
        let mut open = self.open.lock();
        if open.all >= self.caps.all {
            return Err(Crowded::All);
        }
        let network = caller.is_stranger().then(|| caller.network());
        if let Some(network) = network {
            let count = open.strangers.entry(network).or_default();
            if *count >= self.caps.per_network {
                return Err(Crowded::Network);
            }
            *count += 1;
        }
        open.all += 1;
        Ok(Place { of: self.clone(), network })
    }

    fn leave(&self, network: Option<Network>, whole: bool) {
        let mut open = self.open.lock();
        if whole {
            open.all -= 1;
        }
        if let Some(network) = network
            && let Some(count) = open.strangers.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                open.strangers.remove(&network);
            }
        }
    }
}

impl Place {
    /// A proxy has said who the caller is: it is counted as that one from now on.
    ///
    /// # Errors
    /// The cap for the caller's network is reached; the place stays as it was.
    pub fn turns_out(&mut self, caller: &Caller) -> Result<(), Crowded> {
        let network = caller.is_stranger().then(|| caller.network());
        if network == self.network {
            return Ok(());
        }
        if let Some(network) = network {
            let mut open = self.of.open.lock();
            let count = open.strangers.entry(network).or_default();
            if *count >= self.of.caps.per_network {
                return Err(Crowded::Network);
            }
            *count += 1;
        }
        self.of.leave(std::mem::replace(&mut self.network, network), false);
        Ok(())
    }

    /// The caller has shown who it is: the cap for strangers no longer counts it.
    pub fn known(&mut self) {
        self.of.leave(self.network.take(), false);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.leave(self.network.take(), true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(text: &str) -> Caller {
        Caller::at(text.parse().unwrap())
    }

    #[test]
    fn one_network_of_strangers_cannot_take_all() {
        let connections = Connections::new(Caps { all: 4, per_network: 2 });
        let first = connections.enter(&caller("192.0.2.1")).ok().unwrap();
        let mut second = connections.enter(&caller("192.0.2.1")).ok().unwrap();
        assert_eq!(connections.enter(&caller("192.0.2.1")).err(), Some(Crowded::Network));
        second.known();
        let third = connections.enter(&caller("192.0.2.1")).ok().unwrap();
        let local = connections.enter(&caller("127.0.0.1")).ok().unwrap();
        assert_eq!(connections.enter(&caller("127.0.0.1")).err(), Some(Crowded::All));
        assert_eq!(
            second.turns_out(&caller("192.0.2.1")),
            Err(Crowded::Network),
            "whom a proxy calls for counts"
        );
        assert_eq!(second.turns_out(&caller("192.0.2.2")), Ok(()));
        let mut third = third;
        assert_eq!(third.turns_out(&caller("192.0.2.1")), Ok(()), "as it was");
        assert_eq!(connections.open.lock().strangers.len(), 2);
        drop((first, second, third, local));
        assert_eq!(connections.count(), 0);
        assert!(connections.open.lock().strangers.is_empty(), "nothing is kept of who has left");
    }
}
