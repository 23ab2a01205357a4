//! Accepts connections: mutual TLS 1.3 with a hybrid post-quantum key exchange preferred, and only clients
//! with a certificate of the node's own authority.
//!
//! Handshakes run beside each other, each with a deadline, and at most [`HANDSHAKES_MAX`] at a time: beyond that
//! the oldest unfinished one is given up, so that clients that connect and say nothing hold up nobody. One address of
//! another machine has at most [`HANDSHAKES_PER_NETWORK_MAX`] of them, and so many a second ([`Protection`]).

use std::collections::VecDeque;
use std::future::Future;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use larder_door::connections::{Caps, Connections, Place};
use larder_door::proxies::Proxies;
use larder_door::{Caller, Refusal};
use larder_wire::read_ahead::ReadAhead;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::Instrument;

use crate::admission::{Admission, Seat};
use crate::grpc::Limits;
use crate::identity::Identity;
use crate::proxied;

/// Most unfinished handshakes at a time: each holds some ten kilobytes.
pub const HANDSHAKES_MAX: usize = 256;

/// Most of them from one network of strangers, so that it does not push out those of others.
pub const HANDSHAKES_PER_NETWORK_MAX: usize = 32;

/// How long a client may take for its handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What gRPC speaks.
const PROTOCOLS: &[&[u8]] = &[b"h2"];

/// Who is at the other end of an admitted connection, as handlers find it.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Who, and with which rights.
    pub identity: Arc<Identity>,
    /// From where, and what its requests are counted by.
    pub caller: Caller,
    /// There was no room: it is told so, and nothing else.
    pub turned_away: bool,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Which of the open connections it is.
    pub connection: u64,
}

type Socket = ReadAhead<TcpStream>;

/// An admitted connection. Ends by itself when the node wants it to, as when its certificate is not
/// good any more.
pub struct Admitted {
    stream: TlsStream<Socket>,
    seat: Seat,
    peer: Peer,
}

impl Admitted {
    /// Whether it has to end now; wakes the task when it has to later.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Also if the other side is gone, which it is not before this is dropped.
        Pin::new(&mut self.seat.ended).poll(cx).map(|_| ())
    }
}

fn ended() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "the node closed the connection")
}

impl Connected for Admitted {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.poll_ended(cx).is_ready() {
            return Poll::Ready(Err(ended()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.poll_ended(cx).is_ready() {
            return Poll::Ready(Err(ended()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        if self.poll_ended(cx).is_ready() {
            return Poll::Ready(Err(ended()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    // Or the head of each frame would be encrypted and sent by itself.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Admitted connections, apart by how much they may have on its way to us ([`Seat::wide`]).
pub struct Accepted {
    /// Those with room for bulk.
    pub wide: Incoming,
    /// All others.
    pub narrow: Incoming,
}

/// Connections as they are admitted.
pub type Incoming = ReceiverStream<std::io::Result<Admitted>>;

/// Where connections go that are admitted.
#[derive(Clone)]
struct Doors {
    wide: mpsc::Sender<std::io::Result<Admitted>>,
    narrow: mpsc::Sender<std::io::Result<Admitted>>,
}

/// Who may begin a connection, and how many.
pub(crate) struct Protection {
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) limits: Arc<Limits>,
    /// Trusted proxies begin with a PROXY protocol header.
    pub(crate) proxy_protocol: bool,
}

/// What stands between the socket and the services.
pub(crate) struct Gate {
    admission: Arc<Admission>,
    protection: Option<Protection>,
    unfinished: Arc<Connections>,
}

impl Gate {
    /// Without protection only certificates are asked for.
    pub(crate) fn new(admission: Arc<Admission>, protection: Option<Protection>) -> Self {
        // The oldest is given up where there are too many in all.
        let caps = Caps { all: usize::MAX, per_network: HANDSHAKES_PER_NETWORK_MAX };
        Self { admission, protection, unfinished: Connections::new(caps) }
    }

    fn refused(&self, refusal: Refusal) {
        if let Some(protection) = &self.protection {
            protection.limits.refused(refusal);
        }
    }

    /// A place among the unfinished handshakes.
    fn enter(&self, peer: SocketAddr) -> Option<Place> {
        let caller = match &self.protection {
            Some(protection) => protection.proxies.at(peer.ip()),
            None => Caller::at(peer.ip()),
        };
        let place = self.unfinished.enter(&caller);
        place.inspect_err(|_| self.refused(Refusal::Crowded)).ok()
    }

    /// Who is on a connection, if it may have a handshake.
    async fn whose(&self, socket: &mut TcpStream, peer: SocketAddr, place: &mut Place) -> Option<Caller> {
        let Some(Protection { proxies, limits, proxy_protocol }) = &self.protection else {
            return Some(Caller::at(peer.ip()));
        };
        let caller = proxied::whose(socket, peer, proxies, *proxy_protocol).await;
        let caller = caller.and_then(|caller| match place.turns_out(&caller) {
            Ok(()) => Ok(caller),
            Err(_) => Err(Refusal::Crowded),
        });
        match caller {
            Ok(caller) => limits.take(&caller).is_ok().then_some(caller),
            Err(refusal) => {
                limits.refused(refusal);
                None
            }
        }
    }
}

/// Accepts until the returned streams are dropped.
pub fn accept(listener: TcpListener, admission: Arc<Admission>) -> Accepted {
    accept_by(listener, Gate::new(admission, None))
}

/// As [`accept`], through this gate.
pub(crate) fn accept_by(listener: TcpListener, gate: Gate) -> Accepted {
    let gate = Arc::new(gate);
    let (wide, wide_receiver) = mpsc::channel(HANDSHAKES_MAX);
    let (narrow, narrow_receiver) = mpsc::channel(HANDSHAKES_MAX);
    let sender = Doors { wide, narrow };
    tokio::spawn(async move {
        // Unfinished handshakes, oldest first.
        let mut unfinished: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.wide.closed() => return,
            };
            let (socket, peer) = match accepted {
                Ok(pair) => pair,
                Err(error) => {
                    // Out of descriptors, or the peer left already: wait a little rather than spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(place) = gate.enter(peer) else { continue };
            unfinished.retain(|task| !task.is_finished());
            if unfinished.len() >= HANDSHAKES_MAX
                && let Some(oldest) = unfinished.pop_front()
            {
                tracing::info!("connection refused: too many unfinished handshakes, the oldest is given up");
                gate.refused(Refusal::Crowded);
                oldest.abort();
            }
            unfinished.push_back(
                tokio::spawn(
                    shake(gate.clone(), (socket, peer, place), sender.clone())
                        .instrument(tracing::info_span!("connection", %peer)),
                )
                .abort_handle(),
            );
        }
    });
    Accepted { wide: ReceiverStream::new(wide_receiver), narrow: ReceiverStream::new(narrow_receiver) }
}

/// One handshake. Who has passed it is handed on by a task of its own, which nobody gives up.
async fn shake(gate: Arc<Gate>, (mut socket, peer, mut place): (TcpStream, SocketAddr, Place), doors: Doors) {
    let Some(caller) = gate.whose(&mut socket, peer, &mut place).await else { return };
    // Latency matters more than packet count: requests are written whole.
    let _ = socket.set_nodelay(true);
    // As the certificates are now: they may have changed since the connection before.
    let authority = gate.admission.authority();
    let acceptor = TlsAcceptor::from(gate.admission.tls(PROTOCOLS));
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(ReadAhead::new(socket))).await {
        Ok(Ok(stream)) => {
            let Some(admitted) = seated(&gate, stream, (&caller, authority)) else { return };
            tokio::spawn(async move {
                let door = if admitted.seat.wide { doors.wide } else { doors.narrow };
                let _ = door.send(Ok(admitted)).await;
            });
        }
        Ok(Err(error)) => {
            gate.refused(Refusal::Handshake);
            tracing::info!(%error, "connection refused");
        }
        Err(_) => {
            gate.refused(Refusal::TooSlow);
            tracing::info!("connection refused: handshake took too long");
        }
    }
}

/// Gives a connection its place.
fn seated(gate: &Gate, stream: TlsStream<Socket>, (caller, authority): (&Caller, u64)) -> Option<Admitted> {
    // The handshake has checked that there is one and that it can be read.
    let identity = stream.get_ref().1.peer_certificates()?.first().map(|c| Identity::of_certificate(c))?;
    let identity = Arc::new(identity.ok()?);
    let admission = &gate.admission;
    let Some(seat) = admission.admit(&identity, caller.address, authority) else {
        gate.refused(Refusal::Crowded);
        return None;
    };
    let peer = Peer {
        caller: Caller::with_certificate(caller.address, &identity.name),
        identity,
        turned_away: seat.turned_away,
        connections_max: admission.connections_max(),
        connection: seat.number,
    };
    Some(Admitted { stream, seat, peer })
}
