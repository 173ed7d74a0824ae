//! The trace contexts of callers who are not trusted: they decide nothing, and are links of the traces that the
//! services sample themselves.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::sink::render_trace_tree;
use tidings_harness::{Client, Sink, Stack, TokenBy};

use crate::telemetry::{TRACE_ID, message_fields, traceparent};

/// Longer than it takes until spans are exported.
const EXPORT_TIME: Duration = Duration::from_secs(3);
/// Longer than it takes until expected spans are exported, also on a busy machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends the context in a handshake, in a frame and in a request over HTTP.
async fn send_context(stack: &Stack, context: &str) -> Result<()> {
    let room = stack.http("ann").new_room(&[]).await?;
    let handshake = format!("{}?traceparent={context}", stack.gateway(0).ws());
    let ann = Client::connect_by(TokenBy::Header, &handshake, &stack.token("ann")).await?;
    ann.send_with(message_fields(&room, Some(json!(context)))).await?;
    let rooms = format!("{}/v1/me/rooms", stack.persistence(0).url());
    let request = tidings_harness::http::client().get(rooms).header("traceparent", context);
    request.bearer_auth(stack.token("ann")).send().await?.error_for_status()?;
    Ok(())
}

async fn start_stack(sink: &Sink, ratio: &str) -> Result<Stack> {
    let stack = Stack::builder().env("TIDINGS_OTLP_ENDPOINT", sink.endpoint());
    stack.env("TIDINGS_TRACE_RATIO", ratio).start().await
}

#[tokio::test]
async fn untrusted_context_forces_no_trace() -> Result<()> {
    let sink = Sink::start().await?;
    let stack = start_stack(&sink, "0").await?;
    send_context(&stack, &traceparent(true)).await?;
    tokio::time::sleep(EXPORT_TIME).await;
    ensure!(sink.spans().is_empty(), "{}", render_trace_tree(&sink.spans()));
    Ok(())
}

#[tokio::test]
async fn untrusted_context_is_link_of_own_trace() -> Result<()> {
    let sink = Sink::start().await?;
    let stack = start_stack(&sink, "1").await?;
    // Its flag does not prevent the trace either.
    send_context(&stack, &traceparent(false)).await?;
    for name in ["connect", "receive", "GET /v1/me/rooms"] {
        let spans = sink.until(WAIT_TIMEOUT, |spans| spans.iter().any(|span| span.name == name)).await?;
        let shown = render_trace_tree(&spans);
        let roots: Vec<_> = spans.iter().filter(|span| span.name == name && span.parent.is_none()).collect();
        ensure!(roots.iter().any(|root| root.links == [TRACE_ID]), "{name}:\n{shown}");
        ensure!(spans.iter().all(|span| span.trace != TRACE_ID), "{shown}");
    }
    Ok(())
}
