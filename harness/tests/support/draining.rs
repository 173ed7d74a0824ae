//! How a draining node shows its state: on its operators' port, and on its connections.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tidings_harness::{Client, ClientError, Node, ServerFrame};

pub const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// The sum of all series of a metric.
pub async fn metric(node: &Node, name: &str) -> Result<f64> {
    let text = node.metrics().await?;
    let value = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(name)?;
        let value = if rest.starts_with('{') { rest.split_once("} ")?.1 } else { rest.strip_prefix(' ')? };
        value.parse().ok()
    };
    let values: Vec<f64> = text.lines().filter_map(value).collect();
    ensure!(!values.is_empty(), "there is no {name}");
    Ok(values.iter().sum())
}

/// Waits until a metric without labels has at least this value.
pub async fn until_metric(node: &Node, name: &str, least: f64) -> Result<()> {
    let begun = Instant::now();
    while metric(node, name).await? < least {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{name} stayed below {least}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Waits until the node reports on `/readyz` that it drains.
pub async fn until_unready(node: &Node) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = tidings_harness::http::get(&format!("{}/readyz", node.admin())).await?;
        if answer.status() == 503 && answer.text().await?.contains("draining") {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the node stayed ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the process has ended; returns how long that took.
pub async fn until_gone(node: &Node) -> Result<Duration> {
    let begun = Instant::now();
    while node.pid().is_some() {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the node did not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(begun.elapsed())
}

/// Waits for the frame `draining`; returns the delay after which the client shall reconnect.
pub async fn reconnect_delay(client: &Client) -> Result<Duration> {
    match client.wait_for("draining", WAIT_TIMEOUT).await? {
        ServerFrame::Draining(draining) => Ok(Duration::from_millis(draining.reconnect_after_ms)),
        other => bail!("{other:?}"),
    }
}

/// Waits until the server closes the connection, without any frame before the close; returns the close code.
pub async fn close_code_without_frames(client: &Client) -> Result<Option<u16>> {
    match client.next_event(WAIT_TIMEOUT).await {
        Err(ClientError::Closed(closed)) => Ok(closed.code),
        other => bail!("{other:?}"),
    }
}
