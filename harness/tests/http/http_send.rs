//! Sends and read marks over HTTP: the same result as over the WebSocket.

use crate::room_log::RoomLog;
use anyhow::Result;
use serde_json::{Value, json};
use tidings_harness::Stack;

async fn stack() -> Result<Stack> {
    Stack::builder().gateways(0).start().await
}

// Covers: POST /rooms/{room}/messages.
#[tokio::test]
async fn repeated_send_is_answered_with_first_message() -> Result<()> {
    let stack = stack().await?;
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
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let first = alice.send(&room, "c", "hello").await?.expect(201).body;
    stack.redis().restart_empty().await?;
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
fn first_attempt(client_id: &str, content: &str) -> Value {
    json!({"client_id": client_id, "content": content, "attempt": 1})
}

#[tokio::test]
async fn duplicate_found_by_writer_is_answered_with_first_message() -> Result<()> {
    let stack = stack().await?;
    let (alice, room) = (stack.http("alice"), RoomLog::new(&stack, 10_000).await?);
    let path = format!("/rooms/{}/messages", room.room);
    let first = alice.post(&path, first_attempt("c", "hello")).await?.expect(201).body;
    room.forget_client_ids().await?;
    let again = alice.post(&path, first_attempt("c", "something else")).await?.expect(200).body;
    assert_eq!((&again["duplicate"], &again["stage"]), (&json!(true), &json!("stored")));
    for field in ["seq", "at", "id", "client_id"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    assert_eq!(room.texts(&stack).await?, ["hello"]);
    Ok(())
}

#[tokio::test]
async fn unwritable_message_is_refused_permanently() -> Result<()> {
    let stack = stack().await?;
    let (alice, room) = (stack.http("alice"), RoomLog::new(&stack, 10_000).await?);
    let path = format!("/rooms/{}/messages", room.room);
    stack.database().query("ALTER TABLE messages ADD CHECK (content <> 'poison')").await?;
    let mut repeated = first_attempt("c", "poison");
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
    assert_eq!(room.texts(&stack).await?, ["good"]);
    Ok(())
}

#[tokio::test]
async fn accepted_send_is_answered_at_once_and_stored_later() -> Result<()> {
    let stack = stack().await?;
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
    let stack = stack().await?;
    let (alice, room) = (stack.http("alice"), RoomLog::new(&stack, 10_000).await?);
    let path = format!("/rooms/{}/messages", room.room);
    let accepted = |client_id: &str, content: &str| json!({"client_id": client_id, "content": content, "ack": "accepted", "attempt": 2});
    stack.database().query("ALTER TABLE messages ADD CHECK (content <> 'poison')").await?;
    alice.post(&path, first_attempt("p", "poison")).await?.expect(400);
    let problem = alice.post(&path, accepted("p", "poison")).await?.expect(400).body;
    assert_eq!(problem["reason"], "rejected");

    let first = alice.post(&path, first_attempt("c", "hello")).await?.expect(201).body;
    room.forget_client_ids().await?;
    // From here on Redis remembers the seq of a void.
    alice.post(&path, first_attempt("c", "hello")).await?.expect(200);
    let again = alice.post(&path, accepted("c", "hello")).await?.expect(200).body;
    for field in ["seq", "at", "id"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    Ok(())
}

#[tokio::test]
async fn invalid_send_is_refused_with_its_code() -> Result<()> {
    let stack = stack().await?;
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
    let stack = stack().await?;
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
