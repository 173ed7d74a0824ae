//! Creates the rooms and users that schemathesis uses, with the ids that `hooks.py` names.

use anyhow::Result;
use serde_json::json;
use tidings_harness::stack::set_feed;
use tidings_harness::{Http, Stack};

const ROOMS: [(&str, &str); 7] = [
    ("kitchen", "private"),
    ("lobby", "public"),
    ("attic", "private"),
    ("cellar", "private"),
    ("shed", "public"),
    ("pantry", "private"),
    ("porch", "private"),
];

/// Starts a stack without effective rate limits, because the tool sends requests faster than a person.
pub async fn start_stack() -> Result<Stack> {
    let many = 1_000_000;
    let builder = Stack::builder().gateways(0);
    let builder = builder.persistence_env("TIDINGS_MESSAGES_PER_SECOND", many);
    let stack = builder.persistence_env("TIDINGS_MESSAGES_BURST", many).start().await?;
    set_feed(stack.database().url(), true).await?;
    Ok(stack)
}

/// Creates alice's rooms: private, public, direct and archived ones, with messages of every kind.
pub async fn create_rooms(stack: &Stack) -> Result<()> {
    let alice = stack.http("alice");
    let owner = alice.with_token(&stack.admin_token("alice"));
    let members = json!([{"user": "bob", "role": "admin"}, {"user": "carol", "role": "guest"}]);
    for (room, kind) in ROOMS {
        let body =
            json!({"id": room, "kind": kind, "name": room, "members": members, "metadata": {"floor": 1}});
        owner.post("/rooms", body).await?.expect(201);
        send_messages(&alice, room).await?;
    }
    let pair = json!({"id": "pair", "kind": "direct", "members": [{"user": "bob"}]});
    owner.post("/rooms", pair).await?.expect(201);
    alice.send("pair", "c1", "tea?").await?.expect(201);
    owner.archive_room("attic").await?.expect(204);
    owner.change_room("lobby", json!({"name": "Lobby", "metadata": {}})).await?.expect(200);
    owner.put_member("lobby", "carol", "member").await?.expect(200);
    owner.remove_member("lobby", "bob").await?.expect(200);
    for user in ["fay", "gus"] {
        owner.put_user(user, json!({"name": user})).await?.expect(200);
    }
    stack.http("carol").read("kitchen", 2).await?.expect(200);
    Ok(())
}

async fn send_messages(alice: &Http, room: &str) -> Result<()> {
    let path = format!("/rooms/{room}/messages");
    let picture =
        json!({"name": "a.png", "url": "https://x.example/a.png", "media_type": "image/png", "size": 1});
    let photo = json!({
        "name": "b.png", "file": "0190f2a4-9c10-7a31-8b6f-1d2e3f405162", "media_type": "image/png", "size": 1,
        "width": 3, "height": 2, "blurhash": "LEHV6nWB2yk8"
    });
    for message in [
        json!({"client_id": "c1", "content": "tea is ready"}),
        json!({"client_id": "c2", "content": "coffee too", "reply_to": 1, "metadata": {"a": [1.0, null]}}),
        json!({"client_id": "c3", "content": "for bob", "visible_to": {"users": ["bob"], "roles": ["vip"]}}),
        json!({"client_id": "c4", "attachments": [picture, photo], "kind": "picture"}),
        json!({"client_id": "c5", "content": "never mind"}),
    ] {
        alice.post(&path, message).await?.expect(201);
    }
    let edit = json!({"content": "coffee as well", "metadata": {}});
    alice.request(reqwest::Method::PATCH, &format!("{path}/2"), Some(edit)).await?.expect(200);
    alice.request(reqwest::Method::DELETE, &format!("{path}/5"), None).await?.expect(200);
    alice.request(reqwest::Method::PUT, &format!("{path}/1/reactions/%E2%98%95"), None).await?.expect(200);
    Ok(())
}
