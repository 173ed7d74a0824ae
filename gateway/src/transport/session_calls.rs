//! The calls to a session that the tasks of sockets and of polling sessions have in common. A call is made only by the
//! task that owns the session.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use super::{
    Session,
    bucket::{FrameVerdict, TokenBucket},
    drain,
    frame::close_code,
    kind::TransportKind,
    packet::{EnginePacket, InvalidEnginePacket},
    worker::{Link, Phase},
};

/// Counts a frame against the peer's limit. Above the limit, reading is paused so that TCP slows the peer down. A peer
/// that stays above the limit is closed.
pub(super) fn count_frame(link: &Link, frame_bucket: &mut TokenBucket) {
    let Some(limits) = link.worker.limits.frames.filter(|_| link.phase.get() == Phase::Open) else { return };
    match frame_bucket.take_token(&limits, link.worker.current_tick()) {
        FrameVerdict::Continue => {}
        FrameVerdict::PauseUntil(until) => {
            link.worker.counters.frame_rate_holds.add(1);
            link.pause_until(until);
        }
        FrameVerdict::Abused => {
            link.worker.counters.frame_rate_closes.add(1);
            // The peer sends too much, so its further input is not decoded.
            link.begin_close(Phase::Discarding, close_code::RATE_LIMITED, "too many frames");
        }
    }
}

/// Passes a due deadline and a drain notice to the session.
pub(super) fn notify_timers<S: Session>(link: &Link, session: &mut Option<S>) {
    let Some(session) = session else { return };
    if link.deadline_due.replace(false) && link.phase.get() == Phase::Open {
        session.on_deadline();
    }
    drain::notify_drain(link, session);
}

/// Passes an Engine.IO packet of the peer to the session of an open connection.
pub(super) fn handle_packet<S: Session>(
    link: &Link,
    session: &mut S,
    packet: Result<EnginePacket<'_>, InvalidEnginePacket>,
) {
    match packet {
        Ok(EnginePacket::Message(text)) => {
            link.worker.counters.messages_in.add(1);
            session.on_text(text);
        }
        Ok(EnginePacket::Binary(bytes)) => {
            link.worker.counters.messages_in.add(1);
            session.on_binary(bytes);
        }
        Ok(EnginePacket::Pong | EnginePacket::Upgrade | EnginePacket::Noop) => {}
        Ok(EnginePacket::Close) => {
            // A polling peer gets the last answer on its waiting or next poll. A socket gets a close frame.
            let is_polling = link.kind.get() == TransportKind::EnginePolling;
            let phase = if is_polling { Phase::Ended } else { Phase::Closing };
            link.begin_close(phase, close_code::NO_CODE, "");
        }
        Err(InvalidEnginePacket) => {
            link.begin_close(Phase::Discarding, close_code::PROTOCOL_ERROR, "invalid Engine.IO packet");
        }
    }
}

/// Calls `on_closed`, if it was not called yet.
pub(super) fn notify_closed<S: Session>(link: &Link, session: &mut Option<S>) {
    if let Some(mut session) = session.take() {
        session.on_closed(link.close_code.get());
    }
}

/// Ends every connection, also one whose session panicked or whose worker is shut down. Must be called when the
/// connection's task is dropped.
pub(super) fn end_connection<S: Session>(link: &Rc<Link>, session: &mut Option<S>) {
    link.waker.take();
    if link.phase.get() == Phase::Open {
        link.phase.set(Phase::Ended);
        if std::thread::panicking() {
            link.close_code.set(close_code::INTERNAL);
        }
    }
    link.drop_outbox();
    link.worker.remove_link(link.key, link.close_code.get());
    // A second panic while the first one unwinds would abort the process.
    let result = catch_unwind(AssertUnwindSafe(|| notify_closed(link, session)));
    if result.is_err() {
        tracing::error!(connection = link.id, "a session panicked while it was closed");
    }
    link.set_socket(None);
}
