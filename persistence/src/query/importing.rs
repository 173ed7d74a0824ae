//! Which messages of an import are stored already.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::Seq;

use super::sql::statement;

/// Where the messages of these (room, sender, client id) stand, in order; None: not stored.
///
/// # Errors
/// When the database cannot be read.
pub async fn stored(
    db: &impl ConnectionTrait,
    messages: &[(&str, &str, &str)],
) -> Result<Vec<Option<Seq>>, DbErr> {
    let column = |of: fn(&(&str, &str, &str)) -> String| -> Vec<String> { messages.iter().map(of).collect() };
    let rows = db
        .query_all_raw(statement(
            "SELECT m.seq FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS v (room, sender, client, place) \
             LEFT JOIN LATERAL (SELECT m.seq FROM messages m \
               WHERE m.room_id = v.room AND m.sender_id = v.sender AND m.client_id = v.client LIMIT 1) m ON true \
             ORDER BY v.place",
            [
                column(|(room, ..)| (*room).to_owned()).into(),
                column(|(_, sender, _)| (*sender).to_owned()).into(),
                column(|(.., client_id)| (*client_id).to_owned()).into(),
            ],
        ))
        .await?;
    let seq = |seq: i64| Seq(u64::try_from(seq).unwrap_or_default());
    rows.iter().map(|row| Ok(row.try_get_by_index::<Option<i64>>(0)?.map(seq))).collect()
}
