//! Rooms over HTTP: creation, access and lists.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tidings_harness::{Http, Stack, System};

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

fn admin_http(stack: &impl System) -> Http {
    stack.http("root").with_token(&stack.admin_token("root"))
}

fn field_values(list: &Value, field: &str) -> Vec<String> {
    let entries = list.as_array().into_iter().flatten();
    entries.map(|entry| entry[field].as_str().unwrap_or_default().to_owned()).collect()
}

// Covers: POST /rooms, GET /rooms/{room}.
#[tokio::test]
async fn new_room_has_the_requested_properties() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let body = json!({
        "kind": "private", "name": "Tea ☕", "metadata": {"b": 1, "a": [true, null]},
        "members": [{"user": "bob"}, {"user": "carol", "role": "guest"}, {"user": "dave", "role": "vip"}],
    });
    let room = alice.post("/rooms", body).await?.expect(201).body;
    assert_eq!(
        (&room["kind"], &room["name"], &room["role"]),
        (&json!("private"), &json!("Tea ☕"), &json!("owner"))
    );
    assert_eq!((&room["members"], &room["archived"]), (&json!(4), &json!(false)));
    assert_eq!(
        (&room["metadata"], &room["created_by"]),
        (&json!({"b": 1, "a": [true, null]}), &json!("alice"))
    );
    assert_eq!(room["head"]["seq"], 0);

    let id = room["room"].as_str().unwrap_or_default();
    let members = alice.members(id, "").await?.expect(200).body;
    assert_eq!(field_values(&members["members"], "user"), ["alice", "bob", "carol", "dave"]);
    assert_eq!(field_values(&members["members"], "role"), ["owner", "member", "guest", "vip"]);
    // A member who never connected has no name until a token brings it.
    assert_eq!(members["members"][1]["name"], Value::Null);
    let own = stack.http("bob").room(id).await?.expect(200).body;
    assert_eq!(
        (&own["role"], &own["unread"], &own["last_message"]),
        (&json!("member"), &json!(0), &Value::Null)
    );
    Ok(())
}

#[tokio::test]
async fn concurrent_requests_create_one_direct_room_per_pair() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let asked = (0..20).map(|n| {
        let (who, other) = if n % 2 == 0 { (alice.clone(), "bob") } else { (bob.clone(), "alice") };
        tokio::spawn(async move { who.create_room("direct", &[other]).await })
    });
    let mut rooms = Vec::new();
    let mut created = 0;
    for answer in asked.collect::<Vec<_>>() {
        let answer = answer.await??;
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        created += usize::from(answer.status == 201);
        rooms.push(answer.body["room"].clone());
    }
    rooms.dedup();
    assert_eq!((rooms.len(), created), (1, 1));
    // Another pair gets another room, and a direct room has exactly two members.
    let other = alice.create_room("direct", &["carol"]).await?.expect(201).body;
    assert_ne!(other["room"], rooms[0]);
    alice.create_room("direct", &[]).await?.expect(400);
    alice.create_room("direct", &["bob", "carol"]).await?.expect(400);
    Ok(())
}

#[tokio::test]
async fn non_member_gets_same_answer_for_foreign_and_missing_room() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, mallory) = (stack.http("alice"), stack.http("mallory"));
    let private = alice.new_room(&["bob"]).await?;
    let public = alice.create_room("public", &[]).await?.expect(201).body;
    let public = public["room"].as_str().unwrap_or_default();
    for path in ["", "/members", "/messages", "/messages/1", "/events", "/receipts"] {
        let missing = mallory.get(&format!("/rooms/no-such-room{path}")).await?.expect(404);
        for room in [&private, public] {
            let foreign = mallory.get(&format!("/rooms/{room}{path}")).await?.expect(404);
            assert_eq!(
                (foreign.body, foreign.content_type),
                (missing.body.clone(), missing.content_type.clone())
            );
        }
    }
    for room in ["no-such-room", &private, public] {
        assert_eq!(mallory.send(room, "c", "hi").await?.expect(404).code(), "not_found");
        assert_eq!(mallory.read(room, 1).await?.expect(404).code(), "not_found");
    }
    Ok(())
}

#[tokio::test]
async fn only_an_admin_chooses_a_room_id_and_acts_on_any_room() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, admin) = (stack.http("alice"), admin_http(&stack));
    let id = tidings_harness::clock::client_id();
    let body = json!({"kind": "public", "id": id});
    assert_eq!(alice.post("/rooms", body.clone()).await?.expect(403).code(), "forbidden");
    assert_eq!(admin.post("/rooms", body.clone()).await?.expect(201).body["room"], id);
    assert_eq!(admin.post("/rooms", body).await?.expect(409).code(), "conflict");

    let private = alice.new_room(&["bob"]).await?;
    let seen = admin.room(&private).await?.expect(200).body;
    assert_eq!((&seen["role"], &seen["room"]), (&Value::Null, &json!(private)));
    admin.messages(&private, "").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn invalid_room_is_refused_with_its_field() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let crowd: Vec<Value> = (0..1001).map(|n| json!({"user": format!("u{n}")})).collect();
    for (body, status, field) in [
        (json!({}), 400, "kind"),
        (json!({"kind": "group"}), 400, "kind"),
        (json!({"kind": "public", "name": "x".repeat(201)}), 413, "name"),
        (json!({"kind": "public", "members": [{"user": "a b"}]}), 400, "members"),
        (json!({"kind": "public", "members": [{"user": "b", "role": "No Such"}]}), 400, "members"),
        (json!({"kind": "public", "members": crowd}), 413, "members"),
        (json!({"kind": "public", "metadata": {"a": "x".repeat(5000)}}), 413, "metadata"),
    ] {
        let answer = alice.post("/rooms", body.clone()).await?.expect(status);
        assert_eq!(
            (answer.body["field"].as_str(), answer.content_type.as_str()),
            (Some(field), "application/problem+json")
        );
    }
    let huge = json!({"kind": "public", "x": "x".repeat(300_000)});
    assert_eq!(alice.post("/rooms", huge).await?.expect(413).code(), "too_large");
    let bad_id = alice.get("/rooms/a%20b").await?.expect(400);
    assert_eq!((bad_id.code(), bad_id.body["field"].as_str()), ("bad_request", Some("room")));
    Ok(())
}

// Covers: GET /rooms/{room}/members.
#[tokio::test]
async fn room_with_thousand_initial_members_is_listed_in_pages() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let users: Vec<String> = (0..999).map(|n| format!("u{n:03}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let room = alice.create_room("private", &users).await?.expect(201).body;
    assert_eq!(room["members"], 1000);
    let room = room["room"].as_str().unwrap_or_default();
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = alice.members(room, &format!("limit=150&cursor={cursor}")).await?.expect(200).body;
        listed.extend(field_values(&page["members"], "user"));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    let expected: Vec<&str> = std::iter::once("alice").chain(users).collect();
    assert_eq!(listed, expected);
    Ok(())
}

// Covers: GET /me/rooms.
#[tokio::test]
async fn my_rooms_are_ordered_by_latest_activity_with_unread() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let mut rooms = Vec::new();
    for _ in 0..5 {
        rooms.push(alice.new_room(&["bob"]).await?);
    }
    alice.send(&rooms[1], "a1", "first").await?.expect(201);
    alice.send(&rooms[1], "a2", "second").await?.expect(201);
    bob.send(&rooms[1], "b1", "mine").await?.expect(201);
    alice.send(&rooms[3], "a1", "hello").await?.expect(201);

    let first = bob.my_rooms("limit=2").await?.expect(200).body;
    assert_eq!(field_values(&first["rooms"], "room"), [rooms[3].as_str(), &rooms[1]]);
    let (newest, second) = (&first["rooms"][0], &first["rooms"][1]);
    assert_eq!((&newest["last_message"]["content"], &newest["unread"]), (&json!("hello"), &json!(1)));
    assert_eq!((&second["last_message"]["content"], &second["unread"]), (&json!("mine"), &json!(2)));
    assert_eq!((&second["read_seq"], &second["unread_capped"]), (&json!(0), &json!(false)));
    assert!(first["rooms_version"].is_string());

    let cursor = first["next"].as_str().unwrap_or_default();
    let rest = bob.my_rooms(&format!("cursor={cursor}")).await?.expect(200).body;
    assert_eq!(field_values(&rest["rooms"], "room"), [rooms[4].as_str(), &rooms[2], &rooms[0]]);
    assert_eq!(rest["next"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn rooms_version_changes_when_user_is_added() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let before = bob.my_rooms("").await?.expect(200).body["rooms_version"].clone();
    assert_eq!(bob.my_rooms("").await?.body["rooms_version"], before);
    alice.new_room(&["bob"]).await?;
    assert_ne!(bob.my_rooms("").await?.body["rooms_version"], before);
    Ok(())
}

#[tokio::test]
async fn rooms_version_changes_when_direct_room_already_exists() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    alice.create_room("direct", &["bob"]).await?.expect(201);
    // The repetition announces the room again, because the node that created the room may have died before it did.
    let before = bob.my_rooms("").await?.expect(200).body["rooms_version"].clone();
    alice.create_room("direct", &["bob"]).await?.expect(200);
    assert_ne!(bob.my_rooms("").await?.body["rooms_version"], before);
    Ok(())
}

#[tokio::test]
async fn paused_redis_keeps_my_rooms_fast_and_blocks_creation() -> Result<()> {
    let stack = start_stack().await?;
    let bob = stack.http("bob");
    bob.new_room(&[]).await?;
    stack.shards().pause()?;
    let ready = format!("{}/readyz", stack.persistence(0).admin());
    let begun = Instant::now();
    while !tidings_harness::http::client()
        .get(&ready)
        .send()
        .await?
        .text()
        .await?
        .contains("no Redis session")
    {
        assert!(begun.elapsed() < Duration::from_secs(30), "the Redis session does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let begun = Instant::now();
    // The token brings a new name, which is written to the database without waiting for the cache.
    let token = tidings_harness::token::Token::of("bob").name("Bob B.").sign(stack.jwt_secret());
    let mine = bob.with_token(&token).my_rooms("").await?.expect(200).body;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(
        (mine["rooms"].as_array().map(Vec::len), &mine["rooms_version"]),
        (Some(1), &json!("unknown"))
    );
    bob.create_room("private", &[]).await?.expect(503);
    assert_eq!(stack.database().value("SELECT count(*) FROM rooms").await?, "1");
    stack.shards().resume()?;
    Ok(())
}

// Covers: GET /rooms.
#[tokio::test]
async fn public_rooms_are_found_by_a_part_of_their_name() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    for (kind, name) in
        [("public", "Rust 100%"), ("public", "rusty things"), ("public", "Go"), ("private", "Rust secrets")]
    {
        alice.post("/rooms", json!({"kind": kind, "name": name})).await?.expect(201);
    }
    let all = bob.get("/rooms").await?.expect(200).body;
    assert_eq!(field_values(&all["rooms"], "name"), ["Go", "rusty things", "Rust 100%"]);
    assert_eq!(all["rooms"][0].get("role"), None);
    let found = bob.get("/rooms?query=RUST&limit=1").await?.expect(200).body;
    assert_eq!(field_values(&found["rooms"], "name"), ["rusty things"]);
    let next = found["next"].as_str().unwrap_or_default();
    let found = bob.get(&format!("/rooms?query=RUST&limit=1&cursor={next}")).await?.expect(200).body;
    assert_eq!(
        (field_values(&found["rooms"], "name"), &found["next"]),
        (vec!["Rust 100%".to_owned()], &Value::Null)
    );
    let literal = bob.get("/rooms?query=100%25").await?.expect(200).body;
    assert_eq!(field_values(&literal["rooms"], "name"), ["Rust 100%"]);
    Ok(())
}

#[tokio::test]
async fn blocked_user_is_forbidden() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    alice.my_rooms("").await?.expect(200);
    stack.database().query("UPDATE users SET blocked = true WHERE id = 'alice'").await?;
    assert_eq!(alice.my_rooms("").await?.expect(403).code(), "forbidden");
    Ok(())
}
