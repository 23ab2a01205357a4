//! HTTPS: mutual TLS with certificates of the node's own authority. Who is let in, and who has to go again, is
//! [`crate::admission`]'s to say, as on the gRPC door.

use std::sync::Arc;

use larder_door::{Caller, Refusal};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::admission::{Admission, Seat};
use crate::identity::Identity;
use crate::listener::HANDSHAKE_TIMEOUT;

/// What this door speaks.
const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// A connection whose caller is known.
pub(super) struct Known {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) caller: Caller,
    pub(super) identity: Arc<Identity>,
    pub(super) seat: Seat,
}

/// Shakes hands.
///
/// # Errors
/// Why it has to go, without a word.
pub(super) async fn shake(
    admission: &Arc<Admission>,
    socket: TcpStream,
    caller: &Caller,
) -> Result<Known, Refusal> {
    let peer = caller.address;
    // As the certificates are now: they may have changed since the connection before.
    let acceptor = TlsAcceptor::from(admission.tls(PROTOCOLS));
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "HTTP connection refused");
            return Err(Refusal::Handshake);
        }
        Err(_) => {
            tracing::info!(%peer, "HTTP connection refused: handshake took too long");
            return Err(Refusal::TooSlow);
        }
    };
    // The handshake has checked that there is one and that it can be read.
    let certificate = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
    let identity = certificate.and_then(|certificate| Identity::of_certificate(certificate).ok());
    let identity = Arc::new(identity.ok_or(Refusal::Handshake)?);
    let seat = admission.admit(&identity, peer).ok_or(Refusal::Crowded)?;
    let caller = Caller::with_certificate(peer, &identity.name);
    Ok(Known { stream, caller, identity, seat })
}
