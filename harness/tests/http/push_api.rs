//! The API of devices and muted rooms.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::push::{Browser, VAPID_PUBLIC_KEY};
use tidings_harness::webhooks::{Receiver, ReceiverBehaviour};

use crate::push::{device, say, start, told, until_told};
use crate::webhooks::until;

// Covers: GET /me/devices, POST /me/devices, DELETE /me/devices/{id}, GET /push/key.
#[tokio::test]
async fn devices_belong_to_their_users_and_are_limited() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    for user in ["alice", "bob"] {
        stack.http(user).my_rooms("").await?.expect(200);
    }
    let (alice, bob) = (node.user(&stack, "alice"), node.user(&stack, "bob"));
    let key = alice.with_token("").get("/push/key").await?.expect(200).body;
    ensure!(key == json!({ "key": VAPID_PUBLIC_KEY }), "{key}");
    let browser = Browser::subscribe(&service, "a")?;
    let id = node.register(&stack, "alice", &browser).await?;
    let list = alice.get("/me/devices").await?.expect(200).body;
    let listed = &list["devices"][0];
    ensure!(listed["id"] == id && listed["kind"] == "web_push", "{list}");
    ensure!(
        listed["endpoint"] == browser.subscription()["endpoint"] && listed.get("auth").is_none(),
        "{list}"
    );
    // A foreign id is as unknown as any other.
    let path = format!("/me/devices/{id}");
    for path in [path.as_str(), "/me/devices/x", "/me/devices/%00"] {
        let refused = bob.request(Method::DELETE, path, None).await?.expect(404);
        ensure!(refused.body["code"] == "not_found", "{refused:?}");
    }
    ensure!(bob.get("/me/devices").await?.expect(200).body["devices"] == json!([]));
    // The same endpoint again is the same device, with the new keys.
    let again = Browser::subscribe(&service, "a")?;
    ensure!(node.register(&stack, "alice", &again).await? == id);
    for number in 1..20 {
        node.register(&stack, "alice", &Browser::subscribe(&service, &format!("n{number}"))?).await?;
    }
    let over = alice.post("/me/devices", Browser::subscribe(&service, "over")?.subscription()).await?;
    ensure!(over.status == 413 && over.body["code"] == "too_large", "{over:?}");
    ensure!(node.register(&stack, "alice", &again).await? == id, "the limit refused a known device");
    alice.request(Method::DELETE, &path, None).await?.expect(204);
    alice.request(Method::DELETE, &path, None).await?.expect(404);
    let document = alice.get("/push/openapi.json").await?.expect(200).body;
    ensure!(document["openapi"] == "3.1.0", "{document}");
    Ok(())
}

#[tokio::test]
async fn endpoint_of_another_user_moves_without_what_waits_for_it() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let alice = stack.http("alice");
    service.behave(ReceiverBehaviour::Answer(503, String::new()));
    let old = device(&stack, &node, &service, "bob").await?;
    let (first, second) = (alice.new_room(&["bob"]).await?, alice.new_room(&["carol"]).await?);
    say(&alice, &first, "to bob").await?;
    until("a failed attempt", async || Ok(!old.requests(&service).is_empty())).await?;
    let new = Browser::subscribe(&service, "bob")?;
    node.register(&stack, "carol", &new).await?;
    let rows = stack.database().query("SELECT user_id FROM push_devices").await?;
    ensure!(rows == [["carol"]], "{rows:?}");
    let waiting = stack.database().query("SELECT room_id FROM push_pending").await?;
    ensure!(waiting.is_empty(), "{waiting:?}");
    service.behave(ReceiverBehaviour::Accept);
    let seq = say(&alice, &second, "to carol").await?;
    until_told(&new, &service, &second, seq).await?;
    ensure!(told(&new, &service)?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn simultaneous_registration_of_endpoint_is_not_refused() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    for user in ["bob", "carol"] {
        stack.http(user).my_rooms("").await?.expect(200);
    }
    let browser = Browser::subscribe(&service, "shared")?;
    let insert = format!(
        "DO $$ BEGIN INSERT INTO push_devices (id, user_id, kind, address) VALUES ('x', 'carol', 'web_push', '{}/shared'); \
         PERFORM pg_sleep(3); END $$",
        service.url()
    );
    let (inserted, registered) = tokio::join!(stack.database().query(&insert), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        node.register(&stack, "bob", &browser).await
    });
    inserted?;
    registered?;
    let rows = stack.database().query("SELECT user_id FROM push_devices").await?;
    ensure!(rows == [["bob"]], "{rows:?}");
    Ok(())
}

#[tokio::test]
async fn wrong_fields_and_tokens_are_refused() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    stack.http("alice").my_rooms("").await?.expect(200);
    let alice = node.user(&stack, "alice");
    let good = Browser::subscribe(&service, "a")?.subscription();
    let with = |field: &str, value: Value| {
        let mut form = good.clone();
        form[field] = value;
        form
    };
    for (form, field) in [
        (with("endpoint", json!("nonsense")), Some("endpoint")),
        (with("endpoint", json!("ftp://127.0.0.1/")), Some("endpoint")),
        (with("endpoint", json!(format!("https://example.org/{}", "x".repeat(2048)))), Some("endpoint")),
        (with("endpoint", json!(format!("https://example.org/{}", "ä".repeat(1000)))), Some("endpoint")),
        (with("p256dh", json!("AAAA")), Some("p256dh")),
        (with("auth", json!("AAAA")), Some("auth")),
        (with("kind", json!("pigeon")), None),
        (with("more", json!(1)), None),
        (with("auth", json!(null)), Some("auth")),
        (json!({ "kind": "web_push" }), Some("endpoint")),
        (json!([]), None),
        (json!({}), Some("endpoint")),
    ] {
        let answer = alice.post("/me/devices", form.clone()).await?;
        ensure!(answer.status == 400 && answer.body["field"].as_str() == field, "{form}: {answer:?}");
    }
    let long = with("endpoint", json!("x".repeat(70_000)));
    alice.post("/me/devices", long).await?.expect(413);
    for token in [String::new(), "x".to_owned()] {
        let user = alice.with_token(&token);
        for path in ["/me/devices", "/me/mutes"] {
            let answer = user.get(path).await?;
            ensure!(matches!(answer.status, 401 | 403), "{answer:?}");
        }
    }
    alice.request(Method::PUT, "/me/devices", Some(json!({}))).await?.expect(405);
    alice.get("/me/nothing").await?.expect(404);
    let admin = stack.http("operator").with_token(&stack.admin_token("operator"));
    admin.put_user("alice", json!({ "blocked": true })).await?;
    alice.post("/me/devices", good.clone()).await?.expect(403);
    Ok(())
}

// Covers: GET /me/mutes, GET /me/mutes/{room}, PUT /me/mutes/{room}, DELETE /me/mutes/{room}.
#[tokio::test]
async fn muted_room_is_silent_until_its_time_is_over() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let (alice, browser) = (stack.http("alice"), device(&stack, &node, &service, "bob").await?);
    let (room, foreign) = (alice.new_room(&["bob"]).await?, alice.new_room(&["carol"]).await?);
    let bob = node.user(&stack, "bob");
    let path = format!("/me/mutes/{room}");
    let put = |path: String, form: Value| {
        let bob = &bob;
        async move { bob.request(Method::PUT, &path, Some(form)).await }
    };
    bob.get(&path).await?.expect(404);
    put(format!("/me/mutes/{foreign}"), json!({})).await?.expect(404);
    put("/me/mutes/a%20room".to_owned(), json!({})).await?.expect(400);
    for until in [json!("2020-01-01T00:00:00Z"), json!("soon"), json!(5)] {
        put(path.clone(), json!({ "until": until })).await?.expect(400);
    }
    let muted = put(path.clone(), json!({ "until": "2999-01-01T00:00:00Z" })).await?.expect(200).body;
    ensure!(muted == json!({ "room": room, "until": "2999-01-01T00:00:00.000Z" }), "{muted}");
    ensure!(bob.get(&path).await?.expect(200).body == muted);
    ensure!(bob.get("/me/mutes").await?.expect(200).body == json!({ "mutes": [muted] }));
    let silent = say(&alice, &room, "silent").await?;
    let open = alice.new_room(&["bob"]).await?;
    let seq = say(&alice, &open, "open").await?;
    until_told(&browser, &service, &open, seq).await?;
    ensure!(!told(&browser, &service)?.contains_key(&room), "a muted room was told");

    stack.database().query("UPDATE push_mutes SET until = now() - interval '1 s'").await?;
    bob.get(&path).await?.expect(404);
    let seq = say(&alice, &room, "loud").await?;
    until_told(&browser, &service, &room, seq).await?;
    ensure!(!told(&browser, &service)?[&room].contains(&silent));
    put(path.clone(), json!({})).await?.expect(200);
    bob.request(Method::DELETE, &path, None).await?.expect(204);
    bob.request(Method::DELETE, &path, None).await?.expect(404);

    let fill =
        "INSERT INTO push_mutes (user_id, room_id) SELECT 'bob', 'r' || n FROM generate_series(1, 1000) n";
    stack.database().query(fill).await?;
    let over = put(path.clone(), json!({})).await?;
    ensure!(over.status == 413 && over.body["code"] == "too_large", "{over:?}");
    Ok(())
}

#[tokio::test]
async fn too_frequent_requests_are_refused_for_their_user_only() -> Result<()> {
    let (stack, service, node) = start(&[("TIDINGS_PUSH_REQUESTS_PER_SECOND", "1")]).await?;
    let _: &Receiver = &service;
    for user in ["alice", "bob"] {
        stack.http(user).my_rooms("").await?.expect(200);
    }
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(node.user(&stack, "alice").get("/me/devices").await?.status);
    }
    ensure!(statuses.starts_with(&[200; 4]) && statuses.contains(&429), "{statuses:?}");
    node.user(&stack, "bob").get("/me/devices").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn erased_user_keeps_no_device_and_no_mute() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let alice = stack.http("alice");
    device(&stack, &node, &service, "bob").await?;
    let room = alice.new_room(&["bob"]).await?;
    let path = format!("/me/mutes/{room}");
    node.user(&stack, "bob").request(Method::PUT, &path, Some(json!({}))).await?.expect(200);
    stack.http("bob").request(Method::DELETE, "/me", None).await?.expect(204);
    for table in ["push_devices", "push_mutes"] {
        let rows = stack.database().query(&format!("SELECT user_id FROM {table}")).await?;
        ensure!(rows.is_empty(), "{table}: {rows:?}");
    }
    Ok(())
}
