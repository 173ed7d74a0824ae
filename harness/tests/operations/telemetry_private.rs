//! Logs, spans and metrics hold no personal data. A system with all traces and debug logs gets marked texts, tokens,
//! names, user ids, metadata, attachments and payloads in every way, valid and invalid. No process may write a mark to
//! a log, a span or a metric.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{Client, Http, Sink, Stack, Token, TokenBy};

const PATIENCE: Duration = Duration::from_secs(30);
/// Part of all data that is sent to the system, and of nothing else.
const MARK: &str = "xq7mark";

fn marked(words: &str) -> String {
    format!("{words}-{MARK}")
}

fn user(name: &str) -> String {
    format!("{name}-{MARK}")
}

/// A token with a marked name and picture. Its claims are in base64, so the test also searches for its signature.
fn token(stack: &Stack, name: &str) -> String {
    let token = Token::of(&user(name)).name(&marked("Display Name"));
    let token = token.claim("picture", json!(format!("https://example.org/{MARK}.png")));
    token.claim("email", json!(marked("mail"))).sign(stack.jwt_secret())
}

fn message(room: &str, text: &str) -> Value {
    json!({
        "type": "message:send", "room": room, "client_id": marked(text), "content": marked(text), "kind": "text",
        "metadata": {marked("key"): marked("value")},
        "attachments": [{
            "name": marked("file"), "url": format!("https://example.org/{MARK}"), "media_type": marked("text/plain"),
            "size": 1
        }],
        "ref": marked("ref"),
    })
}

/// Frames of every kind, valid and invalid.
fn frames(room: &str) -> Vec<Value> {
    let mut frames = vec![
        message(room, "sent"),
        message(room, "sent"),
        message("no-such-room", "lost"),
        json!({"type": "message:edit", "room": room, "seq": 1, "content": marked("edited")}),
        json!({"type": "message:edit", "room": room, "seq": 77, "content": marked("edited")}),
        json!({"type": "message:edit", "room": room, "seq": marked("seq"), "content": marked("edited")}),
        json!({"type": "reaction:add", "room": room, "seq": 1, "emoji": marked("emoji")}),
        json!({"type": "reaction:add", "room": room, "seq": 1, "emoji": "+"}),
        json!({"type": "message:read", "room": room, "seq": 1}),
        json!({"type": "typing:start", "room": room}),
        json!({"type": "signal", "room": room, "data": {marked("offer"): marked("payload")}}),
        json!({"type": "signal", "room": room, "to": user("nobody"), "data": marked("payload")}),
        json!({"type": "presence:set", "status": marked("status")}),
        json!({"type": "presence:set", "status": "away"}),
        json!({"type": "presence:get", "users": [user("ben"), user("nobody")]}),
        json!({"type": "auth", "token": marked("token")}),
        json!({"type": marked("type"), "room": room}),
        json!({"type": "room:join", "room": marked("a b")}),
        json!({"type": "message:delete", "room": room, "seq": 1, "client_id": marked("delete")}),
    ];
    let mut private = message(room, "private");
    private["visible_to"] = json!({"users": [user("ben")], "roles": []});
    let mut long = message(room, "long");
    long["content"] = json!(marked(&"long ".repeat(400)));
    let mut strange = message(room, "strange");
    strange["traceparent"] = json!(marked("00"));
    let mut bad = message(room, "bad");
    bad["attachments"] = json!(marked("attachments"));
    frames.extend([private, long, strange, bad]);
    frames
}

async fn send_by_socket(stack: &Stack, room: &str) -> Result<()> {
    let (ws, token) = (stack.gateway(0).ws(), token(stack, "ann"));
    let ben = Client::connect(&stack.gateway(1).ws(), &self::token(stack, "ben")).await?;
    ben.join_and_catch_up(room).await?;
    let ann = Client::connect_by(TokenBy::Query, &ws, &token).await?;
    ann.join_and_catch_up(room).await?;
    for frame in frames(room) {
        ann.send_json(&frame).await?;
    }
    ann.send_text(&format!("{{\"type\": {MARK}")).await?;
    ann.ping().await?;
    ben.wait_for("message:new", PATIENCE).await?;
    for bad in [
        marked("token"),
        format!("{token}{MARK}"),
        Token::of(&user("late")).ttl_s(-60).sign(stack.jwt_secret()),
    ] {
        for by in [TokenBy::Header, TokenBy::Query] {
            Client::connect_by(by, &ws, &bad).await.err().context("the connection was accepted")?;
        }
    }
    ann.send_binary(marked("binary").into_bytes()).await?;
    ann.until_closed().await?;
    Ok(())
}

async fn send_by_poll(stack: &Stack, room: &str) -> Result<()> {
    let poll = |token: String, body: String| {
        let request =
            tidings_harness::http::client().post(format!("{}/v1/poll?mark={MARK}", stack.gateway(0).url()));
        request.bearer_auth(token).header("content-type", "application/json").body(body).send()
    };
    let body = json!({"cursors": {room: null}, "commands": frames(room), "timeout_ms": 0});
    for body in [
        body.to_string(),
        format!("{{\"cursors\": {MARK}"),
        json!({"cursors": marked("cursors")}).to_string(),
    ] {
        poll(token(stack, "ann"), body).await?;
    }
    ensure!(poll(marked("token"), body.to_string()).await?.status() == 401);
    Ok(())
}

async fn send_by_http(stack: &Stack, room: &str) -> Result<()> {
    let ann = Http::new(&stack.persistence(0).url(), &token(stack, "ann"));
    let bad = Http::new(&stack.persistence(0).url(), &marked("token"));
    for http in [&ann, &bad] {
        for frame in frames(room) {
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
        http.put_user(&user("ann"), json!({"name": marked("New Name"), "picture": marked("picture")}))
            .await?;
        http.put_user(&marked("a b"), json!({"name": 7, "x": marked("x")})).await?;
        http.change_room(room, json!({"name": marked("room name")})).await?;
        http.change_room(room, json!({"name": {"x": marked("x")}})).await?;
        http.put_member(room, &user("cid"), "member").await?;
        http.put_member(room, &user("cid"), &marked("role")).await?;
        http.remove_member(room, &user("cid")).await?;
        http.request(Method::PUT, &format!("/rooms/{room}/messages/2/reactions/{MARK}"), None).await?;
        http.request(Method::POST, "/presence", Some(json!({"status": marked("status")}))).await?;
    }
    Ok(())
}

/// Puts a record that can be neither read nor written directly into the stream.
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
    let http = Http::new(&stack.persistence(0).url(), &token(&stack, "ann"));
    let room = http.new_room(&[&user("ben")]).await?;
    send_by_socket(&stack, &room).await?;
    send_by_poll(&stack, &room).await?;
    send_by_http(&stack, &room).await?;
    append_to_stream(&stack, &room).await?;
    // An outage of Redis produces log lines that are never written otherwise.
    stack.redis().stop().await?;
    let socket = Client::connect(&stack.gateway(0).ws(), &token(&stack, "ann")).await;
    ensure!(socket.is_err(), "a connection was accepted without Redis");
    send_by_poll(&stack, &room).await?;
    http.request(Method::POST, &format!("/rooms/{room}/messages"), Some(message(&room, "away"))).await?;
    stack.redis().restart().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;

    // The spans were exported, so the check below covers real data.
    let spans = sink.until(PATIENCE, |spans| spans.iter().any(|span| span.name == "deliver")).await?;
    ensure!(spans.len() > 50, "only {} spans", spans.len());
    let secrets = [
        MARK.to_owned(),
        signature(&token(&stack, "ann")),
        signature(&token(&stack, "ben")),
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
