//! Reads memberships for gateways: all of one user, or the roles of many users in one room.
//! Reads `members`, `rooms` and the epochs of `partitions`.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use tidings_shared::ids::{Epoch, RoomId, UserId};
use tidings_shared::log::keys::Partition;
use tidings_shared::membership::Membership;

use crate::sql::{epoch as epoch_of, room as room_of, seq as seq_of, statement};

/// Number of recently active rooms in the answer: as many as a join of `"mine"` joins.
const RECENT_ROOMS: usize = 200;

/// All memberships of a user, from one snapshot.
#[derive(Debug, Default)]
pub struct UserMemberships {
    pub rooms: HashMap<RoomId, Membership>,
    /// The rooms of the user with the latest activity, newest first.
    pub recent: Vec<RoomId>,
    /// One room of each partition that is in an earlier epoch than the requested one. A writer of the earlier epoch may
    /// still commit changes of memberships in these partitions.
    pub behind: Vec<RoomId>,
}

/// Reads all memberships of a user, and finds the partitions in an earlier epoch than `epoch`.
pub async fn load(db: &impl ConnectionTrait, user: &UserId, epoch: Epoch) -> Result<UserMemberships, DbErr> {
    // A negative seq or epoch counts as 0, because one damaged row must not lock the user out.
    let sql = "SELECT mb.room_id, mb.role, greatest(mb.read_seq, 0) AS read_seq, greatest(p.epoch, 0) AS epoch \
               FROM members mb JOIN rooms r ON r.id = mb.room_id JOIN partitions p ON p.partition = r.partition \
               WHERE mb.user_id = $1 ORDER BY r.updated_at DESC, r.id";
    let rows = db.query_all_raw(statement(sql, [user.as_str().into()])).await?;
    let mut read =
        UserMemberships { rooms: HashMap::with_capacity(rows.len()), ..UserMemberships::default() };
    let mut behind = BTreeSet::new();
    for row in &rows {
        let room = room_of(row, "room_id")?;
        if epoch_of(row, "epoch")? < epoch && behind.insert(Partition::of(&room)) {
            read.behind.push(room.clone());
        }
        if read.recent.len() < RECENT_ROOMS {
            read.recent.push(room.clone());
        }
        let membership = Membership { role: row.try_get_by("role")?, read_seq: seq_of(row, "read_seq")? };
        read.rooms.insert(room, membership);
    }
    Ok(read)
}

/// The roles of users in a room, in the order of `users`; None for a user who is not a member.
pub async fn roles(
    db: &impl ConnectionTrait,
    room: &RoomId,
    users: &[UserId],
) -> Result<Vec<Option<String>>, DbErr> {
    let sql = "SELECT user_id, role FROM members WHERE room_id = $1 AND user_id = ANY ($2)";
    let ids: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
    let rows = db.query_all_raw(statement(sql, [room.as_str().into(), ids.into()])).await?;
    let role = |row: &QueryResult| Ok((row.try_get_by("user_id")?, row.try_get_by("role")?));
    let roles: HashMap<String, String> = rows.iter().map(role).collect::<Result<_, DbErr>>()?;
    Ok(users.iter().map(|user| roles.get(user.as_str()).cloned()).collect())
}
