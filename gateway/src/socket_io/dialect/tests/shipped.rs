//! The dialects in deploy/dialects, each by frames of a short conversation.

use super::*;

const ROOMS: &str = include_str!("../../../../../deploy/dialects/rooms.toml");
const CHAT: &str = include_str!("../../../../../deploy/dialects/chat.toml");
const MOBILE: &str = include_str!("../../../../../deploy/dialects/mobile.toml");
const PORTAL: &str = include_str!("../../../../../deploy/dialects/portal.toml");
const BROADCAST: &str = include_str!("../../../../../deploy/dialects/broadcast.toml");
const AT: &str = "2026-01-31T09:30:00.123Z";
const AT_MS: u64 = 1_769_851_800_123;

fn joined(room: &str) -> Value {
    json!({ "type": "room:joined", "rooms": [{ "room": room, "members": 2 }], "failed": [] })
}

fn message(room: &str, content: &str) -> Value {
    let sender = json!({ "id": "ben", "name": "Ben" });
    json!({
        "type": "message:new", "room": room, "seq": 5, "at": AT, "id": "uuid", "client_id": "c1", "sender": sender,
        "kind": "text", "content": content,
    })
}

fn ack(room: &str) -> Value {
    json!({ "type": "ack", "room": room, "seq": 5, "at": AT, "id": "uuid", "client_id": "c1", "stage": "stored" })
}

fn refused() -> Value {
    json!({ "type": "error", "code": "forbidden", "message": "not yours" })
}

fn event(items: Value) -> Vec<(Option<u64>, Value)> {
    vec![(None, items)]
}

fn acked(items: Value) -> Vec<(Option<u64>, Value)> {
    vec![(Some(7), items)]
}

#[test]
fn rooms_dialect_confirms_joins_and_messages() {
    let dialect = parse(ROOMS);
    let (command, join) = run(&dialect, "join", json!([{ "room": "tea time" }]));
    assert_eq!(command, json!({ "type": "room:join", "room": "room-tea:20time" }));
    let expected = [
        (Some(7), json!([{ "success": true, "room": "tea time" }])),
        (None, json!(["joined", { "room": "tea time", "members": 2 }])),
    ];
    assert_eq!(answer(&dialect, joined("room-tea:20time"), &join), expected);
    let (command, send) = run(&dialect, "send_message", json!([{ "room": "a", "message": "hi" }]));
    let sent = json!({ "type": "message:send", "room": "room-a", "content": "hi", "client_id": "fresh" });
    assert_eq!(command, sent);
    let confirmed = answer(&dialect, ack("room-a"), &send);
    assert_eq!(confirmed[0], (Some(7), json!([{ "success": true, "id": "room-a~5", "timestamp": AT }])));
    assert_eq!(confirmed[1].1[0], "message_sent");
    let new = json!({ "id": "room-a~5", "room": "a", "user": "Ben", "message": "hi", "timestamp": AT });
    assert_eq!(packets(&dialect, &message("room-a", "hi")), event(json!(["message", new])));
    let left =
        json!({ "type": "member:removed", "room": "room-a", "seq": 6, "at": AT, "user": "ben", "by": "ben" });
    let status = json!(["status", { "msg": "ben has left the room", "room": "a", "user": "ben" }]);
    assert_eq!(packets(&dialect, &left), event(status));
    let error = json!(["error", { "message": "not yours", "code": "forbidden" }]);
    assert_eq!(packets(&dialect, &refused()), event(error));
}

#[test]
fn chat_dialect_maps_watermarks_to_message_ids() {
    let dialect = parse(CHAT);
    let (command, send) = run(
        &dialect,
        "message:send",
        json!([{ "chatId": "a", "content": "hi", "clientMessageId": "c1", "replyTo": "chat-a~3" }]),
    );
    let sent = json!({ "type": "message:send", "room": "chat-a", "content": "hi", "client_id": "c1", "reply_to": 3 });
    assert_eq!(command, sent);
    let confirmed =
        json!({ "success": true, "messageId": "chat-a~5", "clientMessageId": "c1", "createdAt": AT });
    assert_eq!(answer(&dialect, ack("chat-a"), &send), acked(json!([confirmed])));
    let new = &packets(&dialect, &message("chat-a", "hi"))[0].1[1];
    assert_eq!(
        (&new["id"], &new["chatId"], &new["senderId"]),
        (&json!("chat-a~5"), &json!("a"), &json!("ben"))
    );
    let (command, _) = run(&dialect, "message:read", json!([{ "chatId": "a", "messageId": new["id"] }]));
    assert_eq!(command, json!({ "type": "message:read", "room": "chat-a", "seq": 5 }));
    let marks = json!([{ "user": "ben", "seq": 5, "at": AT }, { "user": "ann", "seq": 5, "at": AT }]);
    let receipt = json!({ "type": "receipt:read", "room": "chat-a", "marks": marks });
    let read = json!({ "chatId": "a", "messageId": "chat-a~5", "userId": "ben", "readAt": AT });
    assert_eq!(packets(&dialect, &receipt), event(json!(["message:read", read])), "own marks are left out");
    for (status, expected) in [("busy", "away"), ("online", "online")] {
        let (command, _) = run(&dialect, "user:status", json!([{ "status": status }]));
        assert_eq!(command, json!({ "type": "presence:set", "status": expected }));
    }
    let presence = json!({ "type": "presence", "user": "ben", "status": "offline", "last_seen": AT });
    let status = json!(["user:status", { "userId": "ben", "status": "offline", "lastSeen": AT }]);
    assert_eq!(packets(&dialect, &presence), event(status));
}

#[test]
fn mobile_dialect_answers_callbacks_and_positions() {
    let dialect = parse(MOBILE);
    let (command, join) = run(&dialect, "join_room", json!(["a"]));
    assert_eq!(command, json!({ "type": "room:join", "room": "mobile-a" }));
    assert_eq!(
        answer(&dialect, joined("mobile-a"), &join),
        acked(json!([{ "success": true, "roomId": "a" }]))
    );
    let payload = json!({ "room_id": "a", "text": "hi", "client_message_id": 17 });
    let (command, send) = run(&dialect, "send_message", json!([payload]));
    assert_eq!((&command["client_id"], &command["content"]), (&json!("17"), &json!("hi")));
    let confirmed = json!([{ "success": true, "messageId": "mobile-a~5", "timestamp": AT_MS }]);
    assert_eq!(answer(&dialect, ack("mobile-a"), &send), acked(confirmed));
    let failed = json!([{ "success": false, "error": "forbidden", "message": "not yours" }]);
    assert_eq!(answer(&dialect, refused(), &send), acked(failed));
    let new = &packets(&dialect, &message("mobile-a", "hi"))[0].1;
    assert_eq!((&new[0], &new[1], &new[2]["timestamp"]), (&json!("new_message"), &json!("a"), &json!(AT_MS)));
    let (command, _) = run(&dialect, "typing", json!(["a", true]));
    assert_eq!(command["type"], "typing:start");
    let typing = json!({ "type": "typing:stop", "room": "mobile-a", "user": { "id": "ben" } });
    assert_eq!(packets(&dialect, &typing), event(json!(["typing", "a", "ben", false])));
}

#[test]
fn portal_dialect_keeps_chat_ids_as_numbers() {
    let dialect = parse(PORTAL);
    let (command, join) = run(&dialect, "join_chat", json!([{ "chat_id": 42 }]));
    assert_eq!(command, json!({ "type": "room:join", "room": "chat-42" }));
    let expected =
        [(Some(7), json!([{ "status": "ok" }])), (None, json!(["joined_chat", { "chat_id": 42 }]))];
    assert_eq!(answer(&dialect, joined("chat-42"), &join), expected);
    let new = &packets(&dialect, &message("chat-42", "hi"))[0].1;
    assert_eq!(
        (&new[0], &new[1]["chat_id"], &new[1]["id"]),
        (&json!("new_message"), &json!(42), &json!("uuid"))
    );
    let (command, _) = run(&dialect, "user_typing", json!([{ "chat_id": 42, "is_typing": false }]));
    assert_eq!(command, json!({ "type": "typing:stop", "room": "chat-42" }));
    let (_, leave) = run(&dialect, "leave_chat", json!([{ "chat_id": 42 }]));
    let left = answer(&dialect, json!({ "type": "room:left", "rooms": ["chat-42"] }), &leave);
    assert_eq!(left[1].1, json!(["left_chat", { "chat_id": 42 }]));
}

#[test]
fn broadcast_dialect_has_one_room_for_everybody() {
    let dialect = parse(BROADCAST);
    assert_eq!(dialect.connect(&json!({})).join, Some(json!({ "rooms": ["app-everybody"] })));
    let (command, send) = run(&dialect, "chat message", json!(["hi"]));
    assert_eq!((&command["room"], &command["content"]), (&json!("app-everybody"), &json!("hi")));
    assert_eq!(answer(&dialect, ack("app-everybody"), &send), acked(json!([{ "id": "app-everybody~5" }])));
    let new = json!(["chat message", "hi", { "id": "app-everybody~5", "user": "Ben", "time": AT_MS }]);
    assert_eq!(packets(&dialect, &message("app-everybody", "hi")), event(new));
}
