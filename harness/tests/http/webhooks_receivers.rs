//! Receivers that are slow, failing, redirecting or gone, and endpoints that point into private networks.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::webhooks::{Receiver, ReceiverBehaviour, WebhooksNode};
use tokio::net::TcpListener;

use crate::webhooks::{fill_rooms, id_of, number, start_stack, until, until_complete};

async fn webhook(node: &WebhooksNode, id: &str) -> Result<Value> {
    Ok(node.http().get(&format!("/webhooks/{id}")).await?.expect(200).body)
}

/// The number of attempts with an outcome.
async fn attempts(node: &WebhooksNode, outcome: &str) -> Result<f64> {
    let sample = format!("tidings_webhooks_attempts_total{{outcome=\"{outcome}\"}} ");
    let metrics = node.metrics().await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(&sample)?.parse().ok());
    value.ok_or_else(|| anyhow::anyhow!("no {sample}: {metrics}"))
}

#[tokio::test]
async fn failing_receiver_gets_every_event_after_it_recovers() -> Result<()> {
    let stack = start_stack().await?;
    let receiver = Receiver::start().await?;
    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    node.register(receiver.url(), json!({})).await?;
    for (behaviour, outcome) in [
        (ReceiverBehaviour::Answer(500, String::new()), "status"),
        (ReceiverBehaviour::Down, "failed"),
        (ReceiverBehaviour::Answer(404, String::new()), "status"),
    ] {
        let before = attempts(&node, outcome).await?;
        receiver.behave(behaviour);
        fill_rooms(&stack, 2, 3).await?;
        until("a failed attempt", async || Ok(attempts(&node, outcome).await? > before)).await?;
        receiver.behave(ReceiverBehaviour::Accept);
        until_complete(&stack, &receiver).await?;
    }
    ensure!(attempts(&node, "delivered").await? > 0.0);
    Ok(())
}

#[tokio::test]
async fn slow_receiver_delays_no_other_and_is_bounded() -> Result<()> {
    let stack = start_stack().await?;
    fill_rooms(&stack, 12, 2).await?;
    let (slow, quick) = (Receiver::start().await?, Receiver::start().await?);
    slow.behave(ReceiverBehaviour::Slow(Duration::from_secs(60)));
    let settings = [("TIDINGS_WEBHOOKS_CONCURRENCY", "3"), ("TIDINGS_WEBHOOKS_RETRY_DELAYS_S", "0.1,600")];
    let node = WebhooksNode::start(&stack, "webhooks", &settings).await?;
    let id = id_of(&node.register(slow.url(), json!({})).await?);
    node.register(quick.url(), json!({})).await?;
    until_complete(&stack, &quick).await?;
    // An attempt ends at its time limit of 2 s.
    until("timeouts", async || Ok(attempts(&node, "timeout").await? >= 6.0)).await?;
    // The receiver may notice a closed connection after it has got the next one. Without a limit there would be twelve.
    ensure!(slow.most_at_once() <= 6, "{} attempts at once", slow.most_at_once());
    ensure!(number(&node, &id, "pending").await? > 0);
    Ok(())
}

#[tokio::test]
async fn endless_answer_is_cut_off() -> Result<()> {
    let stack = start_stack().await?;
    let receiver = Receiver::start().await?;
    receiver.behave(ReceiverBehaviour::Endless);
    let node = WebhooksNode::start(&stack, "webhooks", &[("TIDINGS_WEBHOOKS_TIMEOUT_MS", "30000")]).await?;
    let id = id_of(&node.register(receiver.url(), json!({})).await?);
    fill_rooms(&stack, 1, 2).await?;
    // The status was 200, so the event counts as delivered.
    until("nothing waits", async || {
        Ok(!receiver.deliveries().is_empty() && number(&node, &id, "pending").await? == 0)
    })
    .await?;
    ensure!(
        node.metrics().await?.contains("{outcome=\"timeout\"} 0"),
        "an endless answer was read to the end"
    );
    Ok(())
}

#[tokio::test]
async fn redirect_is_not_followed() -> Result<()> {
    let stack = start_stack().await?;
    let (redirecting, target) = (Receiver::start().await?, Receiver::start().await?);
    let node = WebhooksNode::start(&stack, "webhooks", &[("TIDINGS_WEBHOOKS_RETRY_DELAYS_S", "0.1")]).await?;
    let id = id_of(&node.register(redirecting.url(), json!({})).await?);
    for status in [301, 302, 303, 307, 308] {
        redirecting.behave(ReceiverBehaviour::Answer(status, format!("location: {}", target.url())));
        let before = number(&node, &id, "dead").await?;
        fill_rooms(&stack, 1, 1).await?;
        until("a dead letter", async || Ok(number(&node, &id, "dead").await? > before)).await?;
    }
    ensure!(target.deliveries().is_empty(), "a redirect was followed");
    let page = node.http().get(&format!("/webhooks/{id}/dead")).await?.expect(200).body;
    ensure!(page["dead"][0]["last_error"].as_str().is_some_and(|it| it.contains("redirects")), "{page}");
    Ok(())
}

#[tokio::test]
async fn gone_endpoint_is_disabled_and_loses_no_event() -> Result<()> {
    let stack = start_stack().await?;
    let receiver = Receiver::start().await?;
    receiver.behave(ReceiverBehaviour::Answer(410, String::new()));
    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    let id = id_of(&node.register(receiver.url(), json!({})).await?);
    fill_rooms(&stack, 2, 3).await?;
    until("the endpoint is disabled", async || Ok(webhook(&node, &id).await?["disabled_because"] == "gone"))
        .await?;
    // Longer than the time limit of the attempts that had begun.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let attempts = receiver.deliveries().len();
    fill_rooms(&stack, 1, 3).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(receiver.deliveries().len() == attempts, "a gone endpoint got an event");
    receiver.behave(ReceiverBehaviour::Accept);
    let path = format!("/webhooks/{id}");
    node.http().request(Method::PATCH, &path, Some(json!({ "enabled": true }))).await?.expect(200);
    until_complete(&stack, &receiver).await
}

#[tokio::test]
async fn retry_after_delays_the_next_attempt() -> Result<()> {
    let stack = start_stack().await?;
    let receiver = Receiver::start().await?;
    receiver.behave(ReceiverBehaviour::Answer(429, "retry-after: 3".to_owned()));
    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    alice.send(&room, "one", "hello").await?.expect(201);
    node.register(receiver.url(), json!({ "rooms": [room] })).await?;
    until("the first attempt", async || Ok(!receiver.deliveries().is_empty())).await?;
    receiver.behave(ReceiverBehaviour::Accept);
    until("the second attempt", async || Ok(receiver.deliveries().len() > 1)).await?;
    let attempts = receiver.deliveries();
    let waited = attempts[1].at - attempts[0].at;
    ensure!(waited >= Duration::from_secs(3), "tried again after {waited:?}");
    ensure!(attempts[0].header("webhook-id") == attempts[1].header("webhook-id"), "{attempts:?}");
    Ok(())
}

#[tokio::test]
async fn private_addresses_are_refused_by_number_and_by_name() -> Result<()> {
    let stack = start_stack().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let settings = [("TIDINGS_WEBHOOKS_ALLOW_PRIVATE", "false"), ("TIDINGS_WEBHOOKS_RETRY_DELAYS_S", "0.1")];
    let node = WebhooksNode::start(&stack, "webhooks", &settings).await?;
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "169.254.169.254",
        "10.0.0.1",
        "[fd00::1]",
    ] {
        let form = json!({ "url": format!("https://{host}:{port}/") });
        let answer = node.http().post("/webhooks", form).await?;
        ensure!(answer.status == 400 && answer.body["field"] == "url", "{host}: {answer:?}");
    }
    let plain = json!({ "url": "http://example.com/" });
    node.http().post("/webhooks", plain).await?.expect(400);

    // The name leads to a loopback address, which is noticed when the connection is opened.
    let id = id_of(&node.register(&format!("https://localhost:{port}/"), json!({})).await?);
    fill_rooms(&stack, 1, 1).await?;
    let begun = Instant::now();
    until("a dead letter", async || Ok(number(&node, &id, "dead").await? > 0)).await?;
    let page = node.http().get(&format!("/webhooks/{id}/dead")).await?.expect(200).body;
    ensure!(page["dead"][0]["last_error"] == "the host has no public address", "{page}");
    let test = node.http().post(&format!("/webhooks/{id}/test"), json!({})).await?.expect(200).body;
    ensure!(test["delivered"] == false && test["error"] == "the host has no public address", "{test}");
    let connected = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    ensure!(connected.is_err(), "the loopback address was connected to, {:?}", begun.elapsed());

    // An address that was stored while private addresses were allowed is refused too.
    let sql = format!("UPDATE webhooks SET url = 'https://127.0.0.1:{port}/'");
    stack.database().query(&sql).await?;
    let test = node.http().post(&format!("/webhooks/{id}/test"), json!({})).await?.expect(200).body;
    ensure!(test["error"] == "the host has no public address", "{test}");
    let connected = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    ensure!(connected.is_err(), "the loopback address was connected to");
    Ok(())
}
