//! The future of a polling session: takes the packets of POSTs, calls the session, answers polls, closes. It is the
//! counterpart of a socket's task, and ends when the session moves to a WebSocket.

use std::{
    future::Future,
    ops::ControlFlow,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::task::spawn_local;

use super::{
    body,
    error::EngineError,
    sessions::{PendingPost, PollingSession, SessionTable},
    workers::EngineAnswer,
};
use crate::transport::{
    Session,
    bucket::TokenBucket,
    frame::close_code,
    kind::TransportKind,
    packet::{self, EnginePacket, NOOP},
    session_calls::{count_frame, end_connection, handle_packet, notify_closed, notify_timers},
    task::ConnectionTask,
    worker::{Link, Phase},
};

/// Dropping the task ends the connection, unless the task of the WebSocket has taken it over.
pub(super) struct PollingTask<S: Session> {
    polling: Rc<PollingSession>,
    link: Rc<Link>,
    table: Rc<SessionTable>,
    max_payload: usize,
    frame_bucket: TokenBucket,
    /// `None` until the caller of [`PollingTask::new`] sets it, and after `on_closed` was called or the session moved.
    pub session: Option<S>,
    has_moved: bool,
}

impl<S: Session> PollingTask<S> {
    /// Adds the session to the table of its worker.
    pub(super) fn new(polling: PollingSession, table: Rc<SessionTable>, max_payload: usize) -> Self {
        let link = Rc::clone(&polling.link);
        let polling = Rc::new(polling);
        table.borrow_mut().insert(link.id, Rc::clone(&polling));
        let frame_bucket = TokenBucket::default();
        PollingTask { polling, link, table, max_payload, frame_bucket, session: None, has_moved: false }
    }

    /// Removes queued frames from the outbox, and returns them as the body of an answer.
    pub(super) fn take_body(&self) -> Vec<u8> {
        let mut outbox = self.link.outbox.borrow_mut();
        let before = outbox.bytes();
        let body = body::take_packets(&mut outbox, self.max_payload);
        let counters = &self.link.worker.counters;
        counters.outbox_bytes.subtract(before - outbox.bytes());
        counters.bytes_out.add(body.len());
        self.link.restart_stall_timer();
        body
    }

    /// Takes the packets of a waiting POST, until reading is paused.
    fn take_post(&mut self) {
        let Some(mut post) = self.polling.post.take() else { return };
        let mut buffer = Vec::new();
        while self.link.phase.get() == Phase::Open {
            if self.link.is_read_paused() {
                self.polling.post.replace(Some(post));
                return;
            }
            let (Some(bytes), Some(session)) = (post.packets.take_next(), &mut self.session) else { break };
            count_frame(&self.link, &mut self.frame_bucket);
            if self.link.phase.get() != Phase::Open {
                break;
            }
            self.polling.record_packet();
            buffer.clear();
            let packet = packet::decode_polled(&bytes, &mut buffer);
            let message_bytes = match &packet {
                Ok(EnginePacket::Message(text)) => text.len(),
                Ok(EnginePacket::Binary(bytes)) => bytes.len(),
                _ => 0,
            };
            if message_bytes > self.link.worker.limits.rules.max_message_bytes {
                self.link.begin_close(Phase::Discarding, close_code::TOO_BIG, "message too big");
                break;
            }
            handle_packet(&self.link, session, packet);
        }
        let PendingPost { answer, .. } = post;
        // Packets behind the client's close packet are dropped.
        let is_taken = self.link.phase.get() != Phase::Discarding;
        let failed = EngineAnswer::Failed(EngineError::BadRequest);
        // Sending fails if the client has cancelled the POST. It needs no answer then.
        let _ = answer.send(if is_taken { EngineAnswer::Taken } else { failed });
    }

    /// Answers a waiting poll, if there is something to send or the session ends.
    fn answer_poll(&self) {
        if self.polling.poll.borrow().is_none() {
            return;
        }
        let body = if self.link.phase.get() == Phase::Ended {
            // The client has closed, so it wants no more packets.
            self.link.drop_outbox();
            vec![NOOP]
        } else if !self.link.outbox.borrow().is_empty() {
            self.take_body()
        } else if self.polling.must_answer_poll() {
            vec![NOOP]
        } else {
            return;
        };
        if let Some(poll) = self.polling.poll.take()
            && poll.send(EngineAnswer::Packets(body)).is_err()
        {
            // The poll was cancelled after its packets left the outbox. They are lost, so the session must end, also if
            // it was already closing.
            self.link.begin_close(Phase::Discarding, close_code::ABNORMAL, "");
            self.link.phase.set(Phase::Discarding);
        }
    }

    /// Answers a waiting poll, and lets the session queue more frames if the outbox is low.
    fn answer_and_refill(&mut self) {
        self.answer_poll();
        if self.link.outbox.borrow().bytes() >= self.link.worker.limits.low_water_bytes {
            return;
        }
        self.link.stop_stall_timer();
        if self.link.phase.get() == Phase::Open
            && self.link.drain_wanted.replace(false)
            && let Some(session) = &mut self.session
        {
            session.on_drained();
            self.answer_poll();
        }
    }

    /// Closes the session if its client has cancelled a waiting poll, because the client would miss packets.
    fn close_if_cancelled(&self, cx: &mut Context<'_>) {
        let mut poll = self.polling.poll.borrow_mut();
        let is_cancelled = poll.as_mut().is_some_and(|poll| poll.poll_closed(cx).is_ready());
        if is_cancelled {
            *poll = None;
            drop(poll);
            self.link.begin_close(Phase::Discarding, close_code::ABNORMAL, "");
        }
    }

    /// Moves the session to the task of its WebSocket after the client has completed the upgrade. Keeps the order of
    /// messages: the session first takes all packets that the client posted before.
    fn move_if_upgraded(&mut self) -> ControlFlow<()> {
        if self.link.phase.get() != Phase::Open {
            self.polling.upgraded.take();
        }
        if self.polling.post.borrow().is_some() {
            return ControlFlow::Continue(());
        }
        let Some(upgraded) = self.polling.upgraded.take() else { return ControlFlow::Continue(()) };
        let counters = &self.link.worker.counters;
        counters.engine_upgrades.add(1);
        counters.engine_polling.subtract(1);
        counters.engine_websocket.add(1);
        self.link.kind.set(TransportKind::EngineWebSocket);
        self.link.window.set(upgraded.window);
        self.link.last_received.set(self.link.worker.current_tick());
        let mut task = ConnectionTask::new(upgraded.socket, Rc::clone(&self.link), upgraded.unread);
        task.session = self.session.take();
        self.has_moved = true;
        // Suppresses a wake-up of this task. The spawned task runs anyway, and sets its own waker.
        self.link.awake.set(true);
        spawn_local(task);
        ControlFlow::Break(())
    }

    fn run_once(&mut self, cx: &mut Context<'_>) -> ControlFlow<()> {
        notify_timers(&self.link, &mut self.session);
        self.close_if_cancelled(cx);
        self.take_post();
        self.answer_and_refill();
        self.move_if_upgraded()?;
        match self.link.phase.get() {
            Phase::Open => return ControlFlow::Continue(()),
            // Answers a poll again, because the phase may have changed after `answer_and_refill`. Queued packets are
            // dropped.
            Phase::Discarding => {
                self.answer_poll();
                return ControlFlow::Break(());
            }
            Phase::Closing | Phase::Ended => {}
        }
        notify_closed(&self.link, &mut self.session);
        self.answer_poll();
        // Waits for a poll that takes the remaining packets, until the close timeout.
        if self.link.outbox.borrow().is_empty() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

impl<S: Session> Unpin for PollingTask<S> {}

impl<S: Session> Future for PollingTask<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.link.awake.set(false);
        self.link.set_waker(cx.waker());
        if self.link.aborted.get() {
            return Poll::Ready(());
        }
        match self.run_once(cx) {
            ControlFlow::Continue(()) => Poll::Pending,
            // The clean-up is in `drop`.
            ControlFlow::Break(()) => Poll::Ready(()),
        }
    }
}

impl<S: Session> Drop for PollingTask<S> {
    fn drop(&mut self) {
        self.table.borrow_mut().remove(&self.link.id);
        if !self.has_moved {
            end_connection(&self.link, &mut self.session);
        }
        self.polling.drop_requests();
    }
}
