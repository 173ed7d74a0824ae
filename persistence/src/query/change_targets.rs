//! Reads the messages that edits, deletes and reactions refer to.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::{
    ids::{RoomId, Seq, UserId},
    log::{Target, record::Visibility},
};

use crate::sql::statement;

/// The result of a search for the message that a change refers to.
#[derive(Debug, PartialEq, Eq)]
pub enum TargetLookup {
    Message(Target),
    /// The event is not a message, or the room does not exist.
    NoMessage,
    /// The seq is above the stored head.
    NotStored,
}

/// Looks up the event at `seq`. One statement reads the event and the stored head, as one snapshot.
pub async fn find_target(db: &impl ConnectionTrait, room: &RoomId, seq: Seq) -> Result<TargetLookup, DbErr> {
    let position = i64::try_from(seq.0).unwrap_or(i64::MAX);
    let sql = "SELECT r.head_seq, m.id, m.sender_id, m.visible_users, m.visible_roles, m.deleted, \
                 m.attachments IS NOT NULL AS has_attachments, m.mentions \
               FROM rooms r LEFT JOIN messages m ON m.room_id = r.id AND m.seq = $2 WHERE r.id = $1";
    let row = db.query_one_raw(statement(sql, [room.as_str().into(), position.into()])).await?;
    let Some(row) = row else { return Ok(TargetLookup::NoMessage) };
    let head: i64 = row.try_get_by("head_seq")?;
    if head < position {
        return Ok(TargetLookup::NotStored);
    }
    let mentions: Option<Vec<String>> = row.try_get_by("mentions")?;
    let Some(id) = row.try_get_by::<Option<uuid::Uuid>, _>("id")? else { return Ok(TargetLookup::NoMessage) };
    Ok(TargetLookup::Message(Target {
        id: id.to_string(),
        sender: row.try_get_by("sender_id")?,
        visibility: Visibility {
            users: row.try_get_by::<Option<Vec<String>>, _>("visible_users")?.unwrap_or_default(),
            roles: row.try_get_by::<Option<Vec<String>>, _>("visible_roles")?.unwrap_or_default(),
        },
        deleted: row.try_get_by("deleted")?,
        upto: Seq(u64::try_from(head).unwrap_or_default()),
        has_attachments: row.try_get_by("has_attachments")?,
        mentions: mentions.iter().flatten().filter_map(|user| UserId::parse(user).ok()).collect(),
    }))
}
