//! Accepting connections for a raw door (HTTP, Redis): up to its caps, each served on one lane ([`crate::lanes`]) from its
//! first byte to its last, until the door is taken down. What is said on a connection is the door's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use larder_door::connections::{Caps, Connections, Place};
use larder_door::proxies::Proxies;
use larder_door::{Caller, Refusal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::lanes::Lanes;
use crate::metrics::DoorMetrics;
use crate::proxied;

/// How long nothing is accepted after the system could not: it is out of descriptors, or the peer left already, and
/// asking again at once would be spinning.
const PAUSE: Duration = Duration::from_millis(50);

/// What all connections of a door share, as far as accepting them goes.
pub(crate) trait Host: Send + Sync + 'static {
    /// What its clients speak, for the log.
    const PROTOCOL: &'static str;

    /// Where its connections are counted.
    fn counts(&self) -> &DoorMetrics;

    /// Who is believed to call for others, and whether they say for whom in a PROXY header.
    fn proxies(&self) -> (&Proxies, bool);

    /// What somebody reads who has to go.
    fn words(refusal: Refusal) -> Vec<u8>;

    /// Says in passing why not; nobody waits for a client here.
    fn turn_away(&self, stream: &TcpStream, refusal: Refusal) {
        self.counts().refused(refusal);
        let _ = stream.try_write(&Self::words(refusal));
    }
}

/// A door's socket, open before anything else is touched, and its lanes.
pub(crate) struct Entrance {
    socket: TcpListener,
    lanes: Lanes,
    caps: Caps,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// A door whose connections are being accepted.
pub(crate) struct Accepting {
    protocol: &'static str,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// A connection that was accepted, on its way to its lane.
pub(crate) struct Arrived<H: Host> {
    stream: std::net::TcpStream,
    /// The other end.
    pub(crate) peer: SocketAddr,
    /// Who that is, as far as is known before anything was read.
    pub(crate) caller: Caller,
    host: Arc<H>,
    place: Place,
    serving: mpsc::Sender<()>,
}

/// A connection that is being served, until this is dropped.
pub(crate) struct Visit<H: Host> {
    pub(crate) host: Arc<H>,
    pub(crate) place: Place,
    _serving: mpsc::Sender<()>,
}

impl Entrance {
    /// Takes the address; the threads of its lanes are called `name`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn bind(listen: SocketAddr, name: &str, caps: Caps) -> std::io::Result<Self> {
        let socket = TcpListener::bind(listen).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, lanes: Lanes::open(name)?, caps, address })
    }

    /// Begins to accept; what `serve` makes of a connection is run on a lane.
    pub(crate) fn open<H, F>(
        self,
        host: Arc<H>,
        serve: impl FnMut(Arrived<H>) -> F + Send + 'static,
    ) -> Accepting
    where
        H: Host,
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(self.accept(host, serve, stopped));
        Accepting { protocol: H::PROTOCOL, stop, task }
    }

    async fn accept<H, F>(
        self,
        host: Arc<H>,
        mut serve: impl FnMut(Arrived<H>) -> F,
        mut stop: watch::Receiver<bool>,
    ) where
        H: Host,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { socket, mut lanes, caps, .. } = self;
        let connections = Connections::new(caps);
        // Whoever holds an end of this is still serving.
        let (serving, mut served) = mpsc::channel::<()>(1);
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, peer) = match accepted {
                Ok(pair) => pair,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the {} door", H::PROTOCOL);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let caller = host.proxies().0.at(peer.ip());
            let Ok(place) = connections.enter(&caller) else {
                host.turn_away(&stream, Refusal::Crowded);
                continue;
            };
            let Ok(stream) = stream.into_std() else { continue };
            let (host, serving) = (host.clone(), serving.clone());
            lanes.run(serve(Arrived { stream, peer, caller, host, place, serving }));
        }
        drop((socket, serving));
        // Nothing is ever sent: this ends when the last connection has.
        let _ = served.recv().await;
    }
}

impl Accepting {
    /// Takes no new connections.
    pub(crate) fn stop(&self) {
        let _ = self.stop.send(true);
    }

    /// Waits until all have ended, at most this long; what is left is cut off.
    pub(crate) async fn ended(self, within: Duration) {
        self.stop();
        let mut task = self.task;
        if tokio::time::timeout(within, &mut task).await.is_err() {
            tracing::warn!("some {} clients did not finish in time", self.protocol);
            task.abort();
        }
    }
}

impl<H: Host> Arrived<H> {
    /// Begins to serve it, on the lane that it stays on; `None` if the system will not have it there.
    pub(crate) fn begin(self) -> Option<(TcpStream, Visit<H>)> {
        let Self { stream, host, place, serving, .. } = self;
        let stream = TcpStream::from_std(stream).ok()?;
        // Latency matters more than packet count: answers are written whole.
        let _ = stream.set_nodelay(true);
        host.counts().opened();
        Some((stream, Visit { host, place, _serving: serving }))
    }
}

impl<H: Host> Visit<H> {
    /// Who is on it, as far as a proxy says.
    ///
    /// # Errors
    /// As [`proxied::whose`], or there is no room for them.
    pub(crate) async fn whose(
        &mut self,
        stream: &mut TcpStream,
        peer: SocketAddr,
    ) -> Result<Caller, Refusal> {
        let (proxies, is_spoken) = self.host.proxies();
        let caller = proxied::whose(stream, peer, proxies, is_spoken).await?;
        self.place.turns_out(&caller).map_err(|_| Refusal::Crowded)?;
        Ok(caller)
    }
}

impl<H: Host> Drop for Visit<H> {
    fn drop(&mut self) {
        self.host.counts().closed();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Echo {
        counts: DoorMetrics,
        proxies: Proxies,
    }

    impl Host for Echo {
        const PROTOCOL: &'static str = "echo";

        fn counts(&self) -> &DoorMetrics {
            &self.counts
        }

        fn proxies(&self) -> (&Proxies, bool) {
            (&self.proxies, false)
        }

        fn words(_: Refusal) -> Vec<u8> {
            b"full".to_vec()
        }
    }

    /// Says back one byte after the other.
    async fn echo(arrived: Arrived<Echo>) {
        let Some((mut stream, _visit)) = arrived.begin() else { return };
        while let Ok(byte) = stream.read_u8().await {
            let _ = stream.write_u8(byte).await;
        }
    }

    async fn open(all: usize) -> (Arc<Echo>, SocketAddr, Accepting) {
        let host = Arc::new(Echo { counts: DoorMetrics::new("echo", &[], &[]), proxies: Proxies::default() });
        // An address of loopback whose ports are given to nobody else, also after it is closed.
        let listen = "127.91.7.3:0".parse().unwrap();
        let entrance = Entrance::bind(listen, "echo", Caps { all, per_network: all }).await.unwrap();
        let address = entrance.address;
        let accepting = entrance.open(host.clone(), echo);
        (host, address, accepting)
    }

    async fn says_back(stream: &mut TcpStream) -> bool {
        stream.write_all(b"x").await.is_ok() && stream.read_u8().await.is_ok_and(|byte| byte == b'x')
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_so_and_who_leaves_makes_room() {
        let (host, address, accepting) = open(1).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(says_back(&mut first).await);
        let (mut second, mut said) = (TcpStream::connect(address).await.unwrap(), Vec::new());
        second.read_to_end(&mut said).await.unwrap();
        assert_eq!((said.as_slice(), host.counts.refusals(Refusal::Crowded)), (&b"full"[..], 1));
        drop(first);
        let mut third = TcpStream::connect(address).await.unwrap();
        while !says_back(&mut third).await {
            third = TcpStream::connect(address).await.unwrap();
        }
        assert!(host.counts.opened_ever() >= 2);
        accepting.ended(Duration::from_millis(20)).await;
    }

    #[tokio::test]
    async fn a_door_that_is_taken_down_lets_those_finish_who_do_so_in_time() {
        let (_, address, accepting) = open(9).await;
        let mut leaving = TcpStream::connect(address).await.unwrap();
        assert!(says_back(&mut leaving).await);
        accepting.stop();
        assert!(says_back(&mut leaving).await, "what was begun goes on");
        drop(leaving);
        // Without end, were the one who left not noticed.
        accepting.ended(Duration::MAX).await;
        assert!(TcpStream::connect(address).await.is_err(), "and nobody new comes in");

        let (_, address, accepting) = open(9).await;
        let mut staying = TcpStream::connect(address).await.unwrap();
        assert!(says_back(&mut staying).await);
        accepting.ended(Duration::from_millis(20)).await;
        while says_back(&mut staying).await {}
    }
}
