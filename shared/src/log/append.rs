//! The append of one event: the entry, the arguments and the answers of `append.lua`, and the errors.
//! Long because the entry, the arguments and the answers change together with the script.

use std::borrow::Cow;

use redis::{FromRedisValue, Value};
use thiserror::Error;

use super::{
    arguments::arguments,
    backlog::LogLimits,
    keys::{self, Partition},
    record::{Header, IngestId, Visibility},
    scripts::Scripts,
};
use crate::{
    error::{ErrorCode, Refusal},
    events::MESSAGE_NEW,
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    message::{Draft, Sender, change::Actor},
    role::MinRole,
};

/// The memberships that the caller of an append has used for its decision, as of a seq. If one of them changed above
/// this seq, the append is refused as [`AppendError::Stale`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownMemberships {
    /// All memberships of the room.
    Room(Seq),
    /// Only the membership of the user whose membership the event changes.
    User(Seq),
}

impl KnownMemberships {
    fn encode(self) -> String {
        match self {
            Self::Room(seq) => seq.to_string(),
            Self::User(seq) => format!("u{seq}"),
        }
    }
}

/// An event to append to a room's log, with the conditions under which the append script accepts it.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    pub room: &'a RoomId,
    /// The user who causes the event; `None` for an event of the system, such as `message:void`.
    pub sender: Option<&'a UserId>,
    /// Redis and PostgreSQL recognise a repeated append by this id. Without an id every call appends a new event.
    pub client_id: Option<ClientId>,
    /// Wire type of the event, such as `message:new`.
    pub kind: &'a str,
    /// The id of the new message; `None` for all events except `message:new`.
    pub id: Option<String>,
    pub visibility: Visibility,
    /// The user whose membership this event changes, and the new role or [`crate::role::REMOVED`].
    pub membership: Option<(&'a UserId, &'a str)>,
    /// The append is refused as [`AppendError::Stale`] if memberships that the caller used changed above this seq.
    pub members_upto: Option<KnownMemberships>,
    /// The append is refused as [`AppendError::Stale`] if a message of the room was deleted above this seq.
    pub deletes_upto: Option<Seq>,
    /// The append is refused as [`AppendError::Stale`] if the room has an event above this seq.
    pub log_upto: Option<Seq>,
    /// The original time of an imported event, ms since 1970. Gateways are not told of such an event: they find the new
    /// head, and clients read the event as history. `None`: the event has the present time of Redis.
    pub imported_at_ms: Option<i64>,
    /// Change of the room's number of members: -1, 0 or 1.
    pub members_delta: i8,
    /// New values of fields of the room's hash: `name`, `archived` (`0` or `1`), `slow_mode_s`.
    pub sets: Vec<(&'static str, String)>,
    /// Whether the append drops the room's tail, because the tail may contain the message that this event deletes.
    pub drops_tail: bool,
    pub traceparent: Option<&'a str>,
    /// JSON object with the event's own fields; the script puts `type`, `room`, `seq` and `at` before them.
    pub body: String,
    /// Lowest role with which the sender may cause this event.
    pub min_role: MinRole,
    pub allowed_in_archive: bool,
    /// Whether the slow mode of the room limits this event: true for a message of a member who may not change the room.
    pub obeys_slow_mode: bool,
    /// Whether the event, such as a removal, is appended even if the backlog is full.
    pub exempt_from_backlog: bool,
    /// Whether the sender promises that this client id was never sent before.
    pub first_attempt: bool,
    /// Whether this is an event other than a message. The client ids of such events are remembered separately from
    /// those of messages, and only in Redis.
    pub is_change: bool,
}

impl<'a> Entry<'a> {
    /// Creates an event of the system. It is refused if the backlog is full, or the room is archived or missing.
    pub fn new(room: &'a RoomId, kind: &'a str, body: String) -> Self {
        Self {
            room,
            sender: None,
            client_id: None,
            kind,
            id: None,
            visibility: Visibility::default(),
            membership: None,
            members_upto: None,
            deletes_upto: None,
            log_upto: None,
            imported_at_ms: None,
            members_delta: 0,
            sets: Vec::new(),
            drops_tail: false,
            traceparent: None,
            body,
            min_role: MinRole::Guest,
            allowed_in_archive: false,
            obeys_slow_mode: false,
            exempt_from_backlog: false,
            first_attempt: false,
            is_change: true,
        }
    }

    /// The client id in the form in which Redis remembers it; empty if the event has none.
    fn remembered_id(&self) -> Cow<'_, str> {
        let client_id = self.client_id.as_ref().map_or("", ClientId::as_str);
        // The prefix U+001E separates client ids of changes from those of messages, because no client id contains it.
        if self.is_change && !client_id.is_empty() {
            ["\u{1e}", client_id].concat().into()
        } else {
            client_id.into()
        }
    }
}

impl Draft {
    /// Returns the entry of a message that this user sends now. Refuses a user who may not send.
    pub fn sent_by<'a>(
        &self,
        room: &'a RoomId,
        actor: &Actor<'a>,
        name: Option<&str>,
        picture: Option<&str>,
    ) -> Result<Entry<'a>, Refusal> {
        let min_role = self.permit(actor)?;
        let entry = self.entry(room, actor.user, name, picture, min_role);
        Ok(Entry { obeys_slow_mode: actor.obeys_slow_mode(), ..entry })
    }

    /// Returns the entry that appends this message with a new message id (UUIDv7). `min_role` must be the result of
    /// [`Draft::permit`].
    pub fn entry<'a>(
        &self,
        room: &'a RoomId,
        user: &'a UserId,
        name: Option<&str>,
        picture: Option<&str>,
        min_role: MinRole,
    ) -> Entry<'a> {
        let id = uuid::Uuid::now_v7().to_string();
        Entry {
            sender: Some(user),
            client_id: Some(self.client_id.clone()),
            id: Some(id.clone()),
            visibility: self.visibility.clone(),
            min_role,
            first_attempt: self.first_attempt,
            is_change: false,
            ..Entry::new(room, MESSAGE_NEW, self.body(&id, Sender { id: user.as_str(), name, picture }))
        }
    }
}

/// An event that was appended to a room's log, by this call or an earlier one, or a marks record in the ingest stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub seq: Seq,
    /// The epoch in which the event was appended. Only a stored watermark of this epoch can cover the event.
    pub epoch: Epoch,
    pub at_ms: i64,
    /// The event's id in the ingest stream, or `None` if the event is already stored.
    pub ingest: Option<IngestId>,
    /// The id of the message; empty for other events.
    pub id: String,
    /// Whether the client id was accepted before. Then `seq`, `at_ms`, `ingest` and `id` are those of the first event.
    pub duplicate: bool,
}

/// Why an append failed. After `Unavailable` the event may nevertheless be in the log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    #[error("no such room")]
    NoSuchRoom,
    #[error("the sender was removed from the room, or is being erased")]
    Revoked,
    #[error("the sender's role does not allow this")]
    RoleTooLow,
    #[error("the room is archived")]
    Archived,
    /// The sender may send again after this number of milliseconds.
    #[error("the room is in slow mode")]
    SlowMode(u64),
    /// At this seq a membership changed above [`Entry::members_upto`], a message was deleted above
    /// [`Entry::deletes_upto`], or there is any event above [`Entry::log_upto`].
    #[error("the state on which the decision is based has changed")]
    Stale(Seq),
    #[error("the backlog of records that are not yet stored is full")]
    Overloaded,
    #[error("the event of this client id was accepted before, but could not be stored")]
    Rejected,
    #[error("{0}")]
    Unavailable(String),
    #[error("commands and hints come from different Redis processes")]
    OtherProcess,
    /// The partition's slot in a Redis Cluster is moving to another process, or has just moved. Nothing was appended.
    #[error("the room's partition is moving to another Redis process")]
    Moving,
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NoSuchRoom | AppendError::Revoked => Refusal::not_found("room"),
            AppendError::RoleTooLow => {
                Refusal::new(ErrorCode::Forbidden, "your role in this room does not allow this")
            }
            AppendError::Archived => {
                Refusal::new(ErrorCode::Conflict, "the room is archived and takes no changes")
            }
            AppendError::SlowMode(wait_ms) => {
                Refusal::rate_limited("the room is in slow mode; repeat this message later", wait_ms)
                    .with_reason("slow_mode")
            }
            AppendError::Overloaded => {
                Refusal::overloaded("storage is behind; repeat with the same client_id")
            }
            AppendError::Rejected => Refusal::new(ErrorCode::BadRequest, "this message could not be stored")
                .with_reason("rejected"),
            AppendError::Unavailable(_)
            | AppendError::OtherProcess
            | AppendError::Moving
            | AppendError::Stale(_) => {
                tracing::debug!(%error, "append unavailable");
                Refusal::unavailable("the room log is unavailable; repeat with the same client_id")
            }
        }
    }
}

/// What `append.lua` does if Redis does not remember the client id of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UnknownClientId {
    /// It appends the event: the client id is new, or is remembered only in Redis.
    Append,
    /// It appends the event if the client id is certainly new. Otherwise it answers [`AppendAnswer::LookUp`].
    AppendIfNew,
    /// PostgreSQL does not know the client id either. This is the text of the answer [`AppendAnswer::LookUp`].
    LookedUp(String),
    /// It appends nothing, and answers [`AppendAnswer::LookUp`].
    LookUp,
}

impl UnknownClientId {
    fn encode(&self) -> &str {
        match self {
            Self::Append => "1",
            Self::AppendIfNew => "new",
            Self::LookedUp(text) => text,
            Self::LookUp => "0",
        }
    }
}

/// The answer of `append.lua`. After `Seed` the caller seeds the room, after `LookUp` it looks up the client id. Then
/// it calls the script again, after `LookUp` with the text of this answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AppendAnswer {
    Done(Accepted),
    Seed,
    LookUp(String),
    Refused(AppendError),
}

/// Initial capacities for an append command: its usual number of arguments, and their usual size without the body.
const USUAL_COMMAND_ARGS: usize = 30;
const USUAL_COMMAND_BYTES: usize = 1024;

impl Entry<'_> {
    /// The fields of the record's header from `room` on. The append script writes the fields before them.
    pub(super) fn header_rest(&self) -> String {
        let membership =
            self.membership.map_or_else(String::new, |(user, role)| format!("{user}\u{1e}{role}"));
        Header {
            room: self.room.as_str(),
            kind: self.kind,
            sender: self.sender.map_or("", UserId::as_str),
            client_id: self.client_id.as_ref().map_or("", ClientId::as_str),
            id: self.id.as_deref().unwrap_or(""),
            visibility: &self.visibility.encode(),
            membership: &membership,
            traceparent: self.traceparent.unwrap_or(""),
        }
        .encode()
    }

    /// The beginning of the event's JSON, up to the value of `seq`.
    pub(super) fn json_before_seq(kind: &str, room: &RoomId) -> String {
        // Room ids and types contain no character that JSON escapes.
        ["{\"type\":\"", kind, "\",\"room\":\"", room.as_str(), "\",\"seq\":"].concat()
    }

    /// The end of the event's JSON, after the value of `at`.
    pub(super) fn json_after_at(&self) -> String {
        let rest = self.body.strip_prefix('{').unwrap_or("}");
        let comma = if rest == "}" { "" } else { "," };
        [comma, rest].concat()
    }

    /// What `append.lua` does at the first call if Redis does not remember the client id.
    pub(super) fn unknown_client_id(&self) -> UnknownClientId {
        if self.first_attempt || self.is_change || self.sender.is_none() {
            UnknownClientId::Append
        } else {
            UnknownClientId::AppendIfNew
        }
    }

    /// The time in the client id, in ms since 1970, if the entry is a message and its client id is a UUIDv7.
    pub(super) fn client_id_ms(&self) -> Option<u64> {
        let is_message = !self.is_change && self.sender.is_some();
        self.client_id.as_ref().filter(|_| is_message)?.uuid_v7_at_ms()
    }

    /// Creates the call of `append.lua`. Limits of 0 mean no limit.
    pub(super) fn command(
        &self,
        scripts: &Scripts,
        unknown: &UnknownClientId,
        limits: LogLimits,
    ) -> redis::Cmd {
        let limits = if self.exempt_from_backlog { LogLimits::default() } else { limits };
        let partition = Partition::of(self.room);
        let sender = self.sender.map_or("", UserId::as_str);
        let mut command =
            redis::Cmd::with_capacity(USUAL_COMMAND_ARGS, USUAL_COMMAND_BYTES + self.body.len());
        command.arg("EVALSHA").arg(&scripts.append.sha);
        arguments!(command, "append.lua", KEYS[scripts.check_keys(partition)]:
            room_key = keys::room(self.room),
            tail_key = keys::tail(self.room),
            ingest_key = partition.ingest(),
            stored_key = partition.stored(),
            sent_key = partition.sent(),
            erased_key = partition.erased(sender),
        );
        arguments!(command, "append.lua", ARGV:
            sender = sender,
            client_id = &*self.remembered_id(),
            looked_up = unknown.encode(),
            max_backlog = limits.max_backlog_records,
            max_backlog_bytes = limits.max_backlog_bytes,
            min_role = self.min_role as i32,
            allowed_in_archive = i32::from(self.allowed_in_archive),
            header_rest = self.header_rest(),
            json_before_seq = Self::json_before_seq(self.kind, self.room),
            json_after_at = self.json_after_at(),
            message_id = self.id.as_deref().unwrap_or(""),
            member = self.membership.map_or("", |(user, _)| user.as_str()),
            new_role = self.membership.map_or("", |(_, role)| role),
            members_upto = self.members_upto.map_or_else(String::new, KnownMemberships::encode),
            drops_tail = i32::from(self.drops_tail),
            members_delta = self.members_delta,
            deletes_upto = self.deletes_upto.map_or_else(String::new, |seq| seq.to_string()),
            obeys_slow_mode = i32::from(self.obeys_slow_mode),
            imported_at = self.imported_at_ms.map_or_else(String::new, |at_ms| at_ms.to_string()),
            log_upto = self.log_upto.map_or_else(String::new, |seq| seq.to_string()),
            id_ms = self.client_id_ms().map_or_else(String::new, |ms| ms.to_string()),
        );
        for (field, value) in &self.sets {
            command.arg(field).arg(value);
        }
        command
    }

    /// Parses an answer of `append.lua` in a session of this epoch. The error describes an answer of an unknown form.
    pub(super) fn parse_answer(&self, epoch: Epoch, value: Value) -> Result<AppendAnswer, String> {
        let malformed = |value: &Value| format!("unexpected answer of the append script: {value:?}");
        let Value::Array(parts) = &value else { return Err(malformed(&value)) };
        let status: String = parts.first().map(parse_value).transpose()?.ok_or_else(|| malformed(&value))?;
        let accepted = |seq: &Value, at_ms: &Value, ingest: &Value| -> Result<Accepted, String> {
            let (seq, at_ms, ingest) =
                (Seq(parse_value(seq)?), parse_value(at_ms)?, Some(parse_ingest_id(ingest)?));
            let id = self.id.clone().unwrap_or_default();
            Ok(Accepted { seq, epoch, at_ms, ingest, id, duplicate: false })
        };
        Ok(match (status.as_str(), parts.as_slice()) {
            ("ok", [_, seq, at_ms, ingest]) => AppendAnswer::Done(accepted(seq, at_ms, ingest)?),
            ("known", [_, seq, at_ms, ingest, id, _epoch]) => {
                let first = accepted(seq, at_ms, ingest)?;
                AppendAnswer::Done(Accepted { id: parse_value(id)?, duplicate: true, ..first })
            }
            ("seed", _) => AppendAnswer::Seed,
            ("lookup", [_, text]) => AppendAnswer::LookUp(parse_value(text)?),
            ("stale", [_, seq]) => AppendAnswer::Refused(AppendError::Stale(Seq(parse_value(seq)?))),
            ("revoked", _) => AppendAnswer::Refused(AppendError::Revoked),
            ("role", _) => AppendAnswer::Refused(AppendError::RoleTooLow),
            ("archived", _) => AppendAnswer::Refused(AppendError::Archived),
            ("slow", [_, wait_ms]) => AppendAnswer::Refused(AppendError::SlowMode(parse_value(wait_ms)?)),
            ("full", _) => AppendAnswer::Refused(AppendError::Overloaded),
            _ => return Err(malformed(&value)),
        })
    }
}

/// Converts a part of a script's answer. The error describes the wrong value.
pub(super) fn parse_value<T: FromRedisValue>(value: &Value) -> Result<T, String> {
    T::from_redis_value_ref(value).map_err(|error| error.to_string())
}

/// Converts an ingest id in a script's answer. The error describes the wrong value.
pub(super) fn parse_ingest_id(value: &Value) -> Result<IngestId, String> {
    parse_value::<String>(value)?.parse().map_err(|error: super::record::RecordError| error.to_string())
}
