//! Writes the rows of a batch, with one statement per table that takes arrays as parameters (UNNEST). An empty text
//! stands for NULL in nullable columns. Lists of users and roles are joined with U+001E, which no id and no role can
//! contain.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, Value};
use serde_json::value::RawValue;
use tidings_shared::{
    ids::{RoomId, Seq},
    log::Record,
};

use super::{
    failure,
    outcome::{Exception, WriteError},
};
use crate::batch::{BatchClaim, EventRow, HeadAdvance, Marks, MessageRow, Reject, RoomUpdate, VoidReason};
use crate::sql::{bigint, column, room as room_of, seq as seq_of, smallint, statement, time, write_rows};

pub const LIST: &str = "\u{1e}";

/// The columns are those of [`message_columns`], in the same order. `batch::one_statement` binds the same columns.
pub const INSERT_MESSAGES: &str = "\
    INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, reply_to, attachments, metadata, \
      visible_users, visible_roles, at, last_seq) \
    SELECT room, seq, id, sender, client, kind, content, NULLIF(reply_to, 0), NULLIF(attachments, '')::json, \
      NULLIF(metadata, '')::json, string_to_array(NULLIF(users, ''), chr(30)), \
      string_to_array(NULLIF(roles, ''), chr(30)), at, seq \
    FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], \
      $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[]) WITH ORDINALITY AS v \
      (room, seq, id, sender, client, kind, content, reply_to, attachments, metadata, users, roles, at, place)";

/// Inserts messages. Fails with [`WriteError::ClientIdTaken`] if a client id or a seq is already used.
pub async fn insert_messages(
    transaction: &DatabaseTransaction,
    messages: &[MessageRow<'_>],
) -> Result<(), WriteError> {
    if messages.is_empty() {
        return Ok(());
    }
    let inserted = transaction.execute_raw(statement(INSERT_MESSAGES, message_columns(messages))).await;
    match inserted {
        Err(error) if failure::is_unique_violation(&error) => Err(WriteError::ClientIdTaken),
        inserted => Ok(inserted.map(drop)?),
    }
}

/// Inserts the messages whose client ids are new, and returns the indices of the others. Of two messages with the same
/// client id the first is inserted.
pub async fn insert_new_messages(
    transaction: &DatabaseTransaction,
    messages: &[MessageRow<'_>],
) -> Result<Vec<usize>, DbErr> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("{INSERT_MESSAGES} ORDER BY place ON CONFLICT DO NOTHING");
    let inserted = transaction.execute_raw(statement(&sql, message_columns(messages))).await?;
    if inserted.rows_affected() == messages.len() as u64 {
        return Ok(Vec::new());
    }
    missing_messages(transaction, messages).await
}

fn message_columns(messages: &[MessageRow<'_>]) -> [Value; 13] {
    let text = |json: Option<&RawValue>| json.map_or("", RawValue::get).to_owned();
    [
        column(messages, |message| message.room.as_str().to_owned()),
        column(messages, |message| bigint(message.record.seq.0)),
        column(messages, |message| message.id),
        column(messages, |message| message.record.sender().to_owned()),
        column(messages, |message| message.record.client_id().to_owned()),
        column(messages, |message| message.fields.kind.clone().into_owned()),
        column(messages, |message| message.fields.content.clone().into_owned()),
        column(messages, |message| message.fields.reply_to.map_or(0, |seq| bigint(seq.0))),
        column(messages, |message| text(message.fields.attachments)),
        column(messages, |message| text(message.fields.metadata)),
        column(messages, |message| message.visibility.users.join(LIST)),
        column(messages, |message| message.visibility.roles.join(LIST)),
        column(messages, |message| time(message.record.at_ms)),
    ]
}

/// The indices of messages that are not stored at their seqs. No other transaction can write these seqs at this time.
async fn missing_messages(
    transaction: &DatabaseTransaction,
    messages: &[MessageRow<'_>],
) -> Result<Vec<usize>, DbErr> {
    let sql = "SELECT m.room_id, m.seq FROM unnest($1::text[], $2::bigint[], $3::uuid[]) AS v (room, seq, id) \
               JOIN messages m ON m.room_id = v.room AND m.seq = v.seq AND m.id = v.id";
    let values = [
        column(messages, |message| message.room.as_str().to_owned()),
        column(messages, |message| bigint(message.record.seq.0)),
        column(messages, |message| message.id),
    ];
    let rows = transaction.query_all_raw(statement(sql, values)).await?;
    let key = |row: &QueryResult| Ok((room_of(row, "room_id")?, seq_of(row, "seq")?));
    let stored: HashSet<(RoomId, Seq)> = rows.iter().map(key).collect::<Result<_, DbErr>>()?;
    let missing = messages
        .iter()
        .enumerate()
        .filter(|(_, message)| !stored.contains(&(message.room.clone(), message.record.seq)));
    Ok(missing.map(|(index, _)| index).collect())
}

/// The message that first used a client id. Its `Display` is the format of exceptions of a watermark.
#[derive(Debug)]
pub struct FirstMessage {
    pub seq: Seq,
    id: uuid::Uuid,
    at_ms: i64,
}

impl fmt::Display for FirstMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.seq, self.id, self.at_ms)
    }
}

/// For each of the messages at `indices`: the stored message with the same client id, if there is one.
pub async fn first_messages(
    transaction: &DatabaseTransaction,
    messages: &[MessageRow<'_>],
    indices: &[usize],
) -> Result<HashMap<usize, FirstMessage>, DbErr> {
    let these: Vec<&MessageRow<'_>> = indices.iter().map(|index| &messages[*index]).collect();
    let sql = "SELECT v.place, m.seq, m.id, (extract(epoch FROM m.at) * 1000)::bigint AS at_ms \
               FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS v (room, sender, client, place) \
               JOIN messages m ON m.room_id = v.room AND m.sender_id = v.sender AND m.client_id = v.client";
    let values = [
        column(&these, |message| message.room.as_str().to_owned()),
        column(&these, |message| message.record.sender().to_owned()),
        column(&these, |message| message.record.client_id().to_owned()),
    ];
    let rows = transaction.query_all_raw(statement(sql, values)).await?;
    let mut firsts = HashMap::with_capacity(rows.len());
    for row in &rows {
        let position: i64 = row.try_get_by("place")?;
        let index = usize::try_from(position - 1).ok().and_then(|position| indices.get(position));
        let first = FirstMessage {
            seq: seq_of(row, "seq")?,
            id: row.try_get_by("id")?,
            at_ms: row.try_get_by("at_ms")?,
        };
        if let Some(index) = index {
            firsts.insert(*index, first);
        }
    }
    Ok(firsts)
}

/// Inserts events. Fails the batch if a row at the same seq exists, which would be a bug.
pub async fn insert_events(transaction: &DatabaseTransaction, events: &[EventRow]) -> Result<(), DbErr> {
    let nil = uuid::Uuid::nil();
    let void_of = |event: &EventRow| match event.void {
        Some(VoidReason::Duplicate(first)) => bigint(first.0),
        _ => 0,
    };
    let sql = "INSERT INTO events (room_id, seq, type, actor_id, client_id, target, target_id, at, body, visible_users, \
                 visible_roles, void_reason, void_of, void_told, void_type) \
               SELECT room, seq, type, NULLIF(actor, ''), NULLIF(client, ''), NULLIF(target, 0), NULLIF(target_id, $15), \
                 at, body::json, string_to_array(NULLIF(users, ''), chr(30)), \
                 string_to_array(NULLIF(roles, ''), chr(30)), NULLIF(reason, ''), NULLIF(void_of, 0), \
                 CASE WHEN is_void THEN false END, NULLIF(void_type, '') \
               FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::uuid[], \
                 $8::timestamptz[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::boolean[], \
                 $16::text[]) AS v (room, seq, type, actor, client, target, target_id, at, body, users, roles, reason, \
                 void_of, is_void, void_type)";
    let values = [
        column(events, |event| event.room.as_str().to_owned()),
        column(events, |event| bigint(event.seq.0)),
        column(events, |event| event.kind.clone()),
        column(events, |event| event.actor.clone()),
        column(events, |event| event.client_id.clone()),
        column(events, |event| event.target.map_or(0, |target| bigint(target.0))),
        column(events, |event| event.target_id.unwrap_or(nil)),
        column(events, |event| time(event.at_ms)),
        column(events, |event| event.body.clone()),
        column(events, |event| event.visibility.users.join(LIST)),
        column(events, |event| event.visibility.roles.join(LIST)),
        column(events, |event| event.void.as_ref().map_or("", |void| void.as_str()).to_owned()),
        column(events, void_of),
        column(events, |event| event.void.is_some()),
        nil.into(),
        column(events, |event| event.void_type.clone()),
    ];
    write_rows(transaction, events.len(), sql, values).await
}

/// Marks voids as announced, because this batch stores their `message:void` events.
pub async fn mark_announced(transaction: &DatabaseTransaction, voids: &[(RoomId, Seq)]) -> Result<(), DbErr> {
    let sql = "UPDATE events e SET void_told = true FROM unnest($1::text[], $2::bigint[]) AS v (room, target) \
               WHERE e.room_id = v.room AND e.seq = v.target AND e.void_told = false";
    let values =
        [column(voids, |(room, _)| room.as_str().to_owned()), column(voids, |(_, target)| bigint(target.0))];
    write_rows(transaction, voids.len(), sql, values).await
}

/// Moves read and delivered marks of members forward, and never back.
pub async fn move_marks(
    transaction: &DatabaseTransaction,
    marks: &BTreeMap<(RoomId, String), Marks>,
) -> Result<(), DbErr> {
    let rows: Vec<(&(RoomId, String), &Marks)> = marks.iter().collect();
    let sql = "UPDATE members m SET \
                 read_seq = GREATEST(m.read_seq, v.read), \
                 read_at = CASE WHEN v.read > m.read_seq THEN v.read_at ELSE m.read_at END, \
                 delivered_seq = GREATEST(m.delivered_seq, v.delivered), \
                 delivered_at = CASE WHEN v.delivered > m.delivered_seq THEN v.delivered_at ELSE m.delivered_at END \
               FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::timestamptz[]) \
                 AS v (room, member, read, read_at, delivered, delivered_at) \
               WHERE m.room_id = v.room AND m.user_id = v.member \
                 AND (v.read > m.read_seq OR v.delivered > m.delivered_seq)";
    let values = [
        column(&rows, |((room, _), _)| room.as_str().to_owned()),
        column(&rows, |((_, user), _)| user.clone()),
        column(&rows, |(_, marks)| bigint(marks.read.0)),
        column(&rows, |(_, marks)| time(marks.read_at_ms)),
        column(&rows, |(_, marks)| bigint(marks.delivered.0)),
        column(&rows, |(_, marks)| time(marks.delivered_at_ms)),
    ];
    write_rows(transaction, marks.len(), sql, values).await
}

/// The condition on the head is on the updated row itself.
pub const ADVANCE_HEADS: &str = "\
    UPDATE rooms r SET head_seq = v.upto, \
      updated_at = CASE WHEN v.has_message THEN GREATEST(r.updated_at, v.at) ELSE r.updated_at END \
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::boolean[]) \
      AS v (room, since, upto, at, has_message) \
    WHERE r.id = v.room AND r.head_seq = v.since";

/// Moves the heads of rooms. Fails if a head has another value than the one from which it moves.
pub async fn advance_heads(
    transaction: &DatabaseTransaction,
    heads: &BTreeMap<RoomId, HeadAdvance>,
) -> Result<(), DbErr> {
    if heads.is_empty() {
        return Ok(());
    }
    let rows: Vec<(&RoomId, &HeadAdvance)> = heads.iter().collect();
    let values = [
        column(&rows, |(room, _)| room.as_str().to_owned()),
        column(&rows, |(_, advance)| bigint(advance.from.0)),
        column(&rows, |(_, advance)| bigint(advance.to.0)),
        column(&rows, |(_, advance)| time(advance.last_message_at_ms.unwrap_or(0))),
        column(&rows, |(_, advance)| advance.last_message_at_ms.is_some()),
    ];
    let moved = transaction.execute_raw(statement(ADVANCE_HEADS, values)).await?;
    if moved.rows_affected() == heads.len() as u64 {
        Ok(())
    } else {
        Err(DbErr::Custom("a head moved under its partition's lock".to_owned()))
    }
}

/// Writes updates of rooms. Fields that an update omits stay as they are. An update counts as activity in the room, like
/// a message.
pub async fn update_rooms(
    transaction: &DatabaseTransaction,
    updates: &BTreeMap<RoomId, RoomUpdate>,
) -> Result<(), DbErr> {
    let rows: Vec<(&RoomId, &RoomUpdate)> = updates.iter().collect();
    let sql = "UPDATE rooms r SET \
                 name = CASE WHEN v.has_name THEN NULLIF(v.name, '') ELSE r.name END, \
                 metadata = CASE WHEN v.metadata <> '' THEN v.metadata::json ELSE r.metadata END, \
                 archived = CASE WHEN v.has_archived THEN v.archived ELSE r.archived END, \
                 updated_at = GREATEST(r.updated_at, v.at) \
               FROM unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::boolean[], $6::boolean[], \
                 $7::timestamptz[]) AS v (room, has_name, name, metadata, has_archived, archived, at) \
               WHERE r.id = v.room";
    let values = [
        column(&rows, |(room, _)| room.as_str().to_owned()),
        column(&rows, |(_, update)| update.name.is_some()),
        column(&rows, |(_, update)| update.name.clone().unwrap_or_default()),
        column(&rows, |(_, update)| update.metadata.clone().unwrap_or_default()),
        column(&rows, |(_, update)| update.archived.is_some()),
        column(&rows, |(_, update)| update.archived.unwrap_or_default()),
        column(&rows, |(_, update)| time(update.at_ms)),
    ];
    write_rows(transaction, updates.len(), sql, values).await
}

/// Stores rejected records as dead letters.
pub async fn store_dead_letters(
    transaction: &DatabaseTransaction,
    claims: &[BatchClaim],
    rejects: &[Reject<'_>],
) -> Result<(), DbErr> {
    for Reject { entry, at, reason } in rejects {
        let partition = entry.partition;
        let claim = claims.iter().find(|claim| claim.expected.lease.partition == partition);
        let epoch = claim.map_or(0, |claim| bigint(claim.expected.epoch.0));
        let (room, seq) = at.as_ref().map(|(room, seq)| (room.to_string(), bigint(seq.0))).unzip();
        let (in_room, at_seq) = (room.clone().unwrap_or_default(), seq.unwrap_or_default());
        // A record without a seq in a room may be read again, but becomes a dead letter only once.
        let sql = "INSERT INTO dead_letters (room_id, seq, partition, epoch, ingest_id, record, reason) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (partition, epoch, ingest_id) DO NOTHING";
        let values = [
            room.into(),
            seq.into(),
            smallint(partition).into(),
            epoch.into(),
            entry.id.to_string().into(),
            entry.raw.to_vec().into(),
            reason.as_ref().into(),
        ];
        transaction.execute_raw(statement(sql, values)).await?;
        let (partition, ingest, reason) = (partition.0, entry.id, reason.as_ref());
        tracing::error!(partition, %ingest, room = in_room, seq = at_seq, reason, "dead letter");
    }
    Ok(())
}

/// Finds those records of earlier batches that became voids: their seq holds a void with the same client id.
pub async fn stored_voids(
    transaction: &DatabaseTransaction,
    records: &[(&Record, RoomId)],
) -> Result<Vec<Exception>, DbErr> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT e.room_id, e.seq, m.seq AS first_seq, m.id, (extract(epoch FROM m.at) * 1000)::bigint AS at_ms \
               FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS v (room, seq, sender, client) \
               JOIN events e ON e.room_id = v.room AND e.seq = v.seq AND e.type = 'void' AND e.void_reason IS NOT NULL \
                 AND COALESCE(e.actor_id, '') = v.sender AND COALESCE(e.client_id, '') = v.client \
               LEFT JOIN messages m ON e.void_reason = 'duplicate' AND m.room_id = e.room_id AND m.seq = e.void_of";
    let values = [
        column(records, |(_, room)| room.as_str().to_owned()),
        column(records, |(record, _)| bigint(record.seq.0)),
        column(records, |(record, _)| record.sender().to_owned()),
        column(records, |(record, _)| record.client_id().to_owned()),
    ];
    let rows = transaction.query_all_raw(statement(sql, values)).await?;
    let void = |row: &QueryResult| {
        let first_id: Option<uuid::Uuid> = row.try_get_by("id")?;
        let outcome = match first_id {
            Some(id) => FirstMessage { seq: seq_of(row, "first_seq")?, id, at_ms: row.try_get_by("at_ms")? }
                .to_string(),
            None => "rejected".to_owned(),
        };
        Ok(Exception { room: room_of(row, "room_id")?, seq: seq_of(row, "seq")?, outcome })
    };
    rows.iter().map(void).collect()
}
