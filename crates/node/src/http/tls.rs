//! HTTPS: mutual TLS with certificates of the node's own authority. Who is let in, and who has to go again, is
//! [`crate::admission`]'s to say, as on the gRPC door.

use std::net::SocketAddr;
use std::sync::Arc;

use larder_door::Caller;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::admission::{Admission, Seat};
use crate::identity::Identity;
use crate::listener::HANDSHAKE_TIMEOUT;

/// What the HTTP door speaks.
pub(crate) const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// A connection whose caller is known.
pub(crate) struct Known {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) caller: Caller,
    pub(crate) identity: Arc<Identity>,
    pub(crate) seat: Seat,
}

/// Shakes hands with a client of a door that speaks these protocols (ALPN). `None`: it has to go without a word.
pub(crate) async fn shake(
    admission: &Arc<Admission>,
    socket: TcpStream,
    peer: SocketAddr,
    protocols: &[&[u8]],
) -> Option<Known> {
    // As the certificates are now: they may have changed since the connection before.
    let acceptor = TlsAcceptor::from(admission.tls(protocols));
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "connection refused");
            return None;
        }
        Err(_) => {
            tracing::info!(%peer, "connection refused: handshake took too long");
            return None;
        }
    };
    // The handshake has checked that there is one and that it can be read.
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let identity = Arc::new(Identity::of_certificate(certificate).ok()?);
    let seat = admission.admit(&identity, peer)?;
    let caller = Caller::with_certificate(peer.ip(), &identity.name);
    Some(Known { stream, caller, identity, seat })
}
