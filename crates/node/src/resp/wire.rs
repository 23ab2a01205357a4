//! A connection's socket: reading what there is, sending at once what can be sent, and keeping what cannot until it can.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use larder_door::resp::Out;
use larder_door::resp::limits::GATHER_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::clients::{Client, Phase};

/// Memory for answers that a thread keeps from one batch to the next, in bytes.
pub(super) const OUT_KEPT: usize = 4 * GATHER_BYTES;

/// What could not be sent yet.
#[derive(Default)]
pub(super) struct Unsent {
    pub(super) bytes: Vec<u8>,
    sent: usize,
    /// The stream itself still holds some of it.
    unflushed: bool,
}

/// A socket and what it has not taken.
pub(super) struct Wire<T> {
    pub(super) io: T,
    pub(super) unsent: Unsent,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// Reads what there is; `false`: that is the end.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<bool> {
        let read = pin!(self.io.read_buf(into));
        let read: Poll<std::io::Result<usize>> = read.poll(cx);
        Poll::Ready(ready!(read).is_ok_and(|len| len > 0))
    }

    /// Sends; what is not taken is kept. Answers whether all was taken.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, out: &mut Out, client: &Client) -> bool {
        let mut sent = 0;
        loop {
            match Pin::new(&mut self.io).poll_write(cx, &out.bytes()[sent..]) {
                Poll::Ready(Ok(len)) if len > 0 => sent += len,
                Poll::Pending => break,
                Poll::Ready(_) => {
                    // Nobody is there any more.
                    client.cut();
                    out.clear(OUT_KEPT);
                    return false;
                }
            }
            if sent == out.len() {
                out.clear(OUT_KEPT);
                self.unsent.unflushed = Pin::new(&mut self.io).poll_flush(cx).is_pending();
                return !self.unsent.unflushed;
            }
        }
        self.unsent.sent = 0;
        self.unsent.bytes.clear();
        self.unsent.bytes.extend_from_slice(&out.bytes()[sent..]);
        out.clear(OUT_KEPT);
        client.enter(Phase::Stalled);
        false
    }

    /// Sends what was kept.
    pub(super) fn send_unsent(&mut self, cx: &mut Context<'_>, client: &Client) -> Poll<std::io::Result<()>> {
        while self.unsent.sent < self.unsent.bytes.len() {
            let rest = &self.unsent.bytes[self.unsent.sent..];
            match Pin::new(&mut self.io).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(len)) => {
                    self.unsent.sent += len;
                    client.enter(Phase::Stalled);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if client.is_idle() {
                        client.enter(Phase::Stalled);
                    }
                    return Poll::Pending;
                }
            }
        }
        self.unsent = Unsent { unflushed: true, ..Unsent::default() };
        let flushed = ready!(Pin::new(&mut self.io).poll_flush(cx));
        self.unsent.unflushed = false;
        Poll::Ready(flushed)
    }
}

impl Unsent {
    /// Whether there is anything.
    pub(super) fn is_some(&self) -> bool {
        !self.bytes.is_empty() || self.unflushed
    }
}
