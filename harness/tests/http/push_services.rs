//! Push services that are gone, busy, slow or hostile.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use tidings_harness::push::{Browser, PushNode};
use tidings_harness::webhooks::{Receiver, ReceiverBehaviour};

use crate::push::{device, say, start, told, until_told};
use crate::webhooks::until;

/// The number of outcomes of this kind.
pub async fn outcome(node: &PushNode, outcome: &str) -> Result<u64> {
    let name = format!("tidings_push_outcomes_total{{outcome=\"{outcome}\"}} ");
    let metrics = node.metrics().await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name.as_str())).unwrap_or("0");
    Ok(value.parse()?)
}

#[tokio::test]
async fn device_that_is_gone_is_removed() -> Result<()> {
    let (stack, _, node) = start(&[]).await?;
    let alice = stack.http("alice");
    for (user, status) in [("bob", 410), ("carol", 404)] {
        let service = Receiver::start().await?;
        service.behave(ReceiverBehaviour::Answer(status, String::new()));
        device(&stack, &node, &service, user).await?;
        let room = alice.new_room(&[user]).await?;
        say(&alice, &room, "hello").await?;
        let is_removed = async || {
            let devices = node.user(&stack, user).get("/me/devices").await?.expect(200).body;
            Ok(devices["devices"] == json!([]))
        };
        until("the device is removed", is_removed).await?;
        ensure!(service.deliveries().len() == 1, "{status}: {:?}", service.deliveries());
    }
    Ok(())
}

#[tokio::test]
async fn busy_service_is_tried_again_and_retry_after_is_obeyed() -> Result<()> {
    let (stack, _, node) = start(&[]).await?;
    let alice = stack.http("alice");
    let behaviours = [
        ("bob", ReceiverBehaviour::Answer(503, String::new()), 5),
        ("carol", ReceiverBehaviour::Answer(429, "Retry-After: 9".to_owned()), 9),
        ("dave", ReceiverBehaviour::Down, 5),
    ];
    let mut services = Vec::new();
    for (user, behaviour, pause_s) in behaviours {
        let service = Receiver::start().await?;
        service.behave(behaviour);
        let browser = device(&stack, &node, &service, user).await?;
        let room = alice.new_room(&[user]).await?;
        let seq = say(&alice, &room, "hello").await?;
        services.push((service, browser, room, seq, pause_s));
    }
    for (service, browser, ..) in &services {
        until("a failed attempt", async || Ok(!browser.requests(service).is_empty())).await?;
        service.behave(ReceiverBehaviour::Accept);
    }
    for (service, browser, room, seq, pause_s) in &services {
        until_told(browser, service, room, *seq).await?;
        let requests = browser.requests(service);
        let pause = requests[1].at - requests[0].at;
        ensure!(requests.len() == 2 && pause.as_secs() + 1 >= *pause_s, "{pause:?} of {pause_s} s");
    }
    Ok(())
}

#[tokio::test]
async fn refused_device_pauses_and_is_removed_at_last() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let (alice, bob) = (stack.http("alice"), device(&stack, &node, &service, "bob").await?);
    let room = alice.new_room(&["bob"]).await?;
    let is_empty = async || Ok(stack.database().query("SELECT seq FROM push_pending").await?.is_empty());
    for status in [400, 403, 413, 307] {
        let location = "Location: http://127.0.0.1:9/".to_owned();
        service.behave(ReceiverBehaviour::Answer(status, location));
        let before = bob.requests(&service).len();
        say(&alice, &room, &format!("refused {status}")).await?;
        until("a refused attempt", async || Ok(bob.requests(&service).len() > before)).await?;
        let paused = "SELECT failures FROM push_devices WHERE failures = 1 AND not_before > now()";
        until("a pause", async || Ok(!stack.database().query(paused).await?.is_empty())).await?;
        ensure!(bob.requests(&service).len() == before + 1, "{status} was tried again at once");
        stack
            .database()
            .query("DELETE FROM push_pending; UPDATE push_devices SET failures = 0, not_before = now()")
            .await?;
    }
    ensure!(outcome(&node, "rejected").await? == 4);
    service.behave(ReceiverBehaviour::Answer(500, String::new()));
    let before = bob.requests(&service).len();
    say(&alice, &room, "old").await?;
    until("a failed attempt", async || Ok(bob.requests(&service).len() > before)).await?;
    stack.database().query("UPDATE messages SET at = at - interval '1 day'").await?;
    service.behave(ReceiverBehaviour::Accept);
    until("nothing waits", is_empty).await?;
    ensure!(bob.requests(&service).len() == before + 1, "an old message was told");
    // The device is still registered. The tenth failure in a row, a refusal, removes it.
    stack.database().query("UPDATE push_devices SET failures = 8, not_before = now()").await?;
    service.behave(ReceiverBehaviour::Answer(403, String::new()));
    say(&alice, &room, "ninth").await?;
    let ninth = "SELECT failures FROM push_devices WHERE failures = 9";
    until("the ninth failure", async || Ok(!stack.database().query(ninth).await?.is_empty())).await?;
    stack
        .database()
        .query("UPDATE push_devices SET not_before = now(); UPDATE push_pending SET due_at = now()")
        .await?;
    let is_removed = async || Ok(stack.database().query("SELECT id FROM push_devices").await?.is_empty());
    until("the device is removed", is_removed).await
}

#[tokio::test]
async fn private_addresses_are_refused_when_registered_and_when_connected() -> Result<()> {
    // The hosts are allowed, so that only their addresses are the reason.
    let hosts = "127.0.0.1,[::1],169.254.169.254,10.0.0.1,localhost";
    let settings = [("TIDINGS_PUSH_ALLOW_PRIVATE", "false"), ("TIDINGS_PUSH_ENDPOINT_HOSTS", hosts)];
    let (stack, service, node) = start(&settings).await?;
    let (alice, bob) = (stack.http("alice"), node.user(&stack, "bob"));
    let room = alice.new_room(&["bob"]).await?;
    for endpoint in [
        service.url(),
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://169.254.169.254/latest",
        "https://10.0.0.1/",
        "https://2130706433/",
    ] {
        let form = Browser::with_endpoint(endpoint, "x")?.subscription();
        let answer = bob.post("/me/devices", form).await?;
        ensure!(answer.status == 400 && answer.body["field"] == "endpoint", "{endpoint}: {answer:?}");
    }
    // A name is refused when it is resolved, and an address that was stored under another setting when it is sent to.
    let named = Browser::with_endpoint("https://localhost/hook/x", "x")?;
    node.register(&stack, "bob", &named).await?;
    let stored = Browser::with_endpoint("https://localhost/hook/y", "y")?;
    node.register(&stack, "bob", &stored).await?;
    let moved = format!("UPDATE push_devices SET address = '{}/y' WHERE address LIKE '%/y'", service.url());
    stack.database().query(&moved).await?;
    say(&alice, &room, "hello").await?;
    until("both are refused", async || Ok(outcome(&node, "refused_address").await? == 2)).await?;
    ensure!(service.deliveries().is_empty(), "a private address was connected to");
    Ok(())
}

#[tokio::test]
async fn endpoint_must_be_at_allowed_push_service() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let (alice, bob) = (stack.http("alice"), node.user(&stack, "bob"));
    let moved = device(&stack, &node, &service, "bob").await?;
    let post = async |node: &PushNode, endpoint: &str| {
        let form = Browser::with_endpoint(endpoint, "x")?.subscription();
        anyhow::Ok(node.user(&stack, "bob").post("/me/devices", form).await?)
    };
    let elsewhere = post(&node, &service.url().replace("127.0.0.1", "localhost")).await?;
    ensure!(elsewhere.status == 400 && elsewhere.body["field"] == "endpoint", "{elsewhere:?}");

    let hosts = "fcm.googleapis.com,*.push.apple.com";
    let settings = [("TIDINGS_PUSH_ALLOW_PRIVATE", "false"), ("TIDINGS_PUSH_ENDPOINT_HOSTS", hosts)];
    let strict = PushNode::start(&stack, "strict", &settings).await?;
    for endpoint in [
        "https://example.com/x",
        "https://fcm.googleapis.com.example.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://evilpush.apple.com/x",
        "http://fcm.googleapis.com/x",
    ] {
        let answer = post(&strict, endpoint).await?;
        ensure!(answer.status == 400 && answer.body["field"] == "endpoint", "{endpoint}: {answer:?}");
    }
    for endpoint in ["https://fcm.googleapis.com/fcm/send/x", "https://web.push.apple.com:443/x"] {
        let device = post(&strict, endpoint).await?.expect(201).body;
        let path = format!("/me/devices/{}", device["id"].as_str().unwrap_or_default());
        bob.request(Method::DELETE, &path, None).await?.expect(204);
    }

    // An endpoint that was stored under another setting gets nothing.
    let sql = "UPDATE push_devices SET address = replace(address, '127.0.0.1', 'localhost')";
    stack.database().query(sql).await?;
    let room = alice.new_room(&["bob"]).await?;
    say(&alice, &room, "hello").await?;
    let refused = async || {
        let outcomes = [outcome(&node, "refused_address").await?, outcome(&strict, "refused_address").await?];
        Ok(outcomes.iter().sum::<u64>() > 0)
    };
    until("the endpoint is refused", refused).await?;
    ensure!(moved.requests(&service).is_empty(), "a host was connected to that is not allowed");
    Ok(())
}

#[tokio::test]
async fn slow_devices_of_one_user_delay_nobody_else() -> Result<()> {
    let settings = [("TIDINGS_PUSH_CONCURRENCY", "16"), ("TIDINGS_PUSH_TIMEOUT_MS", "20000")];
    let (stack, service, node) = start(&settings).await?;
    let (slow, alice) = (Receiver::start().await?, stack.http("alice"));
    slow.behave(ReceiverBehaviour::Slow(Duration::from_secs(15)));
    stack.http("mallory").my_rooms("").await?.expect(200);
    for number in 0..20 {
        node.register(&stack, "mallory", &Browser::subscribe(&slow, &format!("m{number}"))?).await?;
    }
    let bob = device(&stack, &node, &service, "bob").await?;
    let (trap, room) = (alice.new_room(&["mallory"]).await?, alice.new_room(&["bob"]).await?);
    say(&alice, &trap, "hello").await?;
    until("slow attempts", async || Ok(outcome(&node, "sent").await? == 0 && slow.most_at_once() >= 4))
        .await?;
    let seq = say(&alice, &room, "hello").await?;
    until_told(&bob, &service, &room, seq).await?;
    ensure!(outcome(&node, "sent").await? <= 5 && slow.most_at_once() <= 4, "{}", slow.most_at_once());
    ensure!(told(&bob, &service)?.len() == 1);
    // What waits for a slot is not claimed again and again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let claims = stack.database().value("SELECT max(claims) FROM push_pending").await?;
    ensure!(claims == "1", "{claims} claims of one notification");
    Ok(())
}

#[tokio::test]
async fn slow_push_service_delays_no_other() -> Result<()> {
    let settings = [("TIDINGS_PUSH_CONCURRENCY", "8"), ("TIDINGS_PUSH_TIMEOUT_MS", "20000")];
    let (stack, service, node) = start(&settings).await?;
    let (slow, alice) = (Receiver::start().await?, stack.http("alice"));
    slow.behave(ReceiverBehaviour::Slow(Duration::from_secs(15)));
    let users: Vec<String> = (0..12).map(|number| format!("user{number}")).collect();
    for user in &users {
        device(&stack, &node, &slow, user).await?;
    }
    let bob = device(&stack, &node, &service, "bob").await?;
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let (crowd, room) = (alice.new_room(&users).await?, alice.new_room(&["bob"]).await?);
    say(&alice, &crowd, "hello").await?;
    until("slow attempts", async || Ok(slow.most_at_once() >= 2)).await?;
    let seq = say(&alice, &room, "hello").await?;
    until_told(&bob, &service, &room, seq).await?;
    ensure!(slow.most_at_once() <= 2, "{} attempts at one host", slow.most_at_once());
    Ok(())
}
