//! Changes of memberships: who may make them, their effects, and changes of the room itself.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidings_harness::http::Answer;
use tidings_harness::{Http, Stack, System};

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

fn admin_http(stack: &impl System) -> Http {
    stack.http("root").with_token(&stack.admin_token("root"))
}

async fn create_room(stack: &impl System, kind: &str, members: &[(&str, &str)]) -> Result<String> {
    let members: Vec<Value> =
        members.iter().map(|(user, role)| json!({"user": user, "role": role})).collect();
    let body = json!({"kind": kind, "name": "Tea", "members": members});
    let room = stack.http("alice").post("/rooms", body).await?.expect(201).body;
    Ok(room["room"].as_str().unwrap_or_default().to_owned())
}

/// Users with their roles, as in alice's list of members.
async fn member_roles(stack: &impl System, room: &str) -> Result<Vec<String>> {
    let members = stack.http("alice").members(room, "").await?.expect(200).body;
    let members = members["members"].as_array().cloned().unwrap_or_default();
    let word = |member: &Value| {
        format!("{} {}", member["user"].as_str().unwrap_or("?"), member["role"].as_str().unwrap_or("?"))
    };
    Ok(members.iter().map(word).collect())
}

fn answer_seq(answer: &Answer) -> u64 {
    answer.body["seq"].as_u64().unwrap_or_default()
}

// Covers: PUT /rooms/{room}/members/{user}, DELETE /rooms/{room}/members/{user}, member:added, member:changed, member:removed.
#[tokio::test]
async fn membership_change_is_logged_and_applied() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, room) = (stack.http("alice"), create_room(&stack, "private", &[("bob", "admin")]).await?);
    let bob = stack.http("bob");
    alice.send(&room, "m1", "hello").await?.expect(201);
    let added = bob.put_member(&room, "carol", "guest").await?.expect(200).body;
    ensure!(added == json!({"user": "carol", "role": "guest", "seq": 2}), "{added}");
    let changed = alice.put_member(&room, "carol", "vip").await?.expect(200).body;
    ensure!(changed == json!({"user": "carol", "role": "vip", "seq": 3}), "{changed}");
    // A request for the role that the user already has changes nothing.
    let same = alice.put_member(&room, "carol", "vip").await?.expect(200).body;
    ensure!(same == json!({"user": "carol", "role": "vip", "seq": 3}), "{same}");
    let without_role = alice.join_room(&room, "carol").await?.expect(200).body;
    ensure!(without_role["role"] == "vip", "a request without a role must keep the role: {without_role}");
    ensure!(alice.remove_member(&room, "bob").await?.expect(200).body == json!({"seq": 4}));
    ensure!(stack.http("carol").remove_member(&room, "carol").await?.expect(200).body == json!({"seq": 5}));

    let events = alice.events(&room, "after=1").await?.expect(200).body["events"].clone();
    let logged: Vec<Value> = events.as_array().into_iter().flatten().cloned().map(without_time).collect();
    let expected = [
        json!({"type": "member:added", "room": room, "seq": 2, "user": "carol", "role": "guest", "by": "bob"}),
        json!({"type": "member:changed", "room": room, "seq": 3, "user": "carol", "role": "vip", "by": "alice"}),
        json!({"type": "member:removed", "room": room, "seq": 4, "user": "bob", "by": "alice"}),
        json!({"type": "member:removed", "room": room, "seq": 5, "user": "carol", "by": "carol"}),
    ];
    ensure!(logged == expected, "{logged:?}");
    ensure!(member_roles(&stack, &room).await? == ["alice owner"]);
    let seen = alice.room(&room).await?.expect(200).body;
    ensure!((&seen["members"], &seen["head"]["seq"]) == (&json!(1), &json!(5)), "{seen}");
    Ok(())
}

fn without_time(mut event: Value) -> Value {
    event.as_object_mut().and_then(|fields| fields.remove("at"));
    event
}

// Covers: forbidden.
#[tokio::test]
async fn membership_permissions_match_role_table() -> Result<()> {
    let stack = start_stack().await?;
    let of_each =
        [("o2", "owner"), ("a", "admin"), ("a2", "admin"), ("m", "member"), ("v", "vip"), ("g", "guest")];
    let room = create_room(&stack, "public", &of_each).await?;
    let put = |user: &'static str, role: &'static str| (user, Some(role));
    let remove = |user: &'static str| (user, None);
    // In order: who asks, for which change, and the status of the answer.
    for (who, (user, role), status) in [
        ("g", put("new", "member"), 403),
        ("m", put("new", "member"), 403),
        ("v", put("new", "member"), 403),
        ("a", put("new", "owner"), 403),
        ("a", put("new", "member"), 200),
        ("a", put("new", "owner"), 403),
        ("a", put("new", "admin"), 200),
        ("a", put("o2", "member"), 403),
        ("a", remove("o2"), 403),
        ("a", put("a2", "member"), 200),
        ("a", put("a", "owner"), 403),
        ("m", put("m", "admin"), 403),
        ("m", put("m", "member"), 200),
        ("v", put("v", "member"), 403),
        ("v", put("v", "guest"), 200),
        ("m", remove("g"), 403),
        ("v", remove("m"), 403),
        ("a", remove("nobody"), 404),
        ("m", remove("nobody"), 403),
        ("stranger", put("nobody", "member"), 404),
        ("stranger", remove("g"), 404),
        ("stranger", remove("stranger"), 404),
        ("g", remove("g"), 200),
        ("a", remove("v"), 200),
        ("o2", put("a", "owner"), 200),
        ("o2", put("o2", "guest"), 200),
        ("o2", put("o2", "owner"), 403),
        ("a", remove("alice"), 200),
        ("a", remove("a"), 409),
        ("a", put("a", "admin"), 409),
    ] {
        let asker = stack.http(who);
        let answer = match role {
            Some(role) => asker.put_member(&room, user, role).await?,
            None => asker.remove_member(&room, user).await?,
        };
        ensure!(answer.status == status, "{who}: {user} {role:?}: {} {}", answer.status, answer.body);
    }
    let rows = format!("SELECT user_id, role FROM members WHERE room_id = '{room}' ORDER BY 1");
    let rows: Vec<String> = stack.database().query(&rows).await?.iter().map(|row| row.join(" ")).collect();
    ensure!(rows == ["a owner", "a2 member", "m member", "new admin", "o2 guest"], "{rows:?}");
    let count = format!("SELECT member_count FROM rooms WHERE id = '{room}'");
    ensure!(stack.database().value(&count).await? == "5");
    Ok(())
}

#[tokio::test]
async fn admin_scope_acts_as_owner_but_cannot_remove_last_owner() -> Result<()> {
    let stack = Stack::shared().await?;
    let (root, room) = (admin_http(&stack), create_room(&stack, "private", &[]).await?);
    ensure!(root.remove_member(&room, "alice").await?.expect(409).code() == "conflict");
    root.put_member(&room, "alice", "member").await?.expect(409);
    root.put_member(&room, "bob", "owner").await?.expect(200);
    root.put_member(&room, "alice", "member").await?.expect(200);
    root.put_member(&room, "root", "admin").await?.expect(200);
    ensure!(member_roles(&stack, &room).await? == ["alice member", "bob owner", "root admin"]);
    root.put_member("no-such-room", "bob", "owner").await?.expect(404);
    Ok(())
}

#[tokio::test]
async fn anyone_joins_public_room_always_as_member() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = create_room(&stack, "public", &[("gus", "guest")]).await?;
    let bob = stack.http("bob");
    bob.room(&room).await?.expect(404);
    let joined = bob.put_member(&room, "bob", "owner").await?.expect(200).body;
    ensure!(joined == json!({"user": "bob", "role": "member", "seq": 1}), "{joined}");
    bob.send(&room, "b1", "hi").await?.expect(201);
    // Joining again keeps each role.
    ensure!(bob.join_room(&room, "bob").await?.expect(200).body["role"] == "member");
    ensure!(stack.http("alice").join_room(&room, "alice").await?.expect(200).body["role"] == "owner");
    ensure!(stack.http("gus").join_room(&room, "gus").await?.expect(200).body["role"] == "guest");
    // Bob leaves and joins again, while the room's hash still has the mark of his removal.
    bob.remove_member(&room, "bob").await?.expect(200);
    bob.room(&room).await?.expect(404);
    ensure!(bob.send(&room, "b2", "again?").await?.expect(404).code() == "not_found");
    bob.join_room(&room, "bob").await?.expect(200);
    bob.send(&room, "b3", "back").await?.expect(201);
    // A private room cannot be joined, and the answer is the same as for a missing room.
    let private = create_room(&stack, "private", &[]).await?;
    let foreign = bob.join_room(&private, "bob").await?.expect(404).body;
    ensure!(foreign == bob.join_room("no-such-room", "bob").await?.expect(404).body);
    Ok(())
}

#[tokio::test]
async fn direct_room_members_cannot_change() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.create_room("direct", &["bob"]).await?.expect(201).body;
    let room = room["room"].as_str().unwrap_or_default();
    for (who, user) in [("alice", "carol"), ("alice", "bob"), ("bob", "bob"), ("bob", "alice")] {
        ensure!(stack.http(who).put_member(room, user, "guest").await?.expect(403).code() == "forbidden");
        stack.http(who).remove_member(room, user).await?.expect(403);
    }
    admin_http(&stack).put_member(room, "carol", "member").await?.expect(403);
    ensure!(stack.http("carol").put_member(room, "carol", "member").await?.expect(404).code() == "not_found");
    ensure!(member_roles(&stack, room).await? == ["alice member", "bob member"]);
    Ok(())
}

#[tokio::test]
async fn removed_member_reads_and_sends_nothing_after_answer() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = create_room(&stack, "private", &[("bob", "member")]).await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    bob.send(&room, "b1", "hi").await?.expect(201);
    alice.remove_member(&room, "bob").await?.expect(200);
    for path in ["", "/members", "/messages", "/messages/1", "/events", "/receipts"] {
        bob.get(&format!("/rooms/{room}{path}")).await?.expect(404);
    }
    bob.send(&room, "b2", "still here?").await?.expect(404);
    bob.read(&room, 1).await?.expect(404);
    ensure!(bob.my_rooms("").await?.body["rooms"] == json!([]));
    // A removed user who repeats an earlier message gets 404 too.
    bob.send(&room, "b1", "hi").await?.expect(404);
    Ok(())
}

#[tokio::test]
async fn returning_member_has_fresh_marks_and_sees_whole_log() -> Result<()> {
    let stack = start_stack().await?;
    let room = create_room(&stack, "private", &[("bob", "member")]).await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    alice.send(&room, "a1", "one").await?.expect(201);
    bob.read(&room, 1).await?.expect(200);
    alice.remove_member(&room, "bob").await?.expect(200);
    alice.send(&room, "a2", "two").await?.expect(201);
    let back = answer_seq(&alice.put_member(&room, "bob", "guest").await?.expect(200));
    let mine = bob.room(&room).await?.expect(200).body;
    ensure!(
        (&mine["read_seq"], &mine["unread"], &mine["role"]) == (&json!(back), &json!(0), &json!("guest")),
        "{mine}"
    );
    ensure!(mine["last_message"]["content"] == "two" && mine["head"]["seq"] == back);
    alice.send(&room, "a3", "three").await?.expect(201);
    ensure!(bob.room(&room).await?.body["unread"] == 1);
    // `joined_at` is the time of the addition.
    let joined = format!(
        "SELECT m.joined_at = e.at FROM members m JOIN events e USING (room_id) \
         WHERE m.user_id = 'bob' AND e.seq = {back}"
    );
    ensure!(stack.database().value(&joined).await? == "t");
    bob.send(&room, "b1", "may I?").await?.expect(403);
    Ok(())
}

#[tokio::test]
async fn role_change_changes_visible_messages() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = create_room(&stack, "private", &[("bob", "member")]).await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let path = format!("/rooms/{room}/messages");
    let to_vips = json!({"client_id": "a1", "content": "psst", "visible_to": {"roles": ["vip"]}});
    alice.post(&path, to_vips).await?.expect(201);
    let sees = async || -> Result<_> {
        let mine = bob.my_rooms("").await?.expect(200).body["rooms"][0].clone();
        Ok((mine["last_message"]["content"].clone(), mine["unread"].clone()))
    };
    ensure!(sees().await? == (Value::Null, json!(0)));
    alice.put_member(&room, "bob", "vip").await?.expect(200);
    ensure!(sees().await? == (json!("psst"), json!(1)));
    alice.put_member(&room, "bob", "member").await?.expect(200);
    ensure!(sees().await? == (Value::Null, json!(0)));
    Ok(())
}

#[tokio::test]
async fn added_user_is_created_for_any_valid_id() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = create_room(&stack, "private", &[]).await?;
    for user in ["zoë/ü", "a+b%2F@c", "x?y#z"] {
        let put = stack.http("alice").put_member(&room, user, "member").await?.expect(200).body;
        ensure!(put["user"] == user, "{put}");
        stack.http(user).room(&room).await?.expect(200);
    }
    let wrong = stack.http("alice").put_member(&room, "a b", "member").await?.expect(400);
    ensure!(wrong.body["field"] == "user");
    let wrong = stack.http("alice").put_member(&room, "bob", "removed").await?.expect(400);
    ensure!(wrong.body["field"] == "role");
    Ok(())
}

#[tokio::test]
async fn required_users_mode_refuses_unknown_member() -> Result<()> {
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_USERS", "required").start().await?;
    stack.database().query("INSERT INTO users (id) VALUES ('alice'), ('root')").await?;
    let room = create_room(&stack, "private", &[]).await?;
    let alice = stack.http("alice");
    ensure!(alice.put_member(&room, "bob", "member").await?.expect(404).code() == "not_found");
    ensure!(stack.database().value("SELECT count(*) FROM users").await? == "2");
    admin_http(&stack).put_user("bob", json!({"name": "Bob"})).await?.expect(200);
    alice.put_member(&room, "bob", "member").await?.expect(200);
    stack.http("bob").room(&room).await?.expect(200);
    Ok(())
}

// Covers: PATCH /rooms/{room}, DELETE /rooms/{room}, room:updated.
#[tokio::test]
async fn room_is_renamed_described_archived_and_unarchived() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = create_room(&stack, "public", &[("ada", "admin"), ("bob", "member")]).await?;
    let (ada, bob) = (stack.http("ada"), stack.http("bob"));
    let before = ada.room(&room).await?.expect(200).body;
    ensure!(ada.change_room(&room, json!({})).await?.expect(200).body["head"]["seq"] == 0, "no event added");
    bob.change_room(&room, json!({"name": "Bob's"})).await?.expect(403);
    stack.http("eve").change_room(&room, json!({"name": "Eve's"})).await?.expect(404);
    let body = json!({"name": "Coffee ☕", "metadata": {"b": 1.0, "a": [2]}});
    let changed = ada.change_room(&room, body.clone()).await?.expect(200).body;
    ensure!((&changed["name"], &changed["metadata"]) == (&body["name"], &body["metadata"]), "{changed}");
    ensure!((&changed["role"], &changed["head"]["seq"]) == (&json!("admin"), &json!(1)));
    ensure!(changed["updated_at"].as_str() > before["updated_at"].as_str(), "a rename is activity");
    ensure!(ada.change_room(&room, body).await?.expect(200).body["head"]["seq"] == 1, "no event added");
    ensure!(ada.change_room(&room, json!({"name": ""})).await?.expect(200).body["name"] == Value::Null);

    bob.archive_room(&room).await?.expect(403);
    ada.archive_room(&room).await?.expect(204);
    ada.archive_room(&room).await?.expect(204);
    ensure!(bob.send(&room, "b1", "hello?").await?.expect(409).code() == "conflict");
    ada.put_member(&room, "carol", "member").await?.expect(409);
    ada.remove_member(&room, "bob").await?.expect(409);
    bob.remove_member(&room, "bob").await?.expect(409);
    stack.http("eve").join_room(&room, "eve").await?.expect(409);
    ada.change_room(&room, json!({"name": "Tea"})).await?.expect(409);
    ensure!(bob.room(&room).await?.expect(200).body["archived"] == true, "must stay readable");
    let back = ada.change_room(&room, json!({"name": "Tea", "archived": false})).await?.expect(200).body;
    ensure!((&back["name"], &back["archived"]) == (&json!("Tea"), &json!(false)), "{back}");
    bob.send(&room, "b1", "hello!").await?.expect(201);
    admin_http(&stack).archive_room(&room).await?.expect(204);

    let events = ada.events(&room, "").await?.expect(200).body["events"].clone();
    let logged: Vec<Value> = events.as_array().into_iter().flatten().cloned().map(without_time).collect();
    ensure!(
        logged[1..4]
            == [
                json!({"type": "room:updated", "room": room, "seq": 2, "name": "", "by": "ada"}),
                json!({"type": "room:updated", "room": room, "seq": 3, "archived": true, "by": "ada"}),
                json!({"type": "room:updated", "room": room, "seq": 4, "name": "Tea", "archived": false, "by": "ada"}),
            ],
        "{logged:?}"
    );
    Ok(())
}

#[tokio::test]
async fn membership_change_is_no_activity_but_message_is() -> Result<()> {
    let stack = Stack::shared().await?;
    let (first, second) =
        (create_room(&stack, "private", &[]).await?, create_room(&stack, "private", &[]).await?);
    let alice = stack.http("alice");
    let newest = async || -> Result<_> {
        Ok(alice.my_rooms("limit=1").await?.expect(200).body["rooms"][0]["room"].clone())
    };
    ensure!(newest().await? == second.as_str());
    alice.put_member(&first, "bob", "member").await?.expect(200);
    ensure!(newest().await? == second.as_str());
    alice.send(&first, "a1", "hi").await?.expect(201);
    ensure!(newest().await? == first.as_str());
    Ok(())
}
