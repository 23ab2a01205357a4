//! Finds out who is on a new connection: whoever the system says, or whoever a trusted proxy says it is. The same for every
//! door.

use std::net::SocketAddr;
use std::time::Duration;

use larder_door::caller::Standing;
use larder_door::proxies::Proxies;
use larder_door::proxies::protocol::{HEADER_LEN_MAX, Step, step};
use larder_door::{Caller, Refusal};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How long a proxy may take to say for whom it calls: it knows before it connects.
const HEADER_TIME_MAX: Duration = Duration::from_secs(5);

/// Who is on a connection that was just accepted. Where the door's proxies speak the PROXY protocol (`is_spoken`), a trusted
/// one's header is taken off the connection, and nothing that follows.
///
/// # Errors
/// [`Refusal::NoProxyHeader`] or [`Refusal::TooSlow`]: the proxy did not say for whom it calls.
pub(crate) async fn whose(
    stream: &mut TcpStream,
    peer: SocketAddr,
    proxies: &Proxies,
    is_spoken: bool,
) -> Result<Caller, Refusal> {
    let caller = proxies.at(peer.ip());
    if !is_spoken || caller.standing != Standing::Proxy {
        return Ok(caller);
    }
    let reading = async {
        let mut bytes = Vec::new();
        loop {
            let more = match step(&bytes).map_err(|_| Refusal::NoProxyHeader)? {
                Step::Done(header) => return Ok(proxies.introduced(peer.ip(), &header)),
                Step::Read(more) => more,
            };
            let from = bytes.len();
            // Never more than [`HEADER_LEN_MAX`] in all: a longer header is refused before it is read.
            bytes.resize((from + more).min(HEADER_LEN_MAX), 0);
            stream.read_exact(&mut bytes[from..]).await.map_err(|_| Refusal::NoProxyHeader)?;
        }
    };
    tokio::time::timeout(HEADER_TIME_MAX, reading).await.unwrap_or(Err(Refusal::TooSlow))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn whose_is(trusted: &str, is_spoken: bool, sent: &[u8]) -> (Result<Caller, Refusal>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let (mut stream, peer) = listener.accept().await.unwrap();
        let proxies = Proxies { trusted: vec![trusted.parse().unwrap()], ..Proxies::default() };
        let caller = whose(&mut stream, peer, &proxies, is_spoken).await;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (caller, rest)
    }

    #[tokio::test]
    async fn a_header_is_taken_off_where_it_is_believed_and_nothing_else() {
        let sent = b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 80\r\nGET /";
        let told = Caller::behind_proxy("203.0.113.5".parse().unwrap());
        assert_eq!(whose_is("127.0.0.1", true, sent).await, (Ok(told), b"GET /".to_vec()));
        let here = "127.0.0.1".parse().unwrap();
        assert_eq!(whose_is("127.0.0.1", false, sent).await, (Ok(Caller::proxy(here)), sent.to_vec()));
        assert_eq!(whose_is("10.0.0.1", true, sent).await, (Ok(Caller::at(here)), sent.to_vec()));
        let own = whose_is("127.0.0.1", true, b"PROXY UNKNOWN\r\n").await;
        assert_eq!(own, (Ok(Caller::behind_proxy(here)), Vec::new()));
        for wrong in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"PROXY TCP4 203.0", b""] {
            assert_eq!(whose_is("127.0.0.1", true, wrong).await.0, Err(Refusal::NoProxyHeader));
        }
    }
}
