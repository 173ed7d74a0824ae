//! Sends a session's frames, compressed if compression was negotiated. An immediate frame is written at once if nothing
//! is queued. All other frames are queued. A shared frame that would exceed its limit is refused. Any other frame that
//! would exceed its limit closes the connection.

use bytes::Bytes;

use super::Connection;
use crate::transport::{
    frame::{Frame, FrameRun},
    worker::{Link, Phase},
};

impl Connection {
    /// Queues a frame and wakes the connection. If more than `outbox_bytes` would be queued, the queue is dropped and
    /// the connection is closed with 4413. After a close, does nothing.
    pub fn send(&self, frame: Frame) {
        let link = &*self.0;
        if link.phase.get() != Phase::Open {
            return;
        }
        let limit = link.worker.limits.outbox_bytes;
        let queued = match link.compressed(&frame) {
            Some(compressed) => {
                let bytes = compressed.len();
                link.queue_within_limit(limit, compressed, 1) && link.count_compressed(&frame, bytes)
            }
            None => link.queue_within_limit(limit, frame.into_bytes(), 1),
        };
        if !queued {
            link.close_as_too_slow();
        }
    }

    /// Sends a frame that other connections also get. A frame marked as immediate is written to the socket at once if
    /// nothing is queued. The part that the socket does not accept is queued. Returns false, and sends nothing, if more
    /// than three quarters of `outbox_bytes` would be queued. Then the connection is closed with 4413 if nothing is
    /// written to its socket for `stall_timeout`. After a close, does nothing and returns true.
    #[must_use]
    pub fn send_shared(&self, frame: &Frame) -> bool {
        let link = &*self.0;
        if link.phase.get() != Phase::Open {
            return true;
        }
        let sent = match link.compressed(frame) {
            Some(compressed) => {
                link.write_or_queue(frame, &compressed) && link.count_compressed(frame, compressed.len())
            }
            None => link.write_or_queue(frame, &frame.bytes),
        };
        if !sent {
            link.start_stall_timer();
        }
        sent
    }

    /// Queues the frames of a run, which other connections also get. A connection without compression queues the run as
    /// one buffer. Returns how many of the frames, counted from the first, were queued within the limit of
    /// [`Connection::send_shared`].
    #[must_use]
    pub fn send_run(&self, run: &FrameRun) -> usize {
        let link = &*self.0;
        let frames = run.frames();
        if link.window.get().is_some() {
            return frames.iter().take_while(|frame| self.send_shared(frame)).count();
        }
        if link.phase.get() != Phase::Open
            || link.queue_within_limit(link.worker.limits.shared_bytes, run.bytes().clone(), frames.len())
        {
            return frames.len();
        }
        link.start_stall_timer();
        0
    }
}

impl Link {
    /// Writes a frame to the socket if nothing is queued, and returns the number of written bytes. Fewer bytes than the
    /// frame has are written if the socket is not ready or is broken. The connection's task later detects a broken
    /// socket.
    fn write_immediately(&self, bytes: &Bytes) -> usize {
        if !self.outbox.borrow().is_empty() {
            return 0;
        }
        let written =
            self.with_socket(|socket| socket.try_write(bytes)).and_then(|written| written).unwrap_or(0);
        self.worker.counters.bytes_out.add(written);
        written
    }

    /// Queues a shared frame. An immediate frame is written first, and only its remaining part is queued. Returns
    /// false, and sends nothing, if too much is queued.
    fn write_or_queue(&self, frame: &Frame, bytes: &Bytes) -> bool {
        let written = if frame.immediate { self.write_immediately(bytes) } else { 0 };
        if written == 0 {
            return self.queue_within_limit(self.worker.limits.shared_bytes, bytes.clone(), 1);
        }
        self.worker.counters.messages_out.add(1);
        if written < bytes.len() {
            self.queue(bytes.clone());
            self.drain_wanted.set(true);
            // The outbox must record that the frame was partly written, because the rest of such a frame must not be
            // dropped.
            self.outbox.borrow_mut().advance(written);
            self.worker.counters.outbox_bytes.subtract(written);
        }
        true
    }

    /// The compressed copy of a frame; `None` if compression was not negotiated or does not save enough.
    fn compressed(&self, frame: &Frame) -> Option<Bytes> {
        let window = self.window.get()?;
        let is_worth_it = frame.is_worth_compressing() && window.covers(frame.payload_bytes());
        is_worth_it.then(|| self.worker.compressed(frame)).flatten()
    }

    /// Counts a frame that was sent compressed to this many bytes. Always returns true, for use behind `&&`.
    fn count_compressed(&self, frame: &Frame, compressed_bytes: usize) -> bool {
        let counters = &self.worker.counters;
        counters.compressed_out.add(1);
        counters.saved_bytes.add(frame.len() - compressed_bytes);
        true
    }

    /// Queues the bytes of this many messages. Returns false, and queues nothing, if the outbox would exceed `limit`.
    fn queue_within_limit(&self, limit: usize, bytes: Bytes, messages: usize) -> bool {
        let queued = self.outbox.borrow().bytes() + bytes.len();
        if queued > limit {
            return false;
        }
        if queued >= self.worker.limits.low_water_bytes {
            self.drain_wanted.set(true);
        }
        self.worker.counters.messages_out.add(messages);
        self.queue(bytes);
        true
    }
}
