//! Checks the body of a room creation. Pure: turns the JSON text and the creator into a checked [`NewRoom`], ready to
//! be written.

use std::collections::HashSet;
use std::num::NonZeroU32;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_shared::command_fields::{bounded, json_object, object, optional, required};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::limits::{MAX_FIRST_MEMBERS, MAX_METADATA_BYTES, MAX_ROOM_NAME_CHARS};
use tidings_shared::message::check_text;
use tidings_shared::openapi::{MetadataForm, NameForm, RoleForm};
use tidings_shared::role::{self, MEMBER, OWNER};
use utoipa::ToSchema;

use crate::writer::rooms::{NewRoom, RoomKind};

/// The body of `POST /rooms`.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewRoom, example = json!({"kind": "private", "name": "Kitchen", "members": [{"user": "bob"}]}))]
pub struct NewRoomBody<'a> {
    /// The room's id. Needs the scope `tidings.admin`; the server chooses an id if omitted.
    #[serde(borrow, default)]
    #[schema(value_type = Option<RoomId>)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    #[schema(required, nullable = false, value_type = RoomKind)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    #[schema(value_type = Option<NameForm>)]
    name: Option<&'a RawValue>,
    /// Each user at most once. The creator need not be named, and becomes owner. A direct room has one other member
    /// and no owner: both are `member`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<NewMember>>, max_items = 1000)]
    members: Option<&'a RawValue>,
    #[serde(borrow, default)]
    #[schema(value_type = Option<MetadataForm>)]
    metadata: Option<&'a RawValue>,
}

/// A first member of a new room.
#[derive(Deserialize, ToSchema)]
pub struct NewMember {
    user: UserId,
    /// The role of the user, `member` if omitted.
    #[schema(value_type = Option<RoleForm>)]
    role: Option<String>,
}

/// Checks the body of a room creation. `fresh` becomes the room's id unless an admin gives one. Refuses with
/// `bad_request`, `too_large` or `forbidden`, and with the field's name.
pub fn parse_new_room(text: &str, creator: &UserId, admin: bool, fresh: RoomId) -> Result<NewRoom, Refusal> {
    let body: NewRoomBody<'_> = object(text)?;
    let chosen_id: Option<RoomId> = optional(body.id, "id", "1 to 64 characters of A-Z a-z 0-9 . _ - :")?;
    if chosen_id.is_some() && !admin {
        let rule = "a room's id is given by the server; choosing one needs the scope tidings.admin";
        return Err(Refusal::new(ErrorCode::Forbidden, rule).with_field("id"));
    }
    let kind: String = required(body.kind, "kind", "`direct`, `private` or `public`")?;
    let kind = RoomKind::parse(&kind)
        .ok_or_else(|| Refusal::bad_field("kind", "`kind` must be `direct`, `private` or `public`"))?;
    let name: Option<String> = optional(body.name, "name", "a string")?;
    if let Some(name) = &name {
        check_name(name)?;
    }
    let metadata = json_object(body.metadata, "metadata", MAX_METADATA_BYTES)?;
    let named: Vec<NewMember> =
        optional(body.members, "members", "a list of {user, role}")?.unwrap_or_default();
    let members = first_members(bounded(named, "members", MAX_FIRST_MEMBERS)?, creator, kind)?;
    Ok(NewRoom {
        by_admin: chosen_id.is_some(),
        id: chosen_id.unwrap_or(fresh),
        kind,
        name: name.filter(|name| !name.is_empty()),
        creator: creator.clone(),
        created_at_ms: None,
        members,
        metadata: metadata.map_or_else(|| "{}".to_owned(), |metadata| metadata.get().to_owned()),
    })
}

/// A room creation counts as one more command per this many first members, because each is looked up, written and
/// notified.
const MEMBERS_PER_COMMAND: usize = 100;

/// The number of commands that a room creation counts as in the rate limit.
pub fn command_cost(new: &NewRoom) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(u32::try_from(new.members.len() / MEMBERS_PER_COMMAND).unwrap_or(u32::MAX))
}

/// Checks the name of a room. An empty text means that the room has no name.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    check_line(name, "name", MAX_ROOM_NAME_CHARS)
}

/// Checks that a text is one line of at most `max_chars`. Refuses with `bad_request` or `too_large` and the field's
/// name.
pub fn check_line(text: &str, field: &'static str, max_chars: usize) -> Result<(), Refusal> {
    check_text(text, field, max_chars)?;
    if text.chars().any(char::is_control) {
        return Err(Refusal::bad_field(field, format!("`{field}` must not hold control characters")));
    }
    Ok(())
}

/// The members of the new room: the creator as owner, then the named users, each at most once. The creator stays owner
/// if named too. In a direct room both are members, so that neither may change the messages of the other.
fn first_members(
    named: Vec<NewMember>,
    creator: &UserId,
    kind: RoomKind,
) -> Result<Vec<(UserId, String)>, Refusal> {
    let mut seen = HashSet::with_capacity(named.len());
    let creator_role = if kind == RoomKind::Direct { MEMBER } else { OWNER };
    let mut members = vec![(creator.clone(), creator_role.to_owned())];
    for NewMember { user, role } in named {
        let role = role.unwrap_or_else(|| MEMBER.to_owned());
        if !role::is_valid(&role) {
            return Err(Refusal::bad_field("members", format!("a role is {}", role::name_rule())));
        }
        if !seen.insert(user.clone()) {
            return Err(Refusal::bad_field("members", "`members` names a user twice"));
        }
        if user == *creator {
            continue;
        }
        if kind == RoomKind::Direct && role != MEMBER {
            return Err(Refusal::bad_field("members", "a member of a direct room is always `member`"));
        }
        members.push((user, role));
    }
    if kind == RoomKind::Direct && members.len() != 2 {
        return Err(Refusal::bad_field("members", "a direct room has its creator and one other user"));
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> UserId {
        UserId::parse("alice").unwrap()
    }

    fn room(text: &str) -> Result<NewRoom, Refusal> {
        parse_new_room(text, &alice(), false, RoomId::parse("fresh").unwrap())
    }

    fn roles(room: &NewRoom) -> Vec<(&str, &str)> {
        room.members.iter().map(|(user, role)| (user.as_str(), role.as_str())).collect()
    }

    #[test]
    fn creator_is_owner_and_others_are_members_by_default() {
        let room = room(
            r#"{"kind":"private","name":"Tea ☕","metadata":{"b":1.0,"a":2},
               "members":[{"user":"bob"},{"user":"carol","role":"guest"},{"user":"alice","role":"guest"}]}"#,
        )
        .unwrap();
        assert_eq!(roles(&room), [("alice", "owner"), ("bob", "member"), ("carol", "guest")]);
        assert_eq!((room.id.as_str(), room.metadata.as_str()), ("fresh", r#"{"b":1.0,"a":2}"#));
    }

    #[test]
    fn direct_room_has_exactly_two_members_and_no_owner() {
        let direct = room(r#"{"kind":"direct","members":[{"user":"bob"}]}"#).unwrap();
        assert_eq!(roles(&direct), [("alice", "member"), ("bob", "member")]);
        assert!(room(r#"{"kind":"direct","members":[{"user":"bob"},{"user":"alice"}]}"#).is_ok());
        for bad in [
            r#"{"kind":"direct"}"#,
            r#"{"kind":"direct","members":[{"user":"alice"}]}"#,
            r#"{"kind":"direct","members":[{"user":"bob"},{"user":"carol"}]}"#,
            r#"{"kind":"direct","members":[{"user":"bob","role":"guest"}]}"#,
        ] {
            assert_eq!(room(bad).unwrap_err().field.as_deref(), Some("members"), "{bad}");
        }
    }

    #[test]
    fn only_admin_may_choose_room_id() {
        let text = r#"{"kind":"public","id":"lobby"}"#;
        let refusal = room(text).unwrap_err();
        assert_eq!((refusal.code, refusal.field.as_deref()), (ErrorCode::Forbidden, Some("id")));
        let fresh = RoomId::parse("fresh").unwrap();
        assert_eq!(parse_new_room(text, &alice(), true, fresh).unwrap().id.as_str(), "lobby");
    }

    #[test]
    fn invalid_creation_is_refused_with_its_field() {
        let name = |name: String| serde_json::json!({"kind": "public", "name": name}).to_string();
        let crowd = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| serde_json::json!({"user": format!("u{n}")})).collect();
            serde_json::json!({"kind": "public", "members": members}).to_string()
        };
        let metadata =
            |bytes: usize| format!(r#"{{"kind":"public","metadata":{{"a":"{}"}}}}"#, "x".repeat(bytes - 8));
        let cases = [
            ("{}".into(), ErrorCode::BadRequest, "kind"),
            (r#"{"kind":"group"}"#.into(), ErrorCode::BadRequest, "kind"),
            (r#"{"kind":5}"#.into(), ErrorCode::BadRequest, "kind"),
            (r#"{"kind":"public","name":5}"#.into(), ErrorCode::BadRequest, "name"),
            (name("x".repeat(201)), ErrorCode::TooLarge, "name"),
            (name("a\nb".into()), ErrorCode::BadRequest, "name"),
            (name("a\0b".into()), ErrorCode::BadRequest, "name"),
            (r#"{"kind":"public","members":{}}"#.into(), ErrorCode::BadRequest, "members"),
            (r#"{"kind":"public","members":[{"user":"a b"}]}"#.into(), ErrorCode::BadRequest, "members"),
            (
                r#"{"kind":"public","members":[{"user":"b","role":"Boss"}]}"#.into(),
                ErrorCode::BadRequest,
                "members",
            ),
            (
                r#"{"kind":"public","members":[{"user":"b","role":""}]}"#.into(),
                ErrorCode::BadRequest,
                "members",
            ),
            (
                r#"{"kind":"public","members":[{"user":"b","role":"removed"}]}"#.into(),
                ErrorCode::BadRequest,
                "members",
            ),
            (
                r#"{"kind":"public","members":[{"user":"b"},{"user":"b"}]}"#.into(),
                ErrorCode::BadRequest,
                "members",
            ),
            (crowd(1001), ErrorCode::TooLarge, "members"),
            (r#"{"kind":"public","metadata":[]}"#.into(), ErrorCode::BadRequest, "metadata"),
            (metadata(4097), ErrorCode::TooLarge, "metadata"),
        ];
        for (text, code, field) in cases {
            let refusal = room(&text).err().unwrap_or_else(|| panic!("{text} was accepted"));
            assert_eq!((refusal.code, refusal.field.as_deref()), (code, Some(field)), "{text}");
        }
        assert!(room(&name("é".repeat(200))).is_ok());
        assert!(room(&crowd(1000)).is_ok());
        assert!(room(&metadata(4096)).is_ok());
        for bad in ["", "[]", "{", "5", "null"] {
            assert_eq!(room(bad).unwrap_err().code, ErrorCode::BadRequest, "{bad}");
        }
    }
}
