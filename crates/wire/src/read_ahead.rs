//! A socket that is read in large pieces while much comes, whatever whoever reads asks for at a time. TLS asks for as
//! little as 4 KiB; each of its questions would be a call to the system, and each answer of that a packet to the other side.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes read at a time. They stay in the processor's cache until they are deciphered.
pub const AHEAD_BYTES: usize = 128 * 1024;

/// A socket, and what was read of it ahead.
///
/// The buffer is there only while bytes come faster than they are asked for: an idle connection costs nothing.
#[derive(Debug)]
pub struct ReadAhead<S> {
    inner: S,
    buffer: Box<[u8]>,
    /// What of the buffer was not handed on yet.
    at: usize,
    end: usize,
    /// The last read got all that it asked for, so that there is probably more.
    has_more: bool,
}

impl<S> ReadAhead<S> {
    /// Of a socket from which nothing was read ahead.
    pub fn new(inner: S) -> Self {
        Self { inner, buffer: Box::default(), at: 0, end: 0, has_more: false }
    }

    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let len = buf.remaining().min(self.end - self.at);
        buf.put_slice(&self.buffer[self.at..self.at + len]);
        self.at += len;
        if self.at == self.end && !self.has_more {
            self.buffer = Box::default();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.at < this.end {
            this.hand_on(buf);
            return Poll::Ready(Ok(()));
        }
        let (asked, before) = (buf.remaining(), buf.filled().len());
        if !this.has_more || asked >= AHEAD_BYTES {
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            this.has_more = asked > 0 && buf.filled().len() - before == asked;
            if !this.has_more {
                this.buffer = Box::default();
            }
            return Poll::Ready(Ok(()));
        }
        if this.buffer.is_empty() {
            this.buffer = vec![0; AHEAD_BYTES].into_boxed_slice();
        }
        let mut ahead = ReadBuf::new(&mut this.buffer);
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut ahead))?;
        (this.at, this.end) = (0, ahead.filled().len());
        // Little at a time is read as it is asked for: then a call for each costs no more.
        this.has_more = this.end > asked;
        this.hand_on(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// What it was asked for, and how much of it it gave.
    struct Source {
        left: Vec<u8>,
        /// Bytes that come with each read.
        piece: usize,
        asked: Vec<usize>,
    }

    impl AsyncRead for Source {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let is_turn = self.asked.len() % 3 != 1;
            self.asked.push(buf.remaining());
            if !is_turn {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let len = buf.remaining().min(self.piece).min(self.left.len());
            let rest = self.left.split_off(len);
            buf.put_slice(&std::mem::replace(&mut self.left, rest));
            Poll::Ready(Ok(()))
        }
    }

    /// Reads all of `len` bytes by 4 KiB or less; answers what the socket was asked for.
    async fn read(len: usize, piece: usize) -> (Vec<usize>, ReadAhead<Source>) {
        let sent: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let source = Source { left: sent.clone(), piece, asked: Vec::new() };
        let (mut ahead, mut got, mut part) = (ReadAhead::new(source), Vec::new(), [0; 4096]);
        for turn in 0.. {
            let part = &mut part[..if turn % 5 == 4 { 100 } else { 4096 }];
            match ahead.read(part).await.unwrap() {
                0 => break,
                some => got.extend_from_slice(&part[..some]),
            }
        }
        assert!(got == sent, "what came is handed on as it came");
        (std::mem::take(&mut ahead.inner.asked), ahead)
    }

    #[tokio::test]
    async fn much_is_read_in_large_pieces_and_what_is_idle_holds_nothing() {
        let (asked, ahead) = read(4 << 20, usize::MAX).await;
        assert!(asked.len() < 70, "{} reads of 4 MiB", asked.len());
        assert!(asked.iter().all(|len| *len <= AHEAD_BYTES));
        assert!(ahead.buffer.is_empty(), "at the end there is nothing to read ahead for");
    }

    #[tokio::test]
    async fn little_is_read_as_it_is_asked_for() {
        let (asked, ahead) = read(100_000, 1000).await;
        let large = asked.iter().filter(|len| **len > 4096).count();
        assert!(large * 3 < asked.len(), "{large} of {} reads were large", asked.len());
        assert!(ahead.buffer.is_empty());
        for piece in [1, 99, 100, 4095, 4096, 4097, 20_000, AHEAD_BYTES] {
            read(30_000, piece).await;
        }
    }
}
