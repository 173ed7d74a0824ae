//! Webhooks: every stored event reaches each endpoint at least once and in the order of its room, signed, whatever happens
//! to the endpoint and to the program.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::stack::set_feed;
use tidings_harness::webhooks::{Receiver, ReceiverBehaviour, WebhooksNode};
use tidings_harness::{Http, Stack};

pub const TIMEOUT: Duration = Duration::from_secs(60);

/// A stack whose feed is on.
pub async fn start_stack() -> Result<Stack> {
    start_stack_with_gateways(0).await
}

/// A stack with gateways, whose feed is on.
pub async fn start_stack_with_gateways(gateways: usize) -> Result<Stack> {
    let stack = Stack::builder().gateways(gateways).start().await?;
    set_feed(stack.database().url(), true).await?;
    Ok(stack)
}

/// Waits until a condition holds.
pub async fn until(what: &str, condition: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let waiting = async {
        while !condition().await? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(TIMEOUT, waiting).await.map_err(|_| anyhow::anyhow!("not in time: {what}"))?
}

/// Sends `count` messages to each of `rooms` new rooms. Returns the rooms.
pub async fn fill_rooms(stack: &Stack, rooms: usize, count: usize) -> Result<Vec<String>> {
    let alice = stack.http("alice");
    let mut ids = Vec::new();
    for _ in 0..rooms {
        let room = alice.new_room(&["bob"]).await?;
        send(&alice, &room, "c", count).await?;
        ids.push(room);
    }
    Ok(ids)
}

pub async fn send(user: &Http, room: &str, prefix: &str, count: usize) -> Result<()> {
    for number in 0..count {
        let id = format!("{prefix}{number}");
        user.send(room, &id, &format!("hello {id}")).await?.expect(201);
    }
    Ok(())
}

/// All seqs of each room, in ascending order.
pub async fn stored(stack: &Stack) -> Result<BTreeMap<String, Vec<u64>>> {
    let rows = stack.database().query("SELECT id, head_seq FROM rooms WHERE head_seq > 0").await?;
    rows.into_iter().map(|row| Ok((row[0].clone(), (1..=row[1].parse()?).collect()))).collect()
}

/// Waits until the receiver has accepted every stored event, each first in the order of its room.
pub async fn until_complete(stack: &Stack, receiver: &Receiver) -> Result<()> {
    let all = stored(stack).await?;
    let count = |rooms: &BTreeMap<String, Vec<u64>>| rooms.values().map(Vec::len).sum::<usize>();
    let complete = until("every event", async || Ok(count(&receiver.first_accepted()) >= count(&all))).await;
    let accepted = receiver.first_accepted();
    ensure!(complete.is_ok() && accepted == all, "{complete:?}: got {accepted:?} of {all:?}");
    Ok(())
}

/// Numbers of an endpoint, such as `dead`.
pub async fn number(node: &WebhooksNode, id: &str, field: &str) -> Result<i64> {
    let webhook = node.http().get(&format!("/webhooks/{id}")).await?.expect(200).body;
    webhook[field].as_i64().ok_or_else(|| anyhow::anyhow!("{webhook}"))
}

pub fn id_of(webhook: &serde_json::Value) -> String {
    webhook["id"].as_str().unwrap_or_default().to_owned()
}

/// Short pauses between many attempts. So no event becomes a dead letter on a busy machine.
const MANY_RETRIES: &str = "0.2,0.2,0.5,0.5,1,1,1,1,2,2,2,2,3,3,3,3,3,3,3,3";

#[tokio::test]
async fn endpoint_receives_earlier_and_later_events_signed_in_order() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = fill_rooms(&stack, 4, 8).await?;
    let (receiver, node) = (Receiver::start().await?, WebhooksNode::start(&stack, "webhooks", &[]).await?);
    let webhook = node.register(receiver.url(), json!({})).await?;
    until_complete(&stack, &receiver).await?;
    send(&stack.http("alice"), &rooms[0], "late", 5).await?;
    fill_rooms(&stack, 1, 3).await?;
    until_complete(&stack, &receiver).await?;

    let secret = webhook["secret"].as_str().unwrap_or_default();
    let pages = stack.http("alice").events(&rooms[0], "after=0").await?.expect(200).body;
    let log = pages["events"].as_array().cloned().unwrap_or_default();
    for delivery in receiver.deliveries() {
        ensure!(delivery.signatures_by(secret) == [0], "{delivery:?}");
        ensure!(delivery.header("content-type") == "application/json", "{delivery:?}");
        let (body, Some((room, seq))) = (delivery.json(), delivery.position()) else {
            anyhow::bail!("{delivery:?}")
        };
        ensure!(delivery.header("webhook-id") == format!("msg_{room}_{seq}"), "{delivery:?}");
        ensure!(body["type"] == body["data"]["type"] && body["timestamp"] == body["data"]["at"], "{body}");
        if room == rooms[0] {
            ensure!(log.contains(&body["data"]), "{body} is not in the log");
        }
    }
    let id = id_of(&webhook);
    until("nothing waits", async || Ok(number(&node, &id, "pending").await? == 0)).await?;
    ensure!(number(&node, &id, "dead").await? == 0);
    Ok(())
}

#[tokio::test]
async fn long_backlog_of_a_room_is_claimed_quickly() -> Result<()> {
    let stack = start_stack().await?;
    let receiver = Receiver::start().await?;
    let room = fill_rooms(&stack, 1, 3).await?.remove(0);
    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    let id = id_of(&node.register(receiver.url(), json!({"from": "now"})).await?);
    // A claim whose cost grows with the square of the backlog exceeds the time limit of a statement. Only the first three
    // of these events exist, and the others have nothing to send.
    let sql = format!(
        "INSERT INTO webhook_deliveries (webhook_id, room_id, after_seq, upto_seq) \
         SELECT '{id}', '{room}', seq - 1, seq FROM generate_series(1, 30000) seq"
    );
    stack.database().query(&sql).await?;
    until("the first events", async || {
        Ok(receiver.first_accepted().get(&room).is_some_and(|seqs| seqs.starts_with(&[1, 2, 3])))
    })
    .await?;
    until("a shorter backlog", async || Ok(number(&node, &id, "pending").await? < 29_000)).await
}

#[tokio::test]
async fn killed_replicas_lose_no_event_and_keep_the_order() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = fill_rooms(&stack, 6, 2).await?;
    let receiver = Receiver::start().await?;
    receiver.behave(ReceiverBehaviour::Slow(Duration::from_millis(30)));
    let settings =
        [("TIDINGS_WEBHOOKS_TIMEOUT_MS", "500"), ("TIDINGS_WEBHOOKS_RETRY_DELAYS_S", MANY_RETRIES)];
    let nodes = [
        WebhooksNode::start(&stack, "webhooks-0", &settings).await?,
        WebhooksNode::start(&stack, "webhooks-1", &settings).await?,
    ];
    nodes[0].register(receiver.url(), json!({})).await?;
    let alice = stack.http("alice");
    for round in 0..4_usize {
        for room in &rooms {
            send(&alice, room, &format!("r{round}-"), 5).await?;
        }
        nodes[round % 2].kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        nodes[round % 2].restart().await?;
    }
    until_complete(&stack, &receiver).await
}

#[tokio::test]
async fn paused_replica_is_replaced_and_order_is_kept() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = fill_rooms(&stack, 4, 3).await?;
    let receiver = Receiver::start().await?;
    receiver.behave(ReceiverBehaviour::Slow(Duration::from_millis(50)));
    let settings =
        [("TIDINGS_WEBHOOKS_TIMEOUT_MS", "500"), ("TIDINGS_WEBHOOKS_RETRY_DELAYS_S", MANY_RETRIES)];
    let paused = WebhooksNode::start(&stack, "webhooks-0", &settings).await?;
    let other = WebhooksNode::start(&stack, "webhooks-1", &settings).await?;
    paused.register(receiver.url(), json!({})).await?;
    until("the first event", async || Ok(!receiver.first_accepted().is_empty())).await?;
    paused.pause()?;
    let alice = stack.http("alice");
    for room in &rooms {
        send(&alice, room, "paused", 4).await?;
    }
    until_complete(&stack, &receiver).await?;
    paused.resume()?;
    for room in &rooms {
        send(&alice, room, "resumed", 2).await?;
    }
    until_complete(&stack, &receiver).await?;
    other.stop().await?;
    paused.stop().await
}

#[tokio::test]
async fn failing_event_holds_back_only_its_room_and_only_in_order() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = fill_rooms(&stack, 3, 2).await?;
    let (ordered, unordered) = (Receiver::start().await?, Receiver::start().await?);
    let settings = [("TIDINGS_WEBHOOKS_RETRY_DELAYS_S", "0.3,600")];
    let node = WebhooksNode::start(&stack, "webhooks", &settings).await?;
    for (receiver, keeps) in [(&ordered, true), (&unordered, false)] {
        receiver.behave(ReceiverBehaviour::Reject("poison".to_owned()));
        node.register(receiver.url(), json!({ "ordered": keeps })).await?;
    }
    let alice = stack.http("alice");
    alice.send(&rooms[0], "poison", "poison").await?.expect(201);
    for room in &rooms {
        send(&alice, room, "after", 3).await?;
    }
    let all = stored(&stack).await?;
    let poison = all[&rooms[0]].len() - 4;
    let without = |room: &str, until: usize| {
        let seqs = all[room].iter().enumerate().filter(|(at, _)| *at != poison && *at < until);
        seqs.map(|(_, seq)| *seq).collect::<Vec<_>>()
    };
    until("all others", async || {
        let (some, most) = (ordered.first_accepted(), unordered.first_accepted());
        let free = rooms[1..].iter().all(|room| {
            let seqs = |receiver: &BTreeMap<String, Vec<u64>>| receiver.get(room).map_or(0, Vec::len);
            seqs(&some) == all[room].len() && seqs(&most) == all[room].len()
        });
        let mut poisoned = most.get(&rooms[0]).cloned().unwrap_or_default();
        poisoned.sort_unstable();
        // The second failure of an attempt begins the long pause.
        let poison_at = Some((rooms[0].clone(), all[&rooms[0]][poison]));
        let attempts =
            ordered.deliveries().iter().filter(|delivery| delivery.position() == poison_at).count();
        Ok(free && attempts == 2 && poisoned == without(&rooms[0], usize::MAX))
    })
    .await?;
    ensure!(ordered.first_accepted()[&rooms[0]] == without(&rooms[0], poison), "the order was not kept");
    // The receiver is mended. The retry is minutes away, so the room still waits.
    ordered.behave(ReceiverBehaviour::Accept);
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(ordered.first_accepted()[&rooms[0]].len() == poison, "the room did not wait");
    Ok(())
}

#[tokio::test]
async fn filters_select_rooms_and_types() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = fill_rooms(&stack, 3, 2).await?;
    let receivers = [Receiver::start().await?, Receiver::start().await?, Receiver::start().await?];
    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    let one = json!({ "rooms": [rooms[0]] });
    let two = json!({ "rooms": [rooms[0], rooms[2]], "types": ["message:new"] });
    let all = json!({ "types": ["message:new"], "ordered": false });
    for (receiver, more) in receivers.iter().zip([one, two, all]) {
        node.register(receiver.url(), more).await?;
    }
    let counts = || receivers.each_ref().map(|receiver| receiver.first_accepted());
    let total = |rooms: &BTreeMap<String, Vec<u64>>| rooms.values().map(Vec::len).sum::<usize>();
    let wanted = [stored(&stack).await?[&rooms[0]].len(), 4, 6];
    until("the selected events", async || Ok(counts().each_ref().map(total) == wanted)).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let [one, two, all] = counts();
    ensure!([total(&one), total(&two), total(&all)] == wanted);
    ensure!(one.keys().eq([&rooms[0]]) && !two.contains_key(&rooms[1]) && all.len() == 3);
    Ok(())
}

#[tokio::test]
async fn erased_content_is_not_sent_by_a_late_attempt() -> Result<()> {
    let stack = start_stack().await?;
    let receiver = Receiver::start().await?;
    receiver.behave(ReceiverBehaviour::Reject("secret words".to_owned()));
    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    node.register(receiver.url(), json!({})).await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&["bob"]).await?;
    let seq = alice.send(&room, "gone", "secret words").await?.expect(201).body["seq"].clone();
    until("a refused attempt", async || Ok(receiver.deliveries().iter().any(|got| !got.accepted))).await?;
    let path = format!("/rooms/{room}/messages/{seq}");
    let deleted = alice.request(reqwest::Method::DELETE, &path, None).await?;
    ensure!(deleted.status < 300, "{deleted:?}");
    until_complete(&stack, &receiver).await?;
    let accepted = receiver.deliveries().into_iter().filter(|got| got.accepted);
    ensure!(accepted.into_iter().all(|got| !got.body.contains("secret words")));
    Ok(())
}

#[tokio::test]
async fn feed_that_is_off_refuses_endpoints_and_keeps_cursors() -> Result<()> {
    let stack = start_stack().await?;
    let receiver = Receiver::start().await?;
    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    node.register(receiver.url(), json!({})).await?;
    set_feed(stack.database().url(), false).await?;
    let form = json!({ "url": receiver.url() });
    node.http().post("/webhooks", form).await?.expect(409);
    fill_rooms(&stack, 2, 2).await?;
    set_feed(stack.database().url(), true).await?;
    until_complete(&stack, &receiver).await
}
