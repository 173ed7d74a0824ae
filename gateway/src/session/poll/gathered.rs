//! What came of a poll: frames sorted into answers and events, and how far each room's cursor has moved. Pure, but
//! for taking frames from the collector.

use std::collections::HashMap;

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{Cursor, RoomId, Seq},
    protocol::server::{Limits, ServerFrame},
};

use super::{super::line::Collector, request::PollRequest};
use crate::hub::Position;

/// The `ref` of the poll's own join: longer than any client's.
pub(super) const JOIN: &str = "join__________________________________________________________________";
const REFERENCE_CHARS: usize = 70;

/// The `ref` under which the command at a place is carried out: longer than any client's.
pub(super) fn reference(place: usize) -> String {
    format!("{place:0>REFERENCE_CHARS$}")
}

/// See the module.
pub(super) struct Gathered {
    events: Vec<Box<RawValue>>,
    answers: Vec<Command>,
    unanswered: usize,
    cursors: HashMap<RoomId, Option<Cursor>>,
    /// Epoch of each joined room: what its next event belongs to.
    epochs: HashMap<RoomId, String>,
    failed: Vec<Box<RawValue>>,
    joined: bool,
    /// Joined rooms that are not yet told to be caught up.
    replaying: FxHashSet<RoomId>,
}

/// A command's own `ref`, and its answer.
type Command = (Option<Box<RawValue>>, Option<Box<RawValue>>);

/// What is to be known of a frame to sort it.
#[derive(Deserialize)]
struct Shape<'a> {
    r#type: &'a str,
    #[serde(rename = "ref")]
    reference: Option<&'a str>,
    room: Option<RoomId>,
    seq: Option<Seq>,
    epoch: Option<String>,
    head: Option<Cursor>,
    #[serde(default)]
    rooms: Vec<Joined>,
    #[serde(borrow)]
    failed: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Joined {
    room: RoomId,
    head: Cursor,
}

/// What is told besides what was gathered.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    pub rooms_version: &'a str,
    pub websocket: bool,
    pub user: &'a str,
    pub server_time: &'a str,
    pub limits: &'a Limits,
}

impl Gathered {
    pub fn new(request: &PollRequest) -> Self {
        #[derive(Deserialize)]
        struct Reference {
            #[serde(rename = "ref")]
            reference: Option<Box<RawValue>>,
        }
        let reference = |command: &RawValue| -> Option<Box<RawValue>> {
            let read: Reference = serde_json::from_str(command.get()).ok()?;
            read.reference.filter(|reference| reference.get().starts_with('"'))
        };
        let answers: Vec<_> = request.commands.iter().map(|command| (reference(command), None)).collect();
        Self {
            events: Vec::new(),
            unanswered: answers.len(),
            answers,
            cursors: request.cursors.iter().cloned().collect(),
            epochs: HashMap::new(),
            failed: Vec::new(),
            joined: false,
            replaying: FxHashSet::default(),
        }
    }

    /// Takes what was sent to the poll so far. True: some of it is no part of the answer, so there is place for more.
    pub fn take(&mut self, collector: &Collector) -> bool {
        let mut aside = 0;
        for frame in collector.take() {
            let Ok(text) = std::str::from_utf8(frame.payload()) else { continue };
            if !self.sort(text) {
                aside += frame.len();
            }
        }
        collector.discount(aside);
        aside > 0
    }

    /// False: the frame is no part of the answer.
    fn sort(&mut self, text: &str) -> bool {
        // The server's own frames: a frame of no such shape has nothing to sort by and is an event.
        let shape: Option<Shape<'_>> = serde_json::from_str(text).ok();
        let Some(Shape { r#type, reference, room, seq, epoch, head, rooms, failed }) = shape else {
            self.event(text);
            return true;
        };
        match (reference, r#type, room) {
            (Some(JOIN), ..) => {
                self.joined = true;
                for Joined { room, head } in rooms {
                    self.epochs.insert(room.clone(), head.epoch.clone());
                    // Without a cursor it starts at the head.
                    self.cursors.entry(room.clone()).or_default().get_or_insert(head);
                    self.replaying.insert(room);
                }
                self.failed = failed.into_iter().flatten().map(ToOwned::to_owned).collect();
                return false;
            }
            (Some(reference), ..) => self.answer(reference, text),
            (None, "room:caught_up", Some(room)) => {
                self.replaying.remove(&room);
                if let (Some(epoch), Some(seq)) = (epoch, seq) {
                    self.epochs.insert(room.clone(), epoch.clone());
                    self.cursors.insert(room, Some(Cursor { epoch, seq }));
                }
                return false;
            }
            (None, "room:gap", Some(room)) => {
                self.replaying.remove(&room);
                if let Some(head) = head {
                    self.epochs.insert(room.clone(), head.epoch.clone());
                    self.cursors.insert(room, Some(head));
                }
                self.event(text);
            }
            // To all connections of a user, about any room: no place in the log of a joined one.
            (None, "room:removed", _) => self.event(text),
            (None, _, room) => {
                if let (Some(room), Some(seq)) = (room, seq)
                    && let Some(epoch) = self.epochs.get(&room)
                {
                    self.cursors.insert(room, Some(Cursor { epoch: epoch.clone(), seq }));
                }
                self.event(text);
            }
        }
        true
    }

    /// Keeps waiting for the replays of those rooms only of which this is true: others have ended.
    pub fn retain(&mut self, is_joined: impl Fn(&RoomId) -> bool) {
        self.replaying.retain(is_joined);
    }

    fn event(&mut self, text: &str) {
        self.events.extend(RawValue::from_string(text.to_owned()));
    }

    fn answer(&mut self, reference: &str, text: &str) {
        let place = reference.parse::<usize>().ok();
        let Some((own, answer @ None)) = place.and_then(|place| self.answers.get_mut(place)) else { return };
        let ours = format!("\"ref\":\"{reference}\"");
        let text = match own {
            Some(own) => text.replacen(&ours, &format!("\"ref\":{}", own.get()), 1),
            // Never the last field: each answer tells something.
            None => text.replacen(&format!("{ours},"), "", 1).replacen(&format!(",{ours}"), "", 1),
        };
        *answer = RawValue::from_string(text).ok();
        self.unanswered -= usize::from(answer.is_some());
    }

    /// The list of rooms is another than the one that the client knows.
    pub fn rooms_changed(&mut self, rooms_version: &str) {
        let frame = ServerFrame::RoomsChanged { rooms_version }.to_json();
        self.event(&String::from_utf8_lossy(&frame));
    }

    pub fn is_caught_up(&self) -> bool {
        self.joined && self.replaying.is_empty()
    }

    pub fn is_answered(&self) -> bool {
        self.unanswered == 0
    }

    /// Whether there is anything to come back with.
    pub fn has_something(&self) -> bool {
        !self.events.is_empty() || !self.answers.is_empty() || !self.failed.is_empty()
    }

    /// Moves the cursors of rooms that are caught up over what the user may not see: up to where `live` says.
    pub fn move_to(&mut self, live: impl Fn(&RoomId) -> Option<Position>) {
        for (room, cursor) in &mut self.cursors {
            if self.replaying.contains(room) || !self.epochs.contains_key(room) {
                continue;
            }
            let Some(cursor) = cursor else { continue };
            if let Some(position) = live(room)
                && position.epoch.to_string() == *cursor.epoch
            {
                cursor.seq = cursor.seq.max(position.seq);
            }
        }
    }

    /// The body of the answer. Commands without an answer by now are told to be repeated.
    pub fn into_json(self, answer: &Answer<'_>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            events: Vec<Box<RawValue>>,
            cursors: HashMap<RoomId, Option<Cursor>>,
            answers: Vec<Box<RawValue>>,
            failed: Vec<Box<RawValue>>,
            #[serde(flatten)]
            answer: &'a Answer<'a>,
        }
        let answers = self.answers.into_iter().map(|(own, answer)| answer.or_else(|| late(own.as_deref())));
        let body = Body {
            events: self.events,
            cursors: self.cursors,
            answers: answers.flatten().collect(),
            failed: self.failed,
            answer,
        };
        serde_json::to_vec(&body).expect("strings, numbers and checked JSON always serialise")
    }
}

fn late(reference: Option<&RawValue>) -> Option<Box<RawValue>> {
    #[derive(Serialize)]
    struct Late<'a> {
        r#type: &'a str,
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a RawValue>,
        #[serde(flatten)]
        refusal: Refusal,
    }
    let refusal = Refusal::unavailable("no answer yet; repeat with the same client_id");
    debug_assert_eq!(refusal.code, ErrorCode::Unavailable);
    serde_json::value::to_raw_value(&Late { r#type: "error", reference, refusal }).ok()
}

#[cfg(test)]
mod tests;
