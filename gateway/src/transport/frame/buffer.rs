//! A buffer in which a frame's payload is written in place.

use std::{fmt, io};

use bytes::BytesMut;

use super::LONGEST_HEADER_BYTES;

/// The payload that [`Frame::text_with`] builds. It can only grow.
pub struct FrameBuffer(pub(super) BytesMut);

impl FrameBuffer {
    /// Appends to the payload.
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Bytes of payload so far.
    pub fn len(&self) -> usize {
        self.0.len() - LONGEST_HEADER_BYTES
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl io::Write for FrameBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for FrameBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}
