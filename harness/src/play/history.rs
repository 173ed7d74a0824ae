//! Reads the whole history of a room over HTTP in two ways: as pages of messages, and as pages of the log.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::frames::{Cursor, ServerFrame};
use crate::http::{Answer, EventsPage, Http, MessagesPage};
use crate::recorder::Received;

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(300);
const PAGE_LIMIT: u32 = 200;

/// Sends a request to all nodes in turn, until one gives a definite answer: a status below 500 other than 408 and 429.
/// A node may be restarting.
pub async fn request_until_answered<F>(nodes: &[Http], what: &str, ask: impl Fn(Http) -> F) -> Result<Answer>
where
    F: Future<Output = Result<Answer, reqwest::Error>>,
{
    let deadline = Instant::now() + WAIT_TIMEOUT;
    let mut last = "there is no persistence node".to_owned();
    for http in nodes.iter().cycle() {
        match ask(http.clone()).await {
            Ok(answer) if answer.status < 500 && ![408, 429].contains(&answer.status) => return Ok(answer),
            Ok(answer) => last = format!("{} {}", answer.status, answer.body),
            Err(error) => last = error.to_string(),
        }
        if Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    bail!("{what}: {last}")
}

/// Creates a private room; returns its id and its head.
///
/// # Errors
/// When the request is refused, or no node answers within a minute.
pub async fn create_room(nodes: &[Http], name: &str, members: Vec<Value>) -> Result<(String, Cursor)> {
    let body = serde_json::json!({ "kind": "private", "name": name, "members": members });
    let ask = |http: Http| {
        let body = body.clone();
        async move { http.post("/rooms", body).await }
    };
    let answer = request_until_answered(nodes, "create a room", ask).await?;
    let room: Value = answer.parse().with_context(|| format!("create room {name}"))?;
    let id = room["room"].as_str().context("the room has no id")?.to_owned();
    Ok((id, serde_json::from_value(room["head"].clone()).context("the room has no head")?))
}

/// The stored head of a room.
///
/// # Errors
/// When no node answers within a minute.
pub async fn read_head(nodes: &[Http], room: &str) -> Result<u64> {
    let ask = |http: Http| async move { http.messages(room, "limit=1").await };
    let page: MessagesPage = request_until_answered(nodes, "read the head", ask).await?.parse()?;
    Ok(page.head.seq)
}

/// Reads all messages, by pages of messages from the start.
///
/// # Errors
/// When no node answers within a minute, an answer is malformed, or a page does not continue the previous one.
pub async fn read_messages(nodes: &[Http], room: &str) -> Result<Vec<Received>> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let query = &format!("after={after}&limit={PAGE_LIMIT}");
        let ask = |http: Http| async move { http.messages(room, query).await };
        let page: MessagesPage = request_until_answered(nodes, "read messages", ask).await?.parse()?;
        let Some(last) = page.messages.last() else {
            ensure!(!page.has_after, "nothing after {after}, and yet there is more");
            return Ok(all);
        };
        ensure!(last.seq > after, "after {after} comes what ends at {}", last.seq);
        after = last.seq;
        all.extend(page.messages.into_iter().map(Received::from));
        if !page.has_after {
            return Ok(all);
        }
    }
}

/// Reads all messages of the log, by pages of events from the start.
///
/// # Errors
/// As [`read_messages`]; also when the log ends before the head.
pub async fn read_events(nodes: &[Http], room: &str) -> Result<Vec<Received>> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let query = &format!("after={after}&limit={PAGE_LIMIT}");
        let ask = |http: Http| async move { http.events(room, query).await };
        let page: EventsPage = request_until_answered(nodes, "read events", ask).await?.parse()?;
        for frame in page.frames() {
            if let ServerFrame::Message(message) = frame {
                all.push(message.into());
            }
        }
        if !page.more {
            return Ok(all);
        }
        ensure!(page.next.seq > after, "there is more after {after}, and it goes on at {}", page.next.seq);
        after = page.next.seq;
    }
}
