//! A connection to a node: mutual TLS 1.3, hybrid post-quantum key exchange preferred, HTTP/2 with windows
//! large enough for bulk and bounded enough for back-pressure.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use larder_format::error::Kind;
use larder_wire::answer::Failure;
use larder_wire::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// How long connecting and the handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
            tls.connect(name, socket).await.map(TokioIo::new)
        }
    });
    Endpoint::from_static("https://larder.node")
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_with_connector(connector)
        .await
        .map_err(|e| connect_failure(&options.address, &e))
}

fn connect_failure(address: &str, error: &tonic::transport::Error) -> Failure {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    let mut reason = error.to_string();
    let mut kind = Kind::Closed;
    while let Some(e) = source {
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            // TLS refusals arrive as InvalidData: the other side is there but does not trust us, or we not it.
            if io.kind() == std::io::ErrorKind::InvalidData {
                kind = Kind::Denied;
            }
            reason = io.to_string();
        }
        source = e.source();
    }
    let advice = match kind {
        Kind::Denied if reason.contains("valid yet") || reason.contains("expired") => {
            "look at the clock; when it is right, larder up makes new certificates"
        }
        Kind::Denied => "certificates are not of the same authority",
        _ => "is it running? start it with: larder up",
    };
    Failure::new(kind, format!("cannot reach the node at {address}: {reason} ({advice})"))
}
