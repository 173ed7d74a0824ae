//! Sends a session's frames, compressed if compression was negotiated. An immediate frame is written at once if nothing
//! is queued. All other frames are queued within the outbox limit.

use bytes::Bytes;

use super::{Link, Phase};
use crate::transport::frame::{Frame, FrameRun};

impl Link {
    /// Queues a frame: see [`Connection::send`](crate::transport::Connection::send).
    pub fn send(&self, frame: Frame) {
        if self.phase.get() == Phase::Open && !self.send_compressed(&frame) {
            self.queue_within_limit(frame.into_bytes(), 1);
        }
    }

    /// Queues the frames of a run: see [`Connection::send_run`](crate::transport::Connection::send_run).
    pub fn send_run(&self, run: &FrameRun) {
        if self.window.get().is_some() {
            run.frames().iter().for_each(|frame| self.send_shared(frame));
        } else if self.phase.get() == Phase::Open {
            self.queue_within_limit(run.bytes().clone(), run.frames().len());
        }
    }

    /// Writes a frame to the socket if nothing is queued, and returns the number of written bytes. Fewer bytes than the
    /// frame has are written if the socket is not ready or is broken, which the connection's task then detects.
    fn write_immediately(&self, bytes: &Bytes) -> usize {
        if !self.outbox.borrow().is_empty() {
            return 0;
        }
        let written =
            self.with_socket(|socket| socket.try_write(bytes)).and_then(|written| written).unwrap_or(0);
        self.worker.counters.bytes_out.add(written);
        written
    }

    /// Sends a frame that other connections also get: see
    /// [`Connection::send_shared`](crate::transport::Connection::send_shared).
    pub fn send_shared(&self, frame: &Frame) {
        if self.phase.get() == Phase::Open && !self.send_compressed(frame) {
            self.write_or_queue(frame, &frame.bytes);
        }
    }

    /// Queues a frame, or after an immediate write the part of the frame that was not written.
    fn write_or_queue(&self, frame: &Frame, bytes: &Bytes) {
        let written = if frame.immediate { self.write_immediately(bytes) } else { 0 };
        if written == 0 {
            self.queue_within_limit(bytes.clone(), 1);
            return;
        }
        self.worker.counters.messages_out.add(1);
        if written < bytes.len() {
            self.queue(bytes.clone());
            self.drain_wanted.set(true);
            // The outbox must record that the frame was begun, because the rest of a begun frame must never be dropped.
            self.outbox.borrow_mut().advance(written);
            self.worker.counters.outbox_bytes.subtract(written);
        }
    }

    /// Sends a frame compressed, if that was negotiated and saves enough. Returns false if nothing was sent.
    fn send_compressed(&self, frame: &Frame) -> bool {
        let Some(window) = self.window.get() else { return false };
        if !frame.is_worth_compressing() || !window.covers(frame.payload_bytes()) {
            return false;
        }
        let Some(compressed) = self.worker.compressed(frame) else { return false };
        let counters = &self.worker.counters;
        counters.compressed_out.add(1);
        counters.saved_bytes.add(frame.len() - compressed.len());
        self.write_or_queue(frame, &compressed);
        true
    }

    /// The size of the outbox in bytes if `more` bytes were queued.
    pub(super) fn queued_with(&self, more: usize) -> usize {
        self.outbox.borrow().bytes() + more
    }

    /// Queues the bytes of this many messages, unless the outbox would exceed its limit.
    fn queue_within_limit(&self, bytes: Bytes, messages: usize) {
        let limits = &self.worker.limits;
        let queued = self.queued_with(bytes.len());
        if queued > limits.outbox_bytes {
            self.close_slow();
            return;
        }
        if queued >= limits.low_water_bytes {
            self.drain_wanted.set(true);
        }
        self.worker.counters.messages_out.add(messages);
        self.queue(bytes);
    }
}
