//! Handles input: passes frames to the recorders and the outboxes, and pages over HTTP to the recorders.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Engine, FetchTarget};
use crate::clock;
use crate::frames::{Cursor, Draining, ErrorFrame, FrameHead, ServerFrame};
use crate::history::{AckOutcome, EntryKind, Event};
use crate::http::EventsPage;
use crate::listener::fetch::{self, FetchResult};
use crate::listener::{lock, outbox};
use crate::recorder::{Fill, RecordedEvent, Recorder};

const DEFAULT_REJOIN_PAUSE: Duration = Duration::from_millis(200);

impl Engine {
    pub(super) async fn handle_text(&mut self, text: &str) {
        self.mark_alive();
        let Ok(frame) = ServerFrame::parse(text) else {
            self.report_violation(format!("not JSON: {text}"));
            return;
        };
        let reference = reference_of(text);
        if !reference.is_empty()
            && !self.connection.as_mut().is_some_and(|connection| connection.unanswered.remove(&reference))
        {
            self.report_violation(format!("an answer nobody waits for: {text}"));
        }
        match frame {
            ServerFrame::Joined(joined) => {
                for room in &joined.rooms {
                    self.add_entry(&room.room, EntryKind::Joined(room.head.clone()));
                    self.record(&room.room, |recorder| recorder.joined(room));
                }
            }
            ServerFrame::CaughtUp(caught_up) => {
                self.online_since.get_or_insert_with(clock::now);
                let cursor = Cursor { epoch: caught_up.epoch.clone(), seq: caught_up.seq };
                self.add_entry(&caught_up.room, EntryKind::CaughtUp(cursor));
                self.record(&caught_up.room.clone(), |recorder| recorder.caught_up(caught_up));
            }
            ServerFrame::Gap(gap) => {
                // A replay that ends with a gap is not followed by `room:caught_up`.
                self.online_since.get_or_insert_with(clock::now);
                let room = gap.room.clone();
                self.add_entry(&room, EntryKind::Gap { after: gap.after, head: gap.head.clone() });
                let (fill, new_epoch) = self.record(&room, |recorder| recorder.gap(gap)).unwrap_or_default();
                if let Some(fill) = fill {
                    self.fetch(&room, FetchTarget::Page(fill), Duration::ZERO);
                }
                if new_epoch {
                    self.outboxes.resend_in(&room);
                }
            }
            ServerFrame::Ack(ack) => {
                if let Some(client_id) = outbox::client_id_of(&reference) {
                    let (seq, id) = (ack.seq, ack.id.clone().unwrap_or_default());
                    let answer = match ack.stage.as_str() {
                        "stored" => AckOutcome::Stored { seq, id },
                        _ => AckOutcome::Accepted { epoch: ack.epoch.clone(), seq, id },
                    };
                    self.add_answer_entry(&ack.room.clone(), client_id, answer);
                    self.outboxes.handle_ack(client_id, ack);
                }
            }
            ServerFrame::Error(error) => self.handle_error(&reference, &error),
            ServerFrame::Draining(Draining { reconnect_after_ms }) => {
                self.draining = Some(Instant::now() + Duration::from_millis(reconnect_after_ms));
            }
            frame => {
                if let Some((room, _)) = frame.log_position() {
                    let room = room.to_owned();
                    if let Some(event) =
                        Event::from_frame(&frame).filter(|_| self.observers.history.is_some())
                    {
                        self.add_entry(&room, EntryKind::Event(Arc::new(event)));
                    }
                    self.record(&room, |recorder| recorder.event(frame));
                }
            }
        }
    }

    fn handle_error(&mut self, reference: &str, error: &ErrorFrame) {
        if error.code == "internal" {
            self.report_internal_error(format!("{reference} was answered {error:?}"));
        }
        lock(&self.shared.state).errors.push(format!("{reference}: {} {}", error.code, error.message));
        if let Some(client_id) = outbox::client_id_of(reference) {
            let room = self.outboxes.room_of(client_id).unwrap_or_default().to_owned();
            let finally = !outbox::is_temporary(&error.code);
            self.add_answer_entry(
                &room,
                client_id,
                AckOutcome::Refused { code: error.code.clone(), finally },
            );
            self.outboxes.handle_error(client_id, error);
        } else if let Some(name) = reference.strip_prefix("j:") {
            let pause = error.retry_after_ms.map_or(DEFAULT_REJOIN_PAUSE, Duration::from_millis);
            match self.rooms.get_mut(name) {
                Some(room) if outbox::is_temporary(&error.code) => {
                    room.rejoin_at = Some(Instant::now() + pause)
                }
                _ => self.give_up(format!("join of {name}: {} {}", error.code, error.message)),
            }
        } else {
            self.report_violation(format!("an error out of nowhere: {error:?}"));
        }
    }

    pub(super) async fn handle_fetched(&mut self, name: &str, wanted: FetchTarget, fetched: FetchResult) {
        let fetched = match fetched {
            FetchResult::InternalError(why) => {
                self.report_internal_error(format!("{name} was read over HTTP, and the answer was {why}"));
                FetchResult::RetryAfter(fetch::RETRY_PAUSE)
            }
            fetched => fetched,
        };
        match (wanted, fetched) {
            (wanted, FetchResult::RetryAfter(pause)) => {
                let worth = match &wanted {
                    FetchTarget::Latest => self.connection.is_some(),
                    FetchTarget::Page(fill) => {
                        self.record(name, |recorder| recorder.wants(fill)).unwrap_or(false)
                    }
                };
                if worth {
                    self.fetch(name, wanted, pause);
                }
            }
            (FetchTarget::Latest, FetchResult::Loaded(page)) => {
                let load = |recorder: &mut Recorder| {
                    let first = recorder.cursor().is_none();
                    if first {
                        recorder.load(&page);
                    }
                    first
                };
                // The room may be loaded already, by a page that was requested on an earlier connection.
                if self.load_history(name, load) {
                    self.join(name).await;
                }
            }
            (FetchTarget::Page(fill), FetchResult::Page(page)) => {
                self.add_page_entry(name, &fill, &page);
                let next = self.record(name, |recorder| recorder.page(&fill, page)).flatten();
                if let Some(next) = next {
                    self.fetch(name, FetchTarget::Page(next), Duration::ZERO);
                }
            }
            (FetchTarget::Page(fill), FetchResult::Stale) => {
                let abandon = |recorder: &mut Recorder| {
                    let current = recorder.wants(&fill);
                    if current {
                        recorder.abandon_fill();
                    }
                    current
                };
                if self.record(name, abandon).unwrap_or(false) {
                    self.join(name).await;
                }
            }
            (_, FetchResult::Failed(why)) => self.give_up(format!("read {name} over HTTP: {why}")),
            (
                _,
                FetchResult::Stale
                | FetchResult::Loaded(_)
                | FetchResult::Page(_)
                | FetchResult::InternalError(_),
            ) => {
                self.report_violation(format!("{name}: an answer to another question"));
            }
        }
    }

    /// Records an internal error that the server reported.
    pub(super) fn report_internal_error(&self, what: String) {
        lock(&self.shared.state).internal_errors.push(what);
    }

    fn add_answer_entry(&self, room: &str, client_id: &str, answer: AckOutcome) {
        self.add_entry(room, EntryKind::Answered { client_id: client_id.to_owned(), answer });
    }

    fn add_page_entry(&mut self, name: &str, fill: &Fill, page: &EventsPage) {
        let wanted = self.rooms.get(name).is_some_and(|room| lock(&room.recorder).wants(fill));
        if self.observers.history.is_none() || !wanted {
            return;
        }
        let events = page.frames().iter().filter_map(Event::from_frame).map(Arc::new).collect();
        let (after, upto, next) = (fill.after, fill.upto, page.next.seq);
        self.add_entry(name, EntryKind::Page { after, upto, next, events });
    }

    /// Like [`Engine::record`], but reports no latencies, because the messages are old.
    fn load_history(&mut self, name: &str, load: impl FnOnce(&mut Recorder) -> bool) -> bool {
        self.rooms.get(name).is_some_and(|room| load(&mut lock(&room.recorder)))
    }

    /// Calls `act` with a room's recorder, then reports the latency of each message that it added.
    fn record<T>(&mut self, name: &str, act: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
        let Some(room) = self.rooms.get(name) else {
            self.report_violation(format!("frames of {name}, which was never joined"));
            return None;
        };
        let mut recorder = lock(&room.recorder);
        let before = recorder.held().len();
        let outcome = act(&mut recorder);
        if let (Some(on_latency), Some(since)) = (&self.observers.on_latency, self.online_since) {
            let now = clock::now();
            for held in recorder.held().iter().skip(before) {
                if let RecordedEvent::Message(message) = held
                    && let Some(made_at) = clock::made_at(&message.client_id).filter(|at| *at >= since)
                {
                    on_latency(now.saturating_sub(made_at));
                }
            }
        }
        Some(outcome)
    }
}

/// The ref of a frame; empty if the frame has none.
pub(super) fn reference_of(frame: &str) -> String {
    let head = serde_json::from_str::<FrameHead>(frame).ok();
    head.and_then(|head| head.reference).map(std::borrow::Cow::into_owned).unwrap_or_default()
}
