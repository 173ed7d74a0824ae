//! PostgreSQL is away. Every request that needs it gets the code `unavailable` within a bounded time, for any number of
//! concurrent requests. Other requests succeed, and all requests succeed again when PostgreSQL is back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::{join_all, try_join_all};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::http::{Answer, client};
use tidings_harness::{ClientError, Http, Stack};

/// The longest time that an answer may take: a request waits up to 5 s for a connection, possibly behind a statement
/// that takes 10 s.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(25);
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

async fn start_stack() -> Result<Stack> {
    let builder = Stack::builder().own_postgres().gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1000);
    builder.gateway_env("TIDINGS_MESSAGES_BURST", 1000).start().await
}

fn is_unavailable_answer(answer: &Answer) -> bool {
    let problem = (answer.status, answer.code(), answer.body["retry_after_ms"].is_u64());
    problem == (503, "unavailable", true) && answer.content_type.starts_with("application/problem+json")
}

/// All requests that need the database, for a room with one message.
fn database_requests(room: &str) -> Vec<(Method, String, Option<Value>)> {
    let room = format!("/rooms/{room}");
    let message = |client_id: &str| json!({"client_id": client_id, "content": "x"});
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    vec![
        (post.clone(), "/rooms".to_owned(), Some(json!({"kind": "private"}))),
        (get.clone(), "/rooms".to_owned(), None),
        (get.clone(), "/me/rooms".to_owned(), None),
        (get.clone(), room.clone(), None),
        (Method::PATCH, room.clone(), Some(json!({"name": "x"}))),
        (Method::DELETE, room.clone(), None),
        (get.clone(), format!("{room}/members"), None),
        (put.clone(), format!("{room}/members/carol"), Some(json!({"role": "member"}))),
        (Method::DELETE, format!("{room}/members/bob"), None),
        (get.clone(), format!("{room}/messages"), None),
        (get.clone(), format!("{room}/messages/1"), None),
        (post.clone(), format!("{room}/messages"), Some(message("new"))),
        (Method::PATCH, format!("{room}/messages/1"), Some(json!({"content": "x"}))),
        (Method::DELETE, format!("{room}/messages/1"), None),
        (put.clone(), format!("{room}/messages/1/reactions/x"), None),
        (get.clone(), format!("{room}/messages/1/versions"), None),
        (get.clone(), format!("{room}/events"), None),
        (get.clone(), format!("{room}/receipts"), None),
        (post.clone(), format!("{room}/read"), Some(json!({"seq": 1}))),
        (post, format!("{room}/delivered"), Some(json!({"seq": 1}))),
        (get.clone(), "/presence?user=bob".to_owned(), None),
        (put, "/users/dave".to_owned(), Some(json!({"name": "Dave"}))),
        (get.clone(), "/search?q=tea".to_owned(), None),
        (get, "/me/export".to_owned(), None),
        (Method::DELETE, "/me".to_owned(), None),
    ]
}

#[tokio::test]
async fn requests_without_database_are_unavailable_then_recover() -> Result<()> {
    let stack = start_stack().await?;
    let alice = Http::new(&stack.persistence(0).url(), &stack.admin_token("alice"));
    let room = alice.new_room(&["bob"]).await?;
    alice.send(&room, "one", "tea").await?.expect(201);
    stack.database().server().kill();
    let begun = Instant::now();
    let asked = database_requests(&room).into_iter().map(|(method, path, body)| {
        let alice = &alice;
        async move { (format!("{method} {path}"), alice.request(method, &path, body).await) }
    });
    for (request, answer) in join_all(asked).await {
        let answer = answer?;
        ensure!(is_unavailable_answer(&answer), "{request}: {answer:?}");
    }
    ensure!(begun.elapsed() < MAX_ANSWER_TIME, "{:?}", begun.elapsed());
    let node = stack.persistence(0);
    let health = async |path: &str| client().get(format!("{}{path}", node.admin())).send().await;
    ensure!(health("/healthz").await?.status() == 200 && health("/readyz").await?.status() == 503);
    alice.get("/openapi.json").await?.expect(200);

    stack.database().server().restart().await?;
    node.until_ready().await?;
    ensure!(!node.log()?.contains("panicked"));
    let page = alice.messages(&room, "").await?.expect(200).body;
    ensure!(page["messages"][0]["content"] == "tea" && page["messages"][0]["deleted"] == false, "{page}");
    alice.send(&room, "two", "more").await?.expect(201);
    Ok(())
}

#[tokio::test]
async fn thousand_requests_to_paused_database_answer_in_time() -> Result<()> {
    let stack = start_stack().await?;
    // A back end, because other users have few reads at a time.
    let alice = stack.http("alice").with_token(&stack.admin_token("alice"));
    let room = alice.new_room(&["bob"]).await?;
    alice.send(&room, "one", "tea").await?.expect(201);
    // The worst outage: connections stay open and nothing is answered.
    stack.database().server().pause()?;
    let begun = Instant::now();
    let asked = (0..1000).map(|_| alice.messages(&room, ""));
    for answer in try_join_all(asked).await? {
        ensure!(is_unavailable_answer(&answer), "{answer:?}");
    }
    ensure!(begun.elapsed() < MAX_ANSWER_TIME, "{:?}", begun.elapsed());
    stack.database().server().resume()?;
    stack.persistence(0).until_ready().await?;
    let begun = Instant::now();
    while alice.messages(&room, "").await?.status != 200 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "history stays unavailable");
    }
    alice.send(&room, "two", "more").await?.expect(201);
    ensure!(!stack.persistence(0).log()?.contains("panicked"));
    Ok(())
}

#[tokio::test]
async fn websocket_without_database_refuses_only_database_commands() -> Result<()> {
    let stack = start_stack().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let hidden = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect("alice").await?, stack.connect("bob").await?);
    for device in [&alice, &bob] {
        device.join_and_catch_up(&room).await?;
    }
    stack.database().server().kill();
    let is_unavailable = |error: &ClientError| match error {
        ClientError::Answered(error) => error.code == "unavailable" && error.retry_after_ms.is_some(),
        ClientError::Refused { status, body, .. } => *status == 503 && body["code"] == "unavailable",
        _ => false,
    };
    // Commands for which Redis has the data still succeed.
    let quick = json!({"room": room, "client_id": "a", "content": "hello", "ack": "accepted", "attempt": 1});
    alice.send_with(quick).await?;
    bob.wait_for("message:new", MAX_ANSWER_TIME).await?;
    let again = stack.connect("bob").await?;
    again.join_and_catch_up(&room).await?;
    // Redis lacks the data for these: a user without an account, a room without a hash, a client id that may be old.
    let (newcomer, unseeded, repeated) = tokio::join!(
        stack.connect("newcomer"),
        bob.join(&hidden),
        alice.send_with(
            json!({"room": room, "client_id": "b", "content": "x", "ack": "accepted", "attempt": 2})
        ),
    );
    for (request, error) in [("connect", newcomer.err()), ("join", unseeded.err()), ("send", repeated.err())]
    {
        ensure!(error.as_ref().is_some_and(is_unavailable), "{request}: {error:?}");
    }
    // A client sends its outbox again. The sends run one after the other, but each is answered in time. They delay no
    // command that needs no look-up.
    let many = (0..60).map(|n| {
        let (alice, room) = (&alice, &room);
        let fields = json!({"room": room, "client_id": n.to_string(), "content": "x", "attempt": 2, "ack": "accepted"});
        async move { alice.send_with(fields).await.err() }
    });
    let (errors, others) = tokio::join!(join_all(many), async {
        for n in 0..5 {
            bob.ping().await?;
            let fields = json!({"room": room, "client_id": format!("bob{n}"), "content": "x", "attempt": 1, "ack": "accepted"});
            bob.send_with(fields).await?;
        }
        anyhow::Ok(())
    });
    others?;
    for error in errors {
        ensure!(error.as_ref().is_some_and(is_unavailable), "{error:?}");
    }

    stack.database().server().restart().await?;
    stack.persistence(0).until_ready().await?;
    let begun = Instant::now();
    while alice.send(&room, "back").await.is_err() {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "no message is stored");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bob.join(&hidden).await?;
    stack.connect("newcomer").await?;
    for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
        ensure!(!node.log()?.contains("panicked"), "a node panicked");
    }
    Ok(())
}
