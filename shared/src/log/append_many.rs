//! One call that appends messages of several rooms (`append_many.lua`): its arguments and answers.

use redis::Value;

use super::{
    append::{Entry, parse_ingest_id, parse_value},
    backlog::LogLimits,
    keys::{self, Partition},
    record::IngestId,
    scripts::Scripts,
};
use crate::{
    clock::{rfc3339, unix_ms},
    events::MESSAGE_NEW,
    ids::{ClientId, RoomId, Seq, UserId},
};

/// A message that needs only the checks of `append_many.lua`: epoch, archive, slow mode, role, erasure, client id and
/// backlog.
#[derive(Debug)]
pub(super) struct FastMessage {
    sender: UserId,
    /// `room ␟ sender ␟ client id`, the field of this message in the hashes of recent client ids.
    sent_field: String,
    min_role: i32,
    header_rest: String,
    json_after_at: String,
    message_id: String,
    /// The time in the client id, negative for a first attempt; empty if the client id has none.
    id_ms: String,
}

impl FastMessage {
    /// Returns `None` if the entry is not a message, has conditions that `append_many.lua` does not check, or needs a
    /// look-up of its client id.
    pub fn of(entry: &Entry<'_>) -> Option<Self> {
        let (Some(sender), Some(client_id)) = (entry.sender, &entry.client_id) else { return None };
        let id_ms = match (entry.client_id_ms(), entry.first_attempt) {
            (None, false) => return None,
            (None, true) => String::new(),
            (Some(ms), false) => ms.to_string(),
            (Some(ms), true) => format!("-{ms}"),
        };
        let is_fast = entry.kind == MESSAGE_NEW
            && !entry.is_change
            && !entry.drops_tail
            && !entry.allowed_in_archive
            && !entry.exempt_from_backlog
            && entry.membership.is_none()
            && entry.members_upto.is_none()
            && entry.deletes_upto.is_none()
            && entry.log_upto.is_none()
            && entry.imported_at_ms.is_none()
            && entry.members_delta == 0
            && entry.sets.is_empty();
        is_fast.then(|| Self {
            sender: sender.clone(),
            sent_field: sent_field(entry.room, sender, client_id),
            min_role: entry.min_role as i32,
            header_rest: entry.header_rest(),
            json_after_at: entry.json_after_at(),
            message_id: entry.id.clone().unwrap_or_default(),
            id_ms,
        })
    }

    /// Approximate size of the arguments of this message, in bytes.
    pub fn bytes(&self) -> usize {
        self.sent_field.len() + self.header_rest.len() + self.json_after_at.len()
    }
}

fn sent_field(room: &RoomId, sender: &UserId, client_id: &ClientId) -> String {
    [room.as_str(), "\u{1f}", sender.as_str(), "\u{1f}", client_id.as_str()].concat()
}

/// What `append_many.lua` did with one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchOutcome {
    Appended {
        seq: Seq,
        at_ms: i64,
        ingest: IngestId,
    },
    /// Neither this message nor a later one of its room in this call was appended; `append.lua` must decide.
    Undecided,
}

/// The messages of one room in a call, in the order in which they are appended.
pub(super) struct RoomMessages<'a> {
    partition: Partition,
    room: &'a RoomId,
    pub messages: Vec<&'a FastMessage>,
}

/// Creates the call that appends messages of these rooms. The rooms of a partition must be adjacent in the list; in a
/// Redis Cluster all rooms must be of one partition. The messages of a room are appended in their order.
pub(super) fn append_command(scripts: &Scripts, rooms: &[RoomMessages<'_>], limits: LogLimits) -> redis::Cmd {
    debug_assert!(rooms.is_sorted_by_key(|room| room.partition), "the rooms of a partition are neighbours");
    let partitions = || rooms.chunk_by(|a, b| a.partition == b.partition);
    let mut senders: Vec<(Partition, &UserId)> = rooms
        .iter()
        .flat_map(|room| room.messages.iter().map(|message| (room.partition, &message.sender)))
        .collect();
    let (messages, partition_count) = (senders.len(), partitions().count());
    senders.sort_unstable();
    senders.dedup();
    let check_keys = rooms.first().map_or_else(Vec::new, |room| scripts.check_keys(room.partition));
    let keys = 2 * partition_count + 2 * rooms.len() + senders.len() + check_keys.len();
    let arguments = 8 + keys + partition_count + 2 * rooms.len() + 7 * messages;
    let mut command = redis::Cmd::with_capacity(arguments, 64 * arguments);
    command.arg("EVALSHA").arg(&scripts.append_many.sha).arg(keys);
    for rooms in partitions() {
        command.arg(rooms[0].partition.ingest()).arg(rooms[0].partition.sent());
    }
    for RoomMessages { room, .. } in rooms {
        command.arg(keys::room(room)).arg(keys::tail(room));
    }
    for (partition, sender) in senders {
        command.arg(partition.erased(sender.as_str()));
    }
    command.arg(&check_keys);
    // The script formats the time of the messages itself only if the second has changed since this process read its
    // clock.
    let now_ms = unix_ms();
    let now_text = rfc3339(now_ms);
    command.arg(now_ms / 1000).arg(&now_text[..RFC3339_SECOND_CHARS]);
    command.arg(limits.max_backlog_records).arg(limits.max_backlog_bytes).arg(partition_count);
    for rooms in partitions() {
        command.arg(rooms.len());
        for RoomMessages { room, messages, .. } in rooms {
            command.arg(messages.len()).arg(Entry::json_before_seq(MESSAGE_NEW, room));
            for message in messages {
                command
                    .arg(&message.sent_field)
                    .arg(["mark:", message.sender.as_str()].concat())
                    .arg(message.min_role)
                    .arg(&message.header_rest)
                    .arg(&message.json_after_at)
                    .arg(&message.message_id)
                    .arg(&message.id_ms);
            }
        }
    }
    command
}

/// Length of an RFC 3339 time without fraction and zone, such as `2026-01-31T23:59:59`.
const RFC3339_SECOND_CHARS: usize = 19;

/// Parses the answer to a call with `messages` messages.
pub(super) fn parse_answer(value: &Value, messages: usize) -> Result<Vec<BatchOutcome>, String> {
    let malformed = || format!("unexpected answer of append_many.lua: {value:?}");
    let Value::Array(parts) = value else { return Err(malformed()) };
    let (at_ms, positions) = parts.split_first().ok_or_else(malformed)?;
    if positions.is_empty() {
        return Ok(vec![BatchOutcome::Undecided; messages]);
    }
    if positions.len() != 2 * messages {
        return Err(malformed());
    }
    let at_ms = parse_value(at_ms)?;
    let outcome = |position: &[Value]| {
        let [seq, ingest] = position else { return Err(malformed()) };
        Ok(match parse_value(seq)? {
            0 => BatchOutcome::Undecided,
            seq => BatchOutcome::Appended { seq: Seq(seq), at_ms, ingest: parse_ingest_id(ingest)? },
        })
    };
    positions.chunks(2).map(outcome).collect()
}

/// Groups messages by room. Each input is a partition, one of its rooms, and messages of this room. The inputs of a
/// partition must be adjacent. Also returns, for each input, the index of its first message in the call.
pub(super) fn group_by_room<'a>(
    groups: impl Iterator<Item = (Partition, &'a RoomId, &'a [FastMessage])>,
) -> (Vec<RoomMessages<'a>>, Vec<usize>) {
    let mut rooms: Vec<RoomMessages<'a>> = Vec::new();
    let mut offsets = Vec::new();
    for (partition, room, messages) in groups {
        // A call has at most 64 messages, so a search costs less than a map.
        let existing = rooms.iter().position(|existing| existing.room == room);
        let at = existing.unwrap_or_else(|| {
            rooms.push(RoomMessages { partition, room, messages: Vec::new() });
            rooms.len() - 1
        });
        offsets.push((at, rooms[at].messages.len()));
        rooms[at].messages.extend(messages);
    }
    let firsts: Vec<usize> = rooms
        .iter()
        .scan(0, |next, room| {
            let first = *next;
            *next += room.messages.len();
            Some(first)
        })
        .collect();
    let offsets = offsets.into_iter().map(|(room, offset)| firsts[room] + offset).collect();
    (rooms, offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(client_id: &str, room: &RoomId) -> FastMessage {
        let alice = UserId::parse("alice").unwrap();
        let entry = Entry {
            sender: Some(&alice),
            client_id: ClientId::parse(client_id).ok(),
            first_attempt: true,
            is_change: false,
            ..Entry::new(room, MESSAGE_NEW, "{}".into())
        };
        FastMessage::of(&entry).unwrap()
    }

    #[test]
    fn only_uuid_v7_and_first_attempts_are_decided_in_groups() {
        let (room, alice) = (RoomId::parse("a").unwrap(), UserId::parse("alice").unwrap());
        // The example of RFC 9562, appendix A.6.
        let uuid = "017F22E2-79B0-7CC3-98C4-DC0C0C07398F";
        let id_ms = |client_id: &str, first_attempt| {
            let entry = Entry {
                sender: Some(&alice),
                client_id: ClientId::parse(client_id).ok(),
                first_attempt,
                is_change: false,
                ..Entry::new(&room, MESSAGE_NEW, "{}".into())
            };
            FastMessage::of(&entry).map(|message| message.id_ms)
        };
        assert_eq!(id_ms(uuid, false).as_deref(), Some("1645557742000"));
        assert_eq!(id_ms(uuid, true).as_deref(), Some("-1645557742000"));
        assert_eq!(id_ms("c", true).as_deref(), Some(""));
        assert_eq!(id_ms("c", false), None);
    }

    #[test]
    fn groups_of_one_room_keep_their_order() {
        let (a, b) = (RoomId::parse("a").unwrap(), RoomId::parse("b").unwrap());
        let groups = [
            (&a, vec![message("1", &a), message("2", &a)]),
            (&b, vec![message("3", &b)]),
            (&a, vec![message("4", &a)]),
        ];
        let partition = Partition(0);
        let (rooms, offsets) =
            group_by_room(groups.iter().map(|(room, messages)| (partition, *room, messages.as_slice())));
        let order: Vec<&str> = rooms
            .iter()
            .flat_map(|room| &room.messages)
            .map(|message| message.sent_field.rsplit('\u{1f}').next().unwrap())
            .collect();
        assert_eq!((order, offsets), (vec!["1", "2", "4", "3"], vec![0, 3, 2]));
    }

    #[test]
    fn answer_has_an_outcome_for_each_message_or_none() {
        let ok = |text: &str| Value::BulkString(text.into());
        let answer = Value::Array(vec![Value::Int(5), Value::Int(7), ok("5-1"), Value::Int(0), ok("")]);
        let at = BatchOutcome::Appended { seq: Seq(7), at_ms: 5, ingest: IngestId { ms: 5, n: 1 } };
        assert_eq!(parse_answer(&answer, 2), Ok(vec![at, BatchOutcome::Undecided]));
        assert_eq!(parse_answer(&Value::Array(vec![Value::Int(5)]), 2), Ok(vec![BatchOutcome::Undecided; 2]));
        assert!(parse_answer(&answer, 3).is_err() && parse_answer(&Value::Nil, 1).is_err());
    }
}
