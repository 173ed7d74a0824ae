//! Edits, deletes and reactions: frames and HTTP give the same events, the same state and the same refusals.

use std::time::Duration;

use crate::ways::{
    ADD_REACTION, CHANGES, ChangeOutcome, DELETE, EDIT, REMOVE_REACTION, Transport, both_transports,
};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Stack, client::Client, frames::ServerFrame, http::Http};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

async fn start_stack() -> Result<Stack> {
    let builder = Stack::builder().gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1000);
    builder.gateway_env("TIDINGS_MESSAGES_BURST", 1000).start().await
}

async fn fetch_message(http: &Http, room: &str, seq: u64) -> Result<Value> {
    Ok(http.get(&format!("/rooms/{room}/messages/{seq}")).await?.expect(200).body)
}

async fn fetch_events(http: &Http, room: &str, after: u64) -> Result<Vec<Value>> {
    let page = http.events(room, &format!("after={after}&limit=200")).await?.expect(200).body;
    Ok(page["events"].as_array().cloned().unwrap_or_default())
}

async fn next_event(client: &Client) -> Result<Value> {
    loop {
        match client.next_event(WAIT_TIMEOUT).await? {
            frame if frame.log_position().is_none() => {}
            ServerFrame::Other(value) => return Ok(value),
            other => anyhow::bail!("{other:?}"),
        }
    }
}

// Covers: message:edited, message:deleted, reaction:added, reaction:removed.
#[tokio::test]
async fn change_by_frame_and_by_http_has_same_event_and_state() -> Result<()> {
    let stack = Stack::shared().await?;
    let (alice, bob) = (stack.http("alice"), stack.connect("bob").await?);
    let room = alice.new_room(&["bob"]).await?;
    bob.join_and_catch_up(&room).await?;
    for transport in both_transports(&stack, "alice").await? {
        let sent = alice.send(&room, &uuid::Uuid::now_v7().to_string(), "first").await?.expect(201).body;
        let (seq, id) = (sent["seq"].as_u64().context("seq")?, sent["id"].clone());
        bob.wait_for("message:new", WAIT_TIMEOUT).await?;

        let fields = json!({"content": "second\r\n\"🙂\"", "metadata": {"b": 1, "a": [2]}, "id": id});
        let outcome = transport.change(EDIT, &room, seq, fields).await?;
        let edited = next_event(&bob).await?;
        assert_eq!(
            edited,
            json!({"type": "message:edited", "room": room, "seq": outcome.seq()?, "at": edited["at"], "target": seq,
                "target_id": id, "content": "second\n\"🙂\"", "metadata": {"b": 1, "a": [2]}, "by": "alice"})
        );
        let now = fetch_message(&alice, &room, seq).await?;
        assert_eq!(
            (&now["content"], &now["metadata"]),
            (&json!("second\n\"🙂\""), &json!({"b": 1, "a": [2]}))
        );
        assert_eq!((&now["edited_at"], &now["last_seq"]), (&edited["at"], &edited["seq"]));
        assert_eq!((&now["deleted"], &now["at"], &now["id"]), (&json!(false), &sent["at"], &id));

        // An edit without metadata keeps the stored metadata.
        transport.change(EDIT, &room, seq, json!({"content": "third"})).await?.seq()?;
        assert!(next_event(&bob).await?.get("metadata").is_none());
        let now = fetch_message(&alice, &room, seq).await?;
        assert_eq!((&now["content"], &now["metadata"]["b"]), (&json!("third"), &json!(1)));

        let outcome = transport.change(ADD_REACTION, &room, seq, json!({"emoji": "a/b%👍🏽"})).await?;
        let added = next_event(&bob).await?;
        assert_eq!(
            added,
            json!({"type": "reaction:added", "room": room, "seq": outcome.seq()?, "at": added["at"], "target": seq,
                "target_id": id, "emoji": "a/b%👍🏽", "by": "alice"})
        );
        let now = fetch_message(&alice, &room, seq).await?;
        assert_eq!(
            now["reactions"],
            json!([{"emoji": "a/b%👍🏽", "count": 1, "mine": true, "users": ["alice"]}])
        );
        assert_eq!(now["last_seq"], added["seq"]);

        // Another spelling, with a variation selector, is the same reaction.
        let spelling = json!({"emoji": "a/b%👍\u{fe0f}🏽"});
        transport.change(REMOVE_REACTION, &room, seq, spelling).await?.seq()?;
        let removed = next_event(&bob).await?;
        assert_eq!(removed["type"], "reaction:removed");
        let now = fetch_message(&alice, &room, seq).await?;
        assert_eq!((&now["reactions"], &now["last_seq"]), (&json!([]), &removed["seq"]));

        let outcome = transport.change(DELETE, &room, seq, json!({})).await?;
        let deleted = next_event(&bob).await?;
        assert_eq!(
            deleted,
            json!({"type": "message:deleted", "room": room, "seq": outcome.seq()?, "at": deleted["at"], "target": seq,
                "target_id": id, "by": "alice"})
        );
        let now = fetch_message(&alice, &room, seq).await?;
        assert_eq!(
            (&now["content"], &now["metadata"], &now["deleted"]),
            (&json!(""), &json!(null), &json!(true))
        );
        assert_eq!((&now["last_seq"], &now["reactions"]), (&deleted["seq"], &json!([])));

        // The log over HTTP holds the same events, except for the deleted text.
        let log = fetch_events(&alice, &room, seq).await?;
        assert_eq!(log.len(), 5);
        assert_eq!([&log[2], &log[3], &log[4]], [&added, &removed, &deleted]);
    }
    Ok(())
}

#[tokio::test]
async fn authors_change_own_admins_any_and_guests_no_messages() -> Result<()> {
    let stack = Stack::shared().await?;
    let owner = stack.http("olga");
    let members = json!([{"user": "adam", "role": "admin"}, {"user": "mary"}, {"user": "vera", "role": "vip"},
        {"user": "greg", "role": "guest"}]);
    let room = owner.post("/rooms", json!({"kind": "private", "members": members})).await?.expect(201).body;
    let room = room["room"].as_str().context("room")?;
    let vera = stack.http("vera");
    let root = stack.admin_token("root");
    let root = [
        Transport::Frame(Box::new(Client::connect(&stack.gateway(0).ws(), &root).await?)),
        Transport::Http(Http::new(&stack.persistence(0).url(), &root)),
    ];
    let mut sent = 0;
    let people = [
        ("olga", both_transports(&stack, "olga").await?, ["ok", "ok"]),
        ("adam", both_transports(&stack, "adam").await?, ["ok", "ok"]),
        ("mary", both_transports(&stack, "mary").await?, ["forbidden", "ok"]),
        ("vera", both_transports(&stack, "vera").await?, ["ok", "ok"]),
        ("greg", both_transports(&stack, "greg").await?, ["forbidden", "forbidden"]),
        ("eve", both_transports(&stack, "eve").await?, ["not_found", "not_found"]),
        ("root", root, ["ok", "ok"]),
    ];
    for (who, transports, [changes, reacts]) in people {
        for transport in transports {
            sent += 1;
            let ack = vera.send(room, &format!("c{sent}"), "vera's").await?.expect(201).body;
            let seq = ack["seq"].as_u64().context("seq")?;
            for (kind, fields) in CHANGES {
                let outcome = transport.change(kind, room, seq, serde_json::from_str(fields)?).await?;
                let expected = if matches!(kind, EDIT | DELETE) { changes } else { reacts };
                assert_eq!(outcome.code(), expected, "{who} {kind}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn invalid_change_gets_same_code_by_frame_and_http() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    alice.send(&room, "c", "x").await?.expect(201);
    let id = uuid::Uuid::now_v7().to_string();
    for transport in both_transports(&stack, "alice").await? {
        transport.change(ADD_REACTION, &room, 1, json!({"emoji": "+"})).await?.seq()?;
        for (kind, seq, fields, code, field) in [
            (EDIT, 1, json!({"content": "y", "id": id}), "conflict", "id"),
            (DELETE, 1, json!({"id": id}), "conflict", "id"),
            (ADD_REACTION, 1, json!({"emoji": "+", "id": id}), "conflict", "id"),
            (EDIT, 999, json!({"content": "y"}), "not_found", ""),
            // Event 2 is a reaction, not a message.
            (DELETE, 2, json!({}), "not_found", ""),
            (EDIT, 0, json!({"content": "y"}), "bad_request", "seq"),
            (EDIT, 1, json!({"content": ""}), "bad_request", "content"),
            (EDIT, 1, json!({"content": "x".repeat(1001)}), "too_large", "content"),
            (EDIT, 1, json!({"content": "a\u{0}"}), "bad_request", "content"),
            (EDIT, 1, json!({"metadata": {}}), "bad_request", "content"),
            (EDIT, 1, json!({"content": "y", "metadata": {"a": "x".repeat(4096)}}), "too_large", "metadata"),
            (ADD_REACTION, 1, json!({"emoji": "x".repeat(65)}), "bad_request", "emoji"),
            (ADD_REACTION, 1, json!({"emoji": "a b"}), "bad_request", "emoji"),
            (DELETE, 1, json!({"client_id": "é"}), "bad_request", "client_id"),
            (DELETE, 1, json!({"ack": "soon"}), "bad_request", "ack"),
        ] {
            let outcome = transport.change(kind, &room, seq, fields.clone()).await?;
            let ChangeOutcome::Refused { code: found, field: named, .. } = &outcome else {
                anyhow::bail!("{outcome:?}")
            };
            assert_eq!((found.as_str(), named.as_str()), (code, field), "{kind} {seq} {fields}");
        }
    }
    assert_eq!(fetch_message(&alice, &room, 1).await?["content"], "x");
    Ok(())
}

#[tokio::test]
async fn text_with_attachments_may_be_emptied() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let file = json!([{"name": "a", "url": "https://files.example/a", "media_type": "image/png", "size": 7}]);
    for (transport, seq) in both_transports(&stack, "alice").await?.iter().zip([1, 3]) {
        let body = json!({"client_id": seq.to_string(), "content": "caption", "attachments": file});
        alice.post(&format!("/rooms/{room}/messages"), body).await?.expect(201);
        transport.change(EDIT, &room, seq, json!({"content": ""})).await?.seq()?;
        let now = fetch_message(&alice, &room, seq).await?;
        assert_eq!((&now["content"], &now["attachments"]), (&json!(""), &file));
    }
    // A delete drops the tail, so PostgreSQL answers the next look-up of a target.
    Transport::Http(alice.clone()).change(DELETE, &room, 3, json!({})).await?.seq()?;
    Transport::Http(alice.clone()).change(EDIT, &room, 1, json!({"content": ""})).await?.seq()?;
    assert_eq!(fetch_message(&alice, &room, 3).await?["attachments"], json!(null));
    Ok(())
}

#[tokio::test]
async fn repeated_change_gets_first_answer_despite_equal_send_id() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    let [frame, http] = both_transports(&stack, "alice").await?;
    for (first, again) in [(&frame, &http), (&http, &frame)] {
        let client_id = uuid::Uuid::now_v7().to_string();
        let sent = alice.send(&room, &client_id, "x").await?.expect(201).body;
        let seq = sent["seq"].as_u64().context("seq")?;
        let fields = |content: &str| json!({"content": content, "client_id": client_id});
        let edited = first.change(EDIT, &room, seq, fields("one")).await?;
        assert_eq!(edited.seq()?, seq + 1, "a change may use the client id of a send");
        let ChangeOutcome::Ack { stage, client_id: answered_id, duplicate, at, .. } = &edited else {
            unreachable!()
        };
        assert_eq!((stage.as_str(), answered_id, *duplicate), ("stored", &client_id, false));
        let repeated = ChangeOutcome::Ack {
            seq: seq + 1,
            stage: stage.clone(),
            duplicate: true,
            client_id: client_id.clone(),
            at: at.clone(),
        };
        assert_eq!(again.change(EDIT, &room, seq, fields("two")).await?, repeated);
        assert_eq!(fetch_message(&alice, &room, seq).await?["content"], "one");
        // A repetition has the same answer after the message was deleted.
        http.change(DELETE, &room, seq, json!({})).await?.seq()?;
        assert_eq!(again.change(EDIT, &room, seq, fields("one")).await?, repeated);
        assert_eq!(again.change(EDIT, &room, seq, json!({"content": "three"})).await?.code(), "conflict");
        assert_eq!(alice.send(&room, &client_id, "x").await?.expect(200).body["seq"], sent["seq"]);
    }
    Ok(())
}

#[tokio::test]
async fn change_with_ack_accepted_is_answered_accepted() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    alice.send(&room, "c", "x").await?.expect(201);
    for (transport, seq) in both_transports(&stack, "alice").await?.iter().zip(2..) {
        let outcome = transport.change(EDIT, &room, 1, json!({"content": "y", "ack": "accepted"})).await?;
        let ChangeOutcome::Ack { stage, seq: own, .. } = &outcome else { anyhow::bail!("{outcome:?}") };
        assert_eq!((stage.as_str(), *own), ("accepted", seq));
    }
    Ok(())
}

#[tokio::test]
async fn archived_room_refuses_message_changes() -> Result<()> {
    let stack = start_stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    alice.send(&room, "c", "x").await?.expect(201);
    let transports = both_transports(&stack, "alice").await?;
    stack.database().query(&format!("UPDATE rooms SET archived = true WHERE id = '{room}'")).await?;
    // After Redis was emptied, services read `archived` from PostgreSQL.
    stack.shards().restart_empty().await?;
    for transport in transports {
        for (kind, fields) in CHANGES {
            let mut code = String::new();
            for _ in 0..100 {
                code =
                    transport.change(kind, &room, 1, serde_json::from_str(fields)?).await?.code().to_owned();
                if code != "unavailable" {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert_eq!(code, "conflict", "{kind}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn admin_scope_sends_to_any_room() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let token = stack.admin_token("root");
    let root = Http::new(&stack.persistence(0).url(), &token);
    root.send(&room, "c", "by HTTP").await?.expect(201);
    Client::connect(&stack.gateway(0).ws(), &token).await?.send(&room, "by frame").await?;
    let texts = alice.messages(&room, "").await?.body["messages"].as_array().cloned().unwrap_or_default();
    let texts: Vec<&Value> = texts.iter().map(|message| &message["content"]).collect();
    ensure!(texts == ["by HTTP", "by frame"], "{texts:?}");
    // The path names the message; a `seq` in the body is ignored.
    let path = format!("/rooms/{room}/messages/1");
    let answer =
        alice.request(Method::DELETE, &path, Some(json!({"seq": 2, "emoji": "x"}))).await?.expect(200);
    ensure!(answer.body["seq"] == 3 && fetch_message(&alice, &room, 2).await?["deleted"] == false);
    Ok(())
}
