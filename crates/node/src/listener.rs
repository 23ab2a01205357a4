//! Accepts connections: mutual TLS 1.3 with a hybrid post-quantum key exchange preferred, and only clients
//! with a certificate of the node's own authority.
//!
//! Handshakes run beside each other, each with a deadline, and at most [`HANDSHAKES_MAX`] at a time: beyond that
//! the oldest unfinished one is given up, so that clients that connect and say nothing hold up nobody.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::config::NodeConfig;

/// Most unfinished handshakes at a time: each holds some ten kilobytes.
pub const HANDSHAKES_MAX: usize = 256;

/// How long a client may take for its handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file has not what it should.
    #[error("cannot read {what} (PEM): {reason}")]
    Pem {
        /// Which one.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// They do not fit together.
    #[error("certificate, key and authority do not fit together: {0}")]
    Mismatch(String),
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(TlsError::Pem { what, reason: "no certificate in it".to_owned() }),
        Err(e) => Err(TlsError::Pem { what, reason: e.to_string() }),
    }
}

/// The server side of mutual TLS.
///
/// # Errors
/// [`TlsError`] says which of the three inputs is wrong.
pub fn server_config(config: &NodeConfig) -> Result<rustls::ServerConfig, TlsError> {
    let mismatch = |e: &dyn std::fmt::Display| TlsError::Mismatch(e.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the authority's certificate", &config.authority_pem)? {
        roots.add(certificate).map_err(|e| mismatch(&e))?;
    }
    let key = PrivateKeyDer::from_pem_slice(&config.key_pem)
        .map_err(|e| TlsError::Pem { what: "the node's key", reason: e.to_string() })?;
    let chain = certificates("the node's certificate", &config.certificate_pem)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| mismatch(&e))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| mismatch(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| mismatch(&e))?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(tls)
}

/// An admitted connection.
pub struct Admitted(TlsStream<TcpStream>);

impl Connected for Admitted {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Accepts until the returned stream is dropped.
pub fn accept(listener: TcpListener, tls: rustls::ServerConfig) -> ReceiverStream<std::io::Result<Admitted>> {
    let (sender, receiver) = mpsc::channel(HANDSHAKES_MAX);
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        // Unfinished handshakes, oldest first.
        let mut unfinished: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
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
            unfinished.retain(|task| !task.is_finished());
            if unfinished.len() >= HANDSHAKES_MAX
                && let Some(oldest) = unfinished.pop_front()
            {
                tracing::info!("connection refused: too many unfinished handshakes, the oldest is given up");
                oldest.abort();
            }
            unfinished.push_back(
                tokio::spawn(shake(acceptor.clone(), socket, peer, sender.clone())).abort_handle(),
            );
        }
    });
    ReceiverStream::new(receiver)
}

/// One handshake. Who has passed it is handed on by a task of its own, which nobody gives up.
async fn shake(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    peer: SocketAddr,
    sender: mpsc::Sender<std::io::Result<Admitted>>,
) {
    // Latency matters more than packet count: requests are written whole.
    let _ = socket.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => {
            tokio::spawn(async move {
                let _ = sender.send(Ok(Admitted(stream))).await;
            });
        }
        Ok(Err(error)) => tracing::info!(%peer, %error, "connection refused"),
        Err(_) => tracing::info!(%peer, "connection refused: handshake took too long"),
    }
}
