//! Reads the read and delivered marks of users, for the node that appends new marks.
//! Reads `rooms` and `members`.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{
    ids::{RoomId, Seq, UserId},
    log::StoredMarks,
};

use crate::sql::statement;

/// The read and delivered marks of users in a room and the room's stored head, as one snapshot. In a missing room all
/// marks are None.
pub async fn load(db: &impl ConnectionTrait, room: &RoomId, users: &[UserId]) -> Result<StoredMarks, DbErr> {
    let sql = "SELECT r.head_seq, mb.read_seq, mb.delivered_seq \
               FROM rooms r CROSS JOIN unnest($2::text[]) WITH ORDINALITY AS v (member, n) \
               LEFT JOIN members mb ON mb.room_id = r.id AND mb.user_id = v.member \
               WHERE r.id = $1 ORDER BY v.n";
    let names: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
    let rows = db.query_all_raw(statement(sql, [room.as_str().into(), names.into()])).await?;
    let seq = |number: i64| Seq(u64::try_from(number).unwrap_or(0));
    let mut stored = StoredMarks { head: Seq(0), marks: Vec::with_capacity(users.len()) };
    for row in &rows {
        stored.head = seq(row.try_get_by("head_seq")?);
        let marks: (Option<i64>, Option<i64>) =
            (row.try_get_by("read_seq")?, row.try_get_by("delivered_seq")?);
        stored.marks.push(marks.0.zip(marks.1).map(|(read, delivered)| (seq(read), seq(delivered))));
    }
    stored.marks.resize(users.len(), None);
    Ok(stored)
}
