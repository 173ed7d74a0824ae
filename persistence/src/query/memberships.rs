//! The memberships of one user, for gateways.
//! Reads `members` and `rooms`.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::membership::Membership;

use super::sql::statement;

/// Rooms that a gateway is told as recently active: as many as `"mine"` joins.
const RECENT_ROOMS: usize = 200;

/// All memberships of a user, and the most recently active of the rooms, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn of(
    db: &impl ConnectionTrait,
    user: &UserId,
) -> Result<(HashMap<RoomId, Membership>, Vec<RoomId>), DbErr> {
    let sql = "SELECT mb.room_id, mb.role, mb.read_seq FROM members mb JOIN rooms r ON r.id = mb.room_id \
               WHERE mb.user_id = $1 ORDER BY r.updated_at DESC, r.id";
    let rows = db.query_all_raw(statement(sql, [user.as_str().into()])).await?;
    let mut memberships = HashMap::with_capacity(rows.len());
    let mut recent = Vec::new();
    for row in &rows {
        let id: String = row.try_get_by_index(0)?;
        let room = RoomId::parse(&id).map_err(|error| DbErr::Custom(format!("{id}: {error}")))?;
        let read_seq: i64 = row.try_get_by_index(2)?;
        let read_seq = Seq(u64::try_from(read_seq).unwrap_or(0));
        if recent.len() < RECENT_ROOMS {
            recent.push(room.clone());
        }
        memberships.insert(room, Membership { role: row.try_get_by_index(1)?, read_seq });
    }
    Ok((memberships, recent))
}
