//! The frames that one connection still has to write, in order. Pure: the task does the writing. An empty outbox holds
//! no memory. While the socket is in use, the rest of a partly written frame is never dropped, so that the peer finds
//! the start of the next frame.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

/// The queued frames of one connection.
#[derive(Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Whether the first frame was written in part.
    partly_written: bool,
}

impl Outbox {
    /// Queues a frame. The outbox has no limit of its own; the link checks the limit.
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Bytes that are queued and not yet written, headers included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The queued frame, if exactly one frame is queued.
    pub(crate) fn only_frame(&self) -> Option<&[u8]> {
        match self.frames.front() {
            Some(only) if self.frames.len() == 1 => Some(only),
            _ => None,
        }
    }

    /// The next queued bytes, which hold one or more frames.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.frames.front().map(|bytes| &bytes[..])
    }

    /// Fills `slices` with the next frames, and returns how many were filled.
    pub(crate) fn fill_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame);
            filled += 1;
        }
        filled
    }

    /// Removes `written` bytes from the front.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(first) = self.frames.front_mut() {
            if written < first.len() {
                first.advance(written);
                self.partly_written |= written > 0;
                return;
            }
            written -= first.len();
            self.frames.pop_front();
            self.partly_written = false;
        }
        self.frames = VecDeque::new();
    }

    /// Removes a whole frame of this length from the front. Other frames may follow it in the same buffer.
    pub(crate) fn remove_frame(&mut self, frame_bytes: usize) {
        self.advance(frame_bytes);
        self.partly_written = false;
    }

    /// Drops all frames except the rest of a partly written frame.
    pub(crate) fn drop_unstarted(&mut self) {
        self.frames.truncate(usize::from(self.partly_written));
        self.frames.shrink_to_fit();
        self.bytes = self.frames.front().map_or(0, Bytes::len);
    }

    /// Drops all frames, also the rest of a partly written frame. Must be called only if nothing more is written to the
    /// socket.
    pub(crate) fn drop_all(&mut self) {
        *self = Outbox::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(frames: &[&'static str]) -> Outbox {
        let mut outbox = Outbox::default();
        for frame in frames {
            outbox.push(Bytes::from_static(frame.as_bytes()));
        }
        outbox
    }

    fn remaining(outbox: &Outbox) -> String {
        outbox.frames.iter().map(|frame| std::str::from_utf8(frame).unwrap()).collect()
    }

    #[test]
    fn partial_writes_keep_order_and_byte_count() {
        for cut in 0..=9 {
            let mut outbox = outbox(&["abc", "de", "fghi"]);
            outbox.advance(cut);
            assert_eq!(remaining(&outbox), "abcdefghi"[cut..]);
            assert_eq!(outbox.bytes(), 9 - cut);
        }
    }

    #[test]
    fn empty_outbox_holds_no_memory() {
        let mut outbox = outbox(&["abc", "de"]);
        outbox.advance(5);
        assert!(outbox.is_empty());
        assert_eq!(outbox.frames.capacity(), 0);
    }

    #[test]
    fn dropping_queue_keeps_only_rest_of_begun_frame() {
        let mut begun = outbox(&["abc", "de", "f"]);
        begun.advance(1);
        begun.drop_unstarted();
        assert_eq!((remaining(&begun).as_str(), begun.bytes()), ("bc", 2));

        let mut between = outbox(&["abc", "de", "f"]);
        between.advance(3);
        between.drop_unstarted();
        assert_eq!((between.is_empty(), between.bytes()), (true, 0));
    }
}
