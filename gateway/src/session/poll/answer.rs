//! Builds the answer of a poll: sorts the frames that were sent to the poll into answers and events, and moves the
//! cursor of each room. This module is pure, except that it takes frames from the buffer.

use std::collections::HashMap;

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{Cursor, RoomId, Seq},
    protocol::server::{Limits, ServerFrame},
};

use super::request::PollRequest;
use crate::{client::PollBuffer, hub::Position};

/// The `ref` of the poll's own join, which differs from every `ref` of a client by its length.
pub(super) const JOIN_REF: &str = "join__________________________________________________________________";
const REF_CHARS: usize = 70;

/// The `ref` of the command at an index, which differs from every `ref` of a client by its length.
pub(super) fn command_ref(index: usize) -> String {
    format!("{index:0>REF_CHARS$}")
}

/// The answer of a poll while it is being built.
#[derive(Default)]
pub(super) struct AnswerBuilder {
    events: Vec<Box<RawValue>>,
    answers: Vec<CommandAnswer>,
    unanswered: usize,
    cursors: HashMap<RoomId, Option<Cursor>>,
    /// The epoch of each joined room. The next event of the room is in this epoch.
    epochs: HashMap<RoomId, String>,
    failed: Vec<Box<RawValue>>,
    join_answered: bool,
    /// Joined rooms for which no `room:caught_up` was sent yet.
    replaying: FxHashSet<RoomId>,
}

/// The cursors in an answer, and the epoch of each joined room.
pub(super) struct AnswerPositions {
    pub cursors: HashMap<RoomId, Option<Cursor>>,
    pub epochs: HashMap<RoomId, String>,
}

/// A command's own `ref`, and its answer.
type CommandAnswer = (Option<Box<RawValue>>, Option<Box<RawValue>>);

/// The fields that decide whether a frame is an answer or an event, and how the frame moves the cursor.
#[derive(Deserialize)]
struct FrameFields<'a> {
    r#type: &'a str,
    #[serde(rename = "ref")]
    reference: Option<&'a str>,
    room: Option<RoomId>,
    seq: Option<Seq>,
    epoch: Option<String>,
    head: Option<Cursor>,
    #[serde(default)]
    rooms: Vec<JoinedRoomFields>,
    #[serde(borrow)]
    failed: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct JoinedRoomFields {
    room: RoomId,
    head: Cursor,
}

/// The fields of the answer that do not come from frames.
#[derive(Serialize)]
pub(super) struct AnswerMetadata<'a> {
    pub rooms_version: &'a str,
    pub websocket: bool,
    pub user: &'a str,
    pub server_time: &'a str,
    pub limits: &'a Limits,
}

impl AnswerBuilder {
    /// Starts an answer with the cursors of the request. The answers to its commands are still missing.
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
        let cursors = request.cursors.iter().cloned().collect();
        Self { unanswered: answers.len(), answers, cursors, ..Self::default() }
    }

    /// Sets the epochs of the rooms that the continued poll has joined.
    pub fn set_epochs(&mut self, epochs: HashMap<RoomId, String>) {
        self.epochs = epochs;
    }

    /// Takes the frames that were sent to the poll. Returns true if this freed space in the buffer, because some of the
    /// frames are not part of the answer.
    pub fn collect(&mut self, buffer: &PollBuffer) -> bool {
        let mut excluded = 0;
        for frame in buffer.take_frames() {
            let Ok(text) = std::str::from_utf8(frame.payload()) else { continue };
            if !self.add_frame(text) {
                excluded += frame.len();
            }
        }
        buffer.subtract_bytes(excluded);
        excluded > 0
    }

    /// Adds one frame to the answers or to the events. Returns false if the frame is not part of the answer.
    fn add_frame(&mut self, text: &str) -> bool {
        // All frames come from this server, so a frame without these fields is an event.
        let fields: Option<FrameFields<'_>> = serde_json::from_str(text).ok();
        let Some(FrameFields { r#type, reference, room, seq, epoch, head, rooms, failed }) = fields else {
            self.add_event(text);
            return true;
        };
        match (reference, r#type, room) {
            (Some(JOIN_REF), ..) => {
                self.join_answered = true;
                for JoinedRoomFields { room, head } in rooms {
                    self.epochs.insert(room.clone(), head.epoch.clone());
                    // A room for which the request has no cursor starts at the head.
                    self.cursors.entry(room.clone()).or_default().get_or_insert(head);
                    self.replaying.insert(room);
                }
                self.failed = failed.into_iter().flatten().map(ToOwned::to_owned).collect();
                return false;
            }
            (Some(reference), ..) => self.add_answer(reference, text),
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
                self.add_event(text);
            }
            // The seq of `room:removed` comes from the user's channel, so it must not move the room's cursor.
            (None, "room:removed", _) => self.add_event(text),
            (None, _, room) => {
                if let (Some(room), Some(seq)) = (room, seq)
                    && let Some(epoch) = self.epochs.get(&room)
                {
                    self.cursors.insert(room, Some(Cursor { epoch: epoch.clone(), seq }));
                }
                self.add_event(text);
            }
        }
        true
    }

    /// Stops waiting for the replays of rooms that the poll's client has not joined.
    pub fn retain_replaying(&mut self, is_joined: impl Fn(&RoomId) -> bool) {
        self.replaying.retain(is_joined);
    }

    fn add_event(&mut self, text: &str) {
        self.events.extend(RawValue::from_string(text.to_owned()));
    }

    fn add_answer(&mut self, reference: &str, text: &str) {
        let index = reference.parse::<usize>().ok();
        let Some((own_ref, answer @ None)) = index.and_then(|index| self.answers.get_mut(index)) else {
            return;
        };
        let server_ref = format!("\"ref\":\"{reference}\"");
        let text = match own_ref {
            Some(own_ref) => text.replacen(&server_ref, &format!("\"ref\":{}", own_ref.get()), 1),
            // In `ok` the `ref` is the last field. In all other answers more fields follow.
            None => {
                text.replacen(&format!("{server_ref},"), "", 1).replacen(&format!(",{server_ref}"), "", 1)
            }
        };
        *answer = RawValue::from_string(text).ok();
        self.unanswered -= usize::from(answer.is_some());
    }

    /// Adds the event `rooms:changed`, because the client has an older version of the list of rooms.
    pub fn add_rooms_changed(&mut self, rooms_version: &str, spread_ms: Option<u64>) {
        let frame = ServerFrame::RoomsChanged { rooms_version, spread_ms }.to_json();
        self.add_event(&String::from_utf8_lossy(&frame));
    }

    /// Whether the poll's join was answered.
    pub fn has_joined(&self) -> bool {
        self.join_answered
    }

    /// Whether the poll's join was answered and each joined room has caught up or was sent `room:gap`.
    pub fn is_caught_up(&self) -> bool {
        self.join_answered && self.replaying.is_empty()
    }

    /// Whether all commands of the poll are answered.
    pub fn has_answered_all(&self) -> bool {
        self.unanswered == 0
    }

    /// Whether the answer has an event, an answer to a command or a failed room.
    pub fn has_content(&self) -> bool {
        !self.events.is_empty() || !self.answers.is_empty() || !self.failed.is_empty()
    }

    /// Moves the cursors of caught-up rooms over records that the user may not see, up to the room's live position.
    pub fn advance_cursors(&mut self, live_position: impl Fn(&RoomId) -> Option<Position>) {
        for (room, cursor) in &mut self.cursors {
            if self.replaying.contains(room) || !self.epochs.contains_key(room) {
                continue;
            }
            let Some(cursor) = cursor else { continue };
            if let Some(position) = live_position(room)
                && position.epoch.to_string() == *cursor.epoch
            {
                cursor.seq = cursor.seq.max(position.seq);
            }
        }
    }

    /// The body of the answer, and its positions. A command without an answer gets an error that asks to repeat it.
    pub fn into_json(self, metadata: &AnswerMetadata<'_>) -> (Vec<u8>, AnswerPositions) {
        #[derive(Serialize)]
        struct Body<'a> {
            events: Vec<Box<RawValue>>,
            cursors: &'a HashMap<RoomId, Option<Cursor>>,
            answers: Vec<Box<RawValue>>,
            failed: Vec<Box<RawValue>>,
            #[serde(flatten)]
            metadata: &'a AnswerMetadata<'a>,
        }
        let answers = self
            .answers
            .into_iter()
            .map(|(own_ref, answer)| answer.or_else(|| no_answer_error(own_ref.as_deref())));
        let body = Body {
            events: self.events,
            cursors: &self.cursors,
            answers: answers.flatten().collect(),
            failed: self.failed,
            metadata,
        };
        let json = serde_json::to_vec(&body).expect("strings, numbers and checked JSON always serialise");
        (json, AnswerPositions { cursors: self.cursors, epochs: self.epochs })
    }
}

/// The error for a command whose answer is not known when the poll ends.
fn no_answer_error(reference: Option<&RawValue>) -> Option<Box<RawValue>> {
    #[derive(Serialize)]
    struct NoAnswer<'a> {
        r#type: &'a str,
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a RawValue>,
        #[serde(flatten)]
        refusal: Refusal,
    }
    let refusal = Refusal::unavailable("no answer yet; repeat with the same client_id");
    debug_assert_eq!(refusal.code, ErrorCode::Unavailable);
    serde_json::value::to_raw_value(&NoAnswer { r#type: "error", reference, refusal }).ok()
}

#[cfg(test)]
mod tests;
