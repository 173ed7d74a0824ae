//! Traces and metrics of Socket.IO clients: an event that sends a message is one trace, and gateways count sessions,
//! namespaces, and the requests that they forward to each other.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use redis::cmd;
use rstest::rstest;
use serde_json::{Value, json};
use tidings_harness::engine_io::EnginePolling;
use tidings_harness::sink::render_trace_tree;
use tidings_harness::socket_io::{SOCKET_IO_PATH, SocketIo, SocketIoKind, SocketIoPacket, SocketIoTransport};
use tidings_harness::{Node, Sink, Stack};

use crate::telemetry::{
    CALLER_SPAN_ID, SPANS_PER_MESSAGE, TRACE_ID, check_message_spans, message_fields, traceparent,
};
use crate::telemetry_metrics::{metric_value, until_metric};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which late spans are exported.
const EXPORT_TIME: Duration = Duration::from_secs(2);

/// Opens a session whose requests reach both gateways in turn, the first one first, and connects the main namespace.
async fn connect(stack: &Stack, via: SocketIoTransport, user: &str) -> Result<SocketIo> {
    let urls: Vec<String> = stack.gateways().iter().map(Node::url).collect();
    let mut client = SocketIo::open_over(&urls, via).await?;
    client.connect("/", &json!({ "token": stack.token(user) })).await?;
    Ok(client)
}

#[rstest]
#[case(SocketIoTransport::WebSocket)]
#[case(SocketIoTransport::Polling)]
#[tokio::test]
async fn sampled_event_is_one_trace_through_two_gateways(#[case] via: SocketIoTransport) -> Result<()> {
    let sink = Sink::start().await?;
    let stack = Stack::builder().gateways(2).env("TIDINGS_OTLP_ENDPOINT", sink.endpoint());
    let stack = stack.env("TIDINGS_TRACE_RATIO", "0").env("TIDINGS_TRUST_TRACE_CONTEXT", "true");
    let stack = stack.gateway_env("TIDINGS_SOCKET_IO", "on").start().await?;
    let room = stack.http("ann").new_room(&["ben"]).await?;
    let mut ann = connect(&stack, via, "ann").await?;
    ann.join(&room).await?;
    let ben = stack.connect_at(1, "ben").await?;
    ben.join_and_catch_up(&room).await?;
    // Without `traceparent` the event is not sampled.
    for context in [None, Some(json!(traceparent(true)))] {
        let ack = ann.ask("message:send", &message_fields(&room, context)).await?;
        ensure!(ack["stage"] == "stored", "{ack}");
        ben.wait_for("message:new", WAIT_TIMEOUT).await?;
    }
    sink.until(WAIT_TIMEOUT, |spans| spans.len() >= SPANS_PER_MESSAGE).await?;
    tokio::time::sleep(EXPORT_TIME).await;
    let spans = sink.spans();
    ensure!(spans.len() == SPANS_PER_MESSAGE, "{}", render_trace_tree(&spans));
    ensure!(spans.iter().all(|span| span.trace == TRACE_ID), "{}", render_trace_tree(&spans));
    check_message_spans(&spans, Some(CALLER_SPAN_ID))
}

fn forwarded(kind: &str, outcome: &str) -> String {
    format!("tidings_gateway_forwarded_total{{kind=\"{kind}\",outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn sessions_namespaces_and_forwarded_requests_are_counted() -> Result<()> {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_SOCKET_IO", "on");
    let stack = stack.gateway_env("TIDINGS_SOCKET_IO_NAMESPACES", "/admin").start().await?;
    let (home, other) = (stack.gateway(0), stack.gateway(1));
    let mut clients = Vec::new();
    for via in SocketIoTransport::ALL {
        clients.push(connect(&stack, via, "ann").await?);
    }
    clients[0].connect("/admin", &json!({ "token": stack.token("ann") })).await?;
    let _ben = stack.connect_at(0, "ben").await?;
    for (transport, count) in [("websocket", 1.0), ("engine_polling", 2.0), ("engine_websocket", 1.0)] {
        let series = format!("tidings_gateway_sessions_opened_total{{transport=\"{transport}\"}}");
        until_metric(home, &series, count).await?;
    }
    until_metric(home, "tidings_gateway_connections", 4.0).await?;
    until_metric(home, "tidings_gateway_socket_io_namespaces", 4.0).await?;
    // Every second request of polling, and the WebSocket of the upgrade, reach the other gateway.
    until_metric(other, "tidings_gateway_connections", 0.0).await?;
    until_metric(other, "tidings_gateway_tunnels", 1.0).await?;
    until_metric(other, &forwarded("websocket", "forwarded"), 1.0).await?;
    let requests = metric_value(&other.metrics().await?, &forwarded("request", "forwarded"));
    ensure!(requests.is_some_and(|count| count >= 1.0), "{requests:?}");
    for namespace in ["/", "/admin"] {
        let disconnect = SocketIoPacket::new(SocketIoKind::Disconnect, namespace, None, Value::Null);
        clients.iter().for_each(|client| client.send_packet(&disconnect));
    }
    until_metric(home, "tidings_gateway_socket_io_namespaces", 0.0).await?;
    drop(clients);
    until_metric(other, "tidings_gateway_tunnels", 0.0).await
}

#[tokio::test]
async fn requests_for_ended_gateways_are_counted_as_failed_or_unknown() -> Result<()> {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_SOCKET_IO", "on").start().await?;
    let base = |number: usize| format!("{}{SOCKET_IO_PATH}", stack.gateway(number).url());
    let session = EnginePolling::open(&base(0)).await?.at(&base(1));
    let other = stack.gateway(1);
    stack.gateway(0).kill();
    session.post("3").await?;
    until_metric(other, &forwarded("request", "failed"), 1.0).await?;
    until_metric(other, &forwarded("request", "unknown"), 0.0).await?;
    // The address of the killed gateway expires. The other gateway writes its own again.
    let addresses: Vec<String> = stack.redis().command(cmd("KEYS").arg("{??}:gateway:*")).await?;
    for key in addresses {
        stack.redis().command::<()>(cmd("DEL").arg(key)).await?;
    }
    let begun = Instant::now();
    while metric_value(&other.metrics().await?, &forwarded("request", "unknown")) == Some(0.0) {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "requests still go to the killed gateway");
        let answer = session.post("3").await?;
        ensure!((answer.status, answer.code()) == (400, Some(1)), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
