//! Logs, spans and metrics hold no personal data. A system with all traces and debug logs gets marked texts, tokens,
//! names, user ids, metadata, attachments and payloads over every transport, in valid and invalid requests. No process
//! may write a mark to a log, a span or a metric.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Client, Http, Sink, Stack, Token, TokenBy};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// All data that the test sends contains this text, and nothing else does.
const MARK: &str = "xq7mark";

fn with_mark(words: &str) -> String {
    format!("{words}-{MARK}")
}

fn marked_user(name: &str) -> String {
    format!("{name}-{MARK}")
}

/// A token with a marked name and picture. Its claims are in base64, so the test also searches for its signature.
fn marked_token(stack: &Stack, name: &str) -> String {
    let token = Token::of(&marked_user(name)).name(&with_mark("Display Name"));
    let token = token.claim("picture", json!(format!("https://example.org/{MARK}.png")));
    token.claim("email", json!(with_mark("mail"))).sign(stack.jwt_secret())
}

fn marked_message(room: &str, text: &str) -> Value {
    json!({
        "type": "message:send", "room": room, "client_id": with_mark(text), "content": with_mark(text), "kind": "text",
        "metadata": {with_mark("key"): with_mark("value")},
        "attachments": [{
            "name": with_mark("file"), "url": format!("https://example.org/{MARK}"), "media_type": with_mark("text/plain"),
            "size": 1
        }],
        "ref": with_mark("ref"),
    })
}

/// Frames of every kind, valid and invalid.
fn marked_frames(room: &str) -> Vec<Value> {
    let mut frames = vec![
        marked_message(room, "sent"),
        marked_message(room, "sent"),
        marked_message("no-such-room", "lost"),
        json!({"type": "message:edit", "room": room, "seq": 1, "content": with_mark("edited")}),
        json!({"type": "message:edit", "room": room, "seq": 77, "content": with_mark("edited")}),
        json!({"type": "message:edit", "room": room, "seq": with_mark("seq"), "content": with_mark("edited")}),
        json!({"type": "reaction:add", "room": room, "seq": 1, "emoji": with_mark("emoji")}),
        json!({"type": "reaction:add", "room": room, "seq": 1, "emoji": "+"}),
        json!({"type": "message:read", "room": room, "seq": 1}),
        json!({"type": "typing:start", "room": room}),
        json!({"type": "signal", "room": room, "data": {with_mark("offer"): with_mark("payload")}}),
        json!({"type": "signal", "room": room, "to": marked_user("nobody"), "data": with_mark("payload")}),
        json!({"type": "presence:set", "status": with_mark("status")}),
        json!({"type": "presence:set", "status": "away"}),
        json!({"type": "presence:get", "users": [marked_user("ben"), marked_user("nobody")]}),
        json!({"type": "auth", "token": with_mark("token")}),
        json!({"type": with_mark("type"), "room": room}),
        json!({"type": "room:join", "room": with_mark("a b")}),
        json!({"type": "message:delete", "room": room, "seq": 1, "client_id": with_mark("delete")}),
    ];
    let mut private = marked_message(room, "private");
    private["visible_to"] = json!({"users": [marked_user("ben")], "roles": []});
    let mut long = marked_message(room, "long");
    long["content"] = json!(with_mark(&"long ".repeat(400)));
    let mut strange = marked_message(room, "strange");
    strange["traceparent"] = json!(with_mark("00"));
    let mut bad = marked_message(room, "bad");
    bad["attachments"] = json!(with_mark("attachments"));
    frames.extend([private, long, strange, bad]);
    frames
}

async fn send_by_socket(stack: &Stack, room: &str) -> Result<()> {
    let (ws, token) = (stack.gateway(0).ws(), marked_token(stack, "ann"));
    let ben = Client::connect(&stack.gateway(1).ws(), &self::marked_token(stack, "ben")).await?;
    ben.join_and_catch_up(room).await?;
    let ann = Client::connect_by(TokenBy::Query, &ws, &token).await?;
    ann.join_and_catch_up(room).await?;
    for frame in marked_frames(room) {
        ann.send_json(&frame).await?;
    }
    ann.send_text(&format!("{{\"type\": {MARK}")).await?;
    ann.ping().await?;
    ben.wait_for("message:new", WAIT_TIMEOUT).await?;
    for bad in [
        with_mark("token"),
        format!("{token}{MARK}"),
        Token::of(&marked_user("late")).ttl_s(-60).sign(stack.jwt_secret()),
    ] {
        for by in [TokenBy::Header, TokenBy::Query] {
            Client::connect_by(by, &ws, &bad).await.err().context("the connection was accepted")?;
        }
    }
    ann.send_binary(with_mark("binary").into_bytes()).await?;
    ann.until_closed().await?;
    Ok(())
}

async fn send_by_poll(stack: &Stack, room: &str) -> Result<()> {
    let poll = |token: String, body: String| {
        let request =
            tidings_harness::http::client().post(format!("{}/v1/poll?mark={MARK}", stack.gateway(0).url()));
        request.bearer_auth(token).header("content-type", "application/json").body(body).send()
    };
    let body = json!({"cursors": {room: null}, "commands": marked_frames(room), "timeout_ms": 0});
    for body in [
        body.to_string(),
        format!("{{\"cursors\": {MARK}"),
        json!({"cursors": with_mark("cursors")}).to_string(),
    ] {
        poll(marked_token(stack, "ann"), body).await?;
    }
    ensure!(poll(with_mark("token"), body.to_string()).await?.status() == 401);
    Ok(())
}

async fn send_by_http(stack: &Stack, room: &str) -> Result<()> {
    let ann = Http::new(&stack.persistence(0).url(), &marked_token(stack, "ann"));
    let bad = Http::new(&stack.persistence(0).url(), &with_mark("token"));
    for http in [&ann, &bad] {
        for frame in marked_frames(room) {
            http.request(Method::POST, &format!("/rooms/{room}/messages"), Some(frame)).await?;
        }
        let paths = [
            format!("/search?q={MARK}"),
            format!("/rooms/{room}/messages?before={MARK}"),
            format!("/rooms/{room}/messages/1"),
            format!("/rooms/{MARK}%20x/messages"),
            format!("/me/rooms?cursor={MARK}"),
            format!("/users/{MARK}"),
            format!("/{MARK}?{MARK}={MARK}"),
            "/me/export".to_owned(),
        ];
        for path in paths {
            http.get(&path).await?;
        }
        http.put_user(
            &marked_user("ann"),
            json!({"name": with_mark("New Name"), "picture": with_mark("picture")}),
        )
        .await?;
        http.put_user(&with_mark("a b"), json!({"name": 7, "x": with_mark("x")})).await?;
        http.change_room(room, json!({"name": with_mark("room name")})).await?;
        http.change_room(room, json!({"name": {"x": with_mark("x")}})).await?;
        http.put_member(room, &marked_user("cid"), "member").await?;
        http.put_member(room, &marked_user("cid"), &with_mark("role")).await?;
        http.remove_member(room, &marked_user("cid")).await?;
        http.request(Method::PUT, &format!("/rooms/{room}/messages/2/reactions/{MARK}"), None).await?;
        http.request(Method::POST, "/presence", Some(json!({"status": with_mark("status")}))).await?;
    }
    Ok(())
}

/// Puts a record directly into the stream that persistence can neither parse nor store.
async fn append_to_stream(stack: &Stack, room: &str) -> Result<()> {
    let keys: Vec<String> = stack.redis().command(redis::cmd("KEYS").arg("*:ingest")).await?;
    let stream = keys.first().context("nothing was sent")?;
    let record = format!("1\u{1f}1\u{1f}99\u{1f}0\u{1f}{room}\u{1f}{MARK}\u{1f}{MARK}\u{1f}{MARK}\n{{{MARK}");
    let mut added = redis::cmd("XADD");
    added.arg(stream).arg("*").arg("r").arg(record);
    let _: String = stack.redis().command(&added).await?;
    Ok(())
}

#[tokio::test]
async fn logs_spans_and_metrics_hold_no_personal_data() -> Result<()> {
    let sink = Sink::start().await?;
    let builder = Stack::builder().gateways(2).env("TIDINGS_OTLP_ENDPOINT", sink.endpoint());
    let builder = builder.env("TIDINGS_TRACE_RATIO", "1").env("TIDINGS_LOG", "debug");
    let stack = builder.gateway_env("TIDINGS_MESSAGES_BURST", 1000).start().await?;
    let http = Http::new(&stack.persistence(0).url(), &marked_token(&stack, "ann"));
    let room = http.new_room(&[&marked_user("ben")]).await?;
    send_by_socket(&stack, &room).await?;
    send_by_poll(&stack, &room).await?;
    send_by_http(&stack, &room).await?;
    append_to_stream(&stack, &room).await?;
    // An outage of Redis produces log lines that are never written otherwise.
    stack.redis().stop().await?;
    let socket = Client::connect(&stack.gateway(0).ws(), &marked_token(&stack, "ann")).await;
    ensure!(socket.is_err(), "a connection was accepted without Redis");
    send_by_poll(&stack, &room).await?;
    http.request(Method::POST, &format!("/rooms/{room}/messages"), Some(marked_message(&room, "away")))
        .await?;
    stack.redis().restart().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;

    // The spans were exported, so the check below covers real data.
    let spans = sink.until(WAIT_TIMEOUT, |spans| spans.iter().any(|span| span.name == "deliver")).await?;
    ensure!(spans.len() > 50, "only {} spans", spans.len());
    let secrets = [
        MARK.to_owned(),
        signature(&marked_token(&stack, "ann")),
        signature(&marked_token(&stack, "ben")),
        stack.jwt_secret().to_owned(),
        stack.internal_secret().to_owned(),
    ];
    let mut found = Vec::new();
    for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
        let (log, metrics) = (node.log()?, node.metrics().await?);
        ensure!(log.contains("\"level\":\"DEBUG\"") && metrics.contains("process_open_fds"), "{log}");
        let program = node.service().program();
        let lines =
            log.lines().map(|line| ("log", line)).chain(metrics.lines().map(|line| ("metrics", line)));
        let held = lines.filter(|(_, line)| secrets.iter().any(|secret| line.contains(secret)));
        found.extend(held.map(|(place, line)| format!("{program}, {place}: {line}")));
    }
    let held = spans.iter().filter(|span| secrets.iter().any(|secret| span.whole.contains(secret)));
    found.extend(held.map(|span| format!("span: {}", span.whole)));
    ensure!(found.is_empty(), "{} lines, such as\n{}", found.len(), found[..found.len().min(20)].join("\n"));
    Ok(())
}

fn signature(token: &str) -> String {
    token.rsplit('.').next().unwrap_or_default().to_owned()
}
