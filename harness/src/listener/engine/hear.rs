//! Handles input: passes frames to the recorders and the outbox, and pages to the fills.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Engine, Wanted};
use crate::clock;
use crate::frames::{Cursor, Draining, ErrorFrame, Head, ServerFrame};
use crate::history::{AckOutcome, Event, What};
use crate::http::EventsPage;
use crate::listener::fetch::{self, Fetched};
use crate::listener::{lock, outbox};
use crate::recorder::{Fill, Held, Recorder};

const DEFAULT_REJOIN: Duration = Duration::from_millis(200);

impl Engine {
    pub(super) async fn hear(&mut self, text: &str) {
        self.alive();
        let Ok(frame) = ServerFrame::parse(text) else {
            self.broken(format!("not JSON: {text}"));
            return;
        };
        let reference = reference(text);
        if !reference.is_empty() && !self.line.as_mut().is_some_and(|line| line.unanswered.remove(&reference))
        {
            self.broken(format!("an answer nobody waits for: {text}"));
        }
        match frame {
            ServerFrame::Joined(joined) => {
                for room in &joined.rooms {
                    self.note(&room.room, What::Joined(room.head.clone()));
                    self.record(&room.room, |recorder| recorder.joined(room));
                }
            }
            ServerFrame::CaughtUp(caught_up) => {
                self.online_since.get_or_insert_with(clock::now);
                let cursor = Cursor { epoch: caught_up.epoch.clone(), seq: caught_up.seq };
                self.note(&caught_up.room, What::CaughtUp(cursor));
                self.record(&caught_up.room.clone(), |recorder| recorder.caught_up(caught_up));
            }
            ServerFrame::Gap(gap) => {
                let room = gap.room.clone();
                self.note(&room, What::Gap { after: gap.after, head: gap.head.clone() });
                let (fill, new_epoch) = self.record(&room, |recorder| recorder.gap(gap)).unwrap_or_default();
                if let Some(fill) = fill {
                    self.fetch(&room, Wanted::Page(fill), Duration::ZERO);
                }
                if new_epoch {
                    self.outboxes.repeat_in(&room);
                }
            }
            ServerFrame::Ack(ack) => {
                if let Some(client_id) = outbox::client_id_of(&reference) {
                    let (seq, id) = (ack.seq, ack.id.clone().unwrap_or_default());
                    let answer = match ack.stage.as_str() {
                        "stored" => AckOutcome::Stored { seq, id },
                        _ => AckOutcome::Accepted { epoch: ack.epoch.clone(), seq, id },
                    };
                    self.answered(&ack.room.clone(), client_id, answer);
                    self.outboxes.acked(client_id, ack);
                }
            }
            ServerFrame::Error(error) => self.refused(&reference, &error),
            ServerFrame::Draining(Draining { reconnect_after_ms }) => {
                self.draining = Some(Instant::now() + Duration::from_millis(reconnect_after_ms));
            }
            frame => {
                if let Some((room, _)) = frame.place() {
                    let room = room.to_owned();
                    if let Some(event) = Event::of(&frame).filter(|_| self.observers.history.is_some()) {
                        self.note(&room, What::Event(Arc::new(event)));
                    }
                    self.record(&room, |recorder| recorder.event(frame));
                }
            }
        }
    }

    fn refused(&mut self, reference: &str, error: &ErrorFrame) {
        if error.code == "internal" {
            self.unsound(format!("{reference} was answered {error:?}"));
        }
        lock(&self.shared.state).errors.push(format!("{reference}: {} {}", error.code, error.message));
        if let Some(client_id) = outbox::client_id_of(reference) {
            let room = self.outboxes.room_of(client_id).unwrap_or_default().to_owned();
            let finally = !outbox::is_passing(&error.code);
            self.answered(&room, client_id, AckOutcome::Refused { code: error.code.clone(), finally });
            self.outboxes.refused(client_id, error);
        } else if let Some(name) = reference.strip_prefix("j:") {
            let pause = error.retry_after_ms.map_or(DEFAULT_REJOIN, Duration::from_millis);
            match self.rooms.get_mut(name) {
                Some(room) if outbox::is_passing(&error.code) => {
                    room.rejoin_at = Some(Instant::now() + pause)
                }
                _ => self.give_up(format!("join of {name}: {} {}", error.code, error.message)),
            }
        } else {
            self.broken(format!("an error out of nowhere: {error:?}"));
        }
    }

    pub(super) async fn fetched(&mut self, name: &str, wanted: Wanted, fetched: Fetched) {
        let fetched = match fetched {
            Fetched::Unsound(why) => {
                self.unsound(format!("{name} was read over HTTP, and the answer was {why}"));
                Fetched::Later(fetch::RETRY)
            }
            fetched => fetched,
        };
        match (wanted, fetched) {
            (wanted, Fetched::Later(pause)) => {
                let worth = match &wanted {
                    Wanted::Latest => self.line.is_some(),
                    Wanted::Page(fill) => self.record(name, |recorder| recorder.wants(fill)).unwrap_or(false),
                };
                if worth {
                    self.fetch(name, wanted, pause);
                }
            }
            (Wanted::Latest, Fetched::Loaded(page)) => {
                let load = |recorder: &mut Recorder| {
                    let first = recorder.cursor().is_none();
                    if first {
                        recorder.load(&page);
                    }
                    first
                };
                // The page that an earlier connection requested may have come first.
                if self.load(name, load) {
                    self.join(name).await;
                }
            }
            (Wanted::Page(fill), Fetched::Page(page)) => {
                self.note_page(name, &fill, &page);
                let next = self.record(name, |recorder| recorder.page(&fill, page)).flatten();
                if let Some(next) = next {
                    self.fetch(name, Wanted::Page(next), Duration::ZERO);
                }
            }
            (Wanted::Page(fill), Fetched::Stale) => {
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
            (_, Fetched::Failed(why)) => self.give_up(format!("read {name} over HTTP: {why}")),
            (_, Fetched::Stale | Fetched::Loaded(_) | Fetched::Page(_) | Fetched::Unsound(_)) => {
                self.broken(format!("{name}: an answer to another question"));
            }
        }
    }

    /// Records an internal error that the server reported.
    pub(super) fn unsound(&self, what: String) {
        lock(&self.shared.state).unsound.push(what);
    }

    fn answered(&self, room: &str, client_id: &str, answer: AckOutcome) {
        self.note(room, What::Answered { client_id: client_id.to_owned(), answer });
    }

    fn note_page(&mut self, name: &str, fill: &Fill, page: &EventsPage) {
        let wanted = self.rooms.get(name).is_some_and(|room| lock(&room.recorder).wants(fill));
        if self.observers.history.is_none() || !wanted {
            return;
        }
        let events = page.frames().iter().filter_map(Event::of).map(Arc::new).collect();
        let (after, upto, next) = (fill.after, fill.upto, page.next.seq);
        self.note(name, What::Page { after, upto, next, events });
    }

    /// Like [`Engine::record`], but for old messages, whose latency is not reported.
    fn load(&mut self, name: &str, load: impl FnOnce(&mut Recorder) -> bool) -> bool {
        self.rooms.get(name).is_some_and(|room| load(&mut lock(&room.recorder)))
    }

    /// Calls a room's recorder, and reports the latency of each new message.
    fn record<T>(&mut self, name: &str, act: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
        let Some(room) = self.rooms.get(name) else {
            self.broken(format!("frames of {name}, which was never joined"));
            return None;
        };
        let mut recorder = lock(&room.recorder);
        let before = recorder.held().len();
        let outcome = act(&mut recorder);
        if let (Some(on_latency), Some(since)) = (&self.observers.on_latency, self.online_since) {
            let now = clock::now();
            for held in recorder.held().iter().skip(before) {
                if let Held::Message(message) = held
                    && let Some(made_at) = clock::made_at(&message.client_id).filter(|at| *at >= since)
                {
                    on_latency(now.saturating_sub(made_at));
                }
            }
        }
        Some(outcome)
    }
}

/// The ref of a frame; empty when it has none.
pub(super) fn reference(frame: &str) -> String {
    let head = serde_json::from_str::<Head>(frame).ok();
    head.and_then(|head| head.reference).map(std::borrow::Cow::into_owned).unwrap_or_default()
}
