//! Bytes that have arrived and wait to be cut: appended at the back, taken from the front.
//!
//! Input reaches the readers in cuts that mean nothing (a TCP segment, a part of one byte) and
//! leaves in cuts that mean something (a gzip member, a run of cipher blocks). A backlog is the
//! buffer between the two; taking from its front costs the bytes taken, not the bytes that stay.

/// A byte queue that is contiguous and knows its place in the whole stream.
#[derive(Default)]
pub(crate) struct Backlog {
    buffer: Vec<u8>,
    /// Where the waiting bytes begin in `buffer`; what stands before has been taken.
    start: usize,
    /// Stream offset of the first waiting byte.
    offset: u64,
}

impl Backlog {
    /// Appends `input`.
    pub(crate) fn push(&mut self, input: &[u8]) {
        // Moving the waiting bytes down only when they are no longer than the gap before them makes
        // each byte move at most once for every byte taken.
        let waiting = self.buffer.len() - self.start;
        if self.start > 0 && waiting <= self.start {
            self.buffer.copy_within(self.start.., 0);
            self.buffer.truncate(waiting);
            self.start = 0;
        }
        self.buffer.extend_from_slice(input);
    }

    /// The waiting bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Offset in the stream of the first waiting byte.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Removes and returns the first `count` waiting bytes, or all if there are fewer.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.len());
        let taken = self.buffer[self.start..self.start + count].to_vec();
        self.start += count;
        self.offset += count as u64;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        taken
    }

    /// Puts bytes that were taken last back to the front.
    pub(crate) fn put_back(&mut self, mut bytes: Vec<u8>) {
        self.offset -= bytes.len() as u64;
        bytes.extend_from_slice(self.bytes());
        self.buffer = bytes;
        self.start = 0;
    }
}

impl std::fmt::Debug for Backlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Backlog({} bytes at {})", self.len(), self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::Backlog;

    #[test]
    fn bytes_leave_in_the_order_they_came_whatever_the_cuts() {
        let input: Vec<u8> = (0..=255u8).cycle().take(10_000).collect();
        for (push, take) in [(1, 1), (7, 16), (16, 7), (1000, 1), (1, 1000), (4096, 333)] {
            let mut backlog = Backlog::default();
            let mut out = Vec::new();
            for chunk in input.chunks(push) {
                backlog.push(chunk);
                if backlog.len() >= take {
                    out.extend(backlog.take(take));
                    assert_eq!(backlog.offset(), out.len() as u64);
                }
            }
            out.extend(backlog.take(usize::MAX));
            assert_eq!(out, input, "push {push} take {take}");
        }
    }

    #[test]
    fn put_back_restores_bytes_and_offset() {
        let mut backlog = Backlog::default();
        backlog.push(b"abcdef");
        let taken = backlog.take(4);
        backlog.put_back(taken);
        assert_eq!((backlog.bytes(), backlog.offset()), (&b"abcdef"[..], 0));
    }
}
