//! Reads memberships for gateways: all rooms of some users, the recent rooms of one user, or the
//! roles of many users in many rooms. Reads who is in direct rooms, for notices.
//! Reads `members`, `rooms` and the epochs of `partitions`.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use tidings_shared::ids::{Epoch, RoomId, Seq, UserId};
use tidings_shared::internal::{UserRooms, UsersOfRoom};
use tidings_shared::log::keys::Partition;
use tidings_shared::membership::Membership;

use crate::sql::{IdColumn, LIST_SEPARATOR, column, newest_epoch, scalars, statement};

/// Number of recently active rooms in the answer: the number that a join of `"mine"` joins.
const MAX_RECENT_ROOMS: usize = 200;

/// All memberships of a user, from one snapshot.
#[derive(Debug, Default)]
pub struct UserMemberships {
    pub of: UserRooms,
    /// One room of each partition that is not in its newest epoch yet, with that epoch. A writer of the earlier epoch
    /// may still commit changes of memberships in these partitions.
    pub behind: HashMap<Partition, (RoomId, Epoch)>,
}

/// A membership of the user with the number `n`, counted from 1.
#[derive(FromQueryResult)]
struct MembershipRow {
    n: i64,
    room_id: String,
    role: String,
    read_seq: i64,
    epoch: i64,
    /// The newest epoch of the partition, unless the partition is in the newest epoch of all.
    newest: Option<i64>,
}

/// Reads at most `max_rooms` memberships of each user, in the order of the users, and finds the partitions that are not
/// in their newest epoch. The caller's epoch was opened before, so it is not later than the newest one.
pub async fn load_memberships(
    db: &impl ConnectionTrait,
    users: &[UserId],
    max_rooms: usize,
) -> Result<Vec<UserMemberships>, DbErr> {
    // A negative seq or epoch counts as 0, because one damaged row must not lock users out.
    // The LIMIT also makes PostgreSQL read the memberships of each user by their index. The newest epoch of a partition
    // is looked up only if the partition is not in the newest epoch of all.
    let sql = concat!(
        "SELECT v.n, m.* FROM unnest($1::text[]) WITH ORDINALITY AS v (member, n) CROSS JOIN LATERAL ( \
           SELECT mb.room_id, mb.role, greatest(mb.read_seq, 0) AS read_seq, greatest(p.epoch, 0) AS epoch, \
             CASE WHEN p.epoch < (SELECT max(epoch) FROM epochs_opened) THEN ",
        newest_epoch!("p.partition"),
        " END AS newest, r.updated_at FROM members mb JOIN rooms r ON r.id = mb.room_id \
             JOIN partitions p ON p.partition = r.partition WHERE mb.user_id = v.member LIMIT $2) m \
         ORDER BY v.n, m.updated_at DESC, m.room_id"
    );
    let max_rooms = i64::try_from(max_rooms).unwrap_or(i64::MAX);
    let values = [column(users, UserId::to_string), max_rooms.into()];
    let rows = MembershipRow::find_by_statement(statement(sql, values)).all(db).await?;
    let mut loaded: Vec<UserMemberships> = users.iter().map(|_| UserMemberships::default()).collect();
    for row in rows {
        let number = usize::try_from(row.n - 1).unwrap_or_default();
        let Some(read) = loaded.get_mut(number) else { continue };
        let Ok(room) = RoomId::parse(&row.room_id) else {
            tracing::warn!(user = %users[number], "a membership has no valid room id");
            continue;
        };
        if let Some(newest) = row.newest.filter(|newest| row.epoch < *newest) {
            read.behind.insert(Partition::of(&room), (room.clone(), Epoch(newest.unsigned_abs())));
        }
        if read.of.recent.len() < MAX_RECENT_ROOMS {
            read.of.recent.push(room.clone());
        }
        let membership = Membership { role: row.role, read_seq: Seq(row.read_seq.unsigned_abs()) };
        read.of.rooms.insert(room, membership);
    }
    Ok(loaded)
}

/// The rooms of a user with the latest activity, newest first.
pub async fn recent_rooms(db: &impl ConnectionTrait, user: &UserId) -> Result<Vec<RoomId>, DbErr> {
    let sql = "SELECT mb.room_id FROM members mb JOIN rooms r ON r.id = mb.room_id \
               WHERE mb.user_id = $1 ORDER BY r.updated_at DESC, r.id LIMIT $2";
    let limit = i64::try_from(MAX_RECENT_ROOMS).unwrap_or(i64::MAX);
    let statement = statement(sql, [user.as_str().into(), limit.into()]);
    Ok(scalars::<IdColumn<_>>(db, statement).await?.into_iter().map(|room| room.0).collect())
}

/// The roles of users in rooms, in the order of the rooms and their users. A role is None if the user is not a member.
pub async fn roles(
    db: &impl ConnectionTrait,
    rooms: &[UsersOfRoom],
) -> Result<Vec<Vec<Option<String>>>, DbErr> {
    let pairs: Vec<(&RoomId, &UserId)> =
        rooms.iter().flat_map(|of| of.users.iter().map(|user| (&of.room, user))).collect();
    // The subquery makes PostgreSQL read each membership by its key, regardless of the statistics of the table.
    let sql = "SELECT (SELECT m.role FROM members m WHERE m.room_id = v.room AND m.user_id = v.member) AS role \
               FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS v (room, member, n) ORDER BY v.n";
    let values = [column(&pairs, |(room, _)| room.to_string()), column(&pairs, |(_, user)| user.to_string())];
    let mut roles = scalars::<Option<String>>(db, statement(sql, values)).await?.into_iter();
    Ok(rooms.iter().map(|of| roles.by_ref().take(of.users.len()).collect()).collect())
}

#[derive(FromQueryResult)]
struct MembersOfRoom {
    id: IdColumn<RoomId>,
    /// The members of a direct room, separated by [`LIST_SEPARATOR`].
    users: Option<String>,
}

/// The members of each direct room, and an empty list for each other room. Rooms that do not exist are left out.
pub async fn direct_members(
    db: &impl ConnectionTrait,
    rooms: &[&RoomId],
) -> Result<HashMap<RoomId, Vec<UserId>>, DbErr> {
    let sql = "SELECT r.id, CASE WHEN r.kind = 'direct' THEN \
                 (SELECT string_agg(m.user_id, chr(30)) FROM members m WHERE m.room_id = r.id) END AS users \
               FROM rooms r WHERE r.id = ANY ($1)";
    let found = MembersOfRoom::find_by_statement(statement(sql, [column(rooms, |room| room.to_string())]));
    let members = |MembersOfRoom { id, users }| {
        let users = users.iter().flat_map(|users| users.split(LIST_SEPARATOR));
        (id.0, users.filter_map(|user| UserId::parse(user).ok()).collect())
    };
    Ok(found.all(db).await?.into_iter().map(members).collect())
}
