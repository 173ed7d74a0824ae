//! Moves read and delivered marks of a room's members with `marks.lua`. If Redis does not know the present marks of a
//! user, the script answers `lookup`, and the marks are read from PostgreSQL.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::{
    append::{Accepted, AppendError, parse_value},
    arguments::arguments,
    authority::StoredMarks,
    calls::{no_session, unavailable},
    commands::{Log, MAX_ATTEMPTS, head_keeps_changing},
    keys::{self, Partition},
    moving::MoveRetry,
    record::{Header, IngestId, TYPE_MARKS},
    session::Session,
    timing::RoundTrip,
};
use crate::ids::{RoomId, Seq, UserId};

/// A read or delivered mark: all events of a room up to `seq` are read by the user, or delivered to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMark {
    pub user: UserId,
    pub seq: Seq,
    /// True for a delivered mark, false for a read mark.
    pub delivered: bool,
}

/// The state of the marks of one call of [`Log::mark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkResult {
    /// The room's last marks record. When this record is stored, all marks of this call are stored. Its `seq` is 0, so
    /// that no exception of an event can match it.
    pub accepted: Accepted,
    /// The room's head. A mark above the head was lowered to the head.
    pub head: Seq,
    /// The present position of each mark, in the order of the call, or `None` if the user is not a member.
    pub positions: Vec<Option<Seq>>,
    /// Time until the waiting receipts may be published, or `None` if no receipts wait. After this time the caller must
    /// call [`Log::mark`] for the room again, with or without marks.
    pub receipts_due_in: Option<Duration>,
    /// Read marks that the caller must publish on the channels of their users; empty unless Redis is a cluster.
    pub notices: Vec<(UserId, Bytes)>,
}

impl Log {
    /// Moves at most 500 marks of one room forward. Appends one record with the marks that moved, and publishes
    /// receipts for them, at most every 500 ms per room. While the room's partition moves, the command is repeated.
    pub async fn mark(&self, room: &RoomId, marks: &[ReadMark]) -> Result<MarkResult, AppendError> {
        let mut moving = MoveRetry::default();
        loop {
            let result = self.try_mark(room, marks).await;
            if !moving.waits_after(&result).await {
                return result;
            }
        }
    }

    async fn try_mark(&self, room: &RoomId, marks: &[ReadMark]) -> Result<MarkResult, AppendError> {
        let mut stored: Vec<Option<StoredUserMarks>> = vec![None; marks.len()];
        let mut head = None;
        for _ in 0..MAX_ATTEMPTS {
            let session = self.session_of(room).await.map_err(no_session)?;
            let command = self.mark_command(&session, room, marks, &stored, head);
            let answer = self.timed(RoundTrip::Mark, self.calls.call(&session, command)).await?;
            match parse_answer(&session, &answer).map_err(AppendError::Unavailable)? {
                ScriptAnswer::Done(marked) => return Ok(marked),
                ScriptAnswer::Seed => self.seed(&session, room).await?,
                ScriptAnswer::Full => return Err(AppendError::Overloaded),
                ScriptAnswer::LookUp(indices) => {
                    let users: Vec<UserId> =
                        indices.iter().filter_map(|index| Some(marks.get(*index)?.user.clone())).collect();
                    let found: StoredMarks = self.authority.marks(room, &users).await.map_err(unavailable)?;
                    head = Some(head.unwrap_or(found.head).min(found.head));
                    for (index, found) in indices.into_iter().zip(found.marks) {
                        // Only the first mark of each user gets the stored marks; the script uses them for all marks of
                        // the user.
                        if let Some(stored) = stored.get_mut(index) {
                            *stored = Some(found);
                        }
                    }
                }
            }
        }
        Err(head_keeps_changing())
    }

    fn mark_command(
        &self,
        session: &Session,
        room: &RoomId,
        marks: &[ReadMark],
        stored: &[Option<StoredUserMarks>],
        head: Option<Seq>,
    ) -> redis::Cmd {
        let header = |kind| Header { room: room.as_str(), kind, ..Header::default() }.encode();
        let mut command = redis::cmd("EVALSHA");
        command.arg(&session.scripts.marks.sha);
        arguments!(command, "marks.lua", KEYS[session.scripts.check_keys(Partition::of(room))]:
            room_key = keys::room(room),
            ingest_key = Partition::of(room).ingest(),
            marks_key = keys::marks(room),
            sent_key = Partition::of(room).sent(),
            stored_key = Partition::of(room).stored(),
        );
        arguments!(command, "marks.lua", ARGV:
            max_backlog = self.limits.max_backlog_records,
            max_backlog_bytes = self.limits.max_backlog_bytes,
            marks_header = header(TYPE_MARKS),
            read_header = header("receipt:read"),
            delivered_header = header("receipt:delivered"),
            room = room.as_str(),
            stored_head = head.map_or_else(String::new, |head| head.to_string()),
        );
        for (mark, stored) in marks.iter().zip(stored) {
            command.arg(if mark.delivered { "delivered" } else { "read" }).arg(mark.user.as_str());
            command.arg(mark.seq.0);
            match stored {
                None => command.arg("").arg(""),
                Some(None) => command.arg("-").arg("-"),
                Some(Some((read, delivered))) => command.arg(read.0).arg(delivered.0),
            };
        }
        command
    }
}

/// A user's stored read and delivered mark, or `None` if the user is not a member.
type StoredUserMarks = Option<(Seq, Seq)>;

/// The answer of `marks.lua`.
enum ScriptAnswer {
    Done(MarkResult),
    Seed,
    Full,
    /// Indices of marks whose users must be looked up.
    LookUp(Vec<usize>),
}

fn parse_answer(session: &Session, value: &Value) -> Result<ScriptAnswer, String> {
    let malformed = || format!("unexpected answer of the marks script: {value:?}");
    let Value::Array(parts) = value else { return Err(malformed()) };
    let status: String = parts.first().map(parse_value).transpose()?.ok_or_else(malformed)?;
    Ok(match (status.as_str(), parts.as_slice()) {
        ("ok", [_, head, at_ms, ingest, due_in_ms, positions @ ..]) => {
            let (positions, notices) = match positions {
                [positions @ .., Value::Array(notices)] => (positions, parse_notices(notices)?),
                positions => (positions, Vec::new()),
            };
            let ingest = Some(parse_value::<String>(ingest)?).filter(|id| !id.is_empty());
            let ingest = ingest.map(|id| id.parse::<IngestId>()).transpose().map_err(|_| malformed())?;
            let (at_ms, due_in_ms) = (parse_value(at_ms)?, parse_value::<u64>(due_in_ms)?);
            let epoch = session.epoch;
            let position = |value| Ok(u64::try_from(parse_value::<i64>(value)?).ok().map(Seq));
            ScriptAnswer::Done(MarkResult {
                accepted: Accepted { seq: Seq(0), epoch, at_ms, ingest, id: String::new(), duplicate: false },
                head: Seq(parse_value(head)?),
                positions: positions.iter().map(position).collect::<Result<_, String>>()?,
                receipts_due_in: (due_in_ms > 0).then(|| Duration::from_millis(due_in_ms)),
                notices,
            })
        }
        ("lookup", [_, numbers @ ..]) => {
            let index = |number| Ok(parse_value::<usize>(number)?.saturating_sub(1));
            ScriptAnswer::LookUp(numbers.iter().map(index).collect::<Result<_, String>>()?)
        }
        ("seed", _) => ScriptAnswer::Seed,
        ("full", _) => ScriptAnswer::Full,
        _ => return Err(malformed()),
    })
}

/// Parses the notices of a cluster, each `<user>` U+001E `<payload>`. Skips those of invalid user ids.
fn parse_notices(notices: &[Value]) -> Result<Vec<(UserId, Bytes)>, String> {
    let notices = notices.iter().map(parse_value::<String>).collect::<Result<Vec<_>, String>>()?;
    let notice = |notice: String| {
        let (user, payload) = notice.split_once('\u{1e}')?;
        Some((UserId::parse(user).ok()?, Bytes::copy_from_slice(payload.as_bytes())))
    };
    Ok(notices.into_iter().filter_map(notice).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_of_a_cluster_are_split_by_user() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let notices = parse_notices(&[text("}bob\u{1e}read r 1\n{}"), text("no payload")]).unwrap();
        let bob = UserId::parse("}bob").unwrap();
        assert_eq!(notices, [(bob, Bytes::from_static(b"read r 1\n{}"))]);
    }
}
