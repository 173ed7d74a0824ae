//! A field app on a bad network: each send has its own client id, waits five seconds for its answer, is retried three
//! times and is stored once. Messages missed offline are fetched without loss and without duplicates.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{Client, ClientError, Cursor, ServerFrame, SharedStack, Stack, clock};
use tokio::time::timeout;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

async fn start_stack() -> Result<Stack> {
    let stack = Stack::builder().gateways(2);
    stack
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 10_000)
        .start()
        .await
}

/// Sends through any gateway that answers; returns the seq and the number of tries.
async fn send_with_retries(stack: &Stack, room: &str, client_id: &str, text: &str) -> Result<(u64, usize)> {
    for (tried, pause) in RETRY_PAUSES.into_iter().chain([Duration::ZERO]).enumerate() {
        for gateway in [tried % 2, (tried + 1) % 2] {
            let Ok(client) = stack.connect_at(gateway, "rover").await else { continue };
            let frame = json!({"room": room, "client_id": client_id, "content": text, "attempt": null});
            match timeout(ANSWER_TIMEOUT, client.send_with(frame)).await {
                Ok(Ok(ack)) if ack.stage == "stored" => return Ok((ack.seq, tried + 1)),
                Ok(Err(ClientError::Answered(error))) if error.code == "bad_request" => {
                    anyhow::bail!("{error:?}")
                }
                _ => {}
            }
        }
        tokio::time::sleep(pause).await;
    }
    anyhow::bail!("{client_id} failed after all retries")
}

#[tokio::test]
async fn duplicate_send_gets_same_answer_from_any_gateway() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("rover").new_room(&["base"]).await?;
    let client_id = clock::client_id();
    let first = stack.connect_at(0, "rover").await?.send_as(&room, &client_id, "sample 1").await?;
    for gateway in [0, 1, 1, 0] {
        let again =
            stack.connect_at(gateway, "rover").await?.send_as(&room, &client_id, "other words").await?;
        ensure!(
            again.duplicate && (again.seq, &again.id, &again.at) == (first.seq, &first.id, &first.at),
            "{again:?}"
        );
    }
    let by_http = stack.http("rover").send(&room, &client_id, "once more").await?.expect(200).body;
    ensure!(by_http["duplicate"] == true && by_http["seq"] == first.seq, "{by_http}");
    let page = stack.http("base").messages(&room, "").await?.expect(200).body;
    ensure!(
        page["messages"].as_array().map(Vec::len) == Some(1) && page["messages"][0]["content"] == "sample 1"
    );
    Ok(())
}

#[tokio::test]
async fn sends_during_gateway_crash_are_stored_once() -> Result<()> {
    let stack = start_stack().await?;
    let room = stack.http("rover").new_room(&["base"]).await?;
    let mut acked = BTreeMap::new();
    for n in 0..12 {
        if n == 4 {
            stack.gateway(0).kill();
        }
        if n == 8 {
            stack.gateway(0).restart().await?;
        }
        let client_id = clock::client_id();
        // The app does not know whether this first try was received, so it sends the message again.
        if let Ok(client) = stack.connect_at(n % 2, "rover").await {
            let frame = json!({"type": "message:send", "room": room, "client_id": client_id, "content": n.to_string()});
            client.send_json(&frame).await.ok();
        }
        let (seq, _) = send_with_retries(&stack, &room, &client_id, &n.to_string()).await?;
        ensure!(acked.insert(seq, n.to_string()).is_none(), "two messages at seq {seq}");
    }
    let page = stack.http("base").messages(&room, "limit=200").await?.expect(200).body;
    let stored: BTreeMap<u64, String> = page["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|message| Some((message["seq"].as_u64()?, message["content"].as_str()?.to_owned())))
        .collect();
    ensure!(stored == acked, "{stored:?} against {acked:?}");
    Ok(())
}

#[tokio::test]
async fn messages_missed_offline_arrive_once_in_order() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("base").new_room(&["rover"]).await?;
    let base = stack.connect_at(0, "base").await?;
    let cursor = stack.connect_at(1, "rover").await?.join(&room).await?.head;
    let mut received = Vec::new();
    let mut cursor = cursor;
    for missed in [10_u64, 400] {
        for n in 0..missed {
            let frame = json!({"room": room, "client_id": clock::client_id(), "content": n.to_string(), "ack": "accepted"});
            base.send_with(frame).await?;
        }
        let rover = stack.connect_at(1, "rover").await?;
        rover.join_after(&room, &cursor).await?;
        catch_up(&stack, &rover, &room, &mut cursor, &mut received).await?;
    }
    ensure!(
        received == (1..=410).collect::<Vec<u64>>(),
        "{} events, last {:?}",
        received.len(),
        received.last()
    );
    Ok(())
}

/// Reads the replay, and reads a gap over HTTP.
async fn catch_up(
    stack: &SharedStack,
    rover: &Client,
    room: &str,
    cursor: &mut Cursor,
    received: &mut Vec<u64>,
) -> Result<()> {
    loop {
        match rover.next_event(Duration::from_secs(20)).await? {
            ServerFrame::CaughtUp(caught_up) => {
                *cursor = Cursor { epoch: caught_up.epoch, seq: caught_up.seq };
                return Ok(());
            }
            ServerFrame::Gap(gap) => {
                *cursor = Cursor { epoch: gap.head.epoch.clone(), seq: cursor.seq.min(gap.after) };
                while cursor.seq < gap.head.seq {
                    let query = format!(
                        "after={}&epoch={}&upto={}&limit=200",
                        cursor.seq, cursor.epoch, gap.head.seq
                    );
                    let page = stack.http("rover").events(room, &query).await?.expect(200).body;
                    received.extend(
                        page["events"]
                            .as_array()
                            .into_iter()
                            .flatten()
                            .filter_map(|event| event["seq"].as_u64()),
                    );
                    cursor.seq = page["next"]["seq"].as_u64().unwrap_or(u64::MAX);
                }
                received.retain(|seq| *seq <= gap.head.seq);
                return Ok(());
            }
            event => {
                if let Some((_, seq)) = event.log_position() {
                    received.push(seq);
                    cursor.seq = seq;
                }
            }
        }
    }
}
