//! The metrics of the nodes: how messages, connections and requests are counted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Client, Node, Stack, TokenBy};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// The value of a series: a metric name with its labels.
pub fn metric_value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until the series, a metric name with its labels, has this value.
pub async fn until_metric(node: &Node, series: &str, wanted: f64) -> Result<()> {
    let begun = Instant::now();
    loop {
        let found = metric_value(&node.metrics().await?, series);
        if found == Some(wanted) {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{series} is {found:?} and not {wanted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn message_is_counted_once_at_each_step() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("ann").new_room(&["ben"]).await?;
    let (ann, ben) = (stack.connect_at(0, "ann").await?, stack.connect_at(1, "ben").await?);
    let second = stack.connect_at(1, "ben").await?;
    for client in [&ann, &ben, &second] {
        client.join_and_catch_up(&room).await?;
    }
    let message = json!({"room": room, "client_id": "once", "content": "hello", "attempt": 1});
    ann.send_with(message.clone()).await?;
    for client in [&ann, &ben, &second] {
        client.wait_for("message:new", WAIT_TIMEOUT).await?;
    }
    ensure!(ann.send_with(message).await?.duplicate);
    ann.send(&room, "").await.err().context("an empty message was accepted")?;
    ann.send("nowhere", "hello").await.err().context("a message to a missing room was accepted")?;
    ann.edit(&room, 1, "hello again").await?;

    let (sender, receiver) = (stack.gateway(0), stack.gateway(1));
    // Each node counts the message once, however many clients receive it. The edit counts only for pub/sub, and the
    // repeated send is not published.
    for node in [sender, receiver] {
        until_metric(node, "tidings_gateway_deliver_seconds_count", 1.0).await?;
        until_metric(node, "tidings_gateway_pubsub_seconds_count", 2.0).await?;
    }
    for (series, wanted) in [
        ("tidings_gateway_sends_total{result=\"accepted\"}", 1.0),
        ("tidings_gateway_sends_total{result=\"duplicate\"}", 1.0),
        ("tidings_gateway_sends_total{result=\"not_found\"}", 1.0),
        ("tidings_gateway_sends_total{result=\"unavailable\"}", 0.0),
        ("tidings_gateway_command_seconds_count{type=\"message:send\"}", 3.0),
        ("tidings_gateway_command_seconds_count{type=\"message:edit\"}", 1.0),
        ("tidings_gateway_command_seconds_count{type=\"room:join\"}", 1.0),
        ("tidings_gateway_command_seconds_count{type=\"invalid\"}", 1.0),
        ("tidings_gateway_frames_total{type=\"message:send\"}", 3.0),
        ("tidings_gateway_errors_total{code=\"not_found\"}", 1.0),
        ("tidings_gateway_connections_opened_total", 1.0),
    ] {
        until_metric(sender, series, wanted).await.context("on the sender's node")?;
    }
    let page = sender.metrics().await?;
    for step in ["append", "read", "subscribe", "people", "presence"] {
        let series = format!("tidings_gateway_redis_seconds_count{{step=\"{step}\"}}");
        ensure!(metric_value(&page, &series).is_some_and(|count| count >= 1.0), "{series}: {page}");
    }
    ensure!(page.contains("# TYPE tidings_gateway_sent_bytes_total counter"), "{page}");
    let writer = stack.persistence(0);
    until_metric(writer, "tidings_persistence_stored_seconds_count", 1.0).await?;
    let pool = writer.metrics().await?;
    let state = |state: &str| {
        metric_value(
            &pool,
            &format!("tidings_persistence_pool_connections{{pool=\"writer\",state=\"{state}\"}}"),
        )
    };
    ensure!(state("idle").zip(state("used")).is_some_and(|(idle, used)| idle + used >= 1.0), "{pool}");
    Ok(())
}

#[tokio::test]
async fn build_and_process_metrics_exist_and_counters_never_fall() -> Result<()> {
    let stack = Stack::start().await?;
    for (node, service) in [(stack.gateway(0), "gateway"), (stack.persistence(0), "persistence")] {
        let page = node.metrics().await?;
        let build = format!("tidings_{service}_build_info{{commit=\"");
        let build = page.lines().find(|line| line.starts_with(&build)).context("no build")?;
        ensure!(build.contains("version=\"") && build.ends_with("} 1"), "{build}");
        let used = |name: &str| metric_value(&page, name).with_context(|| format!("{service}: no {name}"));
        let listed = include_str!("../../../docs/OPERATIONS.md").lines();
        let listed = listed.filter_map(|line| line.strip_prefix("| `process_")?.split_once('`'));
        let listed: Vec<String> = listed.map(|(name, _)| format!("process_{name}")).collect();
        ensure!(listed.len() > 5 && listed.iter().all(|name| used(name).is_ok()), "{service}: {listed:?}");
        ensure!(used("process_resident_memory_bytes")? > 1e6 && used("process_open_fds")? > 3.0);
        ensure!(used("process_max_fds")? >= used("process_open_fds")?);
        // The metric counts whole seconds, and the process has just started. Answering these requests takes CPU time.
        let begun = Instant::now();
        while metric_value(&node.metrics().await?, "process_cpu_seconds_total").context("no CPU time")? < 1.0
        {
            ensure!(begun.elapsed() < 3 * WAIT_TIMEOUT, "{service} uses no CPU time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
        ensure!((now - used("process_start_time_seconds")?).abs() < 3600.0);
    }
    let room = stack.http("ann").new_room(&[]).await?;
    let ann = stack.connect("ann").await?;
    ann.join_and_catch_up(&room).await?;
    let mut sent = 0.0;
    for _ in 0..3 {
        ann.ping().await?;
        let now = metric_value(&stack.gateway(0).metrics().await?, "tidings_gateway_sent_bytes_total")
            .context("no bytes")?;
        ensure!(now > sent, "{now} after {sent}");
        sent = now;
    }
    ann.close().await?;
    until_metric(stack.gateway(0), "tidings_gateway_closes_total{code=\"1005\"}", 1.0).await?;
    until_metric(stack.gateway(0), "tidings_gateway_connections", 0.0).await
}

#[tokio::test]
async fn unready_nodes_report_readiness_and_refused_connections() -> Result<()> {
    let stack = Stack::builder().own_postgres().start().await?;
    let (gateway, persistence) = (stack.gateway(0), stack.persistence(0));
    let connect = async || Client::connect_by(TokenBy::FirstFrame, &gateway.ws(), &stack.token("ann")).await;
    connect().await?.ping().await?;
    until_metric(gateway, "tidings_gateway_auths_total{result=\"accepted\"}", 1.0).await?;
    until_metric(gateway, "tidings_gateway_ready", 1.0).await?;
    until_metric(persistence, "tidings_persistence_ready", 1.0).await?;

    stack.redis().pause()?;
    until_metric(gateway, "tidings_gateway_ready", 0.0).await?;
    let refused = connect().await.err().context("a connection was accepted without Redis")?;
    ensure!(refused.code() == "unavailable", "{refused}");
    until_metric(gateway, "tidings_gateway_auths_total{result=\"unavailable\"}", 1.0).await?;
    stack.redis().resume()?;
    until_metric(gateway, "tidings_gateway_ready", 1.0).await?;

    stack.database().server().kill();
    until_metric(persistence, "tidings_persistence_ready", 0.0).await?;
    stack.database().server().restart().await?;
    until_metric(persistence, "tidings_persistence_ready", 1.0).await
}

#[tokio::test]
async fn handshake_with_websockets_disabled_is_not_unavailable() -> Result<()> {
    let stack = Stack::builder().gateway_env("TIDINGS_WEBSOCKET", false).start().await?;
    stack.connect("ann").await.err().context("a WebSocket was opened")?;
    until_metric(stack.gateway(0), "tidings_gateway_handshakes_total{result=\"switched_off\"}", 1.0).await?;
    until_metric(stack.gateway(0), "tidings_gateway_handshakes_total{result=\"unavailable\"}", 0.0).await
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_path() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    alice.room(&room).await?.expect(200);
    alice.get("/v1/nowhere").await?.expect(404);
    let metrics = stack.persistence(0).metrics().await?;
    for line in [
        r#"tidings_persistence_http_requests_total{route="/v1/rooms",status="201"} 1"#,
        r#"tidings_persistence_http_requests_total{route="/v1/rooms/{room}",status="200"} 1"#,
        r#"tidings_persistence_http_requests_total{route="none",status="404"} 1"#,
    ] {
        ensure!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    ensure!(!metrics.contains(&room));
    Ok(())
}
