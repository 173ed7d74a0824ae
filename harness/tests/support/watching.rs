//! Presence as a connection sees it: the updates that it receives, and the answers to its requests.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, Http, ServerFrame, System};

/// Time limit for updates that are sent immediately.
pub const UPDATE_TIMEOUT: Duration = Duration::from_secs(5);
/// The grace of a closed connection.
pub const GRACE: Duration = Duration::from_secs(10);
/// The grace, with the time that the sweep needs.
pub const GRACE_AND_SWEEP: Duration = Duration::from_secs(17);

/// Connects alice to a gateway and joins a room, so that she receives presence updates.
pub async fn connect_watcher(stack: &impl System, gateway: usize, room: &str) -> Result<Client> {
    let alice = stack.connect_at(gateway, "alice").await?;
    alice.join_and_catch_up(room).await?;
    discard_first_updates(&alice).await;
    Ok(alice)
}

/// Discards the first updates: a user who has already joined also receives the update of its own connect.
pub async fn discard_first_updates(client: &Client) {
    while client.wait_for("presence", Duration::from_millis(1500)).await.is_ok() {}
}

/// Waits for the next update, which must have this user and this status.
pub async fn expect_update(watcher: &Client, user: &str, status: &str, timeout: Duration) -> Result<Value> {
    match watcher.wait_for("presence", timeout).await {
        Ok(ServerFrame::Other(frame)) if frame["user"] == user && frame["status"] == status => Ok(frame),
        other => bail!("expected {user} {status}, got {other:?}"),
    }
}

/// Fails if an update arrives within this time.
pub async fn expect_no_update(watcher: &Client, time: Duration) -> Result<()> {
    match watcher.wait_for("presence", time).await {
        Err(ClientError::Silent(_)) => Ok(()),
        other => bail!("expected no update, got {other:?}"),
    }
}

pub async fn set_status(client: &Client, status: &str) -> Result<()> {
    client.ask(json!({ "type": "presence:set", "status": status })).await?;
    Ok(())
}

pub async fn get_presence(client: &Client, user: &str) -> Result<Value> {
    let (_, mut answer) = client.ask(json!({ "type": "presence:get", "users": [user] })).await?;
    ensure!(answer["type"] == "presence:list" && answer["users"][0]["user"] == user, "{answer}");
    Ok(answer["users"][0].take())
}

pub async fn get_presence_http(http: &Http, user: &str) -> Result<Value> {
    let mut body = http.get(&format!("/presence?user={user}")).await?.expect(200).body;
    ensure!(body["users"][0]["user"] == user, "{body}");
    Ok(body["users"][0].take())
}

/// Requests the presence of a user until it has this status.
pub async fn wait_for_status(client: &Client, user: &str, status: &str, timeout: Duration) -> Result<Value> {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        let state = get_presence(client, user).await?;
        if state["status"] == status {
            return Ok(state);
        }
        ensure!(tokio::time::Instant::now() < deadline, "{user} did not become {status}: {state}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Joins and returns the answer's `online` list as sorted `user status`; `None` if the answer has no list.
pub async fn join_and_list_online(client: &Client, join: Value) -> Result<Option<Vec<String>>> {
    let (_, answer) = client.ask(join).await?;
    let room = answer["rooms"].get(0).with_context(|| answer.to_string())?;
    let Some(online) = room.get("online") else { return Ok(None) };
    let one = |entry: &Value| {
        format!(
            "{} {}",
            entry["user"].as_str().unwrap_or_default(),
            entry["status"].as_str().unwrap_or_default()
        )
    };
    let mut online: Vec<String> = online.as_array().context("a list")?.iter().map(one).collect();
    online.sort_unstable();
    Ok(Some(online))
}

/// Milliseconds from the Unix epoch to an RFC 3339 time of the wire.
pub fn parse_time_ms(time: &Value) -> Result<i64> {
    let text = time.as_str().with_context(|| format!("{time} is not a time"))?;
    let number = |range: std::ops::Range<usize>| -> Result<i64> {
        Ok(text.get(range).with_context(|| text.to_owned())?.parse()?)
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Howard Hinnant's algorithm `days_from_civil`.
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    let seconds = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Ok((days * 86_400 + seconds) * 1000 + number(20..23)?)
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
