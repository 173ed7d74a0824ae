//! Several text frames for the same receivers, encoded into one buffer. A connection without compression queues the
//! whole buffer at once. Each frame stays a WebSocket message of its own.

use std::mem;

use bytes::Bytes;

use super::{FIN, Frame, MAX_HEADER_BYTES, TEXT, encode_header};
use crate::transport::deflate::MIN_COMPRESSED_SHARED_BYTES;

/// Text frames that share one buffer, in order.
#[derive(Debug)]
pub struct FrameRun {
    bytes: Bytes,
    frames: Vec<Frame>,
}

impl FrameRun {
    /// Text frames for any number of receivers. The payloads must be UTF-8; they are not checked again.
    pub fn text<'a>(payloads: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let capacity = payloads.clone().map(|payload| MAX_HEADER_BYTES + payload.len()).sum();
        let mut buffer = Vec::with_capacity(capacity);
        let mut ends = Vec::new();
        for payload in payloads {
            let (header, header_bytes) = encode_header(FIN | TEXT, payload.len());
            buffer.extend_from_slice(&header[..header_bytes]);
            buffer.extend_from_slice(payload);
            ends.push((buffer.len(), payload.len() >= MIN_COMPRESSED_SHARED_BYTES));
        }
        let (bytes, mut start) = (Bytes::from(buffer), 0);
        let frame = |(end, compressible): (usize, bool)| Frame {
            bytes: bytes.slice(mem::replace(&mut start, end)..end),
            compressed_copy: compressible.then(Default::default),
            immediate: false,
        };
        let frames = ends.into_iter().map(frame).collect();
        Self { bytes, frames }
    }

    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The bytes of all frames on the wire.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_has_the_bytes_of_its_frames() {
        let payloads = [vec![b'a'; 3], vec![b'b'; 300], Vec::new(), vec![b'c'; 70_000]];
        let run = FrameRun::text(payloads.iter().map(Vec::as_slice));
        let single: Vec<Frame> = payloads.iter().map(Frame::text).collect();
        for (of_run, single) in run.frames().iter().zip(&single) {
            assert_eq!(of_run.bytes, single.bytes);
            assert_eq!(of_run.is_worth_compressing(), single.is_worth_compressing());
        }
        let all: Vec<&[u8]> = single.iter().map(|frame| &*frame.bytes).collect();
        assert_eq!((run.frames().len(), &run.bytes()[..]), (4, &all.concat()[..]));
    }
}
