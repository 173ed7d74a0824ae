//! The API of the webhooks: rights, fields, secrets, dead letters and replays.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::Token;
use tidings_harness::webhooks::{Receiver, ReceiverBehaviour, WebhooksNode};

use crate::webhooks::{fill_rooms, id_of, number, send, start_stack, until, until_complete};

/// Two attempts, the second after a moment, and then a dead letter.
const QUICK_DEATH: [(&str, &str); 1] = [("TIDINGS_WEBHOOKS_RETRY_DELAYS_S", "0.1")];

// Covers: GET /webhooks, POST /webhooks, GET /webhooks/{id}.
#[tokio::test]
async fn only_admins_use_the_api_and_secrets_are_shown_once() -> Result<()> {
    let stack = start_stack().await?;
    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    for token in [
        stack.token("alice"),
        Token::of("indexer").scope("tidings.feed").sign(stack.jwt_secret()),
        Token::of("root").scope("tidings.admin").ttl_s(-60).sign(stack.jwt_secret()),
        "x".to_owned(),
    ] {
        let user = node.http().with_token(&token);
        let answer = user.get("/webhooks").await?;
        ensure!(matches!(answer.status, 401 | 403), "{answer:?}");
        let form = json!({ "url": "http://127.0.0.1:9/" });
        ensure!(matches!(user.post("/webhooks", form).await?.status, 401 | 403));
    }
    let created = node.register("http://127.0.0.1:9/", json!({ "description": "search" })).await?;
    let secret = created["secret"].as_str().unwrap_or_default();
    ensure!(secret.starts_with("whsec_") && secret.len() > 40, "{created}");
    let id = id_of(&created);
    let (one, all) =
        (node.http().get(&format!("/webhooks/{id}")).await?, node.http().get("/webhooks").await?);
    for answer in [&one, &all] {
        ensure!(answer.status == 200 && !answer.body.to_string().contains("whsec_"), "{answer:?}");
    }
    ensure!(all.body["webhooks"][0] == one.body && one.body["description"] == "search");
    ensure!(!node.log()?.contains("whsec_"), "the log has a secret");
    node.http().request(Method::DELETE, &format!("/webhooks/{id}"), None).await?.expect(204);
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    let audit = root.get("/admin/audit?actor=operator").await?.expect(200).body;
    let list = audit["entries"].as_array().into_iter().flatten();
    let actions: Vec<_> = list.map(|entry| (entry["action"].as_str(), entry["detail"].as_str())).collect();
    let id = Some(id.as_str());
    ensure!(actions == [(Some("webhook.delete"), id), (Some("webhook.create"), id)], "{audit}");
    let document = node.http().get("/webhooks/openapi.json").await?.expect(200).body;
    ensure!(document["openapi"] == "3.1.0" && document["paths"].as_object().is_some_and(|it| it.len() == 7));
    Ok(())
}

#[tokio::test]
async fn wrong_fields_are_refused_and_named() -> Result<()> {
    let stack = start_stack().await?;
    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    let url = "http://127.0.0.1:9/";
    for (form, field) in [
        (json!({ "url": "nonsense" }), Some("url")),
        (json!({ "url": "ftp://127.0.0.1/" }), Some("url")),
        (json!({ "url": "http://user:secret@127.0.0.1/" }), Some("url")),
        (json!({ "url": format!("{url}{}", "x".repeat(2048)) }), Some("url")),
        (json!({ "url": url, "rooms": ["a room"] }), Some("rooms")),
        (json!({ "url": url, "rooms": (0..101).map(|n| n.to_string()).collect::<Vec<_>>() }), Some("rooms")),
        (json!({ "url": url, "types": ["message"] }), Some("types")),
        (json!({ "url": url, "description": "x".repeat(201) }), Some("description")),
        (json!({ "url": url, "colour": "red" }), None),
        (json!({ "description": "no url" }), None),
        (json!({ "url": url, "from": "yesterday" }), None),
        (json!([]), None),
    ] {
        let answer = node.http().post("/webhooks", form.clone()).await?;
        let named = answer.body["field"].as_str();
        ensure!(answer.status == 400 && named == field, "{form}: {answer:?}");
    }
    let missing = "/webhooks/00000000-0000-7000-8000-000000000000";
    node.http().get(missing).await?.expect(404);
    for path in ["rotate", "test", "dead/replay"] {
        node.http().post(&format!("{missing}/{path}"), json!({})).await?.expect(404);
    }
    node.http().get(&format!("{missing}/dead")).await?.expect(404);
    node.http().request(Method::DELETE, missing, None).await?.expect(404);
    node.http().request(Method::PUT, "/webhooks", Some(json!({}))).await?.expect(405);
    let too_long = json!({ "url": url, "description": "x".repeat(70_000) });
    node.http().post("/webhooks", too_long).await?.expect(413);
    ensure!(node.http().get("/webhooks").await?.body["webhooks"] == json!([]));
    Ok(())
}

// Covers: PATCH /webhooks/{id}, DELETE /webhooks/{id}.
#[tokio::test]
async fn changed_disabled_and_deleted_endpoint_behaves_as_told() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = fill_rooms(&stack, 2, 2).await?;
    let (old, new) = (Receiver::start().await?, Receiver::start().await?);
    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    let path = format!("/webhooks/{}", id_of(&node.register(old.url(), json!({})).await?));
    until_complete(&stack, &old).await?;
    let change = |form: Value| node.http().request(Method::PATCH, &path, Some(form));

    let disabled = change(json!({ "enabled": false })).await?.expect(200).body;
    ensure!(disabled["enabled"] == false && disabled["disabled_because"] == "admin", "{disabled}");
    let before = old.deliveries().len();
    send(&stack.http("alice"), &rooms[0], "meanwhile", 3).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(old.deliveries().len() == before, "a disabled endpoint got an event");

    let form = json!({ "enabled": true, "url": new.url(), "description": "moved" });
    let enabled = change(form).await?.expect(200).body;
    ensure!(enabled["enabled"] == true && enabled.get("disabled_because").is_none(), "{enabled}");
    until("the events of the meantime", async || {
        Ok(new.first_accepted().get(&rooms[0]).is_some_and(|seqs| seqs.len() == 3))
    })
    .await?;
    change(json!({ "url": "nonsense" })).await?.expect(400);

    node.http().request(Method::DELETE, &path, None).await?.expect(204);
    let before = new.deliveries().len();
    send(&stack.http("alice"), &rooms[1], "deleted", 2).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(new.deliveries().len() == before, "a deleted endpoint got an event");
    let rows = stack.database().query("SELECT webhook_id FROM webhook_deliveries").await?;
    ensure!(rows.is_empty(), "{rows:?}");
    Ok(())
}

// Covers: POST /webhooks/{id}/rotate, POST /webhooks/{id}/test.
#[tokio::test]
async fn rotated_secret_signs_beside_the_one_before() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = fill_rooms(&stack, 1, 1).await?;
    let receiver = Receiver::start().await?;
    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    let webhook = node.register(receiver.url(), json!({})).await?;
    until_complete(&stack, &receiver).await?;
    let path = format!("/webhooks/{}", id_of(&webhook));
    let secret = |answer: &Value| answer["secret"].as_str().unwrap_or_default().to_owned();
    let first = secret(&webhook);
    let rotated = node.http().post(&format!("{path}/rotate"), json!({})).await?.expect(200).body;
    let second = secret(&rotated);
    ensure!(second != first && rotated["previous_secret_until"].is_string(), "{rotated}");

    let before = receiver.deliveries().len();
    send(&stack.http("alice"), &rooms[0], "rotated", 1).await?;
    until("the next event", async || Ok(receiver.deliveries().len() > before)).await?;
    let delivery = receiver.deliveries().pop().expect("there is one");
    ensure!(delivery.signatures_by(&second) == [0] && delivery.signatures_by(&first) == [1], "{delivery:?}");

    // A day later the first secret is no longer used.
    stack.database().query("UPDATE webhooks SET previous_until = now() - interval '1 s'").await?;
    let before = receiver.deliveries().len();
    send(&stack.http("alice"), &rooms[0], "later", 1).await?;
    until("the next event", async || Ok(receiver.deliveries().len() > before)).await?;
    let delivery = receiver.deliveries().pop().expect("there is one");
    ensure!(delivery.signatures_by(&second) == [0] && delivery.signatures_by(&first).is_empty());

    let body = node.http().post(&format!("{path}/test"), json!({})).await?.expect(200).body;
    ensure!(body == json!({ "delivered": true }), "{body}");
    let delivery = receiver.deliveries().pop().expect("there is one");
    ensure!(delivery.json()["type"] == "webhook:test" && delivery.signatures_by(&second) == [0]);
    Ok(())
}

// Covers: GET /webhooks/{id}/dead, POST /webhooks/{id}/dead/replay, DELETE /webhooks/{id}/dead.
#[tokio::test]
async fn dead_letters_are_listed_replayed_and_removed() -> Result<()> {
    let stack = start_stack().await?;
    let receiver = Receiver::start().await?;
    receiver.behave(ReceiverBehaviour::Answer(500, String::new()));
    let node = WebhooksNode::start(&stack, "webhooks", &QUICK_DEATH).await?;
    let id = id_of(&node.register(receiver.url(), json!({})).await?);
    let rooms = fill_rooms(&stack, 2, 3).await?;
    let all = crate::webhooks::stored(&stack).await?;
    let total: usize = all.values().map(Vec::len).sum();
    let dead = async || number(&node, &id, "dead").await;
    until("every event is dead", async || Ok(dead().await? == total as i64)).await?;

    let path = format!("/webhooks/{id}/dead");
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = node.http().get(&format!("{path}?limit=2{cursor}")).await?.expect(200).body;
        listed.extend(page["dead"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    ensure!(listed.len() == total, "{listed:?}");
    let letter = &listed[0];
    ensure!(letter["attempts"] == 2 && letter["last_status"] == 500, "{letter}");
    node.http().get(&format!("{path}?cursor=bad")).await?.expect(400);

    receiver.behave(ReceiverBehaviour::Accept);
    let replay = format!("{path}/replay");
    node.http().post(&replay, json!({ "seq": 1 })).await?.expect(400);
    let one = json!({ "room": rooms[0], "seq": 1 });
    ensure!(node.http().post(&replay, one).await?.expect(200).body["count"] == 1);
    until("the replayed event", async || Ok(receiver.first_accepted().len() == 1)).await?;
    node.http().request(Method::DELETE, &format!("{path}?room="), None).await?.expect(400);
    let removed = format!("{path}?room={}&seq=2", rooms[0]);
    let removed = node.http().request(Method::DELETE, &removed, None).await?.expect(200).body;
    ensure!(removed["count"] == 1, "{removed}");
    ensure!(node.http().post(&replay, json!({})).await?.expect(200).body["count"] == total - 2);
    until("all are replayed", async || Ok(dead().await? == 0 && number(&node, &id, "pending").await? == 0))
        .await?;
    let got = receiver.first_accepted();
    let others: Vec<u64> = all[&rooms[0]].iter().copied().filter(|seq| *seq != 2).collect();
    ensure!(got[&rooms[0]] == others && got[&rooms[1]] == all[&rooms[1]], "{got:?}");
    Ok(())
}

#[tokio::test]
async fn too_many_dead_letters_disable_the_endpoint() -> Result<()> {
    let stack = start_stack().await?;
    let receiver = Receiver::start().await?;
    receiver.behave(ReceiverBehaviour::Answer(500, String::new()));
    let settings =
        [QUICK_DEATH[0], ("TIDINGS_WEBHOOKS_MAX_DEAD", "5"), ("TIDINGS_WEBHOOKS_MAX_PENDING", "4")];
    let node = WebhooksNode::start(&stack, "webhooks", &settings).await?;
    let webhook = node.register(receiver.url(), json!({})).await?;
    let (id, path) = (id_of(&webhook), format!("/webhooks/{}", id_of(&webhook)));
    fill_rooms(&stack, 2, 10).await?;
    until("the endpoint is disabled", async || {
        let webhook = node.http().get(&path).await?.expect(200).body;
        let waiting = webhook["pending"].as_i64().unwrap_or(i64::MAX);
        ensure!(waiting <= 4, "{webhook}");
        Ok(webhook["disabled_because"] == "dead_letters")
    })
    .await?;
    ensure!(number(&node, &id, "dead").await? <= 5 + 4);
    // What was not queued is not lost.
    receiver.behave(ReceiverBehaviour::Accept);
    node.http().post(&format!("{path}/dead/replay"), json!({})).await?.expect(200);
    node.http().request(Method::PATCH, &path, Some(json!({ "enabled": true }))).await?.expect(200);
    let all = crate::webhooks::stored(&stack).await?;
    until("every event", async || {
        let mut got = receiver.first_accepted();
        got.values_mut().for_each(|seqs| seqs.sort_unstable());
        Ok(got == all)
    })
    .await
}

#[tokio::test]
async fn replay_leaves_later_events_to_their_pause() -> Result<()> {
    let stack = start_stack().await?;
    let receiver = Receiver::start().await?;
    receiver.behave(ReceiverBehaviour::Answer(500, String::new()));
    let node = WebhooksNode::start(&stack, "webhooks", &QUICK_DEATH).await?;
    let id = id_of(&node.register(receiver.url(), json!({})).await?);
    let room = fill_rooms(&stack, 1, 1).await?.remove(0);
    let earlier = crate::webhooks::stored(&stack).await?[&room].clone();
    let dead = async || number(&node, &id, "dead").await;
    until("dead letters", async || Ok(dead().await? == earlier.len() as i64)).await?;
    receiver.behave(ReceiverBehaviour::Answer(503, "retry-after: 600".to_owned()));
    send(&stack.http("alice"), &room, "late", 1).await?;
    let late = earlier.len() as u64 + 1;
    let attempts_of_late = || {
        let late = Some((room.clone(), late));
        receiver.deliveries().iter().filter(|delivery| delivery.position() == late).count()
    };
    until("the attempt of the late event", async || Ok(attempts_of_late() == 1)).await?;

    receiver.behave(ReceiverBehaviour::Accept);
    node.http().post(&format!("/webhooks/{id}/dead/replay"), json!({})).await?.expect(200);
    until("the replayed events", async || Ok(receiver.first_accepted().get(&room) == Some(&earlier))).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(attempts_of_late() == 1, "the late event was sent again before its time");
    Ok(())
}
