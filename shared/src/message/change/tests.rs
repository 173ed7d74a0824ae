//! Tests of changes of messages: refusals, permissions, and the form of the events.

use super::*;
use crate::{
    ids::RoomId,
    protocol::{Command, RoomCommand, client::parse},
};

fn change(kind: ChangeKind, json: &str) -> Result<Change, Refusal> {
    let kind = match kind {
        ChangeKind::Edit => "message:edit",
        ChangeKind::Delete => "message:delete",
        ChangeKind::AddReaction => "reaction:add",
        ChangeKind::RemoveReaction => "reaction:remove",
    };
    let frame = json.replacen('{', &format!(r#"{{"type":"{kind}","room":"r","#), 1).replace(",}", "}");
    match parse(&frame, 10).frame? {
        Command::InRoom { command: RoomCommand::Change(change), .. } => Ok(*change),
        other => panic!("{other:?}"),
    }
}

fn target(sender: &str, users: &[&str]) -> Target {
    Target {
        id: Uuid::nil().to_string(),
        sender: sender.into(),
        visibility: Visibility { users: users.iter().map(ToString::to_string).collect(), roles: vec![] },
        deleted: false,
        upto: Seq(9),
        has_attachments: false,
        mentions: Vec::new(),
    }
}

/// Returns what alice, who has this role and not the admin scope, gets for a change: the lowest role or the error code.
fn decide(change: &Change, role: &str, target: &Target) -> Result<MinRole, ErrorCode> {
    let alice = UserId::parse("alice").unwrap();
    let actor = Actor { user: &alice, role, admin: false };
    change.permit(&actor).and_then(|()| change.check(&actor, target)).map_err(|refusal| refusal.code)
}

#[test]
fn invalid_field_is_refused_with_its_name() {
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
        (ChangeKind::Edit, r#"{"seq":1,"content":"x","mentions":["bob","bob"]}"#, "mentions"),
        (ChangeKind::Delete, r#"{"seq":1,"client_id":""}"#, "client_id"),
        (ChangeKind::AddReaction, r#"{"seq":1}"#, "emoji"),
        (ChangeKind::AddReaction, r#"{"seq":1,"emoji":""}"#, "emoji"),
        (ChangeKind::AddReaction, r#"{"seq":1,"emoji":".."}"#, "emoji"),
        (ChangeKind::AddReaction, r#"{"seq":1,"emoji":"a b"}"#, "emoji"),
        (ChangeKind::AddReaction, r#"{"seq":1,"emoji":"\ufe0f"}"#, "emoji"),
        (ChangeKind::AddReaction, r#"{"seq":1,"emoji":"a\u202eb"}"#, "emoji"),
    ];
    for (kind, json, field) in cases {
        assert_eq!(change(kind, json).unwrap_err().field.as_deref(), Some(field), "{json}");
    }
}

#[test]
fn emoji_may_have_sixty_four_bytes() {
    let react = |emoji: &str| change(ChangeKind::AddReaction, &format!(r#"{{"seq":1,"emoji":"{emoji}"}}"#));
    assert!(react("👩🏿‍❤️‍💋‍👨🏽").is_ok(), "the longest recommended emoji");
    assert!(react(&"é".repeat(32)).is_ok());
    assert_eq!(react(&format!("{}x", "é".repeat(32))).unwrap_err().field.as_deref(), Some("emoji"));
}

#[test]
fn spellings_of_emoji_and_line_ends_become_one_form() {
    for kind in [ChangeKind::AddReaction, ChangeKind::RemoveReaction] {
        let action = change(kind, r#"{"seq":1,"emoji":"👍\ufe0e"}"#).unwrap().action;
        assert!(
            matches!(&action, Action::AddReaction { emoji } | Action::RemoveReaction { emoji } if emoji == "👍"),
            "{action:?}"
        );
    }
    let edit = change(ChangeKind::Edit, r#"{"seq":1,"content":"a\r\nb"}"#).unwrap();
    assert!(matches!(&edit.action, Action::Edit { content, .. } if content == "a\nb"), "{edit:?}");
}

#[test]
fn metadata_over_four_kilobytes_is_too_large() {
    let json = format!(r#"{{"seq":1,"content":"x","metadata":{{"a":"{}"}}}}"#, "x".repeat(4096));
    assert_eq!(change(ChangeKind::Edit, &json).unwrap_err().code, ErrorCode::TooLarge);
}

#[test]
fn members_change_own_messages_and_admins_those_of_others() {
    let delete = change(ChangeKind::Delete, r#"{"seq":1}"#).unwrap();
    let edit = change(ChangeKind::Edit, r#"{"seq":1,"content":"x"}"#).unwrap();
    let react = change(ChangeKind::AddReaction, r#"{"seq":1,"emoji":"+"}"#).unwrap();
    for change in [&delete, &edit] {
        assert_eq!(decide(change, "member", &target("alice", &[])), Ok(MinRole::Member));
        assert_eq!(decide(change, "vip", &target("alice", &[])), Ok(MinRole::Member));
        assert_eq!(decide(change, "guest", &target("alice", &[])), Err(ErrorCode::Forbidden));
        assert_eq!(decide(change, "member", &target("bob", &[])), Err(ErrorCode::Forbidden));
        assert_eq!(decide(change, "admin", &target("bob", &[])), Ok(MinRole::Admin));
        assert_eq!(decide(change, "owner", &target("bob", &["eve"])), Err(ErrorCode::NotFound));
    }
    assert_eq!(decide(&react, "vip", &target("bob", &[])), Ok(MinRole::Member));
    assert_eq!(decide(&react, "member", &target("bob", &["eve"])), Err(ErrorCode::NotFound));
    assert_eq!(decide(&react, "guest", &target("bob", &[])), Err(ErrorCode::Forbidden));
}

#[test]
fn guest_is_refused_before_any_look_up() {
    let alice = UserId::parse("alice").unwrap();
    let react = change(ChangeKind::AddReaction, r#"{"seq":1,"emoji":"+"}"#).unwrap();
    let permit = |role, admin| react.permit(&Actor { user: &alice, role, admin }).map_err(|r| r.code);
    assert_eq!(permit("guest", false), Err(ErrorCode::Forbidden));
    assert_eq!(permit("guest", true), Ok(()));
    assert_eq!(permit("member", false), Ok(()));
}

#[test]
fn admin_scope_changes_visible_messages_in_any_room() {
    let alice = UserId::parse("alice").unwrap();
    let actor = Actor { user: &alice, role: "", admin: true };
    let delete = change(ChangeKind::Delete, r#"{"seq":1}"#).unwrap();
    let check = |target: &Target| delete.check(&actor, target).map_err(|refusal| refusal.code);
    assert_eq!(check(&target("bob", &[])), Ok(MinRole::Anyone));
    assert_eq!(check(&target("bob", &["eve"])), Err(ErrorCode::NotFound));
}

#[test]
fn deleted_message_accepts_only_deletes() {
    let deleted = Target { deleted: true, ..target("alice", &[]) };
    let decide = |kind, json| decide(&change(kind, json).unwrap(), "member", &deleted);
    assert_eq!(decide(ChangeKind::Edit, r#"{"seq":1,"content":"x"}"#), Err(ErrorCode::Conflict));
    assert_eq!(decide(ChangeKind::AddReaction, r#"{"seq":1,"emoji":"+"}"#), Err(ErrorCode::Conflict));
    assert_eq!(decide(ChangeKind::RemoveReaction, r#"{"seq":1,"emoji":"+"}"#), Err(ErrorCode::Conflict));
    assert_eq!(decide(ChangeKind::Delete, r#"{"seq":1}"#), Ok(MinRole::Member));
}

#[test]
fn empty_edit_requires_attachments() {
    let empty = change(ChangeKind::Edit, r#"{"seq":1,"content":""}"#).unwrap();
    let bare = target("alice", &[]);
    assert_eq!(decide(&empty, "member", &bare), Err(ErrorCode::BadRequest));
    let with_files = Target { has_attachments: true, ..bare };
    assert_eq!(decide(&empty, "member", &with_files), Ok(MinRole::Member));
}

#[test]
fn id_of_another_message_is_a_conflict() {
    let guarded = |id: Uuid| change(ChangeKind::Delete, &format!(r#"{{"seq":1,"id":"{id}"}}"#)).unwrap();
    let target = target("alice", &[]);
    assert_eq!(decide(&guarded(Uuid::nil()), "member", &target), Ok(MinRole::Member));
    assert_eq!(decide(&guarded(Uuid::max()), "member", &target), Err(ErrorCode::Conflict));
    assert_eq!(
        decide(&guarded(Uuid::max()), "member", &Target { sender: "bob".into(), ..target }),
        Err(ErrorCode::Forbidden),
        "a user who may not change the message learns nothing about its id"
    );
}

#[test]
fn edit_event_has_the_wire_form() {
    let edit = change(ChangeKind::Edit, r#"{"seq":3,"content":"x","metadata":{"a": 1}}"#).unwrap();
    let (room, user) = (RoomId::parse("r").unwrap(), UserId::parse("alice").unwrap());
    let entry = edit.entry(&room, &user, &target("bob", &["eve"]), MinRole::Admin);
    let id = Uuid::nil();
    assert_eq!(
        entry.body,
        format!(r#"{{"target":3,"target_id":"{id}","content":"x","metadata":{{"a": 1}},"by":"alice"}}"#)
    );
    assert_eq!((entry.kind, entry.drops_tail, entry.is_change), ("message:edited", false, true));
    assert_eq!(entry.visibility.users, ["eve", "bob"]);
}

#[test]
fn edit_event_keeps_replaces_or_removes_mentions() {
    let (room, user) = (RoomId::parse("r").unwrap(), UserId::parse("alice").unwrap());
    let body = |mentions: &str| {
        let edit = change(ChangeKind::Edit, &format!(r#"{{"seq":3,"content":"x"{mentions}}}"#)).unwrap();
        edit.entry(&room, &user, &target("alice", &[]), MinRole::Member).body
    };
    assert!(!body("").contains("mentions"));
    assert!(body(r#","mentions":["bob"]"#).contains(r#""mentions":["bob"]"#));
    assert!(body(r#","mentions":[]"#).contains(r#""mentions":[]"#));
}

#[test]
fn only_the_first_delete_drops_the_tail() {
    let delete = change(ChangeKind::Delete, r#"{"seq":3}"#).unwrap();
    let (room, user) = (RoomId::parse("r").unwrap(), UserId::parse("alice").unwrap());
    let drops = |target: &Target| delete.entry(&room, &user, target, MinRole::Member).drops_tail;
    let there = target("alice", &[]);
    assert!(drops(&there));
    assert!(!drops(&Target { deleted: true, ..there }));
}

#[test]
fn change_has_the_audience_of_its_message() {
    assert_eq!(target("alice", &["bob"]).audience().users, ["bob", "alice"]);
    assert!(target("alice", &[]).audience().is_everyone());
    let private = target("alice", &["bob"]);
    assert!(private.is_visible_to("alice", "guest") && !private.is_visible_to("eve", "owner"));
}
