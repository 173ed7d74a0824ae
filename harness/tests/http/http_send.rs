//! Sends and read marks over HTTP: the same result as over the WebSocket.

use std::time::Instant;

use crate::room_log::RoomLog;
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Http, Stack, clock, http::Answer};

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

// Covers: POST /rooms/{room}/messages.
#[tokio::test]
async fn repeated_send_is_answered_with_first_message() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob"]).await?;
    let first = alice.send(&room, "c", "hello").await?.expect(201).body;
    assert_eq!(
        (&first["seq"], &first["stage"], &first["duplicate"]),
        (&json!(1), &json!("stored"), &json!(false))
    );
    let again = alice.send(&room, "c", "something else").await?.expect(200).body;
    assert_eq!((&again["duplicate"], &again["stage"]), (&json!(true), &json!("stored")));
    for field in ["room", "seq", "epoch", "at", "id", "client_id"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    // Client ids are separate for each sender.
    assert_eq!(bob.send(&room, "c", "mine").await?.expect(201).body["seq"], 2);
    let stored = alice.messages(&room, "").await?.expect(200).body;
    assert_eq!(stored["messages"].as_array().map(Vec::len), Some(2));
    assert_eq!(stored["messages"][0]["content"], "hello");
    Ok(())
}

#[tokio::test]
async fn repeated_send_is_duplicate_after_redis_lost_it() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let first = alice.send(&room, "c", "hello").await?.expect(201).body;
    stack.shards().restart_empty().await?;
    let mut again = alice.send(&room, "c", "hello").await?;
    for _ in 0..50 {
        if again.status != 503 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        again = alice.send(&room, "c", "hello").await?;
    }
    let again = again.expect(200).body;
    assert_eq!(
        (&again["seq"], &again["id"], &again["duplicate"]),
        (&first["seq"], &first["id"], &json!(true))
    );
    assert_eq!(alice.send(&room, "d", "next").await?.expect(201).body["seq"], 2);
    Ok(())
}

/// A send that claims to be the first attempt.
fn first_attempt_body(client_id: &str, content: &str) -> Value {
    json!({"client_id": client_id, "content": content, "attempt": 1})
}

#[tokio::test]
async fn duplicate_found_by_writer_is_answered_with_first_message() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, room) = (stack.http("alice"), RoomLog::new(&stack, 10_000).await?);
    let path = format!("/rooms/{}/messages", room.room);
    let first = alice.post(&path, first_attempt_body("c", "hello")).await?.expect(201).body;
    room.forget_client_ids().await?;
    let again = alice.post(&path, first_attempt_body("c", "something else")).await?.expect(200).body;
    assert_eq!((&again["duplicate"], &again["stage"]), (&json!(true), &json!("stored")));
    for field in ["seq", "at", "id", "client_id"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    assert_eq!(room.message_texts(&stack).await?, ["hello"]);
    Ok(())
}

#[tokio::test]
async fn unwritable_message_is_refused_permanently() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, room) = (stack.http("alice"), RoomLog::new(&stack, 10_000).await?);
    let path = format!("/rooms/{}/messages", room.room);
    stack.database().query("ALTER TABLE messages ADD CHECK (content <> 'poison')").await?;
    let mut repeated = first_attempt_body("c", "poison");
    for attempt in 1..=3 {
        repeated["attempt"] = json!(attempt);
        let problem = alice.post(&path, repeated.clone()).await?.expect(400).body;
        assert_eq!((&problem["code"], &problem["reason"]), (&json!("bad_request"), &json!("rejected")));
        if attempt == 2 {
            // From here on only PostgreSQL knows the client id.
            room.forget_client_ids().await?;
        }
    }
    alice.send(room.room.as_str(), "d", "good").await?.expect(201);
    assert_eq!(room.message_texts(&stack).await?, ["good"]);
    Ok(())
}

#[tokio::test]
async fn accepted_send_is_answered_at_once_and_stored_later() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let body = json!({"client_id": "c", "content": "x", "ack": "accepted"});
    let ack = alice.post(&format!("/rooms/{room}/messages"), body).await?.expect(202).body;
    assert_eq!((&ack["stage"], &ack["seq"]), (&json!("accepted"), &json!(1)));
    let page = alice.messages(&room, "upto=1").await?.expect(200).body;
    assert_eq!(page["messages"][0]["id"], ack["id"]);
    Ok(())
}

#[tokio::test]
async fn repeated_accepted_send_reports_outcome_of_first() -> Result<()> {
    let stack = start_stack().await?;
    let (alice, room) = (stack.http("alice"), RoomLog::new(&stack, 10_000).await?);
    let path = format!("/rooms/{}/messages", room.room);
    let accepted = |client_id: &str, content: &str| json!({"client_id": client_id, "content": content, "ack": "accepted", "attempt": 2});
    stack.database().query("ALTER TABLE messages ADD CHECK (content <> 'poison')").await?;
    alice.post(&path, first_attempt_body("p", "poison")).await?.expect(400);
    let problem = alice.post(&path, accepted("p", "poison")).await?.expect(400).body;
    assert_eq!(problem["reason"], "rejected");

    let first = alice.post(&path, first_attempt_body("c", "hello")).await?.expect(201).body;
    room.forget_client_ids().await?;
    // The repetition becomes a void, and from here on Redis remembers the seq of that void.
    alice.post(&path, first_attempt_body("c", "hello")).await?.expect(200);
    let again = alice.post(&path, accepted("c", "hello")).await?.expect(200).body;
    for field in ["seq", "at", "id"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    Ok(())
}

#[tokio::test]
async fn invalid_send_is_refused_with_its_code() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let body = json!({"kind": "private", "members": [{"user": "greg", "role": "guest"}, {"user": "vera", "role": "vip"}]});
    let room =
        alice.post("/rooms", body).await?.expect(201).body["room"].as_str().unwrap_or_default().to_owned();
    assert_eq!(stack.http("greg").send(&room, "c", "x").await?.expect(403).code(), "forbidden");
    stack.http("vera").send(&room, "c", "x").await?.expect(201);
    let path = format!("/rooms/{room}/messages");
    for (body, status, field) in [
        (json!({"content": "x"}), 400, Some("client_id")),
        (json!({"client_id": "é", "content": "x"}), 400, Some("client_id")),
        (json!({"client_id": "c", "content": "a\u{0}b"}), 400, Some("content")),
        (json!({"client_id": "c", "content": "x".repeat(1001)}), 413, Some("content")),
        (json!({"client_id": "c", "content": "x", "pad": "x".repeat(66_000)}), 413, None),
        (json!(["client_id"]), 400, None),
    ] {
        let answer = alice.post(&path, body).await?.expect(status);
        assert_eq!(answer.body["field"].as_str(), field);
        assert_eq!(answer.content_type, "application/problem+json");
    }
    assert_eq!(alice.messages(&room, "").await?.body["messages"].as_array().map(Vec::len), Some(1));
    Ok(())
}

// Covers: POST /rooms/{room}/read.
#[tokio::test]
async fn read_mark_moves_forward_only_and_stops_at_head() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob"]).await?;
    for n in 1..=103 {
        let (sender, client_id) = if n % 52 == 0 { (&bob, "b") } else { (&alice, "a") };
        sender.send(&room, &format!("{client_id}{n}"), "x").await?.expect(201);
    }
    // Alice sent 102 of the 103 messages, and the unread count stops at 100.
    let unread = async || -> Result<_> {
        let room = bob.room(&room).await?.expect(200).body;
        Ok((room["unread"].clone(), room["unread_capped"].clone(), room["read_seq"].clone()))
    };
    assert_eq!(unread().await?, (json!(100), json!(true), json!(0)));
    assert_eq!(bob.read(&room, 2).await?.expect(200).body, json!({"seq": 2}));
    assert_eq!(unread().await?, (json!(100), json!(false), json!(2)));
    assert_eq!(bob.read(&room, 1).await?.expect(200).body, json!({"seq": 2}));
    assert_eq!(unread().await?, (json!(100), json!(false), json!(2)));
    assert_eq!(bob.read(&room, 9_999_999).await?.expect(200).body, json!({"seq": 103}));
    assert_eq!(unread().await?, (json!(0), json!(false), json!(103)));
    let receipts = alice.get(&format!("/rooms/{room}/receipts")).await?.expect(200).body;
    assert_eq!(
        (&receipts["receipts"][1]["user"], &receipts["receipts"][1]["read_seq"]),
        (&json!("bob"), &json!(103))
    );
    assert!(receipts["receipts"][1]["read_at"].is_string());
    assert_eq!(receipts["receipts"][0]["read_seq"], 0);
    Ok(())
}

/// Sends at most `max_messages` messages of about 20 KB, and stops when one is refused. Returns the number of accepted
/// messages, and the refusal.
async fn send_large(http: &Http, room: &str, max_messages: usize) -> Result<(usize, Option<Answer>)> {
    let url = format!("https://files.example/{}", "x".repeat(2_000));
    let attachment = json!({"url": url, "name": "photo", "media_type": "image/png", "size": 1});
    for accepted in 0..max_messages {
        let body = json!({
            "client_id": clock::client_id(), "attachments": vec![&attachment; 10], "ack": "accepted", "attempt": 1
        });
        let answer = http.post(&format!("/rooms/{room}/messages"), body).await?;
        if answer.status == 429 {
            return Ok((accepted, Some(answer)));
        }
        answer.expect(202);
    }
    Ok((max_messages, None))
}

#[tokio::test]
async fn large_requests_are_limited_in_bytes_for_user_and_room() -> Result<()> {
    // Limits in bytes: the bucket of a user holds 160 KiB, and the bucket of a room 1,280 KiB. They regain 8 and 64 KiB
    // a second, which is part of the bounds, because a busy machine takes long.
    let builder = Stack::builder().gateways(0).env("TIDINGS_MESSAGES_PER_SECOND", 1);
    let stack = builder.env("TIDINGS_MESSAGES_BURST", 20).start().await?;
    let users: Vec<String> = (0..24).map(|n| format!("user{n}")).collect();
    let members: Vec<&str> = users.iter().map(String::as_str).collect();
    let room = stack.http("alice").new_room(&members).await?;
    let begun = Instant::now();
    let regained = |per_second: f64| (begun.elapsed().as_secs_f64() * per_second) as usize;
    let (accepted, refused) = send_large(&stack.http("alice"), &room, 20).await?;
    let refused = refused.with_context(|| format!("{accepted} messages of 20 KB are accepted"))?;
    assert_eq!(refused.code(), "rate_limited");
    assert!(refused.body["retry_after_ms"].is_u64(), "{}", refused.body);
    assert!((9..=12 + regained(0.5)).contains(&accepted), "{accepted} were accepted");
    // Small messages of the user, and large ones of others, are accepted.
    stack.http("alice").send(&room, "small", "small").await?.expect(201);
    let sending = users.iter().map(|user| {
        let (user, room) = (stack.http(user), &room);
        async move { Ok::<_, anyhow::Error>(send_large(&user, room, 9).await?.0) }
    });
    let of_others: usize = try_join_all(sending).await?.into_iter().sum();
    // Without the limit of the room, each of the 24 users could send 9 messages.
    assert!((60..=75 + regained(4.0)).contains(&of_others), "{of_others} of others were accepted");
    // The limits do not apply to callers with the admin scope, and other rooms have their own.
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    assert_eq!(send_large(&root, &room, 12).await?.0, 12);
    let carol = stack.http("carol");
    let other = carol.new_room(&[]).await?;
    assert_eq!(send_large(&carol, &other, 9).await?.0, 9);
    // The limits count an edit like a message.
    let edit = json!({"content": "🙂".repeat(1_000), "metadata": {"x": "y".repeat(4_000)}});
    let path = format!("/rooms/{other}/messages/9");
    let edits = (0..10).map(|_| carol.request(Method::PATCH, &path, Some(edit.clone())));
    let answers = try_join_all(edits).await?;
    let refused =
        answers.iter().find(|answer| answer.status == 429).context("ten edits of 8 KB are accepted")?;
    assert!(refused.body["detail"].as_str().is_some_and(|detail| detail.contains("bytes")), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn refused_edits_of_guests_take_no_bytes_of_the_room() -> Result<()> {
    // The bucket of bytes of the room holds 1,280 KiB. All edits together have 2,560 KiB, and those of one guest 128
    // KiB.
    let builder = Stack::builder().gateways(0).env("TIDINGS_MESSAGES_PER_SECOND", 1);
    let stack = builder.env("TIDINGS_MESSAGES_BURST", 20).start().await?;
    let guests: Vec<String> = (0..20).map(|n| format!("guest{n}")).collect();
    let members: Vec<Value> = guests.iter().map(|guest| json!({"user": guest, "role": "guest"})).collect();
    let alice = stack.http("alice");
    let created = alice.post("/rooms", json!({"kind": "private", "members": members})).await?.expect(201);
    let room = created.body["room"].as_str().context("the room has no id")?;
    alice.send(room, "first", "first").await?.expect(201);
    let edit = json!({"content": "🙂".repeat(1_000), "metadata": {"x": "y".repeat(4_000)}});
    let path = format!("/rooms/{room}/messages/1");
    try_join_all(guests.iter().map(|guest| {
        let (guest, path, edit) = (stack.http(guest), &path, &edit);
        async move {
            for _ in 0..16 {
                let answer = guest.request(Method::PATCH, path, Some(edit.clone())).await?;
                ensure!(answer.status == 403, "{} {}", answer.status, answer.body);
            }
            anyhow::Ok(())
        }
    }))
    .await?;
    assert_eq!(send_large(&alice, room, 5).await?.0, 5);
    Ok(())
}
