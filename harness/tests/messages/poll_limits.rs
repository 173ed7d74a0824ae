//! The cost of polls: their rate limit by number of rooms, their reads of Redis, and that a poll stops when its caller
//! disconnects.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, future::join_all, stream};
use serde_json::{Value, json};
use tidings_harness::{
    Http, Stack,
    redis::{CommandMonitor, RedisTopology},
};

/// Number of rooms in each poll that exceeds the limit.
const ROOMS: usize = 200;
/// Redis reports a command to the monitor a few milliseconds after it has answered. This is a multiple of that time.
const MONITOR_DELAY: Duration = Duration::from_millis(500);

/// A stack with one Redis, whose commands are counted.
async fn start_stack(polls_per_second: u32) -> Result<Stack> {
    let roomy =
        Stack::builder().env("TIDINGS_MESSAGES_PER_SECOND", 10_000).env("TIDINGS_MESSAGES_BURST", 10_000);
    let one_worker = roomy.redis(RedisTopology::Single).gateway_env("TIDINGS_WORKERS", 1);
    one_worker.gateway_env("TIDINGS_POLLS_PER_SECOND", polls_per_second).start().await
}

fn poll_client(stack: &Stack, user: &str) -> Http {
    Http::new(&stack.gateway(0).url(), &stack.token(user))
}

/// Creates rooms of alice and bob, and polls them once so that Redis caches them as in a running system.
async fn new_rooms(stack: &Stack, count: usize) -> Result<Vec<String>> {
    let http = stack.http("alice");
    let rooms = stream::iter(0..count).map(async |_| http.new_room(&["bob"]).await);
    let rooms: Vec<_> = rooms.buffer_unordered(8).try_collect().await?;
    for rooms in rooms.chunks(40) {
        poll_client(stack, "alice").post("/poll", poll_body(rooms, 0)).await?.expect(200);
        poll_client(stack, "bob").post("/poll", poll_body(rooms, 0)).await?.expect(200);
    }
    Ok(rooms)
}

fn poll_body(rooms: &[String], timeout_ms: u64) -> Value {
    let cursors: serde_json::Map<_, _> =
        rooms.iter().map(|room| (room.clone(), json!({"epoch": "1", "seq": 0}))).collect();
    json!({"cursors": cursors, "timeout_ms": timeout_ms})
}

/// Counts the `HMGET` commands since the last call that name bob or one of these rooms. They read his memberships and the
/// heads of the rooms. Leaves out the sweep, because the number of its reads depends on time.
fn take_redis_reads(monitor: &CommandMonitor, rooms: &[String]) -> Result<usize> {
    let names: Vec<&str> = rooms.iter().map(String::as_str).chain(["bob"]).collect();
    let commands = monitor.take_commands(&names)?;
    Ok(commands.iter().filter(|command| command.contains("\"HMGET\"")).count())
}

/// Number of `HMGET` calls in Redis: memberships of users, heads of rooms, and the sweep of subscribed rooms.
async fn hmget_calls(stack: &Stack) -> Result<u64> {
    let client = redis::Client::open(stack.redis().url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await?;
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hmget:calls="));
    Ok(calls.and_then(|calls| calls.split(',').next()).unwrap_or("0").parse()?)
}

async fn gauge(stack: &Stack, name: &str) -> Result<f64> {
    let page = stack.gateway(0).metrics().await?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.context("no such gauge")?.parse()?)
}

/// Waits until no room is subscribed. Answered polls are kept for 10 s.
async fn until_unsubscribed(stack: &Stack) -> Result<()> {
    for _ in 0..500 {
        if gauge(stack, "tidings_gateway_rooms").await? == 0.0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{} rooms are still subscribed", gauge(stack, "tidings_gateway_rooms").await?)
}

#[tokio::test]
async fn zero_timeout_polls_over_limit_get_retry_after() -> Result<()> {
    // The burst is 40, and each poll of 200 rooms costs 5.
    let stack = start_stack(10).await?;
    let rooms = new_rooms(&stack, ROOMS).await?;
    let alice = stack.connect("alice").await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let monitor = CommandMonitor::start(&stack.redis().url()).await?;
    let url = format!("{}/v1/poll", stack.gateway(0).url());
    let (client, token) = (tidings_harness::http::client(), stack.token("bob"));
    let polls = join_all((0..30).map(async |_| {
        let asked = client.post(&url).bearer_auth(&token).json(&poll_body(&rooms, 0)).send().await?;
        let retry_after = asked.headers().get("retry-after").map(|value| value.to_str().map(str::to_owned));
        let status = asked.status().as_u16();
        anyhow::Ok((status, retry_after.transpose()?, asked.json::<Value>().await?))
    }));
    // Another user is served at the same time.
    let others = async {
        alice.join_and_catch_up(&rooms[0]).await?;
        poll_client(&stack, "alice").post("/poll", json!({"timeout_ms": 0})).await?.expect(200);
        anyhow::Ok(())
    };
    let (polls, others) = tokio::join!(polls, tokio::time::timeout(Duration::from_secs(10), others));
    others??;
    let polls = polls.into_iter().collect::<Result<Vec<_>>>()?;
    let (refused, answered): (Vec<_>, Vec<_>) = polls.iter().partition(|(status, ..)| *status == 429);
    ensure!(refused.len() >= 15 && !answered.is_empty(), "{} of 30 were refused", refused.len());
    for (_, retry_after, problem) in &refused {
        let ms = problem["retry_after_ms"].as_u64().context("no retry_after_ms")?;
        ensure!(problem["code"] == "rate_limited" && (1..=20_000).contains(&ms), "{problem}");
        ensure!(retry_after.as_deref() == Some(ms.div_ceil(1000).to_string().as_str()), "{retry_after:?}");
    }
    tokio::time::sleep(MONITOR_DELAY).await;
    let reads = take_redis_reads(&monitor, &rooms)?;
    // Each answer needs one read for the memberships, and one for the head of each room.
    let max_reads = answered.len() * (ROOMS + 20) + 100;
    ensure!((ROOMS..=max_reads).contains(&reads), "{reads} reads for {} answers", answered.len());
    alice.close().await?;
    until_unsubscribed(&stack).await?;
    Ok(())
}

#[tokio::test]
async fn waiting_polls_over_limit_are_slowed_and_miss_nothing() -> Result<()> {
    const MESSAGES: usize = 8;
    let stack = start_stack(1).await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let bob = poll_client(&stack, "bob");
    let mut cursor = json!({"epoch": "1", "seq": 0});
    let began = std::time::Instant::now();
    let mut received = Vec::new();
    for n in 0..MESSAGES {
        alice.send(&room, &n.to_string()).await?;
        let body = json!({"cursors": {room.clone(): cursor}, "timeout_ms": 20_000});
        let answer = bob.post("/poll", body).await?.expect(200).body;
        cursor = answer["cursors"][&room].clone();
        let events = answer["events"].as_array().context("no events")?;
        let messages = events.iter().filter(|event| event["type"] == "message:new");
        received.extend(messages.map(|event| event["seq"].clone()));
    }
    ensure!(received == (1..=MESSAGES).map(|seq| json!(seq)).collect::<Vec<_>>(), "{received:?}");
    // The limit allows a burst of four polls, then one per second.
    ensure!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn aborted_poll_stops_its_redis_reads() -> Result<()> {
    const POLLS: usize = 4;
    let stack = start_stack(10_000).await?;
    let rooms = new_rooms(&stack, POLLS * ROOMS / 2).await?;
    until_unsubscribed(&stack).await?;
    let bob = poll_client(&stack, "bob");
    let before = hmget_calls(&stack).await?;
    // Each poll has its own rooms; its caller disconnects after the first reads of Redis.
    for rooms in rooms.chunks(ROOMS / 2) {
        let seen = hmget_calls(&stack).await?;
        let caller = tokio::spawn({
            let (bob, body) = (bob.clone(), poll_body(rooms, 25_000));
            async move { bob.post("/poll", body).await }
        });
        while hmget_calls(&stack).await? < seen + 2 {
            ensure!(!caller.is_finished(), "the poll was answered before the abort");
        }
        caller.abort();
    }
    until_unsubscribed(&stack).await?;
    // A poll that did not stop would read Redis again within this time.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = hmget_calls(&stack).await? - before;
    ensure!(asked < rooms.len() as u64 * 2 / 3, "{asked} reads for {} rooms of aborted polls", rooms.len());
    Ok(())
}
