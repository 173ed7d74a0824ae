//! A user with 500 rooms reconnects after Redis lost all data. Memberships and heads must be read from PostgreSQL, room
//! by room, before all rooms have caught up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tidings_harness::{Client, Http, ServerFrame, Stack, http};
use tokio::task::JoinSet;

use super::Scale;
use crate::peers::{self, ServerRequirements};
use crate::processes::{self, CpuTimes, Process};
use crate::results::{Plot, Scenario};

const SUBJECT: &str = "Tidings";
const READER: &str = "reader";
const WRITER: &str = "writer";
/// Number of messages in each room.
const MESSAGES_PER_ROOM: usize = 5;
/// Limit of the room ids in one `room:join` frame.
const MAX_ROOMS_PER_FRAME: usize = 200;
const CONCURRENT_FILLERS: usize = 8;
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Wait after a new epoch, in which leases, presence and watermarks recover.
const SETTLE_TIME: Duration = Duration::from_secs(3);
/// CPU time is read this long after the last answer, to count the work that follows the answer.
const CPU_READ_DELAY: Duration = Duration::from_millis(100);
const CATCH_UP_SECONDS: &str = "until all caught up (s)";
const TOTAL_CPU_MS: &str = "CPU of all (ms)";

/// Measures the joins after Redis lost all data, and again when Redis has the data of all rooms.
///
/// # Errors
/// When a process does not start, or a join fails.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let count = if scale.quick { 50 } else { 500 };
    let (mut running, stack) =
        peers::tidings::start(&ServerRequirements { nodes: 1, stored: true }, &[]).await?;
    let rooms = create_rooms(&stack, count).await?;
    let probe =
        create_probe_room(&Http::new(&stack.persistence(0).url(), &stack.token(READER)), &stack).await?;
    let mut scenario = Scenario {
        name: "cold-join".into(),
        title: format!("Cold join of {count} rooms"),
        method: format!(
            "One user is in {count} rooms of two members and {MESSAGES_PER_ROOM} messages each. Redis is killed and \
             started without any data; when a message to another room is stored again, and {} s later, the user \
             connects and joins all rooms with frames of {MAX_ROOMS_PER_FRAME} ids, sent at once. The time runs from \
             the beginning of the connection to the last `room:caught_up`. Then the same again, with the rooms known \
             to Redis. The caches of PostgreSQL are warm in both. CPU time is of all processes in that time and {} ms \
             behind it.",
            SETTLE_TIME.as_secs(),
            CPU_READ_DELAY.as_millis()
        ),
        plots: vec![
            plot("seconds", "From connecting to all rooms caught up", CATCH_UP_SECONDS),
            plot("cpu", "CPU time of all processes", TOTAL_CPU_MS),
        ],
        ..Scenario::default()
    };
    for _ in 0..scale.samples {
        stack.redis().restart_empty().await?;
        let redis = stack.redis().pid().context("redis is gone")?;
        for process in running.processes.iter_mut().filter(|process| process.name == "redis") {
            process.pid = redis;
        }
        wait_until_serving(&stack, &probe).await?;
        tokio::time::sleep(SETTLE_TIME).await;
        for state in ["cold", "warm"] {
            let setting = format!("{count} rooms, {state}");
            let (took, cpu) =
                time_joins(&stack, &running.processes, &rooms).await.context(setting.clone())?;
            scenario.add(SUBJECT, &setting, CATCH_UP_SECONDS, took.as_secs_f64());
            scenario.add(SUBJECT, &setting, TOTAL_CPU_MS, cpu.total() * 1000.0);
            for (name, seconds) in &cpu.0 {
                scenario.add(SUBJECT, &setting, &format!("CPU of {name} (ms)"), seconds * 1000.0);
            }
            tokio::time::sleep(SETTLE_TIME).await;
        }
    }
    Ok(scenario)
}

fn plot(name: &str, title: &str, figure: &str) -> Plot {
    Plot { name: name.into(), title: title.into(), figure: figure.into(), logarithmic: false }
}

/// Creates the rooms and sends messages to each. Returns the ids of the rooms.
async fn create_rooms(stack: &Stack, count: usize) -> Result<Vec<String>> {
    let (url, pool) = (stack.persistence(0).url(), http::client());
    let reader = Http::sharing(pool.clone(), &url, &stack.token(READER));
    let writer = Http::sharing(pool, &url, &stack.token(WRITER));
    let mut filling = JoinSet::new();
    for part in 0..CONCURRENT_FILLERS {
        let (reader, writer) = (reader.clone(), writer.clone());
        filling.spawn(async move {
            let mut rooms = Vec::new();
            for _ in (part..count).step_by(CONCURRENT_FILLERS) {
                let room = reader.new_room(&[WRITER]).await?;
                for number in 0..MESSAGES_PER_ROOM {
                    let id = uuid::Uuid::now_v7().to_string();
                    let sent = writer.send(&room, &id, &format!("Message {number}")).await?;
                    ensure!(sent.status == 201, "send: {} {}", sent.status, sent.body);
                }
                rooms.push(room);
            }
            anyhow::Ok(rooms)
        });
    }
    let mut rooms = Vec::new();
    while let Some(made) = filling.join_next().await {
        rooms.extend(made??);
    }
    Ok(rooms)
}

/// Creates the room by which [`wait_until_serving`] finds out whether Tidings serves. It is not measured.
async fn create_probe_room(reader: &Http, stack: &Stack) -> Result<String> {
    let room = reader.new_room(&[WRITER]).await?;
    wait_until_serving(stack, &room).await?;
    Ok(room)
}

/// Waits until another user, who has few rooms, can join and send to the room `room`.
async fn wait_until_serving(stack: &Stack, room: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let tried = async {
            let client = stack.connect(WRITER).await?;
            client.join_and_catch_up(room).await?;
            let id = uuid::Uuid::now_v7().to_string();
            let send =
                json!({ "type": "message:send", "room": room, "client_id": id, "content": "here again" });
            client.ask(send).await?;
            client.close().await
        };
        match tokio::time::timeout(WAIT_TIMEOUT, tried).await? {
            Ok(()) => return Ok(()),
            Err(error) => ensure!(begun.elapsed() < WAIT_TIMEOUT, "Tidings does not serve: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Connects, joins all rooms, and waits until all have caught up. Returns the time that this takes, and the CPU times.
async fn time_joins(stack: &Stack, processes: &[Process], rooms: &[String]) -> Result<(Duration, CpuTimes)> {
    let token = stack.token(READER);
    let before = processes::cpu_times(processes)?;
    let begun = Instant::now();
    let client = Client::connect(&stack.gateway(0).ws(), &token).await?;
    for chunk in rooms.chunks(MAX_ROOMS_PER_FRAME) {
        client.send_json(&json!({ "type": "room:join", "rooms": chunk })).await?;
    }
    let (mut joined, mut caught_up) = (0, 0);
    while caught_up < rooms.len() {
        match client.next_event(WAIT_TIMEOUT).await? {
            ServerFrame::Joined(answer) => {
                ensure!(answer.failed.is_empty(), "not joined: {:?}", answer.failed);
                joined += answer.rooms.len();
            }
            ServerFrame::CaughtUp(_) => caught_up += 1,
            ServerFrame::Error(error) => bail!("{}: {}", error.code, error.message),
            // Other frames may come: `rooms:changed` in a new epoch, presence of the other member.
            _ => {}
        }
    }
    let took = begun.elapsed();
    ensure!(joined == rooms.len(), "{joined} rooms joined");
    tokio::time::sleep(CPU_READ_DELAY).await;
    let used = processes::cpu_times(processes)?.since(&before);
    client.close().await?;
    Ok((took, used))
}
