//! Alerts under real faults: the test causes faults while clients use the system, and a real Prometheus with the
//! shipped rules, sixty times faster, fires alerts. Takes some minutes and prints a table of fault, alert and value:
//!
//!     ./dev test --long watch_faults

use std::time::Duration;

use crate::prometheus::Prometheus;
use crate::watch::flow::Load;
use crate::watch::scene::AlertRecorder;
use crate::watch::shortened::shortened_rules;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Stack, clock, raw::RawSocket, stack::StackBuilder};
use tokio::task::JoinSet;

/// Time before the first fault.
const WARM_UP: Duration = Duration::from_secs(15);
const SLOW_READERS: u64 = 20;

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn gateway_faults(stack: &Stack, recorder: &mut AlertRecorder<'_>) -> Result<()> {
    recorder.set_current_fault("a gateway is killed (SIGKILL)");
    stack.gateway(1).kill();
    recorder.until_firing(&["TidingsTargetDown"]).await?;

    recorder.set_current_fault("all gateways are killed (SIGKILL)");
    stack.gateway(0).kill();
    recorder.until_firing(&["TidingsNoGateway"]).await?;
    for gateway in stack.gateways() {
        gateway.restart().await?;
    }
    recorder.until_resolved(&["TidingsNoGateway", "TidingsTargetDown"]).await?;

    recorder.set_current_fault("a gateway is killed and started again and again");
    for _ in 0..4 {
        stack.gateway(1).kill();
        stack.gateway(1).restart().await?;
        pause(3).await;
    }
    recorder.until_firing(&["TidingsRestarting"]).await?;

    recorder.set_current_fault("a gateway is paused for seconds again and again (SIGSTOP, SIGCONT)");
    for _ in 0..6 {
        stack.gateway(1).pause()?;
        pause(2).await;
        stack.gateway(1).resume()?;
        pause(1).await;
    }
    recorder.until_firing(&["TidingsDeliveryLate"]).await?;

    recorder.set_current_fault("a gateway may open hardly more files than it has (prlimit)");
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
    recorder.until_firing(&["TidingsFilesNearLimit"]).await?;
    set(limit.context("no limit of open files")?)?;
    recorder.until_resolved(&["TidingsFilesNearLimit"]).await
}

async fn redis_faults(stack: &Stack, recorder: &mut AlertRecorder<'_>) -> Result<()> {
    recorder
        .set_current_fault("connections of pub/sub are cut off again and again (CLIENT KILL TYPE pubsub)");
    for _ in 0..7 {
        let mut cut = redis::cmd("CLIENT");
        stack.redis().command::<i64>(cut.arg("KILL").arg("TYPE").arg("pubsub")).await?;
        pause(2).await;
    }
    recorder.until_firing(&["TidingsPubsubReconnecting"]).await?;

    recorder.set_current_fault("Redis answers late (SIGSTOP for 0.2 s each 0.5 s)");
    for _ in 0..60 {
        stack.redis().pause()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        stack.redis().resume()?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    recorder.until_firing(&["TidingsRedisSlow"]).await?;

    recorder.set_current_fault("Redis is paused (SIGSTOP)");
    stack.redis().pause()?;
    recorder.until_firing(&["TidingsSendsFailing", "TidingsNobodyGetsIn", "TidingsShardUnavailable"]).await?;
    stack.redis().resume()?;
    recorder.until_resolved(&["TidingsNobodyGetsIn", "TidingsSendsFailing"]).await
}

async fn postgres_faults(stack: &Stack, recorder: &mut AlertRecorder<'_>) -> Result<()> {
    recorder.set_current_fault("a table of messages is locked for 45 s (LOCK TABLE)");
    let lock = "BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(45); COMMIT";
    let (locked, fired) = tokio::join!(
        stack.database().query(lock),
        recorder.until_firing(&["TidingsPoolExhausted", "TidingsBacklogOld"])
    );
    locked?;
    fired?;
    recorder.until_firing(&["TidingsHttpFailing", "TidingsStoringLate"]).await?;

    recorder.set_current_fault("the index of search is locked for 75 s (LOCK TABLE)");
    // This fault lasts longer, because incomplete blocks become due after 30 s at the earliest.
    let lock = "BEGIN; LOCK TABLE search_blocks IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(75); COMMIT";
    let (locked, fired) =
        tokio::join!(stack.database().query(lock), recorder.until_firing(&["TidingsSearchBehind"]));
    locked?;
    fired?;

    recorder.set_current_fault("PostgreSQL is killed (SIGKILL)");
    stack.database().server().kill();
    recorder.until_firing(&["TidingsBacklogOld", "TidingsHistoryAway"]).await?;
    stack.database().server().restart().await?;
    recorder.until_resolved(&["TidingsBacklogOld", "TidingsHistoryAway"]).await
}

async fn send(stack: &Stack, room: &str, content: &str) -> Result<()> {
    let ann = stack.connect("ann").await?;
    let id = clock::client_id();
    ann.send_with(
        json!({"room": room, "client_id": id, "content": content, "ack": "accepted", "attempt": 1}),
    )
    .await?;
    Ok(())
}

/// The ids of the first five entries in a range of a stream.
async fn first_entry_ids(
    stack: &Stack,
    command: &str,
    stream: &str,
    from: &str,
    to: &str,
) -> Result<Vec<String>> {
    let mut command = redis::cmd(command);
    command.arg(stream).arg(from).arg(to).arg("COUNT").arg(5);
    let entries: Vec<(String, Vec<String>)> = stack.redis().command(&command).await?;
    Ok(entries.into_iter().map(|(id, _)| id).collect())
}

async fn record_faults(stack: &Stack, room: &str, recorder: &mut AlertRecorder<'_>) -> Result<()> {
    recorder.set_current_fault("a constraint refuses a message");
    stack.database().query("ALTER TABLE messages ADD CONSTRAINT taboo CHECK (content <> 'taboo')").await?;
    send(stack, room, "taboo").await?;
    recorder.until_firing(&["TidingsDeadLetters"]).await?;
    stack.database().query("ALTER TABLE messages DROP CONSTRAINT taboo").await?;

    recorder.set_current_fault("a trigger refuses a message");
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'; \
                  CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW \
                  WHEN (NEW.content = 'refused') EXECUTE FUNCTION refuse()";
    stack.database().query(refuse).await?;
    send(stack, room, "refused").await?;
    recorder.until_firing(&["TidingsRecordStuck"]).await?;
    stack.database().query("DROP TRIGGER refuse ON messages").await?;
    pause(5).await;

    recorder.set_current_fault("persistence is paused (SIGSTOP), then killed");
    stack.persistence(0).pause()?;
    recorder.until_firing(&["TidingsPartitionsWithoutOwner"]).await?;
    stack.persistence(0).kill();

    // Records gather while persistence is down. Then one record near the beginning of each stream is deleted.
    let streams: Vec<String> = stack.redis().command(redis::cmd("KEYS").arg("*ingest*")).await?;
    let mut lasts = Vec::new();
    for stream in &streams {
        let last = first_entry_ids(stack, "XREVRANGE", stream, "+", "-").await?;
        lasts.push(last.first().map_or_else(|| "-".to_owned(), |id| format!("({id}")));
    }
    flood(stack, room, 5_500, "more").await?;
    let mut taken = 0;
    for (stream, last) in streams.iter().zip(&lasts) {
        if let [_, _, id, ..] = first_entry_ids(stack, "XRANGE", stream, last, "+").await?.as_slice() {
            taken += stack.redis().command::<i64>(redis::cmd("XDEL").arg(stream).arg(id)).await?;
        }
    }
    ensure!(taken > 0, "no record was deleted");
    recorder.set_current_fault("records were taken out of the streams of Redis (XDEL), 5,500 wait");
    stack.persistence(0).restart().await?;
    recorder.until_firing(&["TidingsBacklogLarge", "TidingsPersistenceHoles"]).await
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

/// Joins and then does not read for [`SLOW_READERS`] seconds, again and again.
async fn stall_repeatedly(port: u16, token: String, room: String) -> Result<()> {
    loop {
        let mut socket = RawSocket::open(port, &token).await?;
        socket.send(1, json!({"type": "room:join", "ref": "1", "room": room}).to_string().as_bytes()).await?;
        // Longer than the gateway's write timeout for a client that does not read.
        pause(SLOW_READERS).await;
    }
}

fn stack_builder() -> StackBuilder {
    let builder = Stack::builder().gateways(2).own_postgres();
    let builder = builder.gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000);
    let builder = builder.gateway_env("TIDINGS_MESSAGES_BURST", 10_000);
    builder.gateway_env("TIDINGS_COMMANDS_PER_SECOND", 10_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: an alert by a real fault"]
async fn slow_readers_fire_an_alert() -> Result<()> {
    let stack = stack_builder().start().await?;
    let prometheus = Prometheus::start(&stack, shortened_rules).await?;
    let room = stack.http("ann").new_room(&["ben"]).await?;
    stack.connect("ann").await?.join_and_catch_up(&room).await?;
    let mut readers = JoinSet::new();
    for _ in 0..SLOW_READERS {
        readers.spawn(stall_repeatedly(stack.gateway(1).ports().public, stack.token("ben"), room.clone()));
        // One after the other: closes that come all at once leave a window of the rule without any.
        pause(1).await;
    }
    let mut recorder = AlertRecorder::of(&prometheus);
    recorder.set_current_fault(
        "twenty clients do not read, and their room gets more than a hundred messages of 4 kB per second",
    );
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
        fired = recorder.until_firing(&["TidingsSlowCloses"]) => fired?,
    }
    println!("{}", recorder.table());
    ensure!(recorder.missed().is_empty(), "did not fire: {:#?}", recorder.missed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: alerts by real faults"]
async fn faults_fire_their_alerts() -> Result<()> {
    let stack = stack_builder().start().await?;
    let prometheus = Prometheus::start(&stack, shortened_rules).await?;
    let load = Load::begin(&stack).await?;
    tokio::time::sleep(WARM_UP).await;
    let mut recorder = AlertRecorder::of(&prometheus);
    recorder.set_current_fault("none");
    recorder.poll().await?;
    let played = async {
        gateway_faults(&stack, &mut recorder).await?;
        redis_faults(&stack, &mut recorder).await?;
        postgres_faults(&stack, &mut recorder).await?;
        record_faults(&stack, &load.room, &mut recorder).await
    };
    let outcome = played.await;
    println!("{}", recorder.table());
    outcome?;
    ensure!(recorder.missed().is_empty(), "did not fire: {:#?}", recorder.missed());
    Ok(())
}
