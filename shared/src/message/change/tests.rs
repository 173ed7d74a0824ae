//! Changes: what is refused, who may, and the form of their events.

use super::*;
use crate::log::record::Visibility;

fn change(kind: ChangeKind, json: &str) -> Result<Change, Refusal> {
    Change::from_fields(kind, &Fields::parse(json).unwrap(), 10)
}

fn target(sender: &str, users: &[&str]) -> Target {
    Target {
        id: Uuid::nil().to_string(),
        sender: sender.into(),
        visibility: Visibility { users: users.iter().map(ToString::to_string).collect(), roles: vec![] },
        deleted: false,
        upto: Seq(9),
        has_attachments: false,
    }
}

/// What alice is told who has this role and no scope.
fn told(change: &Change, role: &str, target: &Target) -> Result<Minimum, ErrorCode> {
    let alice = UserId::parse("alice").unwrap();
    let actor = Actor { user: &alice, role, admin: false };
    change.permit(&actor).and_then(|()| change.check(&actor, target)).map_err(|refusal| refusal.code)
}

#[test]
fn each_wrong_field_is_named() {
    let cases = [
        (ChangeKind::Edit, r#"{"content":"x"}"#, "seq"),
        (ChangeKind::Edit, r#"{"seq":0,"content":"x"}"#, "seq"),
        (ChangeKind::Edit, r#"{"seq":1}"#, "content"),
        (ChangeKind::Edit, r#"{"seq":1,"content":null}"#, "content"),
        (ChangeKind::Edit, r#"{"seq":1,"content":"01234567890"}"#, "content"),
        (ChangeKind::Edit, r#"{"seq":1,"content":"\u0007"}"#, "content"),
        (ChangeKind::Edit, r#"{"seq":1,"content":"x","id":"7"}"#, "id"),
        (ChangeKind::Edit, r#"{"seq":1,"content":"x","metadata":1}"#, "metadata"),
        (ChangeKind::Edit, r#"{"seq":1,"content":"x","metadata":{"a":"\u0000"}}"#, "metadata"),
        (ChangeKind::Edit, r#"{"seq":1,"content":"x","ack":"soon"}"#, "ack"),
        (ChangeKind::Delete, r#"{"seq":1,"client_id":""}"#, "client_id"),
        (ChangeKind::AddReaction, r#"{"seq":1}"#, "emoji"),
        (ChangeKind::AddReaction, r#"{"seq":1,"emoji":""}"#, "emoji"),
        (ChangeKind::AddReaction, r#"{"seq":1,"emoji":".."}"#, "emoji"),
        (ChangeKind::AddReaction, r#"{"seq":1,"emoji":"a b"}"#, "emoji"),
        (ChangeKind::RemoveReaction, r#"{"seq":1,"emoji":"012345678901234567890123456789012"}"#, "emoji"),
    ];
    for (kind, json, field) in cases {
        assert_eq!(change(kind, json).unwrap_err().field.as_deref(), Some(field), "{json}");
    }
}

#[test]
fn an_emoji_may_have_thirty_two_bytes() {
    let json = format!(r#"{{"seq":1,"emoji":"{}"}}"#, "é".repeat(16));
    assert!(change(ChangeKind::AddReaction, &json).is_ok());
}

#[test]
fn metadata_over_four_kilobytes_is_too_large() {
    let json = format!(r#"{{"seq":1,"content":"x","metadata":{{"a":"{}"}}}}"#, "x".repeat(4096));
    assert_eq!(change(ChangeKind::Edit, &json).unwrap_err().code, ErrorCode::TooLarge);
}

#[test]
fn own_messages_are_changed_by_members_and_others_by_admins() {
    let delete = change(ChangeKind::Delete, r#"{"seq":1}"#).unwrap();
    let edit = change(ChangeKind::Edit, r#"{"seq":1,"content":"x"}"#).unwrap();
    let react = change(ChangeKind::AddReaction, r#"{"seq":1,"emoji":"+"}"#).unwrap();
    for change in [&delete, &edit] {
        assert_eq!(told(change, "member", &target("alice", &[])), Ok(Minimum::Member));
        assert_eq!(told(change, "vip", &target("alice", &[])), Ok(Minimum::Member));
        assert_eq!(told(change, "guest", &target("alice", &[])), Err(ErrorCode::Forbidden));
        assert_eq!(told(change, "member", &target("bob", &[])), Err(ErrorCode::Forbidden));
        assert_eq!(told(change, "admin", &target("bob", &[])), Ok(Minimum::Admin));
        assert_eq!(told(change, "owner", &target("bob", &["eve"])), Err(ErrorCode::NotFound));
    }
    assert_eq!(told(&react, "vip", &target("bob", &[])), Ok(Minimum::Member));
    assert_eq!(told(&react, "member", &target("bob", &["eve"])), Err(ErrorCode::NotFound));
    assert_eq!(told(&react, "guest", &target("bob", &[])), Err(ErrorCode::Forbidden));
}

#[test]
fn a_guest_is_refused_before_anything_is_looked_up() {
    let alice = UserId::parse("alice").unwrap();
    let react = change(ChangeKind::AddReaction, r#"{"seq":1,"emoji":"+"}"#).unwrap();
    let permit = |role, admin| react.permit(&Actor { user: &alice, role, admin }).map_err(|r| r.code);
    assert_eq!(permit("guest", false), Err(ErrorCode::Forbidden));
    assert_eq!(permit("guest", true), Ok(()));
    assert_eq!(permit("member", false), Ok(()));
}

#[test]
fn whoever_acts_by_their_scope_changes_what_they_may_see_in_any_room() {
    let alice = UserId::parse("alice").unwrap();
    let actor = Actor { user: &alice, role: "", admin: true };
    let delete = change(ChangeKind::Delete, r#"{"seq":1}"#).unwrap();
    let check = |target: &Target| delete.check(&actor, target).map_err(|refusal| refusal.code);
    assert_eq!(check(&target("bob", &[])), Ok(Minimum::Anyone));
    assert_eq!(check(&target("bob", &["eve"])), Err(ErrorCode::NotFound));
}

#[test]
fn nothing_but_a_delete_is_aimed_at_a_deleted_message() {
    let deleted = Target { deleted: true, ..target("alice", &[]) };
    let told = |kind, json| told(&change(kind, json).unwrap(), "member", &deleted);
    assert_eq!(told(ChangeKind::Edit, r#"{"seq":1,"content":"x"}"#), Err(ErrorCode::Conflict));
    assert_eq!(told(ChangeKind::AddReaction, r#"{"seq":1,"emoji":"+"}"#), Err(ErrorCode::Conflict));
    assert_eq!(told(ChangeKind::RemoveReaction, r#"{"seq":1,"emoji":"+"}"#), Err(ErrorCode::Conflict));
    assert_eq!(told(ChangeKind::Delete, r#"{"seq":1}"#), Ok(Minimum::Member));
}

#[test]
fn a_text_is_emptied_only_beside_attachments() {
    let empty = change(ChangeKind::Edit, r#"{"seq":1,"content":""}"#).unwrap();
    let bare = target("alice", &[]);
    assert_eq!(told(&empty, "member", &bare), Err(ErrorCode::BadRequest));
    let with_files = Target { has_attachments: true, ..bare };
    assert_eq!(told(&empty, "member", &with_files), Ok(Minimum::Member));
}

#[test]
fn a_guard_that_names_another_message_is_a_conflict() {
    let guarded = |id: Uuid| change(ChangeKind::Delete, &format!(r#"{{"seq":1,"id":"{id}"}}"#)).unwrap();
    let target = target("alice", &[]);
    assert_eq!(told(&guarded(Uuid::nil()), "member", &target), Ok(Minimum::Member));
    assert_eq!(told(&guarded(Uuid::max()), "member", &target), Err(ErrorCode::Conflict));
    assert_eq!(
        told(&guarded(Uuid::max()), "member", &Target { sender: "bob".into(), ..target }),
        Err(ErrorCode::Forbidden),
        "who may not change it learns nothing of its id"
    );
}

#[test]
fn the_event_of_an_edit_has_the_wires_form() {
    let edit = change(ChangeKind::Edit, r#"{"seq":3,"content":"x","metadata":{"a": 1}}"#).unwrap();
    let (room, user) = (RoomId::parse("r").unwrap(), UserId::parse("alice").unwrap());
    let entry = edit.entry(&room, &user, &target("bob", &["eve"]), Minimum::Admin);
    let id = Uuid::nil();
    assert_eq!(
        entry.body,
        format!(r#"{{"target":3,"target_id":"{id}","content":"x","metadata":{{"a": 1}},"by":"alice"}}"#)
    );
    assert_eq!((entry.kind, entry.drops_tail, entry.is_change), ("message:edited", false, true));
    assert_eq!(entry.visibility.users, ["eve", "bob"]);
}

#[test]
fn only_the_first_delete_drops_the_tail() {
    let delete = change(ChangeKind::Delete, r#"{"seq":3}"#).unwrap();
    let (room, user) = (RoomId::parse("r").unwrap(), UserId::parse("alice").unwrap());
    let drops = |target: &Target| delete.entry(&room, &user, target, Minimum::Member).drops_tail;
    let there = target("alice", &[]);
    assert!(drops(&there));
    assert!(!drops(&Target { deleted: true, ..there }));
}
