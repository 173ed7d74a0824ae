//! Traces: one sampled message is one trace through both gateways, Redis and PostgreSQL; unsampled requests create no
//! span, and an unavailable collector does no harm.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::sink::{ReceivedSpan, render_trace_svg, render_trace_tree};
use tidings_harness::{Client, ServerFrame, Sink, Stack, TokenBy};

/// A gateway logs these words once when its collector accepts no spans.
const EXPORT_FAILURE_WORDS: &str = "spans cannot be exported";
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
pub const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub const CALLER_SPAN_ID: &str = "00f067aa0ba902b7";
/// The number of spans of one message that is delivered on two gateways.
pub const SPANS_PER_MESSAGE: usize = 7;
/// The span of a message that is sent over HTTP.
const HTTP_SEND_SPAN: &str = "POST /v1/rooms/{room}/messages";

pub fn traceparent(sampled: bool) -> String {
    format!("00-{TRACE_ID}-{CALLER_SPAN_ID}-0{}", u8::from(sampled))
}

async fn start_stack(sink: &str, ratio: &str) -> Result<Stack> {
    let filter = "tidings_gateway=debug,tidings_persistence=debug,tidings_shared=debug,info";
    let stack = Stack::builder().gateways(2).env("TIDINGS_OTLP_ENDPOINT", sink);
    let stack =
        stack.gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1000).gateway_env("TIDINGS_MESSAGES_BURST", 1000);
    let stack = stack.env("TIDINGS_TRACE_RATIO", ratio).env("TIDINGS_TRUST_TRACE_CONTEXT", "true");
    stack.env("TIDINGS_LOG", filter).start().await
}

/// Connects Ann to the first gateway and Ben twice to the second; all of them join one room.
async fn connect_people(stack: &Stack) -> Result<(String, [Client; 3])> {
    let room = stack.http("ann").new_room(&["ben"]).await?;
    let ann = stack.connect_at(0, "ann").await?;
    let clients = [ann, stack.connect_at(1, "ben").await?, stack.connect_at(1, "ben").await?];
    for client in &clients {
        client.join_and_catch_up(&room).await?;
    }
    Ok((room, clients))
}

pub fn message_fields(room: &str, traceparent: Option<Value>) -> Value {
    let mut message =
        json!({"room": room, "client_id": uuid::Uuid::now_v7().to_string(), "content": "hello"});
    if let Some(traceparent) = traceparent {
        message["traceparent"] = traceparent;
    }
    message
}

fn single_span<'a>(spans: &'a [ReceivedSpan], name: &str) -> Result<&'a ReceivedSpan> {
    let found: Vec<&ReceivedSpan> = spans.iter().filter(|span| span.name == name).collect();
    ensure!(found.len() == 1, "{} of {name}:\n{}", found.len(), render_trace_tree(spans));
    Ok(found[0])
}

/// Checks the tree of one message that was sent by a frame; `caller` is the parent span that the frame named.
pub fn check_message_spans(spans: &[ReceivedSpan], caller: Option<&str>) -> Result<()> {
    let shown = render_trace_tree(spans);
    let names: BTreeMap<&str, usize> = spans.iter().fold(BTreeMap::new(), |mut names, span| {
        *names.entry(span.name.as_str()).or_default() += 1;
        names
    });
    let wanted = BTreeMap::from([
        ("receive", 1),
        ("append", 1),
        ("batch write", 1),
        ("commit", 1),
        ("stored answer", 1),
        ("deliver", 2),
    ]);
    ensure!(names == wanted, "{shown}");
    ensure!(spans.iter().all(|span| span.trace == spans[0].trace && span.end_ns >= span.start_ns), "{shown}");
    let receive = single_span(spans, "receive")?;
    ensure!(receive.parent.as_deref() == caller, "{:?}: {shown}", receive.parent);
    for (child, parent) in [
        ("append", "receive"),
        ("stored answer", "receive"),
        ("batch write", "append"),
        ("commit", "batch write"),
    ] {
        let (child, parent) = (single_span(spans, child)?, single_span(spans, parent)?);
        ensure!(
            child.parent.as_ref() == Some(&parent.id),
            "{} is not below {}:\n{shown}",
            child.name,
            parent.name
        );
        ensure!(child.start_ns >= parent.start_ns, "{} begins before {}:\n{shown}", child.name, parent.name);
    }
    // There is one `deliver` span on each node, however many clients receive the message there.
    let append = single_span(spans, "append")?;
    let delivers: Vec<&ReceivedSpan> = spans.iter().filter(|span| span.name == "deliver").collect();
    ensure!(delivers.iter().all(|span| span.parent.as_ref() == Some(&append.id)), "{shown}");
    ensure!(delivers.iter().all(|span| span.start_ns >= append.start_ns), "{shown}");
    ensure!(delivers[0].instance != delivers[1].instance, "{shown}");
    // The spans end in this order, because only a committed message is answered as stored.
    let (write, commit) = (single_span(spans, "batch write")?, single_span(spans, "commit")?);
    let stored = single_span(spans, "stored answer")?;
    let ends = [commit.end_ns, write.end_ns, stored.end_ns, receive.end_ns];
    ensure!(ends.is_sorted(), "{ends:?}\n{shown}");
    for span in spans {
        let service =
            if matches!(span.name.as_str(), "batch write" | "commit") { "persistence" } else { "gateway" };
        ensure!(span.service == format!("tidings-{service}"), "{shown}");
    }
    ensure!(receive.attributes["tidings.command"] == "message:send", "{receive:?}");
    ensure!(write.attributes["tidings.batch.records"] == "1", "{write:?}");
    Ok(())
}

#[tokio::test]
async fn sampled_message_is_one_trace_through_two_gateways() -> Result<()> {
    let sink = Sink::start().await?;
    let stack = start_stack(&sink.endpoint(), "0").await?;
    let (room, [ann, ben, _]) = connect_people(&stack).await?;
    // A message with one of these values is not sampled, and is not refused.
    let unsampled =
        [None, Some(json!(traceparent(false))), Some(json!("nonsense")), Some(json!(7)), Some(Value::Null)];
    for traceparent in unsampled {
        ann.send_with(message_fields(&room, traceparent)).await?;
        ben.wait_for("message:new", WAIT_TIMEOUT).await?;
    }
    stack.http("ann").send(&room, "by-http", "hello").await?.expect(201);
    ben.wait_for("message:new", WAIT_TIMEOUT).await?;

    ann.send_with(message_fields(&room, Some(json!(traceparent(true))))).await?;
    ben.wait_for("message:new", WAIT_TIMEOUT).await?;
    let spans = sink.until(WAIT_TIMEOUT, |spans| spans.len() >= SPANS_PER_MESSAGE).await?;
    // Waits for late exports: the unsampled messages must not create spans later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(sink.spans().len() == SPANS_PER_MESSAGE, "{}", render_trace_tree(&sink.spans()));
    ensure!(spans.iter().all(|span| span.trace == TRACE_ID), "{}", render_trace_tree(&spans));
    check_message_spans(&spans, Some(CALLER_SPAN_ID))?;
    println!("{}", render_trace_tree(&spans));

    // Only the log lines about the sampled message name a span.
    for (node, words) in
        [(stack.gateway(0), "the event is in the log"), (stack.persistence(0), "a batch is committed")]
    {
        let log = node.log()?;
        let lines: Vec<Value> = log
            .lines()
            .filter(|line| line.contains(words))
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        ensure!(lines.len() == 1 && lines[0]["trace_id"] == TRACE_ID, "{words}: {lines:?}");
        let id = lines[0]["span_id"].as_str().unwrap_or_default();
        ensure!(spans.iter().any(|span| span.id == id), "{lines:?}");
    }
    Ok(())
}

#[tokio::test]
async fn messages_and_requests_without_context_start_own_traces() -> Result<()> {
    let sink = Sink::start().await?;
    let stack = start_stack(&sink.endpoint(), "1").await?;
    let (room, [ann, ben, _]) = connect_people(&stack).await?;
    ann.send_with(message_fields(&room, None)).await?;
    ben.wait_for("message:new", WAIT_TIMEOUT).await?;
    let refused =
        ann.send_with(message_fields("nowhere", None)).await.err().context("the send was accepted")?;
    ensure!(refused.code() == "not_found", "{refused}");
    let client_id = uuid::Uuid::now_v7().to_string();
    stack.http("ann").send(&room, &client_id, "hello").await?.expect(201);
    // Each process exports by itself, so spans of one process do not show that the others have exported theirs.
    let all = [("deliver", 4), ("commit", 2), ("receive", 2), ("connect", 3), (HTTP_SEND_SPAN, 1)];
    let count = |spans: &[ReceivedSpan], name: &str| spans.iter().filter(|span| span.name == name).count();
    let whole = |spans: &[ReceivedSpan]| all.iter().all(|(name, wanted)| count(spans, name) >= *wanted);
    let spans = sink.until(WAIT_TIMEOUT, whole).await?;
    let traces = |root: &str| -> Vec<Vec<ReceivedSpan>> {
        let roots = spans.iter().filter(|span| span.name == root && span.parent.is_none());
        roots.map(|root| spans.iter().filter(|span| span.trace == root.trace).cloned().collect()).collect()
    };
    let received = traces("receive");
    ensure!(received.len() == 2, "{}", render_trace_tree(&spans));
    let (whole, refused): (Vec<_>, Vec<_>) = received.into_iter().partition(|trace| trace.len() > 1);
    check_message_spans(&whole[0], None)?;
    ensure!(refused[0][0].attributes["tidings.result"] == "not_found", "{:?}", refused[0]);
    let by_http = traces(HTTP_SEND_SPAN);
    ensure!(by_http.len() == 1, "{}", render_trace_tree(&spans));
    let names: Vec<&str> = by_http[0].iter().map(|span| span.name.as_str()).collect();
    for name in ["append", "batch write", "commit", "stored answer", "deliver"] {
        ensure!(names.contains(&name), "{}", render_trace_tree(&by_http[0]));
    }
    let connects = traces("connect");
    ensure!(
        connects.len() == 3 && connects.iter().all(|trace| trace.len() == 1),
        "{}",
        render_trace_tree(&spans)
    );
    Ok(())
}

#[tokio::test]
async fn handshakes_and_requests_continue_their_incoming_trace() -> Result<()> {
    let sink = Sink::start().await?;
    let stack = start_stack(&sink.endpoint(), "0").await?;
    let by_query = format!("{}?traceparent={}", stack.gateway(0).ws(), traceparent(true));
    Client::connect_by(TokenBy::Header, &by_query, &stack.token("ann")).await?.ping().await?;
    let malformed = format!("{}?traceparent=nonsense", stack.gateway(0).ws());
    Client::connect_by(TokenBy::Header, &malformed, &stack.token("ann")).await?.ping().await?;
    let asked = tidings_harness::http::client().get(format!("{}/v1/me/rooms", stack.persistence(0).url()));
    for header in [traceparent(true), traceparent(false), "nonsense".to_owned()] {
        let request =
            asked.try_clone().context("the request cannot be cloned")?.header("traceparent", header);
        let answer = request.bearer_auth(stack.token("ann")).send().await?;
        ensure!(answer.status().is_success(), "{answer:?}");
    }
    let spans = sink.until(WAIT_TIMEOUT, |spans| spans.len() >= 2).await?;
    ensure!(spans.len() == 2, "{}", render_trace_tree(&spans));
    ensure!(
        spans.iter().all(|span| span.trace == TRACE_ID && span.parent.as_deref() == Some(CALLER_SPAN_ID))
    );
    single_span(&spans, "connect")?;
    let request = spans.iter().find(|span| span.service == "tidings-persistence").context("no request")?;
    ensure!(request.name.starts_with("GET /v1/") && request.attributes["http.response.status_code"] == "200");
    Ok(())
}

#[tokio::test]
async fn poll_commands_join_its_trace_unless_they_bring_their_own() -> Result<()> {
    const OTHER_TRACE_ID: &str = "11111111111111111111111111111111";
    let sink = Sink::start().await?;
    let stack = start_stack(&sink.endpoint(), "0").await?;
    let room = stack.http("ann").new_room(&[]).await?;
    let command = |traceparent: Option<String>| {
        let mut command = message_fields(&room, traceparent.map(Value::from));
        command["type"] = json!("message:send");
        command
    };
    let poll = |commands: Vec<Value>| {
        let url = format!("{}/v1/poll", stack.gateway(0).url());
        let poll = tidings_harness::http::client().post(url).bearer_auth(stack.token("ann"));
        poll.json(&json!({ "commands": commands, "timeout_ms": 0 }))
    };
    poll(vec![command(None)]).send().await?.error_for_status()?;
    let commands = vec![command(None), command(Some(format!("00-{OTHER_TRACE_ID}-{CALLER_SPAN_ID}-01")))];
    poll(commands).header("traceparent", traceparent(true)).send().await?.error_for_status()?;
    let received = |spans: &[ReceivedSpan]| spans.iter().filter(|span| span.name == "receive").count();
    let spans = sink.until(WAIT_TIMEOUT, |spans| received(spans) >= 2).await?;
    let mut traces: Vec<_> =
        spans.iter().filter(|span| span.name == "receive").map(|span| span.trace.as_str()).collect();
    traces.sort_unstable();
    ensure!(traces == [OTHER_TRACE_ID, TRACE_ID], "{}", render_trace_tree(&spans));
    Ok(())
}

#[tokio::test]
async fn membership_change_is_traced_below_its_request() -> Result<()> {
    let sink = Sink::start().await?;
    let stack = start_stack(&sink.endpoint(), "0").await?;
    let (room, [_ann, ben, _second]) = connect_people(&stack).await?;
    let url = format!("{}/v1/rooms/{room}/members/cleo", stack.persistence(0).url());
    let put = tidings_harness::http::client().put(url).bearer_auth(stack.token("ann"));
    let put = put.header("traceparent", traceparent(true)).json(&json!({"role": "member"}));
    put.send().await?.error_for_status()?;
    ben.wait_for("member:added", WAIT_TIMEOUT).await?;
    let of = |spans: &[ReceivedSpan], name: &str| spans.iter().filter(|span| span.name == name).count();
    let whole = [("append", 1), ("batch write", 1), ("commit", 1), ("deliver", 2)];
    let enough = |spans: &[ReceivedSpan]| whole.iter().all(|(name, count)| of(spans, name) == *count);
    let spans = sink.until(WAIT_TIMEOUT, enough).await?;
    let request =
        spans.iter().find(|span| span.parent.as_deref() == Some(CALLER_SPAN_ID)).context("no request")?;
    let append = single_span(&spans, "append")?;
    ensure!(request.name.starts_with("PUT /v1/rooms/") && append.parent.as_ref() == Some(&request.id));
    for name in ["batch write", "deliver"] {
        let below = spans.iter().filter(|span| span.name == name);
        ensure!(
            below.clone().all(|span| span.parent.as_ref() == Some(&append.id)),
            "{}",
            render_trace_tree(&spans)
        );
    }
    Ok(())
}

#[tokio::test]
async fn unavailable_collector_slows_nothing_and_is_logged_once() -> Result<()> {
    // This collector accepts connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let silent_at = format!("http://{}", silent.local_addr()?);
    let gone = format!("http://127.0.0.1:{}", tidings_harness::ports::free()?);
    let mut undisturbed = None;
    for endpoint in [String::new(), gone, silent_at] {
        let stack = start_stack(&endpoint, "1").await?;
        let (room, [ann, ben, _]) = connect_people(&stack).await?;
        let begun = Instant::now();
        for _ in 0..100 {
            ann.send_with(message_fields(&room, None)).await?;
        }
        let sending = begun.elapsed();
        let ServerFrame::Message(first) = ben.wait_for("message:new", WAIT_TIMEOUT).await? else {
            anyhow::bail!("no message")
        };
        ensure!(first.seq == 1);
        let complaints =
            || Ok::<_, anyhow::Error>(stack.gateway(0).log()?.matches(EXPORT_FAILURE_WORDS).count());
        let asked = Instant::now();
        while !endpoint.is_empty() && complaints()? == 0 && asked.elapsed() < WAIT_TIMEOUT {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Gives the exporter time for several more attempts.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let count = complaints()?;
        ensure!(count == usize::from(!endpoint.is_empty()), "{endpoint}: logged {count} times");
        let begun = Instant::now();
        stack.gateway(0).stop().await?;
        stack.persistence(0).stop().await?;
        let ending = begun.elapsed();
        // The first round runs without a collector and is the baseline.
        let (sent, ended) = *undisturbed.get_or_insert((sending, ending));
        ensure!(sending < 2 * sent + Duration::from_secs(3), "{endpoint}: {sending:?}, else {sent:?}");
        // Each of the two nodes may take two seconds to export its last spans.
        ensure!(
            ending < ended + Duration::from_secs(8),
            "{endpoint}: the end took {ending:?}, else {ended:?}"
        );
    }
    Ok(())
}

/// Writes the picture of docs/TELEMETRY.md, and prints the tree.
#[tokio::test]
#[ignore = "by hand: writes docs/telemetry/trace.svg"]
async fn the_picture_of_a_message() -> Result<()> {
    let sink = Sink::start().await?;
    let stack = start_stack(&sink.endpoint(), "0").await?;
    let (room, [ann, ben, _]) = connect_people(&stack).await?;
    for _ in 0..200 {
        ann.send_with(message_fields(&room, None)).await?;
    }
    ann.send_with(message_fields(&room, Some(json!(traceparent(true))))).await?;
    ben.wait_for("message:new", WAIT_TIMEOUT).await?;
    let spans = sink.until(WAIT_TIMEOUT, |spans| spans.len() >= SPANS_PER_MESSAGE).await?;
    check_message_spans(&spans, Some(CALLER_SPAN_ID))?;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/telemetry/trace.svg");
    std::fs::create_dir_all(path.parent().context("a folder")?)?;
    std::fs::write(path, render_trace_svg(&spans))?;
    println!("{}", render_trace_tree(&spans));
    Ok(())
}
