//! Converts the record of a dead letter into an event that can be appended again. Pure. The conversion fails, with the
//! reason, for records that no user sent, and for records whose replay would have another effect than the original.

use serde_json::value::RawValue;
use tidings_shared::ids::{ClientId, RoomId, Seq, UserId};
use tidings_shared::log::Record;
use tidings_shared::log::record::{IngestId, TYPE_MARKS};
use tidings_shared::message::change::{Action as ChangeAction, Change};
use tidings_shared::message::{AckStage, Draft, check_text};

use crate::batch::{
    Action, ChangeRow, MEMBER_ADDED, MEMBER_CHANGED, MEMBER_REMOVED, MESSAGE_NEW, MESSAGE_VOID, MessageRow,
    ROOM_UPDATED,
};
use crate::jobs::sql::dead_letters::DeadLetter;

#[derive(Debug)]
pub struct ReplayableEvent {
    pub room: RoomId,
    /// The seq of the original event.
    pub seq: Seq,
    pub sender: UserId,
    /// Every replay of the dead letter uses this client id. It differs from the client id of the original event.
    pub client_id: ClientId,
    /// The W3C trace context of the original event; empty if that event was not traced.
    pub traceparent: String,
    pub action: ReplayableAction,
}

/// The action of the sender: sending a message, or changing one.
#[derive(Debug)]
pub enum ReplayableAction {
    Message(Box<Draft>),
    Change(Change),
}

/// The client id for all replays of the dead letter with this id.
fn client_id(letter: i64) -> ClientId {
    ClientId::parse(&format!("replay:{letter}")).expect("a number behind a word is a client id")
}

impl ReplayableEvent {
    /// Reads a dead letter. The error says why the event cannot be appended again, and contains no text of the record.
    pub fn parse(letter: &DeadLetter) -> Result<Self, &'static str> {
        let record = Record::parse(letter.record.clone())
            .map_err(|_| "the letter holds no record that can be read")?;
        match record.kind() {
            TYPE_MARKS => {
                return Err("it holds read and delivered marks, which clients set again by themselves");
            }
            MEMBER_ADDED | MEMBER_CHANGED | MEMBER_REMOVED => {
                return Err("it changes a membership: repeat or undo the change by hand, and drop this");
            }
            ROOM_UPDATED => {
                return Err(
                    "it changes the room itself, and a later change may have too: repeat it by hand, and drop this",
                );
            }
            MESSAGE_VOID => return Err("the services announce voids by themselves"),
            _ => {}
        }
        let room = RoomId::parse(record.room()).map_err(|_| "it names no room")?;
        let sender = UserId::parse(record.sender()).map_err(|_| "nobody sent it")?;
        let client_id = client_id(letter.id);
        let action = if record.kind() == MESSAGE_NEW {
            // The id in the stream is not used: the replay is a new record.
            let row = MessageRow::from_record(&room, &record, IngestId::default())?;
            let draft = Draft::from_stored(row.fields, client_id.clone(), row.visibility)?;
            ReplayableAction::Message(Box::new(draft))
        } else {
            ReplayableAction::Change(parse_change(&room, &record, client_id.clone())?)
        };
        let (seq, traceparent) = (record.seq, record.traceparent().to_owned());
        Ok(Self { room, seq, sender, client_id, traceparent, action })
    }
}

fn parse_change(room: &RoomId, record: &Record, client_id: ClientId) -> Result<Change, &'static str> {
    let row = ChangeRow::from_record(room, record, 0)?.ok_or("it is an event that no user makes")?;
    let action = match row.action {
        Action::Edit { content, metadata, mentions } => {
            check_text(&content, "content", usize::MAX).map_err(|_| "its text holds a control character")?;
            let metadata = metadata.map(|json| RawValue::from_string(json.to_owned())).transpose();
            let metadata = metadata.map_err(|_| "its metadata has an unexpected form")?;
            ChangeAction::Edit { content: content.into_owned(), metadata, mentions }
        }
        Action::Delete => ChangeAction::Delete,
        Action::AddReaction(emoji) => ChangeAction::AddReaction { emoji: emoji.into_owned() },
        Action::RemoveReaction(emoji) => ChangeAction::RemoveReaction { emoji: emoji.into_owned() },
    };
    Ok(Change { target: row.target, id: Some(row.target_id), client_id, ack: AckStage::Stored, action })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chrono::DateTime;
    use tidings_shared::log::record::{Header, Visibility};
    use tidings_shared::message::Sender;

    use super::*;

    fn letter(header: &Header<'_>, json: &str) -> DeadLetter {
        let record = format!("1\u{1f}4\u{1f}9\u{1f}17\u{1f}{}\n{json}", header.encode());
        DeadLetter {
            id: 31,
            at: DateTime::from_timestamp_millis(0).unwrap(),
            room: Some("r".to_owned()),
            seq: Some(9),
            reason: String::new(),
            record: Bytes::from(record),
        }
    }

    #[test]
    fn replayed_message_keeps_all_but_its_client_id() {
        let visibility = Visibility { users: vec!["bob".into()], roles: vec!["tutor".into()] };
        let field = visibility.encode();
        let id = "01900000-0000-7000-8000-000000000000";
        let header = Header {
            room: "r",
            kind: "message:new",
            sender: "alice",
            client_id: "c",
            id,
            visibility: &field,
            traceparent: "00-ab",
            ..Header::default()
        };
        let sent = ReplayableEvent::parse(&letter(
            &header,
            r#"{"type":"message:new","room":"r","seq":9,"at":"x","id":"i","client_id":"c","sender":{"id":"alice"},"kind":"note","content":"Zoë\n","reply_to":3,"attachments":[{"name":"a","url":"https://a","media_type":"x/y","size":1}],"metadata":{"b": 1.0,"a":2},"mentions":["bob"]}"#,
        ))
        .unwrap();
        assert_eq!((sent.room.as_str(), sent.sender.as_str(), sent.seq), ("r", "alice", Seq(9)));
        assert_eq!((sent.client_id.as_str(), sent.traceparent.as_str()), ("replay:31", "00-ab"));
        let ReplayableAction::Message(draft) = sent.action else { panic!() };
        assert_eq!(draft.visibility, visibility);
        let body = draft.body("j", Sender { id: "alice", name: None, picture: None });
        assert_eq!(
            body,
            r#"{"id":"j","client_id":"replay:31","sender":{"id":"alice"},"kind":"note","content":"Zoë\n","reply_to":3,"attachments":[{"name":"a","url":"https://a","media_type":"x/y","size":1}],"metadata":{"b": 1.0,"a":2},"visible_to":{"users":["bob"],"roles":["tutor"]},"mentions":["bob"]}"#
        );
    }

    #[test]
    fn replayed_change_targets_the_same_message() {
        let header = Header { room: "r", kind: "reaction:added", sender: "alice", ..Header::default() };
        let json =
            r#"{"target":2,"target_id":"01900000-0000-7000-8000-000000000000","emoji":"+","by":"alice"}"#;
        let ReplayableAction::Change(change) = ReplayableEvent::parse(&letter(&header, json)).unwrap().action
        else {
            panic!()
        };
        assert_eq!((change.target, change.client_id.as_str()), (Seq(2), "replay:31"));
        assert!(matches!(change.action, ChangeAction::AddReaction { emoji } if emoji == "+"));
    }

    #[test]
    fn unreplayable_record_is_refused_with_reason() {
        let id = "01900000-0000-7000-8000-000000000000";
        for (kind, sender, json, expected) in [
            ("marks", "", "[]", "marks"),
            ("member:added", "alice", "{}", "membership"),
            ("room:updated", "alice", "{}", "the room itself"),
            ("message:void", "", r#"{"target":1}"#, "voids"),
            ("message:new", "", "{}", "nobody sent it"),
            ("message:new", "alice", r#"{"kind":"text"}"#, "form"),
            ("message:new", "alice", r#"{"kind":"text","content":"\u0000"}"#, "control character"),
            ("message:new", "alice", r#"{"kind":"text","content":"x","attachments":[1]}"#, "attachments"),
            ("message:edited", "alice", "{}", "form"),
            ("dance", "alice", "{}", "no user makes"),
        ] {
            let header = Header { room: "r", kind, sender, client_id: "c", id, ..Header::default() };
            let refused = ReplayableEvent::parse(&letter(&header, json)).unwrap_err();
            assert!(refused.contains(expected), "{kind} {json}: {refused}");
        }
        let garbage = DeadLetter { record: Bytes::from_static(b"garbage"), ..letter(&Header::default(), "") };
        assert!(ReplayableEvent::parse(&garbage).unwrap_err().contains("no record"));
    }
}
