//! Records that were put aside, of a user who is erased.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::Record;

use crate::writer::sql::statement;

/// Looked at in one statement.
const AT_ONCE: i64 = 100;

/// Dead letters of a user.
#[derive(Debug, Default)]
pub struct DeadLetters {
    /// The last that was looked at.
    pub last: i64,
    ids: Vec<i64>,
    pub rooms: Vec<RoomId>,
}

/// Looks through the next dead letters behind `after` for those of the user, and those that cannot be read and name
/// them. None at the end.
///
/// # Errors
/// When the database cannot be read.
pub async fn dead_letters(
    db: &impl ConnectionTrait,
    user: &UserId,
    after: i64,
) -> Result<Option<DeadLetters>, DbErr> {
    let sql = "SELECT id, record, room_id FROM dead_letters WHERE id > $1 ORDER BY id LIMIT $2";
    let rows = db.query_all_raw(statement(sql, [after.into(), AT_ONCE.into()])).await?;
    let mut found = DeadLetters::default();
    for row in &rows {
        found.last = row.try_get_by_index(0)?;
        let record: Vec<u8> = row.try_get_by_index(1)?;
        if is_of(record, user) {
            found.ids.push(found.last);
            let room: Option<String> = row.try_get_by_index(2)?;
            found.rooms.extend(room.and_then(|room| RoomId::parse(&room).ok()));
        }
    }
    Ok((!rows.is_empty()).then_some(found))
}

impl DeadLetters {
    /// Deletes them.
    ///
    /// # Errors
    /// When the database cannot be written; then none of them was.
    pub async fn delete(self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let sql = "DELETE FROM dead_letters WHERE id = ANY ($1)";
        db.execute_raw(statement(sql, [self.ids.into()])).await.map(drop)
    }
}

/// Of a record that cannot be read it is only known where its parts end: one of them is the user's id, as a whole.
fn is_of(record: Vec<u8>, user: &UserId) -> bool {
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

    fn is_of(record: &[u8], user: &str) -> bool {
        super::is_of(record.to_vec(), &UserId::parse(user).unwrap())
    }

    #[test]
    fn a_dead_letter_is_of_its_sender_or_of_whom_it_names_when_it_cannot_be_read() {
        let record = |sender: &str| {
            format!(
                "1\u{1f}1\u{1f}1\u{1f}1\u{1f}r\u{1f}message:new\u{1f}{sender}\u{1f}c\u{1f}i\u{1f}\u{1f}\u{1f}\n{{\"of\":\"alice\"}}"
            )
        };
        assert!(is_of(record("alice").as_bytes(), "alice"));
        assert!(!is_of(record("bob").as_bytes(), "alice"), "others may speak of them");
        assert!(is_of(b"9\x1falice\x1fnonsense", "alice"));
        assert!(is_of(b"9\x1fbob\x1e\n{\"sender\":{\"id\":\"alice\"}", "alice"));
        assert!(!is_of(b"9\x1fbob", "alice"));
    }

    #[test]
    fn a_short_id_is_not_found_inside_of_others() {
        let record =
            b"9\x1f1\x1fr\x1fmessage:new\x1fpete\x1fc\n{\"sender\":{\"id\":\"pete\"},\"content\":\"e e\"}";
        assert!(is_of(record, "pete"));
        for id in ["e", "ete", "pet", "message"] {
            assert!(!is_of(record, id), "{id}");
        }
    }
}
