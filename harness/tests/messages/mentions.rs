//! Mentions: they reach everyone who sees the message, follow its changes, count as unread, and name only members.

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, Http, Stack};

/// Sends a message with these fields over HTTP; returns its seq.
async fn send(http: &Http, room: &str, client_id: &str, fields: Value) -> Result<u64> {
    let mut body = json!({"client_id": client_id, "content": "x"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let sent = http.post(&format!("/rooms/{room}/messages"), body).await?.expect(201).body;
    sent["seq"].as_u64().context("seq")
}

async fn edit(http: &Http, room: &str, seq: u64, fields: Value) -> Result<()> {
    http.request(Method::PATCH, &format!("/rooms/{room}/messages/{seq}"), Some(fields)).await?.expect(200);
    Ok(())
}

async fn delete(http: &Http, room: &str, seq: u64) -> Result<()> {
    http.request(Method::DELETE, &format!("/rooms/{room}/messages/{seq}"), None).await?.expect(200);
    Ok(())
}

async fn mentions(http: &Http, room: &str, seq: u64) -> Result<Value> {
    let message = http.get(&format!("/rooms/{room}/messages/{seq}")).await?.expect(200).body;
    Ok(message["mentions"].clone())
}

/// The unread count and the count of unread mentions of a user in their only room.
async fn unread_counts(http: &Http, room: &str) -> Result<(Value, Value)> {
    let list = http.my_rooms("").await?.expect(200).body["rooms"][0].clone();
    let one = http.room(room).await?.expect(200).body;
    ensure!(list["unread_mentions"] == one["unread_mentions"], "{list}\n{one}");
    Ok((list["unread"].clone(), list["unread_mentions"].clone()))
}

#[tokio::test]
async fn mentions_reach_replay_and_history_and_follow_changes() -> Result<()> {
    let stack = Stack::start().await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob", "carol"]).await?;
    let socket = stack.connect("alice").await?;
    let named = json!(["bob", "carol"]);
    let fields = json!({"room": room, "client_id": "1", "content": "x", "mentions": named});
    let sent = socket.send_with(fields).await?;
    send(&alice, &room, "2", json!({"mentions": []})).await?;

    let poll = Http::new(&stack.gateway(0).url(), &stack.token("bob"));
    let cursors = json!({room.as_str(): {"epoch": sent.epoch, "seq": 0}});
    let replay = poll.post("/poll", json!({"cursors": cursors, "timeout_ms": 0})).await?.expect(200).body;
    let events = bob.events(&room, "").await?.expect(200).body;
    for events in [&replay["events"], &events["events"]] {
        let messages = events.as_array().into_iter().flatten().filter(|event| event["type"] == "message:new");
        let shown: Vec<_> = messages.map(|message| message.get("mentions")).collect();
        ensure!(shown == [Some(&named), None], "{events}");
    }
    ensure!(mentions(&bob, &room, sent.seq).await? == named);
    ensure!(mentions(&bob, &room, 2).await?.is_null());

    // An edit without the field keeps the mentions; an empty list removes them.
    edit(&alice, &room, 1, json!({"content": "y"})).await?;
    ensure!(mentions(&bob, &room, 1).await? == named);
    edit(&alice, &room, 1, json!({"content": "y", "mentions": ["carol"]})).await?;
    ensure!(mentions(&bob, &room, 1).await? == json!(["carol"]));
    edit(&alice, &room, 1, json!({"content": "y", "mentions": []})).await?;
    ensure!(mentions(&bob, &room, 1).await?.is_null());
    edit(&alice, &room, 1, json!({"content": "y", "mentions": ["bob"]})).await?;
    delete(&alice, &room, 1).await?;
    ensure!(mentions(&bob, &room, 1).await?.is_null());
    let events = bob.events(&room, "").await?.expect(200).body["events"].clone();
    ensure!(!events.to_string().contains("mentions"), "{events}");
    let left = "SELECT count(*) FROM messages WHERE mentions IS NOT NULL";
    ensure!(stack.database().value(left).await? == "0");
    Ok(())
}

// Covers: GET /me/rooms, GET /rooms/{room}.
#[tokio::test]
async fn unread_mentions_are_visible_messages_above_read_mark() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob, carol) = (stack.http("alice"), stack.http("bob"), stack.http("carol"));
    let room = alice.new_room(&["bob", "carol"]).await?;
    let to_bob = json!({"users": ["bob"]});
    let first = send(&alice, &room, "1", json!({"mentions": ["bob"]})).await?;
    let plain = send(&alice, &room, "2", json!({})).await?;
    send(&alice, &room, "3", json!({"mentions": ["carol"]})).await?;
    send(&alice, &room, "4", json!({"mentions": ["bob"], "visible_to": to_bob})).await?;
    let deleted = send(&alice, &room, "5", json!({"mentions": ["bob", "carol"]})).await?;
    delete(&alice, &room, deleted).await?;
    // Nobody is told of their own message.
    send(&bob, &room, "6", json!({"mentions": ["bob"]})).await?;

    ensure!(unread_counts(&bob, &room).await? == (json!(4), json!(2)));
    ensure!(unread_counts(&carol, &room).await? == (json!(4), json!(1)));
    ensure!(unread_counts(&alice, &room).await? == (json!(1), json!(0)));
    bob.read(&room, first).await?.expect(200);
    ensure!(unread_counts(&bob, &room).await? == (json!(3), json!(1)));
    edit(&alice, &room, plain, json!({"content": "x", "mentions": ["bob"]})).await?;
    ensure!(unread_counts(&bob, &room).await? == (json!(3), json!(2)));
    bob.read(&room, 100).await?.expect(200);
    ensure!(unread_counts(&bob, &room).await? == (json!(0), json!(0)));
    Ok(())
}

/// Sends a message that mentions dan; returns the seq, or None if the mention is refused.
async fn mention_dan(client: &Client, room: &str, client_id: &str) -> Result<Option<u64>> {
    let fields = json!({"room": room, "client_id": client_id, "content": "x", "mentions": ["dan"]});
    match client.send_with(fields).await {
        Ok(ack) => Ok(Some(ack.seq)),
        Err(ClientError::Answered(error)) if error.field.as_deref() == Some("mentions") => {
            ensure!(error.code == "bad_request", "{error:?}");
            Ok(None)
        }
        Err(error) => bail!("{client_id}: {error}"),
    }
}

#[tokio::test]
async fn membership_change_counts_for_next_mention_on_every_node() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    let sockets = [stack.connect_at(0, "bob").await?, stack.connect_at(1, "bob").await?];
    for round in 0..2 {
        for (node, socket) in sockets.iter().enumerate() {
            let early = mention_dan(socket, &room, &format!("early {round} {node}")).await?;
            ensure!(early.is_none(), "a user who is no member is mentioned");
        }
        alice.put_member(&room, "dan", "member").await?.expect(200);
        let mut accepted = Vec::new();
        for (node, socket) in sockets.iter().enumerate() {
            let client_id = format!("{round} {node}");
            let seq = mention_dan(socket, &room, &client_id).await?.context("a member is not mentioned")?;
            accepted.push((client_id, seq));
        }
        alice.remove_member(&room, "dan").await?.expect(200);
        for (node, socket) in sockets.iter().enumerate() {
            let late = mention_dan(socket, &room, &format!("late {round} {node}")).await?;
            ensure!(late.is_none(), "a removed user is mentioned");
            // A repetition gets the first answer, also when the mentioned user has left.
            for (client_id, seq) in &accepted {
                ensure!(mention_dan(socket, &room, client_id).await? == Some(*seq), "{client_id}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn edit_may_keep_but_not_add_a_user_who_left() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob", "carol"]).await?;
    let seq = send(&alice, &room, "1", json!({"mentions": ["carol"]})).await?;
    edit(&alice, &room, seq, json!({"content": "y", "mentions": ["bob"]})).await?;
    for user in ["bob", "carol"] {
        alice.remove_member(&room, user).await?.expect(200);
    }
    // Redis does not know this edit, because it has another client id. It names only a user whom the stored message
    // mentions.
    edit(&alice, &room, seq, json!({"content": "z", "mentions": ["bob"]})).await?;
    ensure!(mentions(&alice, &room, seq).await? == json!(["bob"]));
    for users in [json!(["carol"]), json!(["bob", "carol"])] {
        let body = json!({"content": "z", "mentions": users});
        let path = format!("/rooms/{room}/messages/{seq}");
        let refused = alice.request(Method::PATCH, &path, Some(body)).await?.expect(400).body;
        ensure!(refused["field"] == "mentions", "{refused}");
    }
    Ok(())
}
