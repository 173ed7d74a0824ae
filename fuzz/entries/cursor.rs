//! Where a client says a list or a room goes on, from any bytes: what is read as a cursor is one that we could have
//! given, keeps its meaning when it is given again, and goes into a statement as it is.

use tidings_shared::ids::{Cursor, Epoch, RoomId, UserId};

use crate::lists::{ActivityCursor, SearchCursor, pack_id, unpack_id};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(cursor) = ActivityCursor::unpack(text) {
        assert!(cursor.updated_at.timestamp_micros() >= 0 && !cursor.room.contains(char::is_control));
        assert_eq!(ActivityCursor::unpack(&cursor.pack()), Some(cursor));
    }
    if let Some(cursor) = SearchCursor::unpack(text) {
        assert!(cursor.at.timestamp_micros() >= 0 && cursor.seq >= 0);
        assert!(!cursor.room.contains(char::is_control));
        assert_eq!(SearchCursor::unpack(&cursor.pack()), Some(cursor));
    }
    if let Some(id) = unpack_id(text) {
        assert!(!id.is_empty() && !id.contains(char::is_control));
        assert_eq!(unpack_id(&pack_id(&id)), Some(id));
    }
    // As what they hold, too: a text that nobody packed is never one of the other lists'.
    assert_eq!(unpack_id(&pack_id(text)).as_deref(), plain(text).then_some(text));

    if let Ok(cursor) = serde_json::from_str::<Cursor>(text) {
        assert!(cursor.seq.0 < 1 << 53);
        let again = serde_json::to_string(&cursor).expect("a cursor is JSON");
        assert_eq!(serde_json::from_str::<Cursor>(&again).ok(), Some(cursor));
    }
    if let Some(epoch) = Epoch::parse(text) {
        assert_eq!(epoch.to_string(), text);
    }
    if let Ok(room) = RoomId::parse(text) {
        assert!(room.as_str() == text && text.len() <= 64 && text.is_ascii() && !text.contains('/'));
    }
    if let Ok(user) = UserId::parse(text) {
        assert!(user.as_str() == text && text.chars().count() <= 128 && !text.contains(char::is_whitespace));
    }
}

fn plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}
