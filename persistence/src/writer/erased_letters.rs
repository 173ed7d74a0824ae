//! Finds and deletes the dead letters of a user who is being erased.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::Record;

use crate::sql::statement;

/// Maximum number of dead letters that one statement reads.
const PAGE_LETTERS: i64 = 100;

/// The dead letters of one user in one page of dead letters.
#[derive(Debug, Default)]
pub struct LettersOfUser {
    /// The id of the last dead letter of the page; the next page starts after it.
    pub last: i64,
    ids: Vec<i64>,
    pub rooms: Vec<RoomId>,
}

/// Reads the next page of dead letters, after the id `after`. Finds those that the user sent, and unreadable ones that
/// contain the user's id. Returns None after the last page.
pub async fn find_in_next_page(
    db: &impl ConnectionTrait,
    user: &UserId,
    after: i64,
) -> Result<Option<LettersOfUser>, DbErr> {
    let sql = "SELECT id, record, room_id FROM dead_letters WHERE id > $1 ORDER BY id LIMIT $2";
    let rows = db.query_all_raw(statement(sql, [after.into(), PAGE_LETTERS.into()])).await?;
    let mut found = LettersOfUser::default();
    for row in &rows {
        found.last = row.try_get_by("id")?;
        let record: Vec<u8> = row.try_get_by("record")?;
        if belongs_to(record, user) {
            found.ids.push(found.last);
            let room: Option<String> = row.try_get_by("room_id")?;
            found.rooms.extend(room.and_then(|room| RoomId::parse(&room).ok()));
        }
    }
    Ok((!rows.is_empty()).then_some(found))
}

impl LettersOfUser {
    pub async fn delete(self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let sql = "DELETE FROM dead_letters WHERE id = ANY ($1)";
        db.execute_raw(statement(sql, [self.ids.into()])).await.map(drop)
    }
}

/// Whether the user sent the record. An unreadable record is split at its separators; one of the pieces must be the
/// user's id.
fn belongs_to(record: Vec<u8>, user: &UserId) -> bool {
    let raw = bytes::Bytes::from(record);
    match Record::parse(raw.clone()) {
        Ok(record) => record.sender() == user.as_str(),
        Err(_) => raw
            .split(|byte| byte.is_ascii_control() || *byte == b'"')
            .any(|part| part == user.as_str().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn belongs_to(record: &[u8], user: &str) -> bool {
        super::belongs_to(record.to_vec(), &UserId::parse(user).unwrap())
    }

    #[test]
    fn dead_letter_belongs_to_sender_or_to_ids_if_unreadable() {
        let record = |sender: &str| {
            format!(
                "1\u{1f}1\u{1f}1\u{1f}1\u{1f}r\u{1f}message:new\u{1f}{sender}\u{1f}c\u{1f}i\u{1f}\u{1f}\u{1f}\n{{\"of\":\"alice\"}}"
            )
        };
        assert!(belongs_to(record("alice").as_bytes(), "alice"));
        assert!(!belongs_to(record("bob").as_bytes(), "alice"), "other users may mention them");
        assert!(belongs_to(b"9\x1falice\x1fnonsense", "alice"));
        assert!(belongs_to(b"9\x1fbob\x1e\n{\"sender\":{\"id\":\"alice\"}", "alice"));
        assert!(!belongs_to(b"9\x1fbob", "alice"));
    }

    #[test]
    fn short_id_does_not_match_inside_longer_ones() {
        let record =
            b"9\x1f1\x1fr\x1fmessage:new\x1fpete\x1fc\n{\"sender\":{\"id\":\"pete\"},\"content\":\"e e\"}";
        assert!(belongs_to(record, "pete"));
        for id in ["e", "ete", "pet", "message"] {
            assert!(!belongs_to(record, id), "{id}");
        }
    }
}
