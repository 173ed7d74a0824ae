//! Tests changes of a room: the accepted bodies, the needed roles, and the appended event.

use serde_json::json;

use super::*;

fn room(role: Option<&str>, archived: bool) -> Room {
    let metadata = crate::query::json::RawJson::new(r#"{"a": 1}"#.to_owned()).unwrap();
    Room::sample("tea", Some("Tea"), archived, metadata, role)
}

fn check_outcome(text: &str, room: &Room, admin: bool) -> String {
    match RoomChange::parse(text).unwrap().check(room, admin) {
        Err(refusal) => refusal.code.as_str().to_owned(),
        Ok(None) => "nothing".to_owned(),
        Ok(Some(min_role)) => format!("{min_role:?}"),
    }
}

#[test]
fn only_admins_and_owners_change_rooms() {
    let change = r#"{"name":"Coffee"}"#;
    for (role, expected) in [
        ("guest", "forbidden"),
        ("member", "forbidden"),
        ("vip", "forbidden"),
        ("admin", "Admin"),
        ("owner", "Admin"),
    ] {
        assert_eq!(check_outcome(change, &room(Some(role), false), false), expected, "{role}");
        assert_eq!(check_outcome(change, &room(Some(role), false), true), "Anyone", "{role}");
    }
    assert_eq!(check_outcome(change, &room(None, false), true), "Anyone");
}

#[test]
fn archived_room_allows_only_unarchiving() {
    for (change, active, archived) in [
        ("{}", "nothing", "nothing"),
        (r#"{"name":"Tea","metadata":{"a": 1}}"#, "nothing", "nothing"),
        (r#"{"name":null,"metadata":null,"archived":null}"#, "nothing", "nothing"),
        (r#"{"name":"Coffee"}"#, "Admin", "conflict"),
        (r#"{"name":""}"#, "Admin", "conflict"),
        (r#"{"metadata":{"a":1}}"#, "Admin", "conflict"),
        (r#"{"archived":true}"#, "Admin", "nothing"),
        (r#"{"archived":true,"name":"Coffee"}"#, "Admin", "conflict"),
        (r#"{"slow_mode_s":0}"#, "nothing", "nothing"),
        (r#"{"slow_mode_s":30}"#, "Admin", "conflict"),
        (r#"{"archived":true,"slow_mode_s":30}"#, "Admin", "conflict"),
        (r#"{"archived":false}"#, "nothing", "Admin"),
        (r#"{"archived":false,"name":"Coffee"}"#, "Admin", "Admin"),
    ] {
        assert_eq!(check_outcome(change, &room(Some("admin"), false), false), active, "{change}");
        assert_eq!(check_outcome(change, &room(Some("admin"), true), false), archived, "archived: {change}");
    }
}

#[test]
fn event_has_changed_fields_and_hash_has_join_fields() {
    let (id, alice) = (RoomId::parse("tea").unwrap(), UserId::parse("alice").unwrap());
    let event = |text: &str| {
        let change = RoomChange::parse(text).unwrap();
        let entry = change.entry(&id, &alice, MinRole::Admin);
        (entry.body, entry.sets, entry.allowed_in_archive)
    };
    let set = |name: &'static str, value: &str| (name, value.to_owned());
    assert_eq!(
        event(r#"{"name":"","metadata":{"b":1.0}}"#),
        (r#"{"name":"","metadata":{"b":1.0},"by":"alice"}"#.to_owned(), vec![set("name", "")], false)
    );
    assert_eq!(
        event(r#"{"archived":true}"#),
        (r#"{"archived":true,"by":"alice"}"#.to_owned(), vec![set("archived", "1")], true)
    );
    let (_, sets, allowed) = event(r#"{"archived":false,"name":"x"}"#);
    assert_eq!((sets, allowed), (vec![set("name", "x"), set("archived", "0")], true));
    assert!(!event(r#"{"archived":true,"name":"x"}"#).2);
    assert_eq!(
        event(r#"{"slow_mode_s":30}"#),
        (r#"{"slow_mode_s":30,"by":"alice"}"#.to_owned(), vec![set("slow_mode_s", "30")], false)
    );
    assert!(!event(r#"{"archived":true,"slow_mode_s":0}"#).2);
}

#[test]
fn invalid_room_change_is_refused_with_its_field() {
    let long = json!({"name": "x".repeat(201)}).to_string();
    let large = json!({"metadata": {"a": "x".repeat(5000)}}).to_string();
    for (text, code, field) in [
        (r#"{"name":7}"#, ErrorCode::BadRequest, Some("name")),
        (r#"{"name":"a\nb"}"#, ErrorCode::BadRequest, Some("name")),
        (&long, ErrorCode::TooLarge, Some("name")),
        (r#"{"metadata":[]}"#, ErrorCode::BadRequest, Some("metadata")),
        (&large, ErrorCode::TooLarge, Some("metadata")),
        (r#"{"archived":"yes"}"#, ErrorCode::BadRequest, Some("archived")),
        (r#"{"slow_mode_s":-1}"#, ErrorCode::BadRequest, Some("slow_mode_s")),
        (r#"{"slow_mode_s":3601}"#, ErrorCode::BadRequest, Some("slow_mode_s")),
        (r#"{"slow_mode_s":"30"}"#, ErrorCode::BadRequest, Some("slow_mode_s")),
        ("", ErrorCode::BadRequest, None),
        ("[]", ErrorCode::BadRequest, None),
    ] {
        let refusal = RoomChange::parse(text).unwrap_err();
        assert_eq!((refusal.code, refusal.field.as_deref()), (code, field), "{text}");
    }
}
