//! Positions as text. The `pid` is `ROOM=SEQ@EPOCH;…~TAG~USER`. The offset is `TAG;CHANGE;…` with the rooms whose
//! positions differ from the `pid`, where a change is `#INDEX=SEQ`, `#INDEX=SEQ@EPOCH` or `#INDEX=-` for a room of the
//! `pid`, else `ROOM=SEQ@EPOCH`. All characters of an offset can be in a JSON string without an escape.

use std::fmt::Write;

use tidings_shared::ids::{Epoch, RoomId, Seq};

use super::{JoinPhase, JoinedFields, RoomHeadFields, RoomPositions, TrackedRoom};

/// Maximum number of rooms in a `pid`. A join has at most this many.
const MAX_PID_ROOMS: usize = 200;
/// Maximum length of a `pid`, in bytes. A `pid` of 200 rooms with long ids is shorter.
const MAX_PID_BYTES: usize = 32 * 1024;
/// Maximum length of an offset, in bytes. Each event has one.
const MAX_OFFSET_BYTES: usize = 2 * 1024;
/// Separates the parts of a `pid`. No id of a room and no tag contains it.
const PID_SEPARATOR: char = '~';
/// An offset that ends so recovers nothing.
const UNKNOWN: char = '!';
/// The position of a room of the `pid` that is not joined.
const ABSENT: &str = "-";

/// Reads `SEQ@EPOCH`, or `SEQ` if there is an epoch for this case.
fn read_position(text: &str, epoch: Option<Epoch>) -> Option<(Epoch, Seq)> {
    let (seq, epoch) = match text.split_once('@') {
        Some((seq, epoch)) => (seq, Epoch::parse(epoch)?),
        None => (text, epoch?),
    };
    Some((epoch, Seq::try_from(seq.parse::<u64>().ok()?).ok()?))
}

impl RoomPositions {
    /// The positions of a client that begins anew. `tag` is a random word of letters and digits.
    pub fn new(tag: &str, user: &str) -> Self {
        let pid = format!("{PID_SEPARATOR}{tag}{PID_SEPARATOR}{user}");
        Self { pid, tag: tag.into(), rooms: Vec::new() }
    }

    /// Names the rooms of this `room:joined` in the `pid`, with their heads. Must be called before any frame is
    /// applied, and only for a client that begins anew.
    pub fn name_rooms(&mut self, joined: &[u8]) {
        let Ok(JoinedFields { rooms, .. }) = serde_json::from_slice(joined) else { return };
        let base = |joined: &RoomHeadFields| Some((Epoch::parse(&joined.head.epoch)?, joined.head.seq));
        let named = rooms.into_iter().filter_map(|joined| Some((base(&joined)?, joined.room)));
        self.rooms.extend(named.map(|(base, room)| {
            let phase = JoinPhase::Expected;
            TrackedRoom { room, base: Some(base), phase, position: None }
        }));
        let bases = self.rooms.iter().filter_map(|tracked| Some((&tracked.room, tracked.base?)));
        let bases: Vec<String> = bases.map(|(room, (epoch, seq))| format!("{room}={seq}@{epoch}")).collect();
        self.pid.insert_str(0, &bases.join(";"));
    }

    /// The positions of a client that was away; `None` if these texts do not tell all positions of this user.
    pub fn resume(pid: &str, offset: &str, user: &str) -> Option<Self> {
        if pid.len() > MAX_PID_BYTES || offset.len() > MAX_OFFSET_BYTES {
            return None;
        }
        let mut parts = pid.splitn(3, PID_SEPARATOR);
        let (bases, tag) = (parts.next()?, parts.next()?);
        if parts.next() != Some(user) {
            return None;
        }
        let mut rooms = Vec::new();
        for base in bases.split(';').filter(|base| !base.is_empty()) {
            let (room, position) = base.split_once('=')?;
            rooms.push(TrackedRoom::expected(room, read_position(position, None)?, true)?);
        }
        if rooms.len() > MAX_PID_ROOMS {
            return None;
        }
        let mut changes = offset.strip_prefix(tag)?.split(';');
        // Of an offset of another tag, more than a separator is left.
        if changes.next() != Some("") {
            return None;
        }
        for change in changes {
            let (room, position) = change.split_once('=')?;
            let Some(index) = room.strip_prefix('#') else {
                rooms.push(TrackedRoom::expected(room, read_position(position, None)?, false)?);
                continue;
            };
            let tracked = rooms.get_mut(index.parse::<usize>().ok()?)?;
            if position == ABSENT {
                (tracked.phase, tracked.position) = (JoinPhase::Absent, None);
            } else {
                let base_epoch = tracked.base.map(|(epoch, _)| epoch);
                tracked.position = Some(read_position(position, base_epoch)?);
            }
        }
        Some(Self { pid: pid.to_owned(), tag: tag.into(), rooms })
    }

    /// Takes the `pid`, which only the answer to CONNECT contains.
    pub fn take_pid(&mut self) -> String {
        std::mem::take(&mut self.pid)
    }

    /// The offset of a client that has processed all frames so far.
    pub fn offset(&self) -> String {
        let mut text = String::from(&*self.tag);
        for (index, tracked) in self.rooms.iter().enumerate() {
            let is_known = tracked.write_change(index, &mut text);
            if !is_known || text.len() > MAX_OFFSET_BYTES {
                text.truncate(self.tag.len());
                text.push(UNKNOWN);
                return text;
            }
        }
        text
    }
}

impl TrackedRoom {
    fn expected(room: &str, position: (Epoch, Seq), is_base: bool) -> Option<Self> {
        let (room, base) = (RoomId::parse(room).ok()?, is_base.then_some(position));
        Some(Self { room, base, phase: JoinPhase::Expected, position: Some(position) })
    }

    /// Appends how the position differs from the `pid`, if it does. Returns false if the position is unknown.
    fn write_change(&self, index: usize, text: &mut String) -> bool {
        let written = match (self.phase, self.base, self.position) {
            (JoinPhase::Absent, Some(_), _) => write!(text, ";#{index}={ABSENT}"),
            (JoinPhase::Absent, None, _) => Ok(()),
            (_, _, None) => return false,
            (_, base, position) if base == position => Ok(()),
            (_, Some((base, _)), Some((epoch, seq))) if base == epoch => write!(text, ";#{index}={seq}"),
            (_, Some(_), Some((epoch, seq))) => write!(text, ";#{index}={seq}@{epoch}"),
            (_, None, Some((epoch, seq))) => write!(text, ";{}={seq}@{epoch}", self.room),
        };
        written.is_ok()
    }
}
