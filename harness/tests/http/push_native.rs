//! Push to apps, by FCM, APNs and Expo: what they are told, what is taken back, and which answers have which effect.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::Stack;
use tidings_harness::push::{AppService, Browser, PushNode};
use tidings_harness::webhooks::Receiver;

use crate::push::{device, say, until_queued, until_told};
use crate::push_services::outcome;
use crate::webhooks::{start_stack, until};

pub const FCM: &str = "fcm-token:of-bob";
pub const APNS: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
pub const EXPO: &str = "ExponentPushToken[bob]";

/// A stack whose feed is on, the push services of apps, and a replica that uses them.
pub async fn start(settings: &[(&str, &str)]) -> Result<(Stack, AppService, PushNode)> {
    let (stack, service) = (start_stack().await?, AppService::start().await?);
    let of_service = service.settings(stack.folder())?;
    let mut all: Vec<(&str, &str)> = of_service.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend(settings);
    let node = PushNode::start(&stack, "push", &all).await?;
    stack.http("bob").my_rooms("").await?.expect(200);
    Ok((stack, service, node))
}

/// Registers an app for bob.
pub async fn register(stack: &Stack, node: &PushNode, kind: &str, token: &str) -> Result<()> {
    let form = json!({ "kind": kind, "token": token });
    let device = node.user(stack, "bob").post("/me/devices", form).await?.expect(201).body;
    ensure!(device["kind"] == kind && device["token"] == token, "{device}");
    Ok(())
}

/// Registers an app of each kind for bob.
async fn register_all(stack: &Stack, node: &PushNode) -> Result<()> {
    for (kind, token) in [("fcm", FCM), ("apns", APNS), ("expo", EXPO)] {
        register(stack, node, kind, token).await?;
    }
    Ok(())
}

fn message(room: &str, seq: u64) -> (String, String, u64) {
    ("message".to_owned(), room.to_owned(), seq)
}

fn clear(room: &str, seq: u64) -> (String, String, u64) {
    ("clear".to_owned(), room.to_owned(), seq)
}

pub async fn until_app(service: &AppService, token: &str, wanted: &(String, String, u64)) -> Result<()> {
    until(&format!("{wanted:?} at {token}"), async || Ok(service.told(token).contains(wanted))).await
}

async fn until_empty(stack: &Stack, table: &str) -> Result<()> {
    let sql = format!("SELECT device_id FROM {table}");
    until(&format!("an empty {table}"), async || Ok(stack.database().query(&sql).await?.is_empty())).await
}

fn ensure_right(service: &AppService) -> Result<()> {
    ensure!(service.violations().is_empty(), "{:?}", service.violations());
    Ok(())
}

#[tokio::test]
async fn app_of_each_kind_is_told_of_the_last_message() -> Result<()> {
    // The operator names the push services, so their private address is no obstacle. Users may not name one.
    let settings = [
        ("TIDINGS_PUSH_CONTENT", "text"),
        ("TIDINGS_PUSH_DELAY_MS", "5000"),
        ("TIDINGS_PUSH_ALLOW_PRIVATE", "false"),
    ];
    let (stack, service, node) = start(&settings).await?;
    register_all(&stack, &node).await?;
    let private = Browser::with_endpoint("https://127.0.0.1/x", "x")?.subscription();
    node.user(&stack, "bob").post("/me/devices", private).await?.expect(400);
    let alice = stack.http("alice");
    let operator = stack.http("operator").with_token(&stack.admin_token("operator"));
    operator.put_user("alice", json!({ "name": "Alice" })).await?;
    let room = alice.new_room(&["bob"]).await?;
    alice.change_room(&room, json!({ "name": "Team" })).await?.expect(200);
    say(&alice, &room, "first").await?;
    let seq = say(&alice, &room, "second").await?;
    for token in [FCM, APNS, EXPO] {
        until_app(&service, token, &message(&room, seq)).await?;
        ensure!(service.told(token) == [message(&room, seq)], "{:?}", service.told(token));
        let body = &service.requests(token)[0].body;
        let shown = match token {
            FCM => body["message"]["notification"].clone(),
            APNS => body["aps"]["alert"].clone(),
            _ => json!({ "title": body["title"], "body": body["body"] }),
        };
        ensure!(shown == json!({ "title": "Team", "body": "Alice: second" }), "{body}");
    }
    let next = say(&alice, &room, "third").await?;
    for token in [FCM, APNS, EXPO] {
        until_app(&service, token, &message(&room, next)).await?;
    }
    ensure!(service.tokens_issued() == 1, "{} access tokens", service.tokens_issued());
    let provider = |at: usize| service.requests(APNS)[at].headers.get("authorization").cloned();
    ensure!(provider(0) == provider(1), "a new token for each request to APNs");
    ensure_right(&service)
}

#[tokio::test]
async fn unknown_tokens_are_removed_and_others_stay() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let fcm_error = |status: u16, code: &str| {
        let detail =
            json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code });
        json!({ "error": { "code": status, "details": [detail] } })
    };
    let mut wrong_token = fcm_error(400, "INVALID_ARGUMENT");
    let of_token = json!({ "fieldViolations": [{ "field": "message.token" }] });
    wrong_token["error"]["details"].as_array_mut().context("details")?.push(of_token);
    let ticket = json!({ "data": { "status": "error", "message": "m", "details": { "error": "DeviceNotRegistered" } } });
    let (bad_apns, kept_apns) = ("ab".repeat(32), "cd".repeat(32));
    let removed = [
        ("fcm", FCM, 404, fcm_error(404, "UNREGISTERED")),
        ("fcm", "invalid", 400, wrong_token),
        ("apns", APNS, 410, json!({ "reason": "Unregistered", "timestamp": 1 })),
        ("expo", EXPO, 200, ticket),
    ];
    let kept = [
        // The token may belong to the other environment of the push service.
        ("apns", bad_apns.as_str(), 400, json!({ "reason": "BadDeviceToken" })),
        ("fcm", "kept", 403, json!({ "error": { "code": 403, "status": "PERMISSION_DENIED" } })),
        ("apns", kept_apns.as_str(), 403, json!({ "reason": "InvalidProviderToken" })),
    ];
    for (kind, token, status, body) in removed.iter().chain(&kept) {
        register(&stack, &node, kind, token).await?;
        service.answer(token, *status, None, body.clone());
    }
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    say(&alice, &room, "hello").await?;
    until("four removed devices", async || Ok(outcome(&node, "gone").await? == 4)).await?;
    until("two refusals of ours", async || Ok(outcome(&node, "credentials").await? >= 2)).await?;
    until("a refusal", async || Ok(outcome(&node, "rejected").await? >= 1)).await?;
    let rows = stack.database().query("SELECT address FROM push_devices ORDER BY address").await?;
    ensure!(rows == [[bad_apns.as_str()], [kept_apns.as_str()], ["kept"]], "{rows:?}");
    ensure_right(&service)
}

#[tokio::test]
async fn busy_push_service_is_left_alone_as_long_as_it_asks() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    register_all(&stack, &node).await?;
    let quota = json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED" } });
    service.answer(FCM, 429, Some(100), quota);
    service.answer(APNS, 503, Some(100), json!({ "reason": "Shutdown" }));
    service.answer(EXPO, 429, Some(100), json!({ "errors": [{ "code": "TOO_MANY_REQUESTS" }] }));
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    say(&alice, &room, "first").await?;
    let paused =
        "SELECT count(*) FROM push_devices WHERE failures = 1 AND not_before > now() + interval '50 s'";
    until("three paused devices", async || Ok(stack.database().value(paused).await? == "3")).await?;
    let seq = say(&alice, &room, "second").await?;
    until_queued(&stack, &room, seq).await?;
    for token in [FCM, APNS, EXPO] {
        ensure!(service.requests(token).len() == 1, "{token}: {:?}", service.requests(token));
        service.accept(token);
    }
    stack.database().query("UPDATE push_pending SET due_at = now()").await?;
    for token in [FCM, APNS, EXPO] {
        until_app(&service, token, &message(&room, seq)).await?;
    }
    ensure_right(&service)
}

#[tokio::test]
async fn access_token_is_renewed_at_its_end_and_after_refusal() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    register(&stack, &node, "fcm", FCM).await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    service.set_token_lifetime(Duration::from_secs(2));
    let seq = say(&alice, &room, "one").await?;
    until_app(&service, FCM, &message(&room, seq)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    service.set_token_lifetime(Duration::from_secs(3600));
    for content in ["two", "three"] {
        let seq = say(&alice, &room, content).await?;
        until_app(&service, FCM, &message(&room, seq)).await?;
    }
    ensure!(service.tokens_issued() == 2, "{} access tokens", service.tokens_issued());
    ensure!(outcome(&node, "credentials").await? == 0, "a token was used after its end");
    service.revoke_tokens();
    let seq = say(&alice, &room, "four").await?;
    until_app(&service, FCM, &message(&room, seq)).await?;
    ensure!(service.tokens_issued() == 3, "{} access tokens", service.tokens_issued());
    ensure_right(&service)
}

#[tokio::test]
async fn notification_read_elsewhere_is_taken_back_once() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let (browsers, alice, bob) = (Receiver::start().await?, stack.http("alice"), stack.http("bob"));
    let browser = device(&stack, &node, &browsers, "bob").await?;
    register_all(&stack, &node).await?;
    let (room, other) = (alice.new_room(&["bob"]).await?, alice.new_room(&["bob"]).await?);
    let (seq, unread) = (say(&alice, &room, "read").await?, say(&alice, &other, "unread").await?);
    for token in [FCM, APNS, EXPO] {
        until_app(&service, token, &message(&room, seq)).await?;
        until_app(&service, token, &message(&other, unread)).await?;
    }
    until_told(&browser, &browsers, &room, seq).await?;
    bob.read(&room, seq).await?.expect(200);
    for token in [FCM, APNS, EXPO] {
        until_app(&service, token, &clear(&room, seq)).await?;
    }
    until_empty(&stack, "push_pending").await?;
    let told = stack.database().query("SELECT DISTINCT room_id FROM push_told").await?;
    ensure!(told == [[other.as_str()]], "{told:?}");
    for token in [FCM, APNS, EXPO] {
        ensure!(service.told(token).len() == 3, "{:?}", service.told(token));
    }
    ensure!(browser.requests(&browsers).len() == 2, "browsers must show something for each message");
    // Notifications of a room that the user has left are taken back too.
    alice.remove_member(&other, "bob").await?.expect(200);
    until_app(&service, APNS, &clear(&other, unread)).await?;
    until_empty(&stack, "push_told").await?;
    // A later message of the same room is told again.
    let later = say(&alice, &room, "later").await?;
    until_app(&service, FCM, &message(&room, later)).await?;
    ensure_right(&service)
}

#[tokio::test]
async fn refused_clear_is_repeated_while_user_is_online() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    register(&stack, &node, "apns", APNS).await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob"]).await?;
    let seq = say(&alice, &room, "hello").await?;
    until_app(&service, APNS, &message(&room, seq)).await?;
    service.answer(APNS, 503, None, json!({ "reason": "Shutdown" }));
    // A user who reads is online. The phone must be told nevertheless.
    bob.post("/presence", json!({ "status": "online" })).await?.expect(204);
    bob.read(&room, seq).await?.expect(200);
    until("a failed attempt", async || Ok(outcome(&node, "status").await? >= 1)).await?;
    service.accept(APNS);
    until_app(&service, APNS, &clear(&room, seq)).await?;
    until_empty(&stack, "push_pending").await?;
    ensure_right(&service)
}

/// Ends the pause before the next check of a message, as soon as its row is in this state. A claimed row is due in less
/// than 30 s, so a row that is due later is not claimed.
async fn end_pause(stack: &Stack, seq: u64, state: &str) -> Result<()> {
    let is_paused = format!("seq = {seq} AND {state} AND due_at > now() + interval '30 s'");
    let sql = format!("UPDATE push_pending SET due_at = now() WHERE {is_paused} RETURNING seq");
    until(state, async || Ok(!stack.database().query(&sql).await?.is_empty())).await
}

#[tokio::test]
async fn clear_for_online_user_keeps_waiting_message() -> Result<()> {
    let (stack, service, node) = start(&[("TIDINGS_PUSH_ONLINE_RECHECK_MS", "60000")]).await?;
    register(&stack, &node, "apns", APNS).await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob"]).await?;
    let first = say(&alice, &room, "first").await?;
    until_app(&service, APNS, &message(&room, first)).await?;
    bob.post("/presence", json!({ "status": "online" })).await?.expect(204);
    let second = say(&alice, &room, "second").await?;
    bob.read(&room, first).await?.expect(200);
    end_pause(&stack, second, "clear_seq IS NOT NULL").await?;
    until_app(&service, APNS, &clear(&room, first)).await?;
    until("a check after the clear", async || Ok(outcome(&node, "online").await? >= 2)).await?;
    bob.post("/presence", json!({ "status": "away" })).await?.expect(204);
    end_pause(&stack, second, "clear_seq IS NULL").await?;
    until_app(&service, APNS, &message(&room, second)).await?;
    until_empty(&stack, "push_pending").await?;
    ensure_right(&service)
}

#[tokio::test]
async fn message_read_before_its_notification_tells_nothing() -> Result<()> {
    let (stack, service, node) = start(&[("TIDINGS_PUSH_DELAY_MS", "6000")]).await?;
    register_all(&stack, &node).await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob"]).await?;
    let seq = say(&alice, &room, "hello").await?;
    until_queued(&stack, &room, seq).await?;
    bob.read(&room, seq).await?.expect(200);
    until("three skipped notifications", async || Ok(outcome(&node, "skipped").await? == 3)).await?;
    until_empty(&stack, "push_pending").await?;
    for token in [FCM, APNS, EXPO] {
        ensure!(service.requests(token).is_empty(), "{:?}", service.requests(token));
    }
    let told = stack.database().query("SELECT room_id FROM push_told").await?;
    ensure!(told.is_empty(), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn message_whose_answer_was_lost_is_taken_back() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    register(&stack, &node, "fcm", FCM).await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob"]).await?;
    // The device may show the message, although the attempt failed.
    service.answer(FCM, 502, None, json!(null));
    let seq = say(&alice, &room, "hello").await?;
    until("a failed attempt", async || Ok(outcome(&node, "status").await? >= 1)).await?;
    bob.read(&room, seq).await?.expect(200);
    service.accept(FCM);
    until_app(&service, FCM, &clear(&room, seq)).await?;
    ensure!(service.told(FCM) == [clear(&room, seq)], "{:?}", service.told(FCM));
    ensure_right(&service)
}
