//! Devices of all kinds: how they are registered, and what an export of their user holds.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::push::{Browser, PushNode};
use tidings_harness::webhooks::Receiver;

use crate::push::{say, until_told};
use crate::push_native::{APNS, EXPO, FCM, register, start};

#[tokio::test]
async fn registration_is_checked_by_kind() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let bob = node.user(&stack, "bob");
    let long = "x".repeat(2049);
    for (form, field) in [
        (json!({ "kind": "fcm" }), "token"),
        (json!({ "kind": "fcm", "token": "" }), "token"),
        (json!({ "kind": "fcm", "token": "a b" }), "token"),
        (json!({ "kind": "fcm", "token": long }), "token"),
        (json!({ "kind": "fcm", "token": "x", "endpoint": "https://example.org/" }), "endpoint"),
        (json!({ "kind": "apns", "token": "../../3/device/x" }), "token"),
        (json!({ "kind": "apns", "token": "abc" }), "token"),
        (json!({ "kind": "expo", "token": "ExponentPushToken" }), "token"),
        (json!({ "kind": "web_push", "token": "x" }), "token"),
    ] {
        let answer = bob.post("/me/devices", form.clone()).await?;
        ensure!(answer.status == 400 && answer.body["field"] == field, "{form}: {answer:?}");
    }
    // The case of a device token has no meaning, so both are the same device.
    register(&stack, &node, "apns", APNS).await?;
    let upper = json!({ "kind": "apns", "token": APNS.to_uppercase() });
    bob.post("/me/devices", upper).await?.expect(201);
    ensure!(bob.get("/me/devices").await?.expect(200).body["devices"].as_array().map(Vec::len) == Some(1));
    drop(service);

    let plain = PushNode::start(&stack, "plain", &[("TIDINGS_PUSH_EXPO", "false")]).await?;
    for (kind, token) in [("fcm", FCM), ("apns", APNS), ("expo", EXPO)] {
        let form = json!({ "kind": kind, "token": token });
        let answer = plain.user(&stack, "bob").post("/me/devices", form).await?;
        ensure!(answer.status == 400 && answer.body["field"] == "kind", "{kind}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn subscription_is_registered_as_the_browser_writes_it() -> Result<()> {
    let (stack, _service, node) = start(&[]).await?;
    let (browsers, alice, bob) = (Receiver::start().await?, stack.http("alice"), node.user(&stack, "bob"));
    let browser = Browser::subscribe(&browsers, "bob")?;
    let flat = browser.subscription();
    let keys = json!({ "p256dh": flat["p256dh"], "auth": flat["auth"] });
    let nested = json!({ "endpoint": flat["endpoint"], "expirationTime": null, "keys": keys });
    let both = |field: &str, value: &Value| {
        let mut form = nested.clone();
        form[field] = value.clone();
        form
    };
    let wrong = bob.post("/me/devices", both("p256dh", &flat["p256dh"])).await?;
    ensure!(wrong.status == 400 && wrong.body["field"] == "keys", "{wrong:?}");
    let device = bob.post("/me/devices", both("kind", &json!("web_push"))).await?.expect(201).body;
    let again = bob.post("/me/devices", nested.clone()).await?.expect(201).body;
    ensure!(device == again && device["endpoint"] == flat["endpoint"], "{device} {again}");
    let room = alice.new_room(&["bob"]).await?;
    let seq = say(&alice, &room, "hello").await?;
    until_told(&browser, &browsers, &room, seq).await
}

#[tokio::test]
async fn export_holds_own_devices_and_mutes() -> Result<()> {
    let (stack, _service, node) = start(&[]).await?;
    register(&stack, &node, "apns", APNS).await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let mute = format!("/me/mutes/{room}");
    node.user(&stack, "bob").request(Method::PUT, &mute, Some(json!({}))).await?.expect(200);
    for (user, wanted) in [("bob", true), ("alice", false)] {
        let url = format!("{}/v1/me/export", stack.http(user).base());
        let answer = tidings_harness::http::client().get(url).bearer_auth(stack.token(user)).send().await?;
        let text = answer.error_for_status()?.text().await?;
        let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let of_type = |kind: &str| lines.iter().find(|line| line["type"] == kind);
        let is_device =
            of_type("device").is_some_and(|line| line["kind"] == "apns" && line["address"] == APNS);
        let is_mute =
            of_type("mute").is_some_and(|line| line["room"] == room.as_str() && line["until"].is_null());
        ensure!(is_device == wanted && is_mute == wanted, "{user}: {text}");
    }
    Ok(())
}
