//! Looks up which messages of an import are already stored, and which users are erased.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_persistence::sql::{column, statement};
use tidings_shared::ids::{RoomId, Seq, UserId};

/// Room, sender and client id of a message.
pub type ClientIdKey<'a> = (&'a RoomId, &'a UserId, &'a str);

/// The seqs of the messages with these keys, in the order of the keys; None for a message that is not stored.
pub async fn stored_seqs(
    db: &impl ConnectionTrait,
    messages: &[ClientIdKey<'_>],
) -> Result<Vec<Option<Seq>>, DbErr> {
    let sql = "SELECT m.seq FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS v (room, sender, client, place) \
               LEFT JOIN LATERAL (SELECT m.seq FROM messages m \
                 WHERE m.room_id = v.room AND m.sender_id = v.sender AND m.client_id = v.client LIMIT 1) m ON true \
               ORDER BY v.place";
    let values = [
        column(messages, |(room, ..)| room.to_string()),
        column(messages, |(_, sender, _)| sender.to_string()),
        column(messages, |(.., client_id)| (*client_id).to_owned()),
    ];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    let seq = |seq: i64| Seq(u64::try_from(seq).unwrap_or_default());
    rows.iter().map(|row| Ok(row.try_get_by::<Option<i64>, _>("seq")?.map(seq))).collect()
}

/// The ids of those given users who are erased, or whose erasure has begun.
pub async fn erased_users<'a>(
    db: &impl ConnectionTrait,
    users: impl IntoIterator<Item = &'a UserId>,
) -> Result<HashSet<String>, DbErr> {
    let users: HashSet<&str> = users.into_iter().map(UserId::as_str).collect();
    let users: Vec<String> = users.into_iter().map(str::to_owned).collect();
    let sql = "SELECT id FROM users WHERE id = ANY ($1) AND erasing_at IS NOT NULL";
    let rows = db.query_all_raw(statement(sql, [users.into()])).await?;
    rows.iter().map(|row| row.try_get_by("id")).collect()
}
