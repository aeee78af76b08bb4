//! The buffers that chunks are read into, used again and again: a worker fills one, a lane's thread is the last to hold
//! it. What an allocator keeps of such traffic between threads would grow with the table.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers of one size.
pub(super) struct Buffers {
    spare: Mutex<Vec<Vec<u8>>>,
    /// Of each, bytes.
    size: usize,
    /// More than these are not kept.
    kept_max: usize,
}

impl Buffers {
    pub(super) fn new(size: usize, kept_max: usize) -> Arc<Self> {
        Arc::new(Self { spare: Mutex::default(), size, kept_max })
    }

    /// An empty buffer.
    pub(super) fn take(&self) -> Vec<u8> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(self.size))
    }

    /// Takes a buffer back; one that grew or is another's is let go.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.capacity() == self.size && spare.len() < self.kept_max {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// The same bytes in no more memory than they need, where a buffer is mostly empty.
    pub(super) fn fitted(&self, buffer: Vec<u8>) -> Vec<u8> {
        if buffer.len() >= buffer.capacity() / 2 {
            return buffer;
        }
        let fitted = buffer.as_slice().into();
        self.give(buffer);
        fitted
    }

    /// A buffer's bytes to be shared; the last who holds them gives it back.
    pub(super) fn lend(self: &Arc<Self>, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, home: self.clone() })
    }
}

struct Lent {
    buffer: Vec<u8>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_buffer_comes_back_with_its_last_holder_and_is_used_again() {
        let buffers = Buffers::new(1024, 2);
        let mut buffer = buffers.take();
        buffer.extend_from_slice(&[7; 600]);
        let place = buffer.as_ptr();
        let lent = buffers.lend(buffer);
        let held = lent.slice(10..20);
        drop(lent);
        let other = buffers.take();
        assert_ne!(other.as_ptr(), place, "somebody holds it");
        assert_eq!(*held, [7; 10]);
        drop(held);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn what_grew_and_what_is_too_much_is_let_go_and_a_small_chunk_holds_no_large_buffer() {
        let buffers = Buffers::new(1024, 1);
        buffers.give(Vec::with_capacity(4096));
        assert_eq!(buffers.take().capacity(), 1024);
        let mut small = buffers.take();
        small.extend_from_slice(b"row");
        assert_eq!(buffers.fitted(small).capacity(), 3);
        buffers.give(Vec::with_capacity(1024));
        assert_eq!(buffers.spare.lock().expect("nobody panicked").len(), 1);
    }
}
