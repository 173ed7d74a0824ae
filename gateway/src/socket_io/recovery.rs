//! The positions of a client in its rooms, by which the client continues on any node after its connection was lost
//! (docs/decisions/0059-socket-io-recovery.md). They follow from the frames that are sent to the client. Pure.

mod text;

use serde::Deserialize;
use tidings_shared::ids::{Cursor, Epoch, RoomId, Seq};

use super::namespace::split_type;

/// The text between the type and the room of an event.
const ROOM_START: &[u8] = br#"","room":""#;
/// The text between the room and the seq of an event.
const SEQ_START: &[u8] = br#"","seq":"#;
/// The text behind the seq of an event. No other frame has a seq at this place.
const TIME_START: &[u8] = br#","at":"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinPhase {
    /// The client has not joined the room.
    Absent,
    /// The answer to the join with which the connection begins is not applied yet.
    Expected,
    /// The client has joined the room, and the room's next event is in this epoch.
    Joined(Epoch),
}

#[derive(Debug)]
struct TrackedRoom {
    room: RoomId,
    /// The position in the `pid`; `None` if the `pid` does not name the room.
    base: Option<(Epoch, Seq)>,
    phase: JoinPhase,
    /// The position up to which the client has the events of the room; `None` while it is unknown. A join alone does
    /// not move its epoch. If the epoch of the join begins below this seq, the server sends `room:gap` for this
    /// position.
    position: Option<(Epoch, Seq)>,
}

/// The positions of one client. The rooms that the `pid` names come first, in the order of the `pid`.
#[derive(Debug)]
pub(crate) struct RoomPositions {
    pid: String,
    tag: Box<str>,
    rooms: Vec<TrackedRoom>,
}

/// The position of a room before an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PreviousPosition {
    index: usize,
    position: Option<(Epoch, Seq)>,
}

#[derive(Deserialize)]
struct RoomHeadFields {
    room: RoomId,
    head: Cursor,
}

#[derive(Deserialize)]
struct FailedRoomFields {
    room: RoomId,
}

#[derive(Deserialize)]
struct JoinedFields {
    rooms: Vec<RoomHeadFields>,
    failed: Vec<FailedRoomFields>,
}

#[derive(Deserialize)]
struct LeftFields {
    rooms: Vec<RoomId>,
}

#[derive(Deserialize)]
struct CaughtUpFields {
    room: RoomId,
    epoch: String,
    seq: Seq,
}

/// The room and the seq of an event of a room's log; `None` if the frame is no such event.
fn event_position(payload: &[u8]) -> Option<(&str, Seq)> {
    let (_, after_type) = split_type(payload);
    let rest = after_type.strip_prefix(ROOM_START)?;
    let (room, rest) = rest.split_at(rest.iter().position(|byte| *byte == b'"')?);
    let rest = rest.strip_prefix(SEQ_START)?;
    let (seq, rest) = rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
    let seq = std::str::from_utf8(seq).ok()?.parse().ok()?;
    rest.starts_with(TIME_START).then_some((std::str::from_utf8(room).ok()?, Seq(seq)))
}

impl RoomPositions {
    /// Moves the position of a room if the frame is an event of its log. Returns what [`RoomPositions::undo`] needs.
    pub fn advance(&mut self, payload: &[u8]) -> Option<PreviousPosition> {
        let (room, seq) = event_position(payload)?;
        let index = self.rooms.iter().position(|tracked| tracked.room.as_str() == room)?;
        let tracked = &mut self.rooms[index];
        let JoinPhase::Joined(epoch) = tracked.phase else { return None };
        Some(PreviousPosition { index, position: tracked.position.replace((epoch, seq)) })
    }

    /// Moves a position back, because the event was not sent.
    pub fn undo(&mut self, PreviousPosition { index, position }: PreviousPosition) {
        self.rooms[index].position = position;
    }

    /// Applies a frame that begins or ends the client's presence in rooms, or that sets its position in a room. Returns
    /// false for other frames.
    pub fn apply(&mut self, payload: &[u8]) -> bool {
        match split_type(payload).0 {
            b"connected" => {}
            b"room:joined" => {
                if let Ok(JoinedFields { rooms, failed }) = serde_json::from_slice(payload) {
                    rooms.into_iter().for_each(|joined| self.join(joined));
                    self.leave(|tracked| {
                        tracked.phase == JoinPhase::Expected
                            && failed.iter().any(|failed| failed.room == tracked.room)
                    });
                }
            }
            b"room:left" => {
                if let Ok(LeftFields { rooms }) = serde_json::from_slice(payload) {
                    self.leave(|tracked| rooms.contains(&tracked.room));
                }
            }
            b"room:caught_up" => {
                if let Ok(CaughtUpFields { room, epoch, seq }) = serde_json::from_slice(payload) {
                    self.set_position(room, &Cursor { epoch, seq });
                }
            }
            b"room:gap" => {
                if let Ok(RoomHeadFields { room, head }) = serde_json::from_slice(payload) {
                    self.set_position(room, &head);
                }
            }
            _ => return false,
        }
        true
    }

    /// The cursors of the rooms with which a recovered connection begins.
    pub fn cursors(&self) -> Vec<(RoomId, Cursor)> {
        let cursor = |tracked: &TrackedRoom| {
            let (epoch, seq) = tracked.position?;
            Some((tracked.room.clone(), Cursor::new(epoch, seq)))
        };
        self.rooms.iter().filter_map(cursor).collect()
    }

    /// Whether the client has joined the room, or has left a room of the `pid`.
    pub fn contains(&self, room: &RoomId) -> bool {
        self.rooms.iter().any(|tracked| tracked.room == *room)
    }

    /// A join was answered. Its replay begins at a cursor that the answer does not name, so the position is unknown
    /// until the first event. A recovered room keeps its position, because its join begins there. The position keeps
    /// its epoch too, so that a client that is cut off before `room:gap` still gets this gap.
    fn join(&mut self, RoomHeadFields { room, head }: RoomHeadFields) {
        let Some(epoch) = Epoch::parse(&head.epoch) else { return };
        let tracked = self.tracked(room);
        if tracked.phase != JoinPhase::Expected {
            tracked.position = None;
        }
        tracked.phase = JoinPhase::Joined(epoch);
    }

    fn set_position(&mut self, room: RoomId, cursor: &Cursor) {
        let Some(epoch) = Epoch::parse(&cursor.epoch) else { return };
        let tracked = self.tracked(room);
        (tracked.phase, tracked.position) = (JoinPhase::Joined(epoch), Some((epoch, cursor.seq)));
    }

    /// Removes rooms. Rooms of the `pid` stay, because offsets name them by their index.
    fn leave(&mut self, is_left: impl Fn(&TrackedRoom) -> bool) {
        self.rooms.retain_mut(|tracked| {
            if is_left(tracked) {
                (tracked.phase, tracked.position) = (JoinPhase::Absent, None);
            }
            tracked.phase != JoinPhase::Absent || tracked.base.is_some()
        });
    }

    fn tracked(&mut self, room: RoomId) -> &mut TrackedRoom {
        let known = self.rooms.iter().position(|tracked| tracked.room == room);
        let index = known.unwrap_or_else(|| {
            self.rooms.push(TrackedRoom { room, base: None, phase: JoinPhase::Absent, position: None });
            self.rooms.len() - 1
        });
        &mut self.rooms[index]
    }
}

#[cfg(test)]
mod tests;
