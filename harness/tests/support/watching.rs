//! Watching people come and go: what a connection is told of them, and what it is told when it asks.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, Http, ServerFrame, Stack};

/// A change that is told at once is there by then.
pub const SOON: Duration = Duration::from_secs(5);
/// The grace of a closed connection, with what the sweep needs to find it.
pub const GRACE: Duration = Duration::from_secs(10);
pub const GRACE_OVER: Duration = Duration::from_secs(17);

/// Alice connected on a gateway and told of who comes and goes in a room.
pub async fn watcher(stack: &Stack, gateway: usize, room: &str) -> Result<Client> {
    let alice = stack.connect_at(gateway, "alice").await?;
    alice.join_and_catch_up(room).await?;
    settle(&alice).await;
    Ok(alice)
}

/// Takes what is told in the first moments: one's own coming is told to oneself as well, if one has joined by then.
pub async fn settle(client: &Client) {
    while client.wait_for("presence", Duration::from_millis(1500)).await.is_ok() {}
}

/// The next change must be this.
pub async fn told(watcher: &Client, user: &str, status: &str, patience: Duration) -> Result<Value> {
    match watcher.wait_for("presence", patience).await {
        Ok(ServerFrame::Other(frame)) if frame["user"] == user && frame["status"] == status => Ok(frame),
        other => bail!("wanted {user} {status}, got {other:?}"),
    }
}

/// Nothing is told for so long.
pub async fn silence(watcher: &Client, time: Duration) -> Result<()> {
    match watcher.wait_for("presence", time).await {
        Err(ClientError::Silent(_)) => Ok(()),
        other => bail!("wanted nothing, got {other:?}"),
    }
}

/// Says what a connection is.
pub async fn says(client: &Client, status: &str) -> Result<()> {
    client.ask(json!({ "type": "presence:set", "status": status })).await?;
    Ok(())
}

/// What a connection is told of one user when it asks.
pub async fn asks(client: &Client, user: &str) -> Result<Value> {
    let (_, mut answer) = client.ask(json!({ "type": "presence:get", "users": [user] })).await?;
    ensure!(answer["type"] == "presence:list" && answer["users"][0]["user"] == user, "{answer}");
    Ok(answer["users"][0].take())
}

/// The same over HTTP.
pub async fn asks_http(http: &Http, user: &str) -> Result<Value> {
    let mut body = http.get(&format!("/presence?user={user}")).await?.expect(200).body;
    ensure!(body["users"][0]["user"] == user, "{body}");
    Ok(body["users"][0].take())
}

/// Waits until someone is this when asked for.
pub async fn until(client: &Client, user: &str, status: &str, patience: Duration) -> Result<Value> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        let state = asks(client, user).await?;
        if state["status"] == status {
            return Ok(state);
        }
        ensure!(tokio::time::Instant::now() < deadline, "{user} is not {status} but {state}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Who is here in a room, as a join tells it: `user status`, in order. `None`: not told.
pub async fn online(client: &Client, join: Value) -> Result<Option<Vec<String>>> {
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
pub fn ms(time: &Value) -> Result<i64> {
    let text = time.as_str().with_context(|| format!("{time} is no time"))?;
    let number = |range: std::ops::Range<usize>| -> Result<i64> {
        Ok(text.get(range).with_context(|| text.to_owned())?.parse()?)
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Days from civil, after Howard Hinnant.
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    let seconds = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Ok((days * 86_400 + seconds) * 1000 + number(20..23)?)
}

/// Milliseconds since the Unix epoch, now.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
