//! Devices, claims and messages that change while a notification is queued or sent.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::Stack;
use tidings_harness::push::PushNode;
use tidings_harness::webhooks::Receiver;

use crate::push::{device, say, start, told, until_queued, until_told};
use crate::push_services::outcome;
use crate::webhooks::{start_stack_with_gateways, until};

/// Blocks the reads of messages for 3 s, and then runs a statement.
async fn block_messages_then(stack: &Stack, sql: &str) -> Result<()> {
    let sql = format!("DO $$ BEGIN LOCK TABLE messages; PERFORM pg_sleep(3); {sql}; END $$");
    stack.database().query(&sql).await.map(drop)
}

#[tokio::test]
async fn device_deleted_after_claim_gets_nothing() -> Result<()> {
    let (stack, service, node) = start(&[("TIDINGS_PUSH_DELAY_MS", "2000")]).await?;
    let (alice, bob) = (stack.http("alice"), device(&stack, &node, &service, "bob").await?);
    let room = alice.new_room(&["bob"]).await?;
    let seq = say(&alice, &room, "hello").await?;
    until_queued(&stack, &room, seq).await?;
    block_messages_then(&stack, "DELETE FROM push_devices").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(bob.requests(&service).is_empty(), "a deleted device was told");
    Ok(())
}

#[tokio::test]
async fn ended_claim_does_not_remove_what_another_replica_claimed() -> Result<()> {
    let (stack, service, node) = start(&[("TIDINGS_PUSH_DELAY_MS", "2000")]).await?;
    let (alice, bob) = (stack.http("alice"), device(&stack, &node, &service, "bob").await?);
    let room = alice.new_room(&["bob"]).await?;
    let seq = say(&alice, &room, "hello").await?;
    until_queued(&stack, &room, seq).await?;
    stack.http("bob").read(&room, seq).await?;
    let claim = "UPDATE push_pending SET claims = claims + 1, due_at = now() + interval '1 hour'";
    block_messages_then(&stack, claim).await?;
    let skipped = "tidings_push_outcomes_total{outcome=\"skipped\"} 1";
    until("the first claim ends", async || Ok(node.metrics().await?.contains(skipped))).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let rows = stack.database().query("SELECT claims FROM push_pending").await?;
    ensure!(rows == [["2"]] && bob.requests(&service).is_empty(), "{rows:?}");
    Ok(())
}

#[tokio::test]
async fn deletion_of_device_does_not_abort_page() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let (alice, carol) = (stack.http("alice"), device(&stack, &node, &service, "carol").await?);
    device(&stack, &node, &service, "bob").await?;
    let room = alice.new_room(&["bob", "carol"]).await?;
    let delete = "DO $$ BEGIN DELETE FROM push_devices WHERE user_id = 'bob'; PERFORM pg_sleep(3); END $$";
    let (deleted, seq) = tokio::join!(stack.database().query(delete), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        say(&alice, &room, "hello").await
    });
    deleted?;
    until_told(&carol, &service, &room, seq?).await?;
    let metrics = node.metrics().await?;
    ensure!(metrics.contains("tidings_push_database_failures_total 0"), "the page was aborted");
    Ok(())
}

/// Makes all messages older, and waits until presence is checked for each one that waits. A claim lasts for less than
/// 30 s, and the next check comes after 60 s.
async fn age_messages(stack: &Stack, seconds: u32) -> Result<()> {
    let age = format!("interval '{seconds} s'");
    stack.database().query(&format!("UPDATE messages SET at = at - {age}")).await?;
    let sql = format!("UPDATE push_pending SET queued_at = queued_at - {age}, due_at = now()");
    stack.database().query(&sql).await?;
    let unchecked = "SELECT seq FROM push_pending WHERE due_at < now() + interval '30 s'";
    until("a check of each room", async || Ok(stack.database().query(unchecked).await?.is_empty())).await
}

#[tokio::test]
async fn late_message_is_sent_when_online_user_leaves() -> Result<()> {
    // A message waits for four rounds, so the four rooms begin at different phases of this time. If the first message
    // of a row decided, three rows would be removed in the last three rounds, together with their last messages.
    let settings = [("TIDINGS_PUSH_ONLINE_RECHECK_MS", "60000"), ("TIDINGS_PUSH_ONLINE_WAIT_MS", "400000")];
    let (stack, service, node) = start(&settings).await?;
    let _other = PushNode::start(&stack, "push-1", &settings).await?;
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let browser = device(&stack, &node, &service, "bob").await?;
    let (forgotten, mut last) = (alice.new_room(&["bob"]).await?, BTreeMap::new());
    for round in 0..9 {
        bob.post("/presence", json!({ "status": "online" })).await?.expect(204);
        if round == 0 {
            let seq = say(&alice, &forgotten, "only").await?;
            until_queued(&stack, &forgotten, seq).await?;
        }
        if round < 4 {
            last.insert(alice.new_room(&["bob"]).await?, 0);
        }
        if round < 7 {
            for (room, seq) in &mut last {
                *seq = say(&alice, room, &format!("r{round}")).await?;
            }
            for (room, seq) in &last {
                until_queued(&stack, room, *seq).await?;
            }
        } else if round == 7 {
            // This replica holds no row now, so the other one need not wait until a claim expires.
            node.kill();
        }
        age_messages(&stack, 100).await?;
    }
    bob.post("/presence", json!({ "status": "away" })).await?.expect(204);
    stack.database().query("UPDATE push_pending SET due_at = now()").await?;
    for (room, seq) in &last {
        until_told(&browser, &service, room, *seq).await?;
    }
    let told = told(&browser, &service)?;
    ensure!(!told.contains_key(&forgotten), "a message is told after its time: {told:?}");
    Ok(())
}

#[tokio::test]
async fn user_whose_connections_are_all_away_is_told() -> Result<()> {
    let (stack, service) = (start_stack_with_gateways(1).await?, Receiver::start().await?);
    let node = PushNode::start(&stack, "push", &[("TIDINGS_PUSH_ONLINE_RECHECK_MS", "500")]).await?;
    let (alice, browser) = (stack.http("alice"), device(&stack, &node, &service, "bob").await?);
    let (desk, laptop) = (stack.connect("bob").await?, stack.connect("bob").await?);
    let away = json!({ "type": "presence:set", "status": "away" });
    desk.send_json(&away).await?;
    let room = alice.new_room(&["bob"]).await?;
    let is_online = async || {
        Ok(alice.get("/presence?user=bob").await?.expect(200).body["users"][0]["status"] == "online")
    };
    until("bob is online", is_online).await?;
    let seq = say(&alice, &room, "hello").await?;
    until("a check finds him online", async || Ok(outcome(&node, "online").await? >= 1)).await?;
    ensure!(browser.requests(&service).is_empty(), "an online user was told");
    laptop.send_json(&away).await?;
    until_told(&browser, &service, &room, seq).await
}
