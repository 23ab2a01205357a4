//! HTTPS: mutual TLS with certificates of the node's own authority, which a door that takes tokens can do without. Who is let in, and who has to go again, is
//! [`crate::admission`]'s to say, as on the gRPC door.

use std::net::SocketAddr;
use std::sync::Arc;

use larder_door::Caller;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::admission::{Admission, Seat};
use crate::config::HttpAuth;
use crate::identity::Identity;
use crate::listener::HANDSHAKE_TIMEOUT;

/// What this door speaks.
const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// A connection that has shaken hands.
pub(super) struct Shaken {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) caller: Caller,
    /// Who it is, and its seat; `None` where it showed no certificate and need not.
    pub(super) known: Option<(Arc<Identity>, Seat)>,
}

/// Shakes hands. `None`: it has to go without a word.
pub(super) async fn shake(
    admission: &Arc<Admission>,
    socket: TcpStream,
    peer: SocketAddr,
    auth: HttpAuth,
) -> Option<Shaken> {
    // As the certificates are now: they may have changed since the connection before.
    let tls = match auth {
        HttpAuth::Token => admission.tls_for_tokens(PROTOCOLS),
        HttpAuth::None | HttpAuth::Certificate => admission.tls(PROTOCOLS),
    };
    let acceptor = TlsAcceptor::from(tls);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "HTTP connection refused");
            return None;
        }
        Err(_) => {
            tracing::info!(%peer, "HTTP connection refused: handshake took too long");
            return None;
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some(certificate) = certificate else {
        let caller = Caller::at(peer.ip());
        return (auth == HttpAuth::Token).then_some(Shaken { stream, caller, known: None });
    };
    // The handshake has checked that it can be read.
    let identity = Arc::new(Identity::of_certificate(certificate).ok()?);
    let seat = admission.admit(&identity, peer)?;
    let caller = Caller::with_certificate(peer.ip(), &identity.name);
    Some(Shaken { stream, caller, known: Some((identity, seat)) })
}
