//! Edits, deletes and reactions, by frame and by HTTP: the same events, the same state, the same refusals.

use crate::ways;
use std::time::Duration;

use crate::ways::{ADD, CHANGES, DELETE, EDIT, REMOVE, Way, both};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Stack, client::Client, frames::ServerFrame, http::Http};

const PATIENCE: Duration = Duration::from_secs(10);

async fn stack() -> Result<Stack> {
    let builder = Stack::builder().gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1000);
    builder.gateway_env("TIDINGS_MESSAGES_BURST", 1000).start().await
}

async fn message(http: &Http, room: &str, seq: u64) -> Result<Value> {
    Ok(http.get(&format!("/rooms/{room}/messages/{seq}")).await?.expect(200).body)
}

async fn events(http: &Http, room: &str, after: u64) -> Result<Vec<Value>> {
    let page = http.events(room, &format!("after={after}&limit=200")).await?.expect(200).body;
    Ok(page["events"].as_array().cloned().unwrap_or_default())
}

/// The next event of the log that is pushed, as it came.
async fn next(client: &Client) -> Result<Value> {
    loop {
        match client.next_event(PATIENCE).await? {
            frame if frame.place().is_none() => {}
            ServerFrame::Other(value) => return Ok(value),
            other => anyhow::bail!("{other:?}"),
        }
    }
}

// Covers: message:edited, message:deleted, reaction:added, reaction:removed.
#[tokio::test]
async fn a_change_is_the_same_event_and_the_same_state_whichever_way_it_came() -> Result<()> {
    let stack = stack().await?;
    let (alice, bob) = (stack.http("alice"), stack.connect("bob").await?);
    let room = alice.new_room(&["bob"]).await?;
    bob.join_and_catch_up(&room).await?;
    for way in both(&stack, "alice").await? {
        let sent = alice.send(&room, &uuid::Uuid::now_v7().to_string(), "first").await?.expect(201).body;
        let (seq, id) = (sent["seq"].as_u64().context("seq")?, sent["id"].clone());
        bob.wait_for("message:new", PATIENCE).await?;

        let fields = json!({"content": "second\n\"🙂\"", "metadata": {"b": 1, "a": [2]}, "id": id});
        let told = way.change(EDIT, &room, seq, fields).await?;
        let edited = next(&bob).await?;
        assert_eq!(
            edited,
            json!({"type": "message:edited", "room": room, "seq": told.seq()?, "at": edited["at"], "target": seq,
                "target_id": id, "content": "second\n\"🙂\"", "metadata": {"b": 1, "a": [2]}, "by": "alice"})
        );
        let now = message(&alice, &room, seq).await?;
        assert_eq!(
            (&now["content"], &now["metadata"]),
            (&json!("second\n\"🙂\""), &json!({"b": 1, "a": [2]}))
        );
        assert_eq!((&now["edited_at"], &now["last_seq"]), (&edited["at"], &edited["seq"]));
        assert_eq!((&now["deleted"], &now["at"], &now["id"]), (&json!(false), &sent["at"], &id));

        // Without metadata those that are there stay.
        way.change(EDIT, &room, seq, json!({"content": "third"})).await?.seq()?;
        assert!(next(&bob).await?.get("metadata").is_none());
        let now = message(&alice, &room, seq).await?;
        assert_eq!((&now["content"], &now["metadata"]["b"]), (&json!("third"), &json!(1)));

        let told = way.change(ADD, &room, seq, json!({"emoji": "a/b%👍🏽"})).await?;
        let added = next(&bob).await?;
        assert_eq!(
            added,
            json!({"type": "reaction:added", "room": room, "seq": told.seq()?, "at": added["at"], "target": seq,
                "target_id": id, "emoji": "a/b%👍🏽", "by": "alice"})
        );
        let now = message(&alice, &room, seq).await?;
        assert_eq!(
            now["reactions"],
            json!([{"emoji": "a/b%👍🏽", "count": 1, "mine": true, "users": ["alice"]}])
        );
        assert_eq!(now["last_seq"], added["seq"]);

        way.change(REMOVE, &room, seq, json!({"emoji": "a/b%👍🏽"})).await?.seq()?;
        let removed = next(&bob).await?;
        assert_eq!(removed["type"], "reaction:removed");
        let now = message(&alice, &room, seq).await?;
        assert_eq!((&now["reactions"], &now["last_seq"]), (&json!([]), &removed["seq"]));

        let told = way.change(DELETE, &room, seq, json!({})).await?;
        let deleted = next(&bob).await?;
        assert_eq!(
            deleted,
            json!({"type": "message:deleted", "room": room, "seq": told.seq()?, "at": deleted["at"], "target": seq,
                "target_id": id, "by": "alice"})
        );
        let now = message(&alice, &room, seq).await?;
        assert_eq!(
            (&now["content"], &now["metadata"], &now["deleted"]),
            (&json!(""), &json!(null), &json!(true))
        );
        assert_eq!((&now["last_seq"], &now["reactions"]), (&deleted["seq"], &json!([])));

        // The log over HTTP holds the same events, but for what the deleted message said.
        let log = events(&alice, &room, seq).await?;
        assert_eq!(log.len(), 5);
        assert_eq!([&log[2], &log[3], &log[4]], [&added, &removed, &deleted]);
    }
    Ok(())
}

#[tokio::test]
async fn authors_change_their_own_admins_any_and_guests_none() -> Result<()> {
    let stack = stack().await?;
    let owner = stack.http("olga");
    let members = json!([{"user": "adam", "role": "admin"}, {"user": "mary"}, {"user": "vera", "role": "vip"},
        {"user": "greg", "role": "guest"}]);
    let room = owner.post("/rooms", json!({"kind": "private", "members": members})).await?.expect(201).body;
    let room = room["room"].as_str().context("room")?;
    let vera = stack.http("vera");
    let root = stack.admin_token("root");
    let root = [
        Way::Frame(Box::new(Client::connect(&stack.gateway(0).ws(), &root).await?)),
        Way::Http(Http::new(&stack.persistence(0).url(), &root)),
    ];
    let mut sent = 0;
    let people = [
        ("olga", both(&stack, "olga").await?, ["ok", "ok"]),
        ("adam", both(&stack, "adam").await?, ["ok", "ok"]),
        ("mary", both(&stack, "mary").await?, ["forbidden", "ok"]),
        ("vera", both(&stack, "vera").await?, ["ok", "ok"]),
        ("greg", both(&stack, "greg").await?, ["forbidden", "forbidden"]),
        ("eve", both(&stack, "eve").await?, ["not_found", "not_found"]),
        ("root", root, ["ok", "ok"]),
    ];
    for (who, ways, [changes, reacts]) in people {
        for way in ways {
            sent += 1;
            let ack = vera.send(room, &format!("c{sent}"), "vera's").await?.expect(201).body;
            let seq = ack["seq"].as_u64().context("seq")?;
            for (kind, fields) in CHANGES {
                let told = way.change(kind, room, seq, serde_json::from_str(fields)?).await?;
                let expected = if matches!(kind, EDIT | DELETE) { changes } else { reacts };
                assert_eq!(told.code(), expected, "{who} {kind}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_with_the_same_code_both_ways() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    alice.send(&room, "c", "x").await?.expect(201);
    let id = uuid::Uuid::now_v7().to_string();
    for way in both(&stack, "alice").await? {
        way.change(ADD, &room, 1, json!({"emoji": "+"})).await?.seq()?;
        for (kind, seq, fields, code, field) in [
            (EDIT, 1, json!({"content": "y", "id": id}), "conflict", "id"),
            (DELETE, 1, json!({"id": id}), "conflict", "id"),
            (ADD, 1, json!({"emoji": "+", "id": id}), "conflict", "id"),
            (EDIT, 999, json!({"content": "y"}), "not_found", ""),
            // At 2 stands a reaction, which is no message.
            (DELETE, 2, json!({}), "not_found", ""),
            (EDIT, 0, json!({"content": "y"}), "bad_request", "seq"),
            (EDIT, 1, json!({"content": ""}), "bad_request", "content"),
            (EDIT, 1, json!({"content": "x".repeat(1001)}), "too_large", "content"),
            (EDIT, 1, json!({"content": "a\u{0}"}), "bad_request", "content"),
            (EDIT, 1, json!({"metadata": {}}), "bad_request", "content"),
            (EDIT, 1, json!({"content": "y", "metadata": {"a": "x".repeat(4096)}}), "too_large", "metadata"),
            (ADD, 1, json!({"emoji": "x".repeat(33)}), "bad_request", "emoji"),
            (ADD, 1, json!({"emoji": "a b"}), "bad_request", "emoji"),
            (DELETE, 1, json!({"client_id": "é"}), "bad_request", "client_id"),
            (DELETE, 1, json!({"ack": "soon"}), "bad_request", "ack"),
        ] {
            let told = way.change(kind, &room, seq, fields.clone()).await?;
            let ways::Told::Refused { code: found, field: named, .. } = &told else {
                anyhow::bail!("{told:?}")
            };
            assert_eq!((found.as_str(), named.as_str()), (code, field), "{kind} {seq} {fields}");
        }
    }
    assert_eq!(message(&alice, &room, 1).await?["content"], "x");
    Ok(())
}

#[tokio::test]
async fn the_text_beside_attachments_may_be_emptied_and_they_stay() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let file = json!([{"name": "a", "url": "https://files.example/a", "media_type": "image/png", "size": 7}]);
    for (way, seq) in both(&stack, "alice").await?.iter().zip([1, 3]) {
        let body = json!({"client_id": seq.to_string(), "content": "caption", "attachments": file});
        alice.post(&format!("/rooms/{room}/messages"), body).await?.expect(201);
        way.change(EDIT, &room, seq, json!({"content": ""})).await?.seq()?;
        let now = message(&alice, &room, seq).await?;
        assert_eq!((&now["content"], &now["attachments"]), (&json!(""), &file));
    }
    // Beyond the tail PostgreSQL is asked.
    Way::Http(alice.clone()).change(DELETE, &room, 3, json!({})).await?.seq()?;
    Way::Http(alice.clone()).change(EDIT, &room, 1, json!({"content": ""})).await?.seq()?;
    assert_eq!(message(&alice, &room, 3).await?["attachments"], json!(null));
    Ok(())
}

#[tokio::test]
async fn a_repeated_change_is_answered_with_the_first_and_collides_with_no_send() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    let [frame, http] = both(&stack, "alice").await?;
    for (first, again) in [(&frame, &http), (&http, &frame)] {
        let client_id = uuid::Uuid::now_v7().to_string();
        let sent = alice.send(&room, &client_id, "x").await?.expect(201).body;
        let seq = sent["seq"].as_u64().context("seq")?;
        let fields = |content: &str| json!({"content": content, "client_id": client_id});
        let edited = first.change(EDIT, &room, seq, fields("one")).await?;
        assert_eq!(edited.seq()?, seq + 1, "the send's client id is another's");
        let ways::Told::Ack { stage, client_id: told, duplicate, at, .. } = &edited else { unreachable!() };
        assert_eq!((stage.as_str(), told, *duplicate), ("stored", &client_id, false));
        let repeated = ways::Told::Ack {
            seq: seq + 1,
            stage: stage.clone(),
            duplicate: true,
            client_id: client_id.clone(),
            at: at.clone(),
        };
        assert_eq!(again.change(EDIT, &room, seq, fields("two")).await?, repeated);
        assert_eq!(message(&alice, &room, seq).await?["content"], "one");
        // Also when the message was deleted meanwhile.
        http.change(DELETE, &room, seq, json!({})).await?.seq()?;
        assert_eq!(again.change(EDIT, &room, seq, fields("one")).await?, repeated);
        assert_eq!(again.change(EDIT, &room, seq, json!({"content": "three"})).await?.code(), "conflict");
        assert_eq!(alice.send(&room, &client_id, "x").await?.expect(200).body["seq"], sent["seq"]);
    }
    Ok(())
}

#[tokio::test]
async fn who_asks_for_accepted_is_told_so() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    alice.send(&room, "c", "x").await?.expect(201);
    for (way, seq) in both(&stack, "alice").await?.iter().zip(2..) {
        let told = way.change(EDIT, &room, 1, json!({"content": "y", "ack": "accepted"})).await?;
        let ways::Told::Ack { stage, seq: own, .. } = &told else { anyhow::bail!("{told:?}") };
        assert_eq!((stage.as_str(), *own), ("accepted", seq));
    }
    Ok(())
}

#[tokio::test]
async fn an_archived_room_takes_no_changes() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    alice.send(&room, "c", "x").await?.expect(201);
    let ways = both(&stack, "alice").await?;
    stack.database().query(&format!("UPDATE rooms SET archived = true WHERE id = '{room}'")).await?;
    // A new life of Redis learns it from PostgreSQL.
    stack.redis().restart_empty().await?;
    for way in ways {
        for (kind, fields) in CHANGES {
            let mut code = String::new();
            for _ in 0..100 {
                code = way.change(kind, &room, 1, serde_json::from_str(fields)?).await?.code().to_owned();
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
async fn whoever_has_the_scope_sends_to_any_room_and_guests_to_none() -> Result<()> {
    let stack = stack().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let token = stack.admin_token("root");
    let root = Http::new(&stack.persistence(0).url(), &token);
    root.send(&room, "c", "by HTTP").await?.expect(201);
    Client::connect(&stack.gateway(0).ws(), &token).await?.send(&room, "by frame").await?;
    let texts = alice.messages(&room, "").await?.body["messages"].as_array().cloned().unwrap_or_default();
    let texts: Vec<&Value> = texts.iter().map(|message| &message["content"]).collect();
    ensure!(texts == ["by HTTP", "by frame"], "{texts:?}");
    // A body is no excuse: the path decides.
    let path = format!("/rooms/{room}/messages/1");
    let answer =
        alice.request(Method::DELETE, &path, Some(json!({"seq": 2, "emoji": "x"}))).await?.expect(200);
    ensure!(answer.body["seq"] == 3 && message(&alice, &room, 2).await?["deleted"] == false);
    Ok(())
}
