//! A session's frames on their way out: compressed where that was agreed on, written at once where nothing else waits,
//! else queued within the bound.

use bytes::Bytes;
use tidings_shared::sabotage::{self, Sabotage};

use super::{Link, Phase};
use crate::transport::frame::Frame;

impl Link {
    pub(in crate::transport) fn send(&self, frame: Frame) {
        if self.phase.get() == Phase::Open && !self.send_compressed(&frame) {
            self.offer(frame.into_bytes());
        }
    }

    /// Writes a frame that is alone to a socket for which nothing waits. Returns how much it took: less than all, and
    /// nothing, when it is not ready or broken, which the task then finds.
    fn write_alone(&self, bytes: &Bytes) -> usize {
        if !self.outbox.borrow().is_empty() {
            return 0;
        }
        let written =
            self.with_socket(|socket| socket.try_write(bytes)).and_then(|written| written).unwrap_or(0);
        self.worker.counters.bytes_out.add(written);
        written
    }

    pub(in crate::transport) fn send_shared(&self, frame: &Frame) {
        if self.phase.get() == Phase::Open && !self.send_compressed(frame) {
            self.offer_shared(frame, frame.bytes());
        }
    }

    /// Queues a frame, or what is left of it once it was written alone.
    fn offer_shared(&self, frame: &Frame, bytes: &Bytes) {
        let written = if frame.is_alone() { self.write_alone(bytes) } else { 0 };
        if written == 0 {
            self.offer(bytes.clone());
            return;
        }
        self.worker.counters.messages_out.add(1);
        if written < bytes.len() {
            self.queue(bytes.clone());
            self.drain_wanted.set(true);
            // Written in part, as the outbox has to know: the rest of a begun frame is never dropped.
            self.outbox.borrow_mut().advance(written);
            self.worker.counters.outbox_bytes.take(written);
        }
    }

    /// Sends a frame compressed, where that was agreed on and it is worth it.
    fn send_compressed(&self, frame: &Frame) -> bool {
        let Some(window) = self.window.get() else { return false };
        if !frame.is_worth_compressing() || !window.holds(frame.payload_bytes()) {
            return false;
        }
        let Some(compressed) = self.worker.compressed(frame) else { return false };
        let counters = &self.worker.counters;
        counters.compressed_out.add(1);
        counters.saved_bytes.add(frame.len() - compressed.len());
        self.offer_shared(frame, &compressed);
        true
    }

    /// Bytes that would be queued with so many more.
    pub(super) fn queued_with(&self, more: usize) -> usize {
        if sabotage::is(Sabotage::Bounded) { 0 } else { self.outbox.borrow().bytes() + more }
    }

    /// Queues a session's frame unless the outbox is over its bound.
    fn offer(&self, bytes: Bytes) {
        let limits = &self.worker.limits;
        let queued = self.queued_with(bytes.len());
        if queued > limits.outbox_bytes {
            self.close_slow();
            return;
        }
        if queued >= limits.low_water_bytes {
            self.drain_wanted.set(true);
        }
        self.worker.counters.messages_out.add(1);
        self.queue(bytes);
    }
}
