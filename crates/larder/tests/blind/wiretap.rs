//! Sits between a client and a node and keeps every byte that passes, both ways: as it travels, and, because it holds
//! the keys of both sides' certificates, also as it is inside TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Bytes = Arc<Mutex<Vec<u8>>>;

/// What passed.
#[derive(Clone, Default)]
pub(crate) struct Passed {
    /// As it travelled, both ways.
    pub(crate) wire: Bytes,
    /// Inside TLS, from the client to the node.
    pub(crate) to_node: Bytes,
    /// Inside TLS, from the node to the client.
    pub(crate) from_node: Bytes,
    /// Key exchanges agreed with the client, one a connection.
    pub(crate) exchanges: Arc<Mutex<Vec<String>>>,
}

/// A running wiretap.
pub(crate) struct Wiretap {
    /// Where clients are to connect.
    pub(crate) address: SocketAddr,
    /// What passed so far.
    pub(crate) passed: Passed,
    node: Arc<Mutex<SocketAddr>>,
    _runtime: tokio::runtime::Runtime,
}

impl Wiretap {
    /// Starts, with the certificates of a config folder.
    pub(crate) fn start(certificates: &Path, node: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (acceptor, connector) = (acceptor(certificates), connector(certificates));
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (passed, node) = (Passed::default(), Arc::new(Mutex::new(node)));
        let (each_passed, each_node) = (passed.clone(), node.clone());
        runtime.spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, connector) = (acceptor.clone(), connector.clone());
                let (passed, node) = (each_passed.clone(), *each_node.lock().unwrap());
                tokio::spawn(async move {
                    // Either side may go away at any time; what passed until then is kept.
                    let _ = relay(socket, node, &acceptor, &connector, &passed).await;
                });
            }
        });
        Self { address, passed, node, _runtime: runtime }
    }

    /// Where the node is from now on.
    pub(crate) fn lead_to(&self, node: SocketAddr) {
        *self.node.lock().unwrap() = node;
    }

    /// What went to the node, inside TLS, while `work` was done.
    pub(crate) fn sent_during(&self, work: impl FnOnce()) -> Vec<u8> {
        let before = self.passed.to_node.lock().unwrap().len();
        work();
        self.passed.to_node.lock().unwrap()[before..].to_vec()
    }
}

async fn relay(
    socket: TcpStream,
    node: SocketAddr,
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    passed: &Passed,
) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let client = acceptor.accept(Kept { stream: socket, into: passed.wire.clone() }).await?;
    let exchange =
        client.get_ref().1.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
    passed.exchanges.lock().unwrap().push(exchange.unwrap_or_default());
    let socket = TcpStream::connect(node).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    let server = connector.connect(name, Kept { stream: socket, into: passed.wire.clone() }).await?;
    let mut client = Kept { stream: client, into: passed.to_node.clone() };
    let mut server = Kept { stream: server, into: passed.from_node.clone() };
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// A stream that keeps what is read from it.
struct Kept<S> {
    stream: S,
    into: Bytes,
}

impl<S: AsyncRead + Unpin> AsyncRead for Kept<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.into.lock().unwrap().extend_from_slice(&buf.filled()[before..]);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Kept<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn identity(folder: &Path, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
    (vec![certificate], key)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Passes for the node.
fn acceptor(folder: &Path) -> TlsAcceptor {
    let (chain, key) = identity(folder, "node");
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Passes for the client.
fn connector(folder: &Path) -> TlsConnector {
    let (chain, key) = identity(folder, "client");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("authority.pem")).unwrap()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}
