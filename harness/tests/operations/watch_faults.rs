//! The alerts for real: faults are made while people use the system, and a real Prometheus with the shipped rules,
//! sixty times faster, says which alerts fire. Takes some minutes, prints a table of fault, alert and value:
//!
//!     ./dev test --long watch_faults

use std::time::Duration;

use crate::prometheus::Prometheus;
use crate::watch::flow::Flow;
use crate::watch::scene::Scene;
use crate::watch::shortened::rules;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Stack, clock, raw::RawSocket, stack::StackBuilder};
use tokio::task::JoinSet;

/// Of calm before the first fault.
const CALM: Duration = Duration::from_secs(15);
const SLOW_READERS: usize = 20;

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn gateways(stack: &Stack, scene: &mut Scene<'_>) -> Result<()> {
    scene.fault("a gateway is killed (SIGKILL)");
    stack.gateway(1).kill();
    scene.until(&["TidingsTargetDown"]).await?;

    scene.fault("all gateways are killed (SIGKILL)");
    stack.gateway(0).kill();
    scene.until(&["TidingsNoGateway"]).await?;
    for gateway in stack.gateways() {
        gateway.restart().await?;
    }
    scene.calm(&["TidingsNoGateway", "TidingsTargetDown"]).await?;

    scene.fault("a gateway is killed and started again and again");
    for _ in 0..4 {
        stack.gateway(1).kill();
        stack.gateway(1).restart().await?;
        pause(3).await;
    }
    scene.until(&["TidingsRestarting"]).await?;

    scene.fault("a gateway stands still for seconds again and again (SIGSTOP, SIGCONT)");
    for _ in 0..6 {
        stack.gateway(1).pause()?;
        pause(2).await;
        stack.gateway(1).resume()?;
        pause(1).await;
    }
    scene.until(&["TidingsDeliveryLate"]).await?;

    scene.fault("a gateway may open hardly more files than it has (prlimit)");
    let pid = stack.gateway(0).pid().context("gateway 0 does not run")?;
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let limit =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let set = |limit: &str| -> Result<()> {
        let limit = format!("--nofile={limit}:");
        let done =
            std::process::Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status()?;
        ensure!(done.success(), "prlimit {limit}");
        Ok(())
    };
    set(&(open + 2).to_string())?;
    scene.until(&["TidingsFilesNearLimit"]).await?;
    set(limit.context("no limit of open files")?)?;
    scene.calm(&["TidingsFilesNearLimit"]).await
}

async fn redis(stack: &Stack, scene: &mut Scene<'_>) -> Result<()> {
    scene.fault("connections of pub/sub are cut off again and again (CLIENT KILL TYPE pubsub)");
    for _ in 0..7 {
        let mut cut = redis::cmd("CLIENT");
        stack.redis().command::<i64>(cut.arg("KILL").arg("TYPE").arg("pubsub")).await?;
        pause(2).await;
    }
    scene.until(&["TidingsPubsubReconnecting"]).await?;

    scene.fault("Redis answers late (SIGSTOP for 0.2 s each 0.5 s)");
    for _ in 0..60 {
        stack.redis().pause()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        stack.redis().resume()?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    scene.until(&["TidingsRedisSlow"]).await?;

    scene.fault("Redis stands still (SIGSTOP)");
    stack.redis().pause()?;
    scene.until(&["TidingsSendsFailing", "TidingsNobodyGetsIn"]).await?;
    stack.redis().resume()?;
    scene.calm(&["TidingsNobodyGetsIn", "TidingsSendsFailing"]).await
}

async fn postgres(stack: &Stack, scene: &mut Scene<'_>) -> Result<()> {
    scene.fault("a table of messages is locked for 45 s (LOCK TABLE)");
    let lock = "BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(45); COMMIT";
    let (locked, seen) = tokio::join!(
        stack.database().query(lock),
        scene.until(&["TidingsPoolExhausted", "TidingsBacklogOld"])
    );
    locked?;
    seen?;
    scene.until(&["TidingsHttpFailing", "TidingsStoringLate"]).await?;

    scene.fault("the index of search is locked for 45 s (LOCK TABLE)");
    let lock = "BEGIN; LOCK TABLE message_search IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(45); COMMIT";
    let (locked, seen) = tokio::join!(stack.database().query(lock), scene.until(&["TidingsSearchBehind"]));
    locked?;
    seen?;

    scene.fault("PostgreSQL is killed (SIGKILL)");
    stack.database().server().kill();
    scene.until(&["TidingsBacklogOld", "TidingsHistoryAway"]).await?;
    stack.database().server().restart().await?;
    scene.calm(&["TidingsBacklogOld", "TidingsHistoryAway"]).await
}

/// A message with a content of its own, through the first gateway.
async fn send(stack: &Stack, room: &str, content: &str) -> Result<()> {
    let ann = stack.connect("ann").await?;
    let id = clock::client_id();
    ann.send_with(
        json!({"room": room, "client_id": id, "content": content, "ack": "accepted", "attempt": 1}),
    )
    .await?;
    Ok(())
}

/// The ids of some entries of a stream.
async fn entries(stack: &Stack, command: &str, stream: &str, from: &str, to: &str) -> Result<Vec<String>> {
    let mut command = redis::cmd(command);
    command.arg(stream).arg(from).arg(to).arg("COUNT").arg(5);
    let entries: Vec<(String, Vec<String>)> = stack.redis().command(&command).await?;
    Ok(entries.into_iter().map(|(id, _)| id).collect())
}

async fn records(stack: &Stack, room: &str, scene: &mut Scene<'_>) -> Result<()> {
    scene.fault("a constraint refuses a message");
    stack.database().query("ALTER TABLE messages ADD CONSTRAINT taboo CHECK (content <> 'taboo')").await?;
    send(stack, room, "taboo").await?;
    scene.until(&["TidingsDeadLetters"]).await?;
    stack.database().query("ALTER TABLE messages DROP CONSTRAINT taboo").await?;

    scene.fault("a trigger refuses a message");
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'; \
                  CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW \
                  WHEN (NEW.content = 'refused') EXECUTE FUNCTION refuse()";
    stack.database().query(refuse).await?;
    send(stack, room, "refused").await?;
    scene.until(&["TidingsRecordStuck"]).await?;
    stack.database().query("DROP TRIGGER refuse ON messages").await?;
    pause(5).await;

    scene.fault("persistence stands still (SIGSTOP), then is killed");
    stack.persistence(0).pause()?;
    scene.until(&["TidingsPartitionsWithoutOwner"]).await?;
    stack.persistence(0).kill();

    // What gathers meanwhile: somebody takes a record away, near the beginning.
    let streams: Vec<String> = stack.redis().command(redis::cmd("KEYS").arg("*ingest*")).await?;
    let mut lasts = Vec::new();
    for stream in &streams {
        let last = entries(stack, "XREVRANGE", stream, "+", "-").await?;
        lasts.push(last.first().map_or_else(|| "-".to_owned(), |id| format!("({id}")));
    }
    flood(stack, room, 5_500, "more").await?;
    let mut taken = 0;
    for (stream, last) in streams.iter().zip(&lasts) {
        if let [_, _, id, ..] = entries(stack, "XRANGE", stream, last, "+").await?.as_slice() {
            taken += stack.redis().command::<i64>(redis::cmd("XDEL").arg(stream).arg(id)).await?;
        }
    }
    ensure!(taken > 0, "nothing was waiting");
    scene.fault("records were taken out of the streams of Redis (XDEL), 5,500 wait");
    stack.persistence(0).restart().await?;
    scene.until(&["TidingsBacklogLarge", "TidingsPersistenceHoles"]).await
}

async fn flood(stack: &Stack, room: &str, count: usize, content: &str) -> Result<()> {
    let ann = stack.connect("ann").await?;
    for _ in 0..count.div_ceil(50) {
        let sends = (0..50).map(|_| {
            let id = clock::client_id();
            ann.send_with(
                json!({"room": room, "client_id": id, "content": content, "ack": "accepted", "attempt": 1}),
            )
        });
        futures_util::future::join_all(sends).await;
    }
    Ok(())
}

/// Joins, and does not read for a while; again and again.
async fn read_nothing(port: u16, token: String, room: String) -> Result<()> {
    loop {
        let mut socket = RawSocket::open(port, &token).await?;
        socket.send(1, json!({"type": "room:join", "ref": "1", "room": room}).to_string().as_bytes()).await?;
        pause(6).await;
    }
}

fn stack() -> StackBuilder {
    let builder = Stack::builder().gateways(2).own_postgres();
    let builder = builder.gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000);
    let builder = builder.gateway_env("TIDINGS_MESSAGES_BURST", 10_000);
    builder.gateway_env("TIDINGS_COMMANDS_PER_SECOND", 10_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: an alert by a real fault"]
async fn people_who_do_not_read_fire_an_alert() -> Result<()> {
    let stack = stack().start().await?;
    let prometheus = Prometheus::start(&stack, rules).await?;
    let room = stack.http("ann").new_room(&["ben"]).await?;
    stack.connect("ann").await?.join_and_catch_up(&room).await?;
    let mut readers = JoinSet::new();
    for _ in 0..SLOW_READERS {
        readers.spawn(read_nothing(stack.gateway(1).ports().public, stack.token("ben"), room.clone()));
    }
    tokio::time::sleep(CALM).await;
    let mut scene = Scene::of(&prometheus);
    scene.fault("twenty do not read, and a room says four kilobytes a hundred times a second and more");
    let text = "\u{1f525}".repeat(1_000);
    let said = async {
        loop {
            flood(&stack, &room, 500, &text).await?;
        }
        #[allow(unreachable_code, reason = "it goes on until the alert fires")]
        Ok::<(), anyhow::Error>(())
    };
    tokio::select! {
        said = said => said?,
        seen = scene.until(&["TidingsSlowCloses"]) => seen?,
    }
    println!("{}", scene.table());
    ensure!(scene.missed().is_empty(), "did not fire: {:#?}", scene.missed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: alerts by real faults"]
async fn faults_fire_the_alerts_that_are_meant_for_them() -> Result<()> {
    let stack = stack().start().await?;
    let prometheus = Prometheus::start(&stack, rules).await?;
    let flow = Flow::begin(&stack).await?;
    tokio::time::sleep(CALM).await;
    let mut scene = Scene::of(&prometheus);
    scene.fault("none");
    scene.look().await?;
    let played = async {
        gateways(&stack, &mut scene).await?;
        redis(&stack, &mut scene).await?;
        postgres(&stack, &mut scene).await?;
        records(&stack, &flow.room, &mut scene).await
    };
    let outcome = played.await;
    println!("{}", scene.table());
    outcome?;
    ensure!(scene.missed().is_empty(), "did not fire: {:#?}", scene.missed());
    Ok(())
}
