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
pub(super) const JOIN: &str = "join__________________________________________________________________";
const REFERENCE_CHARS: usize = 70;

/// The `ref` of the command at an index, which differs from every `ref` of a client by its length.
pub(super) fn reference(index: usize) -> String {
    format!("{index:0>REFERENCE_CHARS$}")
}

/// The parts of a poll's answer that are known so far.
#[derive(Default)]
pub(super) struct AnswerBuilder {
    events: Vec<Box<RawValue>>,
    answers: Vec<CommandAnswer>,
    unanswered: usize,
    cursors: HashMap<RoomId, Option<Cursor>>,
    /// The epoch of each joined room, which is also the epoch of its next event.
    epochs: HashMap<RoomId, String>,
    failed: Vec<Box<RawValue>>,
    joined: bool,
    /// Joined rooms for which no `room:caught_up` was sent yet.
    replaying: FxHashSet<RoomId>,
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
    rooms: Vec<Joined>,
    #[serde(borrow)]
    failed: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Joined {
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
    /// Starts an answer with the cursors of the request, and with all answers to its commands missing.
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

    /// Takes the frames that were sent to the poll. Returns true if the buffer has space again, because some of the
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
            (Some(JOIN), ..) => {
                self.joined = true;
                for Joined { room, head } in rooms {
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
        let Some((own, answer @ None)) = index.and_then(|index| self.answers.get_mut(index)) else { return };
        let our_ref = format!("\"ref\":\"{reference}\"");
        let text = match own {
            Some(own) => text.replacen(&our_ref, &format!("\"ref\":{}", own.get()), 1),
            // The `ref` is the last field of `ok`, and is followed by other fields in all other answers.
            None => text.replacen(&format!("{our_ref},"), "", 1).replacen(&format!(",{our_ref}"), "", 1),
        };
        *answer = RawValue::from_string(text).ok();
        self.unanswered -= usize::from(answer.is_some());
    }

    /// Adds the event `rooms:changed`, because the client has an older version of the list of rooms.
    pub fn add_rooms_changed(&mut self, rooms_version: &str) {
        let frame = ServerFrame::RoomsChanged { rooms_version }.to_json();
        self.add_event(&String::from_utf8_lossy(&frame));
    }

    /// Whether the poll's join was answered and each joined room has caught up or was sent `room:gap`.
    pub fn is_caught_up(&self) -> bool {
        self.joined && self.replaying.is_empty()
    }

    /// Whether all commands of the poll are answered.
    pub fn is_answered(&self) -> bool {
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

    /// The body of the answer. Clients are told to repeat commands that have no answer yet.
    pub fn into_json(self, answer: &AnswerMetadata<'_>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            events: Vec<Box<RawValue>>,
            cursors: HashMap<RoomId, Option<Cursor>>,
            answers: Vec<Box<RawValue>>,
            failed: Vec<Box<RawValue>>,
            #[serde(flatten)]
            answer: &'a AnswerMetadata<'a>,
        }
        let answers =
            self.answers.into_iter().map(|(own, answer)| answer.or_else(|| no_answer_yet(own.as_deref())));
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

fn no_answer_yet(reference: Option<&RawValue>) -> Option<Box<RawValue>> {
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
