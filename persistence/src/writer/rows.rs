//! Writes the rows of a batch, with one statement per table that takes arrays as parameters (UNNEST). An empty text
//! stands for NULL in nullable columns. Lists of users and roles are joined with U+001E, which no id and no role can
//! contain.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, Value};
use serde_json::value::RawValue;
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::log::Record;

use super::failure;
use super::outcome::{Exception, WriteError};
use crate::batch::{
    EventRow, HeadAdvance, Marks, MessageRow, PartitionAdvance, RejectedRecord, RoomUpdate, VoidReason,
};
use crate::sql::{
    LIST_SEPARATOR, bigint, column, join_users, room_column, seq_column, smallint, statement,
    timestamp_from_ms, write_rows,
};

/// Inserts messages. The parameters are the [`message_columns`]; `batch::one_statement` binds the same ones.
pub const INSERT_MESSAGES_SQL: &str = "\
    INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, reply_to, attachments, metadata, \
      visible_users, visible_roles, at, last_seq, mentions) \
    SELECT room, seq, id, sender, client, kind, content, NULLIF(reply_to, 0), NULLIF(attachments, '')::json, \
      NULLIF(metadata, '')::json, string_to_array(NULLIF(users, ''), chr(30)), \
      string_to_array(NULLIF(roles, ''), chr(30)), at, seq, string_to_array(NULLIF(mentions, ''), chr(30)) \
    FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], \
      $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::text[]) WITH ORDINALITY AS v \
      (room, seq, id, sender, client, kind, content, reply_to, attachments, metadata, users, roles, at, mentions, place)";

/// Inserts messages. Fails with [`WriteError::ClientIdTaken`] if a client id or a seq is already used.
pub async fn insert_messages(
    transaction: &DatabaseTransaction,
    messages: &[MessageRow<'_>],
) -> Result<(), WriteError> {
    if messages.is_empty() {
        return Ok(());
    }
    let inserted = transaction.execute_raw(statement(INSERT_MESSAGES_SQL, message_columns(messages))).await;
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
    let sql = format!("{INSERT_MESSAGES_SQL} ORDER BY place ON CONFLICT DO NOTHING");
    let inserted = transaction.execute_raw(statement(&sql, message_columns(messages))).await?;
    if inserted.rows_affected() == messages.len() as u64 {
        return Ok(Vec::new());
    }
    missing_messages(transaction, messages).await
}

fn message_columns(messages: &[MessageRow<'_>]) -> [Value; 14] {
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
        column(messages, |message| message.visibility.users.join(LIST_SEPARATOR)),
        column(messages, |message| message.visibility.roles.join(LIST_SEPARATOR)),
        column(messages, |message| timestamp_from_ms(message.record.at_ms)),
        column(messages, |message| join_users(message.fields.mentions.as_deref())),
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
    let key = |row: &QueryResult| Ok((room_column(row, "room_id")?, seq_column(row, "seq")?));
    let stored: HashSet<(RoomId, Seq)> = rows.iter().map(key).collect::<Result<_, DbErr>>()?;
    let missing = messages
        .iter()
        .enumerate()
        .filter(|(_, message)| !stored.contains(&(message.room.clone(), message.record.seq)));
    Ok(missing.map(|(index, _)| index).collect())
}

/// The message that first used a client id. Its `Display` is the text in `Exception::outcome`.
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
            seq: seq_column(row, "seq")?,
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
        column(events, |event| timestamp_from_ms(event.at_ms)),
        column(events, |event| event.body.clone()),
        column(events, |event| event.visibility.users.join(LIST_SEPARATOR)),
        column(events, |event| event.visibility.roles.join(LIST_SEPARATOR)),
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

/// Moves read and delivered marks of members, only forward.
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
        column(&rows, |(_, marks)| timestamp_from_ms(marks.read_at_ms)),
        column(&rows, |(_, marks)| bigint(marks.delivered.0)),
        column(&rows, |(_, marks)| timestamp_from_ms(marks.delivered_at_ms)),
    ];
    write_rows(transaction, marks.len(), sql, values).await
}

/// Moves heads. The UPDATE itself has the condition on the old head, so it is checked on the row that changes.
pub const ADVANCE_HEADS_SQL: &str = "\
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
        column(&rows, |(_, advance)| timestamp_from_ms(advance.last_message_at_ms.unwrap_or(0))),
        column(&rows, |(_, advance)| advance.last_message_at_ms.is_some()),
    ];
    let moved = transaction.execute_raw(statement(ADVANCE_HEADS_SQL, values)).await?;
    if moved.rows_affected() != heads.len() as u64 {
        return Err(DbErr::Custom("a head moved under its partition's lock".to_owned()));
    }
    Ok(())
}

/// Writes updates of rooms. Fields that an update omits stay as they are. An update counts as activity in the room.
pub async fn update_rooms(
    transaction: &DatabaseTransaction,
    updates: &BTreeMap<RoomId, RoomUpdate>,
) -> Result<(), DbErr> {
    let rows: Vec<(&RoomId, &RoomUpdate)> = updates.iter().collect();
    let sql = "UPDATE rooms r SET \
                 name = CASE WHEN v.has_name THEN NULLIF(v.name, '') ELSE r.name END, \
                 metadata = CASE WHEN v.metadata <> '' THEN v.metadata::json ELSE r.metadata END, \
                 archived = CASE WHEN v.has_archived THEN v.archived ELSE r.archived END, \
                 slow_mode_s = CASE WHEN v.slow_mode_s >= 0 THEN v.slow_mode_s ELSE r.slow_mode_s END, \
                 updated_at = GREATEST(r.updated_at, v.at) \
               FROM unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::boolean[], $6::boolean[], \
                 $7::integer[], $8::timestamptz[]) \
                 AS v (room, has_name, name, metadata, has_archived, archived, slow_mode_s, at) \
               WHERE r.id = v.room";
    let values = [
        column(&rows, |(room, _)| room.as_str().to_owned()),
        column(&rows, |(_, update)| update.name.is_some()),
        column(&rows, |(_, update)| update.name.clone().unwrap_or_default()),
        column(&rows, |(_, update)| update.metadata.clone().unwrap_or_default()),
        column(&rows, |(_, update)| update.archived.is_some()),
        column(&rows, |(_, update)| update.archived.unwrap_or_default()),
        column(&rows, |(_, update)| update.slow_mode_s.map_or(-1, i32::from)),
        column(&rows, |(_, update)| timestamp_from_ms(update.at_ms)),
    ];
    write_rows(transaction, updates.len(), sql, values).await
}

/// Stores rejected records as dead letters.
pub async fn store_dead_letters(
    transaction: &DatabaseTransaction,
    claims: &[PartitionAdvance],
    rejects: &[RejectedRecord<'_>],
) -> Result<(), DbErr> {
    for RejectedRecord { entry, at, reason } in rejects {
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

/// Finds the records of earlier batches that became voids: the event at their seq is a void with the same client id.
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
            Some(id) => {
                let seq = seq_column(row, "first_seq")?;
                FirstMessage { seq, id, at_ms: row.try_get_by("at_ms")? }.to_string()
            }
            None => "rejected".to_owned(),
        };
        Ok(Exception { room: room_column(row, "room_id")?, seq: seq_column(row, "seq")?, outcome })
    };
    rows.iter().map(void).collect()
}
