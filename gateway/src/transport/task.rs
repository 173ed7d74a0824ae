//! The future of one connection: reads, calls the session, writes, closes. Only this task and `connection`, which
//! writes immediate frames, touch an upgraded socket. The task is kept small, because most of the many connections are
//! idle.

use std::{
    future::Future,
    io::{self, IoSlice},
    mem,
    ops::ControlFlow,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    Session,
    bucket::TokenBucket,
    decoder::{Decoder, DecoderRules, Event},
    frame::{Frame, close_code},
    inflate::TOO_BIG_INFLATED,
    packet,
    session_calls::{count_frame, end_connection, handle_packet, notify_closed, notify_timers},
    worker::{Link, Phase},
};

const MAX_READS_PER_POLL: usize = 4;
/// Maximum number of times that one poll of the task writes and lets the session queue more frames, before other tasks
/// run.
const MAX_REFILLS_PER_POLL: usize = 4;
const MAX_SLICES_PER_WRITE: usize = 64;

/// The future of one open WebSocket. Dropping it ends the connection and calls `on_closed`, if that was not called yet.
pub(super) struct ConnectionTask<S: Session> {
    link: Rc<Link>,
    decoder: Decoder,
    /// Bytes that were read but not decoded yet, because they followed the handshake or reading was paused.
    unread: Vec<u8>,
    frame_bucket: TokenBucket,
    /// `None` until the server sets it before the first poll, and after `on_closed` was called.
    pub session: Option<S>,
    peer_ended: bool,
    write_closed: bool,
}

impl<S: Session> ConnectionTask<S> {
    /// Moves the socket into the link. `unread` holds the bytes that followed the handshake.
    pub(super) fn new(socket: TcpStream, link: Rc<Link>, unread: Vec<u8>) -> Self {
        link.set_socket(Some(socket));
        ConnectionTask {
            link,
            decoder: Decoder::default(),
            unread,
            frame_bucket: TokenBucket::default(),
            session: None,
            peer_ended: false,
            write_closed: false,
        }
    }

    /// Reads once, and passes the messages to the session. Returns `Ready` if more bytes may be available at once.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() && !self.is_paused() {
            let mut unread = mem::take(&mut self.unread);
            let used = self.handle_chunk(&mut unread);
            if used < unread.len() && self.is_paused() {
                unread.drain(..used);
                unread.shrink_to_fit();
                self.unread = unread;
            }
            return Poll::Ready(Ok(()));
        }
        if self.is_paused() || self.peer_ended {
            return Poll::Pending;
        }
        let worker = Rc::clone(&self.link.worker);
        worker.with_read_buffer(|buffer| {
            let mut read = ReadBuf::new(buffer);
            match self.link.with_socket(|socket| Pin::new(socket).poll_read(cx, &mut read))? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            // The end of the stream is a sign of life too.
            self.link.last_received.set(self.link.worker.current_tick());
            let chunk = read.filled_mut();
            if chunk.is_empty() {
                self.peer_ended = true;
                return Poll::Pending;
            }
            self.link.worker.counters.bytes_in.add(chunk.len());
            let used = self.handle_chunk(chunk);
            if self.is_paused() {
                self.unread = chunk[used..].to_vec();
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Whether reading is paused, by the session or because of too many frames. A closing connection reads on,
    /// because the peer's close frame may be next.
    fn is_paused(&self) -> bool {
        self.link.is_read_paused() && self.link.phase.get() == Phase::Open
    }

    /// Decodes a chunk, and passes its messages to the session. Returns the number of used bytes, which is less than
    /// all if reading was paused or the connection has ended.
    fn handle_chunk(&mut self, chunk: &mut [u8]) -> usize {
        if matches!(self.link.phase.get(), Phase::Ended | Phase::Discarding) {
            return chunk.len();
        }
        let link = &self.link;
        let session = &mut self.session;
        let frame_bucket = &mut self.frame_bucket;
        let counters = &link.worker.counters;
        let is_engine = link.kind.get().is_engine();
        let rules = link.worker.limits.rules;
        let accept_binary = rules.accept_binary || is_engine;
        let rules = DecoderRules { deflate: link.window.get().is_some(), accept_binary, ..rules };
        // The phase is checked at each message, because an earlier message may have closed the connection.
        let wanted = || link.phase.get() == Phase::Open;
        let on_event = |event: Event<'_>| {
            count_frame(link, frame_bucket);
            match (event, session.as_mut(), link.phase.get()) {
                (Event::Close(code), _, Phase::Open) => {
                    let code = code.unwrap_or(close_code::NO_CODE);
                    link.begin_close(Phase::Ended, code, "");
                }
                (Event::Close(_), _, _) => link.phase.set(Phase::Ended),
                (Event::Text(text), Some(session), Phase::Open) if is_engine => {
                    handle_packet(link, session, packet::decode(text));
                }
                (Event::Text(text), Some(session), Phase::Open) => {
                    counters.messages_in.add(1);
                    session.on_text(text);
                }
                (Event::Binary(bytes), Some(session), Phase::Open) => {
                    counters.messages_in.add(1);
                    session.on_binary(bytes);
                }
                (Event::Ping(payload), _, Phase::Open) => link.queue_control(Frame::pong(payload)),
                _ => {}
            }
            match link.phase.get() {
                Phase::Open if link.is_read_paused() => ControlFlow::Break(()),
                Phase::Ended | Phase::Discarding => ControlFlow::Break(()),
                Phase::Open | Phase::Closing => ControlFlow::Continue(()),
            }
        };
        let decoder = &mut self.decoder;
        match link.worker.with_inflater(|inflater| decoder.decode(rules, inflater, &wanted, chunk, on_event))
        {
            Ok(used) => used,
            Err(violation) => {
                counters.inflate_limit_closes.add(usize::from(violation == TOO_BIG_INFLATED));
                link.begin_close(Phase::Discarding, violation.code, violation.reason);
                link.phase.set(Phase::Discarding);
                chunk.len()
            }
        }
    }

    fn write_outbox(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut outbox = self.link.outbox.borrow_mut();
        while !outbox.is_empty() {
            let polled = self.link.with_socket(|socket| {
                if let Some(frame) = outbox.only_frame() {
                    // A plain write costs the kernel a few percent less than a vectored one.
                    return Pin::new(socket).poll_write(cx, frame);
                }
                let mut slices = [IoSlice::new(&[]); MAX_SLICES_PER_WRITE];
                let filled = outbox.fill_slices(&mut slices);
                Pin::new(socket).poll_write_vectored(cx, &slices[..filled])
            })?;
            let written = match polled {
                Poll::Pending => break,
                Poll::Ready(written) => written?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            outbox.advance(written);
            self.link.restart_stall_timer();
            let counters = &self.link.worker.counters;
            counters.bytes_out.add(written);
            counters.outbox_bytes.subtract(written);
        }
        Ok(())
    }

    /// Writes the queued frames, and lets the session queue more frames while the outbox is low.
    fn write_and_refill(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        for _ in 0..MAX_REFILLS_PER_POLL {
            self.write_outbox(cx)?;
            let low = self.link.outbox.borrow().bytes() < self.link.worker.limits.low_water_bytes;
            if low {
                self.link.stop_stall_timer();
            }
            if !low || self.link.phase.get() != Phase::Open || !self.link.drain_wanted.replace(false) {
                return Ok(());
            }
            if let Some(session) = &mut self.session {
                session.on_drained();
            }
        }
        // The task wakes itself, and continues in the next poll.
        self.link.awake.set(true);
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn run_once(&mut self, cx: &mut Context<'_>) -> io::Result<ControlFlow<()>> {
        notify_timers(&self.link, &mut self.session);
        let mut reads = 0;
        loop {
            let read = self.poll_read(cx);
            self.write_and_refill(cx)?;
            match read {
                Poll::Pending => break,
                Poll::Ready(result) => result?,
            }
            reads += 1;
            if reads == MAX_READS_PER_POLL {
                self.link.awake.set(true);
                cx.waker().wake_by_ref();
                break;
            }
        }
        if self.peer_ended && self.link.phase.get() == Phase::Open {
            return Ok(ControlFlow::Break(()));
        }
        if self.link.phase.get() != Phase::Open {
            notify_closed(&self.link, &mut self.session);
            if self.link.outbox.borrow().is_empty() {
                let phase = self.link.phase.get();
                if self.peer_ended || phase == Phase::Ended {
                    return Ok(ControlFlow::Break(()));
                }
                if phase == Phase::Discarding && !self.write_closed {
                    let write_closed = self.link.with_socket(|socket| Pin::new(socket).poll_shutdown(cx))?;
                    self.write_closed = write_closed?.is_ready();
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl<S: Session> Unpin for ConnectionTask<S> {}

impl<S: Session> Future for ConnectionTask<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.link.awake.set(false);
        this.link.set_waker(cx.waker());
        if this.link.aborted.get() {
            return Poll::Ready(());
        }
        match this.run_once(cx) {
            Ok(ControlFlow::Continue(())) => Poll::Pending,
            // The clean-up is the same in both cases: see `end_connection`.
            Ok(ControlFlow::Break(())) | Err(_) => Poll::Ready(()),
        }
    }
}

impl<S: Session> Drop for ConnectionTask<S> {
    fn drop(&mut self) {
        end_connection(&self.link, &mut self.session);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A session of the size of a chat session: two pointers.
    struct TwoPointerSession(#[allow(dead_code, reason = "only its size counts")] [usize; 2]);

    impl Session for TwoPointerSession {
        fn on_text(&mut self, _: &str) {}
        fn on_drained(&mut self) {}
        fn on_deadline(&mut self) {}
        fn on_draining(&mut self, _: Duration) {}
        fn on_overstayed(&mut self) {}
        fn on_closed(&mut self, _: u16) {}
    }

    #[test]
    fn task_stays_within_its_size_class() {
        // Tokio adds about 100 bytes and aligns to 128 bytes, so a larger task would use 128 bytes more.
        let task_bytes = size_of::<ConnectionTask<TwoPointerSession>>();
        assert!(task_bytes <= 128, "{task_bytes}");
    }
}
