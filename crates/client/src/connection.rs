//! A connection to a node: mutual TLS 1.3, hybrid post-quantum key exchange preferred, HTTP/2 with windows
//! large enough for bulk and bounded enough for back-pressure.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper_util::rt::TokioIo;
use larder_format::error::Kind;
use larder_wire::answer::Failure;
use larder_wire::read_ahead::ReadAhead;
use larder_wire::{ANSWER_FRAME_BYTES, CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

/// How long connecting and the handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Room for the node's first words, in bytes: its settings are below a hundred.
const FIRST_WORDS_LEN: usize = 4096;

/// What is needed to connect.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Host and port of the node. The node's certificate must name this host.
    pub address: String,
    /// The authority that vouches for the node, PEM.
    pub authority_pem: Vec<u8>,
    /// This client's certificate chain, PEM.
    pub certificate_pem: Vec<u8>,
    /// This client's private key, PEM.
    pub key_pem: Vec<u8>,
}

impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectOptions").field("address", &self.address).finish_non_exhaustive()
    }
}

fn invalid(what: &str, reason: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Invalid, format!("{what}: {reason}"))
}

fn tls_config(options: &ConnectOptions) -> Result<rustls::ClientConfig, Failure> {
    let certificates = |what: &str, pem: &[u8]| -> Result<Vec<CertificateDer<'static>>, Failure> {
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| invalid(what, e))
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates("the authority's certificate", &options.authority_pem)? {
        roots.add(certificate).map_err(|e| invalid("the authority's certificate", e))?;
    }
    let chain = certificates("the client's certificate", &options.certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(&options.key_pem).map_err(|e| invalid("the client's key", e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| invalid("TLS", e))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|e| invalid("the client's certificate", e))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Says where the node is now, host and port, each time a connection is made: a node that was started again may listen
/// elsewhere. `None`: not known, so where it was.
pub type Locate = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Connects.
///
/// # Errors
/// [`Kind::Invalid`] for unusable certificates; [`Kind::Closed`] if nobody answers; [`Kind::Denied`] if the
/// node and this client do not trust each other.
pub async fn connect(options: &ConnectOptions) -> Result<Channel, Failure> {
    connect_where(options, Arc::new(|| None)).await
}

/// As [`connect`]; whenever the connection has to be made anew it goes to where the node is then.
///
/// # Errors
/// As [`connect`].
pub async fn connect_where(options: &ConnectOptions, locate: Locate) -> Result<Channel, Failure> {
    let tls = TlsConnector::from(Arc::new(tls_config(options)?));
    let host = options.address.rsplit_once(':').map_or(options.address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|e| invalid("the node's address", e))?;
    let address = options.address.clone();
    let connector = tower::service_fn(move |_| {
        let (tls, name) = (tls.clone(), name.clone());
        let address = locate().unwrap_or_else(|| address.clone());
        async move {
            let socket = TcpStream::connect(&address).await?;
            socket.set_nodelay(true)?;
            let mut stream = tls.connect(name, ReadAhead::new(socket)).await?;
            let heard = tokio::time::timeout(CONNECT_TIMEOUT, first_words(&mut stream)).await??;
            Ok::<_, std::io::Error>(TokioIo::new(Heard { stream, heard }))
        }
    });
    Endpoint::from_static("https://larder.node")
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(ANSWER_FRAME_BYTES)
        .connect_with_connector(connector)
        .await
        .map_err(|e| connect_failure(&options.address, &e))
}

/// The first bytes that the node sends of itself: its HTTP/2 settings, or why it refuses us. In TLS 1.3 it looks at our
/// certificate when for us the handshake is over; whoever speaks first may never hear what it says about it.
async fn first_words(stream: &mut TlsStream<Socket>) -> std::io::Result<Bytes> {
    let mut words = BytesMut::with_capacity(FIRST_WORDS_LEN);
    if stream.read_buf(&mut words).await? == 0 {
        let message = "the node closed the connection without a word: it may have too many, or be stopping";
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, message));
    }
    Ok(words.freeze())
}

type Socket = ReadAhead<TcpStream>;

/// A stream of which the first bytes were read already.
struct Heard {
    stream: TlsStream<Socket>,
    heard: Bytes,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.heard.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let len = buf.remaining().min(self.heard.len());
        buf.put_slice(&self.heard.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
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

fn connect_failure(address: &str, error: &tonic::transport::Error) -> Failure {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    let mut reason = error.to_string();
    let mut kind = Kind::Closed;
    let mut advice = "is it running? start it with: larder up";
    while let Some(e) = source {
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            reason = io.to_string();
            // TLS refusals arrive as InvalidData: the other side is there but does not trust us, or we not it.
            if io.kind() == std::io::ErrorKind::InvalidData {
                kind = Kind::Denied;
                advice = "the node and this client do not trust each other";
            }
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
                && let Some((words, what_to_do)) = refusal(tls)
            {
                kind = Kind::Denied;
                (reason, advice) = (words.to_owned(), what_to_do);
            }
        }
        source = e.source();
    }
    Failure::new(kind, format!("cannot reach the node at {address}: {reason} ({advice})"))
}

const NEW_ONE: &str = "have a new one issued where the node is: larder ca issue, or larder ca renew";
const OTHER_AUTHORITY: &str = "certificates are not of the same authority: have one issued where the node is (larder ca issue); \
     on the node's own machine: larder down, then larder up";

/// Whose certificate is refused, why, and what to do.
fn refusal(error: &rustls::Error) -> Option<(&'static str, &'static str)> {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
    Some(match error {
        Error::InvalidCertificate(bad) => match bad {
            Bad::Expired | Bad::ExpiredContext { .. } => (
                "the node's certificate has expired",
                "look at the clock; when it is right, larder up on the node's machine makes a new one",
            ),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => (
                "the node's certificate is not valid yet",
                "look at the clock; when it is right, larder up on the node's machine makes a new one",
            ),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => (
                "the node's certificate is not for this address",
                "on the node's machine: larder ca renew --host ADDRESS",
            ),
            Bad::UnknownIssuer | Bad::BadSignature => {
                ("the node's certificate is of another authority than this client's", OTHER_AUTHORITY)
            }
            _ => return None,
        },
        Error::AlertReceived(alert) => match alert {
            Alert::CertificateExpired => (
                "the node says that this client's certificate has expired or is not valid yet",
                "look at the clocks; if they are right, have it renewed where the node is: larder ca renew",
            ),
            Alert::CertificateRevoked => ("this client's certificate is revoked", NEW_ONE),
            Alert::UnknownCA | Alert::DecryptError => {
                ("the node does not know the authority of this client's certificate", OTHER_AUTHORITY)
            }
            Alert::AccessDenied => (
                "the node does not understand the rights in this client's certificate",
                "upgrade larder on the node's machine, or have another one issued",
            ),
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateRequired => {
                ("this client's certificate is not one that a client may show", NEW_ONE)
            }
            _ => return None,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{AlertDescription, CertificateError, Error};

    #[test]
    fn a_refusal_says_whose_certificate_it_is_about() {
        for (error, words) in [
            (Error::InvalidCertificate(CertificateError::Expired), "the node's certificate has expired"),
            (Error::InvalidCertificate(CertificateError::NotValidYet), "not valid yet"),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "another authority"),
            (
                Error::AlertReceived(AlertDescription::CertificateRevoked),
                "this client's certificate is revoked",
            ),
            (Error::AlertReceived(AlertDescription::UnknownCA), "does not know the authority"),
        ] {
            assert!(refusal(&error).unwrap().0.contains(words), "{error}");
        }
        assert!(refusal(&Error::AlertReceived(AlertDescription::InternalError)).is_none());
    }
}
