//! Memory and contexts that are used again. A buffer that is lent comes back by itself when nobody reads it any more.
//!
//! Fresh memory costs a page fault for each 4 KiB, which on the way out is as much as decoding what is put there.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

/// Things that wait to be used again. A clone shares them.
pub(crate) struct Shelf<T>(Arc<Mutex<Vec<T>>>);

impl<T> Shelf<T> {
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().ok()?.pop()
    }

    pub(crate) fn give(&self, thing: T) {
        if let Ok(mut things) = self.0.lock() {
            things.push(thing);
        }
    }
}

impl Shelf<Vec<u8>> {
    /// An empty buffer.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        let mut buffer = self.used();
        buffer.clear();
        buffer
    }

    /// A buffer with whatever was last in it, for those who overwrite that: an empty one would have to be filled with zeros first.
    pub(crate) fn used(&self) -> Vec<u8> {
        self.take().unwrap_or_default()
    }

    /// The buffer's bytes, to be read by anybody; then it is back here.
    pub(crate) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, shelf: self.clone() })
    }
}

/// A buffer on loan.
struct Lent {
    buffer: Vec<u8>,
    shelf: Shelf<Vec<u8>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // A shelf of buffers without memory would hand them out before those that have some.
        if self.buffer.capacity() > 0 {
            self.shelf.give(std::mem::take(&mut self.buffer));
        }
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Shelf(Arc::default())
    }
}

impl<T> Clone for Shelf<T> {
    fn clone(&self) -> Self {
        Shelf(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_buffer_comes_back_when_its_last_reader_is_done() {
        let shelf = Shelf::<Vec<u8>>::default();
        let bytes = shelf.lend(Vec::from(*b"content"));
        let tail = bytes.slice(3..);
        drop(bytes);
        assert!(shelf.take().is_none());
        assert_eq!(tail, "tent");
        drop(tail);
        let buffer = shelf.buffer();
        assert!(buffer.is_empty() && buffer.capacity() >= 7);
    }
}
