//! Recycled buffers. Fresh memory for every chunk costs page faults and halves throughput.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers of one length. Buffers that come back beyond what it keeps are freed.
#[derive(Debug)]
pub struct BufferPool {
    free: Mutex<Vec<Box<[u8]>>>,
    buffer_len: usize,
    keep_max: usize,
}

impl BufferPool {
    /// A pool that keeps at most `keep_max` buffers of `buffer_len` bytes for reuse.
    #[must_use]
    pub fn new(buffer_len: usize, keep_max: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), buffer_len, keep_max })
    }

    /// A buffer with arbitrary content: used before if there is one, else a new one. The pool never blocks, so a
    /// caller that holds on to everything costs memory and does not stop the pipeline.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> PooledBuffer {
        let used = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = used.unwrap_or_else(|| vec![0; self.buffer_len].into_boxed_slice());
        PooledBuffer { bytes, len: 0, pool: Arc::clone(self) }
    }

    /// Buffers waiting to be used again.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// A buffer on loan. It goes back to its pool when dropped, also as [`Bytes`].
#[derive(Debug)]
pub struct PooledBuffer {
    bytes: Box<[u8]>,
    len: usize,
    pool: Arc<BufferPool>,
}

impl PooledBuffer {
    /// The whole buffer, to be filled.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The first `len` bytes, to be shared without a copy.
    ///
    /// # Panics
    /// If the buffer is shorter.
    #[must_use]
    pub fn freeze(mut self, len: usize) -> Bytes {
        assert!(len <= self.bytes.len(), "a buffer cannot hold more than its length");
        self.len = len;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.pool.keep_max {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_when_the_last_share_is_dropped() {
        let pool = BufferPool::new(100, 1);
        let mut buffer = pool.take();
        buffer.room()[..3].copy_from_slice(b"abc");
        let place = buffer.room().as_ptr();
        let bytes = buffer.freeze(3);
        assert_eq!(bytes, &b"abc"[..]);
        let share = bytes.slice(1..);
        drop(bytes);
        assert_eq!(pool.idle(), 0);
        drop(share);
        assert_eq!(pool.idle(), 1);
        assert_eq!(pool.take().room().as_ptr(), place, "the same memory is used again");
    }

    #[test]
    fn no_more_are_kept_than_wanted() {
        let pool = BufferPool::new(10, 2);
        let lent: Vec<_> = (0..5).map(|_| pool.take()).collect();
        drop(lent);
        assert_eq!(pool.idle(), 2);
    }
}
