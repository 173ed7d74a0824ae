//! Writes the usual batch, which has only new messages of rooms whose heads are known, with one statement. One
//! statement needs one round trip instead of five, and leaves no transaction open if this process stops.
//!
//! All parts of a statement read one snapshot, which may be older than the locks of the partitions. No part relies on
//! what it reads: the conditions are on the locked and updated rows themselves, and PostgreSQL checks them again on a
//! row that changed while the statement waited for its lock. The number of the batch is unique, and the check of a
//! unique key sees rows that the snapshot does not. The other parts depend on the row with the number, which is
//! inserted when all partitions are locked.
//!
//! If a partition, the number or a head is not as expected, the statement fails and nothing is written. The transaction
//! in `batch` then finds the cause.

use std::sync::LazyLock;
use std::time::SystemTime;

use sea_orm::sqlx::{self, PgConnection};
use sea_orm::{DbErr, RuntimeErr};
use serde_json::value::RawValue;
use tidings_shared::events::MESSAGE_NEW;
use tidings_shared::sabotage;

use super::{BatchWrite, KeptConnection, LOCK_AND_NUMBER_SQL, plan_batch, remembered_rooms};
use crate::batch::{BatchPlan, IngestEntry};
use crate::sql::{LIST_SEPARATOR, bigint, join_users, smallint, timestamp_from_ms};
use crate::writer::failure;
use crate::writer::outcome::{WriteError, WrittenBatch};
use crate::writer::rows::{ADVANCE_HEADS_SQL, INSERT_MESSAGES_SQL};

/// The parameters are 1 to 5 of `LOCK_AND_NUMBER_SQL`, 6 to 19 of `INSERT_MESSAGES_SQL` and 20 to 24 of
/// `ADVANCE_HEADS_SQL`. If a precondition does not hold, the last SELECT casts an error text to an integer. This cast
/// fails, so PostgreSQL writes nothing.
static WRITE_BATCH_SQL: LazyLock<String> = LazyLock::new(|| {
    let (messages, heads) =
        (shift_parameters(INSERT_MESSAGES_SQL, 5), shift_parameters(ADVANCE_HEADS_SQL, 19));
    let is_numbered = "EXISTS (SELECT FROM numbered)";
    let sql = format!(
        "{LOCK_AND_NUMBER_SQL}, \
         inserted AS ({messages} WHERE {is_numbered}), \
         advanced AS ({heads} AND {is_numbered} RETURNING r.id) \
         SELECT (CASE WHEN {is_numbered} AND (SELECT count(*) FROM advanced) = cardinality($20::text[]) THEN '0' \
           ELSE 'a partition, the number or a head is not as expected' END)::integer"
    );
    sabotage::without_rules(&sql).into_owned()
});

/// The statement with all numbers of its parameters increased by `by`.
fn shift_parameters(sql: &str, by: usize) -> String {
    let mut parts = sql.split('$');
    let mut shifted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_at(part.bytes().take_while(u8::is_ascii_digit).count());
        shifted.push_str(&format!("${}{rest}", number.parse().unwrap_or(0) + by));
    }
    shifted
}

/// Writes a batch that has only new messages of rooms with known heads. Returns None and writes nothing if the batch
/// holds anything else. The same applies if PostgreSQL refuses the batch, because a row is not as expected or because
/// of the data.
pub(super) async fn try_write(
    kept: &mut KeptConnection,
    batch: &BatchWrite<'_>,
) -> Result<Option<WrittenBatch>, WriteError> {
    let BatchWrite { entries, heads, .. } = *batch;
    let is_usual = |entry: &IngestEntry| {
        let record = entry.record.as_ref();
        record.is_ok_and(|record| record.kind() == MESSAGE_NEW && heads.contains_key(record.room()))
    };
    // Checked first, because otherwise the plan of an unusual batch would be made twice.
    if !entries.iter().all(is_usual) {
        return Ok(None);
    }
    let Some(plan) = plan_batch(entries, &remembered_rooms(heads), None).ok().filter(has_only_messages)
    else {
        return Ok(None);
    };
    let mut taken = kept.take().await?;
    let committing_at = Some(SystemTime::now());
    // After an error, or if the caller is cancelled, the connection returns to the pool, which tests it.
    match execute(&mut taken.connection, batch, &plan).await {
        Ok(()) => kept.keep(taken),
        Err(error) => {
            let error = DbErr::Query(RuntimeErr::SqlxError(error.into()));
            return match error {
                error if failure::is_unique_violation(&error) => Err(WriteError::ClientIdTaken),
                error if failure::is_data_error(&error) => Ok(None),
                error => Err(error.into()),
            };
        }
    }
    Ok(Some(WrittenBatch {
        messages: plan.messages.len(),
        appended_at_ms: plan.messages.iter().map(|message| message.ingest.ms).collect(),
        activity: plan.activity(),
        heads: plan.heads,
        committing_at,
        ..WrittenBatch::default()
    }))
}

/// Whether a plan writes messages and heads, and nothing else.
fn has_only_messages(plan: &BatchPlan<'_>) -> bool {
    let BatchPlan {
        messages,
        heads: _,
        events,
        changes,
        members,
        updates,
        announced_voids,
        marks,
        already_stored,
        rejects,
        left_out,
    } = plan;
    let other_rows = events.len() + changes.len() + updates.len() + announced_voids.len() + marks.len();
    let other_outcomes = members.all.len() + already_stored.len() + rejects.len() + left_out;
    !messages.is_empty() && other_rows + other_outcomes == 0
}

async fn execute(
    connection: &mut PgConnection,
    batch: &BatchWrite<'_>,
    plan: &BatchPlan<'_>,
) -> Result<(), sqlx::Error> {
    let BatchWrite { number, claims, .. } = *batch;
    let (messages, heads) = (&plan.messages, &plan.heads);
    let json = |text: Option<&RawValue>| text.map_or("", RawValue::get).to_owned();
    sqlx::query(WRITE_BATCH_SQL.as_str())
        .bind(array(claims, |claim| smallint(claim.expected.lease.partition)))
        .bind(array(claims, |claim| claim.expected.lease.token))
        .bind(array(claims, |claim| bigint(claim.expected.epoch.0)))
        .bind(number.replica())
        .bind(number.value())
        .bind(array(messages, |message| message.room.as_str()))
        .bind(array(messages, |message| bigint(message.record.seq.0)))
        .bind(array(messages, |message| message.id))
        .bind(array(messages, |message| message.record.sender()))
        .bind(array(messages, |message| message.record.client_id()))
        .bind(array(messages, |message| &*message.fields.kind))
        .bind(array(messages, |message| &*message.fields.content))
        .bind(array(messages, |message| message.fields.reply_to.map_or(0, |seq| bigint(seq.0))))
        .bind(array(messages, |message| json(message.fields.attachments)))
        .bind(array(messages, |message| json(message.fields.metadata)))
        .bind(array(messages, |message| message.visibility.users.join(LIST_SEPARATOR)))
        .bind(array(messages, |message| message.visibility.roles.join(LIST_SEPARATOR)))
        .bind(array(messages, |message| timestamp_from_ms(message.record.at_ms)))
        .bind(array(messages, |message| join_users(message.fields.mentions.as_deref())))
        .bind(array(heads, |(room, _)| room.as_str()))
        .bind(array(heads, |(_, advance)| bigint(advance.from.0)))
        .bind(array(heads, |(_, advance)| bigint(advance.to.0)))
        .bind(array(heads, |(_, advance)| timestamp_from_ms(advance.last_message_at_ms.unwrap_or(0))))
        .bind(array(heads, |(_, advance)| advance.last_message_at_ms.is_some()))
        .execute(connection)
        .await
        .map(drop)
}

/// Collects one column of many rows into an array parameter, which may borrow its texts.
fn array<T, V>(rows: impl IntoIterator<Item = T>, of: impl Fn(T) -> V) -> Vec<V> {
    rows.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifted_parameters_keep_their_order() {
        assert_eq!(shift_parameters("SELECT $1::text, $12 + $2", 5), "SELECT $6::text, $17 + $7");
    }
}
