//! Polls that continue the user's last poll on a node: they need few Redis commands, and repeat, miss and leak nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value, json};
use tidings_harness::{
    Stack, clock,
    redis::{CommandMonitor, RedisTopology},
};

const ROOMS: usize = 40;
const POLLS: usize = 20;

async fn start_stack(workers: usize) -> Result<Stack> {
    let roomy =
        Stack::builder().env("TIDINGS_MESSAGES_PER_SECOND", 10_000).env("TIDINGS_MESSAGES_BURST", 10_000);
    // The tests watch the commands of this Redis.
    roomy.redis(RedisTopology::Single).gateway_env("TIDINGS_WORKERS", workers).start().await
}

/// A user who polls each time on a new TCP connection.
struct Poller<'a> {
    stack: &'a Stack,
    user: &'a str,
    cursors: Map<String, Value>,
}

impl<'a> Poller<'a> {
    fn new(stack: &'a Stack, user: &'a str, rooms: &[String]) -> Self {
        let cursors = rooms.iter().map(|room| (room.clone(), Value::Null)).collect();
        Self { stack, user, cursors }
    }

    /// Polls, but ignores the cursors of the answer, as if the answer were lost.
    async fn ask(&self, timeout_ms: u64) -> Result<(u16, Value)> {
        let url = format!("{}/v1/poll", self.stack.gateway(0).url());
        let body = json!({"cursors": self.cursors, "timeout_ms": timeout_ms});
        let request = tidings_harness::http::client().post(url).bearer_auth(self.stack.token(self.user));
        let answer = request.header("connection", "close").json(&body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn poll(&mut self, timeout_ms: u64) -> Result<Value> {
        let (status, answer) = self.ask(timeout_ms).await?;
        ensure!(status == 200, "{status}: {answer}");
        self.cursors = answer["cursors"].as_object().context("no cursors")?.clone();
        Ok(answer)
    }
}

fn message_texts(answer: &Value) -> Vec<&str> {
    let events = answer["events"].as_array().into_iter().flatten();
    events
        .filter(|event| event["type"] == "message:new")
        .filter_map(|event| event["content"].as_str())
        .collect()
}

/// The number of polls for which the first gateway has continued an earlier poll of the same user.
pub async fn continued_polls(stack: &Stack) -> Result<usize> {
    let page = stack.gateway(0).metrics().await?;
    let line = page.lines().find_map(|line| line.strip_prefix("tidings_gateway_polls_continued_total "));
    Ok(line.context("no such counter")?.parse()?)
}

/// Removes and returns the commands with one of these names that clients of Redis have sent, without those of scripts.
async fn take_commands(monitor: &CommandMonitor, names: &[&str]) -> Result<Vec<String>> {
    // The gateway writes presence after it has answered.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut lines = monitor.take_commands(names)?;
    lines.retain(|line| !line.contains(" lua]"));
    Ok(lines)
}

async fn new_rooms(stack: &Stack, count: usize) -> Result<Vec<String>> {
    let http = stack.http("alice");
    let rooms = stream::iter(0..count).map(async |_| http.new_room(&["bob"]).await);
    rooms.buffer_unordered(8).try_collect().await
}

#[tokio::test]
async fn repeated_idle_poll_costs_few_redis_commands() -> Result<()> {
    let stack = start_stack(4).await?;
    let rooms = new_rooms(&stack, ROOMS).await?;
    let mut names: Vec<&str> = rooms.iter().map(String::as_str).collect();
    names.push("bob");
    let mut bob = Poller::new(&stack, "bob", &rooms);
    let monitor = CommandMonitor::start(&stack.redis().url()).await?;
    bob.poll(0).await?;
    let first = take_commands(&monitor, &names).await?.len();
    for _ in 0..POLLS {
        let answer = bob.poll(0).await?;
        ensure!(message_texts(&answer).is_empty() && answer["failed"] == json!([]), "{answer}");
    }
    let repeated = take_commands(&monitor, &names).await?;
    println!("{first} commands for the first poll of {ROOMS} rooms, {} for {POLLS} more", repeated.len());
    ensure!(continued_polls(&stack).await? == POLLS);
    // A poll that continues no other costs two or more commands for each room.
    ensure!(first >= 2 * ROOMS, "{first} commands for the first poll");
    ensure!(repeated.len() <= 5 * POLLS, "{} commands for {POLLS} polls: {repeated:#?}", repeated.len());
    Ok(())
}

#[tokio::test]
async fn continued_polls_receive_each_message_once() -> Result<()> {
    let stack = start_stack(2).await?;
    let rooms = new_rooms(&stack, 5).await?;
    let mut bob = Poller::new(&stack, "bob", &rooms);
    bob.poll(0).await?;
    let alice = stack.connect("alice").await?;
    let mut received = Vec::new();
    for n in 0..30 {
        alice.send(&rooms[n % 5], &n.to_string()).await?;
        if n % 3 == 0 {
            // The answer is lost, so the next poll begins at the same cursors.
            ensure!(bob.ask(0).await?.0 == 200);
        }
        if n % 2 == 0 {
            let answer = bob.poll(0).await?;
            received.extend(message_texts(&answer).into_iter().map(str::to_owned));
        }
    }
    received.extend(message_texts(&bob.poll(0).await?).into_iter().map(str::to_owned));
    // Messages of one room are in order. The order of rooms is undefined.
    let mut sorted = received.clone();
    sorted.sort_by_key(|text| text.parse::<usize>().unwrap_or(usize::MAX));
    ensure!(sorted == (0..30).map(|n| n.to_string()).collect::<Vec<_>>(), "{received:?}");
    for room in 0..5 {
        let of_room = received.iter().filter_map(|text| text.parse::<usize>().ok()).filter(|n| n % 5 == room);
        ensure!(of_room.is_sorted(), "{received:?}");
    }
    ensure!(continued_polls(&stack).await? >= 5);
    Ok(())
}

#[tokio::test]
async fn continued_poll_joins_new_and_leaves_missing_rooms() -> Result<()> {
    let stack = start_stack(1).await?;
    let rooms = new_rooms(&stack, 3).await?;
    let alice = stack.connect("alice").await?;
    let mut bob = Poller::new(&stack, "bob", &rooms[..2]);
    bob.poll(0).await?;
    alice.send(&rooms[2], "old").await?;
    bob.cursors.insert(rooms[2].clone(), json!({"epoch": "1", "seq": 0}));
    let answer = bob.poll(0).await?;
    ensure!(message_texts(&answer) == ["old"] && continued_polls(&stack).await? == 1, "{answer}");
    // The user receives nothing of a room that is not polled any more.
    alice.send(&rooms[0], "unwanted").await?;
    alice.send(&rooms[1], "wanted").await?;
    bob.cursors.remove(&rooms[0]);
    let answer = bob.poll(0).await?;
    ensure!(message_texts(&answer) == ["wanted"] && bob.cursors.len() == 2, "{answer}");
    // A cursor that differs from the last answer starts a new poll.
    bob.cursors.insert(rooms[2].clone(), json!({"epoch": "1", "seq": 0}));
    let answer = bob.poll(0).await?;
    ensure!(message_texts(&answer) == ["old"] && continued_polls(&stack).await? == 1, "{answer}");
    Ok(())
}

#[tokio::test]
async fn removed_or_blocked_user_cannot_continue_poll() -> Result<()> {
    let stack = start_stack(1).await?;
    let rooms = new_rooms(&stack, 2).await?;
    let alice = stack.connect("alice").await?;
    let mut bob = Poller::new(&stack, "bob", &rooms);
    bob.poll(0).await?;
    stack.http("alice").remove_member(&rooms[0], "bob").await?.expect(200);
    alice.send(&rooms[0], "secret").await?;
    alice.send(&rooms[1], "open").await?;
    let answer = bob.poll(0).await?;
    ensure!(!answer.to_string().contains("secret") && message_texts(&answer) == ["open"], "{answer}");
    ensure!(answer["failed"][0]["room"] == rooms[0].as_str(), "{answer}");
    bob.cursors.remove(&rooms[0]);
    bob.poll(0).await?;
    let root = stack.http("root").with_token(&stack.admin_token("root"));
    root.put_user("bob", json!({"blocked": true})).await?.expect(200);
    let client_id = clock::client_id();
    alice.send_with(json!({"room": rooms[1], "client_id": client_id, "content": "late"})).await?;
    let (status, answer) = bob.ask(0).await?;
    ensure!(status == 403 && !answer.to_string().contains("late"), "{status}: {answer}");
    Ok(())
}

#[tokio::test]
async fn member_removed_and_added_again_cannot_continue_poll() -> Result<()> {
    let stack = start_stack(1).await?;
    let (rooms, http) = (new_rooms(&stack, 2).await?, stack.http("alice"));
    let mut bob = Poller::new(&stack, "bob", &rooms);
    bob.poll(0).await?;
    http.remove_member(&rooms[0], "bob").await?.expect(200);
    http.put_member(&rooms[0], "bob", "member").await?.expect(200);
    let alice = stack.connect("alice").await?;
    alice.send(&rooms[0], "again").await?;
    alice.send(&rooms[1], "other").await?;
    let answer = bob.poll(0).await?;
    let mut received = message_texts(&answer);
    received.sort_unstable();
    ensure!(received == ["again", "other"] && answer["failed"] == json!([]), "{answer}");
    ensure!(continued_polls(&stack).await? == 0, "a poll was continued whose subscription had ended");
    // Nothing comes twice: the frames of the ended subscription are gone.
    let answer = bob.poll(0).await?;
    ensure!(message_texts(&answer).is_empty() && continued_polls(&stack).await? == 1, "{answer}");
    Ok(())
}

#[tokio::test]
async fn few_polls_of_a_worker_join_at_once() -> Result<()> {
    const TRIES: usize = 4;
    let mut counts = Vec::new();
    // A poll that has been joining for 250 ms does not count any more. So more polls join at once while a busy machine
    // makes all joins slow, and only a try on a quick machine shows the limit.
    while counts.len() < TRIES {
        let most = most_polls_joining_at_once().await?;
        // Four may join at once. A poll may begin before the commands of another connection show that one has ended.
        if (2..=8).contains(&most) {
            return Ok(());
        }
        counts.push(most);
    }
    anyhow::bail!("as many polls were joining at once: {counts:?}")
}

/// Starts a gateway, lets many users poll at the same time, and returns how many of their polls joined rooms at once.
async fn most_polls_joining_at_once() -> Result<usize> {
    const POLLERS: usize = 60;
    const ROOMS_EACH: usize = 10;
    let stack = start_stack(1).await?;
    let http = stack.http("alice");
    let users: Vec<String> = (0..POLLERS).map(|user| format!("poller-{user}")).collect();
    let own_rooms = users.iter().map(|user| {
        let http = &http;
        async move {
            let rooms = (0..ROOMS_EACH).map(async |_| http.new_room(&[user.as_str()]).await);
            anyhow::Ok((user, futures_util::future::try_join_all(rooms).await?))
        }
    });
    let own_rooms: Vec<_> = stream::iter(own_rooms).buffered(4).try_collect().await?;
    // Caches the accounts, so that the polls arrive together.
    for user in &users {
        Poller::new(&stack, user, &[]).poll(0).await?;
    }
    let monitor = CommandMonitor::start(&stack.redis().url()).await?;
    let polls = own_rooms.iter().map(async |(user, rooms)| {
        let poller = Poller::new(&stack, user, rooms);
        loop {
            let (status, answer) = poller.ask(0).await?;
            // On a busy machine a poll may not get its turn in time. Its user polls again.
            if status != 503 {
                ensure!(status == 200, "{status}: {answer}");
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    for answer in futures_util::future::try_join_all(polls).await? {
        ensure!(
            answer["failed"] == json!([]) && answer["cursors"].as_object().map(Map::len) == Some(ROOMS_EACH)
        );
    }
    let names: Vec<&str> = own_rooms.iter().flat_map(|(_, rooms)| rooms).map(String::as_str).collect();
    let lines = take_commands(&monitor, &names).await?;
    // A poll joins from the first command for one of its rooms to the first read of the head of the last one.
    let joining: Vec<_> = own_rooms
        .iter()
        .map(|(_, rooms)| {
            let first = lines.iter().position(|line| rooms.iter().any(|room| line.contains(room.as_str())));
            let head_read = |room: &String| {
                lines.iter().position(|line| line.contains(room.as_str()) && line.contains("\"seq\""))
            };
            let last = rooms.iter().map(head_read).max().flatten();
            first.zip(last).context("a room was not read")
        })
        .collect::<Result<_>>()?;
    let at_once = joining
        .iter()
        .map(|(began, _)| joining.iter().filter(|(first, last)| first <= began && began <= last).count());
    Ok(at_once.max().unwrap_or(0))
}
