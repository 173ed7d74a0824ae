//! Writes the usual batch, which has only new messages of rooms whose heads are known, with one statement. So it needs
//! one round trip instead of five, and no transaction stays open if this process stops in between.
//!
//! All parts of a statement read one snapshot, which may be older than the locks of the partitions. No part relies on
//! what it reads: the conditions are on the updated rows themselves, and PostgreSQL checks them again on a row that
//! changed while the statement waited for its lock. The other parts depend on the number of advanced partitions, so
//! they begin when all partitions are locked.
//!
//! If a partition or a head is not as expected, the statement fails and nothing is written. The transaction in `batch`
//! then finds which one it is.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::SystemTime;

use sea_orm::sqlx::{self, PgConnection};
use sea_orm::{DbErr, RuntimeErr};
use serde_json::value::RawValue;
use tidings_shared::events::MESSAGE_NEW;
use tidings_shared::ids::{RoomId, Seq};

use super::{GUARD, KeptConnection, known_rooms, plan_of};
use crate::batch::{BatchClaim, Entry, Plan};
use crate::sql::{bigint, smallint, time};
use crate::writer::failure;
use crate::writer::outcome::{WriteError, Written};
use crate::writer::rows::{ADVANCE_HEADS, INSERT_MESSAGES, LIST};

/// The guard has the parameters 1 to 5, the messages 6 to 18 and the heads 19 to 23. Casting a text that is no number is
/// how a statement without functions of its own can fail.
static WRITE: LazyLock<String> = LazyLock::new(|| {
    let (messages, heads) = (shift_parameters(INSERT_MESSAGES, 5), shift_parameters(ADVANCE_HEADS, 18));
    let all_moved = "(SELECT count(*) FROM moved) = cardinality($1::smallint[])";
    format!(
        "WITH moved AS ({GUARD}), \
         inserted AS ({messages} WHERE {all_moved}), \
         advanced AS ({heads} AND {all_moved} RETURNING r.id) \
         SELECT (CASE WHEN {all_moved} AND (SELECT count(*) FROM advanced) = cardinality($19::text[]) THEN '0' \
           ELSE 'a partition or a head is not as expected' END)::integer"
    )
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

/// Writes a batch that has only new messages of rooms with known heads. Returns None, and has written nothing, if the batch
/// is another one, or if PostgreSQL refused it because a row is not as expected or because of the data.
pub(super) async fn write(
    kept: &mut KeptConnection,
    claims: &[BatchClaim],
    entries: &[Entry],
    heads: &HashMap<RoomId, Seq>,
) -> Result<Option<Written>, WriteError> {
    let is_usual = |entry: &Entry| {
        let record = entry.record.as_ref();
        record.is_ok_and(|record| record.kind() == MESSAGE_NEW && heads.contains_key(record.room()))
    };
    // Checked first, because otherwise the plan of an unusual batch would be made twice.
    if !entries.iter().all(is_usual) {
        return Ok(None);
    }
    let Some(plan) = plan_of(entries, &known_rooms(heads), None).ok().filter(has_only_messages) else {
        return Ok(None);
    };
    let mut taken = kept.take().await?;
    let committing_at = Some(SystemTime::now());
    // After an error, or if the caller gives up, the connection goes back to the pool, which tests it.
    match execute(&mut taken.connection, claims, &plan).await {
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
    Ok(Some(Written {
        messages: plan.messages.len(),
        appended_at_ms: plan.messages.iter().map(|message| message.record.at_ms).collect(),
        heads: plan.heads,
        committing_at,
        ..Written::default()
    }))
}

/// Whether a plan writes messages and heads, and nothing else.
fn has_only_messages(plan: &Plan<'_>) -> bool {
    let Plan {
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
    claims: &[BatchClaim],
    plan: &Plan<'_>,
) -> Result<(), sqlx::Error> {
    let (messages, heads) = (&plan.messages, &plan.heads);
    let json = |text: Option<&RawValue>| text.map_or("", RawValue::get).to_owned();
    sqlx::query(WRITE.as_str())
        .bind(array(claims, |claim| smallint(claim.expected.lease.partition)))
        .bind(array(claims, |claim| claim.expected.lease.token))
        .bind(array(claims, |claim| bigint(claim.expected.epoch.0)))
        .bind(array(claims, |claim| claim.expected.committed.to_string()))
        .bind(array(claims, |claim| claim.upto.to_string()))
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
        .bind(array(messages, |message| message.visibility.users.join(LIST)))
        .bind(array(messages, |message| message.visibility.roles.join(LIST)))
        .bind(array(messages, |message| time(message.record.at_ms)))
        .bind(array(heads, |(room, _)| room.as_str()))
        .bind(array(heads, |(_, advance)| bigint(advance.from.0)))
        .bind(array(heads, |(_, advance)| bigint(advance.to.0)))
        .bind(array(heads, |(_, advance)| time(advance.last_message_at_ms.unwrap_or(0))))
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
