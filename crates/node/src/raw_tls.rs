//! TLS of the raw doors (HTTP, Redis): mutual, with certificates of the node's own authority, which a door that takes tokens can do without. Who
//! is let in, and who has to go again, is [`crate::admission`]'s to say, as on the gRPC door.

use std::sync::Arc;

use larder_door::{Caller, Refusal};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::admission::{Admission, Seat};
use crate::config::RawAuth;
use crate::identity::Identity;
use crate::listener::HANDSHAKE_TIMEOUT;

/// A connection that has shaken hands.
pub(crate) struct Shaken {
    pub(crate) stream: TlsStream<TcpStream>,
    /// Who it is, and its seat; `None` where it showed no certificate and need not.
    pub(crate) known: Option<(Arc<Identity>, Seat)>,
}

/// Shakes hands with a client of a door that asks for this and speaks these protocols (ALPN).
///
/// # Errors
/// Why it has to go, without a word.
pub(crate) async fn shake(
    admission: &Arc<Admission>,
    socket: TcpStream,
    caller: &Caller,
    (auth, protocols): (RawAuth, &[&[u8]]),
) -> Result<Shaken, Refusal> {
    let peer = caller.address;
    // As the certificates are now: they may have changed since the connection before.
    let authority = admission.authority();
    let tls = match auth {
        RawAuth::Token => admission.tls_for_tokens(protocols),
        RawAuth::None | RawAuth::Certificate => admission.tls(protocols),
    };
    let acceptor = TlsAcceptor::from(tls);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "connection refused");
            return Err(Refusal::Handshake);
        }
        Err(_) => {
            tracing::info!(%peer, "connection refused: handshake took too long");
            return Err(Refusal::TooSlow);
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some(certificate) = certificate else {
        let may_be_silent = auth == RawAuth::Token;
        return if may_be_silent { Ok(Shaken { stream, known: None }) } else { Err(Refusal::Handshake) };
    };
    // The handshake has checked that it can be read.
    let identity = Arc::new(Identity::of_certificate(certificate).map_err(|_| Refusal::Handshake)?);
    let seat = admission.admit_raw(&identity, peer, authority).ok_or(Refusal::Handshake)?;
    Ok(Shaken { stream, known: Some((identity, seat)) })
}
